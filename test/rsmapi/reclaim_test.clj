(ns rsmapi.reclaim-test
  "What becomes of the address range of a mapping that has ended, and of one that nobody has
  ended; and the system calls behind it, by either way."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.outcome :refer [code outcome]])
  (:import (java.lang.management GarbageCollectorMXBean ManagementFactory)
           (java.lang.reflect Field)
           (org.rsmapi Mapping)
           (org.rsmapi.mem Reclaim)
           (org.rsmapi.sys Vm)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

(defn- at
  "What the kernel says is mapped at an address: a line of /proc/self/maps, or an empty text."
  [^long address]
  (str/join (map str (Vm/regions address (inc address)))))

(defn- empty-range? [address] (str/includes? (at address) " rw-p 00000000 00:00 0"))
(defn- shared? [address] (str/includes? (at address) "memfd:rsmapi"))

(defn- collect! []
  (System/gc)
  (Reclaim/reap))

(defmacro ^:private with-import [[im] & body]
  `(rsm/with-controller [c# "loopback"]
     (rsm/with-exported-segment [ex# c# {:size (* 64 page)}]
       (rsm/with-imported-segment [~im c# {:segment-id (rsm/segment-id ex#)}]
         ~@body))))

(deftest a-range-stays-while-its-mapping-can-be-reached
  (with-import [im]
    (let [held      (volatile! (rsm/map! im))
          address   (rsm/address @held)]
      (is (shared? address))
      (rsm/unmap! im)
      (dotimes [_ 3] (collect!))
      (is (empty-range? address) "it is taken, and there is nothing behind it")
      (is (= :rsm/seg-not-mapped (outcome (rsm/get-long @held 0))))
      (vreset! held nil)
      (is (eventually (collect!) (not (empty-range? address)))))))

(deftest ranges-that-ended-together-are-given-back
  (with-import [im]
    (collect!)
    (let [before    (Reclaim/waiting)
          addresses (vec (repeatedly 200 #(let [m (rsm/map! im)]
                                            (rsm/unmap! im)
                                            (rsm/address m))))]
      (is (< 1 (count (distinct addresses))) "their mappings could still be in use")
      (is (eventually (collect!) (<= (Reclaim/waiting) before)))
      (is (not-any? shared? addresses)))))

(deftest a-fixed-place-is-free-again
  ;; others that have ended and are held do not keep it
  (with-import [im]
    (let [ended  #(let [m (rsm/map! im)] (rsm/unmap! im) m)
          others (into (vec (repeatedly 5 ended)) (repeatedly 5 ended))
          fixed  0x100000000000
          at-it  #(rsm/map! im {:address fixed :attr :fixed :length page})]
      (dotimes [_ 3]
        (is (= fixed (rsm/address (at-it))))
        (rsm/unmap! im))
      (is (= 10 (count (filter #(instance? Mapping %) others)))))))

(deftest a-lost-mapping-is-ended
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (let [lost (fn [] (rsm/address (rsm/map! (rsm/connect! c {:segment-id (rsm/segment-id ex)}))))
            addresses (vec (repeatedly 20 lost))]
        (is (eventually (collect!) (and (zero? (long (rsm/importers ex)))
                                        (not-any? shared? addresses))))
        (testing "and one that put has made"
          (let [implicit (fn [] (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex)})]
                                  (rsm/put! im 0 (byte-array 8))
                                  (rsm/address (.mapping ^org.rsmapi.ImportSegment im))))
                address (implicit)]
            (is (eventually (collect!) (and (zero? (long (rsm/importers ex)))
                                            (not (shared? address)))))))))))

;; ------------------------------------------------- many, in a JVM of their own

(defn full-collections []
  (reduce + (keep #(when-not (re-find #"Young|Concurrent|New|Copy|PS Scavenge" (.getName ^GarbageCollectorMXBean %))
                     (.getCollectionCount ^GarbageCollectorMXBean %))
                  (ManagementFactory/getGarbageCollectorMXBeans))))

(defn map-often
  "Maps and unmaps so many times. Returns how many collections of the whole heap that took."
  [n]
  (with-import [im]
    (let [before (full-collections)]
      (dotimes [_ n]
        (rsm/map! im)
        (rsm/unmap! im))
      (- (long (full-collections)) (long before)))))

(defn linked?
  "Whether system calls go by java.lang.foreign now."
  []
  (let [^Field field (.getDeclaredField (Class/forName "org.rsmapi.sys.Calls") "linked")]
    (.setAccessible field true)
    (.getBoolean field nil)))

(defn failures
  "What the system says of calls that it refuses, and of waits."
  []
  (with-import [im]
    (let [m  (rsm/map! im)
          c  (rsm/get-controller "loopback")
          im2 (rsm/connect! c {:segment-id (rsm/segment-id im)})
          occupied (error/catching (rsm/map! im2 {:address (rsm/address m) :attr :fixed}))]
      (try
        [(select-keys occupied [:rsm/error :rsm/errno :rsm/system-call])
         (code (rsm/map! im2 {:address 4096 :attr :fixed}))
         (code (rsm/signal-wait! im2 {:timeout-ms 20}))
         (do (rsm/signal-post! im2 {:no-accumulate true})
             (code (rsm/signal-wait! im2 {:timeout-ms 0})))
         (do (.interrupt (Thread/currentThread))
             (code (rsm/signal-wait! im2 {:timeout-ms 20000})))
         (Thread/interrupted)]
        (finally
          (rsm/close! im2)
          (rsm/close! c))))))

(deftest many-mappings-do-not-collect-the-whole-heap
  (child/with-child [c {:label "mapping"}]
    (child/value c '(require 'rsmapi.reclaim-test) 90000)
    (let [before (child/value c `(failures))]
      (is (false? (child/value c `(linked?))) "it is not worth it yet")
      (is (= 0 (child/value c `(map-often 80000) 90000)))
      (if (<= 22 (.feature (Runtime/version)))
        (is (eventually (child/value c `(linked?))))
        (is (false? (child/value c `(linked?)))))
      (testing "the same errors by both ways"
        (is (= before (child/value c `(failures))))
        (is (= {:rsm/error :rsm/bad-length :rsm/errno 17 :rsm/system-call "mmap"} (first before)))
        (is (= [42 41 true] (map before [2 4 5])))))))
