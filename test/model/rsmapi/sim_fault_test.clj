(ns rsmapi.sim-fault-test
  "Sequences of calls over a simulated interconnect in which things go wrong, and what is promised all the same: what was
  confirmed is there; what failed may be there or not, whole; nobody waits beyond the timeout; nothing is left in the end.
  rsmapi.test.oracle judges that."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.sim :as sim]
            [rsmapi.test.child :as child]
            [rsmapi.test.far :as far]
            [rsmapi.test.oracle :as oracle]
            [rsmapi.test.runner :as runner])
  (:import (org.rsmapi Controller RsmException)
           (org.rsmapi.mem Views)
           (org.rsmapi.sim SimProvider)
           (org.rsmapi.spi Connection Interconnect RemoteMemory)))

(set! *warn-on-reflection* true)

(def ^:private id 0x600001)
(def ^:private page (long (rsm/page-size)))
(def ^:private timeout 1000000)

;; ------------------------------------------------------------------ playing

(defn- time-allowed
  "How long a call may take: as long as an answer is waited for, for each question that it asks."
  [op args]
  (+ (case op
       :disturb (first args)
       (:putv :getv) (* (count args) 2 timeout)
       (:open :map :close :push :pull :put :put-bytes) (* 2 timeout)
       timeout)
     1))

(defn- bench [world]
  {:size page :place oracle/among-neighbours :id id :timeout-ms 1
   :now #(sim/now world) :allowed time-allowed
   :disturb! (fn [_ n] (sim/advance! world n))})

(def ^:dynamic *controller*
  "How an importer gets its controller, given the world and the node."
  (fn [world node] (rsm/get-controller (sim/name world) {:node node})))

(defn- play*
  [opts commands]
  (let [views (Views/count)]
    (sim/with-world [world opts]
      (rsm/with-controller [c (sim/name world) {:node 0}]
        (with-open [one ^Controller (*controller* world 1)
                    two ^Controller (*controller* world 2)
                    ex (rsm/create! c {:size page})]
          (let [state (oracle/steps (oracle/begin (bench world) (:memory opts) ex one two) commands)
                _ (sim/run! world)
                state (oracle/end! state)]
            (cond-> (assoc (select-keys state [:calls :outcomes :flaws]) :history (sim/history world))
              (< views (Views/count)) (update :flaws (fnil conj []) [:views-left (- (Views/count) views)]))))))))

(defn play
  "Plays commands in a world. {:flaws :calls :outcomes :history}."
  [opts commands]
  (let [played (deref (future (play* opts commands)) 60000 {:flaws [[:hangs]]})]
    played))

;; --------------------------------------------------------------- the cases

(def ^:private commands
  (oracle/commands {:most 60 :disturbances (gen/elements [1000 30000 400000 2000000]) :disturb 2}))

