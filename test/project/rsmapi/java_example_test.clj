(ns rsmapi.java-example-test
  "The example for Java programmers, test/java/org/rsmapi/example/Example.java: it compiles
  without a warning and does what it says, with no Clojure but the library's own."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.runner :as runner])
  (:import (java.io File)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private main-class "org.rsmapi.example.Example")

(def ^:private timeout-s 120)

(defn- source ^File []
  (io/file (runner/root) "test/java/org/rsmapi/example/Example.java"))

(defn- run-example!
  "{:exit :out :err} of the example in a JVM of its own."
  [^File dir]
  (let [out (io/file dir "out.txt")
        err (io/file dir "err.txt")
        command [(str (io/file (System/getProperty "java.home") "bin" "java"))
                 "--enable-native-access=ALL-UNNAMED"
                 "-cp" (str dir File/pathSeparator (javac/class-path))
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
  (let [dir (javac/temp-dir)]
    (try
      (let [{:keys [exit messages]} (javac/compile! (source) dir)]
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
        (files/delete-tree! dir)))))
