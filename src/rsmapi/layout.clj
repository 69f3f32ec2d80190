(ns rsmapi.layout
  "Structures in shared memory, described by data.

    (require '[rsmapi.layout :as layout])

    (def quote-layout
      (layout/layout [:struct [:seq :u64] [:price :f64] [:qty :i32] [:sym [:chars 8]]]))

    (def q (layout/view m quote-layout))        ; of the struct at the start of the memory
    (:price q)                                  ;=> 0.0
    (layout/put! q :price 101.5 :sym \"ABC\")
    @q                                          ;=> {:seq 0, :price 101.5, :qty 0, :sym \"ABC\"}

    (def quotes (layout/array m quote-layout))  ; of as many as the memory holds
    (reduce + (layout/column quotes :price))

  Layouts       layout describe size-of offset-of fingerprint difference of
  Views         view array
  Reading       keyword lookup, get-in, nth, reduce, deref  column values
  Writing       put!
  Accessors     defaccessors
  Order         get-volatile get-acquire put-volatile! put-release!
                compare-and-set! get-and-add!
  Snapshots     read-snapshot write-snapshot!

  A type is one of

    :i8 :i16 :i32 :i64            signed integers, as longs
    :u8 :u16 :u32 :u64            unsigned integers, as longs; a :u64 from 2^63 on is a BigInt
    :f32 :f64                     floating-point numbers, as doubles
    [:chars n]                    a text of at most n bytes (to 2^24), filled up with NULs, as a string;
                                  [:chars n {:charset :us-ascii}] instead of :utf-8
    [:array n type]               n elements
    [:struct [name type] ...]     fields, whose names are keywords; [:struct options [name type] ...]
                                  and [name type options] have options
    a layout

  Options of a struct:
    :packed  true: fields follow each other without padding
    :align   the least alignment in bytes, a power of 2 up to 4096
    :order   the byte order of its numbers: :little-endian, :big-endian or :native, the default
  Options of a field: :align and :order.

  Fields lie where a C compiler places them on 64-bit Linux: each at a multiple of its size, a struct
  at a multiple of its largest field's. Layouts are equal if they describe the same bytes with the
  same names.

  A path leads to a field: a name, an index, or a vector such as [:levels 0 :px].

  Each access is checked as by rsmapi.core, with the same errors; :rsm/field is the path. Bad layouts,
  paths and values are :rsm/bad-args-errors, an index that is not in the array :rsm/bad-offset. Beyond
  the original."
  (:refer-clojure :exclude [compare-and-set!])
  (:require [rsmapi.impl.accessor :as accessor]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.layout :as impl]
            [rsmapi.impl.view :as view])
  (:import (java.util.function Function)
           (org.rsmapi ExportSegment ImportSegment Mapping RsmError SegmentMemory Seqlock)
           (org.rsmapi.clj Column Scalar)
           (rsmapi.impl.layout Array Layout Struct)
           (rsmapi.impl.view ArrayView StructView)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- layouts

(defn layout
  "Returns the layout of a form, [:struct fields]; see the namespace. A layout is returned as it is.

  Errors: :rsm/bad-args-errors; :rsm/path leads to the part that is malformed."
  ^Layout [form]
  (impl/layout form))

(defn describe
  "Returns a layout as data:

    {:type :struct :size 32 :align 8 :fingerprint \"5e0c...\"
     :fields [{:name :seq :type :u64 :offset 0 :size 8 :order :little-endian} ...]
     :padding [{:offset 20 :size 4}]}

  Offsets and sizes are in bytes; those inside a struct count from its start. An array has :count,
  :stride and :element, a text has :charset.

  Errors: :rsm/bad-args-errors."
  [layout]
  (impl/describe (impl/layout layout)))

(defn size-of
  "Returns the size in bytes of a layout or of the form of any type. It is also the distance between
  the elements of an array.

  Errors: :rsm/bad-args-errors."
  [type]
  (impl/size-of (impl/element type)))

(defn offset-of
  "Returns the offset in bytes of a field, by its path, from the start of a layout.

  Errors: :rsm/bad-args-errors (no layout, no such field), :rsm/bad-offset (no such index)."
  [layout path]
  (let [op "layout"]
    (impl/walk (.-root (impl/layout layout)) 0 (impl/path-of path op) op (fn [_ offset] offset))))

(defn fingerprint
  "Returns 16 hexadecimal digits that are equal for equal layouts, and differ otherwise.

  Errors: :rsm/bad-args-errors."
  [layout]
  (impl/fingerprint (impl/layout layout)))

(defn difference
  "Returns what differs between two layouts: a vector, empty for equal ones, of

    {:path [:price] :here {:type :f64 :offset 8 :size 8 ...} :there {:type :f32 ...}}

  without :here or :there where only one of them has such a field. :* in a path stands for the
  index.

  Errors: :rsm/bad-args-errors."
  [here there]
  (impl/difference (impl/layout here) (impl/layout there)))

(defn of
  "Returns the layout with which a segment is published: of an export segment, an import segment or a
  mapping. nil if there is none, if it is not one of this namespace, or for other memory.

  Errors: :rsm/bad-seg-hndl (not a segment or memory)."
  [x]
  (let [text (cond
               (instance? ExportSegment x) (.layout ^ExportSegment x)
               (instance? ImportSegment x) (.layout ^ImportSegment x)
               (instance? Mapping x) (.layout (.segment ^Mapping x))
               :else (do (args/memory x "layout") nil))]
    (impl/read-text text)))

;; ------------------------------------------------------------------- views

(defn- layout-of-segment [x op]
  (let [m (args/memory x op)]
    (when-not (or (not (instance? Mapping m)) (zero? (.offset ^Mapping m)))
      (throw (args/failure RsmError/BAD_OFFSET op :offset (.offset ^Mapping m)
                           :hint "the layout describes the segment from its start: map it from there, or give a layout")))
    (or (of m)
        (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "layout"
                             :hint "the segment is published without a layout: give one")))))

(defn- inside [^SegmentMemory m ^long offset ^long bytes op]
  (when (or (neg? offset) (< (- (.size m) bytes) offset))
    (throw (args/failure RsmError/BAD_OFFSET op :offset offset :length bytes :size (.size m)
                         :hint "it does not lie wholly inside the memory"))))

(defn view
  "Returns a view of one struct in a mapping, export segment or local memory, at an offset in bytes
  (default 0). Without a layout, the one with which the segment is published.

    (:price v)  (get-in v [:levels 0 :px])   a number, a string, or a view of a struct or array
    @v                                       all fields, as a map of plain data

  A view reads the memory each time, keeps nothing, and need not be closed. It prints its fields, and
  in place of what cannot be read the error.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-args-errors (no layout), :rsm/bad-offset (the struct
  does not lie wholly inside the memory)."
  ([memory] (view memory (layout-of-segment memory "view")))
  ([memory layout] (view memory layout 0))
  ([memory layout offset]
   (let [op "view"
         m (args/memory memory op)
         ^Struct type (.-root (impl/layout layout))
         offset (args/integer offset nil RsmError/BAD_OFFSET [op "offset"])]
     (inside m offset (.-size type) op)
     (view/struct-view m type offset ()))))

(defn array
  "Returns a view of an array in a mapping, export segment or local memory: of as many elements as the
  memory holds from the offset on (default 0), or of count. The type of the elements is a layout, or
  the form of any type, such as :f64.

    (count a)  (nth a i)  (get-in a [i :price])  (reduce f init a)
    @a                                           all elements, as a vector of plain data

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-args-errors (no layout), :rsm/bad-offset, :rsm/bad-length
  (a negative count, or more than 2^31-1), :rsm/bad-offset (it does not lie wholly inside the memory)."
  ([memory type] (array memory type 0))
  ([memory type offset] (array memory type offset nil))
  ([memory type offset count]
   (let [op "view"
         m (args/memory memory op)
         element (impl/element type)
         stride (impl/size-of element)
         offset (args/integer offset nil RsmError/BAD_OFFSET [op "offset"])
         _ (inside m offset 0 op)
         n (args/integer count (quot (- (.size m) offset) stride) RsmError/BAD_LENGTH [op "count"])]
     (when-not (<= 0 n Integer/MAX_VALUE)
       (throw (args/failure RsmError/BAD_LENGTH op :argument "count" :count n
                            :hint "a view is of at most 2^31-1 elements")))
     (inside m offset (* n stride) op)
     (view/array-view m (Array. n element stride) offset ()))))

(defn column
  "Returns one number of each element of an array, by its path in the element; without a path, of an
  array of numbers. The column is counted, indexed and reducible, and reads the memory each time.

  reduce neither boxes nor allocates for each number if the function is primitive, such as
  (fn ^double [^double a ^double b] ...) for :f32 and :f64, or one of longs for integers, which then
  gets a :u64 from 2^63 on as a negative long. + has a loop of its own. reduce may read numbers ahead.

  Errors: :rsm/bad-args-errors (no array, no such field, not a number)."
  ([array] (view/column array []))
  ([array path] (view/column array (impl/path-of path "column"))))

(defn values
  "Returns the numbers of a column in a new array: of doubles for :f32 and :f64, else of longs.

  Errors: :rsm/bad-args-errors (no column), :rsm/insufficient-mem (the array would be larger than the heap
  can be); those of access to the memory."
  [column]
  (if (instance? Column column)
    (.values ^Column column)
    (throw (args/failure RsmError/BAD_ARGS_ERRORS "column" :argument "column" :column column
                         :hint "give a column"))))

;; ------------------------------------------------------------------- write

(defn put!
  "Writes fields of a view, and returns the view.

    (put! v :price 101.5)
    (put! v :price 101.5, [:levels 0 :px] 101.0)
    (put! v {:price 101.5 :levels {0 {:px 101.0}}})   ; the others stay as they are
    (put! quotes 3 {:price 101.5})

  The value of a struct is a map, or another view; that of an array is a vector from its first element
  on, a primitive array, or a map of indices. All values are checked before the first is written; they
  are not written as a whole, see write-snapshot!.

  Errors: :rsm/bad-args-errors (no view, no such field, a value that the type cannot hold), :rsm/bad-offset
  (no such index), :rsm/bad-length (a text or vector is too long); those of access to the memory."
  ([view value]
   (let [op "put"]
     (view/target view [] op
                  (fn [memory type offset path]
                    (view/write! memory (view/plan [] type offset value [] op) path))))
   view)
  ([view path value]
   (let [op "put"
         path (impl/path-of path op)]
     (view/target view path op
                  (fn [memory type offset full]
                    (view/write! memory (view/plan [] type offset value path op) full))))
   view)
  ([view path value & more]
   (let [op "put"]
     (when (odd? (count more))
       (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :hint "give a value for each field")))
     (let [[memory pieces]
           (reduce (fn [[_ pieces] [path value]]
                     (let [path (impl/path-of path op)]
                       (view/target view path op
                                    (fn [memory type offset _]
                                      [memory (view/plan pieces type offset value path op)]))))
                   [nil []]
                   (partition 2 (list* path value more)))]
       (view/write! memory pieces ())))
   view))

;; --------------------------------------------------------------- accessors

(defmacro defaccessors
  "Defines functions that read and write the fields of an array of structs in memory, at the cost of
  the hand-written get-double and put-double!:

    (defaccessors quote quote-layout)

    (quote-price m i)            ; the :price of element i, counted from the start of the memory
    (quote-price! m i 101.5)
    (quote-levels-px m i j)      ; an index for each array on the way

  The layout is a form, or a symbol whose value is a layout or a form when this is compiled. Names are
  the prefix and the names of the fields; the functions of numbers are inline, take and return primitive
  numbers, and are functions as well. A :u64 is read as a long, negative from 2^63 on, and written from
  any long. A struct or array has no function of its own, a text has (a string).

  Options:
    :offset  where element 0 starts, in bytes; default 0

  Errors of the functions: :rsm/bad-seg-hndl, :rsm/bad-offset (not an index, or past the end),
  :rsm/bad-args-errors (a value that the type cannot hold); those of access to the memory."
  [prefix layout & options]
  (accessor/definitions prefix layout options))

;; ------------------------------------------------------------------- order

(defn- number
  "Calls f with memory, number type, offset and whole path of a field that is a number."
  [view path op f]
  (let [path (impl/path-of path op)]
    (view/target view path op
                 (fn [memory type offset full]
                   (if (instance? Scalar type)
                     (view/naming full (f memory type offset path))
                     (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "path" :path path
                                          :hint "ordered and atomic access is to numbers")))))))

(defn get-volatile
  "Reads a number of a view with volatile order; see rsmapi.core/get-long-volatile.

  Errors: :rsm/bad-args-errors (no view, no such number), :rsm/bad-mem-alignment (its offset is not a
  multiple of its size); those of access to the memory."
  [view path]
  (number view path "get-volatile"
          (fn [memory ^Scalar type ^long offset _] (.getVolatile type memory offset))))

(defn get-acquire
  "Reads a number of a view with acquire order. Errors: those of get-volatile."
  [view path]
  (number view path "get-acquire"
          (fn [memory ^Scalar type ^long offset _] (.getAcquire type memory offset))))

(defn put-volatile!
  "Writes a number of a view with volatile order, and returns the view. Errors: those of get-volatile and
  put!."
  [view path value]
  (let [op "put-volatile"]
    (number view path op
            (fn [memory ^Scalar type ^long offset path]
              (.putVolatile type memory offset (.bits type value path op)))))
  view)

(defn put-release!
  "Writes a number of a view with release order, and returns the view. Errors: those of get-volatile and
  put!."
  [view path value]
  (let [op "put-release"]
    (number view path op
            (fn [memory ^Scalar type ^long offset path]
              (.putRelease type memory offset (.bits type value path op)))))
  view)

(defn- atomic [^Scalar type path op]
  (when-not (.isAtomic type)
    (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "path" :path path :type (.name type)
                         :hint "atomic access is to integers of 32 and 64 bits"))))

