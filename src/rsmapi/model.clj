(ns rsmapi.model
  "For property tests: a model of the RSMAPI, as pure functions over plain data, without a library
  or a kernel. It says what every call returns in every state. It is written from the manual, so
  that the library, or your own code, can be compared with it.

    (require '[rsmapi.model :as model])

    (model/results
      [[:get-controller :c \"loopback\"]
       [:create :ex :c {:size 8192}]
       [:publish :ex {:segment-id 0x600001}]
       [:connect :im :c {:segment-id 0x600001 :perm :read}]
       [:map :m :im {:offset 4096}]
       [:put-int :ex 4096 42]
       [:get-int :m 0]
       [:put-int :m 0 43]])
    ;=> [{:ok :c} {:ok :ex} {:ok 6291457} {:ok :im} {:ok :m} {:ok nil} {:ok 42}
    ;    {:error {:rsm/error :rsm/perm-denied, :rsm/code 27, :rsm/op :put-int}}]

  State         init step run results
  Comparing     agrees? any
  Mapping       check-map map-checks
  Looking in    handle events contents
  Commands      commands

  A command is a vector of a function's name, as in rsmapi.core without the mark at the end,
  and its arguments. Handles are keywords of your choice; a call that makes a handle has
  its keyword first. A keyword that stands for nothing is a null handle. What is different
  from rsmapi.core:

    [:in process command]    the call is made by another process of the model; see `init`
    [:exit process]          a process ends, in whatever way
    [:umask bits]            of the calling process; the value is the old one
    {:address [:l n]}        n bytes into the local memory :l (create, rebind)
    {:segment-id :ex}        the id that :ex is published under (publish, connect)
    [1 2 3]                  an array, in a source or target, and in values

  A result is {:ok value}, {:error {:rsm/error keyword :rsm/code number :rsm/op keyword}}, or
  {:unspecified why} if the result is not specified. The value of a call that makes a handle,
  or returns a memory it was given, is the keyword.

  rsmapi.gen generates commands that make sense in a state of the model."
  (:require [rsmapi.model.access :as access]
            [rsmapi.model.barrier :as barrier]
            [rsmapi.model.controller :as controller]
            [rsmapi.model.error :as error]
            [rsmapi.model.export :as export]
            [rsmapi.model.import :as import]
            [rsmapi.model.memory :as memory]
            [rsmapi.model.mirror :as mirror]
            [rsmapi.model.signal :as signal]
            [rsmapi.model.state :as state]
            [rsmapi.model.transfer :as transfer]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------------- state

(def ^:private default-process
  {:uid 1000 :gid 1000 :groups #{} :umask 022 :node 0})

(defn- process [settings]
  (let [p (merge default-process settings)]
    (assoc p :privileged? (:privileged? p (= 0 (:uid p))))))

(defn init
  "The state in which nothing has happened.

  Options:
    :page-size    bytes; default 4096
    :uid :gid :groups   of the process :self, which makes the calls; default 1000, 1000, #{}
    :umask        of that process; default 022
    :node         the local node, 0 to 63; default 0
    :privileged?  whether no digit of an access list keeps the process out; default: whether
                  the uid is 0
    :worlds       the simulated worlds that are open, {unit :mirrored or :shared}; see rsmapi.sim. What is
                  published in one cannot be reached from elsewhere: use only controllers of one kind
    :processes    more processes, {name settings}, settings being :uid to :privileged?"
  ([] (init {}))
  ([{:keys [page-size processes worlds] :as opts}]
   (let [settings (keys (assoc default-process :privileged? nil))]
     {:page-size (or page-size 4096)
      :worlds (into {} worlds)
      :process :self
      :processes (assoc (update-vals processes process)
                        :self (process (select-keys opts settings)))
      :names {}
      :objects {}
      :memories {}
      :next 1
      :next-segment-id 0x80000000})))

(defn- umask [state bits]
  (let [at [:processes (:process state) :umask]]
    (error/ok (assoc-in state at (bit-and 0777 (long bits))) (get-in state at))))

(defn- same? [state x y]
  (error/ok state (= (:id (state/handle state x)) (:id (state/handle state y)))))

(def ^:private functions
  (merge
   {:get-controller controller/get-controller
    :release-controller controller/release-controller
    :controller-attr controller/controller-attr
    :node-id controller/node-id
    :allocate controller/allocate
    :free controller/free
    :close controller/close
    :exit controller/exit
    :create export/create
    :destroy export/destroy
    :publish export/publish
    :unpublish export/unpublish
    :republish export/republish
    :rebind export/rebind
    :published? export/published?
    :importers export/importers
    :connect import/connect
    :disconnect import/disconnect
    :map import/map-segment
    :unmap import/unmap
    :connected? import/connected?
    :aborted? import/aborted?
    :mapped? import/mapped?
    :size import/size
    :segment-id import/segment-id
    :umask umask
    :same? same?}
   access/commands
   mirror/commands
   transfer/commands
   barrier/commands
   signal/commands))

(def commands
  "The names of all commands, a set of keywords; :in is not among them."
  (set (keys functions)))

(defn step
  "What a command does in a state: [state' result]. Failing commands change nothing, except
  that a put or get, or an atomic access to an import segment, that fails may have mapped the
  segment, a putv or getv may have moved the entries before the failing one, and a barrier that
  fails to close is closed.

    (step (init) [:get-controller :c \"nosuch0\"])
    ;=> [{...} {:error {:rsm/error :rsm/ctlr-not-present, :rsm/code 4, :rsm/op :get-controller}}]

  An unknown command is an IllegalArgumentException."
  [state [function & arguments]]
  (if (= :in function)
    (let [[process command] arguments
          caller (:process state)
          [state' result] (step (assoc state :process process) command)]
      [(assoc state' :process caller) result])
    (if-let [f (functions function)]
      (apply f state arguments)
      (throw (IllegalArgumentException. (str "no such command: " function))))))

(defn run
  "The commands one after the other, from a state (default: `init`) on. Returns
  [state' results], results in the order of the commands."
  ([commands] (run (init) commands))
  ([state commands]
   (reduce (fn [[state results] command]
             (let [[state' result] (step state command)]
               [state' (conj results result)]))
           [state []]
           commands)))

(defn results
  "The results of `run` alone."
  ([commands] (second (run commands)))
  ([state commands] (second (run state commands))))

;; --------------------------------------------------------------- comparing

(def any
  "In a value: this part is not specified. Any value agrees with it."
  memory/any)

(defn- assigned? [x]
  (and (int? x) (<= 0x80000000 (long x) 0xFFFFFFFF)))

(defn- same-value? [expected actual]
  (cond
    (= any expected) true
    (= expected actual) true
    (and (sequential? expected) (sequential? actual))
    (and (= (count expected) (count actual))
         (every? true? (map same-value? expected actual)))
    (map? expected) (and (map? actual)
                         (every? (fn [[k v]] (same-value? v (get actual k))) expected))
    ;; which ids are assigned is up to the implementation
    (and (assigned? expected) (assigned? actual)) true
    ;; NaN is not = to itself
    :else (and (double? expected) (.equals ^Double expected actual))))

(defn agrees?
  "Whether a result, {:ok value} or {:error data}, is what the model expects: the same
  error, number, operation (and, for putv and getv, entry), or a value that agrees with the
  model's. In a map the keys that the model does not have do not count, `any` agrees with
  everything, and so does what is unspecified."
  [expected actual]
  (cond
    (contains? expected :unspecified) true
    (contains? expected :error) (and (contains? actual :error)
                                     (same-value? (:error expected) (:error actual)))
    :else (and (contains? actual :ok)
               (same-value? (:ok expected) (:ok actual)))))

;; ----------------------------------------------------------------- mapping

(def map-checks
  "The checks of map!, in the order in which they are made: maps of

    :check     its name
    :error     what it objects with
    :objects?  a function of segment and request; true if it objects

  segment is as in check-map. request is a map of :offset :length :perm :address (numbers,
  with the defaults in place), :fixed?, :options? (whether the options are a map of known
  keys) and :wrong (the set of options that are of a wrong type). The first eight checks are
  those of the Clojure function; the others are rsm_memseg_import_map's."
  import/map-checks)

(defn check-map
  "What map! answers to a request, as far as can be said without asking the kernel: the data
  of the error, or nil if the request is good.

    (check-map {:page-size 4096 :size 65536 :perm :read :state :connected} {:offset 100})
    ;=> {:rsm/error :rsm/bad-mem-alignment, :rsm/code 17, :rsm/op :import-map}

  segment is nil (no handle), or a map of
    :page-size :size   bytes
    :perm      what the connection has: :none, :read, :write or :rdwr, or the number
    :state     :connected or :disconnected
    :mapped?   whether it has a mapping
    :mirrored? whether the mapping would be a copy
    :aborted?  whether the exporter has gone
  request is the options of map!; what :huge-pages needs is not checked. checks, by default map-checks, can be others, to try
  whether a test would notice."
  ([segment request] (check-map segment request map-checks))
  ([segment request checks] (import/check-map segment request checks)))

;; -------------------------------------------------------------- looking in

(defn handle
  "What a keyword stands for in a state, as data, or nil. process is who says it; default
  :self. What ended is still there, and says so by :state, :mapped?, :open? or :refs. The
  keys beside :kind are those that the tests of this library need; there may be more."
  ([state x] (handle state :self x))
  ([state process x] (state/handle (assoc state :process process) x)))

(defn events
  "How many events are waiting for a segment."
  ([state x] (events state :self x))
  ([state process x] (:events (handle state process x) 0)))

(defn contents
  "The bytes of an export segment, a mapping or local memory, a vector of -128 to 127 or
  `any`. They are there for the model whether or not a call could read them."
  ([state x] (contents state :self x))
  ([state process x]
   (let [h (handle state process x)]
     (state/read-at state h 0 (:size h)))))
