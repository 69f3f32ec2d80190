(ns rsmapi.sim-fault-test
  "Sequences of calls over a simulated interconnect in which things go wrong, and what is promised all the same: what was
  confirmed is there; what failed may be there or not, whole; nobody waits beyond the timeout; nothing is left in the end.

  Each word of a segment belongs to one importer, or to the exporter, and each write has a value of its own. So the test knows
  which values a word can have: those that were written since the last write that was confirmed, and that one."
  (:require [clojure.set :as set]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.sim :as sim]
            [rsmapi.test.child :as child]
            [rsmapi.test.far :as far]
            [rsmapi.test.runner :as runner])
  (:import (java.nio ByteBuffer ByteOrder)
           (org.rsmapi Controller RsmException)
           (org.rsmapi.mem Views)
           (org.rsmapi.sim SimProvider)
           (org.rsmapi.spi Connection Interconnect RemoteMemory)))

(set! *warn-on-reflection* true)

(def ^:private id 0x600001)
(def ^:private page (long (rsm/page-size)))
(def ^:private timeout 1000000)

;; ------------------------------------------------------------------ words

(def ^:private words {1 [0 1 2 3] 2 [4 5 6 7] :exporter [8 9]})
(def ^:private counter 10)
(def ^:private of-importers (mapcat words [1 2]))

