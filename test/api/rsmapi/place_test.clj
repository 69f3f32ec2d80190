(ns rsmapi.place-test
  "The places of mappings that were closed, and of other memory that was: they can be used again at
  once, although the closed objects are still reachable, and without a garbage collection; and no
  thread that used the closed memory reaches what is there next."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner])
  (:import (org.rsmapi LocalMemory Mapping)
           (org.rsmapi.mem Reclaim)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private fixed 0x100000000000)
(def ^:private kept "Closed objects that stay reachable." (atom []))

(defn- keep! [x] (swap! kept conj x) x)

(defn- segment [c ^long value]
  (let [ex (keep! (rsm/export! c {:size (* 4 page)}))]
    (rsm/put-long! ex 0 value)
    ex))

(defn- connect! [c ex] (keep! (rsm/connect! c {:segment-id (rsm/segment-id ex)})))

;; ------------------------------------------- in a JVM that has no explicit collections

(defn again-and-again
  "Uses each kind of place for one thing after the other. What was read through each new use, whether
  it was written where it belongs, and what the closed uses say."
  []
  (let [c      (rsm/get-controller "loopback")
        own    (rsm/allocate! (* 4 page))
        values (range 1 6)
        use!   (fn [value take! end!]
                 (let [m (keep! (take! value))
                       seen (rsm/get-long m 0)]
                   (end! m)
                   [seen (outcome (rsm/get-long m 0))]))
        import! (fn [options]
                  (fn [value] (rsm/map! (connect! c (segment c value)) options)))]
    (into {}
          (for [[k take! end!]
                [[:fixed (import! {:attr :fixed :address fixed}) rsm/close!]
                 [:over (import! {:over own}) rsm/close!]
                 [:over-a-part (fn [^long value]
                                 ((import! (if (odd? value) {:over own} {:over own :at page :length page})) value))
                  rsm/close!]
                 [:over-then-exported (fn [^long value]
                                        (let [m ((import! {:over own}) 0)]
                                          (rsm/close! m)
                                          (rsm/put-long! own 0 value)
                                          (rsm/create! c {:address (rsm/address own) :size (* 4 page)})))
                  rsm/destroy!]
                 [:over-then-rebound (fn [^long value]
                                       (let [ex (keep! (rsm/create! c {:size (* 4 page) :allow-rebind true}))]
                                         (rsm/close! ((import! {:over own}) 0))
                                         (rsm/put-long! own 0 value)
                                         (rsm/rebind! ex {:memory own})
                                         ex))
                  rsm/destroy!]
                 [:anywhere-then-fixed (fn [value]
                                         (let [m (keep! ((import! {}) 0))]
                                           (rsm/close! m)
                                           ((import! {:attr :fixed :address (rsm/address m)}) value)))
                  rsm/close!]
                 [:allocated-then-fixed (fn [value]
                                          (let [^LocalMemory m (keep! (rsm/allocate! (* 4 page)))]
                                            (rsm/free! m)
                                            ((import! {:attr :fixed :address (.address m)}) value)))
                  rsm/close!]
                 [:created-then-fixed (fn [value]
                                        (let [ex (keep! (rsm/create! c {:size (* 4 page)}))
                                              where (rsm/address ex)]
                                          (rsm/destroy! ex)
                                          ((import! {:attr :fixed :address where}) value)))
                  rsm/close!]]]
            [k (try
                 (mapv #(use! % take! end!) values)
                 (catch Exception e (str e)))]))))

(deftest what-is-written-to-local-memory-after-an-unmap-stays
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [own (* 4 page)]
      (rsm/with-exported-segment [ex c {:size (* 4 page)}]
        (let [before (Reclaim/waiting)]
          (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
            (rsm/unmap! (rsm/map! im {:over own})))
          (rsm/put-long! own 0 42)
          (is (eventually (System/gc) (Reclaim/reap) (<= (Reclaim/waiting) before)))
          (is (= 42 (rsm/get-long own 0))))))))

(def ^:private without-collections
  {"no explicit collections" ["-XX:+DisableExplicitGC"]
   "no collections at all" ["-XX:+UnlockExperimentalVMOptions" "-XX:+UseEpsilonGC" "-Xmx1g"]})

