(ns build
  "Builds rsmapi.

      clojure -T:build compile-java   javac java-src into target/classes
      clojure -T:build check          fail on reflection and boxed math in src
      clojure -T:build jar            target/rsmapi-<version>.jar
      clojure -T:build install        the jar, into the local Maven repository
      clojure -T:build uber           target/rsmapi-<version>-standalone.jar, the command line with all
                                      that it needs: java -jar
      clojure -T:build clean          delete target

  `install` takes `:local-repo`, the path of another repository than ~/.m2;
  `compile-java` takes `:force true`."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.tools.build.api :as b])
  (:import [java.io File RandomAccessFile]
           [java.nio.file CopyOption Files StandardCopyOption]
           [javax.tools ToolProvider]))

(def lib 'io.github.rsmapi/rsmapi)
(def version "0.1.0-SNAPSHOT")

(def ^:private java-src "java-src")
(def ^:private class-dir "target/classes")
(def ^:private jar-dir "target/jar")
(def ^:private jar-file (format "target/%s-%s.jar" (name lib) version))
(def ^:private uber-dir "target/uber")
(def ^:private uber-file (format "target/%s-%s-standalone.jar" (name lib) version))

;; bin/clojure compares the sources with this file to see whether to compile.
(def ^:private stamp "target/classes.stamp")

(def ^:private lock-file "target/.lock")

(defn- file ^File [path] (b/resolve-path path))

(defn- with-lock*
  "One build at a time, whoever started it: a prep, bin/clojure, CI."
  [f]
  (io/make-parents (file lock-file))
  (with-open [raf (RandomAccessFile. (file lock-file) "rw")
              _   (.lock (.getChannel raf))]
    (f)))

(defmacro ^:private with-lock [& body] `(with-lock* (fn [] ~@body)))

;; ---------------------------------------------------------------- javac

(defn- java-files []
  (->> (file-seq (file java-src))
       (filter #(str/ends-with? (.getName ^File %) ".java"))
       (sort)))

(defn- up-to-date?
  "Directories count as well: their time tells of a deleted file."
  []
  (let [stamp (file stamp)]
    (and (.isFile stamp)
         (.isDirectory (file class-dir))
         (every? #(< (.lastModified ^File %) (.lastModified stamp))
                 (list* (file "build.clj") (file "deps.edn")
                        (file-seq (file java-src)))))))

(defn- javac!
  "Runs javac as its command line would: told through the other interface of
  javax.tools, it forgets some options. `--release 17` keeps newer APIs out."
  [basis dir files]
  (let [javac (or (ToolProvider/getSystemJavaCompiler)
                  (throw (ex-info (str "no javac in " (System/getProperty "java.home")
                                       ": a JDK is needed, not a JRE") {})))
        cp    (str/join File/pathSeparator (mapcat :paths (vals (:libs basis))))
        args  (concat ["-d" dir "-classpath" cp "-proc:none" "-parameters" "-g"
                       "-encoding" "UTF-8" "--release" "17" "-Xlint:all" "-Werror"]
                      files)]
    (when-not (zero? (.run javac nil System/err System/err
                           (into-array String (map str args))))
      (throw (ex-info "javac failed" {:java (System/getProperty "java.version")})))))

;; Where org.rsmapi.spi.Preload finds it.
(def ^:private class-list "META-INF/rsmapi/classes")
(def ^:private root-package "org.rsmapi.")

(defn- list-classes!
  "Writes the names of all classes in `dir`, one a line, into a resource there: without
  the package org.rsmapi, which may be another one in a jar with relocated classes."
  [^File dir]
  (let [root  (.toPath dir)
        names (->> (file-seq dir)
                   (map #(str (.relativize root (.toPath ^File %))))
                   (filter #(str/ends-with? % ".class"))
                   (map #(-> % (str/replace #"\.class$" "") (str/replace File/separator ".")))
                   (map #(subs % (count root-package)))
                   sort)
        out   (io/file dir class-list)]
    (io/make-parents out)
    (spit out (str (str/join "\n" names) "\n"))))

(defn compile-java
  "Compiles java-src into target/classes, unless nothing changed since the last
  time. A failure leaves no target/classes behind: tools.deps takes the folder's
  existence as the proof that a library is prepared."
  [{:keys [force]}]
  (with-lock
    (when (or force (not (up-to-date?)))
      (let [start (System/currentTimeMillis)
            fresh (str "target/.classes-" (.pid (java.lang.ProcessHandle/current)))]
        (try
          (b/delete {:path fresh})
          (.mkdirs (file fresh))
          (javac! (b/create-basis {:project "deps.edn"}) (file fresh) (java-files))
          (list-classes! (file fresh))
          (b/delete {:path class-dir})
          (Files/move (.toPath (file fresh)) (.toPath (file class-dir))
                      (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))
          (spit (file stamp) (str (System/getProperty "java.version") "\n"))
          ;; a source saved while javac ran is newer than its class
          (.setLastModified (file stamp) start)
          (catch Throwable t
            (run! #(b/delete {:path %}) [fresh class-dir stamp])
            (throw t))))))
  nil)

(defn clean
  "Deletes what the build made. The lock stays, others may be waiting on it."
  [_]
  (with-lock
    (doseq [^File f (.listFiles (file "target"))
            :when (not= f (file lock-file))]
      (b/delete {:path (str f)}))))

;; ---------------------------------------------------------------- check

;; nREPL is published on Clojars only. Debian's libnrepl-clojure has the same
;; version in the layout of a Maven repository.
(def ^:private debian-repo
  {:mvn/repos {"debian" {:url "file:/usr/share/maven-repo/" :releases {:checksum :ignore}}}})

(defn- check-basis
  "With everything that a namespace of src may need, as far as it can be had. Not
  with the :dev alias itself: its user.clj would load our namespaces too early."
  []
  (let [optional (get-in (edn/read-string (slurp (file "deps.edn")))
                         [:aliases :dev :extra-deps])
        basis    #(b/create-basis {:project "deps.edn" :aliases [:test] :extra %})]
    (or (try (basis {:deps optional}) (catch Exception _))
        (try (basis (assoc debian-repo :deps optional)) (catch Exception _))
        (basis nil))))

(defn- namespaces
  "The namespace names of the Clojure files under `dir`."
  [dir]
  (let [root (.toPath (file dir))]
    (->> (file-seq (.toFile root))
         (filter #(re-find #"\.cljc?$" (.getName ^File %)))
         (map #(-> (str (.relativize root (.toPath ^File %)))
                   (str/replace #"\.cljc?$" "")
                   (str/replace "/" ".")
                   (str/replace "_" "-")
                   symbol))
         sort)))

(defn- load-form
  "Runs in a JVM of its own: loads each namespace with all warnings on."
  [nss]
  `(do (set! *warn-on-reflection* true)
       (set! *unchecked-math* :warn-on-boxed)
       (doseq [n# '~nss]
         (require n#))
       (shutdown-agents)))

(defn check
  "Loads each namespace under src with all compiler warnings on; throws when one
  fails to load, or when there is a reflection or boxed-math warning about it."
  [_]
  (compile-java nil)
  (let [basis  (check-basis)
        nss    (cond->> (namespaces "src")
                 (not (get-in basis [:libs 'nrepl/nrepl])) (remove #{'rsmapi.nrepl}))
        result (b/process (merge (b/java-command
                                  {:basis     basis
                                   :java-opts ["--enable-native-access=ALL-UNNAMED"]
                                   :main      'clojure.main
                                   :main-args ["-e" (pr-str (load-form nss))]})
                                 {:out :capture :err :capture}))
        ours?  (fn [line]
                 (when-let [[_ path] (re-find #"(?:Reflection|Boxed math) warning, ([^:]+):" line)]
                   (.isFile (file (str "src/" path)))))
        found  (filter ours? (str/split-lines (str (:err result))))]
    (when-not (zero? (:exit result))
      (binding [*out* *err*] (println (:err result)))
      (throw (ex-info "a namespace under src does not load" {:exit (:exit result)})))
    (when (seq found)
      (binding [*out* *err*] (run! println found))
      (throw (ex-info (str (count found) " reflection or boxed-math warnings in src") {})))
    (println (count nss) "namespaces loaded, no reflection, no boxed math")))

;; ---------------------------------------------------------------- jar

(def ^:private home "https://github.com/rsmapi/rsmapi")

(def ^:private pom-data
  [[:description "Remote Shared Memory for Clojure and Java: publish, connect and map memory segments between processes"]
   [:url home]
   [:licenses
    [:license
     [:name "Eclipse Public License 2.0"]
     [:url "https://www.eclipse.org/legal/epl-2.0/"]
     [:distribution "repo"]]]
   [:developers
    [:developer
     [:name "The rsmapi authors"]
     [:url home]]]])

(def ^:private main 'org.rsmapi.clj.Main)

(def ^:private manifest
  ;; Enable-Native-Access is read by JDK 22 and later, and only in the jar named by java -jar
  {"Enable-Native-Access"   "ALL-UNNAMED"
   "Automatic-Module-Name"  "org.rsmapi"
   "Implementation-Title"   (name lib)
   "Implementation-Version" version})

(defn jar
  "Always compiles first: a jar never holds yesterday's classes."
  [_]
  (compile-java nil)
  (with-lock
    (b/delete {:path jar-dir})
    (b/copy-dir {:src-dirs ["src" "resources" class-dir] :target-dir jar-dir})
    (b/copy-file {:src "LICENSE" :target (str jar-dir "/META-INF/LICENSE")})
    (b/write-pom {:class-dir jar-dir
                  :lib       lib
                  :version   version
                  :basis     (b/create-basis {:project "deps.edn"})
                  :src-pom   :none
                  :repos     {}
                  :scm       {:url                 home
                              :connection          (str "scm:git:" home ".git")
                              :developerConnection (str "scm:git:" home ".git")}
                  :pom-data  pom-data})
    (b/jar {:class-dir jar-dir
            :jar-file  jar-file
            :main      main
            :manifest  manifest}))
  (println jar-file))

(defn uber
  "The command line as one jar. Its Clojure code is compiled ahead of time, which makes it start in half
  the time."
  [_]
  (compile-java nil)
  (with-lock
    (let [basis (b/create-basis {:project "deps.edn" :aliases [:rsm]})]
      (b/delete {:path uber-dir})
      (b/copy-dir {:src-dirs ["src" "resources" class-dir] :target-dir uber-dir})
      (b/copy-file {:src "LICENSE" :target (str uber-dir "/META-INF/LICENSE")})
      (b/compile-clj {:basis      basis
                      :class-dir  uber-dir
                      :ns-compile '[rsmapi.cli]
                      :java-opts  ["--enable-native-access=ALL-UNNAMED"]})
      (b/uber {:basis     basis
               :class-dir uber-dir
               :uber-file uber-file
               :main      main
               :manifest  manifest})))
  (println uber-file))

(defn install
  [{:keys [local-repo] :as opts}]
  (jar opts)
  (b/install {:basis     (cond-> (b/create-basis {:project "deps.edn"})
                           local-repo (assoc :mvn/local-repo (str local-repo)))
              :lib       lib
              :version   version
              :jar-file  jar-file
              :class-dir jar-dir}))
