(ns ^:no-doc rsmapi.model.transfer
  "What goes through an import segment without a mapping of the caller's: put and get,
  scatter-gather, and local memory handles.

  The local side of a transfer is a vector (of bytes, or of elements), or the name of a
  memory with an index in bytes."
  (:require [rsmapi.model.access :as access]
            [rsmapi.model.args :as args]
            [rsmapi.model.controller :as controller]
            [rsmapi.model.error :refer [checked error failed ok unspecified]]
            [rsmapi.model.import :as import]
            [rsmapi.model.memory :as memory]
            [rsmapi.model.mirror :as mirror]
            [rsmapi.model.signal :as signal]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- the handle

(defn- mapped-implicitly
  "An import segment that has no mapping gets one of all of it, with the connection's own
  rights, and keeps it until it is unmapped; not where memory is mirrored. The state."
  [state im]
  (if (or (:mapping im) (mirror/mirrored? state (:controller im)))
    state
    (first (import/add-mapping state im {:perm (:perm im) :offset 0 :size (:size im)
                                         :implicit? true}))))

(defn- mapping-of
  "What a transfer goes through: the mapping, not its copy, or where nothing is mapped for it, as if all
  were."
  [state im]
  (if-let [m (s/object state (:mapping (s/object state (:id im))))]
    (dissoc m :window)
    {:kind :mapping :import (:id im) :perm (:perm im) :offset 0 :size (:size im)}))

(defn- outside-window?
  "Whether n bytes at an offset in the segment are not wholly inside the window that is
  mapped."
  [mapping offset n]
  (let [start (long (:offset mapping))
        end (+ start (long (:size mapping)))
        offset (long offset), n (long n)]
    (or (neg? n) (< offset start) (> offset end) (> n (- end offset)))))

;; ------------------------------------------------------------- the local side

(defn- local-side
  "The local side of a transfer, {:object memory, or :values vector; :room how many units
  there are}; nil if it is none. An index counts bytes in memory, elements in a vector."
  [state x]
  (cond
    (vector? x) {:values x :room (count x)}
    (keyword? x) (let [h (s/handle state x)]
                   (when (#{:mapping :export :local-memory :localmem} (:kind h))
                     {:object h :room (:size h)}))))

(defn- usable?
  "Whether memory can be a local side without that anybody would have to say what happens: it
  is there, and it may be read and written."
  [state {:keys [object]}]
  (case (:kind object)
    nil true
    :export (s/alive? object)
    :mapping (and (:mapped? object) (= 0600 (:perm object))
                  (not (:aborted? (s/object state (:import object)))))
    :local-memory (:open? object)
    :localmem (and (:open? object)
                   (:open? (s/object state (:of object))))))

(defn- too-short? [{:keys [room]} index n]
  (let [room (long room), index (long index), n (long n)]
    (or (neg? index) (> index room) (> n (- room index)))))

(defn- local-bytes [state {:keys [object values]} type index n]
  (if object
    (s/read-at state object index (* (memory/width type) (long n)))
    (mapcat #(memory/encode type nil %) (subvec values index (+ (long index) (long n))))))

;; ----------------------------------------------------------------- the checks

(defn- transfer-objection
  "What a transfer fails with, and the state then; nil for the error if nothing objects.
  transfer is
    :bits        what is wanted of the segment: read for get, write for put
    :width       bytes of an element
    :offset      in the segment, bytes
    :n           elements
    :local       the local side, :index in it
    :implicit?   whether the barrier counts: put and get in the implicit mode
    :abort?      whether an abort counts"
  [state im {:keys [bits width offset n local index implicit? abort?]}]
  (let [width (long width)
        absurd? (not (< -1 (long n) 0x100000000))
        bytes (if absurd? -1 (* width (long n)))
        at (if (:object local) (long index) 0)]
    (cond
      (nil? local) [state :rsm/bad-addr]
      (and (= :localmem (:kind (:object local))) (not (:open? (:object local))))
      [state :rsm/bad-localmem-hndl]
      (not (zero? (rem at width))) [state :rsm/bad-mem-alignment]
      (not (zero? (rem (long offset) width))) [state :rsm/bad-mem-alignment]
      (and (nil? (:mapping im)) (:aborted? im)) [state :rsm/conn-aborted]
      :else
      (let [state (mapped-implicitly state im)
            mapping (mapping-of state im)]
        [state
         (cond
           (args/lacks? (:perm im) bits) :rsm/perm-denied
           (args/lacks? (:perm mapping) bits) :rsm/perm-denied
           (or (neg? (long offset)) absurd? (outside-window? mapping offset bytes)) :rsm/bad-offset
           (too-short? local index (if (:object local) bytes n)) :rsm/bad-length
           (and implicit? (nil? (:barrier im))) :rsm/barrier-uninitialized
           (and abort? (:aborted? im)) :rsm/conn-aborted)]))))

(defn- segment-bytes
  "Bytes of the segment, by offset in the segment, through the mapping that there is."
  [state im offset n]
  (let [m (mapping-of state im)]
    (s/read-at state m (- (long offset) (long (:offset m))) n)))

(defn- with-segment-bytes [state im offset bytes]
  (let [m (mapping-of state im)]
    (s/write-at state m (- (long offset) (long (:offset m))) bytes)))

(defn- unclear
  "Why the result of a transfer is not specified; nil if it is."
  [state im local]
  (cond
    (nil? im) s/of-a-mapping
    (zero? (long (:perm im))) "an implicit mapping without any right"
    (and local (not (and (= :localmem (:kind (:object local))) (not (:open? (:object local)))))
         (not (usable? state local)))
    "the local memory has an end or a permission of its own"))

(defn- transfer
  "Puts or gets, when nothing objects. effect gives [state value]."
  [state op x {:keys [local offset n index] :as t} effect]
  (let [im (s/open-import state x)]
    (checked state op [:rsm/bad-seg-hndl (and (nil? im) (not (s/mapping? state x)))]
      (if-let [why (unclear state im local)]
        (unspecified state why)
        (let [implicit? (= :implicit (:mode im))
              [state objection] (transfer-objection
                                 state im (assoc t :implicit? implicit? :abort? implicit?))]
          (cond
            objection (failed state op objection)
            (not (and (args/int64? offset) (args/int64? n) (args/int64? index)))
            (unspecified state "an argument of a wrong type")
            :else (effect state im)))))))

;; ------------------------------------------------------------- put and get

(defn- units
  "How many elements a transfer has that does not say: the whole local side, from its start."
  [local width]
  (if (:object local)
    (quot (long (:room local)) (long width))
    (or (:room local) 0)))

(defn- put-elements
  "A put of elements of a type."
  [op type]
  (fn [state x offset source & [index n]]
    (let [width (memory/width type)
          source (if (integer? source) [source] source)
          local (local-side state source)
          n (or n (units local width))
          index (or index 0)]
      (transfer state op x {:bits args/write-bit :width width :offset offset :n n
                            :local local :index index}
                (fn [state im]
                  (ok (with-segment-bytes state im offset
                        (local-bytes state local type index n))))))))

(defn- got
  "The result of a get: a vector with the new values in it, or memory written."
  [state {:keys [object values]} name type index bytes]
  (if object
    (ok (s/write-at state object index bytes) name)
    (let [new-values (memory/decode-all type nil bytes)
          index (long index)]
      (ok state (into (into (subvec values 0 index) new-values)
                      (subvec values (+ index (count new-values))))))))

(defn- get-elements
  "A get of elements of a type. The target is a vector or a memory, or, but for :get, how
  many: then a new array of zeros."
  [op type]
  (fn [state x offset target & [index n]]
    (let [width (memory/width type)
          number? (and (integer? target) (not= :get op))
          local (if number? {:values [] :room target} (local-side state target))
          n (or n (if number? target (units local width)))
          index (or index 0)]
      (transfer state op x {:bits args/read-bit :width width :offset offset :n n
                            :local local :index index}
                (fn [state im]
                  (let [bytes (segment-bytes state im offset (* width (long n)))
                        local (if number? (assoc local :values (vec (repeat n 0))) local)]
                    (got state local target type index bytes)))))))

(defn put-signal
  "[:put-signal import offset source opts?]: a put, then an event for the exporter."
  [state x offset source & [opts]]
  (let [[state result] ((put-elements :put :byte) state x offset source)]
    (if (contains? result :ok)
      (signal/signal-post state x opts)
      [state result])))

;; ----------------------------------------------------------- scatter-gather

(defn- entry-transfer [state {:keys [local local-offset remote-offset length]} bits]
  {:bits bits :width 1 :offset (or remote-offset 0) :n (or length 0)
   :local (local-side state local) :index (or local-offset 0)
   :implicit? false :abort? true})

(defn- move-entry
  "One entry of a request: [state error-or-nil]."
  [state im {:keys [local] :as entry} bits]
  (let [im (s/object state (:id im))
        {:keys [offset n index] :as t} (entry-transfer state entry bits)
        [state objection] (transfer-objection state im t)]
    (cond
      objection [state objection]
      (= args/write-bit bits)
      [(with-segment-bytes state im offset (local-bytes state (:local t) :byte index n)) nil]
      :else
      (let [bytes (segment-bytes state im offset n)]
        [(first (got state (:local t) local :byte index bytes)) nil]))))

(defn- vector-transfer
  "[:putv request] and [:getv request]."
  [op bits]
  (fn [state request]
    (let [{:keys [segment iovec signal no-accumulate]} (when (map? request) request)
          im (s/open-import state segment)]
      (checked state op
        [:rsm/bad-sgio (not (and (map? request) (or (nil? iovec) (sequential? iovec))))
         :rsm/bad-seg-hndl (and (nil? im) (not (s/mapping? state segment)))
         :rsm/bad-sgio (not (<= 1 (count iovec) 16))]
        (if-let [why (some #(unclear state im (local-side state (:local %))) iovec)]
          (unspecified state why)
          (loop [state state, i 0]
            (if (= i (count iovec))
              (if signal
                (let [[state result] (signal/signal-post state segment {:no-accumulate no-accumulate})]
                  [state (if (contains? result :ok) {:ok {:residual 0}} result)])
                (ok state {:residual 0}))
              (let [[state objection] (move-entry state im (nth iovec i) bits)]
                (if objection
                  [state {:error (assoc (error op objection)
                                        :rsm/residual (- (count iovec) i)
                                        :rsm/entry i)}]
                  (recur state (inc i)))))))))))

;; ------------------------------------------------------ local memory handles

(defn create-localmemory-handle
  "[:create-localmemory-handle name controller local-memory opts?]"
  [state name x memory & [opts]]
  (let [op :create-localmemory-handle
        c (s/of-kind state x :controller)
        m (s/of-kind state memory :local-memory)
        other? (and (nil? m) (s/handle state memory))
        offset (long (:offset opts 0))
        length (long (:length opts (- (long (:size m 0)) offset)))]
    (checked state op
      ;; an invalid handle comes first here as everywhere; the manual has it second
      [:rsm/bad-ctlr-hndl (nil? c)
       :rsm/bad-addr (and (nil? m) (not other?))
       :rsm/bad-addr (not (zero? (rem offset (long (:page-size state)))))]
      (cond
        (or other? (not (:open? m)) (controller/released? c) (not (< -1 offset (long (:size m)))))
        (unspecified state "not of local memory, or what it is of has ended, or not inside it")
        (or (<= length 0) (> length (- (long (:size m)) offset)))
        (failed state op :rsm/bad-length)
        :else
        (ok (s/add-named state name {:kind :localmem :of (:id m) :memory (:memory m)
                                     :base (+ (long (:base m)) offset) :size length :open? true})
            name)))))

(defn free-localmemory-handle
  "[:free-localmemory-handle controller handle]"
  [state x y]
  (let [c (s/of-kind state x :controller)
        h (s/of-kind state y :localmem)]
    (checked state :free-localmemory-handle
      [:rsm/bad-ctlr-hndl (nil? c)
       :rsm/ctlr-not-present (controller/released? c)
       :rsm/bad-localmem-hndl (not (:open? h))]
      (ok (s/change state (:id h) assoc :open? false)))))

;; -------------------------------------------------------------- atomic access

(defn- atomic
  "compare-and-set or get-and-add of an import segment, or else of a memory. effect makes of the values what
  is done to the one that is there."
  [op type effect]
  (fn [state x offset & values]
    (if (not= :import (:kind (s/handle state x)))
      (apply (access/commands op) state x offset values)
      (let [im (s/open-import state x)
            at (args/int64 offset 0)
            n (memory/width type)]
        (checked state op
          [:rsm/bad-offset (not (args/int64? offset))
           :rsm/bad-args-errors (not-every? #(and (access/of-type? type %) (access/fits? type %)) values)
           :rsm/bad-seg-hndl (nil? im)]
          (if-let [why (unclear state im nil)]
            (unspecified state why)
            (let [[state objection] (transfer-objection
                                     state im {:bits 0600 :width n :offset at :n 1 :index 0
                                               :local {:values [0] :room 1} :implicit? false :abort? true})]
              (if objection
                (failed state op objection)
                (let [there (memory/decode type nil (segment-bytes state im at n))
                      [new-value result] ((apply effect type values) there)]
                  (ok (if (some? new-value)
                        (with-segment-bytes state im at (memory/encode type nil new-value))
                        state)
                      result))))))))))

;; ----------------------------------------------------------------- commands

(def commands
  "Command -> function of the state and the command's arguments."
  (into {:compare-and-set-int (atomic :compare-and-set-int :int access/exchanged)
         :compare-and-set-long (atomic :compare-and-set-long :long access/exchanged)
         :get-and-add-int (atomic :get-and-add-int :int access/added)
         :get-and-add-long (atomic :get-and-add-long :long access/added)
         :put (put-elements :put :byte)
         :get (get-elements :get :byte)
         :putv (vector-transfer :putv args/write-bit)
         :getv (vector-transfer :getv args/read-bit)
         :put-signal put-signal
         :create-localmemory-handle create-localmemory-handle
         :free-localmemory-handle free-localmemory-handle}
        (mapcat (fn [[bits type]]
                  (let [put (keyword (str "put" bits)), get (keyword (str "get" bits))]
                    [[put (put-elements put type)] [get (get-elements get type)]])))
        {8 :byte 16 :short 32 :int 64 :long}))
