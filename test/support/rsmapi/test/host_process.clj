(ns rsmapi.test.host-process
  "What a process on a host of a network does for tests: a child JVM loads this, and is asked to
  call it.

  Handles have names: (export! :ex {...}) keeps a segment as :ex, which (at :ex) returns. What is
  to go on while the test does something else is a job: once! and repeatedly! start one in a
  thread of its own, outcome waits for its end."
  (:require [rsmapi.core :as rsm])
  (:import (java.nio ByteBuffer)
           (java.util.concurrent.locks LockSupport)
           (org.rsmapi.sys Credentials)))

(set! *warn-on-reflection* true)

(defonce controller (delay (rsm/get-controller "net0")))

;; ------------------------------------------------------------------- handles

(defonce ^:private handles (atom {}))

(defn at [k] (@handles k))

(defn keep! [k handle]
  (swap! handles assoc k handle)
  nil)

(defn close!
  "Closes handles by their names."
  [& ks]
  (doseq [k ks]
    (when-let [h (at k)]
      (swap! handles dissoc k)
      (rsm/close! h))))

(defn open!
  "Opens the controller. Returns the node."
  []
  (rsm/node-id @controller))

(defn export!
  "Creates and publishes a segment. Returns its id."
  [k opts]
  (let [ex (rsm/export! @controller opts)]
    (keep! k ex)
    (rsm/segment-id ex)))

(defn import! [k opts] (keep! k (rsm/connect! @controller opts)))

(defn answers
  "What connects are answered: nil or the error of each."
  [& connects]
  (mapv (fn [opts]
          (try (rsm/close! (rsm/connect! @controller opts))
               nil
               (catch Exception e (:rsm/error (ex-data e)))))
        connects))

(defn as-user
  "What f returns in a thread that has become a user."
  [uid gid f]
  (let [result (promise)]
    (doto (Thread. (fn []
                     (deliver result (try
                                       (Credentials/become uid gid (int-array 0))
                                       (f)
                                       (catch Throwable t (str t))))))
      .start
      .join)
    @result))

