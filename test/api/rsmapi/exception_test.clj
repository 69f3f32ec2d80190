(ns rsmapi.exception-test
  "The exception itself: what it is in Clojure, the order of its data, and where its stack trace starts."
  (:require [clojure.edn :as edn]
            [clojure.pprint :as pprint]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.impl.args :as args])
  (:import (clojure.lang ExceptionInfo LineNumberingPushbackReader)
           (java.io ByteArrayInputStream ByteArrayOutputStream ObjectInputStream ObjectOutputStream PrintWriter
                    StringReader StringWriter)
           (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)

(defn- failure
  "What the call throws."
  ^Throwable [f]
  (try
    (f)
    (is false "nothing was thrown")
    (catch Throwable t t)))

(defn- access-failure
  "The failure of an access out of range."
  ^Throwable []
  (with-open [memory (rsm/allocate! 4096)]
    (failure #(rsm/get-long memory 5000))))

(defn- many-facts
  "A failure with more facts than an array map has entries elsewhere, the hint not the last one."
  ^RsmException []
  (reduce (fn [^RsmException e n] (.with e (str "fact-" n) n))
          (-> (RsmException/of RsmError/TIMEOUT "signal-wait") (.with "node" 3) (.hint "wait longer"))
          (range 40)))

(deftest it-is-an-exception-info
  (is (= :rsm/bad-offset
         (with-open [memory (rsm/allocate! 4096)]
           (try
             (rsm/get-long memory 5000)
             (catch ExceptionInfo e (:rsm/error (ex-data e)))))))
  (let [e (access-failure)]
    (is (instance? RsmException e))
    (is (= (ex-data e) (.-data ^ExceptionInfo e)) "the field that some read instead of ex-data")
    (is (= (ex-data e) (into {} (.-data ^ExceptionInfo e))))
    (is (= (hash (ex-data e)) (hash (.-data ^ExceptionInfo e))))
    (is (= (assoc (ex-data e) :a 1) (assoc (.-data ^ExceptionInfo e) :a 1)))
    (is (str/starts-with? (str e) "org.rsmapi.RsmException: RSMERR_BAD_OFFSET (18) in get-long"))))

(deftest the-data-is-in-order
  (let [e (access-failure)]
    (is (= [:rsm/error :rsm/op :rsm/code :rsm/offset :rsm/length :rsm/size] (take 6 (keys (ex-data e)))))
    (is (str/starts-with? (pr-str (ex-data e)) "{:rsm/error :rsm/bad-offset, :rsm/op :get-long, :rsm/code 18, :rsm/offset 5000"))
    (is (str/starts-with? (with-out-str (pprint/pprint (ex-data e))) "{:rsm/error :rsm/bad-offset,\n :rsm/op :get-long,"))
    (is (str/includes? (pr-str e) ":data {:rsm/error :rsm/bad-offset, :rsm/op :get-long")))
  (testing "with many facts"
    (let [data (ex-data (many-facts))]
      (is (= (concat [:rsm/error :rsm/op :rsm/code :rsm/node]
                     (map #(keyword "rsm" (str "fact-" %)) (range 40))
                     [:rsm/hint :cognitect.anomalies/category])
             (keys data)))
      (is (= 39 (:rsm/fact-39 data)))
      (is (= data (edn/read-string (pr-str data))))))
  (testing "a fact that is added later is there, and none takes the place of what the error itself says"
    (let [e (many-facts)]
      (is (= 40 (- (count (ex-data e)) 6)))
      (.with e "later" 1)
      (is (= 1 (:rsm/later (ex-data e)) (:rsm/later (.-data ^ExceptionInfo e))))
      (.with e "code" 5)
      (is (= 42 (:rsm/code (ex-data e))))
      (is (apply distinct? (keys (ex-data e)))))))

(deftest it-can-be-serialized
  (let [^RsmException e (many-facts)
        _ (.causedBy e (IllegalStateException. "below"))
        bytes (ByteArrayOutputStream.)
        _ (.writeObject (ObjectOutputStream. bytes) e)
        ^RsmException again (.readObject (ObjectInputStream. (ByteArrayInputStream. (.toByteArray bytes))))]
    (is (= (ex-data e) (ex-data again) (.-data ^ExceptionInfo again)))
    (is (= (keys (ex-data e)) (keys (ex-data again))))
    (is (= (.data e) (.data again)))
    (is (= (.getMessage e) (.getMessage again)))
    (is (= (vec (.getStackTrace e)) (vec (.getStackTrace again))))
    (is (= ["below"] (map ex-message (.getSuppressed again))))))

;; ------------------------------------------------------------- stack traces

(defn- first-frame [^Throwable e]
  (.getClassName ^StackTraceElement (first (.getStackTrace e))))

(defn- own? [class-name]
  (str/starts-with? class-name "rsmapi.exception_test$"))

(deftest the-stack-trace-starts-at-the-caller
  (with-open [memory (rsm/allocate! 4096)]
    (testing "of an inlined function, of a function by value, of one that looks at options, of a Java method"
      (is (own? (first-frame (failure #(rsm/get-long memory 5000)))))
      (is (own? (first-frame (failure #(let [f rsm/get-long] (f memory 5000))))))
      (is (own? (first-frame (failure #(rsm/get-controller "loopback" {:nodes 1})))))
      (is (own? (first-frame (failure #(.getLong memory 5000)))))
      (is (own? (first-frame (failure #(rsm/publish! nil {}))))))
    (testing "of a system call"
      (with-open [c (rsm/get-controller "loopback")]
        (let [e (failure #(rsm/create! c {:size 0x4000000000000}))]
          (is (= :rsm/insufficient-mem (:rsm/error (ex-data e))))
          (is (own? (first-frame e)))
          (is (nil? (ex-cause e)) "a REPL reports the last cause")
          (is (= ["org.rsmapi.sys.OsError"] (map #(.getName (class %)) (.getSuppressed e)))))))
    (testing "of a function that the library calls"
      (let [e (failure #(rsm/read-snapshot memory {:version 0 :read (fn reader [m] (rsm/get-long m 5000))}))]
        (is (str/includes? (first-frame e) "reader"))
        (is (some #(str/starts-with? (.getClassName ^StackTraceElement %) "org.rsmapi.Seqlock") (.getStackTrace e))
            "what lies below the caller stays")))
    (testing "printed"
      (let [e (failure #(rsm/get-long memory 5000))
            out (StringWriter.)]
        (.printStackTrace e (PrintWriter. out))
        (is (str/starts-with? (second (str/split-lines (str out))) "\tat rsmapi.exception_test$"))))
    (testing "in full"
      (System/setProperty "rsmapi.stack-traces" "full")
      (try
        (is (str/starts-with? (first-frame (failure #(rsm/get-long memory 5000))) "org.rsmapi.LocalMemory"))
        (finally
          (System/clearProperty "rsmapi.stack-traces"))))
    (testing "an internal error is told with all frames but those of the exception's class"
      (is (str/starts-with? (first-frame (args/failure RsmError/INTERNAL_ERROR "get-long")) "rsmapi.impl.args$"))
      (is (own? (first-frame (args/failure RsmError/BAD_OFFSET "get-long")))))
    (testing "a trace that was set stays"
      (let [e (failure #(rsm/get-long memory 5000))
            frame (StackTraceElement. "org.rsmapi.RsmException" "of" nil 1)]
        (.setStackTrace e (into-array StackTraceElement [frame]))
        (is (= [frame] (vec (.getStackTrace e))))))))

(deftest a-repl-names-the-caller
  (let [out (StringWriter.)]
    (binding [*out* out
              *err* out
              *in* (LineNumberingPushbackReader.
                    (StringReader. "(require '[rsmapi.core :as rsm])\n(rsm/size nil)\n(apply rsm/size [nil])"))
              *ns* (create-ns 'user)]
      (clojure.main/repl :prompt #(print "> ") :need-prompt (constantly true)))
    (is (= 2 (count (re-seq #"Execution error \(RsmException\) at user/eval\d+ \(REPL:\d+\)\.\nRSMERR_BAD_SEG_HNDL" (str out))))
        (str out))))
