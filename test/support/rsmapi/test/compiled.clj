(ns rsmapi.test.compiled
  "The namespaces of the library and of test/support compiled, for children: reading them is most of what a child does until it is ready.
  The JVM that runs the tests reads them itself, as users do."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.test.files :as files])
  (:import (java.io File)
           (java.util List)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

;; Children have it from us.
(def ^:private property "rsmapi.test.compiled")

(def ^:private patience-s 120)
(def ^:private kept-ms (* 24 3600 1000))

(defn- entries
  "Of the class path: those that end with one of these."
  [& ends]
  (for [entry (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
        :when (some #(str/ends-with? (str "/" entry) (str "/" %)) ends)]
    (io/file entry)))

(defn- clj-files [files]
  (sort (filter #(str/ends-with? (str %) ".clj") files)))

(defn- namespaces
  "What they require is compiled with them. Not all of what is in the folder is a namespace, and nREPL need not be there."
  []
  (for [[end package] {"src" "rsmapi", "test/support" "rsmapi/test"}
        folder (entries end)
        ^File f (clj-files (.listFiles (io/file folder package)))
        :let [n (str/replace (.getName f) #"\.clj$" "")]
        :when (not (#{"core_typed" "nrepl"} n))]
    (symbol (str/escape (str package "/" n) {\/ ".", \_ "-"}))))

(defn- state
  "What the classes depend on."
  []
  (hash [(System/getProperty "java.class.path") (System/getProperty "java.version") (clojure-version)
         (for [^File f (clj-files (mapcat file-seq (entries "src" "test/support")))]
           [(str f) (.lastModified f) (slurp f)])]))

(defn- compile!
  "Compiles into a folder, in a JVM of its own: here it would define everything anew."
  [^File target]
  (let [half    (io/file (str target "." (.pid (java.lang.ProcessHandle/current))))
        output  (io/file (str half ".txt"))
        ;; some are for other JDKs only
        program `(binding [*compile-path* ~(str half)]
                   (run! #(try (compile %) (catch Exception ~'_)) '~(namespaces)))
        ^List command [(str (io/file (System/getProperty "java.home") "bin" "java")) "-XX:TieredStopAtLevel=1" "-XX:+UseSerialGC"
                       "-cp" (str half File/pathSeparator (System/getProperty "java.class.path"))
                       "clojure.main" "-e" (pr-str program)]]
    (.mkdirs half)
    (let [process (-> (ProcessBuilder. command) (.redirectErrorStream true) (.redirectOutput output) .start)]
      (.close (.getOutputStream process))
      (when-not (.waitFor process patience-s TimeUnit/SECONDS)
        (.destroyForcibly process))
      (when-not (and (.waitFor process 10 TimeUnit/SECONDS) (zero? (.exitValue process)) (.renameTo half target))
        (println "  children compile for themselves:" (str/join " / " (take 3 (str/split-lines (slurp output))))))
      (.delete output))))

(defn- delete-old! [^File parent]
  (doseq [^File f (.listFiles parent)
          :when (< (.lastModified f) (- (System/currentTimeMillis) (long kept-ms)))]
    (files/delete-tree! f)))

(defn- made []
  (let [parent (.getAbsoluteFile (io/file "target" "test-compiled"))
        target (io/file parent (format "%08x" (state)))]
    (when-not (.exists target)
      (delete-old! parent)
      (compile! target))
    (System/setProperty property (str target))
    target))

(defonce ^:private folder
  (delay (or (some-> (System/getProperty property) io/file) (made))))

(defn add
  "A child's class path with the classes at its end, so that copies of them are newer than those of the sources. Without them where a JVM
  takes minutes to compile, under emulation."
  [class-path]
  (if (= 1 (Long/getLong "rsmapi.test.patience" 1))
    (distinct (concat class-path (filter #(.exists ^File %) [@folder])))
    class-path))
