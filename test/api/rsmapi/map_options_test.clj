(ns rsmapi.map-options-test
  "The options of map! for memory that is ready: :prefault, :lock and :huge-pages."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner])
  (:import (org.rsmapi ExportSegment RsmException)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 64 page))
(def ^:private kib (quot size 1024))

(defn- smaps
  "The fields of the mapping in which an address lies, in KiB, as the kernel tells them."
  [^long address]
  (let [head #(re-find #"^([0-9a-f]+)-([0-9a-f]+) " %)
        in? (fn [line]
              (when-let [[_ start end] (head line)]
                (and (<= (Long/parseUnsignedLong start 16) address)
                     (< address (Long/parseUnsignedLong end 16)))))]
    (->> (str/split-lines (child/proc "self/smaps"))
         (drop-while #(not (in? %)))
         rest
         (take-while #(not (head %)))
         (keep #(re-matches #"(\w+):\s+(\d+) kB" %))
         (into {} (map (fn [[_ k v]] [(keyword k) (parse-long v)]))))))

(defn- present ^long [memory] (:Rss (smaps (rsm/address memory))))

(defn- ready?
  "Whether all pages are there and locked. The kernel divides a page that is locked by two mappings, or used by others, between
  them."
  [address]
  (let [{:keys [Locked Rss]} (smaps address)]
    (and (= kib Rss) (<= (- kib 16) (long Locked) kib))))

(defn- places
  "Ways to map: options, and a function that ends what they need."
  []
  (let [own (rsm/allocate! size)
        free (rsm/allocate! size)
        fixed (rsm/address free)]
    (rsm/free! free)
    {:anywhere {} :over {:over own} :fixed {:attr :fixed :address fixed}}))

(deftest pages-that-are-there
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (rsm/put-long! ex (- size 8) 42)
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (doseq [[where place] (places), perm [:read :write :rdwr]]
          (testing [where perm]
            (rsm/with-mapped-segment [m im (assoc place :perm perm)]
              (is (= 0 (present m)) "pages come at first access"))
            (rsm/with-mapped-segment [m im (assoc place :perm perm :prefault true)]
              (is (= kib (present m)))
              (when (not= perm :write)
                (is (= 42 (rsm/get-long m (- size 8)))))
              (when (not= perm :read)
                (rsm/put-long! m 0 7)
                (is (= 7 (rsm/get-long ex 0)))
                (rsm/put-long! ex 0 0))
              (rsm/put-long! ex 8 43)
              (when (= perm :read)
                (is (= 43 (rsm/get-long m 8)) "it is the segment, not a copy")))
            (rsm/with-mapped-segment [m im (assoc place :perm perm :prefault true :offset page :length 100)]
              (is (= (quot page 1024) (present m)) "a part")))))
      (testing "an exporter's data is not changed by it"
        (is (= 42 (rsm/get-long ex (- size 8))))
        (is (= 0 (rsm/get-long ex 0)))))))

(deftest pages-that-stay
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (doseq [[where place] (places), perm [:read :write :rdwr]]
          (testing [where perm]
            (let [m (rsm/map! im (assoc place :perm perm :lock true))
                  address (rsm/address m)]
              (is (ready? address))
              (rsm/put-long! ex 0 44)
              (when (not= perm :write)
                (is (= 44 (rsm/get-long m 0)) "it is the segment, not a copy"))
              (rsm/unmap! m)
              (is (contains? #{0 nil} (:Locked (smaps address))) "unmap! ends it"))))
        (let [m (rsm/map! im {:lock true})
              address (rsm/address m)]
          (rsm/unpublish! ex)
          (is (rsm/aborted? im))
          (is (contains? #{0 nil} (:Locked (smaps address))) "so does a revocation")
          (is (= :rsm/conn-aborted (outcome (rsm/get-long m 0)))))))))

(deftest a-locked-mapping-over-own-memory-shows-the-segment-for-good
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [own size]
      (rsm/with-exported-segment [ex c {:size size}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm :read}]
          (rsm/with-mapped-segment [m im {:over own :lock true}]
            ;; a late write, by raw address, is dropped after a second, when the library is used
            (.setLong (com.sun.jna.Pointer. (rsm/address own)) 0 -1)
            (rsm/put-long! ex 0 45)
            (is (eventually (rsm/close! (rsm/allocate! 1)) (= 45 (rsm/get-long m 0))))
            (is (ready? (rsm/address m)))))))))