(defn compare-and-set!
  "Sets an integer of 32 or 64 bits of a view to value if it is expected, in one step, with volatile
  order. Returns whether it did.

  Errors: those of get-volatile and put!; :rsm/bad-args-errors (another type)."
  [view path expected value]
  (let [op "compare-and-set"]
    (number view path op
            (fn [memory ^Scalar type ^long offset path]
              (atomic type path op)
              (.compareAndSet type memory offset (.bits type expected path op) (.bits type value path op))))))

(defn get-and-add!
  "Adds delta to an integer of 32 or 64 bits of a view, in one step, with volatile order, and returns the
  value before. The sum wraps. delta is a long.

  Errors: those of get-volatile; :rsm/bad-args-errors (another type, a number whose byte order is not
  this machine's, a delta that is no long)."
  [view path delta]
  (let [op "get-and-add"]
    (number view path op
            (fn [memory ^Scalar type ^long offset path]
              (atomic type path op)
              (when (.isSwapped type)
                (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "path" :path path :order (impl/order-of type)
                                     :hint "the processor adds in its own byte order only")))
              (.getAndAdd type memory offset
                          (args/integer delta nil RsmError/BAD_ARGS_ERRORS [op "delta"]))))))

;; --------------------------------------------------------------- snapshots

(defn- versioned
  "Calls f with memory, type and offset of a struct view, and the offset and path of its version."
  [view path op f]
  (when-not (instance? StructView view)
    (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "view" :view view :hint "give the view of a struct")))
  (let [path (impl/path-of (if (nil? path) :version path) op)
        ^StructView v view]
    (impl/walk (.-type v) (.-offset v) path op
               (fn [type at]
                 (when-not (and (instance? Scalar type) (.isAtomic ^Scalar type) (= 8 (.bytes ^Scalar type))
                                (not (.isSwapped ^Scalar type)))
                   (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "version" :path path
                                        :hint "the version is a :u64 or :i64 of this machine's byte order")))
                 (f (.-memory v) (.-type v) (.-offset v) at path)))))

