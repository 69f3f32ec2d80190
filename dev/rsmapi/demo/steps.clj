(ns rsmapi.demo.steps
  "What the importer does in both demos: reads the file, shows errors."
  (:require [clojure.datafy :refer [datafy]]
            [rsmapi.core :as rsm]
            [rsmapi.demo.report :as report]
            [rsmapi.error :as error])
  (:import [java.io File FileInputStream]
           [java.util.zip CRC32C]))

(set! *warn-on-reflection* true)

(def chunk-size (* 1024 1024))
(def ^:private unknown-id 0x7ffffffe)
(def ^:private notice-ms 5000)

(def say (partial report/say "importer"))
(def check! (partial report/check! "importer"))

(defmacro refused
  "Evaluates a call that has to fail, checks the name and the number of the error, and
  returns the error's data."
  [[error code] call]
  `(let [came# (error/catching ~call)]
     (check! (str '~call " is refused: " ~error " " ~code)
             [~error ~code]
             (if (map? came#) (mapv came# [:rsm/error :rsm/code]) came#))
     came#))

(defn crc-of-file
  "The file's CRC32C, by plain reading."
  [^File file]
  (with-open [in (FileInputStream. file)]
    (let [crc (CRC32C.)
          bytes (byte-array chunk-size)]
      (loop [done 0]
        (report/progress "importer" "reading the file" done (.length file))
        (let [n (.read in bytes)]
          (when (pos? n)
            (.update crc bytes 0 n)
            (recur (+ done n)))))
      (.getValue crc))))

(defn crc-of-segment
  "The CRC32C of so many bytes; read! fills an array with those at an offset, up to a length."
  [length read!]
  (let [crc (CRC32C.)
        bytes (byte-array chunk-size)]
    (doseq [at (range 0 length chunk-size)
            :let [n (min chunk-size (- length at))]]
      (report/progress "importer" "reading the segment" at length)
      (read! at bytes n)
      (.update crc bytes 0 n))
    (.getValue crc)))

(defn show-errors! [c im node]
  (report/data
   (refused [:rsm/bad-mem-alignment 17] (rsm/map! im {:offset 100 :length 10})))
  (rsm/with-mapped-segment [m im {:length 4096}]
    (report/data
     (refused [:rsm/perm-denied 27] (rsm/put-long! m 0 42))))
  (report/data
   (refused [:rsm/seg-not-published 7] (rsm/connect! c {:node node :segment-id unknown-id}))))

(defn await-notice!
  "Waits until the mapping knows of the revocation, of which a notice comes from the exporter."
  [m]
  (let [deadline (+ (System/currentTimeMillis) notice-ms)]
    (while (and (= :mapped (:state (datafy m)))
                (< (System/currentTimeMillis) deadline))
      (Thread/sleep 1))))
