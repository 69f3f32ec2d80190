(ns rsmapi.test.hosts
  "Hosts between which there are gateways, all of them played by this process: net0 and so on are nodes of one
  network, each with a key and a port of its own on this machine."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.test.child :as child]
            [rsmapi.test.far :as far]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac])
  (:import (java.lang.reflect Field Method)
           (java.net InetAddress ServerSocket)
           (java.nio.file Path)
           (java.time Duration)
           (org.rsmapi AccessEntry Controller RsmError RsmException)
           (org.rsmapi.net KeyFile NetProvider)
           (org.rsmapi.spi AccessPolicy ExportedMemory Interconnect)))

(set! *warn-on-reflection* true)

(defn file ^Path [folder name]
  (.toPath (io/file folder name)))

(defn key-of
  "Makes a key in a folder; days is how long it is good."
  (^KeyFile [folder name] (key-of folder name 1))
  (^KeyFile [folder name days] (KeyFile/make (file folder name) (Duration/ofDays days))))

(defn free-ports
  "So many ports of this host that nobody has at the moment."
  [n]
  (let [sockets (vec (repeatedly n #(ServerSocket. 0 1 (InetAddress/getByName "127.0.0.1"))))]
    (try (mapv #(.getLocalPort ^ServerSocket %) sockets)
         (finally (run! #(.close ^ServerSocket %) sockets)))))

(defn nodes-file!
  "Writes a nodes file. Nodes are maps of :node, :key (a KeyFile), and :host, :port, :more, if they are not the
  usual ones."
  [folder name nodes]
  (spit (io/file folder name)
        (str/join (for [{:keys [node host port key more]} nodes]
                    (str "node " node " " (or host "127.0.0.1") (when port (str ":" port)) " " (.fingerprint ^KeyFile key)
                         (when more (str " " more)) "\n"))))
  (file folder name))

(defn property
  "The name of the system property of a unit."
  [unit what]
  (if (zero? (long unit)) (str "rsmapi." what) (str "rsmapi.net" unit "." what)))

(defn begin!
  "Files for so many units, of which unit n is the nth of these nodes; `more` is added to each line. A function that
  ends it."
  [nodes more]
  (let [^java.io.File folder (doto ^java.io.File (javac/temp-dir) (.setExecutable true false) (.setReadable true false)) ; for other users
        keys (mapv #(key-of folder (str "key" %)) nodes)
        file (nodes-file! folder "nodes" (map (fn [node key port] {:node node :key key :port port :more more})
                                              nodes keys (free-ports (count nodes))))]
    (dotimes [unit (count nodes)]
      (System/setProperty (property unit "nodes") (str file))
      (System/setProperty (property unit "key") (str (.file ^KeyFile (keys unit)))))
    (System/setProperty "rsmapi.net.timeout" "20000")
    (fn []
      (System/clearProperty "rsmapi.net.timeout")
      (dotimes [unit (count nodes)]
        (run! #(System/clearProperty (property unit %)) ["nodes" "key"]))
      (files/delete-tree! folder))))

(def ^:private settle-method
  (delay (doto ^Method (.getDeclaredMethod (Class/forName "org.rsmapi.net.Fabric") "settle" (make-array Class 0))
           (.setAccessible true))))

(defn settle!
  "Waits until all that has been asked for has been done."
  []
  (.invoke ^Method @settle-method nil (object-array 0)))

;; ---------------------------------------------- nodes that reach themselves

(def ^:private far-off
  "The importers of node n are on another node, n and this: so that what a node imports from itself comes over a
  gateway too."
  32)

(defn- translated
  "An access policy for the nodes on which the importers are."
  ^AccessPolicy [^AccessPolicy policy]
  (AccessPolicy. (mapv (fn [^AccessEntry e] (AccessEntry. (+ far-off (.node e)) (.permission e))) (.entries policy))
                 (.umask policy)))

(defn- exported ^ExportedMemory [^ExportedMemory memory]
  (reify ExportedMemory
    (address [_] (.address memory))
    (publish [_ id policy layout gate] (.publish memory id (translated policy) layout gate))
    (republish [_ policy] (.republish memory (translated policy)))
    (unpublish [_] (.unpublish memory))
    (rebind [_ address owner gate] (.rebind memory address owner gate))
    (destroy [_] (.destroy memory))
    (unmap [_] (.unmap memory))
    (signals [_] (.signals memory))
    (post [_ accumulate] (.post memory accumulate))
    (importers [_] (.importers memory))))

(defn- open ^Interconnect [unit]
  (.open (NetProvider.) "net" (int unit) -1))

(defn- interconnect
  "Node n of a network in which everything comes over gateways. `nodes` are those that there are."
  ^Interconnect [nodes n]
  (let [place (.indexOf ^java.util.List nodes n)
        ^Interconnect exports (open (* 2 place))
        ^Interconnect imports (open (inc (* 2 place)))]
    (reify Interconnect
      (name [_] "nets0")
      (localNode [_] n)
      (localOnly [_] false)
      (maxAccessEntries [_] (.maxAccessEntries exports))
      (attributes [_] (.attributes exports))
      (capabilities [_] (.capabilities imports))
      (nanoTime [_] (.nanoTime exports))
      (ended [_] false)
      (allocate [_ length options] (exported (.allocate exports length options)))
      (adopt [_ address length owner options] (exported (.adopt exports address length owner options)))
      (connect [_ node id permission deadline listener]
        (when-not (some #{node} nodes)
          (throw (RsmException/of RsmError/SEG_NOT_PUBLISHED "import-connect"))) ; as on one host
        (.connect imports node id permission deadline listener))
      (close [_] (.close exports) (.close imports)))))

(def ^:private ^Field references
  (delay (doto (.getDeclaredField Controller "references") (.setAccessible true))))

(def ^:dynamic *network*
  "{:nodes :open an atom of the controllers by node}"
  nil)

(defn controller
  "The controller of a node, with one more reference."
  ^Controller [node]
  (let [{:keys [nodes open]} *network*
        ^Controller known (@open node)]
    (if (and known (.isOpen known))
      (do (.setInt ^Field @references known (inc (.getInt ^Field @references known))) known)
      (let [made (far/controller-of (interconnect nodes node))]
        (swap! open assoc node made)
        made))))

(defn- with-gateways
  "Calls f while another process plays the gateway of these units, and this one goes through it."
  [units f]
  (child/with-child [gateways {:label "gateways" :quick? true}]
    (child/value gateways `(do (def ~'gateways (mapv (fn [unit#] (org.rsmapi.net.HostGateway/open unit#)) ~(vec units))) nil))
    (f)))

(defn- as-other
  "Opens a unit that leaves the role of the gateway to others."
  [unit]
  (System/setProperty "rsmapi.gateway" "other")
  (try (open unit) (finally (System/clearProperty "rsmapi.gateway"))))

(defn with-network*
  [nodes {:keys [through-gateways?]} f]
  (let [end! (begin! (mapcat (juxt identity #(+ far-off (long %))) nodes) "uids=same")
        exporting (range 0 (* 2 (count nodes)) 2)
        importing (map inc exporting)
        run (fn []
              (binding [*network* {:nodes (vec nodes) :open (atom {})}]
                ;; open all the while, so that gateways and links stay
                (let [held (into (mapv open exporting) (map (if through-gateways? as-other open)) importing)]
                  (try
                    (settle!)
                    (f)
                    (finally
                      ;; who gets a controller twice under one name closes it once
                      (doseq [^Controller c (vals @(:open *network*))]
                        (while (.isOpen c) (.close c)))
                      (run! #(.close ^Interconnect %) held))))))]
    (try
      (if through-gateways?
        (with-gateways importing run)
        (run))
      (finally (end!)))))

(defmacro with-network
  "Runs the body with a network of such nodes; `controller` has their controllers. All that they import comes over
  gateways, also what they export themselves. With :through-gateways? the importers go through the gateway of their
  host, which is another process."
  [nodes opts & body]
  `(with-network* ~nodes ~opts (fn [] ~@body)))

(defn get-controller
  "In the place of rsm/get-controller: \"sim0\" is the network."
  [original]
  (fn [& [name & {:keys [node]} :as arguments]]
    (if (and (string? name) (re-matches #"(?i)sim0?" name) (contains? (set (:nodes *network*)) (or node 0)))
      (controller (or node 0))
      (apply original arguments))))
