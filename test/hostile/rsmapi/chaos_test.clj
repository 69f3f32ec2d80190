(ns rsmapi.chaos-test
  "Several processes do everything at once, while some of them are stopped, go on, are killed
  and come again: see rsmapi.test.chaos. Ordinarily for half a minute; with :long true until a million
  operations are done:

    bin/clojure -X:test :only chaos :long true

  The seed decides who does what, not when: the same seed gives the same sequence in each
  thread, and not the same course of things."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.chaos :as chaos]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.pattern :as pattern]
            [rsmapi.test.runner :as runner])
  (:import (java.util SplittableRandom)))

(set! *warn-on-reflection* true)

(def ^:private ids-of-each 3)
(def ^:private exporters 2)
(def ^:private importers 2)
(def ^:private threads 3)

(defn- role-of
  "What the process with this number is: the first ones are exporters."
  [i base seed]
  (let [ids (mapv #(+ (long base) (long %)) (range (* (long exporters) (long ids-of-each))))]
    (if (< (long i) (long exporters))
      {:role :exporter :seed seed :threads threads :base base
       :ids (subvec ids (* (long i) (long ids-of-each)) (* (inc (long i)) (long ids-of-each)))}
      {:role :importer :seed seed :threads threads :base base :ids ids :slots 6})))

(defn- start! [i base seed]
  (let [c (child/start! {:label (str "chaos " i)})]
    (child/value c '(require 'rsmapi.test.chaos) 90000)
    (child/value c `(chaos/start! ~(role-of i base seed)))
    c))

(defn- published
  "The ids of the run that are published on this machine."
  [base]
  (->> (re-seq #"@rsmapi/\d+/([0-9a-f]{8})" (child/proc "net/unix"))
       (map #(Long/parseLong (second %) 16))
       (filter #(<= (long base) (long %) (+ (long base) 100)))
       distinct))

(defn- disturb!
  "Does something to one of the processes, and tells what, and how many operations a killed one had
  done. Returns all of them."
  [^SplittableRandom random base processes tell!]
  (let [i (.nextInt random (count processes))
        c (nth processes i)]
    (case (.nextInt random 8)
      0 (do (tell! :kill (:ops (child/value c `(chaos/report) 60000)))
            (child/kill-9! c)
            (assoc processes i (start! i base (.nextInt random))))
      (1 2 3) (do (tell! :stop)
                  (child/signal! c "STOP")
                  (Thread/sleep (inc (.nextInt random 400)))
                  (child/signal! c "CONT")
                  processes)
      (do (Thread/sleep (.nextInt random 400))
          processes))))

