(ns rsmapi.two-thread-test
  "Commands on two threads at once: what came of them has to be what some order of theirs, one after
  the other, gives by the model.

  Left out is what is documented not to happen in one step: bulk access, transfers of several
  bytes, rebind!, and close!, which is several calls. And the bytes that a mapping shows while it is being taken away: when one
  thread ends something, the other one does not access memory."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [clojure.walk :as walk]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.model :as model]
            [rsmapi.sim :as sim]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.model-runner :as player]
            [rsmapi.test.runner :as runner])
  (:import (java.util.concurrent CyclicBarrier TimeUnit)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------------------ commands

(def ^:private id (fresh-id))

(def ^:private ^:dynamic *controller*
  "Arguments of get-controller."
  ["loopback"])

(defn- start
  "What there is when the commands begin: two connections to a segment, one of them mapped, and one
  segment that is not published."
  []
  [(into [:get-controller :c] *controller*)
   [:create :ex :c {:size (rsm/page-size)}]
   [:create :ex2 :c {:size (rsm/page-size)}]
   [:publish :ex {:segment-id id}]
   [:connect :im :c {:segment-id id}]
   [:connect :im2 :c {:segment-id id}]
   [:map :m :im]
   [:init-barrier :b :im]
   [:open-barrier :b]])

(def ^:private accesses
  "Access to one value in one step."
  (into #{:put8}
        (filter #(re-matches #"(get|put)-(byte|short|char|int|long|float|double)-\w+|(compare-and-set|get-and-add)-.*"
                             (name %)))
        player/ops))

