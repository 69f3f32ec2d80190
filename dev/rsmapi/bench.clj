(ns rsmapi.bench
  "What the library costs, beside C and beside a Java array, in one run:

    bin/clojure -X:bench
    bin/clojure -X:bench :rounds 9

  The two sides of each line take turns, round by round, so that both meet the same
  machine; the table has the median and, in brackets, the least and the most of all
  rounds. C needs gcc and is left out without it."
  (:require [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [rsmapi.core :as rsm])
  (:import (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (org.rsmapi.mem Engine)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private mib (* 1024 1024))

;; ------------------------------------------------------------------ C side

(defn- compile-floor
  "The path of the compiled C program, or nil without gcc."
  []
  (let [dir (Files/createTempDirectory "rsmapi-bench" (make-array FileAttribute 0))
        exe (str (.resolve dir "floor"))]
    (run! #(.deleteOnExit (io/file %)) [(str dir) exe])
    (try
      (let [{:keys [exit err]} (shell/sh "gcc" "-O2" "-pthread" "-o" exe "dev/c/floor.c")]
        (if (zero? (long exit))
          exe
          (println "no figures of C:" err)))
      (catch java.io.IOException e
        (println "no figures of C:" (ex-message e))))))

(defn- floor
  "One figure of the C program, in ns."
  [exe & args]
  (Double/parseDouble (str/trim (:out (apply shell/sh exe (map str args))))))

;; --------------------------------------------------------------- our side

(defn- per-op
  "Nanoseconds per call of f, called n times."
  [^long n f]
  (let [start (System/nanoTime)]
    (dotimes [_ n] (f))
    (/ (double (- (System/nanoTime) start)) (double n))))

(defn- sum-mapping ^long [m ^long longs]
  (loop [i 0 sum 0]
    (if (< i longs)
      (recur (inc i) (unchecked-add sum (rsm/get-long m (* 8 i))))
      sum)))

(defn- sum-array ^long [^longs a]
  (let [n (alength a)]
    (loop [i 0 sum 0]
      (if (< i n)
        (recur (inc i) (unchecked-add sum (aget a i)))
        sum))))

(defn- pairs
  "The lines of the table: name, unit, ours and the peer's as functions of no arguments."
  [c im m exe]
  (let [longs (quot (* 64 (long mib)) 8)
        array (long-array longs)
        id (rsm/segment-id im)
        per-long #(/ (double (per-op 1 %)) (double longs))
        map-unmap (fn [bytes n] #(per-op n (fn [] (rsm/unmap! (rsm/map! im {:offset 0 :length bytes})))))
        c-floor (fn [& args] (when exe #(apply floor exe args)))]
    [["map + unmap 4 KiB" "C" (map-unmap 4096 20000) (c-floor "map" 4096 20000)]
     ["map + unmap 64 MiB" "C" (map-unmap (* 64 (long mib)) 20000) (c-floor "map" (* 64 (long mib)) 20000)]
     ["connect + disconnect" "C" #(per-op 2000 (fn [] (rsm/disconnect! (rsm/connect! c {:segment-id id}))))
      (c-floor "connect" 2000)]
     ["get-long, each of 64 MiB" "long[]"
      #(per-long (fn [] (sum-mapping m longs)))
      #(per-long (fn [] (sum-array array)))]]))

;; ------------------------------------------------------------------ report

(defn- spread [samples]
  (let [v (vec (sort samples))]
    (format "%10.2f (%.2f-%.2f)" (v (quot (count v) 2)) (first v) (peek v))))

(defn- median ^double [samples]
  (double (nth (sort samples) (quot (count samples) 2))))

(defn- take-turns [[title peer ours theirs] ^long rounds]
  (dotimes [_ 3]
    (ours)
    (when theirs (theirs)))
  (let [samples (doall (repeatedly rounds (fn [] [(ours) (when theirs (theirs))])))
        mine (map first samples)
        others (keep second samples)]
    (println (format "%-26s %-28s %-7s %-28s %s" title (spread mine) peer
                     (if (seq others) (spread others) "-")
                     (if (seq others) (format "%.2f x" (/ (median mine) (median others))) "")))))

(defn run
  "The function of bin/clojure -X:bench. Options: :rounds, 7 if not given."
  [{:keys [rounds] :or {rounds 7}}]
  (println "JDK" (System/getProperty "java.version") "- engine" (.name Engine/ENGINE)
           "- ns, median (least-most)")
  (let [exe (compile-floor)]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size (* 64 (long mib))}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (rsm/with-imported-segment [touched c {:segment-id (rsm/segment-id ex)}]
            (rsm/with-mapped-segment [m touched]
              (run! #(take-turns % rounds) (pairs c im m exe)))))))))
