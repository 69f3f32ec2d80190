(ns rsmapi.ucx-gateway-test
  "Gateways that reach each other's segments by themselves. There are no RDMA devices here, so UCX uses tcp, which a
  property of the tests allows."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.core :as rsm]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.host-process :as hp]
            [rsmapi.test.netns :as netns]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.world :refer [answers at-once begun? close! end-worlds! everybody exchange exchange-at-once import! import-again! mib
                                       millis-since moves noticed! notify of on-hosts open! outcome process! world!]])
  (:import (org.rsmapi.net NodesFile)
           (org.rsmapi.sys Ucx)))

(set! *warn-on-reflection* true)

(use-fixtures :once (fn [f] (try (f) (finally (end-worlds!)))))

(defmacro ^:private with-ucx [test-name & body]
  `(if-let [obstacle# (Ucx/obstacle)]
     (runner/skip! ~test-name obstacle#)
     (on-hosts ~test-name ~@body)))

;; ------------------------------------------------------------------ gateways

(defn- gateway!
  "Starts a process that is nothing but the gateway of its host. `mode` is that of the property rsmapi.ucx."
  ([world host] (gateway! world host "auto"))
  ([world host mode]
   (let [c (process! world host (str "gateway " host) {:properties {"rsmapi.ucx.tcp-for-tests-without-protection" true
                                                                    "rsmapi.ucx" mode}})]
     (child/value c '(do (require '[rsmapi.hosts :as hosts])
                         (def gateway (hosts/gateway))
                         nil))
     (is (eventually (netns/listens? (child/pid c) NodesFile/PORT)))
     c)))

(defn- status [gateway] (child/value gateway '(hosts/gateway-status gateway)))

(defn- two-hosts
  "A gateway and a process on each of two hosts; the nodes' lines say so much more."
  [more & modes]
  (let [world (world! {:hosts 2 :timeout 5000 :more more})
        [g1 g2 a b] (at-once #(gateway! world 1 (nth modes 0 "auto")) #(gateway! world 2 (nth modes 1 "auto"))
                             #(process! world 1 "importer" {:local? true}) #(process! world 2 "exporter" {:local? true}))]
    (run! #(child/value % `(hp/open!)) [a b])
    (assoc world :g1 g1 :g2 g2 :a a :b b)))

(def ^:private by-device {:encrypted? false :via "ucx"})

(defn- via [c k] (:via (child/value c `(rsm/capabilities (hp/at ~k)))))

;; --------------------------------------------------------------------- tests

(defn- data-and-signals [{:keys [a b g1 g2]}]
  (exchange a b by-device)
  (exchange b a by-device)
  (exchange-at-once a b)
  (notify a :im b :ex)
  (notify b :ex a :im)
  (testing "what the gateways say of it"
    (doseq [g [g1 g2]]
      (let [{:keys [ucx peers]} (status g)]
        (is (= {:device "eth0:1" :obstacle nil} (dissoc ucx :version)))
        (is (str/starts-with? (:version ucx) "1."))
        (is (= [[true 1]] (map (juxt :one-sided? :importers) peers))))))
  (run! #(close! % :im) [a b])
  (run! #(close! % :ex) [a b]))

(defn- what-was-put-before [{:keys [a b]}]
  (testing "ordered, and atomic access"
    (import! a :im (of b :ex {}))
    (child/value a `(do (rsm/set-barrier-mode! (hp/at :im) :explicit)
                        (hp/keep! :b (rsm/init-barrier! (hp/at :im)))))
    (is (= (range 1 101)
           (child/value a `(mapv (fn [i#]
                                   (rsm/open-barrier! (hp/at :b))
                                   (rsm/put! (hp/at :im) 0 (byte-array 5000 (byte i#)))
                                   (rsm/put64! (hp/at :im) 8192 i#)
                                   (rsm/order-barrier! (hp/at :b))
                                   (rsm/put64! (hp/at :im) 8192 (inc i#))
                                   (let [before# (rsm/get-and-add-long! (hp/at :im) 8192 1)
                                         after# (aget (longs (rsm/get64 (hp/at :im) 8192 1)) 0)]
                                     (rsm/close-barrier! (hp/at :b))
                                     (when (= [(inc i#) (+ 2 i#)] [before# after#])
                                       i#)))
                                 (range 1 101)))))
    (is (= 100 (child/value b `(rsm/get-byte (hp/at :ex) 4999))))
    (close! a :b :im)
    (close! b :ex)))

