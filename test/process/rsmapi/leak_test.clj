(ns rsmapi.leak-test
  "Nothing is left behind: no descriptors, threads, mappings or names, after ten thousand
  rounds of everything, after whatever failed, after handles that nobody closed, and after
  descriptors or memory had run out. What is counted is counted in children, which do
  nothing else; they load this namespace too, and are asked to call what stands under
  \"inside of a child\"."
  (:require [clojure.java.io :as io]
            [clojure.set :as set]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.sim :as sim]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [code]]
            [rsmapi.test.runner :as runner])
  (:import (java.io File FileInputStream IOException)
           (java.lang.management ManagementFactory)
           (java.lang.ref WeakReference)
           (java.nio.file Files)
           (org.rsmapi RsmException)
           (org.rsmapi.mem Reclaim)
           (org.rsmapi.sys Fd Poll)))

(set! *warn-on-reflection* true)

(def ^:private page (rsm/page-size))

;; ------------------------------------------------------- inside of a child

(defn- descriptors
  "The open descriptors by what they are, and how many there are of each."
  []
  (->> (.listFiles (io/file "/proc/self/fd"))
       (keep (fn [^File fd]
               (try
                 (str/replace (str (Files/readSymbolicLink (.toPath fd))) #":\[\d+\]$" "")
                 (catch IOException _ nil)))) ; the one of the listing itself
       frequencies))

(defn- java-threads []
  (frequencies (map #(.getName ^Thread %) (keys (Thread/getAllStackTraces)))))

(defn- native-threads
  "The threads by the names the kernel has of them. The JVM's own are the same all the time,
  because the children's options keep it from starting some on demand."
  []
  (frequencies (keep #(try
                        (str/trim (child/proc "self/task" % "comm"))
                        (catch java.io.IOException _)) ; it has ended meanwhile
                     (.list (io/file "/proc/self/task")))))

(defn- virtual-bytes []
  (* 1024 (parse-long (second (re-find #"VmSize:\s+(\d+) kB" (child/proc "self/status"))))))

(defn inventory
  "What this process has."
  []
  {:descriptors    (descriptors)
   :java-threads   (java-threads)
   :native-threads (native-threads)
   :memory-files   (:mappings (child/belongings))
   :regions        (count (str/split-lines (child/proc "self/maps")))
   :virtual-bytes  (virtual-bytes)
   :waiting        (Reclaim/waiting)})

(def ^:private leeway
  "How much more there may be afterwards of what the JVM itself takes some of now and then:
  metaspace, compiled code, the C library's heaps. What ten thousand rounds leave behind is
  far beyond."
  {:regions 300, :virtual-bytes (bit-shift-left 256 20)})

(defn- more
  "What there is afterwards that was not there before, nil if nothing."
  [before after]
  (let [more? (fn [k]
                (let [some-more (leeway k), b (before k), a (after k)]
                  (cond some-more (< (+ b some-more) a)
                        (map? b)  (some (fn [[what n]] (< (get b what 0) n)) a)
                        :else     (not= b a))))]
    (not-empty (into {} (for [k (keys before) :when (more? k)]
                          [k {:before (before k) :after (after k)}])))))

(defn- settled
  "The inventory when the garbage collector has found everything, or as it is after some
  time."
  ([] (settled #(zero? (long (:waiting %)))))
  ([enough?]
   (loop [end (+ (System/nanoTime) 20000000000)]
     (System/gc)
     (Reclaim/reap)
     (let [now (inventory)]
       (if (or (enough? now) (neg? (- end (System/nanoTime))))
         now
         (do (Thread/sleep 5)
             (recur end)))))))

(defn- left-by
  "What is more after f than before."
  [f]
  (let [before (settled)]
    (f)
    (more before (settled #(not (more before %))))))

(defn- expect! [what wanted got]
  (when-not (= wanted got)
    (throw (ex-info (str what ": expected " wanted ", got " got) {:what what :wanted wanted :got got}))))

(defn- failure
  "The code of f's failure, nil if it does not fail."
  [f]
  (let [result (code (f))]
    (when-not (zero? (long result)) result)))

(def ^:private size (* 16 page))

(def ^:private kinds-of-round
  "Each takes the controller and a number, and returns the id it has used."
  [(fn [c n]
     (let [ex (rsm/create! c {:size size})
           id (rsm/publish! ex)
           im (rsm/connect! c {:segment-id id})
           m  (rsm/map! im)]
       (rsm/put-long! m 8 n)
       (expect! "the number at the exporter" n (rsm/get-long ex 8))
       (rsm/unmap! im)
       (rsm/disconnect! im)
       (rsm/destroy! ex)
       id))
   ;; a read-only import, a chosen id, and everything ended by its with- macro
   (fn [c n]
     (let [id (fresh-id)]
       (try
         (rsm/with-exported-segment [ex c {:size size :segment-id id}]
           (rsm/put-long! ex 8 n)
           (rsm/with-imported-segment [im c {:segment-id id :perm :read}]
             (rsm/with-mapped-segment [m im {:offset page}]
               (expect! "what is behind the number" 0 (rsm/get-long m 8)))
             (rsm/with-mapped-segment [m im]
               (expect! "the number at the importer" n (rsm/get-long m 8)))))
         (catch RsmException e
           (expect! "the reason why not" :rsm/segid-in-use (:rsm/error (ex-data e)))))
       id))
   ;; revoked, published again, destroyed under an importer
   (fn [c n]
     (let [ex  (rsm/export! c {:size size})
           id  (rsm/segment-id ex)
           one (rsm/connect! c {:segment-id id})
           m   (rsm/map! one)]
       (rsm/put-long! m 8 n)
       (rsm/unpublish! ex)
       (expect! "reading what was revoked" 40 (eventually (failure #(rsm/get-long m 8))))
       (let [again (rsm/publish! ex)
             two   (rsm/connect! c {:segment-id again})
             m     (rsm/map! two {:perm :read})]
         (expect! "the number after that" n (rsm/get-long m 8))
         (rsm/close! ex)
         (expect! "reading what was destroyed" 40 (eventually (failure #(rsm/get-long m 8))))
         (rsm/close! two))
       (rsm/close! one)
       id))
   ;; the caller's own memory, and another controller for as long as this takes
   (fn [c n]
     (rsm/with-local-memory [mine size]
       (rsm/with-local-memory [over size]
         (rsm/with-controller [shm "shm0" {:node 1}]
           (rsm/with-exported-segment [ex c {:address (rsm/address mine) :size size}]
             (rsm/with-exported-segment [same-memory shm {:address (rsm/address mine) :size size}]
               (rsm/put-long! mine 8 n)
               (rsm/with-imported-segment [im shm {:node 1 :segment-id (rsm/segment-id same-memory)}]
                 (rsm/with-mapped-segment [m im {:over over}]
                   (expect! "the number over the other memory" n (rsm/get-long m 8))
                   (expect! "and nothing" 0 (code (rsm/put-long! m 8 0))))))
             (expect! "the number is gone" 0 (rsm/get-long mine 8))
             (rsm/segment-id ex))))))
   ;; put and get, barriers, signals with poll descriptors in use at the end, and a rebind
   (fn [c n]
     (let [ex (rsm/create! c {:size size :allow-rebind true})
           id (rsm/publish! ex)
           im (rsm/connect! c {:segment-id id})
           p  (rsm/get-pollfd! im)
           q  (rsm/get-pollfd! ex)]
       (rsm/put64! im 8 n)
       (rsm/with-barrier [b im]
         (rsm/put-signal! im 16 (byte-array 8)))
       (expect! "who has an event" [ex] (map :segment (rsm/signal-wait-pollfd! [p q] {:timeout-ms 10000})))
       (expect! "no event in time" 42 (code (rsm/signal-wait! im {:timeout-ms 1})))
       (rsm/with-local-memory [mine size]
         (rsm/put-long! mine 8 (- (long n)))
         (with-open [h (rsm/create-localmemory-handle! c mine)]
           (rsm/getv! {:segment im :iovec [{:local h :local-offset 16 :remote-offset 8 :length 8}] :signal true}))
         (expect! "the number" n (rsm/get-long mine 16))
         (rsm/rebind! ex {:memory mine})
         (expect! "the other memory's number" (- (long n)) (first (rsm/get64 im 8 1)))
         (rsm/unpublish! ex)
         (expect! "reading what was revoked" 40 (eventually (failure #(rsm/get64 im 8 1))))
         (rsm/publish! ex)
         (rsm/close! ex)
         (rsm/close! im))
       id))
   ;; a listener that its exporter's end ends, and an importer that still is connected
   (fn [c n]
     (let [ex (rsm/export! c {:size page :prefault true :lock true})
           id (rsm/segment-id ex)
           im (rsm/connect! c {:segment-id id :perm :none})
           heard (promise)
           ended (promise)]
       (rsm/on-signal! im (fn [_] (deliver heard n)) {:on-end (fn [e] (deliver ended (:rsm/code (ex-data e))))})
       (rsm/signal-post! ex)
       (expect! "the event" n (deref heard 30000 :none))
       (rsm/close! ex)
       (expect! "the end" 40 (deref ended 30000 :none))
       (rsm/close! im)
       id))
   ;; a simulated world, in which the exporter revokes under a mapping; at times it ends before its handles
   (fn [_ n]
     (let [w  (sim/world {:seed n :memory (if (even? n) :shared :mirrored)})
           one (rsm/get-controller (sim/name w) {:node 1})
           two (rsm/get-controller (sim/name w) {:node 2})
           ex (rsm/export! one {:size size :acl [{:node 2 :perm 0600}]})
           im (rsm/connect! two {:node 1 :segment-id (rsm/segment-id ex)})
           m  (rsm/map! im)]
       (rsm/with-barrier [_ im]
         (rsm/put-long! m 8 n))
       (expect! "the number at the exporter" n (rsm/get-long ex 8))
       (rsm/unpublish! ex)
       (sim/run! w)
       (expect! "reading what was revoked" 40 (failure #(rsm/get-long m 8)))
       (when (zero? (rem (long n) 3)) (sim/close! w))
       (run! rsm/close! [m im ex two one])
       (sim/close! w)
       (rsm/segment-id ex)))])

(def ^:private mixture
  "All but the first two kinds take longer, and so come less often."
  (mapv kinds-of-round [0 1 0 1 6 0 1 2 0 1 4 0 1 5 6 0 1 3]))

(defn- rounds!
  "Does that many rounds. Returns the ids that were used."
  [c n]
  (into #{}
        (map (fn [i] ((mixture (rem (long i) (count mixture))) c i)))
        (range n)))

(defn- names-of
  "How many of these ids are published on this host."
  [ids]
  (->> (re-seq #"@rsmapi/\d+/([0-9a-f]{8})" (child/proc "net/unix"))
       (filter #(ids (parse-long (str (Long/parseLong (second %) 16)))))
       count))

(defn many-rounds
  "What n rounds leave behind."
  [n]
  (let [c       (rsm/get-controller "loopback")
        none    (java-threads)
        _       (rounds! c 600)
        before  (settled)
        ids     (rounds! c n)
        after   (settled #(not (more before %)))
        running (java-threads)]
    (rsm/release-controller! c)
    {:more       (more before after)
     :names      (names-of ids)
     :ids        (count ids)
     :thread     (get running "rsmapi-loopback" 0)
     :at-release (nil? (more {:java-threads none} {:java-threads (java-threads)}))
     :held       (child/belongings)}))

(defn thread-while-needed
  "How many threads of the library there are: while nothing is watched, with a publication,
  when the controller is released, and when the publication and the connection have ended."
  []
  (let [threads #(get (java-threads) "rsmapi-loopback" 0)
        c       (rsm/get-controller "loopback")
        idle    (threads)
        ex      (rsm/export! c {:size page})
        im      (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        busy    (threads)]
    (rsm/release-controller! c)
    (let [released (threads)]
      (rsm/close! ex)
      (let [connected (threads)]
        (rsm/close! im)
        [idle busy released connected (if (eventually (zero? (long (threads)))) 0 (threads))]))))

;; Failures

(defn- unpublished-id [c]
  (rsm/with-exported-segment [ex c {:size page}]
    (rsm/segment-id ex)))

(defn- bad-maps
  "Requests that map! refuses, with the code. The last two are refused by the kernel, and
  then tried a second time after a garbage collection."
  [ex]
  (concat
   (take 78 (cycle [[17 {:offset 100}]
                    [20 {:length 0}]
                    [18 {:offset -1}]
                    [20 {:length (* 2 (long size))}]
                    [26 {:perm :rdwr}]
                    [26 {:perm 0}]
                    [17 {:attr :fixed :address 100}]
                    [20 {:attr :fixed :address page}]]))
   [[20 {:attr :fixed :address (- (bit-shift-left 1 47) (long page)) :length (* 2 (long page))}]
    [20 {:attr :fixed :address (rsm/address ex)}]]))

(defn- bad-creates [ex]
  [[20 {:size 0}]
   [17 {:size 100}]
   [16 {:address 0 :size page}]
   [16 {:address page :size page}]
   [16 {:address (rsm/address ex) :size page}]
   [16 {:buffer (java.nio.ByteBuffer/allocate 4096)}]
   [32 {:size (bit-shift-left 1 62)}]])

(defn- wrongly [requests f n]
  (let [[wanted request] (nth requests (rem (long n) (count requests)))
        got (code (rsm/close! (f request)))]
    (if (= wanted got) :as-expected [request got])))

(defn failing
  "Tries what cannot work a thousand times. Returns for every kind the :outcomes, and what
  there was :more of afterwards."
  []
  (rsm/with-controller [c "loopback"]
    (rsm/with-controller [one "shm0" {:node 1}]
      (rsm/with-controller [two "shm0" {:node 2}]
        (rsm/with-exported-segment [ex c {:size size}]
          (rsm/with-exported-segment [other c {:size size}]
            (rsm/with-exported-segment [nobody c {:size size :acl [{:node 0 :perm 0}]}]
              (rsm/with-exported-segment [only-one one {:size size :acl [{:node 1 :perm 0666}]}]
                (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm :read}]
                  (rsm/unpublish! other)
                  (let [id      (fresh-id)
                        taken   (rsm/export! c {:size page :segment-id id})
                        no-id   (unpublished-id c)
                        connect (fn [c opts] (code (rsm/close! (rsm/connect! c opts))))
                        kinds   {:segid-in-use (fn [_] (code (rsm/publish! other {:segment-id id})))
                                 :refused      (fn [_] (connect c {:segment-id no-id}))
                                 :perm-denied  (fn [_] (connect c {:segment-id (rsm/segment-id nobody)}))
                                 :other-node   (fn [_] (connect two {:node 1 :segment-id (rsm/segment-id only-one)}))
                                 :export       (fn [_] (code (rsm/export! c {:size page :segment-id id})))
                                 :map          (partial wrongly (vec (bad-maps ex)) #(rsm/map! im %))
                                 :create       (partial wrongly (bad-creates ex) #(rsm/create! c %))}
                        result  (into {}
                                      (for [[kind f] kinds]
                                        (let [outcomes (volatile! nil)]
                                          (run! f (range 80))
                                          [kind {:more     (left-by #(vreset! outcomes (frequencies (map f (range 1000)))))
                                                 :outcomes @outcomes}])))]
                    (rsm/close! taken)
                    result))))))))))

;; Want

(defonce ^:private hogs (atom []))

(defn feed!
  "Gives back what hog! took."
  []
  (let [[taken _] (reset-vals! hogs [])]
    (run! #(.close ^FileInputStream %) taken)))

(defn hog!
  "Opens descriptors until only this many more can be opened. Returns how many there are."
  [free]
  (let [another #(try (FileInputStream. "/dev/null") (catch IOException _ nil))]
    (loop []
      (when-let [stream (another)]
        (swap! hogs conj stream)
        (recur)))
    (dotimes [_ free]
      (when-let [stream (peek @hogs)]
        (.close ^FileInputStream stream)
        (swap! hogs pop)))
    (count @hogs)))

(defn with-free
  "Calls f while only so many descriptors can be opened."
  [free f]
  (hog! free)
  (try
    (f)
    (finally
      (feed!))))

(def ^:private enough 40)

(defn- steps-with-free
  "The codes of steps one after the other while only so many descriptors can be opened,
  starting without a controller; up to the first that fails. All that there is is closed in
  the end. The id is one that another process has published."
  [free id]
  (let [held (atom {})
        get! (fn [k] (get @held k))
        step (fn [k f] (code (swap! held assoc k (f))))
        codes
        (with-free free
          (fn []
            (let [steps [[:get-controller #(step :c (fn [] (rsm/get-controller "loopback")))]
                         [:connect        #(step :far (fn [] (rsm/connect! (get! :c) {:segment-id id})))]
                         [:map            #(step :far-m (fn [] (rsm/map! (get! :far))))]
                         [:create         #(step :ex (fn [] (rsm/create! (get! :c) {:size page})))]
                         [:publish        #(code (rsm/publish! (get! :ex)))]
                         [:connect-own    #(step :im (fn [] (rsm/connect! (get! :c) {:segment-id (rsm/segment-id (get! :ex))
                                                                                     :timeout-ms 100
                                                                                     :perm :read})))]
                         [:map-own        #(step :m (fn [] (rsm/map! (get! :im))))]
                         [:unpublish      #(code (rsm/unpublish! (get! :ex)))]
                         [:publish-again  #(code (rsm/publish! (get! :ex)))]]]
              (loop [[[k f] & others] steps, codes []]
                (if-not k
                  codes
                  (let [result (f)]
                    (if (zero? (long result))
                      (recur others (conj codes [k 0]))
                      (conj codes [k result]))))))))]
    (run! #(some-> (get! %) rsm/close!) [:m :im :ex :far-m :far :c])
    codes))

(defn wanting-descriptors
  "How far the steps come with 0, 1, 2 ... free descriptors, and what there is more of
  afterwards."
  [id]
  (steps-with-free enough id)
  (let [result (volatile! nil)
        more   (left-by #(vreset! result (mapv (fn [free] (peek (steps-with-free free id))) (range enough))))]
    {:last-step @result
     :more      more}))

(defn fail-once!
  "Has a system call fail. The JVM opens files to load what that needs, unless they are in
  an archive."
  []
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (expect! "connecting to nobody" 7 (code (rsm/connect! c {:segment-id (unpublished-id c)})))
      (let [id (fresh-id)]
        (rsm/with-exported-segment [_ c {:size page :segment-id id}]
          (rsm/unpublish! ex)
          (expect! "publishing twice" 24 (code (rsm/publish! ex {:segment-id id}))))))))

(defn create-without-descriptors
  "What create! says without, and with descriptors."
  []
  (rsm/with-controller [c "loopback"]
    (let [create #(try
                    (rsm/close! (rsm/create! c {:size page}))
                    :created
                    (catch RsmException e
                      (select-keys (ex-data e) [:rsm/error :rsm/op :rsm/errno-name])))]
      [(create) (with-free 0 create) (create)])))

;; Waiting in want of descriptors

(defonce ^:private waiting-controller (delay (rsm/get-controller "loopback")))

(defn connect-with-free
  "The code of a connect while only so many descriptors can be opened, beside those that are left to the
  JVM."
  [free id timeout-ms]
  (let [c @waiting-controller]
    (try
      (with-free (+ (long free) (min 64 (quot (Fd/limit) 8)))
        #(code (rsm/close! (rsm/connect! c {:segment-id id :timeout-ms timeout-ms}))))
      (finally
        ;; no descriptor for waiting is kept for the next time, which shall be without again
        (Poll/keep false)))))

(defn- available-memory []
  (* 1024 (parse-long (second (re-find #"MemAvailable:\s+(\d+) kB" (child/proc "meminfo"))))))

(defn too-much-memory
  "What create! says to more memory than there is, and what there is more of afterwards."
  []
  (rsm/with-controller [c "loopback"]
    (let [too-much (-> (long (available-memory)) (+ (bit-shift-left 4 30)) (quot (long page)) (* (long page)))
          says     (volatile! nil)
          create   (fn [bytes]
                     (try
                       (rsm/close! (rsm/create! c {:size bytes}))
                       :created
                       (catch RsmException e
                         (select-keys (ex-data e) [:rsm/error :rsm/errno-name]))))]
      (create too-much)
      (let [left (left-by #(vreset! says (into #{} (map create) (repeat 100 too-much))))]
        {:says @says :more left :afterwards (create size)}))))

(defonce ^:private exported (atom nil))

(defn seen-to-be-left
  "Which counts show that something of this kind is left."
  [kind]
  (rsm/with-controller [c "loopback"]
    (rounds! c 12)
    (let [before (settled)
          end!   (case kind
                   :segment (let [ex (rsm/create! c {:size page})]
                              #(rsm/close! ex))
                   :memory  (let [memories (mapv (fn [_] (rsm/allocate! (* 64 (long size)))) (range 100))]
                              #(run! rsm/close! memories))
                   :thread  (let [thread (Thread. ^Runnable #(try (Thread/sleep 600000) (catch InterruptedException _ nil)))]
                              (.start thread)
                              #(doto thread .interrupt .join)))
          seen   (set (keys (more before (inventory))))]
      (end!)
      seen)))

(defn export-one!
  "Publishes a segment whose first long is 5. Returns its id."
  []
  (let [ex (rsm/export! (rsm/get-controller "loopback") {:size page})]
    (rsm/put-long! ex 0 5)
    (reset! exported ex)
    (rsm/segment-id ex)))

(defn importers [] (rsm/importers @exported))

(defn unexport! [] (rsm/close! (first (reset-vals! exported nil))))

(defn- reactor ^Thread []
  (some #(when (= "rsmapi-loopback" (.getName ^Thread %)) %) (keys (Thread/getAllStackTraces))))

(defn processor-share
  "The share of a second that the library's thread spends computing."
  []
  (let [mx    (ManagementFactory/getThreadMXBean)
        id    (.getId (reactor))
        used  (.getThreadCpuTime mx id)
        start (System/nanoTime)]
    (Thread/sleep 1000)
    (/ (double (- (.getThreadCpuTime mx id) used))
       (double (- (System/nanoTime) start)))))

;; Handles that nobody closes

(defn- forget-one! [c id n]
  (case (int (rem (long n) 4))
    0 (rsm/connect! c {:segment-id id})
    1 (rsm/put-long! (rsm/map! (rsm/connect! c {:segment-id id})) 0 n)
    2 (rsm/put-long! (rsm/create! c {:size size}) 0 n)
    3 (rsm/put-long! (rsm/allocate! size) 0 n))
  nil)

(defn forgetting
  "What is left of n handles that nobody closed, and whether a segment that was published
  and forgotten is still there."
  [n]
  (rsm/with-controller [c "loopback"]
    (let [ex     (WeakReference. (rsm/export! c {:size size}))
          id     (rsm/segment-id (.get ex))
          forget #(dotimes [i %] (forget-one! c id i))
          first  (do (run! rsm/close! (repeatedly 2 #(rsm/connect! c {:segment-id id})))
                     (inventory))
          _      (forget 40)
          before (settled #(= (:descriptors first) (:descriptors %)))
          _      (forget n)
          peak   (inventory)
          after  (settled #(not (more before %)))]
      {:peak  (- (long (get-in peak [:descriptors "socket"])) (long (get-in before [:descriptors "socket"])))
       :more  (more before after)
       :still (code (rsm/close! (rsm/connect! c {:segment-id id}))
                    (rsm/close! (.get ex)))})))

;; --------------------------------------------------------------- the tests

(def ^:private kinds-of-child
  "Options of children by kind. All of them have the JVM not start threads on demand."
  (update-vals
   {:plain {}
    ;; one whom an access list can refuse, if there can be one
    :user  {:uid 2001 :gid 3001}
    ;; Should the library ask the kernel for more memory than there is, after all, the kernel
    ;; refuses: files end at 2 GiB.
    :poor  {:prefix ["sh" "-c" "ulimit -f 4194304 && ulimit -n 160 && exec \"$@\"" "sh"]}}
   #(assoc % :jvm-opts ["-XX:+UseSerialGC" "-XX:-UseDynamicNumberOfCompilerThreads"])))

(defn- start! [kind]
  (let [opts (kinds-of-child kind)
        c    (child/start! (assoc (if (and (:uid opts) (child/obstacle opts)) (kinds-of-child :plain) opts)
                                  :label (str "child " (name kind))))]
    (child/value c '(require 'rsmapi.leak-test))
    c))

(defonce ^:private children (atom {}))

(defn- helper
  "A child of that kind, the same for all tests, in which what failures need is loaded."
  [kind]
  (or (@children kind)
      (let [c (start! kind)]
        (swap! children assoc kind c)
        (child/value c `(fail-once!))
        c)))

(use-fixtures :once
  (fn [run]
    (try
      (run)
      (finally
        (let [[started _] (reset-vals! children {})]
          (run! child/stop! (vals started)))))))

(defn- value [c form] (child/value c form 300000))

(deftest ten-thousand-rounds-leave-nothing
  (let [c (helper :plain)
        n (if (runner/long-run?) 100000 10000)
        {:keys [more names ids thread at-release held]} (value c `(many-rounds ~n))]
    (is (nil? more) "what there is more of than before")
    (is (< (quot n 2) (long ids)) "of so many")
    (is (= 0 names) "names in /proc/net/unix")
    (is (= 1 thread))
    (is at-release "the thread is gone when the last controller is released")
    (is (= {:mappings 0} held))
    (testing "who needs the thread"
      (is (= [0 1 1 1 0] (value c `(thread-while-needed)))))))

(deftest the-count-sees-what-is-left
  (let [seen #(value (helper :plain) `(seen-to-be-left ~%))]
    (is (= #{:descriptors :memory-files} (seen :segment)))
    (is (= #{:java-threads :native-threads} (seen :thread)))
    (is (= #{:virtual-bytes} (seen :memory)))))

(deftest handles-that-nobody-closes-are-collected
  (let [{:keys [peak more still]} (value (helper :plain) `(forgetting 1000))]
    (is (pos? (long peak)) "there was something to collect")
    (is (nil? more))
    (is (= 0 still) "what is published stays published")))

(deftest what-fails-leaves-nothing
  (let [result (value (helper :user) `(failing))]
    (is (= {:segid-in-use #{24}
            :refused      #{7}
            :perm-denied  #{27}
            :other-node   #{8}
            :export       #{24}
            :map          #{:as-expected}
            :create       #{:as-expected}}
           (update-vals result #(set (keys (:outcomes %))))))
    (doseq [[kind {:keys [more outcomes]}] result]
      (is (nil? more) (str kind))
      (is (= 1000 (reduce + (vals outcomes))) (str kind)))))

(defmacro ^:private unless-rich
  "Evaluates body, or skips it where there can be no child of kind :poor."
  [what & body]
  `(if-let [obstacle# (child/obstacle (kinds-of-child :poor))]
     (runner/skip! ~what obstacle#)
     (do ~@body)))

(def ^:private without-descriptors
  [:created
   {:rsm/error :rsm/insufficient-resources :rsm/op :export-create :rsm/errno-name "EMFILE"}
   :created])

(deftest descriptors-run-out-before-anything-else-has-failed
  (unless-rich "a first failure without descriptors"
    (let [c (start! :poor)]
      (try
        (is (= {:ok without-descriptors} (child/ask c `(create-without-descriptors)))
            "also where the classes of failures are files of their own, which cannot be opened now")
        (finally
          (child/stop! c))))))

(deftest descriptors-run-out
  (unless-rich "few descriptors"
    (let [c (helper :poor)]
      (testing "create!"
        (is (= without-descriptors (value c `(create-without-descriptors)))))
      (testing "everything, with 0, 1, 2 and so on free descriptors"
        (rsm/with-controller [here "loopback"]
          (rsm/with-exported-segment [ex here {:size page}]
            (let [{:keys [last-step more]} (value c `(wanting-descriptors ~(rsm/segment-id ex)))]
              (is (nil? more))
              (is (= [:publish-again 0] (peek last-step)) "with enough of them everything works")
              (is (set/subset? #{:connect :publish :connect-own} (set (map first last-step)))
                  "each of them meets the want")
              (doseq [[free [step code]] (map-indexed vector last-step)]
                ;; at connect-own it may be the exporter who has none to accept with
                (is (contains? (if (= :connect-own step) #{0 31 42} #{0 31}) code)
                    (str step " with " free " free descriptors"))))))))))

(deftest descriptors-run-out-while-waiting
  (unless-rich "waiting without descriptors"
    (let [exporter (start! :plain)
          importer (start! :poor)]
      (try
        (let [id       (value exporter `(export-one!))
              events   #(long (get (child/belongings (child/pid importer)) "anon_inode:[eventfd]" 0))
              ;; nobody has waited in that process before: what waiting needs is needed for the first time
              codes    (fn [frees timeout-ms]
                         (mapv #(value importer `(connect-with-free ~% ~id ~timeout-ms)) frees))
              ;; whether an importer waits for an exporter who is stopped until then, and the code
              slowly   (fn [free]
                         (child/signal! exporter "STOP")
                         (let [idle   (events)
                               ticket (child/send! importer `(connect-with-free ~free ~id 60000))
                               waits? #(< (long idle) (long (events)))
                               waits  (eventually (or (waits?) (when (realized? (:promise ticket)) :no)))]
                           (child/signal! exporter "CONT")
                           [(true? waits) (:ok (child/answer importer ticket 90000))]))]
          (child/signal! exporter "STOP")
          (is (= [31 31] (codes [0 1] 20000)) "there is none to connect with, or none to wait with")
          (is (= [42 42] (codes [4 8] 100)) "enough to wait for an exporter who does not answer")
          (child/signal! exporter "CONT")
          (let [results (mapv slowly (range 10))]
            (is (every? #{[false 31] [true 31] [true 0]} results) (str results))
            (is (= [[false 31] [true 0]] [(first results) (peek results)]) (str results))
            (is (some #{[true 31]} results) (str "one who has waited for the answer has none to take it: " results)))
          (is (= 4 (value importer `(with-free 0 #(code (rsm/get-controller "nosuch"))))) "no such controller, as ever"))
        (finally
          (child/signal! exporter "CONT")
          (run! child/stop! [exporter importer]))))))

(deftest an-exporter-without-descriptors-waits-and-serves-again
  (unless-rich "exporter without descriptors"
    (rsm/with-controller [here "loopback"]
      (let [exporter (helper :poor)
            id       (value exporter `(export-one!))
            connect  (fn [opts]
                       (try
                         (with-open [im (rsm/connect! here (assoc opts :segment-id id))]
                           (rsm/get-long (rsm/map! im) 0))
                         (catch RsmException e
                           (:rsm/error (ex-data e)))))]
        (is (= 5 (connect {})))
        (value exporter `(processor-share)) ; all that this needs is loaded now
        (is (eventually (= 0 (value exporter `(importers)))))
        (value exporter `(hog! 0))
        (is (= :rsm/timeout (connect {:timeout-ms 100})))
        (let [waiting (vec (repeatedly 3 #(future (connect {:timeout-ms 120000}))))
              share   (value exporter `(processor-share))]
          (is (< (double share) 0.2) "it does not spin")
          (is (not-any? realized? waiting) "the connections were waiting all the time")
          (value exporter `(feed!))
          (is (= [5 5 5] (map #(deref % 60000 :late) waiting)) "it serves again"))
        (testing "with one descriptor, for a reader who needs one of the exporter's"
          (is (eventually (= 0 (value exporter `(importers)))))
          (value exporter `(hog! 1))
          (is (= :rsm/insufficient-resources (connect {:perm :read :timeout-ms 30000})))
          (value exporter `(feed!))
          (is (= 5 (connect {:perm :read}))))
        (value exporter `(unexport!))))))

(deftest too-little-memory-is-an-error
  (unless-rich "too little memory"
    (is (= {:says       #{{:rsm/error :rsm/insufficient-mem :rsm/errno-name "ENOMEM"}}
            :more       nil
            :afterwards :created}
           (value (helper :poor) `(too-much-memory))))))
