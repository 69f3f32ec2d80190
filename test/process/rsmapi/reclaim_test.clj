(ns rsmapi.reclaim-test
  "What becomes of the address range of a mapping that has ended, and of one that nobody has
  ended; and the system calls behind it, by either way."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.outcome :refer [code outcome]])
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

;; -------------- memory that is written to when it has ended, in a JVM of its own

(def ^:private long-range "Bytes that take several pieces, and some milliseconds, to write." (* 48 1024 1024))
(def ^:private bound "What may stay, in kB: less than one round leaves if its pages are not given back." 12000)

(defn anonymous-memory
  "What this process has of anonymous memory, in kB."
  []
  (Long/parseLong (second (re-find #"RssAnon:\s+(\d+)" (child/proc "self" "status")))))

(defn- write-until-it-ends
  "Calls a function again and again on another thread, until it fails. Returns a future of how."
  [write!]
  (let [under-way (promise)
        result    (future (try
                            (loop []
                              (deliver under-way true)
                              (write!)
                              (recur))
                            (catch Exception e (or (:rsm/error (ex-data e)) (str e)))))]
    @under-way
    result))

(def ^:private source (delay (rsm/allocate! long-range)))
(def ^:private array (delay (byte-array (quot long-range 2))))
(def ^:private direct (delay (java.nio.ByteBuffer/allocateDirect (quot long-range 2))))

(defn- writes
  "Ways to fill a memory."
  [m]
  [#(rsm/fill! m 0 long-range 1)
   #(rsm/copy! @source 0 m 0 long-range)
   #(rsm/put-bytes! m 0 @array)
   #(rsm/put-buffer! m 0 (.duplicate ^java.nio.ByteBuffer @direct))])

(defn- import-writes [im]
  [#(rsm/put! im 0 @source 0 long-range)
   #(rsm/put! im 0 @array)
   #(rsm/put! im 0 (.duplicate ^java.nio.ByteBuffer @direct))
   #(rsm/putv! {:segment im :iovec [{:local @source :length long-range}]})])

(def ^:private kept "What must not be collected meanwhile." (atom []))

(defn- keep! [x] (swap! kept conj x) x)

(defn- rounds
  "For each way to write: makes something, writes to it until it fails, and ends it meanwhile. What
  failures there were, and how many kB of anonymous memory more there are than before. There is no
  collection of garbage that could give back an address range: everything is kept."
  [ways]
  (run! deref [source array direct])
  (dotimes [_ 5] ; so that what the JVM needs for it is there
    (rsm/with-local-memory [m long-range]
      (run! #(%) (writes m))))
  (let [before (anonymous-memory)
        failures (vec (for [{:keys [write! end!]} (map #(%) ways)]
                        (let [writing (write-until-it-ends write!)]
                          (Thread/sleep (long (rand-int 20))) ; anywhere in the range
                          (end!)
                          (deref writing 20000 :late))))]
    [failures (- (long (anonymous-memory)) (long before))]))

(defn rounds-of-own-ends
  "unmap!, free! and destroy!."
  []
  (let [c  (keep! (rsm/get-controller "loopback"))
        ex (keep! (rsm/export! c {:size long-range}))
        connect #(keep! (rsm/connect! c {:segment-id (rsm/segment-id ex)}))
        ways    (fn [make writes end!]
                  (for [i (range (count (writes nil)))]
                    (fn [] (let [x (keep! (make))]
                             {:write! (nth (writes x) i) :end! #(end! x)}))))]
    (into {}
          (for [[k make writes end!] [[:unmap! #(rsm/map! (connect)) writes rsm/unmap!]
                                      [:free! #(rsm/allocate! long-range) writes rsm/free!]
                                      [:destroy! #(rsm/create! c {:size long-range}) writes rsm/destroy!]
                                      [:get #(rsm/allocate! long-range)
                                       (let [im (connect)] (fn [m] [#(rsm/get! im 0 m 0 long-range)])) rsm/free!]]]
            [k (rounds (ways make writes end!))]))))

(defn rounds-of-revocation
  "The exporter's unpublish!, of segments with these ids; it unpublishes one when that is
  signalled."
  [ids]
  (let [c    (keep! (rsm/get-controller "loopback"))
        ways (map-indexed (fn [i id]
                            (fn []
                              (let [im (keep! (rsm/connect! c {:segment-id id}))]
                                {:write! (if (< (long i) 4)
                                           (nth (writes (rsm/map! im)) i)
                                           (nth (import-writes im) (- (long i) 4)))
                                 :end! #(rsm/signal-post! im)})))
                          ids)]
    (rounds ways)))

(defn fill-after-the-end
  "Fills ranges that have ended, as a compiled loop does which has checked before. kB of anonymous
  memory that it has taken, and what of it is left when the library has been used again later."
  []
  (let [n  (* 64 1024 1024)
        c  (keep! (rsm/get-controller "loopback"))
        ex (keep! (rsm/export! c {:size n}))
        im #(keep! (rsm/connect! c {:segment-id (rsm/segment-id ex)}))
        m  (keep! (rsm/map! (im)))
        fixed (keep! (rsm/map! (im) {:address 0x100000000000 :attr :fixed}))
        own   (keep! (rsm/allocate! n))
        other (keep! (rsm/create! c {:size n}))
        where (mapv rsm/address [m fixed own other])
        before (anonymous-memory)]
    (run! rsm/close! [m fixed own other])
    (doseq [address where]
      (.fill org.rsmapi.mem.Engine/ENGINE (long address) (long n) (byte 1)))
    (let [taken (- (long (anonymous-memory)) (long before))
          left  #(- (long (anonymous-memory)) (long before))]
      (eventually (Reclaim/reap) (< (long (left)) 40000)) ; the JVM itself may have grown a little
      [taken (left)])))

(deftest what-is-written-after-the-end-does-not-stay
  (child/with-child [c {:label "ending"}]
    (child/value c '(require 'rsmapi.reclaim-test) 90000)
    (testing "when this process ends it"
      (doseq [[k [failures left]] (child/value c `(rounds-of-own-ends) 60000)]
        (testing (name k)
          (is (= #{(case k :unmap! :rsm/seg-not-mapped (:free! :get) :rsm/bad-addr :destroy! :rsm/bad-seg-hndl)}
                 (set failures)))
          (is (< (long left) (long bound))))))
    (testing "when the exporter revokes it"
      (rsm/with-controller [loopback "loopback"]
        (let [segments (vec (repeatedly 8 #(rsm/export! loopback {:size long-range})))]
          (try
            (let [ending (doall (for [ex segments]
                                  (future (rsm/signal-wait! ex {:timeout-ms 60000})
                                          (rsm/unpublish! ex))))
                  [failures left] (child/value c `(rounds-of-revocation ~(mapv rsm/segment-id segments)) 60000)]
              (run! deref ending)
              (is (= #{:rsm/conn-aborted} (set failures)))
              (is (< (long left) (long bound))))
            (finally (run! rsm/close! segments))))))
    (testing "also where nothing is checked: later"
      (let [[taken left] (child/value c `(fill-after-the-end) 60000)]
        (is (< 240000 (long taken)))
        ;; one range alone has 65536
        (is (< (long left) 55000))))))
