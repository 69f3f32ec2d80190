(ns rsmapi.test.child
  "Child JVMs for tests: under another user, with another umask, to be killed, or to
  crash without taking the tests along.

    (child/with-child [c {:uid 2001 :gid 2001}]
      (child/value c '(def ctl (rsm/get-controller nil)))
      (child/ask c '(rsm/connect! ctl {:segment-id 0x600001})))
    ;=> {:error {:rsm/error :rsm/seg-not-published, :rsm/code 7, ...}}

  start! stop! with-child    a child's life
  ask value                  evaluate a form in it, and wait for the answer
  send! answer               the same in two steps
  pid alive? signal! kill-9! what one does to processes
  output                     what it has printed
  proc                       the text of a file in /proc
  belongings                 what a process holds of what this library makes
  descriptors threads        what this process has of them
  eventually                 waiting for something to become true
  obstacle                   why a child with these options cannot be had here

  A child evaluates one form after the other, on its main thread, in namespace user,
  where rsm is an alias of rsmapi.core. It ends when its stdin ends, so never later than
  the JVM that started it, whatever it is doing at that time.

  Whatever waits here waits for a limited time. A child that has died is reported as an
  exception, with the head of hs_err if the JVM crashed, by every call that needed it
  alive and by stop!, unless it was killed by kill-9! or signal!."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.test.compiled :as compiled]
            [rsmapi.test.files :as files])
  (:import (java.io BufferedReader BufferedWriter File PrintStream)
           (java.lang ProcessBuilder$Redirect)
           (java.nio.charset StandardCharsets)
           (java.nio.file CopyOption Files LinkOption Path StandardCopyOption)
           (java.nio.file.attribute FileAttribute PosixFilePermissions)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private answer-prefix "rsmapi-answer ")

;; The property rsmapi.test.patience is how many times as long everything may take: under
;; emulation.
(def ^:private patience (Long/getLong "rsmapi.test.patience" 1))
(def ^:private start-timeout-ms (* 90000 (long patience)))
(def ^:private answer-timeout-ms (* 30000 (long patience)))
(def ^:private stop-timeout-ms (* 15000 (long patience)))

;; ------------------------------------------------------- inside of the child

(defn- edn-text [x]
  (binding [*print-length* nil, *print-level* nil, *print-meta* false
            *print-namespace-maps* false, *print-dup* false]
    (pr-str x)))

(defn- line-of
  "A text as one line of printable ASCII: a string literal. So no character of it, a NEL or half
  a surrogate pair, is a line's end to somebody, or is lost in an encoding."
  [text]
  (str/escape (pr-str text)
              (fn [c] (when-not (<= 32 (int c) 126) (format "\\u%04x" (int c))))))

(def ^:private text-of "The text of a line." edn/read-string)

(defn- readable
  "The text of x as EDN, or nil if it cannot be read back."
  [x]
  (let [text (edn-text x)]
    (try
      (edn/read-string text)
      text
      (catch Exception _ nil))))

(defn- success [value]
  (if (readable value)
    {:ok value}
    {:ok nil :printed (edn-text value)}))

(defn- failure [^Throwable t]
  (let [data (ex-data t)]
    {:error (if (and (:rsm/error data) (readable data))
              data
              {:class   (.getName (class t))
               :message (.getMessage t)
               :data    (when (and data (readable data)) data)
               :trace   (mapv str (take 12 (.getStackTrace t)))})}))

(defn- evaluated [line]
  (try
    (success (eval (read-string (text-of line))))
    (catch Throwable t
      (failure t))))

(defn- tell! [^PrintStream answers id answer]
  (let [line (str answer-prefix (line-of (edn-text (assoc answer :id id))) "\n")]
    (locking answers
      (.write answers (.getBytes line StandardCharsets/UTF_8))
      (.flush answers))))

(defn -main
  "The child's program."
  [& _]
  (let [answers System/out
        lines   (java.util.concurrent.LinkedBlockingQueue.)]
    ;; what a form prints is not an answer
    (System/setOut System/err)
    (alter-var-root #'*out* (constantly *err*))
    (doto (Thread. (fn []
                     (with-open [in (io/reader System/in :encoding "UTF-8")]
                       (run! #(.put lines %) (line-seq in)))
                     (System/exit 0))
                   "stdin")
      (.setDaemon true)
      (.start))
    (binding [*ns* (create-ns 'user)]
      (tell! answers 0
             (try
               (refer-clojure)
               (require '[rsmapi.core :as rsm])
               {:ok :ready}
               (catch Throwable t
                 (failure t))))
      (loop [id 1]
        (tell! answers id (evaluated (.take lines)))
        (recur (inc id))))))

;; ------------------------------------------------------------------- files

(defn- path ^Path [x] (.toPath (io/file x)))

(defn- permit! [p mode]
  (Files/setPosixFilePermissions (path p) (PosixFilePermissions/fromString mode)))

(defn- copy-tree!
  "Copies a file or a folder so that everybody can read the copy."
  [from to]
  (let [source (path from)]
    (doseq [^File f (file-seq (io/file from))]
      (let [target (.resolve (path to) (.relativize source (.toPath f)))]
        (if (.isDirectory f)
          (do (Files/createDirectories target (make-array FileAttribute 0))
              (permit! (.toFile target) "rwxr-xr-x"))
          (do (Files/copy (.toPath f) target
                          ^"[Ljava.nio.file.CopyOption;"
                          (into-array CopyOption [StandardCopyOption/REPLACE_EXISTING]))
              (permit! (.toFile target) "rw-r--r--")))))))

;; the children that have not been seen ending
(defonce ^:private living (atom #{}))

(defonce ^:private home
  ;; One folder for all children; everybody can enter it.
  (delay
    (let [dir (.toFile (Files/createTempDirectory "rsmapi-child-" (make-array FileAttribute 0)))]
      (permit! dir "rwxr-xr-x")
      (.addShutdownHook (Runtime/getRuntime)
                        (Thread. ^Runnable (fn []
                                             (doseq [{:keys [^Process process]} @living]
                                               (.destroyForcibly process))
                                             (files/delete-tree! dir))))
      dir)))

(defn- class-path []
  (->> (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
       (map #(.getAbsoluteFile (io/file %)))
       (filter #(.exists ^File %))
       (compiled/add)))

(defonce ^:private public-class-path
  ;; Copies of all entries, for users who cannot read the originals.
  (delay
    (let [lib (io/file @home "lib")]
      (copy-tree! (doto (io/file @home "empty") .mkdir) lib)
      (doall
       (map-indexed (fn [i ^File entry]
                      (let [copy (io/file lib (str i "-" (.getName entry)))]
                        (copy-tree! entry copy)
                        copy))
                    (class-path))))))

(def ^:private next-number (let [n (atom 0)] #(swap! n inc)))

(defn- own-folder
  "The child's working and temporary folder."
  ^File [{:keys [uid gid]}]
  (let [dir (io/file @home (str (next-number)))]
    (.mkdir dir)
    (permit! dir "rwx------")
    (doseq [[attribute id] [["unix:gid" gid] ["unix:uid" uid]] :when id]
      (Files/setAttribute (.toPath dir) attribute (unchecked-int id) (make-array LinkOption 0)))
    dir))

;; ----------------------------------------------------------------- starting

(defn- other-user? [{:keys [uid gid groups]}]
  (boolean (or uid gid groups)))

(defn- setpriv [{:keys [uid gid groups]}]
  (concat ["setpriv"]
          (when uid [(str "--reuid=" uid)])
          (when gid [(str "--regid=" gid)])
          [(if (seq groups)
             (str "--groups=" (str/join "," groups))
             "--clear-groups")]))

(defn- run-quietly
  "Runs a short program and returns its exit code, or nil if there is no such program."
  [command]
  (try
    (let [process (-> (ProcessBuilder. ^java.util.List (vec command))
                      (.redirectErrorStream true)
                      (.redirectOutput ProcessBuilder$Redirect/DISCARD)
                      .start)]
      (.close (.getOutputStream process))
      (if (.waitFor process 10 TimeUnit/SECONDS)
        (.exitValue process)
        (do (.destroyForcibly process) nil)))
    (catch java.io.IOException _ nil)))

(defn obstacle
  "Why a child with these options of start! cannot be had here, in a few words, or nil if
  it can. For rsmapi.test.runner/skip!."
  [{:keys [prefix] :as opts}]
  (or
   (when (other-user? opts)
     (let [uid (Files/getAttribute (path "/proc/self") "unix:uid" (make-array LinkOption 0))]
       (if-not (= 0 uid)
         "needs root, to become another user"
         (let [exit (run-quietly (concat (setpriv opts) ["true"]))]
           (cond
             (nil? exit)   "needs the program setpriv, of util-linux"
             (not= 0 exit) "needs the right to become another user, which root does not have here")))))
   (when (and prefix (not= 0 (run-quietly (concat prefix ["true"]))))
     (str "`" (str/join " " prefix) "` does not work here"))))

(defn- own-properties
  "What the tests were told by -Drsmapi.something=..., the children are told too."
  []
  (for [[k v] (System/getProperties)
        :when (str/starts-with? k "rsmapi.")]
    (str "-D" k "=" v)))

(defn- native-access
  "The option that allows native access, unless the child's own say what is to be."
  [jvm-opts]
  (when-not (some #(str/starts-with? % "--illegal-native-access") jvm-opts)
    ["--enable-native-access=ALL-UNNAMED"]))

(def ^:private quick-opts
  "A start takes less than half of the processor time without the second compiler."
  ["-XX:TieredStopAtLevel=1" "-XX:+UseSerialGC"])

(defn- command [{:keys [prefix umask jvm-opts java-home more-classes quick?] :as opts} ^File dir]
  (let [entries (concat (if (other-user? opts) @public-class-path (class-path)) more-classes)]
    (concat
     prefix
     (when umask ["sh" "-c" (format "umask %04o; exec \"$@\"" (long umask)) "sh"])
     (when (other-user? opts) (setpriv opts))
     [(str (io/file (or java-home (System/getProperty "java.home")) "bin" "java"))]
     (native-access jvm-opts)
     ["-Xmx128m" "-XX:-UsePerfData"
      "-XX:-CreateCoredumpOnCrash" (str "-XX:ErrorFile=" (io/file dir "hs_err"))
      (str "-Djava.io.tmpdir=" dir) (str "-Djna.tmpdir=" dir)]
     (own-properties)
     (when quick? quick-opts)
     jvm-opts
     ["-cp" (str/join File/pathSeparator entries) "clojure.main" "-m" "rsmapi.test.child"])))

(defn- tail [lines s] (str/join "\n" (take-last lines (str/split-lines s))))

(defn- slurp-if-there [f] (if (.exists (io/file f)) (slurp f) ""))

(defn output
  "What the child has printed so far, to stdout and stderr, as a string."
  [{:keys [dir printed]}]
  (str (str/join "\n" @printed) (slurp-if-there (io/file dir "stderr"))))

(defn- crash-report
  "The head of hs_err, without its comment of general advice; nil if there is none."
  [{:keys [dir]}]
  (let [text (slurp-if-there (io/file dir "hs_err"))]
    (when (seq text)
      (->> (str/split-lines text) (remove #(re-matches #"#?\s*" %)) (take 40) (str/join "\n")))))

(defn- complaint [{:keys [^Process process label] :as child} what]
  (let [exit  (when-not (.isAlive process) (.exitValue process))
        crash (crash-report child)
        out   (tail 30 (output child))]
    (ex-info (str "child " label ": " what
                  (when exit (str ", exit code " exit
                                  (when (< 128 exit) (str " (signal " (- exit 128) ")"))))
                  (when crash (str "\n" crash))
                  (when (seq out) (str "\n--- its output\n" out)))
             {:child label :pid (.pid process) :exit exit :crashed? (some? crash)})))

(defn- death
  "What waits for an answer of a dead child gets this as the answer. The reason is looked at
  by whoever is told."
  [_id]
  {:died true})

(defn- listen!
  "Delivers the child's answers to those who wait, until its stdout ends."
  [{:keys [^Process process pending printed]}]
  (with-open [^BufferedReader in (io/reader (.getInputStream process) :encoding "UTF-8")]
    (try
      (doseq [^String line (line-seq in)]
        (if (str/starts-with? line answer-prefix)
          (let [{:keys [id] :as answer} (edn/read-string {:default tagged-literal}
                                                         (text-of (subs line (count answer-prefix))))]
            (deliver (get @pending id) (dissoc answer :id)))
          (swap! printed conj line)))
      (catch java.io.IOException _)))
  ;; the exit code is there a moment after the end of stdout
  (.waitFor process 5 TimeUnit/SECONDS)
  (let [[waiting _] (reset-vals! pending nil)]
    (doseq [[id p] waiting]
      (deliver p (death id)))))

(defn- expect-answer!
  "Registers that an answer of this number is awaited: a promise."
  [{:keys [pending]} id]
  (let [p (promise)]
    (when-not (swap! pending #(some-> % (assoc id p)))
      (deliver p (death id)))
    p))

(declare answer stop! kill-9!)

(defn start!
  "Starts a child JVM and waits until it is ready. Returns it.

  Options:
    :uid :gid   numbers; the user and group to run as. Needs root, see obstacle
    :groups     supplementary groups, a vector of numbers; default: none if :uid or :gid
                is given, else those of this process
    :umask      a number, as in 022; default: this process's
    :prefix     a program that runs what follows it in its own process, and its arguments,
                as in [\"unshare\" \"--net\"]
    :quick?     true: quick to start, without the JVM's second compiler; for tests that are not about compiled code
    :java-home  another Java runtime than that of the tests
    :jvm-opts   a vector of strings, behind those that every child gets: 128 MB of heap,
                native access, and the tests' own system properties rsmapi.*
    :more-classes  a vector of files, added at the end of the class path
    :env        a map of strings, added to the environment
    :label      what to call it in reports; default: child and a number"
  [{:keys [label env] :as opts}]
  (let [dir     (own-folder opts)
        builder (doto (ProcessBuilder. ^java.util.List (vec (command opts dir)))
                  (.directory (if (other-user? opts) dir (io/file (System/getProperty "user.dir"))))
                  (.redirectError (io/file dir "stderr")))
        _       (.putAll (.environment builder) (or env {}))
        process (.start builder)
        child   {:process process
                 :label   (str (or label (str "child " (.getName dir))))
                 :dir     dir
                 :in      (io/writer (.getOutputStream process) :encoding "UTF-8")
                 :next-id (atom 0)
                 :pending (atom {})
                 :printed (atom [])
                 :killed? (atom false)}
        ready   {:id 0 :promise (expect-answer! child 0)}]
    (swap! living conj child)
    (doto (Thread. ^Runnable (fn [] (listen! child)) (str "listening to " (:label child)))
      (.setDaemon true)
      (.start))
    (try
      (let [reply (answer child ready start-timeout-ms)]
        (when-let [error (:error reply)]
          (throw (complaint child (str "could not load rsmapi.core: " error)))))
      child
      (catch Throwable t
        (kill-9! child)
        (throw t)))))

;; ---------------------------------------------------------------- questions

(defn send!
  "Sends a form to be evaluated, after those sent before, and returns a ticket for
  answer."
  [{:keys [^BufferedWriter in next-id] :as child} form]
  (locking in
    (let [id      (swap! next-id inc)
          ticket  {:id id :promise (expect-answer! child id) :form form}
          ^String line (line-of (edn-text form))]
      (try
        (doto in (.write line) .newLine .flush)
        ;; a dead child's stdin: answer will tell
        (catch java.io.IOException _))
      ticket)))

(defn- thread-dump!
  "Has the child print what its threads are doing."
  [{:keys [^Process process]}]
  (when (.isAlive process)
    (run-quietly ["sh" "-c" "kill -QUIT \"$0\"" (str (.pid process))])
    (Thread/sleep 300)))

(defn answer
  "Waits for the answer to what was sent: {:ok value}, or {:ok nil :printed text} if the
  value is no EDN, or {:error data}. The data is the ex-data of an RSM failure; of another
  exception it is :class, :message, :data and :trace. Throws when the child dies, or has
  not answered in time (30 s unless told); what its threads are doing is then in the
  message."
  ([child ticket] (answer child ticket answer-timeout-ms))
  ([child ticket timeout-ms]
   (let [reply (deref (:promise ticket) timeout-ms ::late)
         about (when (:form ticket) (str " " (pr-str (:form ticket))))]
     (when (:pending child)
       (swap! (:pending child) #(some-> % (dissoc (:id ticket)))))
     (cond
       (= ::late reply) (do (thread-dump! child)
                            (throw (complaint child (str "no answer in " timeout-ms " ms" about))))
       (:died reply)    (throw (complaint child (str "died" about)))
       :else            reply))))

(defn ask
  "Evaluates a form in the child and returns its answer, see answer."
  ([child form] (answer child (send! child form)))
  ([child form timeout-ms] (answer child (send! child form) timeout-ms)))

(defn value
  "Evaluates a form in the child and returns its value. Throws if that throws, an
  ex-info with the :error's data."
  ([child form] (value child form answer-timeout-ms))
  ([child form timeout-ms]
   (let [{:keys [ok error]} (ask child form timeout-ms)]
     (when error
       (throw (ex-info (str "child " (:label child) ": " (pr-str form) " failed: " (pr-str error))
                       error)))
     ok)))

;; ---------------------------------------------------------------- processes

(defn pid
  "The child's process id."
  [{:keys [^Process process]}]
  (.pid process))

(defn alive?
  "Whether the child's process runs."
  [{:keys [^Process process]}]
  (.isAlive process))

(defn proc
  "The text of a file in /proc, named by its parts: (proc pid \"maps\"). For slurp, some of
  these files do not behave enough like files."
  [& parts]
  (with-open [in (java.io.FileInputStream. (str "/proc/" (str/join "/" parts)))]
    (String. (.readAllBytes in) StandardCharsets/UTF_8)))

(defn- stopped? [pid]
  (try
    (every? #(re-find #"\) [Tt] " (proc pid "task" % "stat"))
            (.list (io/file (str "/proc/" pid "/task"))))
    (catch java.io.IOException _ false))) ; a thread has ended meanwhile, so that others may run, too

(defn ^:no-doc eventually* [f]
  (loop [end (+ (System/nanoTime) 30000000000)]
    (or (f)
        (when (pos? (- end (System/nanoTime)))
          (Thread/sleep 2)
          (recur end)))))

(defmacro eventually
  "Evaluates body again and again until it is true, and returns its value; false or nil
  after 30 s."
  [& body]
  `(eventually* (fn [] ~@body)))

(defn signal!
  "Sends the child a signal, by name: \"STOP\", \"CONT\", \"TERM\", \"SEGV\". Its death is
  then no surprise; a crash still is one. When this returns after \"STOP\", all of its threads
  stand still."
  [{:keys [^Process process killed?]} signal]
  (when-not (#{"STOP" "CONT" "QUIT"} signal)
    (reset! killed? true))
  (when (.isAlive process)
    (run-quietly ["sh" "-c" "kill -\"$1\" \"$0\"" (str (.pid process)) signal])
    (when (= "STOP" signal)
      (eventually (or (not (.isAlive process)) (stopped? (.pid process))))))
  nil)

(defn- packet-sockets
  "The inodes of the Unix sockets of our type, SOCK_SEQPACKET, in the network namespace of a
  process. The JDK has some of another type for its own use."
  [pid]
  (into #{}
        (keep #(second (re-matches #"\S+ \S+ \S+ \S+ 0005 \S+ +(\d+).*" %)))
        (str/split-lines (proc pid "net/unix"))))

(defn- links
  "What the descriptors of a process lead to."
  [pid]
  (mapv (fn [^File fd]
          (try (str (Files/readSymbolicLink (.toPath fd)))
               (catch java.io.IOException _ ""))) ; closed in the meantime
        (.listFiles (io/file (str "/proc/" pid "/fd")))))

(defn descriptors
  "How many sockets, event descriptors and memory files this process has, by kind, whoever has made them."
  []
  (frequencies (keep #(re-find #"^(?:socket|anon_inode:.event\w+|/memfd:[\w-]+)" %) (links "self"))))

(defn threads
  "How many threads of this library this process has, by name."
  []
  (->> (keys (Thread/getAllStackTraces))
       (map #(.getName ^Thread %))
       (filter #(str/starts-with? % "rsmapi"))
       frequencies))

(defn belongings
  "What a process holds of the kinds of things that this library makes, as numbers: sockets,
  memory files and event descriptors by kind, and mappings of memory files. Of this process
  unless a pid is given."
  ([] (belongings (.pid (java.lang.ProcessHandle/current))))
  ([pid]
   (let [ours? (packet-sockets pid)
         kind  (fn [s]
                 (if-let [[_ inode] (re-matches #"socket:\[(\d+)\]" s)]
                   (when (ours? inode) "socket")
                   (second (re-find #"^(/memfd:[\w-]+|anon_inode:\[event\w+\])" s))))]
     (assoc (frequencies (keep kind (links pid)))
            :mappings (count (re-seq #"/memfd:" (proc pid "maps")))))))

(defn- wait-for-end! [{:keys [^Process process in dir] :as child} timeout-ms]
  (let [ended? (.waitFor process timeout-ms TimeUnit/MILLISECONDS)]
    (when-not ended?
      (thread-dump! child)
      (.destroyForcibly process)
      (.waitFor process 10 TimeUnit/SECONDS))
    (let [exit  (.exitValue process)
          wrong (cond
                  (not ended?) (complaint child (str "did not end within " timeout-ms " ms"))
                  (crash-report child) (complaint child "crashed")
                  (and (not (zero? exit)) (not @(:killed? child))) (complaint child "died"))]
      (try (.close ^BufferedWriter in) (catch java.io.IOException _))
      (swap! living disj child)
      (files/delete-tree! dir)
      (when wrong (throw wrong))
      exit)))

(defn kill-9!
  "Kills the child with SIGKILL and waits for its end. Returns the exit code, 137."
  [{:keys [^Process process killed?] :as child}]
  (reset! killed? true)
  (.destroyForcibly process)
  (wait-for-end! child 10000))

(defn stop!
  "Ends the child and waits for its end; of one that has ended already, and of one that was
  stopped or killed here, it does no more than clean up. Returns the exit code. What is
  still being evaluated is cut off. Throws if the child has crashed, or died otherwise
  without being told to, or does not end."
  [{:keys [in ^Process process dir] :as child}]
  (if (and (not (.isAlive process)) (not (.exists ^File dir)))
    (.exitValue process)
    (do
      (try (.close ^BufferedWriter in) (catch java.io.IOException _))
      (wait-for-end! child stop-timeout-ms))))

(defn ^:no-doc stop-after-failure! [^Throwable t child]
  (try
    (stop! child)
    (catch Throwable again
      (.addSuppressed t again))))

(defmacro with-child
  "Evaluates body with sym bound to (start! opts), and stops it afterwards.

    (with-child [c {:umask 077}] ...)"
  [[sym opts] & body]
  `(let [~sym (start! ~opts)
         result# (try
                   ~@body
                   (catch Throwable t#
                     (stop-after-failure! t# ~sym)
                     (throw t#)))]
     (stop! ~sym)
     result#))
