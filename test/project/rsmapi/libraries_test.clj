(ns rsmapi.libraries-test
  "The examples of doc/libraries.md, run in child JVMs that have what they need."
  (:require [clojure.test :refer [deftest is]]
            [rsmapi.core :as rsm]
            [rsmapi.test.child :as child]
            [rsmapi.test.runner :as runner]))

(set! *warn-on-reflection* true)

(def ^:private document "doc/libraries.md")

(def ^:private segments? (<= 22 (.feature (Runtime/version))))

(defn- check-examples! [kind jvm-opts]
  (child/with-child [c {:jvm-opts jvm-opts}]
    (child/value c '(require 'rsmapi.doc-test) 90000)
    (let [outcomes (child/value c (list 'rsmapi.doc-test/outcomes document kind) 60000)]
      (is (< 2 (count outcomes)))
      (is (= [] (remove :right? outcomes)))
      (is (= 0 (:mappings (child/value c '(do (require 'rsmapi.test.child) (rsmapi.test.child/belongings)))))
          "they close what they open"))))

(deftest java-lang-foreign-and-the-vector-api
  (cond
    (not segments?) (runner/skip! "java.lang.foreign" "this JDK has no memory segments")
    (not= 4096 (rsm/page-size)) (runner/skip! "java.lang.foreign" "the examples are for pages of 4096 bytes")
    :else (check-examples! "runs on 22" ["--add-modules" "jdk.incubator.vector"])))

(deftest agrona-and-jna
  (check-examples! "runs with addresses" ["--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED"]))
