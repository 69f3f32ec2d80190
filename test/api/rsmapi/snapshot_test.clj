(ns rsmapi.snapshot-test
  "What is beyond the RSMAPI: snapshots, atomics with less order, and what create! can ask of
  memory."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner])
  (:import (java.util.concurrent.atomic AtomicBoolean AtomicLong)
           (org.rsmapi ExportSegment RsmException)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

;; --------------------------------------------------------------- snapshots

(defn- uniform? [bytes] (apply = (seq bytes)))

(deftest a-snapshot-is-whole
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (rsm/with-imported-segment [ro c {:segment-id (rsm/segment-id ex) :perm :read}]
          (let [m (rsm/map! im), r (rsm/map! ro)
                stop (AtomicBoolean.)
                written (AtomicLong.)
                writer (fn [memory]
                         (future (loop [n 1]
                                   (when-not (.get stop)
                                     (rsm/write-snapshot! memory (byte-array 1000 (unchecked-byte n)) {:timeout-ms 10000})
                                     (.incrementAndGet written)
                                     (recur (inc n))))))
                writers [(writer ex) (writer m)]
                reads (mapv (fn [memory]
                              (future (let [end (+ (System/nanoTime) 1500000000)]
                                        (loop [n 0, torn 0, seen #{}]
                                          (if (neg? (- end (System/nanoTime)))
                                            {:reads n :torn torn :seen (count seen)}
                                            (let [bytes (rsm/read-snapshot memory {:length 1000 :timeout-ms 10000})]
                                              (recur (inc n)
                                                     (if (uniform? bytes) torn (inc torn))
                                                     (conj seen (first bytes)))))))))
                            [r ex])
                results (mapv deref reads)]
            (.set stop true)
            (run! deref writers)
            (doseq [{:keys [torn seen]} results]
              (is (zero? (long torn)))
              (is (< 1 (long seen)) "there were writes between the reads"))
            (is (= (* 2 (.get written)) (rsm/get-long ex 0)) "no write is lost: each adds two")))))))

(deftest the-detector-sees-torn-reads
  ;; the same without a snapshot: some reads are torn, so the test above could have failed
  (rsm/with-local-memory [m page]
    (let [stop (AtomicBoolean.)
          writer (future (loop [n 1]
                           (when-not (.get stop)
                             (rsm/put-bytes! m 8 (byte-array 4000 (unchecked-byte n)))
                             (recur (inc n)))))
          torn (loop [n 0]
                 (cond (not (uniform? (rsm/get-bytes m 8 4000))) true
                       (= n 200000) false
                       :else (recur (inc n))))]
      (.set stop true)
      @writer
      (is torn))))

(deftest what-the-reader-throws
  (rsm/with-local-memory [m page]
    (doseq [^Throwable failure [(java.io.IOException. "half") (Exception. "half") (AssertionError. "half")
                                (StackOverflowError. "half") (RuntimeException. "half")]]
      (testing "of what is half written does not count"
        (let [calls (atom 0)]
          (is (= :whole (rsm/read-snapshot m {:read (fn [memory]
                                                      (if (= 1 (swap! calls inc))
                                                        (do (rsm/write-snapshot! memory (byte-array 8 (byte 1)))
                                                            (throw failure))
                                                        :whole))})))
          (is (= 2 @calls))))
      (testing "of what is whole is thrown as it is"
        (is (identical? failure (try (rsm/read-snapshot m {:read (fn [_] (throw failure))})
                                     (catch Throwable t t))))))))

