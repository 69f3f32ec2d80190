(ns rsmapi.relocated-test
  "Classes whose package has been changed, as tools do that put libraries into one jar (shading)."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child])
  (:import (com.sun.jna Native)
           (java.io ByteArrayInputStream ByteArrayOutputStream DataInputStream DataOutputStream File)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (java.util.zip ZipFile)
           (org.rsmapi Controller)))

(set! *warn-on-reflection* true)

;; What follows the tag of a constant, in bytes; a text (1) has its length in front.
(def ^:private constant-sizes
  {3 4, 4 4, 5 8, 6 8, 7 2, 8 2, 9 4, 10 4, 11 4, 12 4, 15 3, 16 2, 17 4, 18 4, 19 2, 20 2})

(defn- relocate
  "A class file with f applied to each text in its constants."
  ^bytes [^bytes class-file f]
  (let [in    (DataInputStream. (ByteArrayInputStream. class-file))
        bytes (ByteArrayOutputStream.)
        out   (DataOutputStream. bytes)
        copy! (fn [n] (.write out (.readNBytes in (int n))))]
    (copy! 8)
    (let [n (.readUnsignedShort in)]
      (.writeShort out n)
      (loop [i 1]
        (when (< i n)
          (let [tag (.readUnsignedByte in)]
            (.writeByte out tag)
            (if (= 1 tag)
              (.writeUTF out (f (.readUTF in)))
              (copy! (constant-sizes tag)))
            (recur (+ i (if (#{5 6} tag) 2 1)))))))
    (.write out (.readAllBytes in))
    (.toByteArray bytes)))

(defn- names-only [package]
  (let [path (str/replace package "." "/")]
    #(str/replace % (str path "/") (str "moved/" path "/"))))

(defn- names-and-texts [package]
  (let [names (names-only package)]
    #(if (str/starts-with? % package) (str "moved." %) (names %))))

(defn- save! [^File dir path ^bytes content]
  (let [f (io/file dir path)]
    (io/make-parents f)
    (with-open [out (io/output-stream f)]
      (.write out content))))

(defn- entries
  "The path and content of each file of a folder or a jar."
  [^File place]
  (if (.isDirectory place)
    (for [^File f (file-seq place) :when (.isFile f)]
      [(str (.relativize (.toPath place) (.toPath f))) (Files/readAllBytes (.toPath f))])
    (with-open [zip (ZipFile. place)]
      (doall (for [^java.util.zip.ZipEntry e (enumeration-seq (.entries zip)) :when (not (.isDirectory e))]
               [(.getName e) (with-open [in (.getInputStream zip e)] (.readAllBytes in))])))))

(defn- place-of ^File [^Class c]
  (-> c .getProtectionDomain .getCodeSource .getLocation .toURI File.))

(defn- relocate-all! [dir place package f]
  (let [path (str/replace package "." "/")]
    (doseq [[file content] (entries place)]
      (cond
        (str/ends-with? file ".class") (save! dir (if (str/starts-with? file path) (str "moved/" file) file) (relocate content f))
        (str/starts-with? file path)   (save! dir (str "moved/" file) content)
        :else                          (save! dir file content)))))

(def ^:private program
  "Uses the library under its other name, and prints what came of it."
  '(try
     (import '(moved.org.rsmapi Controller Permission Segment RsmException))
     (eval '(let [c  (Controller/get "loopback")
                  ex (.exportCreate c 4096 0)
                  id (.publish ex 0)
                  im (.importConnect c 0 id Permission/RDWR)
                  m  (.map im)]
              (.putLong m 0 5)
              (.signalPost im 0)
              (.signalWait ex nil)
              (prn [(.getLong ex 0)
                    (try (.getLong m 4096) (catch RsmException e (str (.error e))))])
              (run! #(.close %) [m im ex c])))
     (catch Throwable t
       (prn [(str t) (str (.getCause t))]))))

(defn- run-program [^File dir without form]
  (let [cp (->> (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
                (remove #(contains? without (.getCanonicalFile (io/file %))))
                (cons (str dir))
                (str/join File/pathSeparator))
        {:keys [out err]} (apply shell/sh (str (System/getProperty "java.home") "/bin/java")
                                 (concat (when (<= 24 (.feature (Runtime/version))) ["--enable-native-access=ALL-UNNAMED"])
                                         ["-cp" cp "clojure.main" "-e" (pr-str form)]))]
    (try (edn/read-string (str out)) (catch RuntimeException _ [out err]))))

(defmacro ^:private with-folder [[dir] & body]
  `(let [~dir (.toFile (Files/createTempDirectory "rsmapi-moved" (make-array FileAttribute 0)))]
     (try ~@body (finally (run! io/delete-file (reverse (file-seq ~dir)))))))

(deftest the-library-in-another-package
  (doseq [[label f] {"names" names-only "names and texts" names-and-texts}]
    (testing label
      (with-folder [dir]
        (let [classes (place-of Controller)]
          (relocate-all! dir classes "org.rsmapi" (f "org.rsmapi"))
          (is (= [5 "BAD_OFFSET"] (run-program dir #{(.getCanonicalFile classes)} program))))))))

(deftest jna-in-another-package
  (doseq [[label f] {"names" names-only "names and texts" names-and-texts}]
    (testing label
      (with-folder [dir]
        (let [classes (place-of Controller)
              jna     (place-of Native)
              change  (f "com.sun.jna")]
          (relocate-all! dir classes "com.sun.jna" change)
          (relocate-all! dir jna "com.sun.jna" change)
          (let [[error hint] (run-program dir #{(.getCanonicalFile classes) (.getCanonicalFile jna)}
                                          '(try (org.rsmapi.Controller/get "loopback")
                                                (catch org.rsmapi.RsmException e
                                                  (prn [(str (.error e)) (:rsm/hint (ex-data e))]))))]
            (is (= "CTLR_NOT_PRESENT" error))
            (is (re-find #"relocate" (str hint)))))))))
