(ns rsmapi.transfer-test
  "put, get and their kin, getv and putv: data, implicit mappings, and many threads at once.
  What could crash a JVM runs in a child, which loads this namespace too and is asked to call
  what stands under \"inside of a child\"."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.test.check.clojure-test :refer [defspec]]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [code failure outcome]]
            [rsmapi.test.segment :refer [with-segment]]
            [rsmapi.test.runner :as runner])
  (:import (java.nio ByteBuffer ByteOrder)
           (java.util Arrays SplittableRandom)
           (java.util.concurrent CyclicBarrier)
           (java.util.concurrent.atomic AtomicBoolean AtomicLong)
           (org.rsmapi Mapping RsmException)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))

;; -------------------------------------------------------------------- data

(def ^:private kinds
  "Of every element size: how to put and get, and the array types."
  {8  {:put rsm/put8!, :get rsm/get8, :arrays [byte-array], :wrap #(ByteBuffer/wrap %)}
   16 {:put rsm/put16!, :get rsm/get16, :arrays [short-array]}
   32 {:put rsm/put32!, :get rsm/get32, :arrays [int-array]}
   64 {:put rsm/put64!, :get rsm/get64, :arrays [long-array]}})

(defn- native-bytes
  "The bytes of integers of so many bits, in native order."
  [bits values]
  (let [b (.order (ByteBuffer/allocate (* (quot (long bits) 8) (count values))) (ByteOrder/nativeOrder))]
    (doseq [v values]
      (case (long bits)
        8 (.put b (unchecked-byte v))
        16 (.putShort b (unchecked-short v))
        32 (.putInt b (unchecked-int v))
        64 (.putLong b (long v))))
    (vec (.array b))))

(defn- element [bits]
  (gen/fmap #(case (long bits)
               8 (long (unchecked-byte %))
               16 (long (unchecked-short %))
               32 (long (unchecked-int %))
               64 (long %))
            gen/large-integer))

(def ^:private request
  (gen/let [bits (gen/elements [8 16 32 64])
            values (gen/vector (element bits) 0 40)
            place (gen/choose 0 (dec size))
            [before after] (gen/tuple (gen/choose 0 3) (gen/choose 0 3))
            through (gen/elements [:sequence :array :memory :handle :bytes :buffer :direct])]
    (let [width (quot (long bits) 8)
          place (* width (quot (long place) width))]
      {:bits bits :values values
       :offset (min place (- size (* width (count values))))
       :before before :after after :through through})))

(defn- put-through!
  "Puts the values in one of the ways there are, out of the middle of what is longer."
  [im own {:keys [bits values offset before through] :as request}]
  (let [{:keys [put arrays]} (kinds bits)
        n (count values)
        padded (concat (repeat before 99) values (repeat (:after request) 99))
        width (quot (long bits) 8)
        bytes (byte-array (native-bytes bits values))]
    (case through
      :sequence (put im offset values)
      :array (put im offset ((first arrays) (map #(case (long bits)
                                                    8 (unchecked-byte %)
                                                    16 (unchecked-short %)
                                                    32 (unchecked-int %)
                                                    64 (long %)) padded))
                  before n)
      :memory (do (rsm/put-bytes! own (* width (long before)) bytes)
                  (put im offset own (* width (long before)) n))
      :handle (do (rsm/put-bytes! own before bytes)
                  (rsm/putv! {:segment im
                              :iovec [{:local own :local-offset before :remote-offset offset
                                       :length (alength bytes)}]}))
      :bytes (rsm/put! im offset bytes)
      :buffer (rsm/put! im offset (ByteBuffer/wrap bytes))
      :direct (rsm/put! im offset (.flip (.put (ByteBuffer/allocateDirect (alength bytes)) bytes))))))

