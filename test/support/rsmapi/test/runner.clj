(ns rsmapi.test.runner
  "Runs the tests: clojure -X:test

  Options:
    :only  a namespace (symbol or string), a regular expression in a string, or a
           vector of those; the `rsmapi.` before and the `-test` after may be left
           out: :only mapping. Default: all namespaces rsmapi.*-test
    :long  true: property tests run much longer, see `long-run?`

  The last line printed is `N passed, N failed` or, if there are any skipped,
  `N passed, N failed, N skipped`. What is counted are deftests, and each
  namespace that fails to load as one failed. The exit code is 0 if none failed
  and at least one ran."
  (:require [clojure.java.io :as io]
            [clojure.stacktrace :as stacktrace]
            [clojure.string :as str]
            [clojure.test :as t])
  (:import [java.io File]))

(def ^:private long-property "rsmapi.test.long")

(defn long-run?
  "True if the tests were started with `:long true`. Child JVMs are told by the
  system property rsmapi.test.long."
  []
  (Boolean/getBoolean long-property))

(defn trials
  "How many trials a property gets, in an ordinary and in a long run."
  [ordinary long]
  (if (long-run?) long ordinary))

(defn new-seed
  "A seed: that of the system property rsmapi.test.seed, or a new one."
  []
  (or (some-> (System/getProperty "rsmapi.test.seed") parse-long)
      (System/currentTimeMillis)))

;; ---------------------------------------------------------------- counting

;; {:passed n :failed n :skipped n}; tests may skip from any thread
(defonce ^:private counts (atom {}))

(def ^:private ^:dynamic *current*
  "An atom: {:bad? boolean :skipped? boolean} while a deftest runs, else nil."
  (atom nil))

(defn skip!
  "Says that a test, or the named part of one, is not run here, and why. The
  deftest that calls it is counted as skipped instead of passed; a failed
  assertion in it still counts as failed."
  [test-name reason]
  (swap! *current* assoc :skipped? true)
  (t/with-test-out
    (println (str "  skipped " test-name ": " reason))))

(defn- outcome [{:keys [bad? skipped?]}]
  (cond bad? :failed skipped? :skipped :else :passed))

(defn- count-outcome! [k] (swap! counts update k (fnil inc 0)))

(defn- report
  "clojure.test's report, with our counting of deftests beside it. An assertion
  that fails outside of a deftest, in a fixture, counts as one failed."
  [original m]
  (case (:type m)
    :begin-test-var (reset! *current* {})
    (:fail :error)  (if @*current*
                      (swap! *current* assoc :bad? true)
                      (count-outcome! :failed))
    :end-test-var   (do (count-outcome! (outcome @*current*))
                        (reset! *current* nil))
    nil)
  ;; run-ns has printed its name
  (when-not (= :begin-test-ns (:type m))
    (original m)))

;; ---------------------------------------------------------------- namespaces

(defn root
  "The project's folder."
  ^File []
  (let [file (-> (io/resource "rsmapi/test/runner.clj") io/file .getCanonicalFile)]
    (nth (iterate #(.getParentFile ^File %) file) 5)))

(defn- test-namespaces
  "Those in the folders of the class path."
  []
  (->> (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
       (mapcat #(.listFiles (io/file % "rsmapi")))
       (keep #(second (re-matches #".*(rsmapi/.*_test)\.clj" (str %))))
       (map #(symbol (str/escape % {\/ ".", \_ "-"})))
       sort))

(defn- selector [x]
  (let [s (str x)]
    (fn [n]
      (let [n (str n)]
        (or (= s n)
            (= (str "rsmapi." s "-test") n)
            (re-matches (re-pattern s) n))))))

(defn- select [only nss]
  (if (nil? only)
    nss
    (let [selectors (map selector (if (sequential? only) only [only]))]
      (filter (fn [n] (some #(% n) selectors)) nss))))

;; ---------------------------------------------------------------- running

(defn- seconds [^long start]
  (format "%.1f s" (/ (- (System/nanoTime) start) 1e9)))

(defn- load-ns [n]
  (try
    (require n)
    true
    (catch Throwable e
      (count-outcome! :failed)
      (println (str "\nFAILED to load " n))
      (stacktrace/print-cause-trace e 12)
      false)))

(defn- run-ns [n]
  (let [start (System/nanoTime)]
    (println (str "\n" n))
    (flush)
    (when (load-ns n)
      (let [before   @counts
            original t/report]
        (binding [*current* (atom nil)
                  t/report  #(report original %)]
          ;; what a fixture throws reaches us; what a deftest throws does not
          (try (t/test-ns n)
               (catch Throwable e
                 (count-outcome! :failed)
                 (println "FAILED in a fixture of" (str n))
                 (stacktrace/print-cause-trace e 12))))
        (let [of #(- (long (get @counts % 0)) (long (get before % 0)))]
          (println (format "  %d passed, %d failed%s, %s"
                           (of :passed) (of :failed)
                           (if (pos? (of :skipped)) (format ", %d skipped" (of :skipped)) "")
                           (seconds start))))))))

(defn- engine
  "Which memory engine is in use, as it describes itself. By reflection: a
  project half-way through a change shall get as far as its tests."
  []
  (try
    (let [c (Class/forName "org.rsmapi.mem.Engine")]
      (.invoke (.getMethod c "name" (make-array Class 0))
               (.get (.getField c "ENGINE") nil)
               (object-array 0)))
    (catch Throwable e (str "unknown: " e))))

(defn- print-environment []
  (println "JDK          " (System/getProperty "java.runtime.version")
           (System/getProperty "java.vendor"))
  (println "Clojure      " (clojure-version))
  (println "system       " (System/getProperty "os.name") (System/getProperty "os.version")
           (System/getProperty "os.arch"))
  (println "memory engine" (engine))
  (when (long-run?)
    (println "long run      property tests run more trials")))

(defn run
  "See the namespace. Ends the JVM."
  [{:keys [only long]}]
  (when long
    (System/setProperty long-property "true"))
  (let [start (System/nanoTime)
        nss   (select only (test-namespaces))]
    (print-environment)
    (binding [t/*test-out* *out*]
      (run! run-ns nss))
    (let [{:keys [passed failed skipped] :or {passed 0 failed 0 skipped 0}} @counts]
      (println (str "\n" (count nss) " namespaces, " (seconds start)))
      (when (empty? nss)
        (println "no test namespace" (if only (str "matches " (pr-str only)) "found")))
      (println (str passed " passed, " failed " failed"
                    (when (pos? skipped) (str ", " skipped " skipped"))))
      (flush)
      (shutdown-agents)
      (System/exit (if (and (zero? failed) (pos? (+ passed skipped))) 0 1)))))
