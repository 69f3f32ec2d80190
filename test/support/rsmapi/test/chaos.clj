(ns rsmapi.test.chaos
  "Random use of everything at once, for chaos-test: what one process does. The driver, which
  stops and kills processes, is in chaos-test.

  A process has some threads. Each takes a slot at random, does something to it at random,
  and goes on, for as long as it is told. A slot of an exporter is a segment id: the segment
  is created, published, republished, rebound, unpublished, destroyed, written, read. A slot
  of an importer is a connection to one of all ids: connected, mapped, unmapped, used by
  every access and by put and get, and so on.

  What is right is always known. Every byte of the segment with an id is what
  rsmapi.test.pattern says for the id's tag, in whatever memory, whoever writes it, or zero where
  memory has been taken away. And every call has a list of errors that it may end in."
  (:require [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.sim :as sim]
            [rsmapi.test.pattern :as pattern])
  (:import (java.util SplittableRandom)
           (java.util.concurrent ConcurrentHashMap ConcurrentLinkedQueue)
           (java.util.concurrent.atomic AtomicBoolean LongAdder)
           (org.rsmapi ExportSegment ImportSegment Mapping RsmException)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* true)

(def pages 4)
(def ^:private page (long (rsm/page-size)))
(def ^:private size (* (long pages) page))

(defn tag-of
  "The tag of a segment id: the ids of a run are base, base + 1 and so on."
  [base id]
  (inc (long (rem (- (long id) (long base)) 30))))

;; ------------------------------------------------------ what has happened

(defonce ^:private counts (ConcurrentHashMap.))
(defonce ^:private problems (ConcurrentLinkedQueue.))
(defonce ^:private stop (AtomicBoolean.))

;; errors that every call may have, over an interconnect that fails
(defonce ^:private also-allowed (atom #{}))

(defn- count! [k]
  (.increment ^LongAdder (.computeIfAbsent ^ConcurrentHashMap counts k
                                           (reify java.util.function.Function (apply [_ _] (LongAdder.))))))

(defn- wrong! [what data]
  (when (< (.size ^ConcurrentLinkedQueue problems) 20)
    (.add ^ConcurrentLinkedQueue problems (assoc data :what what))))

(defn- attempt!
  "Calls f, counts it, and says whether it succeeded: its value in a vector, or nil. Errors
  that are not among the allowed ones are problems."
  [op allowed f]
  (try
    (let [value (f)]
      (count! op)
      [value])
    (catch RsmException e
      (count! op)
      (let [error (:rsm/error (ex-data e))]
        (count! [op error])
        (when-not (or (contains? allowed error) (contains? @also-allowed error))
          (wrong! "an error that the call does not have" {:op op :data (pr-str (ex-data e))})))
      nil)
    (catch Throwable t
      (wrong! "another exception" {:op op :thrown (str t)
                                   :trace (mapv str (take 8 (.getStackTrace t)))})
      nil)))

(defmacro ^:private attempt [op allowed & body]
  `(attempt! ~op ~allowed (fn [] ~@body)))

;; --------------------------------------------------------------- accesses

(defn- taken-away? [memory]
  (if (instance? ExportSegment memory)
    (not (.isOpen ^ExportSegment memory))
    (not (.isMapped ^Mapping memory))))

(defn- judge!
  "What a verdict says about memory, of which some may have been zeros because it was being
  taken away."
  [op verdict gone? data]
  (case verdict
    :right nil
    :wrong (wrong! "a wrong value" (assoc data :op op))
    :zeros (when-not (eventually (gone?))
             (wrong! "zeros in memory that is still there" (assoc data :op op)))))

(def ^:private access-errors
  #{:rsm/seg-not-mapped :rsm/conn-aborted :rsm/bad-seg-hndl :rsm/perm-denied})

(defn- use-memory!
  "One access at random, somewhere in the memory, which starts at an offset in its segment."
  [^SplittableRandom random memory tag start]
  (let [{:keys [name read write]} (nth pattern/accesses (.nextInt random (count pattern/accesses)))
        room (- (quot (long (rsm/size memory)) 8) 8)]
    (when (pos? room)
      (let [at (* 8 (.nextInt random (int room)))
            f  (if (.nextBoolean random) read write)]
        (when-let [[verdict] (attempt :access access-errors (f memory tag at (+ (long start) at)))]
          (judge! :access verdict #(taken-away? memory)
                  {:access name :memory (str memory) :tag tag :offset (+ (long start) at)}))))))

;; --------------------------------------------------------------- exporter

(defn- filled [tag]
  (doto (rsm/allocate! size)
    (rsm/put-bytes! 0 (pattern/bytes-at tag 0 size))))

(def ^:private lacking #{:rsm/insufficient-mem :rsm/insufficient-resources})

(defn- acl [^SplittableRandom random c]
  (case (.nextInt random 4)
    (0 1) nil
    2 [{:node (rsm/node-id c) :perm 0666}]
    3 [{:node (rsm/node-id c) :perm 0444}]))

(defn- new-export! [c ^SplittableRandom random tag]
  (let [own (when (.nextBoolean random) (filled tag))
        [ex] (attempt :create lacking
                      (rsm/create! c (cond-> {:allow-rebind true}
                                       own (assoc :address (rsm/address own))
                                       true (assoc :size size)
                                       (zero? (.nextInt random 8)) (assoc :prefault true))))]
    (when (and ex (not own))
      (rsm/put-bytes! ex 0 (pattern/bytes-at tag 0 size)))
    {:ex ex :memories (if own [own] [])}))

(defn- rebind! [ex tag memories]
  (let [other (filled tag)]
    (if (attempt :rebind (conj lacking :rsm/bad-seg-hndl :rsm/bad-addr) (rsm/rebind! ex {:memory other}))
      (do (run! rsm/close! memories) [other])
      (do (rsm/close! other) memories))))

(defn- export-step!
  "Does something to the slot of an id, and returns the slot's new value."
  [c ^SplittableRandom random base id {:keys [ex memories] :as slot}]
  (let [tag (tag-of base id)
        handle #{:rsm/bad-seg-hndl}]
    (cond
      (nil? ex) (new-export! c random tag)
      ;; by a thread that was not the one to change the slot
      (not (.isOpen ^ExportSegment ex)) (do (run! rsm/close! memories) {:memories []})
      :else
      (case (.nextInt random 24)
        (0 1 2 3) (do (attempt :publish (into handle (conj lacking :rsm/seg-already-published :rsm/segid-in-use))
                               (rsm/publish! ex {:segment-id id :acl (acl random c)}))
                      slot)
        4 (do (attempt :unpublish (conj (into handle lacking) :rsm/seg-not-published) (rsm/unpublish! ex)) slot)
        5 (do (attempt :republish (conj handle :rsm/seg-not-published) (rsm/republish! ex {:acl (acl random c)})) slot)
        6 (assoc slot :memories (rebind! ex tag memories))
        7 (if (and (zero? (.nextInt random 3))
                   ;; another thread may have its poll descriptor just now
                   (attempt :destroy (conj (into handle lacking) :rsm/pollfd-in-use) (rsm/destroy! ex)))
            (do (run! rsm/close! memories)
                {:memories []})
            slot)
        8 (do (attempt :signal-post handle (rsm/signal-post! ex {:no-accumulate (.nextBoolean random)})) slot)
        9 (do (attempt :signal-wait (conj handle :rsm/timeout) (rsm/signal-wait! ex {:timeout-ms (.nextInt random 2)})) slot)
        10 (do (when-let [[p] (attempt :get-pollfd (into handle lacking) (rsm/get-pollfd! ex))]
                 (attempt :signal-wait-pollfd #{:rsm/timeout} (rsm/signal-wait-pollfd! [p] {:timeout-ms 0}))
                 (attempt :release-pollfd handle (rsm/release-pollfd! ex)))
               slot)
        (do (use-memory! random ex tag 0) slot)))))

;; --------------------------------------------------------------- importer

(def ^:private connect-errors
  (conj lacking :rsm/seg-not-published :rsm/perm-denied :rsm/conn-aborted :rsm/timeout))

(def ^:private transfer-errors
  (conj lacking :rsm/bad-seg-hndl :rsm/conn-aborted :rsm/perm-denied :rsm/bad-offset :rsm/barrier-uninitialized))

(defn- transfer!
  "One put or get or vector at random."
  [^SplittableRandom random im tag]
  (let [n      (* 8 (inc (.nextInt random 32)))
        offset (* 8 (.nextInt random (int (quot (- size n) 8))))
        right  (pattern/bytes-at tag offset n)
        got    (byte-array n)
        gone?  #(or (not (.isConnected ^ImportSegment im)) (rsm/aborted? im))
        read!  (fn [op f]
                 (when (attempt! op transfer-errors f)
                   (judge! op (pattern/verdict-of-bytes tag offset got)
                           ;; in the mode :explicit it is the barrier that tells
                           #(or (gone?) (= :explicit (try (rsm/barrier-mode im) (catch RsmException _ :explicit))))
                           {:segment (str im) :offset offset})))]
    (case (.nextInt random 6)
      0 (attempt :put transfer-errors (rsm/put! im offset right))
      1 (attempt :put64 transfer-errors
                 (rsm/put64! im offset (let [longs (long-array (quot n 8))]
                                         (.get (.asLongBuffer (.order (java.nio.ByteBuffer/wrap right)
                                                                      (java.nio.ByteOrder/nativeOrder)))
                                               longs)
                                         longs)))
      2 (attempt :putv transfer-errors
                 (rsm/putv! {:segment im :signal (.nextBoolean random)
                             :iovec [{:local right :remote-offset offset :length 8}
                                     {:local right :local-offset 8 :remote-offset (+ offset 8) :length (- n 8)}]}))
      3 (read! :get #(rsm/get! im offset got))
      4 (read! :get8 #(rsm/get8! im offset got))
      5 (read! :getv #(rsm/getv! {:segment im :iovec [{:local got :remote-offset offset :length n}]})))))

(defn- map-request [^SplittableRandom random]
  (let [first-page (.nextInt random (int pages))]
    {:offset (* first-page page)
     :length (- (* (- (long pages) first-page) page) (.nextInt random 300))
     :perm   (nth [:read :write :rdwr nil] (.nextInt random 4))
     :prefault (zero? (.nextInt random 3))}))

(defn- in-barrier! [^SplittableRandom random im f]
  (when-let [[b] (attempt :init-barrier #{:rsm/bad-seg-hndl} (rsm/init-barrier! im))]
    (attempt :open-barrier #{:rsm/bad-seg-hndl :rsm/barrier-uninitialized} (rsm/open-barrier! b))
    (f)
    (attempt :close-barrier #{:rsm/bad-seg-hndl :rsm/conn-aborted :rsm/barrier-uninitialized} (rsm/close-barrier! b))
    (when (zero? (.nextInt random 4))
      (attempt :destroy-barrier #{:rsm/barrier-uninitialized} (rsm/destroy-barrier! b)))))

(defn- import-step!
  "Does something to a slot, an import segment of an id or none, and returns its new value."
  [c ^SplittableRandom random base ids nodes {:keys [im id] :as slot}]
  (cond
    (nil? im)
    (let [id (nth ids (.nextInt random (count ids)))
          [im] (attempt :connect connect-errors
                        (rsm/connect! c {:segment-id id :node (nodes id) :timeout-ms 300
                                         :perm (nth [:read :write :rdwr :rdwr :none] (.nextInt random 5))}))]
      {:im im :id id})

    (not (.isConnected ^ImportSegment im)) {}

    :else
    (let [tag (tag-of base id)
          handle #{:rsm/bad-seg-hndl}]
      (case (.nextInt random 28)
        (0 1 2 3) (do (attempt :map (into handle (conj lacking :rsm/seg-already-mapped :rsm/conn-aborted :rsm/bad-perms :rsm/bad-length))
                               (rsm/map! im (map-request random)))
                      slot)
        (4 5) (do (attempt :unmap (conj handle :rsm/seg-not-mapped) (rsm/unmap! im)) slot)
        6 (if (attempt :disconnect (conj handle :rsm/seg-still-mapped :rsm/pollfd-in-use) (rsm/disconnect! im)) {} slot)
        7 (do (attempt :close #{} (rsm/close! im)) {})
        8 (do (attempt :signal-post (conj handle :rsm/conn-aborted) (rsm/signal-post! im {:no-accumulate (.nextBoolean random)})) slot)
        9 (do (attempt :signal-wait (conj handle :rsm/timeout :rsm/conn-aborted)
                       (rsm/signal-wait! im {:timeout-ms (.nextInt random 2)}))
              slot)
        10 (do (when-let [[p] (attempt :get-pollfd handle (rsm/get-pollfd! im))]
                 (attempt :signal-wait-pollfd #{:rsm/timeout} (rsm/signal-wait-pollfd! [p] {:timeout-ms 0}))
                 (attempt :release-pollfd handle (rsm/release-pollfd! im)))
               slot)
        11 (do (attempt :set-barrier-mode handle
                        (rsm/set-barrier-mode! im (if (zero? (.nextInt random 3)) :explicit :implicit)))
               slot)
        12 (do (in-barrier! random im #(transfer! random im tag)) slot)
        13 (if (rsm/aborted? im)
             (do (attempt :close #{} (rsm/close! im)) {})
             slot)
        (14 15 16 17) (do (transfer! random im tag) slot)
        (do (when-let [m (rsm/mapping im)]
              (use-memory! random m tag (.offset ^Mapping m)))
            slot)))))

;; ------------------------------------------------------------- the process

(defonce ^:private running (atom []))

(defn- run-thread!
  "Works on the slots until told to stop. Two threads may work on one slot at the same time,
  with what it was when they looked."
  [^SplittableRandom random slots step!]
  (while (not (.get ^AtomicBoolean stop))
    (let [i      (.nextInt random (count slots))
          slot   (nth slots i)
          before @slot
          after  (step! random i before)]
      (when-not (or (identical? before after) (compare-and-set! slot before after))
        ;; another one was faster: what was made here is not known to anybody
        (when-not (identical? (:ex before) (:ex after)) (some-> (:ex after) rsm/close!))
        (when-not (identical? (:im before) (:im after)) (some-> (:im after) rsm/close!))
        (run! rsm/close! (remove (set (:memories before)) (:memories after)))))))

(defn start!
  "Starts threads, beside those that there are. The role is :exporter, with the ids that are this one's, or :importer. :controller
  has arguments of get-controller, and :nodes the exporter's node by id."
  [{:keys [role seed threads base ids slots controller nodes]}]
  (let [c      (apply rsm/get-controller (or controller ["loopback"]))
        random (SplittableRandom. seed)
        all    (vec (repeatedly (if (= :exporter role) (count ids) slots) #(atom {:memories []})))
        step!  (if (= :exporter role)
                 (fn [random i slot] (export-step! c random base (nth ids i) slot))
                 (fn [random _ slot] (import-step! c random base ids (or nodes {}) slot)))]
    (.set ^AtomicBoolean stop false)
    (swap! running conj
           {:c c :slots all
             :threads (mapv (fn [i]
                              (let [r (.split random)]
                                (doto (Thread. ^Runnable (fn [] (run-thread! r all step!)) (str "chaos " i))
                                  (.setDaemon true)
                                  .start)))
                            (range threads))})
    nil))

;; ------------------------------------------------------ a simulated world

(defonce ^:private world (atom nil))

(defn begin-world!
  "Opens a world in this process, in which calls may fail as the interconnect does."
  [opts]
  (reset! also-allowed #{:rsm/barrier-failure :rsm/barrier-open-failed :rsm/map-failed :rsm/locks-not-supported
                         :rsm/remote-node-unreachable :rsm/seg-not-published-to-node :rsm/ctlr-not-present
                         :rsm/conn-aborted :rsm/timeout})
  (reset! world (sim/world opts))
  nil)

(defn disturb-world!
  "Lets links and nodes of the world fail and recover, for some time. In the end all is well, but that a node has been killed."
  [seed seconds nodes victim]
  (let [random (SplittableRandom. seed)
        end (+ (System/nanoTime) (* (long seconds) 1000000000))
        node #(nth nodes (.nextInt random (count nodes)))
        n (atom 0)]
    (while (< (System/nanoTime) end)
      (case (.nextInt random 3)
        0 (sim/cut! @world (node) (node) (if (.nextBoolean random) :both :one-way))
        1 (sim/stop! @world (node))
        2 (sim/advance! @world (.nextInt random 3000000)))
      (Thread/sleep (.nextInt random 5))
      (doseq [a nodes] (sim/continue! @world a) (doseq [b nodes] (sim/mend! @world a b :one-way)))
      (Thread/sleep (.nextInt random 20))
      (swap! n inc))
    (sim/kill! @world victim)
    (Thread/sleep 200)
    @n))

(defn end-world!
  "Ends the world, and returns how much has happened in it."
  []
  (let [n (count (sim/history @world))]
    (sim/close! @world)
    n))

(defn report
  "The counts so far, and the problems."
  []
  {:ops      (reduce + (map #(.sum ^LongAdder %) (for [[k v] counts :when (keyword? k)] v)))
   :errors   (count (filter vector? (keys counts)))
   :problems (vec problems)})

(defn outcomes
  "How often each call ended in what, for people."
  []
  (into {} (map (fn [[k v]] [(pr-str k) (.sum ^LongAdder v)])) counts))

(defn end!
  "Stops the threads, closes everything, and returns the report, with what is left in this
  process that is the library's, and the threads that did not end."
  []
  (.set ^AtomicBoolean stop true)
  (let [parts (first (reset-vals! running []))
        threads (mapcat :threads parts)]
    (run! #(.join ^Thread % 30000) threads)
    (let [hang (mapv #(vec (map str (take 12 (.getStackTrace ^Thread %)))) (filter #(.isAlive ^Thread %) threads))]
      (doseq [{:keys [slots]} parts, slot slots, {:keys [ex im memories]} [@slot]]
        (run! #(attempt :close #{} (rsm/close! %)) (concat (keep identity [ex im]) memories)))
      (run! #(rsm/release-controller! (:c %)) parts)
      (assoc (report)
             :hang hang
             :left (or (eventually (dotimes [_ 2] (System/gc) (org.rsmapi.mem.Reclaim/reap))
                                   (let [left (child/belongings)]
                                     (when (= {:mappings 0} left) left)))
                       (child/belongings))))))