(defspec what-is-put-is-what-is-got {:num-tests (if (runner/long-run?) 20000 300)}
  (let [c (rsm/get-controller "loopback")
        ex (rsm/export! c {:size size})
        im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        own (rsm/allocate! size)
        model (byte-array size)]
    (prop/for-all [{:keys [bits values offset] :as r} request]
      (put-through! im own r)
      (let [bytes (byte-array (native-bytes bits values))]
        (System/arraycopy bytes 0 model offset (alength bytes))
        (let [target (byte-array (+ 2 (alength bytes)))]
          (and (Arrays/equals model ^bytes (rsm/get-bytes ex 0 size)) ; nothing else has changed
               (= values (vec ((:get (kinds bits)) im offset (count values))))
               (identical? target (rsm/get! im offset target 1 (alength bytes)))
               (= (concat [0] bytes [0]) (vec target))
               (do (rsm/getv! {:segment im
                               :iovec [{:local own :local-offset 7 :remote-offset offset :length (alength bytes)}]})
                   (= (vec bytes) (vec (rsm/get-bytes own 7 (alength bytes)))))))))))

(deftest elements-of-other-types
  (with-segment [c ex im {:allow-rebind true}]
    (rsm/put32! im 0 (float-array [1.5 -2.5]))
    (is (= [1.5 -2.5] (map double (rsm/get32! im 0 (float-array 2)))))
    (is (= 1.5 (rsm/get-float ex 0)))
    (rsm/put64! im 8 (double-array [Math/PI]))
    (is (= Math/PI (rsm/get-double ex 8)))
    (is (= [Math/PI] (vec (rsm/get64! im 8 (double-array 1)))))
    (rsm/put16! im 16 (char-array "hé"))
    (is (= [\h \é] (vec (rsm/get16! im 16 (char-array 2)))))
    (testing "what does not fit is no element"
      (is (= :rsm/bad-args-errors (outcome (rsm/put8! im 0 256))))
      (is (= :rsm/bad-args-errors (outcome (rsm/put16! im 0 [1 70000]))))
      (is (= :rsm/bad-args-errors (outcome (rsm/put64! im 0 [1 nil]))))
      (is (= :rsm/bad-addr (outcome (rsm/put64! im 0 1.5))))
      (is (= :rsm/bad-addr (outcome (rsm/put64! im 0 (int-array 1))))))
    (is (= 255 (bit-and 255 (do (rsm/put8! im 0 255) (rsm/get-byte ex 0)))) "as unsigned")))

(deftest one-segment-to-another
  (with-segment [c ex im {:allow-rebind true}]
    (rsm/with-exported-segment [ex2 c {:size size}]
      (rsm/with-imported-segment [im2 c {:segment-id (rsm/segment-id ex2)}]
        (rsm/with-mapped-segment [m2 im2 {:offset page :length page}]
          (rsm/put64! im 16 [1 2 3])
          (rsm/get! im 16 m2 8 24)
          (is (= [0 1 2 3 0] (vec (rsm/get-longs ex2 page 5))) "from segment to mapping")
          (rsm/put64! im 80 m2 8 3)
          (is (= [1 2 3] (vec (rsm/get-longs ex 80 3))) "from mapping to segment")
          (rsm/put! im 0 ex2 page 32)
          (is (= [0 1 2 3] (vec (rsm/get-longs ex 0 4))) "from export segment to segment")
          (testing "the other memory's own errors"
            (rsm/unmap! m2)
            (is (= :rsm/seg-not-mapped (outcome (rsm/get! im 0 m2 0 8))))
            (is (= :rsm/seg-not-mapped (outcome (rsm/put! im 0 m2 0 8))))))
        (rsm/with-mapped-segment [m2 im2 {:perm :read}]
          (is (= :rsm/perm-denied (outcome (rsm/get! im 0 m2 0 8))) "it cannot be written to"))))))

