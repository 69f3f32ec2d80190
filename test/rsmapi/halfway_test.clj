(ns rsmapi.halfway-test
  "Calls that fail or are interrupted half-way: what they have taken is released again."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.deep :as deep]
            [rsmapi.outcome :refer [outcome]])
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
