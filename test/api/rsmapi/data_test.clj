(ns rsmapi.data-test
  "What was put is what is got: every way to write and to read, in segments and through mappings of
  parts of them, at their ends and one beyond, compared with a byte array. And what a
  permission does not give, by no function of the API.

  Values, wrong arguments and local memory are access-test's, transfers in the middle of a
  segment transfer-test's."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.access-test :as access]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.test.runner :as runner])
  (:import (java.nio ByteBuffer ByteOrder)
           (java.util Arrays)
           (org.rsmapi SegmentMemory)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 6 page))

(defn- trials [ordinary long] (if (runner/long-run?) long ordinary))

(defn- new-seed []
  (or (some-> (System/getProperty "rsmapi.test.seed") parse-long)
      (System/currentTimeMillis)))

;; ----------------------------------------------------------------- places

;; A place is where accesses go: {:memory or :import, :base of its offset 0 in the segment, and
;; :lo and :hi, from where to where its offsets are}. Those of put and get are of the segment.

(def ^:private windows
  "The two mappings overlap, begin and end in the middle of the segment, and one of them ends in
  the middle of a page, at an odd number."
  {:m1 {:offset page :length (- (* 3 page) 93)}
   :m2 {:offset (* 2 page) :length (* 3 page)}})

(def ^:private places
  (let [{:keys [m1 m2]} windows
        window (fn [{:keys [offset length]}] {:base offset :lo 0 :hi length})]
    {:ex {:base 0 :lo 0 :hi size}
     :m1 (window m1)
     :m2 (window m2)
     ;; not mapped by anybody, and mapped as :m1
     :whole {:base 0 :lo 0 :hi size :import? true}
     :part {:base 0 :lo (:offset m1) :hi (+ (long (:offset m1)) (long (:length m1))) :import? true}}))

(defn- over-place [length] {:base page :lo 0 :hi length})

;; --------------------------------------------------------------- operations

(def ^:private bits {"byte" 8 "short" 16 "char" 16 "int" 32 "float" 32 "long" 64 "double" 64})

(defn- width [type] (quot (long (bits type)) 8))

(def ^:private orders [nil :native :little-endian :big-endian])

(defn- order-for [type]
  (if (= "byte" type) (gen/return nil) (gen/elements orders)))

(defn- values-of [type least most]
  (gen/vector (:gen (access/types type)) least most))

