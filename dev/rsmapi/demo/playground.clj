(ns rsmapi.demo.playground
  "Both sides of a segment in one process, to try things at the REPL. `user` refers to all
  of it, and has the handles as c, ex, im and m; (help) says what to try."
  (:require [clojure.string :as str]
            [rsmapi.core :as rsm])
  (:import [java.nio.charset StandardCharsets]))

(set! *warn-on-reflection* true)

(def ^:private handles
  "Names in `user`, in the order in which they are closed: mapping, import segment, export
  segment, controller."
  '[m im ex c])

(defn- bound [sym]
  (some-> (ns-resolve 'user sym) deref))

(defn- bind! [sym handle]
  (intern 'user sym handle)
  handle)

(doseq [sym handles]
  (bind! sym (bound sym)))

(defn stop!
  "Closes what is open, in whatever state it is."
  []
  (doseq [sym handles
          :let [handle (bound sym)]]
    (bind! sym nil)
    (some-> handle rsm/close!)))

(defn- open! [sym handle]
  (println (format "%-2s %s" sym handle))
  (bind! sym handle))

(defn- import! [c id]
  (let [im (open! 'im (rsm/connect! c {:segment-id id :perm :rdwr}))]
    (open! 'm (rsm/map! im))))

(def ^:private last-options (atom nil))

(defn start!
  "Publishes a segment, connects to it and maps it; binds c, ex, im and m in `user`. What was
  started before is stopped.

  Options:
    :size        in bytes, a multiple of the page size; default 64 KiB
    :segment-id  default: one is assigned"
  ([] (start! nil))
  ([{:keys [size segment-id] :as opts}]
   (stop!)
   (reset! last-options opts)
   (let [c (open! 'c (rsm/get-controller "loopback"))
         ex (bind! 'ex (rsm/create! c {:size (or size 65536)}))
         id (rsm/publish! ex {:segment-id segment-id})]
     (open! 'ex ex)
     (import! c id)
     nil)))

(defn restart!
  "Stops, and starts as the last start! did."
  []
  (start! @last-options))

(defn join!
  "Connects to a segment that another process has published, and maps it; binds c, im and m."
  [segment-id]
  (stop!)
  (import! (open! 'c (rsm/get-controller "loopback")) segment-id)
  nil)

(defn poke!
  "Writes a string, as UTF-8."
  [memory offset s]
  (rsm/put-bytes! memory offset (.getBytes ^String s StandardCharsets/UTF_8)))

(defn look
  "Reads a string of so many bytes."
  [memory offset length]
  (String. ^bytes (rsm/get-bytes memory offset length) StandardCharsets/UTF_8))

(defn hexdump
  "Prints length bytes from offset on."
  ([memory] (hexdump memory 0 64))
  ([memory offset length]
   (doseq [[row bytes] (map-indexed vector (partition-all 16 (rsm/get-bytes memory offset length)))]
     (println (format "%08x  %-48s |%s|"
                      (+ offset (* 16 row))
                      (str/join " " (map #(format "%02x" %) bytes))
                      (str/join (map #(if (<= 32 % 126) (char %) \.) bytes)))))))

(defn listen!
  "Prints a line for each signal of a segment, from now on. Returns the listener, to be closed."
  [segment]
  (rsm/on-signal! segment #(println "signal:" (str %))
                  {:on-end #(println "no more signals:" (str segment) (or (:rsm/error (ex-data %)) ""))}))

(defn help
  "Prints what to try."
  []
  (println "
  (start!)                        ; c the controller, ex the export segment,
                                  ; im the import segment, m its mapping
  (poke! ex 0 \"hello\")            ; the exporter writes,
  (look m 0 5)                    ; the importer reads
  (rsm/put-long! m 8 42)          ; and the other way round
  (rsm/get-long ex 8)
  (hexdump m 0 32)
  (datafy im)                     ; any handle, as data

  (rsm/signal-post! im)           ; wakes a wait for the export segment,
  (rsm/signal-wait! ex {:timeout-ms 1000})           ; now or later
  (def l (listen! ex))            ; prints each signal of it,
  (rsm/signal-post! im)
  (rsm/close! l)                  ; until here

  (rsm/with-barrier [b im]        ; told if a write got lost
    (rsm/put-long! m 16 7))
  (rsm/put! im 32 (.getBytes \"hello\"))             ; without a mapping of one's own:
  (String. (rsm/get! im 32 (byte-array 5)))          ; offsets in the segment
  (rsm/put16! im 48 [1 2 3])
  (vec (rsm/get16 im 48 3))

  (error/catching (rsm/get-long m 65530))            ; errors are data
  (rsm/unmap! im)
  (rsm/check-map im {:offset 100 :length 10})        ; what map! would throw
  (def m (rsm/map! im {:offset 4096 :length 8192 :perm :read}))
  (error/catching (rsm/put-long! m 0 1))
  (error/lookup 27)

  (rsm/unpublish! ex)             ; takes the memory away from the importer
  (error/catching (rsm/get-long m 0))
  (rsm/aborted? im)
  (rsm/get-long ex 8)             ; the exporter keeps it

  (restart!)                      ; once more
  (stop!)

  With two terminals: (start! {:segment-id 0x600001}) here, (join! 0x600001) there.
"))
