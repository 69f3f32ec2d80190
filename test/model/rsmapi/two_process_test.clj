(ns rsmapi.two-process-test
  "Commands in two processes, which export to each other and import from each other, against the
  model. At the REPL:

    (rsmapi.two-process-test/check
      [[:in :a [:get-controller :c0 \"loopback\"]] [:in :b [:get-controller :c1 \"loopback\"]]])

  prints the calls with what came of them, and returns whether all is as the model has it."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.model :as model]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.model-runner :as player]
            [rsmapi.test.runner :as runner]))

(set! *warn-on-reflection* true)

;; --------------------------------------------------------------- the processes

(defn- with-processes
  "Calls f with children, {:a child :b child}, and the model's state for them."
  [f]
  (let [start #(doto (child/start! {:label %})
                 (child/value '(require 'rsmapi.test.model-runner) 90000))
        started (mapv #(future (start %)) ["a" "b"])
        children (try
                   (mapv deref started)
                   (catch Throwable t
                     (doseq [s started]
                       (try (child/kill-9! @s) (catch Throwable _)))
                     (throw t)))]
    (try
      (f (zipmap [:a :b] children)
         (model/init {:page-size (rsm/page-size)
                      :processes (zipmap [:a :b] (map #(child/value % `(player/settings)) children))}))
      (finally
        (run! child/stop! children)))))

;; --------------------------------------------------------------------- playing

(defn- lost
  "The import segments of other processes, as [process name], that have lost their exporter from one
  state of the model to the next."
  [before after process]
  (for [[[p n] id] (:names after)
        :when (and (not= p process)
                   (= :import (get-in after [:objects id :kind]))
                   (get-in after [:objects id :aborted?])
                   (not (get-in before [:objects id :aborted?])))]
    [p n]))

;; what the handle that a command is on, or makes, has to do with another process
(defn- across? [state process [_ name]]
  (let [object #(get-in state [:objects %])
        h (when (keyword? name) (object (get-in state [:names [process name]])))
        im (if (= :mapping (:kind h)) (object (:import h)) h)]
    (boolean (and (= :import (:kind im))
                  (not= process (:process (object (:export im))))))))

(defn- batches
  "Commands, each [:in process command], as what is sent in one go: {:process :steps [{:command
  :expected}] :lost [[process name]]}. They end where the model has nothing to say. After a
  command by which another process loses a segment no more is sent, for the other one hears
  of it a moment later."
  [state commands]
  (loop [state state, commands commands, done [], batch nil]
    (let [finished (cond-> done batch (conj batch))]
      (if-let [[[_ process command :as in] & more] (seq commands)]
        (let [[state' expected] (model/step state in)
              lost (lost state state' process)
              step {:process process :command command :expected expected
                    :across? (across? state' process command)}
              [done batch] (if (= process (:process batch))
                             [done (update batch :steps conj step)]
                             [finished {:process process :steps [step]}])]
          (cond
            (contains? expected :unspecified) [state' (conj done batch)]
            (seq lost) (recur state' more (conj done (assoc batch :lost lost)) nil)
            :else (recur state' more done batch)))
        [state finished]))))

(defn- with-numbers
  "A command with the id that a segment of the other process is published under in place of the
  segment's name."
  [children process command]
  (mapv (fn [x]
          (let [name (when (map? x) (:segment-id x))]
            (if (keyword? name)
              (if-let [id (some (fn [[p child]]
                                  (when (not= p process)
                                    (child/value child `(let [ex# (player/named ~name)]
                                                          (when (instance? org.rsmapi.ExportSegment ex#)
                                                            (rsm/segment-id ex#))))))
                                children)]
                (assoc x :segment-id id)
                x)
              x)))
        command))

(defn- play-batch
  "The steps of a batch with what came of them."
  [children {:keys [process steps lost]}]
  (let [commands (mapv #(with-numbers children process (:command %)) steps)
        results (map player/whole (child/value (children process) `(player/perform-all! '~commands)))
        steps (mapv (fn [{:keys [expected] :as step} actual]
                      (assoc step :actual actual :agree? (player/agrees? expected actual)))
                    steps results)]
    (into steps
          (for [[p n] (when (every? :agree? steps) lost)
                :let [deadline (+ (System/nanoTime) 5000000000)
                      aborted? #(child/value (children p) `(rsm/aborted? (player/named ~n)))
                      there? (loop []
                               (or (aborted?)
                                   (when (< (System/nanoTime) deadline)
                                     (Thread/sleep 1)
                                     (recur))))]
                :when (not there?)]
            {:process p :command [:aborted? n] :expected {:ok true} :actual {:ok false} :agree? false}))))

(defn- play-batches [children batches]
  (loop [batches batches, steps []]
    (if-let [[batch & more] (seq batches)]
      (let [played (play-batch children batch)
            [agreed [wrong]] (split-with :agree? played)
            steps (cond-> (into steps agreed) wrong (conj wrong))]
        (if wrong
          {:steps steps :agree? false}
          (recur more steps)))
      {:steps steps :agree? true})))

(defn- play
  "Plays commands in the children, then reads all there is in either of them, and closes it. Returns
  {:steps [{:process :command :expected :actual :agree?}] :agree?}; the first that does not
  agree is the last."
  [children state commands]
  (try
    (let [[state' planned] (batches state commands)
          open-end? (contains? (:expected (peek (:steps (peek planned)))) :unspecified)
          looks (when-not open-end?
                  (for [p (sort (keys children)), command (player/looks (assoc state' :process p))]
                    [:in p command]))]
      (play-batches children (concat planned (second (batches state' looks)))))
    (finally
      (doseq [c (vals children)]
        (child/value c `(player/end-all!))))))

;; -------------------------------------------------------------------- telling

(defn- tell [{:keys [steps]}]
  (let [brief #(let [s (pr-str %)] (subs s 0 (min 300 (count s))))]
    (str/join
     "\n"
     (concat
      (for [{:keys [process command expected actual agree?]} steps]
        (str (name process) "> " (player/pasteable (player/code command)) "   ;=> " (brief actual)
             (when-not agree? (str "\n;; THE MODEL EXPECTS " (brief expected)))))
      ["" (str "(require 'rsmapi.two-process-test)\n(rsmapi.two-process-test/check\n "
               (player/pasteable (mapv (fn [{:keys [process command]}] [:in process command]) steps)) ")")]))))

(defn check
  "Plays commands in two new processes and prints what came of it. Returns whether the library and the
  model agree."
  [commands]
  (with-processes
    (fn [children state]
      (let [played (play children state commands)]
        (println (tell played))
        (:agree? played)))))

;; -------------------------------------------------------------- the properties

(def ^:private ids
  (let [base (fresh-id)]
    [base (+ 1 base) (+ 2 base)]))

(defn- find-disagreement
  "What quick-check says of so many sequences, or as many as there is time for, with :seed, :played, how
  many were, and :steps, all of theirs. Then it shrinks, for so many seconds."
  [children state {:keys [n seconds seed shrinking]}]
  (let [all (atom {:played 0 :steps []})
        after #(+ (System/nanoTime) (long (* % 1e9)))
        over? #(< (long %) (System/nanoTime))
        end (after seconds)
        deadline (atom nil)
        agree? (fn [commands]
                 (or (some-> @deadline over?)
                     (let [{:keys [agree? steps]} (play children state commands)]
                       (swap! all #(-> % (update :played inc) (update :steps into steps)))
                       (when-not (or agree? @deadline)
                         (reset! deadline (after shrinking)))
                       agree?)))
        commands (rsm-gen/commands {:state state :processes [:a :b] :ops (disj player/ops :same?)
                                    :max-length 60 :segment-ids ids
                                    :controllers [["loopback"] ["shm0" {:node 0}] ["shm0" {:node 1}]]})]
    ;; a few at a time: a check cannot be ended before its last trial
    (loop [seed seed]
      (let [r (tc/quick-check 20 (prop/for-all* [(gen/scale #(+ 35 %) commands)] agree?) :seed seed)]
        (if (and (:pass? r) (< (long (:played @all)) (long n)) (not (over? end)))
          (recur (inc (long seed)))
          (merge r @all))))))

(defn- smallest [r] (first (:smallest (:shrunk r))))

(deftest commands-in-two-processes-do-what-the-model-does
  (let [seed (runner/new-seed)]
    (with-processes
      (fn [children state]
        (let [{:keys [pass? played steps] :as r}
              (find-disagreement children state
                                 (if (runner/long-run?)
                                   {:n 20000 :seconds 7200 :seed seed :shrinking 60}
                                   {:n 300 :seconds 8 :seed seed :shrinking 8}))
              across (frequencies (map #(-> % :command first) (filter :across? steps)))]
          (println (str "  two processes: " played " sequences, " (count steps) " commands, "
                        (reduce + (vals across)) " on what the other one exports, seed " seed))
          (is (every? across [:connect :map]) "there was something to see")
          (is pass?
              (when-not pass?
                (str "seed " (:seed r) "\n" (tell (play children state (smallest r)))))))
        (testing "a fault in one of them is noticed"
          (child/value (:a children)
                       `(do (alter-var-root #'player/*faults*
                                            (constantly {:connect (fn [f# c# opts#]
                                                                    (let [im# (f# c# opts#)]
                                                                      ;; an event that nobody has posted
                                                                      (rsm/signal-post! im#)
                                                                      im#))}))
                            nil))
          (let [opts {:acl nil}
                commands (fn [in-a]
                           [[:in :b [:get-controller :c0 "loopback"]]
                            [:in :b [:create :e0 :c0 {:size (rsm/page-size)}]]
                            [:in :b [:publish :e0 opts]]
                            [:in :a [:get-controller :c1 "loopback"]]
                            [:in in-a [:connect :i0 (if (= :a in-a) :c1 :c0) {:segment-id :e0}]]
                            [:in :b [:signal-wait :e0 {:timeout-ms 0}]]])]
            (is (:agree? (play children state (commands :b))))
            (is (= [:signal-wait :e0 {:timeout-ms 0}]
                   (:command (peek (:steps (let [played (play children state (commands :a))]
                                             (when-not (:agree? played) played))))))))
          (child/value (:a children) `(do (alter-var-root #'player/*faults* (constantly {})) nil))
          (child/value (:b children)
                       `(do (alter-var-root #'player/*faults*
                                            (constantly {:unpublish (fn [f# ex#]
                                                                      (when ex# (rsm/fill! ex# 0 1 85))
                                                                      (f# ex#))}))
                            nil))
          (let [{:keys [pass?] :as r} (find-disagreement children state {:n 400 :seconds 8 :seed 7 :shrinking 2})]
            (is (false? pass?) "by generated commands too")
            (is (some #(= [:in :b :unpublish] [(first %) (second %) (first (nth % 2))]) (smallest r)))))))))
