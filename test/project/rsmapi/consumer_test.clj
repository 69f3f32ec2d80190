(ns rsmapi.consumer-test
  "The project as its users have it: as a dependency on its sources, prepared by
  tools.deps, as an installed tool, as a jar from a Maven repository, and as a program in one jar."
  (:require [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.runner :as runner])
  (:import [java.io File]
           [java.nio.file Files LinkOption]
           [java.nio.file.attribute FileAttribute]
           [java.util.concurrent TimeUnit]))

(set! *warn-on-reflection* true)

(def ^:private program
  "(require '[rsmapi.core :as rsm])
   (rsm/with-controller [c \"loopback\"]
     (prn :node (rsm/node-id c)))")

(defn- project-root ^File [] (runner/root))

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

(def ^:private ^:dynamic *environment* "Added to that of bin/clojure." {})

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
      (.putAll *environment*)
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

(defn- version-of [sources]
  (second (re-find #"\(def version \"([^\"]+)\"" (slurp (io/file sources "build.clj")))))

(defn- runs? [dir]
  (let [{:keys [exit out err]} (clojure dir "-M" "-e" program)]
    (is (= 0 exit) err)
    (is (re-find #"(?m)^:node \d+$" out) (str out err))
    (is (not (re-find #"(?i)warning" err)) err)))

(defn- succeeds? [dir & args]
  (let [{:keys [exit out err]} (apply clojure dir args)]
    (is (= 0 exit) (str out err))))

;; ---------------------------------------------------------------- tools and programs

(defn- install-tool!
  "What `clojure -Ttools install` leaves: a file in the folder of the user's configuration, which is
  $CLJ_CONFIG."
  [config tool-name coord]
  (let [file (io/file config "tools" (str tool-name ".edn"))]
    (io/make-parents file)
    (spit file (pr-str {:lib 'io.github.rsmapi/rsmapi :coord coord}))))

(defn- tool-works? [dir config f]
  (binding [*environment* {"CLJ_CONFIG" (str config)}]
    (let [{:keys [exit out err]} (clojure dir "-Trsm" f ":code" "18")]
      (is (= 0 exit) err)
      (is (re-find #"RSMERR_BAD_OFFSET" out)))
    (testing "an error is a message, not a stack trace"
      (let [{:keys [exit out err]} (clojure dir "-Trsm" (str/replace f "errors" "stat") ":id" "0x6fffff42")]
        (is (= [1 ""] [exit out]))
        (is (str/includes? err "RSMERR_SEG_NOT_PUBLISHED"))
        (is (not (re-find #"Full report|(?m)^\s+at " err)))))))

(defn- java [& args]
  (apply shell/sh (str (io/file (System/getProperty "java.home") "bin" "java")) (map str args)))

(defn- program-works? [jar]
  (let [{:keys [exit out err]} (java "-jar" jar "errors" "18")]
    (is (= [0 ""] [exit err]))
    (is (str/includes? out "RSMERR_BAD_OFFSET")))
  (let [{:keys [exit out err]} (java "-jar" jar "stat" "0x6fffff42" "--edn")]
    (is (= [1 ""] [exit out]))
    (is (= 1 (count (str/split-lines err))) "no warning about native access")
    (is (str/includes? err ":rsm/seg-not-published")))
  (is (= 2 (:exit (java "-jar" jar "nosuch")))))

(defn- says-what-is-missing? [jar]
  (let [{:keys [exit out err]} (java "-jar" jar "ls")]
    (is (= [70 ""] [exit out]))
    (is (str/starts-with? err "rsm: Clojure (org.clojure/clojure) is not on the class path"))
    (is (= 2 (count (str/split-lines err)))))
  (let [without-cli (->> (str/split (System/getProperty "java.class.path") #":")
                         (filter #(re-find #"/(clojure|spec\.alpha|core\.specs\.alpha|jna)-[^/]*\.jar$" %))
                         (cons jar)
                         (str/join ":"))
        {:keys [exit err]} (java "-cp" without-cli "org.rsmapi.clj.Main" "ls")]
    (is (= 70 exit))
    (is (str/starts-with? err "rsm: tools.cli (org.clojure/tools.cli) is not on the class path"))))

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
              (runs? user))
            (testing "is an installed tool"
              (install-tool! (io/file dir "config-sources") "rsm" {:local/root (str sources)})
              (tool-works? (consumer (io/file dir "elsewhere") {}) (io/file dir "config-sources") "errors"))))
        (testing "as a program"
          (succeeds? sources "-T:build" "uber")
          (program-works? (io/file sources "target" (str "rsmapi-" (version-of sources) "-standalone.jar"))))
        (testing "a dependency on the jar"
          (link-repository repo)
          (succeeds? sources "-T:build" "install" ":local-repo" (pr-str (str repo)))
          (let [version     (version-of sources)
                user        (consumer (io/file dir "of-jar")
                                      {:mvn/local-repo (str repo)
                                       :deps {'io.github.rsmapi/rsmapi {:mvn/version version}}})]
            (testing "names what it needs to run as a program"
              (says-what-is-missing? (io/file sources "target" (str "rsmapi-" version ".jar"))))
            (testing "works, with nothing to build"
              (delete-tree sources)
              (runs? user))))
        (finally
          (delete-tree dir))))))
