(ns rsmapi.emulated-test
  "What test/emulation/run tries on emulated arm64, where a JVM takes a minute to start: the promises
  once each, in one process, and with one other process. It runs natively as well."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [failure outcome]]
            [rsmapi.test.segment :refer [with-segment]]))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 64 page))

(defn- content [handle] (mapv #(rsm/get-long handle (* page (long %))) (range 64)))

(defn- fill! [handle] (dotimes [i 64] (rsm/put-long! handle (* page i) (inc i))))

(deftest loads-and-stores
  (with-segment [c ex im {:size size}]
    (rsm/with-mapped-segment [m im {}]
      (fill! m)
      (is (= (range 1 65) (content ex) (content m)))
      (rsm/put! im 8 (byte-array (range 100)))
      (is (= (range 100) (seq (rsm/get! im 8 (byte-array 100))))))))

(deftest a-publication-ends
  (with-segment [c ex im {:size size}]
    (let [m (rsm/map! im)]
      (fill! ex)
      (rsm/unpublish! ex)
      (is (= (range 1 65) (content ex)) "the exporter keeps the content")
      (is (= :rsm/conn-aborted (outcome (rsm/get-long m 0))))
      (fill! ex)
      (rsm/publish! ex)
      (is (= (range 1 65) (content ex)))
      (rsm/with-imported-segment [again c {:segment-id (rsm/segment-id ex)}]
        (rsm/with-mapped-segment [m2 again {}]
          (is (= (range 1 65) (content m2))))))))

(deftest own-memory
  (rsm/with-controller [c "loopback"]
    (let [memory (rsm/allocate! size)]
      (fill! memory)
      (rsm/with-exported-segment [ex c {:address (rsm/address memory) :size size}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (rsm/with-mapped-segment [m im {}]
            (is (= (range 1 65) (content m)))
            (rsm/put-long! m 0 99)))
        (is (= 99 (rsm/get-long memory 0))))
      (is (= (cons 99 (range 2 65)) (content memory)) "also when the segment is gone"))))

(deftest places
  (with-segment [c ex im {:size size}]
    (let [fixed 0x100000000000]
      (rsm/with-mapped-segment [m im {:address fixed :attr :fixed :length page}]
        (is (= fixed (rsm/address m)))
        (rsm/with-imported-segment [im2 c {:segment-id (rsm/segment-id ex)}]
          (is (= :rsm/bad-length (outcome (rsm/map! im2 {:address fixed :attr :fixed :length page})))))))
    (testing "over own memory"
      (let [memory (rsm/allocate! size)]
        (rsm/put-long! ex 0 7)
        (rsm/map! im {:over memory :length page})
        (is (= 7 (rsm/get-long memory 0)))
        (rsm/unmap! im)
        (rsm/put-long! ex 0 8)
        (is (= 0 (rsm/get-long memory 0)))))))

(deftest permissions
  (with-segment [c ex im {:size size}]
    (rsm/with-imported-segment [reader c {:segment-id (rsm/segment-id ex) :perm :read}]
      (rsm/with-mapped-segment [m reader {}]
        (is (= :rsm/perm-denied (outcome (rsm/put-long! m 0 1))))))))

(deftest barriers-and-signals
  (with-segment [c ex im {:size size}]
    (rsm/with-mapped-segment [m im {}]
      (rsm/with-barrier [b im]
        (rsm/put-long! m 0 1))
      (is (= 1 (rsm/get-long ex 0)))
      (rsm/signal-post! im)
      (is (nil? (failure (rsm/signal-wait! ex {:timeout-ms 20000}))))
      (is (= :rsm/timeout (failure (rsm/signal-wait! ex {:timeout-ms 50}))) "there was one only"))))

(deftest another-process
  (child/with-child [other {:label "exporter"
                            :jvm-opts ["-XX:TieredStopAtLevel=1" "-XX:+UseSerialGC"]}]
    (let [id (child/value other '(do (def c (rsm/get-controller nil))
                                     (def ex (rsm/create! c {:size 65536}))
                                     (rsm/put-long! ex 8 42)
                                     (rsm/publish! ex)))]
      (rsm/with-controller [c "loopback"]
        (rsm/with-imported-segment [im c {:segment-id id}]
          (let [m (rsm/map! im)]
            (is (= 42 (rsm/get-long m 8)))
            (rsm/put-long! m 16 43)
            (rsm/signal-post! im)
            (is (= 43 (child/value other '(do (rsm/signal-wait! ex {:timeout-ms 20000})
                                              (rsm/get-long ex 16)))))
            (child/value other '(rsm/unpublish! ex))
            (is (rsm/aborted? im) "an access would see it when the notice has come")
            (is (= :rsm/conn-aborted (outcome (rsm/get-long m 8))))
            (is (= [42 43] (child/value other '[(rsm/get-long ex 8) (rsm/get-long ex 16)])))))))))
