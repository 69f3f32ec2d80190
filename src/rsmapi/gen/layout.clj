(ns ^:no-doc rsmapi.gen.layout
  "Generators of layouts and of values for them."
  (:require [clojure.test.check.generators :as gen]
            [rsmapi.impl.layout :as layout])
  (:import (org.rsmapi.clj Scalar)
           (rsmapi.impl.layout Array Chars Field Layout Struct)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private number-type
  (gen/elements [:u8 :i8 :u16 :i16 :u32 :i32 :u64 :i64 :f32 :f64]))

(def ^:private text-type
  (gen/let [n (gen/choose 1 20), charset (gen/frequency [[3 (gen/return nil)] [1 (gen/return :us-ascii)]])]
    (if charset [:chars n {:charset charset}] [:chars n])))

(def ^:private order
  (gen/elements [:little-endian :big-endian :native]))

(def ^:private alignment
  (gen/elements [1 2 4 8 16 64]))

(defn- options [& kvs]
  (gen/fmap (fn [chosen] (into {} (remove (comp nil? val)) chosen))
            (apply gen/hash-map
                   (mapcat (fn [[k g]] [k (gen/frequency [[4 (gen/return nil)] [1 g]])])
                           (partition 2 kvs)))))

(defn- struct-of [type]
  (gen/let [opts   (options :packed gen/boolean :align alignment :order order)
            fields (gen/vector (gen/tuple type (options :align alignment :order order)) 1 6)]
    (into (if (seq opts) [:struct opts] [:struct])
          (map-indexed (fn [i [type opts]]
                         (cond-> [(keyword (str "f" i)) type] (seq opts) (conj opts)))
                       fields))))

(def layout
  "See rsmapi.gen/layout."
  (struct-of (gen/recursive-gen
              (fn [inner]
                (gen/one-of [(struct-of inner)
                             (gen/let [n (gen/choose 1 4), type inner] [:array n type])]))
              (gen/frequency [[5 number-type] [1 text-type]]))))

(defn- integers [least most]
  (gen/one-of [(gen/large-integer* {:min least :max most})
               (gen/elements [least most 0])]))

(defn- number [^Scalar scalar]
  (case (.name scalar)
    :i8 (integers -128 127)
    :u8 (integers 0 255)
    :i16 (integers -32768 32767)
    :u16 (integers 0 65535)
    :i32 (integers Integer/MIN_VALUE Integer/MAX_VALUE)
    :u32 (integers 0 0xffffffff)
    :i64 (integers Long/MIN_VALUE Long/MAX_VALUE)
    :u64 (gen/one-of [(integers 0 Long/MAX_VALUE)
                      (gen/fmap #(bigint (.add (biginteger 9223372036854775808N) (biginteger %))) (gen/large-integer* {:min 0}))])
    :f32 (gen/fmap #(double (float %)) (gen/double* {:NaN? false :infinite? false :min -1e30 :max 1e30}))
    :f64 (gen/double* {:NaN? false})))

(defn- text [^Chars type]
  (let [character (if (= :us-ascii (.-charset type))
                    gen/char-alphanumeric
                    (gen/frequency [[8 gen/char-alphanumeric] [1 (gen/elements [\ä \λ \中])]]))]
    (gen/fmap (fn [chars]
                (loop [s (apply str chars)]
                  (if (<= (alength (.getBytes ^String s "UTF-8")) (.-size type))
                    s
                    (recur (subs s 0 (dec (count s)))))))
              (gen/vector character 0 (.-size type)))))

(defn- value-of [type]
  (condp instance? type
    Scalar (number type)
    Chars (text type)
    Array (gen/vector (value-of (.-element ^Array type)) (.-count ^Array type))
    Struct (apply gen/hash-map (mapcat (fn [^Field f] [(.-name f) (value-of (.-type f))]) (.-fields ^Struct type)))))

(defn value
  "See rsmapi.gen/layout-value."
  [x]
  (value-of (.-root ^Layout (layout/layout x))))
