(ns rsmapi.net-fault-test
  "The sequences of sim_fault_test between hosts: two importers and an exporter, each with a gateway of its own, and between the
  gateways a proxy that delays, flips, loses, resets and stalls. rsmapi.test.oracle judges each call.

  In one test this process plays the gateways; in the other one it has the segments, and a child plays them, and ends them. What
  goes wrong is among the commands, so that a sequence that fails can be pasted; as the network is real, it may take some runs
  until it fails again."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [clojure.test.check.results :as results]
            [rsmapi.core :as rsm]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as hosts]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.oracle :as oracle]
            [rsmapi.test.proxy :as proxy]
            [rsmapi.test.runner :as runner])
  (:import (org.rsmapi Controller RsmException)
           (org.rsmapi.mem Views)
           (org.rsmapi.net KeyFile)))

(set! *warn-on-reflection* true)

(def ^:private units
  "By node: 0 exports, 1 and 2 import."
  {0 5, 1 6, 2 7})

(def ^:private limit-ms 300)

;; ------------------------------------------------------------- the hosts

(defn- open-gateways
  "What a child evaluates to play the gateways, and `end-gateway!`, which ends one and plays it again."
  []
  `(do (def ~'gateways (atom (into {} (for [[node# unit#] ~units] [node# (org.rsmapi.net.HostGateway/open unit#)]))))
       (defn ~'end-gateway! [node#]
         (.close ^org.rsmapi.net.HostGateway (get @~'gateways node#))
         (swap! ~'gateways assoc node# (org.rsmapi.net.HostGateway/open (get ~units node#)))
         nil)
       (mapv #(.isOpen ^org.rsmapi.net.HostGateway %) (vals @~'gateways))))

(defn- with-hosts*
  "Calls f with a proxy before node 0, the controllers by node, and with :dedicated? a child that plays the gateways."
  [{:keys [dedicated?]} f]
  (let [folder (javac/temp-dir)
        keys (update-vals units (fn [unit] (hosts/key-of folder (str "key" unit))))
        ports (zipmap (clojure.core/keys units) (hosts/free-ports 3))]
    (try
      (proxy/with-proxy [p (ports 0)]
        (let [nodes (fn [name port-0]
                      (hosts/nodes-file! folder name
                                         (for [[node key] keys]
                                           {:node node :key key :port (if (= 0 node) port-0 (ports node)) :more "uids=same"})))
              true-file (nodes "nodes-0" (ports 0))
              file-with-proxy (nodes "nodes-1" (proxy/port p))]
          (doseq [[node unit] units]
            (System/setProperty (hosts/property unit "nodes") (str (if (= 0 node) true-file file-with-proxy)))
            (System/setProperty (hosts/property unit "key") (str (.file ^KeyFile (keys node))))))
        (System/setProperty "rsmapi.net.timeout" (str limit-ms))
        (let [open (fn [node]
                     (eventually (try (rsm/get-controller (str "net" (units node)))
                                      (catch RsmException _ nil)))) ; a child that has just begun is slow
              controllers (fn [child]
                            (with-open [^Controller c0 (open 0), ^Controller c1 (open 1), ^Controller c2 (open 2)]
                              (f {:proxy p :child child :controllers {0 c0 1 c1 2 c2}})))]
          (if dedicated?
            (child/with-child [c {:label "gateways" :quick? true}]
              (is (= [true true true] (child/value c (open-gateways))))
              (System/setProperty "rsmapi.gateway" "other")
              (controllers c))
            (controllers nil))))
      (finally
        (System/clearProperty "rsmapi.gateway")
        (System/clearProperty "rsmapi.net.timeout")
        (doseq [unit (vals units), what ["nodes" "key"]]
          (System/clearProperty (hosts/property unit what)))
        (files/delete-tree! folder)))))

(defn- threads []
  (->> (keys (Thread/getAllStackTraces))
       (map #(.getName ^Thread %))
       (filterv #(str/starts-with? % "rsmapi-net"))))

(defn- left
  "What there is of descriptors and mappings that was not there before, and threads of networks."
  [before]
  (let [more (into {} (filter (fn [[kind n]] (< (long (get before kind 0)) (long n)))) (child/belongings))]
    (cond-> more (seq (threads)) (assoc :threads (threads)))))

;; -------------------------------------------------------------- what goes wrong

(defn- calm! [{:keys [proxy fired]}]
  (swap! fired #(merge-with + % (frequencies (map :kind (proxy/calm! proxy))))))

(defn- disturb! [{:keys [proxy child] :as bench} [what argument]]
  (case what
    :plan (do (calm! bench) (proxy/plan! proxy argument))
    :calm (calm! bench)
    :cut (proxy/cut! proxy)
    :rest (Thread/sleep (long argument))
    :end-gateway (child/value child `(~'end-gateway! ~argument))))

(def ^:private gen-fault
  (gen/let [way (gen/elements [:there :back])
            kind (gen/frequency (for [kind proxy/kinds] [(if (= :black-hole kind) 1 3) (gen/return kind)])) ; it takes the longest
            at (gen/frequency [[4 (gen/fmap #(hash-map :at %) (gen/one-of [(gen/choose 0 200) (gen/choose 0 2000) (gen/choose 0 30000)]))]
                               [1 (gen/fmap #(hash-map :after-ms %) (gen/choose 0 30))]])
            ms (gen/choose 0 60)]
    (merge {:way way :kind kind :ms ms} at)))

(def ^:private gen-plan
  (gen/let [seed (gen/choose 0 1000000)
            shape (gen/elements [{} {} {:chunk 7} {:chunk 1400} {:gather-ms 3}])
            faults (gen/vector gen-fault 1 3)]
    {:seed seed :shape shape :faults faults}))

(defn- commands [dedicated?]
  (oracle/commands
   {:least 20 :most 80 :much? true :disturb 9
    :disturbances (gen/frequency [[5 (gen/fmap #(vector :plan %) gen-plan)]
                                  [3 (gen/return [:calm])]
                                  [1 (gen/return [:cut])]
                                  [1 (gen/fmap #(vector :rest %) (gen/choose 0 limit-ms))]
                                  [(if dedicated? 3 0) (gen/fmap #(vector :end-gateway %) (gen/elements [0 1 2]))]])}))

;; ------------------------------------------------------------------ playing

(defn- bench [{:keys [proxy child]}]
  {:proxy proxy :child child :fired (atom {})
   :size oracle/size-far-apart :place oracle/far-apart :much? true :id (fresh-id) :timeout-ms 1000
   :now #(System/nanoTime)
   ;; 30 times the time limit at most, on a machine that does other things too
   :allowed (fn [_ _] 60000000000)
   :disturb! disturb!})

(defn- step
  "As oracle/step. After every other call that has found the connection aborted, the importer connects again; when it cannot, the
  network recovers, so that not much time is spent on waiting."
  [{:keys [outcomes bench] :as state} [_ i :as command]]
  (let [{after :outcomes :as state} (oracle/step state command)
        more? (fn [error] (not= (get outcomes error) (get after error)))]
    (cond
      (and (more? :rsm/conn-aborted) (even? (long (:rsm/conn-aborted after))))
      (oracle/steps state [[:disconnect i] [:connect i]])

      (or (more? :rsm/remote-node-unreachable) (and (= :connect (first command)) (more? :rsm/timeout)))
      (do (calm! bench) state)

      :else state)))

(defn- play*
  [{:keys [controllers] :as env} at commands]
  (let [views (Views/count)
        {:keys [size fired] :as bench} (bench env)
        ex (rsm/create! (controllers 0) {:size size})
        state (reduce (fn [state command]
                        (reset! at command)
                        (if (:flaws state) (reduced state) (step state command)))
                      (oracle/begin bench :mirrored ex (controllers 1) (controllers 2))
                      commands)
        _ (calm! bench)
        state (oracle/end! state)]
    (cond-> (assoc (select-keys state [:calls :outcomes :by-call :took :flaws]) :fired @fired)
      (not (eventually (<= (long (Views/count)) (long views)))) (update :flaws (fnil conj []) [:views-left (- (Views/count) views)]))))

(defn- play
  "Plays commands. {:flaws :calls :outcomes :by-call}."
  [env commands]
  (let [at (atom nil)]
    (deref (future (play* env at commands)) 300000 {:flaws [[:hangs @at]]})))

(defn- result [{:keys [flaws]}]
  (reify results/Result
    (pass? [_] (empty? flaws))
    (result-data [_] {:flaws flaws})))

(defn- promises-hold [{:keys [dedicated?] :as opts} n]
  (with-hosts* opts (fn [env] (play env [[:connect 1] [:put-much 1 0]]))) ; what is loaded only once
  (let [seed (runner/new-seed)
        before (child/belongings)
        totals (atom {})
        count! (fn [{:keys [calls] :as p}]
                 (swap! totals #(merge-with + % {:calls (or calls 0)} (:took p) (:outcomes p) (:by-call p) (:fired p)))
                 p)]
    (with-hosts* opts
      (fn [env]
        (let [r (tc/quick-check n (prop/for-all [commands (commands dedicated?)]
                                    (result (count! (play env commands))))
                                :seed seed :max-size 60)]
          (is (:pass? r) (pr-str :seed seed (:smallest (:shrunk r)) (:result-data (:shrunk r)))))))
    (println (str "   over net, with faults: " n " sequences, seed " seed "\n   " (into (sorted-map) (filter (comp keyword? key)) @totals)))
    (is (eventually (empty? (left before))) (pr-str (left before)))
    @totals))

(deftest what-holds-when-things-go-wrong-between-gateways
  (let [totals (promises-hold {} (runner/trials 40 2000))]
    (testing "the cases are such that things go wrong, and right"
      (is (< 100 (long (:ok totals 0))))
      (is (< 5 (long (:rsm/conn-aborted totals 0))))
      (doseq [[call errors?] {:put true :get true :put-much true :getv true :close true :connect true}]
        (is (pos? (long (get totals [call true] 0))) call)))))

(deftest what-holds-when-gateways-end
  (let [totals (promises-hold {:dedicated? true} (runner/trials 25 1000))]
    (is (< 50 (long (:ok totals 0))))
    (is (< 5 (long (:rsm/conn-aborted totals 0))))))
