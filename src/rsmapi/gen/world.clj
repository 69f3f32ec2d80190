(ns ^:no-doc rsmapi.gen.world
  "Generators of simulated worlds and of what goes wrong in them; see rsmapi.gen."
  (:require [clojure.test.check.generators :as gen]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private messages
  [:put :barrier :done :get :data :atomic :result :connect :answer :post :revoked :disconnect])

(def ^:private questions #{:barrier :get :atomic})

(defn- a-message [{:keys [messages most-messages]} some-messages]
  (gen/let [message (gen/elements some-messages)
            nth (gen/choose 1 most-messages)]
    {:message message :nth nth}))

(defn- happens
  "Something of the world, at a time or with a message."
  [{:keys [messages span] :as opts} fault]
  (gen/let [fault fault
            at (gen/frequency [[2 (gen/fmap #(hash-map :at %) (gen/large-integer* {:min 0 :max span}))]
                               [1 (a-message opts messages)]])]
    (merge fault at)))

(defn- link [{:keys [nodes]}]
  (gen/let [from (gen/elements nodes)
            to (gen/elements (or (seq (remove #{from} nodes)) nodes))]
    {:from from :to to}))

(def ^:private makers
  "By kind: a function of the options that gives a generator, or nil."
  {:lose     (fn [{:keys [messages] :as opts}] (gen/fmap #(assoc % :fault :lose) (a-message opts messages)))
   :delay    (fn [{:keys [messages span] :as opts}]
               (gen/let [at (a-message opts messages)
                         by (gen/large-integer* {:min 1 :max span})]
                 (assoc at :fault :delay :by by)))
   :fail     (fn [{:keys [messages] :as opts}]
               (when-let [those (seq (filter questions messages))]
                 (gen/fmap #(assoc % :fault :fail) (a-message opts those))))
   :cut      (fn [opts] (happens opts (gen/fmap #(assoc % :fault :cut) (link opts))))
   :mend     (fn [opts] (happens opts (gen/fmap #(assoc % :fault :mend) (link opts))))
   :kill     (fn [{:keys [nodes] :as opts}] (happens opts (gen/fmap #(hash-map :fault :kill :node %) (gen/elements nodes))))
   :stop     (fn [{:keys [nodes] :as opts}] (happens opts (gen/fmap #(hash-map :fault :stop :node %) (gen/elements nodes))))
   :continue (fn [{:keys [nodes] :as opts}] (happens opts (gen/fmap #(hash-map :fault :continue :node %) (gen/elements nodes))))
   :revoke   (fn [{:keys [segments nodes messages span] :as opts}]
               (let [met (gen/fmap #(assoc % :fault :revoke) (a-message opts messages))]
                 (if (seq segments)
                   (gen/one-of [met (gen/let [at (gen/large-integer* {:min 0 :max span})
                                              [node id] (gen/elements segments)]
                                      {:fault :revoke :at at :node node :segment-id id})])
                   met)))})

(defn- known [xs all what]
  (doseq [x xs]
    (when-not (some #{x} all)
      (throw (IllegalArgumentException. (str what ": there is no " (pr-str x) ", give some of " (vec all)))))))

(defn- complete [{:keys [nodes kinds messages most-messages span most segments]}]
  (known kinds (sort (keys makers)) ":kinds")
  (known messages rsmapi.gen.world/messages ":messages")
  {:nodes (vec (or nodes [0 1 2]))
   :kinds (or kinds (sort (keys makers)))
   :messages (vec (or messages rsmapi.gen.world/messages))
   :most-messages (or most-messages 20)
   :span (or span 3000000)
   :most (or most 4)
   :segments (vec segments)})

(defn faults [opts]
  (let [{:keys [kinds most] :as opts} (complete opts)]
    (if-let [possible (seq (keep #((makers %) opts) kinds))]
      (gen/vector (gen/one-of (vec possible)) 0 most)
      (gen/return []))))

(defn world [{:keys [memory] :as opts}]
  (gen/let [seed (gen/large-integer* {:min 0 :max 1000000})
            latency (gen/frequency [[2 (gen/return [5000 50000])]
                                    [1 (gen/return [1000 1000])]
                                    [1 (gen/return [0 2000000])]])
            overtake (gen/elements [false true])
            memory (if memory (gen/return memory) (gen/elements [:mirrored :shared]))
            faults (faults opts)]
    {:seed seed :latency latency :overtake overtake :memory memory :faults faults
     :timeout (get opts :timeout 10000000)}))
