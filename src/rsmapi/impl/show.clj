(ns rsmapi.impl.show
  "What the commands print: EDN for programs; tables, dumps and colours for people.

  A style is a map: :edn prints EDN, :terminal moves the cursor, :colour uses colours."
  (:require [clojure.string :as str]
            [clojure.walk :as walk]
            [rsmapi.impl.text :as text]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; What a segment contains, and the names in a layout that an exporter publishes, are other people's:
;; they must not reach the terminal as control sequences.

(def ^:private control #"[\p{Cc}\p{Cf}\u2028\u2029]")

(defn printable
  "The text with control characters as \\u001b and the like, as EDN writes them in strings."
  [text]
  (str/replace text control #(str "\\u" (text/hex (int (first %)) 4))))

;; -------------------------------------------------------------------- EDN

(defn- without-controls
  "A keyword cannot have a control character escaped: it gets a question mark."
  [x]
  (if (and (keyword? x) (re-find control (str x)))
    (keyword (str/replace (subs (str x) 1) control "?"))
    x))

(defn edn-text
  "The text of x as EDN, in one line."
  [x]
  (binding [*print-length* nil, *print-level* nil, *print-meta* false, *print-readably* true
            *print-namespace-maps* false, *print-dup* false]
    (let [text (pr-str x)]
      (if (re-find control text)
        (printable (pr-str (walk/postwalk without-controls x)))
        text))))

(defn print-edn
  "Prints x as one line of EDN."
  [x]
  (println (edn-text x)))

;; ------------------------------------------------------------------- text

(def ^:private codes {:bold "1", :changed "1;7", :failure "1;31", :dim "2"})

(defn paint
  "The text in a colour, if the style has colours."
  [{:keys [colour]} look text]
  (if colour
    (str "\u001b[" (codes look) "m" text "\u001b[0m")
    text))

(defn id-text
  "A segment id, as handles print it."
  [id]
  (if (int? id) (str "0x" (text/hex id 8)) "-"))

(defn lines
  "A table as lines. Rows are vectors of anything; nil is shown as -."
  [style headers rows]
  (let [text   (fn [x] (if (nil? x) "-" (printable (str x))))
        rows   (map #(mapv text %) rows)
        widths (apply map (fn [& column] (apply max (map count column))) headers rows)
        line   (fn [cells] (str/trimr (str/join "  " (map text/padded cells widths))))]
    (cons (paint style :bold (line headers)) (map line rows))))

(defn table
  "Prints a table."
  [style headers rows]
  (run! println (lines style headers rows)))

(defn value-text
  "A value of a field as text."
  [x]
  (if (string? x) (printable x) (edn-text x)))

(defn facts
  "Prints pairs of a name and a value."
  [style pairs]
  (let [width (apply max 0 (map (comp count first) pairs))]
    (doseq [[k v] pairs]
      (println (paint style :bold (text/padded k width)) "" (if (nil? v) "-" (value-text v))))))

;; ------------------------------------------------------------------ bytes

(defn hex
  "Bytes (a sequence of numbers) as hexadecimal digits."
  [bytes separator]
  (str/join separator (map #(text/hex (bit-and (long %) 0xff) 2) bytes)))

(defn- character [b]
  (let [b (bit-and (long b) 0xff)]
    (if (<= 32 b 126) (char b) \.)))

(defn dump-line
  "A line of a dump, in the format of rsmapi.inspect/hexdump, in which bytes can be marked: changed?
  says so of an offset."
  [style offset bytes width changed?]
  (let [mark (fn [i text] (if (changed? (+ (long offset) (long i))) (paint style :changed text) text))
        cell (fn [i b] (str (when (and (pos? (long i)) (zero? (rem (long i) 8))) " ") (mark i (hex [b] ""))))
        left (- (long width) (count bytes))
        gap  (str/join (repeat (+ (* 3 left) (- (quot (dec (long width)) 8) (quot (dec (count bytes)) 8))) \space))]
    (str (paint style :dim (text/hex offset 8)) "  "
         (str/join " " (map-indexed cell bytes)) gap
         "  |" (str/join (map-indexed (fn [i b] (mark i (str (character b)))) bytes)) "|")))

;; ----------------------------------------------------------------- fields

(defn path-text
  "A path such as [:orders 2 :price] as orders[2].price."
  [path]
  (printable
   (reduce (fn [text k]
             (cond
               (int? k)      (str text "[" k "]")
               (= "" text)   (name k)
               :else         (str text "." (name k))))
           "" path)))

(defn parse-path
  "The path that a text such as orders[2].price stands for."
  [text]
  (mapv #(if (re-matches #"\d{1,18}" %) (parse-long %) (keyword %))
        (remove str/blank? (str/split text #"[.\[\]]+"))))

(defn leaves
  "The values inside of a value of maps and sequences, as [[path value] ...]."
  ([x] (leaves [] x))
  ([path x]
   (cond
     (and (map? x) (seq x))                           (mapcat (fn [[k v]] (leaves (conj path k) v)) x)
     (and (sequential? x) (seq x))                    (mapcat (fn [i v] (leaves (conj path i) v)) (range) x)
     (and (some? x) (.isArray (class x)))             (recur path (vec x))
     :else                                            [[path x]])))

;; --------------------------------------------------------------- terminal

(defn redraw
  "Prints lines over those printed by the last redraw, of which there were so many."
  [style drawn lines]
  (when (and (:terminal style) (pos? (long drawn)))
    (print (str "\u001b[" drawn "A\u001b[J")))
  (run! println lines)
  (flush))