(def ^:private endings #{:unpublish :destroy :unmap :disconnect})

(def ^:private ops
  (into accesses
        (concat endings
                [:publish :republish :published? :connect :connected? :aborted? :map :mapped? :segment-id
                 :signal-post :signal-wait :init-barrier :open-barrier :order-barrier :close-barrier
                 :destroy-barrier :set-barrier-mode :barrier-mode])))

(defn- made [commands]
  (set (keep (fn [[op x]] (when (#{:connect :map :init-barrier} op) x)) commands)))

(defn- own-names
  "The commands of a thread with names of its own for the handles that it makes, and :nothing for those
  that the other one makes: it could not know them."
  [commands others suffix]
  (let [mine (made commands), theirs (made others)]
    (walk/postwalk #(cond (mine %) (keyword (str (name %) suffix))
                          (theirs %) :nothing
                          :else %)
                   commands)))

(defn- fair
  "The commands of a thread beside those of the other one, see the namespace."
  [commands others suffix]
  (cond->> (own-names commands others suffix)
    (some (comp endings first) others) (filterv (comp not accesses first))))

(defn- one-byte? [[op _ _ source :as command]]
  (or (not= :put8 op)
      (and (= 4 (count command)) (or (int? source) (and (vector? source) (>= 1 (count source)))))))

(defn- with-number
  "A command with a number for what a segment is published under: to ask for it is a call of its own."
  [command]
  (mapv #(if (and (map? %) (keyword? (:segment-id %))) (assoc % :segment-id id) %) command))

(defn- split
  "Commands as {:before :a :b}, by a vector of who does what: :before as long as no thread has begun,
  and each thread five at most."
  [commands who]
  (let [pairs (map vector (map with-number (filter one-byte? commands)) who)
        [before together] (split-with #(= :before (second %)) pairs)
        of (fn [t] (vec (take 5 (map first (filter #(= t (second %)) together)))))
        [a b] [(of :a) (of :b)]]
    {:before (mapv first before) :a (fair a b "a") :b (fair b a "b")}))

(defn- courses
  "Courses of these commands in which both threads have something to do."
  [commands]
  (gen/such-that #(and (seq (:a %)) (seq (:b %)))
                 (gen/let [commands commands
                           before (gen/choose 0 4)
                           who (gen/vector (gen/elements [:a :b]) 16)]
                   (split commands (concat (repeat before :before) who)))
                 500))

(defn- all-courses [state]
  (courses (gen/scale #(+ 20 %)
                      (rsm-gen/commands {:state (first (model/run state (start)))
                                         :ops ops :max-length 14 :segment-ids [id (inc id)]
                                         :controllers [*controller*]}))))

;; ------------------------------------------------------------------- playing

(defn- perform-all [env commands]
  (reduce (fn [[env results] command]
            (let [[env result] (player/perform env command)]
              (player/*settle*) ; only then is the call over
              [env (conj results result)]))
          [env []]
          commands))

(defn- at-once
  "Calls two functions at the same time, as near as it gets, and returns their values. They are waited
  for for a minute."
  [f g]
  (let [start (CyclicBarrier. 2)
        run #(future (.await start 30 TimeUnit/SECONDS) (%))]
    (mapv #(deref % 60000 [{} [{:thrown "it hangs"}]]) [(run f) (run g)])))

(defn- questions
  "What is asked in the end: the bytes of the export segments around all that may have been written,
  and what state things are in."
  [{:keys [before a b]}]
  (let [touched (for [[op _ offset] (concat before a b)
                      :when (and (accesses op) (int? offset) (< -1 offset (rsm/page-size)))]
                  (* 8 (quot (long offset) 8)))]
    (concat (for [at (sort (distinct (conj touched 0))), ex [:ex :ex2]]
              [:get-bytes ex at 8])
            [[:published? :ex] [:published? :ex2] [:connected? :im] [:connected? :im2]])))

(defn- play
  "Plays a course, and ends all that it has made. Returns it with the :results of the threads, the
  :started of the commands before, and the :answers to :questions in the end."
  [{:keys [before a b] :as course}]
  (let [[env started] (perform-all {} (concat (start) before))
        [[env-a results-a] [env-b results-b]] (at-once #(perform-all env a) #(perform-all env b))
        env (merge env env-a env-b)]
    (try
      (let [questions (questions course)
            [_ answers] (perform-all env questions)]
        (assoc course :started (subvec started (count (start))) :results {:a results-a :b results-b}
               :questions questions :answers answers))
      (finally
        (player/end! (reverse (vals env)))))))

;; ------------------------------------------------------- what the model allows

(defn- lost
  "The ids of the import segments that have lost their exporter from one state to the next."
  [before after]
  (for [[id {:keys [kind aborted?]}] (:objects after)
        :when (and (= :import kind) aborted? (not (get-in before [:objects id :aborted?])))]
    id))

(defn- marked [state imports aborted?]
  (reduce #(assoc-in %1 [:objects %2 :aborted?] aborted?) state imports))

(defn- transitions
  "What a command with this result can have done in a state, as [state pairs], pairs being what its
  thread still has to do for it. nil if it cannot have had the result; :any where the model has
  nothing to say.

  A revocation is done when the call returns; while it runs, the id is free already and importers
  have not all heard of it. And what is destroyed is unpublished first."
  [state [op x :as command] actual]
  (if (= ::abort op)
    [[(marked state [x] true) nil]]
    (let [[state' expected] (model/step state command)
          lost (lost state state')]
      (cond
        (contains? expected :unspecified) :any
        (not (or (= ::whatever actual) (player/agrees? expected actual))) nil
        (empty? lost) [[state' nil]]
        :else (concat
               [[state' nil]]
               [[(marked state' lost false) (for [id lost] [[::abort id] nil])]]
               (when (= :destroy op)
                 (for [[state pairs] (transitions state [:unpublish x] ::whatever)]
                   [state (concat pairs [[command actual]])])))))))

(defn- explained?
  "Whether the commands of two threads, each with its result, can have been done one after the other
  from a state on, and what was asked afterwards been answered."
  [state a b last-ones]
  (letfn [(one? [state [[command actual] & more :as pairs] then]
            (when (seq pairs)
              (let [ts (transitions state command actual)]
                (or (= :any ts)
                    (some (fn [[state' pairs]] (then state' (concat pairs more))) ts)))))
          (all? [state pairs]
            (or (empty? pairs) (one? state pairs all?)))
          (search [state a b]
            (if (and (empty? a) (empty? b))
              (all? state last-ones)
              (or (one? state a #(search %1 %2 b))
                  (one? state b #(search %1 a %2)))))]
    (boolean (search state a b))))

(defn- linearizable? [state {:keys [before a b started results questions answers]}]
  (let [[state expected] (model/run (first (model/run state (start))) before)]
    (or (some :unspecified expected)
        (and (every? true? (map player/agrees? expected started))
             (explained? state (map vector a (:a results)) (map vector b (:b results))
                         (map vector questions answers))))))

;; -------------------------------------------------------------------- telling

(defn check
  "Plays a course, {:before :a :b}, so many times, until it cannot be explained; prints what came of it
  then. Returns whether it was explained each time."
  ([course] (check course 1000))
  ([course times] (check (player/initial-state) course times))
  ([state course times]
   (if-let [{:keys [results answers]} (some #(when-not (linearizable? state %) %) (repeatedly times #(play course)))]
     (do (doseq [[thread commands] [["before" (concat (start) (:before course))] ["a" (:a course)] ["b" (:b course)]]
                 [command result] (map vector commands (concat (results (keyword thread)) (repeat nil)))]
           (println (str thread "> " (player/pasteable (player/code command)) (when result (str "   ;=> " (pr-str result))))))
         (doseq [[question answer] (map vector (questions course) answers)]
           (println (str "in the end> " (player/pasteable (player/code question)) "   ;=> " (pr-str answer))))
         false)
     true)))

(defn- failing
  "The smallest course found that cannot be explained, with its :seed, or nil after n courses or so
  many seconds. What comes and goes with the timing is tried several times while it shrinks."
  [state courses {:keys [n seconds seed shrinking on-play]}]
  (let [after #(+ (System/nanoTime) (long (* % 1e9)))
        over? #(< (long %) (System/nanoTime))
        end (after seconds)
        deadline (atom nil)
        smallest (atom nil)
        wrong? (fn [course]
                 (let [played (play course)]
                   (when on-play (on-play played))
                   (when-not (linearizable? state played)
                     (swap! deadline #(or % (after shrinking)))
                     (reset! smallest course))))
        fine? (fn [course]
                (cond
                  (nil? @deadline) (not (wrong? course))
                  (over? @deadline) true
                  :else (not-any? wrong? (repeat 20 course))))]
    ;; a few at a time: a check cannot be ended before its last trial
    (loop [seed seed, left n]
      (when (and (pos? (long left)) (not (over? end)))
        (tc/quick-check 20 (prop/for-all* [courses] fine?) :seed seed)
        (if-let [course @smallest]
          (assoc course :seed seed)
          (recur (inc (long seed)) (- (long left) 20)))))))

(defn- with-controller
  "While there is a controller, none has to be started and ended for each course."
  [f]
  (rsm/with-controller [_ "loopback"] (f)))

(use-fixtures :once with-controller)

(defn- explained! [state {:keys [label] :as limits}]
  (let [seed (runner/new-seed)
        counts (atom {:played 0 :commands 0})
        course (failing state (all-courses state)
                        (assoc limits
                               :seed seed :shrinking 8
                               :on-play (fn [{:keys [a b]}]
                                          (swap! counts #(-> %
                                                             (update :played inc)
                                                             (update :commands + (count a) (count b)))))))]
    (println (str "  two threads, " label ": " (:played @counts) " courses, " (:commands @counts) " commands at once, seed " seed))
    (is (nil? course)
        (when course
          (str "seed " (:seed course) "\n" (with-out-str (check state course 1000))
               "\n(require 'rsmapi.two-thread-test)\n(rsmapi.two-thread-test/check\n " (player/pasteable course) ")")))))

(deftest two-threads-are-as-one-after-the-other
  (explained! (player/initial-state)
              (assoc (if (runner/long-run?) {:n 200000 :seconds 1800} {:n 3000 :seconds 7}) :label "loopback")))

(deftest two-threads-over-a-simulated-interconnect
  (doseq [memory [:shared :mirrored]]
    (sim/with-world [w {:memory memory}]
      (binding [*controller* [(sim/name w) {:node 0}]
                player/*settle* #(sim/run! w)]
        (explained! (player/initial-state {:worlds {0 memory} :uid 1000 :gid 1000 :groups #{} :privileged? false})
                    (assoc (if (runner/long-run?) {:n 100000 :seconds 600} {:n 1000 :seconds 4}) :label (name memory)))))))

(deftest the-checker-can-fail
  (let [state (player/initial-state)]
    (testing "results that no order gives"
      (let [course {:before [] :a [[:put-long-volatile :ex 0 1] [:get-long-volatile :ex 8]]
                    :b [[:put-long-volatile :ex 8 1] [:get-long-volatile :ex 0]]}
            played (play course)
            with #(assoc-in (assoc-in played [:results :a 1 :ok] %1) [:results :b 1 :ok] %2)]
        (is (linearizable? state played))
        (is (linearizable? state (with 0 1)))
        (is (linearizable? state (with 1 0)))
        (is (linearizable? state (with 1 1)))
        (is (not (linearizable? state (with 0 0))) "each before the other")
        (is (not (linearizable? state (with 1 2))))
        (is (not (linearizable? state (assoc-in played [:answers 0 :ok 0] 7))) "what is there in the end")))
    (testing "a revocation: who has lost a segment does not get it back, and has lost it afterwards"
      (let [played (play {:before [] :a [[:unpublish :ex] [:close-barrier :b]]
                          :b [[:published? :ex] [:aborted? :im] [:aborted? :im]]})
            with (fn [& values] (assoc-in played [:results :b] (mapv #(hash-map :ok %) values)))]
        (is (linearizable? state played))
        (is (linearizable? state (with false false true)) "while it runs")
        (is (not (linearizable? state (with true true false))))
        (is (not (linearizable? state (assoc-in played [:results :a 1] {:ok nil}))))))
    (testing "an addition in two steps"
      ;; the two meet in the middle, so that it does not depend on the timing
      (let [course {:before [] :a [[:get-and-add-long :ex 0 1]] :b [[:get-and-add-long :ex 0 1]]}
            meeting (CyclicBarrier. 2)]
        (is (linearizable? state (play course)))
        (binding [player/*faults* {:get-and-add-long (fn [_ m offset delta]
                                                       (let [there (rsm/get-long-volatile m offset)]
                                                         (.await meeting 30 TimeUnit/SECONDS)
                                                         (rsm/put-long-volatile! m offset (+ there delta))
                                                         there))}]
          (is (not (linearizable? state (play course)))))))
    (testing "the same, found and shrunk, and by its timing"
      (let [additions (gen/vector (gen/elements [[:get-and-add-long :ex 0 1] [:get-and-add-long :m 0 2]
                                                 [:get-long-volatile :ex 0] [:aborted? :im]])
                                  2 10)]
        (binding [player/*faults* {:get-and-add-long (fn [_ m offset delta]
                                                       (let [there (rsm/get-long-volatile m offset)]
                                                         (Thread/sleep 1)
                                                         (rsm/put-long-volatile! m offset (+ there delta))
                                                         there))}]
          (let [{:keys [a b]} (failing state (courses additions) {:n 2000 :seconds 10 :shrinking 1 :seed 5})]
            (is (every? (fn [commands] (some #(= :get-and-add-long (first %)) commands)) [a b]))))))
    (testing "what is left out"
      (is (= {:before [[:aborted? :im]]
              :a [[:unmap :im] [:connect :im3a :c {:segment-id 1}]]
              :b [[:map :m0b :im2] [:connected? :nothing] [:mapped? :m0b]]}
             (split [[:aborted? :im]
                     [:unmap :im] [:connect :im3 :c {:segment-id 1}]
                     [:get-long-volatile :m 0] [:map :m0 :im2] [:connected? :im3] [:mapped? :m0]]
                    [:before :a :a :b :b :b :b]))))))
