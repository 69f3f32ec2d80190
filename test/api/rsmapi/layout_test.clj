(ns rsmapi.layout-test
  "Layouts against gcc, views and columns against a ByteBuffer, accessors against views, layouts that
  are published, and what is refused."
  (:require [clojure.datafy :as datafy]
            [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.pprint :as pprint]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.impl.layout :as impl]
            [rsmapi.layout :as layout]
            [rsmapi.test.child :as child]
            [rsmapi.test.outcome :refer [failure]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.segment :refer [with-segment]])
  (:import (com.sun.management ThreadMXBean)
           (java.lang.management ManagementFactory)
           (java.nio ByteBuffer ByteOrder)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (org.rsmapi ExportSegment RsmException)))

(set! *warn-on-reflection* true)

(def ^:private form
  [:struct [:seq :u64] [:price :f64] [:qty :i32] [:sym [:chars 8]] [:flags [:array 4 :u8]]
   [:levels [:array 10 [:struct [:px :f64] [:n :u32]]]]])

(def ^:private quote-layout (layout/layout form))

(layout/defaccessors trade
  [:struct [:seq :u64] [:price :f64] [:qty :i32] [:sym [:chars 8]] [:flags [:array 4 :u8]]
   [:levels [:array 10 [:struct [:px :f64] [:n :u32]]]]])

(defn- facts
  "The data of body's failure."
  [f]
  (try (f) nil (catch RsmException e (ex-data e))))

