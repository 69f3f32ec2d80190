(ns ^:no-doc rsmapi.model.state
  "The model's state, and how to find things in it.

    :page-size  bytes
    :processes  {name {:uid :gid :groups :privileged? :umask}}
    :process    the one that is making the call
    :names      {[process name] id}: what the handles of a process are called
    :objects    {id object}: what they are, maps with :kind
    :memories   {id memory}: bytes, see rsmapi.model.memory
    :next       the next id
    :next-segment-id  the next segment id that is assigned

  Objects are never removed: what has ended says so in its :state.

    :controller    :name :type :unit :node :refs
    :export        :controller :node :memory :base :size :umask :allow-rebind? :state
                   (:created :published :destroyed) :segment-id :acl :events :pollfds
    :import        :controller :export :node :segment-id :perm :size :state (:connected
                   :disconnected) :aborted? :mapping :mode :barrier :events :pollfds
    :mapping       :import :perm :offset :size :implicit? :mapped?, and if it is a copy, :window :twin
    :local-memory  :memory :base :size :open?
    :localmem      :memory :base :size :open?      a local memory handle
    :barrier       :import :state (:closed :open :destroyed)
    :pollfd        :segment

  All have :process, and refer to each other by id."
  (:require [rsmapi.model.memory :as memory]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- objects

(defn object
  "The object of this id, with the id as :id."
  [state id]
  (when-let [x (get-in state [:objects id])]
    (assoc x :id id)))

(defn handle
  "What a name stands for in the calling process; nil if for nothing."
  [state x]
  (when (keyword? x)
    (object state (get-in state [:names [(:process state) x]]))))

(defn of-kind
  "What a name stands for, if it is of this kind, else nil."
  [state x kind]
  (let [h (handle state x)]
    (when (= kind (:kind h)) h)))

(defn import-segment
  "The import segment that a name stands for; a mapping stands for the one it is of."
  [state x]
  (let [h (handle state x)]
    (case (:kind h)
      :import h
      :mapping (object state (:import h))
      nil)))

(defn mapping?
  "Whether a name stands for a mapping."
  [state x]
  (= :mapping (:kind (handle state x))))

(def of-a-mapping
  "it is not said whether a mapping stands for its segment here")

(defmacro unless-mapping
  "The body's result; unspecified if x is a mapping where a segment is asked for."
  [state x & body]
  `(if (mapping? ~state ~x)
     [~state {:unspecified of-a-mapping}]
     (do ~@body)))

(defn segment
  "The export or import segment that a name stands for."
  [state x]
  (let [h (handle state x)]
    (when (#{:export :import} (:kind h)) h)))

(defn bind
  "The calling process calls an object by this name from now on."
  [state name id]
  (assoc-in state [:names [(:process state) name]] id))

(defn add
  "A new object, without a name: [state id]."
  [state object]
  (let [id (:next state)]
    [(-> state
         (update :objects assoc id (assoc object :process (:process state)))
         (update :next inc))
     id]))

(defn add-named
  "A new object with a name. The state."
  [state name object]
  (let [[state id] (add state object)]
    (bind state name id)))

(defn change
  "An object changed by f."
  [state id f & args]
  (apply update-in state [:objects id] f args))

(defn all
  "All objects of a kind for which keep? is true."
  [state kind keep?]
  (for [[id x] (:objects state)
        :let [x (assoc x :id id)]
        :when (and (= kind (:kind x)) (keep? x))]
    x))

;; ------------------------------------------------------------------ memory

(defn add-memory
  "New memory of zeros: [state id]."
  [state]
  (let [id (:next state)]
    [(-> state
         (update :memories assoc id memory/zeros)
         (update :next inc))
     id]))

(defn open-import? [im]
  (= :connected (:state im)))

(defn open-import
  "The import segment of this name, if it has not been disconnected."
  [state x]
  (let [im (of-kind state x :import)]
    (when (some-> im open-import?) im)))

(defn alive?
  "Whether an export segment has not been destroyed."
  [ex]
  (contains? #{:created :published} (:state ex)))

(defn region
  "Where the bytes of an object are: {:memory id, or nil for nobody's, :base offset}. A
  mapping sees what the export segment is bound to now; with the exporter gone, nobody's."
  [state {:keys [kind] :as x}]
  (case kind
    (:export :local-memory :localmem) (select-keys x [:memory :base])
    :mapping (let [im (object state (:import x))
                   ex (object state (:export im))]
               (cond
                 (:aborted? im) {:memory nil :base 0}
                 (:window x)    {:memory (:window x) :base 0}
                 :else
                 {:memory (:memory ex)
                  :base (+ (long (:base ex)) (long (:offset x)))}))))

(defn read-at
  "The n bytes at an offset of an object."
  [state x offset n]
  (let [{:keys [memory base]} (region state x)]
    (memory/read-bytes (get-in state [:memories memory] memory/nobodys)
                       (+ (long base) (long offset)) n)))

(defn write-at
  "Bytes written at an offset of an object. The state."
  [state x offset bytes]
  (let [{:keys [memory base]} (region state x)]
    (if memory
      (update-in state [:memories memory] memory/write-bytes (+ (long base) (long offset)) bytes)
      state)))

;; --------------------------------------------------------------- importers

(defn importers
  "The import segments, of all processes, that are connected to an export segment."
  [state export-id]
  (all state :import #(and (= export-id (:export %)) (open-import? %) (not (:aborted? %)))))

(defn abort-importers
  "Every importer of an export segment loses it, for good."
  [state export-id]
  (reduce #(change %1 (:id %2) assoc :aborted? true)
          state
          (importers state export-id)))
