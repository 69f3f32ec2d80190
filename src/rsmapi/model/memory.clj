(ns ^:no-doc rsmapi.model.memory
  "The model's bytes.

  A memory is {:blank b, :bytes {offset byte}}: bytes are from -128 to 127, and what has
  never been written is :blank. Or a byte is `any`, if it is not specified, as after
  reading through a mapping whose exporter has gone; numbers that are made of such bytes
  are `any` too."
  (:import (java.nio ByteBuffer ByteOrder)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def any
  "Stands for a value that is not specified."
  :rsmapi.model/any)

(def zeros {:blank 0 :bytes {}})

(def nobodys
  "What a mapping shows after an abort: writing to it changes nothing that anyone could see."
  {:blank any :bytes {}})

(defn read-bytes
  "The n bytes from offset on, a vector."
  [{:keys [blank bytes]} offset n]
  (let [offset (long offset)]
    (mapv #(get bytes (+ offset (long %)) blank) (range n))))

(defn write-bytes
  "The memory with these bytes from offset on."
  [memory offset new-bytes]
  (if (= any (:blank memory))
    memory
    (let [offset (long offset)]
      (update memory :bytes into (map-indexed (fn [i b] [(+ offset (long i)) b]) new-bytes)))))

;; ------------------------------------------------------------------ numbers

(def types
  "What can be read and written as one: its size in bytes, and from where to where integers
  for it may be (signed, or unsigned)."
  {:byte   {:bytes 1 :min -128 :max 255}
   :short  {:bytes 2 :min -32768 :max 65535}
   :char   {:bytes 2 :min 0 :max 65535}
   :int    {:bytes 4 :min Integer/MIN_VALUE :max 0xFFFFFFFF}
   :long   {:bytes 8 :min Long/MIN_VALUE :max Long/MAX_VALUE}
   :float  {:bytes 4}
   :double {:bytes 8}})

(defn width
  "How many bytes a type has."
  ^long [type]
  (long (:bytes (types type))))

(def orders
  "The byte orders by their names; nil is the machine's."
  {nil (ByteOrder/nativeOrder)
   :native (ByteOrder/nativeOrder)
   :little-endian ByteOrder/LITTLE_ENDIAN
   :big-endian ByteOrder/BIG_ENDIAN})

(defn- buffer ^ByteBuffer [order n]
  (.order (ByteBuffer/allocate (int n)) ^ByteOrder (orders order)))

(defn encode
  "The bytes of a value of a type, in a byte order; `any` bytes for `any`."
  [type order value]
  (let [n (width type)]
    (if (= any value)
      (vec (repeat n any))
      (let [b (buffer order n)]
        (case type
          :byte   (.put b (unchecked-byte (long value)))
          :short  (.putShort b (unchecked-short (long value)))
          :char   (.putShort b (unchecked-short (if (char? value) (int value) (long value))))
          :int    (.putInt b (unchecked-int (long value)))
          :long   (.putLong b (long value))
          :float  (.putFloat b (.floatValue ^Number value))
          :double (.putDouble b (.doubleValue ^Number value)))
        (vec (.array b))))))

(defn decode
  "The value of a type that these bytes are."
  [type order bytes]
  (if (some #{any} bytes)
    any
    (let [b (buffer order (count bytes))]
      (.put b (byte-array bytes))
      (.flip b)
      (case type
        :byte   (long (.get b))
        :short  (long (.getShort b))
        :char   (.getChar b)
        :int    (long (.getInt b))
        :long   (.getLong b)
        :float  (double (.getFloat b))
        :double (.getDouble b)))))

(defn decode-all
  "The values of a type, one after the other, that these bytes are."
  [type order bytes]
  (mapv #(decode type order %) (partition (width type) bytes)))
