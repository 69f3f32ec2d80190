(ns rsmapi.bench.rows
  "What is measured, beside what, and what is to be reached.

  A task is a map:
    :group  the plot it belongs to
    :sides  what takes turns, each a map of
              :side   its name
              :role   :ours, :peer (checks bounds as we do), :floor (checks nothing), :c,
                      or :other, which no target is about
              :run    [:jmh class-and-method params], [:c program & arguments],
                      [:java class & arguments], [:start & arguments],
                      [:hosts & arguments of rsmapi.bench.hosts/measure];
                      among the arguments of programs :seconds stands for how long to measure
                      and :repeats for how often, where that is not a matter of time
              :since  the first JDK release that has it
              :slow   whether one operation takes longer than a few milliseconds
              :may-fail  whether the run is complete without it
    :rows   what comes of it, each a map of
              :row      its name
              :metric   the name of the samples
              :unit     of the samples; less is better
              :targets  what our sides are to reach, each a map of
                          :beside  a role, or the name of a side
                          :times   at most so many times the fastest of those
                          :plus    at most so much more, or more than :times
                          :below   or less than this, beside nothing
                          :only    the sides that it is for; default: all of ours
    :memory  bytes that have to be available"
  (:require [clojure.string :as str]))

(def ^:private kib 1024)
(def ^:private mib (* 1024 kib))
(def ^:private gib (* 1024 mib))

(defn- bytes-text [n]
  (cond (>= n gib) (str (quot n gib) " GiB")
        (>= n mib) (str (quot n mib) " MiB")
        (>= n kib) (str (quot n kib) " KiB")
        :else (str n " B")))

(defn- jmh [side role class method params & {:as more}]
  (merge {:side side :role role :run [:jmh (str class "." method) params]} more))

(defn- jvm-sides
  "The sides that are classes of dev/java: named by the prefix of what they measure."
  [prefix method params names]
  (for [[suffix side role since] [["Rsmapi" "rsmapi, Java" :ours]
                                  ["Clojure" "rsmapi, Clojure" :ours]
                                  ["Engine" "engine, unchecked" :floor]
                                  ["Agrona" "Agrona UnsafeBuffer" :peer]
                                  ["Buffer" "direct ByteBuffer" :peer]
                                  ["Array" "Java array" :peer]
                                  ["ArrayClojure" "Java array, Clojure" :other]
                                  ["Foreign" "MemorySegment" :peer 22]]
        :when (names suffix)]
    (cond-> (jmh side role (str prefix suffix) method params)
      since (assoc :since since))))

