(ns rsmapi.own-memory-test
  "Memory of the caller's that is exported: what may be, how long it exists, and what two segments
  over the same memory do to each other."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.outcome :refer [outcome]]
            [rsmapi.runner :as runner])
  (:import (java.lang.reflect Method)
           (java.nio ByteBuffer MappedByteBuffer)
           (java.nio.channels FileChannel FileChannel$MapMode)
           (java.nio.file OpenOption StandardOpenOption)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))

;; ------------------------------------------------------------------ arenas
;; java.lang.foreign by reflection: it is final from JDK 22 on

(def ^:private arenas? (<= 22 (.feature (Runtime/version))))

(defn- invoke [class-name method target & args]
  (let [^Method m (->> (.getMethods (Class/forName (str "java.lang.foreign." class-name)))
                       (filter #(and (= method (.getName ^Method %))
                                     (= (count args) (.getParameterCount ^Method %))))
                       first)]
    (.invoke m target (to-array args))))

(defn- arena [kind] (invoke "Arena" kind nil))

(defn- buffer-of ^ByteBuffer [arena]
  (invoke "MemorySegment" "asByteBuffer" (invoke "Arena" "allocate" arena (long size) (long page))))

(defn- close-arena! [arena] (invoke "Arena" "close" arena))

(deftest memory-of-arenas
  (if-not arenas?
    (runner/skip! "memory-of-arenas" "this JDK has no java.lang.foreign")
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size size :allow-rebind true}]
        (let [refused? #(and (= :rsm/bad-addr (outcome (rsm/close! (rsm/create! c {:buffer %}))))
                             (= :rsm/bad-addr (outcome (rsm/rebind! ex {:buffer %}))))]
          (testing "closed"
            (doseq [kind ["ofShared" "ofConfined"]]
              (let [a (arena kind), b (buffer-of a)]
                (close-arena! a)
                (is (refused? b) kind)
                (is (refused? (.duplicate b)) kind)
                (is (= :rsm/bad-addr (outcome (rsm/create-localmemory-handle! c b))) kind))))
          (testing "that another thread could close while importers use the memory"
            (doseq [kind ["ofShared" "ofConfined"]]
              (let [a (arena kind), b (buffer-of a)]
                (is (refused? b) kind)
                (is (refused? (.slice b 0 (int page))) kind)
                (close-arena! a))))
          (testing "of another thread"
            (let [a (promise), done (promise)
                  t (Thread. #(let [mine (arena "ofConfined")]
                                (deliver a (buffer-of mine))
                                @done
                                (close-arena! mine)))]
              (.start t)
              (is (refused? @a))
              (deliver done true)
              (.join t)))
          (testing "that nobody closes"
            (doseq [kind ["ofAuto" "global"]]
              (let [b (buffer-of (arena kind))]
                (rsm/with-exported-segment [own c {:buffer b}]
                  (rsm/put-long! own 8 42)
                  (is (= 42 (.getLong (.order b (java.nio.ByteOrder/nativeOrder)) 8)) kind))))))))))

(deftest other-buffers
  (rsm/with-controller [c "loopback"]
    (let [direct (.alignedSlice (ByteBuffer/allocateDirect (+ size page)) (int page))]
      (doseq [b [direct (.slice direct 0 (int page)) (.duplicate direct)]]
        (rsm/with-exported-segment [ex c {:buffer (.limit ^ByteBuffer b (int (* page (quot (.capacity ^ByteBuffer b) page))))}]
          (is (some? ex))))
      (testing "a private mapping of a file"
        (let [file (java.io.File/createTempFile "rsmapi" ".data")]
          (with-open [ch (FileChannel/open (.toPath file) (into-array OpenOption [StandardOpenOption/READ StandardOpenOption/WRITE]))]
            (.write ch (ByteBuffer/allocate size) 0)
            (let [^MappedByteBuffer b (.map ch FileChannel$MapMode/PRIVATE 0 size)]
              (rsm/with-exported-segment [ex c {:buffer b}]
                (rsm/put-byte! ex 3 7)
                (is (= 7 (.get b 3))))))
          (.delete file))))))

;; --------------------------------------------------- memory by its address

(deftest freed-memory-where-any-address-is-allowed
  (child/with-child [child {:jvm-opts ["-Drsmapi.foreign-memory=allow"]}]
    (child/value child
      (list 'do
            '(require 'rsmapi.outcome)
            '(def c (rsm/get-controller nil))
            (list 'def 'size size)
            '(defn tried [address]
               (rsmapi.outcome/outcome (rsm/close! (rsm/create! c {:address address :size size}))))))
    (testing "memory of allocate!"
      (is (= [nil :rsm/bad-addr]
             (child/value child '(let [m (rsm/allocate! size)
                                       address (rsm/address m)
                                       before (tried address)]
                                   (rsm/free! m)
                                   [before (tried address)])))))
    (testing "memory of a segment, and of a mapping, before and after their end"
      (is (= (repeat 4 :rsm/bad-addr)
             (child/value child '(let [ex (rsm/export! c {:size size})
                                       im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
                                       m  (rsm/map! im)
                                       places [(rsm/address ex) (rsm/address m)]
                                       before (mapv tried places)]
                                   (run! rsm/close! [m im ex])
                                   (into before (map tried places)))))))
    (testing "a part of such memory"
      (is (= :rsm/bad-addr
             (child/value child '(let [m (rsm/allocate! (* 4 size))
                                       address (rsm/address m)]
                                   (rsm/free! m)
                                   (tried (+ address size)))))))
    (testing "memory that is the caller's"
      (is (nil? (child/value child '(let [block (com.sun.jna.Native/malloc (* 2 size))
                                          at (* (rsm/page-size) (inc (quot block (rsm/page-size))))]
                                      (tried at))))))))

;; ---------------------------------------------- two segments, one memory

(deftest the-end-of-one-publication-and-importers-of-another
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [mine size]
      (let [export #(rsm/export! c {:address (rsm/address mine) :size size})
            import #(rsm/connect! c (merge {:segment-id (rsm/segment-id %1)} %2))]
        (testing "one that has had no importer, or none with memory"
          (doseq [end! [rsm/unpublish! rsm/destroy!], with-import? [false true]]
            (let [a (export), b (export)
                  im (import b nil)
                  m (rsm/map! im)]
              (when with-import?
                (rsm/close! (import a {:perm :none})))
              (rsm/put-long! b 0 1)
              (end! a)
              (rsm/put-long! b 0 2)
              (is (= 2 (rsm/get-long m 0)) "still the same memory")
              (is (not (rsm/aborted? im)))
              (run! rsm/close! [im a b]))))
        (testing "one whose memory was given to an importer, also if that is gone"
          (let [a (export), b (export)
                im (import b nil)]
            (rsm/close! (import a nil))
            (rsm/unpublish! a)
            (is (rsm/aborted? im))
            (run! rsm/close! [im a b])))))))
