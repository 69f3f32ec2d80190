(ns rsmapi.loading-test
  "When the first controller is there, everything that the library needs later has been
  loaded: a process that has run out of descriptors cannot load a class from a folder any
  more. What a JVM has loaded, and from where, its log says."
  (:require [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.set :as set]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.test.runner :as runner])
  (:import (java.io File)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (org.rsmapi RsmException)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------- inside of a child

(defn use-everything
  "Goes the ways on which something is needed that other ways do not need. Returns what
  came of it. The id is that of an exporter who does not answer."
  [silent-id]
  (let [code (fn [f]
               (try (f) 0 (catch RsmException e (:rsm/code (ex-data e)))))]
    (rsm/with-controller [c "loopback"]
      (rsm/with-controller [shm "shm0" {:node 1}]
        (rsm/with-local-memory [mine (* 4 (long (rsm/page-size)))]
          (rsm/with-exported-segment [ex c {:size (* 4 (long (rsm/page-size)))}]
            (rsm/with-exported-segment [own shm {:address (rsm/address mine) :size (rsm/page-size)}]
              (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
                    m  (rsm/map! im)]
                [(code #(rsm/put-long-volatile! m 0 (rsm/get-long ex 8)))
                 (code #(rsm/compare-and-set-int! m 0 0 1))
                 (code #(rsm/fill! m 0 16 0))
                 (code #(rsm/connect! c {:segment-id silent-id :timeout-ms 50}))
                 (code #(do (.interrupt (Thread/currentThread))
                            (rsm/connect! c {:segment-id silent-id :timeout-ms 20000})))
                 (do (Thread/interrupted)
                     (code #(rsm/close! (rsm/connect! shm {:node 1 :segment-id (rsm/segment-id own)}))))
                 (code #(rsm/map! im))
                 (code #(rsm/unpublish! ex))
                 (code #(rsm/get-long m 0))
                 (code #(rsm/publish! ex))
                 (code #(rsm/disconnect! im))
                 (code #(rsm/unmap! im))
                 (code #(rsm/disconnect! im))
                 (code #(rsm/get-controller "nosuch0"))]))))))))

;; --------------------------------------------------------------- the tests

(defn- class-files
  "The names of the library's classes, by the files that there are."
  []
  (let [root (-> (io/resource "org/rsmapi/Controller.class") io/file .getParentFile .getParentFile .getParentFile)]
    (into #{}
          (keep (fn [^File f]
                  (second (re-matches #"(.*)\.class" (str (.relativize (.toPath ^File root) (.toPath f)))))))
          (file-seq root))))

(defn- loaded
  "The names of the classes of the library and of JNA that a log tells of, as of files."
  [log]
  (into #{}
        (keep #(when-let [[_ class-name] (re-matches #"((?:org\.rsmapi|com\.sun\.jna)\.\S+) source: (?:file|jar):.*" %)]
                 (str/replace class-name "." "/")))
        (str/split-lines (slurp log))))

(defn- with-log
  "Calls f with a child that logs the classes it loads, and the file."
  [f]
  (let [log (.toFile (Files/createTempFile "rsmapi-classes" ".log" (make-array FileAttribute 0)))]
    (try
      (child/with-child [c {:jvm-opts [(str "-Xlog:class+load=info:file=" log ":none:filecount=0")]}]
        (f c log))
      (finally
        (.delete log)))))

(deftest everything-is-loaded-with-the-first-controller
  (with-log
   (fn [c log]
     (let [files  (class-files)
           ours   #(set/intersection files (loaded log))
           before (ours)]
       (is (seq before) "the log tells something")
       (is (seq (set/difference files before)) "and not everything was there already")
       (child/value c '(def first-controller (rsm/get-controller "loopback")))
       (is (= #{} (set/difference files (ours))) "classes of the library that are not loaded")
       (testing "and is enough"
         (child/with-child [silent {}]
           (let [id (child/value silent '(do (def ex (rsm/export! (rsm/get-controller "loopback") {:size 65536}))
                                             (rsm/segment-id ex)))]
             (child/value c '(require 'rsmapi.loading-test))
             (let [all (loaded log)]
               (child/signal! silent "STOP")
               (is (= [0 0 0 42 41 0 9 0 40 0 10 0 0 4]
                      (child/value c `(use-everything ~id))))
               (child/signal! silent "CONT")
               (is (= #{} (set/difference (loaded log) all)) "what was loaded later")))))))))

;; Whatever can be called when there is no controller.
(def ^:private entrances
  '[[:topology (rsm/topology)]
    [:page-size (rsm/page-size)]
    [:allocate (rsm/allocate! 4096)]
    [:huge-page-size (org.rsmapi.ExportSegment/hugePageSize)]
    [:signal-wait-pollfd (rsm/signal-wait-pollfd! [{:fd 0}] {:timeout-ms 0})]
    [:get-controller (rsm/get-controller nil)]
    [:get-controller (rsm/get-controller "shm3" {:node 5})]])

(defn- refusals
  "What each entrance answers in a child with these options, twice. :error is checked to be the one
  expected, :reason the same each time."
  [jvm-opts expected & {:as opts}]
  (child/with-child [c (assoc opts :jvm-opts jvm-opts)]
    (let [answers (vec (for [_ (range 2), [op form] (shuffle entrances)]
                         (let [{:keys [error]} (child/ask c form)]
                           (is (= {:rsm/error expected :rsm/op op} (select-keys error [:rsm/error :rsm/op]))
                               (pr-str jvm-opts form error))
                           (select-keys error [:rsm/reason :rsm/hint :rsm/engine]))))]
      (is (apply = answers) "the first reason, each time")
      (is (= :rsm/bad-length (:rsm/error (:error (child/ask c '(rsm/allocate! 0))))) "bad arguments come first")
      (first answers))))

(deftest without-native-functions
  (testing "a folder that is none, for JNA's library"
    (let [{:rsm/keys [reason hint]} (refusals ["-Djna.tmpdir=/proc/none"] :rsm/ctlr-not-present)]
      (is (not (re-find #"NoClassDefFound" reason)))
      (is (re-find #"jna.tmpdir" hint))))
  (testing "JNA's protected mode, which would crash the JVM"
    (is (re-find #"jna.protected" (:rsm/hint (refusals ["-Djna.protected=true"] :rsm/ctlr-not-present)))))
  (testing "a native library of another version"
    (let [folder (.toFile (Files/createTempDirectory "rsmapi-jna" (make-array FileAttribute 0)))
          library (io/file folder "libjnidispatch.so")]
      (try
        (spit library "not a library")
        (is (some? (:rsm/reason (refusals [(str "-Djna.boot.library.path=" folder) "-Djna.nounpack=true"] :rsm/ctlr-not-present))))
        (finally
          (.delete library)
          (.delete folder)))))
  (when (<= 24 (.feature (Runtime/version)))
    (testing "a JVM that denies native access"
      (is (re-find #"--enable-native-access"
                   (:rsm/hint (refusals ["--illegal-native-access=deny"] :rsm/ctlr-not-present)))))))

(deftest an-engine-that-cannot-be-had
  (child/with-child [c {:jvm-opts ["-Drsmapi.engine=fast"]}]
    (dotimes [_ 2]
      (is (= {:rsm/error :rsm/bad-conf :rsm/op :get-controller :rsm/engine "fast"}
             (select-keys (:error (child/ask c '(rsm/get-controller nil))) [:rsm/error :rsm/op :rsm/engine]))))))

(defn- runtime
  "A Java runtime of these modules in that folder; nil if this JDK cannot make one."
  [^File folder modules]
  (let [jlink (io/file (System/getProperty "java.home") "bin" "jlink")]
    (when (.canExecute jlink)
      (let [{:keys [exit] :as result} (shell/sh (str jlink) "--add-modules" (str/join "," modules) "--output" (str folder))]
        (is (zero? (long exit)) (pr-str result))
        folder))))

(deftest a-runtime-of-few-modules
  (let [root (.toFile (Files/createTempDirectory "rsmapi-runtime" (make-array FileAttribute 0)))
        ;; Clojure needs java.sql and what that needs, JNA java.logging
        few  ["java.base" "java.logging" "java.sql"]]
    (try
      (if-let [home (runtime (io/file root "few") few)]
        (if (<= 22 (.feature (Runtime/version)))
          (child/with-child [c {:java-home home}]
            (is (= "loopback" (child/value c '(do (def c (rsm/get-controller nil)) (.name c)))))
            (is (= 7 (child/value c '(let [ex (rsm/export! c {:size (rsm/page-size)})]
                                       (rsm/put-long! ex 0 7)
                                       (rsm/get-long ex 0))))))
          (is (re-find #"jdk.unsupported" (:rsm/hint (refusals [] :rsm/ctlr-not-present :java-home home)))))
        (runner/skip! "a runtime of few modules" "this JDK has no jlink"))
      (finally
        (run! #(.delete ^File %) (reverse (file-seq root)))))))
