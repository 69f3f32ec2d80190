(ns rsmapi.local-door-test
  "Processes of a gateway's own host that do at its local door what they should not: nobody is let in as somebody else, and
  others go on undisturbed."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.hosts :as hosts]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as network]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [failure]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.wire :as wire])
  (:import (org.rsmapi Controller)
           (org.rsmapi.net KeyFile)))

(set! *warn-on-reflection* true)

(def ^:private id (fresh-id))

(defn- door []
  (wire/door "net0" (KeyFile/defaultFile "test" 0)))

(defn- with-gateway*
  "Calls f with an export segment of node 2 and an import segment of it, which goes over the gateway of node 1, a child."
  [more f]
  (let [end! (network/begin! [1 2] more)]
    (System/setProperty "rsmapi.net.timeout" "2000")
    (try
      (child/with-child [gateway {:label "gateway" :quick? true}]
        (child/value gateway '(do (require 'rsmapi.hosts) (def gateway (rsmapi.hosts/gateway)) nil))
        (with-open [^Controller two (rsm/get-controller "net1")
                    ^Controller one (do (System/setProperty "rsmapi.gateway" "other")
                                        (try (rsm/get-controller "net0") (finally (System/clearProperty "rsmapi.gateway"))))]
          (rsm/with-exported-segment [ex two {:size 65536 :segment-id id :acl [{:node 1 :perm 0600}]}]
            (rsm/with-imported-segment [im one {:node 2 :segment-id id}]
              (f ex im)))))
      (finally (end!)))))

(defn- works? [ex im]
  (let [n (rand-int 1000000)]
    (rsm/put64! im 8 (long-array [n]) 0 1)
    (= n (rsm/get-long ex 8))))

