(ns rsmapi.sim-model-test
  "The library over a simulated interconnect, beside the model: without faults, and when all that was sent has
  arrived after each call, memory that is mirrored does what the model says."
  (:require [clojure.test :refer [deftest is]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.model :as model]
            [rsmapi.sim :as sim]
            [rsmapi.test.model-runner :as player]
            [rsmapi.test.runner :as runner]))

(set! *warn-on-reflection* true)

(defn- state []
  ;; a world has one user, whoever the process is
  (player/initial-state {:worlds #{0} :uid 1000 :gid 1000 :groups #{} :privileged? false}))

(defn- play [commands seed]
  (sim/with-world [w {:seed seed}]
    (binding [player/*settle* #(sim/run! w)]
      (player/play (state) commands))))

(defn- only-simulated
  "The commands with no other controllers: what those publish is not to be seen from a world."
  [commands]
  (mapv (fn [[op handle controller :as command]]
          (if (and (= :get-controller op)
                   (or (nil? controller) (and (string? controller) (re-find #"(?i)^(loopback|shm)" controller))))
            [op handle "sim0" {:node 0}]
            command))
        commands))

(deftest a-mapping-that-would-be-a-copy
  (sim/with-world [w]
    (rsm/with-controller [c (sim/name w) {:node 1}]
      (rsm/with-exported-segment [ex c {:size 8192 :acl [{:node 1 :perm 0600}]}]
        (doseq [perm [:read :write :rdwr], wanted [:read :write :rdwr]]
          (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm perm}]
            (is (= (select-keys (model/check-map {:page-size (rsm/page-size) :size 8192 :perm perm :state :connected :mirrored? true}
                                                 {:perm wanted})
                                [:rsm/error :rsm/op])
                   (select-keys (rsm/check-map im {:perm wanted}) [:rsm/error :rsm/op]))
                [perm wanted])))))))

(deftest commands-over-mirrored-memory-do-what-the-model-does
  (let [seed (runner/new-seed)
        n (runner/trials 300 20000)
        played (atom 0)
        commands (rsm-gen/commands {:state (state) :ops (disj player/ops :same?) :max-length 60
                                    :segment-ids [0x600001 0x600002 0x600003]
                                    :controllers [["sim0" {:node 0}] ["sim0" {:node 1}] ["sim0" {:node 2}]]})
        {:keys [pass?] :as r} (tc/quick-check
                               n
                               (prop/for-all [commands (gen/scale #(+ 20 (long %)) commands)]
                                 (let [{:keys [steps agree?]} (play (only-simulated commands) seed)]
                                   (swap! played + (count steps))
                                   agree?))
                               :seed seed :max-size 40)]
    (println (str "   over sim: " n " sequences, " @played " commands, seed " seed))
    (is pass? (when-not pass?
                (str "seed " seed "\n" (player/tell (play (only-simulated (first (:smallest (:shrunk r)))) seed)))))))
