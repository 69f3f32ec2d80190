(ns rsmapi.barrier-test
  "Barriers tell the truth: a close that succeeds means that what was written has reached the
  exporter's memory, whenever it was taken away."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [code failure outcome]]
            [rsmapi.test.runner :as runner])
  (:import (java.util.concurrent.atomic AtomicLong)
           (org.rsmapi RsmException)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

(deftest states
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex) :barrier false})
            b  (rsm/init-barrier! im)]
        (is (= :rsm/barrier-not-opened (outcome (rsm/close-barrier! b))))
        (is (= :rsm/barrier-not-opened (outcome (rsm/order-barrier! b))))
        (is (= [0 0 0 0] [(code (rsm/open-barrier! b)) (code (rsm/order-barrier! b))
                          (code (rsm/open-barrier! b)) (code (rsm/close-barrier! b))]))
        (is (= :rsm/barrier-not-opened (outcome (rsm/close-barrier! b))) "twice")
        (testing "which one put and get use"
          (is (nil? (failure (rsm/put8! im 0 1))))
          (let [b2 (rsm/init-barrier! im)]
            (rsm/destroy-barrier! b)
            (is (nil? (failure (rsm/put8! im 0 1))) "the latest")
            (is (= :ok (rsm/with-barrier [b3 im] :ok)))
            (is (nil? (failure (rsm/put8! im 0 1))) "not with-barrier's")
            (rsm/destroy-barrier! b2)
            (is (= :rsm/barrier-uninitialized (outcome (rsm/put8! im 0 1))))))
        (is (= :rsm/barrier-uninitialized (outcome (rsm/open-barrier! b))))
        (is (= :rsm/barrier-uninitialized (outcome (rsm/destroy-barrier! b))))
        (is (nil? (rsm/close! b)))
        (testing "modes"
          (is (= :implicit (rsm/barrier-mode im)))
          (is (= :rsm/bad-mode (outcome (rsm/set-barrier-mode! im :loud))))
          (is (= :rsm/bad-mode (outcome (rsm/set-barrier-mode! im 2))))
          (rsm/set-barrier-mode! im 0)
          (is (= :explicit (rsm/barrier-mode im)))
          (is (nil? (failure (rsm/put8! im 0 1))) "no barrier is needed"))
        (let [b (rsm/init-barrier! im)]
          (rsm/open-barrier! b)
          (rsm/close! im)
          (is (= :rsm/bad-seg-hndl (outcome (rsm/close-barrier! b))))
          (is (= :rsm/bad-seg-hndl (outcome (rsm/open-barrier! b))))
          (is (nil? (failure (rsm/destroy-barrier! b)))))))))

(deftest with-barrier-keeps-the-bodys-failure
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (let [kept (atom nil)]
          (is (= "mine" (try (rsm/with-barrier [b im]
                               (reset! kept b)
                               (throw (ex-info "mine" {})))
                             (catch Exception e (ex-message e)))))
          (is (= :rsm/barrier-uninitialized (outcome (rsm/open-barrier! @kept))) "it is destroyed"))
        (is (= :rsm/conn-aborted (outcome (rsm/with-barrier [b im] (rsm/unpublish! ex) :value))))))))

(deftest rebind-is-no-abort
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page :allow-rebind true}]
      (rsm/with-local-memory [other page]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (is (= 5 (rsm/with-barrier [b im]
                     (rsm/rebind! ex {:memory other})
                     (rsm/put8! im 0 5)
                     (rsm/get-byte other 0)))))))))

;; ------------------------------------------------------- inside of a child

(defonce ^:private held (atom nil))

(defn import! [id]
  (let [c (rsm/get-controller "loopback")
        im (rsm/connect! c {:segment-id id})]
    (reset! held {:c c :im im :m (rsm/map! im)})
    nil))

