(ns rsmapi.source-test
  "The sources as a reader and an editor find them."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core]
            [rsmapi.test.runner :as runner])
  (:import (java.io File)
           (org.rsmapi SegmentMemory Seqlock)))

(set! *warn-on-reflection* true)

(defn- root ^File [] (runner/root))

(deftest the-generated-source-is-what-the-generator-writes
  (load-file (str (io/file (root) "dev/rsmapi/generate.clj")))
  (doseq [[file text] '{rsmapi.generate/file       rsmapi.generate/text
                        rsmapi.generate/kondo-file rsmapi.generate/kondo-text}]
    (is (= (@(resolve text)) (slurp (io/file (root) @(resolve file))))
        "run clojure -X:generate, or undo the change of the file by hand")))

(deftest every-public-var-leads-to-its-definition
  (doseq [[sym v] (ns-publics 'rsmapi.core)
          :let [{:keys [file line]} (meta v)]]
    (testing sym
      (let [source (nth (str/split-lines (slurp (io/resource file))) (dec (long line)))]
        (is (re-find #"^\((?:defn|defmacro|def)\b" source))
        (is (some #{(str sym)} (str/split source #"[\s()]+")))))))

;; ----------------------------------------------------------------- layers

(def ^:private below
  "For each package below org.rsmapi those that it may use; \"\" is org.rsmapi, the model. Nothing uses an
  interconnect but by the SPI."
  {"sys"      #{}
   "mem"      #{"sys"}
   "spi"      #{"mem" "sys"}
   "shared"   #{"spi" "mem" "sys"}
   "loopback" #{"shared" "spi" "mem" "sys"}
   "sim"      #{"shared" "spi" "mem" "sys"}
   "mirror"   #{"spi" "mem" "sys"}
   "net"      #{"shared" "spi" "mem" "sys"}
   ""         #{"mirror" "spi" "mem" "sys"}
   "clj"      #{"" "spi" "sys"}})

(def ^:private values
  "Classes of org.rsmapi that everybody may use: they are values, and use nothing themselves but each
  other."
  #{"RsmError" "RsmException" "Permission" "AccessEntry" "Capabilities" "ControllerAttributes" "PublishedSegment" "Topology"})

(defn- uses
  "[package class] for each class of the library that a source names with its package."
  [source]
  (->> (str/replace source #"(?s)/\*.*?\*/|//[^\n]*|\"(?:\\\\.|[^\"\\\\]++)*+\"" "")
       (re-seq #"\borg\.rsmapi\.((?:[a-z]+\.)?)([A-Z]\w*)")
       (map (fn [[_ package class-name]] [(str/replace package "." "") class-name]))
       distinct))

(deftest packages-use-only-those-below-them
  (let [sources (io/file (root) "java-src/org/rsmapi")
        files   (filter #(str/ends-with? (str %) ".java") (file-seq sources))]
    (is (< 80 (count files)))
    (doseq [^File f files
            :let [parent  (.getParentFile f)
                  package (if (= parent sources) "" (.getName parent))]]
      (is (below package) f)
      (doseq [[used class-name] (uses (slurp f))]
        (is (or (= used package)
                (contains? (below package) used)
                (and (= "" used) (values class-name)))
            (str package "/" (.getName f) " uses " used "/" class-name))))
    (testing "JNA is called by sys only"
      (doseq [^File f files :when (str/includes? (slurp f) "com.sun.jna")]
        (is (= "sys" (.getName (.getParentFile f))) (str f))))))

(deftest stack-traces-know-all-packages
  (let [known (.get (doto (.getDeclaredField (Class/forName "org.rsmapi.Frames") "PACKAGES") (.setAccessible true)) nil)]
    (is (= (set (map #(str "org.rsmapi" (when (seq %) (str "." %))) (keys below))) (set known)))))

(deftest methods-that-are-looked-for-on-stacks
  (testing "mem.Accesses tells by these names what a thread is doing"
    (doseq [[^Class c holder constant] [[Seqlock Seqlock "ATTEMPT"]
                                        [SegmentMemory (Class/forName "org.rsmapi.ExportSegment$Gate") "REFUSED"]]
            :let [name (.get (doto (.getDeclaredField ^Class holder constant) (.setAccessible true)) nil)]]
      (is (some #(= name (.getName ^java.lang.reflect.Method %)) (.getDeclaredMethods c)) (str c " has " name)))))
