(ns rsmapi.demo.exporter
  "The exporting process of the demo: publishes a file's bytes as a segment.

  It answers on standard output, one vector of EDN a line:

    [:say text] [:progress what done total] [:published id] [:unpublished]
    [:failed text data]

  and obeys standard input: the line `unpublish`, and its end, which ends the process."
  (:require [rsmapi.core :as rsm]
            [rsmapi.demo.header :as header]
            [rsmapi.demo.report :as report]
            [rsmapi.error :as error])
  (:import [java.nio ByteBuffer]
           [java.nio.channels FileChannel]
           [java.nio.file OpenOption Path]
           [java.util.zip CRC32C]))

(set! *warn-on-reflection* true)

(def ^:private chunk-size (* 1024 1024))
(def ^:private progress-every-ms 100)

(defn- answer! [& message]
  (prn (vec message))
  (when (.checkError System/out) ; the reader is gone
    (System/exit 1)))

(defn- whole-pages [bytes]
  (let [page (rsm/page-size)]
    (* page (quot (+ bytes page -1) page))))

(defn- fill!
  "Copies the file into the segment, behind the header. Returns its CRC32C."
  [segment ^FileChannel file length]
  (let [buffer (ByteBuffer/allocateDirect chunk-size)
        crc (CRC32C.)]
    (loop [done 0]
      (when (< done length)
        (when (report/due? progress-every-ms)
          (answer! :progress "filling the segment" done length))
        (.limit (.clear buffer) (int (min chunk-size (- length done))))
        (let [n (.read file buffer)]
          (when (neg? n)
            (throw (ex-info "the file became shorter while it was read" {:bytes done})))
          (.update crc (.flip buffer))
          (rsm/put-buffer! segment (+ (header/size) done) (.flip buffer))
          (recur (+ done n)))))
    (.getValue crc)))

(defn- export!
  "Exports the file to a node."
  [controller node ^FileChannel file]
  (let [length (.size file)]
    (with-open [segment (rsm/create! controller {:size (whole-pages (+ (header/size) length))})]
      (answer! :say (str "created " segment))
      (let [[crc nanos] (report/timed (fill! segment file length))]
        (header/put! segment {:length length :crc crc})
        (answer! :say (str "filled it with " (report/rate length nanos))))
      (answer! :published (rsm/publish! segment {:acl [{:node node :perm 0444}]}))
      (when (= "unpublish" (read-line))
        (let [[_ nanos] (report/timed (rsm/unpublish! segment))]
          (answer! :say (report/text "unpublished it in %.1f ms: %s" (/ nanos 1e6) segment))
          (answer! :unpublished))
        (read-line)))))

(defn -main
  "Exports a file: over loopback, or another controller and to another node."
  [path & [controller node]]
  (try
    (with-open [file (FileChannel/open (Path/of path (make-array String 0))
                                       (make-array OpenOption 0))]
      (rsm/with-controller [c (or controller "loopback")]
        (export! c (if node (parse-long node) (rsm/node-id c)) file)))
    (catch Throwable e
      (answer! :failed (or (ex-message e) (str e)) (or (error/error-of e) {}))
      (System/exit 1)))
  (System/exit 0))
