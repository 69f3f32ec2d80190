(ns rsmapi.access-test
  "The typed access functions of rsmapi.core on local memory: values against
  java.nio, every wrong argument, and what the compiler makes of a call."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check.clojure-test :refer [defspec]]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm])
  (:import (clojure.lang Compiler LineNumberingPushbackReader)
           (java.io StringReader StringWriter)
           (java.lang.reflect Field InvocationTargetException Method Modifier)
           (java.nio ByteBuffer ByteOrder)
           (java.util Arrays)
           (org.rsmapi ArrayType LocalMemory RsmException SegmentMemory)))

(set! *warn-on-reflection* true)

(def ^:private size 64)

(def types
  "type -> its size, a generator of what may be put, and nio's way to put it.
  What is read back is what nio reads back."
  {"byte"   {:bytes 1 :gen (gen/choose -128 255)
             :put (fn [^ByteBuffer b i v] (.put b (int i) (unchecked-byte v)))
             :get (fn [^ByteBuffer b i] (.get b (int i)))}
   "short"  {:bytes 2 :gen (gen/choose -32768 65535)
             :put (fn [^ByteBuffer b i v] (.putShort b (int i) (unchecked-short v)))
             :get (fn [^ByteBuffer b i] (.getShort b (int i)))}
   "char"   {:bytes 2 :gen (gen/fmap char (gen/choose 0 65535))
             :put (fn [^ByteBuffer b i v] (.putChar b (int i) (char v)))
             :get (fn [^ByteBuffer b i] (.getChar b (int i)))}
   "int"    {:bytes 4 :gen (gen/large-integer* {:min Integer/MIN_VALUE :max 0xFFFFFFFF})
             :put (fn [^ByteBuffer b i v] (.putInt b (int i) (unchecked-int v)))
             :get (fn [^ByteBuffer b i] (.getInt b (int i)))}
   "long"   {:bytes 8 :gen gen/large-integer
             :put (fn [^ByteBuffer b i v] (.putLong b (int i) (long v)))
             :get (fn [^ByteBuffer b i] (.getLong b (int i)))}
   "float"  {:bytes 4 :gen (gen/double* {:NaN? false})
             :put (fn [^ByteBuffer b i v] (.putFloat b (int i) (.floatValue ^Double v)))
             :get (fn [^ByteBuffer b i] (double (.getFloat b (int i))))}
   "double" {:bytes 8 :gen (gen/double* {:NaN? false})
             :put (fn [^ByteBuffer b i v] (.putDouble b (int i) (double v)))
             :get (fn [^ByteBuffer b i] (.getDouble b (int i)))}})

