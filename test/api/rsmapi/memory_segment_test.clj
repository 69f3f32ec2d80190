(ns rsmapi.memory-segment-test
  "memory-segment: what it shows, when it ends, and that a late access never faults. The tests that use it need JDK 22.
  What could crash the JVM runs in a child."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner])
  (:import (java.lang.ref WeakReference)
           (java.nio ByteBuffer)
           (java.nio.channels Pipe)
           (org.rsmapi.mem ForeignView Reclaim)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))

(def ^:private segments? (<= 22 (.feature (Runtime/version))))

(defn- there?
  "Whether there are memory segments; a test that needs them is skipped otherwise."
  [test-name]
  (or segments?
      (runner/skip! test-name "this JDK has no memory segments")))

(defn- foreign
  "Calls a function of rsmapi.test.foreign, which cannot be loaded before JDK 22."
  [f & args]
  (apply (requiring-resolve (symbol "rsmapi.test.foreign" (name f))) args))

(defn- call
  "The value of a function of this namespace, in a child."
  [f & args]
  (child/with-child [c {:label (name f) :jvm-opts ["--enable-native-access=ALL-UNNAMED"]}]
    (child/value c '(require 'rsmapi.memory-segment-test) 90000)
    (child/value c (list* (symbol "rsmapi.memory-segment-test" (name f)) args) 90000)))

