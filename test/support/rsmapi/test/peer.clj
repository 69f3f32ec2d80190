(ns rsmapi.test.peer
  "Peers in other languages, test/peers, for tests that use them.

  with-programs       around all tests of a namespace
  obstacle            why there is none here
  start! with-peer    a peer's life; end! kills it
  line tell! ask      what it says and is told"
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.test.runner :as runner])
  (:import (java.io BufferedWriter File)
           (java.lang ProcessBuilder$Redirect)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute PosixFilePermissions)
           (java.util.concurrent LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

;; A folder that everybody can enter, with the peers: the script, and the C program if it
;; can be compiled here.
(defonce ^:private folder (atom nil))

(defn- run-program
  "Runs a program and returns {:exit n :out text}; :exit is nil if there is none."
  [& command]
  (try
    (let [process (-> (ProcessBuilder. ^java.util.List (vec command)) (.redirectErrorStream true) .start)
          _   (.close (.getOutputStream process))
          out (future (slurp (.getInputStream process)))]
      (if (.waitFor process 120 TimeUnit/SECONDS)
        {:exit (.exitValue process) :out @out}
        (do (.destroyForcibly process) {:exit nil :out "no end"})))
    (catch java.io.IOException e {:exit nil :out (ex-message e)})))

(defn- permit! [file mode]
  (Files/setPosixFilePermissions (.toPath (io/file file)) (PosixFilePermissions/fromString mode)))

(defonce ^:private python
  ;; The system's own comes first: other users can run it, too.
  (delay
    (some (fn [program]
            (when (= 0 (:exit (run-program program "-c" "import sys; sys.exit(sys.version_info < (3, 9))")))
              program))
          ["/usr/bin/python3" "python3"])))

(defn- compile-program
  "{:program file} or {:obstacle reason}"
  []
  (let [program (io/file @folder "rsm_peer")
        {:keys [exit out]} (run-program "gcc" "-std=gnu99" "-O2" "-Wall" "-Wextra" "-Werror" "-o" (str program)
                                        (str (io/file @folder "rsm_peer.c")))]
    (cond
      (nil? exit)   {:obstacle "needs gcc"}
      (zero? exit)  (do (permit! program "rwxr-xr-x") {:program (str program)})
      :else         {:obstacle nil :failure out})))

;; A delay for each folder.
(defonce ^:private compiled (atom nil))

(defn obstacle
  "Why there is no peer in this language here, or nil."
  [language]
  (case language
    :python (when-not @python "needs Python 3.9 or later")
    :c      (:obstacle @@compiled)))

(defn- command [language]
  (case language
    :python [@python "-B" (str (io/file @folder "rsm_peer.py"))]
    :c      [(or (:program @@compiled) (throw (ex-info "the peer in C does not compile" @@compiled)))]))

(defn start!
  "Starts a peer with these words on its command line. prefix as in child/start!."
  [{:keys [language prefix] :or {language :python}} & words]
  (let [process (-> (ProcessBuilder. ^java.util.List (vec (concat prefix (command language) (map str words))))
                    (.directory @folder)
                    (.redirectError ProcessBuilder$Redirect/INHERIT)
                    .start)
        lines   (LinkedBlockingQueue.)]
    (doto (Thread. (fn []
                     (try
                       (with-open [in (io/reader (.getInputStream process))]
                         (run! #(.put lines %) (line-seq in)))
                       (catch java.io.IOException _))
                     (.put lines :end))
                   "listening to a peer")
      (.setDaemon true)
      (.start))
    {:process process :lines lines :in (io/writer (.getOutputStream process))}))

(defn line
  "The next line that a peer says, or :end."
  [{:keys [^LinkedBlockingQueue lines]}]
  (or (.poll lines 60 TimeUnit/SECONDS)
      (throw (IllegalStateException. "the peer says nothing"))))

(defn tell! [{:keys [^BufferedWriter in]} & words]
  (doto in (.write (str/join " " words)) .newLine .flush))

(defn ask [peer & words]
  (apply tell! peer words)
  (line peer))

(defn pid [{:keys [^Process process]}] (.pid process))

(defn end! [{:keys [^Process process]}]
  (.destroyForcibly process)
  (.waitFor process))

(defmacro with-peer
  "Binds sym to a peer, which is killed afterwards."
  [[sym & how] & body]
  `(let [~sym (start! ~@how)]
     (try
       ~@body
       (finally (end! ~sym)))))

(defn id-of [segment-id] (format "%08x" segment-id))

(defn words [s] (str/split s #" "))

(defn obstacle-to-others
  "Why another user cannot run the peer in Python, or nil."
  []
  (when-not (= "/usr/bin/python3" @python) "needs /usr/bin/python3"))

(defn with-programs
  "Calls f while the peers are there to be started."
  [f]
  (let [dir (.toFile (Files/createTempDirectory "rsmapi-peers-" (make-array FileAttribute 0)))]
    (try
      (permit! dir "rwxr-xr-x")
      (doseq [file ["rsm_peer.py" "rsm_peer.c"]]
        (spit (io/file dir file) (slurp (io/file (runner/root) "test/peers" file)))
        (permit! (io/file dir file) "rw-r--r--"))
      (reset! folder dir)
      (reset! compiled (delay (compile-program)))
      (f)
      (finally
        (run! #(.delete ^File %) (reverse (file-seq dir)))))))

(defn refused-descriptors?
  "Whether the kernel refuses to send descriptors to the library's sockets, instead of the
  library: from Linux 6.16 on, unless tests do without that."
  []
  (let [[major minor] (map parse-long (rest (re-find #"^(\d+)\.(\d+)" (System/getProperty "os.version"))))]
    (and (nil? (System/getProperty "rsmapi.test.without"))
         (nat-int? (compare [major minor] [6 16])))))
