(ns rsmapi.test.sweep
  "Calls with arguments that are no good, and what becomes of them: for
  rsmapi.arguments-test, in a child JVM.

  A *world* is one of each handle, by name (`names` says which), in one of these states:

    :live      published, connected, mapped, barrier open, one event waiting on each side
    :unmapped  the same, but the mapping has been unmapped
    :aborted   the same, but the segment has been unpublished
    :closed    everything has been closed

  `trial!` makes one call. It may succeed or fail with an RSM error that has its data and
  reads back as EDN; a failure leaves the world as it was. Everything else is a flaw, and
  told as text.

  `sweep-row!` takes the good calls to a Clojure function, and puts every one of `bad-values`
  in each place of them; `sweep-class!` calls every public method of a Java class."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.layout :as layout]
            [rsmapi.sim :as sim])
  (:import (java.lang.reflect Constructor Executable InvocationTargetException Method Modifier)
           (java.nio ByteBuffer ByteOrder)
           (java.nio.charset Charset StandardCharsets)
           (java.nio.file Path)
           (java.time Duration)
           (java.util List Set)
           (java.util.function Function)
           (java.util.zip CRC32)
           (org.rsmapi AccessEntry Capabilities Barrier Barrier$Scope BarrierMode Controller ControllerAttributes
                       ExportSegment ImportSegment IoVec LocalMemory LocalMemoryHandle Mapping
                       Permission PollFd PollFd$Ready PublishedSegment RsmError RsmException ScatterGather Segment
                       SegmentIdRange
                       SegmentMemory Topology Topology$ConnectionState Topology$LocalController
                       Topology$RemoteController)
           (org.rsmapi.mem Reclaim)
           (org.rsmapi.sim World)))

(set! *warn-on-reflection* true)

(def states [:live :unmapped :aborted :closed])

(def page (rsm/page-size))

(def size "The size of every segment and memory." (* 2 (long page)))

;; ------------------------------------------------------------------ worlds

;; One for all worlds. The address range of memory of the caller's own that was a segment's is a
;; private mapping of an empty memory file ever after, and that is not to be counted.
(defonce ^:private buffer
  (delay (-> (ByteBuffer/allocateDirect (+ (long size) (long page)))
             (.alignedSlice (int page))
             (.slice 0 (int size)))))

(defonce ^:private ids-file
  (delay (let [file (java.io.File/createTempFile "rsmapi" nil)]
           (.deleteOnExit file)
           (spit file "reserved app 600000 16\n")
           (str file))))