(deftest errors
  (rsm/with-controller [c "loopback"]
    (let [ex  (rsm/export! c {:size size})
          im  (rsm/connect! c {:segment-id (rsm/segment-id ex)})
          own (rsm/allocate! size)
          write-only (rsm/map! im {:perm :write})
          tried #(let [r (outcome (rsm/memory-segment %))] (if (keyword? r) r :segment))]
      (is (= :rsm/perm-denied (tried write-only)))
      (is (re-find #"write-only" (:rsm/hint (error/catching (rsm/memory-segment write-only)))))
      (rsm/unmap! write-only)
      (is (= :rsm/seg-not-mapped (tried write-only)))
      (let [over (rsm/map! im {:over own :at page :length page :perm :write})]
        (is (= :rsm/perm-denied (tried own)) "a part of it is write-only")
        (rsm/unmap! over))
      (doseq [x [nil im c 1 "x" (byte-array 8) (ByteBuffer/allocate 8)]]
        (is (= :rsm/bad-seg-hndl (tried x))))
      (let [m (rsm/map! im)]
        (doseq [x [m ex own]]
          (is (= (if segments? :segment :rsm/ctlr-not-present) (tried x))))
        (when-not segments?
          (is (re-find #"JDK 22" (:rsm/hint (error/catching (rsm/memory-segment m))))))
        (rsm/unpublish! ex)
        (is (= :rsm/conn-aborted (tried m))))
      (run! rsm/close! [im ex own])
      (is (= [:rsm/bad-seg-hndl :rsm/bad-addr] [(tried ex) (tried own)])))))

(deftest what-it-shows
  (when (there? "what-it-shows")
    (rsm/with-controller [c "loopback"]
      (rsm/with-local-memory [own (- size 100)]
        (rsm/with-exported-segment [ex c {:size size}]
          (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
            (doseq [[memory read-only?] [[own false] [ex false]
                                         [(rsm/map! im {:offset page :length 1000}) false]]]
              (let [s (rsm/memory-segment memory)]
                (is (= {:size (rsm/size memory) :address (rsm/address memory) :read-only? read-only? :alive? true}
                       (foreign :properties s)))
                (is (identical? s (rsm/memory-segment memory)))
                (rsm/put-long! memory 8 42)
                (is (= 42 (foreign :get-long s 8)))
                (foreign :put-long! s 16 43)
                (is (= 43 (rsm/get-long memory 16)))))
            (is (= 43 (rsm/get-long ex (+ page 16))))
            (rsm/unmap! im)
            (testing "read-only"
              (rsm/with-mapped-segment [m im {:perm :read}]
                (is (:read-only? (foreign :properties (rsm/memory-segment m)))))
              (rsm/with-mapped-segment [_ im {:over own :at page :length page :perm :read}]
                (let [s (rsm/memory-segment own)]
                  (is (:read-only? (foreign :properties s)))
                  (rsm/put-long! ex 0 44)
                  (is (= 44 (foreign :get-long s page)))))
              (is (not (:read-only? (foreign :properties (rsm/memory-segment own)))) "writable again"))
            (testing "a mapping that allows everything"
              (let [s (rsm/memory-segment own)]
                (rsm/with-mapped-segment [_ im {:over own :at page :length page}]
                  (is (= 44 (foreign :get-long s page))))
                (is (= 0 (foreign :get-long s page)))
                (is (identical? s (rsm/memory-segment own)))))))))))

(defn endings
  "What late accesses give, by the way in which the memory ended."
  []
  (let [c (rsm/get-controller "loopback")
        export #(rsm/export! c {:size size :allow-rebind true})
        connect #(rsm/connect! c {:segment-id (rsm/segment-id %)})
        after (fn [memory end!] (vec (foreign :after memory end!)))
        mapped (fn [end!] (let [ex (export), im (connect ex), m (rsm/map! im)]
                            (after m #(end! ex im m))))
        own #(rsm/allocate! size)
        over (fn [perm] (let [o (own), im (connect (export))]
                          (after o #(rsm/map! im {:over o :at page :length page :perm perm}))))]
    {:unmap (mapped (fn [_ im _] (rsm/unmap! im)))
     :close (mapped (fn [_ _ m] (rsm/close! m)))
     :close-segment (mapped (fn [_ im _] (rsm/close! im)))
     :unpublish (mapped (fn [ex _ _] (rsm/unpublish! ex)))
     :destroy-exporter (mapped (fn [ex _ _] (rsm/destroy! ex)))
     :over-own (let [o (own), im (connect (export)), m (rsm/map! im {:over o})]
                 (after m #(rsm/unmap! im)))
     :implicit (let [im (connect (export))]
                 (rsm/get! im 0 (byte-array 8))
                 (after (rsm/mapping im) #(rsm/disconnect! im)))
     :destroy (let [ex (export)] (after ex #(rsm/destroy! ex)))
     :destroy-own (let [o (own), ex (rsm/create! c {:address (rsm/address o) :size size})]
                    (after ex #(rsm/destroy! ex)))
     :rebind (let [ex (export)] (after ex #(rsm/rebind! ex {:memory (own)})))
     :rebind-unpublished (let [ex (export)]
                           (rsm/unpublish! ex)
                           (after ex #(rsm/rebind! ex {:memory (own)})))
     :free (let [o (own)] (after o #(rsm/free! o)))
     :free-exported (let [o (own)]
                      (rsm/create! c {:address (rsm/address o) :size size})
                      (after o #(rsm/free! o)))
     :over-read (over :read)
     :over-write (over :write)}))

(deftest an-access-after-the-end
  (when (there? "an-access-after-the-end")
    (doseq [[how end] (call :endings)]
      (is (= ['IllegalStateException] end) how))))

(deftest after-a-rebind-there-is-another-one
  (when (there? "after-a-rebind-there-is-another-one")
    (rsm/with-controller [c "loopback"]
      (rsm/with-local-memory [own size]
        (rsm/put-long! own 0 5)
        (rsm/with-exported-segment [ex c {:size size :allow-rebind true}]
          (let [before (rsm/memory-segment ex)]
            (rsm/rebind! ex {:memory own})
            (is (= [false 5] [(foreign :alive? before) (foreign :get-long (rsm/memory-segment ex) 0)]))
            (testing "the same memory again changes nothing"
              (let [s (rsm/memory-segment ex)]
                (rsm/rebind! ex {:memory own})
                (is (identical? s (rsm/memory-segment ex)))))
            (testing "a new publication moves the memory, but not its address"
              (let [s (rsm/memory-segment ex)]
                (rsm/close! (rsm/connect! c {:segment-id (rsm/segment-id ex)}))
                (rsm/unpublish! ex)
                (foreign :put-long! s 0 6)
                (rsm/publish! ex {:segment-id 0})
                (is (= [6 6] [(foreign :get-long s 0) (rsm/get-long ex 0)]))))))))))

(deftest the-exporter-dies
  (when (there? "the-exporter-dies")
    (rsm/with-controller [c "loopback"]
      (child/with-child [exporter {}]
        (let [id (child/value exporter (list 'rsm/segment-id (list 'rsm/export! '(rsm/get-controller nil) {:size size})))]
          (rsm/with-imported-segment [im c {:segment-id id}]
            (let [s (rsm/memory-segment (rsm/map! im))]
              (foreign :put-long! s 0 42)
              (child/kill-9! exporter)
              (is (eventually (not (foreign :alive? s)))))))))))

;; -------------------------------------------------------- while threads use it

(defn while-threads-use-it
  "How threads end that use memory segments when these end, in so many rounds; and what the exporter keeps."
  [rounds]
  (let [c (rsm/get-controller "loopback")
        read-on (requiring-resolve 'rsmapi.test.foreign/read-on)
        write-on (requiring-resolve 'rsmapi.test.foreign/write-on)]
    (frequencies
     (for [round (range rounds)
           :let [ex  (rsm/export! c {:size size})
                 im  (rsm/connect! c {:segment-id (rsm/segment-id ex)})
                 own (rsm/allocate! size)
                 m   (rsm/map! im (if (even? round) {} {:over own}))
                 [memory end!] (case (long (mod round 5))
                                 0 [m #(rsm/unmap! im)]
                                 1 [m #(rsm/unpublish! ex)]
                                 2 [ex #(rsm/destroy! ex)]
                                 3 [own #(rsm/free! own)]
                                 4 [(do (rsm/unmap! im) own) #(rsm/map! im {:over own :perm :read})])
                 s (rsm/memory-segment memory)
                 threads (mapv #(future (% s)) [read-on write-on read-on write-on])]
           end (do (Thread/sleep 5)
                   (end!)
                   (let [ends (mapv #(deref % 20000 :late) threads)]
                     (run! rsm/close! [im ex own])
                     ends))]
       end))))

(deftest threads-that-use-it
  (when (there? "threads-that-use-it")
    (is (= {'IllegalStateException 400} (call :while-threads-use-it 100)))))

(defn while-io-uses-it
  "A read of a pipe into a memory's buffer is under way when the memory ends."
  []
  (let [c    (rsm/get-controller "loopback")
        ex   (rsm/export! c {:size size})
        im   (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        m    (rsm/map! im)
        at   (rsm/address m)
        ^ByteBuffer b (foreign :buffer m)
        pipe (Pipe/open)
        io   (Thread. #(.read (.source pipe) b))
        waiting #(= "RUNNABLE" (str (.getState io)))]
    (.start io)
    (eventually (and (waiting) (some (fn [^StackTraceElement e] (= "read0" (.getMethodName e))) (.getStackTrace io))))
    (rsm/unmap! m)
    (let [during {:waiting (ForeignView/waiting)
                  :late (foreign :after-buffer b)
                  :place (select-keys (error/catching (rsm/map! im {:attr :fixed :address at})) [:rsm/error :rsm/hint])}]
      (.write (.sink pipe) (doto (ByteBuffer/allocate 8) (.putLong 0 -1)))
      (.join io)
      (let [again (rsm/map! im {:attr :fixed :address at})
            after {:waiting (ForeignView/waiting) :late (foreign :after-buffer b)
                   :segment (rsm/get-long again 0)}]
        {:during during :after after}))))

(deftest io-that-uses-it
  (when (there? "io-that-uses-it")
    (let [{:keys [during after]} (call :while-io-uses-it)]
      (is (= 1 (:waiting during)))
      (is (= :rsm/bad-length (:rsm/error (:place during))))
      (is (re-find #"I/O operation" (str (:rsm/hint (:place during)))))
      (is (= {:waiting 0 :late 'IllegalStateException :segment 0} after)))))

;; ------------------------------------------------------------------ nothing is left

(defn- lost-mapping
  "The memory segment of a mapping that the program has lost, and a reference to the mapping."
  [im]
  (let [m (rsm/map! im)]
    [(rsm/memory-segment m) (WeakReference. m)]))

(deftest it-keeps-the-memory-reachable
  (when (there? "it-keeps-the-memory-reachable")
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size size}]
        (rsm/put-long! ex 0 42)
        (let [[s ^WeakReference m] (lost-mapping (rsm/connect! c {:segment-id (rsm/segment-id ex)}))]
          (dotimes [_ 5] (System/gc) (Reclaim/reap) (Thread/sleep 10))
          (is (= 42 (foreign :get-long s 0)))
          (is (some? (.get m))))
        (is (eventually (System/gc) (Reclaim/reap) (= 0 (rsm/importers ex))) "then both are lost")))))

(defn ends-and-losses
  "What is left after many memory segments that ended, and many that were lost."
  [n]
  (let [c (rsm/get-controller "loopback")
        ex (rsm/export! c {:size size})
        connect #(rsm/connect! c {:segment-id (rsm/segment-id ex)})
        round (fn []
                (let [im (connect)]
                  (dotimes [_ 10]
                    (let [m (rsm/map! im)]
                      (foreign :get-long (rsm/memory-segment m) 0)
                      (rsm/unmap! m)))
                  (rsm/close! im))
                (let [own (rsm/allocate! size)]
                  (foreign :put-long! (rsm/memory-segment own) 0 1)
                  (rsm/free! own))
                (WeakReference. (first (lost-mapping (connect)))))
        _ (round)
        before (child/belongings)
        lost (vec (repeatedly n round))]
    {:lost (eventually (System/gc) (Reclaim/reap)
                       (every? (fn [^WeakReference r] (nil? (.get r))) lost))
     :importers (eventually (System/gc) (Reclaim/reap) (zero? (rsm/importers ex)))
     :waiting (ForeignView/waiting)
     :left (eventually (System/gc) (Reclaim/reap) (<= (:mappings (child/belongings)) (:mappings before)))}))

(deftest nothing-is-left
  (when (there? "nothing-is-left")
    (is (= {:lost true :importers true :waiting 0 :left true} (call :ends-and-losses 200)))))
