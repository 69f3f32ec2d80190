(ns ^:no-doc rsmapi.model.controller
  "The model's controllers and local memory, and closing of whatever there is."
  (:require [rsmapi.model.args :as args]
            [rsmapi.model.error :refer [checked failed ok unspecified]]
            [rsmapi.model.mirror :as mirror]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------- controllers

(defn- parsed
  "What a name says, as [type unit]; nil if there is no such controller. Trailing digits are
  the unit, 0 if there are none; there is one loopback, whatever its unit."
  [x worlds]
  (if (nil? x)
    ["loopback" 0]
    (when (and (string? x) (< (count x) 256))
      (let [[_ type digits] (re-matches #"(?s)(.*?)(\d*)" (.toLowerCase ^String x java.util.Locale/ROOT))
            unit (if (= "" digits) 0 (bigint digits))]
        (cond
          (= "loopback" type) ["loopback" 0]
          (and (= "shm" type) (<= 0 unit 31)) ["shm" (long unit)]
          (and (= "sim" type) (contains? worlds unit)) ["sim" (long unit)])))))

(defn- local-node [state]
  (get-in state [:processes (:process state) :node] 0))

(defn- node? [x]
  (and (int? x) (<= 0 (long x) 63)))

(defn released? [c]
  (zero? (long (:refs c))))

(defn get-controller
  "[:get-controller name controller-name opts?]"
  [state name controller-name & [opts]]
  (let [op :get-controller
        [type unit] (parsed controller-name (:worlds state))
        node (:node opts (local-node state))]
    (args/with-typed state op opts #{:node}
      [:rsm/ctlr-not-present (not (or (nil? controller-name) (string? controller-name)))
       :rsm/bad-conf (not (or (nil? (:node opts)) (node? node)))
       :rsm/ctlr-not-present (nil? type)
       :rsm/ctlr-not-present (and (= "loopback" type) (not= node (local-node state)))]
      (let [same (first (s/all state :controller
                               #(and (= [type unit node (:process state)]
                                        [(:type %) (:unit %) (:node %) (:process %)])
                                     (not (released? %)))))]
        (ok (if same
              (-> state
                  (s/change (:id same) update :refs inc)
                  (s/bind name (:id same)))
              (s/add-named state name {:kind :controller :type type :unit unit :node node :refs 1}))
            name)))))

(defn release-controller
  "[:release-controller controller]"
  [state x]
  (let [c (s/of-kind state x :controller)]
    (checked state :release-controller
      [:rsm/bad-ctlr-hndl (nil? c)
       :rsm/bad-ctlr-hndl (released? c)]
      (ok (s/change state (:id c) update :refs dec)))))

(defn controller-attr
  "[:controller-attr controller]: what loopback says is the RSMAPI's, what others say their own."
  [state x]
  (let [c (s/of-kind state x :controller)]
    (checked state :controller-attr
      [:rsm/bad-ctlr-hndl (nil? c)
       :rsm/ctlr-not-present (released? c)]
      (ok state (if (= "loopback" (:type c))
                  {:page-size (:page-size state)
                   :attr-page-size 8
                   :attr-direct-access-sizes 0 :attr-atomic-sizes 0
                   :attr-max-export-segment-size 0 :attr-tot-export-segment-size 0
                   :attr-max-export-segments 0
                   :attr-max-import-map-size 0 :attr-tot-import-map-size 0
                   :attr-max-import-segments 0}
                  {:page-size (:page-size state)})))))

(defn node-id
  "[:node-id controller]"
  [state x]
  (let [c (s/of-kind state x :controller)]
    (checked state :node-id
      [:rsm/bad-ctlr-hndl (nil? c)]
      (ok state (:node c)))))

;; ------------------------------------------------------------ local memory

(defn allocate
  "[:allocate name bytes]"
  [state name bytes]
  (checked state :allocate
    [:rsm/bad-length (not (args/int64? bytes))
     :rsm/bad-length (< (long bytes) 1)]
    (if (> (long bytes) (bit-shift-left 1 40))
      (unspecified state "how much memory there is, is not the model's to know")
      (let [[state memory] (s/add-memory state)]
        (ok (s/add-named state name {:kind :local-memory :memory memory :base 0
                                     :size (long bytes) :open? true})
            name)))))

(defn free
  "[:free local-memory]: also if that has been done before. What is exported in it goes on."
  [state x]
  (let [m (s/of-kind state x :local-memory)]
    (checked state :free
      [:rsm/bad-addr (nil? m)]
      (ok (s/change state (:id m) assoc :open? false)))))

;; ------------------------------------------------------------------ ending

(defn destroy-export
  "An export segment is gone, for its importers too. The state."
  [state id]
  (-> state
      (s/change id assoc :state :destroyed :segment-id nil :events 0 :pollfds 0)
      (s/abort-importers id)))

(defn unmap-import
  "An import segment without its mapping. The state."
  [state id]
  (let [mapping (:mapping (s/object state id))
        state (mirror/with-mirror state (s/object state id) mirror/push)]
    (cond-> (s/change state id assoc :mapping nil)
      mapping (s/change mapping assoc :mapped? false))))

(defn disconnect-import
  "An import segment is gone. The state."
  [state id]
  (-> (unmap-import state id)
      (s/change id assoc :state :disconnected :events 0 :pollfds 0)))

(defn- end
  "A handle ended in the proper way, whatever its state."
  [state {:keys [kind id] :as h}]
  (case kind
    :controller   (cond-> state (not (released? h)) (s/change id update :refs dec))
    :export       (cond-> state (s/alive? h) (destroy-export id))
    :import       (cond-> state (s/open-import? h) (disconnect-import id))
    :mapping      (cond-> state (:mapped? h) (unmap-import (:import h)))
    :local-memory (s/change state id assoc :open? false)))

(defn close
  "[:close handle]"
  [state x]
  (let [h (s/handle state x)]
    (cond
      (nil? h) (failed state :close :rsm/bad-seg-hndl)
      (#{:controller :export :import :mapping :local-memory} (:kind h)) (ok (end state h))
      :else (unspecified state "close! is not said to take this"))))

(defn exit
  "[:exit process]: all that it has ends, as the kernel does it."
  [state process]
  (let [ends (fn [state kind]
               (reduce end state (s/all state kind #(= process (:process %)))))]
    (ok (-> (reduce ends state [:mapping :import :export :local-memory])
            (update :objects update-vals
                    #(cond-> % (and (= :controller (:kind %)) (= process (:process %)))
                       (assoc :refs 0)))
            (update :names (fn [names] (into {} (remove #(= process (ffirst %))) names)))))))
