(ns rsmapi.demo.hosts
  "The demo between two hosts, which are network namespaces of this machine: clojure -X:demo :hosts true

  Each host has a key and a process, which also plays its gateway: the exporter, and the importer
  (rsmapi.demo.importer). This JVM makes the hosts, cuts the cable between them and mends it, and
  has the exporter revoke the segment."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [rsmapi.demo.child :as child]
            [rsmapi.demo.report :as report]
            [rsmapi.hosts :as hosts]
            [rsmapi.test.netns :as netns])
  (:import [java.io File]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]))

(set! *warn-on-reflection* true)

(def ^:private say (partial report/say "demo"))

(defn obstacle
  "Why there can be no such hosts here; nil if there can."
  []
  (netns/obstacle))

(defn- files!
  "Makes a key for each host, and the nodes file that they share, in a folder. A function of a
  host: what its process is told."
  [net ^File folder]
  (let [key-file #(io/file folder (str "host" % ".key"))
        nodes (io/file folder "rsm.nodes")]
    (spit nodes (str/join (for [host [1 2]]
                            (str "node " host " " (netns/address net host) " " (:key (hosts/make-key! (key-file host))) "\n"))))
    (say "made two hosts, a key for each, and the file that both have:")
    (run! say (str/split-lines (slurp nodes)))
    (fn [host]
      {:prefix (netns/prefix net host)
       :jvm-opts [(str "-Drsmapi.nodes=" nodes) (str "-Drsmapi.key=" (key-file host))]})))

(defn- step!
  "Tells the importer to go on, and waits until it has done a step."
  [importer line step]
  (when line
    (child/tell! importer line))
  (child/await! importer "importer" step))

(defn- conduct! [net as-on ^File file]
  (let [exporter (child/start! (assoc (as-on 1) :ns 'rsmapi.demo.exporter) (.getPath file) "net0" "2")]
    (try
      (let [[_ id] (child/await! exporter "exporter" :published)
            _ (report/say "exporter" (report/text "on host 1 published it as 0x%08x" id))
            importer (child/start! (assoc (as-on 2) :ns 'rsmapi.demo.importer) (.getPath file) (str id) "1")]
        (try
          (step! importer nil :read)
          (netns/unplug! net 2)
          (say "has taken the cable out")
          (step! importer "cut" :cut-off)
          (netns/plug! net 2)
          (say "has put it in again")
          (step! importer "mended" :connected)
          (child/tell! exporter "unpublish")
          (child/await! exporter "exporter" :unpublished)
          (step! importer "unpublished" :done)
          (report/check! "importer" "ends by itself, exit code 0" 0 (child/stop! importer))
          (finally
            (child/stop! importer))))
      (report/check! "exporter" "ends by itself, exit code 0" 0 (child/stop! exporter))
      (finally
        (child/stop! exporter)))))

(defn- delete! [^File folder]
  (doseq [^File f (reverse (file-seq folder))]
    (.delete f)))

(defn share!
  "Shares the bytes of a file between two hosts."
  [file]
  (let [folder (.toFile (Files/createTempDirectory "rsmapi-demo" (make-array FileAttribute 0)))]
    (try
      (netns/with-hosts [net 2]
        (conduct! net (files! net folder) file))
      (finally
        (delete! folder)))))
