(ns rsmapi.consumer-test
  "The project as its users have it: as a dependency on its sources, prepared by
  tools.deps, and as a jar from a Maven repository."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.runner :as runner])
  (:import [java.io File]
           [java.nio.file Files LinkOption]
           [java.nio.file.attribute FileAttribute]
           [java.util.concurrent TimeUnit]))

(set! *warn-on-reflection* true)

(def ^:private program
  "(require '[rsmapi.core :as rsm])
   (rsm/with-controller [c \"loopback\"]
     (prn :node (rsm/node-id c)))")

(defn- project-root ^File []
  (-> (io/resource "rsmapi/runner.clj") io/file .getCanonicalFile
      .getParentFile .getParentFile .getParentFile))

;; ---------------------------------------------------------------- files

(defn- temp-dir ^File [prefix]
  (.toFile (.toRealPath (Files/createTempDirectory prefix (make-array FileAttribute 0))
                        (make-array LinkOption 0))))

(defn- symlink? [^File f] (Files/isSymbolicLink (.toPath f)))

(defn- delete-tree [^File f]
  (when (and (.isDirectory f) (not (symlink? f)))
    (run! delete-tree (.listFiles f)))
  (Files/deleteIfExists (.toPath f)))

(def ^:private not-copied
  "What git would not have, and git itself."
  #{".git" "target" ".cpcache" ".nrepl-port" "__pycache__"})

(defn- copy-tree [^File from ^File to]
  (when-not (or (not-copied (.getName from)) (symlink? from))
    (if (.isDirectory from)
      (do (.mkdirs to)
          (doseq [^File f (.listFiles from)]
            (copy-tree f (io/file to (.getName f)))))
      (do (io/copy from to)
          (.setExecutable to (.canExecute from))))))

(defn- local-repository
  "The Maven repository on this machine that Clojure itself was taken from."
  ^File []
  (some->> (str/split (System/getProperty "java.class.path")
                      (re-pattern (java.util.regex.Pattern/quote File/pathSeparator)))
           (some #(second (re-matches #"(.*)/org/clojure/clojure/[^/]+/clojure-[^/]+\.jar" %)))
           io/file))

(defn- link-repository
  "Makes `repo` a repository with all that the local one has but rsmapi, so that
  nothing is downloaded again and nothing of ours is left in the local one."
  [^File repo]
  (.mkdirs repo)
  (when-let [local (local-repository)]
    (doseq [^File f (.listFiles local)
            :when (and (.isDirectory f) (not= "io" (.getName f)))]
      (Files/createSymbolicLink (.toPath (io/file repo (.getName f)))
                                (.toPath f)
                                (make-array FileAttribute 0)))))

;; ---------------------------------------------------------------- processes

(defn- clojure
  "Runs bin/clojure of this project in `dir`, with the JDK that runs the tests.
  {:exit :out :err}"
  [^File dir & args]
  (let [home (System/getProperty "java.home")
        out  (File/createTempFile "rsmapi-out" ".txt")
        err  (File/createTempFile "rsmapi-err" ".txt")
        pb   (doto (ProcessBuilder. ^java.util.List
                                    (into [(str (io/file (project-root) "bin/clojure"))] args))
               (.directory dir)
               (.redirectInput (io/file "/dev/null"))
               (.redirectOutput out)
               (.redirectError err))]
    (doto (.environment pb)
      (.put "JAVA_HOME" home)
      (.remove "JAVA_CMD")
      ;; tools.deps prepares a library with the java on the PATH
      (.put "PATH" (str home "/bin:" (System/getenv "PATH"))))
    (let [process (.start pb)
          done    (.waitFor process 10 TimeUnit/MINUTES)]
      (when-not done
        (run! #(.destroyForcibly ^java.lang.ProcessHandle %)
              (iterator-seq (.iterator (.descendants process))))
        (.destroyForcibly process))
      (try {:exit (if done (.exitValue process) :timeout)
            :out  (slurp out)
            :err  (slurp err)}
           (finally (.delete out) (.delete err))))))

(defn- consumer ^File [^File dir deps]
  (.mkdirs dir)
  (spit (io/file dir "deps.edn") (pr-str deps))
  dir)

(defn- runs? [dir]
  (let [{:keys [exit out err]} (clojure dir "-M" "-e" program)]
    (is (= 0 exit) err)
    (is (re-find #"(?m)^:node \d+$" out) (str out err))
    (is (not (re-find #"(?i)warning" err)) err)))

(defn- succeeds? [dir & args]
  (let [{:keys [exit out err]} (apply clojure dir args)]
    (is (= 0 exit) (str out err))))

;; ---------------------------------------------------------------- tests

(deftest users-of-the-sources-and-of-the-jar
  (if-not (.canExecute (io/file (project-root) "bin/clojure"))
    (runner/skip! "consumer" "bin/clojure cannot be run here")
    (let [dir     (temp-dir "rsmapi-consumer")
          sources (io/file dir "rsmapi")
          repo    (io/file dir "m2")]
      (try
        (copy-tree (project-root) sources)
        (testing "a dependency on the sources"
          (let [user (consumer (io/file dir "of-sources")
                               {:deps {'io.github.rsmapi/rsmapi {:local/root (str sources)}}})]
            (testing "is refused before it is prepared"
              (is (re-find #"must be prepared" (:err (clojure user "-P")))))
            (testing "is prepared"
              (succeeds? user "-X:deps" "prep")
              (is (.isDirectory (io/file sources "target/classes"))))
            (testing "works"
              (runs? user))))
        (testing "a dependency on the jar"
          (link-repository repo)
          (succeeds? sources "-T:build" "install" ":local-repo" (pr-str (str repo)))
          (let [[_ version] (re-find #"\(def version \"([^\"]+)\"" (slurp (io/file sources "build.clj")))
                user        (consumer (io/file dir "of-jar")
                                      {:mvn/local-repo (str repo)
                                       :deps {'io.github.rsmapi/rsmapi {:mvn/version version}}})]
            (testing "works, with nothing to build"
              (delete-tree sources)
              (runs? user))))
        (finally
          (delete-tree dir))))))
