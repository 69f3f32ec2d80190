(ns rsmapi.test.scarce
  "Calls in a heap that is full but for a number of bytes. For a child JVM with a small heap and the serial collector, which
  keeps what is free in one piece."
  (:import (java.util.concurrent Callable)))

(set! *warn-on-reflection* true)

(defn- fill!
  "Hangs so many arrays of this many bytes onto a chain, or as many as there is room for."
  [^objects chain ^long bytes ^long most]
  (try
    (loop [n 0]
      (when (< n most)
        (let [link (object-array 2)]
          (aset link 1 (byte-array bytes))
          (aset link 0 (aget chain 0))
          (aset chain 0 link))
        (recur (inc n))))
    (catch OutOfMemoryError _)))

(defn with-bytes-left
  "Calls f with so many bytes left in the heap, more or less. Returns its value, or what it threw."
  [^long bytes ^Callable f]
  (let [chain (object-array 1)
        reserve (object-array 1)]
    (aset reserve 0 (byte-array bytes))
    (fill! chain 4096 (quot (- (.freeMemory (Runtime/getRuntime)) 100000) 4200))
    (fill! chain 16 Long/MAX_VALUE)
    (aset reserve 0 nil)
    (try
      (.call f)
      (catch Throwable t t)
      (finally
        (aset chain 0 nil)))))
