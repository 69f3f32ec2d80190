(ns rsmapi.signal-test
  "Signals: every event is one wait, from whatever side, process or thread; and whoever waits is
  told when there is nothing to wait for any more. The children load this namespace too, and are
  asked to call what stands under \"inside of a process\"."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [failure outcome]]
            [rsmapi.test.segment :refer [with-segment]]
            [rsmapi.test.runner :as runner])
  (:import (java.util.concurrent.atomic AtomicLong)
           (org.rsmapi PollFd)
           (org.rsmapi.sys Epoll EventFd Fd)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

(defn- events
  "Takes all events there are, and returns how many."
  [segment]
  (loop [n 0]
    (if (nil? (failure (rsm/signal-wait! segment {:timeout-ms 0})))
      (recur (inc n))
      n)))

;; -------------------------------------------------------------- counting

(deftest as-many-waits-as-posts
  (with-segment [c ex im]
    (rsm/with-imported-segment [other c {:segment-id (rsm/segment-id ex) :perm :none}]
      (dotimes [_ 5] (rsm/signal-post! im))
      (dotimes [_ 2] (rsm/signal-post! other))
      (is (= [7 0 0] [(events ex) (events im) (events other)]) "any permission will do")
      (dotimes [_ 3] (rsm/signal-post! ex))
      (is (= [0 3 3] [(events ex) (events im) (events other)]) "one for each importer")
      (testing "without accumulation"
        (rsm/signal-post! im {:no-accumulate true})
        (rsm/signal-post! im {:no-accumulate true})
        (rsm/signal-post! im)
        (rsm/signal-post! other {:no-accumulate true})
        (is (= 2 (events ex)))
        (rsm/signal-post! ex)
        (is (= 1 (events im)))
        (dotimes [_ 2] (rsm/signal-post! ex {:no-accumulate true}))
        (is (= [1 1] [(events im) (events other)]) "each importer by itself")))))

(deftest posts-to-nobody
  (rsm/with-controller [c "loopback"]
    (let [ex (rsm/create! c {:size page})]
      (is (nil? (failure (rsm/signal-post! ex))) "not published")
      (is (= 0 (events ex)))
      (let [id (rsm/publish! ex)]
        (is (nil? (failure (rsm/signal-post! ex))) "no importer")
        (let [im (rsm/connect! c {:segment-id id})]
          (is (= 0 (events im)) "what was posted before does not count")
          (rsm/signal-post! im)
          (rsm/signal-post! ex)
          (rsm/signal-post! ex)
          (rsm/unpublish! ex)
          (is (= :rsm/conn-aborted (outcome (rsm/signal-post! im))))
          (is (= 1 (events ex)) "events survive the end of the publication")
          (is (= 2 (events im)) "and what was posted for an importer is there for it to take")
          (is (= :rsm/conn-aborted (outcome (rsm/signal-wait! im))) "before it is told")
          (rsm/publish! ex)
          (rsm/signal-post! ex)
          (is (= :rsm/conn-aborted (outcome (rsm/signal-wait! im {:timeout-ms 0}))) "it gets nothing of a successor")
          (rsm/close! im)
          (rsm/close! ex)
          (doseq [s [im ex], f [rsm/signal-post! rsm/signal-wait! rsm/get-pollfd! rsm/release-pollfd!]]
            (is (= :rsm/bad-seg-hndl (outcome (f s))))))))))

(deftest many-threads-take-each-event-once
  (with-segment [c ex im]
    (let [n 20000, taken (AtomicLong.)
          posters (mapv (fn [_] (future (dotimes [_ (quot n 4)] (rsm/signal-post! im)))) (range 4))
          takers (mapv (fn [_] (future (loop []
                                         (when (nil? (failure (rsm/signal-wait! ex {:timeout-ms 300})))
                                           (.incrementAndGet taken)
                                           (recur)))))
                       (range 3))]
      (run! deref posters)
      (run! deref takers)
      (is (= n (.get taken)))
      (is (= 0 (events ex))))))

(deftest a-waiter-that-loses-the-race-waits-on
  ;; two wait, and one event comes: one gets it, and the other has its time
  (with-segment [c ex im]
    (dotimes [_ 50]
      (let [results (mapv (fn [_] (future (let [start (System/nanoTime)]
                                            [(outcome (rsm/signal-wait! ex {:timeout-ms 60}))
                                             (quot (- (System/nanoTime) start) 1000000)])))
                          (range 2))]
        (rsm/signal-post! im)
        (let [outcomes (mapv deref results)]
          (is (= #{nil :rsm/timeout} (set (map first outcomes))))
          (is (<= 60 (long (second (first (filter first outcomes)))))))))))

;; ---------------------------------------------------- who waits and is told

(defn- waiting
  "A thread that waits for ever, and a promise of what came of it."
  [segment]
  (let [result (promise)
        thread (Thread. ^Runnable #(deliver result (outcome (rsm/signal-wait! segment))))]
    (.start thread)
    {:thread thread :result result}))

(defn- waits? [{:keys [^Thread thread]}]
  (some #(= "poll" (.getMethodName ^StackTraceElement %)) (.getStackTrace thread)))

(defn- told [{:keys [result]}] (deref result 30000 :still-waiting))

(deftest waiters-are-woken
  (rsm/with-controller [c "loopback"]
    (doseq [[what end! expected]
            [["a post" (fn [_ ex] (rsm/signal-post! ex)) nil]
             ["unpublish" (fn [_ ex] (rsm/unpublish! ex)) :rsm/conn-aborted]
             ["destroy" (fn [_ ex] (rsm/destroy! ex)) :rsm/conn-aborted]
             ["disconnect" (fn [im _] (rsm/disconnect! im)) :rsm/bad-seg-hndl]
             ["close" (fn [im _] (rsm/close! im)) :rsm/bad-seg-hndl]]]
      (testing (str "of an import segment, by " what)
        (let [ex (rsm/export! c {:size page})
              im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
              w  (waiting im)]
          (is (eventually (waits? w)))
          (end! im ex)
          (is (= expected (told w)))
          (run! rsm/close! [im ex]))))
    (doseq [[what end! expected]
            [["a post" (fn [im _] (rsm/signal-post! im)) nil]
             ["destroy" (fn [_ ex] (rsm/destroy! ex)) :rsm/bad-seg-hndl]
             ["close" (fn [_ ex] (rsm/close! ex)) :rsm/bad-seg-hndl]]]
      (testing (str "of an export segment, by " what)
        (let [ex (rsm/export! c {:size page})
              im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
              w  (waiting ex)]
          (is (eventually (waits? w)))
          (end! im ex)
          (is (= expected (told w)))
          (run! rsm/close! [im ex]))))
    (testing "of an export segment, by the events of another publication"
      (let [ex (rsm/export! c {:size page})
            im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
            w  (waiting ex)]
        (is (eventually (waits? w)))
        (rsm/unpublish! ex)
        (rsm/close! im)
        (let [im (rsm/connect! c {:segment-id (rsm/publish! ex)})]
          (is (not (realized? (:result w))))
          (rsm/signal-post! im)
          (is (nil? (told w)))
          (run! rsm/close! [im ex]))))))

(deftest a-waiter-is-interrupted
  (with-segment [c ex im]
    (doseq [s [ex im]]
      (let [w (waiting s)]
        (is (eventually (waits? w)))
        (.interrupt ^Thread (:thread w))
        (is (= :rsm/interrupted (told w))))
      (testing "before it waits"
        (let [result (promise)]
          (.start (Thread. ^Runnable (fn []
                                       (.interrupt (Thread/currentThread))
                                       (deliver result [(outcome (rsm/signal-wait! s))
                                                        (.isInterrupted (Thread/currentThread))]))))
          (is (= [:rsm/interrupted true] (deref result 30000 :still-waiting)))))
      (testing "but an event that is there is taken"
        (rsm/signal-post! (if (= s ex) im ex))
        (let [result (promise)]
          (.start (Thread. ^Runnable (fn []
                                       (.interrupt (Thread/currentThread))
                                       (deliver result (outcome (rsm/signal-wait! s))))))
          (is (nil? (deref result 30000 :still-waiting))))))))

;; ------------------------------------------------------- poll descriptors

(deftest poll-descriptors
  (with-segment [c ex im]
    (let [^PollFd p (rsm/get-pollfd! ex), ^PollFd q (rsm/get-pollfd! im)]
      (is (= #{:in :rdnorm} (:events (datafy p))))
      (is (= (.fd p) (.fd ^PollFd (rsm/get-pollfd! ex))) "the same for each reference")
      (testing "over a mix of segments and others"
        (with-open [other (EventFd.)]
          (let [fds [p {:fd (.number (.fd other)) :events #{:in}} q {:fd 1000000 :events #{:in}}]
                ready #(into {} (map (juxt :fd :revents)) (rsm/signal-wait-pollfd! fds {:timeout-ms 100}))]
            (is (= {1000000 #{:nval}} (ready)) "one that is none")
            (let [fds (pop fds)
                  ready #(into {} (map (juxt :fd :revents)) (rsm/signal-wait-pollfd! fds {:timeout-ms 100}))]
              (is (= :rsm/timeout (outcome (ready))))
              (rsm/signal-post! ex)
              (is (= {(.fd q) #{:rdnorm}} (ready)))
              (is (= :rsm/timeout (outcome (ready))) "it is taken")
              (rsm/signal-post! im)
              (rsm/signal-post! ex)
              (rsm/signal-post! ex)
              (.signal other)
              (is (= {(.fd p) #{:rdnorm} (.fd q) #{:rdnorm} (.number (.fd other)) #{:in}} (ready)))
              (is (= {(.fd q) #{:rdnorm} (.number (.fd other)) #{:in}} (ready)) "one of each is taken, the other's stays")
              (is (= [im] (keep :segment (do (rsm/signal-post! ex)
                                             (rsm/signal-wait-pollfd! fds)))))))))
      (testing "in an epoll set, over the end of a publication"
        (with-open [set (Epoll.)]
          ;; by its number, as another library would
          (let [make (doto (.getDeclaredConstructor Fd (into-array Class [Integer/TYPE])) (.setAccessible true))
                fd   (.newInstance make (object-array [(int (.fd p))]))]
              (.add set ^Fd fd 7)
              (is (= [] (vec (.await set 0))))
              (rsm/signal-post! im)
              (is (= [7] (vec (.await set 1000))))
              (is (= 1 (events ex)))
              (is (= [] (vec (.await set 0))))
              (rsm/signal-post! im)
              (rsm/unpublish! ex)
              (is (= [7] (vec (.await set 1000))) "the event is there still")
              (is (= 1 (events ex)))
              (let [again (rsm/connect! c {:segment-id (rsm/publish! ex)})]
                (is (= [] (vec (.await set 0))))
                (rsm/signal-post! again)
                (is (= [7] (vec (.await set 1000))) "and one of the next publication")
                (rsm/close! again)))))
      (testing "references"
        (is (= :rsm/pollfd-in-use (outcome (rsm/disconnect! im))))
        (is (= :rsm/pollfd-in-use (outcome (rsm/destroy! ex))))
        (dotimes [_ 2] (rsm/release-pollfd! ex))
        (is (nil? (rsm/release-pollfd! ex)) "once more does nothing")
        (is (nil? (failure (rsm/destroy! ex))))
        (is (= [{:fd (.fd p) :revents #{:hup} :segment ex}]
               (rsm/signal-wait-pollfd! [p])) "of a segment that has ended")
        (is (= [{:fd (.fd q) :revents #{:hup} :segment im}]
               (rsm/signal-wait-pollfd! [q])) "and of one whose exporter is gone")
        (is (= :rsm/pollfd-in-use (outcome (rsm/disconnect! im))))
        (is (nil? (rsm/close! im)) "close! does it nevertheless")))))

(deftest several-threads-wait-with-one-poll-descriptor
  (with-segment [c ex im]
    (let [p (rsm/get-pollfd! ex)
          posts 20000
          taken (AtomicLong.)
          empty-results (AtomicLong.)
          waiters (mapv (fn [_]
                          (future
                            (loop []
                              (let [found (outcome (rsm/signal-wait-pollfd! [p] {:timeout-ms 300}))]
                                (when-not (= :rsm/timeout found)
                                  (if (= [#{:rdnorm}] (map :revents found))
                                    (.incrementAndGet taken)
                                    (.incrementAndGet empty-results))
                                  (recur))))))
                        (range 4))]
      (dotimes [_ posts] (rsm/signal-post! im))
      (run! deref waiters)
      (is (= posts (.get taken)) "each event is reported once")
      (is (zero? (.get empty-results)) "a wait that returns has found something")
      (is (zero? (long (events ex)))))))

(deftest pollers-are-woken
  (with-segment [c ex im]
    (doseq [[s end! expected] [[im #(rsm/unpublish! ex) #{:hup}]
                               [ex #(rsm/close! ex) #{:hup}]]]
      (let [p (rsm/get-pollfd! s)
            result (promise)
            thread (Thread. ^Runnable #(deliver result (outcome (rsm/signal-wait-pollfd! [p]))))]
        (.start thread)
        (is (eventually (waits? {:thread thread})))
        (end!)
        (is (= [expected] (map :revents (deref result 30000 [{:revents :still-waiting}]))))))
    (is (= :rsm/bad-args-errors (outcome (rsm/signal-wait-pollfd! [nil]))))
    (is (= :rsm/timeout (outcome (rsm/signal-wait-pollfd! [] {:timeout-ms 0}))))))

;; -------------------------------------------------------------- listeners

(deftest a-function-for-each-event
  (with-segment [c ex im]
    (let [seen (atom []), ended (promise)
          l (rsm/on-signal! ex #(swap! seen conj %) {:on-end #(deliver ended [%])})]
      (dotimes [_ 10] (rsm/signal-post! im))
      (is (eventually (= (repeat 10 ex) @seen)))
      (rsm/close! l)
      (is (= [nil] (deref ended 30000 :late)))
      (rsm/signal-post! im)
      (is (= 1 (events ex)) "nobody takes them any more")
      (is (nil? (rsm/close! l))))
    (testing "ends with its exporter"
      (let [ended (promise)
            l (rsm/on-signal! im identity {:on-end #(deliver ended (:rsm/error (ex-data %)))})]
        (rsm/unpublish! ex)
        (is (= :rsm/conn-aborted (deref ended 30000 :late)))
        (rsm/close! l)))
    (testing "ends when the function fails"
      (let [ended (promise)
            l (rsm/on-signal! ex (fn [_] (throw (ex-info "mine" {}))) {:on-end #(deliver ended (ex-message %))})]
        (rsm/with-imported-segment [again c {:segment-id (rsm/publish! ex)}]
          (rsm/signal-post! again)
          (is (= "mine" (deref ended 30000 :late))))
        (rsm/close! l)))
    (testing "ends when the function throws a checked exception, or an error"
      (doseq [^Throwable failure [(java.io.IOException. "mine") (Exception. "mine") (InterruptedException. "mine")
                                  (AssertionError. "mine")]]
        (let [ended (promise)
              l (rsm/on-signal! ex (fn [_] (throw failure)) {:on-end #(deliver ended %)})]
          (rsm/with-imported-segment [again c {:segment-id (rsm/segment-id ex)}]
            (rsm/signal-post! again)
            (is (identical? failure (deref ended 30000 :late))))
          (rsm/close! l))))
    (testing "can be closed from inside"
      (let [l (promise), ended (promise)]
        (deliver l (rsm/on-signal! ex (fn [_] (rsm/close! @l)) {:on-end #(deliver ended [%])}))
        (rsm/with-imported-segment [again c {:segment-id (rsm/segment-id ex)}]
          (rsm/signal-post! again)
          (is (= [nil] (deref ended 30000 :late))))))
    (is (= :rsm/bad-args-errors (outcome (rsm/on-signal! ex nil))))
    (is (not-any? #(= "rsmapi-listener" (.getName ^Thread %))
                  (filter #(.isAlive ^Thread %) (keys (Thread/getAllStackTraces))))
        "no thread is left")))

;; ----------------------------------------------------- inside of a process

(defonce ^:private held (atom nil))

(defn import!
  ([id] (import! id :rdwr))
  ([id perm]
   (let [c (rsm/get-controller "loopback")]
     (reset! held {:c c :im (rsm/connect! c {:segment-id id :perm perm})})
     nil)))

(defn answer-each!
  "Posts one event for each of n that come."
  [n]
  (let [{:keys [im]} @held]
    (dotimes [_ n]
      (rsm/signal-wait! im {:timeout-ms 30000})
      (rsm/signal-post! im))))

(defn wait-for-ever []
  (let [{:keys [im]} @held]
    [(outcome (rsm/signal-wait! im)) (System/nanoTime)]))

(deftest between-processes
  (rsm/with-controller [c "loopback"]
    (child/with-child [child {}]
      (child/value child '(require 'rsmapi.signal-test))
      (rsm/with-exported-segment [ex c {:size page}]
        (child/value child `(import! ~(rsm/segment-id ex)))
        (let [n 2000
              ticket (child/send! child `(answer-each! ~n))]
          (dotimes [_ n]
            (rsm/signal-post! ex)
            (rsm/signal-wait! ex {:timeout-ms 30000}))
          (is (= {:ok nil} (child/answer child ticket)))
          (is (= 0 (events ex)))))
      (testing "the exporter's end"
        (is (eventually (= :rsm/conn-aborted (:rsm/error (:error (child/ask child '(rsm/signal-wait! (:im @@#'rsmapi.signal-test/held) {:timeout-ms 1000})))))))
        (child/value child '(rsm/close! (:im @@#'rsmapi.signal-test/held)))))))

(deftest another-users-signals
  (let [opts {:uid 2003 :gid 2003}]
    (if-let [obstacle (child/obstacle opts)]
      (runner/skip! "signals of another user" obstacle)
      (rsm/with-controller [c "loopback"]
        (child/with-child [child opts]
          (child/value child '(require 'rsmapi.signal-test))
          (rsm/with-exported-segment [ex c {:size page :acl [{:node (rsm/node-id c) :perm 0604}]}]
            (is (= :rsm/perm-denied (:rsm/error (:error (child/ask child `(import! ~(rsm/segment-id ex)))))))
            (doseq [perm [:read :none]]
              (child/value child `(import! ~(rsm/segment-id ex) ~perm))
              (child/value child '(rsm/signal-post! (:im @@#'rsmapi.signal-test/held)))
              (is (= 1 (events ex)) "who may read may signal, and so may who may nothing")
              (rsm/signal-post! ex)
              (is (= 1 (child/value child '(#'rsmapi.signal-test/events (:im @@#'rsmapi.signal-test/held)))))
              (is (= :rsm/perm-denied
                     (:rsm/error (:error (child/ask child '(rsm/put-signal! (:im @@#'rsmapi.signal-test/held) 0 (byte-array 1)))))))
              (is (= 0 (events ex)) "no signal without its put")
              (child/value child '(rsm/close! (:im @@#'rsmapi.signal-test/held))))))))))

(deftest killed-while-somebody-waits
  (child/with-child [importer {}]
    (child/value importer '(require 'rsmapi.signal-test))
    (let [exporter (child/start! {})
          id (child/value exporter '(do (def ex (rsm/export! (rsm/get-controller nil) {:size 4096}))
                                        (rsm/segment-id ex)))]
      (child/value importer `(import! ~id))
      (let [ticket (child/send! importer `(wait-for-ever))]
        (is (eventually (= 1 (child/value exporter '(rsm/importers ex)))))
        (child/kill-9! exporter)
        (is (= :rsm/conn-aborted (first (:ok (child/answer importer ticket)))))))))
