(ns rsmapi.java-example-test
  "The example for Java programmers, test/java/org/rsmapi/example/Example.java: it compiles
  without a warning and does what it says, with no Clojure but the library's own."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]])
  (:import [java.io ByteArrayOutputStream File]
           [java.nio.file Files Path]
           [java.nio.file.attribute FileAttribute]
           [java.util.concurrent TimeUnit]
           [javax.tools ToolProvider]
           [org.rsmapi Controller]))

(set! *warn-on-reflection* true)

(def ^:private main-class "org.rsmapi.example.Example")

(def ^:private timeout-s 120)

(defn- temp-dir ^File []
  (.toFile (Files/createTempDirectory "rsmapi-example" (make-array FileAttribute 0))))

(defn- delete-tree [^File dir]
  (run! #(.delete ^File %) (reverse (file-seq dir))))

(defn- source ^File []
  (io/file (io/resource "java/org/rsmapi/example/Example.java")))

(defn- library
  "Where the classes of the library are: a folder or a jar."
  []
  (let [^Class c Controller]
    (str (Path/of (.. c getProtectionDomain getCodeSource getLocation toURI)))))

(defn- class-path
  "What a Java program that depends on the library has: that, and its dependencies."
  []
  (->> (str/split (System/getProperty "java.class.path")
                  (re-pattern (java.util.regex.Pattern/quote File/pathSeparator)))
       (filter #(re-find #"(^|/)(jna|clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$" %))
       (cons (library))
       (str/join File/pathSeparator)))

(defn- compile!
  "{:exit :messages}, as of javac on the command line."
  [^File file ^File dir]
  (let [messages (ByteArrayOutputStream.)
        args ["-Xlint:all" "-Werror" "--release" "17" "-proc:none" "-encoding" "UTF-8"
              "-cp" (class-path) "-d" (str dir) (str file)]
        exit (.run (ToolProvider/getSystemJavaCompiler) nil messages messages
                   (into-array String args))]
    {:exit exit :messages (str messages)}))

(defn- run-example!
  "{:exit :out :err} of the example in a JVM of its own."
  [^File dir]
  (let [out (io/file dir "out.txt")
        err (io/file dir "err.txt")
        command [(str (io/file (System/getProperty "java.home") "bin" "java"))
                 "--enable-native-access=ALL-UNNAMED"
                 "-cp" (str dir File/pathSeparator (class-path))
                 main-class]
        process (.start (doto (ProcessBuilder. ^java.util.List command)
                          (.redirectInput (io/file "/dev/null"))
                          (.redirectOutput out)
                          (.redirectError err)))
        ended? (.waitFor process timeout-s TimeUnit/SECONDS)]
    (when-not ended?
      (.waitFor (.destroyForcibly process)))
    {:exit (if ended? (.exitValue process) :timeout)
     :out (slurp out)
     :err (slurp err)}))

(defn- has-line? [out re]
  (is (some #(re-matches re %) (str/split-lines out)) out))

(deftest example
  (let [dir (temp-dir)]
    (try
      (let [{:keys [exit messages]} (compile! (source) dir)]
        (testing "compiles without a warning"
          (is (= [0 ""] [exit messages]))))
      (let [{:keys [exit out err]} (run-example! dir)]
        (testing "ends well, and says nothing else"
          (is (= [0 ""] [exit err]) out)
          (is (= "every step was right" (last (str/split-lines out)))))
        (testing "shows what both sides see"
          (has-line? out #"exported: #<ExportSegment 0x[0-9a-f]{8} .* published>")
          (has-line? out #"imported: #<ImportSegment 0x[0-9a-f]{8} .* RDWR connected>")
          (has-line? out #"ok: the importer reads: hello")
          (has-line? out #"ok: the exporter reads: 42"))
        (testing "shows the errors"
          (has-line? out #"misaligned: RSMERR_BAD_MEM_ALIGNMENT \(17\) in import-map: .*offset 100.*")
          (has-line? out #"read-only: RSMERR_PERM_DENIED \(27\) in put-long: .*")
          (has-line? out #"past the end: RSMERR_BAD_OFFSET \(18\) in get-long: .*")
          (has-line? out #"revoked: RSMERR_CONN_ABORTED \(40\) in get-long: .*unpublished.*")
          (has-line? out #"connect again: RSMERR_SEG_NOT_PUBLISHED \(7\) in import-connect: .*")))
      (finally
        (delete-tree dir)))))
