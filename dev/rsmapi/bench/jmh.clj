(ns rsmapi.bench.jmh
  "Runs one JMH benchmark and returns {\"score\" samples, \"bytes\" samples}: nanoseconds
  and allocated bytes for one operation, one sample for each measured iteration.

  Each run has a JVM of its own, which is warmed up for as long as it is measured, and for a
  second at least. In quick mode, where no figure counts, one JVM for each JDK runs
  all of them one after the other; see in-one-jvm."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [rsmapi.bench.jdks :as jdks])
  (:import (java.lang ProcessBuilder$Redirect)
           (java.util List)
           (org.openjdk.jmh.profile GCProfiler)
           (org.openjdk.jmh.results BenchmarkResult IterationResult Result RunResult)
           (org.openjdk.jmh.runner Runner)
           (org.openjdk.jmh.runner.options ChainedOptionsBuilder OptionsBuilder TimeValue
                                           VerboseMode)))

(set! *warn-on-reflection* true)

(def ^:private package "org.rsmapi.bench.")
(def ^:private iterations
  "Many and short: what else happens on the machine then spoils some of them and not all."
  20)

(def ^:private warm-up-iterations 10)

(defn iteration-ns
  "How long one iteration takes of those that make up so many seconds."
  ([seconds] (iteration-ns seconds iterations))
  ([seconds n] (/ (* 1e9 (double seconds)) (double n))))

(defn- jvm-args
  "JNA needs the first option; Agrona cannot reach memory without the second; the third
  silences what JDK 23 and later have to say about JMH."
  [jdk]
  (cond-> ["--enable-native-access=ALL-UNNAMED" "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED"]
    (<= 23 (long (:release jdk))) (conj "--sun-misc-unsafe-memory-access=allow")))

(defn- options [{:keys [bench params]} seconds warm-up]
  (let [pattern (str "^" (java.util.regex.Pattern/quote (str package bench)) "$")
        length  #(TimeValue/nanoseconds (long (iteration-ns %1 %2)))
        builder (-> (OptionsBuilder.)
                    (.include pattern)
                    (.warmupIterations warm-up-iterations)
                    (.warmupTime (length warm-up warm-up-iterations))
                    (.measurementIterations iterations)
                    (.measurementTime (length seconds iterations))
                    (.shouldFailOnError true)
                    (.verbosity VerboseMode/SILENT)
                    (.addProfiler GCProfiler))]
    (reduce-kv (fn [^ChainedOptionsBuilder b k v]
                 (.param b (name k) (into-array String [(str v)])))
               builder
               params)))

(defn- allocated
  "Of the secondary results of an iteration, the bytes for one operation."
  [^IterationResult iteration]
  (some (fn [[^String label ^Result result]]
          (when (.endsWith label "gc.alloc.rate.norm")
            (.getScore result)))
        (.getSecondaryResults iteration)))

(defn- samples [results]
  (let [its (for [^RunResult run results
                  ^BenchmarkResult fork (.getBenchmarkResults run)
                  i (.getIterationResults fork)]
              i)]
    (when (empty? its)
      (throw (ex-info "JMH measured nothing" {})))
    {"score" (mapv #(.getScore (.getPrimaryResult ^IterationResult %)) its)
     "bytes" (vec (keep allocated its))}))

(defn- few-iterations
  "For an operation that takes longer than an iteration should."
  ^ChainedOptionsBuilder [^ChainedOptionsBuilder builder]
  (-> builder (.warmupIterations 2) (.measurementIterations 5)))

(defn run
  "Runs it on that JDK, in a JVM of its own. A spec has :bench, :params, and :slow if one
  operation takes longer than a few milliseconds."
  [jdk spec seconds]
  (let [^ChainedOptionsBuilder builder (cond-> (options spec seconds (max 1.0 (double seconds)))
                                         (:slow spec) few-iterations)]
    (-> builder
        (.forks 1)
        (.jvm (jdks/java jdk))
        (.jvmArgs ^"[Ljava.lang.String;" (into-array String (jvm-args jdk)))
        .build
        Runner.
        .run
        samples)))

;; ------------------------------------------------------------- quick mode

(defn- run-here [spec]
  (-> ^ChainedOptionsBuilder (options spec 0.005 0.001)
      (.warmupIterations 1)
      (.measurementIterations 2)
      (.forks 0)
      .build
      Runner.
      .run
      samples))

(defn -main
  "Reads a vector of benchmarks and prints for each a vector of it and its samples, or of it
  and a message."
  []
  (let [out System/out]
    (System/setOut System/err)
    (doseq [spec (edn/read {} (java.io.PushbackReader. (io/reader System/in)))]
      (.println out (pr-str [spec (try
                                    (run-here spec)
                                    (catch Throwable t
                                      (str (ex-message t) " " (ex-message (ex-cause t)))))]))))
  (flush)
  (System/exit 0))

(defn in-one-jvm
  "Runs all of them, each for a moment, in one JVM of that JDK. Returns a map from benchmark to
  its samples or a message."
  [jdk class-path specs]
  (let [command (-> [(jdks/java jdk)]
                    (into (jvm-args jdk))
                    (into ["-XX:TieredStopAtLevel=1" "-Djmh.ignoreLock=true" "-cp" class-path "clojure.main" "-m" "rsmapi.bench.jmh"]))
        process (.start (doto (ProcessBuilder. ^List command)
                          (.redirectError ProcessBuilder$Redirect/DISCARD)))]
    (with-open [in (io/writer (.getOutputStream process))]
      (.write in (pr-str (vec specs))))
    (with-open [out (io/reader (.getInputStream process))]
      (into {}
            (keep #(try (edn/read-string %) (catch Exception _ nil)))
            (line-seq out)))))