(defn function
  "The access function of that name, as a value."
  [& parts]
  (let [f (apply str parts)]
    (or (some-> (ns-resolve 'rsmapi.core (symbol f)) deref)
        (throw (IllegalStateException. (str "no rsm/" f))))))

(defn- failure
  "The ex-data of the RSM error, the value if there is none, or the class of
  anything else that was thrown."
  [f]
  (try (f)
       (catch RsmException e (ex-data e))
       (catch Throwable e (class e))))

(defn error [f]
  (let [result (failure f)]
    (if (map? result) (:rsm/error result) result)))

(defn- same? [^bytes a ^bytes b]
  (Arrays/equals a b))

(defn nio-order [order]
  (case order
    :little-endian ByteOrder/LITTLE_ENDIAN
    :big-endian    ByteOrder/BIG_ENDIAN
    :native        (ByteOrder/nativeOrder)
    order))

;; Single values

(def ^:private gen-write
  (gen/let [type  (gen/elements (keys types))
            mode  (gen/elements ["" "-volatile" "-release"])
            order (if (and (= "" mode) (not= "byte" type))
                    (gen/elements [nil :little-endian :big-endian :native
                                   ByteOrder/LITTLE_ENDIAN ByteOrder/BIG_ENDIAN])
                    (gen/return nil))
            place gen/nat
            value (:gen (types type))]
    (let [bytes  (long (:bytes (types type)))
          step   (if (= "" mode) 1 bytes)
          places (inc (quot (- (long size) bytes) step))]
      {:type type :mode mode :order order :value value
       :at (* step (long (mod place places)))})))

(defn- agree?
  "Whether values are the same. What was written in one byte order can be a NaN in the other."
  [& values]
  (apply = (map #(if (and (double? %) (Double/isNaN %)) :NaN %) values)))

(defn- put-and-get-agree? [m ^ByteBuffer oracle {:keys [type mode order at value]}]
  (let [{:keys [bytes put get]} (types type)
        orders (when order [order])]
    (.order oracle (nio-order (or order :native)))
    (put oracle at value)
    (and (nil? (apply (function "put-" type mode "!") m at value orders))
         (same? (.array oracle) (rsm/get-bytes m 0 size))
         (agree? (get oracle at) (apply (function "get-" type) m at orders))
         (or (pos? (mod (long at) (long bytes)))
             (do (.order oracle (ByteOrder/nativeOrder))
                 (agree? (get oracle at)
                         ((function "get-" type "-volatile") m at)
                         ((function "get-" type "-acquire") m at)))))))

(defspec values-are-where-nio-puts-them 300
  (prop/for-all [writes (gen/vector gen-write 1 20)]
    (with-open [m (LocalMemory/allocate size)]
      (let [oracle (ByteBuffer/allocate size)]
        (every? #(put-and-get-agree? m oracle %) writes)))))

(deftest what-reading-returns
  (with-open [m (LocalMemory/allocate size)]
    (rsm/fill! m 0 size 0xff)
    (is (= [-1 -1 -1 -1 \uffff]
           [(rsm/get-byte m 0) (rsm/get-short m 0) (rsm/get-int m 0) (rsm/get-long m 0) (rsm/get-char m 0)]))
    (is (every? #(instance? Long %) [(rsm/get-byte m 0) (rsm/get-short m 0) (rsm/get-int m 0)]))
    (is (instance? Double (rsm/get-float m 0)))
    (is (Double/isNaN (rsm/get-double m 0)))
    (testing "a NaN keeps its bits"
      (doseq [bits [0x7ff8000000000001 0x7ff0000000000001 -1 0x7ff4deadbeef0001]]
        (rsm/put-double! m 8 (Double/longBitsToDouble bits))
        (is (= bits (rsm/get-long m 8)))
        (is (= bits (Double/doubleToRawLongBits (rsm/get-double m 8)))))
      (rsm/put-int! m 0 0x7f800001)
      (let [array (float-array 1)]
        (rsm/get-floats! m 0 array)
        (rsm/put-floats! m 4 array)
        (is (= 0x7f800001 (rsm/get-int m 4)) "a signalling one, too, but not as a double")
        (is (Double/isNaN (rsm/get-float m 0)))))
    (testing "numbers of other types"
      (rsm/put-long! m 0 7N)
      (is (= 7 (rsm/get-long m (biginteger 0))))
      (rsm/put-double! m 0 1/4)
      (is (= 0.25 (rsm/get-double m 0)))
      (rsm/put-float! m 0 1e300)
      (is (= ##Inf (rsm/get-float m 0)))
      (rsm/put-char! m 0 65)
      (is (= \A (rsm/get-char m 0))))))

(deftest atomics
  (with-open [m (LocalMemory/allocate size)]
    (is (true? (rsm/compare-and-set-long! m 8 0 5)))
    (is (false? (rsm/compare-and-set-long! m 8 0 6)))
    (is (= 5 (rsm/get-and-add-long! m 8 -6)))
    (is (= -1 (rsm/get-long m 8)))
    (is (true? (rsm/compare-and-set-int! m 4 0 0xffffffff)) "unsigned")
    (is (true? (rsm/compare-and-set-int! m 4 -1 Integer/MAX_VALUE)))
    (is (= Integer/MAX_VALUE (rsm/get-and-add-int! m 4 1)))
    (is (= Integer/MIN_VALUE (rsm/get-int m 4)) "wraps around")
    (is (= 0 (rsm/get-int m 0)))))

;; Many values

(def makers
  {"byte" byte-array "short" short-array "char" char-array "int" int-array
   "long" long-array "float" float-array "double" double-array})

(def ^:private gen-array
  (gen/let [type   (gen/elements (keys types))
            values (gen/vector (:gen (types type)) 0 12)
            order  (if (= "byte" type)
                     (gen/return nil)
                     (gen/elements [nil :native :little-endian :big-endian ByteOrder/BIG_ENDIAN]))
            start  gen/nat
            cut    gen/nat
            at     (gen/choose 0 7)]
    (let [fit   (case type
                  "byte" #(unchecked-byte %) "short" #(unchecked-short %) "int" #(unchecked-int %)
                  "float" #(.floatValue ^Double %)
                  identity)
          index (mod start (inc (count values)))
          n     (mod cut (inc (- (count values) (long index))))]
      {:type type :values (mapv fit values) :order order :index index :n n :at at})))

(defn- element-by-element
  "What get-<type> reads where the array should be."
  [m {:keys [type order at]} n]
  (let [bytes (long (:bytes (types type)))]
    (mapv #(apply (function "get-" type) m (+ (long at) (* bytes (long %))) (when order [order]))
          (range n))))

(defspec arrays-hold-what-single-access-sees 300
  (prop/for-all [{:keys [type values order index n at] :as write} gen-array]
    (with-open [m (LocalMemory/allocate 128)]
      (let [array   ((makers type) values)
            orders  (when order [order])
            seen    (mapv #(if (float? %) (double %) %) values)
            piece   (subvec seen index (+ (long index) (long n)))
            put!    (partial (function "put-" type "s!") m)
            get-all (partial (function "get-" type "s") m)
            fill!   (partial (function "get-" type "s!") m)
            plain   (fn [a] (mapv #(if (float? %) (double %) %) a))]
        (and (nil? (apply put! at array orders))
             (= seen
                (element-by-element m write (count values))
                (plain (apply get-all at (count values) orders))
                (plain (apply fill! at ((makers type) (count values)) orders)))
             (= values (vec array))
             (do (rsm/fill! m 0 128 0)
                 (nil? (apply put! at array index n orders)))
             (= piece (element-by-element m write n))
             (let [target ((makers type) (count values))]
               (and (identical? target (apply fill! at target index n orders))
                    (= piece (plain (take n (drop index target))))
                    (every? #{0 0.0 (char 0)}
                            (plain (concat (take index target)
                                           (drop (+ (long index) (long n)) target)))))))))))

(deftest long-arrays-of-the-other-byte-order
  (testing "longer than one piece of the copy that is swapped"
    (let [n     100001
          other (if (= ByteOrder/BIG_ENDIAN (ByteOrder/nativeOrder)) :little-endian :big-endian)]
      (with-open [m (LocalMemory/allocate (+ 3 (* 8 n)))]
        (let [array (long-array (range n))]
          (rsm/put-longs! m 3 array other)
          (is (= (range n) (seq array)) "the caller's array is as it was")
          (is (every? #(= % (rsm/get-long m (+ 3 (* 8 (long %))) other)) (range n)))
          (is (= (range n) (seq (rsm/get-longs m 3 n other)))))))))

(deftest buffers
  (with-open [m (LocalMemory/allocate size)]
    (let [bytes (byte-array (range 10))]
      (doseq [make [#(ByteBuffer/allocate %) #(ByteBuffer/allocateDirect %)]]
        (let [^ByteBuffer b (make 16)]
          (.put b (int 3) bytes)
          (rsm/fill! m 0 size 0)
          (.limit (.position b 3) 13)
          (is (nil? (rsm/put-buffer! m 1 b)))
          (is (= [13 13] [(.position b) (.limit b)]))
          (is (= (concat [0] bytes [0]) (seq (rsm/get-bytes m 0 12))))
          (.position b 3)
          (let [r (.asReadOnlyBuffer b)]
            (rsm/put-buffer! m 20 r)
            (is (= 13 (.position r)))
            (is (= (seq bytes) (seq (rsm/get-bytes m 20 10))))
            (is (= :rsm/bad-addr (error #(rsm/get-buffer! m 0 (.position r 3))))))
          (.position b 4)
          (is (identical? b (rsm/get-buffer! m 20 b)))
          (is (= [13 13] [(.position b) (.limit b)]))
          (is (= 8 (.get b (int 12))))
          (is (= 0 (.get b (int 3))))
          (testing "an empty one, and one that is too long"
            (is (= :rsm/bad-offset (error #(rsm/get-buffer! m (inc (long size)) b))))
            (is (identical? b (rsm/get-buffer! m size b)))
            (.clear b)
            (is (= :rsm/bad-offset (error #(rsm/get-buffer! m (- (long size) 15) b))))
            (is (= :rsm/bad-offset (error #(rsm/put-buffer! m (- (long size) 15) b))))
            (is (= 0 (.position b)) "nothing moved")))))))

(deftest freed-buffers
  (when (<= 22 (.feature (Runtime/version)))
    (let [[arena buffer] (eval '(let [arena (java.lang.foreign.Arena/ofConfined)]
                                  [arena (.asByteBuffer (.allocate arena 16))]))]
      (with-open [m (LocalMemory/allocate size)]
        (rsm/fill! m 0 16 7)
        (rsm/get-buffer! m 0 buffer)
        (is (= 7 (.get ^ByteBuffer buffer (int 15))))
        (.clear ^ByteBuffer buffer)
        (testing "of another thread"
          (is (= :rsm/bad-addr @(future (error #(rsm/get-buffer! m 0 buffer)))))
          (is (= :rsm/bad-addr @(future (error #(rsm/put-buffer! m 0 buffer))))))
        (.close ^java.lang.AutoCloseable arena)
        (is (= :rsm/bad-addr (error #(rsm/get-buffer! m 0 buffer))))
        (is (= :rsm/bad-addr (error #(rsm/put-buffer! m 0 buffer))))))))

(deftest filling-and-copying
  (with-open [m (LocalMemory/allocate size)
              n (LocalMemory/allocate 16)]
    (rsm/put-bytes! m 0 (byte-array (range 10)))
    (is (nil? (rsm/copy! m 0 m 2 8)))
    (is (= [0 1 0 1 2 3 4 5 6 7] (seq (rsm/get-bytes m 0 10))) "overlapping, upward")
    (rsm/copy! m 2 m 0 8)
    (is (= [0 1 2 3 4 5 6 7 6 7] (seq (rsm/get-bytes m 0 10))) "overlapping, downward")
    (rsm/copy! m 1 n 12 4)
    (is (= [0 0 0 0 1 2 3 4] (seq (rsm/get-bytes n 8 8))))
    (is (nil? (rsm/fill! n 9 3 -1)))
    (is (= [0 -1 -1 -1 1] (seq (rsm/get-bytes n 8 5))))
    (is (nil? (rsm/fill! n 16 0 1)))
    (is (nil? (rsm/copy! m size n 16 0)))
    (is (= :rsm/bad-offset (error #(rsm/copy! m 0 n 13 4))))
    (is (= :rsm/bad-offset (error #(rsm/copy! m 61 n 0 4))))
    (is (= :rsm/bad-offset (error #(rsm/fill! n 13 4 0))))))

;; Wrong arguments

(def ^:private not-memory [nil 0 1.5 "m" :m (Object.) (byte-array 8) (ByteBuffer/allocate 8)])
(def ^:private not-offset
  [nil "0" \a true :k 0.0 1.5 1/2 1M (Object.) [] (inc (bigint Long/MAX_VALUE)) 100000000000000000000N])
(def ^:private outside
  [-1 size (dec (- size)) Long/MAX_VALUE Long/MIN_VALUE (- Long/MAX_VALUE 7) (bit-shift-left 1 32) (bit-shift-left 1 31)])
(def ^:private not-number [nil "0" \a true :k (Object.)])
(def ^:private not-integer (into not-number [1.0 1.5 ##NaN 1/2 1M 100000000000000000000N]))

(def calls
  "Every function with one call that is right: [name & arguments after memory]."
  (concat
   (for [type (keys types), [suffix & more] (cond-> [["" ] ["-volatile"] ["-acquire"]]
                                              (not= "byte" type) (conj ["" :big-endian]))]
     (list* (str "get-" type suffix) 8 more))
   (for [type (keys types), [suffix & more] (cond-> [["!"] ["-volatile!"] ["-release!"]]
                                              (not= "byte" type) (conj ["!" :big-endian]))]
     (list* (str "put-" type suffix) 8 1 more))
   (for [type ["int" "long"], [f & args] [["compare-and-set-" 8 0 1] ["get-and-add-" 8 1]]
         suffix ["!" "-acquire!" "-release!"]]
     (list* (str f type suffix) args))
   (for [[type make] makers, way ["get-" "put-"]
         more (cond-> [[(make 2)] [(make 4) 1 2]]
                (not= "byte" type) (conj [(make 2) :big-endian] [(make 4) 1 2 :big-endian])
                (= "get-" way) (conj [2]))]
     (list* (str way type "s" (when-not (= [2] more) "!")) 8 more))
   [["get-buffer!" 8 (ByteBuffer/allocate 8)] ["put-buffer!" 8 (ByteBuffer/allocate 8)]
    ["fill!" 8 8 0]]))

(defn- rewound [x]
  (if (instance? ByteBuffer x) (.clear ^ByteBuffer x) x))

(defn call [m [f & args]]
  (failure #(apply (function f) m (map rewound args))))

(defn- expect
  "Calls with the argument at position i (0 is the offset) replaced."
  [m [f & args] i wrong expected]
  (let [args   (assoc (vec args) i wrong)
        result (call m (cons f args))]
    (is (= expected (if (map? result) (:rsm/error result) result))
        (str f " " (mapv #(if (nil? %) "nil" (class %)) args) " " (pr-str wrong)))))

(deftest right-arguments
  (with-open [m (LocalMemory/allocate size)]
    (doseq [c calls]
      (is (not (or (class? (call m c)) (map? (call m c)))) (pr-str c)))))

(deftest wrong-memory
  (doseq [c calls, m not-memory]
    (is (= :rsm/bad-seg-hndl (:rsm/error (call m c))) (str (first c) " " (pr-str m))))
  (with-open [m (LocalMemory/allocate size)]
    (doseq [n not-memory]
      (is (= :rsm/bad-seg-hndl (error #(rsm/copy! n 0 m 0 1))))
      (is (= :rsm/bad-seg-hndl (error #(rsm/copy! m 0 n 0 1)))))))

(deftest wrong-offsets
  (with-open [m (LocalMemory/allocate size)]
    (rsm/fill! m 0 size 42)
    (doseq [c calls, offset not-offset]
      (expect m c 0 offset :rsm/bad-offset))
    (doseq [c calls, offset outside]
      (expect m c 0 offset :rsm/bad-offset))
    (doseq [offset (concat not-offset outside)]
      (is (= :rsm/bad-offset (error #(rsm/copy! m offset m 0 1))))
      (is (= :rsm/bad-offset (error #(rsm/copy! m 0 m offset 1)))))
    (testing "by one byte, and nothing is touched"
      (doseq [[type {:keys [bytes]}] types, order (if (= 1 bytes) [nil] [nil [:big-endian]])]
        (let [last-one (- (long size) (long bytes))]
          (is (some? (apply (function "get-" type) m last-one order)))
          (is (= :rsm/bad-offset (error #(apply (function "get-" type) m (inc last-one) order))))
          (is (= :rsm/bad-offset (error #(apply (function "put-" type "!") m (inc last-one) 1 order))))
          (is (= :rsm/bad-offset (error #((function "put-" type "s!") m (inc last-one) ((makers type) 1)))))
          (is (= :rsm/bad-offset (error #((function "get-" type "s") m (inc last-one) 1))))))
      (is (= #{42} (set (rsm/get-bytes m 0 size)))))
    (testing "an error tells"
      (is (= {:rsm/op :get-int-volatile :rsm/code 18 :rsm/offset 61 :rsm/size 64}
             (select-keys (failure #(rsm/get-int-volatile m 61)) [:rsm/op :rsm/code :rsm/offset :rsm/size]))))))

(deftest wrong-alignment
  (with-open [m (LocalMemory/allocate size)]
    (doseq [[f _ & more :as c] calls
            :when (re-find #"volatile|acquire|release|compare|add" f)
            :let [bytes (long (:bytes (some (fn [[type t]] (when (str/includes? f type) t))
                                            (sort-by (comp - count key) types))))]
            offset (range (- (long size) 7))]
      (if (zero? (mod offset bytes))
        (is (not (keyword? (error #(apply (function f) m offset more)))) (pr-str c))
        (is (= [:rsm/bad-mem-alignment 17 offset bytes]
               ((juxt :rsm/error :rsm/code :rsm/offset :rsm/alignment)
                (failure #(apply (function f) m offset more))))
            (str f " " offset))))))

(deftest wrong-values
  (with-open [m (LocalMemory/allocate size)]
    (doseq [[type [least most]] {"byte" [-128 255] "short" [-32768 65535] "char" [0 65535]
                                 "int" [-2147483648 4294967295]}
            suffix ["!" "-volatile!" "-release!"]]
      (let [put! #((function "put-" type suffix) m 8 %)]
        (is (nil? (put! least)))
        (is (nil? (put! most)))
        (doseq [value [(dec (long least)) (inc (long most)) Long/MAX_VALUE Long/MIN_VALUE]]
          (is (= :rsm/bad-args-errors (error #(put! value))) (str type suffix " " value)))))
    (doseq [[f :as c] calls
            :when (and (str/starts-with? f "put-") (str/ends-with? f "!") (number? (nth c 2)))
            value (cond (re-find #"float|double" f) not-number
                        (re-find #"char" f)         (remove char? not-integer)
                        :else                       not-integer)]
      (expect m c 1 value :rsm/bad-args-errors))
    (doseq [value not-integer]
      (doseq [f ["compare-and-set-int!" "compare-and-set-long!"]]
        (is (= :rsm/bad-args-errors (error #((function f) m 8 value 1))))
        (is (= :rsm/bad-args-errors (error #((function f) m 8 1 value)))))
      (doseq [f ["get-and-add-int!" "get-and-add-long!"]]
        (is (= :rsm/bad-args-errors (error #((function f) m 8 value)))))
      (is (= :rsm/bad-args-errors (error #(rsm/fill! m 8 1 value)))))
    (is (= :rsm/bad-args-errors (error #(rsm/fill! m 8 1 256))))
    (is (= :rsm/bad-args-errors (error #(rsm/get-and-add-int! m 8 4294967296))))
    (is (= :rsm/bad-args-errors (error #(rsm/compare-and-set-int! m 8 4294967296 0))))))

(deftest wrong-orders
  (with-open [m (LocalMemory/allocate size)]
    (doseq [c calls
            :when (= :big-endian (last c))
            order [nil :big :BIG-ENDIAN "big-endian" 'big-endian 1 ByteOrder]]
      (expect m c (- (count c) 2) order :rsm/bad-args-errors))))

(deftest wrong-arrays
  (with-open [m (LocalMemory/allocate size)]
    (doseq [[type make] makers
            way [(function "get-" type "s!") (function "put-" type "s!")]]
      (let [array (make 4)]
        (doseq [other (cons nil (vals (update-vals (dissoc makers type) #(% 4))))]
          (is (= :rsm/bad-addr (error #(way m 0 other))))
          (is (= :rsm/bad-addr (error #(way m 0 other 0 0)))))
        (doseq [[index n] [[-1 1] [0 5] [4 1] [5 0] [2 3] [0 -1] [-1 0] [Integer/MAX_VALUE Integer/MAX_VALUE]
                           [1 Integer/MAX_VALUE] [Long/MAX_VALUE 1] [1 Long/MAX_VALUE] [Long/MIN_VALUE 1]
                           [4294967296 1] [0 4294967297] [nil 1] [0 nil] ["0" 1] [0 1.0] [:k 1]]]
          (is (= :rsm/bad-length (error #(way m 0 array index n))) (pr-str type index n)))
        (is (not (keyword? (error #(way m size array 4 0)))) "nothing, at the very end")
        (is (= :rsm/bad-offset (error #(way m (inc (long size)) array 4 0))))))
    (doseq [type (keys types), n [-1 Long/MIN_VALUE 1.5 "1" \a :k]]
      (is (= :rsm/bad-length (error #((function "get-" type "s") m 0 n))) (pr-str type n)))
    (doseq [type (keys types), n [65 Integer/MAX_VALUE Long/MAX_VALUE (bit-shift-left 1 61)]]
      (is (= :rsm/bad-offset (error #((function "get-" type "s") m 0 n))) "before anything is allocated"))
    (is (= {:rsm/index 2 :rsm/count 3 :rsm/array-length 4}
           (select-keys (failure #(rsm/put-longs! m 0 (long-array 4) 2 3))
                        [:rsm/index :rsm/count :rsm/array-length])))))

(deftest wrong-lengths-and-buffers
  (with-open [m (LocalMemory/allocate size)]
    (doseq [n [nil -1 Long/MIN_VALUE 1.5 "1" \a :k 100000000000000000000N]]
      (is (= :rsm/bad-length (error #(rsm/fill! m 0 n 0))))
      (is (= :rsm/bad-length (error #(rsm/copy! m 0 m 8 n)))))
    (doseq [n [65 Long/MAX_VALUE]]
      (is (= :rsm/bad-offset (error #(rsm/fill! m 0 n 0))))
      (is (= :rsm/bad-offset (error #(rsm/copy! m 0 m 8 n)))))
    (doseq [b [nil 1 "b" (byte-array 1) (java.nio.CharBuffer/allocate 1)]]
      (is (= :rsm/bad-addr (error #(rsm/get-buffer! m 0 b))))
      (is (= :rsm/bad-addr (error #(rsm/put-buffer! m 0 b)))))))

(deftest closed
  (let [m (LocalMemory/allocate size)]
    (.close m)
    (doseq [c calls]
      (is (map? (call m c)) (pr-str c)))
    (is (= size (.size m)))
    (is (map? (failure #(rsm/get-bytes m 0 0))) "not even nothing")))

;; The check itself, in every public method of the Java class

(defn limit! [m field-name value]
  (let [^Field field (.getDeclaredField SegmentMemory field-name)]
    (.setAccessible field true)
    (.setLong field m value)))

(defn- sample
  "Arguments for a method of SegmentMemory that are right in 64 bytes."
  [m ^Method method]
  (let [long-count (volatile! 0)]
    (object-array
     (for [^Class type (.getParameterTypes method)]
       (cond
         (= type Long/TYPE)      (if (= 1 (vswap! long-count inc)) 8 1)
         (= type Integer/TYPE)   (int 1)
         (= type Short/TYPE)     (short 1)
         (= type Byte/TYPE)      (byte 1)
         (= type Character/TYPE) \a
         (= type Float/TYPE)     (float 1)
         (= type Double/TYPE)    1.0
         (= type ArrayType)      ArrayType/INTS
         (= type Object)         (int-array 4)
         (= type ByteOrder)      ByteOrder/BIG_ENDIAN
         (= type String)         "a"
         (= type java.nio.charset.Charset) java.nio.charset.StandardCharsets/UTF_8
         (= type ByteBuffer)     (ByteBuffer/allocate 8)
         (= type SegmentMemory)  m
         (.isArray type)         (java.lang.reflect.Array/newInstance (.getComponentType type) 4)
         :else                   (throw (IllegalStateException. (str type))))))))

(defn- invoke [m ^Method method]
  (try (.invoke method m (sample m method)) :done
       (catch InvocationTargetException e
         (if (instance? RsmException (.getCause e)) :refused (.getCause e)))))

(deftest permission-is-checked-everywhere
  (let [methods (filter (fn [^Method method]
                          (and (Modifier/isPublic (.getModifiers method))
                               (pos? (.getParameterCount method))))
                        (.getDeclaredMethods SegmentMemory))
        reads?  #(re-find #"^(get|compareAndSet|copyTo)" (.getName ^Method %))
        writes? #(re-find #"^(put|compareAndSet|getAndAdd|fill|copyTo)" (.getName ^Method %))]
    (is (<= 95 (count methods)) "all of them are looked at")
    (with-open [m (LocalMemory/allocate size)]
      (doseq [^Method method methods]
        (testing (str method)
          (is (Modifier/isFinal (.getModifiers method)))
          (is (or (reads? method) (writes? method)))
          (is (= :done (invoke m method)))
          (limit! m "writeLimit" -1)
          (is (= (if (writes? method) :refused :done) (invoke m method)))
          (limit! m "readLimit" -1)
          (is (= :refused (invoke m method)))
          (limit! m "writeLimit" size)
          (is (= (if (reads? method) :refused :done) (invoke m method)))
          (limit! m "readLimit" size))))))

(deftest limits-at-the-edge-of-long
  (testing "no sum or difference in the check wraps around"
    (let [offsets [0 1 7 8 size Integer/MAX_VALUE (inc Integer/MAX_VALUE) (- Long/MAX_VALUE 8) (- Long/MAX_VALUE 7)
                   (dec Long/MAX_VALUE) Long/MAX_VALUE -1 -8 Long/MIN_VALUE (inc Long/MIN_VALUE)]]
      (with-open [m (LocalMemory/allocate size)]
        (doseq [limit [-1 0 7], offset offsets]
          (limit! m "readLimit" limit)
          (limit! m "writeLimit" limit)
          (is (= :rsm/bad-offset (error #(rsm/get-long m offset))))
          (is (= :rsm/bad-offset (error #(rsm/put-long! m offset 0))))
          (doseq [length offsets :when (< limit length)]
            (is (= :rsm/bad-offset (error #(rsm/fill! m offset length 0))))
            (is (= :rsm/bad-offset (error #(rsm/get-longs m offset length))))))))))

;; What the compiler makes of it

(def ^:private sample-code
  "Calls as a user writes them, with the memory hinted and not."
  '[(ns rsmapi.access-test.sample (:require [rsmapi.core :as rsm]))
    (set! *warn-on-reflection* true)
    (set! *unchecked-math* :warn-on-boxed)
    (defn total ^long [m ^long n]
      (loop [i 0 sum 0]
        (if (< i n)
          (recur (inc i) (+ sum (rsm/get-long m (* 8 i))))
          sum)))
    (defn hinted ^double [^org.rsmapi.SegmentMemory m ^long n]
      (loop [i 0 sum 0.0]
        (if (< i n)
          (recur (inc i) (+ sum (rsm/get-double m (* 8 i)) (rsm/get-float m i :big-endian)))
          sum)))
    (defn write [m ^long n]
      (dotimes [i n]
        (rsm/put-long! m (* 8 i) i)
        (rsm/put-byte! m i (bit-and i 0xff))
        (rsm/put-double! m (* 8 i) (* 0.5 i))
        (rsm/put-float! m 0 i)
        (rsm/put-char! m 0 (rsm/get-char m 2))
        (rsm/put-int-release! m (* 4 i) (inc (rsm/get-int-acquire m 0)))))
    (defn atomic ^long [m]
      (if (rsm/compare-and-set-long! m 0 (rsm/get-long-volatile m 0) 1)
        (+ (rsm/get-and-add-int! m 8 1) (rsm/get-and-add-long! m 16 -1))
        0))
    (defn arrays ^long [m ^long n]
      (let [longs (rsm/get-longs m 0 n)
            bytes (rsm/get-bytes! m 0 (byte-array 8))]
        (+ (aget longs 0) (aget bytes 0) (alength (rsm/get-doubles m 0 1 :native)))))
    (defn boxed [m offset value] (rsm/put-int! m offset value :little-endian) (rsm/get-int m offset))
    (defn odd [m x]
      [(rsm/get-long m (int 0)) (rsm/get-long m (short 0)) (rsm/get-long m nil) (rsm/get-long m "x")
       (rsm/get-long m 1.5) (rsm/get-long m (float 1)) (rsm/get-long m \a) (rsm/get-long m (char 65))
       (rsm/get-long m true) (rsm/get-long m (boolean x)) (rsm/get-long m 1N) (rsm/get-long m 1/2)
       (rsm/get-long nil 0) (rsm/get-long 5 0) (rsm/get-long m (if x 0 nil)) (rsm/get-long m (alength (byte-array 0)))
       (rsm/put-double! m 0 (int 1)) (rsm/put-double! m 0 nil) (rsm/put-char! m 0 nil) (rsm/put-char! m 0 (int 65))
       (rsm/put-char! m 0 1.5) (rsm/put-char! m 0 true) (rsm/put-long! m 0 (float 1)) (rsm/put-long! m 0 (char 65))
       (rsm/put-float! m 0 (float 1)) (rsm/put-float! m 0 (char 1)) (rsm/put-float! m 0 (boolean x))
       (let [none nil] (rsm/get-long m none)) (let [none nil] (rsm/put-double! m 0 none))])])

(defn- warnings [code]
  (let [out (StringWriter.)]
    (binding [*err* out, *ns* *ns*, *warn-on-reflection* false, *unchecked-math* false]
      (Compiler/load (LineNumberingPushbackReader.
                      (StringReader. (str/join "\n" (binding [*print-meta* true] (mapv pr-str code)))))
                     "sample.clj" "sample.clj"))
    (str out)))

(deftest compiles-without-reflection-or-boxing
  (try
    (is (= "" (warnings sample-code)))
    (with-open [m (LocalMemory/allocate 256)]
      (let [sample #(ns-resolve 'rsmapi.access-test.sample %)]
        ((sample 'write) m 8)
        (is (int? ((sample 'total) m 8)))
        (is (double? ((sample 'hinted) m 8)))
        (is (int? ((sample 'atomic) m)))
        (is (int? ((sample 'arrays) m 8)))
        (is (= -7 ((sample 'boxed) m 16 -7)))))
    (testing "the check can see"
      (is (str/includes? (warnings '[(set! *warn-on-reflection* true) (fn [x] (.foo x))]) "Reflection warning"))
      (is (str/includes? (warnings '[(set! *unchecked-math* :warn-on-boxed) (fn [x] (inc x))]) "Boxed math")))
    (finally (remove-ns 'rsmapi.access-test.sample))))

(defmacro ^:private inline-error
  "The error of a call compiled with these very argument forms."
  [form]
  `(error (fn [] ~form)))

(deftest inline-calls
  (with-open [m (LocalMemory/allocate size)]
    (rsm/put-long! m 8 42)
    (testing "wrong arguments known to the compiler"
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m nil))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m "x"))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m 1.5))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m (float 1)))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m \a))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m (char 65)))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m (Boolean/parseBoolean "true")))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m 1/2))))
      (is (= :rsm/bad-offset (inline-error (let [none nil] (rsm/get-long m none)))))
      (is (= :rsm/bad-offset (inline-error (let [^Long none nil] (rsm/get-long m none)))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m (Long/getLong "no.such.property")))))
      (is (= :rsm/bad-offset (inline-error (rsm/get-long m ^long (:no {})))))
      (is (= :rsm/bad-seg-hndl (inline-error (rsm/get-long nil 0))))
      (is (= :rsm/bad-seg-hndl (inline-error (rsm/get-long 5 0))))
      (is (= :rsm/bad-args-errors (inline-error (rsm/get-long m 0 nil))))
      (is (= :rsm/bad-args-errors (inline-error (rsm/put-byte! m 0 256))))
      (is (= :rsm/bad-args-errors (inline-error (rsm/put-double! m 0 nil))))
      (is (= :rsm/bad-args-errors (inline-error (rsm/put-double! m 0 (char 65)))))
      (is (= :rsm/bad-args-errors (inline-error (rsm/put-char! m 0 nil))))
      (is (= :rsm/bad-args-errors (inline-error (rsm/put-long! m 0 1.0)))))
    (testing "ints, and functions as values"
      (is (= 42 (rsm/get-long m (int 8)) (rsm/get-long m (byte 8)) (rsm/get-long m 8N)))
      (is (= [0 42] (map #(rsm/get-long m %) [0 8])))
      (is (= 42 (apply rsm/get-long [m 8])))
      (is (= 42 ((partial rsm/get-long m) 8)))
      (is (= 3026418949592973312 (apply rsm/get-long [m 8 (if (= ByteOrder/BIG_ENDIAN (ByteOrder/nativeOrder))
                                                            :little-endian :big-endian)]))))
    (testing "every argument is evaluated once, from left to right"
      (let [log  (atom [])
            note (fn [what value] (swap! log conj what) value)]
        (rsm/put-int! (note :memory m) (note :offset 4) (note :value 1) (note :order :native))
        (is (= [:memory :offset :value :order] @log))
        (reset! log [])
        (rsm/compare-and-set-int! (note :memory m) (note :offset 4) (note :expected 1) (note :value 2))
        (is (= [:memory :offset :expected :value] @log))))))

(deftest docstrings
  (doseq [f (distinct (cons "copy!" (map first calls)))
          :let [{:keys [doc arglists]} (meta (ns-resolve 'rsmapi.core (symbol f)))]]
    (is (seq arglists) f)
    (is (str/includes? (str doc) "Errors:") f)
    (is (re-find #"in bytes|length bytes" (str/replace (str doc) #"\s+" " ")) f)
    (is (str/includes? (str doc) "rsm_memseg_import_map(3RSM)") f)
    (is (every? #(< (count %) 80) (str/split-lines (str doc))) f)))
