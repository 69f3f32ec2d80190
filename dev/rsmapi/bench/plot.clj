(ns rsmapi.bench.plot
  "Results as SVG: a line for each side of each row, from the least to the most with a dot at
  the median, on a logarithmic scale."
  (:require [clojure.string :as str]
            [rsmapi.bench.stats :as stats]
            [rsmapi.bench.table :as table]))

(set! *warn-on-reflection* true)

(def ^:private left 330)
(def ^:private width 1100)
(def ^:private right 120)
(def ^:private line 16)
(def ^:private gap 26)
(def ^:private top 60)

(def ^:private colours
  {:ours "#c0392b" :peer "#2471a3" :c "#1e8449" :floor "#7f8c8d" :other "#7f8c8d"})

(defn- escape [s]
  (str/escape (str s) {\& "&amp;" \< "&lt;" \> "&gt;" \" "&quot;"}))

(defn- tag [name attributes & content]
  (str "<" name
       (apply str (for [[k v] attributes]
                    (str " " (clojure.core/name k) "=\"" (if (float? v) (format "%.1f" v) (escape v)) "\"")))
       ">" (apply str content) "</" name ">\n"))

(defn- text [x y attributes s]
  (tag "text" (merge {:x x :y y} attributes) (escape s)))

(defn- scale
  "A function from values to x, for values from lo to hi."
  [lo hi]
  (let [a (Math/log10 lo)
        b (Math/log10 hi)
        span (max 1e-9 (- b a))]
    (fn [v] (+ left (* (- width left right) (/ (- (Math/log10 v) a) span))))))

(defn- ticks [lo hi]
  (for [e (range (long (Math/floor (Math/log10 lo))) (inc (long (Math/ceil (Math/log10 hi)))))
        m [1 2 5]
        :let [v (* m (Math/pow 10 e))]
        :when (<= lo v hi)]
    v))

(defn- thin
  "Every so manieth of a list, so that there are few enough."
  [vs]
  (let [n (count vs)]
    (if (< n 14) vs (take-nth (inc (quot n 14)) vs))))

(defn- side-lines [x y unit {:keys [side jdk role samples]}]
  (let [{:keys [least median most]} (stats/spread samples)
        colour (colours role)
        mid (- y 4)]
    (str (text (- left 10) y {:text-anchor "end" :font-size 11 :fill colour}
               (str side (when jdk (str ", JDK " jdk))))
         (tag "line" {:x1 (x least) :x2 (x most) :y1 mid :y2 mid :stroke colour :stroke-width 3
                      :stroke-opacity 0.4 :stroke-linecap "round"})
         (tag "circle" {:cx (x median) :cy mid :r 4 :fill (if (and jdk (< jdk 22)) "white" colour)
                        :stroke colour :stroke-width 1.5})
         (text (+ (x most) 8) y {:font-size 10 :fill "#555"} (table/quantity median unit)))))

(defn- row-height [{:keys [sides]}]
  (+ gap (* line (count sides))))

(defn- panel
  "The plot of rows of one unit, and its height."
  [title unit rows]
  (let [values (filter pos? (mapcat :samples (mapcat :sides rows)))
        lo (* 0.8 (apply min values))
        hi (* 1.2 (apply max values))
        x (scale lo hi)
        height (+ top 30 (reduce + (map row-height rows)))
        bottom (- height 20)]
    (str (tag "svg" {:xmlns "http://www.w3.org/2000/svg" :width width :height height
                     :viewBox (str "0 0 " width " " height)
                     :font-family "sans-serif"}
              (tag "rect" {:width width :height height :fill "white"})
              (text 20 28 {:font-size 18} title)
              (text 20 46 {:font-size 11 :fill "#555"}
                    "least to most, dot: median (hollow: a JDK before 22); less is better; logarithmic")
              (apply str
                     (for [v (thin (ticks lo hi))]
                       (str (tag "line" {:x1 (x v) :x2 (x v) :y1 top :y2 bottom :stroke "#e5e5e5"})
                            (text (x v) (+ bottom 14) {:text-anchor "middle" :font-size 10 :fill "#555"}
                                  (table/quantity v unit)))))
              (loop [rows rows, y (+ top gap), out ""]
                (if-let [{:keys [row sides] :as r} (first rows)]
                  (recur (rest rows)
                         (+ y (row-height r))
                         (str out
                              (text 20 (- y 8) {:font-size 12 :font-weight "bold"} row)
                              (apply str (map-indexed (fn [i s] (side-lines x (+ y 6 (* line i)) unit s)) sides))))
                  out))))))

(defn plots
  "SVG texts by file name: one for each group and unit."
  [rows]
  (into (sorted-map)
        (for [[[group unit] rows] (group-by (juxt :group :unit) rows)
              :let [drawn (for [r rows
                                :let [sides (filter #(some pos? (:samples %)) (:sides r))]
                                :when (seq sides)]
                            (assoc r :sides (for [s sides] (update s :samples #(filterv pos? %)))))]
              :when (seq drawn)]
          [(str group (when-not (#{"ns" "ms"} unit) (str "-" (if (= unit "") "count" unit))) ".svg")
           (panel (str group (when-not (#{"ns" "ms"} unit) (str ", " (if (= unit "") "counts" unit)))) unit drawn)])))
