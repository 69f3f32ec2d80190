(ns ^:no-doc rsmapi.gen.segment
  "Generators of commands that make, end and connect things: functions of a state of the
  model, the options of rsmapi.gen/commands and the command's name. nil where the command
  makes no sense."
  (:require [clojure.test.check.generators :as gen]
            [rsmapi.gen.handle :refer [fresh live place which with-handle]]
            [rsmapi.gen.value :as value]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------- controllers, memory

(defn get-controller
  "[:get-controller name controller-name opts]"
  [state {:keys [controllers]} op]
  (gen/let [args (gen/frequency
                  [[20 (gen/elements controllers)]
                   [1 (gen/elements [[nil] ["LoopBack7"] ["nosuch0"] [""] ["123"] [:loopback]
                                     ["shm32"] ["shm0" {:node 64}] ["loopback" {:node 1}]
                                     ["shm0" {:nod 1}]])]])]
    (into [op (fresh state "c")] args)))

(defn- small-pages
  "Sizes in whole pages, few; sometimes wrong ones."
  [state]
  (let [place {:page-size (:page-size state)}]
    (gen/frequency [[20 (gen/fmap #(* (long (:page-size state)) (long %)) (gen/choose 1 4))]
                    [1 (gen/such-that #(not (and (int? %) (<= 0x20000 (long %))
                                                 (zero? (rem (long %) (long (:page-size state))))))
                                      (value/any-size place) 50)]])))

(defn allocate
  "[:allocate name bytes]"
  [state _ op]
  (when (< (count (live state :local-memory)) 3)
    (gen/fmap #(vector op (fresh state "l") %)
              (gen/frequency [[8 (small-pages state)] [1 (gen/choose 1 100)]]))))

;; ------------------------------------------------------------------ export

(defn- exported?
  "Whether a live export segment has a part of this memory."
  [state memory]
  (seq (s/all state :export #(and (s/alive? %) (= memory (:memory %))))))

(defn- free-memory
  "Local memory that is not exported."
  [state]
  (remove #(exported? state (:memory (s/handle state %))) (live state :local-memory)))

(defn- page-offset
  "Where in local memory: mostly at its start, else one page or one byte later."
  [state]
  (gen/frequency [[6 (gen/return 0)] [1 (gen/elements [(:page-size state) 1])]]))

(defn- own-memory
  "Options with the caller's memory; nil if there is none that is free."
  [state size]
  (when-let [ls (seq (free-memory state))]
    (gen/let [l (gen/elements ls)
              at (page-offset state)]
      {:address [l at] :size size})))

(defn create
  "[:create name controller opts]"
  [state _ op]
  (when (< (count (live state :export)) 4)
    (when-let [c (which state :controller)]
      (gen/let [c c
                size (small-pages state)
                own (gen/frequency (cond-> [[4 (gen/return {:size size})]]
                                     (own-memory state size) (conj [2 (own-memory state size)])
                                     :always (conj [1 (gen/elements [{:address nil :size size}
                                                                     {:address 0 :size size}
                                                                     {:size size :sise 1}])])))
                flags (gen/frequency [[3 (gen/return {})]
                                      [3 (gen/return {:allow-rebind true})]
                                      [1 (gen/return {:dont-wait true})]
                                      [1 (gen/elements [{:round-up true} {:round-up false}])]])]
        [op (fresh state "e") c (merge own flags)]))))

(defn- export-nodes [state ex]
  (let [c (s/object state (:controller ex))]
    (if (= "loopback" (:type c)) [(:node c)] [0 1 2])))

(defn- acl-for [state ex]
  (let [loopback? (= "loopback" (:type (s/object state (:controller ex))))
        opts {:nodes (export-nodes state ex) :max (if loopback? 1 64)}]
    (gen/frequency [[8 (value/acl opts)] [1 (value/any-acl opts)]])))

(defn publish
  "[:publish export opts]"
  [state {:keys [segment-ids]} op]
  (with-handle state op [:export]
    (fn [ex]
      (gen/let [id (gen/frequency [[16 (gen/elements segment-ids)]
                                   [3 (gen/elements [nil 0])]
                                   [1 value/reserved-segment-id]
                                   [1 (gen/elements [-1 0x100000000 "x" Long/MIN_VALUE])]])
                acl (acl-for state ex)]
        [(cond-> {} (some? id) (assoc :segment-id id) (some? acl) (assoc :acl acl))]))))

(defn republish
  "[:republish export opts]"
  [state _ op]
  (with-handle state op [:export]
    (fn [ex] (gen/fmap #(vector {:acl %}) (acl-for state ex)))))

(defn rebind
  "[:rebind export opts]"
  [state _ op]
  (with-handle state op [:export]
    (fn [ex]
      (let [size (:size ex (:page-size state))
            wrong (gen/elements [{:address nil :length size} {:address 0 :length size}
                                 {:address 0 :length 0}])]
        (if-let [ls (seq (free-memory state))]
          (gen/let [l (gen/elements ls)
                    at (page-offset state)
                    n (gen/frequency [[8 (gen/return size)]
                                      [1 (gen/elements [0 (:page-size state) (inc (long size))])]])
                    opts (gen/frequency [[4 (gen/return {:address [l at] :length n})]
                                         [4 (gen/return {:memory l :at at :length n})]
                                         [1 wrong]])]
            [opts])
          (gen/fmap vector wrong))))))

;; ------------------------------------------------------------------ import

(defn published
  "The export segments that are published."
  [state]
  (s/all state :export #(= :published (:state %))))

(defn- name-of
  "A name of an object, in whatever process."
  [state id]
  (first (sort (for [[[_ n] i] (:names state) :when (= i id)] n))))

(defn- aim
  "Which node and id to connect to: mostly what is published, else anything."
  [state {:keys [segment-ids]}]
  (gen/frequency
   (concat
    (when-let [exs (seq (published state))]
      [[20 (gen/fmap (fn [ex]
                       {:node (:node ex)
                        :segment-id (if (some #{(:segment-id ex)} segment-ids)
                                      (:segment-id ex)
                                      (name-of state (:id ex)))})
                     (gen/elements (sort-by :id exs)))]])
    [[3 (gen/fmap (fn [id] {:segment-id id}) (gen/elements segment-ids))]
     [1 (gen/let [id (gen/elements (into [0 1 -1 0xFFFFFFFF 0x100000000 nil] segment-ids))
                  node value/any-node]
          {:segment-id id :node node})]])))

(defn- via
  "A controller for an aim: mostly one over which it can be reached."
  [state {:keys [node segment-id]}]
  (let [meant? #(and (= node (:node %))
                     (contains? #{(:segment-id %) (name-of state (:id %))} segment-id))
        ex (first (filter meant? (published state)))
        interconnect #(select-keys % [:type :unit])
        there (some->> ex :controller (s/object state) interconnect)
        fitting (filterv #(= there (interconnect (s/handle state %))) (live state :controller))]
    (gen/frequency
     (cond->> [[1 (which state :controller)]]
       (seq fitting) (cons [8 (gen/elements fitting)])))))

(defn connect
  "[:connect name controller opts]"
  [state opts op]
  (when (and (seq (live state :controller)) (< (count (live state :import)) 6))
    (gen/let [aim (aim state opts)
              c (via state aim)
              o (gen/frequency [[12 (gen/let [p (gen/frequency [[3 (gen/elements [:rdwr 0600 nil])]
                                                                [2 value/perm]])]
                                      (if p {:perm p} {}))]
                                [1 (gen/fmap (fn [p] {:perm p}) value/any-perm)]
                                [2 (gen/elements [{:timeout-ms 2000} {:timeout-ms -1}
                                                  {:perm :none} {:pern :read}])]])
              barrier (gen/frequency [[5 (gen/return {})]
                                      [1 (gen/return {:barrier false})]])]
      [op (fresh state "i") c (merge aim o (when (:barrier-option opts) barrier))])))

(defn map-segment
  "[:map name import opts]"
  [state _ op]
  (when-let [im (which state :import)]
    (gen/let [im im
              request (let [p (place state (s/import-segment state im))]
                        (gen/frequency [[6 (value/map-request p)] [2 (value/any-map-request p)]]))]
      (cond-> [op (fresh state "m") im] (not (contains? #{nil {}} request)) (conj request)))))
