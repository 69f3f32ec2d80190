(ns rsmapi.counter-test
  "Counters of events that a peer misuses: what becomes of the others' events, and of the next
  publication's."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.outcome :refer [failure]]
            [rsmapi.test.peer :as peer :refer [ask id-of line with-peer]]
            [rsmapi.test.runner :as runner])
  (:import (java.lang.reflect Constructor Method)
           (org.rsmapi.sys EventFd)))

(set! *warn-on-reflection* true)

(use-fixtures :once peer/with-programs)

(def ^:private page (long (rsm/page-size)))

(def ^:private most-carried (bit-shift-left 1 20))

(defn- obstacle []
  (or (peer/obstacle :python) (peer/obstacle-to-others) (child/obstacle {:uid 2001 :gid 3001})))

(defn- as-user [uid]
  {:prefix ["setpriv" (str "--reuid=" uid) (str "--regid=" uid) "--clear-groups"]})

(defn- events
  "Takes all events there are, and returns how many."
  ^long [segment]
  (loop [n 0]
    (if (nil? (failure (rsm/signal-wait! segment {:timeout-ms 0})))
      (recur (inc n))
      n)))

(defmacro ^:private with-importer
  "A peer of a user that is connected without rights."
  [[sym how id] & body]
  `(with-peer [~sym ~how "import" 0 (id-of ~id) "0000"]
     (is (str/starts-with? (line ~sym) "connected "))
     ~@body))

(deftest a-user-who-fills-a-counter
  (if-let [reason (obstacle)]
    (runner/skip! "a user who fills a counter" reason)
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page :acl [{:node 0 :perm 0666}]}]
        (let [id (rsm/segment-id ex)
              p  (rsm/get-pollfd! ex)]
          (rsm/with-imported-segment [im c {:segment-id id}]
            (with-importer [honest (as-user 2005) id]
              (with-importer [hostile (as-user 2004) id]
                (is (= "ok" (ask hostile "fill" "theirs")))
                (testing "keeps no other user's posts away"
                  (is (nil? (failure (rsm/signal-post! im))))
                  (is (= "ok" (ask honest "post")))
                  (is (str/starts-with? (ask hostile "post") "error 31 ")))
                (testing "wakes waiters, who go on"
                  (is (nil? (failure (rsm/signal-wait! ex {:timeout-ms 5000}))))
                  (is (= [#{:rdnorm}] (map :revents (rsm/signal-wait-pollfd! [p] {:timeout-ms 5000}))))))
              (testing "leaves behind only so much"
                (is (eventually (= 2 (rsm/importers ex))))
                (let [n (events ex)]
                  (is (<= (- most-carried 2) n (+ most-carried 2)))))
              (testing "and the others go on"
                (is (= :rsm/timeout (:rsm/error (try (rsm/signal-wait! ex {:timeout-ms 0}) (catch Exception e (ex-data e))))))
                (rsm/signal-post! im)
                (is (= "ok" (ask honest "post")))
                (is (= 2 (events ex))))))
          (testing "events of users who have left are there"
            (with-importer [honest (as-user 2006) id]
              (dotimes [_ 3] (is (= "ok" (ask honest "post")))))
            (is (eventually (= 0 (rsm/importers ex))))
            (rsm/unpublish! ex)
            (is (= 3 (events ex))))
          (rsm/release-pollfd! ex))))))

(deftest a-counter-that-was-filled-and-the-next-publication
  (if-let [reason (obstacle)]
    (runner/skip! "a filled counter and the next publication" reason)
    (doseq [how [{} (as-user 2004)]]
      (rsm/with-controller [c "loopback"]
        (rsm/with-exported-segment [ex c {:size page :acl [{:node 0 :perm 0666}]}]
          (with-importer [hostile how (rsm/segment-id ex)]
            (is (= "ok" (ask hostile "fill" "theirs"))))
          (rsm/unpublish! ex)
          (rsm/with-imported-segment [im c {:segment-id (rsm/publish! ex {:acl [{:node 0 :perm 0666}]})}]
            (is (nil? (failure (rsm/signal-post! im))) "there is room again")
            (is (<= (events ex) (inc most-carried)) "and an end of events")))))))

;; The kernel's order of events is not seen from outside, where an event is one, whoever posted it.

(def ^:private ^Class events-class (Class/forName "org.rsmapi.loopback.LoopbackSignals"))

(defn- call [method target & args]
  (let [^Method m (first (filter #(and (= method (.getName ^Method %)) (= (count args) (.getParameterCount ^Method %)))
                                 (mapcat #(.getDeclaredMethods ^Class %) [events-class (.getSuperclass events-class)])))]
    (.setAccessible m true)
    (.invoke m target (to-array args))))

(deftest events-are-taken-in-turn
  (let [^Constructor make (doto (.getDeclaredConstructor events-class (into-array Class [])) (.setAccessible true))
        events (.newInstance make (object-array []))
        ^EventFd own (call "addImporter" events (int 0))
        others (mapv #(call "addImporter" events (int %)) [2004 2005 2006])
        left   (fn [] (mapv #(.count ^EventFd % 1000000) (cons own others)))]
    (try
      (doseq [[^EventFd counter n] (map vector (cons own others) [3 1000 1 0])]
        (.addOwn counter n))
      (is (= [3 1000 1 0] (left)))
      (dotimes [_ 3] (is (= true (call "take" events))))
      (is (= [2 999 0 0] (left)) "one of each")
      (.addOwn ^EventFd (peek others) 1)
      (dotimes [_ 6] (is (= true (call "take" events))))
      (is (= [0 0] [(first (left)) (peek (left))]) "a flood delays nothing else")
      (call "removeImporter" events (int 2004))
      (dotimes [_ 996] (is (= true (call "take" events))))
      (is (= false (call "take" events)) "those of a user who has left, too, and then no more")
      (finally
        (call "close" events)
        (is (= false (call "take" events)))))))

(deftest a-user-who-has-a-counter-watched
  (if-let [reason (obstacle)]
    (runner/skip! "a user who has a counter watched" reason)
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page :acl [{:node 0 :perm 0666}]}]
        (let [id (rsm/segment-id ex)]
          (rsm/with-imported-segment [im c {:segment-id id}]
            (testing "posts for that user take long: it is disconnected"
              (with-importer [hostile (as-user 2004) id]
                (is (= 2 (rsm/importers ex)))
                (is (= "ok" (ask hostile "watch" "own" 200000)))
                (dotimes [_ 40] (rsm/signal-post! ex))
                (is (eventually (= 1 (rsm/importers ex))))
                (is (= 40 (events im)))))
            (testing "events of that user take long to be taken: no more of them are"
              (with-importer [hostile (as-user 2004) id]
                (with-importer [honest (as-user 2005) id]
                  (is (= "ok" (ask hostile "watch" "theirs" 200000)))
                  (dotimes [_ 40]
                    (is (= "ok" (ask hostile "post")))
                    (is (= "ok" (ask honest "post"))))
                  (is (<= 40 (events ex) 60))
                  (is (= "ok" (ask honest "post")))
                  (is (= 1 (events ex))))))))))))

(defn- has-asynchronous-io?
  "Whether a process has a context of the kernel's asynchronous I/O."
  [child]
  (str/includes? (child/proc (child/pid child) "maps") "[aio]"))

(deftest what-posting-needs-is-there-before-a-post
  (if-let [reason (child/obstacle {:uid 2001 :gid 3001})]
    (runner/skip! "what posting needs" reason)
    (child/with-child [exporter {:label "exporter" :uid 2001 :gid 3001}]
      (child/with-child [importer {:label "importer" :uid 2002 :gid 3001}]
        (doseq [each [exporter importer]]
          (child/value each '(require '[rsmapi.core :as rsm]))
          (child/value each '(rsm/close! (rsm/get-controller "loopback")))
          (child/value each '(do (def c (rsm/get-controller "loopback")) nil))
          (is (not (has-asynchronous-io? each))))
        (let [id (child/value exporter '(do (def ex (rsm/export! c {:size 4096 :acl [{:node 0 :perm 0666}]}))
                                            (rsm/segment-id ex)))]
          (child/value importer `(do (def ~'im (rsm/connect! ~'c {:segment-id ~id})) nil)))
        (is (has-asynchronous-io? exporter))
        (is (has-asynchronous-io? importer))))))
