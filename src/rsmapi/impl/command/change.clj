(ns rsmapi.impl.command.change
  "The commands that change something: put, export."
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [rsmapi.core :as rsm]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.command.common :refer [await-interrupt bad-argument connected file-argument layout-for layout-of parse-integer reading]]
            [rsmapi.impl.show :as show]
            [rsmapi.layout :as layout])
  (:import (java.io File)
           (java.nio ByteBuffer)
           (java.nio.channels FileChannel)
           (java.nio.charset StandardCharsets)
           (java.nio.file OpenOption StandardOpenOption)
           (org.rsmapi ExportSegment RsmError)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; -------------------------------------------------------------------- put

(def ^:private types
  "The types of put: bytes, and whether the value is an integer."
  {:byte {:bytes 1 :integer true}, :short {:bytes 2 :integer true}, :char {:bytes 2}
   :int {:bytes 4 :integer true}, :long {:bytes 8 :integer true}
   :float {:bytes 4}, :double {:bytes 8}, :text {}, :hex {}})

(def type-names (mapv name (keys types)))

(defn- hex-bytes [text]
  (let [digits (str/replace text #"[\s:_]|^0[xX]" "")]
    (when (and (even? (count digits)) (re-matches #"[0-9a-fA-F]+" digits))
      (byte-array (map (fn [[a b]] (unchecked-byte (Long/parseLong (str a b) 16))) (partition 2 digits))))))

(defn- fitting
  "An integer as the API takes it: one of as many bits may be written without a sign."
  [n ^long bits]
  (if (and (instance? BigInteger n) (= 64 bits) (pos? (.signum ^BigInteger n)) (<= (.bitLength ^BigInteger n) 64))
    (.longValue ^BigInteger n)
    n))

(defn- value-of
  "The value of put, for its type; nil if it is none."
  [type value]
  (let [{:keys [bytes integer]} (types type)
        text (when (string? value) value)]
    (cond
      (= :text type) (some-> ^String text (.getBytes StandardCharsets/UTF_8))
      (= :hex type)  (some-> text hex-bytes)
      integer        (let [n (if text (parse-integer text) value)]
                       (when (integer? n) (fitting n (* 8 (long bytes)))))
      (= :char type) (cond
                       (char? value)                     value
                       (and text (= 1 (count text)))     (first text)
                       :else                             (let [n (if text (parse-integer text) value)]
                                                           (when (and (int? n) (<= 0 (long n) 0xffff)) (char n))))
      :else          (cond text (parse-double text), (number? value) (double value)))))

(defn- write! [m offset type value order]
  (case type
    :byte   (rsm/put-byte! m offset value)
    :short  (rsm/put-short! m offset value order)
    :char   (rsm/put-char! m offset value order)
    :int    (rsm/put-int! m offset value order)
    :long   (rsm/put-long! m offset value order)
    :float  (rsm/put-float! m offset value order)
    :double (rsm/put-double! m offset value order)
    (rsm/put-bytes! m offset value)))

(defn- in-mapping [im f]
  (rsm/with-mapped-segment [m im]
    (rsm/with-barrier [_ im]
      (f m))))

(defn- value-writer
  "A function that writes the value of a type, and returns what was written."
  [{:keys [offset type value byte-order]}]
  (let [op   "put"
        type (if (string? type) (keyword type) type)
        _    (when-not (contains? types type)
               (throw (bad-argument op "type" (str "the types are " (str/join ", " type-names)) :type type)))
        v    (value-of type value)
        _    (when (nil? v)
               (throw (bad-argument op "value" (str "it is not a value of the type " (name type)) :value value)))]
    (fn [im]
      (let [order  (cond (nil? byte-order) (rsm/byte-order im) (string? byte-order) (keyword byte-order) :else byte-order)
            length (long (if (bytes? v) (alength ^bytes v) (:bytes (types type))))]
        (if (= :mirrored (:memory (rsm/capabilities im))) ; a mapping would need the right to read as well
          (rsm/with-local-memory [mem (+ 8 length) :round-up true]
            (let [at (mod offset 8)] ; so that elements are moved as a whole
              (write! mem at type v order)
              (rsm/with-barrier [_ im]
                (when (pos? length)
                  (rsm/put! im offset mem at length)))))
          (in-mapping im #(write! % offset type v order)))
        {:offset offset :type type :length length}))))

(defn- field-value
  "The value of a field: from the command line, a text that is read as EDN if it can be."
  [value]
  (if (string? value)
    (or (parse-integer value)
        (try
          (let [v (edn/read-string value)]
            (if (or (symbol? v) (nil? v)) value v))
          (catch RuntimeException _ value)))
    value))

(defn- field-writer
  "A function that writes a field of a layout, and returns what was written."
  [{:keys [offset field value]} layout]
  (let [path (if (string? field) (show/parse-path field) field)
        v    (field-value value)]
    (fn [im]
      (in-mapping im #(layout/put! (layout/view % (layout-for layout im "put") offset) path v))
      {:field path :value v})))

(defn put
  "Writes a value to a segment."
  [{:keys [layout signal] :as opts} style]
  (let [op     "put"
        layout (layout-of layout op)
        signal (args/flag signal op "signal")
        opts   (update opts :offset args/integer 0 RsmError/BAD_OFFSET [op "offset"])
        write  (if layout (field-writer opts layout) (value-writer opts))
        data   (connected
                opts op (if layout [:rdwr :write] [:write])
                (fn [im]
                  (let [data (write im)]
                    (when signal
                      (rsm/signal-post! im))
                    (assoc data :segment-id (rsm/segment-id im)))))]
    (if (:edn style)
      (show/print-edn data)
      (println (str (show/id-text (:segment-id data)) ": "
                    (if layout
                      (str (show/path-text (:field data)) " = " (show/value-text (:value data)))
                      (str (name (:type data)) " at " (:offset data) ", " (:length data) " bytes")))))
    data))

;; ----------------------------------------------------------------- export

(def ^:private at-a-time "Bytes." 65536)

(defn- fill-from!
  "Writes a file's content to a segment, as much as there is room for."
  [ex ^FileChannel in ^long length]
  (let [buffer (ByteBuffer/allocateDirect at-a-time)]
    (loop [at 0]
      (when (< at length)
        (.clear buffer)
        (.limit buffer (int (min (long at-a-time) (- length at))))
        (when (pos? (.read in buffer))
          (.flip buffer)
          (let [n (.remaining buffer)]
            (rsm/put-buffer! ex at buffer)
            (recur (+ at n))))))))

(defn- access-list
  "The access list that grants a permission to each node."
  [perm controller own]
  (when (some? perm)
    (mapv (fn [node] {:node node :perm perm})
          (if (re-find #"^(?:shm|net)" controller) (range 64) [own]))))

(defn- create-of!
  "An export segment with the content of a file, and the file's length."
  [c ^File file op]
  (when-not (.isFile file)
    (throw (bad-argument op "file" (if (.exists file) "it is not a regular file" "there is no such file")
                         :file (str file))))
  (reading [op file]
    (with-open [in (FileChannel/open (.toPath file) (into-array OpenOption [StandardOpenOption/READ]))]
      (let [page   (long (rsm/page-size))
            length (.size in)
            ex     (rsm/create! c {:size (max page (* page (quot (+ length (dec page)) page)))})]
        (try
          (fill-from! ex in length)
          [ex length]
          (catch Throwable t
            (rsm/close! ex)
            (throw t)))))))

(defn export
  "Exports a file's content until interrupted."
  [{:keys [file id perm controller node]} style]
  (let [op         "export"
        controller (or (args/controller-name controller op) "loopback")
        file       (file-argument file op)]
    (rsm/with-controller [c controller {:node node}]
      (let [[^ExportSegment ex length] (create-of! c file op)
            own (rsm/node-id c)]
        (with-open [ex ex]
          (rsm/publish! ex {:segment-id id :acl (access-list perm controller own)})
          (let [data {:segment-id (rsm/segment-id ex) :controller controller :node own
                      :size (rsm/size ex) :length length :file (str file)}]
            (if (:edn style)
              (show/print-edn data)
              (println (show/id-text (:segment-id data))))
            (flush)
            (await-interrupt #(rsm/close! ex))
            data))))))
