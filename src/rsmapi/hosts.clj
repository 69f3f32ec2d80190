(ns rsmapi.hosts
  "Segments between hosts: the keys by which hosts know each other, the file that names them, and their
  gateways. What is done with segments is in rsmapi.core, over controllers net0 to net7; doc/hosts.md says how to
  set hosts up.

    (require '[rsmapi.hosts :as hosts])

    (hosts/make-key! \"/etc/rsm/rsm.key\")             ; once on each host
    (hosts/gateway-status)

  Contents: make-key! read-key nodes  gateway open? gateway-status

  Where a file is not given, it is the one that a controller uses: of net0 what the system property rsmapi.key or
  the environment variable RSMAPI_KEY says, or /etc/rsm/rsm.key, and for nodes rsmapi.nodes, RSMAPI_NODES and
  /etc/rsm/rsm.nodes; of net1 rsmapi.net1.key, RSMAPI_NET1_KEY, /etc/rsm/net1.key, and so on."
  (:require [rsmapi.impl.args :as args]
            [rsmapi.impl.data :as data])
  (:import (java.time Duration)
           (org.rsmapi RsmError)
           (org.rsmapi.net GatewayStatus GatewayStatus$Caller GatewayStatus$Device GatewayStatus$Peer HostGateway KeyFile NodesFile NodesFile$Entry)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn- bad [op argument value hint]
  (args/failure RsmError/BAD_ARGS_ERRORS op :argument argument :value value :hint hint))

(defn- unit
  "The unit of a controller's name."
  [controller op]
  (let [name (or controller "net0")]
    (if-let [[_ digits] (and (string? name) (re-matches #"(?i)net0*([0-7])?" name))]
      (int (parse-long (or digits "0")))
      (throw (bad op "controller" controller "give net0 to net7")))))

;; ------------------------------------------------------------------- keys

(defn- key-map [^KeyFile k]
  {:file (str (.file k))
   :key (.fingerprint k)
   :not-after (.toInstant (.getNotAfter (.certificate k)))})

(def ^:private ten-years 3650)

(defn make-key!
  "Makes the key of a host, in a file that only the caller may read. What the nodes files of all hosts have to say of it
  is :key of the result: {:file :key :not-after}.

  Options:
    :days  for how long it is accepted; default 3650

  Errors: :rsm/bad-args-errors; :rsm/bad-conf (the file is there already, or cannot be made)."
  ([file] (make-key! file nil))
  ([file opts]
   (let [op "key"
         {:keys [days]} (args/options opts #{:days} op)
         days (long (args/integer days ten-years RsmError/BAD_ARGS_ERRORS [op "days"]))]
     (when-not (<= 1 days 36500)
       (throw (bad op "days" days "a key is accepted for a day at least, and for a hundred years at most")))
     (key-map (KeyFile/make (args/file-path file op) (Duration/ofDays days)))))
  ([file opts & more] (make-key! file (args/trailing opts more))))

(defn read-key
  "The key of a file, or of this host: {:file :key :not-after}, without what is secret.

  Errors: :rsm/bad-conf (it cannot be read, others may read it, it is not a key, or has expired)."
  ([] (read-key (KeyFile/defaultFile "key" 0)))
  ([file] (key-map (KeyFile/read "key" (args/file-path file "key")))))

(defn nodes
  "What a nodes file says, a vector of maps: {:node 2 :host \"hostb\" :port 7463 :key \"sha256:...\" :same-uids? false
  :ucx nil}.

  Errors: :rsm/bad-conf, with the :rsm/file and the :rsm/line."
  ([] (nodes (NodesFile/defaultFile "nodes" 0)))
  ([file]
   (mapv (fn [^NodesFile$Entry e]
           {:node (.node e) :host (.host e) :port (.port e) :key (.key e) :same-uids? (.sameUsers e) :ucx (.device e)})
         (vals (.nodes (NodesFile/read "nodes" (args/file-path file "nodes")))))))

;; --------------------------------------------------------------- gateways

(defn gateway
  "Has this process play the host's gateway until the result is closed, for use with with-open. If another process plays
  it, this one takes over when that ends. It is not needed where processes may read the host's key: the first of them
  that opens a net controller plays it.

  Options:
    :controller  \"net0\", the default, to \"net7\"

  If the nodes file names an RDMA device for this node, data goes through it where the other gateway has one too; the
  system property rsmapi.ucx is auto, off or required.

  Errors: :rsm/bad-args-errors; :rsm/bad-conf (the nodes file, the key, a property, a device that is required and cannot be
  used)."
  (^HostGateway [] (gateway nil))
  (^HostGateway [opts]
   (let [{:keys [controller]} (args/options opts #{:controller} "gateway")]
     (HostGateway/open (unit controller "gateway"))))
  (^HostGateway [opts & more] (gateway (args/trailing opts more))))

(defn- a-gateway ^HostGateway [x op]
  (if (instance? HostGateway x)
    x
    (throw (bad op "gateway" x "give a gateway, from gateway"))))

(defn open?
  "Whether a gateway of this process has the host's port, so that other hosts can come."
  [gateway]
  (.isOpen (a-gateway gateway "gateway")))

(defn- status-map [^GatewayStatus s]
  {:controller (.controller s)
   :node (.node s)
   :pid (.pid s)
   :open? (.open s)
   :up-ms (.upMillis s)
   :ucx (when-let [^GatewayStatus$Device d (.device s)]
          {:device (.name d) :version (.version d) :obstacle (.obstacle d)})
   :refusals (.refusals s)
   :breaches (.breaches s)
   :last-refusal (.lastRefusal s)
   :peers (mapv (fn [^GatewayStatus$Peer p]
                  {:node (.node p) :state (data/keyword-of (.state p)) :importers (.importers p)
                   :one-sided? (.oneSided p)
                   :silent-ms (when-not (neg? (.silentMillis p)) (.silentMillis p)) :reason (.reason p)})
                (.peers s))
   :callers (mapv (fn [^GatewayStatus$Caller c]
                    {:who (.who c) :importers (.importers c) :bytes (.bytes c) :silent-ms (.silentMillis c)})
                  (.callers s))})

(defn gateway-status
  "How a gateway is doing: one of this process, or without one that of this host, whichever process that is; nil if
  there is none.

    {:controller \"net0\" :node 1 :pid 4711 :open? true :up-ms 52000
     :peers    [{:node 2 :state :active :importers 3 :one-sided? false :silent-ms 120 :reason nil}]
     :callers  [{:who \"node 2\" :importers 1 :bytes 1048576 :silent-ms 40}]
     :ucx      nil
     :refusals 0 :breaches 0 :last-refusal nil}

  :peers are the other nodes: the state of the way there (:down, :up, :active, :going-down), the connections to their
  segments over this process, whether data goes through RDMA devices, and since when nothing was heard. :callers are those
  who have links to the gateway: what they have connected to, and the bytes that they have written. :ucx is the RDMA device
  that the nodes file names for this node: {:device \"mlx5_0:1\" :version \"1.13.1\" :obstacle nil}; it is not in use if there
  is no :version, and :obstacle says why. :refusals counts who was not let in, :breaches what other nodes have asked for that
  they may not.

  Options, without a gateway:
    :controller  \"net0\", the default, to \"net7\"
    :timeout-ms  how long to wait; default 5000

  Errors: :rsm/bad-args-errors; :rsm/remote-node-unreachable (it does not answer)."
  ([] (gateway-status nil))
  ([gateway-or-opts]
   (let [op "gateway"]
     (if (instance? HostGateway gateway-or-opts)
       (status-map (.status ^HostGateway gateway-or-opts))
       (let [{:keys [controller timeout-ms]} (args/options gateway-or-opts #{:controller :timeout-ms} op)]
         (some-> (HostGateway/ask (unit controller op) (args/duration timeout-ms 5000 op)) status-map)))))
  ([opts & more] (gateway-status (args/trailing opts more))))
