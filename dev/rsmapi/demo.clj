(ns rsmapi.demo
  "Two processes share the bytes of a file: clojure -X:demo :file '\"path\"'

  The exporter, a child JVM (rsmapi.demo.exporter), publishes the bytes as a segment. The
  importer, this JVM, connects to it, compares all of it with the file, shows errors as data,
  and looks on while the exporter ends the publication.

  With :hosts true the two are on hosts of their own, network namespaces of this machine, which
  needs root: rsmapi.demo.hosts.

  The exit code is 0 if every step was right, 1 if one was not, 2 for a bad :file."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.core :as rsm]
            [rsmapi.demo.child :as child]
            [rsmapi.demo.header :as header]
            [rsmapi.demo.hosts :as hosts]
            [rsmapi.demo.report :as report]
            [rsmapi.demo.steps :as steps :refer [check! refused say]]
            [rsmapi.error :as error])
  (:import [java.io File]
           [java.lang ProcessHandle]))

(set! *warn-on-reflection* true)

(defn- crc-of-mapping
  "The CRC32C of the file's bytes in the mapped segment."
  [m length]
  (steps/crc-of-segment length (fn [at bytes n] (rsm/get-bytes! m (+ (header/size) (long at)) bytes 0 n))))

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
        [file-crc file-nanos] (report/timed (steps/crc-of-file file))
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

(defn- show-revocation! [c im unpublish!]
  (let [id (rsm/segment-id im)
        m (rsm/map! im {:length (header/size)})]
    (check! "mapped, the magic can be read" header/magic (rsm/get-long m 0))
    (unpublish!)
    (check! "at once, it can be read no more"
            false (= header/magic (error/catching (rsm/get-long m 0))))
    (steps/await-notice! m)
    (report/data
     (refused [:rsm/conn-aborted 40] (rsm/get-long m 0)))
    (check! "unmap! works as always" nil (error/catching (rsm/unmap! m)))
    (refused [:rsm/conn-aborted 40] (rsm/map! im))
    (check! "disconnect! works as always" nil (error/catching (rsm/disconnect! im)))
    (refused [:rsm/seg-not-published 7] (rsm/connect! c {:segment-id id}))))

;; ------------------------------------------------------------ the exporter

(defn- unpublish! [exporter]
  (child/tell! exporter "unpublish")
  (child/await! exporter "exporter" :unpublished))

(defn- share! [^File file]
  (let [exporter (child/start! 'rsmapi.demo.exporter (.getPath file))]
    (try
      (say (report/text "is process %d, the exporter is %d, both Java %s"
                        (.pid (ProcessHandle/current)) (:pid exporter)
                        (System/getProperty "java.version")))
      (let [[_ id] (child/await! exporter "exporter" :published)]
        (report/say "exporter" (report/text "published it as 0x%08x" id))
        (rsm/with-controller [c "loopback"]
          (rsm/with-imported-segment [im c {:segment-id id :perm :read}]
            (say "connected:" im)
            (compare-with-file! im file)
            (steps/show-errors! c im (rsm/node-id c))
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
        unknown (first (keys (dissoc opts :file :hosts)))]
    (cond
      unknown (str "there is no option " (pr-str unknown) ", only :file and :hosts")
      (not (contains? #{nil true false} (:hosts opts))) (str ":hosts is true or false, not " (pr-str (:hosts opts)))
      (and (:hosts opts) (hosts/obstacle)) (str "there can be no two hosts here: " (hosts/obstacle))
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
        ((if (:hosts opts) hosts/share! share!) (io/file (:file opts)))
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
    :file   the path of a file with at least one byte; default: a large one of the JDK
    :hosts  true: between two hosts, which are network namespaces; needs root and ip"
  [opts]
  (System/exit (demo opts)))
