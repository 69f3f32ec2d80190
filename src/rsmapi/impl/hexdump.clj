(ns rsmapi.impl.hexdump
  "The lines of a hexdump, as data and as text."
  (:require [clojure.string :as str]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.layout :as layout]
            [rsmapi.impl.text :as text])
  (:import (java.util Arrays)
           (org.rsmapi RsmError SegmentMemory)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private default-length 256)

(def ^:private piece
  "About how many bytes are read at once."
  4096)

(def ^:private widest 1024)

;; ----------------------------------------------------------------- options

(defn- within
  "An integer from 1 to most."
  [x default most op argument]
  (let [n (args/integer x default RsmError/BAD_ARGS_ERRORS [op argument])]
    (if (<= 1 n (long most))
      n
      (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument argument (keyword argument) n
                           :hint (str "give an integer from 1 to " most))))))

(defn- fields-of
  "What says which fields lie in the bytes from `from` to `to`, or nil. x is a layout, the form of a
  type, or true for the layout with which the segment is published; nil for none."
  [memory x at op]
  (if (or (nil? x) (false? x))
    (when (some? at)
      (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "at" :hint ":at says where the :layout begins")))
    (let [[x start] (if (true? x)
                      (or (layout/of-memory memory)
                          (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "layout"
                                               :hint "the segment is published without a layout: give one")))
                      [x 0])
          type (binding [layout/*op* op] (layout/element x))
          start (args/integer at start RsmError/BAD_OFFSET [op "at"])
          farthest (long layout/longest-layout)]
      (when-not (<= (- farthest) start farthest) ; so that no sum overflows
        (throw (args/failure RsmError/BAD_OFFSET op :argument "at" :at start)))
      (fn [from to] (layout/leaves type start [] from to)))))

(defn request
  "What is to be shown: the memory, :from and :to, :width and :group, :all?, whether the :rest of
  the memory is to be mentioned, and :fields, see fields-of."
  [memory opts op]
  (let [m (args/memory memory op)
        {:keys [offset length width group all layout at]}
        (args/options opts #{:offset :length :width :group :all :layout :at} op)
        from (args/integer offset 0 RsmError/BAD_OFFSET [op "offset"])
        left (- (.size m) (max 0 (min from (.size m))))
        n (args/integer length (min left (long default-length)) RsmError/BAD_LENGTH [op "length"])
        width (within width 16 widest op "width")]
    (when (neg? n)
      (throw (args/failure RsmError/BAD_LENGTH op :length n)))
    (when-not (and (<= 0 from (.size m)) (<= n left))
      (throw (args/failure RsmError/BAD_OFFSET op :offset from :length n :size (.size m))))
    (.getBytes m from 0) ; whether it can be read at all
    {:memory m :from from :to (+ from n) :width width
     :group (within group 1 width op "group")
     :all? (args/flag all op "all")
     :fields (fields-of m layout at op)
     :rest (if (nil? length) (- left n) 0)
     :op op}))

;; -------------------------------------------------------------------- data

(defn- digits
  "Bytes as hexadecimal digits, in groups; a wider gap after every 8 bytes."
  [bytes ^long group]
  (let [out (StringBuilder.)]
    (dotimes [i (count bytes)]
      (when (and (pos? i) (zero? (rem i group)))
        (.append out \space)
        (when (zero? (rem i 8))
          (.append out \space)))
      (let [b (long (nth bytes i))]
        (.append out (Character/forDigit (int (quot b 16)) 16))
        (.append out (Character/forDigit (int (rem b 16)) 16))))
    (str out)))

(defn- printable
  "Bytes as ASCII, with a full stop for what cannot be printed."
  [bytes]
  (let [out (StringBuilder.)]
    (doseq [b bytes]
      (.append out (char (if (<= 32 (long b) 126) (long b) 46))))
    (str out)))

(defn- field-name
  "A path as it would be written in C: levels[0].px"
  [path]
  (reduce (fn [text part]
            (cond
              (int? part) (str text "[" part "]")
              (seq text) (str text "." (subs (str part) 1))
              :else (subs (str part) 1)))
          ""
          path))

(defn- line [{:keys [offset ^bytes raw repeats leaves] :as part} {:keys [group fields]}]
  (if repeats
    part
    (let [bytes (mapv #(bit-and 255 (long %)) raw)]
      (cond-> {:offset offset :bytes bytes :hex (digits bytes group) :text (printable bytes)}
        fields (assoc :fields (mapv (comp field-name :path) leaves))))))

(defn- with-leaves
  "A part with the fields that lie in it."
  [{:keys [offset ^bytes raw] :as part} fields]
  (assoc part :leaves (fields offset (+ (long offset) (alength raw)))))

(defn- pieces-of
  "The bytes of an array that begins at this offset, as maps of :offset and :raw, for one line each."
  [^bytes bytes offset width]
  (map (fn [at]
         {:offset (+ (long offset) (long at))
          :raw (Arrays/copyOfRange bytes (int at) (int (min (alength bytes) (+ (long at) (long width)))))})
       (range 0 (alength bytes) width)))

(defn- read-parts
  "The bytes of all lines, read a piece at a time."
  [{:keys [^SegmentMemory memory from to width op] :as request}]
  (lazy-seq
   (when (< (long from) (long to))
     (when (.isInterrupted (Thread/currentThread))
       (throw (args/failure RsmError/INTERRUPTED op :offset from)))
     (let [width (long width)
           n (min (* width (max 1 (quot (long piece) width))) (- (long to) (long from)))]
       (concat
        (pieces-of (.getBytes memory (long from) n) from width)
        (read-parts (assoc request :from (+ (long from) n))))))))

(defn- same?
  "Whether a part need not be shown after another one: where there are fields, their names are."
  [a b]
  (and b
       (Arrays/equals ^bytes (:raw a) ^bytes (:raw b))
       (empty? (:leaves a))
       (empty? (:leaves b))))

(defn- collapsed
  "The parts with {:offset n :repeats n} for those that are like the one before."
  [parts]
  (lazy-seq
   (when-let [[one & more] (seq parts)]
     (loop [n 0, left more]
       (if (same? one (first left))
         (recur (inc n) (next left))
         (cons one
               (if (pos? n)
                 (cons {:offset (+ (long (:offset one)) (alength ^bytes (:raw one))) :repeats n}
                       (collapsed left))
                 (collapsed left))))))))

(defn lines
  "The lines of a request, a lazy sequence."
  [{:keys [to all? rest fields] :as request}]
  (concat (map #(line % request)
               (cond->> (read-parts request)
                 fields (map #(with-leaves % fields))
                 (not all?) collapsed))
          (when (pos? (long rest))
            [{:offset to :more rest}])))

;; -------------------------------------------------------------------- text

(defn position
  "An offset as text, in at least 8 hexadecimal digits."
  [offset]
  (text/hex offset 8))

(defn text
  "A line as text."
  [{:keys [offset hex fields repeats more] chars :text} {:keys [width group]}]
  (cond
    repeats "*"
    more (str (position offset) "  " more " more bytes: (hexdump memory :offset " offset ")")
    :else
    (let [full (count (digits (vec (repeat width 0)) group))
          shown (str (position offset) "  " (text/padded hex full) "  |" chars "|")]
      (if (seq fields)
        (str (text/padded shown (+ (- (count shown) (count chars)) (long width))) "  " (str/join " " fields))
        shown))))
