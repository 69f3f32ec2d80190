(ns rsmapi.test.world
  "Hosts with gateways for tests: network namespaces, the files of their nodes, and processes on them, which load
  rsmapi.test.host-process."
  (:require [clojure.java.io :as io]
            [clojure.test :refer [is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.host-process :as hp]
            [rsmapi.test.hosts :as hosts]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.netns :as netns]
            [rsmapi.test.peer :as peer]
            [rsmapi.test.runner :as runner])
  (:import (java.nio.file CopyOption Files LinkOption Path StandardCopyOption)
           (java.nio.file.attribute PosixFilePermissions)
           (org.rsmapi.net KeyFile NodesFile)))

(set! *warn-on-reflection* true)

;; -------------------------------------------------------------------- worlds

;; A network of hosts with the files of their nodes, and the processes on them.
(defonce ^:private worlds (atom []))

(defn- permit! [file mode]
  (Files/setPosixFilePermissions (.toPath (io/file file)) (PosixFilePermissions/fromString mode)))

(def another-port "Of node 2's gateway, where hosts have addresses of IPv6." 7777)

(defn world!
  "Makes hosts, which are the nodes 1 and so on. User ids count everywhere, but not those of node 3.

  Options:
    :hosts    how many
    :timeout  in ms, after which another host that is silent counts as gone
    :ipv6?    true: the addresses are those of IPv6, with another port for node 2, and net1 is a second network between the same
              hosts, with their link-local addresses
    :more     what the lines of the nodes file say besides"
  [{:keys [timeout ipv6? more] n :hosts}]
  (let [net    (netns/make! n)
        folder (javac/temp-dir)
        keys   (into {} (for [node (:hosts net)] [node (hosts/key-of folder (str "key" node))]))
        file   (fn [name address port]
                 (let [file (hosts/nodes-file! folder name
                                               (for [node (:hosts net)]
                                                 {:node node :host (address node) :key (keys node) :port (when (= 2 node) port)
                                                  :more (str more (when-not (= 3 node) " uids=same"))}))]
                   (permit! (str file) "rw-r--r--")
                   file))
        nodes  (if ipv6?
                 (file "nodes" #(str "[" (netns/address6 net %) "]") another-port)
                 (file "nodes" #(netns/address net %) nil))
        world  {:net net :folder folder :keys keys :nodes nodes :timeout timeout :processes (atom [])
                :second-nodes (when ipv6? (file "nodes1" #(str "[" (netns/address6 net % :link-local) "]") nil))}]
    (when ipv6? (netns/add-ipv6! net))
    (permit! folder "rwxr-xr-x")
    (swap! worlds conj world)
    world))

(defn key-for
  "The file with a node's key, for a user."
  [{:keys [folder keys]} node uid]
  (let [^KeyFile key (keys node)
        ^Path copy (.toPath (io/file folder (str "key" node "-of-" uid)))]
    (Files/copy (.file key) copy ^"[Ljava.nio.file.CopyOption;" (into-array CopyOption [StandardCopyOption/COPY_ATTRIBUTES]))
    (Files/setAttribute copy "unix:uid" (int uid) (make-array LinkOption 0))
    copy))

(defn process!
  "Starts a process on a host. The first that opens the controller there is the host's gateway.

  Options: those of child/start!, and
    :local?  true: it reaches other hosts over the gateway of another process
    :key     the file with the node's key; default: that of the superuser
    :properties  of the system, a map"
  ([world host label] (process! world host label nil))
  ([{:keys [net nodes second-nodes keys timeout processes]} host label {:keys [local? key properties] :as how}]
   (let [key (or key (.file ^KeyFile (keys host)))
         c (child/start! (merge (dissoc how :local? :key :properties)
                                {:prefix   (netns/prefix net host)
                                 :label    label
                                 :quick?   true
                                 :jvm-opts (cond-> [(str "-Drsmapi.nodes=" nodes)
                                                    (str "-Drsmapi.key=" key)
                                                    (str "-Drsmapi.net.timeout=" timeout)
                                                    (str "-Drsmapi.gateway=" (if local? "other" "auto"))]
                                             second-nodes (conj (str "-Drsmapi.net1.nodes=" second-nodes) (str "-Drsmapi.net1.key=" key))
                                             true (into (for [[k v] properties] (str "-D" k "=" v))))}))]
     (swap! processes conj c)
     (child/value c '(require '[rsmapi.test.host-process :as hp]))
     c)))

(defn open!
  "Has processes open the controller, one after the other: the first is the gateway if there is none."
  [& processes]
  (doseq [c processes]
    (child/value c `(hp/open!)))
  (is (eventually (netns/listens? (child/pid (first processes)) NodesFile/PORT))))

(defn at-once
  "The values of functions, called at the same time."
  [& fs]
  (mapv deref (mapv #(future (%)) fs)))

(defn end-world!
  "Ends the processes of a world, and removes it. What is left although it should not be is
  reported."
  [{:keys [net folder processes]}]
  (try
    (doseq [c @processes]
      (child/signal! c "CONT")
      (try (child/stop! c)
           (catch Exception e (is (nil? (ex-message e))))))
    (is (eventually (every? empty? (map #(netns/pids net %) (:hosts net)))) "no process is left")
    (finally
      (netns/remove! net)
      (files/delete-tree! folder)))
  (is (empty? (netns/left net))))

(defn end-worlds!
  "Ends all worlds."
  []
  (let [[all _] (reset-vals! worlds [])]
    (run! end-world! all)))

(defmacro on-hosts
  "Evaluates body if there can be hosts here."
  [test-name & body]
  `(if-let [obstacle# (netns/obstacle)]
     (runner/skip! ~test-name obstacle#)
     (do ~@body)))

;; ------------------------------------------------------------------- helpers

(def mib 1048576)

(def everybody
  (vec (for [node [1 2 3]] {:node node :perm 0666})))

(defn of
  "The :node and the :segment-id of what a process exports."
  [exporter k opts]
  (let [id (child/value exporter `(hp/export! ~k ~(merge {:size mib :segment-id (fresh-id) :acl everybody} opts)))]
    {:node (child/value exporter `(rsm/node-id @hp/controller)) :segment-id id}))

(defn import! [importer k segment & {:as opts}]
  (child/value importer `(hp/import! ~k ~(merge segment opts))))

(defn answers [importer & connects]
  (child/value importer `(hp/answers ~@connects)))

(defn close! [c & ks] (child/value c `(hp/close! ~@ks)))

(defn begun?
  "Whether a job has done some of what it does, and goes on."
  [c k]
  (let [turns (child/value c `(hp/turns ~k))]
    (and (eventually (or (child/value c `(hp/over? ~k))
                         (< (+ 5 (long turns)) (long (child/value c `(hp/turns ~k))))))
         (not (child/value c `(hp/over? ~k))))))

(defn begin-until-begun!
  "Calls f, which starts :job with these handles, until the job goes on: on a machine that does much else, a host may be thought to be
  gone before it is."
  [c ks f]
  (loop [n 1]
    (f)
    (let [begun? (begun? c :job)]
      (if (or begun? (= 5 n))
        (is begun?)
        (do (child/value c `(hp/close! ~@ks))
            (recur (inc n)))))))

(defn outcome [c k] (child/value c `(hp/outcome ~k)))

(defn millis-since [begin {:keys [at]}]
  (if at (quot (- (long at) (long begin)) 1000000) :never))

(defn soon?
  "Whether something was noticed in a time that is no accident, on a machine that does much else."
  [millis]
  (and (int? millis) (< (long millis) 15000)))

(defn noticed! [what millis]
  (println (format "  %-52s %s ms" what millis))
  (is (soon? millis) what))

;; ---------------------------------------------------------------------- data

(defn exchange
  "One exports, the other imports; all ways to read and to write. `expected` is part of what they can do."
  [importer exporter & {:as expected}]
  (let [segment (of exporter :ex {})]
    (import! importer :im segment)
    (is (= (merge {:memory :mirrored :encrypted? true :access-control :enforced :atomic-sizes [4 8] :via "tls"} expected)
           (child/value importer `(rsm/capabilities (hp/at :im)))))
    (is (= 1 (child/value exporter `(rsm/importers (hp/at :ex)))))
    (testing "put and get"
      (doseq [[offset n] [[0 1] [1 7] [4095 2] [8 4096] [12345 100000] [0 mib] [(dec mib) 1]]]
        (child/value importer `(hp/put-pattern! :im ~offset ~n ~n))
        (is (child/value exporter `(hp/has-pattern? :ex ~offset ~n ~n)) (pr-str [offset n]))
        (child/value exporter `(rsm/put-bytes! (hp/at :ex) ~offset (hp/pattern ~n ~(inc (long n)))))
        (is (child/value importer `(hp/has-pattern? :im ~offset ~n ~(inc (long n)))) (pr-str [offset n]))))
    (testing "one word"
      (child/value importer `(hp/set-long! :im 64 -5))
      (is (= -5 (child/value exporter `(hp/get-long :ex 64))))
      (is (= -5 (child/value importer `(rsm/get-and-add-long! (hp/at :im) 64 7))))
      (is (= 2 (child/value exporter `(hp/get-long :ex 64))))
      (is (true? (child/value importer `(rsm/compare-and-set-long! (hp/at :im) 64 2 9))))
      (is (false? (child/value importer `(rsm/compare-and-set-long! (hp/at :im) 64 2 10))))
      (is (= 9 (child/value exporter `(hp/get-long :ex 64)))))
    (testing "barriers"
      (child/value importer `(hp/map! :im))
      (child/value importer `(hp/change-all! 77))
      (is (child/value exporter `(hp/all-changed? :ex 77)))
      (child/value exporter `(doseq [page# (range 0 ~mib 4096)]
                               (hp/set-long! :ex page# 78)))
      (is (child/value importer `(hp/all-changed? :m 78)))
      (testing "of which little has changed"
        (child/value exporter `(doseq [[offset# value#] [[8 1] [131080 2] [262136 3] [~(- mib 16) 4]]]
                                 (hp/set-long! :ex offset# value#)))
        (child/value importer `(rsm/put-long! (hp/at :m) 131088 5))
        (is (child/value importer `(hp/all-changed? :m 78)))
        (is (= [1 2 3 4 5] (child/value importer `(mapv #(rsm/get-long (hp/at :m) %) [8 131080 262136 ~(- mib 16) 131088])))))
      (child/value importer `(rsm/set-barrier-mode! (hp/at :im) :explicit))
      (child/value importer `(do (rsm/open-barrier! (hp/at :b))
                                 (dotimes [i# 1000]
                                   (rsm/put64! (hp/at :im) (* 8 i#) i#))
                                 (rsm/close-barrier! (hp/at :b))))
      (is (= (range 1000) (child/value exporter `(mapv #(hp/get-long :ex (* 8 %)) (range 1000))))))
    (close! importer :b :m :im)
    (is (eventually (= 0 (child/value exporter `(rsm/importers (hp/at :ex))))))
    (close! exporter :ex)
    (is (= [:rsm/seg-not-published] (answers importer segment)))))

(defn exchange-at-once
  "Both export, as :ex, import from each other, as :im, and move data at the same time."
  [a b]
  (testing "at the same time"
    (import! a :im (of b :ex {}))
    (import! b :im (of a :ex {}))
    (doseq [c [a b]]
      (child/value c `(hp/repeatedly! :puts (hp/put-much! :im)))
      (child/value c `(hp/repeatedly! :gets (hp/get-long :im 8))))
    (doseq [c [a b], k [:puts :gets]]
      (is (begun? c k)))
    (doseq [c [a b], k [:puts :gets]]
      (is (contains? (child/value c `(hp/halt! ~k)) :value)))))

(defn notify
  "Signals from the one to the other, as :from and :to, which have handles of one segment."
  [from from-k to to-k]
  (let [post! #(child/value from `(rsm/signal-post! (hp/at ~from-k)))
        wait  (fn [millis] (:error (child/ask to `(rsm/signal-wait! (hp/at ~to-k) {:timeout-ms ~millis}))))]
    (is (= :rsm/timeout (:rsm/error (wait 0))))
    (testing "are counted"
      (dotimes [_ 3] (post!))
      (is (= [nil nil nil] (repeatedly 3 #(wait 20000))))
      (is (= :rsm/timeout (:rsm/error (wait 100)))))
    (testing "wake who waits"
      (child/value to `(hp/once! :wait (rsm/signal-wait! (hp/at ~to-k))))
      (post!)
      (is (contains? (outcome to :wait) :value)))
    (testing "are seen through poll descriptors"
      (child/value to `(hp/keep! :fd (rsm/get-pollfd! (hp/at ~to-k))))
      (child/value to `(hp/once! :poll (mapv :revents (rsm/signal-wait-pollfd! [(hp/at :fd)]))))
      (post!)
      (is (= [#{:rdnorm}] (:value (outcome to :poll))))
      (is (= :rsm/timeout (:rsm/error (:error (child/ask to `(rsm/signal-wait-pollfd! [(hp/at :fd)] {:timeout-ms 50}))))))
      (close! to :fd))
    (testing "call functions"
      (child/value to `(do (def ~'called (atom 0))
                           (hp/keep! :listener (rsm/on-signal! (hp/at ~to-k) (fn [_#] (swap! ~'user/called inc))))))
      (dotimes [_ 20] (post!))
      (is (eventually (= 20 (child/value to '@user/called))))
      (close! to :listener))
    (testing "come after what was put before them"
      (when (= :im from-k)
        (dotimes [i 20]
          (child/value from `(rsm/put-signal! (hp/at :im) 0 (byte-array [~i])))
          (is (nil? (wait 20000)))
          (is (= i (child/value to `(rsm/get-byte (hp/at :ex) 0)))))))))

;; -------------------------------------------------------------------- trouble

(def moves
  "What an importer may be doing, by name, with :im and perhaps :m and :b."
  {"small puts"   `(hp/repeatedly! :job (hp/set-long! :im 8 1))
   "large puts"   `(hp/repeatedly! :job (hp/put-much! :im))
   "small gets"   `(hp/repeatedly! :job (hp/get-long :im 8))
   "large gets"   `(hp/repeatedly! :job (hp/get-much! :im))
   "barriers"     `(do (hp/map! :im)
                       (hp/repeatedly! :job (hp/change-all! (System/nanoTime))))})

(def lost
  "What may be reported of a way that is interrupted."
  #{:rsm/conn-aborted :rsm/barrier-failure :rsm/barrier-open-failed :rsm/remote-node-unreachable})

(defn import-again!
  "Imports as soon as that is possible again."
  [importer k segment]
  (let [millis (child/value importer `(hp/import-eventually! ~k ~segment) 60000)]
    (is (soon? millis) (pr-str millis))
    millis))
