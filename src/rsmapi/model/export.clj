(ns ^:no-doc rsmapi.model.export
  "The model's export segments."
  (:require [rsmapi.model.args :as args]
            [rsmapi.model.controller :as controller]
            [rsmapi.model.error :refer [checked failed ok unspecified]]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn- unaligned? [state n]
  (not (zero? (rem (long n) (long (:page-size state))))))

(defn- whole-pages
  "A size as the machine maps it."
  ^long [state size]
  (let [page (long (:page-size state))]
    (* page (quot (+ (long size) (dec page)) page))))

;; ---------------------------------------------------------------- addresses

;; A number would mean something in one process only, so a command has [name at]: `at`
;; bytes into local memory. A name of nothing is nil. Numbers are for what is refused.

(defn address
  "Where an :address is: {:memory id :base n :room bytes :open? boolean}, {:number n} or, if
  it is none, nil."
  [state x]
  (cond
    (args/int64? x) {:number (long x)}
    (vector? x) (let [[name at] x]
                  (when-let [{:keys [memory base size open?]} (s/of-kind state name :local-memory)]
                    {:memory memory
                     :base (+ (long base) (long at))
                     :size (- (long size) (long at))
                     :room (- (whole-pages state size) (long at))
                     :open? open?}))))

(defn- null? [a]
  (= 0 (:number a)))

(defn- unaligned-address? [state a]
  (unaligned? state (or (:number a) (:base a))))

(defn- strange
  "Why it is not said whether n bytes at an address can be had; nil if they can, or if that
  is clear."
  [a n]
  (cond
    (:number a) "what is at an address is not the model's to know"
    (and (:memory a) (not (<= 0 (long (:base a)) (+ (long (:base a)) (long n))
                              (+ (long (:base a)) (long (:room a))))))
    "what is beside the memory is not the model's to know"))

(defn- overlapping?
  "Whether a live export segment has a part of this memory, but not exactly it."
  [state {:keys [memory base]} n]
  (let [start (long base)
        end (+ start (long n))]
    (seq (s/all state :export
                #(let [from (long (:base %)), to (+ from (long (:size %)))]
                   (and (s/alive? %)
                        (= memory (:memory %))
                        (< from end) (< start to)
                        (not= [start end] [from to])))))))

;; ------------------------------------------------------ create and destroy

(def create-options
  #{:size :address :round-up :allow-rebind :dont-wait :prefault :lock :huge-pages})

(def ^:private addresses
  "In bytes, more than any process has. Whether there is memory for less, the model does not know."
  (bit-shift-left 1 56))

(defn rounded
  "A size as :round-up true rounds it: what cannot be rounded stays."
  ^long [state size]
  (let [size (long size)]
    (if (<= 1 size (- Long/MAX_VALUE (long (:page-size state))))
      (whole-pages state size)
      size)))

(defn create
  "[:create name controller opts]"
  [state name x opts]
  (let [op :export-create
        c (s/of-kind state x :controller)
        own? (contains? opts :address)
        a (when own? (address state (:address opts)))
        size (cond->> (args/int64 (:size opts) 0)
               (true? (:round-up opts)) (rounded state))
        flags (vals (dissoc opts :size :address))]
    (checked state op [:rsm/bad-ctlr-hndl (nil? c)]
      (args/with-typed state op opts create-options
        [:rsm/bad-args-errors (not-every? args/flag? flags)
         :rsm/bad-addr (and own? (nil? a))
         :rsm/bad-length (not (args/int64? (:size opts)))
         :rsm/ctlr-not-present (controller/released? c)
         :rsm/bad-addr (null? a)
         :rsm/bad-length (<= size 0)
         :rsm/bad-mem-alignment (or (unaligned? state size)
                                    (and own? (unaligned-address? state a)))]
        (cond
          (strange a size) (unspecified state (strange a size))
          (< (long addresses) size) (failed state op (if (= "shm" (:type c)) ; has a largest size, which is not that large
                                                       :rsm/bad-length
                                                       :rsm/insufficient-mem))
          (and own? (not (:open? a))) (failed state op :rsm/bad-addr)
          (and own? (overlapping? state a size)) (unspecified state "a part of it is exported already")
          :else
          (let [[state memory] (if own? [state (:memory a)] (s/add-memory state))]
            (ok (s/add-named state name
                             {:kind :export :state :created :controller (:id c) :node (:node c)
                              :memory memory :base (if own? (:base a) 0) :size size
                              :umask (get-in state [:processes (:process state) :umask])
                              :allow-rebind? (boolean (:allow-rebind opts))
                              :segment-id nil :acl nil :events 0 :pollfds 0})
                name)))))))

(defn- open-export
  "The export segment of this name, if it has not been destroyed."
  [state x]
  (let [ex (s/of-kind state x :export)]
    (when (some-> ex s/alive?) ex)))

(defn destroy
  "[:destroy export]"
  [state x]
  (let [ex (open-export state x)]
    (checked state :export-destroy
      [:rsm/bad-seg-hndl (nil? ex)
       :rsm/pollfd-in-use (pos? (long (:pollfds ex)))]
      (ok (controller/destroy-export state (:id ex))))))

;; ----------------------------------------------------------------- publish

(defn- bad-acl?
  "Whether an access list (a vector, or nil) is invalid for this segment."
  [state ex acl]
  (let [{:keys [type node]} (s/object state (:controller ex))
        loopback? (= "loopback" type)]
    (or (> (count acl) (if loopback? 1 64))
        (some (fn [[n bits]]
                (or (not (<= 0 (long n) 63))
                    (not (<= 0 (long bits) 0666))
                    (and loopback? (not= n node))))
              acl))))

(defn published
  "The export segment that is published on a node under an id, by whatever process."
  [state node segment-id]
  (first (s/all state :export #(and (= :published (:state %))
                                    (= [node segment-id] [(:node %) (:segment-id %)])))))

