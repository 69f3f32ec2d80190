(ns rsmapi.bench.jdks
  "The JDKs on this machine: each a map of its :home, :version and :release (17, 25)."
  (:require [clojure.java.io :as io]
            [clojure.string :as str])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

(def ^:private oldest 17)

(defn- version
  "What the file named release in a JDK's folder says, or nil."
  [home]
  (let [^File release (io/file home "release")]
    (when (.isFile release)
      (second (re-find #"(?m)^JAVA_VERSION=\"([^\"]+)\"" (slurp release))))))

(defn- jdk
  "The JDK in that folder, or nil if there is none that can compile."
  [home]
  (let [^File home (.getCanonicalFile (io/file home))
        v (version home)]
    (when (and v (.canExecute (io/file home "bin" "javac")))
      {:home (str home)
       :version v
       :release (parse-long (re-find #"^\d+" v))})))

(defn current
  "The one that this program runs on."
  []
  (or (jdk (System/getProperty "java.home"))
      (throw (ex-info (str (System/getProperty "java.home") " is not a JDK (no javac)") {}))))

(defn- children [dir]
  (sort (.listFiles (io/file dir))))

(defn- places []
  (concat [(System/getenv "JAVA_HOME")]
          (mapcat children ["/usr/lib/jvm" "/opt/java" "/opt"
                            (io/file (System/getProperty "user.home") ".sdkman/candidates/java")])))

(defn found
  "The current one, and of every other release from 17 on the first that is found in the
  usual places."
  []
  (->> (places)
       (remove nil?)
       (keep jdk)
       (cons (current))
       (filter #(<= oldest (:release %)))
       (reduce (fn [by-release j] (if (by-release (:release j)) by-release (assoc by-release (:release j) j)))
               (sorted-map))
       vals))

(defn in-homes
  "Those in the given folders. Throws if one is none."
  [homes]
  (mapv (fn [home]
          (let [j (or (jdk (str home)) (throw (ex-info (str "no JDK in " home) {:home (str home)})))]
            (when (< (:release j) oldest)
              (throw (ex-info (str home " is a JDK " (:release j) "; 17 or later is needed") j)))
            j))
        homes))

(defn java ^String [j]
  (str (io/file (:home j) "bin" "java")))

(defn javac ^String [j]
  (str (io/file (:home j) "bin" "javac")))

(defn label [j]
  (str "JDK " (:release j)))

(defn describe [j]
  (str (label j) " (" (str/trim (:version j)) ", " (:home j) ")"))
