(ns rsmapi.test.netns
  "Hosts that are network namespaces of this machine, all plugged into one switch. Each has an
  address, and nothing else of the network: names of Unix sockets are its own too.

    (netns/with-hosts [net 3]
      (child/start! {:prefix (netns/prefix net 1)})
      (netns/unplug! net 1)
      ...)

  Hosts are numbered from 1. `ip` makes them, which needs root: see obstacle."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.test.child :as child])
  (:import (java.io File)
           (java.lang ProcessHandle)
           (java.nio.file Files LinkOption)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(defn- run
  "Runs a program with these words. Returns {:exit n :out text}; :exit is nil if there is no such
  program, or it does not end."
  [program & words]
  (try
    (let [process (-> (ProcessBuilder. ^java.util.List (mapv str (cons program words)))
                      (.redirectErrorStream true)
                      .start)
          _   (.close (.getOutputStream process))
          out (future (slurp (.getInputStream process)))]
      (if (.waitFor process 30 TimeUnit/SECONDS)
        {:exit (.exitValue process) :out (str/trim @out)}
        (do (.destroyForcibly process) {:exit nil :out (str program " does not end")})))
    (catch java.io.IOException e {:exit nil :out (ex-message e)})))

(defn- run-well! [program & words]
  (let [{:keys [exit out]} (apply run program words)]
    (when-not (= 0 exit)
      (throw (ex-info (str program " " (str/join " " words) ": " out) {:exit exit})))
    out))

(def ^:private ip (partial run "ip"))
(def ^:private ip! (partial run-well! "ip"))

;; ------------------------------------------------------------------ networks

;; Those that have not been removed.
(defonce ^:private standing (atom #{}))

(def ^:private next-number (let [n (atom 0)] #(swap! n inc)))

(defn name-of
  "The name of a host's namespace."
  [{:keys [base]} host]
  (str base "-" host))

(defn- switch-of [{:keys [base]}] (str base "-switch"))

(defn- namespaces [{:keys [hosts] :as net}]
  (cons (switch-of net) (map #(name-of net %) hosts)))

(defn address
  "A host's address."
  [_net host]
  (str "10.77.0." host))

(defn address6
  "A host's IPv6 address, once it has one: see add-ipv6!. With :link-local, that of its link, with the name of that."
  ([net host] (address6 net host nil))
  ([_net host scope]
   (if (= :link-local scope) (str "fe80::77:" host "%eth0") (str "fd77::" host))))

(defn prefix
  "What runs a program on a host: the :prefix of child/start! and peer/start!."
  [net host]
  ["ip" "netns" "exec" (name-of net host)])

(defn pids
  "The processes on a host."
  [net host]
  (mapv parse-long (re-seq #"\d+" (ip! "netns" "pids" (name-of net host)))))

(defn left
  "The names of the network's namespaces that are there."
  [net]
  (let [there (set (map #(first (str/split % #"\s")) (str/split-lines (ip! "netns" "list"))))]
    (filterv there (namespaces net))))

(defn remove!
  "Removes a network. What still runs there keeps its namespace without a name until it ends."
  [net]
  (run! #(ip "netns" "del" %) (namespaces net))
  (swap! standing disj net)
  nil)

(defonce ^:private at-exit
  (delay (.addShutdownHook (Runtime/getRuntime) (Thread. ^Runnable (fn [] (run! remove! @standing))))))

(defn- add-host! [net host]
  (let [name (name-of net host)
        switch (switch-of net)
        port (str "port" host)]
    (ip! "netns" "add" name)
    (ip! "-n" name "link" "set" "lo" "up")
    (ip! "-n" switch "link" "add" port "type" "veth" "peer" "name" "eth0" "netns" name)
    (ip! "-n" switch "link" "set" port "master" "bridge" "up")
    (ip! "-n" name "address" "add" (str (address net host) "/24") "dev" "eth0")
    (ip! "-n" name "link" "set" "eth0" "up")))

(defn make!
  "Makes a network of n hosts. remove! it; the end of this process does that too, unless it is
  killed."
  [n]
  (let [net {:base  (str "rsmapi-" (.pid (ProcessHandle/current)) "-" (next-number))
             :hosts (vec (range 1 (inc (long n))))}
        switch (switch-of net)]
    @at-exit
    (swap! standing conj net)
    (try
      (ip! "netns" "add" switch)
      (ip! "-n" switch "link" "add" "bridge" "type" "bridge")
      (ip! "-n" switch "link" "set" "bridge" "up")
      (run! #(add-host! net %) (:hosts net))
      net
      (catch Throwable t
        (remove! net)
        (throw t)))))

(defn add-ipv6!
  "Gives each host two more addresses."
  [net]
  (doseq [host (:hosts net), scope [nil :link-local]]
    (ip! "-n" (name-of net host) "address" "add" (str (str/replace (address6 net host scope) "%eth0" "") "/64") "dev" "eth0" "nodad")))

(def ^:private obstacle-to-ipv6-here
  (delay
    (try
      (let [net (make! 1)]
        (try
          (add-ipv6! net)
          nil
          (finally (remove! net))))
      (catch clojure.lang.ExceptionInfo e
        (str "needs IPv6: " (ex-message e))))))

(defn obstacle-to-ipv6
  "Why hosts cannot have IPv6 here, or nil, where there can be hosts."
  []
  @obstacle-to-ipv6-here)

(def ^:private obstacle-here
  (delay
    (cond
      (nil? (:exit (ip "-V")))
      "needs the program ip, of iproute2"
      (not= 0 (Files/getAttribute (.toPath (io/file "/proc/self")) "unix:uid" (make-array LinkOption 0)))
      "needs root, to make network namespaces"
      :else
      (try
        (let [net (make! 1)]
          (try
            (child/obstacle {:prefix (prefix net 1)})
            (finally (remove! net))))
        (catch clojure.lang.ExceptionInfo e
          (str "needs the right to make network namespaces, which there is not here: " (ex-message e)))))))

(defn obstacle
  "Why there can be no such hosts here, in a few words, or nil. For rsmapi.test.runner/skip!."
  []
  @obstacle-here)

(defmacro with-hosts
  "Evaluates body with sym bound to (make! n), and removes the network afterwards."
  [[sym n] & body]
  `(let [~sym (make! ~n)]
     (try
       ~@body
       (finally (remove! ~sym)))))

;; -------------------------------------------------------------------- cables

(defn unplug!
  "Takes the cable of a host out. Neither side is told."
  [net host]
  (ip! "-n" (switch-of net) "link" "set" (str "port" host) "down"))

(defn plug! [net host]
  (ip! "-n" (switch-of net) "link" "set" (str "port" host) "up"))

(defn set-down!
  "Takes a host's own end of its link down."
  [net host]
  (ip! "-n" (name-of net host) "link" "set" "eth0" "down"))

(defn set-up! [net host]
  (ip! "-n" (name-of net host) "link" "set" "eth0" "up"))

(defn slow!
  "Has a host send so many bits per second at most, such as \"1mbit\". What it wants to send besides waits in a long queue."
  [net host rate]
  (run-well! "tc" "-n" (name-of net host) "qdisc" "replace" "dev" "eth0" "root" "tbf" "rate" rate "burst" "16kb" "limit" "8mb"))

(defn fast! [net host]
  (run-well! "tc" "-n" (name-of net host) "qdisc" "del" "dev" "eth0" "root"))

(defn slow-obstacle
  "Why no host can be slow here, in a few words, or nil."
  []
  (let [net (make! 1)]
    (try
      (slow! net 1 "1mbit")
      nil
      (catch clojure.lang.ExceptionInfo e (str "needs tc with tbf: " (ex-message e)))
      (finally (remove! net)))))

;; --------------------------------------------------------------------- ports

(defn- inodes
  "The sockets in a state, by a process's tables of TCP: 10 listens, 1 is connected."
  [pid state port]
  (let [local (format ":%04X" port)]
    (into #{}
          (for [table ["net/tcp" "net/tcp6"]
                :when (.exists (io/file (str "/proc/" pid "/" table)))
                line (rest (str/split-lines (child/proc pid table)))
                :let [fields (str/split (str/trim line) #"\s+")]
                :when (and (str/ends-with? (nth fields 1) local)
                           (= (format "%02X" state) (nth fields 3)))]
            (nth fields 9)))))

(defn- sockets [pid]
  (into #{}
        (keep (fn [^File fd]
                (try (second (re-matches #"socket:\[(\d+)\]"
                                         (str (Files/readSymbolicLink (.toPath fd)))))
                     (catch java.io.IOException _ nil)))) ; closed in the meantime
        (.listFiles (io/file (str "/proc/" pid "/fd")))))

(defn listens?
  "Whether a process listens at a port of its host."
  [pid port]
  (boolean (some (sockets pid) (inodes pid 10 port))))

(defn links
  "How many connections that were made to a port of its host a process has."
  [pid port]
  (count (filter (sockets pid) (inodes pid 1 port))))
