(ns rsmapi.nrepl
  "nREPL middleware: editors and other clients look at segments and handles without evaluating code.

    clojure -M:dev -m nrepl.cmdline --middleware '[rsmapi.nrepl/wrap-rsm]'

  or {:middleware [rsmapi.nrepl/wrap-rsm]} in .nrepl.edn. Needs nrepl/nrepl 1.0.0 or later, which is
  not a dependency of the library; no other namespace needs this one. The op \"describe\" lists the ops:

    rsm/segments   the published segments of this machine
    rsm/describe   a handle as data
    rsm/hexdump    bytes of a memory
    rsm/check-map  the error that map! would throw

  A handle is named by the var that holds it, \"user/m\", or \"m\" in the namespace \"ns\" (default: that
  of the session). Only vars of namespaces that are loaded are looked up, *1 among them; nothing is
  evaluated or loaded. Numbers are integers, or strings such as \"0x40\".

  Answers are maps, lists, integers and strings: keywords are strings without the colon, true and
  false are \"true\" and \"false\", and what is nil is left out. The status of a failure has \"error\"; then
  \"error\" is the RSM error, such as \"rsm/bad-offset\", \"message\" its text, \"data\" its data.

  An op that takes longer than \"timeout-ms\", 5000 by default, is interrupted, and the answer is the
  error rsm/timeout."
  (:require [nrepl.middleware :as middleware]
            [nrepl.misc :refer [response-for]]
            [nrepl.transport :as transport]
            [rsmapi.core :as rsm]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.command.common :refer [parse-integer]]
            [rsmapi.impl.show :as show]
            [rsmapi.inspect :as inspect])
  (:import (clojure.lang Namespace Var Var$Unbound)
           (java.util.concurrent Callable FutureTask ExecutionException TimeUnit TimeoutException)
           (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private default-timeout-ms 5000)
(def ^:private longest-timeout-ms 60000)
(def ^:private default-length "Of a dump, in bytes." 256)
(def ^:private longest-length "Of a dump, in bytes." 65536)

;; ------------------------------------------------------------- plain data

(defn- text-of [k]
  (if (ident? k)
    (str (when-let [n (namespace k)] (str n "/")) (name k))
    (str k)))

(defn plain
  "Data as bencode can have it: maps with string keys, lists, strings and integers. What is nil in
  a map is left out."
  [x]
  (cond
    (or (string? x) (int? x))            x
    (nil? x)                             ""
    (ident? x)                           (text-of x)
    (map? x)                             (into {} (keep (fn [[k v]] (when (some? v) [(text-of k) (plain v)]))) x)
    (bytes? x)                           (show/hex x "")
    (or (sequential? x) (set? x))        (mapv plain x)
    (and (some? x) (.isArray (class x))) (mapv plain x)
    :else                                (str x)))

;; -------------------------------------------------------------- arguments

(defn- bad-argument [op argument value hint]
  (args/failure RsmError/BAD_ARGS_ERRORS op :argument argument :value value :hint hint))

(defn- integer
  "An integer of a message, which may be a text; nil if there is none."
  [msg k op]
  (let [v (get msg k)]
    (cond
      (nil? v)    nil
      (int? v)    v
      (string? v) (let [n (parse-integer v)]
                    (if (int? n) n (throw (bad-argument op (name k) v "give an integer"))))
      :else       (throw (bad-argument op (name k) nil "give an integer")))))

(defn- keyword-argument
  "A keyword of a message, where it is a text, with or without a colon."
  [msg k op]
  (let [v (get msg k)]
    (cond
      (nil? v)    nil
      (string? v) (if-let [[_ text] (re-matches #":?([a-z0-9-]{1,40})" v)]
                    (keyword text)
                    (throw (bad-argument op (name k) v "give a name such as read")))
      (int? v)    v
      :else       (throw (bad-argument op (name k) nil "give a name such as read")))))

(defn- current-ns
  "The namespace in which names are looked up."
  ^Namespace [{:keys [ns session]} op]
  (if (nil? ns)
    (or (when session (get @session #'*ns*)) (the-ns 'user))
    (or (when (string? ns) (find-ns (symbol ns)))
        (throw (bad-argument op "ns" ns "there is no such namespace, or it is not loaded")))))

(defn- find-named
  "The var of a name, or nil. A class of that name is not looked for, and so not loaded."
  ^Var [^Namespace here sym]
  (if-let [n (some-> (namespace sym) symbol)]
    (when-let [^Namespace there (or (get (ns-aliases here) n) (find-ns n))]
      (.findInternedVar there (symbol (name sym))))
    (let [found (.getMapping here sym)]
      (when (var? found) found))))

(defn- value-of
  "The value of the var that a message names: the one it has in the session, or its root value."
  [{:keys [var session] :as msg} op]
  (when-not (and (string? var) (re-matches #"\S{1,1000}" var))
    (throw (bad-argument op "var" (when (string? var) var) "give the name of a var, such as user/m")))
  (let [sym   (symbol var)
        ^Var v (or (find-named (current-ns msg op) sym)
                   (throw (bad-argument op "var" var "there is no such var")))
        value (get (when session @session) v (.getRawRoot v))]
    (if (instance? Var$Unbound value)
      (throw (bad-argument op "var" var "the var has no value"))
      value)))

;; -------------------------------------------------------------------- ops

(defn- segments [msg op]
  {:segments (inspect/segments {:node (integer msg :node op)})})

(defn- describe [msg op]
  {:description (inspect/describe (value-of msg op))})

(defn- hexdump [msg op]
  (let [value  (value-of msg op)
        offset (args/integer (integer msg :offset op) 0 RsmError/BAD_OFFSET [op "offset"])
        memory (if (instance? org.rsmapi.ImportSegment value) (or (rsm/mapping value) value) value)
        size   (rsm/size (args/memory memory op))
        left   (max 0 (- (long size) (max 0 offset)))
        length (args/integer (integer msg :length op) (min (long default-length) left) RsmError/BAD_LENGTH [op "length"])]
    (when (< (long longest-length) length)
      (throw (args/failure RsmError/BAD_LENGTH op :length length
                           :hint (str "ask for at most " longest-length " bytes at a time"))))
    {:size size
     :lines (inspect/hexdump-lines memory (cond-> {:offset offset :length length}
                                            (:width msg) (assoc :width (integer msg :width op))))}))

(defn- check-map [msg op]
  (let [im    (value-of msg op)
        opts  (into {} (remove (comp nil? val))
                    {:offset (integer msg :offset op)
                     :length (integer msg :length op)
                     :address (integer msg :address op)
                     :perm (keyword-argument msg :perm op)
                     :attr (keyword-argument msg :attr op)})
        found (rsm/check-map im opts)]
    (if found
      {:result "error" :error (:rsm/error found) :data found}
      {:result "ok"})))

(def ^:private on-a-handle
  {"ns" "The namespace in which the name is looked up; default: that of the session."
   "timeout-ms" "How long the op may take, in milliseconds; default 5000."})

(def ^:private on-failure
  {"status" "\"done\"; of a failure also \"error\"."
   "error" "Of a failure: the RSM error, such as \"rsm/bad-offset\"."
   "message" "Of a failure: its text."
   "data" "Of a failure: its data, such as rsm/hint."})

(def ^:private ops
  {"rsm/segments"
   {:run segments
    :doc "Lists the published segments of this machine, also those of other processes."
    :requires {}
    :optional {"node" "Only those of this node."
               "timeout-ms" (on-a-handle "timeout-ms")}
    :returns (assoc on-failure
                    "segments" "A list of maps, with segment-id, node, uid, pid, mine?; see rsmapi.inspect/segments.")}
   "rsm/describe"
   {:run describe
    :doc "Describes a handle (a controller, segment, mapping, barrier, ...) as data."
    :requires {"var" "The name of the var whose value is the handle, such as \"user/m\"."}
    :optional on-a-handle
    :returns (assoc on-failure "description" "A map; see rsmapi.inspect/describe.")}
   "rsm/hexdump"
   {:run hexdump
    :doc "Reads bytes of a mapping, export segment or local memory."
    :requires {"var" "The name of the var whose value is the memory, or an import segment that is mapped."}
    :optional (assoc on-a-handle
                     "offset" "Where to start, in bytes; default 0."
                     "length" (str "In bytes, at most " longest-length "; default " default-length ".")
                     "width" "Bytes on a line.")
    :returns (assoc on-failure
                    "size" "The size of the memory in bytes."
                    "lines" "A list of maps, with offset, bytes, hex and text, or offset and repeats; see rsmapi.inspect/hexdump-lines.")}
   "rsm/check-map"
   {:run check-map
    :doc "Returns the error that map! would throw now, without mapping."
    :requires {"var" "The name of the var whose value is the import segment."}
    :optional (assoc on-a-handle
                     "offset" "In bytes; default 0."
                     "length" "In bytes; default: the rest of the segment."
                     "perm" "\"read\", \"write\" or \"rdwr\"; default: that of the connection."
                     "attr" "\"none\" or \"fixed\"; default \"none\"."
                     "address" "With \"fixed\", the address.")
    :returns (assoc on-failure
                    "result" "\"ok\", or \"error\": then map! would throw \"error\", with \"data\". The status has no \"error\" for that.")}})

;; ---------------------------------------------------------------- answers

(defn- failure [^Throwable t]
  (if (instance? RsmException t)
    {:status #{:error :done} :error (:rsm/error (ex-data t)) :message (ex-message t) :data (ex-data t)}
    {:status #{:error :done} :error :rsm/internal-error :message (str t)}))

(defn- within
  "The value of f, which runs in a thread of its own and is interrupted after so many milliseconds."
  [^long timeout-ms op f]
  (let [task   (FutureTask. ^Callable f)
        thread (doto (Thread. task "rsmapi-nrepl") (.setDaemon true))]
    (.start thread)
    (try
      (.get task timeout-ms TimeUnit/MILLISECONDS)
      (catch TimeoutException _
        (.cancel task true)
        (throw (args/failure RsmError/TIMEOUT op :timeout-ms timeout-ms)))
      (catch ExecutionException e
        (throw (or (.getCause e) e))))))

(defn- answer [msg op run]
  (try
    (let [timeout (args/integer (integer msg :timeout-ms op) default-timeout-ms RsmError/BAD_ARGS_ERRORS [op "timeout-ms"])]
      (within (max 0 (min timeout (long longest-timeout-ms))) op
              #(assoc (plain (run msg op)) :status #{:done})))
    (catch Throwable t
      (let [{:keys [status] :as found} (failure t)]
        (assoc (plain (dissoc found :status)) :status status)))))

(defn wrap-rsm
  "Middleware with the ops rsm/segments, rsm/describe, rsm/hexdump and rsm/check-map; see the
  namespace."
  [handler]
  (fn [{:keys [op] :as msg}]
    (if-let [{:keys [run]} (get ops op)]
      (transport/send (:transport msg) (response-for msg (answer msg op run)))
      (handler msg))))

(middleware/set-descriptor!
 #'wrap-rsm
 {:requires #{"clone"}
  :expects #{}
  :handles (update-vals ops #(dissoc % :run))})
