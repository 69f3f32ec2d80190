(ns rsmapi.demo.child
  "A child JVM that takes lines on its standard input and answers with vectors of EDN, one a line."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as str])
  (:import [java.io BufferedReader Writer]
           [java.lang ProcessBuilder$Redirect]
           [java.util.concurrent TimeUnit]))

(set! *warn-on-reflection* true)

(def ^:private silence-ms 60000)
(def ^:private patience-ms 5000)

(def ^:private ending
  "Delivered when this JVM has been told to end."
  (promise))

(defn ending? []
  (realized? ending))

(defn start!
  "Runs the -main of a namespace in a JVM like this one. It does not outlive this one: it is
  killed at the end, and if there is no time for that, finds its standard input closed."
  [ns & args]
  (let [command (into [(str (io/file (System/getProperty "java.home") "bin" "java"))
                       "--enable-native-access=ALL-UNNAMED"
                       "-cp" (System/getProperty "java.class.path")
                       "clojure.main" "-m" (str ns)]
                      args)
        process (.start (doto (ProcessBuilder. ^java.util.List command)
                          (.redirectError ProcessBuilder$Redirect/INHERIT)))]
    (.addShutdownHook (Runtime/getRuntime) (Thread. (fn []
                                                      (deliver ending true)
                                                      (.waitFor (.destroyForcibly process)))))
    {:process process
     :pid (.pid process)
     :in (io/writer (.getOutputStream process))
     :out (io/reader (.getInputStream process))}))

(defn tell! [{:keys [^Writer in]} line]
  (.write in (str line "\n"))
  (.flush in))

(defn hear!
  "The next vector; nil if the child has ended, or has been silent for a minute. A line that
  is none, such as of a JVM that crashes, becomes [:say line]."
  [{:keys [^BufferedReader out]}]
  (when-let [line (deref (future (.readLine out)) silence-ms nil)]
    (if (str/starts-with? line "[")
      (edn/read-string line)
      [:say line])))

(defn stop!
  "Ends the child's input and waits for its end; kills it if that does not come. Returns
  the exit code."
  [{:keys [^Process process ^Writer in]}]
  (try (.close in)
       (catch java.io.IOException _)) ; it is gone already
  (when-not (.waitFor process patience-ms TimeUnit/MILLISECONDS)
    (.destroyForcibly process))
  (.waitFor process))
