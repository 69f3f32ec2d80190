(ns ^:no-doc rsmapi.gen.command
  "Generators of commands for rsmapi.model, made for a state of it, and of sequences of them;
  see rsmapi.gen."
  (:require [clojure.string :as str]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.rose-tree :as rose]
            [rsmapi.gen.data :as data]
            [rsmapi.gen.handle :refer [fresh handles live nothing which with-handle]]
            [rsmapi.gen.segment :as segment]
            [rsmapi.gen.value :as value]
            [rsmapi.model :as model]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------ barriers and modes

(defn- mode [state _ op]
  (with-handle state op [:import]
    (fn [_] (gen/frequency [[8 (gen/elements [[:explicit] [:implicit]])]
                            [1 (gen/elements [[:nonsense] [nil]])]]))))

(defn- new-of
  "[op name handle]: what makes a thing of a segment."
  [prefix & kinds]
  (fn [state _ op]
    (when-let [h (apply which state kinds)]
      (gen/fmap #(vector op (fresh state prefix) %) h))))

(defn- localmemory-handle [state _ op]
  (when (and (seq (live state :controller)) (seq (live state :local-memory)))
    (gen/let [c (which state :controller)
              l (which state :local-memory)
              opts (let [size (long (:size (s/handle state l) 0))]
                     (gen/frequency [[4 (gen/return nil)]
                                     [2 (gen/fmap (fn [n] {:length n})
                                                  (value/any-length {:size size} 0))]
                                     [1 (gen/elements [{:offset 1} {:offset (:page-size state)}])]]))]
      (cond-> [op (fresh state "h") c l] opts (conj opts)))))

(defn- free-localmemory-handle [state _ op]
  (when (and (seq (live state :controller)) (seq (handles state :localmem)))
    (gen/let [c (which state :controller)
              h (gen/elements (conj (vec (handles state :localmem)) :nothing))]
      [op c h])))

;; ----------------------------------------------------------------- signals

(defn- wait-pollfd [state _ op]
  (when-let [fs (seq (handles state :pollfd))]
    (gen/let [fs (gen/shuffle fs)
              n (gen/choose 1 (count fs))]
      [op (vec (take n fs)) {:timeout-ms 0}])))

;; ---------------------------------------------------------------- the table

(defn- on
  "[op handle & more]"
  ([kinds] (on kinds nothing))
  ([kinds more] (fn [state _ op] (with-handle state op kinds (constantly more)))))

(def ^:private plain
  "Command -> [weight, what must be there for it to make sense: live handles of one of these
  kinds, and a function of state, options and command that gives a generator, or nil where it
  makes no sense after all]."
  {:get-controller     [2 nil segment/get-controller]
   :release-controller [1 [:controller] (on [:controller])]
   :controller-attr    [1 [:controller] (on [:controller])]
   :node-id            [1 [:controller] (on [:controller])]
   :allocate           [2 nil segment/allocate]
   :free               [1 [:local-memory] (on [:local-memory])]
   :close              [2 [:controller] (on [:controller :export :import :mapping :local-memory])]
   :create             [3 [:controller] segment/create]
   :destroy            [2 [:export] (on [:export])]
   :publish            [5 [:export] segment/publish]
   :unpublish          [3 [:export] (on [:export])]
   :republish          [2 [:export] segment/republish]
   :rebind             [4 [:export] segment/rebind]
   :published?         [1 [:export] (on [:export])]
   :connect            [3 [:controller] segment/connect]
   :disconnect         [4 [:import] (on [:import :mapping])]
   :map                [6 [:import] segment/map-segment]
   :unmap              [5 [:mapping] (on [:import :mapping])]
   :pull               [4 [:mapping] data/part]
   :push               [4 [:mapping] data/part]
   :connected?         [1 [:import] (on [:import])]
   :aborted?           [2 [:import] (on [:import])]
   :mapped?            [1 [:import] (on [:import :mapping])]
   :size               [1 [:controller] (on [:export :import :mapping :local-memory])]
   :segment-id         [1 [:controller] (on [:export :import :mapping])]
   :fill               [2 [:export :mapping :local-memory] data/fill]
   :copy               [3 [:export :mapping :local-memory] data/copy]
   :putv               [4 [:import] data/scatter-gather]
   :getv               [4 [:import] data/scatter-gather]
   :init-barrier       [3 [:import] (new-of "b" :import)]
   :open-barrier       [4 [:barrier] (on [:barrier])]
   :order-barrier      [2 [:barrier] (on [:barrier])]
   :close-barrier      [4 [:barrier] (on [:barrier])]
   :destroy-barrier    [2 [:barrier] (on [:barrier])]
   :set-barrier-mode   [3 [:import] mode]
   :barrier-mode       [1 [:import] (on [:import])]
   :create-localmemory-handle [2 [:local-memory] localmemory-handle]
   :free-localmemory-handle   [1 [:localmem] free-localmemory-handle]
   :signal-post        [5 [:export :import] (on [:export :import] data/posts)]
   :signal-wait        [5 [:export :import] (on [:export :import] (gen/return [{:timeout-ms 0}]))]
   :get-pollfd         [2 [:export :import] (new-of "f" :export :import)]
   :release-pollfd     [2 [:export :import] (on [:export :import])]
   :signal-wait-pollfd [3 [:pollfd] wait-pollfd]})

(def ^:private families
  "Commands of which there are many and alike: [weight, members, and as above]. The weight is
  that of them together."
  (let [of (fn [& verbs] (filterv #((set verbs) (first (data/split-op %))) (sort model/commands)))]
    [[16 (of :get) [:mapping :export :local-memory] data/access]
     [20 (of :put) [:mapping :export :local-memory] data/access]
     [4 (of :compare-and-set :get-and-add) [:mapping :export :local-memory :import] data/atomic]
     [24 (vec (sort (keys data/elements))) [:import] data/transfer]]))

(defn- urgency
  "By how much more a command is wanted in a state, so that sequences soon come to where
  there is something to be seen: a controller, a segment that is published, an importer, a
  mapping."
  [state op]
  (let [n #(count (live state %))
        some-published? (seq (segment/published state))]
    (case op
      :get-controller (condp = (n :controller) 0 60, 1 2, 1)
      :create (condp = (n :export) 0 20, 1 2, 1)
      :publish (if some-published? 1 10)
      :connect (if some-published? (condp = (n :import) 0 20, 1 4, 2 3, 1) 1)
      :map (condp = (n :mapping) 0 8, 1 2, 1)
      1)))

(defn- choices
  "What can be done in a state: [[weight [ops f]] ...], f giving the generator for one of the
  ops."
  [state {:keys [ops]}]
  (let [there (into {nil true} (map (fn [k] [k (boolean (seq (live state k)))]))
                    [:controller :local-memory :export :import :mapping :barrier :localmem :pollfd])
        possible? #(or (nil? %) (some there %))]
    (concat
     (for [[op [weight needs f]] (sort-by key plain)
           :when (and (ops op) (possible? needs))]
       [(* (long weight) (long (urgency state op))) [[op] f]])
     (for [[weight members needs f] families
           :let [members (filterv ops members)]
           :when (and (seq members) (possible? needs))]
       [weight [members f]]))))

(defn- options [opts]
  (merge {:ops (disj model/commands :exit :umask)
          :max-length 30
          :controllers [["loopback"] ["shm0" {:node 1}] ["shm0" {:node 2}]]
          :segment-ids [0x600001 0x600002 0x600003]
          :processes [:self]}
         ;; to give a barrier option where there are no barriers would be an error
         {:barrier-option (contains? (:ops opts model/commands) :init-barrier)}
         opts))

(defn- specified? [state command]
  (not (contains? (second (model/step state command)) :unspecified)))

(defn- commands-of
  "Commands of one process. Which command it is does not shrink: that would make another one
  of it, and hardly ever a simpler failure."
  [state opts]
  (when-let [cs (seq (choices state opts))]
    (gen/bind (gen/no-shrink
               (gen/bind (gen/frequency (for [[weight choice] cs] [weight (gen/return choice)]))
                         (fn [[ops f]] (gen/tuple (gen/elements ops) (gen/return f)))))
              (fn [[op f]]
                ;; a command that makes no sense here after all
                (or (f state opts op) (gen/return nil))))))

(defn command [state opts]
  (let [opts (options opts)
        gs (keep (fn [p]
                   (when-let [g (commands-of (assoc state :process p) opts)]
                     (if (= :self p) g (gen/fmap #(when % [:in p %]) g))))
                 (:processes opts))]
    (when (seq gs)
      (gen/such-that #(and % (specified? state %)) (gen/one-of gs) 100))))

(defn- trees
  "A generator of a list of n rose trees of commands, each command made for the state after
  the ones before it. With test.check's public functions alone, a command that shrinks would
  make all that follow it be generated anew, and nothing would shrink for long."
  [state opts n]
  (if-let [g (when (pos? (long n)) (command state opts))]
    (gen/gen-bind g
      (fn [tree]
        (gen/gen-fmap #(cons tree %)
                      (trees (first (model/step state (rose/root tree))) opts (dec (long n))))))
    (gen/gen-pure ())))

(defn commands [opts]
  (let [opts (options opts)
        state (:state opts (model/init))]
    (gen/sized
     (fn [size]
       (let [longest (min (long (:max-length opts)) (+ 2 (long size)))]
         (gen/gen-bind (gen/choose 0 longest)
           (fn [n]
             (gen/gen-fmap #(rose/shrink-vector vector (vec %))
                           (trees state opts (rose/root n))))))))))
