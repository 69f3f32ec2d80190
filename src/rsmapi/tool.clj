(ns rsmapi.tool
  "The commands of rsmapi.cli as functions, for `clojure -X:rsm`, for `clojure -T` with the
  installed tool, and for the REPL. They need nothing but the library.

    clojure -X:rsm ls
    clojure -X:rsm dump :id 0x600001 :length 64
    clojure -Trsm put :id 0x600001 :offset 8 :type :long :value 42

  Each function takes a map, prints, and returns data:

  ls stat dump watch put export key gateway topology errors

  :edn true prints EDN. Those that connect to a segment take

    :id          the segment id; required
    :controller  \"loopback\", the default, \"shm0\" to \"shm31\", or \"net0\" to \"net7\"
    :node        the exporter's node; default: this process's
    :from-node   this process's node on an shm controller
    :timeout-ms  how long to wait for the exporter; default 5000

  A failure is an exception with the data of an RSM error (see rsmapi.error); the Clojure CLI prints
  its message only."
  (:refer-clojure :exclude [key])
  (:require [rsmapi.impl.args :as args]
            [rsmapi.impl.command :as command])
  (:import (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)

(defn- perform [command opts]
  (try
    (when-not (or (nil? opts) (map? opts))
      (throw (args/failure RsmError/BAD_ARGS_ERRORS (name command) :argument "options" :hint "give a map")))
    (let [edn (args/flag (:edn opts) (name command) "edn")
          data (command/perform command (dissoc opts :edn) {:edn edn})]
      (flush)
      data)
    (catch RsmException e
      ;; :exec-msg has the Clojure CLI print the message instead of a stack trace
      (throw (ex-info (ex-message e) (assoc (ex-data e) :exec-msg true) e)))))

(defn ls
  "Lists the published segments of this machine. Returns a vector of maps, see
  rsmapi.inspect/segments.

  Options:
    :node  only those of this node"
  [opts]
  (perform :ls opts))

(defn stat
  "Connects to a segment, and returns its :size, :perm, :exporter and so on.

  Options: see the namespace"
  [opts]
  (perform :stat opts))

(defn dump
  "Prints bytes of a segment.

  Options, besides those of the namespace:
    :offset  in bytes; default 0
    :length  in bytes; default: up to the end
    :layout  a layout (see rsmapi.layout), a file that has one as EDN, or :published for the
             one with which the segment is published"
  [opts]
  (perform :dump opts))

(defn watch
  "Prints what changes in a segment, each time that it looks. Ends with the error
  :rsm/conn-aborted when the exporter ends or revokes the segment.

  Options, besides those of the namespace:
    :offset :layout  as in dump
    :length          in bytes; default 256
    :interval-ms     time between looks; default 500
    :changes         how many changes to wait for; default: no end"
  [opts]
  (perform :watch opts))

(defn put
  "Writes a value to a segment.

  Options, besides those of the namespace:
    :offset      in bytes; default 0
    :type        :byte :short :char :int :long :float :double, :text (as UTF-8) or :hex (digits)
    :value       a number, or a string
    :byte-order  :little-endian or :big-endian; default: the exporter's
    :layout      as in dump, instead of :type; with
    :field       a path in it, such as [:orders 2 :price] or \"orders[2].price\"
    :signal      true: post an event afterwards"
  [opts]
  (perform :put opts))

(defn export
  "Exports the content of a file as a segment, prints the segment's id, and blocks until the thread is
  interrupted or the JVM ends.

  Options:
    :file        required. The rest of the last page is zero
    :id          the segment id; default: one is assigned
    :perm        the permission for each node, such as 0644; default: 0666 less the umask
    :controller  \"loopback\", the default, \"shm0\" to \"shm31\", or \"net0\" to \"net7\"
    :node        this process's node on an shm controller"
  [opts]
  (perform :export opts))

(defn key
  "Shows the key of this host, or makes it. Returns {:file :key :not-after}.

  Options:
    :file  default: that of net0, see rsmapi.hosts
    :make  true: makes the key; the file must not be there yet
    :days  with :make: for how long it is accepted; default 3650"
  [opts]
  (perform :key opts))

(defn gateway
  "Plays the gateway of this host, and blocks until the thread is interrupted or the JVM ends; or tells how the gateway is
  doing, see rsmapi.hosts/gateway-status.

  Options:
    :controller  \"net0\", the default, to \"net7\"
    :status      true: tells how the gateway of this host is doing, whichever process that is
    :timeout-ms  with :status: how long to wait; default 5000"
  [opts]
  (perform :gateway opts))

(defn topology
  "Prints and returns the controllers and nodes that can be reached, see rsmapi.core/topology. It also has the
  nodes that nodes files name, over net0 to net7, as the gateway of this host sees them, or this process if there
  is none. What keeps them from being listed is in :problems, [{:controller :message :rsm/error :rsm/file :rsm/line}]."
  [opts]
  (perform :topology opts))

(defn errors
  "Prints and returns the errors of the RSMAPI, or the one of :code: a number, a keyword or a name."
  [opts]
  (perform :errors opts))
