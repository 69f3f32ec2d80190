(ns rsmapi.impl.data
  "Values of the Java core as Clojure data; printing and datafy of handles."
  (:require [clojure.core.protocols :as protocols]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.text :as text])
  (:import (java.nio ByteOrder)
           (org.rsmapi AccessEntry Barrier Capabilities Controller ControllerAttributes ExportSegment ImportSegment
                       LocalMemory LocalMemoryHandle Mapping Permission PollFd PollFd$Ready PublishedSegment
                       RsmException Segment SegmentIdRange Topology Topology$LocalController Topology$RemoteController)
           (org.rsmapi.clj Listener)))

(set! *warn-on-reflection* true)

;; ----------------------------------------------------------------- values

(defn keyword-of
  "The keyword of an enum constant, such as :going-down."
  [^Enum e]
  (keyword (.replace (text/lower-case (.name e)) "_" "-")))

(defn byte-order [order]
  (if (= ByteOrder/LITTLE_ENDIAN order) :little-endian :big-endian))

(defn permission [^Permission p]
  (keyword-of p))

(defn acl [entries]
  (mapv (fn [^AccessEntry e] {:node (long (.node e)) :perm (long (.permission e))}) entries))

(defn segment-id
  "The segment id of an export segment; nil if it is not published."
  [^ExportSegment ex]
  (let [id (.segmentId ex)]
    (when-not (neg? id) id)))

(defn id-range [^SegmentIdRange r]
  {:base (.base r) :length (.length r)})

(defn attributes [^ControllerAttributes a]
  {:attr-direct-access-sizes (long (.directAccessSizes a))
   :attr-atomic-sizes (long (.atomicSizes a))
   :attr-page-size (.pageSize a)
   :attr-max-export-segment-size (.maxExportSegmentSize a)
   :attr-tot-export-segment-size (.totalExportSegmentSize a)
   :attr-max-export-segments (.maxExportSegments a)
   :attr-max-import-map-size (.maxImportMapSize a)
   :attr-tot-import-map-size (.totalImportMapSize a)
   :attr-max-import-segments (.maxImportSegments a)
   :page-size (Controller/pageSize)})

(defn capabilities [^Capabilities c]
  {:memory (keyword-of (.memory c))
   :atomic-sizes (mapv long (.atomicSizes c))
   :access-control (keyword-of (.accessControl c))
   :encrypted? (.encrypted c)
   :via (.via c)})

(defn- remote-controller [^Topology$RemoteController r]
  {:node (long (.nodeId r))
   :controller (.controller r)
   :hw-addr (.hardwareAddress r)
   :state (keyword-of (.state r))})

(defn topology [^Topology t]
  {:node (long (.nodeId t))
   :controllers (mapv (fn [^Topology$LocalController c]
                        {:name (.name c)
                         :hw-addr (.hardwareAddress c)
                         :peers (mapv remote-controller (.peers c))})
                      (.controllers t))})

(defn ready
  "A poll descriptor for which a wait has found something."
  [^PollFd$Ready ready]
  (let [p (.fd ready)]
    (cond-> {:fd (long (.fd p)) :revents (args/poll-events (.revents ready))}
      (.segment p) (assoc :segment (.segment p)))))

(defn- published-segment [^PublishedSegment p]
  (cond-> {}
    (.controller p) (assoc :controller (.controller p))
    true (assoc :node (long (.node p)) :segment-id (.segmentId p))
    (<= 0 (.uid p)) (assoc :uid (.uid p))
    (<= 0 (.pid p)) (assoc :pid (.pid p))
    true (assoc :mine? (.own p))))

(defn published
  "What is published on this machine; pids? says whether to look for the processes."
  [pids?]
  (mapv published-segment (Controller/published (boolean pids?))))

;; ---------------------------------------------------------------- handles

;; What datafy gives is data; nav goes from there to the handles.

