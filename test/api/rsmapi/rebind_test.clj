(ns rsmapi.rebind-test
  "rebind!: what importers see, what becomes of both memories, and what it refuses."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [failure outcome]])
  (:import (java.nio ByteBuffer)
           (java.util.concurrent.atomic AtomicBoolean AtomicLong)
           (org.rsmapi ExportSegment)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 8 page))

(defn- filled [^long n value]
  (doto (rsm/allocate! n) (rsm/fill! 0 n value)))

(defn- all?
  "Whether every byte of a memory is this."
  [memory value]
  (every? #(= value %) (rsm/get-bytes memory 0 (rsm/size memory))))

(defn- aligned-buffer ^ByteBuffer [n]
  (let [b (ByteBuffer/allocateDirect (+ (long n) page))]
    (.slice (.alignedSlice b (int page)) 0 (int n))))

(deftest importers-see-the-new-memory
  (rsm/with-controller [c "loopback"]
    (doseq [own? [false true], published? [false true]]
      (testing (str "own memory: " own? ", published: " published?)
        (rsm/with-local-memory [old size]
          (rsm/with-local-memory [new size]
            (rsm/fill! old 0 size 1)
            (rsm/fill! new 0 size 2)
            (let [ex (rsm/create! c (merge {:size size :allow-rebind true}
                                           (when own? {:address (rsm/address old)})))]
              (rsm/fill! ex 0 size 1)
              (when-not published?
                (rsm/rebind! ex {:memory new}))
              (let [id (rsm/publish! ex)
                    im (rsm/connect! c {:segment-id id})
                    ro (rsm/connect! c {:segment-id id :perm :read})
                    m  (rsm/map! im {:offset page})
                    r  (rsm/map! ro)
                    at (rsm/address m)]
                (when published?
                  (is (all? m 1))
                  (rsm/rebind! ex {:address (rsm/address new) :length size}))
                (is (all? m 2))
                (is (all? r 2))
                (is (= at (rsm/address m)))
                (is (= (rsm/address new) (rsm/address ex)))
                (rsm/put-byte! m 0 3)
                (is (= [3 3 3] [(rsm/get-byte ex page) (rsm/get-byte new page) (rsm/get-byte r page)]))
                (rsm/put-byte! new 0 4)
                (is (= [4 4] [(rsm/get-byte ex 0) (rsm/get-byte r 0)]))
                (when own?
                  (is (all? old 1) "the old memory keeps its content")
                  (rsm/put-byte! old 0 9)
                  (is (= 4 (rsm/get-byte r 0)) "and is not shared any more"))
                (rsm/unpublish! ex)
                (is (eventually (= :rsm/conn-aborted (outcome (rsm/put-byte! m 0 9)))))
                (is (= 3 (rsm/get-byte ex page)))
                (rsm/close! ex)
                (is (= [4 3] [(rsm/get-byte new 0) (rsm/get-byte new page)]) "it stays the caller's")
                (run! rsm/close! [im ro])))))))))

(deftest again-and-again
  (rsm/with-controller [c "loopback"]
    (let [memories (mapv #(filled size %) (range 1 4))
          ex (rsm/export! c {:size size :allow-rebind true})
          im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
          m  (rsm/map! im)]
      (doseq [i (concat (range 3) [1 0 2 0])]
        (rsm/rebind! ex {:memory (memories i)})
        (is (all? m (inc (long i))))
        (is (nil? (failure (rsm/rebind! ex {:memory (memories i)}))) "the same once more"))
      (let [buffer (aligned-buffer size)]
        (.put buffer 5 (byte 77))
        (rsm/rebind! ex {:buffer buffer})
        (is (= 77 (rsm/get-byte m 5)))
        (rsm/put-byte! m 6 78)
        (is (= 78 (.get buffer 6))))
      (doseq [i (range 3)]
        (is (all? (memories i) (inc (long i))) "each has what it had"))
      (run! rsm/close! (concat [im ex] memories)))))

(deftest what-it-refuses
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [a size]
      (rsm/with-local-memory [b size]
        (rsm/with-exported-segment [ex c {:size size :allow-rebind true}]
          (rsm/with-exported-segment [fixed c {:size size}]
            (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
              (rsm/fill! ex 0 size 5)
              (let [m (rsm/map! im)
                    address (rsm/address ex)
                    at (long (rsm/address a))]
                (doseq [[errors segment request]
                        [[#{:rsm/bad-addr} ex {:address nil}]
                         [#{:rsm/bad-addr} ex nil]
                         [#{:rsm/rebind-not-allowed} fixed {:memory a :length 0}]
                         [#{:rsm/bad-length} ex {:address at :length 0}]
                         [#{:rsm/bad-length} ex {:address (inc at) :length page}]
                         [#{:rsm/bad-length} ex {:address at :length (+ page size)}]
                         [#{:rsm/bad-addr} ex {:address (inc at) :length size}]
                         ;; whatever comes behind the memory
                         [#{:rsm/bad-addr :rsm/perm-denied} ex {:address (+ at page) :length size}]
                         [#{:rsm/bad-addr :rsm/perm-denied} ex {:memory a :at page}]
                         [#{:rsm/bad-addr} ex {:address page :length size}]
                         [#{:rsm/bad-addr} ex {:buffer (ByteBuffer/allocate size)}]
                         [#{:rsm/bad-args-errors} ex {:memry a}]
                         [#{:rsm/bad-seg-hndl} im {:memory a}]]]
                  (is (contains? errors (outcome (rsm/rebind! segment request))) (pr-str request)))
                (is (nil? (rsm/rebind! ex {:address address})) "its own memory is no error")
                (is (all? m 5) "nothing has changed")
                (is (= address (rsm/address ex)))
                (testing "memory of another segment"
                  (rsm/with-exported-segment [other c {:address at :size size :allow-rebind true}]
                    (is (= :rsm/bad-addr (outcome (rsm/rebind! ex {:memory a}))))
                    (testing "and a published one whose memory is another's too"
                      (rsm/with-exported-segment [third c {:address at :size size :allow-rebind true}]
                        (is (= :rsm/rebind-not-allowed (outcome (rsm/rebind! third {:memory b}))))
                        (rsm/unpublish! third)
                        (is (nil? (failure (rsm/rebind! third {:memory b}))) "not while unpublished")
                        (rsm/rebind! third {:memory a})
                        (rsm/put-byte! other 3 33)
                        (is (= 33 (rsm/get-byte third 3)) "back to the shared memory")))))
                (is (nil? (failure (rsm/rebind! ex {:memory a}))) "when it is free again")))))))))

(deftest the-exporters-own-access-goes-on
  (rsm/with-controller [c "loopback"]
    (let [memories (mapv (fn [_] (filled size 0)) (range 2))
          ex   (rsm/export! c {:address (rsm/address (memories 0)) :size size :allow-rebind true})
          stop (AtomicBoolean.)
          writes (AtomicLong.)
          ;; each number is written to the segment, and must then be in it, until the next rebind
          writer (future
                   (loop [n 1, wrong 0]
                     (if (.get stop)
                       wrong
                       (do (rsm/put-bytes! ex 8 (byte-array 64 (unchecked-byte n)))
                           (.set writes n)
                           (recur (inc n)
                                  (if (some #{(rsm/get-byte ex 8)} [(unchecked-byte n) 0]) wrong (inc wrong)))))))]
      (dotimes [i 60]
        (rsm/fill! (memories (rem (inc i) 2)) 0 size 0)
        (rsm/rebind! ex {:memory (memories (rem (inc i) 2))})
        ;; on a busy machine all rebinds could be over before the writer has begun
        (when (zero? (rem i 5))
          (let [before (.get writes)]
            (is (eventually #(< before (.get writes))) "the writer goes on"))))
      (.set stop true)
      (let [wrong @writer]
        ;; between a write and the read after it, a rebind may bring the other memory, of zeros
        (is (zero? (long wrong))))
      (run! rsm/close! (cons ex memories)))))

(deftest another-process-sees-it-at-once
  (rsm/with-controller [c "loopback"]
    (child/with-child [child {}]
      (rsm/with-exported-segment [ex c {:size size :allow-rebind true}]
        (let [one (filled size 1), two (filled size 2)]
          (child/value child `(do (def im# nil)
                                  (def ~'im (rsm/connect! (rsm/get-controller nil) {:segment-id ~(rsm/segment-id ex)}))
                                  (def ~'m (rsm/map! ~'im))
                                  (rsm/address ~'m)))
          (doseq [[memory value] [[one 1] [two 2] [one 1]]]
            (rsm/rebind! ex {:memory memory})
            (is (= [value value] (child/value child '[(rsm/get-byte m 0) (rsm/get-byte m (dec (rsm/size m)))]))))
          (child/value child '(rsm/put-byte! m 100 77))
          (is (= 77 (rsm/get-byte one 100)))
          (is (nil? (failure (child/value child '(rsm/with-barrier [b im] (rsm/put8! im 101 78) nil)))) "no abort")
          (testing "also while it is stopped"
            (child/signal! child "STOP")
            (rsm/rebind! ex {:memory two})
            (child/signal! child "CONT")
            (is (= 2 (child/value child '(rsm/get-byte m 0)))))
          (child/value child '(rsm/close! im))
          (run! rsm/close! [ex one two]))))))
