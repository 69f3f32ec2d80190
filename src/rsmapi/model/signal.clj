(ns ^:no-doc rsmapi.model.signal
  "Signals and poll descriptors in the model: every segment handle has one counter of
  events."
  (:require [rsmapi.model.error :refer [checked ok unspecified]]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn- open-segment
  "The export or import segment of this name, if it has not ended."
  [state x]
  (let [h (s/segment state x)]
    (when (case (:kind h)
            :export (s/alive? h)
            :import (s/open-import? h)
            nil false)
      h)))

(defn- post-to
  "One event more for a segment; without accumulation only if there is none. The state."
  [state id no-accumulate]
  (s/change state id update :events
            (fn [n] (if (and no-accumulate (pos? (long n))) n (inc (long n))))))

(defn signal-post
  "[:signal-post segment opts?]: from an import segment one event for the exporter's, from an
  export segment one for each importer's."
  [state x & [opts]]
  (s/unless-mapping state x
    (let [h (open-segment state x)
          targets (if (= :export (:kind h))
                    (map :id (s/importers state (:id h)))
                    [(:export h)])]
      (checked state :signal-post
        [:rsm/bad-seg-hndl (nil? h)
         :rsm/conn-aborted (:aborted? h)]
        (ok (reduce #(post-to %1 %2 (:no-accumulate opts)) state targets))))))

(defn signal-wait
  "[:signal-wait segment opts?]: takes one event. Where there is none, and the call would
  wait, the result is not specified: another process would have to act first."
  [state x & [opts]]
  (s/unless-mapping state x
    (let [h (open-segment state x)
          events (long (:events h 0))]
      (cond
        (pos? events) (ok (s/change state (:id h) update :events dec))
        (and h (not (:aborted? h)) (neg? (long (:timeout-ms opts -1))))
        (unspecified state "it waits for an event")
        :else
        (checked state :signal-wait
          [:rsm/bad-seg-hndl (nil? h)
           :rsm/conn-aborted (:aborted? h)
           :rsm/timeout true]
          (ok state))))))

;; --------------------------------------------------------- poll descriptors

(defn get-pollfd
  "[:get-pollfd name segment]"
  [state name x]
  (s/unless-mapping state x
    (let [h (open-segment state x)]
      (checked state :get-pollfd [:rsm/bad-seg-hndl (nil? h)]
        (ok (-> state
                (s/change (:id h) update :pollfds inc)
                (s/add-named name {:kind :pollfd :segment (:id h)}))
            name)))))

(defn release-pollfd
  "[:release-pollfd segment]: with no reference left, nothing."
  [state x]
  (s/unless-mapping state x
    (let [h (open-segment state x)]
      (checked state :release-pollfd [:rsm/bad-seg-hndl (nil? h)]
        (ok (s/change state (:id h) update :pollfds #(max 0 (dec (long %)))))))))

(defn- pollable?
  "Whether it is said what polling for this segment gives: not so when it has ended, when
  its descriptor has been released, or, without an event, when it is aborted, which wakes
  pollers."
  [state pollfd]
  (let [h (s/object state (:segment pollfd))]
    (and h
         (if (= :export (:kind h)) (s/alive? h) (s/open-import? h))
         (pos? (long (:pollfds h)))
         (not (and (:aborted? h) (zero? (long (:events h))))))))

(defn signal-wait-pollfd
  "[:signal-wait-pollfd [pollfd ...] {:timeout-ms 0}]: takes one event of each segment that
  has one. The value is the vector of the ready ones."
  [state xs opts]
  (let [pollfds (map #(s/of-kind state % :pollfd) xs)]
    (if-not (and (seq xs) (every? #(pollable? state %) pollfds) (apply distinct? xs)
                 (apply distinct? (map :segment pollfds)))
      (unspecified state "something that cannot be polled")
      (let [ready? #(pos? (long (:events (s/object state (:segment %)))))
            ready (filterv (fn [[_ p]] (ready? p)) (map vector xs pollfds))]
        (if (and (empty? ready) (neg? (long (:timeout-ms opts -1))))
          (unspecified state "it waits for an event")
          (checked state :signal-wait-pollfd
            [:rsm/timeout (empty? ready)]
            (ok (reduce (fn [state [_ p]] (s/change state (:segment p) update :events dec))
                        state ready)
                (mapv first ready))))))))

(def commands
  "Command -> function of the state and the command's arguments."
  {:signal-post signal-post
   :signal-wait signal-wait
   :get-pollfd get-pollfd
   :release-pollfd release-pollfd
   :signal-wait-pollfd signal-wait-pollfd})
