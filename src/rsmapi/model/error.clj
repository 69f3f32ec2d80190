(ns ^:no-doc rsmapi.model.error
  "The RSMAPI's errors, as the model needs them: names and numbers, written down from the
  manual a second time, so that a wrong number in the library (rsmapi.error) is a
  disagreement with the model and not the model's too.")

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def codes
  "Error keyword -> its number."
  {:rsm/bad-library-version 1, :rsm/bad-topology-ptr 2, :rsm/bad-ctlr-hndl 3
   :rsm/ctlr-not-present 4, :rsm/bad-seg-hndl 5, :rsm/seg-already-published 6
   :rsm/seg-not-published 7, :rsm/seg-not-published-to-node 8, :rsm/seg-already-mapped 9
   :rsm/seg-still-mapped 10, :rsm/seg-not-mapped 11, :rsm/not-creator 12
   :rsm/bad-barrier-ptr 13, :rsm/bad-sgio 14, :rsm/bad-localmem-hndl 15, :rsm/bad-addr 16
   :rsm/bad-mem-alignment 17, :rsm/bad-offset 18, :rsm/misaligned-offset 19
   :rsm/bad-length 20, :rsm/bad-acl 21, :rsm/bad-segid 22, :rsm/reserved-segid 23
   :rsm/segid-in-use 24, :rsm/bad-mode 25, :rsm/bad-perms 26, :rsm/perm-denied 27
   :rsm/locks-not-supported 28, :rsm/locks-not-enabled 29, :rsm/rebind-not-allowed 30
   :rsm/insufficient-resources 31, :rsm/insufficient-mem 32, :rsm/map-failed 33
   :rsm/pollfd-in-use 34, :rsm/barrier-uninitialized 35, :rsm/barrier-open-failed 36
   :rsm/barrier-not-opened 37, :rsm/barrier-failure 38, :rsm/remote-node-unreachable 39
   :rsm/conn-aborted 40, :rsm/interrupted 41, :rsm/timeout 42, :rsm/bad-appid 43
   :rsm/bad-conf 44, :rsm/seg-not-connected 45, :rsm/internal-error 100
   :rsm/bad-driver-version 101, :rsm/bad-args-errors 117})

(defn error
  "The data of a failure of an operation."
  [op k]
  {:rsm/error k
   :rsm/code (or (codes k) (throw (IllegalArgumentException. (str "no such error: " k))))
   :rsm/op op})

;; What a command of the model comes to: [state result].

(defn failed
  "The command fails with this error and changes nothing, unless the state says otherwise."
  [state op k]
  [state {:error (error op k)}])

(defn ok
  "The command succeeds with this value."
  ([state] (ok state nil))
  ([state value] [state {:ok value}]))

(defn unspecified
  "The result of the command is not specified; why is a sentence. What the real thing does next is
  not known either, so a comparison ends here."
  [state why]
  [state {:unspecified why}])

(defmacro checked
  "The checks of one call, in their order: pairs of an error and a test, of which the first
  that is true decides; then the body, for when there is no objection."
  [state op checks & body]
  `(cond
     ~@(mapcat (fn [[k test]] [test `(failed ~state ~op ~k)]) (partition 2 checks))
     :else (do ~@body)))