(defn write-until-aborted
  "Writes increasing numbers, each between an open and a close. Returns the last number that a
  close has confirmed, the last that was written, and the error in the end."
  [way]
  (let [{:keys [im m]} @held
        b (rsm/init-barrier! im)]
    (when (= :explicit way)
      (rsm/set-barrier-mode! im :explicit))
    (loop [n 1, confirmed 0]
      (let [error (try
                    (case way
                      :mapping (do (rsm/open-barrier! b) (rsm/put-long! m 0 n) (rsm/close-barrier! b))
                      :implicit (rsm/put64! im 0 n)
                      :explicit (do (rsm/open-barrier! b) (rsm/put64! im 0 n) (rsm/close-barrier! b)))
                    nil
                    (catch RsmException e
                      (:rsm/error (ex-data e))))]
        (if error
          {:confirmed confirmed :written n :error error}
          (recur (inc n) n))))))

(defn disconnect! []
  (let [{:keys [im c]} @held]
    (run! rsm/close! [im c])))

(defn- trial
  "What came of one writer in another process whose exporter unpublishes: what it believes, and
  what is in the memory."
  [c child way]
  (rsm/with-exported-segment [ex c {:size page}]
    (child/value child `(import! ~(rsm/segment-id ex)))
    (let [ticket (child/send! child `(write-until-aborted ~way))]
      (eventually (< 100 (rsm/get-long-volatile ex 0)))
      (rsm/unpublish! ex)
      (let [{:keys [ok error]} (child/answer child ticket)
            there (rsm/get-long ex 0)]
        (child/value child `(disconnect!))
        (assoc ok :there there :failed error)))))

(deftest what-a-close-confirms-is-there
  (rsm/with-controller [c "loopback"]
    (child/with-child [child {}]
      (child/value child '(require 'rsmapi.barrier-test))
      (doseq [way [:mapping :implicit :explicit]
              _   (range (if (runner/long-run?) 300 15))]
        (let [{:keys [confirmed written there error failed]} (trial c child way)]
          (is (nil? failed) (str way))
          (is (= :rsm/conn-aborted (if (= :mapping way)
                                     ;; the store may be the first to hear of it
                                     error
                                     error)) (str way))
          (is (<= 100 (long confirmed) (long there) (long written)) (str way " confirmed, there, written")))))))

(deftest a-dead-exporter-is-noticed-by-a-close
  (rsm/with-controller [c "loopback"]
    (let [child (child/start! {})
          id    (child/value child '(do (def ex (rsm/export! (rsm/get-controller "loopback") {:size 4096}))
                                        (rsm/segment-id ex)))]
      (rsm/with-imported-segment [im c {:segment-id id}]
        (let [b (rsm/init-barrier! im)]
          (rsm/open-barrier! b)
          (child/kill-9! child)
          (is (eventually (rsm/aborted? im)))
          (is (= :rsm/conn-aborted (outcome (rsm/close-barrier! b))))
          (is (= :rsm/conn-aborted (outcome (rsm/put8! im 0 1)))))))))

(deftest an-importer-that-was-stopped-is-told-nothing-untrue
  ;; It is stopped between its open and its close, and cannot have read a notice meanwhile.
  (rsm/with-controller [c "loopback"]
    (child/with-child [child {}]
      (child/value child '(require 'rsmapi.barrier-test))
      (rsm/with-exported-segment [ex c {:size page}]
        (child/value child `(import! ~(rsm/segment-id ex)))
        (child/value child '(do (def im (:im @@#'rsmapi.barrier-test/held))
                                (def b (rsm/init-barrier! im))
                                (rsm/open-barrier! b)
                                (rsm/put-long! (rsm/mapping im) 0 1)))
        (child/signal! child "STOP")
        (rsm/unpublish! ex)
        (child/signal! child "CONT")
        (is (= :rsm/conn-aborted (:rsm/error (:error (child/ask child '(rsm/close-barrier! b))))))
        (child/value child `(disconnect!))))))
