(ns rsmapi.impl.command.host
  "The commands of a host that has to do with others: its key, its gateway, and the topology."
  (:require [rsmapi.core :as rsm]
            [rsmapi.hosts :as hosts]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.command.common :as common]
            [rsmapi.impl.show :as show])
  (:import (java.nio.file Files LinkOption Path)
           (org.rsmapi RsmError RsmException)
           (org.rsmapi.net HostGateway KeyFile NodesFile)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn key-of-host
  "Makes the key of a host, or shows it."
  [{:keys [file make days]} style]
  (let [file (or file (KeyFile/defaultFile "key" 0))
        data (if (args/flag make "key" "make")
               (hosts/make-key! file (when days {:days days}))
               (if days
                 (throw (common/bad-argument "key" "days" "it goes with --make"))
                 (hosts/read-key file)))]
    (if (:edn style)
      (show/print-edn (update data :not-after str))
      (do (show/facts style [["file" (:file data)]
                             ["key" (:key data)]
                             ["not after" (str (:not-after data))]])
          (println "A line for the nodes files of all hosts, with the number of this host's node in the place of N:")
          (println (str "node N " (common/host-name) " " (:key data)))))
    data))

(defn- print-status [{:keys [controller node pid open? up-ms ucx refusals breaches last-refusal peers callers]} style]
  (show/facts style (concat
                     [["controller" controller]
                      ["node" node]
                      ["pid" pid]
                      ["port" (if open? "open" "another process has it")]
                      ["up" (str (quot (long up-ms) 1000) " s")]]
                     (when-let [{:keys [device version obstacle]} ucx]
                       [["RDMA device" (str device (if version (str ", UCX " version) ", not in use"))]
                        ["its trouble" obstacle]])
                     [["refusals" refusals]
                      ["breaches" breaches]
                      ["last refusal" last-refusal]]))
  (when (seq peers)
    (println)
    (show/table style ["NODE" "STATE" "DATA" "IMPORTS" "SILENT MS" "REASON"]
                (map (juxt :node (comp name :state) #(if (:one-sided? %) "ucx" "tls") :importers :silent-ms :reason) peers)))
  (when (seq callers)
    (println)
    (show/table style ["CALLER" "IMPORTERS" "BYTES" "SILENT MS"]
                (map (juxt :who :importers :bytes :silent-ms) callers))))

(defn- status [controller timeout-ms style]
  (let [data (hosts/gateway-status (cond-> {} controller (assoc :controller controller)
                                           timeout-ms (assoc :timeout-ms timeout-ms)))]
    (when-not data
      (throw (args/failure RsmError/REMOTE_NODE_UNREACHABLE "gateway" :controller (or controller "net0")
                           :hint "no process of this host is the gateway")))
    (if (:edn style)
      (show/print-edn data)
      (print-status data style))
    data))

(defn- pid-of-gateway
  "Of the process of this host that is the gateway; nil if there is none that answers."
  [controller]
  (try
    (:pid (hosts/gateway-status {:controller controller}))
    (catch RsmException _ nil)))

(defn- is-gateway [{:keys [controller node pid]}]
  (str controller ": the gateway of node " node ", process " pid))

(defn- tell-of-takeover
  "Prints a line when the process has become the gateway."
  [^HostGateway gateway data]
  (future
    (while (not (.isOpen gateway))
      (Thread/sleep 200))
    (println (is-gateway data))
    (flush)))

(defn- play [controller style]
  (with-open [^HostGateway gateway (hosts/gateway (when controller {:controller controller}))]
    (let [{:keys [node pid open? last-refusal] :as data} (hosts/gateway-status gateway)
          data (select-keys data [:controller :node :pid :open?])]
      (if (:edn style)
        (show/print-edn data)
        (println (if open?
                   (is-gateway data)
                   (str (:controller data) ": process " pid " waits to be the gateway of node " node "; "
                        (if-let [other (pid-of-gateway (:controller data))]
                          (str "process " other " is the gateway now")
                          last-refusal)))))
      (flush)
      (let [telling (when-not (or open? (:edn style))
                      (tell-of-takeover gateway data))]
        (common/await-interrupt #(.close gateway))
        (some-> telling future-cancel))
      data)))

(defn gateway
  "Plays the gateway of this host until interrupted, or tells how the one that there is is doing."
  [{:keys [controller timeout-ms] asked :status} style]
  (let [controller (args/controller-name controller "gateway")]
    (if (args/flag asked "gateway" "status")
      (status controller timeout-ms style)
      (play controller style))))

;; --------------------------------------------------------------- topology

(def ^:private networks 8)
(def ^:private patience-ms "How long to wait for the state of a way." 5000)

(defn- known?
  "Whether the states of all ways are known: that of a way that is down, when it has been tried."
  [{:keys [peers]}]
  (every? #(or (not= :down (:state %)) (:reason %)) peers))

(defn- status-of-network
  "What the gateway of this host sees, or without one what this process sees as the gateway for a moment."
  [controller]
  (or (hosts/gateway-status {:controller controller :timeout-ms patience-ms})
      (with-open [^HostGateway gateway (hosts/gateway {:controller controller})]
        (let [end (+ (System/nanoTime) (* 1000000 (long patience-ms)))]
          (loop []
            (let [status (hosts/gateway-status gateway)]
              (if (or (known? status) (< end (System/nanoTime)))
                status
                (do (Thread/sleep 10)
                    (recur)))))))))

(defn- network
  "A controller of the topology, from what a nodes file names; {:name :missing} or {:name :problem} if that cannot be told."
  [unit]
  (let [controller (str "net" unit)]
    (try
      (let [file (NodesFile/defaultFile "topology" (int unit))]
        (if (Files/notExists ^Path file (make-array LinkOption 0))
          {:name controller :missing (str file)}
          (do (hosts/nodes file)
              (let [{:keys [node peers]} (status-of-network controller)]
                {:name controller
                 :hw-addr node
                 :peers (mapv (fn [{:keys [node state]}] {:node node :controller controller :hw-addr node :state state})
                              peers)}))))
      (catch RsmException e
        {:name controller :problem e}))))

(defn topology
  "Prints the controllers and nodes: those of controllers that are open on this machine, and those that nodes files name."
  [_ style]
  (let [data     (rsm/topology)
        open     (into #{} (map :name) (:controllers data))
        found    (mapv network (remove #(open (str "net" %)) (range networks)))
        problems (filter :problem found)
        data     (cond-> (update data :controllers into (filter :peers) found)
                   (seq problems) (assoc :problems (mapv (fn [{:keys [name problem]}]
                                                           (merge {:controller name :message (ex-message problem)}
                                                                  (select-keys (ex-data problem) [:rsm/error :rsm/file :rsm/line])))
                                                         problems)))]
    (if (:edn style)
      (show/print-edn data)
      (do (println "node" (:node data))
          (show/table style ["CONTROLLER" "ADDRESS" "PEER" "STATE"]
                      (for [{:keys [name hw-addr peers]} (:controllers data)
                            {:keys [node state]} (or (seq peers) [{}])]
                        [name hw-addr node (some-> state clojure.core/name)]))
          (doseq [{:keys [name missing problem]} found
                  :when (or problem (and missing (= "net0" name)))]
            (println (show/printable (str name ": " (if problem (ex-message problem) (str "there is no nodes file " missing))))))))
    data))