(deftest a-place-is-used-again
  (doseq [[label options] without-collections]
    (testing label
      (child/with-child [c {:label label :jvm-opts options}]
        (child/value c '(require 'rsmapi.place-test) 90000)
        (let [seen (child/value c `(again-and-again) 60000)]
          (is (= 8 (count seen)))
          (doseq [[k uses] seen]
            (is (= (for [v (range 1 6)]
                     [v (if (#{:over-then-exported :over-then-rebound} k) :rsm/bad-seg-hndl :rsm/seg-not-mapped)])
                   uses)
                k)))))))

;; ----------------------------------------------------------------- while threads use it

(defn- write-on ^long [^Mapping m ^long n]
  (loop [i 0]
    (if (< i n)
      (do (rsm/put-long! m 0 i)
          (recur (inc i)))
      i)))

(defn- write-some [^Mapping m]
  (rsm/put-bytes! m 8 (byte-array 64 (byte 1)))
  (rsm/put-int! m 80 1))

(defn- warm-up! [c ex]
  (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
    (rsm/with-mapped-segment [m im {}]
      (dotimes [_ 5] (write-on m 1000000))
      (dotimes [_ 20000] (write-some m)))))

(defn- writers
  "Threads that write to a mapping until that fails: one by a loop that is compiled without a check in
  it, one by many calls. `start` runs each. Promises of how they end."
  [m start]
  (vec (for [write! [#(write-on m Long/MAX_VALUE) #(loop [] (write-some m) (recur))]]
         (let [end (promise)]
           (start #(deliver end (outcome (write!))))
           end))))

(defn- start-platform [f]
  (doto (Thread. ^Runnable f) (.setDaemon true) (.start)))

(defn- start-virtual [f]
  (.invoke (.getMethod Thread "startVirtualThread" (into-array Class [Runnable])) nil (object-array [f])))

(defn- waits-for-the-last-write
  "The first word of a memory changes no more."
  [m]
  (eventually (let [before (rsm/get-long m 0)]
                (Thread/sleep 5)
                (= before (rsm/get-long m 0)))))

(defn while-threads-write
  "Maps a second segment over the same place while threads write to the first mapping there. How many
  of the writers' values were found in the second one, and how the writers ended."
  []
  (let [c     (rsm/get-controller "loopback")
        own   (rsm/allocate! (* 4 page))
        ex    (segment c 0)
        other (segment c -1)]
    (warm-up! c ex)
    (loop [round 0, stray 0, ends #{}]
      (if (= round 8)
        [stray ends]
        (let [m  (keep! (rsm/map! (connect! c ex) {:over own}))
              es (writers m start-platform)
              _  (Thread/sleep 60)
              _  (rsm/close! m)
              n  (keep! (rsm/map! (connect! c other) {:over own}))
              strays (loop [i 0, strays 0]
                       (if (< i 300)
                         (let [stray? (or (not= -1 (rsm/get-long n 0)) (not= 0 (rsm/get-int n 80)))]
                           (when stray? (rsm/put-long! n 0 -1) (rsm/put-int! n 80 0))
                           (Thread/sleep 0 100000)
                           (recur (inc i) (if stray? (inc strays) strays)))
                         strays))
              how (map #(deref % 5000 :late) es)]
          (rsm/close! n)
          (recur (inc round) (+ stray (long strays)) (into ends how)))))))

(deftest threads-that-use-the-closed-mapping
  (child/with-child [c {:label "writing" :jvm-opts ["-XX:+DisableExplicitGC"]}]
    (child/value c '(require 'rsmapi.place-test) 90000)
    (is (= [0 #{:rsm/seg-not-mapped}] (child/value c `(while-threads-write) 60000)))))

;; --------------------------------------------------------------------- virtual threads

(defn- over-again
  "How it ends to map over the place of a mapping that was closed: the data, or a value that was read."
  [c own]
  (rsm/close! (keep! (rsm/map! (connect! c (segment c 1)) {:over own})))
  (error/catching
    (let [m (keep! (rsm/map! (connect! c (segment c 2)) {:over own}))]
      (try (rsm/get-long m 0) (finally (rsm/close! m))))))

(defn beside-virtual-threads []
  (let [c       (rsm/get-controller "loopback")
        busy?   (atom true)
        release (promise)
        at      (promise)
        on-virtual (fn [f] (let [p (promise)] (start-virtual #(deliver p (f))) (deref p 20000 :late)))]
    (dotimes [_ 10] (start-virtual #(deref release)))
    {:waiting (over-again c (rsm/allocate! (* 4 page)))
     :on-one  (on-virtual #(over-again c (rsm/allocate! (* 4 page))))
     :busy    (let [own (rsm/allocate! (* 4 page))]
                (start-virtual #(do (deliver at true) (while @busy? (Thread/onSpinWait))))
                @at
                (let [failure (over-again c own)]
                  (reset! busy? false)
                  (select-keys failure [:rsm/error :rsm/hint])))
     :then    (over-again c (rsm/allocate! (* 4 page)))}))

(deftest virtual-threads
  (if (< (.feature (Runtime/version)) 21)
    (runner/skip! "virtual-threads" "this JDK has no virtual threads")
    (child/with-child [c {:label "virtual" :jvm-opts ["-XX:+DisableExplicitGC"]}]
      (child/value c '(require 'rsmapi.place-test) 90000)
      (let [seen (child/value c `(beside-virtual-threads) 60000)]
        (is (= [2 2 2] (map seen [:waiting :on-one :then])))
        (is (= :rsm/bad-length (:rsm/error (:busy seen))) "a thread may be using the place, and no collection tells")
        (is (str/includes? (str (:rsm/hint (:busy seen))) "DisableExplicitGC"))))))
