(ns rsmapi.abuse-test
  "Use after unmap, after disconnect, after revocation and after close, by several threads
  while others map, unmap, publish, unpublish and destroy. Whatever happens, an access
  either reads what is right or throws an RSM error that is documented; and no JVM dies.

  All of it runs in children, whose death or crash fails the test. They load this
  namespace too, and are asked to call what stands under \"inside of a child\".

  How a wrong value shows: see rsmapi.test.pattern. Zeros are right only where the memory is being
  taken away, or in the last page, which is filled with zeros now and then."
  (:require [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [code]]
            [rsmapi.test.pattern :refer [accesses bits-at bytes-at tags verdict verdict-of-bytes]]
            [rsmapi.test.runner :as runner])
  (:import (clojure.lang ExceptionInfo)
           (java.nio ByteBuffer ByteOrder)
           (java.util SplittableRandom)
           (java.util.concurrent ConcurrentLinkedQueue CyclicBarrier TimeUnit)
           (java.util.concurrent.atomic AtomicBoolean AtomicLong)
           (org.rsmapi ExportSegment Mapping RsmException SegmentMemory)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* true)

(def ^:private page (rsm/page-size))
(def ^{:private true :const true} page-bytes (long (rsm/page-size)))

;; ------------------------------------------------------------- the pattern

(deftest the-detector-sees
  (let [right (long (bits-at 5 80 8))]
    (is (= :right (verdict 5 80 8 right)))
    (is (= :zeros (verdict 5 80 8 0)))
    (is (= :zeros (verdict 5 80 8 (bit-and right 0xffffffff))))
    (doseq [other tags :when (not= 5 other)]
      (is (= :wrong (verdict 5 80 8 (long (bits-at other 80 8)))) "another segment's")
      (is (= :wrong (verdict-of-bytes 5 80 (bytes-at other 80 3)))))
    (is (= :wrong (verdict 5 80 8 (long (bits-at 5 81 8)))) "from another place")
    (is (= :wrong (verdict 5 80 8 (long (bits-at 5 (+ 80 page-bytes) 8)))) "from another page")
    (is (= :wrong (verdict 5 80 8 (bit-xor right (bit-shift-left 1 63)))) "one bit")
    (is (= :wrong (verdict 5 80 2 (bit-and 0xffff (bit-xor right 1)))))
    (is (= :right (verdict-of-bytes 5 80 (bytes-at 5 80 100))))
    (is (= :zeros (verdict-of-bytes 5 80 (byte-array 100))))))

(deftest every-access-can-tell
  (rsm/with-local-memory [m (* 2 page)]
    (rsm/put-bytes! m 0 (bytes-at 5 0 (* 2 page-bytes)))
    (doseq [{:keys [name read write]} accesses, at [0 64 page (+ page-bytes 512)]]
      (testing name
        (is (= :right (read m 5 at at)))
        (is (= :right (write m 5 at at)))
        (is (= :right (read m 5 at at)) "what has been written")
        (is (= :wrong (read m 6 at at)) "another tag")
        (is (= :wrong (read m 5 at (+ 1 (long at)))) "another offset")))
    (is (= :right (verdict-of-bytes 5 0 (rsm/get-bytes m 0 (* 2 page-bytes)))) "no writer wrote anything else")
    (rsm/fill! m 0 (* 2 page-bytes) 0)
    (doseq [{:keys [name read]} accesses]
      (is (= :zeros (read m 5 0 0)) name))))

;; -------------------------------------------------- inside of a child: hammer

(def ^:private pages 4)

(defn- scratch-offset
  "From here on in a segment, zeros are always right."
  ^long []
  (* (dec (long pages)) page-bytes))

;; What there is to be used: {:memory, :tag, :start (offset of the window), :perm}. Those
;; who use a thing may go on with it whatever becomes of it.

(defn- over?
  "Whether memory that shows zeros has been taken away, or is about to be."
  [memory]
  (if (instance? ExportSegment memory)
    (not (.isOpen ^ExportSegment memory))
    (not (.isMapped ^Mapping memory))))

(def ^:private allowed
  "The codes that an access may fail with, by the kind of memory, for an offset in range."
  {:mapping #{11 40}, :export #{5}})

(defn- problem
  "Does one access. Returns nil, or what is wrong, as a map."
  [{:keys [memory tag start perm]} {:keys [name both] :as access} writes? at]
  (let [offset (+ (long start) (long at))
        say    (fn [what] {:access name :writes writes? :memory (str memory) :tag tag :offset offset :problem what})]
    (try
      (let [verdict ((access (if writes? :write :read)) memory tag at offset)]
        (case verdict
          :right nil
          :wrong (say "a wrong value")
          :zeros (when-not (or (<= (scratch-offset) (+ offset 64))
                               (:whole access)
                               (eventually (over? memory)))
                   (say "zeros in memory that is still there"))))
      (catch RsmException e
        (let [code (long (:rsm/code (ex-data e)))
              kind (if (instance? ExportSegment memory) :export :mapping)]
          (when-not (or ((allowed kind) code)
                        (and (= 27 code)
                             (not= :rdwr perm)
                             (or both (= "copy" name) (not= perm (if writes? :write :read)))))
            (say (pr-str (ex-data e))))))
      (catch Throwable t
        (say (str t))))))

(defn- random-at
  "An offset in the memory that leaves room for an access."
  [^SplittableRandom random memory]
  (* 8 (.nextInt random (int (- (quot (long (rsm/size memory)) 8) 8)))))

(defn- hammer
  "Uses what there is to be used until told to stop. Returns the number of accesses."
  [seed things ^AtomicBoolean stop ^ConcurrentLinkedQueue problems]
  (let [random (SplittableRandom. seed)
        n      (count accesses)]
    (loop [done 0]
      (if (or (.get stop) (< 20 (.size problems)))
        done
        (if-let [thing (let [all @things] (when (seq all) (nth all (.nextInt random (count all)))))]
          (let [uses (inc (.nextInt random 60))]
            (dotimes [_ uses]
              (when-let [p (problem thing (nth accesses (.nextInt random n)) (.nextBoolean random)
                                    (random-at random (:memory thing)))]
                (.add problems p)))
            (when (and (zero? (.nextInt random 8)) (instance? ExportSegment (:memory thing)))
              (code (rsm/fill! (:memory thing) (scratch-offset) page-bytes 0)))
            (recur (+ done uses)))
          (do (Thread/onSpinWait)
              (recur done)))))))

;; Who changes things. One slot is one segment, up to two import segments and their mappings.

(defn- expect-code! [what wanted got]
  (when-not (contains? wanted got)
    (throw (ex-info (str what " gave " got) {:what what :wanted wanted :got got}))))

(defn- export-new!
  "A published segment with its content."
  [c ^SplittableRandom random tag]
  (let [size  (* (long pages) page-bytes)
        mine  (when (zero? (.nextInt random 4)) (rsm/allocate! size))
        ex    (rsm/create! c (if mine {:address (rsm/address mine) :size size} {:size size}))]
    (rsm/put-bytes! ex 0 (bytes-at tag 0 size))
    (rsm/publish! ex)
    {:ex ex :tag tag :mine mine}))

(defn- windows [^SplittableRandom random]
  (let [first-page (.nextInt random (int pages))
        length     (- (* (- (long pages) first-page) page-bytes) (* 8 (.nextInt random 200)))]
    {:offset (* first-page page-bytes) :length length}))

(defn- things-of [slots]
  (vec (for [{:keys [ex tag imports old]} slots
             thing (concat (when ex [{:memory ex :tag tag :start 0 :perm :rdwr}])
                           (keep :thing imports)
                           old)]
         thing)))

(defn- changed
  "The slot after a change, chosen at random. What a thing was is kept for a while, so that
  it is used after its end."
  [c ^SplittableRandom random next-tag {:keys [ex tag imports] :as slot}]
  (let [nr    (.nextInt random 2)
        im    (get imports nr)
        keep! (fn [slot] (update slot :old #(vec (take 3 (cons (or (:thing im) {:memory ex :tag tag :start 0 :perm :rdwr}) %)))))
        perm  (nth [:read :write :rdwr :rdwr] (.nextInt random 4))]
    (case (int (if (nil? ex) 0 (.nextInt random 12)))
      0 (if ex
          (let [how (if (.nextBoolean random) #(rsm/destroy! ex) #(rsm/close! ex))]
            (expect-code! "destroy!" #{0} (code (how)))
            (some-> (:mine slot) rsm/close!)
            (-> slot (assoc :ex nil :mine nil) keep!))
          (do (run! #(some-> (:im %) rsm/close!) imports)
              (merge (select-keys slot [:old]) {:imports [nil nil]} (export-new! c random (next-tag)))))
      (1 2) (if (rsm/published? ex)
              (do (rsm/unpublish! ex) slot)
              (do (rsm/publish! ex) slot))
      (3 4 5 6 7) (cond
                    (and im (rsm/aborted? (:im im)))
                    (do (rsm/close! (:im im))
                        (-> slot keep! (assoc-in [:imports nr] nil)))
                    (nil? im)
                    (if (rsm/published? ex)
                      (assoc-in slot [:imports nr] {:im (rsm/connect! c {:segment-id (rsm/segment-id ex) :perm perm})})
                      slot)
                    (:thing im)
                    (do (expect-code! "unmap!" #{0} (code (rsm/unmap! (:im im))))
                        (-> slot keep! (assoc-in [:imports nr :thing] nil)))
                    :else
                    (let [{:keys [offset] :as window} (windows random)
                          m (rsm/map! (:im im) window)]
                      (assoc-in slot [:imports nr :thing]
                                {:memory m :tag tag :start offset
                                 :perm (keyword (.toLowerCase (str (.permission ^Mapping m))))})))
      8 (do (some-> (:im im) rsm/close!)
            (-> slot keep! (assoc-in [:imports nr] nil)))
      9 (if-let [m (get-in im [:thing :memory])]
          (do (rsm/close! m)
              (-> slot keep! (assoc-in [:imports nr :thing] nil)))
          slot)
      10 (do (when (rsm/published? ex) (rsm/republish! ex {:acl [{:node 0 :perm 0666}]})) slot)
      11 (assoc slot :old []))))

(defn- end-slot! [{:keys [ex imports mine]}]
  (run! #(some-> (:im %) rsm/close!) imports)
  (some-> ex rsm/close!)
  (some-> mine rsm/close!))

(defn- change-things
  "Changes slots until told to stop. Returns the number of changes."
  [c seed things stop ^ConcurrentLinkedQueue problems]
  (let [random   (SplittableRandom. seed)
        tag      (volatile! 0)
        next-tag #(nth tags (rem (long (vswap! tag inc)) (count tags)))
        end      (fn [slots done] (run! end-slot! slots) (reset! things []) done)]
    (loop [slots (vec (repeat 3 {:imports [nil nil]})), done 0]
      (if (or (.get ^AtomicBoolean stop) (seq problems))
        (end slots done)
        (let [nr    (.nextInt random (count slots))
              slots (try
                      (update slots nr #(changed c random next-tag %))
                      (catch Throwable t
                        (.add problems {:problem (str t) :data (str (ex-data t)) :after done})
                        slots))]
          (reset! things (things-of slots))
          (recur slots (inc done)))))))

(defn- in-threads
  "Runs functions in threads of their own. Returns what they return, or throw."
  [fs]
  (let [results (mapv (fn [_] (promise)) fs)]
    (run! (fn [[f result]]
            (doto (Thread. ^Runnable (fn [] (deliver result (try (f) (catch Throwable t t)))))
              (.setDaemon true)
              .start))
          (map vector fs results))
    results))

(defn- seconds-from-now [seconds]
  (+ (System/nanoTime) (long (* 1e9 (double seconds)))))

(defn- sleep-until [end ^ConcurrentLinkedQueue problems]
  (while (and (pos? (- (long end) (System/nanoTime))) (empty? problems))
    (Thread/sleep 5)))

(defn abuse
  "Lets four threads use what one thread changes. Returns what went wrong, and how much was
  done."
  [seed seconds]
  (rsm/with-controller [c "loopback"]
    (let [things   (atom [])
          stop     (AtomicBoolean.)
          problems (ConcurrentLinkedQueue.)
          changer  (first (in-threads [#(change-things c seed things stop problems)]))
          users    (in-threads (for [i (range 4)] #(hammer (+ (long seed) 1 (long i)) things stop problems)))]
      (sleep-until (seconds-from-now seconds) problems)
      (.set stop true)
      (let [changes (deref changer 60000 :hangs)
            uses    (mapv #(deref % 60000 :hangs) users)]
        {:problems (vec (take 5 problems))
         :hangs    (count (filter #{:hangs} (cons changes uses)))
         :threw    (vec (keep #(when (instance? Throwable %) (str %)) (cons changes uses)))
         :changes  changes
         :uses     (reduce + (filter number? uses))
         :engine   (.name org.rsmapi.mem.Engine/ENGINE)}))))

(defn left
  "What this process has, when it has got rid of everything."
  []
  (eventually (= {:mappings 0} (do (System/gc)
                                   (org.rsmapi.mem.Reclaim/reap)
                                   (child/belongings))))
  (child/belongings))

;; Mappings that nobody closes, used from their own object alone

(defn dropping
  "Maps, drops all but the mapping, and uses that in other threads while garbage is made
  and collected. The memory is there all the time, so that nothing may be amiss."
  [seed seconds]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (* (long pages) page-bytes)}]
      (rsm/put-bytes! ex 0 (bytes-at 9 0 (* (long pages) page-bytes)))
      (let [random   (SplittableRandom. seed)
            latest   (atom [])
            stop     (AtomicBoolean.)
            problems (ConcurrentLinkedQueue.)
            id       (rsm/segment-id ex)
            users    (in-threads
                      (for [i (range 2)]
                        (fn []
                          (let [random (SplittableRandom. (+ (long seed) (long i)))]
                            (loop [done 0]
                              (if (.get stop)
                                done
                                (if-let [m (let [all @latest] (when (seq all) (nth all (.nextInt random (count all)))))]
                                  (let [at  (random-at random m)
                                        got (try
                                              ((:read (nth accesses (.nextInt random (count accesses))))
                                               m 9 at (+ (long at) (.offset ^Mapping m)))
                                              (catch Throwable t (str t)))]
                                    (when-not (= :right got)
                                      (.add problems {:memory (str m) :problem got}))
                                    (recur (inc done)))
                                  (recur done))))))))
            end      (seconds-from-now seconds)
            made     (loop [n 0]
                       (if (or (neg? (- (long end) (System/nanoTime))) (seq problems))
                         n
                         (let [m (rsm/map! (rsm/connect! c {:segment-id id})
                                           {:offset (* page-bytes (.nextInt random (int pages)))})]
                           (swap! latest #(vec (take 4 (cons m %))))
                           (byte-array 100000)
                           (when (zero? (rem n 50)) (System/gc))
                           (recur (inc n)))))]
        (.set stop true)
        (let [uses (mapv #(deref % 60000 :hangs) users)]
          (reset! latest [])
          {:problems (vec (take 5 problems)) :made made :uses uses
           :importers-left (do (eventually (do (System/gc)
                                               (org.rsmapi.mem.Reclaim/reap)
                                               (zero? (long (rsm/importers ex)))))
                               (rsm/importers ex))})))))

;; --------------------------------------------- inside of a child: control calls

;; Each kind of handle has a model: the code of a call, and the state after it, by the
;; state. What threads get who call at the same time has to be what they would get one after
;; the other in some order.

(def ^:private import-model
  (fn [state call]
    (let [{:keys [connected mapped]} state]
      (case call
        :map        (cond (not connected) [5 state] mapped [9 state] :else [0 (assoc state :mapped true)])
        :unmap      (cond (not connected) [5 state] (not mapped) [11 state] :else [0 (assoc state :mapped false)])
        :disconnect (cond (not connected) [5 state] mapped [10 state] :else [0 (assoc state :connected false)])
        :close      [0 {:connected false :mapped false}]))))

(def ^:private export-model
  (fn [state call]
    (let [{:keys [open published]} state]
      (case call
        :publish   (cond (not open) [5 state] published [6 state] :else [0 (assoc state :published true)])
        :unpublish (cond (not open) [5 state] (not published) [7 state] :else [0 (assoc state :published false)])
        :republish [(cond (not open) 5 (not published) 7 :else 0) state]
        :destroy   [(if open 0 5) {:open false :published false}]
        :close     [0 {:open false :published false}]))))

(def ^:private controller-model
  (fn [references call]
    (case call
      :release (if (zero? (long references)) [3 references] [0 (dec (long references))])
      :close   [0 (max 0 (dec (long references)))]
      ;; when there is no reference left, get makes another controller
      :get     (if (zero? (long references)) [:another references] [:same (inc (long references))])
      :create  [(if (zero? (long references)) 4 0) references])))

(defn- outcomes
  "All that sequences of calls, done at the same time, may give: a set of vectors of
  vectors of codes with the last state."
  [model state sequences]
  (letfn [(explore [state sequences codes]
            (if (every? empty? sequences)
              #{[codes state]}
              (into #{}
                    (mapcat (fn [i]
                              (when-let [[call & others] (seq (nth sequences i))]
                                (let [[code next-state] (model state call)]
                                  (explore next-state
                                           (assoc sequences i others)
                                           (update codes i conj code))))))
                    (range (count sequences)))))]
    (explore state (vec sequences) (vec (repeat (count sequences) [])))))

(deftest the-model-of-concurrent-calls
  (is (= #{[[[0] [11]] {:connected true :mapped false}]
           [[[11] [0]] {:connected true :mapped false}]}
         (outcomes import-model {:connected true :mapped true} [[:unmap] [:unmap]])))
  (is (= #{[[[0] [0]] {:open true :published false}]
           [[[0] [7]] {:open true :published true}]}
         (outcomes export-model {:open true :published false} [[:publish] [:unpublish]])))
  (is (= #{[[[0] [0]] {:open true :published true}]
           [[[6] [0]] {:open true :published false}]}
         (outcomes export-model {:open true :published true} [[:publish] [:unpublish]])))
  (is (= #{[[[0 5] [5]] {:open false :published false}]
           [[[5 5] [0]] {:open false :published false}]}
         (outcomes export-model {:open true :published true} [[:destroy :destroy] [:destroy]]))))

(defn- together
  "Makes threads do their calls at the same time. Returns the codes of each."
  [^CyclicBarrier barrier do-call sequences]
  (let [results (in-threads (for [calls sequences]
                              (fn []
                                (.await barrier 30 TimeUnit/SECONDS)
                                (mapv #(try (do-call %) (catch Throwable t (str t))) calls))))]
    (mapv #(deref % 30000 :hangs) results)))

(defn- random-calls [^SplittableRandom random calls]
  (vec (repeatedly 2 (fn [] (vec (repeatedly (inc (.nextInt random 2)) #(nth calls (.nextInt random (count calls)))))))))

(defn- rounds
  "Makes n rounds with a handle of its own each. Returns the first results that no order of
  the calls explains."
  [seed n calls round]
  (let [random  (SplittableRandom. seed)
        barrier (CyclicBarrier. 2)]
    (into []
          (comp (keep (fn [_]
                        (let [sequences (random-calls random calls)
                              start     (.nextInt random 2)
                              {:keys [model state do-call last-state end]} (round start)
                              codes     (together barrier do-call sequences)
                              got       [codes (last-state)]]
                          (end)
                          (when-not (contains? (outcomes model state sequences) got)
                            {:state state :calls sequences :got (pr-str got)}))))
                (take 3))
          (range n))))

(defn import-calls [seed n]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (rounds seed n [:map :unmap :disconnect :close]
              (fn [mapped]
                (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex)})]
                  (when (= 1 mapped) (rsm/map! im))
                  {:model      import-model
                   :state      {:connected true :mapped (= 1 mapped)}
                   :do-call    #(case %
                                  :map        (code (rsm/map! im))
                                  :unmap      (code (rsm/unmap! im))
                                  :disconnect (code (rsm/disconnect! im))
                                  :close      (code (rsm/close! im)))
                   :last-state (fn [] {:connected (rsm/connected? im) :mapped (rsm/mapped? im)})
                   :end        #(rsm/close! im)}))))))

(defn export-calls [seed n]
  (rsm/with-controller [c "loopback"]
    (rounds seed n [:publish :unpublish :publish :unpublish :republish :destroy :close]
            (fn [published]
              (let [ex (rsm/create! c {:size page})
                    im (when (= 1 published)
                         (rsm/connect! c {:segment-id (rsm/publish! ex)}))]
                (some-> im rsm/map!)
                {:model      export-model
                 :state      {:open true :published (= 1 published)}
                 :do-call    #(case %
                                :publish   (code (rsm/publish! ex))
                                :unpublish (code (rsm/unpublish! ex))
                                :republish (code (rsm/republish! ex {:acl [{:node 0 :perm 0600}]}))
                                :destroy   (code (rsm/destroy! ex))
                                :close     (code (rsm/close! ex)))
                 :last-state (fn [] {:open (.isOpen ^ExportSegment ex) :published (rsm/published? ex)})
                 :end        (fn []
                               (rsm/close! ex)
                               (some-> im rsm/close!))})))))

(defn controller-calls [seed n]
  (rounds seed n [:get :release :close :create :release]
          (fn [more]
            (let [c      (rsm/get-controller "shm7" {:node 7})
                  others (ConcurrentLinkedQueue.)
                  get!   #(rsm/get-controller "shm7" {:node 7})]
              (when (= 1 more) (get!))
              {:model      controller-model
               :state      (inc (long more))
               :do-call    #(case %
                              :get     (let [got (get!)]
                                         (if (identical? c got) :same (do (.add others got) :another)))
                              :release (code (rsm/release-controller! c))
                              :close   (code (rsm/close! c))
                              :create  (code (rsm/close! (rsm/create! c {:size page}))))
               :last-state (fn []
                             (count (take-while zero? (repeatedly (fn [] (code (rsm/release-controller! c)))))))
               :end        #(run! rsm/release-controller! others)}))))

;; --------------------------------------------------------------- the tests

(defn- seed
  "A new one each time; it is printed."
  []
  (let [n (rand-int Integer/MAX_VALUE)]
    (println "  seed" n)
    n))

(defn- value [c form] (child/value c form 600000))

(defmacro ^:private with-helper [[sym opts] & body]
  `(child/with-child [~sym ~opts]
     (child/value ~sym '(require 'rsmapi.abuse-test))
     ~@body))

(defn- abused
  "What comes of abusing a child of these options for some seconds."
  [opts seconds]
  (let [seed    (rand-int Integer/MAX_VALUE)
        seconds (if (runner/long-run?) (* 20 (long seconds)) seconds)]
    (with-helper [c opts]
      (assoc (value c `(abuse ~seed ~seconds))
             :left (value c `(left))
             :label (str (:label opts) ", seed " seed)))))

(defn- check-abused! [{:keys [label problems hangs threw changes uses left]}]
  (println (format "  %s: %d accesses, %d changes" label uses changes))
  (testing label
    (is (= [] problems))
    (is (= 0 hangs))
    (is (= [] threw))
    (is (< 50 (long changes)))
    (is (< 1000 (long uses)))
    (is (= {:mappings 0} left))))

(def ^:private feature (.feature (Runtime/version)))

(def ^:private engines
  "Options of children with each of the engines that this JDK has."
  (cond-> [{:label "plain"}]
    (<= 22 feature)
    (conj {:label    "unsafe"
           :jvm-opts (cond-> ["-Drsmapi.engine=unsafe"]
                       (<= 23 feature) (conj "--sun-misc-unsafe-memory-access=allow"))})))

(deftest use-by-threads-while-another-one-changes-everything
  (let [results (mapv deref (mapv #(future (abused % 8)) engines))]
    (run! check-abused! results)
    (is (= (if (< feature 22) ["unsafe"] ["foreign" "unsafe"])
           (map :engine results)))))

(deftest the-library-interpreted-and-with-checks-of-jni
  ;; Nothing of the library is compiled, so that there is most time between a check and its
  ;; access. With -Xint nothing at all would be, and most of that time would be Clojure's.
  (check-abused! (abused {:label    "interpreted"
                          :jvm-opts ["-XX:CompileCommand=quiet" "-XX:CompileCommand=exclude,org.rsmapi.*::*"
                                     "-Xcheck:jni"]}
                         5))
  (when (runner/long-run?)
    (check-abused! (abused {:label "-Xint" :jvm-opts ["-Xint"]} 5))))

(defn known-at-once
  "Unpublishes or destroys n times under mappings in the same process. Returns how many of
  them could still be read afterwards."
  [n]
  (rsm/with-controller [c "loopback"]
    (reduce +
            (for [i    (range n)
                  :let [ex       (rsm/export! c {:size page})
                        imports  (vec (repeatedly 10 #(rsm/connect! c {:segment-id (rsm/segment-id ex)})))
                        mappings (mapv rsm/map! imports)
                        _        (if (even? (long i)) (rsm/unpublish! ex) (rsm/destroy! ex))
                        codes    (mapv #(code (rsm/get-byte % 0)) mappings)]]
              (do (run! rsm/close! (cons ex imports))
                  (count (remove #{40} codes)))))))

;; For what needs no child of its own.
(defonce ^:private shared (atom nil))

(use-fixtures :once
  (fn [run]
    (child/with-child [c {:label "small heap" :jvm-opts ["-Xmx48m" "-XX:+UseSerialGC"]}]
      (child/value c '(require 'rsmapi.abuse-test))
      (reset! shared c)
      (run))))

(deftest mappings-that-are-dropped-while-they-are-used
  (let [seed (seed)
        {:keys [problems made uses importers-left]} (value @shared `(dropping ~seed ~(if (runner/long-run?) 60 3)))]
    (is (= [] problems))
    (is (< 100 (long made)))
    (is (every? pos? uses))
    (is (= 0 importers-left))
    (is (= {:mappings 0} (value @shared `(left))))))

(deftest control-calls-at-the-same-time
  (let [seed (seed)
        n    (if (runner/long-run?) 20000 600)]
    (is (= [] (value @shared `(import-calls ~seed ~n))))
    (is (= [] (value @shared `(export-calls ~seed ~n))))
    (is (= [] (value @shared `(controller-calls ~seed ~n))))
    (is (= {:mappings 0} (value @shared `(left))))))

(deftest in-one-process-revocation-is-known-when-the-call-returns
  (is (= 0 (value @shared `(known-at-once 300)))))

(deftest a-crash-is-reported
  (let [c (child/start! {:label "victim"})
        e (try (child/ask c '(.getLong (com.sun.jna.Pointer. 8) 0)) (catch ExceptionInfo e e))]
    (is (instance? ExceptionInfo e))
    (is (:crashed? (ex-data e)))
    (is (thrown-with-msg? ExceptionInfo #"crashed" (child/stop! c)))))