(defn- many-bytes
  "Some bytes, now and then as many as there are in the place, or one more."
  [{:keys [lo hi]}]
  (gen/let [n (gen/frequency [[6 (gen/choose 0 70)]
                              [1 (gen/elements [(- (long hi) (long lo)) (inc (- (long hi) (long lo)))])]])
            seed (gen/choose 1 127)]
    (mapv #(long (unchecked-byte (* (long seed) (inc (long %))))) (range n))))

(def ^:private gen-memory-form
  (gen/frequency
   [[6 (gen/let [type (gen/elements (sort (keys access/types)))
                 mode (gen/elements ["" "-volatile" "-release"])
                 order (if (= "" mode) (order-for type) (gen/return nil))
                 values (values-of type 1 1)]
         {:form :value :type type :mode mode :order order :values values})]
    [5 (gen/let [type (gen/elements (sort (keys access/types)))
                 order (order-for type)
                 values (values-of type 0 20)]
         {:form :array :type type :order order :values values})]
    [2 (gen/let [form (gen/elements [:compare-and-set :get-and-add])
                 type (gen/elements ["int" "long"])
                 mode (gen/elements ["" "-acquire" "-release"])
                 values (values-of type 1 1)]
         {:form form :type type :mode mode :values values})]]))

(defn- gen-bytes-form [place]
  (gen/let [form (gen/elements [:heap-buffer :direct-buffer :copy])
            values (many-bytes place)]
    {:form form :type "byte" :values values}))

(defn- gen-fill [{:keys [lo hi]}]
  (gen/let [value (gen/choose -128 127)
            n (gen/frequency [[3 (gen/choose 0 70)] [1 (gen/return (- (long hi) (long lo)))]])]
    {:form :fill :type "byte" :values (vec (repeat n value))}))

(defn- gen-import-form [place]
  (gen/frequency
   [[3 (gen/let [how (gen/elements [:array :heap :direct :memory])
                 values (many-bytes place)]
         {:form :put :type "byte" :how how :values values})]
    [4 (gen/let [type (gen/elements ["byte" "short" "char" "int" "long" "float" "double"])
                 values (values-of type 0 20)
                 how (gen/elements (if (#{"char" "float" "double"} type)
                                     [:array :memory]
                                     [:array :memory :sequence]))]
         {:form :put-elements :type type :how how :values values})]
    [2 (gen/let [values (many-bytes place)
                 cut (gen/choose 0 70)]
         {:form :putv :type "byte" :cut cut :values values})]
    [1 (gen/let [values (many-bytes place)]
         {:form :put-signal :type "byte" :values values})]]))

(defn- gen-operation
  "A write to one of these places, {name place}, at an offset that is mostly right, often at one of
  the ends, and else beyond."
  [places]
  (gen/let [on (gen/elements (sort (keys places)))
            {:keys [form type values] :as op}
            (let [{:keys [import?] :as place} (places on)]
              (if import?
                (gen-import-form place)
                (gen/frequency [[13 gen-memory-form] [4 (gen-bytes-form place)] [1 (gen-fill place)]])))
            aligned? (gen/frequency [[4 (gen/return true)] [1 (gen/return false)]])
            at (let [{:keys [lo hi]} (places on)
                     n (* (long (width type)) (count values))
                     room (- (long hi) (long lo))
                     step (if aligned? (long (width type)) 1)]
                 (gen/one-of
                  [(gen/fmap #(* step (quot (long %) step)) (gen/choose 0 (max 0 (- room n))))
                   ;; either end, as near as the alignment lets it be
                   (gen/elements [0 (* step (quot (max 0 (- room n)) step))])
                   (rsm-gen/access {:size room} n)
                   (gen/elements [-1 (- step) (- room n) (inc (- room n)) (+ step (- room n)) room (inc room)])]))]
    (assoc op :on on :at (unchecked-add (long at) (long (:lo (places on)))))))

(defn- encoded ^bytes [{:keys [type order values]}]
  (let [{:keys [bytes put]} (access/types type)
        b (.order (ByteBuffer/allocate (* (long bytes) (count values))) (access/nio-order (or order :native)))]
    (dorun (map-indexed (fn [i v] (put b (* (long bytes) (long i)) v)) values))
    (.array b)))

(defn- decoded [type order ^bytes bytes]
  (let [w (width type)
        b (.order (ByteBuffer/wrap bytes) (access/nio-order (or order :native)))]
    (mapv #((:get (access/types type)) b (* (long w) (long %))) (range (quot (alength bytes) (long w))))))

(defn- outside? [{:keys [lo hi]} at n]
  (not (<= lo at (+' at n) hi)))

(defn- expected-error
  "What is documented: the typed functions look at the offset first, put and get at the
  alignment."
  [place {:keys [form type mode values at]}]
  (let [w (long (width type))
        outside? (outside? place at (* w (count values)))
        askew? (pos? (long (mod at w)))]
    (cond
      (and (= :put-elements form) askew?) :rsm/bad-mem-alignment
      outside? :rsm/bad-offset
      (and askew? (or (#{:compare-and-set :get-and-add} form)
                      (and (= :value form) (not= "" mode))))
      :rsm/bad-mem-alignment)))

;; ---------------------------------------------------------- writing, reading

(defn- direct ^ByteBuffer [^bytes bytes]
  (doto (ByteBuffer/allocateDirect (alength bytes)) (.put bytes) .flip))

(defn- array-of
  "An array with the values; those of a type that is written as signed or unsigned, as signed."
  [type values]
  ((access/makers type) (map (case type
                               "byte" unchecked-byte "short" unchecked-short
                               "int" unchecked-int "float" #(.floatValue ^Double %)
                               identity)
                             values)))

(def ^:private f access/function)

(def ^:private put-names {8 "put8!" 16 "put16!" 32 "put32!" 64 "put64!"})
(def ^:private get-names {8 "get8" 16 "get16" 32 "get32" 64 "get64"})

(defn- write!
  "Writes as an operation says, out of own memory where it is from memory. there is the value that
  is at the offset now, for those that change it in one step."
  [x own {:keys [form type mode order how cut values at] :as op} there]
  (let [orders (when order [order])
        bytes (encoded op)
        n (alength bytes)
        value (first values)]
    (case form
      :value (apply (f "put-" type mode "!") x at value orders)
      :array (apply (f "put-" type "s!") x at (array-of type values) orders)
      :fill (rsm/fill! x at n (or value 0))
      :heap-buffer (rsm/put-buffer! x at (ByteBuffer/wrap bytes))
      :direct-buffer (rsm/put-buffer! x at (direct bytes))
      :copy (do (rsm/put-bytes! own 5 bytes)
                (rsm/copy! own 5 x at n))
      :compare-and-set (let [swap! (f "compare-and-set-" type mode "!")
                             other (if (= 7 there) 8 7)]
                         (when (swap! x at other value)
                           (throw (IllegalStateException. "set though another value was there")))
                         (when-not (swap! x at there value)
                           (throw (IllegalStateException. "not set though the value was there"))))
      :get-and-add (let [delta (if (= "int" type)
                                 (long (unchecked-int (- (long value) (long there))))
                                 (unchecked-subtract (long value) (long there)))]
                     (when-not (= there ((f "get-and-add-" type mode "!") x at delta))
                       (throw (IllegalStateException. "another value than there was"))))
      :put (case how
             :array (rsm/put! x at bytes)
             :heap (rsm/put! x at (ByteBuffer/wrap bytes))
             :direct (rsm/put! x at (direct bytes))
             :memory (do (rsm/put-bytes! own 3 bytes)
                         (rsm/put! x at own 3 n)))
      :put-elements (let [put! (f (put-names (bits type)))]
                      (case how
                        :array (put! x at (array-of type values))
                        :sequence (put! x at values)
                        :memory (do (rsm/put-bytes! own 8 bytes)
                                    (put! x at own 8 (count values)))))
      :put-signal (rsm/put-signal! x at bytes)
      ;; in one piece where it fails, for a piece before the failing one would be written
      :putv (let [cut (min (long cut) n)]
              (rsm/put-bytes! own 1 bytes)
              (rsm/putv! {:segment x
                          :iovec (if (= ::fails there)
                                   [{:local bytes :remote-offset at :length n}]
                                   [{:local bytes :remote-offset at :length cut}
                                    {:local own :local-offset (inc cut) :remote-offset (+ (long at) cut)
                                     :length (- n cut)}])})))))

(defn- read-back
  "The values, by the reading form that belongs to a writing one."
  [x own {:keys [form type mode order how values at]}]
  (let [orders (when order [order])
        n (* (long (width type)) (count values))
        plain (fn [xs] (mapv #(cond (float? %) (double %) :else %) xs))]
    (case form
      :value [(apply (f "get-" type ({"-release" "-acquire"} mode mode)) x at orders)]
      :array (plain (apply (f "get-" type "s") x at (count values) orders))
      :compare-and-set [((f "get-" type "-volatile") x at)]
      :get-and-add [((f "get-and-add-" type mode "!") x at 0)]
      :fill (vec (rsm/get-bytes! x at (byte-array n)))
      :heap-buffer (vec (.array ^ByteBuffer (rsm/get-buffer! x at (ByteBuffer/allocate n))))
      :direct-buffer (let [^ByteBuffer b (rsm/get-buffer! x at (ByteBuffer/allocateDirect n))]
                       (mapv #(.get b (int %)) (range n)))
      :copy (do (rsm/copy! x at own 11 n)
                (vec (rsm/get-bytes own 11 n)))
      (:put :put-signal) (case how
                           :heap (vec (.array ^ByteBuffer (rsm/get! x at (ByteBuffer/allocate n))))
                           :direct (let [^ByteBuffer b (rsm/get! x at (ByteBuffer/allocateDirect n))]
                                     (mapv #(.get b (int %)) (range n)))
                           :memory (do (rsm/get! x at own 3 n)
                                       (vec (rsm/get-bytes own 3 n)))
                           (vec (rsm/get! x at (byte-array n))))
      :put-elements (let [name (get-names (bits type))]
                      (case how
                        :memory (do ((f name "!") x at own 16 (count values))
                                    (decoded type nil (rsm/get-bytes own 16 n)))
                        :array (plain ((f name "!") x at ((access/makers type) (count values))))
                        :sequence (vec ((f name) x at (count values)))))
      :putv (let [target (byte-array (inc n))]
              (rsm/getv! {:segment x :iovec [{:local target :local-offset 1 :remote-offset at :length n}]})
              (vec (rest target))))))

;; ------------------------------------------------------------- the property

(defn- same? [^bytes a ^bytes b] (Arrays/equals a b))

(defn- part ^bytes [^bytes bytes from n]
  (Arrays/copyOfRange bytes (int from) (int (+ (long from) (long n)))))

(defn- problem
  "Does one operation to the things and to the bytes that the segment should have. Returns what is
  wrong with what it did, or nil. all-right? says whether everybody sees the bytes."
  [{:keys [places things own all-right?]} ^bytes right {:keys [on type order values at] :as op}]
  (let [{:keys [base] :as place} (places on)
        x (things on)
        error (expected-error place op)
        bytes (encoded op)
        start (when-not error (+ (long base) (long at)))
        there (cond error ::fails
                    (seq values) (first (decoded type order (part right start (width type)))))
        outcome (access/error #(do (write! x own op (if (and error (not= :putv (:form op))) 1 there)) nil))]
    (when-not error
      (System/arraycopy bytes 0 right start (alength bytes)))
    (cond
      (not= error outcome) {:op op :expected error :writing outcome}
      (not (all-right? right)) {:op op :somebody-sees-other-bytes true}
      :else (let [got (access/error #(do (read-back x own op)))
                  expected (or error (decoded type order bytes))]
              (when (not= expected got)
                {:op op :expected expected :reading got})))))

(def ^:private canary (byte-array (map #(unchecked-byte (+ 17 (* 31 (long %)))) (range size))))

(defn- first-problem [{:keys [ex] :as env} operations]
  (let [right (aclone ^bytes canary)]
    (rsm/put-bytes! ex 0 right)
    (some #(problem env right %) operations)))

(defn- with-env
  "Calls f with a segment, two mappings of overlapping windows by two connections, and a third
  connection."
  [f]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (let [connect #(rsm/connect! c {:segment-id (rsm/segment-id ex)})
            [im1 im2 im3] (repeatedly 3 connect)
            [m1 m2] (map #(rsm/map! %1 (windows %2)) [im1 im2] [:m1 :m2])]
        (try
          (rsm/with-local-memory [own (+ size 64)]
            (f {:ex ex :own own :places places
                :things {:ex ex :m1 m1 :m2 m2 :whole im3 :part im1}
                :all-right?
                (fn [^bytes right]
                  (and (same? right (rsm/get-bytes ex 0 size))
                       (same? right (rsm/get! im3 0 (byte-array size)))
                       (every? (fn [[k m]]
                                 (let [{:keys [offset length]} (windows k)]
                                   (same? (part right offset length) (rsm/get-bytes m 0 length))))
                               {:m1 m1 :m2 m2})))}))
          (finally
            (run! rsm/close! [im1 im2 im3])))))))

(def ^:private operations (gen/vector (gen-operation places) 1 8))

(defn- check [env n seed]
  (tc/quick-check n (prop/for-all* [operations] #(nil? (first-problem env %))) :seed seed))

(deftest what-is-put-is-what-everybody-gets
  (with-env
    (fn [env]
      (let [seed (new-seed)
            n (trials 300 30000)
            r (check env n seed)]
        (println (str "  data: " n " sequences of writes, seed " seed))
        (is (:pass? r)
            (when-not (:pass? r)
              (let [smallest (first (:smallest (:shrunk r)))]
                (str "seed " seed "\n" (pr-str smallest) "\n" (pr-str (first-problem env smallest))))))))))

(deftest operations-are-of-all-kinds
  ;; or else the property above says less than it seems to
  (let [ops (mapcat #(gen/generate operations (mod % 100) %) (range 1500))
        outcome #(expected-error (places (:on %)) %)
        kinds (frequencies (map (juxt :form outcome) ops))
        at-end? (fn [{:keys [on type values at] :as op}]
                  (and (seq values)
                       (= (+' at (* (long (width type)) (count values))) (:hi (places on)))
                       (nil? (outcome op))))]
    (doseq [form [:value :array :fill :heap-buffer :direct-buffer :copy :compare-and-set :get-and-add
                  :put :put-elements :putv :put-signal]
            error (cond-> [nil :rsm/bad-offset]
                    (#{:value :compare-and-set :get-and-add :put-elements} form) (conj :rsm/bad-mem-alignment))]
      (is (< 10 (kinds [form error] 0)) (str form " " error)))
    (doseq [on (keys places)
            pred [at-end? #(and (= (:at %) (:lo (places on))) (nil? (outcome %)))
                  #(= (dec (long (:lo (places on)))) (:at %))]]
      (is (some #(and (= on (:on %)) (pred %)) ops) (str "at an end of " on)))))

;; ------------------------------------------------- a mapping in own memory

(def ^:private gen-over
  (gen/let [at (gen/choose 0 4)
            pages (gen/choose 1 3)
            less (gen/frequency [[2 (gen/return 0)] [2 (gen/choose 0 (dec page))] [1 (gen/return (dec page))]])
            ops (let [length (- (* (long pages) page) (long less))]
                  (gen/vector (gen-operation {:over (over-place length)}) 1 6))]
    {:at (* (long at) page) :length (- (* (long pages) page) (long less)) :ops ops}))

(defn- over-problem
  "Maps a part of the segment into the middle of own memory, writes through the mapping, and looks
  at all bytes there are."
  [ex im spare {:keys [at length ops]}]
  (let [own-size (* 8 page)
        ;; the last page of the mapping belongs to it as a whole
        end (+ (long at) (* page (quot (+ (long length) (dec page)) page)))
        mine (byte-array (map #(unchecked-byte (* 7 (long %))) (range own-size)))]
    (rsm/with-local-memory [own own-size]
      (rsm/put-bytes! own 0 mine)
      (rsm/with-mapped-segment [m im {:over own :at at :offset page :length length}]
        (or (first-problem
             {:ex ex :own spare
              :places {:over (over-place length)} :things {:over m}
              :all-right?
              (fn [^bytes right]
                (and (same? right (rsm/get-bytes ex 0 size))
                     (same? (part right page length) (rsm/get-bytes m 0 length))
                     (same? (part right page length) (rsm/get-bytes own at length))
                     (same? (part mine 0 at) (rsm/get-bytes own 0 at))
                     (same? (part mine end (- own-size end)) (rsm/get-bytes own end (- own-size end)))))}
             ops))))))

(deftest a-mapping-in-own-memory-stays-in-its-bounds
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (rsm/with-local-memory [spare (+ size 64)]
          (let [seed (new-seed)
                n (trials 200 10000)
                r (tc/quick-check n (prop/for-all* [gen-over] #(nil? (over-problem ex im spare %))) :seed seed)]
            (println (str "  mapped over own memory: " n " times, seed " seed))
            (is (:pass? r)
                (when-not (:pass? r)
                  (let [[smallest] (:smallest (:shrunk r))]
                    (str "seed " seed "\n" (pr-str smallest) "\n"
                         (pr-str (over-problem ex im spare smallest))))))))))))

;; ------------------------------------------------------------- permissions

(defn- need
  "What an access function of one memory does to it."
  [name]
  (cond
    (re-find #"^(compare-and-set|get-and-add)-" name) :rdwr
    (str/starts-with? name "get-") :read
    (re-find #"^(put-|fill!)" name) :write))

(def ^:private rows
  "Every function that reads or writes memory: its name, what it :needs of the mapping :m, and a call.
  There is one row for each way in which it can get at the mapping. :im is the mapping's import
  segment, :other one of another segment, :own local memory."
  (concat
   (for [[name :as call] access/calls]
     {:f name :needs (need name) :call (fn [{:keys [m]}] (apply access/call [m call]))})
   (for [[name needs call]
         [["copy!" :read #(rsm/copy! (:m %) 8 (:own %) 0 8)]
          ["copy!" :write #(rsm/copy! (:own %) 0 (:m %) 8 8)]
          ["copy!" :rdwr #(rsm/copy! (:m %) 0 (:m %) 8 8)]
          ["get-text" :read #(rsm/get-text (:m %) 8 8)]
          ["put-text!" :write #(rsm/put-text! (:m %) 8 "text")]
          ["put-text!" :write #(rsm/put-text! (:m %) 8 "text" :length 8)]
          ["read-snapshot" :read #(rsm/read-snapshot (:m %) {:length 8 :timeout-ms 0})]
          ["read-snapshot" :read #(rsm/read-snapshot (:m %) {:read (fn [m] (rsm/get-byte m 8)) :timeout-ms 0})]
          ["write-snapshot!" :rdwr #(rsm/write-snapshot! (:m %) (byte-array 8) {:timeout-ms 0})]
          ["put!" :write #(rsm/put! (:im %) 8 (byte-array 8))]
          ["put!" :read #(rsm/put! (:other %) 8 (:m %) 8 8)]
          ["get!" :read #(rsm/get! (:im %) 8 (byte-array 8))]
          ["get!" :write #(rsm/get! (:other %) 8 (:m %) 8 8)]
          ["put-signal!" :write #(rsm/put-signal! (:im %) 8 (byte-array 8))]
          ["put-signal!" :read #(rsm/put-signal! (:other %) 0 (:m %))]
          ["putv!" :write #(rsm/putv! {:segment (:im %) :iovec [{:local (byte-array 8) :length 8}]})]
          ["putv!" :read #(rsm/putv! {:segment (:other %) :iovec [{:local (:m %) :length 8}]})]
          ["putv!" :read #(rsm/putv! {:segment (:other %) :iovec [{:local (:handle %) :length 8}]})]
          ["getv!" :read #(rsm/getv! {:segment (:im %) :iovec [{:local (byte-array 8) :length 8}]})]
          ["getv!" :write #(rsm/getv! {:segment (:other %) :iovec [{:local (:m %) :length 8}]})]
          ["getv!" :write #(rsm/getv! {:segment (:other %) :iovec [{:local (:handle %) :length 8}]})]]]
     {:f name :needs needs :call call})
   (for [n [8 16 32 64]
         [names needs call] [[put-names :write (fn [put! {:keys [im]}] (put! im 8 1))]
                             [put-names :write (fn [put! {:keys [im]}] (put! im 8 [1 2]))]
                             [put-names :read (fn [put! {:keys [other m]}] (put! other 8 m 8 1))]
                             [get-names :read (fn [get {:keys [im]}] (get im 8 1))]
                             [(update-vals get-names #(str % "!")) :read
                              (fn [get! {:keys [im]}] (get! im 8 ({8 (byte-array 1) 16 (short-array 1) 32 (int-array 1) 64 (long-array 1)} n)))]
                             [(update-vals get-names #(str % "!")) :write (fn [get! {:keys [other m]}] (get! other 8 m 8 1))]]
         :let [name (names n)]]
     {:f name :needs needs :call #(call (f name) %)})))

(defn- accesses-memory?
  "Whether some way to call a function begins with a memory and more, with a segment and an
  offset in it, or is by a request of scatter-gather."
  [v]
  (some (fn [[x & more]]
          (or (and (= 'memory x) more)
              (and (= 'segment x) (= 'offset (first more)))
              (= 'request x)))
        (:arglists (meta v))))

(deftest every-access-has-a-row
  (is (every? #{:read :write :rdwr} (map :needs rows)))
  (is (= (into (sorted-set) (map :f) rows)
         (into (sorted-set)
               (for [[n v] (ns-publics 'rsmapi.core) :when (accesses-memory? v)] (str n))))))

(defn- gives? [perm needs]
  (or (= :rdwr perm) (= perm needs)))

(defn- permission-problem
  "What is wrong with a row on a mapping with a permission, or nil."
  [{:keys [perm ex ex2 own] :as env} {:keys [f needs call]}]
  (rsm/put-bytes! ex 0 (byte-array page))
  (rsm/put-bytes! ex2 0 (byte-array page (byte 3)))
  (rsm/put-bytes! own 0 (byte-array page (byte 4)))
  (let [e (access/error #(call env))
        e (if (map? e) (:rsm/error e) e)]
    (if (gives? perm needs)
      (when (or (keyword? e) (class? e))
        {:f f :perm perm :needs needs :expected :success :error e})
      (cond
        (not= :rsm/perm-denied e) {:f f :perm perm :needs needs :expected :rsm/perm-denied :error e}
        (not= [#{0} #{3} #{4}] (map #(set (rsm/get-bytes % 0 page)) [ex ex2 own]))
        {:f f :perm perm :needs needs :changed true}))))

(defn- with-permission
  "Calls f for a mapping with a permission that the connection, or only the mapping, is restricted
  to."
  [perm restricted f]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (rsm/with-exported-segment [ex2 c {:size page}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)
                                          :perm (if (= :connection restricted) perm :rdwr)}]
          (rsm/with-imported-segment [other c {:segment-id (rsm/segment-id ex2)}]
            (rsm/with-mapped-segment [m im (when (= :mapping restricted) {:perm perm})]
              (rsm/with-local-memory [own page]
                (with-open [handle (rsm/create-localmemory-handle! c m)]
                  (f {:perm perm :ex ex :ex2 ex2 :im im :other other :m m :own own :handle handle}))))))))))

(deftest no-access-without-the-permission
  (doseq [perm [:read :write :rdwr]
          restricted [:connection :mapping]]
    (with-permission perm restricted
      (fn [env]
        (testing (str restricted)
          (is (= [] (keep #(permission-problem env %) rows))))))))

;; ------------------------------------------------------- what must be noticed

(defn- noticed? [env]
  (false? (:pass? (check env 300 7))))

(deftest faults-are-noticed
  (with-env
    (fn [{:keys [things own] :as env}]
      (let [{:keys [m1]} things
            size1 (:length (windows :m1))]
        (testing "the check of the bounds, in the library itself: a byte more is let through"
          ;; it is there, in the mapping's last page
          (doseq [limit ["readLimit" "writeLimit"]]
            (access/limit! m1 limit (inc (long size1)))
            (is (noticed? env) limit)
            (access/limit! m1 limit size1)))
        (testing "data"
          (let [put-shorts! rsm/put-shorts!, get64! rsm/get64!, copy! rsm/copy!]
            (with-redefs [rsm/put-shorts! (fn ([m at a] (put-shorts! m at a))
                                            ([m at a _] (put-shorts! m at a)))]
              (is (noticed? env) "the byte order is ignored"))
            (with-redefs [rsm/get64! (fn ([im at x] (get64! im at x))
                                       ([im at x i n] (get64! im at x 0 n)))]
              (is (noticed? env) "the index is ignored"))
            (with-redefs [rsm/copy! (fn [a at b to n] (copy! a at b to (if (identical? a own) (max 0 (dec n)) n)))]
              (is (noticed? env) "the last byte is not copied"))))
        (is (nil? (first-problem env (gen/generate operations 50 3))) "as it was"))))
  (testing "the check of the permission, in the library itself"
    ;; the kernel keeps nobody from reading a mapping for writing
    (with-permission :write :mapping
      (fn [{:keys [^SegmentMemory m] :as env}]
        (is (= [] (keep #(permission-problem env %) rows)))
        (access/limit! m "readLimit" page)
        (let [reading (filter #(= :read (:needs %)) rows)
              through? (set (map :f (keep #(permission-problem env %) reading)))]
          (is (every? through? ["get-long" "get-bytes" "get-buffer!" "copy!" "read-snapshot"]))
          (access/limit! m "readLimit" -1))))))