(defn- linked!
  "A link for a node, after its HELLO was answered; what came in the place of the answer is :welcome."
  [ticket hello]
  (let [link (wire/enter! ticket)]
    (assoc link :welcome (wire/ask! link #{:welcome} hello))))

(defn- end? [{:keys [welcome] :as link}]
  (wire/close! link)
  (= :end welcome))

(deftest tickets
  (with-gateway* "uids=same"
    (fn [ex im]
      (let [{:keys [port ours theirs] :as ticket} (wire/ticket (door))]
        (testing "one lets in once"
          (wire/with-link [link (wire/enter! ticket)]
            (is (= theirs (:theirs link))))
          (wire/with-link [link (wire/enter! ticket)]
            (is (nil? (:theirs link)))))
        (testing "wrong ones do not"
          (doseq [secret [(byte-array 16) (byte-array (map unchecked-byte (range 16))) ours (byte-array 100)]]
            (wire/with-link [link (wire/enter! {:port port :ours secret})]
              (is (nil? (:theirs link)))))
          (wire/with-link [link (wire/enter! {:port port :ours (byte-array 1)})]
            (is (nil? (:theirs link)) "and a part of one is cut off after a while"))))
      (testing "what is asked for with one"
        (doseq [hello [(wire/hello (wire/new-session) 1)
                       (wire/hello (wire/new-session) 63)
                       (wire/hello (wire/new-session) 0xffffffff)
                       (wire/hello (wire/new-session) 2 :flags 1)
                       (assoc (wire/hello (wire/new-session) 2) :body (byte-array 3))
                       (assoc (wire/hello (wire/new-session) 2) :length 0x7fffffff)
                       {:type :put :body (byte-array 16)}
                       {:type 99}
                       (wire/connect 1 id)]]
          (is (end? (linked! (wire/ticket (door)) hello)) hello)))
      (testing "many that are not used, and callers who say nothing"
        (let [callers (vec (repeatedly 100 #(wire/tcp (:port (wire/ticket (door))) "127.0.0.1")))
              take-300 #(frequencies (map (fn [t] (if (map? t) :given t)) (repeatedly 300 (fn [] (wire/ticket (door))))))]
          ;; tickets end after 5 s: on a slow machine another round is needed
          (is (eventually (let [tickets (take-300)]
                             (is (= 300 (+ (long (:given tickets 0)) (long (:refused tickets 0)))) tickets)
                             (and (< 0 (long (:refused tickets 0)))
                                  (= :rsm/remote-node-unreachable (failure (hosts/gateway-status))))))
              "this user has to wait")
          (is (works? ex im))
          (is (eventually (not= :rsm/remote-node-unreachable (failure (hosts/gateway-status)))))
          (is (< 0 (long (:refusals (hosts/gateway-status)))))
          (run! #(.close ^java.net.Socket %) callers)))
      (is (works? ex im)))))

(deftest frames
  (with-gateway* "uids=same"
    (fn [ex im]
      (let [link! #(linked! (wire/ticket (door)) (wire/hello (wire/new-session) 2))]
        (testing "connections that are not there"
          (wire/with-link [link (link!)]
            (wire/send! link (wire/put 5 0 (byte-array 8)) {:type :taken :connection 5} {:type :disconnect :connection 5})
            (doseq [[frame answer] [[(wire/get-of 5 0 8) :data] [(wire/atomic 5 0 8 1 0) :result]
                                    [{:type :barrier :connection 5 :tag 7} :done] [{:type :post :connection 5 :tag 7} :done]]]
              (is (= 40 (:code (wire/ask! link #{answer} frame))) frame))))
        (testing "malformed ones end the link"
          (doseq [frame [{:type :put :connection 1 :body (byte-array 8)} {:type :get :connection 1 :body (byte-array 11)}
                         (wire/get-of 1 0 0) (wire/get-of 1 0 65537) (wire/get-of 1 0 0xffffffff)
                         {:type :atomic :connection 1 :body (byte-array 23)} {:type :barrier :connection 1 :body (byte-array 1)}
                         {:type :connect :connection 1 :body (byte-array 23)}
                         {:type :connect :connection 1 :body (wire/bytes-of [:u32 id] [:u32 0600] [:u32 1] [:u32 0] [:u32 0] [:u32 1000])}
                         {:type :hello} {:type :status} {:type :data} {:type 0} {:type 255} {:type :ping :length 0x7fffffff}]]
            (wire/with-link [link (link!)]
              (is (= 0 (:code (wire/ask! link #{:answer} (wire/connect 1 id)))) frame)
              (is (= :end (wire/ask! link #{:pong} frame {:type :ping})) frame))))
        (testing "beyond the segment, where the other gateway looks"
          (doseq [frame [(wire/put 1 65536 (byte-array 1)) (wire/put 1 -1 (byte-array 8)) (wire/get-of 1 65529 8)
                         (wire/atomic 1 65536 8 1 0) (wire/atomic 1 4 8 1 0)]]
            (wire/with-link [link (link!)]
              (is (= 0 (:code (wire/ask! link #{:answer} (wire/connect 1 id)))))
              (wire/send! link frame)
              (is (eventually (not= 0 (:code (wire/ask! link #{:done} {:type :barrier :connection 1 :tag 9})))) frame))))
        (testing "answers that nobody reads"
          (wire/with-link [link (link!)]
            (is (= 0 (:code (wire/ask! link #{:answer} (wire/connect 1 id)))))
            (let [sending (future (try (dotimes [_ 2000] (wire/send! link (wire/get-of 1 0 65536))) :sent
                                       (catch java.io.IOException _ :cut)))]
              (dotimes [_ 20] (is (works? ex im)))
              (Thread/sleep 500)
              (is (works? ex im))
              (wire/close! link)
              (deref sending 10000 :hangs))))
        (is (eventually (= 1 (rsm/importers ex))))
        (is (works? ex im))))))

(deftest who-a-process-says-that-it-is-does-not-count
  (if-let [why (child/obstacle {:uid 2003 :gid 2003})]
    (runner/skip! "claims of another user" why)
    (with-gateway* "uids=same"
      (fn [ex im]
        (let [connects (fn [uid]
                         (wire/with-link [link (linked! (wire/ticket (door)) (wire/hello (wire/new-session) 2))]
                           (:code (wire/ask! link #{:answer} (wire/connect 1 id :uid uid :gid uid)))))]
          (is (= [0 0] (mapv connects [0 2003])) "root is root, whatever it says")
          (child/with-child [other {:quick? true :uid 2003 :gid 2003}]
            (child/value other `(do (require '~'rsmapi.test.wire)
                                    (defn ~'connects [uid#]
                                      (let [link# (rsmapi.test.wire/enter! (rsmapi.test.wire/ticket ~(door)))]
                                        (rsmapi.test.wire/ask! link# #{:welcome} (rsmapi.test.wire/hello (rsmapi.test.wire/new-session) 2))
                                        (:code (rsmapi.test.wire/ask! link# #{:answer} (rsmapi.test.wire/connect 1 ~id :uid uid# :gid uid#)))))
                                    nil))
            (is (= [27 27] (child/value other '(mapv connects [0 2003]))) "and another user is not"))
          (is (works? ex im)))))))
