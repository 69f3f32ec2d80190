(ns rsmapi.demo
  "Two processes share the bytes of a file: clojure -X:demo :file '\"path\"'

  The exporter, a child JVM (rsmapi.demo.exporter), publishes the bytes as a segment. The
  importer, this JVM, connects to it, compares all of it with the file, shows errors as data,
  and looks on while the exporter ends the publication.

  The exit code is 0 if every step was right, 1 if one was not, 2 for a bad :file."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.core :as rsm]
            [rsmapi.demo.child :as child]
            [rsmapi.demo.header :as header]
            [rsmapi.demo.report :as report]
            [rsmapi.error :as error])
  (:import [java.io File FileInputStream]
           [java.lang ProcessHandle]
           [java.util.zip CRC32C]))

(set! *warn-on-reflection* true)

(def ^:private chunk-size (* 1024 1024))
(def ^:private unknown-id 0x7ffffffe)
(def ^:private notice-ms 5000)

(def ^:private say (partial report/say "importer"))
(def ^:private check! (partial report/check! "importer"))

(defmacro ^:private refused
  "Evaluates a call that has to fail, checks the name and the number of the error, and
  returns the error's data."
  [[error code] call]
  `(let [came# (error/catching ~call)]
     (check! (str '~call " is refused: " ~error " " ~code)
             [~error ~code]
             (if (map? came#) (mapv came# [:rsm/error :rsm/code]) came#))
     came#))

;; --------------------------------------------------------------- the bytes

(defn- crc-of-file
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

(defn- crc-of-mapping
  "The CRC32C of the file's bytes in the mapped segment."
  [m length]
  (let [crc (CRC32C.)
        bytes (byte-array chunk-size)]
    (doseq [at (range 0 length chunk-size)
            :let [n (min chunk-size (- length at))]]
      (report/progress "importer" "reading the segment" at length)
      (rsm/get-bytes! m (+ (header/size) at) bytes 0 n)
      (.update crc bytes 0 n))
    (.getValue crc)))

;; --------------------------------------------------------------- the steps

(defn- read-segment!
  "Reads the mapped segment, says how fast that was, and returns the CRC32C."
  [m length what]
  (let [[crc nanos] (report/timed (crc-of-mapping m length))]
    (say (str what ":") (report/rate length nanos))
    crc))

(defn- compare-with-file!
  "Reads the segment as often as it takes to tell the work of the page table, which the first access to each page has to
  do, from the reading itself."
  [im ^File file]
  (let [length (.length file)
        [file-crc file-nanos] (report/timed (crc-of-file file))
        _ (say "read the file:               " (report/rate length file-nanos))
        touched (rsm/with-mapped-segment [m im]
                  (check! "the header is the demo's, with the file's length and CRC32C"
                          {:magic header/magic :length length :crc file-crc}
                          (header/look m))
                  [(read-segment! m length "read the segment, first pass ")
                   (read-segment! m length "read the segment, second pass")])
        [m map-nanos] (report/timed (rsm/map! im {:prefault true}))
        _ (say (report/text "mapped it with :prefault in %.1f ms" (/ map-nanos 1e6)))
        prefaulted (try
                     (read-segment! m length "read that, first pass        ")
                     (finally
                       (rsm/unmap! m)))]
    (check! (report/text "the segment's bytes are the file's each time, CRC32C %08x" file-crc)
            [file-crc file-crc file-crc] (conj touched prefaulted))))

(defn- show-errors! [c im]
  (report/data
   (refused [:rsm/bad-mem-alignment 17] (rsm/map! im {:offset 100 :length 10})))
  (rsm/with-mapped-segment [m im]
    (report/data
     (refused [:rsm/perm-denied 27] (rsm/put-long! m 0 42))))
  (report/data
   (refused [:rsm/seg-not-published 7] (rsm/connect! c {:segment-id unknown-id}))))

(defn- await-notice!
  "Waits until the mapping knows of the revocation, of which a notice comes from the exporter.
  It gives zeros until then."
  [m]
  (let [deadline (+ (System/currentTimeMillis) notice-ms)]
    (while (and (= :mapped (:state (datafy m)))
                (< (System/currentTimeMillis) deadline))
      (Thread/sleep 1))))

(defn- show-revocation! [c im unpublish!]
  (let [id (rsm/segment-id im)
        m (rsm/map! im {:length (header/size)})]
    (check! "mapped, the magic can be read" header/magic (rsm/get-long m 0))
    (unpublish!)
    (check! "at once, it can be read no more"
            false (= header/magic (error/catching (rsm/get-long m 0))))
    (await-notice! m)
    (report/data
     (refused [:rsm/conn-aborted 40] (rsm/get-long m 0)))
    (check! "unmap! works as always" nil (error/catching (rsm/unmap! m)))
    (refused [:rsm/conn-aborted 40] (rsm/map! im))
    (check! "disconnect! works as always" nil (error/catching (rsm/disconnect! im)))
    (refused [:rsm/seg-not-published 7] (rsm/connect! c {:segment-id id}))))

;; ------------------------------------------------------------ the exporter

(defn- await-exporter!
  "Passes on what the exporter says until the answer that is waited for, and returns that."
  [exporter awaited]
  (loop []
    (let [[kind & [a b c] :as answer] (child/hear! exporter)]
      (condp = kind
        awaited answer
        :say (do (report/say "exporter" a) (recur))
        :progress (do (report/progress "exporter" a b c) (recur))
        :failed (throw (ex-info (str "the exporter failed: " a) b))
        (throw (ex-info "the exporter did not answer" {:expected awaited :came answer}))))))

(defn- unpublish! [exporter]
  (child/tell! exporter "unpublish")
  (await-exporter! exporter :unpublished))

(defn- share! [^File file]
  (let [exporter (child/start! 'rsmapi.demo.exporter (.getPath file))]
    (try
      (say (report/text "is process %d, the exporter is %d, both Java %s"
                        (.pid (ProcessHandle/current)) (:pid exporter)
                        (System/getProperty "java.version")))
      (let [[_ id] (await-exporter! exporter :published)]
        (report/say "exporter" (report/text "published it as 0x%08x" id))
        (rsm/with-controller [c "loopback"]
          (rsm/with-imported-segment [im c {:segment-id id :perm :read}]
            (say "connected:" im)
            (compare-with-file! im file)
            (show-errors! c im)
            (show-revocation! c im #(unpublish! exporter)))))
      (report/check! "exporter" "ends by itself, exit code 0" 0 (child/stop! exporter))
      (finally
        (child/stop! exporter)))))

;; ---------------------------------------------------------------- the file

(defn- default-file
  "A large file that JDKs have, or else a jar of the class path."
  []
  (let [modules (io/file (System/getProperty "java.home") "lib" "modules")
        class-path (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))]
    (->> (cons modules (map io/file class-path))
         (filter #(.isFile ^File %))
         first
         str)))

(defn- objection
  "What is wrong with the options, in one line; nil if nothing is."
  [{:keys [file] :as opts}]
  (let [f (when (string? file) (io/file file))
        unknown (first (keys (dissoc opts :file)))]
    (cond
      unknown (str "there is no option " (pr-str unknown) ", only :file")
      (nil? f) (str ":file is a path in a string, as in :file '\"LICENSE\"', not " (pr-str file))
      (not (.exists f)) (str "there is no file " (pr-str file))
      (.isDirectory f) (str (pr-str file) " is a directory")
      (not (.isFile f)) (str (pr-str file) " is not a regular file")
      (not (.canRead f)) (str (pr-str file) " may not be read")
      (zero? (.length f)) (str (pr-str file) " is empty, there is nothing to share"))))

(defn demo
  "Does what `run` does, but returns the exit code."
  [opts]
  (let [opts (merge {:file (default-file)} opts)
        complaint (objection opts)]
    (if complaint
      (do (report/say "demo" complaint)
          2)
      (try
        (report/say "demo" "shares" (:file opts))
        (share! (io/file (:file opts)))
        (report/say "demo" "every step was right")
        0
        (catch Exception e
          (when-not (child/ending?)
            (report/say "demo" (if (error/error-of e) "FAILED, no error was expected:" "FAILED:")
                        (or (ex-message e) (str e)))
            (some-> (ex-data e) report/data))
          1)))))

(defn run
  "Runs the demo and ends the JVM.

  Options:
    :file  the path of a file with at least one byte; default: a large one of the JDK"
  [opts]
  (System/exit (demo opts)))
