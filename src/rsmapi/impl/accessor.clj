(ns rsmapi.impl.accessor
  "The definitions that rsmapi.layout/defaccessors expands to."
  (:require [clojure.string :as str]
            [rsmapi.impl.args :as args :refer [untagged]]
            [rsmapi.impl.layout :as layout]
            [rsmapi.impl.view :as view])
  (:import (java.nio ByteOrder)
           (org.rsmapi RsmError)
           (org.rsmapi.clj Coerce Scalar)
           (rsmapi.impl.layout Array Chars Field Layout Struct)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private op "defaccessors")

;; An offset that is made of a larger one could come round to a small one again.
(def ^:private largest-offset (bit-shift-left 1 48))

(defn- failure [hint & {:as facts}]
  (apply args/failure RsmError/BAD_ARGS_ERRORS op :hint hint (mapcat identity facts)))

(defn- evaluated
  "What the caller has given for a layout, when the macro is expanded."
  ^Layout [form]
  (layout/layout
   (try
     (eval form)
     (catch Exception e
       (throw (.causedBy (args/failure RsmError/BAD_ARGS_ERRORS op :argument "layout" :reason (str e)
                                       :hint "give a layout that is known when this is compiled")
                         e))))))

;; A leaf is a number or text with the names on the way to it, and [count stride] of each array there.
(defn- leaves [type ^long offset names dimensions]
  (condp instance? type
    Struct (mapcat (fn [^Field f]
                     (leaves (.-type f) (+ offset (.-offset f)) (conj names (name (.-name f))) dimensions))
                   (.-fields ^Struct type))
    Array (leaves (.-element ^Array type) offset names
                  (conj dimensions [(.-count ^Array type) (.-stride ^Array type)]))
    [{:type type :offset offset :names names :dimensions dimensions}]))

(def ^:private index-names '[i j k l m n o p])

(defn- offset-form
  "The offset of an element, of index forms."
  [base dimensions indices]
  (reduce (fn [form [[n stride] index]]
            `(unchecked-add ~form (Coerce/element ~index ~n ~stride "layout")))
          `(long ~base)
          (map vector dimensions indices)))

(def ^:private accesses
  {:i8 ["getByte" "putByte"] :u8 ["getByte" "putByte"]
   :i16 ["getShort" "putShort"] :u16 ["getShort" "putShort"]
   :i32 ["getInt" "putInt"] :u32 ["getInt" "putInt"]
   :i64 ["getLong" "putLong"] :u64 ["getLong" "putLong"]
   :f32 ["getFloat" "putFloat"] :f64 ["getDouble" "putDouble"]})

(defn- order-forms [^Scalar scalar]
  (when (.isSwapped scalar)
    [(if (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder))
       `ByteOrder/BIG_ENDIAN
       `ByteOrder/LITTLE_ENDIAN)]))

(defn- get-form [^Scalar scalar memory offset]
  (let [[getter] (accesses (.name scalar))
        call `(~(symbol (str "." getter)) (Coerce/memory ~memory "layout") ~offset ~@(order-forms scalar))]
    (case (.name scalar)
      (:i8 :i16 :i32) `(long ~call)
      :u8 `(bit-and 0xff (long ~call))
      :u16 `(bit-and 0xffff (long ~call))
      :u32 `(bit-and 0xffffffff (long ~call))
      :f32 `(double ~call)
      call)))

(defn- value-form
  "A value as the Java method takes it."
  [^Scalar scalar value]
  (let [between (fn [least most] `(Coerce/within (Coerce/integer ~value "value" "layout") ~least ~most "value" "layout"))]
    (case (.name scalar)
      :i8 `(unchecked-byte ~(between -128 127))
      :u8 `(unchecked-byte ~(between 0 255))
      :i16 `(unchecked-short ~(between -32768 32767))
      :u16 `(unchecked-short ~(between 0 65535))
      :i32 `(unchecked-int ~(between -2147483648 2147483647))
      :u32 `(unchecked-int ~(between 0 4294967295))
      (:i64 :u64) `(Coerce/integer ~value "value" "layout")
      :f32 `(unchecked-float (Coerce/number ~value "value" "layout"))
      :f64 `(Coerce/number ~value "value" "layout"))))

(defn- put-form [^Scalar scalar memory offset value]
  (let [[_ putter] (accesses (.name scalar))]
    `(~(symbol (str "." putter)) (Coerce/memory ~memory "layout") ~offset ~(value-form scalar value) ~@(order-forms scalar))))

(defn inline-get
  "The inline form of a read: arguments are forms."
  [scalar base dimensions memory indices]
  (get-form scalar memory (offset-form base dimensions (map untagged indices))))

(defn inline-put [scalar base dimensions memory indices value]
  (put-form scalar memory (offset-form base dimensions (map untagged indices)) (untagged value)))

(defn- docstring [verb {:keys [type names dimensions]}]
  (str verb " " (if (instance? Chars type) "the text" (str "the " (.name ^Scalar type))) " "
       (str/join " " (map #(str ":" %) names)) " of an element"
       (when (< 1 (count dimensions)) ", with an index for each array") ". Defined by defaccessors."))

(defn- definition-pair [prefix base {:keys [type ^long offset names dimensions] :as leaf}]
  (let [place   (+ (long base) offset)
        getter  (symbol (str/join "-" (cons prefix names)))
        setter  (symbol (str getter "!"))
        indices (mapv #(with-meta (gensym (str % "-")) nil) (take (count dimensions) index-names))
        memory  (gensym "memory-")
        value   (gensym "value-")
        args    (into [memory] indices)
        shown   (into '[memory] (take (count dimensions) index-names))
        offset  (offset-form place dimensions indices)]
    (if (instance? Chars type)
      [`(let [type# (layout/element ~(layout/canonical type))]
          (defn ~getter
            ~(docstring "Returns" leaf)
            {:arglists '(~shown)}
            ~args
            (view/text-at type# (Coerce/memory ~memory "layout") ~offset '~(reverse names)))
          (defn ~setter
            ~(docstring "Writes" leaf)
            {:arglists '(~(conj shown 'value))}
            ~(conj args value)
            (view/put-text-at! type# (Coerce/memory ~memory "layout") ~offset ~value '~(reverse names))))]
      (let [scalar-form `(Scalar/of ~(.name ^Scalar type)
                                    ~(or (first (order-forms type)) `(ByteOrder/nativeOrder)))
            dims (mapv vec dimensions)]
        [`(defn ~getter
            ~(docstring "Returns" leaf)
            {:arglists '(~shown)
             :inline (fn ~args (inline-get ~scalar-form ~place ~dims ~memory ~indices))}
            ~args
            ~(get-form type memory offset))
         `(defn ~setter
            ~(docstring "Writes" leaf)
            {:arglists '(~(conj shown 'value))
             :inline (fn ~(conj args value) (inline-put ~scalar-form ~place ~dims ~memory ~indices ~value))}
            ~(conj args value)
            ~(put-form type memory offset value))]))))

(defn definitions
  "The form of all definitions for a layout."
  [prefix layout-form more]
  (when-not (and (symbol? prefix) (nil? (namespace prefix)))
    (throw (failure "the prefix is a symbol, such as quote" :argument "prefix")))
  (let [opts (args/options (if (seq more) (args/trailing (first more) (rest more)) nil) #{:offset} op)
        base (args/integer (:offset opts) 0 RsmError/BAD_OFFSET [op "offset"])
        _ (when-not (<= 0 base (long largest-offset))
            (throw (args/failure RsmError/BAD_OFFSET op :offset base :hint "an offset is from 0 to 2^48")))
        root (.-root (evaluated layout-form))
        ;; element i of the memory: as many as the memory has are checked by the access itself
        size (layout/size-of root)
        all (leaves root 0 [] [[(quot Long/MAX_VALUE size) size]])
        names (map :names all)]
    (when-not (or (empty? names) (apply distinct? (map #(str/join "-" %) names)))
      (throw (failure "two fields would have accessors of the same name" :argument "layout"
                      :part (some (fn [[n c]] (when (< 1 (long c)) n)) (frequencies (map #(str/join "-" %) names))))))
    (when-let [deep (first (filter #(< (count index-names) (count (:dimensions %))) all))]
      (throw (failure "a field lies in too many arrays" :argument "layout" :path (:names deep))))
    `(do ~@(mapcat #(definition-pair prefix base %) all)
         '~prefix)))
