(ns rsmapi.bench.loops
  "What is measured from Clojure: plain use of rsmapi.core, written as a user would. Called
  by the classes in dev/java, as often as JMH likes."
  (:require [rsmapi.core :as rsm]
            [rsmapi.layout :as layout]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; Single reads and writes, at offsets from an array.

(defmacro ^:private def-gets [name get]
  `(defn ~name ~(with-meta '[m offsets] {:tag 'long})
     (let [~(with-meta 'at {:tag 'ints}) ~'offsets
           n# (alength ~'at)]
       (loop [i# 0 sum# 0]
         (if (< i# n#)
           (recur (inc i#) (+ sum# (~get ~'m (aget ~'at i#))))
           sum#)))))

(defmacro ^:private def-puts [name put value]
  `(defn ~name ~(with-meta '[m offsets] {:tag 'long})
     (let [~(with-meta 'at {:tag 'ints}) ~'offsets
           n# (alength ~'at)]
       (loop [~'i 0]
         (when (< ~'i n#)
           (~put ~'m (aget ~'at ~'i) ~value)
           (recur (inc ~'i))))
       n#)))

(def-gets get-longs rsm/get-long)
(def-gets get-ints rsm/get-int)
(def-gets get-bytes rsm/get-byte)
(def-puts put-longs rsm/put-long! i)
(def-puts put-ints rsm/put-int! i)
(def-puts put-bytes rsm/put-byte! (bit-and i 127))

;; The same of arrays, to see what is the loop's: nothing else can be read in Clojure with fewer checks.

(defmacro ^:private def-array-gets [name tag]
  `(defn ~name ~(with-meta '[a offsets] {:tag 'long})
     (let [~(with-meta 'from {:tag tag}) ~'a
           ~(with-meta 'at {:tag 'ints}) ~'offsets
           n# (alength ~'at)]
       (loop [i# 0 sum# 0]
         (if (< i# n#)
           (recur (inc i#) (+ sum# (long (aget ~'from (aget ~'at i#)))))
           sum#)))))

(defmacro ^:private def-array-puts [name tag value]
  `(defn ~name ~(with-meta '[a offsets] {:tag 'long})
     (let [~(with-meta 'to {:tag tag}) ~'a
           ~(with-meta 'at {:tag 'ints}) ~'offsets
           n# (alength ~'at)]
       (loop [~'i 0]
         (when (< ~'i n#)
           (aset ~'to (aget ~'at ~'i) ~value)
           (recur (inc ~'i))))
       n#)))

(def-array-gets array-get-longs longs)
(def-array-gets array-get-ints ints)
(def-array-gets array-get-bytes bytes)
(def-array-puts array-put-longs longs i)
(def-array-puts array-put-ints ints (unchecked-int i))
(def-array-puts array-put-bytes bytes (unchecked-byte i))

;; Passes over much memory.

(defn sum ^long [m ^long bytes]
  (loop [at 0 sum 0]
    (if (< at bytes)
      (recur (+ at 8) (+ sum (rsm/get-long m at)))
      sum)))

(defn column ^long [m ^long bytes]
  (loop [at 16 sum 0]
    (if (< at bytes)
      (recur (+ at 64) (+ sum (rsm/get-int m at)))
      sum)))

(defn fill ^long [m ^long bytes]
  (rsm/fill! m 0 bytes 1)
  bytes)

;; Copies.

(defn copy-out [m array ^long bytes]
  (rsm/get-bytes! m 0 array 0 bytes))

(defn copy-in [m array ^long bytes]
  (rsm/put-bytes! m 0 array 0 bytes))

(defn copy-within [m ^long bytes]
  (rsm/copy! m 0 m bytes bytes))

(defn put-all [im array]
  (rsm/put! im 0 array))

(defn get-all [im array]
  (rsm/get! im 0 array))

;; Handles.

(defn map-unmap [im bytes touch]
  (let [m (rsm/map! im {:offset 0 :length bytes})]
    (when touch
      (let [n (long bytes)]
        (loop [at 0]
          (when (< at n)
            (rsm/put-byte! m at 1)
            (recur (+ at 4096))))))
    (rsm/unmap! m)))

(defn barrier [b]
  (rsm/open-barrier! b)
  (rsm/close-barrier! b))

(defn signal [im ex]
  (rsm/signal-post! im)
  (rsm/signal-wait! ex {:timeout-ms 10000}))

;; Structures.

(def ^:private quote-layout
  (layout/layout [:struct [:seq :u64] [:price :f64] [:qty :i32] [:sym [:chars 12]]]))

(layout/defaccessors quote quote-layout)

(defn quotes [m] (layout/array m quote-layout))

(defn prices [m] (layout/column (quotes m) :price))

(defmacro ^:private def-prices [name [source index] price]
  `(defn ~name ~(with-meta [source 'indices] {:tag 'double})
     (let [~(with-meta 'at {:tag 'ints}) ~'indices
           n# (alength ~'at)]
       (loop [i# 0 sum# 0.0]
         (if (< i# n#)
           (recur (inc i#) (let [~index (aget ~'at i#)] (+ sum# (double ~price))))
           sum#)))))

(def-prices prices-by-hand [m i] (rsm/get-double m (+ 8 (* 32 i))))
(def-prices prices-by-accessor [m i] (quote-price m i))
(def-prices prices-by-view [quotes i] (:price (nth quotes i)))
(def-prices prices-by-column [prices i] (nth prices i))

(defn sum-by-hand ^double [m ^long n]
  (loop [i 0 sum 0.0]
    (if (< i n)
      (recur (inc i) (+ sum (rsm/get-double m (+ 8 (* 32 i)))))
      sum)))

(defn sum-of-column [m]
  (reduce + (layout/column (layout/array m quote-layout) :price)))