(deftest huge-pages
  (let [huge (ExportSegment/hugePageSize)]
    (rsm/with-controller [c "loopback"]
      (if (zero? huge)
        (runner/skip! "huge-pages" "this kernel has none")
        (do
          (testing "of an exporter that has not used them"
            (rsm/with-exported-segment [ex c {:size (* 2 huge)}]
              (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
                (let [before (:mappings (child/belongings))]
                  (is (= [:rsm/insufficient-resources :import-map true]
                         ((juxt :rsm/error :rsm/op (comp string? :rsm/hint))
                          (error/catching (rsm/map! im {:huge-pages true})))))
                  (is (= before (:mappings (child/belongings))) "nothing is mapped"))
                (is (nil? (rsm/mapping im)))
                (testing "what is no multiple of their size"
                  (doseq [opts [{:length page} {:offset page :length huge} {:length (inc huge)}
                                {:attr :fixed :address (+ page (* 1024 huge)) :length huge}]]
                    (is (= [:rsm/bad-mem-alignment huge]
                           ((juxt :rsm/error :rsm/huge-page-size)
                            (error/catching (rsm/map! im (assoc opts :huge-pages true)))))
                        opts)
                    (is (= :rsm/bad-mem-alignment (:rsm/error (rsm/check-map im (assoc opts :huge-pages true)))) opts)))
                (is (nil? (rsm/check-map im {:huge-pages true})) "check-map does not ask the kernel"))))
          (let [made (try (rsm/create! c {:size (* 2 huge) :huge-pages true})
                          (catch RsmException e (ex-data e)))]
            (if (map? made)
              (runner/skip! "huge-pages" "the kernel has none now")
              (with-open [^ExportSegment ex made]
                (rsm/fill! ex 0 (* 2 huge) 7)
                (let [id (rsm/publish! ex)]
                  (rsm/with-imported-segment [im c {:segment-id id}]
                    (rsm/with-local-memory [own (* 4 huge)]
                      (let [at (- huge (rem (rsm/address own) huge))]
                        (doseq [place [{} {:over own :at at} {:length huge :offset huge}]
                                perm [:read :write :rdwr]
                                more [{} {:prefault true} {:lock true} {:prefault true :lock true}]]
                          (testing [place perm more]
                            (rsm/with-mapped-segment [m im (merge place more {:perm perm :huge-pages true})]
                              (is (= (quot (rsm/size m) 1024) (:ShmemPmdMapped (smaps (rsm/address m)))))
                              (is (zero? (rem (rsm/address m) huge)))
                              (when (not= perm :write)
                                (is (= 7 (rsm/get-byte m (dec (rsm/size m)))))))))))))))))))))

(defn all-or-nothing
  "What fails in a process that may lock nothing, and what is left of it."
  []
  (let [c   (rsm/get-controller "loopback")
        ex  (rsm/export! c {:size size})
        own (rsm/allocate! size)
        im  (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        before (child/belongings)]
    {:failures (set (for [[_ place] (assoc (places) :over {:over own}), perm [:read :rdwr], prefault [false true]]
                      (-> (error/catching (rsm/map! im (assoc place :perm perm :lock true :prefault prefault)))
                          (select-keys [:rsm/error :rsm/op :rsm/hint]))))
     :left (= before (child/belongings))
     :mapping (rsm/mapping im)
     :own (do (rsm/fill! own 0 size 1) (rsm/get-long own 0))
     :then (rsm/get-long (rsm/map! im {:over own :perm :read}) 0)}))

(deftest what-the-system-refuses
  (let [opts {:uid 2001 :gid 2001 :prefix ["sh" "-c" "ulimit -l 0 && exec \"$@\"" "sh"]}]
    (if-let [obstacle (child/obstacle opts)]
      (runner/skip! "mlock" obstacle)
      (child/with-child [c opts]
        (child/value c '(require 'rsmapi.map-options-test) 90000)
        (is (= {:failures #{{:rsm/error :rsm/insufficient-mem :rsm/op :import-map
                             :rsm/hint "this process may not lock so much memory; see ulimit -l"}}
                :left true, :mapping nil, :own 0x0101010101010101, :then 0}
               (child/value c '(rsmapi.map-options-test/all-or-nothing))))))))

(deftest wrong-options
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (doseq [option [:prefault :lock :huge-pages], wrong [1 0 "true" :yes []]]
          (is (= [:rsm/bad-args-errors (name option)]
                 ((juxt :rsm/error :rsm/argument) (error/catching (rsm/map! im {option wrong})))
                 ((juxt :rsm/error :rsm/argument) (rsm/check-map im {option wrong})))))
        (is (nil? (rsm/check-map im {:prefault true :lock true :huge-pages nil})))
        (is (= :rsm/bad-args-errors (outcome (rsm/map! im {:prefaulted true}))))))))

(deftest the-end-of-a-publication-does-not-wait-for-memory-that-is-made-ready
  ;; the exporter is in the same process, and tells its importers directly
  (let [large (* 64 1024 1024)]
    (rsm/with-controller [c "loopback"]
      (dotimes [_ 20]
        (rsm/with-exported-segment [ex c {:size large}]
          (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
            (let [mapping (future (outcome (rsm/map! im {:prefault true})))]
              (Thread/sleep (long (rand-int 20)))
              (rsm/unpublish! ex)
              (let [m @mapping]
                (if (keyword? m)
                  (is (= :rsm/conn-aborted m))
                  (is (= :rsm/conn-aborted (outcome (rsm/get-long m 0))))))
              (is (= :rsm/conn-aborted (outcome (rsm/put! im 0 (byte-array 8))))))))))))