(defn- live-world []
  (let [c   (rsm/get-controller "loopback")
        l   (layout/layout [:struct [:version :u64] [:x :u64] [:y :f64] [:s [:chars 8]] [:n [:array 3 :i32]]])
        ex  (rsm/export! c {:size size :allow-rebind true :layout l})
        im  (rsm/connect! c {:segment-id (rsm/segment-id ex) :barrier false})
        mem (rsm/allocate! size)
        b   (rsm/init-barrier! im)
        m   (rsm/map! im)
        a   (layout/array m l)]
    (rsm/signal-post! ex)
    (rsm/signal-post! im)
    {'c c, 'ex ex, 'im im, 'mem mem, 'b b
     'scope  (.open ^Barrier b)
     'm      m
     'l      l
     'a      a
     'v      (layout/view m l)
     'column (layout/column a :y)
     'ex2    (rsm/create! c {:size size :allow-rebind true})
     'mem2   (rsm/allocate! size)
     'h      (rsm/create-localmemory-handle! c mem)
     'id     (rsm/segment-id ex)
     'buffer @buffer
     'file   @ids-file
     'w      (sim/world :unit 30)
     'story  [{:event :world :options {:faults []}} {:event :cut :time 5 :from 1 :to 2}]
     'f      (constantly nil)
     ;; a reference to it keeps a segment from being destroyed, so only who needs it gets one
     'pollfd (delay (rsm/get-pollfd! ex))}))

(def ^:private handles "In the order of closing." '[b h m im ex ex2 mem mem2 c])

(defn- close-world! [world]
  (run! #(rsm/close! (world %)) handles)
  (sim/close! (world 'w)))

(defn- build! [state]
  (let [{:syms [ex im pollfd] :as world} (live-world)]
    (case state
      :live     nil
      :unmapped (rsm/unmap! im)
      :aborted  (do (rsm/unpublish! ex)
                    (rsm/aborted? im)) ; from now on its mapping knows it too
      :closed   (do @pollfd
                    (close-world! world)))
    world))

(defn- resolved
  "The call's arguments with names replaced by what the world has."
  [world x]
  (cond
    (symbol? x) (let [v (get world x ::none)]
                  (cond
                    (= ::none v) (throw (IllegalArgumentException. (str "no such name: " x)))
                    (delay? v)   @v
                    (instance? ByteBuffer v) (.clear ^ByteBuffer v)
                    :else        v))
    (vector? x) (mapv #(resolved world %) x)
    (map? x)    (update-vals x #(resolved world %))
    (fn? x)     (x)
    :else       x))

;; What can be seen of a world

(defn- content
  "A checksum of a memory, or why it cannot be read."
  [memory]
  (error/catching
   (.getValue (doto (CRC32.) (.update ^bytes (rsm/get-bytes memory 0 size))))))

(defn- events
  "How many events a descriptor of the kernel's counts."
  [^PollFd p]
  (re-find #"eventfd-count:.*" (child/proc "self/fdinfo" (.fd p))))

(defn- view
  "What a failure must not change. That importers come and go is noticed by the exporter some
  time later, so they are not in it."
  [{:syms [ex im ex2 mem mem2] :as world} watched]
  (conj (mapv #(dissoc (datafy (world %)) :importers) handles)
        (mapv content [ex ex2 mem mem2])
        (when (rsm/connected? im) (rsm/barrier-mode im))
        (mapv events watched)))

;; ------------------------------------------------------------------ a trial

(defn- ours
  "The innermost frames of the trace that say where it went wrong."
  [^Throwable t]
  (->> (.getStackTrace t) (take 4) (map str) (str/join " < ")))

(defn- data-flaw [^RsmException e]
  (let [data (ex-data e)]
    (cond
      (not (every? data [:rsm/error :rsm/code :rsm/op :cognitect.anomalies/category]))
      (str "incomplete: " (pr-str data))

      (not= (:rsm/error data) (:rsm/error (error/lookup (:rsm/code data))))
      (str "not in the table: " (pr-str data))

      (str/blank? (.getMessage e)) "no message"

      (not= data (try (edn/read-string (pr-str data)) (catch RuntimeException _ ::unreadable)))
      (str "does not read back as EDN: " (pr-str data)))))

(defn failure-flaw
  "What is wrong with this failure, or nil."
  [^Throwable t]
  (if (instance? RsmException t)
    (data-flaw t)
    (str (.getName (class t)) ": " (.getMessage t) " at " (ours t))))

(defn- close-result!
  "Closes what a call has given us, if it is new."
  [world x]
  (when (and (instance? java.lang.AutoCloseable x)
             (or (instance? Controller x) (not-any? #(identical? x %) (vals world))))
    (if (instance? World x) (sim/close! x) (rsm/close! x))))

;; The sweep that is under way: {:state :world :view :watched :subject :told :calls :refused :flaws}
(defonce ^:private sweep (atom nil))

(defn- new-world!
  "Replaces the world by a new one in the same state."
  []
  (let [{:keys [state world watch?]} @sweep]
    (some-> world close-world!)
    (let [{:syms [ex im] :as world} (build! state)
          watched (when (and watch? (not= :closed state))
                    [(rsm/get-pollfd! ex) (rsm/get-pollfd! im)])]
      (swap! sweep assoc :world world :watched watched :view (view world watched)))))

(defn- unmap-again!
  "Takes back the mapping that put or get have made."
  []
  (let [{:keys [state world]} @sweep]
    (when (and (= :unmapped state) (some-> ^Mapping (rsm/mapping (world 'im)) .isImplicit))
      (rsm/unmap! (world 'im)))))

(defn- flaw!
  "Notes a flaw; of each function the first few will do."
  [text]
  (swap! sweep (fn [{:keys [subject] :as so-far}]
                 (cond-> (update-in so-far [:told subject] (fnil inc 0))
                   (< (get-in so-far [:told subject] 0) 3) (update :flaws conj text)))))

(defn- show
  "An argument in one line, however long it is."
  [x]
  (binding [*print-length* 5, *print-level* 4]
    (let [text (pr-str x)]
      (subs text 0 (min 150 (count text))))))

(defn- callers-own?
  "Whether a failure came out of a function that the caller gave: it then passes as it is."
  [^Throwable t]
  (some #(re-find #"^rsmapi\.core.*\$reify" (.getClassName ^StackTraceElement %)) (.getStackTrace t)))

(defn- after-failure! [what ^Throwable t {:keys [maps? changes? calls-back?]}]
  (swap! sweep update :refused inc)
  (when-not (and calls-back? (callers-own? t))
    (when-let [flaw (failure-flaw t)]
      (flaw! (str (what) ": " flaw))))
  (when maps? (unmap-again!))
  (let [{:keys [world watched], before :view} @sweep
        now (view world watched)]
    (when (not= before now)
      (if changes?
        (new-world!)
        (do
          (flaw! (str (what) ": failed with " (show (:rsm/error (ex-data t))) ", and has changed "
                      (show (remove (set before) now)) ", was " (show (remove (set now) before))))
          (new-world!))))))

(defn- after-success! [what result {:keys [maps? harmless?]}]
  (try
    (str result)
    (when-not (instance? Barrier$Scope result) ; whose close is a test, and may fail
      (close-result! (:world @sweep) result))
    (catch Throwable t
      (flaw! (str (what) ": its result: " t))))
  (if harmless?
    (let [_ (when maps? (unmap-again!))
          {:keys [world watched]} @sweep]
      (swap! sweep assoc :view (view world watched)))
    (new-world!)))

(defn- trial!
  "Makes a call, a function of no arguments, and says whether it has succeeded; what returns
  the text for it.

  Options:
    :waits?       it may wait for ever: then the thread is interrupted when it begins
    :maps?        it may leave an implicit mapping, which is then taken back
    :changes?     it may change something although it fails
    :calls-back?  it calls functions that it is given
    :harmless?    the world may be used on after it has succeeded, and its result closed"
  [what call {:keys [waits?] :as opts}]
  (swap! sweep update :calls inc)
  (let [[result failure] (try
                           (when waits? (.interrupt (Thread/currentThread)))
                           [(call) nil]
                           (catch Throwable t [nil t])
                           (finally (Thread/interrupted)))]
    (if failure
      (after-failure! what failure opts)
      (after-success! what result opts))
    (nil? failure)))

(defn- with-sweep
  "Begins a sweep, calls f, ends it, and returns what it has found. watch? says whether the
  number of events belongs to what a failure must not change."
  [state watch? f]
  (reset! sweep {:state state :watch? watch? :calls 0 :refused 0 :flaws []})
  (try
    (new-world!)
    (f)
    (close-world! (:world @sweep))
    (select-keys @sweep [:calls :refused :flaws])
    (finally
      (reset! sweep nil))))

(defn together
  "The sum of what sweeps have found."
  [founds]
  (reduce (fn [a b] {:calls   (+ (:calls a) (:calls b))
                     :refused (+ (:refused a) (:refused b))
                     :flaws   (into (:flaws a) (:flaws b))})
          {:calls 0 :refused 0 :flaws []}
          founds))

(defn left
  "What f has found, and a flaw more if it has left behind descriptors or mappings."
  [f]
  (let [_      (rsm/with-controller [c "loopback"]
                 (rsm/close! (rsm/create! c {:buffer @buffer})))
        before (child/belongings)
        result (f)
        same?  #(do (System/gc)
                    (Reclaim/reap)
                    (= before (child/belongings)))]
    (cond-> result
      (not (child/eventually (same?)))
      (update :flaws conj (str "left behind: " (child/belongings) ", before: " before)))))

;; --------------------------------------------------------- Clojure functions

(defn- bad-values
  "One of everything: some are good in some places."
  [{:syms [c ex im m mem b h]}]
  [nil "text" :keyword (keyword "not readable") 'symbol \c true 1.5 ##NaN 1/3
   -1 0 1 7 4097 65536 (+ 2 (long Integer/MAX_VALUE)) (int 5)
   Long/MAX_VALUE Long/MIN_VALUE (- Long/MAX_VALUE 4095) 9223372036854775808N -9223372036854775809N
   (Object.) {} {:unknown 1} (sorted-map "a" 1) [] [1 2] ["a" nil] #{:in} (range)
   identity (long-array 2) (byte-array 2) (ByteBuffer/allocate 8)
   (.asReadOnlyBuffer (ByteBuffer/allocateDirect 8))
   c ex im m mem b h])

(defn- places
  "The paths to everything in the arguments of a call."
  [x]
  (let [entries (cond (map? x) x, (vector? x) (map-indexed vector x))]
    (mapcat (fn [[k v]] (cons [k] (map #(into [k] %) (places v)))) entries)))

(defn- without [x path]
  (if (= 1 (count path))
    (dissoc x (peek path))
    (update-in x (pop path) dissoc (peek path))))

(defn- variations
  "[what it is, a function from a world to arguments], for each way to spoil a call."
  [args]
  (let [bad (count (bad-values {}))
        map-places (filter #(map? (get-in args %)) (places args))
        options (filter (set (mapcat (fn [p] (map #(conj p %) (keys (get-in args p)))) map-places))
                        (places args))]
    (concat
     (for [path (places args), i (range bad)]
       [path #(assoc-in (resolved % args) path (nth (bad-values %) i))])
     (for [i (range bad) :when (< 1 (count args))]
       ["all" #(vec (repeat (count args) (nth (bad-values %) i)))])
     (for [path map-places, extra [{:unknown 1} {"x" 1} {nil nil}]]
       [[path extra] #(update-in (resolved % args) path merge extra)])
     (for [path options]
       [["without" path] #(without (resolved % args) path)]))))

(defn- sweep-call! [function f args opts]
  (doseq [[place spoilt] (variations args)
          :let [arguments (spoilt (:world @sweep))
                what      #(str "(" function " " (str/join " " (map show arguments)) ")"
                                " in state " (:state @sweep))]]
    (trial! what #(apply f arguments) opts))
  nil)

(defn sweep-row!
  "Puts all bad values in all places of the calls to a function, a symbol (of rsmapi.core unless it
  says otherwise), in a world of this state, and makes the good calls in the state that they are good in.

  The row:
    :good       calls that succeed, as vectors of arguments
    :also       more calls; they need not succeed
    :fine       calls that succeed, and are not worth spoiling
    :in         the state in which the good ones succeed; default :live
    :watch?     whether the number of events must not change when it fails
    and the options of trial!"
  [state function {:keys [good also fine in watch?] :or {in :live} :as row}]
  (let [f @(ns-resolve 'rsmapi.core function)]
    (with-sweep state watch?
      (fn []
        (doseq [args (concat good also)]
          (sweep-call! function f args row))
        (when (= in state)
          (doseq [args (concat good fine)]
            (when-not (trial! #(str "good call (" function " " args ")")
                              #(apply f (resolved (:world @sweep) args)) row)
              (flaw! (str "good call failed: (" function " " args ")")))))))))

;; -------------------------------------------------------------- Java methods

(defn java-classes
  "The public classes of the Java core, their public inner ones too."
  []
  (let [folder (-> RsmException .getProtectionDomain .getCodeSource .getLocation .toURI
                   (java.io.File.) (io/file "org" "rsmapi"))]
    (->> (.listFiles folder)
         (map #(.getName ^java.io.File %))
         (filter #(str/ends-with? % ".class"))
         sort
         (map #(Class/forName (str "org.rsmapi." (str/replace % ".class" ""))))
         (filter #(Modifier/isPublic (.getModifiers ^Class %))))))

(defn- receiver [{:syms [c ex im m mem h b scope pollfd]} ^Class type]
  (condp = type
    Controller c, ExportSegment ex, ImportSegment im, Mapping m, LocalMemory mem
    LocalMemoryHandle h, Barrier b, Barrier$Scope scope
    PollFd @pollfd
    PollFd$Ready (PollFd$Ready. @pollfd 0)
    AccessEntry (AccessEntry. 0 0600)
    Capabilities (.capabilities ^ImportSegment im)
    ControllerAttributes (ControllerAttributes. 0 0 0 0 0 0 0 0 0)
    IoVec (IoVec/of ^bytes (byte-array 8) 0 0 8)
    ScatterGather (ScatterGather. im 0 [(IoVec/of ^bytes (byte-array 8) 0 0 8)])
    SegmentIdRange (SegmentIdRange. 1 1)
    PublishedSegment (PublishedSegment. nil 0 1 -1 -1 false)
    Topology (Topology. 0 [])
    Topology$LocalController (Topology$LocalController. "shm0" 0 [])
    Topology$RemoteController (Topology$RemoteController. 0 "shm0" 0 Topology$ConnectionState/ACTIVE)
    RsmException (RsmException/of RsmError/BAD_OFFSET "op")
    (if (.isEnum type)
      (first (.getEnumConstants type))
      (throw (IllegalArgumentException. (str "no object of " type " in the table"))))))

(defn- candidates
  "What a parameter of this type is tried with."
  [{:syms [im m mem mem2 b h buffer file] :as world} ^Class type]
  (condp = type
    Long/TYPE    [0 -1 Long/MIN_VALUE Long/MAX_VALUE 8]
    Integer/TYPE (map int [0 -1 Integer/MIN_VALUE Integer/MAX_VALUE 1])
    Byte/TYPE [(byte 1)], Short/TYPE [(short 1)], Character/TYPE [\c]
    Float/TYPE [(float 1)], Double/TYPE [1.0], Boolean/TYPE [true false]
    String [nil "loopback"]
    Object [nil (Object.)]
    Throwable [nil (Exception. "a cause")]
    ByteBuffer [nil (.clear ^ByteBuffer buffer) (ByteBuffer/allocate 8)
                (.asReadOnlyBuffer (ByteBuffer/allocateDirect 8))]
    ByteOrder [nil ByteOrder/BIG_ENDIAN]
    Charset [nil StandardCharsets/UTF_8 StandardCharsets/UTF_16]
    Duration [nil Duration/ZERO (Duration/ofSeconds -1) (Duration/ofSeconds Long/MAX_VALUE)]
    Function [nil (reify Function (apply [_ _] nil))]
    List [nil [] [nil] (vec (repeat 100 nil))]
    Set [nil #{} #{nil} #{(int 4)} #{"x"}]
    Path [nil (Path/of file (make-array String 0))]
    SegmentMemory [nil mem m]
    LocalMemory [nil mem2]
    LocalMemoryHandle [nil h]
    Segment [nil im]
    Barrier [nil b]
    (cond
      (.isPrimitive type) (throw (IllegalArgumentException. (str "nothing to give for " type)))
      (.isArray type)     [nil (make-array (.getComponentType type) 4)]
      (.isEnum type)      [nil (first (.getEnumConstants type))]
      :else               [nil (receiver world type)])))

(def ^:private most-calls "To one method in one state." 120)

(defn- combinations
  "Lists of indices into the candidates: all of them, or enough from everywhere."
  [counts]
  (let [total (long (reduce * counts))
        step  (inc (quot total (long most-calls)))
        ;; odd, and so with every remainder of what is tried
        step  (if (and (< 1 step) (even? step)) (inc step) step)]
    (for [n (range 0 total step)]
      (loop [n n, [k & more] counts, picked []]
        (if k
          (recur (quot n k) more (conj picked (rem n k)))
          picked)))))

(defn- ours? [^Method method]
  (and (= "org.rsmapi" (.getName (.getPackage (.getDeclaringClass method))))
       ;; the language's, not ours
       (not (#{"valueOf" "ordinal" "compareTo" "printStackTrace" "setStackTrace"} (.getName method)))))

(defn- members [^Class type]
  (->> (concat (.getConstructors type) (filter ours? (.getMethods type)))
       (remove #(and (not (instance? Constructor %))
                     (Modifier/isAbstract (.getModifiers type))
                     (not (Modifier/isStatic (.getModifiers ^Executable %)))))
       (sort-by str)))

(defn- invocation [^Executable member target ^objects args]
  (try
    (if (instance? Constructor member)
      (.newInstance ^Constructor member args)
      (.invoke ^Method member target args))
    (catch InvocationTargetException e
      (throw (.getCause e)))))

(defn- member-options [^Executable member]
  (let [name (.getName member)
        of-transfer? (and (= ImportSegment (.getDeclaringClass member)) (re-matches #"(put|get)(8|16|32|64|Signal)?" name))]
    {:waits?    (contains? #{"signalWait" "await" "read" "write"} name)
     :maps?     (or of-transfer? (contains? #{"putv" "getv"} name))
     ;; the close of a barrier is one whatever it tells
     :changes?  (contains? #{[Barrier "closeBarrier"] [Barrier$Scope "close"]} [(.getDeclaringClass member) name])
     :harmless? (boolean
                 (or (instance? Constructor member)
                     (re-matches #"(get|put|compareAndSet|check|is|copy|fill|size)\w*|toString" name)))}))

(defn- show-member [^Executable member]
  (str (.getSimpleName (.getDeclaringClass member)) "." (.getName member)
       (mapv #(.getSimpleName ^Class %) (.getParameterTypes member))))

(defn sweep-class!
  "Calls every public method and constructor of a class, with null, zero, negative and too
  large arguments, in a world of this state."
  [state ^Class type]
  (with-sweep state false
    (fn []
      (doseq [^Executable member (members type)
              :let [types (seq (.getParameterTypes member))
                    opts  (member-options member)
                    _     (swap! sweep assoc :subject member)]
              indices (combinations (map #(count (candidates (:world @sweep) %)) types))
              :let [world  (:world @sweep)
                    args   (mapv #(nth (candidates world %1) %2) types indices)
                    target (when-not (or (instance? Constructor member)
                                         (Modifier/isStatic (.getModifiers member)))
                             (receiver world type))]]
        (trial! #(str (show-member member) (show args) " in state " state)
                #(invocation member target (object-array args))
                opts)))))
