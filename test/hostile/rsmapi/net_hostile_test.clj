(ns rsmapi.net-hostile-test
  "Hostile hosts: strangers at a gateway's port, a node that has a good key and breaks the protocol, and a gateway that
  answers what it should not. The side that is tested is a child, which must not crash, and must not hang; beside a hostile
  node, another one goes on working.

  Node 1 is hostile, and is rsmapi.test.wire. Node 2 is the child. Node 3 is this process, with the library."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as hosts]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.wire :as wire])
  (:import (java.io IOException)
           (java.net InetAddress ServerSocket Socket)
           (java.util Arrays SplittableRandom)
           (org.rsmapi ExportSegment ImportSegment)
           (org.rsmapi.net KeyFile)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))
(def ^:private timeout-ms
  "Long, so that nobody is thought to be dead on a machine that does other things too."
  5000)

;; ----------------------------------------------------- inside of the child

(defonce controller (delay (rsm/get-controller "net0")))

;; The segments that the child exports, by name.
(defonce exported (atom {}))

(def ^:private content
  "What segments have at first."
  (byte-array (map unchecked-byte (take size (cycle (range 1 252))))))

(defn export!
  "Exports a segment under a name, with its content and an access list. Returns its id."
  [name acl]
  (let [ex (rsm/export! @controller {:size size :acl acl})]
    (rsm/put-bytes! ex 0 content)
    (swap! exported assoc name ex)
    (rsm/segment-id ex)))

