(ns rsmapi.interrupt-test
  "Thread.interrupt and timeouts: what waits for an exporter that does not answer, and what
  does not wait and so must not care. On platform threads, and on virtual threads where the
  JDK has them."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [code failure]]
            [rsmapi.test.runner :as runner])
  (:import (java.nio ByteOrder)
           (java.util Arrays SplittableRandom)
           (java.util.concurrent.atomic AtomicBoolean AtomicLong)
           (org.rsmapi RsmException)
           (org.rsmapi.mem Reclaim)
           (org.rsmapi.sys Fd Sockets)))

(set! *warn-on-reflection* true)

(def ^:private page (rsm/page-size))

;; ----------------------------------------------------------------- threads

(defn- platform-thread ^Thread [^Runnable f]
  (doto (Thread. f) (.setDaemon true)))

(defn- virtual-thread
  "A virtual thread, not started. Named by strings: JDK 17 does not have them."
  ^Thread [f]
  (let [builder (Class/forName "java.lang.Thread$Builder")
        virtual (.invoke (.getMethod Thread "ofVirtual" (make-array Class 0)) nil (object-array 0))]
    (.invoke (.getMethod builder "unstarted" (into-array Class [Runnable])) virtual (object-array [f]))))

(def ^:private virtual-threads? (<= 21 (.feature (Runtime/version))))

(def ^:private kinds-of-thread
  (cond-> {"platform" platform-thread}
    virtual-threads? (assoc "virtual" virtual-thread)))

(def ^:private patience-ms
  "How long to wait for what should be there at once."
  30000)

(defn- started
  "Starts f in a thread of that kind. Returns the :thread and a promise of the :result, a
  vector: what f returned or threw, and the thread's interrupt status after that."
  [make f]
  (let [result (promise)
        thread ^Thread (make (fn []
                               (let [value (try (f) (catch Throwable t t))]
                                 (deliver result [value (.isInterrupted (Thread/currentThread))]))))]
    (.start thread)
    {:thread thread :result result}))

(defn- result-of [{:keys [result]}]
  (deref result patience-ms :still-waiting))

(defn- interrupt! [{:keys [^Thread thread]}]
  (.interrupt thread))

(defn- running-interrupted
  "The result of f in a thread that has been interrupted before."
  [make f]
  (result-of (started make (fn []
                             (.interrupt (Thread/currentThread))
                             (f)))))

;; ----------------------------------------------------- exporters that are none

(defn- silent-listener
  "Listens under the name of a segment, and leaves it at that. Connections up to the backlog
  are made by the kernel, and nobody accepts them."
  ^Fd [id backlog]
  (Sockets/listen (format "rsmapi/0/%08x" id) backlog))

(defn- settled
  "What this process holds, when the garbage collector has found everything."
  []
  (dotimes [_ 2]
    (System/gc)
    (Thread/sleep 20)
    (Reclaim/reap))
  (child/belongings))

