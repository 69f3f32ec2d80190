(ns rsmapi.bench
  "What the library costs, beside its peers and beside C, on every JDK here, in one run:

    bin/clojure -X:bench
    bin/clojure -X:bench :which '[\"get long\" \"maps\"]' :rounds 3 :seconds 0.2
    bin/clojure -X:bench :quick true

  See doc/benchmarks.md for the method, and rsmapi.bench.rows for what there is."
  (:require [clojure.string :as str]
            [rsmapi.bench.compile :as compile]
            [rsmapi.bench.jdks :as jdks])
  (:import (java.io File)
           (java.util List)))

(set! *warn-on-reflection* true)

(defn- several [x]
  (cond (nil? x) nil
        (sequential? x) (mapv str x)
        :else [(str x)]))

(defn run
  "The function of bin/clojure -X:bench.

  Options:
    :which    a pattern, or several: the rows whose name, or the name of their group,
              contains one. Default: all
    :rounds   how often each side has its turn; default 3
    :seconds  how long a side is measured in each of its turns; default 0.5
    :quick    true: everything once and for a moment only, in under two minutes; judges
              nothing, and fails if anything does not run
    :out      the folder for results; default target/bench
    :jdk      the home of a JDK, or several; default: the present one, and the first that is
              found of every other release from 17 on"
  [{:keys [which rounds seconds quick out jdk] :or {rounds 3 seconds 0.5 out "target/bench"}}]
  (let [homes   (several jdk)
        jdks    (if homes (jdks/in-homes homes) (jdks/found))
        ours    (System/getProperty "java.class.path")
        _       (println "compiling what is measured ...")
        folders (compile/java! jdks ours)
        ;; what has just been compiled was not there when this JVM looked at its class path
        command [(jdks/java (jdks/current)) "--enable-native-access=ALL-UNNAMED"
                 "-Djmh.ignoreLock=true"
                 "-cp" (str/join File/pathSeparator (cons ours folders))
                 "clojure.main" "-m" "rsmapi.bench.session"
                 (pr-str {:which (several which) :rounds rounds :seconds (double seconds) :quick quick
                          :out (str out) :homes homes})]
        process (.start (.inheritIO (ProcessBuilder. ^List command)))]
    (.addShutdownHook (Runtime/getRuntime) (Thread. #(.destroy process)))
    (let [code (.waitFor process)]
      (flush)
      (System/exit code))))
