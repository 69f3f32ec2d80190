(ns rsmapi.halfway-test
  "Calls that fail or are interrupted half-way: what they have taken is released again."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.test.deep :as deep]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.scarce :as scarce])
  (:import (java.util.concurrent.atomic AtomicBoolean)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

;; --------------------------------------------------------------- snapshots

(defn- writer
  "A thread that writes snapshots of one value each, the next one each time, until it is stopped or the memory has ended; and
  how to stop it."
  [memory length]
  (let [stop (AtomicBoolean.)
        thread (Thread. ^Runnable (fn []
                                    (loop [n 1]
                                      (let [result (outcome (rsm/write-snapshot! memory (byte-array length (unchecked-byte n))))]
                                        (Thread/interrupted)
                                        (when-not (or (.get stop) (#{:rsm/seg-not-mapped :rsm/bad-seg-hndl} result))
                                          (recur (inc n)))))))]
    (.start thread)
    [thread #(do (.set stop true) (.join ^Thread thread 30000) (not (.isAlive ^Thread thread)))]))

(defn- whole?
  "Whether a snapshot can be had, and is of one value."
  [memory length]
  (let [bytes (outcome (rsm/read-snapshot memory {:length length :timeout-ms 3000}))]
    (if (bytes? bytes)
      (let [^bytes bytes bytes, value (aget bytes 0)]
        (loop [i 0] (or (= i (alength bytes)) (and (= value (aget bytes i)) (recur (inc i))))))
      bytes)))

(deftest a-snapshot-that-is-interrupted-while-the-memory-moves
  (let [size (* 1024 page), length (- size page)]
    (rsm/with-controller [c "loopback"]
      (rsm/with-local-memory [one size]
        (rsm/with-local-memory [two size]
          (with-open [ex (rsm/create! c {:address (rsm/address one) :size size :allow-rebind true})]
            (let [[^Thread thread stop] (writer ex length)]
              (dotimes [n 40]
                ;; as rebind! wants it: the content goes along, and with it the version
                (.interrupt thread)
                (rsm/rebind! ex {:memory (if (even? n) two one)})
                (.interrupt thread))
              (is (stop))
              (is (even? (rsm/get-long ex 0)))
              (is (true? (whole? ex length))))))))))

(deftest a-snapshot-that-is-interrupted-while-publish-moves-the-memory
  (let [size (* 1024 page), length (- size page)]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size size}]
        (let [[^Thread thread stop] (writer ex length)]
          (dotimes [_ 20]
            (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
              (rsm/with-mapped-segment [m im] (rsm/get-long m 0)))
            (rsm/unpublish! ex)
            (.interrupt thread)
            (rsm/publish! ex))
          (is (stop))
          (is (even? (rsm/get-long ex 0)))
          (is (true? (whole? ex length))))))))

(deftest a-snapshot-whose-mapping-is-unmapped
  (let [size (* 1024 page), length (- size page)]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size size}]
        (dotimes [n 20]
          (with-open [im (rsm/connect! c {:segment-id (rsm/segment-id ex)})]
            (let [[_ stop] (writer (rsm/map! im) length)
                  version (+ 4 (rsm/get-long ex 0))]
              (child/eventually (< version (rsm/get-long ex 0)))
              (if (even? n) (rsm/unmap! im) (rsm/close! im))
              (is (stop))
              (is (true? (whole? ex length))))))))))

(defn ^:no-doc snapshots-at-each-depth
  "In a child: what is wrong with memory after a snapshot has been written at each depth of the stack."
  []
  (let [length 64]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (let [m (rsm/map! im)
                of (fn [memory]
                     (let [n (volatile! 0)
                           next-value (fn [] (byte-array length (unchecked-byte (vswap! n inc))))
                           data (volatile! (next-value))]
                       (deep/at-each-depth
                        400
                        #(rsm/write-snapshot! memory @data {:timeout-ms 500})
                        (fn [result]
                          (vreset! data (next-value))
                          (cond
                            (odd? (rsm/get-long memory 0)) [:odd (str result)]
                            (not (true? (whole? memory length))) [:torn (str result)]
                            (not (or (int? result) (instance? StackOverflowError result))) [:disguised (str result)])))))
                found {:local (rsm/with-local-memory [own page] (of own)) :export (of ex) :mapping (of m)}]
            ;; waits for all writers to have left
            (assoc found :unmapped (deref (future (rsm/unmap! m)) 10000 :late))))))))

