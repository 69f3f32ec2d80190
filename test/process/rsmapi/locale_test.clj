(ns rsmapi.locale-test
  "The library in other locales and encodings: names and numbers for machines do not depend on
  them. A dotless i in a keyword, or Arabic digits in a socket's name, would be seen by nobody who
  runs the tests in English."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :as t :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------- inside of a child

(defn results
  "Runs the tests of a namespace, and returns the counts and what was printed."
  [n]
  (require n)
  (let [out (java.io.StringWriter.)]
    (assoc (select-keys (binding [t/*test-out* out] (t/run-tests n)) [:pass :fail :error])
           :out (str out))))

(defn digits [] (format "%d" 1234567890))

;; --------------------------------------------------------------- the tests

(def ^:private settings
  [{:title     "Turkish"
    :jvm-opts  ["-Duser.language=tr" "-Duser.country=TR"]
    :in-effect '(= "ı" (.toLowerCase "I"))}
   {:title     "Arabic digits"
    :jvm-opts  ["-Duser.language=ar" "-Duser.country=EG" "-Duser.extensions=u-nu-arab"]
    :in-effect '(= "١٢٣٤٥٦٧٨٩٠" (rsmapi.locale-test/digits))}
   {:title     "no encoding but ASCII"
    :prefix    ["env" "LC_ALL=C" "LANG=C"]
    :jvm-opts  ["-Dfile.encoding=US-ASCII" "-Dsun.jnu.encoding=ANSI_X3.4-1968"]
    :in-effect '(= "US-ASCII" (str (java.nio.charset.Charset/defaultCharset)))}])

(deftest in-other-locales
  (doseq [{:keys [title in-effect] :as setting} settings]
    (testing title
      (child/with-child [c (assoc (select-keys setting [:prefix :jvm-opts]) :label title)]
        (child/value c '(require 'rsmapi.locale-test))
        (is (true? (child/value c in-effect)) "the setting is in effect")
        (let [{:keys [pass fail error out]} (child/value c '(rsmapi.locale-test/results 'rsmapi.core-test) 300000)]
          (is (< 100 (long pass)))
          (is (= [0 0] [fail error]) out))
        (testing "with a process in the usual one"
          (child/value c '(def c (rsm/get-controller "shm7" {:node 12})))
          (let [id (child/value c '(do (def ex (rsm/export! c {:size (rsm/page-size) :acl [{:node 13 :perm 0666}]}))
                                       (rsm/put-long! ex 0 1234567890)
                                       (rsm/segment-id ex)))]
            (rsm/with-controller [mine "shm7" {:node 13}]
              (is (= [12] (for [k (:controllers (rsm/topology)) :when (= "shm7" (:name k)), p (:peers k)] (:node p))))
              (rsm/with-imported-segment [im mine {:node 12 :segment-id id}]
                (is (= 1234567890 (rsm/get-long (rsm/map! im) 0)))))))
        (testing "errors"
          (is (= {:rsm/error :rsm/ctlr-not-present :cognitect.anomalies/category :cognitect.anomalies/not-found :rsm/code 4}
                 (select-keys (:error (child/ask c '(rsm/get-controller "nİsuch9")))
                              [:rsm/error :cognitect.anomalies/category :rsm/code])))
          (is (= "loopback" (child/value c '(.name (rsm/get-controller "LOOPBACK"))))))))))

(def ^:private depends-on-locale
  "What gives another result in another locale, or with another default encoding."
  [#"String\.format\((?!Locale)" #"\.formatted\(" #"\bprintf\b" #"\.to(Lower|Upper)Case\(\)"
   #"str/(lower-case|upper-case|capitalize)" #"\((?:cl-)?format " #"getBytes\(\)" #"new InputStreamReader\([^,]*\)\s*[;)]"
   #"\(\.to(Lower|Upper)Case [^ ]+\)" #"new String\([a-z]+\)"])

(deftest nothing-is-made-with-the-default-locale
  (let [root  (-> (io/resource "rsmapi/core.clj") io/file .getParentFile .getParentFile .getParentFile)
        files (for [folder ["java-src" "src"], ^File f (file-seq (io/file root folder))
                    :when (re-find #"\.(java|clj)$" (.getName f))]
                f)]
    (is (< 50 (count files)))
    (doseq [^File f files
            [n line] (map-indexed vector (str/split-lines (slurp f :encoding "UTF-8")))
            pattern depends-on-locale]
      (is (not (re-find pattern line)) (str (.getName f) ":" (inc (long n)))))))
