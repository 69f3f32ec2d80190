(ns rsmapi.bench.table
  "Results as text."
  (:require [clojure.string :as str]
            [rsmapi.bench.stats :as stats]))

(set! *warn-on-reflection* true)

(defn- number [^double x]
  (cond
    (== x (Math/rint x)) (format "%,.0f" x)
    (< (abs x) 10) (format "%.2f" x)
    (< (abs x) 1000) (format "%.1f" x)
    :else (format "%,.0f" x)))

(defn quantity
  "A number with its unit, nanoseconds in what a person likes."
  [x unit]
  (let [x (double x)]
    (str/trim
     (if (= unit "ns")
       (cond (< (abs x) 1e4) (str (number x) " ns")
             (< (abs x) 1e7) (str (number (/ x 1e3)) " us")
             :else (str (number (/ x 1e6)) " ms"))
       (str (number x) " " unit)))))

(defn- spread-text [samples unit]
  (let [{:keys [least median most]} (stats/spread samples)]
    (apply format "%11s %11s %11s" (map #(quantity % unit) [least median most]))))

(def ^:private harness-bytes
  "What JMH itself allocates in an iteration, and more."
  100000)

(defn- bytes-text
  "Allocated bytes for one operation; nothing if they cannot be told from those of JMH."
  [{:keys [allocated samples]} iteration-ns]
  (let [n     (:median (stats/spread allocated))
        noise (when n (* (double harness-bytes) (/ (double (:median (stats/spread samples))) (double iteration-ns))))]
    (cond (nil? n) ""
          (< (double n) 0.5) "0 B"
          (< (double n) (double noise)) ""
          :else (format "%.0f B" (double n)))))

(defn limit-text
  "A target in a few words."
  [{:keys [times plus below]}]
  (if below
    (str "< " (quantity below "ns"))
    (str/join " " (cond-> []
                    times (conj (format "%.2f x" (double times)))
                    plus  (conj "+" (quantity plus "ns"))))))

(defn verdict-text
  "A judged target in a few words."
  [{:keys [verdict fastest ratio least-ratio more times plus below] :as judged}]
  (str (cond below ""
             (and plus (not times)) (str (when-not (neg? (double more)) "+") (quantity more "ns") " beside " fastest ", ")
             :else (format "%.2f x (least %.2f) %s, " (double ratio) (double least-ratio) fastest))
       "target " (limit-text judged) ": " (name verdict)))

(defn row-lines
  "The lines of one row of results."
  [iteration-ns {:keys [row unit sides]}]
  (cons row
        (for [{:keys [side jdk samples judged skipped] :as s} sides
              ;; a program need not have every row
              :when (or skipped (seq samples))]
          (str "  " (format "%-26s %-3s " side (or jdk ""))
               (if (seq samples)
                 (str (spread-text samples unit)
                      (format " %8s" (bytes-text s iteration-ns))
                      (when (seq judged)
                        (str "   " (str/join "; " (map verdict-text judged)))))
                 (str "  -  " skipped))))))

(def heading
  (format "  %-26s %-3s %11s %11s %11s %8s   %s" "" "JDK" "least" "median" "most" "alloc" "beside the fastest of a kind"))

(defn summary
  "How many targets are met, and lines about the others."
  [rows]
  (let [all (for [r rows, s (:sides r), j (:judged s)]
              (assoc j :row (:row r) :side (:side s) :jdk (:jdk s)))
        n   (frequencies (map :verdict all))]
    (cons (format "%d targets met, %d unclear (medians and minima disagree), %d missed"
                  (n :met 0) (n :unclear 0) (n :missed 0))
          (for [verdict [:missed :unclear], j all :when (= verdict (:verdict j))]
            (str "  " (name verdict) ": " (:row j) ", " (:side j) " on " (:jdk j) ": " (verdict-text j))))))
