(ns ^:no-doc rsmapi.gen.command
  "Generators of commands for rsmapi.model, made for a state of it; see rsmapi.gen."
  (:require [clojure.string :as str]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.rose-tree :as rose]
            [rsmapi.gen.value :as value]
            [rsmapi.model :as model]
            [rsmapi.model.memory :as memory]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- handles

(defn- handles
  "The names that the calling process has for things of this kind, with what they are."
  [state kind]
  (sort (for [[[process name] id] (:names state)
              :when (and (= process (:process state))
                         (= kind (get-in state [:objects id :kind])))]
          name)))

(defn- live? [state name]
  (let [{:keys [kind] :as h} (s/handle state name)]
    (case kind
      :controller (pos? (long (:refs h)))
      :export (s/alive? h)
      :import (s/open-import? h)
      :mapping (:mapped? h)
      (:local-memory :localmem) (:open? h)
      :barrier (and (not= :destroyed (:state h)) (s/open-import? (s/object state (:import h))))
      true)))

(defn- live [state kind]
  (filterv #(live? state %) (handles state kind)))

(defn- which
  "A handle of one of these kinds: mostly a live one, now and then one that has ended, one
  of another kind, or none. nil if there is no live one."
  [state & kinds]
  (when-let [good (seq (mapcat #(live state %) kinds))]
    (let [ended (remove (set good) (mapcat #(handles state %) kinds))
          every-name (sort (map second (keys (:names state))))]
      (gen/frequency
       (cond-> [[40 (gen/elements good)]]
         (seq ended) (conj [4 (gen/elements ended)])
         :always (conj [1 (gen/elements (cons :nothing every-name))]))))))

(defn- fresh
  "A name that nothing has yet."
  [state prefix]
  (keyword (str prefix (count (filter #(str/starts-with? (name %) prefix)
                                      (map second (keys (:names state))))))))

(defn- with-handle
  "A generator of [op handle & more], more being a generator made for the handle's object, or
  nil if there is no such handle."
  [state op kinds more]
  (when-let [h (apply which state kinds)]
    (gen/bind h (fn [x]
                  (gen/fmap #(into [op x] %)
                            (more (s/handle state x)))))))

(def ^:private nothing (gen/return []))

;; ----------------------------------------------------- controllers, memory

(defn- get-controller [state {:keys [controllers]} op]
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

(defn- allocate [state _ op]
  (when (< (count (live state :local-memory)) 3)
    (gen/fmap #(vector op (fresh state "l") %)
              (gen/frequency [[8 (small-pages state)] [1 (gen/choose 1 100)]]))))

;; ------------------------------------------------------------------ export

(defn- exported?
  "Whether a live export segment has a part of this memory."
  [state memory]
  (seq (s/all state :export #(and (s/alive? %) (= memory (:memory %))))))

(defn- free-memory
  "Local memory that nobody exports."
  [state]
  (remove #(exported? state (:memory (s/handle state %))) (live state :local-memory)))

(defn- own-memory
  "Options with the caller's memory; nil if there is none that is free."
  [state size]
  (when-let [ls (seq (free-memory state))]
    (gen/let [l (gen/elements ls)
              at (gen/frequency [[6 (gen/return 0)] [1 (gen/elements [(:page-size state) 1])]])]
      {:address [l at] :size size})))

(defn- create [state _ op]
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
                                      [1 (gen/return {:dont-wait true})]])]
        [op (fresh state "e") c (merge own flags)]))))

(defn- export-nodes [state ex]
  (let [c (s/object state (:controller ex))]
    (if (= "loopback" (:type c)) [(:node c)] [0 1 2])))

(defn- acl-for [state ex]
  (let [loopback? (= "loopback" (:type (s/object state (:controller ex))))
        opts {:nodes (export-nodes state ex) :max (if loopback? 1 64)}]
    (gen/frequency [[8 (value/acl opts)] [1 (value/any-acl opts)]])))

(defn- publish [state {:keys [segment-ids]} op]
  (with-handle state op [:export]
    (fn [ex]
      (gen/let [id (gen/frequency [[16 (gen/elements segment-ids)]
                                   [3 (gen/elements [nil 0])]
                                   [1 value/reserved-segment-id]
                                   [1 (gen/elements [-1 0x100000000 "x" Long/MIN_VALUE])]])
                acl (acl-for state ex)]
        [(cond-> {} (some? id) (assoc :segment-id id) (some? acl) (assoc :acl acl))]))))

(defn- republish [state _ op]
  (with-handle state op [:export]
    (fn [ex] (gen/fmap #(vector {:acl %}) (acl-for state ex)))))

(defn- rebind [state _ op]
  (with-handle state op [:export]
    (fn [ex]
      (let [size (:size ex (:page-size state))
            wrong (gen/elements [{:address nil :length size} {:address 0 :length size}
                                 {:address 0 :length 0}])]
        (if-let [ls (seq (free-memory state))]
          (gen/let [l (gen/elements ls)
                    at (gen/frequency [[6 (gen/return 0)] [1 (gen/elements [(:page-size state) 1])]])
                    n (gen/frequency [[8 (gen/return size)]
                                      [1 (gen/elements [0 (:page-size state) (inc (long size))])]])
                    opts (gen/frequency [[4 (gen/return {:address [l at] :length n})]
                                         [4 (gen/return {:memory l :at at :length n})]
                                         [1 wrong]])]
            [opts])
          (gen/fmap vector wrong))))))

;; ------------------------------------------------------------------ import

(defn- published [state]
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
  (let [ex (first (filter #(or (= segment-id (:segment-id %)) (= segment-id (name-of state (:id %))))
                          (filter #(= node (:node %)) (published state))))
        interconnect #(select-keys % [:type :unit])
        there (some->> ex :controller (s/object state) interconnect)
        fitting (filterv #(= there (interconnect (s/handle state %))) (live state :controller))]
    (gen/frequency
     (cond->> [[1 (which state :controller)]]
       (seq fitting) (cons [8 (gen/elements fitting)])))))

(defn- connect [state opts op]
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

(defn- place
  "Where accesses and mappings of an object can be."
  [state h]
  {:page-size (:page-size state) :size (:size h (:page-size state)) :perm (:perm h 0600)})

(defn- map-segment [state _ op]
  (when-let [im (which state :import)]
    (gen/let [im im
              request (let [p (place state (s/import-segment state im))]
                        (gen/frequency [[6 (value/map-request p)] [2 (value/any-map-request p)]]))]
      (cond-> [op (fresh state "m") im] (not (contains? #{nil {}} request)) (conj request)))))

;; ------------------------------------------------------------ typed access

(defn- split-op
  "What a command of typed access does, and to which type: [:get :int \"-volatile\"]."
  [op]
  (when-let [[_ verb type suffix]
             (re-matches #"(get|put|compare-and-set|get-and-add)-(byte|short|char|int|long|float|double)(s|-volatile|-acquire|-release)?"
                         (name op))]
    [(keyword verb) (keyword type) suffix]))

(defn- number-of
  "Values for a type: small, at the ends of its range, or any; now and then beyond it."
  [type]
  (let [{:keys [min max]} (memory/types type)
        fractions (gen/double* {:NaN? false :infinite? false})]
    (case type
      :char (gen/one-of [(gen/fmap char (gen/choose 0 200)) (gen/choose 0 65535)])
      :float (gen/fmap #(double (.floatValue ^Double %))
                       (gen/such-that #(<= -1e30 (double %) 1e30) fractions 100))
      :double fractions
      (gen/frequency
       (cond-> [[4 (gen/choose 0 100)]
                [3 (gen/elements [min max -1])]
                [2 (gen/large-integer* {:min min :max max})]]
         (not= :long type) (conj [1 (gen/elements [(inc (long max)) (dec (long min))])]))))))

(defn- fits-element?
  "Whether an array of a type can hold a value."
  [type x]
  (let [n (memory/width type)
        top (if (= 8 n) Long/MAX_VALUE (dec (bit-shift-left 1 (dec (* 8 n)))))]
    (case type
      (:float :double) true
      :char (or (char? x) (<= 0 x 65535))
      (<= (bit-not (long top)) x top))))

(def ^:private order (gen/frequency [[3 (gen/return nil)]
                                     [3 (gen/elements [:little-endian :big-endian :native])]
                                     [1 (gen/return :middle-endian)]]))

(defn- with-order [type args]
  (if (= :byte type)
    args
    (gen/let [args args, o order]
      (cond-> args (some? o) (conj o)))))

(defn- access-args
  "The arguments after the handle."
  [op p]
  (let [[verb type suffix] (split-op op)
        n (memory/width type)
        at (value/access (assoc p :aligned? (not (contains? #{nil "s"} suffix))) n)
        aligned (value/access (assoc p :aligned? true) n)
        value (number-of type)]
    (case verb
      :compare-and-set (gen/tuple aligned (gen/frequency [[3 (gen/return 0)] [1 value]]) value)
      :get-and-add (gen/tuple aligned value)
      :get (case suffix
             "s" (with-order type (gen/let [k (gen/frequency [[8 (gen/choose 0 4)] [1 (gen/return -1)]])
                                            at (value/access p (max 0 (* n (long k))))]
                                    [at k]))
             nil (with-order type (gen/tuple at))
             (gen/tuple at))
      :put (case suffix
             "s" (with-order type (gen/let [vs (gen/vector (gen/such-that #(fits-element? type %) value 50) 0 4)
                                            at (value/access p (* n (count vs)))]
                                    [at vs]))
             nil (with-order type (gen/tuple at value))
             (gen/tuple at value)))))

(def ^:private memories [:mapping :mapping :mapping :export :local-memory])

(defn- access [state _ op]
  (with-handle state op memories #(access-args op (place state %))))

(defn- fill [state _ op]
  (with-handle state op memories
    (fn [h]
      (gen/let [n (gen/frequency [[8 (gen/choose 0 40)] [1 (gen/elements [-1 (:size h 0)])]])
                at (value/access (place state h) (max 0 (long n)))
                value (number-of :byte)]
        [at n value]))))

(defn- copy [state _ op]
  (with-handle state op memories
    (fn [h]
      (gen/let [to (apply which state memories)
                n (gen/frequency [[8 (gen/choose 0 40)] [1 (gen/elements [-1 (:page-size state)])]])
                from-at (value/access (place state h) (max 0 (long n)))
                to-at (value/access (place state (s/handle state to)) (max 0 (long n)))]
        [from-at to to-at n]))))

;; ------------------------------------------------------ put, get and vectors

(def ^:private posts (gen/elements [[] [] [{:no-accumulate true}]]))

(def ^:private elements
  "Commands that put or get on the segment: the type of their elements."
  {:put :byte, :get :byte, :put8 :byte, :get8 :byte, :put16 :short, :get16 :short
   :put32 :int, :get32 :int, :put64 :long, :get64 :long, :put-signal :byte})

(defn- element-values
  "Vectors of up to 4 elements, as an array of that type can hold them."
  [type]
  (gen/vector (gen/such-that #(fits-element? type %) (number-of type) 50) 0 4))

(defn- with-index
  "The local side with an index and a count, or without: as arguments, and how many elements
  move."
  [local n]
  (gen/frequency
   [[5 (gen/return [[local] n])]
    [2 (gen/let [i (gen/choose 0 n)
                 k (gen/choose 0 (- (long n) (long i)))]
         [[local i k] k])]
    [1 (gen/let [i (gen/elements [-1 0 1 n]), k (gen/elements [-1 0 n (inc (long n))])]
         [[local i k] (max 0 (long k))])]]))

(defn- local-memory-side
  "Memory as a local side: it needs an index and a count, aligned for elements of width."
  [state width]
  (when-let [ls (seq (live state :local-memory))]
    (gen/let [l (gen/elements ls)
              k (gen/choose 0 4)
              i (value/access {:size (:size (s/handle state l)) :aligned? (not= 1 width)
                               :page-size (:page-size state)}
                              (* (long width) (long k)))]
      [[l i k] k])))

(defn- window-of
  "Offsets in the segment that a transfer of n bytes can have: in the window that is
  mapped, or in all of it; at times outside."
  [state im width n]
  (let [{:keys [offset size]} (or (s/object state (:mapping im))
                                  {:offset 0 :size (:size im (:page-size state))})]
    (gen/frequency
     [[5 (gen/fmap #(+ (long offset) (long %))
                   (gen/such-that #(< -100000 (long %) 1000000)
                                  (value/access {:size size :page-size (:page-size state)
                                                 :aligned? (not= 1 width)}
                                                n)
                                  50))]
      [1 (value/access {:size (:size im 0) :page-size (:page-size state) :aligned? true} n)]])))

(defn- transfer [state _ op]
  (let [type (elements op)
        width (memory/width type)
        put? (str/starts-with? (name op) "put")]
    (with-handle state op [:import]
      (fn [im]
        (gen/let [vs (element-values type)
                  [local n] (gen/frequency
                             (cond-> [[6 (if (= :put-signal op)
                                           (gen/return [[vs] (count vs)])
                                           (with-index vs (count vs)))]]
                               (and (not= :put-signal op) (seq (live state :local-memory)))
                               (conj [1 (local-memory-side state width)])
                               (and (not put?) (not= :get op))
                               (conj [3 (gen/fmap (fn [k] [[k] k]) (gen/choose 0 4))])
                               (and put? (not (#{:put :put-signal} op)))
                               (conj [2 (gen/fmap (fn [v] [[v] 1])
                                                  (gen/such-that #(fits-element? type %)
                                                                 (number-of type) 50))])
                               :always (conj [1 (gen/return [[:nothing] 0])])))
                  at (window-of state im width (* (long n) width))
                  post (if (= :put-signal op) posts nothing)]
          (into [at] (concat local post)))))))

(defn- iovec-entry [state im put?]
  (gen/let [vs (gen/vector (gen/choose -128 127) 1 8)
            memories (gen/elements (cons nil (concat (live state :local-memory) (live state :localmem))))
            local (gen/return (or memories (if put? vs :nothing)))
            n (gen/frequency [[8 (gen/choose 0 (count vs))] [1 (gen/elements [-1 (inc (count vs))])]])
            i (gen/frequency [[6 (gen/return 0)] [1 (gen/elements [1 -1])]])
            at (window-of state im 1 (max 0 (long n)))]
    {:local local :local-offset i :remote-offset at :length n}))

(defn- scatter-gather [state _ op]
  (let [put? (= :putv op)]
    (when-let [im (which state :import)]
      (gen/let [im im
                entries (gen/frequency
                         [[12 (gen/vector (iovec-entry state (s/segment state im) put?) 1 4)]
                          [1 (gen/fmap #(vec (repeat 17 %)) (iovec-entry state (s/segment state im) put?))]
                          [1 (gen/elements [[] nil])]])
                signal (gen/elements [{} {} {:signal true} {:signal true :no-accumulate true}])]
        [op (merge {:segment im :iovec entries} signal)]))))

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
                                     [2 (gen/fmap (fn [n] {:length n}) (value/any-length {:size size} 0))]
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
  {:get-controller     [2 nil get-controller]
   :release-controller [1 [:controller] (on [:controller])]
   :controller-attr    [1 [:controller] (on [:controller])]
   :node-id            [1 [:controller] (on [:controller])]
   :allocate           [2 nil allocate]
   :free               [1 [:local-memory] (on [:local-memory])]
   :close              [2 [:controller] (on [:controller :export :import :mapping :local-memory])]
   :create             [3 [:controller] create]
   :destroy            [2 [:export] (on [:export])]
   :publish            [5 [:export] publish]
   :unpublish          [3 [:export] (on [:export])]
   :republish          [2 [:export] republish]
   :rebind             [4 [:export] rebind]
   :published?         [1 [:export] (on [:export])]
   :connect            [3 [:controller] connect]
   :disconnect         [4 [:import] (on [:import :mapping])]
   :map                [6 [:import] map-segment]
   :unmap              [5 [:mapping] (on [:import :mapping])]
   :connected?         [1 [:import] (on [:import])]
   :aborted?           [2 [:import] (on [:import])]
   :mapped?            [1 [:import] (on [:import :mapping])]
   :size               [1 [:controller] (on [:export :import :mapping :local-memory])]
   :segment-id         [1 [:controller] (on [:export :import :mapping])]
   :fill               [2 [:export :mapping :local-memory] fill]
   :copy               [3 [:export :mapping :local-memory] copy]
   :putv               [4 [:import] scatter-gather]
   :getv               [4 [:import] scatter-gather]
   :init-barrier       [3 [:import] (new-of "b" :import)]
   :open-barrier       [4 [:barrier] (on [:barrier])]
   :order-barrier      [2 [:barrier] (on [:barrier])]
   :close-barrier      [4 [:barrier] (on [:barrier])]
   :destroy-barrier    [2 [:barrier] (on [:barrier])]
   :set-barrier-mode   [3 [:import] mode]
   :barrier-mode       [1 [:import] (on [:import])]
   :create-localmemory-handle [2 [:local-memory] localmemory-handle]
   :free-localmemory-handle   [1 [:localmem] free-localmemory-handle]
   :signal-post        [5 [:export :import] (on [:export :import] posts)]
   :signal-wait        [5 [:export :import] (on [:export :import] (gen/return [{:timeout-ms 0}]))]
   :get-pollfd         [2 [:export :import] (new-of "f" :export :import)]
   :release-pollfd     [2 [:export :import] (on [:export :import])]
   :signal-wait-pollfd [3 [:pollfd] wait-pollfd]})

(def ^:private families
  "Commands of which there are many and alike: [weight, members, and as above]. The weight is
  that of them together."
  (let [of (fn [& verbs] (filterv #((set verbs) (first (split-op %))) (sort model/commands)))]
    [[16 (of :get) [:mapping :export :local-memory] access]
     [20 (of :put) [:mapping :export :local-memory] access]
     [3 (of :compare-and-set :get-and-add) [:mapping :export :local-memory] access]
     [24 (vec (sort (keys elements))) [:import] transfer]]))

(defn- urgency
  "By how much more a command is wanted in a state, so that sequences soon come to where
  there is something to be seen: a controller, a segment that is published, an importer, a
  mapping."
  [state op]
  (let [n #(count (live state %))
        some-published? (seq (published state))]
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
