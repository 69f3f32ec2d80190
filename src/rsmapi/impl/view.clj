(ns rsmapi.impl.view
  "Views of structures and arrays in memory: how they look up, read, write and print."
  (:require [clojure.core.protocols :as protocols]
            [clojure.pprint :as pprint]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.layout :as layout])
  (:import (clojure.lang Counted IDeref ILookup IReduceInit Indexed Seqable)
           (java.nio ByteBuffer CharBuffer)
           (java.nio.charset CharacterCodingException CodingErrorAction)
           (org.rsmapi RsmError RsmException SegmentMemory)
           (org.rsmapi.clj Column Scalar)
           (rsmapi.impl.layout Array Chars Field Struct)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; A path on the way down is a list with the last part first: it is read only if something fails.

(defmacro naming
  "Evaluates body; a failure of the memory's also says which field was accessed."
  [path & body]
  `(try
     ~@body
     (catch RsmException e#
       (throw (.with e# "field" (vec (reverse ~path)))))))

;; -------------------------------------------------------------------- text

(defn- encode
  "The bytes of a text, filled up with NULs."
  ^bytes [^Chars type value path op]
  (when-not (string? value)
    (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :value value :field path :type :chars
                         :hint "give a string")))
  (when (<= 0 (.indexOf ^String value 0))
    (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :field path :type :chars
                         :hint "a NUL ends the text of a field: give a string without one")))
  (let [^ByteBuffer encoded
        (try
          (.encode (doto (.newEncoder (layout/charset type))
                     (.onMalformedInput CodingErrorAction/REPORT)
                     (.onUnmappableCharacter CodingErrorAction/REPORT))
                   (CharBuffer/wrap ^String value))
          (catch CharacterCodingException e
            (throw (.causedBy (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :field path :type :chars
                                            :charset (.-charset type)
                                            :hint "the charset has no such characters")
                              e))))]
    (when (< (.-size type) (.remaining encoded))
      (throw (args/failure RsmError/BAD_LENGTH op :argument "value" :field path :type :chars
                           :length (.remaining encoded) :size (.-size type)
                           :hint "the text is longer than the field, in bytes")))
    (let [bytes (byte-array (.-size type))]
      (.get encoded bytes 0 (.remaining encoded))
      bytes)))

;; -------------------------------------------------------------------- read

(defn text-at [type ^SegmentMemory memory ^long offset path]
  (naming path (.getText memory offset (.-size ^Chars type) (layout/charset type) SegmentMemory/REPLACE_MALFORMED)))

(defn put-text-at! [type ^SegmentMemory memory offset value path]
  (let [bytes (encode type value path "layout")]
    (naming path (.putBytes memory (long offset) bytes 0 (alength bytes)))))

(declare struct-view array-view)

(defn value-at
  "What lies at an offset: a number, a text, or the view of a struct or array."
  [type ^SegmentMemory memory ^long offset path]
  (cond
    (instance? Scalar type) (naming path (.get ^Scalar type memory offset))
    (instance? Struct type) (struct-view memory type offset path)
    (instance? Chars type) (text-at type memory offset path)
    :else (array-view memory type offset path)))

(defn read-at
  "What lies at an offset, as plain data."
  [type ^SegmentMemory memory ^long offset path]
  (condp instance? type
    Struct (persistent!
            (reduce (fn [m ^Field f]
                      (assoc! m (.-name f) (read-at (.-type f) memory (+ offset (.-offset f)) (cons (.-name f) path))))
                    (transient {})
                    (.-fields ^Struct type)))
    Array
    (let [^Array a type]
      (loop [i 0, v (transient [])]
        (if (< i (.-count a))
          (recur (inc i) (conj! v (read-at (.-element a) memory (+ offset (* i (.-stride a))) (cons i path))))
          (persistent! v))))
    (value-at type memory offset path)))

;; ------------------------------------------------------------------- write

(defn- pairs
  "The entries of a map, or [index value] of a collection or array of at most n elements."
  [x ^long n op path]
  (let [x (if (instance? IDeref x) (deref x) x)]
    (cond
      (map? x) (seq x)
      (or (sequential? x) (and (some? x) (.isArray (class x))))
      (let [items (try
                    (into [] (take (inc n)) x)
                    (catch RsmException e (throw e))
                    (catch Exception e
                      (throw (.causedBy (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :field path
                                                      :reason (str e) :hint "it cannot be read")
                                        e))))]
        (if (< n (count items))
          (throw (args/failure RsmError/BAD_LENGTH op :argument "value" :field path :count n
                               :hint (str "the array has " n " elements")))
          (map-indexed vector items)))
      :else
      (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :value x :field path
                           :hint "give a vector with the elements, or a map of index to element")))))

(defn plan
  "The pieces, [scalar offset bits] or [nil offset bytes], by which a value is written: appended to
  pieces. Everything is checked, and nothing is written."
  [pieces type offset value path op]
  (condp instance? type
    Scalar (conj pieces [type offset (.bits ^Scalar type value path op)])
    Chars (conj pieces [nil offset (encode type value path op)])
    Struct
    (let [value (if (instance? IDeref value) (deref value) value)]
      (when-not (map? value)
        (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :value value :field path
                             :hint "give a map with values for fields")))
      (reduce (fn [pieces [k v]]
                (let [path (conj path k)
                      f (layout/field type k op path)]
                  (plan pieces (.-type f) (+ (long offset) (.-offset f)) v path op)))
              pieces value))
    (let [^Array a type]
      (reduce (fn [pieces [k v]]
                (let [path (conj path k)
                      i (layout/index k (.-count a) op path)]
                  (plan pieces (.-element a) (+ (long offset) (* i (.-stride a))) v path op)))
              pieces
              (pairs value (.-count a) op path)))))

(defn bytes-of
  "The bytes of a piece."
  ^bytes [[^Scalar scalar _ data]]
  (if scalar (.encode scalar (long data)) data))

(defn write!
  "Writes the pieces of a plan."
  [^SegmentMemory memory pieces path]
  (naming path
    (doseq [[^Scalar scalar ^long offset data] pieces]
      (if scalar
        (.put scalar memory offset (long data))
        (.putBytes memory offset ^bytes data 0 (alength ^bytes data))))))

;; -------------------------------------------------------------------- show

(def ^:private shown-elements 4)

(defn- ended
  "The error of memory that cannot be read any more; nil if it can."
  [^SegmentMemory memory]
  (try
    (.getBytes memory 0 0)
    nil
    (catch RsmException e (:rsm/error (ex-data e)))))

(defn- shown
  "What lies at an offset, in short: the first elements of an array, and an error in place of what
  cannot be read."
  [type ^SegmentMemory memory ^long offset]
  (condp instance? type
    Struct (into (array-map)
                 (map (fn [^Field f] [(.-name f) (shown (.-type f) memory (+ offset (.-offset f)))]))
                 (.-fields ^Struct type))
    Array
    (let [^Array a type
          n (min (.-count a) (long shown-elements))
          first-elements (mapv (fn [^long i] (shown (.-element a) memory (+ offset (* i (.-stride a))))) (range n))]
      (cond-> first-elements (< n (.-count a)) (conj '...)))
    (try
      (value-at type memory offset ())
      (catch RsmException e (:rsm/error (ex-data e))))))

;; ------------------------------------------------------------------- views

(deftype StructView [^SegmentMemory memory ^Struct type ^long offset path]
  ILookup
  (valAt [this k] (.valAt this k nil))
  (valAt [_ k not-found]
    (if-some [^Field f ((.-by-name type) k)]
      (value-at (.-type f) memory (+ offset (.-offset f)) (cons k path))
      not-found))
  IDeref
  (deref [_] (read-at type memory offset path))
  Object
  (toString [_]
    (str "#<StructView at " offset " " (or (ended memory) (pr-str (shown type memory offset))) ">")))

(deftype ArrayView [^SegmentMemory memory ^Array type ^long offset path]
  ILookup
  (valAt [this k] (.valAt this k nil))
  (valAt [this k not-found]
    (if (int? k) (.nth this (args/int32 (long k) -1) not-found) not-found))
  Indexed
  (nth [_ i]
    (when-not (< -1 i (.-count type))
      (layout/index i (.-count type) "view" [i]))
    (value-at (.-element type) memory (+ offset (* i (.-stride type))) (cons i path)))
  (nth [this i not-found]
    (if (< -1 i (.-count type)) (.nth this i) not-found))
  Counted
  (count [_] (int (.-count type)))
  Seqable
  (seq [this] (seq (map #(.nth this (int %)) (range (.-count type)))))
  IReduceInit
  (reduce [this f init]
    (loop [i 0, acc init]
      (cond
        (reduced? acc) (deref acc)
        (< i (.-count type)) (recur (inc i) (f acc (.nth this (int i))))
        :else acc)))
  Iterable
  (iterator [this] (clojure.lang.SeqIterator. (.seq this)))
  clojure.lang.Sequential
  IDeref
  (deref [_] (read-at type memory offset path))
  Object
  (toString [_]
    (str "#<ArrayView of " (.-count type) " at " offset " " (or (ended memory) (pr-str (shown type memory offset))) ">")))

(defn struct-view [memory type offset path]
  (StructView. memory type offset path))

(defn array-view [memory ^Array type offset path]
  (when (< Integer/MAX_VALUE (.-count type))
    (throw (args/failure RsmError/BAD_LENGTH "view" :count (.-count type) :field path
                         :hint "a view is of at most 2^31-1 elements: make one of a part")))
  (ArrayView. memory type offset path))

;; What datafy returns has views for structs and arrays, so that tools can go on from there. Of
;; memory that has ended it is the error.

(extend-protocol protocols/Datafiable
  StructView
  (datafy [v]
    (try
      (into (array-map)
            (map (fn [^Field f] [(.-name f) (get v (.-name f))]))
            (.-fields ^Struct (.-type v)))
      (catch RsmException e (ex-data e))))

  ArrayView
  (datafy [v]
    (try
      (.getBytes ^SegmentMemory (.-memory v) 0 0)
      (or (seq v) [])
      (catch RsmException e (ex-data e)))))

(doseq [c [StructView ArrayView Column]]
  (defmethod print-method c [x ^java.io.Writer w] (.write w (str x))))

;; clojure.pprint would dereference them: all of an array, or what cannot be read any more.
(doseq [c [StructView ArrayView]]
  (defmethod pprint/simple-dispatch c [x] (pr x)))

(defn- view-failure [x op]
  (args/failure RsmError/BAD_ARGS_ERRORS op :argument "view" :view x
                :hint "give a view, from view or array"))

(defn target
  "Where a path leads from a view: f gets the memory, the type, the offset and the whole path."
  [x path op f]
  (cond
    (instance? StructView x)
    (let [^StructView v x]
      (layout/walk (.-type v) (.-offset v) path op
                   (fn [type offset] (f (.-memory v) type offset (into (.-path v) path)))))

    (instance? ArrayView x)
    (let [^ArrayView v x]
      (layout/walk (.-type v) (.-offset v) path op
                   (fn [type offset] (f (.-memory v) type offset (into (.-path v) path)))))

    :else (throw (view-failure x op))))

(defn column
  "The column of an array view that a path leads to from each element."
  [x path]
  (let [op "column"]
    (when-not (instance? ArrayView x)
      (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "view" :view x
                           :hint "give the view of an array")))
    (let [^ArrayView v x
          ^Array a (.-type v)]
      (layout/walk (.-element a) (.-offset v) path op
                   (fn [type ^long offset]
                     (if (instance? Scalar type)
                       (Column. (.-memory v) type offset (.-stride a) (int (.-count a)))
                       (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "path" :path path
                                            :hint "a column is of numbers"))))))))
