(ns rsmapi.sim-test
  "The simulated interconnect: its time, its faults, and that one seed gives one history."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.sim :as sim]
            [rsmapi.test.outcome :refer [failure]]))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private id 0x600001)

(defn- with-nodes*
  "Calls f with a world and controllers of its nodes 1 and 2."
  [opts f]
  (sim/with-world [w opts]
    (rsm/with-controller [one (sim/name w) {:node 1}]
      (rsm/with-controller [two (sim/name w) {:node 2}]
        (f w one two)))))

(defmacro ^:private with-nodes
  "Binds ex to a segment of node 1, and im to an import segment of it at node 2."
  [[w ex im opts] & body]
  `(with-nodes* ~opts
     (fn [~w one# two#]
       (rsm/with-exported-segment [~ex one# {:size page :segment-id id :acl [{:node 2 :perm 0600}]}]
         (rsm/with-imported-segment [~im two# {:node 1 :segment-id id}]
           ~@body)))))

(defn- way
  "The state of the way from the last node of a world that is open."
  [w]
  (-> (filter #(= (sim/name w) (:name %)) (:controllers (rsm/topology))) last :peers first :state))

(defn- bytes-of [ex n] (vec (rsm/get-bytes ex 0 n)))

(deftest worlds
  (is (= :rsm/ctlr-not-present (failure (rsm/get-controller "sim0"))))
  (sim/with-world [w :unit 3]
    (is (= "sim3" (sim/name w)))
    (is (= :rsm/bad-args-errors (failure (sim/world :unit 3))))
    (let [c (rsm/get-controller "sim3" {:node 5})
          again (rsm/get-controller "SIM3" {:node 5})]
      (is (identical? c again))
      (is (= :mirrored (:memory (rsm/capabilities c))))
      (is (= [15 12] ((juxt :attr-direct-access-sizes :attr-atomic-sizes) (rsm/controller-attr c))))
      (rsm/with-controller [other "sim3" {:node 6}]
        (is (some #(= {:name "sim3" :hw-addr 5 :peers [{:node 6 :controller "sim3" :hw-addr 6 :state :active}]} %)
                  (:controllers (rsm/topology))))
        other)
      (sim/close! w)
      (is (= :rsm/ctlr-not-present (failure (rsm/create! c :size page))))
      (sim/with-world [_ :unit 3]
        (is (not (identical? c (rsm/get-controller "sim3" {:node 5})))))))
  (doseq [bad [{:unit 32} {:unit -1} {:latency -1} {:latency [2 1]} {:latency "x"} {:timeout 0} {:memory :lent}
               {:nonsense 1} {:faults 1} {:faults [1]} {:faults [{:fault :cut}]} {:faults [{:fault :no :at 1}]}
               {:faults [{:message :no :fault :lose}]} {:manual 1}
               {:unit 4294967296} {:timeout Long/MAX_VALUE} {:latency Long/MAX_VALUE} {:faults [nil]}
               {:faults [{:fault :kill :at 1 :node 64}]} {:faults [{:fault :cut :at 1 :from 0 :to -1}]}
               {:faults [{:fault :lose :message :put :nth 4294967297}]} {:faults [{:fault :delay :message :put :by Long/MIN_VALUE}]}
               {:faults [{:fault :lose :at 5}]} {:faults [{:fault :revoke :at 5 :node 1}]} {:faults [{:fault :fail :message :put}]}
               {:faults [{:fault :kill :node 1 :at 5 :message :put}]} {:faults [{:fault :kill :at 5}]} {:faults [{:fault :cut :at 5 :from 1}]} {:faults [{:fault :lose :message :put :nth 0}]}]]
    (is (= :rsm/bad-args-errors (failure (sim/close! (sim/world bad)))) (pr-str bad)))
  (sim/with-world [w]
    (doseq [f [#(sim/kill! w 4294967296) #(sim/cut! w 64 0) #(sim/cut! w 0 "x") #(sim/cut! w 0 1 :sideways) #(sim/kill! w -1) #(sim/stop! nil 1)
               #(sim/advance! w :soon) #(sim/history 7)]]
      (is (= :rsm/bad-args-errors (failure (f)))))))

(deftest time-takes-no-time
  (with-nodes [w ex im {}]
    (let [began (System/nanoTime)]
      (is (= :rsm/timeout (failure (rsm/signal-wait! ex {:timeout-ms 3600000}))))
      (is (= :rsm/timeout (failure (rsm/signal-wait-pollfd! [(rsm/get-pollfd! im)] {:timeout-ms 3600000}))))
      (rsm/release-pollfd! im)
      (is (> 60e9 (- (System/nanoTime) began)))
      (is (<= 7200e9 (sim/now w) 7201e9)))
    (testing "an event ends the wait before its time"
      (let [before (sim/now w)]
        (rsm/signal-post! im)
        (rsm/signal-wait! ex {:timeout-ms 3600000})
        (is (< (- (sim/now w) before) 1e6))))
    (testing "step by step"
      (rsm/set-barrier-mode! im :explicit)
      (rsm/put! im 0 (byte-array [1]))
      (is (= [0] (bytes-of ex 1)))
      (is (true? (sim/step! w)))
      (is (= [1] (bytes-of ex 1)))
      (is (false? (sim/step! w)))
      (is (= 0 (sim/run! w)))
      (let [now (sim/now w)]
        (sim/advance! w 5)
        (is (= (+ 5 now) (sim/now w)))))))

(deftest one-seed-one-history
  (let [play (fn [seed]
               (with-nodes [w ex im {:seed seed :faults [{:message :put :nth 2 :fault :delay :by 7}]}]
                 (dotimes [i 5]
                   (rsm/put-signal! im (* 8 i) (byte-array [i])))
                 (rsm/with-mapped-segment [m im]
                   (rsm/with-barrier [b im]
                     (rsm/fill! m 100 50 1)
                     (rsm/order-barrier! b)))
                 (rsm/get-and-add-int! im 0 1)
                 (sim/run! w)
                 [(sim/history w) (bytes-of ex 200)]))]
    (is (= (play 5) (play 5)))
    (is (= (read-string (pr-str (play 5))) (play 5)) "it prints and reads back")
    (is (not= (first (play 5)) (first (play 6))))
    (is (= (second (play 5)) (second (play 6))))))

(deftest writes-overtake-each-other-between-points-of-order
  (let [last-written (fn [seed ordered?]
                       (with-nodes [w ex im {:seed seed :latency [1000 100000]}]
                         (rsm/set-barrier-mode! im :explicit)
                         (let [b (rsm/init-barrier! im)]
                           (rsm/open-barrier! b)
                           (rsm/put! im 0 (byte-array [1]))
                           (when ordered? (rsm/order-barrier! b))
                           (rsm/put! im 0 (byte-array [2]))
                           (rsm/close-barrier! b)
                           (first (bytes-of ex 1)))))]
    (is (= #{2} (set (map #(last-written % true) (range 40)))))
    (is (= #{1 2} (set (map #(last-written % false) (range 40)))))))

(deftest lost-messages
  (doseq [[message there] {:barrier 1 :done 1 :put 0}]
    (testing message
      (with-nodes [w ex im {:faults [{:message message :fault :lose}]}]
        (let [before (sim/now w)]
          (is (= :rsm/barrier-failure (failure (rsm/put! im 0 (byte-array [1])))))
          (is (= there (first (bytes-of ex 1))) "what was not confirmed may be there")
          (is (<= (- (sim/now w) before) 1100000000) "nobody waits beyond the timeout"))
        (rsm/put! im 0 (byte-array [2]))
        (is (= [2] (bytes-of ex 1)) "the connection goes on"))))
  (with-nodes [_ ex im {:faults [{:message :barrier :fault :fail}]}]
    (is (= :rsm/barrier-failure (failure (rsm/put! im 0 (byte-array [1])))))
    (is (= [1] (bytes-of ex 1))))
  (with-nodes [_ ex im {:faults [{:message :result :fault :lose}]}]
    (is (= :rsm/barrier-failure (failure (rsm/get-and-add-long! im 0 1))))
    (is (= 1 (rsm/get-long ex 0)) "it was done, but nobody knows"))
  (with-nodes [_ _ im {:faults [{:message :data :nth 1 :fault :lose}]}]
    (is (= :rsm/map-failed (failure (rsm/map! im))))
    (is (= 0 (rsm/get-byte (rsm/map! im) 0))))
  (sim/with-world [w :faults [{:message :answer :fault :lose}]]
    (rsm/with-controller [c (sim/name w) {:node 1}]
      (rsm/with-exported-segment [ex c {:size page :segment-id id}]
        (is (= :rsm/timeout (failure (rsm/connect! c {:segment-id id :timeout-ms 5000}))))
        (is (<= 5e9 (sim/now w) 5.001e9))
        (is (= 0 (rsm/importers ex)))))))

(deftest a-mirror-sends-again-what-may-be-lost
  (with-nodes [_ ex im {:faults [{:message :put :nth 1 :fault :lose}]}]
    (let [m (rsm/map! im)
          b (rsm/init-barrier! im)]
      (rsm/open-barrier! b)
      (rsm/put-long! m 0 7)
      (is (= :rsm/barrier-failure (failure (rsm/close-barrier! b))))
      (is (= 0 (rsm/get-long ex 0)))
      (rsm/open-barrier! b)
      (rsm/put-long! m 0 7)
      (rsm/close-barrier! b)
      (is (= 7 (rsm/get-long ex 0)))
      (rsm/unmap! m))))

(deftest revocation-in-the-middle
  (with-nodes [_ ex im {:faults [{:message :put :nth 2 :fault :revoke}]}]
    (let [e (error/catching (rsm/putv! {:segment im :iovec [{:local (byte-array [1]) :length 1}
                                                            {:local (byte-array [2]) :remote-offset 1 :length 1}
                                                            {:local (byte-array [3]) :remote-offset 2 :length 1}]}))]
      (is (= [:rsm/conn-aborted 1 2] ((juxt :rsm/error :rsm/entry :rsm/residual) e))))
    (is (= [1 0 0] (bytes-of ex 3))))
  (with-nodes [w ex im {}]
    (let [m (rsm/map! im)]
      (rsm/unpublish! ex)
      (is (= 0 (rsm/get-byte m 0)) "the notice is under way")
      (sim/run! w)
      (is (= [:rsm/conn-aborted "unpublished"] ((juxt :rsm/error :rsm/reason) (error/catching (rsm/get-byte m 0)))))
      (rsm/unmap! m))))

(deftest cut-links
  (testing "mended in time, everything arrives"
    (with-nodes [w ex im {:faults [{:at 1000000000 :fault :mend :from 2 :to 1}]}]
      (rsm/set-barrier-mode! im :explicit)
      (sim/cut! w 2 1 :one-way)
      (dotimes [i 3] (rsm/put! im i (byte-array [(inc i)])))
      (sim/advance! w 500000000)
      (is (= [0 0 0] (bytes-of ex 3)))
      (sim/mend! w 2 1)
      (sim/run! w)
      (is (= [1 2 3] (bytes-of ex 3)))
      (is (false? (rsm/aborted? im)))))
  (testing "too long"
    (with-nodes [w ex im {:timeout 2000000}]
      (sim/cut! w 1 2)
      (is (= :going-down (way w)))
      (sim/advance! w 2000001)
      (is (= [:rsm/conn-aborted "unreachable"] ((juxt :rsm/error :rsm/reason) (error/catching (rsm/put! im 0 (byte-array 1))))))
      (is (= 0 (rsm/importers ex)))
      (is (= :down (way w)))
      (is (= :rsm/remote-node-unreachable
             (failure (rsm/with-controller [c (sim/name w) {:node 2}] (rsm/connect! c {:node 1 :segment-id id})))))
      (sim/mend! w 1 2)
      (rsm/with-controller [c (sim/name w) {:node 2}]
        (rsm/with-imported-segment [again c {:node 1 :segment-id id}]
          (rsm/put! again 0 (byte-array [5]))
          (is (= [5] (bytes-of ex 1))))))))

(deftest nodes-that-stop-and-end
  (with-nodes [w ex im {}]
    (sim/stop! w 1)
    (let [before (sim/now w)]
      (is (contains? #{:rsm/barrier-failure :rsm/conn-aborted} (failure (rsm/put! im 0 (byte-array [1])))))
      (is (<= (- (sim/now w) before) 1100000000)))
    (sim/continue! w 1)
    (sim/run! w)
    (is (rsm/aborted? im))
    (is (= 0 (rsm/importers ex))))
  (with-nodes [w ex im {}]
    (sim/stop! w 1)
    (sim/advance! w 1000)
    (sim/continue! w 1)
    (rsm/put! im 0 (byte-array [1]))
    (is (= [1] (bytes-of ex 1)) "a short stop is a delay"))
  (with-nodes [w ex im {}]
    (sim/kill! w 1)
    (is (= [:rsm/conn-aborted "exporter-gone"] ((juxt :rsm/error :rsm/reason) (error/catching (rsm/put! im 0 (byte-array 1))))))
    (is (= :rsm/ctlr-not-present (failure (rsm/get-controller (sim/name w) {:node 1})))
        "a node that has ended has no controllers")
    (is (= 0 (rsm/get-byte ex 0)) "its memory is this process's")))

(deftest manual-time
  (sim/with-world [w :manual true :latency 1000]
    (rsm/with-controller [c (sim/name w) {:node 1}]
      (rsm/with-exported-segment [ex c {:size page :segment-id id}]
        (let [connected (future (rsm/connect! c {:segment-id id}))]
          (is (= :waiting (deref connected 50 :waiting)))
          (while (not (realized? connected))
            (sim/advance! w 1000)
            (Thread/sleep 1))
          (is (= 1 (rsm/importers ex)))
          (rsm/close! @connected))))))

(deftest shared-memory
  (with-nodes [w ex im {:memory :shared :latency 1000}]
    (is (= [:shared :shared] [(:memory (rsm/capabilities im))
                              (rsm/with-controller [c (sim/name w) {:node 1}] (:memory (rsm/capabilities c)))]))
    (rsm/with-mapped-segment [m im]
      (rsm/put-long! m 8 5)
      (is (= 5 (rsm/get-long ex 8)) "what is written is there")
      (rsm/put-long! ex 16 6)
      (rsm/with-barrier [_ im]
        (is (= 6 (rsm/get-long m 16))))
      (is (= [5 11] [(rsm/get-and-add-long! im 8 6) (rsm/get-and-add-long! m 8 6)]) "one memory, two ways to it")
      (let [barrier (rsm/init-barrier! im)]
        (rsm/open-barrier! barrier)
        (is (= 6 (rsm/get-long m 16)))
        (rsm/unpublish! ex)
        (is (= 0 (rsm/get-long m 16)) "the memory is taken away at once")
        (rsm/put-long! m 16 99)
        (is (= 6 (rsm/get-long ex 16)))
        (is (= :rsm/conn-aborted (failure (rsm/close-barrier! barrier))) "and a barrier finds out")
        (is (= :rsm/conn-aborted (failure (rsm/get-long m 16)))))))
  (testing "a revocation that is planned"
    (with-nodes [w ex im {:memory :shared :faults [{:at 1000000 :fault :revoke :node 1 :segment-id id}]}]
      (rsm/put! im 0 (byte-array [1]))
      (sim/advance! w 2000000)
      (is (= :rsm/conn-aborted (failure (rsm/put! im 0 (byte-array [2])))))
      (is (= [1] (bytes-of ex 1)))))
  (testing "a link that is cut"
    (with-nodes [w ex im {:memory :shared}]
      (let [m (rsm/map! im)]
        (sim/cut! w 1 2)
        (rsm/put-long! m 0 1)
        (sim/advance! w 1100000000)
        (is (= :rsm/conn-aborted (failure (rsm/put-long! m 0 2))))
        (is (= 1 (rsm/get-long ex 0)))))))

(deftest a-history-becomes-a-plan
  (let [calls (fn [w im by-hand?]
                (let [putting #(failure (rsm/put! im 0 (byte-array [%])))
                      away #(sim/advance! w 500000)
                      answers [(putting 1)
                               (do (when by-hand? (sim/cut! w 1 2)) (away) (when by-hand? (sim/mend! w 1 2)) (putting 2))
                               (do (when by-hand? (sim/stop! w 1)) (away) (when by-hand? (sim/continue! w 1)) (putting 3))
                               (do (when by-hand? (sim/kill! w 1)) (putting 4))]]
                  [answers (mapv #(dissoc % :planned) (rest (sim/history w)))]))
        opts {:seed 11 :timeout 2000000}
        [plan by-hand] (with-nodes [w ex im opts]
                         (let [found (calls w im true)]
                           [(sim/plan (sim/history w)) found]))
        planned (with-nodes [w ex im plan] (calls w im false))]
    (is (= [:cut :cut :mend :mend :stop :continue :kill] (map :fault (:faults plan))))
    (is (= [nil nil nil :rsm/conn-aborted] (first by-hand)))
    (is (= (first by-hand) (first planned)) "the same calls succeed and fail")
    (is (= (second by-hand) (second planned)) "at the same times")
    (is (= plan (with-nodes [w ex im plan] (sim/plan (read-string (pr-str (sim/history w))))))
        "a plan that has been planned is the same"))
  (doseq [bad [nil [] [{}] 7 {:event :world}]]
    (is (= :rsm/bad-args-errors (failure (sim/plan bad))))))

(deftest faults-that-come-with-a-message
  (doseq [[fault error] {{:fault :kill :node 1} :rsm/barrier-failure
                         {:fault :stop :node 1} :rsm/barrier-failure
                         {:fault :cut :from 2 :to 1} :rsm/barrier-failure
                         {:fault :revoke} :rsm/conn-aborted}]
    (testing fault
      (with-nodes [w ex im {:faults [(assoc fault :message :put :nth 2)]}]
        (is (nil? (rsm/put! im 0 (byte-array [1]))))
        (is (contains? (hash-set error :rsm/conn-aborted) (failure (rsm/put! im 0 (byte-array [2])))))
        (is (= [1] (bytes-of ex 1)) "before it has an effect")))))

(deftest what-becomes-of-those-who-are-gone
  (testing "a killed importer is not one any more, when that is noticed"
    (with-nodes [w ex im {}]
      (sim/kill! w 2)
      (is (= 1 (rsm/importers ex)))
      (sim/advance! w 1000000000)
      (is (= 0 (rsm/importers ex)))))
  (testing "what a stopped node sends waits"
    (with-nodes [w ex im {}]
      (sim/stop! w 2)
      (rsm/signal-post! im)
      (sim/advance! w 100000)
      (is (= :rsm/timeout (failure (rsm/signal-wait! ex {:timeout-ms 0}))))
      (sim/continue! w 2)
      (is (nil? (rsm/signal-wait! ex {:timeout-ms 1})))))
  (testing "who waits for a node that has ended does not wait for ever"
    (with-nodes [w ex im {:timeout 1000000}]
      (sim/kill! w 1)
      (sim/advance! w 999999)
      (is (= #{:rsm/conn-aborted} (set (repeatedly 50 #(failure (rsm/get! im 0 (byte-array 1)))))))))
  (testing "an answer that arrives after its sender has been gone for too long"
    (sim/with-world [w {:latency 2000000 :timeout 1000000 :faults [{:at 2500000 :fault :kill :node 1}]}]
      (rsm/with-controller [one (sim/name w) {:node 1}]
        (rsm/with-controller [two (sim/name w) {:node 2}]
          (rsm/with-exported-segment [ex one {:size page :segment-id id :acl [{:node 2 :perm 0600}]}]
            (let [im (error/catching (rsm/connect! two {:node 1 :segment-id id :timeout-ms 100}))]
              (is (or (:rsm/error im)
                      (= #{:rsm/conn-aborted} (set (repeatedly 50 #(failure (rsm/get! im 0 (byte-array 1)))))))))))))))

(deftest signals-come-after-what-was-ordered
  (doseq [seed (range 50)]
    (with-nodes [w ex im {:seed seed :latency [1000 100000]}]
      (rsm/set-barrier-mode! im :explicit)
      (let [b (rsm/init-barrier! im)]
        (rsm/open-barrier! b)
        (rsm/put! im 0 (byte-array [1]))
        (rsm/order-barrier! b)
        (rsm/signal-post! im)
        (rsm/signal-wait! ex {:timeout-ms 10})
        (is (= [1] (bytes-of ex 1)))))))

(deftest histories-have-an-end
  (with-nodes [w ex im {}]
    (dotimes [_ 100100] (rsm/signal-post! im))
    (let [[first-one & more] (sim/history w)]
      (is (= 100000 (count more)))
      (is (< 99 (long (:forgotten first-one))))
      (is (= [:time :event :nth] (take 3 (keys (last more))))))
    (is (re-matches #"#<World sim0 at \d+ ns>" (pr-str w)))))

(deftest a-world-that-has-ended-keeps-nobody-waiting
  (let [w (sim/world)
        c (rsm/get-controller (sim/name w) {:node 1})
        ex (rsm/export! c {:size page})
        f (rsm/get-pollfd! ex)]
    (sim/close! w)
    (is (= :rsm/timeout (deref (future (failure (rsm/signal-wait! ex {:timeout-ms 3600000}))) 20000 :hangs)))
    (is (= :rsm/timeout (deref (future (failure (rsm/signal-wait-pollfd! [f] {:timeout-ms 3600000}))) 20000 :hangs)))
    (rsm/release-pollfd! ex)
    (run! rsm/close! [ex c])))

(deftest a-stack-overflow-leaves-the-world-as-it-was
  (sim/with-world [w]
    (letfn [(deep [] (try (sim/now w) (catch StackOverflowError _)) (deep))]
      (.join (doto (Thread. ^Runnable #(try (deep) (catch StackOverflowError _))) .start)))
    (is (= 0 (deref (future (sim/now w)) 20000 :hangs)))))

(deftest what-several-threads-have-not-confirmed
  (testing "a thread learns of what another one was told"
    (let [faults (vec (for [n (range 3 4000 3)] {:message :put :nth n :fault :lose}))]
      (with-nodes [w ex im {:faults faults}]
        (let [confirmed (fn [slot]
                          (reduce (fn [last n]
                                    (if (failure (rsm/put64! im (* 8 (long slot)) n)) last n))
                                  0 (range 1 200)))
              lasts (mapv deref (mapv #(future (confirmed %)) (range 4)))]
          (doseq [[slot last] (map-indexed vector lasts)]
            (is (<= (long last) (rsm/get-long ex (* 8 (long slot)))) "what was confirmed is there, or something newer"))))))
  (testing "lost messages do not fill the way"
    (with-nodes [w ex im {:faults (vec (for [n (range 1 1100)] {:message :put :nth n :fault :lose}))}]
      (rsm/set-barrier-mode! im :explicit)
      (dotimes [_ 1100]
        (rsm/put! im 0 (byte-array [1]))
        (sim/advance! w 50000))
      (is (nil? (rsm/put! im 0 (byte-array [2])))))))

(deftest two-interconnects-over-one-memory
  (doseq [_ (range 20)]
    (rsm/with-local-memory [memory page]
      (rsm/with-controller [c "loopback"]
        (with-nodes* {:memory :shared}
          (fn [w one two]
            (with-open [shared (rsm/export! c {:size page :address (rsm/address memory)})
                        ex (rsm/export! one {:size page :address (rsm/address memory) :acl [{:node 2 :perm 0600}]})
                        near (rsm/connect! c {:segment-id (rsm/segment-id shared)})
                        far (rsm/connect! two {:node 1 :segment-id (rsm/segment-id ex)})]
              (rsm/map! near)
              (let [m (rsm/map! far)
                    b (rsm/init-barrier! far)]
                (rsm/open-barrier! b)
                (rsm/put-long! m 8 5)
                (is (= 5 (rsm/get-long memory 8)))
                (let [ending (future (rsm/unpublish! shared))
                      waiting (future (dotimes [_ 50] (sim/now w)) (rsm/unpublish! ex))]
                  (is (nil? (deref ending 20000 :hangs)))
                  (is (nil? (deref waiting 20000 :hangs))))
                (is (= :rsm/conn-aborted (failure (rsm/close-barrier! b))))))))))))

(deftest times-that-are-too-long
  (sim/with-world [w]
    (is (= :rsm/bad-args-errors (failure (sim/advance! w Long/MAX_VALUE))))
    (sim/advance! w 5)
    (is (= :rsm/bad-args-errors (failure (sim/advance! w Long/MAX_VALUE))))
    (is (= 5 (sim/now w)))))
