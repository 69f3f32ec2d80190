(ns rsmapi.net-share-test
  "What gateways share out among those who ask for it: connects, places at the doors, and second links."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.hosts :as hosts]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as network]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.wire :as wire])
  (:import (java.io IOException)
           (java.net InetAddress ServerSocket Socket)
           (java.util.concurrent.atomic AtomicInteger)
           (org.rsmapi Controller ImportSegment)
           (org.rsmapi.net KeyFile)))

(set! *warn-on-reflection* true)

(defmacro ^:private with-nodes
  "Runs the body with nodes 1 (net0) and 2 (net1)."
  [& body]
  `(let [end!# (network/begin! [1 2] "uids=same")]
     (try ~@body (finally (end!#)))))

(defn- key-of-node-1 []
  (KeyFile/read "test" (KeyFile/defaultFile "test" 0)))

(defn- port-of [node]
  (:port (first (filter #(= node (:node %)) (hosts/nodes)))))

;; ---------------------------------------------------------------- connects

(def ^:private good-id (fresh-id))
(def ^:private stuck-ids (range (+ good-id 1) (+ good-id 9)))

(defn- answer-within
  "The code of the answer to a connect, :late, or how the link has ended."
  [link number id uid ms]
  (let [asking (future (let [answer (wire/ask! link #{:answer} (wire/connect number id :perm 0400 :uid uid :gid uid :ms 60000))]
                         (if (map? answer) (when (= number (:connection answer)) (:code answer)) answer)))]
    (deref asking ms :late)))

(deftest connects-of-one-user-do-not-hold-up-another
  (with-nodes
    (child/with-child [gateway {:label "gateway of node 2"}]
      (child/value gateway `(do (require '~'rsmapi.hosts)
                                (def ~'controller (rsm/get-controller "net1"))
                                (def ~'good (rsm/export! ~'user/controller {:size 4096 :segment-id ~good-id :acl [{:node 1 :perm 0666}]}))
                                nil))
      (child/with-child [stuck {:label "exporter" :jvm-opts ["-Drsmapi.gateway=other"]}]
        (child/value stuck `(do (def ~'controller (rsm/get-controller "net1"))
                                (def ~'all (mapv #(rsm/export! ~'user/controller {:size 4096 :segment-id % :acl [{:node 1 :perm 0666}]})
                                                 [~@stuck-ids]))
                                nil))
        (wire/with-link [link (wire/link! (port-of 2) (key-of-node-1) 1 2)]
          (is (= 0 (answer-within link 1 (first stuck-ids) 2001 30000)))
          (child/signal! stuck "STOP")
          (try
            (testing "one of them, to segments whose exporter does not answer, more than there can be"
              (apply wire/send! link (for [n (range 1600)]
                                       (wire/connect (+ 100 (long n)) (nth stuck-ids (mod n (count stuck-ids))) :uid 2001 :gid 2001 :ms 60000)))
              ;; those for which there is no place are answered: insufficient resources
              (is (= 31 (:code (wire/ask! link #{:answer} {:type :ping})))))
            (testing "another one"
              (wire/with-link [other (wire/link! (port-of 2) (key-of-node-1) 1 2)]
                (doseq [n (range 1 20)]
                  (is (= 0 (answer-within other n good-id 2002 20000))))))
            (testing "another one's to exporters that do not answer either, and a third one"
              (wire/with-link [other (wire/link! (port-of 2) (key-of-node-1) 1 2)]
                (apply wire/send! other (for [n (range 400)]
                                          (wire/connect (+ 100 (long n)) (nth stuck-ids (mod n (count stuck-ids))) :uid 2002 :gid 2002 :ms 60000)))
                (wire/with-link [third (wire/link! (port-of 2) (key-of-node-1) 1 2)]
                  (is (= 0 (answer-within third 1 good-id 2003 20000))))))
            (finally (child/signal! stuck "CONT")))
          (testing "afterwards"
            (is (eventually (wire/with-link [other (wire/link! (port-of 2) (key-of-node-1) 1 2)]
                              (= 0 (answer-within other 1 (last stuck-ids) 2001 60000)))))))
        (is (eventually (= 0 (child/value stuck '(reduce + (map rsm/importers all))))))))))

;; ------------------------------------------------------------ second links

(defn- answers-of
  "What the gateway answers to a frame, if links for much data are refused and counted."
  [^AtomicInteger refused {:keys [type connection tag body flags]}]
  (case type
    :hello (if (odd? (long flags))
             (do (.incrementAndGet refused) [{:type :welcome :tag tag :code 31}])
             [{:type :welcome :tag tag :body (wire/bytes-of [:u32 20000])}])
    :ping [{:type :pong :tag tag}]
    :connect [{:type :answer :connection connection :tag tag :body (wire/bytes-of [:u64 131072] [:u64 0] [:u32 1] [:u32 0])}]
    :get [{:type :data :connection connection :tag tag :body (byte-array (wire/number-at body 8 :u32))}]
    :barrier [{:type :done :connection connection :tag tag}]
    nil))

(deftest a-second-link-that-is-refused-is-not-asked-for-all-the-time
  (with-nodes
    (let [refused (AtomicInteger.)]
      (with-open [server (ServerSocket. (int (port-of 2)) 50 (InetAddress/getByName "127.0.0.1"))]
        (wire/serve! server (KeyFile/read "test" (KeyFile/defaultFile "test" 1)) 2 #(answers-of refused %))
        (with-open [^Controller controller (rsm/get-controller "net0")
                    ^ImportSegment im (rsm/connect! controller {:node 2 :segment-id 77 :timeout-ms 20000})]
          (let [bytes (byte-array 100000)
                begin (System/nanoTime)
                elapsed-ms #(quot (- (System/nanoTime) begin) 1000000)
                gets (loop [n 0]
                       (if (< (long (elapsed-ms)) 2000)
                         (do (rsm/get! im 0 bytes) (recur (inc n)))
                         n))
                ;; after 0, 100, 300, 700, 1500 ms and so on
                most (inc (quot (long (Math/ceil (Math/log (inc (/ (double (elapsed-ms)) 100.0))))) (Math/log 2)))]
            (is (< 10 (long gets)) "the other link does it meanwhile")
            (is (<= 1 (.get refused) (+ 1 (long most))) (pr-str (.get refused) (elapsed-ms)))))))))

;; ------------------------------------------------------------------- doors

(deftest callers-without-a-ticket-do-not-keep-out-those-who-have-one
  (with-nodes
    (with-open [_ (hosts/gateway)]
      (let [door (wire/door "net0" (KeyFile/defaultFile "test" 0))
            port (:port (wire/ticket door))
            callers (vec (repeatedly 400 #(wire/tcp port "127.0.0.1")))]
        (try
          (dotimes [_ 20]
            (is (= 1 (:node (hosts/gateway-status)))))
          (testing "those beyond the places are sent away"
            (is (eventually (<= 200 (long (:refusals (hosts/gateway-status))))))
            (let [ended? (fn [^Socket s] (.setSoTimeout s 20)
                           (try (neg? (.read (.getInputStream s)))
                                (catch java.net.SocketTimeoutException _ false)
                                (catch IOException _ true)))]
              (is (eventually (<= 272 (count (filter ended? callers)))))))
          (finally (run! #(.close ^Socket %) callers)))))))
