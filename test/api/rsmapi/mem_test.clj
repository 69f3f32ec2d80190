(ns rsmapi.mem-test
  "The memory engines against java.nio, each that runs on this JDK."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.test.check.clojure-test :refer [defspec]]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop])
  (:import (java.lang.reflect Field)
           (java.nio ByteBuffer ByteOrder CharBuffer DoubleBuffer FloatBuffer
                     IntBuffer LongBuffer ShortBuffer)
           (java.util Arrays Random)
           (java.util.concurrent CountDownLatch TimeUnit)
           (org.rsmapi LocalMemory)
           (org.rsmapi.mem ByteSwap Engine)))

(set! *warn-on-reflection* true)

(def ^:private jdk (.feature (Runtime/version)))

(def ^:private engines
  "unsafe runs where the JDK still allows it, with a warning from JDK 24 on."
  (keep (fn [engine-name]
          (try (Engine/of engine-name)
               (catch IllegalStateException e
                 (when-not (or (and (= engine-name "foreign") (< jdk 22))
                               (and (= engine-name "unsafe") (<= 24 jdk)))
                   (throw e)))))
        ["foreign" "unsafe"]))

(defn- cause-message [f]
  (try (f) nil (catch IllegalStateException e (.getMessage e))))

(deftest choice
  (is (= (or (System/getProperty "rsmapi.engine")
             (if (<= 22 jdk) "foreign" "unsafe"))
         (.name Engine/ENGINE)))
  (is (seq engines))
  (is (re-find #"foreign, unsafe or unset" (str (cause-message #(Engine/of "fast")))))
  (when (< jdk 22)
    (is (re-find #"needs JDK 22" (str (cause-message #(Engine/of "foreign")))))))

;; One value at a time

(def ^:private size 64)

(def ^:private kinds
  "kind -> [bytes, writers, readers, oracle's writer, oracle's reader]; a
  value is a long, of which the low bytes count."
  {:byte  [1
           {:plain    (fn [^Engine e ^long a ^long v] (.putByte e a (unchecked-byte v)))
            :volatile (fn [^Engine e ^long a ^long v] (.putByteVolatile e a (unchecked-byte v)))
            :release  (fn [^Engine e ^long a ^long v] (.putByteRelease e a (unchecked-byte v)))}
           {:plain    (fn [^Engine e ^long a] (long (.getByte e a)))
            :volatile (fn [^Engine e ^long a] (long (.getByteVolatile e a)))
            :acquire  (fn [^Engine e ^long a] (long (.getByteAcquire e a)))}
           (fn [^ByteBuffer b ^long i ^long v] (.put b (int i) (unchecked-byte v)))
           (fn [^ByteBuffer b ^long i] (long (.get b (int i))))]
   :short [2
           {:plain    (fn [^Engine e ^long a ^long v] (.putShort e a (unchecked-short v)))
            :volatile (fn [^Engine e ^long a ^long v] (.putShortVolatile e a (unchecked-short v)))
            :release  (fn [^Engine e ^long a ^long v] (.putShortRelease e a (unchecked-short v)))}
           {:plain    (fn [^Engine e ^long a] (long (.getShort e a)))
            :volatile (fn [^Engine e ^long a] (long (.getShortVolatile e a)))
            :acquire  (fn [^Engine e ^long a] (long (.getShortAcquire e a)))}
           (fn [^ByteBuffer b ^long i ^long v] (.putShort b (int i) (unchecked-short v)))
           (fn [^ByteBuffer b ^long i] (long (.getShort b (int i))))]
   :int   [4
           {:plain    (fn [^Engine e ^long a ^long v] (.putInt e a (unchecked-int v)))
            :volatile (fn [^Engine e ^long a ^long v] (.putIntVolatile e a (unchecked-int v)))
            :release  (fn [^Engine e ^long a ^long v] (.putIntRelease e a (unchecked-int v)))}
           {:plain    (fn [^Engine e ^long a] (long (.getInt e a)))
            :volatile (fn [^Engine e ^long a] (long (.getIntVolatile e a)))
            :acquire  (fn [^Engine e ^long a] (long (.getIntAcquire e a)))}
           (fn [^ByteBuffer b ^long i ^long v] (.putInt b (int i) (unchecked-int v)))
           (fn [^ByteBuffer b ^long i] (long (.getInt b (int i))))]
   :long  [8
           {:plain    (fn [^Engine e ^long a ^long v] (.putLong e a v))
            :volatile (fn [^Engine e ^long a ^long v] (.putLongVolatile e a v))
            :release  (fn [^Engine e ^long a ^long v] (.putLongRelease e a v))}
           {:plain    (fn [^Engine e ^long a] (.getLong e a))
            :volatile (fn [^Engine e ^long a] (.getLongVolatile e a))
            :acquire  (fn [^Engine e ^long a] (.getLongAcquire e a))}
           (fn [^ByteBuffer b ^long i ^long v] (.putLong b (int i) v))
           (fn [^ByteBuffer b ^long i] (.getLong b (int i)))]})

(defn- same? [^bytes a ^bytes b]
  (Arrays/equals a b))

(defn- part [^bytes a ^long from ^long to]
  (Arrays/copyOfRange a (int from) (int to)))

(defn- contents ^bytes [^Engine e ^long address ^long n]
  (let [bytes (byte-array n)]
    (.copyToArray e address bytes 0 (int n))
    bytes))

(def ^:private gen-write
  (gen/let [kind  (gen/elements (keys kinds))
            mode  (gen/elements [:plain :volatile :release])
            place gen/nat
            value gen/large-integer]
    (let [[bytes] (kinds kind)
          step    (if (= mode :plain) 1 bytes)
          places  (inc (quot (- size (long bytes)) (long step)))]
      {:kind kind :mode mode :value value
       :at   (* (long step) (long (mod place places)))})))

(defn- write-and-compare [^Engine e ^long base writes]
  (let [oracle (.order (ByteBuffer/allocate size) (ByteOrder/nativeOrder))]
    (.fill e base size (byte 0))
    (every? (fn [{:keys [kind mode at value]}]
              (let [[bytes writers readers put-oracle get-oracle] (kinds kind)
                    address (+ base (long at))]
                ((writers mode) e address value)
                (put-oracle oracle at value)
                (and (same? (contents e base size) (.array oracle))
                     (every? (fn [[read-mode reader]]
                               (or (and (not= :plain read-mode)
                                        (pos? (mod (long at) (long bytes))))
                                   (= (get-oracle oracle at) (reader e address))))
                             readers))))
            writes)))

(defspec values-are-where-nio-puts-them 300
  (prop/for-all [writes (gen/vector gen-write 1 30)]
    (with-open [memory (LocalMemory/allocate size)]
      (every? #(write-and-compare % (.address memory) writes) engines))))

(deftest atomics-one-thread
  (doseq [^Engine e engines]
    (testing (.name e)
      (with-open [memory (LocalMemory/allocate size)]
        (let [a (.address memory)]
          (.putInt e (+ a 4) -1)
          (is (not (.compareAndSetInt e a 1 2)))
          (is (.compareAndSetInt e a 0 Integer/MAX_VALUE))
          (is (= Integer/MAX_VALUE (.getAndAddInt e a 1)))
          (is (= Integer/MIN_VALUE (.getInt e a)) "wraps around")
          (is (= -1 (.getInt e (+ a 4))) "the neighbour is left alone")
          (is (not (.compareAndSetLong e (+ a 8) 1 2)))
          (is (.compareAndSetLong e (+ a 8) 0 Long/MAX_VALUE))
          (is (= Long/MAX_VALUE (.getAndAddLong e (+ a 8) 1)))
          (is (= Long/MIN_VALUE (.getLong e (+ a 8)))))))))

;; Two threads

(defn- both
  "Runs f on 0 and on 1 in two threads started together; true if both came to
  their end in time, else what happened."
  [f]
  (let [start   (CountDownLatch. 1)
        runs    (mapv #(future (.await start) (f %) true) [0 1])]
    (.countDown start)
    (every? true? (map #(deref % 60000 :late) runs))))

(deftest atomics-two-threads
  (let [n 200000]
    (doseq [^Engine e engines]
      (testing (.name e)
        (with-open [memory (LocalMemory/allocate size)]
          (let [a (.address memory)]
            (is (both (fn [_]
                        (dotimes [_ n]
                          (.getAndAddInt e a 1)
                          (.getAndAddLong e (+ a 8) 3)
                          (loop []
                            (let [v (.getInt e (+ a 16))]
                              (when-not (.compareAndSetInt e (+ a 16) v (inc v)) (recur))))
                          (loop []
                            (let [v (.getLong e (+ a 24))]
                              (when-not (.compareAndSetLong e (+ a 24) v (inc v)) (recur))))))))
            (is (= (* 2 n) (.getInt e a)))
            (is (= (* 6 n) (.getLong e (+ a 8))))
            (is (= (* 2 n) (.getInt e (+ a 16))))
            (is (= (* 2 n) (.getLong e (+ a 24))))))))))

(deftest release-and-acquire
  (testing "what was written before the release is seen after the acquire"
    (let [n 100000]
      (doseq [^Engine e engines]
        (with-open [memory (LocalMemory/allocate 256)]
          (let [data (.address memory)
                flag (+ data 128)
                bad  (atom 0)
                deadline (+ (System/nanoTime) (.toNanos TimeUnit/SECONDS 60))
                await! (fn [^long v]
                         (loop []
                           (when-not (= v (.getLongAcquire e flag))
                             (when (< deadline (System/nanoTime))
                               (throw (IllegalStateException. "waited too long")))
                             (Thread/onSpinWait)
                             (recur))))]
            (is (both (fn [side]
                        (dotimes [i n]
                          (let [turn (* 2 i)]
                            (if (= 0 side)
                              (do (await! turn)
                                  (.putLong e data (* 7 i))
                                  (.putLongRelease e flag (inc turn)))
                              (do (await! (inc turn))
                                  (when-not (= (* 7 i) (.getLong e data)) (swap! bad inc))
                                  (.putLongRelease e flag (+ 2 turn)))))))))
            (is (= 0 @bad) (.name e))))))))

;; Many bytes

(def ^:private piece
  "What an engine moves in one piece, in bytes."
  (let [^Field field (.getDeclaredField Engine "CHUNK")]
    (.setAccessible field true)
    (.getLong field nil)))

(def ^:private large
  "More than that, and no multiple of it."
  (+ (* 2 (long piece)) 12345))

(defn- random-bytes ^bytes [seed ^long n]
  (let [bytes (byte-array n)]
    (.nextBytes (Random. seed) bytes)
    bytes))

(deftest copying-and-filling
  (doseq [^Engine e engines]
    (testing (.name e)
      (with-open [memory (LocalMemory/allocate large)]
        (let [a      (.address memory)
              oracle (random-bytes 1 large)]
          (.copyFromArray e oracle 0 a large)
          (is (same? oracle (contents e a large)))
          (doseq [[from to n] [[0 1 (dec large)] [1 0 (dec large)] [5 5 100] [0 0 0]
                               [0 piece (+ piece 1000)] [piece 0 (+ piece 1000)] [10 (+ piece 2000) 1000003]
                               [0 700000 (+ piece 50000)] [700000 0 (+ piece 50000)]]]
            (.copy e (+ a (long from)) (+ a (long to)) (long n))
            (System/arraycopy oracle from oracle to n)
            (is (same? oracle (contents e a large)) (str "copy " [from to n])))
          (doseq [[from n value] [[0 0 1] [3 1 2] [7 (+ piece 500000) -1] [0 large 3]]]
            (.fill e (+ a (long from)) (long n) (byte value))
            (Arrays/fill ^bytes oracle (int from) (int (+ (long from) (long n))) (byte value))
            (is (same? oracle (contents e a large)) (str "fill " [from n]))))))))

(deftest arrays
  (doseq [^Engine e engines
          [array-of bytes view-of view-of-array]
          [[byte-array 1 identity #(ByteBuffer/wrap %)]
           [short-array 2 #(.asShortBuffer ^ByteBuffer %) #(ShortBuffer/wrap %)]
           [char-array 2 #(.asCharBuffer ^ByteBuffer %) #(CharBuffer/wrap ^chars %)]
           [int-array 4 #(.asIntBuffer ^ByteBuffer %) #(IntBuffer/wrap %)]
           [long-array 8 #(.asLongBuffer ^ByteBuffer %) #(LongBuffer/wrap %)]
           [float-array 4 #(.asFloatBuffer ^ByteBuffer %) #(FloatBuffer/wrap %)]
           [double-array 8 #(.asDoubleBuffer ^ByteBuffer %) #(DoubleBuffer/wrap %)]]
          :let [elements (+ 1000 (quot (long piece) (long bytes)))
                array (array-of elements)]
          unaligned [0 1]]
    (testing (str (.name e) " " (class array) " at " unaligned)
      (let [n (* (long bytes) elements)]
        (with-open [memory (LocalMemory/allocate (+ n 8))]
          (let [a    (+ (.address memory) (long unaligned))
                data (random-bytes 2 n)]
            (.copyFromArray e data 0 a (int n))
            (.copyToArray e a array 0 elements)
            (.fill e a n (byte 0))
            (.copyFromArray e array 0 a elements)
            (is (same? data (contents e a n))
                "every bit comes back, also those of a NaN")
            (is (= (view-of (.order (ByteBuffer/wrap data) (ByteOrder/nativeOrder)))
                   (view-of-array array))
                "the elements are those nio sees")
            (.fill e a n (byte 0))
            (.copyFromArray e array 10 (+ a (* 20 (long bytes))) 30)
            (is (same? (part data (* 10 (long bytes)) (* 40 (long bytes)))
                       (part (contents e a n) (* 20 (long bytes)) (* 50 (long bytes)))))
            (is (every? zero? (contents e a (* 20 (long bytes)))) "nothing before the range")))))))

(deftest buffers
  (doseq [^Engine e engines
          ^long n [1 63 200001]]
    (testing (str (.name e) " " n)
      (with-open [memory (LocalMemory/allocate (+ n 8))]
        (let [a    (.address memory)
              data (random-bytes 3 n)
              heap (fn [] (.slice (.position (ByteBuffer/allocate (int (+ n 20))) 5)))
              direct (fn [] (.slice (.position (ByteBuffer/allocateDirect (int (+ n 20))) 5)))]
          (doseq [make [heap direct], read-only [false true]]
            (let [^ByteBuffer b (make)]
              (.fill e a (+ n 8) (byte 0))
              (.put b (int 7) ^bytes data (int 0) (int n))
              (.copyFromBuffer e (if read-only (.asReadOnlyBuffer b) b) 7 a (int n))
              (is (same? data (contents e a n)))
              (is (= 0 (.getLong e (+ a n))) "nothing behind the range")
              (is (= 0 (.position b)))))
          (doseq [make [heap direct]]
            (let [^ByteBuffer b (make)
                  back (byte-array n)]
              (.copyToBuffer e a b 7 (int n))
              (.get b (int 7) back (int 0) (int n))
              (is (same? data back))
              (is (= 0 (.position b)))
              (is (= 0 (.get b (int 6)) (.get b (int (+ n 7)))) "nothing beside the range"))))))))

(deftest swapping
  (doseq [[array bytes] [[(byte-array 9) 1] [(short-array 9) 2] [(char-array 9) 2] [(int-array 9) 4]
                         [(long-array 9) 8] [(float-array 9) 4] [(double-array 9) 8]]]
    (let [^Engine e (first engines)
          n         (* 9 (long bytes))
          data      (random-bytes 4 n)
          swapped   (byte-array (mapcat identity
                                        (map-indexed (fn [i element] (if (< 1 i 8) (reverse element) element))
                                                     (partition bytes data))))]
      (with-open [memory (LocalMemory/allocate n)]
        (.copyFromArray e data 0 (.address memory) (int n))
        (.copyToArray e (.address memory) array 0 9)
        (ByteSwap/swap array 2 6)
        (.copyFromArray e array 0 (.address memory) 9)
        (is (same? swapped (contents e (.address memory) n)) (str (class array)))))))
