(ns user
  "Loaded by every JVM that has dev on its class path, such as that of clojure -M:dev: the
  playground, ready to use."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.java.io :as io]
            [clojure.repl :refer [doc]]))

(defn- at-a-repl?
  "Whether this JVM was started as a REPL, and not to run something."
  []
  (some? (re-find #"^clojure\.main( -r| --repl| -m nrepl\..*)?$"
                  (System/getProperty "sun.java.command" ""))))

(defn- complain [& words]
  (binding [*out* *err*]
    (apply println "user.clj:" words)))

(try
  (require '[rsmapi.core :as rsm]
           '[rsmapi.error :as error]
           '[rsmapi.demo.playground :refer :all])
  (when (at-a-repl?)
    (println "rsmapi: (start!) opens both sides of a segment, (help) says what to try."))
  (catch Throwable e
    ;; A REPL that starts is what one needs to mend this.
    (if (io/resource "org/rsmapi/Controller.class")
      (complain "no playground:" (ex-message (or (ex-cause e) e)))
      (complain "the Java part is not compiled: bin/clojure -T:build compile-java, then start again"))))
