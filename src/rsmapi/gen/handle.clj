(ns ^:no-doc rsmapi.gen.handle
  "For the generators of commands: handles to choose from in a state of the model."
  (:require [clojure.string :as str]
            [clojure.test.check.generators :as gen]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn handles
  "The names that the calling process has for things of this kind, sorted."
  [state kind]
  (sort (for [[[process name] id] (:names state)
              :when (and (= process (:process state))
                         (= kind (get-in state [:objects id :kind])))]
          name)))

(defn live?
  "Whether what a name stands for has not ended."
  [state name]
  (let [{:keys [kind] :as h} (s/handle state name)]
    (case kind
      :controller (pos? (long (:refs h)))
      :export (s/alive? h)
      :import (s/open-import? h)
      :mapping (:mapped? h)
      (:local-memory :localmem) (:open? h)
      ;; also of a segment that is disconnected
      :barrier (not= :destroyed (:state h))
      true)))

(defn live
  "The names of what has not ended, of a kind."
  [state kind]
  (filterv #(live? state %) (handles state kind)))

(defn which
  "A handle of one of these kinds: mostly a live one, now and then one that has ended, one
  of another kind, or none. nil if there is no live one."
  [state & kinds]
  (when-let [good (seq (mapcat #(live state %) kinds))]
    (let [ended (remove (set good) (mapcat #(handles state %) kinds))
          every-name (sort (map second (keys (:names state))))]
      (gen/frequency
       (cond-> [[40 (gen/elements good)]]
         (seq ended) (conj [4 (gen/elements ended)])
         :always (conj [1 (gen/elements (cons :nothing every-name))]))))))

(defn fresh
  "A name that nothing has yet."
  [state prefix]
  (keyword (str prefix (count (filter #(str/starts-with? (name %) prefix)
                                      (map second (keys (:names state))))))))

(defn with-handle
  "A generator of [op handle & more], more being a generator made for the handle's object, or
  nil if there is no such handle."
  [state op kinds more]
  (when-let [h (apply which state kinds)]
    (gen/bind h (fn [x]
                  (gen/fmap #(into [op x] %)
                            (more (s/handle state x)))))))

(def nothing
  "No more arguments."
  (gen/return []))

(defn place
  "Where accesses and mappings of an object can be."
  [state h]
  {:page-size (:page-size state) :size (:size h (:page-size state)) :perm (:perm h 0600)})
