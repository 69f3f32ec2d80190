(ns rsmapi.bench.session
  "One run of the benchmark: measures, prints, writes. Started by rsmapi.bench, with what is
  measured on its class path."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.pprint :as pprint]
            [clojure.string :as str]
            [rsmapi.bench.compile :as compile]
            [rsmapi.bench.hosts :as hosts]
            [rsmapi.bench.jdks :as jdks]
            [rsmapi.bench.jmh :as jmh]
            [rsmapi.bench.machine :as machine]
            [rsmapi.bench.markdown :as markdown]
            [rsmapi.bench.plot :as plot]
            [rsmapi.bench.programs :as programs]
            [rsmapi.bench.rows :as rows]
            [rsmapi.bench.stats :as stats]
            [rsmapi.bench.table :as table]))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------------ one measurement

(defn- arguments [args {:keys [seconds repeats]}]
  (map #(case % :seconds seconds :repeats repeats %) args))

(defn- run-side
  "Measures a side once: samples by their names."
  [{[kind & [bench params :as args]] :run :keys [jdk slow]} {:keys [class-path seconds ready quick] :as session}]
  (case kind
    :jmh     (if ready
               (let [result (get-in ready [jdk {:bench bench :params params}] "the JVM for it ended before")]
                 (if (map? result) result (throw (ex-info result {}))))
               (jmh/run jdk {:bench bench :params params :slow slow} seconds))
    :c       (programs/c (arguments args session))
    :java    (programs/java jdk class-path (arguments args session))
    :start   (programs/start jdk class-path args quick)
    :hosts   (apply hosts/measure (assoc session :jdk jdk) args)))

(defn- native?
  "Whether a side is no Java."
  [{[kind how] :run}]
  (or (= :c kind) (and (= :hosts kind) (contains? #{:c :ucx} how))))

(defn- on-jdks
  "A side for each JDK that it needs to run on: a program in C runs on none, and in quick mode one is enough for what needs
  many processes."
  [{:keys [jdks quick]} {:keys [since] [kind] :run :as side}]
  (if (native? side)
    [side]
    (for [j (if (and quick (= :hosts kind)) [(apply max-key :release jdks)] jdks) :when (or (nil? since) (<= (long since) (long (:release j))))]
      (assoc side :jdk j))))

(defn- obstacle
  "Why a side cannot be measured here, or nil."
  [{[kind how] :run} {:keys [no-c no-hosts no-ucx]}]
  (case kind
    :c     no-c
    :hosts (or @no-hosts (case how :c no-c, :ucx @no-ucx, nil))
    nil))

(defn- measure-side
  "The side with the samples of one more round, or :skipped, the reason why there are none."
  [side session]
  (if (or (:skipped side) (obstacle side session))
    (update side :skipped #(or % (obstacle side session)))
    (try
      (update side :samples #(merge-with into % (run-side side session)))
      (catch Exception e
        (assoc side :failed (not (:may-fail side)) :skipped (str (ex-message e)))))))

(defn- take-turns
  "All sides of a task, round after round, in an order that is turned round each time."
  [{:keys [sides memory]} {:keys [rounds] :as session}]
  (let [sides (vec (mapcat #(on-jdks session %) sides))]
    (if (and memory (< (machine/available-bytes) (long memory)))
      (mapv #(assoc % :skipped "not enough memory is available") sides)
      (reduce (fn [sides round]
                (let [order (cond-> (range (count sides)) (odd? round) reverse)]
                  (reduce (fn [sides i] (update sides i measure-side session)) sides order)))
              sides
              (range rounds)))))

;; ------------------------------------------------------------ results

(defn- result
  "One row of a task whose sides have been measured."
  [{:keys [row metric unit targets]} group sides]
  (let [sides (for [{:keys [side role jdk samples skipped failed]} sides]
                (cond-> {:side side :role role :jdk (:release jdk)
                         :samples (vec (get samples (if (= metric "score")
                                                      (some #(when (get samples %) %)
                                                            ["score" "sum" "column" "fill" "out" "in" "within" "map"])
                                                      metric)))}
                  (get samples "bytes") (assoc :allocated (vec (get samples "bytes")))
                  skipped (assoc :skipped skipped)
                  failed (assoc :failed true)))]
    {:group group :row row :unit unit
     :sides (vec (for [s sides]
                   (cond-> s
                     (= :ours (:role s))
                     (assoc :judged (vec (keep #(when (or (nil? (:only %)) ((:only %) (:side s)))
                                                  (stats/judge % s sides))
                                               targets))))))}))

(defn- without-judgement [rows]
  (for [r rows] (update r :sides (fn [sides] (mapv #(dissoc % :judged) sides)))))

(defn- measure-task [task session]
  (let [sides (take-turns task session)]
    (mapv #(result % (:group task) sides) (:rows task))))

;; ------------------------------------------------------------ the run

(defn- quick-results
  "All JMH benchmarks of these tasks, by JDK."
  [tasks {:keys [jdks class-path]}]
  (into {}
        (for [j jdks]
          [j (jmh/in-one-jvm j class-path
                             (distinct (for [t tasks, s (:sides t)
                                             :let [[kind bench params] (:run s)]
                                             :when (and (= :jmh kind) (or (nil? (:since s)) (<= (:since s) (:release j))))]
                                         {:bench bench :params params})))])))

(defn- write!
  "Writes results.edn, results.txt and the plots into the folder; returns the file names."
  [out about rows]
  (let [files (merge {"results.edn" (with-out-str (binding [*print-length* nil, *print-namespace-maps* false]
                                                    (pprint/pprint (assoc about :rows rows))))
                      "results.txt" (str/join "\n" (concat [(pr-str (dissoc about :options)) "" table/heading]
                                                           (mapcat #(table/row-lines (jmh/iteration-ns (:seconds about)) %) rows)
                                                           [""]
                                                           (table/summary rows)
                                                           [""]))
                      "results.md" (str (markdown/tables rows) "\n")}
                     (plot/plots rows))]
    (.mkdirs (io/file out))
    (doseq [[file content] files]
      (spit (io/file out file) content))
    (keys files)))

(defn- problems
  "What keeps a run from being complete: sides that failed, and rows without a number."
  [rows]
  (concat
   (for [r rows, s (:sides r) :when (:failed s)]
     (str (:row r) ", " (:side s) " on " (:jdk s) ": " (:skipped s)))
   (for [r rows
         :when (not-any? #(seq (:samples %)) (:sides r))
         :when (not-every? :skipped (:sides r))]
     (str (:row r) ": no numbers"))
   (for [r rows, s (:sides r), x (:samples s) :when (not (Double/isFinite x))]
     (str (:row r) ", " (:side s) ": " x " is no number"))))

(defn- introduce [{:keys [jdks quick no-c seconds rounds]}]
  (println "Nothing is measured in this JVM," (str (System/getProperty "java.version") ":")
           "each figure comes from a fresh JVM of")
  (run! #(println " " (jdks/describe %)) jdks)
  (println "and from C" (or (some->> no-c (str "not at all, ")) (compile/gcc-version)))
  (println (if quick
             "Quick mode: what comes is no measurement, it only shows that everything runs."
             (format "%d rounds, in each of which all sides of a row are measured in turn for %.1f s." rounds (double seconds))))
  (println "Load average" (machine/load-average) "on" (.availableProcessors (Runtime/getRuntime)) "processors.")
  (println))

(defn- run [{:keys [which quick seconds rounds out homes]}]
  (let [jdks    (if homes (jdks/in-homes homes) (jdks/found))
        session {:jdks jdks
                 :quick quick
                 :no-c (compile/c!)
                 :class-path (System/getProperty "java.class.path")
                 :seconds (if quick 0.02 seconds)
                 :rounds (if quick 1 rounds)
                 :repeats 1
                 :network (hosts/network)
                 :no-hosts (delay (hosts/obstacle))
                 :no-ucx (delay (hosts/ucx-obstacle))}
        _       (introduce session)
        tasks   (rows/tasks which)
        session (cond-> session quick (assoc :ready (quick-results tasks session)))
        about   (machine/about)
        start   (System/nanoTime)
        _       (println table/heading)
        rows    (try
                  (vec (mapcat (fn [task]
                                 (let [rows (cond-> (measure-task task session) quick without-judgement)]
                                   (run! println (mapcat #(table/row-lines (jmh/iteration-ns (:seconds session)) %) rows))
                                   (flush)
                                   rows))
                               tasks))
                  (finally
                    (hosts/end! (:network session))))
        about   (assoc about
                       :minutes (/ (- (System/nanoTime) start) 6e10)
                       :load-average-at-the-end (machine/load-average)
                       :jdks (vec jdks)
                       :c (or (:no-c session) (compile/gcc-version))
                       :clojure (clojure-version)
                       :quick (boolean quick)
                       :rounds (:rounds session)
                       :seconds (:seconds session))
        files   (write! out about rows)
        wrong   (problems rows)]
    (println)
    (when-not quick
      (run! println (table/summary rows)))
    (println (count rows) "rows," (count files) "files in" (str out))
    (run! #(println "PROBLEM" %) wrong)
    (and (seq rows) (empty? wrong))))

(defn -main [options]
  (let [fine? (run (edn/read-string options))]
    (flush)
    (shutdown-agents)
    (System/exit (if fine? 0 1))))
