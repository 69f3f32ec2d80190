(ns rsmapi.stranger-test
  "Peers that want to delay, starve or use up: nothing that one of them sends, holds, floods or
  withholds is felt by anybody else. The side that is tested is a child, in which every call
  has to return; the peers are test/peers/rsm_peer.py."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.peer :as peer :refer [ask id-of line with-peer]]
            [rsmapi.test.runner :as runner])
  (:import (com.sun.jna Function Memory)
           (java.net ServerSocket)
           (java.util.concurrent CountDownLatch TimeUnit)
           (org.rsmapi.sys Closer EventFd Fd)))

(set! *warn-on-reflection* true)

(use-fixtures :once peer/with-programs)

(def ^:private page (long (rsm/page-size)))

;; ----------------------------------------------------- inside of the child

(defonce controller (delay (rsm/get-controller "loopback")))

;; The segments that the child exports, by id.
(defonce exported (atom {}))

(defn export!
  "Exports a segment. Returns its id."
  ([] (export! nil))
  ([acl]
   (let [ex (rsm/export! @controller (cond-> {:size page} acl (assoc :acl acl)))]
     (swap! exported assoc (rsm/segment-id ex) ex)
     (rsm/segment-id ex))))

(defn unpublish! [id] (rsm/unpublish! (@exported id)))

(defn outcome
  "The code of the RSM error with which f fails when called, or 0."
  [f]
  (let [seen (error/catching (f) 0)]
    (if (map? seen) (:rsm/code seen) seen)))

