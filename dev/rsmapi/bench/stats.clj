(ns rsmapi.bench.stats
  "What samples say: the spread, and whether a target is met.")

(set! *warn-on-reflection* true)

(defn spread
  "{:least :median :most} of samples, or nil."
  [samples]
  (when (seq samples)
    (let [v (vec (sort samples))]
      {:least (first v) :median (v (quot (count v) 2)) :most (peek v)})))

(defn fastest
  "Of sides, the one with the least median, or nil if none has been measured."
  [sides]
  (when-let [measured (seq (filter #(seq (:samples %)) sides))]
    (apply min-key #(:median (spread (:samples %))) measured)))

(defn- candidates
  "What a target compares one of our sides with: on the same JDK, or on none."
  [{:keys [beside]} our-side sides]
  (filter (fn [s]
            (and (or (nil? (:jdk s)) (= (:jdk s) (:jdk our-side)))
                 (if (keyword? beside) (= beside (:role s)) (= beside (:side s)))))
          sides))

(defn- limit [{:keys [times plus]} x]
  (+ (* (or times 1) x) (or plus 0)))

(defn judge
  "What of a target a side of ours reaches: the target with
    :ratio, :least-ratio  our median by that of the fastest, and the same of the minima
    :more                 our median less that of the fastest, for :plus
    :fastest              the side it was compared with
    :verdict              :met, :missed, or :unclear: median and minimum do not agree.
  nil if there is nothing to compare with."
  [{:keys [below] :as target} our-side sides]
  (let [ours    (spread (:samples our-side))
        verdict (fn [median? least?]
                  (cond (and median? least?) :met (or median? least?) :unclear :else :missed))]
    (cond
      (nil? ours) nil
      below (assoc target :verdict (verdict (< (:median ours) below) (< (:least ours) below)))
      :else
      (when-let [them (fastest (candidates target our-side sides))]
        (let [theirs (spread (:samples them))]
          (assoc target
                 :fastest (:side them)
                 :ratio (/ (:median ours) (:median theirs))
                 :least-ratio (/ (:least ours) (:least theirs))
                 :more (- (:median ours) (:median theirs))
                 :verdict (verdict (<= (:median ours) (limit target (:median theirs)))
                                   (<= (:least ours) (limit target (:least theirs))))))))))
