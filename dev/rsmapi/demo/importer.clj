(ns rsmapi.demo.importer
  "The importing host's process in the demo between hosts. It says what it does on standard output, and
  [:read], [:cut-off], [:connected] and [:done] after its steps; each but the first waits for a line on standard
  input."
  (:require [clojure.java.io :as io]
            [rsmapi.core :as rsm]
            [rsmapi.demo.header :as header]
            [rsmapi.demo.report :as report]
            [rsmapi.demo.steps :as steps :refer [check! refused say]]
            [rsmapi.error :as error])
  (:import [java.io File]
           [java.lang ProcessHandle]))

(set! *warn-on-reflection* true)

(def ^:private patience-ms 20000)

(defn- done! [step]
  (prn [step])
  (flush))

(defn- await-line! [line]
  (let [came (read-line)]
    (when (not= line came)
      (throw (ex-info "the demo has ended" {:expected line :came came})))))

(defn- until
  "Calls f until its result is one that matters, for a while; the result, and the milliseconds."
  [f matters?]
  (let [began (System/nanoTime)]
    (loop []
      (let [came (f)
            ms (quot (- (System/nanoTime) began) 1000000)]
        (if (or (matters? came) (< patience-ms ms))
          [came ms]
          (recur))))))

(defn- read-it! [c im ^File file]
  (say (report/text "is process %d on host %d" (.pid (ProcessHandle/current)) (rsm/node-id c)))
  (say "connected:" im)
  (say "what it can do:" (pr-str (rsm/capabilities im)))
  (let [length (.length file)
        file-crc (steps/crc-of-file file)
        [crc nanos] (report/timed (steps/crc-of-segment
                                   length
                                   (fn [at bytes n] (rsm/get! im (+ (header/size) (long at)) bytes 0 n))))]
    (say "read the segment, with get!:" (report/rate length nanos))
    (check! (report/text "its bytes are the file's, CRC32C %08x" file-crc) file-crc crc)
    (let [[m nanos] (report/timed (rsm/map! im))]
      (with-open [^java.lang.AutoCloseable _ m]
        (say "mapped it, which brings a copy:" (report/rate (rsm/size im) nanos))
        (check! "the header in the mapping is the demo's" [header/magic length file-crc] (mapv #(rsm/get-long m %) [0 8 16]))))))

(defn- be-cut-off! [c im id node]
  (await-line! "cut")
  (let [[failed ms] (until #(error/catching (rsm/get! im 0 (byte-array 64))) map?)]
    (check! (str "get! fails after " ms " ms") :rsm/conn-aborted (:rsm/error failed))
    (report/data failed))
  (rsm/close! im)
  (report/data (refused [:rsm/remote-node-unreachable 39] (rsm/connect! c {:node node :segment-id id :perm :read}))))

(defn- be-revoked! [c m id node]
  (await-line! "unpublished")
  (steps/await-notice! m)
  (report/data (refused [:rsm/conn-aborted 40] (rsm/get-long m 0)))
  (check! "unmap! works as always" nil (error/catching (rsm/unmap! m)))
  (refused [:rsm/seg-not-published 7] (rsm/connect! c {:node node :segment-id id})))

(defn- import! [file id node]
  (rsm/with-controller [c "net0"]
    (let [im (rsm/connect! c {:node node :segment-id id :perm :read})]
      (read-it! c im file)
      (steps/show-errors! c im node)
      (done! :read)
      (be-cut-off! c im id node)
      (done! :cut-off))
    (await-line! "mended")
    (let [[im ms] (until #(error/catching (rsm/connect! c {:node node :segment-id id :perm :read})) (complement map?))]
      (with-open [^java.lang.AutoCloseable im im]
        (say (str "connected again after " ms " ms: " im))
        (let [m (rsm/map! im {:length (header/size)})]
          (check! "the magic can be read" header/magic (rsm/get-long m 0))
          (done! :connected)
          (be-revoked! c m id node))))
    (done! :done)))

(defn -main [path id node]
  (try
    (import! (io/file path) (parse-long id) (parse-long node))
    (catch Throwable e
      (prn [:failed (or (ex-message e) (str e)) (or (error/error-of e) {})])
      (System/exit 1)))
  (System/exit 0))
