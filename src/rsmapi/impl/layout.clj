(ns rsmapi.impl.layout
  "Layouts: from the form that a user writes to offsets and sizes, and to the text that a
  publication carries."
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.text :as text])
  (:import (java.nio ByteOrder)
           (java.nio.charset Charset StandardCharsets)
           (java.security MessageDigest)
           (org.rsmapi ExportSegment Mapping RsmError RsmException)
           (org.rsmapi.clj Scalar)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; What a type can be: a Scalar, or one of these. Sizes, offsets and alignments are in bytes.
(deftype Chars [^long size charset])
(deftype Array [^long count element ^long stride])
(deftype Field [name type ^long offset])
(deftype Struct [fields by-name ^long size ^long align packed])

;; form is what the user has written, text the canonical form, with which layouts are compared
(deftype Layout [form ^String text ^Struct root]
  Object
  (equals [_ other] (and (instance? Layout other) (= text (.-text ^Layout other))))
  (hashCode [_] (.hashCode text))
  (toString [_] (str "#<Layout " (pr-str form) ">")))

(defmethod print-method Layout [l ^java.io.Writer w] (.write w (str l)))

(def ^:private most-fields 4096)
(def ^:private deepest 16)
(def longest-layout (bit-shift-left 1 48))
(def ^:private largest longest-layout)
(def ^:private largest-alignment 4096)
(def ^:private longest-chars (bit-shift-left 1 24))

;; Of a text that comes from another process; a publication takes no longer one.
(def longest-text 65536)

;; The operation that a failure names: the caller's, where that is given a layout as an option.
(def ^:dynamic *op* "layout")

(defn failure ^RsmException [hint & {:as facts}]
  (apply args/failure RsmError/BAD_ARGS_ERRORS *op* :argument "layout" :hint hint
         (mapcat identity facts)))

;; ---------------------------------------------------------------- measures

(defn size-of ^long [type]
  (condp instance? type
    Scalar (.bytes ^Scalar type)
    Chars (.-size ^Chars type)
    Array (* (.-count ^Array type) (.-stride ^Array type))
    Struct (.-size ^Struct type)))

(defn align-of ^long [type]
  (condp instance? type
    Scalar (.bytes ^Scalar type)
    Chars 1
    Array (align-of (.-element ^Array type))
    Struct (.-align ^Struct type)))

(defn- round-up ^long [^long n ^long multiple]
  (* multiple (quot (+ n (dec multiple)) multiple)))

;; ------------------------------------------------------------------- parse

(def ^:private orders
  {:little-endian ByteOrder/LITTLE_ENDIAN
   :big-endian ByteOrder/BIG_ENDIAN
   :native (ByteOrder/nativeOrder)})

(def ^:private charsets
  {:utf-8 StandardCharsets/UTF_8
   :us-ascii StandardCharsets/US_ASCII})

(defn- shown
  "A part of a form, for an error: a short one as it is."
  [x]
  (if (or (nil? x) (ident? x) (number? x) (boolean? x))
    x
    (.getSimpleName (class x))))

(defn- options [x allowed path]
  (if (and (map? x) (every? allowed (keys x)))
    x
    (throw (failure (str "options are a map of " (sort allowed)) :path path :part (shown x)))))

(defn- order-in [opts default path]
  (if-some [order (:order opts)]
    (or (when (keyword? order) (orders order))
        (throw (failure "an order is :little-endian, :big-endian or :native" :path path :part (shown order))))
    default))

(defn- alignment-in ^long [opts path]
  (let [align (:align opts)]
    (cond
      (nil? align) 1
      (and (int? align) (<= 1 (long align) (long largest-alignment))
           (zero? (bit-and (long align) (dec (long align))))) (long align)
      :else (throw (failure (str "an alignment is a power of 2 from 1 to " largest-alignment)
                            :path path :part (shown align))))))

(defn- positive [n what path]
  (if (and (int? n) (<= 1 (long n) (long largest)))
    (long n)
    (throw (failure (str what " is an integer from 1 to 2^48") :path path :part (shown n)))))

(defn- checked-size ^long [^long n path]
  (if (<= 0 n (long largest))
    n
    (throw (failure "a layout has at most 2^48 bytes" :path path))))

(declare parse-type spend)

(defn- placed
  "The struct with these fields, each [name type align]."
  [fields packed ^long align]
  (loop [left (seq fields), at 0, widest align, done []]
    (if-let [[name type ^long at-least path] (first left)]
      (let [own   (max at-least (if packed 1 (align-of type)))
            place (round-up at own)]
        (recur (next left)
               (checked-size (+ place (size-of type)) path)
               (max widest own)
               (conj done (Field. name type place))))
      (Struct. done
               (into {} (map (fn [^Field f] [(.-name f) f])) done)
               (round-up at widest)
               widest
               packed))))

(defn- parse-struct [[_ & parts] order path budget]
  (let [opts   (options (if (map? (first parts)) (first parts) {}) #{:order :packed :align} path)
        fields (if (map? (first parts)) (rest parts) parts)
        order  (order-in opts order path)
        packed (case (:packed opts)
                 (nil false) false
                 true true
                 (throw (failure "packed is true or false" :path path)))
        parsed (mapv (fn [field]
                       (spend budget 1)
                       (when-not (and (vector? field) (<= 2 (count field) 3) (keyword? (first field)))
                         (throw (failure "a field is [name type], or [name type options]; the name is a keyword"
                                         :path path :part (shown field))))
                       (let [[name type o] field
                             path (conj path name)
                             o    (options (if (= 2 (count field)) {} o) #{:order :align} path)]
                         [name (parse-type type (order-in o order path) path budget) (alignment-in o path) path]))
                     fields)]
    (when (empty? parsed)
      (throw (failure "a struct has at least one field" :path path)))
    (when-not (apply distinct? (map first parsed))
      (throw (failure "each field of a struct has a name of its own" :path path
                      :part (some (fn [[k n]] (when (< 1 (long n)) k)) (frequencies (map first parsed))))))
    (placed parsed packed (alignment-in opts path))))

(defn- fields-in
  "How many fields a type has, at any depth."
  ^long [type]
  (condp instance? type
    Struct (transduce (map (fn [^Field f] (inc (fields-in (.-type f))))) + 0 (.-fields ^Struct type))
    Array (fields-in (.-element ^Array type))
    0))

(defn- spend [budget ^long n]
  (when (neg? (long (vreset! budget (- (long @budget) n))))
    (throw (failure (str "a layout has at most " most-fields " fields")))))

(defn- parse-type
  "The type of a form. order is the byte order where the form says nothing; budget counts the
  fields that may still come."
  [form order path budget]
  (cond
    (< (long deepest) (count path))
    (throw (failure (str "structs and arrays lie in each other at most " deepest " deep") :path (vec (take 4 path))))

    (instance? Layout form)
    (let [root (.-root ^Layout form)]
      (spend budget (fields-in root))
      root)

    (keyword? form)
    (or (Scalar/of form order)
        (throw (failure "a type is :i8 to :i64, :u8 to :u64, :f32, :f64, [:chars n], [:array n type] or [:struct fields]"
                        :path path :part form)))

    (and (vector? form) (= :struct (first form)))
    (parse-struct form order path budget)

    (and (vector? form) (= :array (first form)) (= 3 (count form)))
    (let [n       (long (positive (form 1) "a count" path))
          element (parse-type (form 2) order (conj path :*) budget)
          stride  (size-of element)]
      (when (< (quot (long largest) stride) n)
        (throw (failure "a layout has at most 2^48 bytes" :path path)))
      (Array. n element stride))

    (and (vector? form) (= :chars (first form)) (<= 2 (count form) 3))
    (let [{:keys [charset]} (options (get form 2 {}) #{:charset} path)
          n (long (positive (form 1) "a size" path))]
      (when (< (long longest-chars) n)
        (throw (failure "a text has at most 2^24 bytes" :path path :part n)))
      (Chars. n
              (cond
                (nil? charset) :utf-8
                (and (keyword? charset) (charsets charset)) charset
                :else (throw (failure "a charset is :utf-8 or :us-ascii" :path path :part (shown charset))))))

    :else
    (throw (failure "a type is a keyword such as :u32, or a vector: [:chars n], [:array n type], [:struct fields]"
                    :path path :part (shown form)))))

(defn charset ^Charset [^Chars type]
  (charsets (.-charset type)))

;; ---------------------------------------------------------- canonical text

(defn canonical
  "The shortest form of a type, in which a field has a byte order if that is big-endian, and
  :packed and :align only where they change something."
  [type]
  (condp instance? type
    Scalar (.name ^Scalar type)
    Chars (cond-> [:chars (.-size ^Chars type)]
            (not= :utf-8 (.-charset ^Chars type)) (conj {:charset (.-charset ^Chars type)}))
    Array [:array (.-count ^Array type) (canonical (.-element ^Array type))]
    Struct
    (let [^Struct s type
          fields  (.-fields s)
          packed  (and (.-packed s)
                       (some (fn [^Field f]
                               (or (< (.-align s) (align-of (.-type f)))
                                   (pos? (rem (.-offset f) (align-of (.-type f))))))
                             fields))
          natural (fn ^long [^Field f] (if packed 1 (align-of (.-type f))))
          [parts end widest]
          (reduce (fn [[parts ^long at ^long widest] ^Field f]
                    (let [own (long (natural f))
                          ;; the least alignment that leads to its place
                          align (loop [a own] (if (= (.-offset f) (round-up at a)) a (recur (* 2 a))))
                          leaf (loop [t (.-type f)] (if (instance? Array t) (recur (.-element ^Array t)) t))
                          order (when (and (instance? Scalar leaf)
                                           (< 1 (.bytes ^Scalar leaf))
                                           (= ByteOrder/BIG_ENDIAN
                                              (if (.isSwapped ^Scalar leaf)
                                                (if (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder))
                                                  ByteOrder/BIG_ENDIAN
                                                  ByteOrder/LITTLE_ENDIAN)
                                                (ByteOrder/nativeOrder))))
                                  :big-endian)
                          opts (cond-> (sorted-map)
                                 (< own (long align)) (assoc :align align)
                                 order (assoc :order order))]
                      [(conj parts (cond-> [(.-name f) (canonical (.-type f))] (seq opts) (conj opts)))
                       (+ (.-offset f) (size-of (.-type f)))
                       (max widest (long align))]))
                  [[] 0 1]
                  fields)
          opts (cond-> (sorted-map)
                 packed (assoc :packed true)
                 (< (long widest) (.-align s)) (assoc :align (.-align s)))]
      (into (if (seq opts) [:struct opts] [:struct]) parts))))

(defn- text-of ^String [type]
  (binding [*print-length* nil, *print-level* nil, *print-meta* false, *print-namespace-maps* false
            *print-readably* true, *print-dup* false]
    (pr-str (canonical type))))

(defn- make [form order]
  (let [root (parse-type form order [] (volatile! most-fields))]
    (when-not (instance? Struct root)
      (throw (failure "a layout is [:struct fields]" :part (shown form))))
    (let [text (text-of root)]
      (when (< (long longest-text) (alength (.getBytes text StandardCharsets/UTF_8)))
        (throw (failure (str "a layout's text has at most " longest-text " bytes") :length (count text))))
      (Layout. form text root))))

(defn layout
  "The layout of a form; of a layout, that itself."
  ^Layout [x]
  (if (instance? Layout x) x (make x (ByteOrder/nativeOrder))))

(defn published-text
  "The text that a publication carries for a layout; nil for nil."
  ^String [x op]
  (when (some? x)
    (binding [*op* op]
      (.-text (layout x)))))

(declare read-text difference)

(defn mismatch
  "The failure of a caller who wants the layout of this text, where the exporter has another."
  [wanted text op]
  (let [there (read-text text)]
    (args/failure RsmError/BAD_ARGS_ERRORS op :argument "layout"
                  :layout wanted
                  :exporter-layout text
                  :difference (when there (difference (read-text wanted) there))
                  :hint (if text
                          "the exporter has published another layout"
                          "the exporter has published no layout"))))

(defn element
  "The type of an element: of a layout, or of the form of any type."
  [x]
  (if (instance? Layout x)
    (.-root ^Layout x)
    (parse-type x (ByteOrder/nativeOrder) [] (volatile! most-fields))))

(defn fingerprint
  "The first 16 hexadecimal digits of the SHA-256 of the canonical text."
  ^String [^Layout l]
  (let [digest (.digest (MessageDigest/getInstance "SHA-256") (.getBytes ^String (.-text l) StandardCharsets/UTF_8))]
    (apply str (map #(text/hex (bit-and 0xff (long %)) 2) (take 8 digest)))))

(defn- nesting
  "How deep a text opens brackets, at most."
  ^long [^String text]
  (loop [i 0, depth 0, most 0]
    (if (= i (.length text))
      most
      (let [c (.charAt text i)
            depth (long (cond (or (= c \[) (= c \{)) (inc depth)
                              (or (= c \]) (= c \})) (dec depth)
                              :else depth))]
        (recur (inc i) depth (max most depth))))))

(defn read-text
  "The layout of a text that another process has published, or nil if it is none."
  ^Layout [^String text]
  (when (and text
             (<= (.length text) (long longest-text))
             (not (re-find #"[#\"\\^@;`~()]" text))
             (<= (nesting text) (* 4 (long deepest))))
    (try
      (let [form (edn/read-string {:default (fn [_ _] nil)} text)]
        (make form ByteOrder/LITTLE_ENDIAN))
      (catch RuntimeException _ nil)))) ; an RsmException, or one of the reader's

(defn of-memory
  "The layout with which the segment of this memory is published, and where it begins in the memory: as
  [layout offset], or nil. A mapping of a part of the segment begins inside of it."
  [memory]
  (let [[text offset] (cond
                        (instance? ExportSegment memory) [(.layout ^ExportSegment memory) 0]
                        (instance? Mapping memory) [(.layout (.segment ^Mapping memory)) (- (.offset ^Mapping memory))])]
    (when-let [layout (read-text text)]
      [layout offset])))

;; ------------------------------------------------------------ descriptions

(defn type-form
  "The form of a type, in which structs are left out."
  [type]
  (condp instance? type
    Scalar (.name ^Scalar type)
    Chars [:chars (.-size ^Chars type)]
    Array [:array (.-count ^Array type) (type-form (.-element ^Array type))]
    Struct :struct))

(defn order-of
  "The byte order of a number, as a keyword."
  [^Scalar s]
  (if (= (.isSwapped s) (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder)))
    :big-endian
    :little-endian))

(defn- described [type]
  (condp instance? type
    Scalar {:type (.name ^Scalar type) :size (long (.bytes ^Scalar type)) :order (order-of type)}
    Chars {:type :chars :size (.-size ^Chars type) :charset (.-charset ^Chars type)}
    Array {:type :array :size (size-of type) :count (.-count ^Array type) :stride (.-stride ^Array type)
           :element (described (.-element ^Array type))}
    Struct
    (let [^Struct s type
          fields (.-fields s)
          ends   (map (fn [^Field f] (+ (.-offset f) (size-of (.-type f)))) fields)
          starts (concat (rest (map (fn [^Field f] (.-offset f)) fields)) [(.-size s)])
          gaps   (for [[^long end ^long start] (map vector ends starts) :when (< end start)]
                   {:offset end :size (- start end)})]
      (cond-> {:type :struct :size (.-size s) :align (.-align s)
               :fields (mapv (fn [^Field f] (assoc (described (.-type f)) :name (.-name f) :offset (.-offset f))) fields)}
        (seq gaps) (assoc :padding (vec gaps))))))

(defn form-of
  "The form of a layout, with which layouts are compared."
  [^Layout l]
  (canonical (.-root l)))

(defn describe [^Layout l]
  (assoc (described (.-root l)) :fingerprint (fingerprint l)))

(defn leaves
  "The numbers and texts that lie in the bytes from from to to, not including to, in order of their
  offsets, as {:path [:levels 0 :px] :offset n :size n :type :f64}. x is a layout or a type.
  Lazy: of an array of any size only what is asked for."
  ([x from to]
   (leaves (if (instance? Layout x) (.-root ^Layout x) x) 0 [] from to))
  ([type base path from to]
   (let [base (long base), from (long from), to (long to)]
     (condp instance? type
       Struct (mapcat (fn [^Field f]
                        (let [at (+ base (.-offset f))]
                          (when (and (< at to) (< from (+ at (size-of (.-type f)))))
                            (leaves (.-type f) at (conj path (.-name f)) from to))))
                      (.-fields ^Struct type))
       Array (let [^Array a type
                   stride (.-stride a)
                   first-index (max 0 (quot (- from base) stride))
                   end-index (min (.-count a) (quot (round-up (max 0 (- to base)) stride) stride))]
               (mapcat (fn [^long i]
                         (let [at (+ base (* i stride))]
                           (when (and (< at to) (< from (+ at stride)))
                             (leaves (.-element a) at (conj path i) from to))))
                       (range first-index end-index)))
       (when (and (< base to) (< from (+ base (size-of type))))
         [{:path path :offset base :size (size-of type) :type (if (instance? Scalar type) (.name ^Scalar type) :chars)}])))))

(defn- flat
  "Each field at any depth by its path, in which :* stands for the index."
  [type base path]
  (let [base (long base)]
    (condp instance? type
      Struct (cons [path {:offset base :size (.-size ^Struct type) :align (.-align ^Struct type) :type :struct}]
                   (mapcat (fn [^Field f] (flat (.-type f) (+ base (.-offset f)) (conj path (.-name f))))
                           (.-fields ^Struct type)))
      Array (cons [path {:offset base :size (size-of type) :type (type-form type)}]
                  (when (instance? Struct (loop [t type] (if (instance? Array t) (recur (.-element ^Array t)) t)))
                    (flat (.-element ^Array type) base (conj path :*))))
      Scalar [[path (cond-> {:offset base :size (size-of type) :type (type-form type)}
                      (< 1 (.bytes ^Scalar type)) (assoc :order (order-of type)))]]
      Chars [[path {:offset base :size (size-of type) :type (type-form type) :charset (.-charset ^Chars type)}]])))

(defn difference [^Layout a ^Layout b]
  (let [in-a  (flat (.-root a) 0 [])
        in-b  (flat (.-root b) 0 [])
        map-a (into {} in-a)
        map-b (into {} in-b)]
    (vec (for [path (distinct (concat (map first in-a) (map first in-b)))
               :let [x (map-a path), y (map-b path)]
               :when (not= x y)]
           (cond-> {:path path}
             x (assoc :here x)
             y (assoc :there y))))))

;; ------------------------------------------------------------------- paths

(defn- no-field [^RsmError error op path part hint]
  (args/failure error op :argument "path" :path path :part (shown part) :hint hint))

(defn index
  "An index of an array as a long, checked."
  ^long [k ^long n op path]
  (if (and (int? k) (< -1 (long k) n))
    (long k)
    (throw (no-field RsmError/BAD_OFFSET op path k (str "an index is an integer from 0 to " (dec n))))))

(defn field
  "The field of a struct with this name."
  ^Field [^Struct s k op path]
  (or (when (keyword? k) ((.-by-name s) k))
      (throw (no-field RsmError/BAD_ARGS_ERRORS op path k
                       (str "the fields are " (str/join ", " (take 32 (map (fn [^Field f] (.-name f)) (.-fields s)))))))))

(defn walk
  "Follows a path of field names and indices from a type. f gets the type and the offset where it
  ends."
  [type base path op f]
  (loop [type type, base (long base), left (seq path), done []]
    (if left
      (let [k (first left), done (conj done (shown k))]
        (condp instance? type
          Struct (let [found (field type k op done)]
                   (recur (.-type found) (+ base (.-offset found)) (next left) done))
          Array (let [i (index k (.-count ^Array type) op done)]
                  (recur (.-element ^Array type) (+ base (* i (.-stride ^Array type))) (next left) done))
          (throw (no-field RsmError/BAD_ARGS_ERRORS op done k "a number or text has no fields"))))
      (f type base))))

(defn path-of
  "A path as a vector: of a name or index alone, a path of one."
  [x op]
  (cond
    (vector? x) x
    (or (keyword? x) (int? x)) [x]
    :else (throw (no-field RsmError/BAD_ARGS_ERRORS op [] x
                           "a path is a field's name, an index, or a vector of them"))))