(deftest overlapping-ranges-of-one-segment
  (with-segment [c ex im {:allow-rebind true}]
    (let [content (byte-array (map unchecked-byte (range size)))]
      (doseq [[from to n] [[0 8 1000] [8 0 1000] [3 5 (- size 5)] [page (inc page) page]]]
        (rsm/put-bytes! ex 0 content)
        (let [expected (aclone content)]
          (System/arraycopy content from expected to n)
          (rsm/put! im to ex from n)
          (is (Arrays/equals expected ^bytes (rsm/get-bytes ex 0 size)) (str [from to n] " put")))
        (rsm/put-bytes! ex 0 content)
        (let [expected (aclone content)]
          (System/arraycopy content from expected to n)
          (rsm/get! im from ex to n)
          (is (Arrays/equals expected ^bytes (rsm/get-bytes ex 0 size)) (str [from to n] " get")))))))

;; ------------------------------------------------------- implicit mappings

(deftest a-segment-maps-itself
  (with-segment [c ex im {:allow-rebind true}]
    (is (nil? (rsm/mapping im)))
    (rsm/put8! im 0 1)
    (let [^Mapping m (rsm/mapping im)]
      (is (.isImplicit m))
      (is (= size (rsm/size m)))
      (is (= :rsm/seg-already-mapped (outcome (rsm/map! im))))
      (rsm/put8! im 1 2)
      (is (identical? m (rsm/mapping im)) "it stays")
      (is (= 0x0201 (rsm/get-short m 0)) "and can be used"))
    (rsm/unmap! im)
    (is (nil? (rsm/mapping im)))
    (testing "an explicit mapping is not disturbed"
      (rsm/with-mapped-segment [m im {:offset page :length 100 :perm :read}]
        (is (nil? (failure (rsm/get8 im page 100))))
        (is (= :rsm/bad-offset (outcome (rsm/get8 im (dec page) 1))))
        (is (= :rsm/bad-offset (outcome (rsm/get8 im (+ page 100) 1))))
        (is (nil? (failure (rsm/get8 im (+ page 100) 0))) "nothing, at the end")
        (is (= :rsm/perm-denied (outcome (rsm/put8! im page 1))) "as it is mapped")
        (is (identical? m (rsm/mapping im)))
        (is (not (.isImplicit ^Mapping m)))))
    (testing "also where the call fails later"
      (is (= :rsm/bad-offset (outcome (rsm/put8! im size 1))))
      (is (some? (rsm/mapping im)))
      (is (nil? (failure (rsm/disconnect! im))) "an implicit mapping does not keep it")))
  (testing "with the connection's own rights"
    (with-segment [c ex im {:allow-rebind true :connect {:perm :read}}]
      (rsm/put-byte! ex 5 7)
      (is (= [7] (vec (rsm/get8 im 5 1))))
      (is (= :rsm/perm-denied (outcome (rsm/put8! im 5 1)))))
    (with-segment [c ex im {:allow-rebind true :connect {:perm :write}}]
      (is (nil? (failure (rsm/put8! im 5 9))))
      (is (= :rsm/perm-denied (outcome (rsm/get8 im 5 1))))
      (is (= 9 (rsm/get-byte ex 5))))
    (with-segment [c ex im {:allow-rebind true :connect {:perm :none}}]
      (is (= :rsm/perm-denied (outcome (rsm/get8 im 5 1))))
      (is (= :rsm/perm-denied (outcome (rsm/put8! im 5 1))))
      (is (nil? (rsm/mapping im))))))

