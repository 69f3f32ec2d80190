(ns rsmapi.bench.programs
  "Runs programs and collects their samples.

  A program of ours, in C or Java, prints a name and a number for each sample. Of others the
  time from start to end is taken, in milliseconds, and the number of classes they load."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.bench.compile :as compile]
            [rsmapi.bench.jdks :as jdks])
  (:import (java.io File)
           (java.lang ProcessBuilder$Redirect)
           (java.util List)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private patience-s 300)

(defn- process
  "Runs a command to its end and returns its output, or throws."
  [command]
  (let [command (mapv str command)
        errors  (File/createTempFile "rsmapi-bench" ".err")
        process (.start (doto (ProcessBuilder. ^List command)
                          (.redirectError (ProcessBuilder$Redirect/to errors))))]
    (try
      (.close (.getOutputStream process))
      (let [out (slurp (.getInputStream process))]
        (when-not (.waitFor process patience-s TimeUnit/SECONDS)
          (.destroyForcibly process)
          (throw (ex-info (str "did not end: " (str/join " " command)) {})))
        (when-not (zero? (.exitValue process))
          (throw (ex-info (str "exit code " (.exitValue process) " of " (last command) ": "
                               (first (str/split-lines (slurp errors))))
                          {:command command})))
        out)
      (finally
        (.destroyForcibly process)
        (.delete errors)))))

(defn samples
  "Lines of a name and a number, by name."
  [text]
  (reduce (fn [m line]
            (if-let [[_ k v] (re-matches #"(\S+) (\S+)" line)]
              (update m k (fnil conj []) (parse-double v))
              m))
          {}
          (str/split-lines text)))

(defn c [args]
  (samples (process (cons (compile/c-program (first args)) (rest args)))))

(def ^:private native "--enable-native-access=ALL-UNNAMED")

(defn java
  "Runs a class of dev/java. It may open as many files as the system lets it."
  [jdk class-path [class-name & args]]
  (let [command (into [(jdks/java jdk) native "-cp" class-path (str "org.rsmapi.bench." class-name)] args)]
    (samples (process (into ["sh" "-c" "ulimit -n 131072 2>/dev/null; exec \"$@\"" "sh"] command)))))

;; ------------------------------------------------------------- start

(defn- timed [command]
  (let [begin (System/nanoTime)]
    (process command)
    (/ (- (System/nanoTime) begin) 1e6)))

(defn start
  "How long a fresh JVM takes for this, and in another one how many classes it loads:
  {\"ms\" [t] \"classes\" [n]}. The arguments are those of java, behind the class path. If
  quick, both are of one JVM."
  [jdk class-path args quick]
  (let [log (File/createTempFile "rsmapi-bench" ".classes")
        command (fn [& options]
                  (concat [(jdks/java jdk) native] options ["-cp" class-path] args))
        logging (command (str "-Xlog:class+load:file=" log))]
    (try
      (let [ms (timed (if quick logging (command)))]
        (when-not quick
          (process logging))
        (with-open [lines (io/reader log)]
          {"ms" [ms]
           "classes" [(double (count (filter #(str/includes? % " source: ") (line-seq lines))))]}))
      (finally
        (.delete log)))))
