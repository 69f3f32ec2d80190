(ns rsmapi.test.javac
  "Compiles Java that uses the library, as its users do."
  (:require [clojure.string :as str])
  (:import (java.io ByteArrayOutputStream File)
           (java.nio.file Files Path)
           (java.nio.file.attribute FileAttribute)
           (javax.tools ToolProvider)
           (org.rsmapi Controller)))

(set! *warn-on-reflection* true)

(defn temp-dir ^File []
  (.toFile (Files/createTempDirectory "rsmapi-java" (make-array FileAttribute 0))))

(defn- library
  "Where the classes of the library are: a folder or a jar."
  []
  (let [^Class c Controller]
    (str (Path/of (.. c getProtectionDomain getCodeSource getLocation toURI)))))

(defn class-path
  "What a Java program that depends on the library has: that, and its dependencies."
  []
  (->> (str/split (System/getProperty "java.class.path")
                  (re-pattern (java.util.regex.Pattern/quote File/pathSeparator)))
       (filter #(re-find #"(^|/)(jna|clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$" %))
       (cons (library))
       (str/join File/pathSeparator)))

(defn compile!
  "Compiles a file to a folder. {:exit :messages}, as of javac on the command line."
  [file dir]
  (let [messages (ByteArrayOutputStream.)
        args ["-Xlint:all" "-Werror" "--release" "17" "-proc:none" "-encoding" "UTF-8"
              "-cp" (class-path) "-d" (str dir) (str file)]
        exit (.run (ToolProvider/getSystemJavaCompiler) nil messages messages
                   (into-array String args))]
    {:exit exit :messages (str messages)}))
