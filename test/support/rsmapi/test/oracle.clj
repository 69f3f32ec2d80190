(ns rsmapi.test.oracle
  "What is promised of calls between hosts while things go wrong: what was confirmed is there; what failed may be there or not,
  whole; nobody waits beyond a limit.

  Each word of a segment belongs to one importer, or to the exporter, and each write has a value of its own. So the oracle knows
  which values a word can have: those that were written since the last write that was confirmed, and that one. It makes the calls
  itself: `step` makes one and compares its result and the exporter's memory with what can be.

  Where this happens is a bench, a map:

    :size       of the segment
    :place      where a word is in it, a function of its number
    :id         under which the segment is published
    :now        the time in ns, a function
    :allowed    how long a call may take in ns, a function of its operation and arguments
    :timeout-ms of connects
    :errors     by operation, errors that it may have here besides those that it may have everywhere
    :much?      whether there is room after each word for :put-much
    :disturb!   what [:disturb nil & arguments] does, a function of the bench and the arguments"
  (:require [clojure.set :as set]
            [clojure.test.check.generators :as gen]
            [rsmapi.core :as rsm])
  (:import (java.nio ByteBuffer ByteOrder)
           (org.rsmapi RsmException)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------------------ words

(def words {1 [0 1 2 3] 2 [4 5 6 7] :exporter [8 9]})
(def ^:private counter 10)
(def ^:private of-importers (mapcat words [1 2]))

(defn among-neighbours
  "Places of the words in one page."
  [word]
  (+ (* 8 (long word)) (if (#{3 7 9} word) 2048 0)))

(def ^:private room 24576)

(defn far-apart
  "Places of the words with so much room after each that a call can move much data."
  [word]
  (* room (long word)))

(def size-far-apart (* 11 room))

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

(defn- bytes-of
  "A value as bytes, or as many of it as there are in so many bytes."
  (^bytes [v] (bytes-of v 8))
  (^bytes [v n]
   (let [buffer (.order (ByteBuffer/allocate n) (ByteOrder/nativeOrder))]
     (while (.hasRemaining buffer) (.putLong buffer v))
     (.array buffer))))

(defn- value-in [^bytes bytes]
  (.getLong (.order (ByteBuffer/wrap bytes) (ByteOrder/nativeOrder))))

(def ^:private much
  "As many bytes as are too many for the link on which small moves go, between hosts."
  20000)

(defn- element
  "Of an I/O vector; every other value is moved with much data if there is room for that."
  [{:keys [place] :as bench} [word v]]
  (let [n (if (and (:much? bench) (odd? (long v))) much 8)]
    {:local (bytes-of v n) :remote-offset (place word) :length n}))

(defn- publish! [ex {:keys [id]}]
  (rsm/publish! ex {:segment-id id :acl [{:node 1 :perm 0600} {:node 2 :perm 0600}]}))

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
                  :call (fn [{:keys [im bench]} [word v]] (rsm/put64! im ((:place bench) word) v))
                  :then put}
     :put-bytes  {:when connected? :errors unreachable
                  :call (fn [{:keys [im bench]} [word v]]
                          (rsm/put! im ((:place bench) word) (bytes-of v)))
                  :then put}
     :put-much   {:when (fn [state i] (and (connected? state i) (:much? (:bench state)))) :errors unreachable
                  :call (fn [{:keys [im bench]} [word v]]
                          (rsm/put! im ((:place bench) word) (bytes-of v much)))
                  :then put}
     :putv       {:when connected? :errors unreachable
                  :call (fn [{:keys [im bench]} & all]
                          (rsm/putv! {:segment im :iovec (mapv #(element bench %) all)}))
                  :then put}
     :get        {:when connected? :errors unreachable
                  :call (fn [{:keys [im bench]} word] (first (rsm/get64 im ((:place bench) word) 1)))
                  :then (fn [state i ok? v word]
                          (-> (if ok? (read-value state i word v) state)
                              (ordered i)))}
     :getv       {:when connected? :errors unreachable
                  :call (fn [{:keys [im bench]} & some-words]
                          (let [iovec (mapv #(element bench [% (* 0x0001000100010001 (long %))]) some-words)]
                            (rsm/getv! {:segment im :iovec iovec})
                            (mapv (comp value-in :local) iovec)))
                  :then (fn [state i ok? vs & some-words]
                          (-> (if ok? (reduce (fn [state [word v]] (read-value state i word v)) state (map vector some-words vs)) state)
                              (ordered i)))}
     :add        {:when connected? :errors unreachable
                  :call (fn [{:keys [im bench]}] (rsm/get-and-add-long! im ((:place bench) counter) 1))
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
                  :call (fn [{:keys [m bench]} [word v]] (rsm/put-long! m ((:place bench) word) v))
                  :then (fn [state i ok? _ [word v]]
                          (cond (not ok?) state
                                (= :shared (:memory state)) (wrote state i word v true)
                                :else (assoc-in state [:importers i :mirror word] {:value v :state :dirty})))}
     :load       {:when (both mapped?) :errors #{:rsm/conn-aborted}
                  :call (fn [{:keys [m bench]} word] (rsm/get-long m ((:place bench) word)))
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
     :disturb    {:call (fn [{:keys [bench]} & args] (apply (:disturb! bench) bench args))
                  :then (fn [state & _] state)}
     :wait       {:errors #{:rsm/timeout}
                  :call (fn [{:keys [ex]}] (rsm/signal-wait! ex {:timeout-ms 1}))
                  :then (fn [state _ ok? _] (cond-> state ok? (update :taken inc)))}
     :exporter-put {:call (fn [{:keys [ex bench]} [word v]] (rsm/put-long! ex ((:place bench) word) v))
                    :then (fn [state _ _ _ [word v]] (assoc-in state [:words word] {:values #{v} :writes [] :floating #{}}))}
     :exporter-add {:call (fn [{:keys [ex bench]}] (rsm/get-and-add-long! ex ((:place bench) counter) 1))
                    :then (fn [state _ _ v]
                            (-> state
                                (update-in [:adds :done] inc)
                                (update-in [:adds :seen] conj v)))}
     :unpublish  {:when (fn [state _] (:published? state))
                  :call (fn [{:keys [ex]}] (rsm/unpublish! ex))
                  :then (fn [state _ _ _]
                          (assoc state :published? false
                                 :frozen (into {} (map (juxt identity #(rsm/get-long (:ex state) ((:place (:bench state)) %)))) of-importers)))}
     :publish    {:when (fn [state _] (not (:published? state))) :errors #{:rsm/ctlr-not-present}
                  :call (fn [{:keys [ex bench]}] (publish! ex bench))
                  :then (fn [state _ ok? _] (cond-> state ok? (-> (assoc :published? true) (dissoc :frozen))))}}))

(defn- connected [{:keys [bench] :as state} i]
  (let [[kind im :as result] (outcome #(rsm/connect! (get-in state [:importers i :c])
                                                     {:node 0 :segment-id (:id bench) :timeout-ms (:timeout-ms bench)}))]
    [result
     (cond-> state
       (= :ok kind) (update-in [:importers i] assoc :im im :mode :implicit :barrier (rsm/init-barrier! im)))]))

(defn- with-values
  "The arguments with a value for each word that is to be written: [state' arguments]."
  [state op i args]
  (if (#{:put :put-bytes :put-much :putv :store :exporter-put} op)
    (reduce (fn [[state done] word]
              (let [n (inc (long (:written state)))]
                [(assoc state :written n) (conj done [(nth (words (or i :exporter)) word) (value n)])]))
            [state []] args)
    [state args]))

(defn look
  "What the exporter has has to be what it can be."
  [{:keys [ex frozen adds bench] :as state}]
  (let [there #(rsm/get-long ex ((:place bench) %))
        state (reduce (fn [state word] (check-value state [:there word] (possible state word) (there word))) state (keys (:words state)))
        n (there counter)]
    (cond-> state
      (not (<= (:done adds) n (+ (:done adds) (:unknown adds)))) (complain :counter n adds)
      (not= frozen (when frozen (into {} (map (juxt identity there)) of-importers))) (complain :changed-after-unpublish)
      (< (:posted state) (:taken state)) (complain :more-events-than-posted))))

(defn step
  "Makes a call, if it makes sense, and looks. A command is an operation, an importer or nil, and arguments, which are words, counted
  among those of the importer."
  [{:keys [bench] :as state} [op i & args]]
  (let [{:keys [call then errors] applies? :when :or {errors #{} applies? (constantly true)}} (calls op)
        {:keys [now allowed]} bench]
    (if-not (applies? state i)
      state
      (let [[state args] (with-values state op i args)
            began (now)
            [[kind v] state] (if (= :connect op)
                               (connected state i)
                               [(outcome #(apply call (merge state (get-in state [:importers i])) args)) state])
            took (- (now) began)]
        (-> (if (= :connect op) state (apply then state i (= :ok kind) v args))
            (update :calls (fnil inc 0))
            (update-in [:outcomes (if (= :ok kind) :ok v)] (fnil inc 0))
            (update-in [:by-call [op (= :ok kind)]] (fnil inc 0))
            (update-in [:took (keyword (str (name op) "-ms"))] (fnil + 0) (quot took 1000000))
            (cond-> (and (= :error kind) (not (errors v)) (not (contains? (get-in bench [:errors op]) v))) (complain op :has-the-error v)
                    (= :thrown kind) (complain op :has-thrown v)
                    (< (allowed op args) took) (complain op :took took))
            look)))))

(defn begin
  "The state at first, with a segment that it publishes, and the controllers of the importers 1 and 2. :memory is :shared or
  :mirrored."
  [bench memory ex one two]
  (publish! ex bench)
  (-> nothing-yet
      (assoc :bench bench :ex ex :published? true :memory memory)
      (assoc-in [:importers 1 :c] one)
      (assoc-in [:importers 2 :c] two)))

(defn steps
  "The state after commands, or after the first that has shown a flaw: then it has :flaws."
  [state commands]
  (reduce (fn [state command] (if (:flaws state) (reduced state) (step state command))) state commands))

(defn end!
  "Disconnects the importers, and closes what is open. The state then."
  [state]
  (let [state (steps (if (:flaws state) state (look state)) [[:disconnect 1] [:disconnect 2]])]
    (doseq [i [1 2]]
      (some-> (get-in state [:importers i :im]) rsm/close!))
    (rsm/close! (:ex state))
    state))
;; ------------------------------------------------------------ what is called

(defn commands
  "Generates commands after two connects.

    :least :most    how many
    :much?          whether the bench has room for :put-much
    :disturbances   generates the argument of :disturb
    :disturb        how often there is one of those, as a weight beside 2 for :pull and 8 for :put"
  [{:keys [least most disturbances disturb much?] :or {least 0}}]
  (let [i (gen/elements [1 2])
        word (gen/frequency [[1 (gen/return 0)] [2 (gen/choose 0 3)]])
        on (fn [op & more] (apply gen/tuple (gen/return op) i more))
        by-exporter (fn [op & more] (apply gen/tuple (gen/return op) (gen/return nil) more))
        a-command
        (gen/frequency
         [[2 (on :connect)]
          [1 (on :disconnect)]
          [3 (on :mode (gen/elements [:explicit :implicit :explicit]))]
          [8 (on :put word)]
          [3 (on :put-bytes word)]
          [(if much? 3 0) (on :put-much word)]
          [3 (gen/let [i i, some-words (gen/vector word 1 4)] (into [:putv i] some-words))]
          [8 (on :get (gen/choose 0 9))]
          [2 (gen/let [i i, some-words (gen/vector (gen/choose 0 9) 1 4)] (into [:getv i] some-words))]
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
          [disturb (by-exporter :disturb disturbances)]
          [3 (by-exporter :exporter-put (gen/choose 0 1))]
          [1 (by-exporter :exporter-add)]
          [1 (by-exporter :unpublish)]
          [2 (by-exporter :publish)]])]
    (gen/fmap #(into [[:connect 1] [:connect 2]] %) (gen/vector a-command least most))))
