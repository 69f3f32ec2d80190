(ns rsmapi.bench.compile
  "Compiles what is measured: dev/java for every JDK, dev/java22 for those that have
  java.lang.foreign, dev/c with gcc. The results are in target/bench-classes and
  target/bench-c, and are made again when a source is newer."
  (:require [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [rsmapi.bench.jdks :as jdks])
  (:import (java.io File IOException)))

(set! *warn-on-reflection* true)

(def java-dir "target/bench-classes/17")
(def java22-dir "target/bench-classes/22")
(def ^:private c-dir "target/bench-c")

(defn- sources [dir suffix]
  (->> (file-seq (io/file dir))
       (filter #(str/ends-with? (.getName ^File %) suffix))
       sort))

(defn- newest ^long [files]
  (reduce max 0 (map #(.lastModified ^File %) files)))

(defn- delete-tree! [dir]
  (run! #(.delete ^File %) (reverse (file-seq (io/file dir)))))

(defn- fresh!
  "Empties a folder and has f fill it, unless it was filled after all of these files changed."
  [dir files f]
  (let [stamp (io/file dir ".stamp")]
    (when (<= (.lastModified stamp) (newest files))
      (delete-tree! dir)
      (.mkdirs (io/file dir))
      (let [start (System/currentTimeMillis)]
        (f)
        (spit stamp "")
        (.setLastModified stamp start)))))

(defn- javac! [jdk release dir class-path files]
  (let [{:keys [exit err out]}
        (apply shell/sh (jdks/javac jdk) "-d" dir "-cp" class-path "--release" (str release)
               "-processor" "org.openjdk.jmh.generators.BenchmarkProcessor"
               "-encoding" "UTF-8" "-g" (map str files))]
    (when-not (zero? (long exit))
      (throw (ex-info (str "javac failed\n" out err) {:jdk jdk})))))

(defn java!
  "Compiles the Java sources, those for JDK 22 and later with the newest of the JDKs if it is
  one. Returns the class path's folders."
  [jdks class-path]
  (let [used   (cons (io/file "target/classes.stamp") (sources "dev/java" ".java"))
        newest (apply max-key :release jdks)]
    (fresh! java-dir used
            #(javac! (jdks/current) 17 java-dir class-path (sources "dev/java" ".java")))
    (if (< (long (:release newest)) 22)
      [java-dir]
      (do (fresh! java22-dir (concat used (sources "dev/java22" ".java"))
                  #(javac! newest 22 java22-dir (str java-dir File/pathSeparator class-path)
                           (sources "dev/java22" ".java")))
          [java-dir java22-dir]))))

(defn c!
  "Compiles the C programs. Returns nil, or why there are none."
  []
  (try
    (fresh! c-dir (sources "dev/c" "")
            #(doseq [^File f (sources "dev/c" ".c")
                     :let [exe (str c-dir "/" (str/replace (.getName f) ".c" ""))
                           {:keys [exit err]} (shell/sh "gcc" "-O2" "-pthread" "-o" exe (str f))]]
               (when-not (zero? (long exit))
                 (throw (ex-info (str "gcc cannot compile " f ": " err) {})))))
    nil
    (catch IOException e
      (str "no gcc: " (ex-message e)))
    (catch clojure.lang.ExceptionInfo e
      (ex-message e))))

(defn c-program ^String [name]
  (str c-dir "/" name))

(defn gcc-version []
  (try
    (first (str/split-lines (:out (shell/sh "gcc" "--version"))))
    (catch IOException _ nil)))