(defmacro ^:private facts-of [& body] `(facts (fn [] ~@body)))

(defn- check [n property]
  (let [result (tc/quick-check n property)]
    (is (:pass? result) (pr-str (select-keys result [:seed :shrunk :fail])))))

;; ------------------------------------------------------------------ layout

(deftest offsets-and-sizes
  (is (= 192 (layout/size-of quote-layout)))
  (is (= [0 8 16 20 28 32] (map :offset (:fields (layout/describe quote-layout)))))
  (is (= 88 (layout/offset-of quote-layout [:levels 3 :n])))
  (is (= [{:offset 12 :size 4}] (get-in (layout/describe quote-layout) [:fields 5 :element :padding])))
  (is (= 0 (layout/offset-of form :seq)))
  (is (= 8 (layout/size-of :f64)))
  (is (= 48 (layout/size-of [:array 3 [:struct [:a :u8] [:b :u64]]])))
  (testing "packed, aligned"
    (is (= [0 1 9] (map :offset (:fields (layout/describe [:struct {:packed true} [:a :u8] [:b :u64] [:c :u8]])))))
    (is (= 64 (layout/size-of [:struct {:align 64} [:a :u8]])))
    (is (= 16 (layout/offset-of [:struct [:a :u8] [:b :u8 {:align 16}]] :b))))
  (testing "leaves in a range"
    (is (= [[[:qty] 16] [[:sym] 20] [[:flags 0] 28]]
           (map (juxt :path :offset) (impl/leaves quote-layout 17 29))))
    (is (= [[:levels 9 :px] [:levels 9 :n]] (map :path (impl/leaves quote-layout 176 192))))
    (is (= [[100000000]]
           (map :path (impl/leaves (impl/element [:array 1000000000 :u8]) 100000000 100000001)))
        "of a large array only what is asked for")))

(def ^:private c-types
  {:u8 "uint8_t" :i8 "int8_t" :u16 "uint16_t" :i16 "int16_t" :u32 "uint32_t" :i32 "int32_t"
   :u64 "uint64_t" :i64 "int64_t" :f32 "float" :f64 "double"})

(defn- c-declaration
  "A C declaration of a name with this type."
  [type name]
  (cond
    (keyword? type) (str (c-types type) " " name)
    (= :chars (first type)) (str "char " name "[" (second type) "]")
    (= :array (first type)) (c-declaration (nth type 2) (str name "[" (second type) "]"))
    :else
    (let [opts   (if (map? (second type)) (second type) {})
          fields (drop (if (map? (second type)) 2 1) type)]
      (str "struct " (when (:packed opts) "__attribute__((packed)) ")
           (when-let [a (:align opts)] (format "__attribute__((aligned(%d))) " a))
           "{ "
           (str/join " " (for [[field-name t o] fields]
                           (str (c-declaration t (clojure.core/name field-name))
                                (when-let [a (:align o)] (format " __attribute__((aligned(%d)))" a))
                                ";")))
           " } " name))))

(defn- paths
  "The path of each field that is no element of an array, with its C expression."
  [type path]
  (when (and (vector? type) (= :struct (first type)))
    (mapcat (fn [[field-name t]]
              (let [path (conj path field-name)]
                (cons path (paths t path))))
            (remove map? (rest type)))))

(deftest the-same-as-gcc
  (if-not (zero? (:exit (try (shell/sh "gcc" "--version") (catch java.io.IOException _ {:exit 1}))))
    (runner/skip! "layouts against gcc: there is no gcc here")
    (let [forms (gen/sample (gen/scale #(* 2 %) rsm-gen/layout) 150)
          dir   (.toFile (Files/createTempDirectory "rsmapi-layout" (make-array FileAttribute 0)))
          lines (map-indexed
                 (fn [i form]
                   (let [type (str "s" i)]
                     (str "typedef " (c-declaration form type) ";\n"
                          "static void f" i "(void) {\n"
                          (format "  printf(\"%d %%zu %%zu\", sizeof(%s), _Alignof(%s));\n" i type type)
                          (str/join (for [path (paths form [])]
                                      (format "  printf(\" %%zu\", offsetof(%s, %s));\n" type (str/join "." (map name path)))))
                          "  printf(\"\\n\");\n}\n")))
                 forms)
          source (io/file dir "layouts.c")
          binary (str (io/file dir "layouts"))]
      (try
        (spit source (str "#include <stdio.h>\n#include <stdint.h>\n#include <stddef.h>\n"
                          (str/join lines)
                          "int main(void) {\n" (str/join (map #(str "  f" % "();\n") (range (count forms)))) "  return 0;\n}\n"))
        (let [{:keys [exit err]} (shell/sh "gcc" "-w" "-o" binary (str source))]
          (is (zero? exit) err))
        (let [told (map #(map parse-long (str/split % #" ")) (str/split-lines (:out (shell/sh binary))))]
          (is (= 150 (count told)))
          (doseq [[form [_ size align & offsets]] (map vector forms told)
                  :let [described (layout/describe form)]]
            (is (= [size align offsets]
                   [(:size described) (:align described) (seq (map #(layout/offset-of form %) (paths form [])))])
                (pr-str form))))
        (finally
          (run! io/delete-file (reverse (file-seq (io/file dir)))))))))

(deftest equality-and-text
  (check 200
         (prop/for-all [form rsm-gen/layout]
           (let [l (layout/layout form)
                 read (impl/read-text (.-text ^rsmapi.impl.layout.Layout l))]
             (and (= l read)
                  (= (layout/fingerprint l) (layout/fingerprint read))
                  (= (:fields (layout/describe l)) (:fields (layout/describe read)))
                  (= (layout/size-of l) (layout/size-of read))
                  (empty? (layout/difference l read))))))
  (testing "what makes no difference"
    (is (= (layout/layout [:struct [:a :u32] [:b :u32]])
           (layout/layout [:struct {:packed true :order :native :align 4} [:a :u32 {:align 4}] [:b :u32 {:order :native}]]))))
  (testing "what does"
    (doseq [other [[:struct [:a :u32] [:c :u32]] [:struct [:a :u32]] [:struct [:a :i32] [:b :u32]]
                   [:struct [:b :u32] [:a :u32]] [:struct {:order :big-endian} [:a :u32] [:b :u32]]
                   [:struct {:align 8} [:a :u32] [:b :u32]]]
            :let [one (layout/layout [:struct [:a :u32] [:b :u32]])]]
      (is (not= one (layout/layout other)))
      (is (not= (layout/fingerprint one) (layout/fingerprint other)))
      (is (seq (layout/difference one other)) (pr-str other))))
  (is (= [{:path [] :here {:offset 0 :size 16 :align 8 :type :struct} :there {:offset 0 :size 8 :align 4 :type :struct}}
          {:path [:b] :here {:offset 8 :size 8 :type :f64 :order :little-endian}
           :there {:offset 4 :size 4 :type :f32 :order :little-endian}}]
         (layout/difference [:struct [:a :u32] [:b :f64]] [:struct [:a :u32] [:b :f32]])))
  (testing "a layout prints its form"
    (is (= (str "#<Layout " (pr-str form) ">") (pr-str quote-layout)))))

(deftest texts-of-others
  (is (= quote-layout (impl/read-text (pr-str form))))
  (doseq [text ["" "nil" "3" "[:struct" "[:struct]" "[:struct [:a]]" "[:struct [:a :u65]]" "#=(System/exit 1)"
                "[:struct [:a #inst \"2020-01-01\"]]" "[:array 3 :u8]" "[:struct [:a [:array 0 :u8]]]"
                (str "[:struct [:a [:array 99999999999999999 :u64]]]")
                (apply str (repeat 60000 "["))
                (str "[:struct " (str/join (repeat 5000 "[:a :u8]")) "]")
                (str "[:struct " (str/join (map #(str "[:a" % " :u8]") (range 5000))) "]")
                (apply str (repeat 70000 "x"))
                (str (apply str (repeat 30 "[:struct [:a ")) ":u8" (apply str (repeat 30 "]]")))
                (str (apply str (repeat 1000 "[:array 2 ")) ":u8" (apply str (repeat 1000 "]")))]]
    (is (nil? (impl/read-text text)) (subs text 0 (min 60 (count text))))))

(deftest malformed-layouts
  (doseq [[bad path] {3 [], nil [], :u8 [], [] [], [:struct] [], [:struct {}] [], '(:struct [:a :u8]) []
                      [:struct [:a]] [], [:struct ["a" :u8]] [], [:struct [:a :u8] [:a :u8]] []
                      [:struct [:a :u9]] [:a], [:struct [:a [:chars 0]]] [:a], [:struct [:a [:chars 16777217]]] [:a]
                      [:struct [:a [:array -1 :u8]]] [:a], [:struct [:a [:array 2 [:struct [:b nil]]]]] [:a :* :b]
                      [:struct {:order :middle} [:a :u8]] [], [:struct {:pack true} [:a :u8]] []
                      [:struct [:a :u8 {:align 3}]] [:a], [:struct [:a :u8 {:align 8192}]] [:a]
                      [:struct [:a [:chars 3 {:charset :utf-16}]]] [:a], [:struct {:packed 1} [:a :u8]] []
                      [:struct [:a [:array (bit-shift-left 1 47) :u64]]] [:a]
                      (nth (iterate (fn [t] [:struct [:a t]]) :u8) 20) [:a :a :a :a]}]
    (let [data (facts-of (layout/layout bad))]
      (is (= [:rsm/bad-args-errors :layout path]
             [(:rsm/error data) (:rsm/op data) (get data :rsm/path [])])
          (pr-str bad))
      (is (string? (:rsm/hint data)))))
  (testing "a layout in layouts, again and again"
    (let [wide (fn [t] (into [:struct] (map (fn [i] [(keyword (str "f" i)) t])) (range 60)))]
      (is (= :rsm/bad-args-errors (failure (layout/layout (wide (layout/layout (wide (layout/layout (wide :u8)))))))))))
  (is (= :rsm/bad-args-errors (failure (layout/offset-of form :nope))))
  (is (= :rsm/bad-offset (failure (layout/offset-of form [:levels 10]))))
  (is (= :rsm/bad-args-errors (failure (layout/offset-of form [:seq :x]))))
  (is (= :rsm/bad-args-errors (failure (layout/offset-of form "seq")))))

;; ------------------------------------------------------------------- views

(deftest what-is-written-is-read
  (rsm/with-local-memory [m 65536]
    (check 200
           (prop/for-all [[form value] (gen/let [form rsm-gen/layout] (gen/tuple (gen/return form) (rsm-gen/layout-value form)))
                          at (gen/choose 0 100)]
             (rsm/fill! m 0 65536 0x5a)
             (let [v (layout/view m form at)
                   size (layout/size-of form)]
               (layout/put! v value)
               (and (= value @v)
                    (every? (fn [[k x]] (= x (let [y (get v k)] (if (instance? clojure.lang.IDeref y) @y y)))) value)
                    (every? #(= 0x5a %) (rsm/get-bytes m 0 at))
                    (every? #(= 0x5a %) (rsm/get-bytes m (+ at size) 100))))))))

(defn- stored
  "A number as a ByteBuffer reads it."
  [^ByteBuffer b type ^ByteOrder order ^long at]
  (.order b order)
  (case type
    :u8 (bit-and 0xff (long (.get b at)))
    :i8 (long (.get b at))
    :u16 (bit-and 0xffff (long (.getShort b at)))
    :i16 (long (.getShort b at))
    :u32 (bit-and 0xffffffff (long (.getInt b at)))
    :i32 (long (.getInt b at))
    :i64 (.getLong b at)
    :u64 (let [x (.getLong b at)] (if (neg? x) (+' x 18446744073709551616N) x))
    :f32 (double (.getFloat b at))
    :f64 (.getDouble b at)))

(defn- same? [a b]
  (or (= a b) (and (double? a) (double? b) (Double/isNaN a) (Double/isNaN b))))

(deftest numbers-and-columns
  (rsm/with-local-memory [m 65536]
    (let [random (java.util.Random. 42)
          content (byte-array 65536)
          _ (.nextBytes random content)
          b (ByteBuffer/wrap content)]
      (rsm/put-bytes! m 0 content)
      (doseq [type [:u8 :i8 :u16 :i16 :u32 :i32 :u64 :i64 :f32 :f64]
              [order-name order] {:little-endian ByteOrder/LITTLE_ENDIAN :big-endian ByteOrder/BIG_ENDIAN}
              :let [element [:struct {:packed true} [:pad [:chars 5]] [:x type {:order order-name}]]
                    a (layout/array m element 3)
                    stride (layout/size-of element)
                    n (count a)
                    expected (mapv #(stored b type order (+ 3 5 (* stride %))) (range n))
                    column (layout/column a :x)
                    whole (filterv #(not (and (double? %) (or (Double/isNaN %) (Double/isInfinite %)))) expected)]]
        (testing [type order-name]
          (is (= (quot 65533 stride) n (count column)))
          (is (every? true? (map same? expected column)))
          (is (every? true? (map same? expected (map :x a))))
          (is (every? true? (map same? expected (reduce conj [] column))))
          (is (every? true? (map same? expected (into [] (map :x) a))))
          (is (same? (nth expected 77) (nth column 77)))
          (is (= :none (nth column n :none) (get column -1 :none)))
          (is (= (take 10 expected) (reduce (fn [acc x] (if (= 10 (count acc)) (reduced acc) (conj acc x))) [] column)))
          (let [bits (layout/values column)]
            (if (#{:f32 :f64} type)
              (is (every? true? (map same? expected (vec ^doubles bits))))
              (is (= (map unchecked-long expected) (vec ^longs bits)))))
          (cond
            (#{:f32 :f64} type)
            (let [f (fn ^double [^double acc ^double x] (if (< acc x) x acc))]
              (is (same? (reduce + expected) (reduce + column)))
              (is (same? (reduce + 0 expected) (reduce + 0 column)))
              (is (same? (reduce + 1/2 expected) (reduce + 1/2 column)))
              (is (= (reduce f Double/NEGATIVE_INFINITY expected) (reduce f Double/NEGATIVE_INFINITY column))))

            (#{:u64 :i64} type)
            (let [f (fn ^long [^long acc ^long x] (bit-xor acc x))]
              (is (= (try (reduce + expected) (catch ArithmeticException _ :overflow))
                     (try (reduce + column) (catch ArithmeticException _ :overflow))))
              (is (= (reduce +' expected) (reduce +' column)))
              (is (= (reduce bit-xor 7 (map unchecked-long expected)) (reduce f 7 column))))

            :else
            (do (is (= (reduce + expected) (reduce + column)))
                (is (= (reduce + 10 expected) (reduce + 10 column)))
                (is (= (reduce + 0.5 expected) (reduce + 0.5 column)))))
          (is (seq whole))))
      (testing "without elements"
        (let [none (layout/column (layout/array m :f64 0 0))]
          (is (= 0 (reduce + none)))
          (is (= 3 (reduce + 3 none)))
          (is (nil? (seq none)))
          (is (= [] @(layout/array m :f64 0 0)))))
      (testing "a column of an array of numbers, and one deeper"
        (let [a (layout/array m quote-layout)]
          (is (= [0 1 2 3] (do (layout/put! a [5 :flags] [0 1 2 3]) (vec (layout/column (get-in a [5 :flags]))))))
          (layout/put! a [7 :levels 3 :px] 2.5)
          (is (= 2.5 (nth (layout/column a [:levels 3 :px]) 7))))))))

(deftest reduce-allocates-nothing
  (rsm/with-local-memory [m (* 16 65536)]
    (let [a (layout/array m [:struct [:x :f64] [:n :u32]])
          x (layout/column a :x)
          n (layout/column a :n)
          larger (fn ^double [^double acc ^double v] (if (< acc v) v acc))
          mixed (fn ^long [^long acc ^long v] (bit-xor acc v))
          ^ThreadMXBean bean (ManagementFactory/getThreadMXBean)
          thread (.getId (Thread/currentThread))
          allocated (fn [f]
                      (dotimes [_ 20] (f))
                      (let [before (.getThreadAllocatedBytes bean thread)]
                        (f)
                        (- (.getThreadAllocatedBytes bean thread) before)))]
      (is (< 60000 (count a)))
      (doseq [[what f] {:+ #(reduce + x), :f64 #(reduce larger 0.0 x), :u32 #(reduce mixed 0 n)}]
        (is (< (allocated f) 16384) what)))))

(deftest views-as-data
  (rsm/with-local-memory [m 4096]
    (let [v (layout/view m quote-layout 64)]
      (is (identical? v (layout/put! v :price 101.5 [:levels 2 :n] 7 :sym "ABC")))
      (is (= {:seq 0 :price 101.5 :qty 0 :sym "ABC" :flags [0 0 0 0]} (dissoc @v :levels)))
      (is (= 7 (get-in v [:levels 2 :n]) (:n (nth (:levels v) 2))))
      (layout/put! v {:seq 1 :levels {1 {:px 3.0}} :flags [9 8]})
      (is (= [1 101.5 [9 8 0 0] 3.0 7] [(:seq v) (:price v) @(:flags v) (get-in v [:levels 1 :px]) (get-in v [:levels 2 :n])]))
      (layout/put! (:levels v) 3 {:px 4.0 :n 4})
      (layout/put! (layout/view m quote-layout 512) v)
      (is (= @v @(layout/view m quote-layout 512)) "from another view")
      (layout/put! v :flags (byte-array [1 2 3 4]))
      (is (= [1 2 3 4] @(:flags v)))
      (is (nil? (:nope v)))
      (is (= :else (get v :nope :else) (get (:levels v) 10 :else)))
      (testing "printing"
        (is (= (str "#<StructView at 64 {:seq 1, :price 101.5, :qty 0, :sym \"ABC\", :flags [1 2 3 4], "
                    ":levels [{:px 0.0, :n 0} {:px 3.0, :n 0} {:px 0.0, :n 7} {:px 4.0, :n 4} ...]}>")
               (pr-str v)))
        (is (= (str (pr-str v) "\n") (with-out-str (pprint/pprint v))))
        (is (= "#<ArrayView of 3 at 0 [{:a 0} {:a 0} {:a 0}]>" (pr-str (layout/array m [:struct [:a :u8]] 0 3))))
        (is (= "#<Column of 3 :u8>" (pr-str (layout/column (layout/array m :u8 0 3))))))
      (testing "sequences of an array"
        (let [a (layout/array m :u16 4000 4)]
          (layout/put! a [1 2 3])
          (is (= [1 2 3 0] (seq a) (vec a) (into [] a) (map identity a) @a)))))))

(deftest nothing-is-written-if-something-is-wrong
  (rsm/with-local-memory [m 4096]
    (let [v (layout/view m quote-layout)
          before (vec (rsm/get-bytes m 0 4096))]
      (doseq [[error field f]
              [[:rsm/bad-args-errors [:price] #(layout/put! v {:seq 1 :price "x"})]
               [:rsm/bad-args-errors [:qty] #(layout/put! v :seq 1 :qty 3000000000)]
               [:rsm/bad-args-errors [:seq] #(layout/put! v {:qty 1 :seq -1})]
               [:rsm/bad-args-errors [:seq] #(layout/put! v {:qty 1 :seq 18446744073709551616N})]
               [:rsm/bad-args-errors [:flags 2] #(layout/put! v {:seq 1 :flags [1 2 256]})]
               [:rsm/bad-length [:flags] #(layout/put! v {:seq 1 :flags [1 2 3 4 5]})]
               [:rsm/bad-length [:flags] #(layout/put! v {:seq 1 :flags (range)})]
               [:rsm/bad-args-errors [:flags] #(layout/put! v {:seq 1 :flags 3})]
               [:rsm/bad-args-errors [:flags] #(layout/put! v {:seq 1 :flags (map (fn [_] (throw (Exception.))) [1])})]
               [:rsm/bad-length [:sym] #(layout/put! v {:seq 1 :sym "123456789"})]
               [:rsm/bad-length [:sym] #(layout/put! v {:seq 1 :sym "12345中国"})]
               [:rsm/bad-args-errors [:sym] #(layout/put! v {:seq 1 :sym "\ud800"})]
               [:rsm/bad-args-errors [:sym] #(layout/put! v {:seq 1 :sym nil})]
               [:rsm/bad-args-errors [:sym] #(layout/put! v {:seq 1 :sym "a\u0000b"})]
               [:rsm/bad-args-errors nil #(layout/put! v {:seq 1 :nope 2})]
               [:rsm/bad-args-errors nil #(layout/put! v :seq 1 :nope 2)]
               [:rsm/bad-args-errors nil #(layout/put! v :seq 1 :qty)]
               [:rsm/bad-args-errors [] #(layout/put! v 3)]
               [:rsm/bad-offset nil #(layout/put! v {:seq 1 :levels {10 {:px 1.0}}})]
               [:rsm/bad-args-errors [:levels 0] #(layout/put! v {:seq 1 :levels [1]})]
               [:rsm/bad-args-errors nil #(layout/put! {} :seq 1)]
               [:rsm/bad-args-errors nil #(layout/put! nil {:seq 1})]]]
        (let [data (facts f)]
          (is (= [error field] [(:rsm/error data) (:rsm/field data)]) (pr-str data))
          (is (= before (vec (rsm/get-bytes m 0 4096)))))))))

(deftest views-are-refused
  (rsm/with-local-memory [m 4096]
    (doseq [[error f] [[:rsm/bad-seg-hndl #(layout/view nil form)]
                       [:rsm/bad-seg-hndl #(layout/array 3 form)]
                       [:rsm/bad-args-errors #(layout/view m nil)]
                       [:rsm/bad-args-errors #(layout/view m)]
                       [:rsm/bad-args-errors #(layout/array m [:array])]
                       [:rsm/bad-offset #(layout/view m form -1)]
                       [:rsm/bad-offset #(layout/view m form 4000)]
                       [:rsm/bad-offset #(layout/view m form nil)]
                       [:rsm/bad-offset #(layout/view m form Long/MAX_VALUE)]
                       [:rsm/bad-offset #(layout/view m form Long/MIN_VALUE)]
                       [:rsm/bad-offset #(layout/array m form 4097)]
                       [:rsm/bad-offset #(layout/array m form 0 1000)]
                       [:rsm/bad-length #(layout/array m form 0 -1)]
                       [:rsm/bad-length #(layout/array m form 0 "3")]
                       [:rsm/bad-length #(layout/array m :u8 0 3000000000)]
                       [:rsm/bad-args-errors #(layout/column (layout/view m form) :price)]
                       [:rsm/bad-args-errors #(layout/column (layout/array m form) :nope)]
                       [:rsm/bad-args-errors #(layout/column (layout/array m form) :sym)]
                       [:rsm/bad-args-errors #(layout/column (layout/array m form))]
                       [:rsm/bad-args-errors #(layout/values [1.0])]
                       [:rsm/bad-offset #(nth (layout/array m form) 21)]
                       [:rsm/bad-offset #(nth (layout/column (layout/array m form) :price) 21)]]]
      (is (= error (:rsm/error (facts f))))))
  (testing "memory that has ended, and permissions"
    (with-segment [_ ex im]
      (let [m (rsm/map! im :perm :read)
            a (layout/array m form)
            v (nth a 3)
            column (layout/column a :price)]
        (is (= {:rsm/error :rsm/perm-denied :rsm/field [3 :price]}
               (select-keys (facts-of (layout/put! v :price 1.0)) [:rsm/error :rsm/field])))
        (rsm/unpublish! ex)
        (child/eventually (rsm/aborted? im))
        (is (= {:rsm/error :rsm/conn-aborted :rsm/field [3 :levels 2 :n]}
               (select-keys (facts-of (get-in v [:levels 2 :n])) [:rsm/error :rsm/field])))
        (is (= :rsm/conn-aborted (:rsm/error (facts-of (reduce + column))) (:rsm/error (facts-of @v))))
        (is (= "#<StructView at 576 :rsm/conn-aborted>" (pr-str v) (str/trim (with-out-str (pprint/pprint v)))))
        (is (= "#<ArrayView of 85 at 0 :rsm/conn-aborted>" (pr-str a)))))))

;; --------------------------------------------------------------- accessors

(deftest accessors
  (rsm/with-local-memory [m 65536]
    (let [a (layout/array m quote-layout)]
      (trade-price! m 3 101.5)
      (trade-seq! m 3 -1)
      (trade-qty! m 3 -5)
      (trade-sym! m 3 "XYZ")
      (trade-flags! m 3 2 255)
      (trade-levels-n! m 3 9 4294967295)
      (trade-levels-px! m 3 0 1/2)
      (is (= {:price 101.5 :seq 18446744073709551615N :qty -5 :sym "XYZ" :flags [0 0 255 0]}
             (dissoc @(nth a 3) :levels)))
      (is (= [101.5 -1 -5 "XYZ" 255 4294967295 0.5]
             [(trade-price m 3) (trade-seq m 3) (trade-qty m 3) (trade-sym m 3) (trade-flags m 3 2) (trade-levels-n m 3 9)
              (trade-levels-px m 3 0)]))
      (is (= [0.0 101.5] (map trade-price [m m] [2 3])) "as functions")
      (is (= @(nth a 3) (do (layout/put! a 4 (nth a 3)) @(nth a 4))))
      (doseq [[error f] [[:rsm/bad-offset #(trade-price m -1)]
                         [:rsm/bad-offset #(trade-price m 342)]
                         [:rsm/bad-offset #(trade-price m Long/MAX_VALUE)]
                         [:rsm/bad-offset #(trade-price m (quot Long/MAX_VALUE 192))]
                         [:rsm/bad-offset #(trade-price m (inc (quot Long/MAX_VALUE 96)))]
                         [:rsm/bad-offset #(trade-price m nil)]
                         [:rsm/bad-offset #(trade-price m 1.0)]
                         [:rsm/bad-offset #(trade-price m \a)]
                         [:rsm/bad-offset #(trade-levels-px m 0 10)]
                         [:rsm/bad-offset #(trade-levels-px m 0 -1)]
                         [:rsm/bad-seg-hndl #(trade-price nil 0)]
                         [:rsm/bad-args-errors #(trade-flags! m 0 0 -1)]
                         [:rsm/bad-args-errors #(trade-flags! m 0 0 nil)]
                         [:rsm/bad-args-errors #(trade-price! m 0 "1")]
                         [:rsm/bad-args-errors #(trade-qty! m 0 2147483648)]
                         [:rsm/bad-length #(trade-sym! m 0 "123456789")]
                         [:rsm/bad-offset #(apply trade-price [m nil])]
                         [:rsm/bad-seg-hndl #(apply trade-price! [nil 0 1.0])]]]
        (is (= error (:rsm/error (facts f))))))))

(deftest accessors-of-any-layout
  (rsm/with-local-memory [m 65536]
    (doseq [form (gen/sample (gen/scale #(* 3 %) rsm-gen/layout) 25)]
      (let [prefix (gensym "any")
            value  (last (gen/sample (rsm-gen/layout-value form) 10))
            places (filter #(not= :chars (:type %)) (impl/leaves (layout/layout form) 0 (layout/size-of form)))]
        (binding [*ns* (the-ns 'rsmapi.layout-test)]
          (eval `(layout/defaccessors ~prefix ~form :offset 24))
          (layout/put! (layout/view m form (+ 24 (layout/size-of form))) value)
          (doseq [{:keys [path type]} places
                  :let [indices (filter int? path)
                        name (str/join "-" (cons prefix (map clojure.core/name (remove int? path))))
                        expected (get-in (layout/view m form (+ 24 (layout/size-of form))) path)
                        expected (if (= :u64 type) (unchecked-long expected) expected)
                        getter (ns-resolve *ns* (symbol name))
                        setter (ns-resolve *ns* (symbol (str name "!")))]]
            (is (= expected (apply getter m 1 indices)) (pr-str form path))
            (apply setter m 2 (concat indices [expected]))
            (is (= expected (apply getter m 2 indices)) (pr-str form path))
            (is (= expected ((eval `(fn [~'memory] (~(symbol name) ~'memory 2 ~@indices))) m)) "inline")))))))

(deftest accessors-are-refused
  (doseq [form ['(rsmapi.layout/defaccessors "x" [:struct [:a :u8]])
                '(rsmapi.layout/defaccessors x 3)
                '(rsmapi.layout/defaccessors x nowhere)
                '(rsmapi.layout/defaccessors x [:struct [:a :u8]] :ofset 3)
                '(rsmapi.layout/defaccessors x [:struct [:a :u8]] :offset -3)
                '(rsmapi.layout/defaccessors x [:struct [:a-b :u8] [:a [:struct [:b :u8]]]])]]
    (is (instance? RsmException
                   (try (macroexpand form) nil
                        (catch Throwable t
                          (first (filter #(instance? RsmException %) (take-while some? (iterate ex-cause t)))))))
        (pr-str form))))

;; ------------------------------------------------------- order and atomics

(deftest ordered-and-atomic
  (rsm/with-local-memory [m 4096]
    (doseq [order [:little-endian :big-endian]
            :let [v (layout/view m [:struct {:order order} [:a :u64] [:b :i32] [:c :u16] [:d :u8] [:e :f64] [:f :f32]])]]
      (doseq [[k x] {:a 18446744073709551615N :b -7 :c 65535 :d 255 :e 2.5 :f 0.5}]
        (layout/put-volatile! v k x)
        (is (= x (get v k) (layout/get-volatile v k) (layout/get-acquire v k)) [order k])
        (layout/put-release! v k 1)
        (is (== 1 (get v k))))
      (layout/put! v :a 5 :b 6)
      (is (true? (layout/compare-and-set! v :a 5 18446744073709551615N)))
      (is (false? (layout/compare-and-set! v :a 5 7)))
      (is (true? (layout/compare-and-set! v :b 6 -1)))
      (is (= [18446744073709551615N -1] [(:a v) (:b v)]))
      (if (= order (if (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder)) :little-endian :big-endian))
        (is (= [18446744073709551615N 1 -1 1]
               [(layout/get-and-add! v :a 2) (:a v) (layout/get-and-add! v :b 2) (:b v)]))
        (is (= :rsm/bad-args-errors (failure (layout/get-and-add! v :a 2)))))
      (doseq [[error f] [[:rsm/bad-args-errors #(layout/compare-and-set! v :c 1 2)]
                         [:rsm/bad-args-errors #(layout/get-and-add! v :e 2)]
                         [:rsm/bad-args-errors #(layout/get-and-add! v :b 1.5)]
                         [:rsm/bad-args-errors #(layout/compare-and-set! v :b nil 1)]
                         [:rsm/bad-args-errors #(layout/put-release! v :d 256)]
                         [:rsm/bad-args-errors #(layout/get-volatile v [])]
                         [:rsm/bad-args-errors #(layout/get-acquire v :nope)]]]
        (is (= error (:rsm/error (facts f))) [order])))
    (let [v (layout/view m [:struct {:packed true} [:x :u8] [:y :u64]])]
      (is (= {:rsm/error :rsm/bad-mem-alignment :rsm/field [:y]}
             (select-keys (facts-of (layout/get-volatile v :y)) [:rsm/error :rsm/field]))))))

(deftest snapshots
  (rsm/with-local-memory [m 4096]
    (let [l [:struct [:before :u64] [:version :u64] [:a :u64] [:kept :u64] [:b [:array 8 :u64]]]
          v (layout/view m l 8)]
      (layout/put! v :kept 77 :before 5)
      (is (= 2 (layout/write-snapshot! v {:a 1 :b (repeat 8 1)})))
      (is (= {:before 5 :version 2 :a 1 :kept 77 :b (vec (repeat 8 1))} (layout/read-snapshot v)))
      (let [stop (atom false)
            writers (doall (for [_ (range 2)]
                             (future (loop [n 0]
                                       (when-not @stop
                                         (layout/write-snapshot! v {:a n :b (repeat 8 n)})
                                         (recur (inc n)))))))
            torn (loop [i 0, seen 0, torn 0]
                   (if (or (< i 3000) (and (< seen 10) (< i 1000000)))
                     (let [{:keys [a b version kept]} (layout/read-snapshot v)]
                       (recur (inc i)
                              (if (= a 0) seen (inc seen))
                              (if (and (apply = a b) (even? version) (= 77 kept)) torn (inc torn))))
                     torn))]
        (reset! stop true)
        (run! deref writers)
        (is (zero? torn)))
      (doseq [[error f] [[:rsm/bad-args-errors #(layout/read-snapshot m)]
                         [:rsm/bad-args-errors #(layout/read-snapshot v :version :nope)]
                         [:rsm/bad-args-errors #(layout/read-snapshot v :version :b)]
                         [:rsm/bad-args-errors #(layout/read-snapshot v :vers :b)]
                         [:rsm/bad-args-errors #(layout/write-snapshot! v {:version 3})]
                         [:rsm/bad-args-errors #(layout/write-snapshot! v {:nope 3})]
                         [:rsm/timeout #(do (layout/put! v :version 3) (layout/read-snapshot v :timeout-ms 10))]
                         [:rsm/timeout #(layout/write-snapshot! v {:a 3} {:timeout-ms 10})]]]
        (is (= error (:rsm/error (facts f))))))))

;; --------------------------------------------------------------- published

(deftest layouts-that-are-published
  (with-segment [c _ _]
    (rsm/with-exported-segment [ex c :size 65536 :layout form]
      (is (= quote-layout (layout/of ex)))
      (doseq [perm [:read :write :rdwr :none]]
        (rsm/with-imported-segment [im c :segment-id (rsm/segment-id ex) :perm perm :layout quote-layout]
          (is (= quote-layout (layout/of im)) perm)))
      (rsm/with-imported-segment [im c :segment-id (rsm/segment-id ex)]
        (rsm/with-mapped-segment [m im]
          (layout/put! (layout/view m) :price 1.5)
          (is (= 1.5 (:price (layout/view ex)) (:price (layout/view ex quote-layout))))
          (is (= quote-layout (layout/of m))))
        (rsm/with-mapped-segment [m im :offset (rsm/page-size)]
          (is (= :rsm/bad-offset (failure (layout/view m))))))
      (let [data (facts-of (rsm/connect! c :segment-id (rsm/segment-id ex) :layout [:struct [:seq :u64] [:price :f32]]))]
        (is (= [:rsm/bad-args-errors :import-connect "[:struct [:seq :u64] [:price :f32]]" (.layout ^ExportSegment ex)]
               ((juxt :rsm/error :rsm/op :rsm/layout :rsm/exporter-layout) data)))
        (is (some #{{:path [:price] :here {:type :f32 :offset 8 :size 4 :order :little-endian}
                     :there {:type :f64 :offset 8 :size 8 :order :little-endian}}}
                  (:rsm/difference data)))
        (is (child/eventually (zero? (rsm/importers ex))) "it is disconnected again"))
      (is (= :rsm/bad-args-errors (failure (rsm/connect! c :segment-id (rsm/segment-id ex) :layout 3))))
      (rsm/republish! ex :acl [{:node 0 :perm 0600}])
      (is (= quote-layout (layout/of ex)) "republish! keeps it")
      (rsm/unpublish! ex)
      (is (nil? (layout/of ex)))
      (rsm/publish! ex)
      (is (nil? (layout/of ex)))
      (let [data (facts-of (rsm/connect! c :segment-id (rsm/segment-id ex) :layout form))]
        (is (= [:rsm/bad-args-errors nil nil] ((juxt :rsm/error :rsm/exporter-layout :rsm/difference) data)))))
    (testing "a text that is no layout"
      (let [ex ^ExportSegment (rsm/create! c :size 4096)]
        (try
          (is (= :rsm/bad-args-errors (failure (.publish ex 0 nil (apply str (repeat 65537 "x"))))))
          (is (= :rsm/bad-args-errors (failure (.publish ex 0 nil (apply str (repeat 40000 "ä"))))))
          (let [id (.publish ex 0 nil (apply str (repeat 65536 "x")))]
            (rsm/with-imported-segment [im c :segment-id id]
              (is (= 65536 (count (.layout ^org.rsmapi.ImportSegment im))))
              (is (nil? (layout/of im)))
              (is (= :rsm/bad-args-errors (failure (layout/view (rsm/map! im)))))))
          (finally (rsm/destroy! ex)))))
    (is (= :rsm/bad-args-errors (failure (rsm/export! c :size 4096 :layout [:struct]))))
    (is (= :rsm/bad-seg-hndl (failure (layout/of 3))))
    (is (nil? (rsm/with-local-memory [m 4096] (layout/of m))))))

(deftest another-process-has-the-layout
  (with-segment [c _ _]
    (rsm/with-exported-segment [ex c :size 65536 :layout form]
      (child/with-child [child {}]
        (is (= [form 2.5]
               (do (layout/put! (layout/view ex) :price 2.5)
                   (child/value child
                                `(do (require '[rsmapi.layout :as ~'layout])
                                     (rsm/with-controller [c# "loopback"]
                                       (rsm/with-imported-segment [im# c# :segment-id ~(rsm/segment-id ex) :layout ~form]
                                         (rsm/with-mapped-segment [m# im#]
                                           [(read-string (.layout im#)) (:price (~'layout/view m#))])))))))))))
)

(deftest tools-walk-into-fields
  (with-segment [_ ex im {:connect {:perm :read}}]
    (is (= [nil nil] (map (comp :fields datafy/datafy) [ex im]))))
  (with-segment [c _ _]
    (rsm/with-exported-segment [ex c :size 65536 :layout form]
      (layout/put! (layout/view ex) {:price 2.5 :levels {1 {:px 7.0}}})
      (rsm/with-imported-segment [im c :segment-id (rsm/segment-id ex)]
        (let [into-fields (fn [x]
                            (let [d (datafy/datafy x)]
                              (is (= form (:layout d)))
                              (datafy/nav d :fields (:fields d))))]
          (is (= '... (into-fields im)) "it is not mapped")
          (let [m (rsm/map! im)]
            (doseq [x [ex im m]
                    :let [v (into-fields x), d (datafy/datafy v), levels (datafy/datafy (:levels d))]]
              (is (= [0 2.5] ((juxt :seq :price) d)))
              (is (= [10 7.0] [(count levels) (:px (datafy/datafy (second levels)))])))
            (let [v (into-fields m)]
              (rsm/unpublish! ex)
              (child/eventually (rsm/aborted? im))
              (is (= :rsm/conn-aborted (:rsm/error (datafy/datafy v)) (:rsm/error (datafy/datafy (layout/array m form)))))
              (is (= :rsm/conn-aborted (:rsm/error (datafy/datafy (into-fields m))))))))))))
