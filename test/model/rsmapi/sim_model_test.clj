(ns rsmapi.sim-model-test
  "The library over a simulated interconnect, and over gateways, beside the model: without faults, and when all
  that was sent has arrived after each call, both kinds of memory do what the model says."
  (:require [clojure.test :refer [deftest is]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.model :as model]
            [rsmapi.sim :as sim]
            [rsmapi.test.hosts :as hosts]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.model-runner :as player]
            [rsmapi.test.runner :as runner]))

(set! *warn-on-reflection* true)

(defn- state [{:keys [memory over]}]
  (if (= :gateways over)
    (player/initial-state {:worlds {0 :mirrored}})
    ;; a world has one user, whoever the process is
    (player/initial-state {:worlds {0 memory} :uid 1000 :gid 1000 :groups #{} :privileged? false})))

(defn- play [commands {:keys [over] :as opts}]
  (if (= :gateways over)
    (with-redefs [rsm/get-controller (hosts/get-controller rsm/get-controller)]
      (binding [player/*settle* hosts/settle!]
        (player/play (state opts) commands)))
    (sim/with-world [w (dissoc opts :over)]
      (binding [player/*settle* #(sim/run! w)]
        (player/play (state opts) commands)))))

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

(defn- agrees-with-the-model [{:keys [memory over] :as how} n]
  (let [seed (runner/new-seed)
        opts (assoc how :seed seed)
        played (atom 0)
        first-failure (atom nil)
        commands (rsm-gen/commands {:state (state how) :ops (disj player/ops :same?) :max-length 60
                                    :segment-ids (vec (repeatedly 3 fresh-id)) ; gateways publish on the host, where another run may be
                                    :controllers [["sim0" {:node 0}] ["sim0" {:node 1}] ["sim0" {:node 2}]]})
        {:keys [pass?] :as r} (tc/quick-check
                               n
                               (prop/for-all [commands (gen/scale #(+ 20 (long %)) commands)]
                                 (let [{:keys [steps agree?] :as result} (play (only-simulated commands) opts)]
                                   (swap! played + (count steps))
                                   (when-not agree?
                                     (swap! first-failure #(or % (player/tell result))))
                                   agree?))
                               :seed seed :max-size 40)]
    (println (str "   over " (name over) ", " (name memory) ": " n " sequences, " @played " commands, seed " seed))
    (is pass? (when-not pass?
                (str "seed " seed "\nat first:\n" @first-failure "\nshrunk, and played again:\n" (player/tell (play (only-simulated (first (:smallest (:shrunk r)))) opts)))))))

(deftest commands-over-mirrored-memory-do-what-the-model-does
  (agrees-with-the-model {:over :sim :memory :mirrored} (runner/trials 200 20000)))

(deftest commands-over-shared-memory-do-what-the-model-does
  (agrees-with-the-model {:over :sim :memory :shared} (runner/trials 200 20000)))

(deftest commands-over-gateways-do-what-the-model-does
  (hosts/with-network [0 1 2] nil
    (agrees-with-the-model {:over :gateways :memory :mirrored} (runner/trials 60 5000))))

(deftest commands-over-gateways-in-another-process-do-what-the-model-does
  (hosts/with-network [0 1 2] {:through-gateways? true}
    (agrees-with-the-model {:over :gateways :memory :mirrored} (runner/trials 60 5000))))
