(ns rsmapi.bin.exec
  "What `clojure -X` and `-T` run, for bin/clojure without the official CLI:
  calls one function with one map.

  The aliases' :exec-fn, :exec-args, :ns-default and :ns-aliases come from the
  basis file that the system property clojure.basis names."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io])
  (:import [java.util.concurrent Executors ThreadFactory]))

(defn- fail [message]
  (binding [*out* *err*] (println message))
  (System/exit 1))

(defn- argmap []
  (when-let [path (System/getProperty "clojure.basis")]
    (with-open [r (java.io.PushbackReader. (io/reader path))]
      ;; tagged values elsewhere in a deps.edn are none of our business
      (:argmap (edn/read {:default tagged-literal} r)))))

(defn- read-arg [s]
  (try (edn/read-string {:default tagged-literal} s)
       (catch Exception e
         (fail (str "Unreadable argument: " (pr-str s) " (" (ex-message e) ")")))))

(defn- qualify
  "`f` as a qualified symbol: its alias replaced, or the default namespace added."
  [f {:keys [ns-default ns-aliases]}]
  (if-let [n (some-> (namespace f) symbol)]
    (symbol (str (get ns-aliases n n)) (name f))
    (symbol (str (or ns-default
                     (fail (str "No namespace for function " f))))
            (name f))))

(defn- assoc-arg [m [k v]]
  (if (vector? k) (assoc-in m k v) (assoc m k v)))

(defn- parse
  "`[fn] key value ... [map]` -> {:f symbol-or-nil :args map}"
  [strings]
  (let [values      (map read-arg strings)
        [f kvs]     (if (symbol? (first values))
                      [(first values) (rest values)]
                      [nil values])
        [kvs extra] (if (odd? (count kvs))
                      [(butlast kvs) (last kvs)]
                      [kvs nil])]
    (when-not (or (nil? extra) (map? extra))
      (fail (str "Key without a value: " (pr-str extra))))
    (when-let [k (some #(when-not (or (keyword? %) (vector? %) (string? %) (symbol? %)) %)
                       (take-nth 2 kvs))]
      (fail (str "Not a key: " (pr-str k))))
    {:f f :pairs (map vec (partition 2 kvs)) :extra extra}))

(defn- daemon-agents!
  "Idle agent threads shall not keep a finished program alive for a minute."
  []
  (let [factory (reify ThreadFactory
                  (newThread [_ r] (doto (Thread. r) (.setDaemon true))))]
    (set-agent-send-executor!
     (Executors/newFixedThreadPool (+ 2 (.availableProcessors (Runtime/getRuntime))) factory))
    (set-agent-send-off-executor! (Executors/newCachedThreadPool factory))))

(defn -main [& strings]
  (let [{:keys [exec-fn exec-args] :as opts} (argmap)
        {:keys [f pairs extra]} (parse strings)
        f    (qualify (or f exec-fn (fail "No function given, and the aliases have no :exec-fn"))
                      opts)
        args (merge (reduce assoc-arg exec-args pairs) extra)]
    (daemon-agents!)
    (let [v (try (requiring-resolve f)
                 (catch java.io.FileNotFoundException e
                   ;; the namespace itself, or one that it requires
                   (fail (str "Cannot load " f ": " (ex-message e)))))]
      (when-not v
        (fail (str "No such function: " f)))
      (binding [*ns* (create-ns 'user)]
        (try
          (v (or args {}))
          (catch clojure.lang.ExceptionInfo e
            ;; as in the CLI: the message says it all
            (if (:exec-msg (ex-data e))
              (fail (ex-message e))
              (throw e))))))
    (flush)))