(defn- navigable
  "Data with a function of its key that gives what is behind it, or nil for the value itself."
  [data behind]
  (vary-meta data assoc `protocols/nav (fn [_ k v]
                                         (let [found (behind k)]
                                           (if (nil? found) v found)))))

(defn- summary
  "A segment among others, in a few words."
  [^Segment s]
  (if (instance? ExportSegment s)
    {:type :export-segment :segment-id (segment-id s) :size (.size ^ExportSegment s)}
    {:type :import-segment :node (long (.node ^ImportSegment s)) :segment-id (.segmentId ^ImportSegment s)
     :size (.size ^ImportSegment s)}))

(defn- segments
  "The open segments of a controller, as data."
  [^Controller c]
  (let [open (->> (.segments c)
                  (map (juxt summary identity))
                  (sort-by (fn [[{:keys [type node segment-id]} _]] [type node segment-id]))
                  vec)]
    (navigable (mapv first open) #(when (int? %) (second (get open %))))))

(defmacro ^:private unless-ended
  "The value of a form, or nil where it fails because the handle has just ended."
  [form]
  `(try ~form (catch RsmException _# nil)))

(defn- with-layout
  "The data of a segment or mapping, with the layout with which it is published, if that is one of
  rsmapi.layout: as its form, and as :fields, from where nav gives a view."
  [data text]
  (if-some [layout (when text ((requiring-resolve 'rsmapi.impl.layout/read-text) text))]
    (assoc data
           :layout ((requiring-resolve 'rsmapi.impl.layout/form-of) layout)
           :fields '...)
    data))

(defn- fields
  "A view of the memory, by the layout with which it is published."
  [memory]
  (unless-ended ((requiring-resolve 'rsmapi.layout/view) memory)))

(doseq [c [Controller ExportSegment ImportSegment Mapping LocalMemory LocalMemoryHandle Barrier
           PollFd Listener]]
  (defmethod print-method c [x ^java.io.Writer w] (.write w (str x))))

(extend-protocol protocols/Datafiable
  Controller
  (datafy [c]
    (let [attributes (unless-ended (attributes (.attributes c)))]
      (navigable
       (cond-> {:name (.name c) :node (long (.nodeId c)) :open? (.isOpen c)}
         attributes (assoc :attributes attributes)
         true (assoc :segments (segments c) :published '...))
       #(when (= :published %) (published true)))))

  ExportSegment
  (datafy [ex]
    (-> {:type :export-segment
         :state (cond (not (.isOpen ex)) :destroyed (neg? (.segmentId ex)) :created :else :published)
         :controller (.name (.controller ex))
         :segment-id (segment-id ex)
         :size (.size ex)
         :address (.address ex)
         :acl (some-> (.access ex) acl)
         :allow-rebind (pos? (bit-and (.flags ex) ExportSegment/ALLOW_REBIND))
         :importers (long (.importers ex))}
        (with-layout (.layout ex))
        (navigable #(case % :controller (.controller ex) :fields (fields ex) nil))))

  ImportSegment
  (datafy [im]
    (-> {:type :import-segment
         :state (cond (not (.isConnected im)) :disconnected (.isAborted im) :aborted :else :connected)
         :controller (.name (.controller im))
         :node (long (.node im))
         :segment-id (.segmentId im)
         :perm (permission (.permission im))
         :size (.size im)
         :exporter {:pid (long (.exporterPid im)) :uid (long (.exporterUid im))}
         :byte-order (byte-order (.byteOrder im))
         :barrier-mode (unless-ended (keyword-of (.getMode im)))
         :mapping (some-> (.mapping im) protocols/datafy)}
        (with-layout (.layout im))
        (navigable #(case %
                      :controller (.controller im)
                      :mapping (.mapping im)
                      :fields (some-> (.mapping im) fields)
                      nil))))

  Mapping
  (datafy [m]
    (-> {:type :mapping
         :state (cond (not (.isCurrent m)) :unmapped (.isMapped m) :mapped :else :aborted)
         :segment-id (.segmentId (.segment m))
         :perm (permission (.permission m))
         :attr (if (= (.attributes m) ImportSegment/MAP_FIXED) :fixed :none)
         :implicit? (.isImplicit m)
         :offset (.offset m)
         :length (.size m)
         :address (.address m)}
        (with-layout (.layout (.segment m)))
        (navigable #(case % :segment-id (.segment m) :fields (fields m) nil))))

  LocalMemoryHandle
  (datafy [h]
    {:type :local-memory-handle :length (.length h) :open? (.isOpen h)})

  Barrier
  (datafy [b]
    {:type :barrier
     :state (cond (not (.isInitialized b)) :destroyed (.isOpen b) :open :else :closed)
     :segment (.segment b)})

  PollFd
  (datafy [p]
    {:type :pollfd
     :fd (long (.fd p))
     :events (args/poll-events (.events p))
     :revents (args/poll-events (.revents p))
     :segment (.segment p)})

  LocalMemory
  (datafy [m]
    {:type :local-memory :size (.size m) :address (.address m) :open? (.isOpen m)}))
