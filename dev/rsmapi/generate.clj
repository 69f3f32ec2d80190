(ns rsmapi.generate
  "Writes src/rsmapi/core_typed.clj, the functions of rsmapi.core that exist once for each type, and
  the configuration by which clj-kondo knows them:

    clojure -X:generate

  The files are part of the repository, so that an editor finds the source of each function. Change
  the tables here, generate, and commit. A test fails if a file differs from what this namespace
  writes."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]))

;; ------------------------------------------------------------------- text

(defn- wrapped
  "Words as lines of at most `width` characters."
  [width words]
  (reduce (fn [lines word]
            (let [line (str (peek lines) (when (seq (peek lines)) " ") word)]
              (if (<= (count line) width)
                (conj (pop lines) line)
                (conj lines word))))
          [""]
          words))

(defn- docstring
  "Paragraphs as a docstring literal that is indented by two."
  [& paragraphs]
  (->> paragraphs
       (map #(str/join "\n  " (wrapped 76 (str/split (str/trim %) #"\s+"))))
       (str/join "\n\n  ")
       (format "  \"%s\"")))

(defn- camel
  "With a capital, whatever the default locale is."
  [s]
  (if (seq s)
    (str (Character/toUpperCase (.charAt ^String s 0)) (subs s 1))
    s))

(defn- article [noun]
  (str (if (= noun "int") "an " "a ") noun))

(def ^:private manual "Mapped memory: see rsm_memseg_import_map(3RSM).")

(def ^:private errors
  {:range     "Errors: `:rsm/bad-seg-hndl` if memory is not a mapping, export segment or local memory;
              `:rsm/bad-offset` if the offset is not an integer or the access does not lie wholly
              inside the memory; the error of its state if it is unmapped, revoked or closed;"
   :read      "`:rsm/perm-denied` if it may not be read"
   :write     "`:rsm/perm-denied` if it may not be written"
   :both      "`:rsm/perm-denied` if it may not be both read and written"
   :order     "`:rsm/bad-args-errors` if order is not a byte order"
   :value     "`:rsm/bad-args-errors` if the value is not one of those"
   :alignment "`:rsm/bad-mem-alignment` if the offset is not a multiple of the value's size"
   :array     "`:rsm/bad-addr` if the array is nil or of another type; `:rsm/bad-length` if a count is
              negative or reaches past the end of the array"
   :copy      "`:rsm/locks-not-supported` if the memory is a mapping that is a copy
              (see capabilities)"
   :heap      "`:rsm/insufficient-mem` if a new array would be larger than the heap can be"
   :length    "`:rsm/bad-length` if the length is negative or not an integer"
   :buffer    "`:rsm/bad-addr` if the buffer is not a java.nio.ByteBuffer, its memory
              was freed, or its file truncated"})

(defn- errors-of [& kinds]
  (str (errors :range) " " (str/join "; " (map errors kinds)) "."))

(def ^:private order-doc
  "order is `:native` (the default), `:little-endian`, `:big-endian` or a java.nio.ByteOrder.")

;; ------------------------------------------------------------------ types

(def ^:private types
  [{:type "byte"   :bytes 1 :kind "integer" :cast "long"
    :gives "a long from -128 to 127" :takes "an integer from -128 to 255"}
   {:type "short"  :bytes 2 :kind "integer" :cast "long"
    :gives "a long from -32768 to 32767" :takes "an integer from -32768 to 65535"}
   {:type "char"   :bytes 2 :kind "character"
    :gives "a character" :takes "a character, or an integer from 0 to 65535"}
   {:type "int"    :bytes 4 :kind "integer" :cast "long"
    :gives "a long from -2^31 to 2^31-1" :takes "an integer from -2^31 to 2^32-1"}
   {:type "long"   :bytes 8 :kind "integer"
    :gives "a long" :takes "an integer of 64 bits, signed"}
   {:type "float"  :bytes 4 :kind "number" :cast "double"
    :gives "a double" :takes "a number, rounded to the nearest float"}
   {:type "double" :bytes 8 :kind "number"
    :gives "a double" :takes "a number, rounded to the nearest double"}])

(defn- ordered?
  "Whether the type has a byte order, and an alignment."
  [{:keys [type]}]
  (not= type "byte"))

(defn- sized [{:keys [type bytes] :as t}]
  (str (article type) " (" bytes (if (ordered? t) " bytes)" " byte)")))

;; ---------------------------------------------------------- single values

;; An argument of a function, as the Java method takes it. The first string is the expression in
;; the function, the second one what the inline expansion has: there `untagged` drops a type hint
;; of the caller's, by which the compiler would unbox a nil before it is checked.

(defn- memory-arg [op]
  (let [call #(format "(Coerce/memory %smemory \"%s\")" % op)]
    {:name "memory" :plain (call "") :inline (call "~")}))

(defn- target-arg
  "A memory or an import segment."
  [op]
  (let [call #(format "(Atomic/target %smemory \"%s\")" % op)]
    {:name "memory" :plain (call "") :inline (call "~")}))

(defn- offset-arg [op]
  {:name "offset"
   :plain (format "(Coerce/offset offset \"%s\")" op)
   :inline (format "(Coerce/offset ~(untagged offset) \"%s\")" op)})

(defn- value-arg [{:keys [type kind]} name op]
  (let [coerced #(format "(Coerce/%s %s \"%s\" \"%s\")" kind % name op)
        narrowed #(case type
                    ("byte" "short" "int") (format "(Coerce/%sOf %s \"%s\" \"%s\")" type % name op)
                    "float" (format "(unchecked-float %s)" %)
                    %)]
    {:name name
     :plain (narrowed (coerced name))
     :inline (narrowed (coerced (str "~(untagged " name ")")))}))

(defn- order-arg [op]
  (let [call #(format "(Coerce/order %sorder \"%s\")" % op)]
    {:name "order" :plain (call "") :inline (call "~")}))

(defn- call
  "The expression that calls a method of SegmentMemory, or a static one whose name has its class. An
  expression that does not fit a line of 100 characters goes on in the next one."
  [which column method cast [memory & args]]
  (let [open   (str (when cast (str "(" cast " ")) "(" (when-not (str/includes? method "/") ".") method " ")
        close  (str ")" (when cast ")"))
        exprs  (map which (cons memory args))
        line   (str open (str/join " " exprs) close)
        indent (apply str (repeat (+ (long column) (count open)) \space))]
    (if (<= (+ (long column) (count line)) 100)
      line
      (str open (str/join (str "\n" indent) exprs) close))))

(defn- access-function
  "The text of one access function. args are the descriptions of its arguments; `optional`, if
  there is one, is a last one that can be left out."
  [{:keys [fn-name method cast args optional doc]}]
  (let [variants (cond-> [args] optional (conj (conj (vec args) optional)))
        params   (fn [as] (str "[" (str/join " " (map :name as)) "]"))
        clause   (fn [which column quote? as]
                   (let [head   (str "(" (params as))
                         single (str head " " (when quote? "`"))
                         text   (call which (+ column (count single)) method cast as)]
                     (if (str/includes? text "\n")
                       (str head "\n" (apply str (repeat (inc column) \space)) (when quote? "`")
                            (call which (+ column 1 (if quote? 1 0)) method cast as)
                            ")")
                       (str single text ")"))))]
    (str "(defn " fn-name "\n"
         doc "\n"
         "  {:inline-arities #{" (str/join " " (map count variants)) "}\n"
         "   :inline (fn\n"
         (str/join "\n" (map #(str "             " (clause :inline 13 true %)) variants))
         ")}\n"
         (str/join "\n" (map #(str "  " (clause :plain 2 false %)) variants))
         ")\n")))

(defn- plain [{:keys [type gives takes cast] :as t}]
  (let [get-op (str "get-" type)
        put-op (str "put-" type)
        order  (when (ordered? t) [:order])]
    [(access-function
      {:fn-name get-op
       :method (str "get" (camel type))
       :cast cast
       :args [(memory-arg get-op) (offset-arg get-op)]
       :optional (when order (order-arg get-op))
       :doc (docstring (str "Reads " (sized t) " at offset, in bytes from the start of the memory, and
                            returns " gives ". Any alignment.")
                       (str (when order order-doc) " No promise on memory order; see " get-op "-acquire.")
                       (apply errors-of :read order)
                       manual)})
     (access-function
      {:fn-name (str put-op "!")
       :method (str "put" (camel type))
       :args [(memory-arg put-op) (offset-arg put-op) (value-arg t "value" put-op)]
       :optional (when order (order-arg put-op))
       :doc (docstring (str "Writes " (sized t) " at offset, in bytes from the start of the memory, and
                            returns nil. value is " takes ". Any alignment.")
                       (str (when order order-doc) " No promise on memory order; see " put-op "-release!.")
                       (apply errors-of :write :value order)
                       manual)})]))

(defn- fenced [{:keys [type bytes gives takes cast] :as t}]
  (let [alignment (if (ordered? t) [:alignment :copy] [:copy])
        place     (str "at offset, in bytes" (when (ordered? t) (str " and a multiple of " bytes)))
        volatile  "Volatile: all volatile and atomic accesses have one order, which every thread and
                   process sees."
        reader    (fn [suffix promise]
                    (let [op (str "get-" type "-" suffix)]
                      (access-function
                       {:fn-name op
                        :method (str "get" (camel type) (camel suffix))
                        :cast cast
                        :args [(memory-arg op) (offset-arg op)]
                        :doc (docstring (str "Reads " (sized t) " " place ", and returns " gives ". " promise)
                                        (apply errors-of :read alignment)
                                        manual)})))
        writer    (fn [suffix promise]
                    (let [op (str "put-" type "-" suffix)]
                      (access-function
                       {:fn-name (str op "!")
                        :method (str "put" (camel type) (camel suffix))
                        :args [(memory-arg op) (offset-arg op) (value-arg t "value" op)]
                        :doc (docstring (str "Writes " (sized t) " " place ", and returns nil. value is "
                                             takes ". " promise)
                                        (apply errors-of :write :value alignment)
                                        manual)})))]
    [(reader "volatile" volatile)
     (writer "volatile" volatile)
     (reader "acquire" (str "Acquire: if this reads a value of put-" type "-release!, the accesses after it
                            see what was written before that value."))
     (writer "release" (str "Release: a reader that gets the value with get-" type "-acquire also sees what
                            was written before it."))]))

(def ^:private remote-atomic-doc
  "In place of a memory, an import segment can be given, with an offset in the segment: nothing need
  be mapped, and no barrier is needed. Its errors, in order: `:rsm/bad-seg-hndl` (disconnected);
  `:rsm/locks-not-supported` (not over this interconnect); `:rsm/bad-mem-alignment`; then those of put!;
  `:rsm/barrier-failure` (no answer: nobody knows whether it was done).")

(def ^:private atomic-orders
  "The suffixes of the atomic functions, and what they promise."
  [["" "with volatile semantics"]
   ["-acquire" "ordered before the accesses that follow, as get-long-acquire is"]
   ["-release" "ordered after the accesses before it, as put-long-release! is"]])

(defn- atomic [{:keys [type bytes takes cast] :as t}]
  (mapcat
   (fn [[suffix promise]]
     (let [cas    (str "compare-and-set-" type suffix)
           add    (str "get-and-add-" type suffix)
           method (fn [prefix] (str prefix (camel type) (camel (str/replace suffix "-" ""))))
           memory (if (= "" suffix) target-arg memory-arg)
           call   (fn [prefix] (str (when (= "" suffix) "Atomic/") (method prefix)))
           doc    (fn [does]
                    (apply docstring (cond-> [does (errors-of :both :value :alignment :copy)]
                                       (= "" suffix) (conj remote-atomic-doc)
                                       true (conj manual))))
           place  (str (sized t) " at offset, in bytes and a multiple of " bytes)]
       [(access-function
         {:fn-name (str cas "!")
          :method (call "compareAndSet")
          :args [(memory cas) (offset-arg cas) (value-arg t "expected" cas) (value-arg t "value" cas)]
          :doc (doc (str "Atomically writes value to " place ", if expected is there, and returns
                         whether it was; " promise ". expected and value are each " takes "."))})
        (access-function
         {:fn-name (str add "!")
          :method (call "getAndAdd")
          :cast cast
          :args [(memory add) (offset-arg add) (value-arg t "delta" add)]
          :doc (doc (str "Atomically adds delta to " place ", wrapping around, and returns the value
                         that was there before; " promise ". delta is " takes "."))})]))
   atomic-orders))

;; ------------------------------------------------------------ many values

(defn- function
  "The text of an ordinary function. Each clause is its parameters and its body."
  [fn-name doc & clauses]
  (str "(defn " fn-name "\n"
       doc "\n"
       (if (next clauses)
         (str/join "\n" (for [[params body] clauses]
                          (let [line (str "  (" params " " body ")")]
                            (if (<= (count line) 100) line (str "  (" params "\n   " body ")")))))
         (let [[[params body]] clauses]
           (str "  " params "\n  " body)))
       ")\n"))

(defn- arrays [{:keys [type] :as t}]
  (let [many   (str type "s")
        get-op (str "get-" many)
        put-op (str "put-" many)
        order  (when (ordered? t) [:order])
        doc-2  (str (when order order-doc) " Any alignment. No promise on memory order, nor on the order
                   of the elements.")
        clauses (fn [method third tag parts]
                  (for [piece? parts, order? (if order [false true] [false])]
                    (let [params (cond-> ["memory" "offset"]
                                   (not piece?) (conj third)
                                   piece?       (conj "array" "index" "count")
                                   order?       (conj "order"))
                          args   (cond-> ["memory" "offset" (if piece? "array" third)]
                                   piece?       (conj "index" "count"))]
                      [(str tag "[" (str/join " " params) "]")
                       (format "(Bulk/%s ArrayType/%sS %s %s)"
                               method (str/upper-case type)
                               (str/join " " args)
                               (if order? "order" ":native"))])))]
    [(apply function get-op
            (docstring (str "Reads count " many " from offset on, in bytes from the start of the memory, and
                            returns them in a new array.")
                       doc-2
                       (apply errors-of :read :length :heap order)
                       manual)
            (clauses "get" "count" (str "^" many " ") [false]))
     (apply function (str get-op "!")
            (docstring (str "Fills the array of " many ", or count elements of it from index on, from
                            offset on, in bytes from the start of the memory, and returns the array.")
                       doc-2
                       (apply errors-of :read :array order)
                       manual)
            (clauses "getInto" "array" (str "^" many " ") [false true]))
     (apply function (str put-op "!")
            (docstring (str "Writes the array of " many ", or count elements of it from index on, at
                            offset, in bytes from the start of the memory, and returns nil.")
                       doc-2
                       (apply errors-of :write :array order)
                       manual)
            (clauses "put" "array" "" [false true]))]))

(defn- ranges []
  [(function "get-buffer!"
             (docstring "Reads from offset on, in bytes from the start of the memory, into the
                         java.nio.ByteBuffer from its position to its limit, moves the position there
                         and returns the buffer."
                        (str (errors-of :read :buffer) " So is a read-only buffer.")
                        manual)
             ["[memory offset buffer]" "(Bulk/getBuffer memory offset buffer)"])
   (function "put-buffer!"
             (docstring "Writes what the java.nio.ByteBuffer has from its position to its limit at offset,
                         in bytes from the start of the memory, moves the position there and returns
                         nil. The buffer may be read-only."
                        (errors-of :write :buffer)
                        manual)
             ["[memory offset buffer]" "(Bulk/putBuffer memory offset buffer)"])
   (function "fill!"
             (docstring "Sets length bytes from offset on to value, an integer from -128 to 255, and
                         returns nil."
                        (errors-of :write :value :length)
                        manual)
             ["[memory offset length value]" "(Bulk/fill memory offset length value)"])
   (function "copy!"
             (docstring "Copies length bytes from one memory to another, or within one, and returns nil.
                         The ranges may overlap, also through different handles of the same memory. Both
                         offsets are in bytes. No promise on memory order."
                        (str (errors-of :read :length) " The same for the target, with
                             `:rsm/perm-denied` if it may not be written.")
                        manual)
             ["[memory offset target target-offset length]"
              "(Bulk/copy memory offset target target-offset length)"])])

;; ------------------------------------------------------------ put and get

(def ^:private elements
  [{:bits 8  :integers "-128 to 255"     :array "a byte array"           :new "a byte"}
   {:bits 16 :integers "-32768 to 65535" :array "a short or char array"  :new "a short" :unit 2}
   {:bits 32 :integers "-2^31 to 2^32-1" :array "an int or float array"  :new "an int"  :unit 4}
   {:bits 64 :integers "-2^63 to 2^63-1" :array "a long or double array" :new "a long"  :unit 8}])

(defn- element-transfers [{:keys [bits integers array new unit]}]
  (let [place   (str "in bytes from its start" (when unit (str ", a multiple of " unit)))
        swapped (when unit " Elements are swapped if the exporter's machine has another byte order.")
        pieces  " index and count say which elements of an array; of a memory, index is in bytes and
                 count in elements."
        clauses (fn [method third]
                  [[(str "[segment offset " third "]")
                    (format "(Transfer/%s ElementWidth/BITS_%d segment offset %s nil nil)" method bits third)]
                   [(str "[segment offset " third " index count]")
                    (format "(Transfer/%s ElementWidth/BITS_%d segment offset %s\n                 (args/given index) (args/given count))"
                            method bits third)]])]
    [(apply function (str "put" bits "!")
            (docstring (str "Writes " bits "-bit elements to an import segment at offset, " place ", and
                            returns nil. The source is an integer (" integers "), a sequence of integers, "
                            array " or memory." swapped pieces)
                       "For mapping, barriers and errors see put!; an integer that does not fit is
                        `:rsm/bad-args-errors`."
                       (str "rsm_memseg_import_put" bits "(3RSM)."))
            (clauses "put" "source"))
     (apply function (str "get" bits)
            (docstring (str "Reads count " bits "-bit elements of an import segment from offset on, " place ",
                            and returns them in " new " array." swapped)
                       "For mapping, barriers and errors see put!."
                       (str "rsm_memseg_import_get" bits "(3RSM)."))
            [["[segment offset count]"
              (format "(Transfer/get ElementWidth/BITS_%d segment offset count)" bits)]])
     (apply function (str "get" bits "!")
            (docstring (str "Reads " bits "-bit elements of an import segment from offset on, " place ", into
                            the target, and returns that. The target is " array " or memory." swapped
                            pieces)
                       "For mapping, barriers and errors see put!."
                       (str "rsm_memseg_import_get" bits "(3RSM)."))
            (clauses "get" "target"))]))

;; ------------------------------------------------------------------- file

(def ^:private head
  ";; Generated by rsmapi.generate: change that, and run `clojure -X:generate`.
;;
;; The functions of rsmapi.core that exist once for each type. Those for single values are inline:
;; a call compiles to a method of org.rsmapi.SegmentMemory with primitive arguments, whether or not
;; anything is hinted. Arguments whose type the compiler does not know are checked when the call
;; runs. As values (map, apply, partial) they are ordinary functions with the same checks.

(in-ns 'rsmapi.core)
")

(defn- section [title texts]
  (str ";; " (apply str (repeat (- 70 (count title)) \-)) " " title "\n\n" (str/join "\n" texts)))

(defn text
  "The text of the file."
  []
  (str/join "\n"
            [head
             (section "put and get of elements" (mapcat element-transfers elements))
             (section "single values" (mapcat plain types))
             (section "ordered access" (mapcat fenced types))
             (section "atomic access" (mapcat atomic (filter (comp #{"int" "long"} :type) types)))
             (section "arrays" (mapcat arrays types))
             (section "buffers and ranges" (ranges))]))

(def file "src/rsmapi/core_typed.clj")

;; -------------------------------------------------------------- clj-kondo

(defn- arities
  "Each function of the file with the numbers of arguments that it takes."
  []
  (into (sorted-map)
        (for [form (read-string (str "[" (text) "]"))
              :when (= 'defn (first form))
              :let [[_ fn-name & more] form
                    arglists (->> more
                                  (drop-while #(or (string? %) (map? %)))
                                  (map #(if (vector? %) % (first %)))
                                  (filter vector?))
                    arglists (if (vector? (first (drop-while #(or (string? %) (map? %)) more)))
                               (take 1 arglists)
                               arglists)]]
          [fn-name (vec (sort (map count arglists)))])))

(def kondo-file
  "resources/clj-kondo.exports/io.github.rsmapi/rsmapi/config.edn")

(defn kondo-text
  "The text of the configuration that clj-kondo finds in the library."
  []
  (let [hooks "hooks.io.github.rsmapi.rsmapi"
        lines (fn [indent m] (str/join (str "\n" indent) (map (fn [[k v]] (str k " " v)) m)))
        fqn   #(symbol "rsmapi.core" (str %))]
    (str ";; Generated by rsmapi.generate: change that, and run `clojure -X:generate`.\n"
         "{:hooks\n"
         " {:macroexpand\n"
         "  {" (lines "   " (for [m '[with-controller with-exported-segment with-imported-segment
                                     with-mapped-segment with-local-memory with-barrier]]
                            [(fqn m) (symbol hooks (str m))])) "
   rsmapi.sim/with-world " hooks "/with-world
   rsmapi.layout/defaccessors " hooks "/defaccessors}\n"
         "  :analyze-call\n"
         "  {" (lines "   " (for [f (keys (arities))] [(fqn f) (symbol hooks "arity")])) "}}\n"
         " :linters\n"
         " {:rsmapi/arity\n"
         "  {:level :error\n"
         "   :arities\n"
         "   {" (lines "    " (arities)) "}}\n"
         "  :unresolved-var\n"
         "  {:exclude\n"
         "   [" (str/join "\n    " (map fqn (keys (arities)))) "]}}}\n")))

(defn run [_]
  (doseq [[path content] [[file (text)] [kondo-file (kondo-text)]]]
    (spit (io/file path) content)
    (println "wrote" path)))