(defn- place
  "Most words have neighbours."
  [word]
  (+ (* 8 (long word)) (if (#{3 7 9} word) 2048 0)))

(defn- value
  "Of the n-th write: what is torn is no such value."
  [n]
  (* (long n) 0x0001000100010001))

;; ----------------------------------------------- what the words can contain

(def ^:private nothing-yet
  {:written 0
   :words (zipmap (mapcat val words) (repeat {:values #{0} :writes [] :floating #{}}))
   :importers {1 {:epoch 0} 2 {:epoch 0}}
   :adds {:done 0 :unknown 0 :seen #{}}
   :posted 0 :taken 0})

(defn- possible [state word]
  (let [{:keys [values writes floating]} (get-in state [:words word])]
    (into (set/union values floating) (map :value) writes)))

(defn- wrote
  "Importer i has written a word; whether that was sent for sure."
  [state i word v sure?]
  (update-in state [:words word :writes] conj {:value v :sure? sure? :epoch (get-in state [:importers i :epoch])}))

(defn- ordered
  "What importer i writes from now on arrives after what it has written."
  [state i]
  (update-in state [:importers i :epoch] inc))

(defn- settle [{:keys [values writes] :as w} arrived?]
  (let [epoch (when arrived? (reduce max -1 (map :epoch (filter :sure? writes))))]
    (assoc w
           :writes []
           :values (if (and epoch (nat-int? epoch))
                     (set (map :value (filter #(<= epoch (:epoch %)) writes)))
                     (into values (map :value) writes)))))

(defn- answered
  "What importer i has sent has arrived, or that is not known."
  [state i arrived?]
  (reduce (fn [state word] (update-in state [:words word] settle arrived?)) (ordered state i) (words i)))

(defn- gone
  "The connection of importer i has ended: what is under way may arrive at any time."
  [state i]
  (reduce (fn [state word]
            (let [values (into (possible state word) (map :value) [(get-in state [:importers i :mirror word] {:value 0})])]
              (cond-> (update-in state [:words word] settle false)
                (or (< 1 (count (disj values 0))) (seq (get-in state [:words word :writes])))
                (update-in [:words word :floating] into values))))
          state (words i)))

;; mirrors: the words that importer i has stored, {:value :state}, the state being :dirty, :sent, :unsure: sent again next time, or
;; :maybe: perhaps sent again

(defn- pushed [state i arrived?]
  (let [state (reduce (fn [state [word {:keys [value] at :state}]]
                        (-> state
                            (cond-> (not= :sent at) (wrote i word value (not= :maybe at)))
                            (assoc-in [:importers i :mirror word :state] (if (= :maybe at) :maybe :sent))))
                      state (get-in state [:importers i :mirror]))]
    (case arrived?
      :not-known state
      true (-> (reduce (fn [state [word {:keys [value]}]]
                         (update-in state [:importers i :view word] (fnil conj #{}) value))
                       state (get-in state [:importers i :mirror]))
               (assoc-in [:importers i :mirror] {})
               (answered i true))
      false (-> state
                (update-in [:importers i :mirror] update-vals
                           ;; a barrier that tells of what another call has missed may have been answered itself
                           #(assoc % :state (if (get-in state [:importers i :failed?]) :maybe :unsure)))
                (answered i false)))))

(defn- failed-to-confirm
  "A put was not confirmed: a barrier that is open has to say so."
  [state i]
  (-> state
      (assoc-in [:importers i :failed?] true)
      (answered i false)))

(defn- seen
  "Importer i has brought in what the exporter has."
  [state i]
  (assoc-in state [:importers i :view] (into {} (map (juxt identity #(possible state %))) (keys (:words state)))))

;; --------------------------------------------------------------- the calls

(defn- outcome
  "[:ok value], [:error keyword], or [:thrown text] of what is no RSM error."
  [f]
  (try [:ok (f)]
       (catch RsmException e [:error (:rsm/error (ex-data e))])
       (catch Throwable t [:thrown (str t)])))

(def ^:private unreachable #{:rsm/conn-aborted :rsm/barrier-failure :rsm/barrier-open-failed})

(defn- complain [state & what]
  (update state :flaws (fnil conj []) (vec what)))

(defn- check-value [state what allowed v]
  (if (contains? allowed v) state (complain state what :is v :may-be allowed)))

(defn- read-value
  "A value that importer i has read through put and get. Where nobody asks whether the connection is aborted, zeros are read then."
  [state i word v]
  (check-value state [:got i word]
               (cond-> (possible state word) (= :explicit (get-in state [:importers i :mode])) (conj 0)) v))

(defn- loaded [{:keys [memory] :as state} i word v]
  (let [{:keys [mirror view]} (get-in state [:importers i])
        {:keys [value] at :state} (mirror word)]
    (check-value state [:loaded i word]
                 (cond (= :shared memory) (conj (possible state word) 0)
                       (= :dirty at) #{value}
                       value (conj (view word #{}) value)
                       :else (view word #{}))
                 v)))

(defn- bytes-of [v]
  (.array (.putLong (.order (ByteBuffer/allocate 8) (ByteOrder/nativeOrder)) v)))

(def ^:private calls
  "By operation: whether it makes sense, given state and importer; the call, given the handles and arguments; what it does to what is
  known, given state, importer, whether it succeeded, its value, and arguments; the errors that it may have."
  (let [connected? (fn [state i] (get-in state [:importers i :im]))
        mapped? (fn [state i] (get-in state [:importers i :m]))
        open? (fn [state i] (get-in state [:importers i :open?]))
        put (fn [state i ok? error & some-words]
              (let [explicit? (= :explicit (get-in state [:importers i :mode]))
                    before state
                    state (reduce (fn [state [word v]] (wrote state i word v ok?)) state some-words)]
                (cond (= :rsm/barrier-open-failed error) before
                      explicit? state
                      ok? (answered state i true)
                      :else (failed-to-confirm state i))))
        both (fn [f] (fn [state i] (and (connected? state i) (f state i))))]
    {:connect    {:when (complement connected?)
                  :errors #{:rsm/seg-not-published :rsm/remote-node-unreachable :rsm/timeout :rsm/ctlr-not-present}}
     :disconnect {:when connected?
                  :call (fn [{:keys [im]}] (rsm/close! im))
                  :then (fn [state i _ _]
                          (-> state
                              (pushed i :not-known)
                              (gone i)
                              (update-in [:importers i] select-keys [:c :epoch])))}
     :mode       {:when connected?
                  :call (fn [{:keys [im]} mode] (rsm/set-barrier-mode! im mode))
                  :then (fn [state i _ _ mode] (assoc-in state [:importers i :mode] mode))}
     :put        {:when connected? :errors unreachable
                  :call (fn [{:keys [im]} [word v]] (rsm/put64! im (place word) v))
                  :then put}
     :put-bytes  {:when connected? :errors unreachable
                  :call (fn [{:keys [im]} [word v]]
                          (rsm/put! im (place word) (bytes-of v)))
                  :then put}
     :putv       {:when connected? :errors unreachable
                  :call (fn [{:keys [im]} & all]
                          (rsm/putv! {:segment im :iovec (mapv (fn [[word v]] {:local (bytes-of v) :remote-offset (place word) :length 8}) all)}))
                  :then put}
     :get        {:when connected? :errors unreachable
                  :call (fn [{:keys [im]} word] (first (rsm/get64 im (place word) 1)))
                  :then (fn [state i ok? v word]
                          (-> (if ok? (read-value state i word v) state)
                              (ordered i)))}
     :add        {:when connected? :errors unreachable
                  :call (fn [{:keys [im]}] (rsm/get-and-add-long! im (place counter) 1))
                  :then (fn [state i ok? v]
                          (let [{:keys [done unknown seen]} (:adds state)]
                            (-> (if ok?
                                  (cond-> (update state :adds #(-> % (update :done inc) (update :seen conj v)))
                                    (not (<= done v (+ done unknown))) (complain :counter-was v :done done :unknown unknown)
                                    (seen v) (complain :counter-was-twice v))
                                  (update-in state [:adds :unknown] inc))
                                (ordered i))))}
     ;; where memory is shared, put and get map it themselves
     :map        {:when (both (complement mapped?)) :errors (conj unreachable :rsm/map-failed :rsm/seg-already-mapped)
                  :call (fn [{:keys [im]}] (rsm/map! im))
                  :then (fn [state i ok? m]
                          (cond-> (ordered state i)
                            ok? (-> (update-in [:importers i] assoc :m m :mirror {}) (seen i))))}
     :unmap      {:when (both mapped?) :errors unreachable
                  :call (fn [{:keys [m]}] (rsm/unmap! m))
                  :then (fn [state i _ _]
                          (-> state (pushed i :not-known) (update-in [:importers i] dissoc :m :mirror :view)))}
     :store      {:when (both mapped?) :errors #{:rsm/conn-aborted}
                  :call (fn [{:keys [m]} [word v]] (rsm/put-long! m (place word) v))
                  :then (fn [state i ok? _ [word v]]
                          (cond (not ok?) state
                                (= :shared (:memory state)) (wrote state i word v true)
                                :else (assoc-in state [:importers i :mirror word] {:value v :state :dirty})))}
     :load       {:when (both mapped?) :errors #{:rsm/conn-aborted}
                  :call (fn [{:keys [m]} word] (rsm/get-long m (place word)))
                  :then (fn [state i ok? v word] (cond-> state ok? (loaded i word v)))}
     :open       {:when (both (complement open?)) :errors #{:rsm/barrier-open-failed :rsm/conn-aborted}
                  :call (fn [{:keys [im barrier]}] (rsm/open-barrier! barrier) (rsm/aborted? im))
                  :then (fn [state i ok? aborted?]
                          (cond-> state
                            (and ok? (mapped? state i)) (ordered i) ; it has read
                            ok? (update-in [:importers i] assoc :open? true :failed? false)
                            (and ok? (not aborted?) (mapped? state i)) (seen i)))}
     :order      {:when (both open?) :errors unreachable
                  :call (fn [{:keys [barrier]}] (rsm/order-barrier! barrier))
                  :then (fn [state i ok? _]
                          (-> state
                              (pushed i :not-known)
                              (cond-> (not ok?) (update-in [:importers i :mirror] update-vals #(assoc % :state :maybe)))
                              (ordered i)))}
     :close      {:when (both open?) :errors unreachable
                  :call (fn [{:keys [barrier]}] (rsm/close-barrier! barrier))
                  :then (fn [state i ok? _]
                          (let [{:keys [failed?]} (get-in state [:importers i])]
                            (-> state
                                (cond-> (and ok? failed?) (complain :closed-though-a-put-had-failed i))
                                (pushed i ok?)
                                (assoc-in [:importers i :open?] false))))}
     :push       {:when (both mapped?) :errors unreachable
                  :call (fn [{:keys [m]}] (rsm/push! m))
                  :then (fn [state i ok? _]
                          (cond-> (pushed state i ok?)
                            (not ok?) (assoc-in [:importers i :failed?] true)))}
     :pull       {:when (both mapped?) :errors unreachable
                  :call (fn [{:keys [m im]}] (rsm/pull! m) (rsm/aborted? im))
                  :then (fn [state i ok? aborted?]
                          (cond-> (ordered state i) (and ok? (not aborted?)) (seen i)))}
     :post       {:when connected? :errors #{:rsm/conn-aborted}
                  :call (fn [{:keys [im]}] (rsm/signal-post! im))
                  :then (fn [state _ _ _] (update state :posted inc))}
     :advance    {:call (fn [{:keys [world]} n] (sim/advance! world n))
                  :then (fn [state & _] state)}
     :wait       {:errors #{:rsm/timeout}
                  :call (fn [{:keys [ex]}] (rsm/signal-wait! ex {:timeout-ms 1}))
                  :then (fn [state _ ok? _] (cond-> state ok? (update :taken inc)))}
     :exporter-put {:call (fn [{:keys [ex]} [word v]] (rsm/put-long! ex (place word) v))
                    :then (fn [state _ _ _ [word v]] (assoc-in state [:words word] {:values #{v} :writes [] :floating #{}}))}
     :exporter-add {:call (fn [{:keys [ex]}] (rsm/get-and-add-long! ex (place counter) 1))
                    :then (fn [state _ _ v]
                            (-> state
                                (update-in [:adds :done] inc)
                                (update-in [:adds :seen] conj v)))}
     :unpublish  {:when (fn [state _] (:published? state))
                  :call (fn [{:keys [ex]}] (rsm/unpublish! ex))
                  :then (fn [state _ _ _]
                          (assoc state :published? false
                                 :frozen (into {} (map (juxt identity #(rsm/get-long (:ex state) (place %)))) of-importers)))}
     :publish    {:when (fn [state _] (not (:published? state))) :errors #{:rsm/ctlr-not-present}
                  :call (fn [{:keys [ex]}] (rsm/publish! ex {:segment-id id :acl [{:node 1 :perm 0600} {:node 2 :perm 0600}]}))
                  :then (fn [state _ ok? _] (cond-> state ok? (-> (assoc :published? true) (dissoc :frozen))))}}))

(defn- connected [state i]
  (let [[kind im] (outcome #(rsm/connect! (get-in state [:importers i :c]) {:node 0 :segment-id id :timeout-ms 1}))]
    (if (= :ok kind)
      [[kind im] (update-in state [:importers i] assoc :im im :mode :implicit :barrier (rsm/init-barrier! im))]
      [[kind im] state])))

(defn- with-values
  "The arguments with a value for each word that is to be written: [state' arguments]."
  [state op i args]
  (if (#{:put :put-bytes :putv :store :exporter-put} op)
    (reduce (fn [[state done] word]
              (let [n (inc (long (:written state)))]
                [(assoc state :written n) (conj done [(nth (words (or i :exporter)) word) (value n)])]))
            [state []] args)
    [state args]))

(defn- look
  "What the exporter has has to be what it can be."
  [{:keys [ex frozen adds] :as state}]
  (let [there #(rsm/get-long ex (place %))
        state (reduce (fn [state word] (check-value state [:there word] (possible state word) (there word))) state (keys (:words state)))
        n (there counter)]
    (cond-> state
      (not (<= (:done adds) n (+ (:done adds) (:unknown adds)))) (complain :counter n adds)
      (not= frozen (when frozen (into {} (map (juxt identity there)) of-importers))) (complain :changed-after-unpublish)
      (< (:posted state) (:taken state)) (complain :more-events-than-posted))))

(defn- time-allowed
  "How long a call may take: as long as an answer is waited for, for each question that it asks."
  [op args]
  (+ (case op
       :advance (first args)
       :putv (* (count args) 2 timeout)
       (:open :map :close :push :pull :put :put-bytes) (* 2 timeout)
       timeout)
     1))

(defn- step [{:keys [world] :as state} [op i & args]]
  (let [{:keys [call then errors] applies? :when :or {errors #{} applies? (constantly true)}} (calls op)]
    (if-not (applies? state i)
      state
      (let [[state args] (with-values state op i args)
            began (sim/now world)
            [[kind v] state] (if (= :connect op)
                               (connected state i)
                               [(outcome #(apply call (merge state (get-in state [:importers i])) args)) state])
            took (- (sim/now world) began)]
        (-> (if (= :connect op) state (apply then state i (= :ok kind) v args))
            (update :calls (fnil inc 0))
            (update-in [:outcomes (if (= :ok kind) :ok v)] (fnil inc 0))
            (cond-> (and (= :error kind) (not (errors v))) (complain op :has-the-error v)
                    (= :thrown kind) (complain op :has-thrown v)
                    (< (time-allowed op args) took) (complain op :took took))
            look)))))

;; ------------------------------------------------------------------ playing

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
          (rsm/publish! ex {:segment-id id :acl [{:node 1 :perm 0600} {:node 2 :perm 0600}]})
          (let [state (-> nothing-yet
                          (assoc :world world :ex ex :published? true :memory (:memory opts))
                          (assoc-in [:importers 1 :c] one)
                          (assoc-in [:importers 2 :c] two))
                state (reduce (fn [state command] (if (:flaws state) (reduced state) (step state command))) state commands)
                _ (sim/run! world)
                state (if (:flaws state) state (look state))
                state (if (:flaws state) state (reduce step state [[:disconnect 1] [:disconnect 2]]))]
            (doseq [i [1 2]]
              (some-> (get-in state [:importers i :im]) rsm/close!))
            (rsm/close! ex)
            (cond-> (assoc (select-keys state [:calls :outcomes :flaws]) :history (sim/history world))
              (< views (Views/count)) (complain :views-left (- (Views/count) views)))))))))

(defn play
  "Plays commands in a world. {:flaws :calls :outcomes :history}."
  [opts commands]
  (let [played (deref (future (play* opts commands)) 60000 {:flaws [[:hangs]]})]
    played))

;; --------------------------------------------------------------- the cases

(def ^:private a-command
  (let [i (gen/elements [1 2])
        word (gen/frequency [[1 (gen/return 0)] [2 (gen/choose 0 3)]])
        on (fn [op & more] (apply gen/tuple (gen/return op) i more))
        by-exporter (fn [op & more] (apply gen/tuple (gen/return op) (gen/return nil) more))]
    (gen/frequency
     [[2 (on :connect)]
      [1 (on :disconnect)]
      [3 (on :mode (gen/elements [:explicit :implicit :explicit]))]
      [8 (on :put word)]
      [3 (on :put-bytes word)]
      [3 (gen/let [i i, some-words (gen/vector word 1 4)] (into [:putv i] some-words))]
      [8 (on :get (gen/choose 0 9))]
      [4 (on :add)]
      [3 (on :map)]
      [1 (on :unmap)]
      [8 (on :store word)]
      [6 (on :load (gen/choose 0 9))]
      [4 (on :open)]
      [4 (on :order)]
      [4 (on :close)]
      [2 (on :push)]
      [2 (on :pull)]
      [2 (on :post)]
      [2 (by-exporter :wait)]
      [2 (by-exporter :advance (gen/elements [1000 30000 400000 2000000]))]
      [3 (by-exporter :exporter-put (gen/choose 0 1))]
      [1 (by-exporter :exporter-add)]
      [1 (by-exporter :unpublish)]
      [2 (by-exporter :publish)]])))

(def ^:private commands
  (gen/fmap #(into [[:connect 1] [:connect 2]] %) (gen/vector a-command 0 60)))

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
