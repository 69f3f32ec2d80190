(ns rsmapi.test.pattern
  "What the bytes of a segment are, so that whoever reads any of them, by whatever access,
  knows whether they are right.

  Every byte holds its segment's tag in the upper five bits and something that depends on its
  offset in the lower three, or is zero: zeros are what is seen of memory that has been taken
  away.

  byte-at bits-at bytes-at      what is right
  verdict verdict-of-bytes      what was read: :right, :zeros or :wrong
  accesses                      every way to read and write through rsmapi.core"
  (:require [rsmapi.core :as rsm])
  (:import (java.nio ByteBuffer ByteOrder)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* true)

(def ^{:private true :const true} page-bytes (long (rsm/page-size)))

;; --------------------------------------------------------- what is in memory

(def tags
  "1 to 30: with 31 there would be floats that are no numbers, and lose their bits."
  (range 1 31))

(defn byte-at
  "The byte, 0 to 255, at an offset in the segment of that tag. Within a page it is the same
  every eight bytes."
  ^long [^long tag ^long offset]
  (bit-or (bit-shift-left tag 3)
          (bit-and (+ offset (* 3 (bit-shift-right offset 12))) 7)))

(defn bits-at
  "The bits of a value of width bytes, in native order."
  ^long [^long tag ^long offset ^long width]
  (let [little? (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder))]
    (loop [i 0, bits 0]
      (if (= i width)
        bits
        (let [at (if little? (- (dec width) i) i)]
          (recur (inc i) (bit-or (bit-shift-left bits 8) (byte-at tag (+ offset at)))))))))

(defn bytes-at ^bytes [^long tag ^long offset ^long n]
  (let [bytes (byte-array n)]
    (dotimes [i n]
      (aset bytes i (unchecked-byte (byte-at tag (+ offset i)))))
    bytes))

(defn verdict
  "What bits of width bytes are that were read at an offset: :right, :zeros if some bytes
  are zero and the others right, or :wrong."
  [^long tag ^long offset ^long width ^long bits]
  (let [difference (bit-xor bits (long (bits-at tag offset width)))]
    (loop [i 0, zeros? false]
      (if (= i width)
        (if zeros? :zeros :right)
        (let [shift (* 8 i)]
          (cond
            (zero? (bit-and 255 (bit-shift-right difference shift))) (recur (inc i) zeros?)
            (zero? (bit-and 255 (bit-shift-right bits shift)))       (recur (inc i) true)
            :else :wrong))))))

(defn verdict-of-bytes [^long tag ^long offset ^bytes bytes]
  (loop [i 0, zeros? false]
    (if (= i (alength bytes))
      (if zeros? :zeros :right)
      (let [b (bit-and 255 (aget bytes i))]
        (cond
          (= b (byte-at tag (+ offset i))) (recur (inc i) zeros?)
          (zero? b) (recur (inc i) true)
          :else :wrong)))))

;; ------------------------------------------------------------------ accesses

;; An access is a function of the memory, the tag, the offset in the memory and the offset
;; in the segment. It returns a verdict; a writer's is :right. Both offsets are multiples of
;; eight, and there are 64 bytes behind them.

(def ^:private order-pairs
  {:little-endian ByteOrder/LITTLE_ENDIAN, :big-endian ByteOrder/BIG_ENDIAN})

(defn- swapped
  "The bits as they are in the other byte order, if that order is not the native one."
  [order width bits]
  (if (or (nil? order) (= (ByteOrder/nativeOrder) (order-pairs order)))
    bits
    (unsigned-bit-shift-right (Long/reverseBytes bits) (- 64 (* 8 (long width))))))