(defn- permissions [{:keys [a b]}]
  (testing "permissions"
    (let [segment (of b :ex {})]
      (testing "to read"
        (import! a :im (assoc segment :perm :read))
        (is (= "ucx" (via a :im)))
        (child/value b `(rsm/put-long! (hp/at :ex) 0 5))
        (is (= 5 (child/value a `(hp/get-long :im 0))))
        (is (= :rsm/perm-denied (:rsm/error (:error (child/ask a `(hp/set-long! :im 0 1))))))
        (close! a :im))
      (testing "to write: a device would let it read as well"
        (import! a :im (assoc segment :perm :write))
        (is (= "tls" (via a :im)))
        (child/value a `(hp/set-long! :im 0 6))
        (is (= 6 (child/value b `(rsm/get-long (hp/at :ex) 0))))
        (close! a :im))
      (close! b :ex))))

(defn- revocation [{:keys [a b g1]}]
  (let [other (of b :other {})]
    (import! a :other other)
    (doseq [[what job] moves
            form [`(rsm/unpublish! (hp/at :ex)) `(rsm/destroy! (hp/at :ex))]]
      (testing (str (name (first form)) " during " what)
        (import! a :im (of b :ex {}))
        (is (= "ucx" (via a :im)))
        (child/value a job)
        (is (begun? a :job))
        (child/value b form)
        (let [content #(child/value b `(hash (vec (rsm/get-bytes! (hp/at :ex) 0 (byte-array ~mib)))))
              lasting? (= "unpublish!" (name (first form)))
              before (when lasting? (content))]
          (is (= :rsm/conn-aborted (:rsm/error (outcome a :job))))
          (is (eventually (child/value a `(rsm/aborted? (hp/at :im)))))
          (when lasting?
            (is (= before (content)) "no put arrives after it")))
        (close! a :b :m :im)
        (close! b :ex)
        (testing "does not concern others"
          (child/value a `(hp/set-long! :other 0 1))
          (is (= "ucx" (via a :other))))))
    (is (nil? (:obstacle (:ucx (status g1)))))
    (close! a :other)
    (close! b :other)))

(deftest one-sided-access
  (with-ucx "one-sided access"
    (let [{:keys [g1 g2] :as world} (two-hosts " ucx=eth0:1")]
      (data-and-signals world)
      (what-was-put-before world)
      (permissions world)
      (revocation world)
      (run! child/stop! [g1 g2]))))

(deftest without-a-device
  (with-ucx "without a device"
    (let [{:keys [a b g1 g2] :as world} (two-hosts " ucx=eth0:1" "auto" "off")
          segment (of b :ex {})]
      (testing "the other gateway uses none"
        (exchange a b)
        (exchange b a)
        (is (nil? (:ucx (status g2))))
        (is (= [false] (map :one-sided? (:peers (status g1))))))
      (testing "which is required here"
        (child/stop! g1)
        (let [g1 (gateway! world 1 "required")]
          (is (eventually (= :rsm/remote-node-unreachable
                             (first (answers a segment)))))
          (is (re-find #"requires" (str (:rsm/hint (:error (child/ask a `(hp/import! :im ~segment)))))))
          (child/stop! g1)))
      (testing "a device that is not there"
        (let [nodes (:nodes world)]
          (spit (str nodes) (str/replace (slurp (str nodes)) "eth0:1" "eth9:1"))
          (let [c (process! world 1 "no device" {:properties {"rsmapi.ucx.tcp-for-tests-without-protection" true}})]
            (child/value c '(do (require '[rsmapi.hosts :as hosts]) (System/setProperty "rsmapi.ucx" "required") nil))
            (let [failure (:error (child/ask c '(hosts/gateway)))]
              (is (= [:rsm/bad-conf "required"] ((juxt :rsm/error :rsm/value) failure)))
              (is (re-find #"NO_DEVICE" (str (:rsm/reason failure)))))
            (child/value c '(do (System/setProperty "rsmapi.ucx" "sometimes") nil))
            (is (= [:rsm/bad-conf "sometimes"] ((juxt :rsm/error :rsm/value) (:error (child/ask c '(hosts/gateway))))))
            (child/value c '(do (System/setProperty "rsmapi.ucx" "auto")
                                (def gateway (hosts/gateway))
                                nil))
            (is (= "eth9:1" (:device (:ucx (status c)))))
            (is (re-find #"NO_DEVICE" (:obstacle (:ucx (status c)))))
            (child/stop! c)))))))

(defn- trouble
  "Something happens while data moves, which has to be noticed; afterwards all goes on."
  [{:keys [a b]} what job happen! mend!]
  (testing what
    (let [segment (of b :ex {})]
      (import-again! a :im segment)
      (is (= "ucx" (via a :im)))
      (child/value a job)
      (is (begun? a :job))
      (let [begin (System/nanoTime)]
        (happen!)
        (let [end (outcome a :job)]
          (noticed! what (millis-since begin end))
          (is (= :rsm/conn-aborted (:rsm/error end)) (pr-str end))))
      (mend!)
      (close! a :b :m :im)
      (import-again! a :im segment)
      (child/value a `(hp/set-long! :im 8 3))
      (is (= 3 (child/value b `(hp/get-long :ex 8))))
      (close! a :im)
      (is (eventually (= 0 (child/value b `(rsm/importers (hp/at :ex))))))
      (close! b :ex))))

(deftest what-fails-is-noticed
  (with-ucx "one-sided access that fails"
    (let [{:keys [net g1 g2] :as world} (two-hosts " ucx=eth0:1")
          gateways (atom {1 g1 2 g2})
          kill! (fn [host] #(child/kill-9! (@gateways host)))
          again! (fn [host] #(swap! gateways assoc host (gateway! world host)))]
      (trouble world "a cable that is taken out during large puts" (moves "large puts") #(netns/unplug! net 1) #(netns/plug! net 1))
      (trouble world "a cable that is taken out during small gets" (moves "small gets") #(netns/unplug! net 1) #(netns/plug! net 1))
      (trouble world "a gateway that stands still" (moves "small puts")
               #(child/signal! (@gateways 2) "STOP") #(child/signal! (@gateways 2) "CONT"))
      (trouble world "an exporter's gateway that is killed" (moves "barriers") (kill! 2) (again! 2))
      (trouble world "an importer's gateway that is killed" (moves "large puts") (kill! 1) (again! 1)))))
