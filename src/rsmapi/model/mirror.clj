(ns ^:no-doc rsmapi.model.mirror
  "Mappings in the model whose memory is a copy: a window, which the mapping shows, and a twin, what the
  exporter has as far as the importer knows. Words are 8 bytes."
  (:require [rsmapi.model.args :as args]
            [rsmapi.model.error :refer [checked failed ok]]
            [rsmapi.model.memory :as memory]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn mirrored?
  "Whether what is imported over a controller (an id) is mirrored."
  [state controller]
  (let [{:keys [type unit]} (s/object state controller)]
    (and (= "sim" type) (= :mirrored (get (:worlds state) unit)))))

(defn- far
  "Where the exporter has what a mapping shows."
  [state m]
  (s/region state (dissoc m :window)))

(defn- aborted? [state m]
  (:aborted? (s/object state (:import m))))

(defn- word
  "The 8 bytes of a word of a memory."
  [state memory base w]
  (memory/read-bytes (get-in state [:memories memory]) (+ (long base) (* 8 (long w))) 8))

(defn- set-word [state memory base w bytes]
  (update-in state [:memories memory] memory/write-bytes (+ (long base) (* 8 (long w))) bytes))

(defn- words
  "The words of a part of a mapping in which anything has been written, here or there."
  [state m offset length]
  (let [{:keys [memory base]} (far state m)
        from (quot (long offset) 8)
        to (quot (+ (long offset) (long length) 7) 8)
        of (fn [memory base] (map #(Math/floorDiv (- (long %) (long base)) 8)
                                  (keys (:bytes (get-in state [:memories memory])))))]
    (into (sorted-set)
          (filter #(and (<= from (long %)) (< (long %) to)))
          (concat (of memory base) (of (:window m) 0) (of (:twin m) 0)))))

(defn pull
  "What the exporter has comes in, but for words that were changed here. The state."
  [state id offset length]
  (let [m (s/object state id)
        {:keys [memory base]} (far state m)]
    (if (aborted? state m)
      state
      (reduce (fn [state w]
                (let [there (word state memory base w)
                      changed? (not= (word state (:window m) 0 w) (word state (:twin m) 0 w))]
                  (cond-> (set-word state (:twin m) 0 w there)
                    (not changed?) (set-word (:window m) 0 w there))))
              state
              (words state m offset length)))))

(defn push
  "What was changed here gets there, if the mapping may write. The state."
  [state id offset length]
  (let [m (s/object state id)
        {:keys [memory base]} (far state m)]
    (if (or (aborted? state m) (args/lacks? (:perm m) args/write-bit))
      state
      (reduce (fn [state w]
                (let [here (word state (:window m) 0 w)]
                  (if (= here (word state (:twin m) 0 w))
                    state
                    (-> state
                        (set-word memory base w here)
                        (set-word (:twin m) 0 w here)))))
              state
              (words state m offset length)))))

(defn added
  "A mapping that has just been made gets a copy, if it needs one. The state."
  [state id]
  (let [m (s/object state id)]
    (if (mirrored? state (:controller (s/object state (:import m))))
      (let [[state window] (s/add-memory state)
            [state twin] (s/add-memory state)]
        (-> state
            (s/change id assoc :window window :twin twin)
            (pull id 0 (:size m))))
      state)))

(defn with-mirror
  "The state after f of the state, the mapping's id, 0 and its size, if an import segment has a mapping that
  is a copy."
  [state im f]
  (let [m (s/object state (:mapping im))]
    (if (:window m)
      (f state (:id m) 0 (:size m))
      state)))

;; ----------------------------------------------------------------- commands

(defn- part [op write? f]
  (fn [state x & [{:keys [offset length] :as opts}]]
    (let [m (s/of-kind state x :mapping)
          at (args/int64 offset 0)
          size (long (:size m 0))
          n (args/int64 length (if (<= 0 (long at) size) (- size (long at)) 0))]
      (checked state op [:rsm/bad-seg-hndl (nil? m)]
        (args/with-typed state op opts #{:offset :length}
          [:rsm/bad-offset (not (args/optional-int64? offset))
           :rsm/bad-length (not (args/optional-int64? length))
           :rsm/seg-not-mapped (not (:mapped? m))
           :rsm/perm-denied (and write? (args/lacks? (:perm m) args/write-bit))
           :rsm/bad-length (neg? (long n))
           :rsm/bad-offset (or (neg? (long at)) (> (long at) size) (> (long n) (- size (long at))))
           :rsm/conn-aborted (aborted? state m)]
          (ok (if (:window m) (f state (:id m) at n) state)))))))

(def commands
  "Command -> function of the state and the command's arguments."
  {:pull (part :pull false pull)
   :push (part :push true push)})
