(ns rsmapi.overlap-test
  "Copies within one memory, as if the source had been read before the target was written:
  through every pair of handles that lead to the same memory, wherever its exporter is."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.test.runner :as runner])
  (:import (java.nio ByteBuffer ByteOrder)
           (java.util Arrays)
           (org.rsmapi ImportSegment LocalMemory LocalMemoryHandle SegmentMemory)
           (org.rsmapi.mem Views)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private pages 40)
(def ^:private size (* pages page)) ; more than goes by way of the small array at a time

(deftest the-documented-example
  (with-open [b (rsm/allocate! 16384)]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [p c {:address (rsm/address b) :size 16384}]
        (rsm/with-exported-segment [q c {:address (rsm/address b) :size 16384}]
          (rsm/with-imported-segment [ip c {:segment-id (rsm/segment-id p)}]
            (rsm/with-imported-segment [iq c {:segment-id (rsm/segment-id q)}]
              (rsm/with-mapped-segment [mq iq]
                (rsm/put-bytes! b 0 (byte-array (map unchecked-byte (range 300))))
                (rsm/put! ip 1 mq 0 200)
                (is (= 63 (rsm/get-byte b 64)))
                (is (= (map unchecked-byte (cons 0 (range 200))) (seq (rsm/get-bytes b 0 201))))))))))))

;; -------------------------------------------------------------- the handles

;; An alias is a thing, where in the memory it starts, and how many bytes of it there are:
;; {:x thing :from n :bytes n}. What is put from and got into may also be a local memory handle.

(defn- alias-of
  ([x] (alias-of x 0))
  ([x from] {:x x :from from :bytes (- (long size) (long from))}))

(defn- aligned-buffer
  "A direct buffer of so many bytes that starts at a page."
  ^ByteBuffer [n]
  (.order (.alignedSlice (ByteBuffer/allocateDirect (+ (long n) page)) (int page)) (ByteOrder/nativeOrder)))

(defn- exactly ^ByteBuffer [^ByteBuffer b n] (.order (.slice (.limit (.duplicate b) (int n))) (ByteOrder/nativeOrder)))

(defn- imports
  "The aliases that an importer has: mappings of the whole and of a part, a mapping over own memory
  and that memory, and connections for put and get. Each by its own connection."
  [c ids close!]
  (let [connect #(doto (rsm/connect! c {:segment-id %}) close!)
        over    (doto (rsm/allocate! (+ (long size) (* 2 page))) close!)
        _       (rsm/map! (connect (last ids)) {:over over :at page})]
    (concat
     (for [id ids] (alias-of (rsm/map! (connect id))))
     (for [id ids] (alias-of (rsm/map! (connect id) {:offset page}) page))
     [{:x over :from (- page) :bytes (+ (long size) page)}]
     (for [id ids] (alias-of (connect id))))))

(defn- handles
  "Local memory handles for what has an address."
  [c aliases]
  (for [{:keys [x from bytes]} aliases
        :when (instance? SegmentMemory x)
        :let [start (if (neg? (long from)) page 0)]]
    {:x (rsm/create-localmemory-handle! c x {:offset start :length (- (long bytes) start)})
     :from (+ (long from) start) :bytes (- (long bytes) start)}))

(defn- with-handles [c aliases]
  (let [aliases (vec aliases)]
    (into aliases (handles c aliases))))

;; --------------------------------------------------------------- the copies

(defn- memory? [{:keys [x]}] (instance? SegmentMemory x))
(defn- import? [{:keys [x]}] (instance? ImportSegment x))
(defn- buffer? [{:keys [x]}] (instance? ByteBuffer x))
(defn- handle? [{:keys [x]}] (instance? LocalMemoryHandle x))

(defn- window ^ByteBuffer [^ByteBuffer b at n]
  (-> (.duplicate b) (.position (int at)) (.limit (+ (int at) (int n)))))