(def ^:private access
  (for [op ["get" "put"], type ["long" "int" "byte"], order ["random" "sequential"]]
    {:group "access"
     :sides (jvm-sides "Access" (str op (str/capitalize type)) {:order order}
                       #{"Rsmapi" "Clojure" "Engine" "Agrona" "Buffer" "Array" "ArrayClojure" "Foreign"})
     :rows [{:row (str op " " type ", " order) :metric "score" :unit "ns"
             :targets [{:beside :peer :times 1.10}
                       {:beside "Java array, Clojure" :times 1.10 :only #{"rsmapi, Clojure"}}]}]}))

(def ^:private streams
  (for [[method text] [["sum" "sum of 64 MiB of longs"]
                       ["column" "sum of an int in each 64 bytes of 64 MiB"]
                       ["fill" "fill of 64 MiB"]]
        :let [size (* 64 mib)]]
    {:group "streams"
     :sides (concat (jvm-sides "Stream" method {:size size}
                               (cond-> #{"Rsmapi" "Clojure" "Engine" "Agrona" "Buffer" "Array" "Foreign"}
                                 (= method "fill") (disj "Buffer")))
                    [{:side "C" :role :c :run [:c "stream" method size :seconds]}])
     :rows [{:row text :metric "score" :unit "ns"
             :targets [{:beside :peer :times 1.15} {:beside :c :times 1.3}]}]}))

(def ^:private copies
  (for [[method c text] [["toArray" "out" "copy %s to an array"]
                         ["fromArray" "in" "copy %s from an array"]
                         ["within" "within" "copy %s within a segment"]]
        size [64 (* 4 kib) (* 64 kib) mib (* 64 mib)]]
    {:group "copies"
     :sides (concat (for [s (jvm-sides "Copy" method {:size size} #{"Rsmapi" "Clojure" "Agrona" "Buffer" "Foreign"})]
                      (if (= "MemorySegment" (:side s)) (assoc s :side "MemorySegment.copy") s))
                    [{:side "C memcpy" :role :c :run [:c "copy" c size :seconds]}])
     :rows [{:row (format text (bytes-text size)) :metric "score" :unit "ns"
             ;; 0.95 of the speed is 1 / 0.95 of the time
             :targets (when (<= (* 4 kib) size)
                        [{:beside :peer :times (/ 1 0.95)} {:beside :c :times (/ 1 0.95)}])}]}))

(def ^:private maps
  (for [size [(* 4 kib) (* 2 mib) gib]
        touch [false true]
        :let [params {:size size :touch touch}
              slow   (and touch (= size gib))]]
    {:group "maps"
     :memory (* 2 size)
     :sides [(jmh "rsmapi, Java" :ours "MapRsmapi" "mapUnmap" params :slow slow)
             (jmh "rsmapi, Clojure" :ours "MapClojure" "mapUnmap" params :slow slow)
             (jmh "FileChannel.map, arena" :peer "MapForeign" "mapUnmap" params :since 22 :slow slow)
             {:side "C" :role :c :run [:c "map" size touch :seconds]}]
     :rows [{:row (str "map and unmap " (bytes-text size) (if touch ", each page written" ", untouched"))
             :metric "score" :unit "ns"
             :targets (cond-> [{:beside :peer :times 1.0}]
                        (and (= size (* 4 kib)) (not touch)) (conj {:beside :c :times 1.3 :only #{"rsmapi, Java"}}))}]}))

(def ^:private lifecycle
  [{:group "lifecycle"
    :sides [{:side "rsmapi, Java" :role :ours :run [:java "Lifecycle" :seconds]}
            {:side "C, the same calls" :role :c :run [:c "lifecycle" :seconds]}]
    :rows (for [step ["create" "publish" "connect" "disconnect" "destroy"]]
            {:row step :metric step :unit "ns"
             :targets (when-not (= step "create") [{:beside :c :times 3.0}])})}])

(def ^:private trips
  [{:group "trips"
    :sides [{:side "rsmapi, Java" :role :ours :run [:java "SignalTrip" :seconds]}
            {:side "C eventfd" :role :c :run [:c "trip" "eventfd" :seconds]}
            {:side "C eventfd, the same calls" :role :other :run [:c "trip" "polled" :seconds]}
            {:side "C pipe" :role :other :run [:c "trip" "pipe" :seconds]}]
    :rows [{:row "signal to another process and back" :metric "trip" :unit "ns"
            :targets [{:beside :c :times 1.25}]}]}
   {:group "trips"
    :sides [{:side "rsmapi, Java" :role :ours :run [:java "ValueTrip" :seconds]}
            {:side "C" :role :c :run [:c "trip" "value" :seconds]}]
    :rows [{:row "value to another process and back, spinning" :metric "trip" :unit "ns"
            :targets [{:beside :c :times 1.15}]}]}])

(def ^:private transfers
  (concat
   (for [op ["put" "get"], size [8 64 (* 4 kib) (* 64 kib) mib]]
     {:group "transfers"
      :sides [(jmh "rsmapi, Java" :ours "TransferRsmapi" op {:size size})
              (jmh "rsmapi, Clojure" :ours "TransferClojure" op {:size size})
              (jmh "plain copy" :peer "TransferEngine" op {:size size})]
      :rows [{:row (str op " of " (bytes-text size)) :metric "score" :unit "ns"
              :targets [{:beside :peer :plus 50}]}]})
   [{:group "transfers"
     :sides [(jmh "rsmapi, Java" :ours "Handles" "barrier" {})
             (jmh "rsmapi, Clojure" :ours "Handles" "barrierClojure" {})]
     :rows [{:row "barrier, open and close" :metric "score" :unit "ns" :targets [{:below 100}]}]}
    {:group "transfers"
     :sides [(jmh "rsmapi, Java" :ours "Handles" "signal" {})
             (jmh "rsmapi, Clojure" :ours "Handles" "signalClojure" {})]
     :rows [{:row "signal, post and take in one thread" :metric "score" :unit "ns"}]}]))

(def ^:private layouts
  (concat
   [{:group "layouts"
     :sides [(jmh "Clojure, accessor" :ours "RecordsClojure" "fieldByAccessor" {:size (* 8 kib)})
             (jmh "Clojure, view" :other "RecordsClojure" "fieldByView" {:size (* 8 kib)})
             (jmh "Clojure, column" :other "RecordsClojure" "fieldByColumn" {:size (* 8 kib)})
             (jmh "Clojure, by hand" :peer "RecordsClojure" "fieldByHand" {:size (* 8 kib)})
             (jmh "Java, by hand" :other "RecordsRsmapi" "field" {:size (* 8 kib)})
             (jmh "Agrona UnsafeBuffer" :other "RecordsAgrona" "field" {:size (* 8 kib)})
             (jmh "MemorySegment, VarHandle" :other "RecordsForeign" "fieldByHandle" {:size (* 8 kib)} :since 22)]
     :rows [{:row "a field of a struct" :metric "score" :unit "ns"
             :targets [{:beside :peer :times 1.10}]}]}]
   (for [size [(* 256 kib) (* 64 mib)]]
     {:group "layouts"
      :sides [(jmh "Clojure, column" :ours "RecordsClojure" "sumOfColumn" {:size size})
              (jmh "Clojure, by hand" :peer "RecordsClojure" "sumByHand" {:size size})
              (jmh "Java, Strided" :ours "RecordsRsmapi" "strided" {:size size})
              (jmh "Java, by hand" :peer "RecordsRsmapi" "sum" {:size size})
              (jmh "Agrona UnsafeBuffer" :peer "RecordsAgrona" "sum" {:size size})
              (jmh "MemorySegment" :peer "RecordsForeign" "sum" {:size size} :since 22)
              (jmh "MemorySegment, VarHandle" :peer "RecordsForeign" "sumByHandle" {:size size} :since 22)]
      :rows [{:row (str "sum of a column of doubles in " (bytes-text size) " of structs") :metric "score" :unit "ns"
              :targets [{:beside :peer :times 1.10}]}]})))

(def ^:private few "10 segments")

(def ^:private scale
  [{:group "scale"
    :sides (for [[text n] [[few 10] ["1,000 segments" 1000] ["10,000 segments" 10000]]]
             {:side text :role (if (= text few) :other :ours) :run [:java "Scale" n :seconds :repeats]})
    :rows [{:row "connect and disconnect, so many being published" :metric "connect" :unit "ns"
            :targets [{:beside few :times 1.2}]}
           {:row "threads of the process" :metric "threads" :unit ""
            :targets [{:beside few :times 1.0}]}
           {:row "memory of a published segment" :metric "memory" :unit "bytes"}
           {:row "descriptors of a published segment" :metric "descriptors" :unit ""}
           {:row "processes that publish them" :metric "processes" :unit ""}
           {:row "unpublish with 100 importers" :metric "revoked" :unit "ns"}
           {:row "until the last of 100 importers knows" :metric "told" :unit "ns"}]}])

;; two forms: the macros have to be there when the second is compiled
(def ^:private clojure-mapping
  ["clojure.main"
   "-e" "(require '[rsmapi.core :as rsm])"
   "-e" (str "(rsm/with-controller [c nil] (rsm/with-exported-segment [ex c {:size 4096}]"
             " (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]"
             " (rsm/with-mapped-segment [m im] (rsm/get-long m 0)))))")])

(def ^:private starts
  (let [commands [["rsmapi, Clojure" :ours clojure-mapping]
                  ["Clojure and JNA" :other ["clojure.main" "-e" "com.sun.jna.Native/POINTER_SIZE"]]
                  ["Clojure alone" :other ["clojure.main" "-e" "nil"]]
                  ["rsmapi, Java" :ours ["org.rsmapi.bench.Start" "mapping"]]
                  ["Java and JNA" :other ["org.rsmapi.bench.Start" "jna"]]
                  ["Java alone" :other ["org.rsmapi.bench.Start" "nothing"]]]]
    [{:group "start"
      :sides (for [[side role args] commands]
               {:side side :role role :run (into [:start] args)})
      :rows [{:row "start of a JVM to the first mapping" :metric "ms" :unit "ms"}
             {:row "classes loaded for the first mapping" :metric "classes" :unit ""}]}]))

;; ------------------------------------------------------------ between hosts

(def ^:private own-gateways "rsmapi")
(def ^:private gateways-apart "rsmapi, gateways apart")
(def ^:private tls "JDK socket, TLS")

(def ^:private host-sides
  [[own-gateways :ours :own]
   [gateways-apart :ours :gateways]
   [tls :peer :tls]
   ["JDK socket" :other :socket]
   ["C socket" :c :c]
   ["UCX" :other :ucx]])

(defn- between-hosts
  "The sides that measure this between hosts."
  [what names]
  (for [[side role how] host-sides :when (names side)]
    (cond-> {:side side :role role :run [:hosts how what]}
      (= how :ucx) (assoc :may-fail true))))

(def ^:private all-hosts (set (map first host-sides)))

(defn- times-tls [own apart]
  [{:beside tls :times own :only #{own-gateways}}
   {:beside tls :times apart :only #{gateways-apart}}])

(def ^:private hosts-short
  {:group "hosts"
   :sides (between-hosts "short" all-hosts)
   :rows (concat
          (for [[size metric] [["8 B" "8"] ["4 KiB" "4k"] ["64 KiB" "64k"]], op ["put" "get"]
                [p99 suffix] [["" ""] [", 99th percentile" "-p99"]]]
            {:row (str op " of " size " between hosts" p99) :metric (str op metric suffix) :unit "ns"
             :targets (when (= "put8" (str op metric suffix)) (times-tls 1.3 2.5))})
          [{:row "signal to another host and back" :metric "signal" :unit "ns" :targets (times-tls 1.5 2.5)}
           {:row "signal to another host and back, 99th percentile" :metric "signal-p99" :unit "ns"}
           {:row "connect and disconnect between hosts" :metric "connect" :unit "ns"}])})

(def ^:private hosts-bulk
  {:group "hosts"
   :sides (between-hosts "bulk" all-hosts)
   :rows (for [[size metric] [["1 MiB" "1m"] ["16 MiB" "16m"]], op ["put" "get"]
               row [{:row (str op " of " size " between hosts") :metric (str op metric) :unit "ns"
                     :targets (times-tls 1.25 1.25)} ; 0.8 of the speed
                    {:row (str "CPU time for a GiB, " op " of " size) :metric (str op metric "-cpu") :unit "s"}]]
           row)})

(def ^:private the-bytes "put of those bytes")

(def ^:private hosts-mirror
  {:group "hosts"
   :sides [{:side own-gateways :role :ours :run [:hosts :own "mirror"]}
           {:side the-bytes :role :other :run [:hosts :own "bytes"]}]
   :rows (for [[percent text] [[0 "nothing"] [1 "1 % of the pages"] [100 "all"]]
               row [{:row (str "barrier on a mirror of 64 MiB, " text " changed") :metric (str "changed" percent) :unit "ns"
                     :targets [(if (zero? percent) {:below 1e6} {:beside the-bytes :times 1.5 :plus 1e6})]}
                    {:row (str "on the network for it, " text " changed") :metric (str "moved" percent) :unit "MiB"}]]
           row)})

(def ^:private hosts-many
  {:group "hosts"
   :sides (for [[text n] [["10 importers" 10] ["1,000 importers" 1000]]]
            {:side text :role (if (= n 10) :other :ours) :run [:hosts :many n]})
   :rows [{:row "threads of the gateway" :metric "threads" :unit "" :targets [{:beside "10 importers" :times 1.0}]}
          {:row "heap of the gateway for each" :metric "heap" :unit "bytes"}
          {:row "resident memory of the gateway for each" :metric "resident" :unit "bytes"}
          {:row "descriptors of the gateway for each" :metric "descriptors" :unit ""}]})

(def ^:private hosts-notice
  {:group "hosts"
   :sides [{:side own-gateways :role :ours :run [:hosts :notice]}]
   :rows (for [[metric text] [["killed" "the exporter is killed"]
                              ["stopped" "the exporter's host is stopped"]
                              ["cut" "the exporter's host is cut off"]]]
           {:row (str "until an importer knows that " text) :metric metric :unit "ns" :targets [{:below 1e9}]})})

(defn tasks
  "All of them, or those with a row whose name or group contains one of the patterns."
  [patterns]
  (let [all (concat access streams copies maps lifecycle trips transfers layouts scale starts
                    [hosts-short hosts-bulk hosts-mirror hosts-many hosts-notice])
        wanted? (fn [{:keys [group rows]}]
                  (or (nil? patterns)
                      (some (fn [p]
                              (let [p (re-pattern (str p))]
                                (or (re-find p group) (some #(re-find p (:row %)) rows))))
                            patterns)))]
    (filter wanted? all)))