(deftest whatever-happens
  (let [seed    (rand-int Integer/MAX_VALUE)
        random  (SplittableRandom. seed)
        base    (+ 0x600000 (* 128 (.nextInt random 0xF00000)))
        told    (atom {})
        lost    (atom 0)
        started (mapv #(start! % base (.nextInt random)) (range (+ (long exporters) (long importers))))
        start   (System/nanoTime)
        seconds #(quot (- (System/nanoTime) start) 1000000000)
        ops     (fn [processes] (reduce + (long @lost) (map #(:ops (child/value % `(chaos/report) 60000)) processes)))
        ;; on a machine that is slow to start the successors of the killed it takes longer
        enough? (fn [processes]
                  (let [{:keys [kill stop] :or {kill 0 stop 0}} @told]
                    (or (< 3600 (long (seconds)))
                        (and (< 2 (long kill)) (< 5 (long stop))
                             (if (runner/long-run?)
                               (< 1000000 (long (ops processes)))
                               (< 30 (long (seconds))))))))]
    (loop [processes started]
      (if-not (enough? processes)
        (recur (disturb! random base processes
                         (fn [what & [ops]]
                           (swap! told update what (fnil inc 0))
                           (swap! lost + (or ops 0)))))
        ;; the importers first: those who wait for an exporter do not find out that it has ended
        (let [results (doall (for [c (reverse processes)]
                               (assoc (child/value c `(chaos/end!) 120000) :child (:label c))))
              outcomes (apply merge-with + (map #(child/value % `(chaos/outcomes)) processes))]
          (run! child/stop! processes)
          (println (str "  seed " seed ": " (+ (long @lost) (long (reduce + (map :ops results)))) " operations, "
                        @told ", " (count (filter #(str/starts-with? % "[") (keys outcomes))) " kinds of failure"))
          (doseq [{:keys [problems hang left child]} results]
            (is (= [] problems) (str child ", seed " seed))
            (is (= [] hang) (str child ", seed " seed))
            (is (= {:mappings 0} left) (str child ", seed " seed)))
          (is (every? #(pos? (long (outcomes (pr-str %) 0)))
                      [:access :connect :map :unmap :publish :unpublish :rebind :destroy :put :get :putv :getv
                       :close-barrier :signal-post :signal-wait [:access :rsm/conn-aborted] [:put :rsm/conn-aborted]])
              (str "there was something of everything: " outcomes))
          (is (eventually (= [] (published base))) "names"))))))

(deftest whatever-happens-in-a-simulated-world
  (doseq [memory [:shared :mirrored]]
    (testing memory
      (child/with-child [child {:label (str "chaos sim " (name memory))}]
        (let [seed (rand-int Integer/MAX_VALUE)
              base 0x600000
              ids (vec (range base (+ base 4)))
              more (vec (range (+ base 4) (+ base 8)))
              part (fn [node more] `(chaos/start! ~(merge {:seed (+ seed node) :threads 2 :base base :controller ["sim0" {:node node}]} more)))]
          (child/value child '(require 'rsmapi.test.chaos) 90000)
          (child/value child `(chaos/begin-world! {:memory ~memory :seed ~seed
                                                        :faults ~(vec (for [n (range 10 4000 100), fault [{:message :done :fault :lose}
                                                                                                          {:message :barrier :fault :fail}]]
                                                                        (assoc fault :nth n)))}))
          (doseq [node [1 2]]
            (child/value child (part node {:role :importer :ids (into ids more) :slots 4 :nodes (merge (zipmap ids (repeat 0)) (zipmap more (repeat 3)))})))
          (child/value child (part 0 {:role :exporter :ids ids}))
          (child/value child (part 3 {:role :exporter :ids more}))
          (let [disturbances (child/value child `(chaos/disturb-world! ~seed ~(if (runner/long-run?) 600 6) [0 1 2 3] 3)
                                          (if (runner/long-run?) 700000 60000))
                {:keys [problems hang left ops]} (child/value child `(chaos/end!) 120000)
                events (child/value child `(chaos/end-world!))
                outcomes (child/value child `(chaos/outcomes))]
            (println (str "  sim, " (name memory) ", seed " seed ": " ops " operations, " disturbances " disturbances, " events " events"))
            (is (= [] problems))
            (is (= [] hang))
            (is (= {:mappings 0} left))
            (is (every? #(pos? (long (outcomes (pr-str %) 0)))
                        (cond-> [:access :connect :map :unmap :publish :unpublish :rebind :destroy :put :get :putv :getv
                                 :close-barrier :signal-post :signal-wait [:put :rsm/conn-aborted]]
                          (= :mirrored memory) (conj [:put :rsm/barrier-failure])))
                (str outcomes))))))))

(deftest the-judge-sees
  ;; a segment with one wrong byte, used by an importer: it has to be told
  (rsm/with-controller [c "loopback"]
    (let [base (fresh-id)
          size (* (long chaos/pages) (long (rsm/page-size)))
          tag  (chaos/tag-of base base)]
      (rsm/with-exported-segment [ex c {:size size :segment-id base}]
        (rsm/put-bytes! ex 0 (pattern/bytes-at tag 0 size))
        (child/with-child [child {}]
          (child/value child '(require 'rsmapi.test.chaos))
          (child/value child `(chaos/start! {:role :importer :seed 5 :threads 2 :base ~base :ids [~base] :slots 2}))
          (is (eventually (< 1000 (long (:ops (child/value child `(chaos/report)))))))
          (is (= [] (:problems (child/value child `(chaos/report)))) "nothing wrong so far")
          ;; readers only see it if no writer mends it first: wrong all over
          (rsm/republish! ex {:acl [{:node (rsm/node-id c) :perm 0444}]})
          (is (eventually (do (rsm/fill! ex 0 size 0x55)
                              (some #(= "a wrong value" (:what %)) (:problems (child/value child `(chaos/report)))))))
          (child/value child `(chaos/end!) 60000))))))