(defn- ways
  "The calls that copy from one alias to another: functions of two positions and a count of bytes."
  [{x :x :as source} {y :x :as target}]
  (cond-> []
    (and (memory? source) (memory? target)) (conj [1 #(rsm/copy! x %1 y %2 %3)])
    (and (memory? source) (import? target)) (conj [1 #(rsm/put! y %2 x %1 %3)]
                                                  [1 #(rsm/putv! {:segment y :iovec [{:local x :local-offset %1 :remote-offset %2 :length %3}]})]
                                                  [2 #(rsm/put16! y %2 x %1 (quot (long %3) 2))]
                                                  [4 #(rsm/put32! y %2 x %1 (quot (long %3) 4))]
                                                  [8 #(rsm/put64! y %2 x %1 (quot (long %3) 8))])
    (and (import? source) (memory? target)) (conj [1 #(rsm/get! x %1 y %2 %3)]
                                                  [1 #(rsm/getv! {:segment x :iovec [{:local y :local-offset %2 :remote-offset %1 :length %3}]})]
                                                  [8 #(rsm/get64! x %1 y %2 (quot (long %3) 8))])
    (and (handle? source) (import? target)) (conj [1 #(rsm/putv! {:segment y :iovec [{:local x :local-offset %1 :remote-offset %2 :length %3}]})])
    (and (import? source) (handle? target)) (conj [1 #(rsm/getv! {:segment x :iovec [{:local y :local-offset %2 :remote-offset %1 :length %3}]})])
    (and (buffer? source) (memory? target)) (conj [1 #(rsm/put-buffer! y %2 (window x %1 %3))])
    (and (memory? source) (buffer? target)) (conj [1 #(rsm/get-buffer! x %1 (window y %2 %3))])
    (and (buffer? source) (import? target)) (conj [1 #(rsm/put! y %2 (window x %1 %3))])
    (and (import? source) (buffer? target)) (conj [1 #(rsm/get! x %1 (window y %2 %3))])))

(defn- round-to ^long [^long unit ^long n] (* unit (quot n unit)))

(defn- copies
  "Copies that overlap, most of them, anywhere in the memory, and mostly few bytes apart."
  [aliases]
  (let [pairs (vec (for [s aliases, t aliases, way (ways s t)] [s t way]))]
    (gen/let [[source target way] (gen/elements pairs)
              length (gen/one-of [(gen/choose 0 300) (gen/choose 0 (* 5 page)) (gen/choose 0 size)])
              start (gen/choose 0 (dec (long size)))
              distance (gen/one-of [(gen/choose -40 40) (gen/choose (- page) page) (gen/choose (- size) size)])]
      {:source source :target target :way way :length length :start start :distance distance})))

(defn- carry-out!
  "Does a copy, in the model too. The ranges are made such that they lie in the aliases."
  [{:keys [source target way length start distance]} ^bytes model]
  (let [[unit copy!] way
        unit  (long unit)
        low   (max 0 (long (:from source)) (long (:from target)))
        room  (- (long size) low)
        n     (round-to unit (min (long length) room))
        fit   #(round-to unit (min (max low (long %)) (- (long size) n)))
        from  (fit start)
        to    (fit (+ from (long distance)))]
    (copy! (- from (long (:from source))) (- to (long (:from target))) n)
    (System/arraycopy model from model to n)
    [from to n]))

(def ^:private content
  (delay (let [b (byte-array size)] (.nextBytes (java.util.Random. 1) b) b)))

(defn- holds-for?
  "Random copies among the aliases of one memory leave in it what they leave in an array."
  [aliases write! read n]
  (let [result (tc/quick-check
                n
                (prop/for-all [all (gen/vector (copies aliases) 1 6)]
                  (let [model (aclone ^bytes @content)]
                    (write! model)
                    (doseq [each all] (carry-out! each model))
                    (Arrays/equals ^bytes model ^bytes (read)))))]
    (is (:pass? result) (pr-str (select-keys result [:seed]) (map #(update-vals (dissoc % :way) str)
                                                                  (first (:smallest (:shrunk result))))
                                (:result-data result) (when (instance? Throwable (:result result)) (:result result))))))

(def ^:private trials (if (runner/long-run?) 3000 150))

(defmacro ^:private with-closing [[close!] & body]
  `(let [open# (atom [])
         ~close! #(swap! open# conj %)]
     (try
       ~@body
       (finally (run! rsm/close! (reverse @open#))))))

(deftest aliases-of-own-memory
  (doseq [kind [:allocated :local :buffer]]
    (testing (name kind)
      (with-closing [close!]
        (let [c     (doto (rsm/get-controller "loopback") close!)
              local (when (= :local kind) (doto (rsm/allocate! size) close!))
              b     (when (= :buffer kind) (exactly (aligned-buffer size) size))
              opts  (merge {:allow-rebind true} (case kind :allocated {:size size} :local {:address (rsm/address local) :size size} :buffer {:buffer b}))
              p     (doto (rsm/export! c opts) close!)
              q     (when-not (= :allocated kind) (doto (rsm/export! c opts) close!))
              ids   (map rsm/segment-id (remove nil? [p q]))
              exporter (fn [] (concat [(alias-of p)]
                                      (when q [(alias-of q)])
                                      (when local [(alias-of local)])
                                      (when b [(alias-of b)])))
              write! #(rsm/put-bytes! p 0 %)
              read   #(rsm/get-bytes p 0 size)]
          (holds-for? (with-handles c (concat (exporter) (imports c ids close!))) write! read trials)
          (testing "published again, in another memory file"
            (run! rsm/unpublish! (remove nil? [p q]))
            (holds-for? (with-handles c (exporter)) write! read (quot (long trials) 10))
            (run! rsm/publish! (remove nil? [p q]))
            (holds-for? (with-handles c (concat (exporter) (imports c (map rsm/segment-id (remove nil? [p q])) close!)))
                        write! read (quot (long trials) 3)))
          (when (= :allocated kind)
            (testing "rebound"
              (let [importer (vec (imports c [(rsm/segment-id p)] close!))
                    next     (doto (rsm/allocate! size) close!)]
                (rsm/rebind! p {:memory next})
                (holds-for? (with-handles c (concat (exporter) [(alias-of next)] importer)) write! read trials)))))))))

(deftest aliases-of-the-memory-of-another-process
  (child/with-child [other {}]
    (child/value other `(do (def ~'c (rsm/get-controller "loopback"))
                            (def ~'own (rsm/allocate! ~size))
                            (def ~'p (rsm/export! ~'c {:address (rsm/address ~'own) :size ~size}))
                            (def ~'q (rsm/export! ~'c {:address (rsm/address ~'own) :size ~size}))))
    (with-closing [close!]
      (let [c       (doto (rsm/get-controller "loopback") close!)
            run     (fn [n]
                      (let [ids     (child/value other `[(rsm/segment-id ~'p) (rsm/segment-id ~'q)])
                            aliases (with-handles c (imports c ids close!))
                            {m :x}  (first aliases)]
                        (holds-for? aliases #(rsm/put-bytes! m 0 %) #(rsm/get-bytes m 0 size) n)))]
        (run trials)
        (child/value other `(do (rsm/unpublish! ~'p) (rsm/unpublish! ~'q) (rsm/publish! ~'p) (rsm/publish! ~'q)))
        (testing "published again"
          (run (quot (long trials) 3)))))))

(deftest ranges-that-overlap-in-several-ways
  ;; own memory, a part of it exported, the same part mapped over another part of it
  (with-closing [close!]
    (let [c     (doto (rsm/get-controller "loopback") close!)
          own   (doto (rsm/allocate! (* 8 page)) close!)
          ex    (doto (rsm/export! c {:address (rsm/address own) :size (* 2 page)}) close!)
          im    (doto (rsm/connect! c {:segment-id (rsm/segment-id ex)}) close!)
          _     (rsm/map! im {:over own :at (* 3 page)})
          ;; what a byte of own memory is in the model: the second view is the first
          place (fn [^long i] (if (<= (* 3 page) i (dec (* 5 page))) (- i (* 3 page)) i))
          model (byte-array (* 8 page))]
      (doseq [[from to n] [[0 (* 2 page) (* 3 page)] [100 (* 3 page) (* 2 page)] [(* 3 page) 100 (* 2 page)]
                           [0 (+ 7 (* 2 page)) (* 5 page)] [(+ 9 page) 0 (* 6 page)] [page (+ 5 page) (* 4 page)]
                           [(* 2 page) 11 (* 5 page)]]
              :let [from (long from), to (long to), n (long n)]]
        (dotimes [i (* 8 page)]
          (when (= i (place i))
            (aset model i (unchecked-byte (* 31 (+ i (quot i 256)))))
            (rsm/put-byte! own i (aget model i))))
        (let [source (byte-array (map #(aget model (place (+ from (long %)))) (range n)))]
          (rsm/copy! own from own to n)
          ;; where one byte gets two values, either is right
          (let [wanted (group-by first (map-indexed (fn [i b] [(place (+ to (long i))) b]) source))]
            (is (every? (fn [[at values]] (some #(= (rsm/get-byte own at) (second %)) values)) wanted)
                (str [from to n]))
            (is (every? #(or (wanted %) (not= % (place %)) (= (aget model %) (rsm/get-byte own %))) (range (* 8 page))))))))))

(deftest views-end-with-what-they-show
  (System/gc)
  (let [before (Views/count)]
    (with-closing [close!]
      (let [c  (doto (rsm/get-controller "loopback") close!)
            ex (doto (rsm/export! c {:size page}) close!)]
        (dotimes [_ 100]
          (with-open [^ImportSegment im (rsm/connect! c {:segment-id (rsm/segment-id ex)})]
            (rsm/map! im)))
        (with-open [^ImportSegment im (rsm/connect! c {:segment-id (rsm/segment-id ex)})]
          (rsm/map! im)
          (rsm/unpublish! ex)
          (rsm/publish! ex)
          (is (<= (Views/count) (inc before))))))
    (is (<= (Views/count) before))))

(deftest more-than-one-piece
  ;; copies of many bytes go in pieces of 16 MiB
  (let [n    (+ (* 33 1024 1024) 5)
        size (* 34 1024 1024)
        b    (aligned-buffer size)]
    (with-closing [close!]
      (let [c  (doto (rsm/get-controller "loopback") close!)
            ex (doto (rsm/export! c {:buffer (exactly b size)}) close!)
            connect #(doto (rsm/connect! c {:segment-id (rsm/segment-id ex)}) close!)
            im (connect)
            m  (rsm/map! (connect))
            bytes (byte-array size)
            expected (byte-array size)]
        (.nextBytes (java.util.Random. 2) bytes)
        (doseq [[from to] [[3 10] [10 3]]
                copy! [#(rsm/copy! ex from m to n)
                       #(rsm/copy! ex from ex to n)
                       #(rsm/put! im to m from n)
                       #(rsm/get! im from ex to n)
                       #(rsm/put! im to (window b from n))
                       #(rsm/get! im from (window b to n))
                       #(rsm/put-buffer! m to (window b from n))
                       #(rsm/get-buffer! ex from (window b to n))]]
          (rsm/put-bytes! ex 0 bytes)
          (System/arraycopy bytes 0 expected 0 size)
          (System/arraycopy bytes from expected to n)
          (copy!)
          (is (Arrays/equals expected ^bytes (rsm/get-bytes m 0 size)) (str [from to])))))))