(def ^:private to-value
  "By type: the value that has these bits, and back."
  {"byte"   [identity identity]
   "short"  [identity identity]
   "char"   [char int]
   "int"    [identity identity]
   "long"   [identity identity]
   "float"  [#(double (Float/intBitsToFloat (unchecked-int %))) #(Float/floatToRawIntBits (float %))]
   "double" [#(Double/longBitsToDouble %) #(Double/doubleToRawLongBits %)]})

(def ^:private widths {"byte" 1 "short" 2 "char" 2 "int" 4 "long" 8 "float" 4 "double" 8})

(defmacro ^:private typed-accesses
  "All accessors of single values, called as users call them, so that they are inline."
  []
  (vec
   (for [[type width] widths
         [kind get put] [["" "" "!"]
                         ["-volatile" "-volatile" "-volatile!"]
                         ["-acquire" "-acquire" "-release!"]]
         order (cond-> [nil] (and (= "" kind) (< 1 (long width))) (into [:little-endian :big-endian]))
         :let [getter (symbol "rsmapi.core" (str "get-" type get))
               putter (symbol "rsmapi.core" (str "put-" type put))
               ;; plain access takes any alignment
               skew   (if (= "" kind) 3 0)
               order  (when order [order])
               m      (gensym "m")]]
     `{:name  ~(str type kind (first order))
       :read  (fn [~m tag# at# offset#]
                (let [back# (second (to-value ~type))
                      bits# (long (back# (~getter ~m (+ (long at#) ~skew) ~@order)))]
                  (verdict tag# (+ (long offset#) ~skew) ~width
                           (swapped ~(first order) ~width
                                    (bit-and bits# ~(if (= 8 width) -1 (dec (bit-shift-left 1 (* 8 (long width))))))))))
       :write (fn [~m tag# at# offset#]
                (let [value# (first (to-value ~type))]
                  (~putter ~m (+ (long at#) ~skew)
                   (value# (swapped ~(first order) ~width (bits-at tag# (+ (long offset#) ~skew) ~width)))
                   ~@order)
                  :right))})))

(defn- int-of
  "Unsigned bits as the int that get-int gives."
  ^long [bits]
  (long (unchecked-int bits)))

(def ^:private array-types
  {"byte"   [rsm/get-bytes rsm/put-bytes! #(.get ^ByteBuffer %1 ^bytes %2) byte-array]
   "short"  [rsm/get-shorts rsm/put-shorts! #(.get (.asShortBuffer ^ByteBuffer %1) ^shorts %2) short-array]
   "char"   [rsm/get-chars rsm/put-chars! #(.get (.asCharBuffer ^ByteBuffer %1) ^chars %2) char-array]
   "int"    [rsm/get-ints rsm/put-ints! #(.get (.asIntBuffer ^ByteBuffer %1) ^ints %2) int-array]
   "long"   [rsm/get-longs rsm/put-longs! #(.get (.asLongBuffer ^ByteBuffer %1) ^longs %2) long-array]
   "float"  [rsm/get-floats rsm/put-floats! #(.get (.asFloatBuffer ^ByteBuffer %1) ^floats %2) float-array]
   "double" [rsm/get-doubles rsm/put-doubles! #(.get (.asDoubleBuffer ^ByteBuffer %1) ^doubles %2) double-array]})

(defn- raw-bytes
  "The bytes of an array's elements, in native order."
  ^bytes [array width]
  (let [buffer (.order (ByteBuffer/allocate (* (long width) (count array))) (ByteOrder/nativeOrder))]
    (condp instance? array
      (Class/forName "[B") (.put buffer ^bytes array)
      (Class/forName "[S") (.put (.asShortBuffer buffer) ^shorts array)
      (Class/forName "[C") (.put (.asCharBuffer buffer) ^chars array)
      (Class/forName "[I") (.put (.asIntBuffer buffer) ^ints array)
      (Class/forName "[J") (.put (.asLongBuffer buffer) ^longs array)
      (Class/forName "[F") (.put (.asFloatBuffer buffer) ^floats array)
      (Class/forName "[D") (.put (.asDoubleBuffer buffer) ^doubles array))
    (.array buffer)))

(def ^:private run 56)

(defn- array-accesses []
  (for [[type [get put fill make]] array-types
        :let [width (long (widths type))
              n     (quot (long run) width)]]
    {:name  (str type "s")
     :read  (fn [m tag at offset]
              (verdict-of-bytes tag (inc (long offset)) (raw-bytes (get m (inc (long at)) n) width)))
     :write (fn [m tag at offset]
              (let [array (make n)]
                (fill (.order (ByteBuffer/wrap (bytes-at tag (inc (long offset)) run)) (ByteOrder/nativeOrder)) array)
                (put m (inc (long at)) array)
                :right))}))

(defn- long-accesses
  "Those that take long, most of a window: the likeliest to meet a change."
  []
  [{:name  "many bytes"
    :whole true
    :read  (fn [m tag at offset]
             (verdict-of-bytes tag offset (rsm/get-bytes m at (- (long (rsm/size m)) (long at)))))
    :write (fn [m tag at offset]
             (rsm/put-bytes! m at (bytes-at tag offset (- (long (rsm/size m)) (long at))))
             :right)}
   {:name  "one long after the other"
    :whole true
    :read  (fn [m tag at offset]
             (let [at (long at), offset (long offset), tag (long tag)
                   n  (quot (- (long (rsm/size m)) at) 8)]
               (loop [i 0, zeros? false]
                 (if (= i n)
                   (if zeros? :zeros :right)
                   (let [bits (rsm/get-long m (+ at (* 8 i)))]
                     (cond
                       (= bits (long (bits-at tag (+ offset (* 8 i)) 8))) (recur (inc i) zeros?)
                       (= :wrong (verdict tag (+ offset (* 8 i)) 8 bits)) :wrong
                       :else (recur (inc i) true)))))))
    :write (fn [m tag at offset]
             (let [at (long at), offset (long offset), tag (long tag)]
               (dotimes [i (quot (- (long (rsm/size m)) at) 8)]
                 (rsm/put-long! m (+ at (* 8 i)) (bits-at tag (+ offset (* 8 i)) 8)))
               :right))}
   {:name  "copy"
    :whole true
    :read  (fn [m tag at offset]
             (rsm/with-local-memory [own (rsm/size m)]
               (let [n (- (long (rsm/size m)) (long at))]
                 (rsm/copy! m at own 0 n)
                 (verdict-of-bytes tag offset (rsm/get-bytes own 0 n)))))
    :write (fn [m _ at _]
             ;; within a page, where the content repeats every eight bytes
             (let [in-page (rem (long at) page-bytes)
                   from    (+ (- (long at) in-page) (min in-page (- page-bytes 56)))]
               (rsm/copy! m from m (+ from 8) 48)
               :right))}])

(def accesses
  (vec
   (concat
    (typed-accesses)
    (array-accesses)
    (long-accesses)
    [{:name  "int atomics"
      :both  true
      :read  (fn [m tag at offset]
               (verdict tag offset 4 (bit-and 0xffffffff (long (rsm/get-and-add-int! m at 0)))))
      :write (fn [m tag at offset]
               (let [bits (int-of (bits-at tag offset 4))]
                 (rsm/compare-and-set-int! m at bits bits)
                 (rsm/compare-and-set-int! m at 0 bits)
                 :right))}
     {:name  "long atomics"
      :both  true
      :read  (fn [m tag at offset]
               (verdict tag offset 8 (rsm/get-and-add-long! m at 0)))
      :write (fn [m tag at offset]
               (let [bits (bits-at tag offset 8)]
                 (rsm/compare-and-set-long! m at bits bits)
                 (rsm/compare-and-set-long! m at 0 bits)
                 :right))}
     {:name  "buffer"
      :read  (fn [m tag at offset]
               (verdict-of-bytes tag offset (.array ^ByteBuffer (rsm/get-buffer! m at (ByteBuffer/allocate run)))))
      :write (fn [m tag at offset]
               (rsm/put-buffer! m at (doto (ByteBuffer/allocateDirect run)
                                       (.put ^bytes (bytes-at tag offset run))
                                       .flip))
               :right)}])))
