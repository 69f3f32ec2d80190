(ns ^:no-doc rsmapi.model.barrier
  "Barriers and barrier modes in the model. What put and get make of them is in
  rsmapi.model.transfer."
  (:require [rsmapi.model.error :refer [checked failed ok]]
            [rsmapi.model.mirror :as mirror]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn init-barrier
  "[:init-barrier name import]: the latest is the one that put and get use."
  [state name x]
  (s/unless-mapping state x
    (let [im (s/open-import state x)]
      (checked state :init-barrier [:rsm/bad-seg-hndl (nil? im)]
        (let [[state id] (s/add state {:kind :barrier :import (:id im) :state :closed})]
          (ok (-> state
                  (s/bind name id)
                  (s/change (:id im) assoc :barrier id))
              name))))))

(defn- with-barrier
  "The checks that all calls on a barrier begin with; then effect gets the barrier and its
  import segment."
  [state op x open? effect]
  (let [b (s/of-kind state x :barrier)
        im (s/object state (:import b))]
    (checked state op
      [:rsm/bad-barrier-ptr (nil? b)
       :rsm/barrier-uninitialized (= :destroyed (:state b))
       :rsm/bad-seg-hndl (not (s/open-import? im))
       :rsm/barrier-not-opened (and open? (not= :open (:state b)))]
      (effect b im))))

(defn open-barrier
  "[:open-barrier barrier]"
  [state x]
  (with-barrier state :open-barrier x false
    (fn [b im] (ok (-> state
                       (s/change (:id b) assoc :state :open)
                       (mirror/with-mirror im mirror/pull))))))

(defn order-barrier
  "[:order-barrier barrier]"
  [state x]
  (with-barrier state :order-barrier x true
    (fn [_ im] (ok (mirror/with-mirror state im mirror/push)))))

(defn close-barrier
  "[:close-barrier barrier]: says whether the connection was there all the time since
  connect; the barrier is closed in either case."
  [state x]
  (with-barrier state :close-barrier x true
    (fn [b im]
      (let [state (-> state
                      (s/change (:id b) assoc :state :closed)
                      (mirror/with-mirror im mirror/push))]
        (if (:aborted? im)
          (failed state :close-barrier :rsm/conn-aborted)
          (ok state))))))

(defn destroy-barrier
  "[:destroy-barrier barrier]: the import segment is without one if it was the current one. Like
  everything that ends something, it does not need the segment to be connected."
  [state x]
  (let [b (s/of-kind state x :barrier)
        im (s/object state (:import b))]
    (checked state :destroy-barrier
      [:rsm/bad-barrier-ptr (nil? b)
       :rsm/barrier-uninitialized (= :destroyed (:state b))]
      (ok (-> state
              (s/change (:id b) assoc :state :destroyed)
              (cond-> (= (:id b) (:barrier im)) (s/change (:id im) assoc :barrier nil)))))))

(defn set-barrier-mode
  "[:set-barrier-mode import mode]"
  [state x mode]
  (s/unless-mapping state x
    (let [im (s/open-import state x)]
      (checked state :set-mode
        [:rsm/bad-seg-hndl (nil? im)
         :rsm/bad-mode (not (#{:implicit :explicit} mode))]
        (ok (s/change state (:id im) assoc :mode mode))))))

(defn barrier-mode
  "[:barrier-mode import]"
  [state x]
  (s/unless-mapping state x
    (let [im (s/open-import state x)]
      (checked state :get-mode [:rsm/bad-seg-hndl (nil? im)]
        (ok state (:mode im))))))

(def commands
  "Command -> function of the state and the command's arguments."
  {:init-barrier init-barrier
   :open-barrier open-barrier
   :order-barrier order-barrier
   :close-barrier close-barrier
   :destroy-barrier destroy-barrier
   :set-barrier-mode set-barrier-mode
   :barrier-mode barrier-mode})
