(ns rsmapi.bench.hosts
  "Measures between two hosts, which are network namespaces of this machine. What serves runs on host 1, what calls and
  prints the samples on host 2.

  The programs are HostGateway, HostExporter, HostImporter and HostSocket of dev/java, tcp of dev/c, and ucx_perftest."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.bench.compile :as compile]
            [rsmapi.bench.jdks :as jdks]
            [rsmapi.bench.programs :as programs]
            [rsmapi.hosts :as hosts]
            [rsmapi.test.child :as child]
            [rsmapi.test.netns :as netns])
  (:import (java.io BufferedReader File IOException)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (java.util List)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private patience-ms 120000)

(defn obstacle
  "Why there are no hosts here, or nil."
  []
  (netns/obstacle))

;; ------------------------------------------------------------ two hosts

(defn network
  "A delay of two hosts, each with a key, that know each other. end! it."
  []
  (delay
    (let [net    (netns/make! 2)
          folder (.toFile (Files/createTempDirectory "rsmapi-bench" (make-array FileAttribute 0)))
          key-of #(io/file folder (str "host" % ".key"))
          nodes  (io/file folder "rsm.nodes")]
      (spit nodes (str/join (for [host [1 2]]
                              (str "node " host " " (netns/address net host) " " (:key (hosts/make-key! (key-of host))) "\n"))))
      {:net net :folder folder :key-of key-of :nodes nodes})))