(defn visit
  "Connects and disconnects. Returns the code."
  [opts]
  (outcome #(rsm/close! (rsm/connect! @controller opts))))

(defn what-waits
  "How many threads close descriptors, and how many descriptors that is; when there is nothing
  left, or as it is after some time."
  ([] (eventually (= [0 0] (what-waits :now)))
      (what-waits :now))
  ([_now] [(count (filter #(= "rsmapi-close" (.getName ^Thread %)) (keys (Thread/getAllStackTraces))))
           (Closer/waiting)]))

(defn abort-reason
  "Connects, and waits for the connection to be aborted. Returns why, or :connected."
  [id]
  (rsm/with-imported-segment [im @controller {:segment-id id}]
    ;; "revoked" is what it is called as long as the reason is not known
    (or (eventually (let [reason (:rsm/reason (error/catching (rsm/map! im) (rsm/unmap! im) nil))]
                      (when-not (= "revoked" reason) reason)))
        :connected)))

;; ----------------------------------------------------------------- helpers

(defmacro ^:private with-victim [[sym opts] & body]
  `(child/with-child [~sym ~opts]
     (child/value ~sym '(require 'rsmapi.stranger-test))
     ~@body))

(def ^:private kernels
  "Options of a child: with what this kernel can do, and as on older ones."
  (if (System/getProperty "rsmapi.test.without")
    [{:label "as told"}]
    [{:label "this kernel"}
     {:label "before 6.16" :jvm-opts ["-Drsmapi.test.without=passrights"]}
     {:label "without looking" :jvm-opts ["-Drsmapi.test.without=peek"]}]))

(defn- here-visits
  "How a connect from this process to a segment ends: a code."
  [id]
  (outcome #(rsm/with-controller [c "loopback"]
              (rsm/close! (rsm/connect! c {:segment-id id :timeout-ms 10000})))))

(defn- lines-until [peer end?]
  (vec (take-while (complement end?) (repeatedly #(line peer)))))

;; ------------------------------------ descriptors whose last close takes a day

(defn- sockets-of [c] (long ((child/belongings (child/pid c)) "socket" 0)))

(defn- importers-that-send-them [c refused?]
  (let [id    (child/value c `(export!))
        other (child/value c `(export!))]
    (is (= [0 0] [(here-visits id) (here-visits other)]))
    (with-peer [peer {} "attack" 0 (id-of id) "slow" 6 "--seconds" 60]
      (is (= "connected" (first (peer/words (line peer)))))
      (is (= (repeat 6 (if refused? "refused EPERM" "answer 117 1")) (lines-until peer #{"done" :end})))
      (is (= [0 0] [(here-visits id) (here-visits other)]) "the others are served")
      (is (= 0 (child/value c `(outcome #(unpublish! ~id)))))
      (is (= 0 (child/value c `(outcome #(unpublish! ~other))))))))

(defn- exporters-that-send-them [c]
  (let [own (child/value c `(export!))
        id  (fresh-id)]
    (doseq [[kind code] [["slow-refusal" 27] ["slow-extra" 0] ["slow-notice" 0] ["slow-unread" 27]]]
      (testing kind
        (with-peer [peer {} "export" 0 (id-of id) page "0600" "--evil" kind]
          (is (= "published" (line peer)))
          (is (= [code code code] (child/value c `(vec (repeatedly 3 #(visit {:segment-id ~id}))))))
          ;; a peer that is killed meanwhile would leave the child stopped
          (is (= ["sent" "sent" "sent"] (repeatedly 3 #(line peer))))
          (is (= 0 (here-visits own)) "its own segment is served"))))
    (is (= 0 (child/value c `(outcome #(unpublish! ~own)))))))

(defn- they-wait-at-a-listeners-end [c]
  (let [id (fresh-id)]
    (child/value c `(do (def ~'listener (org.rsmapi.sys.Sockets/listen (format "rsmapi/0/%08x" ~id) 16))
                        nil))
    (with-peer [peer {} "attack" 0 (id-of id) "slow" 5 "--seconds" 60]
      (is (= "connected" (first (peer/words (line peer)))))
      (child/value c '(do (org.rsmapi.sys.Sockets/endListener listener) nil))
      (is (= 7 (here-visits id)) "the name is free")
      (is (every? #{"closed" "refused EPERM"} (lines-until peer #{"done" :end}))))))

(deftest descriptors-that-cannot-be-closed
  (if-let [reason (peer/obstacle :python)]
    (runner/skip! "descriptors that cannot be closed" reason)
    (doseq [{:keys [label jvm-opts] :as opts} kernels]
      (testing label
        (with-victim [c opts]
          (is (= 0 (child/value c `(visit {:segment-id (export!)}))))
          (is (eventually (= 1 (sockets-of c))))
          (importers-that-send-them c (and (peer/refused-descriptors?) (nil? jvm-opts)))
          (exporters-that-send-them c)
          (they-wait-at-a-listeners-end c)
          (is (eventually (= 1 (sockets-of c))) "all is closed when those who sent it are gone")
          (is (= [0 0] (child/value c `(what-waits)))))))))

;; ------------------------------------------------- one user's share of threads

(defn- c-call [^String function & arguments]
  (long (.invokeInt (Function/getFunction "c" function) (object-array arguments))))

(defn- new-fd ^Fd [n]
  (.newInstance (doto (.getDeclaredConstructor Fd (into-array Class [Integer/TYPE])) (.setAccessible true))
                (object-array [(int n)])))

(defn- slow-fd
  "A descriptor whose last close takes a day, of a connection to this port."
  ^Fd [port]
  (let [n       (c-call "socket" (int 2) (int 02000001) (int 0)) ; TCP, close-on-exec
        address (doto (Memory. 16) (.clear)
                  (.setShort 0 (short 2))
                  (.setShort 2 (Short/reverseBytes (unchecked-short port)))
                  (.setInt 4 (Integer/reverseBytes (unchecked-int 0x7f000001))))
        linger  (doto (Memory. 8) (.setInt 0 1) (.setInt 4 100000))
        full    (Memory. 65536)]
    (c-call "connect" (int n) address (int 16))
    (c-call "setsockopt" (int n) (int 1) (int 13) linger (int 8)) ; SO_LINGER
    (while (pos? (c-call "send" (int n) full 65536 (int 0x40)))) ; MSG_DONTWAIT
    (new-fd n)))

(defn close-for-users
  "Has descriptors closed in a child: for users 1, 2, 3 and so on some each that take a day, and
  for as many others each one that does not. Returns how many of the latter are closed, in the
  end if that is to be waited for, and how many threads and descriptors wait then; and the same
  when the former can be closed as well."
  [users each others expected]
  (let [server (ServerSocket. 0 1000)
        closed (CountDownLatch. others)
        now    (fn [] (into [(- (long others) (.getCount closed))] (what-waits :now)))]
    (doseq [uid (range 1 (inc (long users))), _ (range each)]
      (Closer/close uid (slow-fd (.getLocalPort server))))
    (doseq [uid (range others)]
      (Closer/close (+ 1000 (long uid)) (.fd (EventFd.)) ^Runnable (fn [] (.countDown closed))))
    (eventually (= expected (now)))
    (let [meanwhile (now)]
      (.close server) ; which resets what it has not accepted
      (eventually (= [others 0 0] (now)))
      [meanwhile (now)])))

(deftest what-one-user-has-sent-keeps-no-other-users-descriptors-open
  (with-victim [c {:label "closing"}]
    (is (= [[5 6 15] [5 0 0]] (child/value c `(close-for-users 3 5 5 [5 6 15]))))
    (testing "the threads are limited"
      (is (= [[0 16 33] [3 0 0]] (child/value c `(close-for-users 10 3 3 [0 16 33])))))))

;; ----------------------------------------------------------------- shares

(def ^:private scarce {:prefix ["prlimit" "--nofile=1024:1024"] :label "scarce" :uid 2001 :gid 3001})

(defn- as-user [uid]
  {:prefix ["setpriv" (str "--reuid=" uid) (str "--regid=" uid) "--clear-groups"]})

(defn- no-strangers []
  (or (peer/obstacle :python)
      (child/obstacle scarce)
      (peer/obstacle-to-others)))

(defn- attack-by!
  "Starts a peer under another user and returns it when it holds what it could get, and what
  it was told."
  [uid id & words]
  (let [peer (apply peer/start! (as-user uid) "attack" 0 (id-of id) words)]
    (is (str/starts-with? (line peer) "connected "))
    [peer (frequencies (lines-until peer #{"holding" "done" :end}))]))

(defn- visit-by
  "How a connect of a user ends: what the peer in Python says, without the numbers."
  [uid id perm]
  (with-peer [peer (as-user uid) "import" 0 (id-of id) perm]
    (re-find #"^connected|^error \d+" (line peer))))

(deftest a-user-has-a-share-of-the-connections
  (if-let [reason (no-strangers)]
    (runner/skip! "shares of connections" reason)
    (with-victim [c scarce]
      (let [id     (child/value c `(export! [{:node 0 :perm 0644}]))
            _      (is (= ["connected" "error 27"] [(visit-by 2004 id "0400") (visit-by 2004 id "0600")]))
            before (eventually (let [held (child/belongings (child/pid c))]
                                 (when (= 1 (held "socket")) held)))
            [one told] (attack-by! 2004 id "hold" 600)
            [two more] (attack-by! 2005 id "hold" 600)]
        (try
          ;; of 1024 descriptors 256 are kept back, and the rest is for 256 connections; a user has a quarter
          (is (= {"answer 0 1" 64 "answer 31 1" 536} told))
          (is (= {"answer 0 1" 64 "answer 31 1" 536} more))
          (is (= "error 31" (visit-by 2004 id "0400")))
          (is (= "error 31" (visit-by 2006 id "0400")) "half is for all other users")
          (is (= 0 (here-visits id)) "root")
          (is (= 0 (child/value c `(visit {:segment-id ~id}))) "and the exporter's own user are served")
          (is (pos? (long (child/value c '(with-open [in (java.io.FileInputStream. "/proc/self/status")] (.read in)))))
              "files can be opened")
          (finally
            (run! peer/end! [one two])))
        (is (eventually (= before (child/belongings (child/pid c)))))
        (is (eventually (= "connected" (visit-by 2004 id "0400"))) "what was taken is given back")))))

(deftest answers-that-are-not-read-use-nothing-up
  (if-let [reason (no-strangers)]
    (runner/skip! "unread answers" reason)
    (with-victim [c scarce]
      (let [id     (child/value c `(export! [{:node 0 :perm 0644}]))
            other  (child/value c `(export! [{:node 0 :perm 0644}]))
            _      (is (= ["connected" "connected"] [(visit-by 2004 id "0400") (visit-by 2004 other "0400")]))
            before (eventually (let [held (child/belongings (child/pid c))]
                                 (when (= 2 (held "socket")) held)))
            [peer] (attack-by! 2004 id "unread" 60)]
        (try
          (is (eventually (= "answers 60" (ask peer "?"))) "each has one: 16 are in, and the others have waited in vain")
          (is (= 16 (child/value c `(rsm/importers (@exported ~id)))))
          (is (= "error 31" (visit-by 2004 id "0400")))
          (is (= ["connected" "connected"] [(visit-by 2005 id "0400") (visit-by 2005 other "0400")]) "others are served")
          (testing "also after the publication's end: they are in flight as long as nobody reads them"
            (is (= 0 (child/value c `(outcome #(unpublish! ~id)))))
            (is (= "error 31" (visit-by 2004 other "0400")))
            (is (= 17 ((child/belongings (child/pid c)) "socket"))))
          (finally
            (peer/end! peer)))
        (is (eventually (= "connected" (visit-by 2004 other "0400"))))
        (is (eventually (= (update before "socket" dec)
                           (merge (child/belongings (child/pid c)) (select-keys before [:mappings "/memfd:rsmapi-segment" "/memfd:rsmapi-state" "anon_inode:[eventfd]"])))))
        (testing "nor is anything left when the last controller is closed under one that does not read"
          (let [[peer] (attack-by! 2004 other "unread" 3)]
            (try
              (is (eventually (= 3 (child/value c `(rsm/importers (@exported ~other))))))
              (child/value c `(do (run! rsm/close! (vals @exported)) (rsm/close! @controller) nil))
              (is (= nil ((child/belongings (child/pid c)) "socket")))
              (finally
                (peer/end! peer)))))))))

(deftest a-burst-of-importers-of-one-user-is-served
  ;; More at once than there may be unread answers: those that have to wait get theirs as soon as others have read.
  (if-let [reason (no-strangers)]
    (runner/skip! "a burst" reason)
    (with-victim [c scarce]
      (let [id    (child/value c `(export! [{:node 0 :perm 0644}]))
            [peer told] (attack-by! 2004 id "burst" 60)]
        (peer/end! peer)
        (is (= {"answer 0 1" 60} told))))))

(deftest permission-0-is-for-those-who-could-have-another
  (if-let [reason (no-strangers)]
    (runner/skip! "permission 0" reason)
    (with-victim [c (dissoc scarce :prefix)]
      (let [closed (child/value c `(export! [{:node 0 :perm 0600}]))
            group  (child/value c `(export! [{:node 0 :perm 0020}]))
            open   (child/value c `(export! [{:node 0 :perm 0002}]))]
        (is (= ["error 27" "error 27" "connected"] (mapv #(visit-by 2004 % "0") [closed group open])))
        (is (= [0 27 27] (child/value c `(mapv #(visit {:segment-id % :perm :none}) [~closed ~group ~open]))))
        (is (= "connected" (visit-by 0 closed "0")) "root")))))

(deftest malformed-limits
  (doseq [property ["rsmapi.max-connections" "rsmapi.max-connections-per-user"
                    "rsmapi.max-unread-answers" "rsmapi.max-unread-answers-per-user"]]
    (try
      (doseq [value ["0" "-1" "many" "99999999999"]]
        (System/setProperty property value)
        (is (= [:rsm/bad-conf :get-controller value]
               ((juxt :rsm/error :rsm/op :rsm/value) (error/catching (rsm/get-controller "shm17")))))
        (is (= [] (filter #(= "shm17" (:name %)) (:controllers (rsm/topology))))))
      (System/setProperty property "7")
      (is (nil? (rsm/close! (rsm/get-controller "shm17"))))
      (finally
        (System/clearProperty property)
        (rsm/close! (rsm/get-controller "shm17"))))))

(deftest limits-by-property
  (if-let [reason (no-strangers)]
    (runner/skip! "limits by property" reason)
    (with-victim [c {:uid 2001 :gid 3001 :jvm-opts ["-Drsmapi.max-connections=5" "-Drsmapi.max-connections-per-user=2"]}]
      (let [id (child/value c `(export! [{:node 0 :perm 0644}]))]
        (let [[one told] (attack-by! 2004 id "hold" 3)]
          (is (= {"answer 0 1" 2 "answer 31 1" 1} told))
          (let [[root told] (attack-by! 0 id "hold" 5)]
            (is (= {"answer 0 1" 3 "answer 31 1" 2} told) "in all")
            (is (= 31 (child/value c `(visit {:segment-id ~id}))))
            (run! peer/end! [one root])))
        (is (eventually (= 0 (child/value c `(visit {:segment-id ~id})))))))))

;; ---------------------------------------------------------- flood of notices

(deftest an-exporter-that-does-not-stop-talking
  (if-let [reason (peer/obstacle :python)]
    (runner/skip! "a flood of notices" reason)
    (with-victim [c {:label "flooded"}]
      (let [id (fresh-id)]
        (with-peer [peer {} "export" 0 (id-of id) page "0600" "--evil" "notices"]
          (is (= "published" (line peer)))
          (is (= "protocol-error" (child/value c `(abort-reason ~id) 60000))))))))

;; -------------------------------------------------------- a lock that is taken

(defn- field-of [object field]
  (.get (doto (.getDeclaredField (class object) field) (.setAccessible true)) object))

(defonce release (CountDownLatch. 1))

(defn hold-lock!
  "Has a thread hold the lock of a segment's memory, as while that moves, until release."
  [id]
  (let [backing (-> (@exported id) (field-of "memory") (field-of "backing"))
        call    (fn [method]
                  (.invoke (doto (.getDeclaredMethod (class backing) method (make-array Class 0)) (.setAccessible true))
                           backing (object-array 0)))
        held    (CountDownLatch. 1)]
    (future
      (call "lock")
      (.countDown held)
      (.await ^CountDownLatch release)
      (call "unlock"))
    (.await held)
    nil))

(deftest a-segment-that-moves-delays-no-other
  (with-victim [c {:label "moving"}]
    (let [moving (child/value c `(export!))
          other  (child/value c `(export!))]
      (rsm/with-controller [here "loopback"]
        (let [connect (fn [id millis]
                        (outcome #(rsm/close! (rsm/connect! here {:segment-id id :timeout-ms millis}))))
              im      (rsm/connect! here {:segment-id moving})]
          (is (= [0 0] [(connect moving 10000) (connect other 10000)]))
          (child/value c `(hold-lock! ~moving))
          (let [waits (future (connect moving 60000))]
            (is (= 42 (connect moving 300)) "the segment itself has to wait")
            (rsm/close! im) ; its end is to be seen, too
            (dotimes [_ 20]
              (is (= 0 (connect other 20000))))
            (is (not (realized? waits)))
            (child/value c `(do (.countDown ^CountDownLatch release) nil))
            (is (= 0 (deref waits 60000 :late)) "and is served then"))
          (is (= 0 (connect moving 10000)))
          (is (eventually (= 0 (child/value c `(rsm/importers (@exported ~moving)))))))))))