(defn segment-id
  "The number that :segment-id means: a keyword stands for the id of the export segment of
  that name, in whatever process, or nil."
  [state x]
  (if (keyword? x)
    (let [process (:process state)]
      (some #(:segment-id (s/of-kind (assoc state :process %) x :export))
            (cons process (remove #{process} (keys (:processes state))))))
    x))

(defn- reserved? [id]
  (let [id (long id)]
    (or (<= 1 id 0x3FFFFF) (>= id 0x80000000))))

(defn- free-segment-id [state node]
  (first (remove #(published state node %) (iterate inc (:next-segment-id state)))))

(defn publish
  "[:publish export opts?]: the value is the segment id."
  [state x & [opts]]
  (let [op :export-publish
        ex (s/of-kind state x :export)
        raw-id (segment-id state (:segment-id opts))
        id (args/int64 raw-id 0)
        acl (args/acl (:acl opts))]
    (checked state op [:rsm/bad-seg-hndl (nil? ex)]
      (args/with-typed state op opts #{:segment-id :acl}
        [:rsm/bad-segid (not (args/optional-int64? raw-id))
         :rsm/bad-acl (not (args/acl? (:acl opts)))
         :rsm/bad-seg-hndl (not (s/alive? ex))
         :rsm/seg-already-published (= :published (:state ex))
         :rsm/bad-segid (not (<= 0 id 0xFFFFFFFF))
         :rsm/reserved-segid (reserved? id)
         :rsm/bad-acl (bad-acl? state ex acl)
         :rsm/segid-in-use (and (pos? id) (published state (:node ex) id))]
        (let [id (if (zero? id) (free-segment-id state (:node ex)) id)]
          (ok (-> state
                  (s/change (:id ex) assoc :state :published :segment-id id :acl acl)
                  (cond-> (>= (long id) 0x80000000)
                    (assoc :next-segment-id (inc (long id)))))
              id))))))

(defn unpublish
  "[:unpublish export]: events of the segment stay, poll descriptors do not matter."
  [state x]
  (let [ex (open-export state x)]
    (checked state :export-unpublish
      [:rsm/bad-seg-hndl (nil? ex)
       :rsm/seg-not-published (not= :published (:state ex))]
      (ok (-> state
              (s/change (:id ex) assoc :state :created :segment-id nil :acl nil)
              (s/abort-importers (:id ex)))))))

(defn republish
  "[:republish export opts]: for later connects; who is connected keeps what they have."
  [state x opts]
  (let [op :export-republish
        ex (s/of-kind state x :export)
        acl (args/acl (:acl opts))]
    (checked state op [:rsm/bad-seg-hndl (nil? ex)]
      (args/with-typed state op opts #{:acl}
        [:rsm/bad-acl (not (args/acl? (:acl opts)))
         :rsm/bad-seg-hndl (not (s/alive? ex))
         :rsm/seg-not-published (not= :published (:state ex))
         :rsm/bad-acl (bad-acl? state ex acl)]
        (ok (s/change state (:id ex) assoc :acl acl))))))

;; ------------------------------------------------------------------ rebind

(defn- rebind-target
  "Where the new memory is, nil if there is none: {:address [name at]}, or {:memory name :at n}."
  [state {:keys [memory at] :as opts}]
  (if (contains? opts :memory)
    (when (args/optional-int64? at)
      (address state [memory (args/int64 at 0)]))
    (address state (:address opts))))

(defn rebind
  "[:rebind export opts]: every mapping sees the new memory from now on. Nothing is copied."
  [state x opts]
  (let [op :export-rebind
        ex (open-export state x)
        a (rebind-target state opts)
        length (:length opts (:size ex))]
    (checked state op [:rsm/bad-seg-hndl (nil? ex)]
      (if (false? (:open? a))
        (unspecified state "the new memory has ended")
        (args/with-typed state op opts #{:address :length :memory :at}
          [:rsm/bad-addr (or (nil? a) (null? a))
           :rsm/rebind-not-allowed (not (:allow-rebind? ex))
           :rsm/bad-length (not= length (:size ex))]
          (cond
            (= [(:memory a) (:base a)] [(:memory ex) (:base ex)]) (ok state)
            (unaligned-address? state a) (failed state op :rsm/bad-addr)
            (strange a length) (unspecified state (strange a length))
            (seq (s/all state :export #(and (s/alive? %) (= (:memory a) (:memory %)))))
            (unspecified state "the new memory is exported already")
            :else (ok (s/change state (:id ex) assoc :memory (:memory a) :base (:base a)))))))))

;; --------------------------------------------------------------- questions

(defn published?
  "[:published? export]"
  [state x]
  (let [ex (s/of-kind state x :export)]
    (checked state :published? [:rsm/bad-seg-hndl (nil? ex)]
      (ok state (= :published (:state ex))))))

(defn importers
  "[:importers export]: how many are connected. In the real thing a disconnect takes a
  moment to be known here."
  [state x]
  (let [ex (s/of-kind state x :export)]
    (checked state :importers [:rsm/bad-seg-hndl (nil? ex)]
      (ok state (count (s/importers state (:id ex)))))))