(defn end! [network]
  (when (realized? network)
    (let [{:keys [net folder]} @network]
      (netns/remove! net)
      (run! #(.delete ^File %) (reverse (file-seq folder))))))

;; ------------------------------------------------------------ processes

(def ^:private ^:dynamic *running*
  "The processes of a measurement."
  nil)

(defn- tail [f]
  (str/join " / " (take-last 3 (str/split-lines (slurp f)))))

(defn- begin!
  "Starts a command on a host."
  [{:keys [network]} host command]
  (let [errors  (File/createTempFile "rsmapi-bench" ".err")
        process (.start (doto (ProcessBuilder. ^List (mapv str (concat (netns/prefix (:net @network) host) command)))
                          (.redirectError errors)))
        p       {:process process :errors errors :command command
                 :out (io/reader (.getInputStream process))
                 :in (io/writer (.getOutputStream process))}]
    (swap! *running* conj p)
    p))

(defn- kill! [{:keys [^Process process]}]
  (.destroyForcibly process)
  (.waitFor process 10 TimeUnit/SECONDS))

(defmacro ^:private with-processes
  "Evaluates body, and ends what it has begun."
  [& body]
  `(binding [*running* (atom [])]
     (try
       ~@body
       (finally
         (run! kill! @*running*)
         (run! #(.delete ^File (:errors %)) @*running*)))))

(defn- failure [{:keys [errors command]} what]
  (ex-info (str (last (filter #(re-find #"^org\.rsmapi|^[^-]+$" %) (map str (take 12 command)))) " " what ": " (tail errors))
           {:command command}))

(defn- in-time
  "The value of f; throws if that takes too long."
  ([p f] (in-time p patience-ms f))
  ([p ms f]
   (let [result (deref (future (f)) ms ::late)]
     (if (= ::late result)
       (throw (failure p "does not go on"))
       result))))

(defn- hear!
  "The next line that a process prints, as words."
  [{:keys [^BufferedReader out] :as p}]
  (if-let [line (in-time p #(.readLine out))]
    (str/split line #" ")
    (throw (failure p "has ended"))))

(defn- await!
  "The words after the one that is waited for."
  [p word]
  (let [[first & more] (hear! p)]
    (if (= word first)
      more
      (throw (failure p (str "said " first " and not " word))))))

(defn- tell! [{:keys [^java.io.Writer in]} line]
  (.write in (str line "\n"))
  (.flush in))

(defn- samples!
  "What a process prints until its end."
  [{:keys [^Process process ^BufferedReader out] :as p}]
  (let [text (in-time p #(slurp out))]
    (when-not (and (.waitFor process 10 TimeUnit/SECONDS) (zero? (.exitValue process)))
      (throw (failure p "has failed")))
    (programs/samples text)))

(defn- pid [{:keys [^Process process]}]
  (.pid process))

;; ------------------------------------------------------------ our programs

(defn- java!
  "Starts a class of dev/java on a host. It may open as many files as the system lets it. The role is that of rsmapi.gateway,
  the limit that of rsmapi.net.timeout."
  [{:keys [jdk class-path quick network] :as session} host {:keys [role limit] :or {role "auto" limit 20000}} class-name & args]
  (let [{:keys [key-of nodes]} @network]
    (begin! session host
            (concat ["sh" "-c" "ulimit -n $(ulimit -H -n); exec \"$@\"" "sh"
                     (jdks/java jdk) "--enable-native-access=ALL-UNNAMED"]
                    (when quick ["-XX:+UseSerialGC" "-XX:TieredStopAtLevel=1"]) ; quick to start
                    [(str "-Drsmapi.nodes=" nodes) (str "-Drsmapi.key=" (key-of host))
                     (str "-Drsmapi.gateway=" role) (str "-Drsmapi.net.timeout=" limit)
                     "-cp" class-path (str "org.rsmapi.bench." class-name)]
                    args))))

(def ^:private mib 1048576)

(defn- size
  "Of the segment, in bytes."
  [what quick]
  (case what
    "short" mib
    "bulk"  (* 16 mib)
    ("mirror" "bytes") (* (if quick 1 64) mib)))

(defn- gateways!
  "A process for each host that is its gateway."
  [session]
  (let [both (mapv #(java! session % nil "HostGateway") [1 2])]
    (run! #(await! % "ready") both)
    both))

(defn- ours
  "What HostImporter measures. The gateways are processes apart, or the ones that use them."
  [session what apart?]
  (let [between  (if apart? (gateways! session) [])
        how      {:role (if apart? "other" "auto")}
        exporter (java! session 1 how "HostExporter" (size what (:quick session)))
        [id]     (await! exporter "ready")]
    (samples! (apply java! session 2 how "HostImporter" what id (:seconds session) (map pid (conj between exporter))))))

(defn- sockets [{:keys [network] :as session} what kind]
  (let [{:keys [net key-of]} @network
        keys-of  (fn [own other] [(key-of own) (key-of other)])
        server (apply java! session 1 nil "HostSocket" "serve" kind (keys-of 1 2))]
    (await! server "ready")
    (samples! (apply java! session 2 nil "HostSocket" "call" kind
                     (concat (keys-of 2 1) [(netns/address net 1) what (:seconds session) (pid server)])))))

(defn- c [{:keys [network seconds] :as session} what]
  (let [program (compile/c-program "tcp")
        server  (begin! session 1 [program "serve"])]
    (await! server "ready")
    (samples! (begin! session 2 [program "call" (netns/address (:net @network) 1) what seconds (pid server)]))))

;; ------------------------------------------------------------ many importers

(defn- held!
  "What a gateway holds, after what it has done for connections is over."
  [{:keys [quick]} gateway]
  (when-not quick
    (Thread/sleep 7000)) ; its threads for that end after 5 s
  (tell! gateway "report")
  (mapv parse-double (hear! gateway)))

(def ^:private enough-to-weigh
  "With fewer, what one connection takes cannot be told from what else happens in the process."
  100)

(defn- many
  "What so many importers on host 2 take of the gateway of host 1."
  [{:keys [quick] :as session} n]
  (let [n         (if quick (min n enough-to-weigh) n)
        [gateway] (gateways! session)
        exporter  (java! session 1 {:role "other"} "HostExporter" 4096)
        [id]      (await! exporter "ready")
        importer  (java! session 2 nil "HostImporter" "many" id)
        connect!  (fn [n]
                    (tell! importer n)
                    (await! importer "connected")
                    (held! session gateway))
        before    (connect! 1) ; with what a process takes, and not each of its connections
        after     (connect! n)
        [_ heap resident descriptors] (map #(/ (- %1 %2) n) after before)]
    (cond-> {"threads" [(first after)]
             "descriptors" [descriptors]}
      (<= enough-to-weigh n) (assoc "heap" [heap] "resident" [resident]))))

;; ------------------------------------------------------------ noticing the end of a peer

(defn- stop! [process]
  (let [^List command ["kill" "-STOP" (str (pid process))]]
    (.waitFor (.start (ProcessBuilder. command)))))

(defn- until-noticed
  "How long it takes an importer to learn of something that happens to its exporter's host, in ns; nil if the connection has
  ended before, because the machine was busy for longer than the limit."
  [{:keys [network] :as session} importer happens]
  (let [{:keys [net]} @network
        exporter (java! session 1 {:limit 1000} "HostExporter" 4096)]
    (try
      (tell! importer (first (await! exporter "ready")))
      (await! importer "connected")
      ;; not always at the same moment between two signs of life
      (Thread/sleep (+ 300 (long (rand-int 300))))
      (let [start (System/nanoTime)]
        (case happens
          "killed"  (kill! exporter)
          "stopped" (stop! exporter)
          "cut"     (netns/unplug! net 1))
        (let [[at] (await! importer "aborted") ; one clock for all processes
              at   (parse-long at)]
          (when (< start at)
            (double (- at start)))))
      (finally
        (kill! exporter)
        (netns/plug! net 1)))))

(defn- notice [{:keys [quick] :as session}]
  (let [importer (java! session 2 {:limit 1000} "HostImporter" "notice")
        times    (if quick 1 4)]
    (into {}
          (for [happens ["killed" "stopped" "cut"]]
            [happens (into [] (comp (keep (fn [_] (until-noticed session importer happens))) (take times))
                           (range (* 3 times)))]))))

;; ------------------------------------------------------------ UCX

(def ^:private ucx-port 13337)
(def ^:private ucx-patience-ms 15000)

(defn- ucx-command
  "ucx_perftest over TCP between the hosts. What it thinks of the processor is no error."
  [args]
  (concat ["env" "UCX_TLS=tcp" "UCX_NET_DEVICES=eth0" "UCX_WARN_UNUSED_ENV_VARS=n" "ucx_perftest"] args))

(defn- ucx-figures
  "{:latency us, :bandwidth MB/s} of a test that is repeated n times."
  [{:keys [network] :as session} test size n]
  (let [server (begin! session 1 (ucx-command ["-t" test]))
        _      (when-not (child/eventually (netns/listens? (pid server) ucx-port))
                 (throw (failure server "does not listen")))
        client (begin! session 2 (ucx-command [(netns/address (:net @network) 1) "-t" test "-s" size "-n" n "-w" (inc (quot n 10)) "-f" "-v"]))
        text   (in-time client ucx-patience-ms #(slurp (:out client)))
        [_ _ _ latency _ bandwidth] (some #(let [numbers (map parse-double (str/split (str/trim %) #"\s*,\s*"))]
                                             (when (and (< 5 (count numbers)) (every? some? numbers)) numbers))
                                          (str/split-lines text))]
    (kill! server)
    (when-not bandwidth
      (throw (failure client "prints no figures")))
    {:latency latency :bandwidth bandwidth}))

(def ^:private ucx-tests
  "What a metric is in ns, by the test, its size in bytes, and how often in half a second. The latency of put is that of one
  way, of two."
  (let [there-and-back #(* 2000 (:latency %))
        latency        #(* 1000 (:latency %))
        for-bytes      (fn [n] #(/ (* 1e9 n) (* mib (:bandwidth %))))]
    {"short" [["put8" there-and-back "ucp_put_lat" 8 10000]
              ["put4k" there-and-back "ucp_put_lat" 4096 5000]
              ["put64k" there-and-back "ucp_put_lat" 65536 1000]
              ["get8" latency "ucp_get" 8 300]]
     "bulk"  [["put1m" (for-bytes mib) "ucp_put_bw" mib 300]
              ["put16m" (for-bytes (* 16 mib)) "ucp_put_bw" (* 16 mib) 20]]}))

(defn ucx-obstacle
  "Why there is no ucx_perftest, or nil."
  []
  (try
    (let [^List command ["ucx_perftest" "-h"]
          process (.start (doto (ProcessBuilder. command) (.redirectErrorStream true)))]
      (slurp (.getInputStream process))
      (.waitFor process)
      nil)
    (catch IOException _ "no ucx_perftest here")))

(defn- ucx
  "Without those that do not come to an end; it is not known why they do not."
  [{:keys [seconds] :as session} what]
  (let [results (for [[metric in-ns test size n] (ucx-tests what)]
                  (try
                    [metric [(double (in-ns (ucx-figures session test size (max 2 (long (* 2 seconds n))))))]]
                    (catch clojure.lang.ExceptionInfo e e)))]
    (or (not-empty (into {} (filter vector?) results))
        (throw (first results)))))

;; ------------------------------------------------------------ all

(defn measure
  "Measures once: samples by their names. `how` is :own (the processes that use gateways are those), :gateways (these
  are processes apart), :tls, :socket, :c, :ucx, :many or :notice."
  [session how & [what]]
  (with-processes
    (case how
      :own      (ours session what false)
      :gateways (ours session what true)
      :tls      (sockets session what "tls")
      :socket   (sockets session what "plain")
      :c        (c session what)
      :ucx      (ucx session what)
      :many     (many session what)
      :notice   (notice session))))
