(ns rsmapi.bench.machine
  "What figures depend on: the machine, its kernel, and how busy it is."
  (:require [clojure.java.io :as io]
            [clojure.string :as str])
  (:import (java.io FileInputStream IOException)
           (java.time Instant)))

(set! *warn-on-reflection* true)

(defn- text
  "A file of /proc or /sys; nil if there is none."
  [path]
  (try
    (with-open [in (FileInputStream. (io/file path))]
      (str/trim (String. (.readAllBytes in))))
    (catch IOException _ nil)))

(defn- line [path label]
  (some->> (text path)
           (re-find (re-pattern (str "(?m)^" label "\\s*:\\s*(.*)$")))
           second
           str/trim))

(defn load-average
  "Of the last minute; above the number of processors, figures are not worth much."
  []
  (some-> (text "/proc/loadavg") (str/split #" ") first parse-double))

(defn available-bytes
  "How much memory could be had now."
  ^long []
  (if-let [kib (some->> (line "/proc/meminfo" "MemAvailable") (re-find #"\d+") parse-long)]
    (* 1024 (long kib))
    0))

(defn about []
  {:time (str (Instant/now))
   :cpu (line "/proc/cpuinfo" "model name")
   :processors (.availableProcessors (Runtime/getRuntime))
   :arch (System/getProperty "os.arch")
   :memory (line "/proc/meminfo" "MemTotal")
   :kernel (text "/proc/sys/kernel/osrelease")
   :governor (text "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
   :huge-pages (text "/sys/kernel/mm/transparent_hugepage/enabled")
   :huge-pages-shared (text "/sys/kernel/mm/transparent_hugepage/shmem_enabled")
   :load-average (load-average)})