(deftest a-snapshot-at-the-end-of-the-stack
  (doseq [opts [["-Xint"] ["-XX:TieredStopAtLevel=1"]]]
    (child/with-child [child {:label "depth" :jvm-opts opts}]
      (child/value child '(require 'rsmapi.halfway-test) 90000)
      (let [found (child/value child '(rsmapi.halfway-test/snapshots-at-each-depth) 120000)]
        (is (nil? (:unmapped found)))
        (doseq [[memory {:keys [flaws done overflows]}] (dissoc found :unmapped)]
          (testing [opts memory]
            (is (= [] flaws))
            (is (pos? done) "some had room")
            (is (pos? overflows) "some had none")))))))

(deftest a-wait-for-a-dead-writer-costs-little
  (rsm/with-local-memory [memory page]
    (rsm/put-long! memory 0 5)
    (let [bean (java.lang.management.ManagementFactory/getThreadMXBean)
          spent (promise)
          thread (Thread. ^Runnable #(let [before (.getCurrentThreadCpuTime bean)]
                                       (outcome (rsm/read-snapshot memory {:length 8 :timeout-ms 3000}))
                                       (deliver spent (- (.getCurrentThreadCpuTime bean) before))))]
      (.start thread)
      ;; a check every 50 microseconds takes 13 % of a processor, 390 ms; every 5 ms takes about 1 %
      (is (< (long (deref spent 30000 Long/MAX_VALUE)) 150000000)))))

;; ------------------------------------- resources of the system, and their owners