(defn changed
  "The first and the last place of a segment that have changed; nil if none has."
  [name]
  (let [now ^bytes (rsm/get-bytes (@exported name) 0 size)
        first-place (Arrays/mismatch now ^bytes content)]
    (when-not (neg? first-place)
      [first-place (last (filter #(not= (aget now (int %)) (aget ^bytes content (int %))) (range size)))])))

(defn restore! [name] (rsm/put-bytes! (@exported name) 0 content))

(defn importers [name] (rsm/importers (@exported name)))

(defn held
  "How many descriptors of each kind, and how many threads of each name, this process has, and how much heap is in use."
  []
  (System/gc)
  {:fds (child/descriptors)
   :threads (child/threads)
   :heap (quot (- (.totalMemory (Runtime/getRuntime)) (.freeMemory (Runtime/getRuntime))) 1048576)})

;; ------------------------------------------------------------- the hosts

(defn- with-hosts*
  "Calls f with {:port of node 2, :keys, :files}."
  [f]
  (let [folder (javac/temp-dir)
        keys (into {} (for [node [1 2 3 9]] [node (hosts/key-of folder (str "key" node))]))
        ports (zipmap [1 2 3] (hosts/free-ports 3))
        file (hosts/nodes-file! folder "nodes" (for [node [1 2 3]] {:node node :port (ports node) :key (keys node)
                                                                     :more "uids=same"}))]
    (try
      (f {:keys keys :ports ports :port (ports 2) :nodes file :folder folder
          :opts {:label "node 2" :quick? true
                 :jvm-opts [(str "-Drsmapi.nodes=" file) (str "-Drsmapi.key=" (.file ^KeyFile (keys 2)))
                            (str "-Drsmapi.net.timeout=" timeout-ms)]}})
      (finally (files/delete-tree! folder)))))

(defmacro ^:private with-victim
  "Evaluates body with sym bound to the hosts, and :child a child that is node 2."
  [[sym] & body]
  `(with-hosts*
     (fn [hosts#]
       (child/with-child [c# (:opts hosts#)]
         (child/value c# '(require 'rsmapi.net-hostile-test))
         (child/value c# `(do @~'controller nil))
         (let [~sym (assoc hosts# :child c#)]
           ~@body)))))

(defmacro ^:private there [hosts form]
  `(child/value (:child ~hosts) ~form))

;; ------------------------------------------------- another node that works

(def ^:private units [4 5])

(defn- with-good-node*
  "Calls f while node 3 works with a segment of node 2. Checks that each of its calls succeeds, and takes less than the
  time limit."
  [{:keys [nodes keys] :as hosts} f]
  (doseq [unit units]
    (System/setProperty (hosts/property unit "nodes") (str nodes))
    (System/setProperty (hosts/property unit "key") (str (.file ^KeyFile (keys 3)))))
  (System/setProperty "rsmapi.net.timeout" (str timeout-ms))
  (try
    (let [id (there hosts `(export! "good" [{:node 3 :perm 0600}]))]
      (with-open [controller (rsm/get-controller (str "net" (first units)))
                  im ^ImportSegment (rsm/connect! controller {:node 2 :segment-id id :timeout-ms 30000})]
        (let [going-on (atom true)
              working (future
                        (loop [n 0 longest 0]
                          (if @going-on
                            (let [began (System/nanoTime)
                                  result (error/catching (rsm/get-and-add-long! im 0 1) (rsm/get! im 8 (byte-array 8)) nil)
                                  ms (quot (- (System/nanoTime) began) 1000000)]
                              (Thread/sleep 1) ; the others need a processor, too
                              (if (map? result)
                                {:failed result :calls n}
                                (recur (inc n) (max longest ms))))
                            {:calls n :longest-ms longest})))]
          (try
            (f id)
            (finally
              (reset! going-on false)
              (let [{:keys [failed calls longest-ms]} (deref working 60000 {:failed :hangs :calls 0})]
                (is (nil? failed) "the other node's calls succeed")
                (is (pos? (long calls)))
                (is (< (long (or longest-ms 0)) (* 2 (long timeout-ms))) "and take a limited time")))))))
    (finally
      (System/clearProperty "rsmapi.net.timeout")
      (doseq [unit units, what ["nodes" "key"]]
        (System/clearProperty (hosts/property unit what))))))

(defmacro ^:private with-good-node
  "Evaluates body with sym bound to the id of a segment with which node 3 works meanwhile."
  [[sym hosts] & body]
  `(with-good-node* ~hosts (fn [~sym] ~@body)))

(defn- new-link
  "Has node 3 make a new link, connect to a segment, and get something. :ok or an error."
  [id]
  (let [result (error/catching
                 (with-open [controller (rsm/get-controller (str "net" (second units)))
                             im ^ImportSegment (rsm/connect! controller {:node 2 :segment-id id :timeout-ms 30000})]
                   (rsm/get! im 16 (byte-array 8))
                   :ok))]
    (if (map? result) (select-keys result [:rsm/error :rsm/reason :rsm/hint]) result)))

(defn- as-before?
  "Whether the child has no more descriptors and threads than before, but for those of a link to node 3 that it may have
  made anew. Each attack would leave more."
  [before now]
  (every? (fn [what] (every? (fn [[kind n]] (<= (long n) (+ 3 (long (get-in before [what kind] 0)))))
                             (dissoc (what now) "rsmapi-close")))
          [:fds :threads]))

(defn- settled
  "What the child holds when that has not changed for a moment."
  [hosts]
  (loop [n 0 before (there hosts `(held))]
    (Thread/sleep 200)
    (let [now (there hosts `(held))]
      (if (or (= (dissoc before :heap) (dissoc now :heap)) (< 100 n)) now (recur (inc n) now)))))

;; -------------------------------------------------- strangers at the port

(def ^:private strangers-address "127.0.0.2")

(defn- hold-open [port n ^bytes bytes]
  (vec (repeatedly n (fn [] (doto ^Socket (wire/tcp port strangers-address)
                              (-> .getOutputStream (.write bytes)))))))

(defn- beginning-of-a-handshake []
  (byte-array (map unchecked-byte (concat [22 3 1 2 0 1 0 1 0xfc 3 3] (repeat 200 7)))))

(defn- tls-attempt
  "What becomes of TLS with a key, or without one: :end if the gateway ends it."
  [port own opts]
  (try
    (wire/with-link [link (wire/tls port own (assoc opts :from strangers-address))]
      (wire/greet! link 1)
      :greeted)
    (catch IOException _ :end)))

(deftest strangers-at-the-port
  (with-victim [{:keys [port keys] :as hosts}]
    (with-good-node [id hosts]
      (is (= :ok (new-link id)))
      (let [before (settled hosts)
            random (java.util.Random. (runner/new-seed))]
        (doseq [[what bytes] {"who say nothing" wire/nothing
                              "who begin a handshake" (beginning-of-a-handshake)}]
          (testing what
            (let [sockets (hold-open port 400 bytes)]
              (try
                (is (= :ok (new-link id)))
                (is (eventually (<= (long (get-in (there hosts `(held)) [:fds "socket"]))
                                    (+ 140 (long (get-in before [:fds "socket"]))))))
                (is (= :ok (new-link id)))
                (finally (run! #(.close ^Socket %) sockets))))))
        (testing "who send a byte at a time"
          (let [sockets (hold-open port 50 wire/nothing)]
            (try
              (doseq [b (take 100 (beginning-of-a-handshake)), ^Socket socket sockets]
                (try (.write (.getOutputStream socket) (byte-array [b])) (catch IOException _)))
              (is (= :ok (new-link id)))
              (finally (run! #(.close ^Socket %) sockets)))))
        (testing "who send noise"
          (dotimes [_ 200]
            (with-open [socket (wire/tcp port strangers-address)]
              (let [bytes (byte-array (.nextInt random 2000))]
                (.nextBytes random bytes)
                (when (zero? (.nextInt random 2)) ; as a record of TLS
                  (System/arraycopy (byte-array [22 3 3]) 0 bytes 0 (min 3 (alength bytes))))
                (try (.write (.getOutputStream socket) bytes) (catch IOException _)))))
          (is (= :ok (new-link id))))
        (testing "who have no key, or one that nobody knows, or an older TLS"
          (dotimes [_ 10]
            (is (= :end (tls-attempt port nil {})))
            (is (= :end (tls-attempt port (keys 9) {})))
            (is (= :end (tls-attempt port (keys 1) {:protocols ["TLSv1.2"]}))))
          (is (= :ok (new-link id))))
        (testing "who greet as another node, or not at all"
          (doseq [node [0 2 3 255]]
            (wire/with-link [link (wire/tls port (keys 1) :from strangers-address)]
              (wire/greet! link node)
              (is (= :end (wire/ask! link #{:welcome} (wire/hello (wire/new-session) 2))) node)))
          (doseq [bytes [(byte-array 16) (.getBytes "RSMN") (byte-array 100000)]]
            (wire/with-link [link (wire/tls port (keys 1) :from strangers-address)]
              (try (wire/send-bytes! link bytes) (.shutdownOutput ^Socket (:socket link)) (catch IOException _))
              (.skipNBytes ^java.io.DataInputStream (:in link) 16)
              (is (= :end (wire/read-frame link)))))
          (is (= :ok (new-link id))))
        (testing "nothing is left of them"
          (is (eventually (as-before? before (there hosts `(held)))) (pr-str before (there hosts `(held)))))))))

;; ------------------------------------------- a node that breaks the protocol

(def ^:private read-only 0400)
(def ^:private write-only 0200)

(defn- export-for-node-1!
  "Exports a segment for each permission of node 1, and one that is not for it. Their ids by name."
  [hosts]
  (into {} (for [[name acl] {"both" [{:node 1 :perm 0600}]
                             "read" [{:node 1 :perm 0444}]
                             "write" [{:node 1 :perm 0222}]
                             "private" [{:node 3 :perm 0600}]}]
             [name (there hosts `(export! ~name ~acl))])))

(def ^:private connections
  "Number, segment and permission of the connections that a hostile node begins with."
  {1 ["both" 0600] 2 ["read" read-only] 3 ["write" write-only] 4 ["both" 0] 5 ["both" read-only] 6 ["both" write-only]})

(defn- enemy!
  "A link of node 1, without connections."
  [{:keys [port keys]} & options]
  (apply wire/link! port (keys 1) 1 2 options))

(defn- connect-all! [link ids]
  (doseq [[number [name perm]] connections]
    (let [answer (wire/ask! link #{:answer} (wire/connect number (ids name) :perm perm))]
      (when-not (= [0 number] ((juxt :code :tag) answer))
        (throw (ex-info "not connected" {:number number :answer answer}))))))

(defn- reaction
  "What the gateway does about frames: the frames that come back before the answer to a PING, then :alive or :end."
  [link frames]
  (try
    (apply wire/send! link (concat frames [{:type :ping :tag 0x7fffffff}]))
    (loop [seen []]
      (let [found (wire/read-frame link)]
        (cond (keyword? found) (conj seen found)
              (and (= :pong (:type found)) (= 0x7fffffff (:tag found))) (conj seen :alive)
              :else (recur (conj seen found)))))
    (catch IOException _ [:end])))

(def ^:private malformed
  "What nothing but the end of the link can answer."
  (let [body (fn [type n & {:as more}] (merge {:type type :connection 1 :tag 7 :body (byte-array n)} more))]
    (merge
     (into {} (for [type [0 22 127 255 :welcome :answer :data :result :done :event :revoked :pong :credit :bye :status :hello]]
                [[:type type] (body type 24)]))
     (into {} (for [length [70000 0x7fffffff 0x80000000 0xffffffff (inc (long wire/largest-body))]]
                [[:length length] {:type :put :connection 1 :length length :body (byte-array 100)}]))
     (into {} (for [n [0 4 20 23 25 27]] [[:connect n] (body :connect n :connection 50)]))
     (into {} (for [groups [1 2 16000 0x7fffffff 0x80000000 0xffffffff]]
                [[:groups groups] {:type :connect :connection 50 :tag 7
                                   :body (wire/bytes-of [:u32 1] [:u32 0600] [:u32 100] [:u32 0] [:u32 0] [:u32 groups])}]))
     (into {} (for [n [0 1 7 8]] [[:put n] (body :put n)]))
     (into {} (for [n [0 8 11 13]] [[:get n] (body :get n)]))
     (into {} (for [n [0 65537 0x7fffffff 0x80000000 0xffffffff]] [[:get-length n] (wire/get-of 1 0 n)]))
     (into {} (for [n [0 8 23 25]] [[:atomic n] (body :atomic n)]))
     {[:connect :again] (wire/connect 1 1)})))

(def ^:private places-outside
  [size (- size 7) (inc size) (* 2 size) -1 -8 Integer/MIN_VALUE 0xfffffff8 (bit-shift-left 1 32) Long/MIN_VALUE Long/MAX_VALUE
   (- Long/MAX_VALUE 7) (- Long/MAX_VALUE 8)])

(def ^:private not-granted
  "What a connection does not have: the frames by name, and which connection it is."
  (into {}
        (concat
         (for [at places-outside
               [what frame] {:put (wire/put 1 at (byte-array 8)) :get (wire/get-of 1 at 8)
                             :add (wire/atomic 1 at 0x88 1 0) :swap (wire/atomic 1 at 8 1 0)}]
           [[what at] frame])
         (for [n [(inc size) 65536]] [[:long-get n] (wire/get-of 1 0 n)])
         [[[:long-put] (wire/put 1 0 (byte-array 65536))]
          [[:long-put-in-the-middle] (wire/put 1 8 (byte-array size))]]
         (for [n [2 4 5]] [[:put :on n] (wire/put n 0 (byte-array 8))])
         (for [n [3 4 6]] [[:get :on n] (wire/get-of n 0 8)])
         (for [n [2 3 4 5 6], flags [4 8 0x84 0x88]] [[:atomic :on n flags] (wire/atomic n 0 flags 1 0)])
         (for [width [0 1 2 3 5 6 7 9 16 64 127], adds [0 0x80]] [[:width width adds] (wire/atomic 1 0 (+ width adds) 1 1)])
         (for [at [1 2 4 7 9]] [[:misaligned at] (wire/atomic 1 at 8 1 0)]))))

(deftest frames-that-nobody-should-send
  (with-victim [hosts]
    (with-good-node [id hosts]
      (let [ids (export-for-node-1! hosts)
            before (settled hosts)
            untouched (fn [] (mapv #(there hosts `(changed ~%)) ["both" "read" "write" "private"]))]
        (testing "malformed"
          (doseq [[what frame] malformed]
            (wire/with-link [link (enemy! hosts)]
              (is (= 0 (:code (wire/ask! link #{:answer} (wire/connect 1 (ids "both"))))))
              (is (= :end (peek (reaction link [frame]))) what))))
        (testing "what a connection does not have"
          (doseq [[what {:keys [connection] :as frame}] not-granted]
            (wire/with-link [link (enemy! hosts)]
              (connect-all! link ids)
              (let [seen (reaction link [frame])]
                (is (= :alive (peek seen)) what)
                (is (empty? (filter #(and (#{:data :result} (:type %)) (or (zero? (long (:code %)))
                                                                           (some (complement zero?) (:body %))))
                                    seen))
                    what))
              ;; it is told by another thread
              (is (eventually (not= 0 (:code (wire/ask! link #{:done} {:type :barrier :connection connection :tag 9})))) what)
              (is (= 0 (:code (wire/ask! link #{:done} {:type :barrier :connection (if (= 1 connection) 2 1) :tag 9}))) what)))
          (is (= [nil nil nil nil] (untouched))))
        (testing "connections that are not there, or another session's"
          (wire/with-link [other (enemy! hosts)]
            (connect-all! other ids)
            (wire/with-link [link (enemy! hosts)]
              (doseq [n [1 2 3 0 -1 77], f [#(wire/put % 0 (byte-array 8)) #(hash-map :type :taken :connection %)
                                            #(hash-map :type :disconnect :connection %)]]
                (is (= [:alive] (reaction link [(f n)]))))
              (doseq [n [1 0 -1], f [#(wire/get-of % 0 8) #(wire/atomic % 0 8 1 0) #(hash-map :type :barrier :connection %)
                                     #(hash-map :type :post :connection %)]]
                (is (= [40 :alive] (update (reaction link [(f n)]) 0 :code)))))
            (is (= [0 :alive] (update (reaction other [{:type :barrier :connection 1}]) 0 :code))))
          (is (= [nil nil nil nil] (untouched))))
        (testing "connects to what is not granted, or not there"
          (wire/with-link [link (enemy! hosts)]
            (doseq [[n [what code frame]]
                    (map-indexed vector
                                 [["private" 8 #(wire/connect % (ids "private"))]
                                  ["read" 27 #(wire/connect % (ids "read") :perm 0600 :uid 2001 :gid 2001)]
                                  ["read" 27 #(wire/connect % (ids "read") :perm 0200 :uid 2001 :gid 2001)]
                                  ["write" 27 #(wire/connect % (ids "write") :perm 0400 :uid 2001 :gid 2001)]
                                  ["no permission" 27 #(wire/connect % (ids "both") :perm 0777)]
                                  ["no permission" 27 #(wire/connect % (ids "both") :perm 0xffffffff)]
                                  ["no permission" 27 #(wire/connect % (ids "both") :perm 1)]
                                  ["another user" 27 #(wire/connect % (ids "both") :uid 2001 :gid 2001)]
                                  ["no user" 27 #(wire/connect % (ids "both") :uid 0xffffffff :gid 0xffffffff)]
                                  ["no segment" 7 #(wire/connect % 0x7ffffff)]
                                  ["no segment" 7 #(wire/connect % 0)]
                                  ["no segment" 7 #(wire/connect % 0xffffffff)]
                                  ["in the past" 42 #(wire/connect % (ids "both") :ms 0x80000000)]
                                  ["at once" 42 #(wire/connect % (ids "both") :ms 0)]])]
              (is (= code (:code (wire/ask! link #{:answer} (frame (+ 100 (long n)))))) what))
            (is (= 0 (:code (wire/ask! link #{:answer} (wire/connect 1 (ids "both") :groups (range 1000))))))))
        (testing "sessions"
          (wire/with-link [link (enemy! hosts)]
            (let [link-as (fn [flags session] (try (wire/with-link [_ (enemy! hosts :session session :flags flags)] :welcome)
                                                   (catch IOException _ :refused)))]
              (is (= :refused (link-as 0 (:session link))) "a second one of the same name")
              (is (= :refused (link-as 1 (wire/new-session))) "a link for much data of no session")
              (is (= :refused (try (wire/with-link [_ (wire/link! (:port hosts) ((:keys hosts) 1) 1 3)] :welcome)
                                   (catch IOException _ :refused))) "for another node")
              (wire/with-link [much (enemy! hosts :session (:session link) :flags 1)]
                (is (= :refused (link-as 1 (:session link))) "a second link for much data")
                (is (= [:alive] (reaction much [])))
                (is (= [:alive] (reaction link [])))))))
        (testing "nothing is left"
          (is (= [nil nil nil nil] (untouched)))
          (is (= :ok (new-link id)))
          (is (eventually (as-before? before (there hosts `(held)))) (pr-str before (there hosts `(held)))))))))

(defn- send-quietly!
  "Sends as much as the other side takes within some time; the link may be ended meanwhile."
  [link ms bytes]
  (let [sending (future (try (wire/send-bytes! link bytes) (catch IOException _)))]
    (deref sending ms nil)))

(defn- many ^bytes [n frame] (apply wire/bytes-of (repeat n (wire/frame frame))))

(deftest floods
  (with-victim [hosts]
    (with-good-node [id hosts]
      (let [ids (export-for-node-1! hosts)
            _ (wire/with-link [link (enemy! hosts)] (connect-all! link ids))
            before (settled hosts)
            grown (fn [] (- (long (:heap (there hosts `(held)))) (long (:heap before))))]
        (doseq [[what frames]
                {"reads, none of which is read" (fn [_] (many 2000 (wire/get-of 1 0 size)))
                 "posts, and none of their answers is read" (fn [_] (many 50000 {:type :post :connection 1 :flags 1 :tag 1}))
                 "events that are said to be taken" (fn [_] (many 50000 {:type :taken :connection 1}))
                 "pings" (fn [_] (many 100000 {:type :ping}))
                 "writes outside" (fn [_] (many 20000 (wire/put 1 size (byte-array 100))))
                 "writes to nowhere" (fn [_] (many 20000 (wire/put 99 0 (byte-array 100))))
                 "disconnects" (fn [_] (many 50000 {:type :disconnect :connection 99}))
                 "connects to nothing" (fn [_] (apply wire/bytes-of (for [n (range 10000)] (wire/frame (wire/connect (+ 100 (long n)) (+ 5000 (long n)))))))
                 "connects to one segment" (fn [_] (apply wire/bytes-of (for [n (range 3000)] (wire/frame (wire/connect (+ 100 (long n)) (ids "both"))))))}]
          (testing what
            (wire/with-link [link (enemy! hosts)]
              (connect-all! link ids)
              (send-quietly! link 2000 (frames nil))
              (is (= :ok (new-link id)))
              (is (< (grown) 64)))
            (is (= :ok (new-link id)))))
        (testing "reads of what is known, each of which is answered, in turns" ; together 50 MB, in few bytes
          (wire/with-link [link (enemy! hosts)]
            (connect-all! link ids)
            (let [seen (reaction link (repeat 3000 (wire/known-of 2 0 content)))]
              (is (= :alive (peek seen)))
              (is (= {[:data 1 0 0] 3000}
                     (frequencies (map (fn [{:keys [type flags code ^bytes body]}] [type flags code (alength body)]) (pop seen))))))))
        (testing "sessions"
          (let [links (doall (keep (fn [_] (try (enemy! hosts) (catch IOException _ nil))) (range 300)))]
            (try
              (is (<= (long (get-in (there hosts `(held)) [:fds "socket"])) (+ 270 (long (get-in before [:fds "socket"])))))
              (is (= :ok (new-link id)))
              (finally (run! wire/close! links)))))
        (testing "connects and disconnects, of which each is answered"
          (wire/with-link [link (enemy! hosts)]
            (dotimes [n 300]
              (let [number (+ 100 n)]
                (when-not (= 0 (:code (wire/ask! link #{:answer} (wire/connect number (ids "both")))))
                  (is false number))
                (wire/send! link {:type :disconnect :connection number})))
            (is (eventually (= 0 (there hosts `(importers "both")))))))
        (testing "disconnects before the answer, and the same number again"
          (wire/with-link [link (enemy! hosts)]
            (dotimes [_ 100]
              (wire/send! link (wire/connect 7 (ids "both")) {:type :disconnect :connection 7}))
            (is (= :alive (peek (reaction link []))))
            (is (eventually (= 0 (there hosts `(importers "both"))))))
          (wire/with-link [link (enemy! hosts)]
            (doseq [n (range 50)] (wire/send! link (wire/connect (+ 100 (long n)) (ids "both")))))
          (is (eventually (= 0 (there hosts `(importers "both"))))))
        (is (= [nil nil nil nil] (mapv #(there hosts `(changed ~%)) ["both" "read" "write" "private"])))
        (is (eventually (as-before? before (there hosts `(held)))) (pr-str before (there hosts `(held))))))))

;; ------------------------------------------------------------- at random

(defn- pick [^SplittableRandom random xs] (nth xs (.nextInt random (int (count xs)))))

(def ^:private telling
  [0 1 2 3 4 7 8 9 255 256 65535 65536 65537 -1 -8 Integer/MAX_VALUE Integer/MIN_VALUE 0x0fffffff])

(defn- some-frame [^SplittableRandom random ids]
  (let [number (pick random [1 1 1 2 3 4 5 6 77])
        at (pick random [0 8 16 (- size 8) (* 2 page) (.nextInt random (int size))])]
    (case (.nextInt random 10)
      0 (wire/connect (pick random (range 1 40)) (pick random (vec (vals ids))) :perm (pick random [0 0200 0400 0600]))
      (1 2) (wire/put number at (byte-array (pick random [1 8 100 page])))
      (3 4) (wire/get-of number at (pick random [1 8 100 page]))
      5 (wire/atomic number (* 8 (quot (long at) 8)) (pick random [4 8 0x84 0x88]) 1 0)
      6 {:type :barrier :connection number :tag 3}
      7 {:type :post :connection number :flags (.nextInt random 2) :tag 4}
      8 {:type (pick random [:taken :ping]) :connection number}
      9 {:type :disconnect :connection (pick random [5 6 30 77])})))

(defn- mutated
  "The bytes of a frame, most often changed somewhere."
  ^bytes [^SplittableRandom random frame]
  (let [bytes (wire/frame frame)
        changed (aclone bytes)
        buffer (java.nio.ByteBuffer/wrap changed)]
    (case (.nextInt random 8)
      (0 1 2) bytes
      3 (do (dotimes [_ (inc (.nextInt random 3))]
              (aset changed (.nextInt random (alength changed)) (unchecked-byte (.nextInt random 256))))
            changed)
      (4 5) (do (.putInt buffer (int (* 4 (.nextInt random (quot (alength changed) 4)))) (int (pick random telling)))
                changed)
      6 (do (when (<= 24 (alength changed))
              (.putLong buffer 16 (long (pick random places-outside))))
            changed)
      7 (Arrays/copyOf changed (.nextInt random (+ 10 (alength changed)))))))

(deftest mutated-frames
  (let [seed (runner/new-seed)
        random (SplittableRandom. seed)]
    (testing (str "seed " seed)
      (with-victim [hosts]
        (with-good-node [id hosts]
          (let [ids (export-for-node-1! hosts)
                before (settled hosts)
                sent (atom 0)
                outcomes (atom {})
                until (runner/trials 1500 100000)]
            (while (< (long @sent) (long until))
              (wire/with-link [link (enemy! hosts)]
                (connect-all! link ids)
                (.setSoTimeout ^Socket (:socket link) 100) ; what is cut off has no answer
                (loop [n 0]
                  (let [frames (vec (repeatedly (inc (.nextInt random 8)) #(mutated random (some-frame random ids))))
                        end (peek (reaction link frames))]
                    (swap! sent + (count frames))
                    (swap! outcomes update end (fnil inc 0))
                    (when (and (= :alive end) (< n 20)) (recur (inc n))))))
              (when (zero? (mod (long @sent) 10))
                (is (= [nil nil] (mapv #(there hosts `(changed ~%)) ["read" "private"])))))
            (println " " @sent "frames," @outcomes)
            (is (= [nil nil] (mapv #(there hosts `(changed ~%)) ["read" "private"])))
            (is (= :ok (new-link id)))
            (is (eventually (= 0 (there hosts `(importers "both")))))
            (is (eventually (as-before? before (there hosts `(held)))) (pr-str before (there hosts `(held))))))))))

;; -------------------------------------------------- a gateway that is hostile

(defn import!
  "Connects to a segment of node 1, whose gateway may answer anything, makes a call, and checks that nothing but its target
  was written. A description of the outcome."
  [call]
  (let [target (rsm/allocate! (* 3 page))
        outside (fn [] (concat (rsm/get-bytes target 0 page) (rsm/get-bytes target (* 2 page) page)))
        named (fn [result] (if (map? result) [:failed (:rsm/error result)] [:done]))]
    (try
      (named
       (error/catching
         (with-open [im ^ImportSegment (rsm/connect! @controller {:node 1 :segment-id 77 :timeout-ms 2000})]
           (case call
             :connect nil
             :get (rsm/get! im 0 target page page)
             :put (rsm/put! im 0 target page page)
             :atomic (rsm/get-and-add-long! im 0 1)
             :post (rsm/signal-post! im)
             :wait (dotimes [_ 3] (rsm/signal-wait! im {:timeout-ms 500}))
             :map (do (rsm/map! im) (rsm/pull! (rsm/mapping im)))))
         nil))
      (finally
        (when-not (every? zero? (outside)) (throw (ex-info "written outside of the target" {})))
        (rsm/free! target)))))

(defn- good-answer [size]
  (fn [{:keys [connection tag]}]
    [{:type :answer :connection connection :tag tag :body (wire/bytes-of [:u64 size] [:u64 0] [:u32 1] [:u32 0])}]))

(defn- echo [type body & {:as more}]
  (fn [{:keys [connection tag]}] [(merge {:type type :connection connection :tag tag :body body} more)]))

(def ^:private well-behaved
  "What a gateway answers to each type of frame."
  {:hello (echo :welcome (wire/bytes-of [:u32 5000]))
   :ping (echo :pong wire/nothing)
   :connect (good-answer (* 4 page))
   :get (fn [{:keys [connection tag body]}]
          [{:type :data :connection connection :tag tag :body (byte-array (wire/number-at body 8 :u32))}])
   :atomic (echo :result (byte-array 8))
   :barrier (echo :done wire/nothing)
   :post (echo :done wire/nothing)})

(def ^:private lies
  "What a hostile gateway answers to one type of frame, by the call that it is about."
  (let [event (fn [n] (fn [{:keys [connection] :as asked}]
                        (into (vec ((:connect well-behaved) asked)) (repeat 3 {:type :event :connection connection :body (wire/bytes-of [:u32 n])}))))
        instead (for [type [:data :result :done :answer :welcome :pong :put :hello 0 99], n [0 8 4096 65536]]
                  [type n (echo type (byte-array n))])]
    (concat
     ;; no answers at all: the call gives up
     (for [[call asked type] [[:get :get :event] [:get :get :revoked] [:put :barrier :credit] [:post :post :event]]]
       [call asked [type] (fn [_] [{:type type :connection 99999 :body (byte-array 4)}])])
     (for [[call asked] {:connect :connect :get :get :put :barrier :atomic :atomic :post :post}
           [type n answer] instead]
       [call asked [type n] answer])
     (for [n [0 1 4095 4097 8192 65536 65792]] [:get :get [:data n] (echo :data (byte-array n))])
     (for [code [1 7 40 99 0xffff 0xfffe], [call asked] {:connect :connect :get :get :put :barrier :atomic :atomic :post :post}]
       [call asked [:code code] (echo ({:connect :answer :get :data :barrier :done :atomic :result :post :done} asked)
                                      (if (= :atomic asked) (byte-array 8) wire/nothing) :code code)])
     (for [size [0 -1 1 4095 Long/MIN_VALUE Long/MAX_VALUE (bit-shift-left 1 46) (bit-shift-left 1 40)], call [:connect :map]]
       [call :connect [:size size] (good-answer size)])
     (for [text [(byte-array 100) (byte-array 60000) (byte-array [-1 -2 -3]) (.getBytes "{:a") (.getBytes "(((((((")]]
       [:connect :connect [:layout (alength ^bytes text)]
        (echo :answer (wire/bytes-of [:u64 (* 4 page)] [:u64 0] [:u32 1] [:u32 0] text))])
     (for [n [0 1 0x7fffffff 0x80000000 0xffffffff]] [:wait :connect [:events n] (event n)])
     (for [length [-1 0x7fffffff 0x80000000 70000]] [:get :get [:length length] (echo :data wire/nothing :length length)])
     (for [code [0 1 4 5 0xffff], number [-1 0 1000000]]
       [:get :connect [:revoked code number]
        (fn [asked] (conj (vec ((:connect well-behaved) asked)) {:type :revoked :connection number :code code}))]))))

(def ^:private documented
  #{:rsm/conn-aborted :rsm/barrier-failure :rsm/barrier-open-failed :rsm/remote-node-unreachable :rsm/timeout :rsm/map-failed
    :rsm/insufficient-resources :rsm/insufficient-mem :rsm/seg-not-published :rsm/internal-error :rsm/bad-length
    :rsm/bad-library-version})

(defn- chosen
  "Some of the lies, other ones for each seed; all of them in long runs."
  [seed]
  (let [shuffled (doto (java.util.ArrayList. ^java.util.Collection lies) (java.util.Collections/shuffle (java.util.Random. seed)))]
    (vec (take (runner/trials 70 (count lies)) shuffled))))

(deftest a-gateway-that-lies
  (with-hosts*
    (fn [{:keys [ports keys opts]} & {:keys [seed] :or {seed (runner/new-seed)}}]
      (println "  seed" seed)
      (with-open [server (ServerSocket. (int (ports 1)) 50 (InetAddress/getByName "127.0.0.1"))]
        (let [answers (atom well-behaved)]
          (wire/serve! server (keys 1) 1 #(when-let [answer (get @answers (:type %))] (answer %)))
          (child/with-child [c (update opts :jvm-opts conj "-Drsmapi.net.timeout=200")] ; a call gives up after 30 times that
            (child/value c '(require 'rsmapi.net-hostile-test))
            (doseq [call [:connect :get :put :atomic :post :map]]
              (is (eventually (= [:done] (child/value c `(import! ~call) 60000))) call))
            (let [before (child/value c `(held))]
              (doseq [[call asked what answer] (chosen seed)]
                (testing [call asked what]
                  (reset! answers (assoc well-behaved asked answer))
                  (let [[outcome error] (child/value c `(import! ~call) 60000)]
                    (is (or (= :done outcome) (documented error)) error)
                    (when (and (= call :get) (= asked :get) (not= what [:data page]))
                      (is (not (and (= :done outcome) (not= [:data 4096] what)))))
                    (reset! answers well-behaved))
                  (is (eventually (= [:done] (child/value c `(import! :get) 60000))))))
              (println " " (count (chosen seed)) "lies of" (count lies))
              (is (eventually (as-before? before (child/value c `(held)))) (pr-str before (child/value c `(held)))))))))))
