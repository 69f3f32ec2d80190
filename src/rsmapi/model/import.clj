(ns ^:no-doc rsmapi.model.import
  "The model's import segments and mappings."
  (:require [rsmapi.model.args :as args]
            [rsmapi.model.controller :as controller]
            [rsmapi.model.error :refer [checked error ok unspecified]]
            [rsmapi.model.export :as export]
            [rsmapi.model.mirror :as mirror]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- connect

(defn- granted-bits
  "The three digits that an access list, or without one the umask at create, has for a node;
  nil if the node is not listed. The first entry counts."
  [ex node]
  (if-let [acl (:acl ex)]
    (some (fn [[n bits]] (when (= n node) (bit-and 0666 (long bits)))) acl)
    (bit-and 0666 (bit-not (long (:umask ex))))))

(defn- granted
  "The permission, as a number, that one of the three digits gives an importing process. It
  is one digit, as for files; a more generous one does not count."
  [bits exporter {:keys [uid gid groups]}]
  (let [bits (long bits)
        shift (cond (= uid (:uid exporter)) 6
                    (contains? (conj (set groups) gid) (:gid exporter)) 3
                    :else 0)]
    (bit-shift-left (bit-and 7 (bit-shift-right bits (long shift))) 6)))

(defn- denied?
  "Whether an exporter refuses an importing process a permission: also none at all, if it
  could have no other. Root is refused nothing."
  [state ex node perm]
  (let [process  #(get-in state [:processes %])
        importer (process (:process state))
        possible (long (granted (granted-bits ex node) (process (:process ex)) importer))]
    (and (not (:privileged? importer))
         (or (args/lacks? possible perm)
             (zero? (bit-and 0600 possible))))))

(defn- another-interconnect?
  "Whether a segment is exported over a controller from which there is no way to this
  controller's node. On one node it does not matter which one either side uses."
  [state c ex]
  (let [via (s/object state (:controller ex))]
    (and (not= (:node c) (:node ex))
         (not= [(:type c) (:unit c)] [(:type via) (:unit via)]))))

(def connect-options #{:segment-id :node :perm :timeout-ms :barrier})

(defn connect
  "[:connect name controller opts]"
  [state name x opts]
  (let [op :import-connect
        c (s/of-kind state x :controller)
        raw-id (when (map? opts) (export/segment-id state (:segment-id opts)))
        id (args/int64 raw-id 0)
        node (:node opts (:node c))
        perm (args/perm (:perm opts) 0600)
        loopback? (= "loopback" (:type c))
        ex (export/published state node id)]
    (checked state op [:rsm/bad-ctlr-hndl (nil? c)]
      (args/with-typed state op opts connect-options
        [:rsm/remote-node-unreachable (not (args/int64? node))
         :rsm/bad-segid (not (args/int64? raw-id))
         :rsm/perm-denied (not (args/perm? (:perm opts)))
         :rsm/bad-args-errors (not (args/optional-int64? (:timeout-ms opts)))
         :rsm/bad-args-errors (not (args/flag? (:barrier opts)))
         :rsm/ctlr-not-present (controller/released? c)
         :rsm/perm-denied (not (contains? #{0 0200 0400 0600} perm))
         :rsm/bad-segid (not (<= 0 id 0xFFFFFFFF))
         :rsm/bad-args-errors (neg? (args/int64 (:timeout-ms opts) 0))
         :rsm/ctlr-not-present (and loopback? (not= node (:node c)))
         :rsm/remote-node-unreachable (not (<= 0 (long node) 63))
         :rsm/seg-not-published (nil? ex)
         :rsm/seg-not-published-to-node (or (another-interconnect? state c ex)
                                            (nil? (granted-bits ex (:node c))))
         :rsm/perm-denied (denied? state ex (:node c) perm)]
        (let [[state barrier] (s/add state {:kind :barrier :state :closed})
              barrier (when-not (false? (:barrier opts)) barrier)]
          (ok (s/add-named state name
                           {:kind :import :state :connected :aborted? false
                            :controller (:id c) :export (:id ex) :node node :segment-id id
                            :perm perm :size (:size ex) :mapping nil :mode :implicit
                            :barrier barrier :events 0 :pollfds 0})
              name))))))

(defn disconnect
  "[:disconnect import]: an implicit mapping goes in any case, an explicit one stands in the
  way."
  [state x]
  (let [op :import-disconnect
        im (s/import-segment state x)
        mapping (s/object state (:mapping im))]
    (checked state op
      [:rsm/bad-seg-hndl (or (nil? im) (not (s/open-import? im)))
       :rsm/seg-still-mapped (and mapping (not (:implicit? mapping)))]
      (let [state (controller/unmap-import state (:id im))]
        (checked state op
          [:rsm/pollfd-in-use (pos? (long (:pollfds im)))]
          (ok (controller/disconnect-import state (:id im))))))))

;; --------------------------------------------------------------------- map

(def map-options #{:offset :length :perm :attr :address :over :at :prefault :lock :huge-pages})

(defn map-request
  "A request to map, from the options of map!, with numbers and defaults in place. What is of
  a wrong type is in :wrong."
  [{:keys [size perm]} opts]
  (let [options? (not (args/bad-options? opts map-options))
        {:keys [offset length attr address] :as o} (when options? opts)
        n (args/int64 offset 0)]
    {:options? options?
     :wrong (cond-> #{}
              (not (args/optional-int64? offset)) (conj :offset)
              (not (args/optional-int64? length)) (conj :length)
              (not (args/perm? (:perm o))) (conj :perm)
              (not (args/attr? attr)) (conj :attr)
              (not (args/optional-int64? address)) (conj :address)
              (not-every? args/flag? (map #(get o %) [:prefault :lock :huge-pages])) (conj :flag))
     :offset n
     ;; the rest of it; where there is none, whatever is not 0 and too much
     :length (args/int64 length (if (<= 0 n (long (or size 0))) (- (long (or size 0)) n) -1))
     :perm (args/perm (:perm o) (args/perm perm 0))
     :huge? (true? (:huge-pages o))
     :fixed? (args/fixed? attr)
     :address (args/int64 address 0)}))

(defn- past-the-end?
  "Whether offset, which is not negative, and length reach beyond the size. The sum may be
  more than fits a long."
  [{:keys [size]} {:keys [offset length]}]
  (let [size (long size), offset (long offset), length (long length)]
    (or (neg? length)
        (> offset size)
        (> length (- size offset)))))

(defn- off-page? [{:keys [page-size]} n]
  (not (zero? (rem (long n) (long page-size)))))

(def map-checks
  "See rsmapi.model/map-checks."
  [{:check :handle         :error :rsm/bad-seg-hndl
    :objects? (fn [segment _] (nil? segment))}
   {:check :options        :error :rsm/bad-args-errors
    :objects? (fn [_ request] (not (:options? request)))}
   {:check :offset-type    :error :rsm/bad-offset
    :objects? (fn [_ request] (contains? (:wrong request) :offset))}
   {:check :length-type    :error :rsm/bad-length
    :objects? (fn [_ request] (contains? (:wrong request) :length))}
   {:check :perm-type      :error :rsm/bad-perms
    :objects? (fn [_ request] (contains? (:wrong request) :perm))}
   {:check :attr-type      :error :rsm/bad-args-errors
    :objects? (fn [_ request] (contains? (:wrong request) :attr))}
   {:check :address-type   :error :rsm/bad-addr
    :objects? (fn [_ request] (contains? (:wrong request) :address))}
   {:check :flag-type      :error :rsm/bad-args-errors
    :objects? (fn [_ request] (contains? (:wrong request) :flag))}
   {:check :connected      :error :rsm/bad-seg-hndl
    :objects? (fn [segment _] (not= :connected (:state segment)))}
   {:check :mapped         :error :rsm/seg-already-mapped
    :objects? (fn [segment _] (:mapped? segment))}
   {:check :perm           :error :rsm/bad-perms
    :objects? (fn [_ request] (not (contains? #{0200 0400 0600} (:perm request))))}
   {:check :length         :error :rsm/bad-length
    :objects? (fn [_ request] (zero? (long (:length request))))}
   {:check :offset         :error :rsm/bad-offset
    :objects? (fn [_ request] (neg? (long (:offset request))))}
   {:check :end            :error :rsm/bad-length
    :objects? past-the-end?}
   {:check :offset-page    :error :rsm/bad-mem-alignment
    :objects? (fn [segment request] (off-page? segment (:offset request)))}
   {:check :address-page   :error :rsm/bad-mem-alignment
    :objects? (fn [segment request] (and (:fixed? request) (off-page? segment (:address request))))}
   {:check :aborted        :error :rsm/conn-aborted
    :objects? (fn [segment _] (:aborted? segment))}
   {:check :rights         :error :rsm/bad-perms
    :objects? (fn [segment request] (args/lacks? (args/perm (:perm segment) 0) (:perm request)))}
   ;; a copy has to be read
   {:check :copy           :error :rsm/bad-perms
    :objects? (fn [segment _] (and (:mirrored? segment)
                                   (args/lacks? (args/perm (:perm segment) 0) args/read-bit)))}])

(defn check-map
  "See rsmapi.model/check-map."
  [segment opts checks]
  (let [request (map-request segment opts)]
    (some (fn [{:keys [objects?] :as check}]
            (when (objects? segment request)
              (error :import-map (:error check))))
          checks)))

(defn map-view
  "An import segment as check-map looks at it; nil for nil."
  [state im]
  (when im
    (-> (select-keys im [:size :perm :state :aborted?])
        (assoc :mapped? (some? (:mapping im))
               :mirrored? (mirror/mirrored? state (:controller im))
               :page-size (:page-size state)))))

(defn add-mapping
  "An import segment with a mapping: [state id]."
  [state im mapping]
  (let [[state id] (s/add state (assoc mapping :kind :mapping :import (:id im) :mapped? true))]
    [(-> state
         (s/change (:id im) assoc :mapping id)
         (mirror/added id))
     id]))

(defn map-segment
  "[:map name import opts?]"
  [state name x & [opts]]
  (let [im (s/import-segment state x)
        view (map-view state im)
        {:keys [offset length perm fixed? huge?]} (map-request view opts)]
    (if-let [e (check-map view opts (cond->> map-checks
                                      huge? (take-while #(not= :offset-page (:check %)))))]
      [state {:error e}]
      (cond
        huge? (unspecified state "huge pages are not the model's to know")
        (or fixed? (:over opts)) (unspecified state "what is at an address is not the model's to know")
        :else
        (let [[state id] (add-mapping state im {:perm perm :offset offset :size length
                                                :implicit? false})]
          (ok (s/bind state name id) name))))))

(defn unmap
  "[:unmap import-or-mapping]: undoes an implicit mapping too."
  [state x]
  (let [h (s/handle state x)
        im (s/import-segment state x)]
    (checked state :import-unmap
      [:rsm/bad-seg-hndl (nil? im)
       :rsm/seg-not-mapped (and (= :mapping (:kind h)) (not (:mapped? h)))
       :rsm/bad-seg-hndl (not (s/open-import? im))
       :rsm/seg-not-mapped (nil? (:mapping im))]
      (ok (controller/unmap-import state (:id im))))))

;; --------------------------------------------------------------- questions

(defn connected?
  "[:connected? import]"
  [state x]
  (let [im (s/import-segment state x)]
    (checked state :connected? [:rsm/bad-seg-hndl (nil? im)]
      (ok state (s/open-import? im)))))

(defn aborted?
  "[:aborted? import]: the result for a disconnected one is not specified."
  [state x]
  (let [im (s/import-segment state x)]
    (checked state :aborted? [:rsm/bad-seg-hndl (nil? im)]
      (if (s/open-import? im)
        (ok state (:aborted? im))
        (unspecified state "a disconnected segment may or may not be aborted")))))

(defn mapped?
  "[:mapped? import-or-mapping]: whether an implicit mapping counts is not specified."
  [state x]
  (let [h (s/handle state x)
        im (s/import-segment state x)]
    (checked state :mapped? [:rsm/bad-seg-hndl (nil? im)]
      (cond
        (= :mapping (:kind h)) (ok state (:mapped? h))
        (:implicit? (s/object state (:mapping im))) (unspecified state "the mapping is implicit")
        :else (ok state (some? (:mapping im)))))))

(defn size
  "[:size anything]"
  [state x]
  (let [h (s/handle state x)]
    (checked state :size
      [:rsm/bad-seg-hndl (not (#{:export :import :mapping :local-memory} (:kind h)))]
      (ok state (:size h)))))

(defn segment-id
  "[:segment-id segment]: nil for an export segment that is not published."
  [state x]
  (let [h (s/handle state x)]
    (checked state :segment-id
      [:rsm/bad-seg-hndl (not (#{:export :import :mapping} (:kind h)))]
      (ok state (:segment-id (if (= :mapping (:kind h)) (s/import-segment state x) h))))))
