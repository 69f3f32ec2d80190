(ns rsmapi.net-proxy-test
  "Two hosts with a proxy between them that delays, splits, loses, flips and cuts. Whatever it does, calls return in time,
  with success or a documented error; what was confirmed is true; wrong data is never seen; when it stops, a new connection
  works, and nothing is left.

  Both hosts are played by this process. The nodes file of node 1 has the proxy in the place of node 2's port."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [clojure.test.check.results :as results]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as hosts]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.proxy :as proxy]
            [rsmapi.test.runner :as runner])
  (:import (java.io IOException)
           (java.net InetAddress ServerSocket Socket SocketTimeoutException)
           (java.util Arrays)))

(set! *warn-on-reflection* true)

(def ^:private importing 4) ; net4 is node 1
(def ^:private exporting 5) ; net5 is node 2
(def ^:private limit-ms 300)
(def ^:private bound-ms
  "A call may take 30 times the time limit, on a machine that does other things too."
  60000)

;; ---------------------------------------------------------- what is left

(defn- threads []
  (vec (filter #(str/starts-with? % "rsmapi-net") (sort (keys (child/threads))))))

(defn- left? [before]
  (not (and (= [] (threads)) (every? (fn [[kind n]] (<= (long n) (long (get before kind 0)))) (child/descriptors)))))

;; ------------------------------------------------------------- the hosts

(defn- with-hosts*
  "Calls f with a proxy and controllers of nodes 1 and 2."
  [f]
  (let [folder (javac/temp-dir)
        keys {1 (hosts/key-of folder "key1") 2 (hosts/key-of folder "key2")}
        [port-1 port-2] (hosts/free-ports 2)
        configure! (fn [unit node nodes]
                     (System/setProperty (hosts/property unit "nodes") (str nodes))
                     (System/setProperty (hosts/property unit "key") (str (.file ^org.rsmapi.net.KeyFile (keys node)))))]
    (try
      (proxy/with-proxy [p port-2]
        (let [line (fn [node port] {:node node :port port :key (keys node) :more "uids=same"})]
          (configure! importing 1 (hosts/nodes-file! folder "nodes1" [(line 1 port-1) (line 2 (proxy/port p))]))
          (configure! exporting 2 (hosts/nodes-file! folder "nodes2" [(line 1 port-1) (line 2 port-2)])))
        (System/setProperty "rsmapi.net.timeout" (str limit-ms))
        (with-open [there (rsm/get-controller (str "net" exporting))
                    here (rsm/get-controller (str "net" importing))]
          (f {:proxy p :here here :there there})))
      (finally
        (System/clearProperty "rsmapi.net.timeout")
        (doseq [unit [importing exporting], what ["nodes" "key"]]
          (System/clearProperty (hosts/property unit what)))
        (files/delete-tree! folder)))))

;; ------------------------------------------------------------ the segment
;;
;; First what is only read, then a slot for each call that writes, then a counter.

(def ^:private slot 131072)
(def ^:private most-calls 5)
(def ^:private counter (* (inc most-calls) slot))
(def ^:private size (+ counter 65536))

(defn- pattern
  "Bytes, none of which is 0, that tell where they belong."
  ^bytes [n tag]
  (let [bytes (byte-array n)]
    (dotimes [i n]
      (aset bytes i (unchecked-byte (bit-or 1 (+ (* 31 (long tag)) i (bit-shift-right i 8))))))
    bytes))

(def ^:private to-read (pattern slot 0))

(defn- content ^bytes [ex offset n]
  (let [bytes (byte-array n)]
    (rsm/get-bytes! ex offset bytes)
    bytes))

(defn- written?
  "Whether the exporter has what was written; in part, if that may be so."
  [ex offset ^bytes bytes whole?]
  (let [found (content ex offset (alength bytes))]
    (if whole?
      (Arrays/equals bytes found)
      (every? (fn [i] (let [b (aget found i)] (or (zero? b) (= b (aget bytes i))))) (range (alength bytes))))))

;; -------------------------------------------------------------- the calls

(def ^:private about-moves #{:rsm/conn-aborted :rsm/barrier-failure :rsm/barrier-open-failed})

(def ^:private documented
  {:connect #{:rsm/remote-node-unreachable :rsm/timeout :rsm/conn-aborted}
   :put about-moves :get about-moves :barrier about-moves :atomic about-moves
   :post #{:rsm/conn-aborted}
   :wait #{:rsm/conn-aborted :rsm/timeout}
   :pull (conj about-moves :rsm/map-failed) :push (conj about-moves :rsm/map-failed)})

(defmacro ^:private mapped [[sym im offset] & body]
  `(let [~sym (rsm/map! ~im {:offset ~offset :length slot})]
     (try ~@body (finally (try (rsm/unmap! ~im) (catch org.rsmapi.RsmException _#))))))

(defn- call!
  "Makes a call: the n-th, which has a slot. Returns true, or what was read or counted."
  [{:keys [here ex im id]} n [op bytes]]
  (let [place (* (inc (long n)) (long slot))]
    (case op
      :connect (do (rsm/close! (rsm/connect! here {:node 2 :segment-id id :timeout-ms 2000})) true)
      :put (do (rsm/put! im place (pattern bytes (inc (long n)))) true)
      :get (Arrays/equals ^bytes (rsm/get! im 0 (byte-array bytes)) (Arrays/copyOf ^bytes to-read (int bytes)))
      :barrier (do (rsm/set-barrier-mode! im :explicit)
                   (try
                     (rsm/with-barrier [b im]
                       (doseq [[at part] (map-indexed vector (partition-all 7000 (pattern bytes (inc (long n)))))]
                         (rsm/put! im (+ place (* 7000 (long at))) (byte-array part))
                         (when (odd? (long at)) (rsm/order-barrier! b))))
                     (finally (rsm/set-barrier-mode! im :implicit)))
                   true)
      :atomic (rsm/get-and-add-long! im counter 1)
      :post (do (rsm/signal-post! im) true)
      :wait (do (rsm/signal-post! ex) (rsm/signal-wait! im {:timeout-ms 1000}) true)
      :pull (mapped [m im 0]
              (rsm/pull! m)
              (let [found (byte-array slot)]
                (rsm/get-bytes! m 0 found)
                (Arrays/equals found ^bytes to-read)))
      :push (mapped [m im place]
              (rsm/put-bytes! m 0 (pattern bytes (inc (long n))))
              (rsm/push! m)
              true))))

(defn- timed-call
  "{:call :value :ms}, the value being an error's name if there is one, or :hangs."
  [env n call]
  (let [began (System/nanoTime)
        calling (future (outcome (call! env n call)))
        value (try (deref calling bound-ms :hangs)
                   (catch Exception e [:unexpected (str (or (ex-cause e) e))]))]
    {:call call :value value :ms (quot (- (System/nanoTime) began) 1000000)}))

(defn- problem
  "What is wrong with the outcome of a call; nil for nothing."
  [{:keys [ex]} n {[op bytes] :call :keys [value]}]
  (let [done? (not (keyword? value))
        place (* (inc (long n)) (long slot))]
    (cond
      (vector? value) value
      (= :hangs value) :hangs
      (false? value) :wrong-data
      (not (or done? ((documented op) value))) [:not-documented value]
      (and (#{:put :barrier :push} op) (not (written? ex place (pattern bytes (inc (long n))) done?))) [:not-there value])))

(defn- miscounted
  "What is wrong with the numbers of the exporter's events and of its counter."
  [{:keys [ex]} outcomes]
  (let [of (fn [op done?] (filter #(and (= op (first (:call %))) (= done? (not (keyword? (:value %))))) outcomes))
        counted (rsm/get-long ex counter)
        events (count (take-while nil? (repeatedly #(outcome (rsm/signal-wait! ex {:timeout-ms 0})))))
        between? (fn [n op] (<= (count (of op true)) n (+ (count (of op true)) (count (of op false)))))
        seen (map :value (of :atomic true))]
    (cond-> []
      (not (between? counted :atomic)) (conj [:counted counted])
      (not (and (or (empty? seen) (apply distinct? seen)) (every? #(< -1 (long %) counted) seen))) (conj [:seen seen])
      (not (between? events :post)) (conj [:events events]))))

(defn- connected
  "A connection, when that is possible again; nil if it is not in the end."
  [{:keys [here id]}]
  (eventually (let [found (outcome (rsm/connect! here {:node 2 :segment-id id :timeout-ms 2000}))]
                (when-not (keyword? found) found))))

(def ^:private totals (atom {}))

(defn- count! [outcomes fired]
  (let [done? (fn [{:keys [value]}] (not (keyword? value)))]
    (swap! totals (partial merge-with +)
           {:calls (count outcomes) :done (count (filter done? outcomes))}
           (frequencies (map :kind fired))
           (frequencies (map (juxt (comp first :call) done?) outcomes)))))

(defn- trial
  "What goes wrong when these calls are made under a plan."
  [{:keys [there] :as env} plan calls]
  (with-open [ex (rsm/export! there {:size size :acl [{:node 1 :perm 0600}]})]
    (rsm/put-bytes! ex 0 to-read)
    (let [env (assoc env :ex ex :id (rsm/segment-id ex))]
      (if-let [im (connected env)]
        (let [outcomes (with-open [im ^org.rsmapi.ImportSegment im]
                         (proxy/plan! (:proxy env) plan)
                         (when (= :connect (ffirst calls))
                           (proxy/cut! (:proxy env))) ; so that a new link has to be made
                         (let [outcomes (vec (map-indexed #(timed-call (assoc env :im im) %1 %2) calls))]
                           (count! outcomes (proxy/calm! (:proxy env)))
                           outcomes))
              problems (into (vec (keep-indexed #(some->> (problem env %1 %2) (vector %1)) outcomes))
                             (miscounted env outcomes))]
          (if-let [again (connected env)]
            (with-open [again ^org.rsmapi.ImportSegment again]
              (let [found (outcome (rsm/get! again 0 (byte-array 100)))]
                (cond-> problems
                  (and (bytes? found) (not= (seq found) (take 100 to-read))) (conj [:wrong-data-afterwards]))))
            (conj problems [:no-connection-afterwards])))
        [[:no-connection]]))))

;; -------------------------------------------------------------- the plans

(def ^:private gen-place
  "Places in the first bytes of a handshake, around small frames, and in much data."
  (gen/frequency [[4 (gen/choose 0 600)] [3 (gen/choose 0 5000)] [2 (gen/choose 0 150000)]]))

(def ^:private gen-fault
  (gen/let [way (gen/elements [:there :back])
            kind (gen/elements proxy/kinds)
            at (gen/frequency [[4 (gen/fmap #(hash-map :at %) gen-place)]
                               [1 (gen/fmap #(hash-map :after-ms %) (gen/choose 0 60))]])
            ms (gen/choose 0 100)]
    (merge {:way way :kind kind :ms ms} at)))

(def ^:private gen-shape
  (gen/frequency [[3 (gen/return {})]
                  [2 (gen/fmap #(hash-map :chunk %) (gen/elements [3 17 1400]))]
                  [1 (gen/fmap #(hash-map :chunk 8000 :jitter-ms %) (gen/choose 1 3))]
                  [1 (gen/fmap #(hash-map :gather-ms %) (gen/choose 1 10))]]))

(def ^:private gen-plan
  (gen/let [seed (gen/choose 0 1000000)
            shape gen-shape
            faults (gen/vector gen-fault 0 3)]
    {:seed seed :shape shape :faults faults}))

(def ^:private gen-call
  (let [sized (fn [op] (gen/fmap #(vector op %) (gen/elements [1 8 100 4096 20000 100000])))]
    (gen/one-of (into (mapv sized [:put :get :barrier :push])
                      (map #(gen/return [%]) [:connect :atomic :post :wait :pull])))))

(defn- result [problems]
  (reify results/Result
    (pass? [_] (= [] problems))
    (result-data [_] {:problems problems})))

;; -------------------------------------------------------- the proxy itself

(defn- through
  "What arrives of 1000 bytes that are sent through a proxy with a plan, and how: [bytes ending], the ending being :end,
  :reset or, if nothing more comes, :silence."
  [plan]
  (with-open [server (ServerSocket. 0 1 (InetAddress/getByName "127.0.0.1"))]
    (proxy/with-proxy [p (.getLocalPort server)]
      (proxy/plan! p plan)
      (with-open [from (Socket. "127.0.0.1" (int (proxy/port p)))
                  to (.accept server)]
        (.write (.getOutputStream from) ^bytes (pattern 1000 0))
        (.setSoTimeout to 500)
        (let [in (.getInputStream to)]
          (loop [got []]
            (let [b (try (.read in)
                         (catch SocketTimeoutException _ :silence)
                         (catch IOException _ :reset))]
              (cond (= b -1) [got :end]
                    (keyword? b) [got b]
                    :else (recur (conj got (unchecked-byte b)))))))))))

(deftest what-the-proxy-does
  (let [all (vec (pattern 1000 0))
        with (fn [kind] {:faults [{:way :there :at 300 :kind kind :ms 3}]})
        first-part (subvec all 0 300)]
    (is (= [all :silence] (through {}) (through {:shape {:chunk 7}}) (through {:shape {:chunk 400 :jitter-ms 3}})
           (through {:shape {:gather-ms 20}}) (through (with :delay))
           (through {:faults [{:way :back :at 0 :kind :reset}]})))
    (is (= [(update all 300 #(unchecked-byte (bit-xor 8 (long %)))) :silence] (through (with :flip))))
    (is (= [(into first-part (subvec all 301)) :silence] (through (with :lose))))
    (is (= [first-part :end] (through (with :half-close))))
    (is (= [first-part :silence] (through (with :stall)) (through (with :black-hole))))
    (is (= :reset (second (through (with :reset)))))
    (is (= [all :end] (through {:faults [{:way :there :after-ms 100 :kind :half-close}]})))))

;; ------------------------------------------------------------------ tests

(deftest faults-in-the-middle-of-calls
  (with-hosts* (fn [env] (trial env {} [[:put 8]]))) ; what is loaded only once
  (let [before (child/descriptors)
        seed (runner/new-seed)]
    (reset! totals {})
    (with-hosts*
      (fn [env]
        (testing "without faults"
          (is (= [] (trial env {:shape {:chunk 500}}
                           [[:put 100000] [:barrier 20000] [:wait] [:push 4096] [:atomic]]))))
        (let [r (tc/quick-check (runner/trials 150 3000)
                                (prop/for-all [plan gen-plan, calls (gen/vector gen-call 1 most-calls)]
                                  (result (trial env plan calls)))
                                :seed seed)]
          (is (:pass? r) (pr-str (:seed r) (get-in r [:shrunk :smallest]) (get-in r [:shrunk :result-data]))))))
    (testing "each kind of fault has happened, and each kind of call has succeeded and failed"
      (doseq [kind proxy/kinds] (is (pos? (long (get @totals kind 0))) kind))
      (doseq [op (keys documented), done? [true false]] (is (pos? (long (get @totals [op done?] 0))) [op done?])))
    (println " " (select-keys @totals (into [:calls :done] proxy/kinds)))
    (is (eventually (not (left? before))) (pr-str before (child/descriptors) (threads)))))