(defn- worlds
  "Nothing goes wrong at the very beginning, when the segment is published."
  [memory]
  (gen/fmap (fn [opts] (update opts :faults (partial mapv #(cond-> % (:at %) (update :at inc)))))
            (rsm-gen/world {:nodes [0 1 2] :segments [[0 id]] :timeout timeout :memory memory :most 5
                            :kinds [:lose :lose :lose :delay :delay :delay :fail :cut :mend :stop :continue :kill :revoke]})))

(defn- search
  "Looks for flaws in so many cases. {:result of test.check :calls :outcomes}."
  [memory n seed]
  (let [totals (atom {:calls 0 :outcomes {}})
        result (tc/quick-check
                n
                (prop/for-all [opts (worlds memory), commands commands]
                  (let [{:keys [flaws calls outcomes]} (play opts commands)]
                    (swap! totals #(-> % (update :calls + (or calls 0)) (update :outcomes (partial merge-with +) outcomes)))
                    (empty? flaws)))
                :seed seed :max-size 60)]
    (assoc @totals :result result)))

(defn- tell [result]
  (let [[opts commands] (:smallest (:shrunk result))]
    (pr-str {:world opts :commands commands :flaws (:flaws (play opts commands))})))

(defn- promises-hold [memory n]
  (let [seed (runner/new-seed)
        before (child/belongings)
        {:keys [result calls outcomes]} (search memory n seed)]
    (println (str "   over sim, " (name memory) ", with faults: " n " sequences, " calls " calls, seed " seed "\n   " (into (sorted-map) outcomes)))
    (is (:pass? result) (when-not (:pass? result) (str "seed " seed " " (tell result))))
    (is (= before (child/belongings)) "nothing is left")
    (testing "the cases are such that things go wrong, and right"
      (is (< (* 5 n) (outcomes :ok 0)))
      (doseq [error [:rsm/conn-aborted :rsm/barrier-failure]]
        (is (or (= :shared memory) (< (quot n 30) (outcomes error 0))) error)))))

(deftest what-holds-when-things-go-wrong-with-mirrored-memory
  (promises-hold :mirrored (runner/trials 1500 80000)))

(deftest what-holds-when-things-go-wrong-with-shared-memory
  (promises-hold :shared (runner/trials 500 20000)))

;; --------------------------------------------------------- faults of our own

(defn- over-remote
  "The interconnect of a node of a world, where the memory that connections reach is what `change` makes of it."
  ^Interconnect [unit node change]
  (let [^Interconnect sim (.open (SimProvider.) "sim" unit node)]
    (reify Interconnect
      (name [_] (.name sim))
      (localNode [_] (.localNode sim))
      (localOnly [_] (.localOnly sim))
      (maxAccessEntries [_] (.maxAccessEntries sim))
      (attributes [_] (.attributes sim))
      (capabilities [_] (.capabilities sim))
      (nanoTime [_] (.nanoTime sim))
      (ended [_] (.ended sim))
      (allocate [_ length options] (.allocate sim length options))
      (adopt [_ address length owner options] (.adopt sim address length owner options))
      (close [_] (.close sim))
      (connect [_ node id permission deadline listener]
        (let [^Connection real (.connect sim node id permission deadline listener)
              ^RemoteMemory memory (change (.remote real))]
          (reify Connection
            (capabilities [_] (.capabilities real))
            (size [_] (.size real))
            (byteOrder [_] (.byteOrder real))
            (layout [_] (.layout real))
            (signals [_] (.signals real))
            (post [_ accumulate] (.post real accumulate))
            (exporterPid [_] (.exporterPid real))
            (exporterUid [_] (.exporterUid real))
            (aborted [_] (.aborted real))
            (remote [_] memory)
            (map [_ placement address permission offset length options]
              (.map real placement address permission offset length options))
            (close [_] (.close real))))))))

(defn- memory
  "What a connection reaches, but for the operations given: functions of that and the arguments."
  [^RemoteMemory real {:keys [put get order confirm add]}]
  (reify RemoteMemory
    (put [_ offset address length] (if put (put real offset address length) (.put real offset address length)))
    (get [_ offset address length] (if get (get real offset address length) (.get real offset address length)))
    (open [_] (.open real))
    (order [_] (if order (order real) (.order real)))
    (confirm [_] (if confirm (confirm real) (.confirm real)))
    (compareAndExchange [_ offset width expected value] (.compareAndExchange real offset width expected value))
    (getAndAdd [_ offset width delta] (if add (add real offset width delta) (.getAndAdd real offset width delta)))))

(def ^:private planted
  "What could be wrong in a mirror or an interconnect."
  {:a-push-loses-a-word
   (fn [real] (memory real {:put (fn [^RemoteMemory r offset address length]
                                   (when (< 8 (long length)) ; only a push has more than a word here
                                     (.put r offset address (- (long length) 8)))
                                   (when (= 8 (long length)) (.put r offset address length)))}))
   :a-close-does-not-ask
   (fn [real] (memory real {:confirm (fn [_])}))
   :a-write-is-acknowledged-before-it-is-made
   (fn [real] (let [late (atom [])]
                (memory real {:put (fn [^RemoteMemory r offset address length]
                                     (let [bytes (byte-array length)]
                                       (.copyToArray org.rsmapi.mem.Engine/ENGINE address bytes 0 (int length))
                                       (swap! late conj [offset bytes])))
                              :confirm (fn [^RemoteMemory r]
                                         (.confirm r)
                                         (with-open [stage (org.rsmapi.mem.Stage/take)]
                                           (doseq [[offset ^bytes bytes] (first (reset-vals! late []))]
                                             (.copyFromArray org.rsmapi.mem.Engine/ENGINE bytes 0 (.address stage) (alength bytes))
                                             (.put r offset (.address stage) (alength bytes)))))})))
   :half-an-element-is-written
   (fn [real] (memory real {:put (fn [^RemoteMemory r offset address length]
                                   (let [half (quot (long length) 2)]
                                     (.put r offset address half)
                                     (.put r (+ (long offset) half) (+ (long address) half) (- (long length) half))))}))
   :a-read-is-old
   (fn [real] (let [reads (atom 0)]
                (memory real {:get (fn [^RemoteMemory r offset address length]
                                     (when (or (< (long length) 4096) (= 1 (swap! reads inc)))
                                       (.get r offset address length)))})))
   :order-does-nothing
   (fn [real] (memory real {:order (fn [_])}))
   :atomics-happen-twice
   (fn [real] (memory real {:add (fn [^RemoteMemory r offset width delta]
                                   (let [before (.getAndAdd r offset width delta)]
                                     (.getAndAdd r offset width delta)
                                     before))}))
   :failures-are-hidden
   (fn [real] (memory real {:confirm (fn [^RemoteMemory r]
                                       (try (.confirm r)
                                            (catch RsmException e
                                              (when (= :rsm/conn-aborted (:rsm/error (ex-data e))) (throw e)))))}))
   :an-answer-is-waited-for-too-long
   (fn [real] (memory real {:confirm (fn [^RemoteMemory r]
                                       (try (.confirm r)
                                            (catch RsmException _ (try (.confirm r) (catch RsmException _ (.confirm r))))))}))})

(deftest what-is-planted-is-found
  (doseq [[fault change] planted]
    (testing fault
      (binding [*controller* (fn [world node]
                               (far/controller-of (over-remote 0 node change)))]
        (let [{:keys [result]} (search :mirrored 10000 17)]
          (is (false? (:pass? result)))
          (when (= false (:pass? result))
            (println "  " fault "after" (:num-tests result) "sequences:"
                     (let [[opts commands] (:smallest (:shrunk result))]
                       (str (count commands) " calls, " (count (:faults opts)) " faults")))))))))
