(ns rsmapi.impl.access
  "Defines the access functions of rsmapi.core from one table.

  Every typed function is inline: a call compiles to a static method of
  org.rsmapi.clj.Access with primitive arguments, whether or not anything is
  hinted, and so neither boxes nor reflects. Arguments whose type is not known
  to the compiler are looked at when the call runs, and end in an RSM error if
  they are no good. The same name as a value (map, apply, partial) is an
  ordinary function with the same checks."
  (:require [clojure.string :as str])
  (:import (org.rsmapi.clj Access Bulk Coerce)))

;; Calls, as they are expanded inline and as they stand in the functions

(defn- untagged
  "The form without a type hint of the caller's. The compiler would act on it by
  unboxing, and turn a nil behind it into a NullPointerException before we see it;
  what it finds out itself about the form stays."
  [form]
  (if (instance? clojure.lang.IObj form)
    (vary-meta form dissoc :tag)
    form))

(defn- coerced
  "The form of one argument: operands are :memory and :order (taken as they are),
  :offset, or [kind argument-name] for a value, kind naming a method of Coerce."
  [operand form op]
  (case operand
    (:memory :order) form
    :offset (list '. `Coerce (list 'offset (untagged form) op))
    (let [[kind argument] operand]
      (list '. `Coerce (list (symbol (name kind)) (untagged form) argument op)))))

(defn call
  "The form that calls the method of Access with these argument forms."
  [method op operands args]
  (list '. `Access (list* (symbol method)
                          (map #(coerced %1 %2 op) operands args))))

(defn inliner
  "The :inline function of an access function."
  [method op operands]
  (fn [& args] (call method op operands args)))

(defn- parameter [operand]
  (symbol (if (keyword? operand) (name operand) (second operand))))

(defn- definition
  "The form that defines one access function. arities are the numbers of
  arguments it takes: the operands, or all but the last of them."
  [{:keys [fn-name method op operands arities doc]}]
  `(defn ~fn-name
     ~doc
     {:inline (inliner ~method ~op '~operands)
      :inline-arities ~(set arities)}
     ~@(for [n arities
             :let [params (mapv parameter (take n operands))]]
         (list params (call method op operands params)))))

;; What the docstrings have in common

(def ^:private pointer
  "Mapped memory: see rsm_memseg_import_map(3RSM).")

(defn text
  "A docstring of paragraphs, broken into lines."
  [& paragraphs]
  (->> paragraphs
       (map #(str/replace (str/trim %) #"\s+" " "))
       (map (fn [paragraph]
              (->> (str/split paragraph #" ")
                   (reduce (fn [lines word]
                             (let [line (str (peek lines) " " word)]
                               (if (< (count line) 76)
                                 (conj (pop lines) line)
                                 (conj lines word))))
                           [""])
                   (map str/trim)
                   (str/join "\n  "))))
       (str/join "\n\n  ")))

(def ^:private errors
  {:range "Errors: `:rsm/bad-seg-hndl` if memory is not a mapping, export
          segment or local memory; `:rsm/bad-offset` if the offset is not an
          integer or the access does not lie wholly inside the memory; the
          error of its state if it is unmapped, revoked or closed;"
   :read  "`:rsm/perm-denied` if it may not be read"
   :write "`:rsm/perm-denied` if it may not be written"
   :both  "`:rsm/perm-denied` if it may not be both read and written"
   :order "`:rsm/bad-args-errors` if order is not a byte order"
   :value "`:rsm/bad-args-errors` if the value is not one of those"
   :alignment "`:rsm/bad-mem-alignment` if the offset is not a multiple of the
              value's size"
   :array "`:rsm/bad-addr` if the array is nil or of another type;
          `:rsm/bad-length` if a count is negative or reaches past the end of
          the array"
   :heap "`:rsm/insufficient-mem` if a new array would be larger than the heap
         can be"})

(defn- failures [& kinds]
  (str (errors :range) " " (str/join "; " (map errors kinds)) "."))

;; Single values

(def ^:private types
  [{:type "byte"   :bytes 1 :kind :integer
    :gives "a long from -128 to 127" :takes "an integer from -128 to 255"}
   {:type "short"  :bytes 2 :kind :integer
    :gives "a long from -32768 to 32767" :takes "an integer from -32768 to 65535"}
   {:type "char"   :bytes 2 :kind :character
    :gives "a character" :takes "a character, or an integer from 0 to 65535"}
   {:type "int"    :bytes 4 :kind :integer
    :gives "a long from -2^31 to 2^31-1" :takes "an integer from -2^31 to 2^32-1"}
   {:type "long"   :bytes 8 :kind :integer
    :gives "a long" :takes "an integer of 64 bits, signed"}
   {:type "float"  :bytes 4 :kind :number
    :gives "a double" :takes "a number, rounded to the nearest float"}
   {:type "double" :bytes 8 :kind :number
    :gives "a double" :takes "a number, rounded to the nearest double"}])

(defn- ordered?
  "Whether the type has a byte order, and an alignment."
  [{:keys [type]}]
  (not= type "byte"))

(defn- article [type]
  (str (if (= type "int") "an " "a ") type))

(defn- sized [{:keys [type bytes] :as t}]
  (str (article type) " (" bytes (if (ordered? t) " bytes)" " byte)")))

(def ^:private order-doc
  "order is `:native` (the default), `:little-endian`, `:big-endian` or a
  java.nio.ByteOrder.")

(defn- camel [type]
  (if (seq type)
    (str (Character/toUpperCase (.charAt ^String type 0)) (subs type 1))
    type))

(defn- plain [{:keys [type kind gives takes] :as t}]
  (let [order  (when (ordered? t) [:order])
        get-op (str "get-" type)
        put-op (str "put-" type)]
    [{:fn-name  (symbol get-op)
      :method   (str "get" (camel type))
      :op       get-op
      :operands (into [:memory :offset] order)
      :arities  (if order [2 3] [2])
      :doc      (text (str "Reads " (sized t) " at offset, in bytes from the start of
                           the memory, and returns " gives ". Any alignment.")
                      (str (when order order-doc)
                           " No promise on memory order; see " get-op "-acquire.")
                      (apply failures :read order)
                      pointer)}
     {:fn-name  (symbol (str put-op "!"))
      :method   (str "put" (camel type))
      :op       put-op
      :operands (into [:memory :offset [kind "value"]] order)
      :arities  (if order [3 4] [3])
      :doc      (text (str "Writes " (sized t) " at offset, in bytes from the start of
                           the memory, and returns nil. value is " takes ". Any
                           alignment.")
                      (str (when order order-doc)
                           " No promise on memory order; see " put-op "-release!.")
                      (apply failures :write :value order)
                      pointer)}]))

(defn- fenced [{:keys [type bytes kind gives takes] :as t}]
  (let [alignment (when (ordered? t) [:alignment])
        reader (fn [suffix promise]
                 (let [op (str "get-" type "-" suffix)]
                   {:fn-name  (symbol op)
                    :method   (str "get" (camel type) (camel suffix))
                    :op       op
                    :operands [:memory :offset]
                    :arities  [2]
                    :doc      (text (str "Reads " (sized t) " at offset, in bytes and a
                                         multiple of " bytes ", and returns " gives ". "
                                         promise)
                                    (apply failures :read alignment)
                                    pointer)}))
        writer (fn [suffix promise]
                 (let [op (str "put-" type "-" suffix)]
                   {:fn-name  (symbol (str op "!"))
                    :method   (str "put" (camel type) (camel suffix))
                    :op       op
                    :operands [:memory :offset [kind "value"]]
                    :arities  [3]
                    :doc      (text (str "Writes " (sized t) " at offset, in bytes and a
                                         multiple of " bytes ", and returns nil. value is "
                                         takes ". " promise)
                                    (apply failures :write :value alignment)
                                    pointer)}))]
    [(reader "volatile" "Volatile: in one order, the same for everybody, with all
                         other volatile and atomic accesses.")
     (writer "volatile" "Volatile: in one order, the same for everybody, with all
                         other volatile and atomic accesses.")
     (reader "acquire" (str "Acquire: what was written before the put-" type "-release!
                             whose value this reads is seen by what follows."))
     (writer "release" (str "Release: whoever reads the value with get-" type "-acquire
                             sees all that was written before."))]))

(def ^:private atomic-orders
  "The suffixes of the atomic functions, and what they promise."
  [["" "with volatile semantics"]
   ["-acquire" "ordered before what follows, as get-long-acquire is"]
   ["-release" "ordered after what came before, as put-long-release! is"]])

(defn- atomic [{:keys [type bytes takes] :as t}]
  (mapcat
   (fn [[suffix promise]]
     (let [cas (str "compare-and-set-" type suffix)
           add (str "get-and-add-" type suffix)
           method-suffix (camel (str/replace suffix "-" ""))]
       [{:fn-name  (symbol (str cas "!"))
         :method   (str "compareAndSet" (camel type) method-suffix)
         :op       cas
         :operands [:memory :offset [:integer "expected"] [:integer "value"]]
         :arities  [4]
         :doc      (text (str "Writes value to " (sized t) " at offset, in bytes and a
                              multiple of " bytes ", if expected is there, and returns
                              whether it was: one step for everybody, " promise ".
                              expected and value are each " takes ".")
                         (failures :both :value :alignment)
                         pointer)}
        {:fn-name  (symbol (str add "!"))
         :method   (str "getAndAdd" (camel type) method-suffix)
         :op       add
         :operands [:memory :offset [:integer "delta"]]
         :arities  [3]
         :doc      (text (str "Adds delta to " (sized t) " at offset, in bytes and a
                              multiple of " bytes ", wrapping around, and returns what was
                              there before: one step for everybody, " promise ". delta is "
                              takes ".")
                         (failures :both :value :alignment)
                         pointer)}]))
   atomic-orders))

;; Arrays. Not inline: what boxing costs here is nothing beside the copying.

(defn- bulk
  "The forms that define get-<type>s and put-<type>s!."
  [{:keys [type] :as t}]
  (let [many     (str type "s")
        get-op   (str "get-" many)
        put-op   (str "put-" many)
        reading  (symbol (str (.getName Bulk) "/get" (camel type) "s"))
        writing  (symbol (str (.getName Bulk) "/put" (camel type) "s"))
        order    (when (ordered? t) [:order])
        native   (when order [:native])
        bodies   (fn [f third]
                   (let [short-form ['memory 'offset third]
                         long-form  ['memory 'offset 'array 'index 'count]]
                     (for [[params args] (cond-> [[short-form (into short-form native)]
                                                  [long-form (into long-form native)]]
                                           order (into [[(conj short-form 'order)
                                                         (conj short-form 'order)]
                                                        [(conj long-form 'order)
                                                         (conj long-form 'order)]]))]
                       (list (cond-> params (= f reading) (vary-meta assoc :tag (symbol many)))
                             (list* f args)))))]
    [`(defn ~(symbol get-op)
        ~(text (str "Reads " many " from offset on, in bytes from the start of the memory,
                    and returns the array of " many " they are in: a new one of that many
                    if array-or-count is a number, else the array itself, filled whole,
                    or count elements of it from index on.")
               (str (when order order-doc)
                    " Any alignment. No promise on memory order, within the array neither.")
               (apply failures :read :array :heap order)
               pointer)
        ~@(bodies reading 'array-or-count))
     `(defn ~(symbol (str put-op "!"))
        ~(text (str "Writes the array of " many ", or count elements of it from index on,
                    at offset, in bytes from the start of the memory, and returns nil.")
               (str (when order order-doc)
                    " Any alignment. No promise on memory order, within the array neither.")
               (apply failures :write :array order)
               pointer)
        ~@(bodies writing 'array))]))

(defn- ranges []
  [`(defn ~'get-buffer!
      ~(text "Reads from offset on, in bytes from the start of the memory, into the
              java.nio.ByteBuffer from its position to its limit, moves the position there
              and returns the buffer."
             (str (failures :read) " `:rsm/bad-addr` if the buffer is none, read-only, its
                  memory was freed, or its file truncated.")
             pointer)
      [~'memory ~'offset ~'buffer]
      (. Bulk (~'getBuffer ~'memory ~'offset ~'buffer)))
   `(defn ~'put-buffer!
      ~(text "Writes what the java.nio.ByteBuffer has from its position to its limit at
              offset, in bytes from the start of the memory, moves the position there and
              returns nil. The buffer may be read-only."
             (str (failures :write) " `:rsm/bad-addr` if the buffer is none, its memory was
                  freed, or its file truncated.")
             pointer)
      [~'memory ~'offset ~'buffer]
      (. Bulk (~'putBuffer ~'memory ~'offset ~'buffer)))
   `(defn ~'fill!
      ~(text "Sets length bytes from offset on to value, an integer from -128 to 255, and
              returns nil."
             (str (failures :write :value) " `:rsm/bad-length` if the length is negative or
                  not an integer.")
             pointer)
      [~'memory ~'offset ~'length ~'value]
      (. Bulk (~'fill ~'memory ~'offset ~'length ~'value)))
   `(defn ~'copy!
      ~(text "Copies length bytes from one memory to another, or within one; returns nil.
              The ranges may overlap, also through different handles of the same memory.
              Both offsets are in bytes. No promise on memory order."
             (str (failures :read) " The same for the target, with
                  `:rsm/perm-denied` if it may not be written. `:rsm/bad-length` if the
                  length is negative or not an integer.")
             pointer)
      [~'memory ~'offset ~'target ~'target-offset ~'length]
      (. Bulk (~'copy ~'memory ~'offset ~'target ~'target-offset ~'length)))])

(defmacro def-accessors
  "Defines all access functions in the current namespace."
  []
  `(do
     ~@(map definition (mapcat plain types))
     ~@(map definition (mapcat fenced types))
     ~@(map definition (mapcat atomic (filter (comp #{"int" "long"} :type) types)))
     ~@(mapcat bulk types)
     ~@(ranges)))
