(ns rsmapi.impl.command.common
  "What the commands share: their arguments, and the connection."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [rsmapi.core :as rsm]
            [rsmapi.impl.args :as args]
            [rsmapi.layout :as layout])
  (:import (java.io File IOException)
           (java.net InetAddress)
           (java.nio.charset StandardCharsets)
           (java.util.concurrent CountDownLatch)
           (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; -------------------------------------------------------------- arguments

(defn bad-argument
  "An RSM error that reports an argument, with facts added."
  [op argument hint & {:as facts}]
  (reduce-kv (fn [^RsmException e k v] (.with e (name k) v))
             (args/failure RsmError/BAD_ARGS_ERRORS op :argument argument :hint hint)
             facts))

(defn parse-integer
  "The integer that a text stands for, decimal or with 0x, as a Long or, if it is larger, a
  BigInteger; nil if it is none."
  [text]
  (when-let [[_ sign hex decimal] (re-matches #"([-+]?)(?:0[xX]([0-9a-fA-F]{1,40})|(\d{1,40}))" text)]
    (let [n (if hex (BigInteger. ^String hex 16) (BigInteger. ^String decimal))
          n (if (= "-" sign) (.negate n) n)]
      (if (< (.bitLength n) 64) (.longValue n) n))))

(defn at-least
  "An integer option, checked."
  ^long [x ^long least [op argument default]]
  (let [n (args/integer x default RsmError/BAD_ARGS_ERRORS [op argument])]
    (if (< n least)
      (throw (bad-argument op argument (str "it is " least " or more") :value n))
      n)))

(defn file-argument
  "A java.io.File of a path."
  ^File [x op]
  (if (or (string? x) (instance? File x))
    (io/file x)
    (throw (bad-argument op "file" "give the path of a file"))))

(defmacro reading
  "Evaluates body, which reads a file, and turns its failure into an RSM error."
  [[op file] & body]
  `(try
     ~@body
     (catch IOException e#
       (throw (bad-argument ~op "file" "the file cannot be read" :file (str ~file) :reason (ex-message e#))))))

(def ^:private longest-layout "Bytes; a layout is a few lines." 1048576)

(defn layout-of
  "The layout of an option: a layout, its form, or the path of a file that has the form as EDN;
  :published, which layout-for replaces."
  [x op]
  (cond
    (or (nil? x) (= :published x)) x
    (or (string? x) (instance? File x))
    (let [file (file-argument x op)
          text (reading [op file]
                 (with-open [in (io/input-stream file)]
                   (String. (.readNBytes in longest-layout) StandardCharsets/UTF_8)))]
      (layout/layout
       (try
         (edn/read-string text)
         (catch RuntimeException e
           (throw (bad-argument op "layout" "the file has one form of EDN, such as [:struct [:seq :u64]]"
                                :file (str file) :reason (ex-message e)))))))
    :else (layout/layout x)))

;; ------------------------------------------------------------- connecting

(def default-timeout-ms 5000)

(def connect-options "Of every command that connects."
  #{:controller :node :from-node :timeout-ms :id})

(defn connected
  "Calls f with an import segment of the options' segment. Of the permissions, the first that is
  granted is used. All attempts together take no longer than the timeout."
  [{:keys [controller node from-node timeout-ms id]} op perms f]
  (let [timeout (at-least timeout-ms 0 [op "timeout-ms" default-timeout-ms])
        end     (+ (quot (System/nanoTime) 1000000) timeout)
        connect (fn [c perm]
                  (rsm/connect! c {:segment-id id :node node :perm perm
                                   :timeout-ms (max 0 (- end (quot (System/nanoTime) 1000000)))}))]
    (rsm/with-controller [c controller {:node from-node}]
      (with-open [^java.lang.AutoCloseable im
                  (loop [[perm & others] perms]
                    (or (try
                          (connect c perm)
                          (catch RsmException e
                            (when-not (and others (= RsmError/PERM_DENIED (.error e)))
                              (throw e))))
                        (recur others)))]
        (f im)))))

(defn layout-for
  "The layout for a segment: :published stands for the one with which it is published."
  [layout im op]
  (if (= :published layout)
    (or (layout/of im)
        (throw (bad-argument op "layout" "the segment is published without a layout: give one"
                             :segment-id (rsm/segment-id im))))
    layout))

;; ---------------------------------------------------------------- programs

(defn await-interrupt
  "Blocks until the thread is interrupted or the JVM ends, which runs cleanup first."
  [cleanup]
  (let [hook    (Thread. ^Runnable cleanup)
        runtime (Runtime/getRuntime)]
    (.addShutdownHook runtime hook)
    (try
      (.await (CountDownLatch. 1))
      (catch InterruptedException _
        (.interrupt (Thread/currentThread)))
      (finally
        (try
          (.removeShutdownHook runtime hook)
          ;; the JVM ends already
          (catch IllegalStateException _))))))

(defn host-name
  "The name of this host, as far as it knows."
  []
  (try
    (.getHostName (InetAddress/getLocalHost))
    (catch java.net.UnknownHostException _ "hostname")))
