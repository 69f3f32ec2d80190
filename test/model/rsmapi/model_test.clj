(ns rsmapi.model-test
  "The model against the manual, the library against the model, and faults that the
  comparison has to find."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.set :as set]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.model :as model]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.model-runner :as player]
            [rsmapi.model.error :as model-error]
            [rsmapi.test.runner :as runner]))

(set! *warn-on-reflection* true)

(defn- say [& words]
  (println (str "  " (str/join " " words))))

;; ------------------------------------------------- the model against the manual

(def ^:private conformance
  (edn/read-string (slurp (io/resource "rsmapi/model_conformance.edn"))))

(def ^:private page 4096)

(def ^:private constants {:PG page :S (* 4 page) :MAX Long/MAX_VALUE :MIN Long/MIN_VALUE})

(defn- resolved
  "A command with the constants of the cases in it replaced by their numbers, and sums done."
  [x]
  (cond
    (and (vector? x) (#{:+ :-} (first x)))
    (apply ({:+ + :- -} (first x)) (map resolved (rest x)))
    (vector? x) (mapv resolved x)
    (map? x) (update-vals x resolved)
    :else (get constants x x)))

(defn- setup
  "The commands that a setup means, each of its names once."
  [names]
  (letfn [(add [[done commands :as so-far] x]
            (cond
              (vector? x) [done (conj commands x)]
              (done x) so-far
              :else (let [{:keys [needs calls]} (get (:setups conformance) x)
                          [done commands] (reduce add [done commands] needs)]
                      [(conj done x) (into commands calls)])))]
    (second (reduce add [#{} []] names))))

(defn- code-of [result]
  (cond (:error result) (:rsm/code (:error result))
        (:unspecified result) (:unspecified result)
        :else 0))

(deftest the-model-answers-the-conformance-cases
  (doseq [{:keys [case steps] :as c} (:cases conformance)]
    (testing (str "case " case)
      (let [state (model/init (assoc (:processes conformance) :page-size page))
            [state results] (model/run state (map resolved (setup (:setup c))))]
        (is (= #{0} (into #{0} (map code-of) results)) "setup")
        (reduce (fn [state [command expected]]
                  (let [[state' result] (model/step state (resolved command))]
                    (if (map? expected)
                      (is (= (resolved (:value expected)) (:ok result)) (pr-str command))
                      (is (= expected (code-of result)) (pr-str command)))
                    state'))
                state
                steps)))))

(deftest every-case-of-the-manual-is-somewhere
  (let [numbers (:numbers (edn/read-string (slurp (io/resource "rsmapi/conformance.edn"))))
        {:keys [cases inexpressible]} conformance]
    (is (= (sort numbers) (sort (concat (distinct (map :case cases)) (keys inexpressible)))))
    (is (every? (every-pred string? (complement str/blank?)) (vals inexpressible)))))

(deftest errors-have-the-numbers-of-the-library
  (is (= model-error/codes
         (into {} (map (juxt :rsm/error :rsm/code)) error/table))))

(deftest the-example-of-the-namespace
  (is (= [{:ok :c} {:ok :ex} {:ok 6291457} {:ok :im} {:ok :m} {:ok nil} {:ok 42}
          {:error {:rsm/error :rsm/perm-denied, :rsm/code 27, :rsm/op :put-int}}]
         (model/results
          [[:get-controller :c "loopback"]
           [:create :ex :c {:size 8192}]
           [:publish :ex {:segment-id 0x600001}]
           [:connect :im :c {:segment-id 0x600001 :perm :read}]
           [:map :m :im {:offset 4096}]
           [:put-int :ex 4096 42]
           [:get-int :m 0]
           [:put-int :m 0 43]])))
  (is (= {:rsm/error :rsm/bad-mem-alignment, :rsm/code 17, :rsm/op :import-map}
         (model/check-map {:page-size 4096 :size 65536 :perm :read :state :connected} {:offset 100})))
  (is (thrown? IllegalArgumentException (model/results [[:nonsense]]))))

(deftest agreeing
  (is (model/agrees? {:ok [1 model/any 3]} {:ok [1 2 3]}))
  (is (not (model/agrees? {:ok [1 model/any 3]} {:ok [1 2 4]})))
  (is (not (model/agrees? {:ok [1]} {:ok [1 2]})))
  (is (not (model/agrees? {:ok nil} {:error {:rsm/error :rsm/bad-addr}})))
  (is (not (model/agrees? {:error {:rsm/error :rsm/bad-addr}} {:ok nil})))
  (is (model/agrees? {:error {:rsm/error :rsm/bad-addr}} {:error {:rsm/error :rsm/bad-addr :rsm/hint "x"}}))
  (is (not (model/agrees? {:error {:rsm/error :rsm/bad-addr}} {:error {:rsm/error :rsm/bad-length}})))
  (is (model/agrees? {:ok 0x80000000} {:ok 0x80001234}))
  (is (not (model/agrees? {:ok 0x80000000} {:ok 0x600001})))
  (is (model/agrees? {:ok ##NaN} {:ok ##NaN}))
  (is (model/agrees? {:unspecified "why"} {:ok 1})))

;; -------------------------------------------------------- the model by itself

(def ^:private may-change-on-failure
  "Commands that can have done a part when they fail; see rsmapi.model/step."
  #(re-matches #"(put|get)(8|16|32|64|v)?|put-signal|close-barrier|disconnect|(compare-and-set|get-and-add)-(int|long)" (name %)))

(defn- invariant? [{:keys [objects]}]
  (every? (fn [[id {:keys [kind] :as x}]]
            (case kind
              :controller (<= 0 (:refs x))
              (:import :export) (and (<= 0 (:events x)) (<= 0 (:pollfds x))
                                     (or (nil? (:mapping x))
                                         (= id (:import (objects (:mapping x))))))
              :mapping (= (:mapped? x) (= id (:mapping (objects (:import x)))))
              true))
          objects))

(defn- consistent-step? [state command]
  (let [[state' result] (model/step state command)
        op (if (= :in (first command)) (first (nth command 2)) (first command))]
    (and (= 1 (count result))
         (not (:unspecified result))
         (invariant? state')
         (or (contains? result :ok)
             (may-change-on-failure op)
             (= state state')))))

(defn- consistent? [commands]
  (loop [state (model/init {:processes {:other {:uid 2000 :gid 2000}}}), commands commands]
    (if-let [[c & more] (seq commands)]
      (and (consistent-step? state c)
           (recur (first (model/step state c)) more))
      true)))

(deftest every-command-leaves-a-consistent-state
  (let [seed (runner/new-seed)
        n (runner/trials 300 20000)
        r (tc/quick-check n
                          (prop/for-all* [(rsm-gen/commands {:max-length 60
                                                             :state (model/init {:processes {:other {:uid 2000 :gid 2000}}})
                                                             :processes [:self :other]})]
                                         consistent?)
                          :seed seed :max-size 60)]
    (say "consistent:" n "sequences of all commands, two processes, seed" seed)
    (is (:pass? r) (str "seed " seed ", " (pr-str (:smallest (:shrunk r)))))))

;; ------------------------------------------------------- check-map of the library

(def ^:private ways
  "How an import segment comes into its states."
  [{:state :connected}
   {:state :connected :mapped? true}
   {:state :connected :aborted? true}
   {:state :connected :mapped? true :aborted? true}
   {:state :disconnected}])

(defn- segment-in
  "An import segment of the library in the state that a description has, and what to close."
  [c {:keys [size perm state mapped? aborted?]}]
  (let [ex (rsm/export! c {:size size})
        im (rsm/connect! c {:segment-id (rsm/segment-id ex) :perm perm})]
    (when mapped? (rsm/map! im))
    (when aborted? (rsm/unpublish! ex))
    (when (= :disconnected state) (rsm/disconnect! im))
    [im ex]))

(def ^:private descriptions
  (for [perm [:rdwr :read :write :none]
        pages [1 3 16]
        way ways
        :when (not (and (= :none perm) (:mapped? way)))]
    (merge {:page-size (rsm/page-size) :size (* pages (rsm/page-size)) :perm perm
            :mapped? false :aborted? false}
           way)))

(defn- with-segments
  "Calls f with a vector of [description import-segment]."
  [f]
  (rsm/with-controller [c "loopback"]
    (let [made (mapv #(segment-in c %) descriptions)]
      (try
        (f (mapv vector descriptions (map first made)))
        (finally
          (run! rsm/close! (mapcat identity made)))))))

(def ^:private gen-case
  "The number of a segment and a request for it."
  (gen/let [i (gen/choose 0 (dec (count descriptions)))
            request (let [d (nth descriptions i)]
                      (gen/frequency [[3 (rsm-gen/any-map-request d)]
                                      [1 (rsm-gen/map-request d)]]))]
    [i request]))

(defn- essence [e]
  (some-> e (select-keys [:rsm/error :rsm/code :rsm/op])))

(defn- pasteable [description request]
  (str "(let [[im] (#'rsmapi.model-test/segment-in (rsm/get-controller \"loopback\") "
       (pr-str description) ")]\n  (rsm/check-map im " (pr-str request) "))\n"
       "(rsmapi.model/check-map " (pr-str description) " " (pr-str request) ")"))

(deftest check-map-of-library-and-model-agree
  (let [seed (runner/new-seed)
        n (runner/trials 2000 100000)]
    (with-segments
      (fn [segments]
        (let [r (tc/quick-check
                 n
                 (prop/for-all [[i request] gen-case]
                   (let [[description im] (nth segments i)]
                     (= (model/check-map description request)
                        (essence (rsm/check-map im request)))))
                 :seed seed)]
          (say "check-map:" n "requests, seed" seed)
          (is (:pass? r)
              (when-not (:pass? r)
                (let [[[i request]] (:smallest (:shrunk r))
                      [description im] (nth segments i)]
                  (str "seed " seed "\n" (pasteable description request)
                       "\nlibrary: " (essence (rsm/check-map im request))
                       "\nmodel:   " (model/check-map description request))))))
        (is (= (model/check-map nil {}) (essence (rsm/check-map nil {}))))))))

;; --------------------------------------------------------- commands, one process

(def ^:private ids
  ;; for applications, and not likely to be taken by another run on this machine
  (let [base (fresh-id)]
    [base (+ 1 base) (+ 2 base)]))

(def ^:private controllers
  "Two nodes of one interconnect, and the same node by three ways."
  [["loopback"] ["shm0" {:node 0}] ["shm0" {:node 1}] ["shm1" {:node 0}]])

(defn- find-disagreement
  "Plays up to n sequences and returns what quick-check says, with :played, how many commands
  were, and :known, how often which known disagreement was met. Shrinking ends after so many
  seconds: a failure that comes and goes would be followed for ever."
  [n seed shrinking-seconds opts]
  (let [state (player/initial-state)
        counts (atom {:played 0 :known {}})
        deadline (atom nil)
        agree? (fn [commands]
                 (if (some-> @deadline (< (System/nanoTime)))
                   true
                   (let [{:keys [steps agree? known]} (player/play state commands)]
                     (swap! counts update :played + (count steps))
                     (when known
                       (swap! counts update-in [:known known] (fnil inc 0)))
                     (when-not (or agree? @deadline)
                       (reset! deadline (+ (System/nanoTime) (long (* shrinking-seconds 1e9)))))
                     agree?)))
        commands (rsm-gen/commands (merge {:state state :ops (disj player/ops :same?) :max-length 60
                                           :segment-ids ids :controllers controllers}
                                          opts))]
    (merge (tc/quick-check n (prop/for-all* [(gen/scale #(+ 20 %) commands)] agree?)
                           :seed seed :max-size 40)
           @counts)))

(defn- smallest [r] (first (:smallest (:shrunk r))))

(deftest commands-in-one-process-do-what-the-model-does
  (let [seed (runner/new-seed)
        n (runner/trials 300 20000)
        {:keys [pass? played known] :as r} (find-disagreement n seed 30 {})]
    (say "one process:" n "sequences," played "commands of" (count player/ops) "kinds, seed" seed
         (if (seq known) (str "(known disagreements: " known ")") ""))
    (is pass?
        (when-not pass?
          (str "seed " seed "\n" (player/tell (player/play (player/initial-state) (smallest r))))))))

(deftest sizes-beyond-all-memory
  (doseq [[controller options] [["loopback"] ["shm0" {:node 0}]]
          size [(bit-shift-left 1 57) (bit-shift-left 1 62) (inc (bit-shift-left 1 62))]
          round-up [true false]]
    (let [played (player/play (player/initial-state)
                              [(into [:get-controller :c controller] (when options [options]))
                               [:create :ex :c {:size size :round-up round-up}]])]
      (is (:agree? played) (player/tell played)))))

(deftest known-disagreements-are-still-there
  (is (= (count player/known) (count (set (map :id player/known)))))
  (doseq [{:keys [id why commands]} player/known]
    (is (= id (:known (player/play (player/initial-state) commands)))
        (str "this is fixed, so take " id " out of known in model_runner.clj: " why))))

(deftest what-is-told-can-be-read
  (let [played (player/play (player/initial-state)
                            [[:get-controller :c "loopback"]
                             [:create :ex :c {:size 4096}]
                             [:put-bytes :ex 0 [1 2 3]]
                             [:get-long :ex 4089]
                             [:publish :other {:segment-id 1}]])
        text (player/tell played)]
    (is (:agree? played))
    (is (str/includes? text "(rsm/put-bytes! ex 0 (byte-array [1 2 3]))"))
    (is (str/includes? text ":rsm/bad-offset"))
    (is (= 0 (count (remove (complement nil?)
                            (read-string (str "[" text "]"))))))))

;; ---------------------------------------------------------------- planted faults

(defn- caught
  "Commands that show a fault in the library, shrunk a little, or nil if nothing notices it.
  The functions' metadata can have options of the generator, where all commands would take
  long to come to the fault."
  [functions]
  (binding [player/*faults* functions]
    (smallest (find-disagreement 400 7 (runner/trials 1 20) (or (meta functions) {})))))

(def ^:private barrier-ops
  #{:get-controller :create :publish :unpublish :connect :map :init-barrier :open-barrier
    :close-barrier :set-barrier-mode :barrier-mode :put :put64 :get :get8})

(defn- readers [f]
  (into {} (map (fn [op] [op f])) [:get-byte :get-int :get-long :get-bytes]))

(def ^:private faults
  "What is wrong -> functions in place of the library's."
  {"bounds: one byte too far is let through"
   (readers (fn [f m offset & more]
              (if (= offset (rsm/size m)) 0 (apply f m offset more))))

   "bounds: the size counts from the start of the segment"
   {:get-byte (fn [f m offset]
                (try (f m offset)
                     (catch Exception e
                       (if (and (= 18 (:rsm/code (ex-data e))) (integer? offset)
                                (< -1 offset (* 2 (rsm/size m))))
                         0
                         (throw e)))))}

   "permission: map! gives all that the connection has"
   {:map (fn ([f im] (f im))
           ([f im opts] (f im (cond-> opts
                                (and (map? opts) (#{:read 0400} (:perm opts))) (dissoc :perm)))))}

   "permission: map! ignores the execute bits"
   {:map (fn ([f im] (f im))
           ([f im opts] (f im (cond-> opts
                                (and (map? opts) (int? (:perm opts))) (update :perm bit-and -0112)))))}

   "revocation: unpublish! revokes nothing"
   {:unpublish (fn [f ex]
                 (if (and (instance? org.rsmapi.ExportSegment ex) (rsm/published? ex))
                   nil
                   (f ex)))}

   "revocation: reading through a revoked mapping gives zeros"
   (readers (fn [f m offset & more]
              (try (apply f m offset more)
                   (catch Exception e
                     (if (= 40 (:rsm/code (ex-data e))) 0 (throw e))))))

   "barrier: a close always succeeds"
   ^{:ops barrier-ops}
   {:close-barrier (fn [f b]
                     (try (f b)
                          (catch Exception e
                            (when-not (= 40 (:rsm/code (ex-data e))) (throw e)))))}

   ;; told back as it was set: only what put and get do shows it
   "barrier: the mode is ignored"
   (let [told (java.util.WeakHashMap.)]
     ^{:ops barrier-ops}
     {:set-barrier-mode (fn [f im mode]
                          (f im (if (= :explicit mode) :implicit mode))
                          (.put told im mode)
                          nil)
      :barrier-mode (fn [f im]
                      (let [mode (f im)] (or (.get told im) mode)))})

   "content: a write goes astray by a byte"
   {:put-int (fn [f m offset & more]
               (apply f m (if (and (integer? offset) (< 0 offset (- (rsm/size m) 5))) (inc offset) offset)
                      more))}

   "content: publishing again loses what was written"
   {:publish (fn [f ex & more]
               (let [id (apply f ex more)]
                 (rsm/fill! ex 0 8 0)
                 id))}

   "state: an id can be published twice"
   {:publish (fn [f ex & more]
               (try (apply f ex more)
                    (catch Exception e
                      (if (= 24 (:rsm/code (ex-data e)))
                        (:segment-id (first more))
                        (throw e)))))}

   "state: disconnecting unmaps"
   {:disconnect (fn [f im]
                  (try (f im)
                       (catch Exception e
                         (if (= 10 (:rsm/code (ex-data e))) (rsm/close! im) (throw e)))))}

   "errors: another number"
   {:unmap (fn [f m]
             (try (f m)
                  (catch org.rsmapi.RsmException e
                    (if (= 11 (:rsm/code (ex-data e)))
                      (throw (org.rsmapi.RsmException/of org.rsmapi.RsmError/SEG_STILL_MAPPED "import-unmap"))
                      (throw e)))))}

   "errors: an exception of another type"
   (readers (fn [f m offset & more]
              (try (apply f m offset more)
                   (catch Exception e
                     (throw (if (= 18 (:rsm/code (ex-data e))) (IndexOutOfBoundsException.) e))))))})

(def ^:private in-short
  "Faults that the ordinary run looks for; the long one looks for all."
  ["bounds: one byte too far is let through"
   "permission: map! gives all that the connection has"
   "revocation: unpublish! revokes nothing"
   "revocation: reading through a revoked mapping gives zeros"
   "barrier: a close always succeeds"
   "barrier: the mode is ignored"
   "content: a write goes astray by a byte"
   "errors: an exception of another type"])

(deftest faults-of-the-library-are-noticed
  (is (set/subset? #{"bounds" "permission" "revocation" "barrier"}
                   (set (map #(first (str/split % #":")) in-short))))
  (let [found (into {} (for [what (runner/trials in-short (keys faults))]
                         [what (caught (faults what))]))]
    (doseq [[what commands] found]
      (is (some? commands) what))
    (say "planted faults:" (count found) "found, shrunk to"
         (str/join " " (sort (map count (vals found)))) "commands")))

(defn- swapped [checks i]
  (assoc checks i (checks (inc i)) (inc i) (checks i)))

(defn- without [checks i]
  (into (subvec checks 0 i) (subvec checks (inc i))))

(def ^:private mutants
  "Wrong orders of the checks of map!: [what checks]. Left out are those that cannot be told
  from the right one: both errors are the same, or never are both true."
  (let [checks model/map-checks
        order (mapv :check checks)
        first-own (.indexOf ^java.util.List order :connected)
        same #{[:connected :mapped] [:offset-page :address-page] [:rights :copy]}]
    (concat
     (for [i (range first-own (dec (count checks)))
           :let [pair (subvec order i (+ 2 i))]
           :when (not (same pair))]
       [(str "swapped " pair) (swapped checks i)])
     ;; :copy objects where memory is mirrored only: see sim_model_test
     (for [i (range 1 (count checks)) :when (not= :copy (order i))]
       [(str "without " (order i)) (without checks i)]))))

(deftest faults-in-the-order-of-checks-are-noticed
  (with-segments
    (fn [segments]
      (let [seed 11
            asked (for [[i request] (gen/generate (gen/vector gen-case (runner/trials 8000 100000)) 60 seed)
                        :let [[description im] (nth segments i)]]
                    [description request (essence (rsm/check-map im request))])
            asked (doall asked)]
        (is (every? (fn [[d r answer]] (= answer (model/check-map d r))) asked))
        (doseq [[what checks] mutants]
          (is (some (fn [[d r answer]]
                      (not= answer (try (model/check-map d r checks)
                                        ;; a check that relies on one before it
                                        (catch RuntimeException e e))))
                    asked)
              what))
        (say "wrong orders of checks:" (count mutants) "all noticed")))))
