(ns rsmapi.virtual-test
  "Virtual threads that wait are parked: they keep no carrier from other virtual threads."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.segment :refer [with-segment]])
  (:import (java.util.concurrent CountDownLatch TimeUnit)
           (java.util.concurrent.atomic AtomicInteger)
           (org.rsmapi.sys Fd Sockets)))

(set! *warn-on-reflection* true)

(def ^:private patience-ms 60000)

(defn- start-virtual!
  "Runs f in a virtual thread, which is returned. By name: JDK 17 does not have them."
  ^Thread [f]
  (.invoke (.getMethod Thread "startVirtualThread" (into-array Class [Runnable])) nil (object-array [f])))

(defn- start-all!
  "Runs f, of a number below n, in n virtual threads. Their :threads and a :results function that
  waits for what each has returned, or for how it failed."
  [n f]
  (let [results (object-array n)
        latch   (CountDownLatch. n)]
    {:threads (mapv (fn [i]
                      (start-virtual! #(do (aset results (int i) (outcome (f i)))
                                           (.countDown latch))))
                    (range n))
     :results #(if (.await latch patience-ms TimeUnit/MILLISECONDS)
                 (frequencies results)
                 [:still-waiting (.getCount latch) (frequencies results)])}))

(defn- carriers []
  (.availableProcessors (Runtime/getRuntime)))

(defn- parked?
  "Whether that many virtual threads are parked in a wait."
  [threads]
  (child/eventually (every? #(#{"WAITING" "TIMED_WAITING"} (str (.getState ^Thread %))) threads)))

(defn post-from-a-virtual-thread
  "Twice as many threads wait as there are carriers, and then another one posts for them."
  []
  (with-segment [_ ex im]
    (let [n (* 2 (long (carriers)))
          {:keys [threads results]} (start-all! n (fn [_] (rsm/signal-wait! ex {:timeout-ms patience-ms}) :event))]
      (parked? threads)
      (start-virtual! #(dotimes [_ n] (rsm/signal-post! im)))
      (results))))

(defn ten-thousand-wait []
  (with-segment [_ ex im]
    (let [{:keys [threads results]} (start-all! 10000 (fn [_] (rsm/signal-wait! ex {:timeout-ms patience-ms}) :event))]
      (parked? threads)
      (dotimes [_ 10000] (rsm/signal-post! im))
      [(results) (outcome (rsm/signal-wait! ex {:timeout-ms 0}))])))

(defn some-are-interrupted
  "Every second one is, while events are posted: one of those that are may have got one at the
  same time, so there are as many events as threads."
  []
  (with-segment [_ ex im]
    (let [{:keys [threads results]} (start-all! 2000 (fn [_] (rsm/signal-wait! ex {:timeout-ms patience-ms}) :event))]
      (parked? threads)
      (doseq [[i ^Thread thread] (map-indexed vector threads)]
        (when (even? (long i))
          (.interrupt thread))
        (rsm/signal-post! im))
      (let [found (results)
            left  (count (take-while #(= % :event)
                                     (repeatedly #(outcome (rsm/signal-wait! ex {:timeout-ms 0}) :event))))]
        [(reduce + (vals found))
         (keys (dissoc found :event :rsm/interrupted))
         (+ (long (:event found 0)) left)]))))

(defn the-end-wakes-all []
  (rsm/with-controller [c "loopback"]
    (let [ex (rsm/export! c {:size 4096})
          im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
          waits (start-all! 1000 (fn [i] (rsm/signal-wait! (if (even? (long i)) ex im) {:timeout-ms patience-ms})))]
      (parked? (:threads waits))
      (rsm/close! ex)
      (let [found ((:results waits))]
        (rsm/close! im)
        found))))

(defn several-descriptors
  "Each of 200 threads waits for two segments, with a descriptor of each."
  []
  (with-segment [_ ex im]
    (with-segment [_ other of-other]
      (let [fds     [(rsm/get-pollfd! ex) (rsm/get-pollfd! other)]
            taken   (AtomicInteger.)
            waits   (start-all! 200 (fn [_]
                                      (let [n (count (rsm/signal-wait-pollfd! fds {:timeout-ms patience-ms}))]
                                        (.addAndGet taken n)
                                        :events)))]
        (parked? (:threads waits))
        (dotimes [_ 200] (rsm/signal-post! im) (rsm/signal-post! of-other))
        (let [found ((:results waits))
              left  (fn [x] (count (take-while #{:event}
                                               (repeatedly #(outcome (rsm/signal-wait! x {:timeout-ms 0}) :event)))))
              sum   (+ (.get taken) (long (left ex)) (long (left other)))]
          (run! rsm/release-pollfd! [ex other])
          [found sum])))))

(defn connects-that-are-not-answered
  "A listener that never answers. More connects than carriers, and what another virtual thread
  does meanwhile."
  []
  (rsm/with-controller [c "loopback"]
    (let [id 0x7c0ffee0
          ^Fd silent (Sockets/listen (format "rsmapi/0/%08x" id) 128)]
      (try
        (let [{:keys [threads results]} (start-all! (* 8 (long (carriers)))
                                                    (fn [_] (rsm/connect! c {:segment-id id :timeout-ms 3000})))
              other (promise)]
          (parked? threads)
          (start-virtual! #(deliver other (count (filter (fn [^Thread t] (.isAlive t)) threads))))
          [(deref other patience-ms :late) (results)])
        (finally (.close silent))))))

(defn what-is-left
  "Threads of the library when everything is closed."
  []
  (let [threads #(filter (fn [^Thread t] (re-find #"^rsmapi" (.getName t))) (keys (Thread/getAllStackTraces)))]
    (child/eventually (empty? (threads)))
    (mapv str (threads))))

(deftest virtual-threads-that-wait
  (if (< (.feature (Runtime/version)) 21)
    (runner/skip! "virtual-threads" "this JDK has no virtual threads")
    (child/with-child [c {:label "virtual"}]
      (child/value c '(require 'rsmapi.virtual-test) 90000)
      (testing "as many as there are carriers, and more"
        (is (= {:event (* 2 (long (carriers)))} (child/value c `(post-from-a-virtual-thread) 90000))))
      (testing "ten thousand, and an event for each"
        (is (= [{:event 10000} :rsm/timeout] (child/value c `(ten-thousand-wait) 120000))))
      (testing "interrupts take no event away"
        (is (= [2000 nil 2000]
               (child/value c `(some-are-interrupted) 90000))))
      (testing "the end of the segment"
        (is (= {:rsm/bad-seg-hndl 500, :rsm/conn-aborted 500} (child/value c `(the-end-wakes-all) 90000))))
      (testing "several descriptors"
        (is (= [{:events 200} 400] (child/value c `(several-descriptors) 90000))))
      (testing "connect!"
        (is (= [(* 8 (long (carriers))) {:rsm/timeout (* 8 (long (carriers)))}]
               (child/value c `(connects-that-are-not-answered) 90000))))
      (testing "nothing is left"
        (is (= [] (child/value c `(what-is-left) 30000)))))))
