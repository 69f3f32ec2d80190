(ns rsmapi.demo.child
  "A child JVM that takes lines on its standard input and answers with vectors of EDN, one a line."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.demo.report :as report])
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
  killed at the end, and if there is no time for that, finds its standard input closed.
  The namespace is a symbol, or a map: {:ns symbol :prefix what runs the command :jvm-opts}."
  [ns & args]
  (let [{:keys [ns prefix jvm-opts]} (if (map? ns) ns {:ns ns})
        command (vec (concat prefix
                             [(str (io/file (System/getProperty "java.home") "bin" "java"))
                              "--enable-native-access=ALL-UNNAMED"]
                             jvm-opts
                             ["-cp" (System/getProperty "java.class.path")
                              "clojure.main" "-m" (str ns)]
                             args))
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

(defn await!
  "Passes on what the child says, as that of `who`, until the answer that is waited for, and returns that.
  Lines of a child that says who it is, and what it shows below them, are passed on as they are."
  [child who awaited]
  (loop []
    (let [[kind & [a b c] :as answer] (hear! child)]
      (condp = kind
        awaited answer
        :say (do (if (some #(str/starts-with? a %) [(str who " ") "    "])
                     (println a)
                     (report/say who a)) (recur))
        :progress (do (report/progress who a b c) (recur))
        :failed (throw (ex-info (str "the " who " failed: " a) b))
        (throw (ex-info (str "the " who " did not answer") {:expected awaited :came answer}))))))

(defn stop!
  "Ends the child's input and waits for its end; kills it if that does not come. Returns
  the exit code."
  [{:keys [^Process process ^Writer in]}]
  (try (.close in)
       (catch java.io.IOException _)) ; it is gone already
  (when-not (.waitFor process patience-ms TimeUnit/MILLISECONDS)
    (.destroyForcibly process))
  (.waitFor process))