(def ^:private makers
  "What makes something of the system's: given a world, a function that makes one, and whose result can be closed."
  {:create    (fn [{:keys [c]}] #(rsm/create! c {:size page}))
   :buffer    (fn [{:keys [c buffer]}] #(rsm/create! c {:buffer buffer}))
   :publish   (fn [{:keys [ex]}] #(do (rsm/publish! ex)
                                      (reify java.lang.AutoCloseable (close [_] (rsm/unpublish! ex)))))
   :connect   (fn [{:keys [c id]}] #(rsm/connect! c {:segment-id id}))
   :map       (fn [{:keys [im]}] #(rsm/map! im))
   :map-over  (fn [{:keys [im over]}] #(rsm/map! im {:over over}))
   :pollfd    (fn [{:keys [c]}] #(let [ex (rsm/create! c {:size page})]
                                   (try (rsm/get-pollfd! ex) (catch Throwable t (rsm/close! ex) (throw t)))
                                   ex))
   :get       (fn [_] #(rsm/get-controller "shm7"))
   :on-signal (fn [{:keys [im]}] #(rsm/on-signal! im (fn [_])))})

(defn- world
  "With a segment that another process has published: an exporter without memory does not answer."
  [id]
  (let [c (rsm/get-controller "loopback")]
    {:c c :id id
     :ex (rsm/create! c {:size page})
     :im (rsm/connect! c {:segment-id id})
     :over (rsm/allocate! page)
     :buffer (-> (java.nio.ByteBuffer/allocateDirect (* 2 page))
                 (.alignedSlice page)
                 (.limit (int page))
                 (.slice))}))

(defn- settled-belongings
  "What this process holds, when it has stopped changing: what an importer leaves behind at the exporter goes with the
  service thread."
  [expected]
  (loop [n 0]
    (let [now (child/belongings)]
      (if (or (= now expected) (= n 200))
        now
        (do (Thread/sleep 5) (recur (inc n)))))))

(defn- left-by
  "What calls of a maker leave behind: each is made by `attempt` (a function of the call, and of one of the arguments), and
  what it returned is closed again. How many succeeded and failed, and what was left, of the first few where anything was."
  [make attempt arguments]
  (let [close! #(.close ^java.lang.AutoCloseable %)]
    (run! close! (repeatedly 3 make)) ; what the first calls make and keep
    (let [before (child/belongings)]
      (reduce (fn [found argument]
                (let [result (attempt argument make)
                      failed? (instance? Throwable result)
                      trouble (when-not failed?
                                (try (close! result) nil (catch Throwable t (str "close: " t))))
                      now (settled-belongings before)
                      found (update found (if failed? :failed :done) inc)]
                  (cond-> found
                    (and failed? (not (instance? VirtualMachineError result)))
                    (update :flaws conj [argument (str result)])
                    trouble (update :flaws conj [argument trouble])
                    (not= before now) (-> (update :flaws conj [argument (str result) before now]) reduced))))
              {:done 0 :failed 0 :flaws []}
              arguments))))

(defn ^:no-doc left-when-starving
  "In a child with a small heap."
  [maker id]
  (let [world (world id)
        ;; most of the heap once, so that each attempt has little to fill
        ballast (object-array (map (fn [_] (byte-array 65536))
                                   (range (quot (- (.freeMemory (doto (Runtime/getRuntime) (.gc))) 1500000) 65600))))]
    (try
      (left-by ((makers maker) world) scarce/with-bytes-left (if (runner/long-run?) (range 0 8000 100) (range 200 5000 600)))
      (finally
        (aset ballast 0 nil)
        (run! #(some-> (world %) rsm/close!) [:im :ex :over :c])))))

(deftest what-fails-for-want-of-heap-leaves-nothing
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (child/with-child [child {:label "starving"
                                :jvm-opts ["-XX:+UseSerialGC" "-Xms32m" "-Xmx32m" "-XX:TieredStopAtLevel=1"]}]
        (child/value child '(require 'rsmapi.halfway-test) 90000)
        (let [found (into {}
                          (for [maker (if (runner/long-run?) (keys makers) [:create :publish :connect :map])]
                            [maker (child/value child (list 'rsmapi.halfway-test/left-when-starving maker (rsm/segment-id ex))
                                                60000)]))]
          (doseq [[maker {:keys [flaws]}] found]
            (is (= [] flaws) maker))
          (is (pos? (reduce + (map :failed (vals found))))))))))

(defn ^:no-doc left-at-each-depth
  "In a child. What is left is looked at in the end: it would take longer than the calls."
  [maker id depths]
  (let [world (world id)
        make ((makers maker) world)
        close! #(.close ^java.lang.AutoCloseable %)]
    (try
      (run! close! (repeatedly 3 make))
      (let [before (child/belongings)
            found (deep/at-each-depth
                   depths
                   make
                   (fn [result]
                     (cond
                       (instance? StackOverflowError result) nil
                       (instance? Throwable result) [:disguised (str result) (mapv str (take 8 (.getStackTrace ^Throwable result)))]
                       :else (try (close! result) nil (catch Throwable t [:close (str t)])))))
            now (settled-belongings before)]
        (cond-> found
          (not= now before) (update :flaws conj [:left before now])))
      (finally
        (run! #(some-> (world %) rsm/close!) [:im :ex :over :c])))))

(deftest what-fails-at-the-end-of-the-stack-leaves-nothing
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (child/with-child [child {:label "depth" :jvm-opts ["-Xint"]}]
        (child/value child '(require 'rsmapi.halfway-test) 90000)
        (doseq [maker (keys (dissoc makers :map-over))] ; where the interpreter keeps what it has closed
          (testing maker
            (let [{:keys [flaws overflows done]}
                  (child/value child (list 'rsmapi.halfway-test/left-at-each-depth maker (rsm/segment-id ex) 300) 60000)]
              (is (= [] flaws))
              (is (pos? done))
              (is (pos? overflows)))))))))