(deftest snapshot-arguments
  (rsm/with-local-memory [m 100]
    (is (= 2 (rsm/write-snapshot! m (byte-array [1 2 3]))))
    (is (= 4 (rsm/write-snapshot! m (byte-array [4 5]) {:version 0 :offset 8})))
    (is (= [4 5 3] (vec (rsm/read-snapshot m {:length 3}))))
    (is (= 92 (count (rsm/read-snapshot m))))
    (is (= 5 (rsm/read-snapshot m {:read (fn [memory] (rsm/get-byte memory 9))})))
    (is (= 2 (rsm/write-snapshot! m (byte-array 8) {:version 16 :offset 24})))
    (doseq [[error f] [[:rsm/bad-offset #(rsm/read-snapshot m {:offset 0 :length 8})]
                       [:rsm/bad-offset #(rsm/write-snapshot! m (byte-array 9) {:version 16 :offset 8})]
                       [:rsm/bad-offset #(rsm/read-snapshot m {:length 93})]
                       [:rsm/bad-offset #(rsm/write-snapshot! m (byte-array 93))]
                       [:rsm/bad-offset #(rsm/read-snapshot m {:version -8})]
                       [:rsm/bad-offset #(rsm/read-snapshot m {:version 96 :offset 0 :length 8})]
                       [:rsm/bad-mem-alignment #(rsm/read-snapshot m {:version 4 :offset 16 :length 4})]
                       [:rsm/bad-length #(rsm/read-snapshot m {:length -1})]
                       [:rsm/bad-addr #(rsm/write-snapshot! m [1 2 3])]
                       [:rsm/bad-args-errors #(rsm/read-snapshot m {:read 5})]
                       [:rsm/bad-seg-hndl #(rsm/read-snapshot nil)]]]
      (is (= error (outcome (f)))))
    (is (= 4 (rsm/get-long m 0)) "nothing was begun")
    (testing "a reader's own failure is told when it has seen a whole"
      (is (thrown-with-msg? Exception #"mine" (rsm/read-snapshot m {:read (fn [_] (throw (ex-info "mine" {})))}))))
    (testing "somebody has died while writing"
      (rsm/put-long! m 0 5)
      (is (= :rsm/timeout (outcome (rsm/read-snapshot m {:length 3 :timeout-ms 20}))))
      (is (= :rsm/timeout (outcome (rsm/write-snapshot! m (byte-array 3) {:timeout-ms 0}))))
      (let [waiting (Thread. ^Runnable (fn [] (outcome (rsm/read-snapshot m))))
            result (promise)
            waiting (Thread. ^Runnable #(deliver result (outcome (rsm/read-snapshot m))))]
        (.start waiting)
        (.interrupt waiting)
        (is (= :rsm/interrupted (deref result 30000 :late)))))))

(deftest snapshots-and-permissions
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (rsm/with-mapped-segment [m im {:perm :read}]
          (is (= :rsm/perm-denied (outcome (rsm/write-snapshot! m (byte-array 8))))))
        (let [m (rsm/map! im)]
          (rsm/unpublish! ex)
          (is (= :rsm/conn-aborted (outcome (rsm/read-snapshot m))))
          (is (= :rsm/conn-aborted (outcome (rsm/write-snapshot! m (byte-array 8))))))))))

;; ----------------------------------------------------------------- atomics

(def ^:private adders
  {:int  [[rsm/get-and-add-int! rsm/get-and-add-int-acquire! rsm/get-and-add-int-release!]
          [rsm/compare-and-set-int! rsm/compare-and-set-int-acquire! rsm/compare-and-set-int-release!]
          rsm/get-int-volatile]
   :long [[rsm/get-and-add-long! rsm/get-and-add-long-acquire! rsm/get-and-add-long-release!]
          [rsm/compare-and-set-long! rsm/compare-and-set-long-acquire! rsm/compare-and-set-long-release!]
          rsm/get-long-volatile]})

(deftest atomics-of-every-order-lose-nothing
  (rsm/with-local-memory [m page]
    (doseq [[type [adds sets get]] adders]
      (testing type
        (rsm/fill! m 0 page 0)
        (run! deref (for [add adds, _ (range 2)]
                      (future (dotimes [_ 20000] (add m 0 1)))))
        (is (= 120000 (get m 0)))
        (run! deref (for [cas sets, _ (range 2)]
                      (future (dotimes [_ 5000]
                                (loop []
                                  (let [now (get m 8)]
                                    (when-not (cas m 8 now (inc (long now)))
                                      (recur))))))))
        (is (= 30000 (get m 8)))
        (doseq [cas sets]
          (is (false? (cas m 8 1 2)))
          (is (= 30000 (get m 8)))
          (is (= :rsm/bad-mem-alignment (outcome (cas m 1 1 2)))))
        (doseq [add adds]
          (is (= :rsm/bad-offset (outcome (add m page 1))))
          (is (= :rsm/bad-mem-alignment (outcome (add m 2 1)))))))))

;; ------------------------------------------------------- options of create!

(defn- smaps
  "The fields of the mapping that starts at an address, in KiB, as the kernel tells them."
  [address]
  (let [head (str (Long/toHexString address) "-")]
    (->> (str/split-lines (child/proc "self/smaps"))
         (drop-while #(not (str/starts-with? % head)))
         rest
         (take-while #(re-find #"^[A-Z]\w+:" %))
         (keep #(re-matches #"(\w+):\s+(\d+) kB" %))
         (into {} (map (fn [[_ k v]] [(keyword k) (parse-long v)]))))))

(deftest memory-that-is-there
  (rsm/with-controller [c "loopback"]
    (let [size (* 64 page)]
      (rsm/with-exported-segment [ex c {:size size}]
        (is (= 0 (:Rss (smaps (rsm/address ex)))) "pages come at first access"))
      (rsm/with-exported-segment [ex c {:size size :prefault true}]
        (is (= (quot size 1024) (:Rss (smaps (rsm/address ex))))))
      (rsm/with-exported-segment [ex c {:size size :lock true}]
        (is (= (quot size 1024) (:Locked (smaps (rsm/address ex))))))
      (rsm/with-local-memory [own size]
        (rsm/put-long! own 0 5)
        (rsm/with-exported-segment [ex c {:address (rsm/address own) :size size :lock true :prefault true}]
          (is (= (quot size 1024) (:Locked (smaps (rsm/address own)))))
          (is (= 5 (rsm/get-long ex 0))))))))

(deftest huge-pages
  (let [huge (ExportSegment/hugePageSize)]
    (rsm/with-controller [c "loopback"]
      (if (zero? huge)
        (is (= :rsm/insufficient-resources (outcome (rsm/create! c {:size page :huge-pages true}))))
        (do
          (is (= :rsm/bad-mem-alignment (outcome (rsm/create! c {:size page :huge-pages true}))))
          (let [made (try (rsm/create! c {:size (* 2 huge) :huge-pages true})
                          (catch RsmException e (ex-data e)))]
            (if (map? made)
              (is (= [:rsm/insufficient-resources :export-create true true]
                     ((juxt :rsm/error :rsm/op (comp int? :rsm/errno) (comp string? :rsm/hint)) made))
                  "the system has refused, and that is said")
              (with-open [^ExportSegment ex made]
                (rsm/fill! ex 0 (* 2 huge) 7)
                (is (= (quot (* 2 huge) 1024) (:ShmemPmdMapped (smaps (rsm/address ex)))))
                (let [id (rsm/publish! ex)]
                  (rsm/with-imported-segment [im c {:segment-id id}]
                    (rsm/with-mapped-segment [m im]
                      (is (= 7 (rsm/get-byte m (dec (* 2 huge)))) "importers need not know")
                      (rsm/unpublish! ex)
                      (is (= 7 (rsm/get-byte ex (dec (* 2 huge)))))))
                  (rsm/publish! ex {:segment-id 0})
                  (is (= 7 (rsm/get-byte ex huge)) "after it has moved twice"))))))))))

(deftest what-the-system-refuses
  ;; a child that may lock nothing
  (let [opts {:uid 2001 :gid 2001 :prefix ["sh" "-c" "ulimit -l 0 && exec \"$@\"" "sh"]}]
    (if-let [obstacle (child/obstacle opts)]
      (runner/skip! "mlock" obstacle)
      (child/with-child [c opts]
        (is (= {:rsm/error :rsm/insufficient-mem :rsm/system-call "mlock"}
               (select-keys (:error (child/ask c '(rsm/create! (rsm/get-controller nil) {:size 65536 :lock true})))
                            [:rsm/error :rsm/system-call])))
        (is (= {:mappings 0} (child/value c '(do (require 'rsmapi.test.child)
                                                 (rsm/close! (rsm/get-controller nil))
                                                 (select-keys (rsmapi.test.child/belongings) [:mappings]))))
            "nothing is left of it")))))
