(ns rsmapi.bench.rows
  "What is measured, beside what, and what is to be reached.

  A task is a map:
    :group  the plot it belongs to
    :sides  what takes turns, each a map of
              :side   its name
              :role   :ours, :peer (checks bounds as we do), :floor (checks nothing), :c,
                      or :other, which no target is about
              :run    [:jmh class-and-method params], [:c program & arguments],
                      [:java class & arguments], [:start & arguments];
                      among the arguments of programs :seconds stands for how long to measure
                      and :repeats for how often, where that is not a matter of time
              :since  the first JDK release that has it
              :slow   whether one operation takes longer than a few milliseconds
    :rows   what comes of it, each a map of
              :row      its name
              :metric   the name of the samples
              :unit     of the samples; less is better
              :targets  what our sides are to reach, each a map of
                          :beside  a role, or the name of a side
                          :times   at most so many times the fastest of those
                          :plus    or at most so much more
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

(defn tasks
  "All of them, or those with a row whose name or group contains one of the patterns."
  [patterns]
  (let [all (concat access streams copies maps lifecycle trips transfers layouts scale starts)
        wanted? (fn [{:keys [group rows]}]
                  (or (nil? patterns)
                      (some (fn [p]
                              (let [p (re-pattern (str p))]
                                (or (re-find p group) (some #(re-find p (:row %)) rows))))
                            patterns)))]
    (filter wanted? all)))
