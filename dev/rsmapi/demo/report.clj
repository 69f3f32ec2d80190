(ns rsmapi.demo.report
  "What the demo prints: lines that begin with who speaks, progress, figures, data, checks."
  (:require [clojure.pprint :as pprint]
            [clojure.string :as str])
  (:import [java.nio.file Files Path]
           [java.util Locale]))

(set! *warn-on-reflection* true)

(def ^:private terminal?
  "Whether standard output is one. The JVM's own answer differs from version to version."
  (try
    (let [stdout (Path/of "/proc/self/fd/1" (make-array String 0))]
      (some? (re-find #"^/dev/(pts/|tty|console)" (str (Files/readSymbolicLink stdout)))))
    (catch Exception _ false)))

(def ^:private clear-line "\r\u001b[K")

(def ^:private progress-every-ms (if terminal? 100 1000))

(def ^:private last-shown (atom 0))

(defn text
  "clojure.core/format, the same in every country."
  [fmt & args]
  (String/format Locale/ROOT fmt (to-array args)))

(defn- line [who what]
  (text "%-9s %s" who what))

(defn say [who & words]
  (when terminal?
    (print clear-line))
  (println (line who (str/join " " words)))
  (flush)
  (reset! last-shown (System/currentTimeMillis)))

(defn due?
  "Whether so much time has passed since this was last true, or something was said."
  [every-ms]
  (let [now (System/currentTimeMillis)]
    (when (<= every-ms (- now @last-shown))
      (reset! last-shown now)
      true)))

(defn progress
  "Shows how far some long work is: in place on a terminal, else a line every second."
  [who what done total]
  (when (due? progress-every-ms)
    (let [message (line who (text "%s: %.0f of %.0f MB" what (/ done 1e6) (/ total 1e6)))]
      (if terminal?
        (print (str clear-line message))
        (println message))
      (flush))))

(defmacro timed
  "[value nanoseconds] of the body."
  [& body]
  `(let [start# (System/nanoTime)
         value# (do ~@body)]
     [value# (- (System/nanoTime) start#)]))

(defn rate [bytes nanos]
  (text "%,d bytes in %.3f s, %.0f MB/s" bytes (/ nanos 1e9) (/ (* 1e3 bytes) nanos)))

(defn- in-order
  "The map with what matters first."
  [m]
  (let [rank #(get {:expected 0 :rsm/error 0 :rsm/code 1 :rsm/op 2} % 3)]
    (apply array-map (mapcat identity (sort-by (fn [[k _]] [(rank k) k]) m)))))

(defn data
  "Shows a map, an entry a line."
  [m]
  (let [printed (binding [pprint/*print-right-margin* 120]
                  (with-out-str (pprint/pprint (in-order m))))]
    (doseq [row (str/split-lines printed)]
      (println (line "" (str "    " row))))
    (flush)))

(defn check!
  "Says that a step was right; throws if it was not."
  [who what expected came]
  (when (not= expected came)
    (throw (ex-info (str "not so: " what) {:expected expected :came came})))
  (say who "ok:" what))
