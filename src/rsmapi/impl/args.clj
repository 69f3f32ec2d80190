(ns rsmapi.impl.args
  "Turns the arguments of rsmapi.core into those of the Java core, and what cannot
  be turned into an RSM error."
  (:import (java.nio ByteBuffer)
           (java.nio.charset Charset StandardCharsets)
           (java.time Duration)
           (java.util List)
           (org.rsmapi AccessEntry Barrier BarrierMode Controller ExportSegment ImportSegment
                       IoVec LocalMemory LocalMemoryHandle Mapping PollFd RsmError RsmException
                       ScatterGather Segment SegmentMemory)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn failure
  "An exception of this error and operation (a string), with facts added."
  ^RsmException [^RsmError error op & {:as facts}]
  (reduce-kv (fn [^RsmException e k v] (.with e (name k) v))
             (RsmException/of error op)
             facts))

;; Inline functions

(defn untagged
  "A form without the type hint of the caller's. The compiler would act on the hint by unboxing,
  and turn a nil behind it into a NullPointerException before it is checked. What the compiler
  infers about the form stays."
  [form]
  (if (instance? clojure.lang.IObj form)
    (vary-meta form dissoc :tag)
    form))

;; Handles

(defn controller
  ^Controller [x op]
  (if (instance? Controller x)
    x
    (throw (failure RsmError/BAD_CTLR_HNDL op :argument "controller" :controller x))))

(defn- segment-failure [x op hint]
  (failure RsmError/BAD_SEG_HNDL op :argument "segment" :segment x :hint hint))

(defn export-segment
  ^ExportSegment [x op]
  (if (instance? ExportSegment x)
    x
    (throw (segment-failure x op "give an export segment, from create!"))))

(defn import-segment
  "An import segment; a mapping stands for the segment it is of."
  ^ImportSegment [x op]
  (cond
    (instance? ImportSegment x) x
    (instance? Mapping x) (.segment ^Mapping x)
    :else (throw (segment-failure x op "give an import segment, from connect!"))))

(defn segment
  "An export or import segment; a mapping stands for the segment it is of."
  ^Segment [x op]
  (cond
    (instance? Segment x) x
    (instance? Mapping x) (.segment ^Mapping x)
    :else (throw (segment-failure x op "give an export or import segment"))))

(defn memory
  "A mapping, an export segment or local memory."
  ^SegmentMemory [x op]
  (if (instance? SegmentMemory x)
    x
    (throw (failure RsmError/BAD_SEG_HNDL op :argument "memory" :memory x
                    :hint "give a mapping, an export segment or local memory"))))

(defn barrier
  ^Barrier [x op]
  (if (instance? Barrier x)
    x
    (throw (failure RsmError/BAD_BARRIER_PTR op :argument "barrier" :barrier x
                    :hint "give a barrier, from init-barrier!"))))

;; Options. What a caller gives may be endless: so it is not printed, and looked up only if it
;; is a keyword or a number.

(defn- name-of
  "A key as it would be written, if that can be had without looking into it."
  [k]
  (if (or (nil? k) (ident? k) (string? k) (number? k))
    (pr-str k)
    k))

;; What stands for options that are malformed, until the call comes to look at them.
(deftype Malformed [option hint])

(def ^:private forms
  "options are one map, or keywords with their values, then a map or nothing")

(def ^:private longest
  "No list that a call takes is as long."
  4096)

(defn trailing
  "The options behind the other arguments of a call, as one map: keywords with their values, and a
  map at the end if the number of arguments is odd. A later option replaces an earlier one. What is
  malformed is reported by `options`, in the order of the call's checks."
  [x more]
  (let [all (try (into [x] (take longest) more) (catch Exception _ [nil nil]))
        [pairs end] (if (odd? (count all)) [(pop all) (peek all)] [all nil])
        misfit (first (remove keyword? (take-nth 2 pairs)))]
    (cond
      (not-every? keyword? (take-nth 2 pairs))
      (Malformed. misfit (if (map? misfit) "a map of options is the last argument" forms))

      (not (or (nil? end) (map? end)))
      (Malformed. end (if (keyword? end) "this option has no value" forms))

      (not-every? keyword? (keys end))
      (Malformed. (first (remove keyword? (keys end))) "the names of options are keywords")

      :else
      (into (apply hash-map pairs) end))))

(defn- option-failure [option op hint]
  (failure RsmError/BAD_ARGS_ERRORS op :argument "options" :option (name-of option) :hint hint))

(defn- option-failure [option op hint]
  (failure RsmError/BAD_ARGS_ERRORS op :argument "options" :option (name-of option) :hint hint))

(defn options
  "The option map, checked for keys that the call does not have: a misspelt :perm
  must not silently mean the default."
  [x allowed op]
  (cond
    (nil? x) {}
    (instance? Malformed x) (throw (option-failure (.option ^Malformed x) op (.hint ^Malformed x)))
    (keyword? x) (throw (option-failure x op "this option has no value"))
    (not (map? x)) (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "options"
                                   :hint (str forms ": " (sort allowed))))
    :else
    (let [unknown (remove #(and (keyword? %) (allowed %)) (keys x))]
      (when (seq unknown)
        (throw (option-failure (first unknown) op (str "the options are " (sort allowed)))))
      x)))

(defn exclusive
  "The option map, checked for more than one of these keys: which of them was meant?"
  [opts ks op]
  (if (< 1 (count (filter #(some? (get opts %)) ks)))
    (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "options"
                    :hint (str "give one of " ks)))
    opts))

(defn- fits-long? [x]
  (or (int? x)
      (and (integer? x) (<= Long/MIN_VALUE x Long/MAX_VALUE))))

(defn integer
  "A long, or `default` for nil; `error` for anything else. The operation and the
  argument's name come as one vector, because a function that returns a primitive takes
  four arguments at most."
  ^long [x default ^RsmError error [op argument]]
  (cond
    (fits-long? x) (long x)
    (and (nil? x) (some? default)) (long default)
    :else (throw (-> (failure error op :argument argument)
                     (.with argument x)
                     (.hint (str argument " has to be an integer of 64 bits"))))))

(def ^:private nothing (Object.))

(defn given
  "An argument that was given, and may not be nil: what is nil stands for no number."
  [x]
  (if (nil? x) nothing x))

(defn path
  "A file's path."
  ^java.nio.file.Path [^String x op]
  (try
    (java.nio.file.Path/of x (make-array String 0))
    (catch java.nio.file.InvalidPathException _
      (throw (failure RsmError/BAD_CONF op :file x :hint "not the name of a file")))))

(defn int32
  "An int; what does not fit becomes `misfit`, which the core refuses."
  [^long n ^long misfit]
  (unchecked-int (if (<= Integer/MIN_VALUE n Integer/MAX_VALUE) n misfit)))

(def ^:private permissions
  {:none 0 :read 0400 :write 0200 :rdwr 0600})

(defn perm
  "The permission's RSMAPI number. A number passes as it is: the core judges it."
  [x default ^RsmError error op]
  (or (when (keyword? x) (permissions x))
      (cond
        (and (nil? x) default) default
        (int? x) (int32 (long x) -1)
        :else (throw (failure error op :argument "perm"
                              :perm x
                              :hint "permissions are :read, :write, :rdwr, or 0400, 0200, 0600")))))

(defn flag
  "Whether an option is on; only true, false and nil will do."
  [x op argument]
  (if (or (nil? x) (boolean? x))
    (boolean x)
    (throw (failure RsmError/BAD_ARGS_ERRORS op :argument argument :hint "give true or false"))))

(defn duration
  "A Duration from milliseconds."
  ^Duration [millis default op]
  (let [n (integer millis default RsmError/BAD_ARGS_ERRORS [op "timeout-ms"])]
    (Duration/ofMillis n)))

(defn timeout
  "A Duration from milliseconds, or nil for ever: without a number, or with a negative one."
  ^Duration [millis op]
  (when (some? millis)
    (let [n (integer millis nil RsmError/BAD_ARGS_ERRORS [op "timeout-ms"])]
      (when-not (neg? n)
        (Duration/ofMillis n)))))

(def ^:private modes
  {:explicit BarrierMode/EXPLICIT 0 BarrierMode/EXPLICIT
   :implicit BarrierMode/IMPLICIT 1 BarrierMode/IMPLICIT})

(defn barrier-mode
  "The mode; an invalid one becomes nil, which the core reports in its turn."
  ^BarrierMode [x]
  (when (or (keyword? x) (int? x))
    (modes x)))

(def ^:private attributes
  {:none ImportSegment/MAP_NONE
   :fixed ImportSegment/MAP_FIXED
   :reserved ImportSegment/MAP_RESERVED})

(defn attr
  "The map attribute's RSMAPI number."
  [x op]
  (cond
    (nil? x) ImportSegment/MAP_NONE
    (int? x) (unchecked-int (long x))
    (and (keyword? x) (attributes x)) (attributes x)
    :else (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "attr"
                          :hint "attributes are :none, :fixed and :reserved"))))

(defn- items
  "At most so many items of a sequential collection, as a vector. A sequence may fail when it is read."
  [x n ^RsmError error op argument]
  (try
    (into [] (take n) x)
    (catch Exception e
      (throw (-> (failure error op :argument argument :reason (str e) :hint "it cannot be read")
                 (.causedBy e))))))

(defn- access-entry [x op]
  (let [[node bits] (cond
                      ;; the keys first: a sorted map may not bear to be asked for others
                      (and (map? x) (every? #{:node :perm} (keys x))) [(:node x) (:perm x)]
                      (and (vector? x) (= 2 (count x))) x)]
    (if (and (int? node) (int? bits))
      (AccessEntry. (int (int32 (long node) -1)) (int (int32 (long bits) -1)))
      (throw (failure RsmError/BAD_ACL op :argument "acl"
                      :hint "an entry is {:node 0 :perm 0640}, the permission an octal number")))))

(defn acl
  "The access list; nil stays nil."
  ^List [x op]
  (cond
    (nil? x) nil
    (sequential? x) (mapv #(access-entry % op) (items x longest RsmError/BAD_ACL op "acl"))
    :else (throw (failure RsmError/BAD_ACL op :argument "acl"
                          :hint "the access list is a vector of {:node 0 :perm 0640}"))))

(defn buffer
  "A ByteBuffer; the core refuses what is no good."
  ^ByteBuffer [x op]
  (if (instance? ByteBuffer x)
    x
    (throw (failure RsmError/BAD_ADDR op :argument "buffer" :hint "give a direct java.nio.ByteBuffer"))))

(defn local-memory
  ^LocalMemory [x op argument]
  (if (instance? LocalMemory x)
    x
    (throw (failure RsmError/BAD_ADDR op :argument argument :hint "give memory from allocate!"))))

;; Controllers

(defn controller-name
  "The name of a controller, or nil for the default one."
  ^String [x op]
  (if (or (nil? x) (string? x))
    x
    (throw (failure RsmError/CTLR_NOT_PRESENT op :argument "name" :hint "a controller's name is a string"))))

(defn text
  "A string; BAD_ADDR for anything else."
  ^String [x op argument]
  (if (string? x)
    x
    (throw (failure RsmError/BAD_ADDR op :argument argument :hint "give a string"))))

(defn charset
  "A java.nio.charset.Charset, or the one of this name, a keyword or a string; UTF-8 for nil."
  ^Charset [x op]
  (cond
    (nil? x) StandardCharsets/UTF_8
    (instance? Charset x) x
    :else
    (or (when (or (keyword? x) (string? x))
          (try (Charset/forName (name x)) (catch IllegalArgumentException _ nil)))
        (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "charset" :charset (name-of x)
                        :hint "charsets are :utf-8, :us-ascii, :iso-8859-1, :utf-16le and so on, or a java.nio.charset.Charset")))))

(defn text-flags
  "The flags of SegmentMemory.getText, from the options."
  [op {:keys [keep-nul malformed]}]
  (when-not (or (nil? malformed) (identical? :error malformed) (identical? :replace malformed))
    (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "malformed" :hint "give :error or :replace")))
  (int (bit-or (long (if (flag keep-nul op "keep-nul") SegmentMemory/KEEP_NUL 0))
               (long (if (identical? :replace malformed) SegmentMemory/REPLACE_MALFORMED 0)))))

(defn file-path
  "A java.nio.file.Path of a path, a java.io.File or a string."
  ^java.nio.file.Path [x op]
  (if (instance? java.nio.file.Path x)
    x
    (path (text (if (instance? java.io.File x) (str x) x) op "file") op)))

(defn node
  "A node's number as an int; one that no int is becomes -1, which the core refuses."
  [x default error op]
  (int (int32 (integer x default error [op "node"]) -1)))

;; Export segments

(def create-options
  #{:size :address :buffer :round-up :allow-rebind :dont-wait :prefault :lock :huge-pages})

(defn- flags
  "The sum of the bits whose options are on, from [option argument bit]."
  ^long [op options]
  (reduce (fn [^long flags [on argument bit]]
            (if (flag on op argument) (bit-or flags (long bit)) flags))
          0
          options))

(defn create-flags
  "The flags of create, from its options."
  [op {:keys [allow-rebind dont-wait prefault lock huge-pages]}]
  (flags op [[allow-rebind "allow-rebind" ExportSegment/ALLOW_REBIND]
             [dont-wait "dont-wait" ExportSegment/CREATE_SEG_DONTWAIT]
             [prefault "prefault" ExportSegment/PREFAULT]
             [lock "lock" ExportSegment/LOCK]
             [huge-pages "huge-pages" ExportSegment/HUGE_PAGES]]))

(defn rounded
  "A size, rounded up to whole pages, or huge ones, if an option says so. A size that cannot be
  rounded stays as it is: the core rejects it."
  ^long [size op {:keys [round-up huge-pages]}]
  (let [size (long size)]
    (if (flag round-up op "round-up")
      (let [huge (if huge-pages (ExportSegment/hugePageSize) 0)
            page (if (pos? huge) huge (Controller/pageSize))]
        (if (<= 1 size (- Long/MAX_VALUE page))
          (* page (quot (+ size (dec page)) page))
          size))
      size)))

(defn address-in
  "The address at an offset of local memory behind which there are as many bytes. If there are
  not, an address that no memory has, which the core refuses in its turn: behind the memory there
  may be other memory of the caller's."
  ^long [memory at ^long bytes op]
  (let [m (local-memory memory op "memory")
        at (integer at 0 RsmError/BAD_ADDR [op "at"])
        page (Controller/pageSize)
        whole (* page (quot (+ (.size m) (dec page)) page))]
    (if (<= 0 at (- whole bytes))
      (+ (.address m) at)
      -1)))

;; Layouts, whose namespace is loaded with the first one

(defn layout-text
  "The text of a layout, or of its form; nil for nil."
  ^String [x op]
  (when (some? x)
    ((requiring-resolve 'rsmapi.impl.layout/published-text) x op)))

(defn demand-layout
  "Makes sure that a text of the exporter's is that of a layout, wanted; nil is no demand."
  [wanted text op]
  (when-not (or (nil? wanted) (= wanted text))
    (throw ((requiring-resolve 'rsmapi.impl.layout/mismatch) wanted text op))))

;; Mappings

(def ^:private map-options #{:offset :length :perm :attr :address :over :at :prefault :lock :huge-pages})

(defn map-request
  "The arguments of ImportSegment.map and mapOver from the options of map!."
  [^ImportSegment im opts]
  (let [op "import-map"
        {:keys [offset length perm attr address over at prefault lock huge-pages]} (options opts map-options op)
        offset (integer offset 0 RsmError/BAD_OFFSET [op "offset"])]
    (when (and (some? over) (or (some? attr) (some? address)))
      (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "over"
                      :hint ":over says where to map; :attr and :address do not go with it")))
    {:offset offset
     :length (integer length (unchecked-subtract (.size im) offset) RsmError/BAD_LENGTH [op "length"])
     :perm (rsmapi.impl.args/perm perm (.bits (.permission im)) RsmError/BAD_PERMS op)
     :attr (rsmapi.impl.args/attr attr op)
     :address (integer address 0 RsmError/BAD_ADDR [op "address"])
     :over (when (some? over) (local-memory over op "over"))
     :at (integer at 0 RsmError/BAD_ADDR [op "at"])
     :flags (flags op [[prefault "prefault" ImportSegment/MAP_PREFAULT]
                       [lock "lock" ImportSegment/MAP_LOCK]
                       [huge-pages "huge-pages" ImportSegment/MAP_HUGE_PAGES]])}))

;; Signals

(defn post-flags
  "The flags of a post, from its options."
  [opts op]
  (let [{:keys [no-accumulate]} (options opts #{:no-accumulate} op)]
    (int (if (flag no-accumulate op "no-accumulate") Segment/SIGPOST_NO_ACCUMULATE 0))))

(defn function
  "A function, or nil."
  [x op argument]
  (if (or (nil? x) (ifn? x))
    x
    (throw (failure RsmError/BAD_ARGS_ERRORS op :argument argument :hint "give a function"))))

;; Scatter and gather

(def ^:private iovec-keys #{:local :local-offset :remote-offset :length})

(defn- iovec-failure [op hint]
  (failure RsmError/BAD_SGIO op :argument "iovec" :hint hint))

(defn- iovec [x op]
  (when-not (and (map? x) (every? iovec-keys (keys x)))
    (throw (iovec-failure op "a piece is {:local memory :local-offset 0 :remote-offset 0 :length 8}")))
  (let [{:keys [local local-offset remote-offset length]} x
        at     (integer local-offset 0 RsmError/BAD_LENGTH [op "local-offset"])
        remote (integer remote-offset 0 RsmError/BAD_OFFSET [op "remote-offset"])
        length (integer length nil RsmError/BAD_LENGTH [op "length"])]
    (cond
      (or (nil? local)
          (instance? LocalMemoryHandle local)) (IoVec/of ^LocalMemoryHandle local at remote length)
      (instance? SegmentMemory local) (IoVec/of ^SegmentMemory local at remote length)
      (bytes? local) (IoVec/of ^bytes local at remote length)
      (instance? ByteBuffer local) (IoVec/of ^ByteBuffer local at remote length)
      (fits-long? local) (IoVec/ofAddress (long local) at remote length)
      :else (throw (failure RsmError/BAD_ADDR op :argument "local" :local local
                            :hint "give a local memory handle, memory, a byte array, a ByteBuffer or an address")))))

(defn scatter-gather
  "The request of putv! and getv!."
  ^ScatterGather [x op]
  (when-not (map? x)
    (throw (failure RsmError/BAD_SGIO op :argument "request"
                    :hint "give {:segment im :iovec [{:local memory :length 8} ...]}")))
  (let [{pieces :iovec :keys [signal no-accumulate] im :segment}
        (options x #{:segment :iovec :signal :no-accumulate} op)
        im (import-segment im op)]
    (when-not (or (nil? pieces) (sequential? pieces))
      (throw (iovec-failure op "the pieces are a vector")))
    (when-not (.isOpen im)
      (throw (segment-failure im op "the segment has been disconnected")))
    (ScatterGather. im
                    (int (bit-or (long (if (flag signal op "signal") ScatterGather/IMPLICIT_SIGPOST 0))
                                 (long (if (flag no-accumulate op "no-accumulate") Segment/SIGPOST_NO_ACCUMULATE 0))))
                    (let [pieces (items pieces longest RsmError/BAD_SGIO op "iovec")]
                      ;; too many are reported before a fault in one of them
                      (if (< ScatterGather/MAX_REQUESTS (count pieces))
                        (repeat (count pieces) nil)
                        (mapv #(iovec % op) pieces))))))

;; Poll descriptors

(def ^:private poll-bits
  {:in PollFd/IN :pri PollFd/PRI :out PollFd/OUT :err PollFd/ERR :hup PollFd/HUP
   :nval PollFd/NVAL :rdnorm PollFd/RDNORM})

(defn poll-events
  "The bits of poll(2) as a set of keywords."
  [^long bits]
  (into #{} (keep (fn [[k bit]] (when-not (zero? (bit-and bits (long bit))) k))) poll-bits))

(defn- pollfd
  ^PollFd [x op]
  (cond
    (instance? PollFd x) x
    (and (map? x) (every? #{:fd :events} (keys x)) (int? (:fd x))
         (or (nil? (:events x))
             (and (coll? (:events x)) (counted? (:events x))
                  (every? #(and (keyword? %) (poll-bits %)) (:events x)))))
    (PollFd/of (int32 (long (:fd x)) -1)
               (reduce (fn [^long bits k] (bit-or bits (long (poll-bits k))))
                       0
                       (or (:events x) [:in])))
    :else (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "fds"
                          :hint "give descriptors from get-pollfd!, or {:fd 5 :events #{:in}}"))))

(def ^:private most-descriptors
  "More than a process can have open with the kernel's default limit; the kernel reports fewer."
  (inc 1048576))

(defn pollfds
  "The descriptors to wait for."
  ^List [x op]
  (cond
    (sequential? x) (mapv #(pollfd % op) (items x most-descriptors RsmError/BAD_ARGS_ERRORS op "fds"))
    (nil? x) nil ; which the core refuses
    :else
    (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "fds" :hint "give a vector of descriptors"))))