(defn read-snapshot
  "Reads all fields of the view of a struct as a whole, while others write with write-snapshot!. Returns
  a map, as deref does.

  Options:
    :version     the path of the version, a :u64 or :i64 of the struct that goes with the data: even,
                 except during a write; default :version
    :timeout-ms  how long to try; negative or nil, the default: for ever

  Errors: :rsm/bad-args-errors (no view of a struct, no such version), and those of
  rsmapi.core/read-snapshot."
  ([view] (read-snapshot view nil))
  ([view opts]
   (let [op "read-snapshot"
         {:keys [version timeout-ms]} (args/options opts #{:version :timeout-ms} op)
         timeout (args/timeout timeout-ms op)]
     (versioned view version op
                (fn [memory type offset at path]
                  (let [seen (volatile! nil)]
                    ;; the version itself is odd if it is read while the snapshot is not valid
                    (Seqlock/read memory (long at)
                                  (reify Function
                                    (apply [_ _] (vreset! seen (view/read-at type memory offset ()))))
                                  timeout))))))
  ([view k v & more]
   (read-snapshot view (args/trailing k (list* v more)))))

(defn write-snapshot!
  "Writes fields of the view of a struct as a whole, for readers that use read-snapshot. The value is as in
  put!; fields that it does not name stay as they are. Waits for other writers. Returns the new version.

  Options:
    :version     as in read-snapshot; the value may not name it
    :timeout-ms  how long to wait for other writers; negative or nil, the default: for ever

  Errors: those of read-snapshot, put! and rsmapi.core/write-snapshot!."
  ([view value] (write-snapshot! view value nil))
  ([view value opts]
   (let [op "write-snapshot"
         {:keys [version timeout-ms]} (args/options opts #{:version :timeout-ms} op)
         timeout (args/timeout timeout-ms op)]
     (versioned view version op
                (fn [memory type offset at path]
                  (let [pieces (view/plan [] type offset value [] op)]
                    (when (some (fn [[_ o]] (= at o)) pieces)
                      (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "value" :field path
                                           :hint "the version is written by write-snapshot! itself")))
                    (Seqlock/write memory (long at)
                                   (long-array (map second pieces))
                                   ^"[[B" (into-array (Class/forName "[B") (map view/bytes-of pieces))
                                   timeout))))))
  ([view value k v & more]
   (write-snapshot! view value (args/trailing k (list* v more)))))
