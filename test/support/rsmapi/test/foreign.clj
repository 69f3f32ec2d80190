(ns rsmapi.test.foreign
  "Memory segments of java.lang.foreign for tests. Can be loaded on JDK 22 and later only."
  (:require [rsmapi.core :as rsm])
  (:import (java.lang.foreign MemorySegment ValueLayout)
           (java.nio ByteBuffer ByteOrder)))

(set! *warn-on-reflection* true)

(defn view ^MemorySegment [memory]
  (rsm/memory-segment memory))

(defn buffer ^ByteBuffer [memory]
  (.order (.asByteBuffer (view memory)) (ByteOrder/nativeOrder)))

(defmacro result
  "The value of body, or the simple name of the exception's class."
  [& body]
  `(try ~@body (catch Exception e# (symbol (.getSimpleName (class e#))))))

(defn get-long [^MemorySegment s ^long at]
  (.get s ValueLayout/JAVA_LONG at))

(defn put-long! [^MemorySegment s ^long at ^long value]
  (.set s ValueLayout/JAVA_LONG at value))

(defn properties [^MemorySegment s]
  {:size (.byteSize s) :address (.address s) :read-only? (.isReadOnly s) :alive? (.isAlive (.scope s))})

(defn alive? [^MemorySegment s]
  (.isAlive (.scope s)))

(defn late
  "What accesses to a segment give, to a slice and to a buffer that were made before, each by the way in which it ends."
  [^MemorySegment s ^MemorySegment slice ^ByteBuffer b]
  [(result (get-long s 0))
   (result (get-long slice 0))
   (result (.getLong b 0))
   (result (.get s ValueLayout/JAVA_BYTE 0))
   (result (.fill s (byte 1)))
   (result (MemorySegment/copy s 0 (MemorySegment/ofArray (byte-array 8)) 0 8))
   (result (MemorySegment/copy (MemorySegment/ofArray (byte-array 8)) 0 s 0 8))
   (result (.toArray s ValueLayout/JAVA_LONG))])

(defn after
  "What late accesses give after a memory has ended."
  [memory end!]
  (let [s (view memory), slice (.asSlice s 8 16), b (.asByteBuffer s)]
    (end!)
    (distinct (late s slice b))))

(defn read-on
  "Reads until that fails; the exception's name."
  [^MemorySegment s]
  (result
   (loop [sum 0]
     (let [sum (unchecked-add sum (.get s ValueLayout/JAVA_LONG 0))]
       (recur (unchecked-add sum (.get s ValueLayout/JAVA_LONG (- (.byteSize s) 8))))))))

(defn write-on
  "Writes, value by value and in bulk, until that fails; the exception's name."
  [^MemorySegment s]
  (result
   (loop [i 0]
     (dotimes [at 64] (.set s ValueLayout/JAVA_LONG (* 8 at) -1))
     (.fill s (byte -1))
     (recur (inc i)))))

(defn after-buffer
  "What a read of a buffer gives."
  [^ByteBuffer b]
  (result (.getLong b 0)))
