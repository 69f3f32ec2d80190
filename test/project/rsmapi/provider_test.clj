(ns rsmapi.provider-test
  "An interconnect of somebody else's, test/java/org/rsmapi/trial/CopyProvider.java, who had nothing but the
  documentation of the SPI: it is found on the class path, and the library's calls work over it."
  (:require [clojure.java.io :as io]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.child :refer [eventually]]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.outcome :refer [failure]]
            [rsmapi.test.runner :as runner])
  (:import (java.net URL URLClassLoader)))

(set! *warn-on-reflection* true)

(def ^:private id (fresh-id))

(def ^:private page (long (rsm/page-size)))

(defn- with-provider [f]
  (let [dir    (javac/temp-dir)
        thread (Thread/currentThread)
        before (.getContextClassLoader thread)]
    (try
      (is (= {:exit 0 :messages ""}
             (javac/compile! (io/file (runner/root) "test/java/org/rsmapi/trial/CopyProvider.java") dir)))
      (let [service (io/file dir "META-INF/services/org.rsmapi.spi.InterconnectProvider")]
        (io/make-parents service)
        (spit service "org.rsmapi.trial.CopyProvider\n"))
      (with-open [loader (URLClassLoader. (into-array URL [(.toURL (.toURI dir))]) before)]
        (.setContextClassLoader thread loader)
        (f))
      (finally
        (.setContextClassLoader thread before)
        (files/delete-tree! dir)))))

(defn- two-nodes []
  (rsm/with-controller [one "copy0" {:node 1}]
    (rsm/with-controller [two "copy0" {:node 2}]
      (is (= :mirrored (:memory (rsm/capabilities two))))
      (is (some #(= ["copy0" 1] [(:name %) (:hw-addr %)]) (:controllers (rsm/topology))))
      (rsm/with-exported-segment [ex one {:size (* 4 page) :segment-id id :acl [{:node 2 :perm 0600}]}]
        (is (= :rsm/seg-not-published-to-node (failure (rsm/connect! one {:node 1 :segment-id id}))))
        (is (= :rsm/segid-in-use (failure (rsm/export! one {:size page :segment-id id}))))
        (rsm/with-imported-segment [im two {:node 1 :segment-id id}]
          (is (eventually (= 1 (rsm/importers ex))))
          (testing "put and get"
            (rsm/put64! im 8 (long-array [1 2 3]))
            (is (= [1 2 3] (vec (rsm/get-longs ex 8 3))))
            (is (= [1 2 3] (vec (rsm/get64 im 8 3))))
            (is (= 3 (rsm/get-and-add-long! im 24 4)))
            (is (= 7 (rsm/get-and-add-long! ex 24 1))))
          (testing "a mapping"
            (rsm/with-mapped-segment [m im {:offset page :length (* 2 page)}]
              (rsm/put-long! ex page 5)
              (rsm/with-barrier [_ im]
                (is (= 5 (rsm/get-long m 0)))
                (rsm/put-long! m 8 6)
                (is (= 0 (rsm/get-long ex (+ page 8)))))
              (is (= 6 (rsm/get-long ex (+ page 8))))))
          (testing "signals"
            (rsm/signal-post! im)
            (rsm/signal-wait! ex {:timeout-ms 5000})
            (rsm/signal-post! ex)
            (rsm/signal-wait! im {:timeout-ms 5000})
            (is (= :rsm/timeout (failure (rsm/signal-wait! im {:timeout-ms 1})))))
          (testing "rebind"
            (rsm/with-exported-segment [movable one {:size page :allow-rebind true}]
              (rsm/with-local-memory [other page]
                (rsm/put-long! other 0 9)
                (rsm/with-imported-segment [far two {:node 1 :segment-id (rsm/segment-id movable)}]
                  (rsm/rebind! movable {:address (rsm/address other)})
                  (is (= [9] (vec (rsm/get64 far 0 1))))))))
          (testing "revocation"
            (let [m (rsm/map! im)]
              (rsm/unpublish! ex)
              (is (= [:rsm/conn-aborted "unpublished"]
                     ((juxt :rsm/error :rsm/reason) (error/catching (rsm/get-long m 0)))))
              (is (= :rsm/conn-aborted (failure (rsm/put! im 0 (byte-array 1)))))
              (is (= 1 (rsm/get-long ex 8)) "the exporter has its content"))))))))

(deftest another-interconnect
  (with-provider
    (fn []
      (two-nodes)
      (is (= :rsm/ctlr-not-present (failure (rsm/get-controller "copy4"))))))
  (is (= :rsm/ctlr-not-present (failure (rsm/get-controller "copy0"))) "without it there is none"))