(defn import-eventually!
  "Imports as soon as that is possible. Returns how many ms it took, or the last error after 30 s."
  [k opts]
  (let [begin (System/nanoTime)
        millis #(quot (- (System/nanoTime) begin) 1000000)]
    (loop []
      (let [error (try (import! k opts)
                       (catch Exception e (or (ex-data e) (str e))))]
        (cond
          (nil? error) (millis)
          (< 30000 (long (millis))) error
          :else (do (Thread/sleep 20) (recur)))))))

;; ---------------------------------------------------------------------- jobs

(defonce ^:private jobs (atom {}))

(defn start!
  "Calls f until it throws, n times at most. `pause` is in ns."
  [k n pause f]
  (let [turns (atom 0)
        result (promise)]
    (swap! jobs assoc k {:turns turns :result result :stop (atom false)})
    (doto (Thread. (fn []
                     (deliver result
                              (try
                                (loop [value nil]
                                  (if (or (= n @turns) @(:stop (@jobs k)))
                                    {:value value :at (System/nanoTime)}
                                    (let [value (f)]
                                      (swap! turns inc)
                                      (when (pos? (long pause)) (LockSupport/parkNanos pause))
                                      (recur value))))
                                (catch Throwable t
                                  (assoc (select-keys (ex-data t) [:rsm/error :rsm/reason :rsm/hint])
                                         :at (System/nanoTime)
                                         :message (str t))))))
                   (str "job " k))
      (.setDaemon true)
      .start)
    nil))

(defmacro once! [k & body] `(start! ~k 1 0 (fn [] ~@body)))

(defmacro repeatedly! [k & body] `(start! ~k -1 100000 (fn [] ~@body)))

(defn turns [k] @(:turns (@jobs k)))

(defn over? [k] (realized? (:result (@jobs k))))

(defn halt!
  "Ends a job after its turn, and returns what outcome does."
  [k]
  (reset! (:stop (@jobs k)) true)
  (deref (:result (@jobs k)) 25000 :goes-on))

(defn outcome
  "How a job has ended: {:value}, or :rsm/error, :rsm/reason, :rsm/hint and :message; with when, in
  :at. :goes-on if it has not within 25 s."
  [k]
  (deref (:result (@jobs k)) 25000 :goes-on))

;; -------------------------------------------------------------------- memory

(defn get-long
  "A long of an import segment, with its exporter asked for it, or of an export segment."
  [k offset]
  (let [s (at k)]
    (if (instance? org.rsmapi.ImportSegment s)
      (aget ^longs (rsm/get64 s offset 1) 0)
      (rsm/get-long-volatile s offset))))

(defn set-long! [k offset value]
  (let [s (at k)]
    (if (instance? org.rsmapi.ImportSegment s)
      (rsm/put64! s offset value)
      (rsm/put-long-volatile! s offset value))))

(defn pattern ^bytes [n seed]
  (let [bytes (byte-array n)]
    (.nextBytes (java.util.Random. seed) bytes)
    bytes))

(defn put-pattern! [k offset n seed] (rsm/put! (at k) offset (pattern n seed)))

(defn has-pattern?
  "Whether a segment or a mapping has a pattern at an offset."
  [k offset n seed]
  (let [s (at k)
        there (byte-array n)]
    (if (instance? org.rsmapi.ImportSegment s)
      (rsm/get! s offset there)
      (rsm/get-bytes! s offset there))
    (java.util.Arrays/equals there (pattern n seed))))

(def ^:private much (byte-array 1048576))

(defn put-much! [k] (rsm/put! (at k) 0 much))
(defn get-much! [k] (rsm/get! (at k) 0 much) nil)

(defn map!
  "Maps all of an import segment, and makes a barrier: :m and :b."
  [k]
  (keep! :m (rsm/map! (at k)))
  (keep! :b (rsm/init-barrier! (at k))))

(defn change-all!
  "Opens the barrier, changes each page of the mapping, and closes it."
  [value]
  (let [m (at :m), b (at :b)]
    (rsm/open-barrier! b)
    (doseq [offset (range 0 (rsm/size m) 4096)]
      (rsm/put-long! m offset value))
    (rsm/close-barrier! b)))

(defn all-changed?
  "Whether each page of an export segment, or of the mapping after it was brought in, begins with a
  number."
  [k value]
  (let [s (at k)]
    (when (= :m k)
      (rsm/pull! s))
    (every? #(= value (rsm/get-long s %)) (range 0 (rsm/size s) 4096))))

(defn wait-without-importers!
  "Waits until nobody is connected to an export segment, 25 s at most."
  [k]
  (let [end (+ (System/nanoTime) 25000000000)]
    (loop []
      (cond
        (zero? (rsm/importers (at k))) :none
        (neg? (- end (System/nanoTime))) :some
        :else (do (LockSupport/parkNanos 2000000) (recur))))))

;; ------------------------------------------------------------ several pieces

(def pieces
  "Offset and length of the pieces of an I/O vector: around what goes into a frame, and what takes the link for much data."
  (let [lengths [1 16383 16384 16385 65535 8 65536 65537 100000 3 40000 12 200 16385 1 4096]]
    (mapv vector (reductions + 5 (map inc lengths)) lengths)))

(defn- local-memories
  "For each piece memory of another kind: {:piece, :fill! a function of bytes, :content}; the pieces are :local and :local-offset."
  [memory handle]
  (map-indexed
   (fn [i [offset n]]
     (let [n (long n)
           piece (fn [local at] {:local local :local-offset at :remote-offset offset :length n})
           array (byte-array (+ n 7))
           direct (ByteBuffer/allocateDirect (+ n 7))
           in-memory (fn [piece at]
                       {:piece piece
                        :fill! #(rsm/put-bytes! memory at %)
                        :content #(rsm/get-bytes memory at n)})]
       (case (rem (long i) 5)
         0 (in-memory (piece handle offset) offset)
         1 {:piece (piece array 7)
            :fill! #(System/arraycopy % 0 array 7 n)
            :content #(java.util.Arrays/copyOfRange array 7 (+ 7 n))}
         2 (in-memory (piece memory offset) offset)
         3 {:piece (piece direct 3)
            :fill! (fn [^bytes bytes] (.put direct 3 bytes))
            :content #(let [bytes (byte-array n)] (.get direct 3 bytes) bytes)}
         4 (in-memory (piece (+ (long (rsm/address memory)) (long offset)) 0) offset))))
   pieces))

(defn- with-local-memories* [f]
  (rsm/with-local-memory [memory (* 4096 256)]
    (let [handle (rsm/create-localmemory-handle! @controller memory)]
      (try
        (f (local-memories memory handle))
        (finally (rsm/free-localmemory-handle! @controller handle))))))

(defn put-pieces!
  "Writes the pieces, whose content are patterns, with one event."
  [k seed]
  (with-local-memories*
    (fn [locals]
      (doseq [[{:keys [fill! piece]} i] (map vector locals (range))]
        (fill! (pattern (:length piece) (+ (long seed) (long i)))))
      (rsm/putv! {:segment (at k) :signal true :iovec (mapv :piece locals)}))))

(defn pieces-got
  "Reads the pieces: which of them are not the patterns, and what getv! returns."
  [k seed]
  (with-local-memories*
    (fn [locals]
      (let [result (rsm/getv! {:segment (at k) :iovec (mapv :piece locals)})]
        [(filterv (fn [i]
                    (let [{:keys [content piece]} (nth locals i)]
                      (not (java.util.Arrays/equals ^bytes (content) (pattern (:length piece) (+ (long seed) (long i)))))))
                  (range (count locals)))
         result]))))

(defn has-pieces?
  "Whether an export segment has the pieces, and nothing between them."
  [k seed]
  (and (every? (fn [[[offset n] i]] (has-pattern? k offset n (+ (long seed) (long i)))) (map vector pieces (range)))
       (every? (fn [[offset n]] (zero? (long (rsm/get-byte (at k) (+ (long offset) (long n)))))) pieces)))

(defn freed-handle []
  (rsm/with-local-memory [memory 65536]
    (let [handle (rsm/create-localmemory-handle! @controller memory)]
      (rsm/free-localmemory-handle! @controller handle)
      handle)))

(defn pieces-error
  "What putv! or getv!, as a function f, reports of a piece that is bad between two that are good, which have n bytes:
  [error entry residual]."
  [f k n bad]
  (let [good (fn [offset] {:local (byte-array n (byte 7)) :remote-offset offset :length n})
        data (try (f {:segment (at k) :signal true :iovec [(good 0) bad (good n)]})
                  (catch Exception e (ex-data e)))]
    [(:rsm/error data) (:rsm/entry data) (:rsm/residual data)]))

;; ------------------------------------------------------------------- process

(defn threads
  "How many threads this process has, but for those of the JVM that come and go."
  []
  (count (filter #(.isAlive ^Thread %) (keys (Thread/getAllStackTraces)))))