(deftest vectors
  (with-segment [c ex im {:allow-rebind true :connect {:barrier false}}]
    (rsm/with-local-memory [own size]
      (let [h (rsm/create-localmemory-handle! c own {:offset page :length 100})]
        (rsm/put-bytes! own page (byte-array (range 100)))
        (is (= {:residual 0}
               (rsm/putv! {:segment im
                           :iovec [{:local h :local-offset 90 :remote-offset 0 :length 10}
                                   {:local (+ page (long (rsm/address own))) :remote-offset 10 :length 2}
                                   {:local (byte-array [50 51 52]) :local-offset 1 :remote-offset 12 :length 2}
                                   {:local (ByteBuffer/wrap (byte-array [60 61])) :remote-offset 14 :length 2}]}))
            "no barrier is needed")
        (is (= [90 91 92 93 94 95 96 97 98 99 0 1 51 52 60 61] (vec (rsm/get-bytes ex 0 16))))
        (let [array (byte-array 4), buffer (ByteBuffer/allocateDirect 4)]
          (is (= {:residual 0}
                 (rsm/getv! {:segment im
                             :iovec [{:local array :local-offset 1 :remote-offset 0 :length 3}
                                     {:local buffer :local-offset 2 :remote-offset 12 :length 2}
                                     {:local h :remote-offset 14 :length 2}]})))
          (is (= [0 90 91 92] (vec array)))
          (is (= [0 0 51 52] (mapv #(.get buffer (int %)) (range 4))))
          (is (= 0 (.position buffer)) "a buffer's position is neither used nor moved")
          (is (= [60 61 2] (vec (rsm/get-bytes own page 3)))))
        (testing "the first failure ends it, and what came before stays"
          (doseq [[error bad] {:rsm/bad-offset {:local h :remote-offset (- size 4) :length 5}
                               :rsm/bad-length {:local h :local-offset 95 :length 6}
                               :rsm/bad-addr {:local nil :length 1}}]
            (rsm/fill! ex 0 size 0)
            (let [e (try (rsm/putv! {:segment im :signal true
                                     :iovec [{:local (byte-array [7]) :length 1}
                                             bad
                                             {:local (byte-array [8]) :remote-offset 1 :length 1}]})
                         (catch RsmException e (ex-data e)))]
              (is (= [error 1 2] ((juxt :rsm/error :rsm/entry :rsm/residual) e)))
              (is (= [7 0] (vec (rsm/get-bytes ex 0 2)))))))
        (is (= :rsm/timeout (outcome (rsm/signal-wait! ex {:timeout-ms 0}))) "no event for what failed")
        (testing "one event for all"
          (rsm/putv! {:segment im :signal true :iovec (repeat 16 {:local h :length 1})})
          (is (= [0 :rsm/timeout] [(code (rsm/signal-wait! ex {:timeout-ms 0}))
                                   (outcome (rsm/signal-wait! ex {:timeout-ms 0}))]))
          (dotimes [_ 2]
            (rsm/getv! {:segment im :signal true :no-accumulate true :iovec [{:local h :length 1}]}))
          (is (= [0 :rsm/timeout] [(code (rsm/signal-wait! ex {:timeout-ms 0}))
                                   (outcome (rsm/signal-wait! ex {:timeout-ms 0}))])))
        (testing "a handle that was freed"
          (rsm/free-localmemory-handle! c h)
          (is (= :rsm/bad-localmem-hndl (outcome (rsm/putv! {:segment im :iovec [{:local h :length 1}]}))))
          (is (= :rsm/bad-localmem-hndl (outcome (rsm/free-localmemory-handle! c h))))
          (is (nil? (rsm/close! h))))
        (testing "memory that was freed"
          (let [gone (rsm/allocate! page)
                h    (rsm/create-localmemory-handle! c gone)
                at   (rsm/address gone)]
            (rsm/free! gone)
            (is (= :rsm/bad-addr (outcome (rsm/putv! {:segment im :iovec [{:local h :length 1}]}))))
            (is (= :rsm/bad-addr (outcome (rsm/putv! {:segment im :iovec [{:local at :length 1}]}))))))))))

(deftest put-with-signal
  (with-segment [c ex im {:allow-rebind true}]
    (rsm/put-signal! im 8 (byte-array [1 2 3]))
    (is (nil? (failure (rsm/signal-wait! ex {:timeout-ms 0}))))
    (is (= [1 2 3] (vec (rsm/get-bytes ex 8 3))))
    (dotimes [_ 3] (rsm/put-signal! im 8 (byte-array 1) {:no-accumulate true}))
    (is (nil? (failure (rsm/signal-wait! ex {:timeout-ms 0}))))
    (is (= :rsm/timeout (outcome (rsm/signal-wait! ex {:timeout-ms 0}))))
    (is (= :rsm/bad-offset (outcome (rsm/put-signal! im size (byte-array 1)))))
    (is (= :rsm/timeout (outcome (rsm/signal-wait! ex {:timeout-ms 0}))) "not after a failure")))

;; ------------------------------------------------------- inside of a child

(defn many-first-puts
  "Has so many threads put at the same moment on segments that are not mapped. Returns how
  many mappings of memory files there were more than one for each segment, and the bytes that
  are missing."
  [threads rounds]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (let [before (:mappings (child/belongings))]
        (reduce
         (fn [sum i]
           (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
             (let [start (CyclicBarrier. threads)]
               (rsm/fill! ex 0 size 0)
               (run! deref (mapv (fn [t] (future (.await start) (rsm/put8! im t (inc (long t)))))
                                 (range threads)))
               (-> sum
                   (update :mappings + (- (long (:mappings (child/belongings))) (long before) 2))
                   (update :missing + (count (remove zero? (map - (range 1 (inc (long threads)))
                                                                (rsm/get-bytes ex 0 threads)))))))))
         {:mappings 0 :missing 0}
         (range rounds))))))

(def ^:private pattern (unchecked-long 0x5151515151515151))

(defn- transfer!
  "One random transfer of the pattern. Returns nil, or what was wrong with it."
  [im ^SplittableRandom random target]
  (let [offset (* 8 (.nextInt random (quot size 8)))
        n (inc (.nextInt random 64))]
    (case (.nextInt random 6)
      0 (rsm/put64! im offset pattern)
      1 (rsm/put! im offset (byte-array n (byte 0x51)))
      2 (when (not= {:residual 0}
                    (rsm/putv! {:segment im :iovec [{:local (byte-array n (byte 0x51)) :remote-offset offset :length n}]}))
          {:putv :residual})
      3 (rsm/put! im offset target 0 n)
      4 (let [^bytes got (rsm/get8 im offset n)]
          (when-not (every? #{0x51} got)
            {:get (vec (take 16 got))}))
      5 (let [got (byte-array n)]
          (rsm/getv! {:segment im :iovec [{:local got :remote-offset offset :length n}]})
          (when-not (every? #{0x51} got)
            {:getv (vec (take 16 got))})))))

(def ^:private transfer-errors
  "What a transfer may fail with while others map, unmap, disconnect and revoke."
  #{:rsm/bad-seg-hndl :rsm/bad-offset :rsm/conn-aborted :rsm/perm-denied})

(defn hammer
  "Threads that transfer, while others map parts, unmap, disconnect and connect anew, and the
  exporter unpublishes and publishes. All bytes of the segment are the same at all times. Returns
  the counts of outcomes and what was wrong."
  [seed millis]
  (rsm/with-controller [c "loopback"]
    (let [random  (SplittableRandom. seed)
          ex      (rsm/create! c {:size size})
          _       (rsm/fill! ex 0 size 0x51)
          own     (doto (rsm/allocate! size) (rsm/fill! 0 size 0x51))
          id      (rsm/publish! ex {:segment-id (fresh-id)})
          fresh   #(rsm/connect! c {:segment-id id})
          current (atom (fresh))
          stop    (AtomicBoolean.)
          wrong   (atom [])
          counts  (atom {})
          count!  (fn [k] (swap! counts update k (fnil inc 0)))
          worker  (fn [^SplittableRandom random]
                    (while (not (.get stop))
                      (let [im @current
                            problem (try
                                      (transfer! im random own)
                                      (catch RsmException e
                                        (let [error (:rsm/error (ex-data e))]
                                          (if (transfer-errors error)
                                            (do (count! error) nil)
                                            (ex-data e))))
                                      (catch Throwable t
                                        {:thrown (str t)}))]
                        (count! :transfers)
                        (when problem
                          (swap! wrong conj problem)))))
          changer (fn [^SplittableRandom random]
                    (while (not (.get stop))
                      (try
                        (let [im @current]
                          (case (.nextInt random 5)
                            0 (rsm/map! im {:offset page :length page})
                            (1 2) (rsm/unmap! im)
                            3 (do (reset! current (fresh)) (rsm/close! im))
                            4 (do (rsm/unpublish! ex) (rsm/publish! ex {:segment-id id})))
                          (count! :changes))
                        (catch RsmException e
                          (count! (:rsm/error (ex-data e))))
                        (catch Throwable t
                          (swap! wrong conj {:changing (str t)})))))
          threads (mapv (fn [f] (let [random (.split random)]
                                  (doto (Thread. ^Runnable #(f random)) .start)))
                        [worker worker worker changer])]
      (Thread/sleep (long millis))
      (.set stop true)
      (run! #(.join ^Thread %) threads)
      (rsm/close! @current)
      (rsm/close! ex)
      (rsm/close! own)
      {:wrong (vec (take 5 @wrong)) :counts @counts})))

;; --------------------------------------------------------------- the tests

(deftest threads-that-put-at-the-same-time
  (child/with-child [c {}]
    (child/value c '(require 'rsmapi.transfer-test))
    (is (= {:mappings 0 :missing 0} (child/value c `(many-first-puts 8 100))))))

(deftest whatever-others-do
  (child/with-child [c {}]
    (child/value c '(require 'rsmapi.transfer-test))
    (let [seed (rand-int Integer/MAX_VALUE)
          {:keys [wrong counts]} (child/value c `(hammer ~seed ~(if (runner/long-run?) 60000 4000)) 120000)]
      (println "  seed" seed counts)
      (is (= [] wrong) (str "seed " seed))
      (is (every? counts [:transfers :changes :rsm/conn-aborted]) "there was something to see"))))

;; ------------------------------------------- a buffer whose file is truncated

(defn- mapped-file
  "A file of so many bytes, mapped: the channel and the buffer, which starts at a page."
  [n]
  (let [path (java.nio.file.Files/createTempFile "rsmapi" "mapped" (make-array java.nio.file.attribute.FileAttribute 0))
        ch   (java.nio.channels.FileChannel/open
              path (into-array java.nio.file.OpenOption [java.nio.file.StandardOpenOption/READ
                                                         java.nio.file.StandardOpenOption/WRITE
                                                         java.nio.file.StandardOpenOption/DELETE_ON_CLOSE]))]
    (.write ch (ByteBuffer/allocate n) 0)
    [ch (.map ch java.nio.channels.FileChannel$MapMode/READ_WRITE 0 n)]))

(defn truncated-buffers
  "What calls say, as a map of how often, when the file behind the buffer has been truncated: first
  as the JVM interprets them, then as it has compiled them."
  []
  (let [n (* 2 page)]
    (with-segment [c ex im {:allow-rebind true}]
      (rsm/with-mapped-segment [m im {:length n}]
        (let [calls (fn [^ByteBuffer b h]
                      {:put-buffer #(rsm/put-buffer! m 0 (.duplicate b))
                       :get-buffer #(rsm/get-buffer! ex 0 (.duplicate b))
                       :put #(rsm/put! im 0 (.duplicate b))
                       :get #(rsm/get! im 0 (.duplicate b))
                       :putv #(rsm/putv! {:segment im :iovec [{:local b :length n}]})
                       :getv #(rsm/getv! {:segment im :iovec [{:local h :length n}]})})
              round (fn [warm-up]
                      (into {}
                            (for [k [:put-buffer :get-buffer :put :get :putv :getv]]
                              (let [[^java.nio.channels.FileChannel ch b] (mapped-file n)
                                    call (get (calls b (rsm/create-localmemory-handle! c b)) k)]
                                (dotimes [_ warm-up] (call))
                                (.truncate ch 0)
                                (try
                                  [k (frequencies (repeatedly 200 #(outcome (call))))]
                                  (finally (.close ch)))))))]
          [(round 0) (round 20000)])))))

(deftest a-mapped-buffer-whose-file-was-truncated
  (child/with-child [c {:label "truncating"}]
    (child/value c '(require 'rsmapi.transfer-test) 90000)
    (doseq [how (child/value c `(truncated-buffers) 60000)
            [k what] how]
      (is (= {:rsm/bad-addr 200} what) (str k)))))