(defmacro ^:private leaving-nothing
  "Evaluates body, and asserts that afterwards this process holds what it held before."
  [& body]
  `(let [before# (settled)]
     ~@body
     (is (eventually (= before# (settled))))))

(defn- outcome-of-connect [c id timeout-ms]
  (try
    (rsm/close! (rsm/connect! c {:segment-id id :timeout-ms timeout-ms}))
    :connected
    (catch RsmException e
      (select-keys (ex-data e) [:rsm/error :rsm/code :rsm/op]))))

(def ^:private interrupted {:rsm/error :rsm/interrupted :rsm/code 41 :rsm/op :import-connect})
(def ^:private timed-out {:rsm/error :rsm/timeout :rsm/code 42 :rsm/op :import-connect})

(def ^:private ten-minutes 600000)

(defn- waits-in? [^Thread thread method]
  (some #(= method (.getMethodName ^StackTraceElement %)) (.getStackTrace thread)))

(def ^:private waiting-method
  "The method in which a thread of each kind waits for a descriptor."
  {"platform" "poll" "virtual" "park"})

(defn- waits? [kind thread]
  (waits-in? thread (waiting-method kind)))

(defn- warm-up!
  "Has threads of all kinds wait for an event that does not come: what is started once for such
  waits, and kept while a controller is open, has been started then."
  [c]
  (rsm/with-exported-segment [ex c {:size page}]
    (doseq [make (vals kinds-of-thread)]
      (is (= [42 false] (result-of (started make #(code (rsm/signal-wait! ex {:timeout-ms 1})))))))))

(defmacro ^:private with-silence
  "A controller c, and the id of a segment that nobody answers for."
  [[c id backlog] & body]
  `(rsm/with-controller [~c "loopback"]
     (let [~id (fresh-id)]
       (warm-up! ~c)
       (is (= :rsm/seg-not-published (failure (rsm/connect! ~c {:segment-id ~id}))))
       (with-open [_# (silent-listener ~id ~backlog)]
         ~@body))))

(deftest connect-is-interrupted
  (with-silence [c id 256]
    (doseq [[kind make] kinds-of-thread]
      (testing kind
        (leaving-nothing
         (testing "before the call"
           (is (= [interrupted true] (running-interrupted make #(outcome-of-connect c id ten-minutes)))))
         (testing "while it waits"
           (dotimes [_ 10]
             (let [waiting (started make #(outcome-of-connect c id ten-minutes))]
               (is (eventually (waits? kind (:thread waiting))))
               (interrupt! waiting)
               (is (= [interrupted true] (result-of waiting)) "and the interrupt stays set"))))
         (testing "at any moment"
           (let [random (SplittableRandom. 1)]
             (is (= #{[interrupted true]}
                    (set (repeatedly 60 (fn []
                                          (let [waiting (started make #(outcome-of-connect c id ten-minutes))
                                                end     (+ (System/nanoTime) (.nextInt random 2000000))]
                                            (while (pos? (- end (System/nanoTime)))
                                              (Thread/onSpinWait))
                                            (interrupt! waiting)
                                            (result-of waiting))))))))))))))

(deftest connect-is-interrupted-when-not-even-the-kernel-takes-it
  (with-silence [c id 0]
    (leaving-nothing
     ;; a backlog of 0 is one connection
     (let [first-one (started platform-thread #(outcome-of-connect c id ten-minutes))]
       (is (eventually (waits? "platform" (:thread first-one))))
       (doseq [[kind make] kinds-of-thread]
         (testing kind
           (is (= timed-out (first (result-of (started make #(outcome-of-connect c id 5))))))
           (is (= [interrupted true] (running-interrupted make #(outcome-of-connect c id ten-minutes))))
           (let [waiting (started make #(outcome-of-connect c id ten-minutes))]
             (is (eventually (waits-in? (:thread waiting) "parkNanos")))
             (interrupt! waiting)
             (is (= [interrupted true] (result-of waiting))))))
       (interrupt! first-one)
       (is (= [interrupted true] (result-of first-one)))))))

(deftest connect-times-out
  (doseq [[backlog where] [[256 "no answer"] [0 "no acceptance"]]]
    (testing where
      (with-silence [c id backlog]
        (leaving-nothing
         (let [first-one (when (zero? (long backlog))
                           (started platform-thread #(outcome-of-connect c id ten-minutes)))]
           (when first-one
             (is (eventually (waits? "platform" (:thread first-one)))))
           (doseq [[kind make] kinds-of-thread, ms [0 1 250]]
             (testing (str kind ", " ms " ms")
               (let [start (System/nanoTime)]
                 (is (= [timed-out false] (result-of (started make #(outcome-of-connect c id ms)))))
                 (is (<= (* 1000000 (long ms)) (- (System/nanoTime) start)) "not before its time"))))
           (when first-one
             (interrupt! first-one)
             (is (= [interrupted true] (result-of first-one))))))))))

(deftest an-exporter-that-ends-wakes-who-waits
  (doseq [[kind make] kinds-of-thread]
    (testing kind
      (rsm/with-controller [c "loopback"]
        (let [id       (fresh-id)
              listener (silent-listener id 16)
              waiting  (started make #(outcome-of-connect c id ten-minutes))]
          (is (eventually (waits? kind (:thread waiting))))
          (.close listener)
          ;; the second attempt finds nobody
          (is (= [{:rsm/error :rsm/seg-not-published :rsm/code 7 :rsm/op :import-connect} false]
                 (result-of waiting))))))))

(deftest interrupts-during-connects-that-work
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (let [id (rsm/segment-id ex)]
        (rsm/close! (rsm/connect! c {:segment-id id}))
        (warm-up! c)
        (doseq [[kind make] kinds-of-thread]
          (testing kind
            (leaving-nothing
             (let [random  (SplittableRandom. 2)
                   stop    (AtomicBoolean.)
                   connect (started make
                                    (fn []
                                      (into #{}
                                            (map (fn [_]
                                                   (let [got  (outcome-of-connect c id ten-minutes)
                                                         set? (Thread/interrupted)]
                                                     (if (= :connected got) got [got set?]))))
                                            (range 1500))))
                   pester  (started platform-thread
                                    (fn []
                                      (while (not (.get stop))
                                        (interrupt! connect)
                                        (dotimes [_ (.nextInt random 3000)]
                                          (Thread/onSpinWait)))))
                   [got _] (result-of connect)]
               (.set stop true)
               (result-of pester)
               (is (contains? got :connected))
               (is (every? #{:connected [interrupted true]} got) "an interrupt that ends the call stays set"))
             (is (eventually (= 0 (rsm/importers ex)))))))))))

;; --------------------------------------------------------- what does not wait

(defn- everything-else
  "Every call but connect!. Returns what has been read."
  [c im]
  (let [size (* 4 (long page))]
    (rsm/with-controller [_ "loopback"]
      (rsm/with-controller [shm "shm3" {:node 3}]
        (rsm/close! (rsm/export! shm {:size page})))
      (rsm/with-local-memory [mine size]
        (let [m    (rsm/map! im)
              _    (rsm/unmap! m)
              over (rsm/map! im {:over mine})
              seen (rsm/get-long over 8)
              _    (rsm/close! over)
              ex   (rsm/create! c {:size size})]
          (rsm/put-long! ex 8 seen)
          (rsm/publish! ex)
          (rsm/republish! ex {:acl [{:node 0 :perm 0600}]})
          (rsm/unpublish! ex)
          (rsm/publish! ex)
          (let [seen (rsm/get-long ex 8)]
            (rsm/destroy! ex)
            [seen (count (rsm/get-bytes mine 0 size)) (.isInterrupted (Thread/currentThread))]))))))

(deftest calls-that-do-not-wait-do-not-care
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (* 4 page)}]
      (rsm/put-long! ex 8 77)
      (doseq [[kind make] kinds-of-thread]
        (testing kind
          (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
            (is (= [[77 (* 4 (long page)) true] true]
                   (running-interrupted make #(everything-else c im))))
            (is (= [nil true] (running-interrupted make #(rsm/disconnect! im)))))))
      (testing "the last release waits for the library's thread, whatever comes"
        (doseq [[kind make] kinds-of-thread]
          (testing kind
            (let [shm (rsm/get-controller "shm4" {:node 4})]
              (is (= [nil true] (running-interrupted make #(rsm/release-controller! shm)))))))))))

;; While a segment's memory moves

(defn- writer
  "Writes increasing numbers to one place of each page, over and over, in a thread. Whatever
  the library takes has to be there when the thread comes by again; what is not is counted
  as :lost. Calls may be refused with the code 41."
  [make ex offset ^AtomicBoolean stop]
  (let [pages   (quot (long (rsm/size ex)) (long page))
        offset  (long offset)
        written (long-array pages)
        lost    (AtomicLong.)
        turns   (AtomicLong.)
        turn!   (fn [^long n ^long value]
                  (try
                    (let [at (+ offset (* n (long page)))]
                      (when-not (= (aget written n) (rsm/get-long ex at))
                        (.incrementAndGet lost))
                      (rsm/put-long! ex at value)
                      (aset written n value))
                    (catch RsmException e
                      (when-not (= 41 (:rsm/code (ex-data e)))
                        (throw e))
                      (Thread/interrupted)))
                  (.incrementAndGet turns))]
    (assoc (started make
                    (fn []
                      (loop [value 1]
                        (when-not (.get stop)
                          (turn! (rem value pages) value)
                          (recur (inc value))))
                      ;; what came last
                      (Thread/interrupted)
                      (dotimes [n pages]
                        (turn! n 0))))
           :lost lost :turns turns)))

(defn move-under-interrupts
  "Unpublishes and publishes a segment that has been imported, n times, while its memory is
  written, by a thread of that kind and another one, and everybody is interrupted all the
  time. Returns what was lost, which codes there were, and how the writers ended."
  [kind n pages]
  (rsm/with-controller [c "loopback"]
    (let [make    (kinds-of-thread kind)
          ex      (rsm/create! c {:size (* (long pages) (long page))})
          stop    (AtomicBoolean.)
          spare   (AtomicBoolean.) ; whether the mover is not to be interrupted
          ;; one of that kind: several busy virtual threads starve each other
          writers [(writer make ex 0 stop) (writer platform-thread ex 8 stop)]
          ;; no sleep in here, which would be interrupted
          go-on   (fn []
                    (let [marks (mapv #(+ 100 (.get ^AtomicLong (:turns %))) writers)
                          end   (+ (System/nanoTime) 30000000000)]
                      (while (and (some true? (map #(< (.get ^AtomicLong (:turns %1)) (long %2)) writers marks))
                                  (pos? (- end (System/nanoTime))))
                        (Thread/yield))))
          mover   (started platform-thread
                           (fn []
                             (into #{}
                                   (mapcat (fn [_]
                                             (go-on)
                                             [(code (rsm/publish! ex))
                                              ;; an import makes the move necessary
                                              (do (.set spare true)
                                                  (loop []
                                                    (Thread/interrupted)
                                                    (let [got (code (rsm/close! (rsm/connect! c {:segment-id (rsm/segment-id ex)})))]
                                                      (if (= 41 got) (recur) got))))
                                              (do (.set spare false)
                                                  (code (rsm/unpublish! ex)))]))
                                   (range n))))
          pester  (started platform-thread
                           (fn []
                             (while (not (.get stop))
                               (run! interrupt! (if (.get spare) writers (cons mover writers)))
                               (Thread/onSpinWait))))
          [moves] (deref (:result mover) 120000 [:hangs])]
      (.set stop true)
      (let [ends (mapv (comp first result-of) (cons pester writers))]
        (try
          {:codes   moves
           :lost    (mapv #(.get ^AtomicLong (:lost %)) writers)
           :ends    (mapv #(when (instance? Throwable %) (str %)) ends)
           :writes? (mapv #(<= (* 100 (long n)) (.get ^AtomicLong (:turns %))) writers)}
          (finally
            (rsm/close! ex)))))))

(def ^:private all-well
  {:codes #{0} :lost [0 0] :ends [nil nil nil] :writes? [true true]})

(deftest interrupts-while-the-memory-moves
  (doseq [kind (keys kinds-of-thread)]
    (testing kind
      (is (= all-well (move-under-interrupts kind 60 16)))
      (testing "much of it"
        (is (= all-well (move-under-interrupts kind 4 8192)))))))

(defn move-under-bulk-writes
  "Unpublishes and publishes a segment that has been imported, n times, while a thread of
  that kind fills it with one array after the other, in the byte order that takes longer.
  Returns how many of the arrays were not there afterwards, and how the writer ended."
  [kind n longs]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (* 8 (long longs))}]
      (let [make   (kinds-of-thread kind)
            order  (if (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder)) :big-endian :little-endian)
            stop   (AtomicBoolean.)
            lost   (AtomicLong.)
            turns  (AtomicLong.)
            writer (started make
                            (fn []
                              (let [values (long-array longs)
                                    there  (long-array longs)]
                                (while (not (.get stop))
                                  (Arrays/fill values (.incrementAndGet turns))
                                  (rsm/put-longs! ex 0 values order)
                                  (rsm/get-longs! ex 0 there order)
                                  (when-not (Arrays/equals values there)
                                    (.incrementAndGet lost))))))]
        (dotimes [_ n]
          (rsm/close! (rsm/connect! c {:segment-id (rsm/segment-id ex) :timeout-ms ten-minutes}))
          (rsm/unpublish! ex)
          (let [mark (+ 2 (.get turns))]
            (eventually (< mark (.get turns))))
          (rsm/publish! ex))
        (.set stop true)
        {:lost (.get lost) :result (result-of writer)}))))

(deftest bulk-writes-while-the-memory-moves
  (doseq [kind (keys kinds-of-thread)]
    (is (= {:lost 0 :result [nil false]} (move-under-bulk-writes kind 40 131072)) kind)))

(deftest writes-while-the-memory-moves-with-the-library-interpreted
  ;; then an access takes longest, and can be stopped between its check and what it does
  (child/with-child [c {:label    "interpreted"
                        :jvm-opts ["-XX:CompileCommand=quiet" "-XX:CompileCommand=exclude,org.rsmapi.*::*"]}]
    (child/value c '(require 'rsmapi.interrupt-test))
    (doseq [kind (keys kinds-of-thread)]
      (testing kind
        (is (= all-well (child/value c `(move-under-interrupts ~kind 40 4) 120000)))
        (is (= {:lost 0 :result [nil false]}
               (child/value c `(move-under-bulk-writes ~kind 30 131072) 120000))
            "arrays")))))

(deftest virtual-threads
  (if virtual-threads?
    (is (.isDaemon (virtual-thread #())) "they are there, and all of the above has been done with them")
    (runner/skip! "virtual threads" "this JDK has none")))
