(ns rsmapi.sim
  "A simulated interconnect, to test programs with: nodes 0 to 63 within this process, messages that take
  time, and links and nodes that fail. The functions of rsmapi.core work over it as over any other.

    (require '[rsmapi.sim :as sim])

    (sim/with-world [w {:seed 7 :faults [{:message :done :nth 2 :fault :lose}]}]
      (rsm/with-controller [one (sim/name w) {:node 1}]
        (rsm/with-controller [two (sim/name w) {:node 2}]
          ...)))

  Contents: world with-world name close!  now step! run! advance!  cut! mend! kill! stop! continue!
            history plan

  A world has its own time, in nanoseconds. A call that waits, for an answer or with a timeout, moves it as
  far as it has to: a timeout of five seconds takes none. One seed and one order of calls give one history.

  Errors of this namespace are :rsm/bad-args-errors."
  (:refer-clojure :exclude [name run!])
  (:require [rsmapi.impl.args :as args]
            [rsmapi.impl.scope :as scope]
            [rsmapi.impl.text :as text])
  (:import (java.time Duration)
           (java.util Map)
           (org.rsmapi Capabilities$Memory RsmError)
           (org.rsmapi.sim Fault Fault$Kind Fault$Message World World$Options)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; -------------------------------------------------------------- what is given

(defn- bad [argument value hint]
  (args/failure RsmError/BAD_ARGS_ERRORS "world" :argument argument :value value :hint hint))

(defn- number [x default argument]
  (args/integer x default RsmError/BAD_ARGS_ERRORS ["world" argument]))

(defn- small-number
  "The same for an argument of 32 bits."
  [x default argument]
  (let [n (long (number x default argument))]
    (if (= n (unchecked-int n))
      (int n)
      (throw (bad argument x "give an integer of at most 32 bits")))))

(defn- constant
  "The constant of an enum for a keyword."
  [constants x argument]
  (or (some #(when (and (keyword? x) (= (text/lower-case (.name ^Enum %)) (clojure.core/name x))) %) constants)
      (throw (bad argument x (str "give one of " (mapv #(keyword (text/lower-case (.name ^Enum %))) constants))))))

(def ^:private fault-keys #{:fault :at :message :nth :from :to :node :segment-id :by})

(defn- fault [x]
  (when-not (and (map? x) (every? fault-keys (keys x)))
    (throw (bad "faults" x (str "a fault is a map of some of " (vec (sort fault-keys))))))
  (let [{:keys [at message nth from to node segment-id by]} x
        kind (constant (Fault$Kind/values) (:fault x) "fault")
        needed (condp contains? (clojure.core/name (:fault x)) #{"cut" "mend"} [:from :to] #{"kill" "stop" "continue"} [:node] nil)]
    (when-let [missing (first (remove x needed))]
      (throw (bad "faults" x (str "this fault needs " missing))))
    (Fault. kind
            (number at -1 "at")
            (when message (constant (Fault$Message/values) message "message"))
            (small-number nth 1 "nth")
            (small-number (or from node) 0 "from")
            (small-number to 0 "to")
            (number segment-id -1 "segment-id")
            (number by 0 "by"))))

(def ^:private keys-of-worlds #{:unit :seed :memory :latency :timeout :overtake :manual :faults})

(defn world
  "Begins a world. close! ends it.

  Options:
    :unit      the number in the name of its controllers, 0 to 31; default 0: sim0
    :seed      of its chance, any number; default 0
    :memory    :mirrored, the default, as between hosts; or :shared, as on one host: then data does not go
               as messages, and a mapping loses its memory when the exporter revokes
    :latency   what a message takes, in nanoseconds: a number, or [least most]; default [5000 50000]
    :timeout   how long a call waits for an answer, and after how long without a way a connection is
               aborted, in nanoseconds; default 1000000000
    :overtake  whether writes of one connection can overtake each other between two points of order;
               default true
    :manual    true: only step!, run! and advance! move the time, and a call that waits really does;
               default false
    :faults    what goes wrong, a vector of maps. With :at (nanoseconds since the beginning), or with
               :message and :nth (the n-th message of that kind, default 1):
                 {:at 5000 :fault :cut :from 1 :to 2}     nothing passes from 1 to 2 any more, and waits
                 {:at 9000 :fault :mend :from 1 :to 2}
                 {:at 5000 :fault :kill :node 1}          also :stop and :continue
                 {:at 5000 :fault :revoke :node 1 :segment-id 0x600001}
                 {:message :put :nth 3 :fault :revoke}    the exporter unpublishes when it arrives
                 {:message :done :fault :lose}            it never arrives
                 {:message :put :fault :delay :by 70000}
                 {:message :barrier :fault :fail}         the barrier fails, though all has arrived; also
                                                          with :get and :atomic
                 {:message :put :nth 3 :fault :kill :node 1}   happens when it arrives, before it has an
                                                          effect; so do all others but :lose, :delay, :fail
               Messages are :connect :answer :put :get :data :atomic :result :barrier :done :post :revoked
               :disconnect."
  (^World [] (world nil))
  (^World [opts]
   (let [{:keys [unit seed memory latency timeout overtake manual faults]} (args/options opts keys-of-worlds "world")
         [least most] (cond (nil? latency)    [5000 50000]
                            (vector? latency) latency
                            :else             [latency latency])]
     (when-not (or (nil? faults) (sequential? faults))
       (throw (bad "faults" faults "give a vector of maps")))
     (World/open
      (World$Options. (small-number unit 0 "unit")
                      (number seed 0 "seed")
                      (constant (Capabilities$Memory/values) (or memory :mirrored) "memory")
                      (number least nil "latency")
                      (number most nil "latency")
                      (number timeout 1000000000 "timeout")
                      (or (nil? overtake) (args/flag overtake "world" "overtake"))
                      (args/flag manual "world" "manual")
                      (mapv fault faults)))))
  (^World [opts & more] (world (args/trailing opts more))))

(defmacro with-world
  "Evaluates body with sym bound to a world, then ends it."
  [[sym & opts] & body]
  (scope/opened "with-world" sym `World `(world ~@opts) body))

(defmethod print-method World [w ^java.io.Writer writer] (.write writer (str w)))

(defn- a-world ^World [x op]
  (if (instance? World x)
    x
    (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "world" :value x :hint "give a world"))))

(defn close!
  "Ends a world: its connections are aborted, its segments are not published any more, and its
  controllers are not there."
  [world]
  (.close (a-world world "close")))

(defn name
  "The name of a world's controllers, for get-controller."
  [world]
  (.controller (a-world world "name")))

;; ------------------------------------------------------------------- time

(defn now
  "The time of a world, in nanoseconds since it began."
  [world]
  (.now (a-world world "now")))

(defn step!
  "Has the next thing happen, and moves the time there. Returns whether there was one."
  [world]
  (.step (a-world world "step")))

(defn run!
  "Has everything happen that is under way, until nothing is. Returns how many things there were."
  [world]
  (.run (a-world world "run")))

(defn advance!
  "Moves the time by so many nanoseconds, and has everything happen that does until then. Returns nil."
  [world nanos]
  (.advance (a-world world "advance") (Duration/ofNanos (number nanos nil "nanos"))))

;; -------------------------------------------------------- what goes wrong

(defn- each-way [f ^World w from to way]
  (let [from (small-number from nil "from"), to (small-number to nil "to")]
    (when-not (and (keyword? way) (#{:both :one-way} way))
      (throw (bad "way" way "give :both or :one-way")))
    (f w from to)
    (when (= :both way)
      (f w to from))
    nil))

(defn cut!
  "Lets nothing pass between two nodes any more, or only not from the first to the second (:one-way).
  What is sent waits. Connections between them are aborted after the world's timeout. Returns nil."
  ([world from to] (cut! world from to :both))
  ([world from to way] (each-way #(.cut ^World %1 %2 %3) (a-world world "cut") from to way)))

(defn mend!
  "Lets everything pass again, with what has waited. Returns nil."
  ([world from to] (mend! world from to :both))
  ([world from to way] (each-way #(.mend ^World %1 %2 %3) (a-world world "mend") from to way)))

(defn kill!
  "Ends a node at once, with its segments, connections and controllers. Nobody is told: who is connected to
  it finds out after the world's timeout. Returns nil."
  [world node]
  (.kill (a-world world "kill") (small-number node nil "node")))

(defn stop!
  "Lets nothing arrive at a node any more, and nothing that it sends leave it; what is sent waits. Returns nil."
  [world node]
  (.stop (a-world world "stop") (small-number node nil "node")))

(defn continue!
  "Lets a stopped node go on. Returns nil."
  [world node]
  (.resume (a-world world "continue") (small-number node nil "node")))

;; ---------------------------------------------------------------- history

(defn- lower [^Enum x] (keyword (text/lower-case (.name x))))

(defn- fault-data
  "A fault as `world` takes it."
  [^Fault f]
  (let [kind (lower (.kind f))
        [node? link?] [(#{:kill :stop :continue :revoke} kind) (#{:cut :mend} kind)]]
    (cond-> {:fault kind}
      (nat-int? (.at f))                                (assoc :at (.at f))
      (.message f)                                      (assoc :message (lower (.message f)) :nth (.nth f))
      link?                                             (assoc :from (.from f) :to (.to f))
      node?                                             (assoc :node (.from f))
      (and (= :revoke kind) (nat-int? (.segment f)))    (assoc :segment-id (.segment f))
      (= :delay kind)                                   (assoc :by (.nanos f)))))

(defn- options-of [^World w]
  (let [^World$Options o (.options w)]
    {:unit (.unit o) :seed (.seed o) :memory (lower (.memory o)) :latency [(.least o) (.most o)]
     :timeout (.timeout o) :overtake (.overtake o) :manual (.manual o) :faults (mapv fault-data (.faults o))}))

(defn history
  "What has happened in a world, as a vector of maps: :time (nanoseconds), :event, and what belongs to it.
  The first one has the options of the world; with those, and the same calls, everything happens again. A
  history has the newest 100,000 entries, and the first one says how many older ones were :forgotten.

    {:time 0 :event :world :options {:unit 0 :seed 7 ...}}
    {:time 0 :event :put :nth 1 :from 2 :to 1 :segment-id 0x600001 :offset 8 :length 8 :arrives 31234}"
  [world]
  (let [w (a-world world "history")
        entries (.history w)
        forgotten (.forgotten w)]
    (into [(cond-> {:time 0 :event :world :options (options-of w)}
             (pos? forgotten) (assoc :forgotten forgotten))]
          (map (fn [^Map entry]
                 (apply array-map ; in this order
                        (mapcat (fn [[k v]] [(keyword k) (if (= "event" k) (keyword v) v)]) entry))))
          entries)))

(defn plan
  "The options of a world in which goes wrong what has gone wrong in a history: the options of that world,
  and among their :faults also what was done by hand, with cut!, mend!, kill!, stop! and continue!, at the
  times when it was. What was called at the very time of something that was done by hand, and before it,
  comes after it then. A history that has :forgotten entries makes no plan."
  [history]
  (let [[{:keys [event options forgotten]} & more] (when (sequential? history) history)]
    (when-not (and (= :world event) (map? options) (not forgotten))
      (throw (args/failure RsmError/BAD_ARGS_ERRORS "plan" :argument "history" :hint "give what history returned")))
    (update options :faults into
            (for [{:keys [event time planned] :as entry} more
                  :when (and (#{:cut :mend :kill :stop :continue} event) (not planned))]
              (assoc (select-keys entry [:from :to :node]) :fault event :at time)))))
