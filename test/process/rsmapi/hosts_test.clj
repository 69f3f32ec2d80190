(ns rsmapi.hosts-test
  "Segments between hosts: network namespaces, each with gateways of its own, and processes that
  end, stand still, or are cut off."
  (:require [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.core :as rsm]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.host-process :as hp]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.netns :as netns]
            [rsmapi.test.peer :as peer]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.world :refer [another-port answers at-once begin-until-begun! begun? close! end-worlds! everybody exchange exchange-at-once
                                       import! import-again! key-for lost mib millis-since moves noticed! notify of on-hosts open! outcome process! soon? world!]])
  (:import (org.rsmapi.net KeyFile NodesFile)))

(set! *warn-on-reflection* true)

(defn- calm-world
  "In which nobody is in a hurry. The local process reaches others over the gateway of host 1."
  []
  (let [world (world! {:hosts 4 :timeout 20000})
        [local a b c] (apply at-once #(process! world 1 "local" {:local? true})
                             (for [host [1 2 3]] #(process! world host (str "host " host))))]
    (run! open! [a b c])
    (child/value local `(hp/open!))
    (assoc world :a a :b b :c c :local local)))

(defn- strict-world
  "In which it is noticed soon that somebody is gone. The importer is the gateway of its host, over which
  the local process reaches others; the exporter is not that of its host."
  []
  (let [world (world! {:hosts 2 :timeout 1000})
        [importer local gateway exporter]
        (at-once #(process! world 1 "importer") #(process! world 1 "local" {:local? true})
                 #(process! world 2 "gateway") #(process! world 2 "exporter"))]
    (open! importer local)
    (open! gateway exporter)
    (assoc world :importer importer :local local :gateway gateway :exporter exporter)))

;; A delay of the world that most tests use.
(def ^:private ^:dynamic *calm* nil)

(use-fixtures :once
  (fn [f]
    (binding [*calm* (delay (calm-world))]
      (try
        (peer/with-programs f)
        (finally (end-worlds!))))))

;; ---------------------------------------------------------------------- data

(deftest data-in-both-directions
  (on-hosts "data in both directions"
    (let [{:keys [a b]} @*calm*]
      (exchange a b)
      (exchange b a)
      (exchange-at-once a b)
      (run! #(close! % :im) [a b])
      (run! #(close! % :ex) [a b]))))

;; ---------------------------------------------------------------------- IPv6

(deftest between-ipv6-addresses
  (on-hosts "IPv6 between hosts"
    (if-let [obstacle (netns/obstacle-to-ipv6)]
      (runner/skip! "IPv6 between hosts" obstacle)
      (let [world (world! {:hosts 2 :timeout 20000 :ipv6? true})
            [a gateway b] (at-once #(process! world 1 "IPv6 host 1") #(process! world 2 "IPv6 gateway")
                                   #(process! world 2 "IPv6 host 2" {:local? true}))
            listens? (fn [c port] (netns/listens? (child/pid c) port))]
        (child/value gateway '(def gateways [(org.rsmapi.net.HostGateway/open 0) (org.rsmapi.net.HostGateway/open 1)]))
        (child/value b `(hp/open!))
        (open! a)
        (is (listens? gateway another-port))
        (is (listens? gateway NodesFile/PORT) "net1 has another address")
        (exchange a b)
        (exchange b a)
        (testing "link-local addresses"
          (let [id (fresh-id)]
            (doseq [[exporter node importer] [[b 2 a] [a 1 b]]]
              (child/value exporter `(hp/keep! :ex (rsm/export! (rsm/get-controller "net1") {:size 65536 :segment-id ~id :acl ~everybody})))
              (child/value importer `(hp/keep! :im (rsm/connect! (rsm/get-controller "net1") {:node ~node :segment-id ~id})))
              (child/value importer `(hp/put-pattern! :im 5 60000 4))
              (is (child/value exporter `(hp/has-pattern? :ex 5 60000 4)))
              (is (child/value importer `(hp/has-pattern? :im 5 60000 4)))
              (close! importer :im)
              (close! exporter :ex))))))))

;; ------------------------------------------------------------ several pieces

(deftest several-pieces-in-one-call
  (on-hosts "putv and getv"
    (let [{:keys [a b local]} @*calm*]
      (doseq [[who importer] {"the gateway" a "a process that goes through it" local}]
        (testing who
          (let [segment (of b :ex {})
                timeout? #(= :rsm/timeout (:rsm/error (:error (child/ask b `(rsm/signal-wait! (hp/at :ex) {:timeout-ms 100})))))]
            (import! importer :im segment)
            (doseq [seed [100 200]]
              (child/value b `(rsm/fill! (hp/at :ex) 0 ~mib 0))
              (is (= {:residual 0} (child/value importer `(hp/put-pieces! :im ~seed))))
              (is (nil? (child/value b `(rsm/signal-wait! (hp/at :ex) {:timeout-ms 20000}))))
              (is (timeout?) "one event for all")
              (is (child/value b `(hp/has-pieces? :ex ~seed)))
              (is (= [[] {:residual 0}] (child/value importer `(hp/pieces-got :im ~seed)))))
            (testing "the first failure ends it, and what came before stays"
              (doseq [n [8 20000]
                      [error bad] {:rsm/bad-offset `{:local (byte-array ~n) :remote-offset ~(- mib n -1) :length ~n}
                                   :rsm/bad-length `{:local (byte-array ~n) :local-offset 1 :length ~n}
                                   :rsm/bad-addr {:local nil :length n}
                                   :rsm/bad-localmem-hndl `{:local (hp/freed-handle) :length ~n}}]
                (child/value b `(rsm/fill! (hp/at :ex) 0 65536 0))
                (is (= [error 1 2] (child/value importer `(hp/pieces-error rsm/putv! :im ~n ~bad))) n)
                (is (= [7 0 0] (child/value b `(mapv #(rsm/get-byte (hp/at :ex) %) [~(dec n) ~n ~(* 2 n)]))))
                (is (= [error 1 2] (child/value importer `(hp/pieces-error rsm/getv! :im ~n ~bad))) n))
              (is (timeout?) "and there is no event"))
            (testing "what is no request"
              (let [error (fn [form] (:rsm/error (:error (child/ask importer form))))
                    piece `{:local (byte-array 1) :length 1}]
                (doseq [f [`rsm/putv! `rsm/getv!]]
                  (is (= [:rsm/bad-sgio :rsm/bad-sgio :rsm/bad-seg-hndl]
                         (mapv error [`(~f {:segment (hp/at :im) :iovec []})
                                      `(~f {:segment (hp/at :im) :iovec (vec (repeat 17 ~piece))})
                                      `(~f {:segment nil :iovec [~piece]})]))))))
            (testing "permissions"
              (doseq [[perm f] {:read `rsm/putv!, :write `rsm/getv!}, n [8 20000]]
                (import! importer :some segment :perm perm)
                (is (= [:rsm/perm-denied 0 3] (child/value importer `(hp/pieces-error ~f :some ~n {:local (byte-array ~n) :length ~n}))))
                (close! importer :some)))
            (testing "after the segment was revoked"
              (child/value b `(rsm/unpublish! (hp/at :ex)))
              (is (eventually (child/value importer `(rsm/aborted? (hp/at :im)))))
              (doseq [f [`rsm/putv! `rsm/getv!], n [8 20000]]
                (is (= [:rsm/conn-aborted 0 3] (child/value importer `(hp/pieces-error ~f :im ~n {:local (byte-array ~n) :length ~n}))))))
            (close! importer :im)
            (close! b :ex)))))))

;; ------------------------------------------------------------------- signals

(deftest signals-in-both-directions
  (on-hosts "signals in both directions"
    (let [{:keys [a b]} @*calm*]
      (doseq [[importer exporter] [[a b] [b a]]]
        (import! importer :im (of exporter :ex {}))
        (testing "from the importer" (notify importer :im exporter :ex))
        (testing "from the exporter" (notify exporter :ex importer :im))
        (testing "that there are already"
          (dotimes [_ 3] (child/value importer `(rsm/signal-post! (hp/at :im) {:no-accumulate true})))
          (is (= [nil :rsm/timeout]
                 (repeatedly 2 #(:rsm/error (:error (child/ask exporter `(rsm/signal-wait! (hp/at :ex) {:timeout-ms 500}))))))))
        (testing "until the exporter is gone"
          (child/value importer `(hp/once! :wait (rsm/signal-wait! (hp/at :im))))
          (child/value importer `(do (def ~'end (promise))
                                     (hp/import! :other ~(of exporter :other {}))
                                     (rsm/on-signal! (hp/at :other) identity {:on-end #(deliver ~'user/end (:rsm/error (ex-data %)))})
                                     nil))
          (close! exporter :ex :other)
          (is (= :rsm/conn-aborted (:rsm/error (outcome importer :wait))))
          (is (= :rsm/conn-aborted (child/value importer '(deref user/end 20000 :none)))))
        (close! importer :im :other)))))

;; ---------------------------------------------------------------- revocation

(deftest rebind-while-others-read-and-write
  (on-hosts "rebind"
    (let [{:keys [a b]} @*calm*]
      (import! a :im (of b :ex {:allow-rebind true}))
      (child/value a `(hp/map! :im))
      (child/value a `(hp/repeatedly! :puts (hp/set-long! :im 8 1)))
      (is (begun? a :puts))
      (child/value b `(do (hp/keep! :memory (rsm/allocate! ~mib))
                          (rsm/put-long! (hp/at :memory) 16 5)
                          (rsm/rebind! (hp/at :ex) {:memory (hp/at :memory)})))
      (is (= 5 (child/value a `(hp/get-long :im 16))))
      (is (begun? a :puts))
      (is (contains? (child/value a `(hp/halt! :puts)) :value))
      (child/value a `(hp/change-all! 6))
      (is (= [6 6 5] (child/value b `[(hp/get-long :ex 0) (hp/get-long :ex 4096) (hp/get-long :ex 16)])))
      (is (= 6 (child/value b `(rsm/get-long (hp/at :memory) 0))))
      (close! a :b :m :im)
      (close! b :ex :memory))))

(deftest revocation-while-data-moves
  (on-hosts "revocation"
    (let [{:keys [a b]} @*calm*]
      (doseq [[what job] (assoc moves "signals" `(hp/repeatedly! :job (rsm/signal-post! (hp/at :im))))
              [how reason form] [["unpublish" "unpublished" `(rsm/unpublish! (hp/at :ex))]
                                 ["destroy" "destroyed" `(rsm/destroy! (hp/at :ex))]]]
        (testing (str how " during " what)
          (let [segment (of b :ex {})]
            (import! a :im segment)
            (child/value a job)
            (is (begun? a :job))
            (child/value b form)
            (let [content (when (= how "unpublish")
                            (child/value b `(vec (rsm/get-bytes! (hp/at :ex) 0 (byte-array 64)))))]
              (is (= :rsm/conn-aborted (:rsm/error (outcome a :job))))
              (is (eventually (child/value a `(rsm/aborted? (hp/at :im)))))
              (is (= [:rsm/seg-not-published] (answers a segment)))
              (when (= how "unpublish")
                (is (= content (child/value b `(vec (rsm/get-bytes! (hp/at :ex) 0 (byte-array 64)))))
                    "no put arrives after it")
                (child/value b `(rsm/publish! (hp/at :ex) {:segment-id ~(:segment-id segment) :acl ~everybody}))
                (is (= [nil] (answers a segment)))))
            (close! a :b :m :im)
            (close! b :ex)))))))

;; -------------------------------------------------------------- access lists

(deftest access-by-node
  (on-hosts "access by node"
    (let [{:keys [a b c]} @*calm*
          segment (of b :ex {:acl [{:node 1 :perm 0666}]})
          both (fn [opts] [(first (answers a (merge segment opts))) (first (answers c (merge segment opts)))])]
      (is (= [nil :rsm/seg-not-published-to-node] (both {})))
      (child/value b `(rsm/republish! (hp/at :ex) {:acl [{:node 1 :perm 0444} {:node 3 :perm 0222}]}))
      (testing "user ids of node 3 do not count: not even the superuser's"
        (is (= [nil nil] [(first (answers a (assoc segment :perm :read))) (first (answers c (assoc segment :perm :write)))]))
        (is (= :rsm/perm-denied (first (answers c (assoc segment :perm :read))) (first (answers c (assoc segment :perm :rdwr))))))
      (child/value b `(rsm/republish! (hp/at :ex) {:acl [{:node 3 :perm 0666}]}))
      (is (= [:rsm/seg-not-published-to-node nil] (both {})))
      (close! b :ex)
      (is (= [:rsm/seg-not-published :rsm/seg-not-published] (both {})))
      (is (= [:rsm/remote-node-unreachable :rsm/remote-node-unreachable] (both {:node 9}))))))

(def ^:private owner 12001)
(def ^:private owners-group 12002)
(def ^:private other 12003)

(defn- letters
  "What a user may do: a string such as \"r-\"."
  [[read write]]
  (str (if (nil? read) "r" (if (= :rsm/perm-denied read) "-" read))
       (if (nil? write) "w" (if (= :rsm/perm-denied write) "-" write))))

(defn- rights-of
  "What threads of a process, as users, may do with a segment."
  [importer segment users]
  (into {} (for [[user [uid gid]] users]
             [user (letters (child/value importer `(hp/as-user ~uid ~gid #(hp/answers ~(assoc segment :perm :read)
                                                                                      ~(assoc segment :perm :write)))))])))

(def ^:private users
  {:owner [owner other] :group [other owners-group] :other [other other]})

(deftest access-by-owner-group-and-others
  (on-hosts "access by owner, group and others"
    (if-let [obstacle (child/obstacle {:uid owner :gid owners-group :groups [owners-group]})]
      (runner/skip! "access by owner, group and others" obstacle)
      (let [{:keys [a b c] :as world} @*calm*
            ;; neither can read the key
            [member exporter] (at-once #(process! world 1 "member" {:uid other :gid other :groups [owners-group]})
                                       #(process! world 2 "exporter" {:uid owner :gid owners-group}))
            republish! (fn [mode]
                         (child/value exporter `(rsm/republish! (hp/at :ex) {:acl ~(vec (for [node [1 2 3]] {:node node :perm mode}))})))
            segment (of exporter :ex {})]
        (testing "a gateway of the superuser"
          (doseq [[mode expected] {0640 {:owner "rw" :group "r-" :other "--"}
                                   0402 {:owner "r-" :group "--" :other "-w"}
                                   0026 {:owner "--" :group "-w" :other "rw"}
                                   0064 {:owner "--" :group "rw" :other "r-"}
                                   0000 {:owner "--" :group "--" :other "--"}}]
            (republish! mode)
            (testing (format "0%03o" mode)
              (is (= expected (rights-of a segment users)) "ids that count")
              (is (= (zipmap (keys users) (repeat (:other expected))) (rights-of c segment users)) "ids that do not")
              (is (= (:group expected)
                     (letters (answers member (assoc segment :perm :read) (assoc segment :perm :write))))
                  "a process of the group"))))
        (testing "data of a user of another host"
          (republish! 0060)
          (import! member :im segment)
          (child/value member `(hp/put-pattern! :im 0 ~mib 1))
          (is (child/value exporter `(hp/has-pattern? :ex 0 ~mib 1)))
          (close! member :im))
        (close! exporter :ex)
        (exchange member b)
        (exchange a exporter)
        (child/stop! exporter)
        (child/stop! member)))))

(deftest access-through-the-gateway-of-a-user
  (on-hosts "access through a user's gateway"
    (if-let [obstacle (child/obstacle {:uid owner :gid owners-group})]
      (runner/skip! "access through a user's gateway" obstacle)
      (let [{:keys [a c] :as world} @*calm*
            exporter (process! world 4 "a user's gateway" {:uid owner :gid owners-group :key (key-for world 4 owner)})
            _ (open! exporter)
            segment (of exporter :ex {})]
        (doseq [[mode expected] {0640 {:owner "rw" :group "--" :other "--"}
                                 0402 {:owner "r-" :group "-w" :other "-w"}
                                 0064 {:owner "--" :group "r-" :other "r-"}}]
          (child/value exporter `(rsm/republish! (hp/at :ex) {:acl ~(vec (for [node [1 2 3]] {:node node :perm mode}))}))
          (testing (format "0%03o: who is not that user is another one" mode)
            (is (= expected (rights-of a segment users)))
            (is (= (zipmap (keys users) (repeat (:other expected))) (rights-of c segment users)))))
        (close! exporter :ex)
        (child/stop! exporter)))))

;; ------------------------------------------------------------ other programs

(deftest exporters-in-other-languages
  (on-hosts "exporters in other languages"
    (let [{:keys [net a c]} @*calm*
          size 65536]
      (doseq [language [:python :c]]
        (if-let [obstacle (peer/obstacle language)]
          (runner/skip! (str "exporters in " (name language)) obstacle)
          (testing language
            (let [id (fresh-id)
                  segment {:node 2 :segment-id id}]
              (peer/with-peer [p {:language language :prefix (netns/prefix net 2)}
                               "export" 2 (peer/id-of id) size "umask" "net0"]
                (is (= "published" (peer/line p)))
                (import! a :im segment)
                (is (= size (child/value a `(rsm/size (hp/at :im)))))
                (child/value a `(rsm/put! (hp/at :im) 4096 (byte-array [1 2 3])))
                (is (= "010203" (peer/ask p "read" 4096 3)))
                (is (= "ok" (peer/ask p "write" 8 "0807060504030201")))
                (is (= 0x0102030405060708 (child/value a `(hp/get-long :im 8))))
                (child/value a `(hp/map! :im))
                (child/value a `(hp/change-all! 0x41))
                (is (= "41000000" (peer/ask p "read" (- size 4096) 4)))
                (child/value a `(rsm/signal-post! (hp/at :im)))
                (is (= "event" (peer/ask p "poll" 20)))
                (child/value a `(hp/once! :wait (rsm/signal-wait! (hp/at :im))))
                (is (= "ok" (peer/ask p "post")))
                (is (contains? (outcome a :wait) :value))
                (testing "a node whose user ids do not count"
                  (is (= [nil] (answers c (assoc segment :perm :read)))))
                (testing "revocation"
                  (child/value a `(hp/repeatedly! :job (hp/set-long! :im 0 1)))
                  (is (begun? a :job))
                  (is (= "ok" (peer/ask p "unpublish")))
                  (is (= :rsm/conn-aborted (:rsm/error (outcome a :job))))
                  (close! a :b :m :im)
                  (is (= [:rsm/seg-not-published] (answers a segment)))))
              (peer/with-peer [p {:language language :prefix (netns/prefix net 2)}
                               "export" 2 (peer/id-of id) size "umask" "net0"]
                (is (= "published" (peer/line p)))
                (import! a :im segment)
                (testing "its death"
                  (child/value a `(hp/once! :wait (rsm/signal-wait! (hp/at :im))))
                  (peer/end! p)
                  (is (= :rsm/conn-aborted (:rsm/error (outcome a :wait)))))
                (close! a :im)))))))))

(defn- far-importer!
  "Starts a peer in Python on host 1 that imports from node 2, as a user or as the superuser."
  [{:keys [net keys]} {:keys [segment-id]} [uid gid]]
  (peer/start! {:prefix (cond-> (netns/prefix net 1)
                          uid (into ["setpriv" (str "--reuid=" uid) (str "--regid=" gid) "--clear-groups"]))}
               "far-import" "net0" (.file ^KeyFile (keys 1)) 2 (peer/id-of segment-id) "0600"))

(defmacro ^:private with-far-importer [[sym & how] & body]
  `(let [~sym (far-importer! ~@how)]
     (try ~@body (finally (peer/end! ~sym)))))

(deftest importers-in-python
  (on-hosts "importers in Python"
    (if-let [obstacle (or (peer/obstacle :python) (peer/obstacle-to-others) (child/obstacle {:uid owner :gid owners-group}))]
      (runner/skip! "importers in Python" obstacle)
      (let [{:keys [b] :as world} @*calm*
            segment (of b :ex {})]
        (with-far-importer [p world segment nil]
          (is (= ["connected" (str mib) "little" "0"] (peer/words (peer/line p))))
          (is (= 1 (child/value b `(rsm/importers (hp/at :ex)))))
          (testing "put, get and barriers"
            (is (= "ok" (peer/ask p "write" 8 "0807060504030201")))
            (is (= 0x0102030405060708 (child/value b `(hp/get-long :ex 8))))
            (child/value b `(hp/set-long! :ex 4096 -2))
            (is (= "feffffffffffffff" (peer/ask p "read" 4096 8)))
            (is (= ["ok" "ok"] [(peer/ask p "put" (- mib 3) "010203") (peer/ask p "barrier")]))
            (is (= [1 2 3] (child/value b `(vec (rsm/get-bytes (hp/at :ex) ~(- mib 3) 3)))))
            (testing "more than may be on its way"
              (dotimes [i 8]
                (is (= "ok" (peer/ask p "fill" 0 mib (inc i)))))
              (is (child/value b `(every? #(= 8 %) (rsm/get-bytes (hp/at :ex) 0 ~mib))))
              (is (= (format "%08x" (.getValue (doto (java.util.zip.CRC32.) (.update (byte-array mib (byte 8))))))
                     (peer/ask p "crc" 0 mib)))))
          (testing "atomic operations"
            (child/value b `(hp/set-long! :ex 64 5))
            (is (= ["5" "12" "-1"] (mapv #(apply peer/ask p %) [["add" 64 7] ["compare-and-set" 64 12 -1] ["compare-and-set" 64 12 3]])))
            (is (= -1 (child/value b `(hp/get-long :ex 64)))))
          (testing "signals"
            (is (= "ok" (peer/ask p "post")))
            (is (nil? (child/value b `(rsm/signal-wait! (hp/at :ex) {:timeout-ms 20000}))))
            (is (= "timeout" (peer/ask p "poll" 0)))
            (child/value b `(dotimes [_# 3] (rsm/signal-post! (hp/at :ex))))
            (is (= ["event" "event" "event" "timeout"] (mapv #(peer/ask p "poll" %) [20 20 20 0.1]))))
          (testing "revocation"
            (child/value b `(rsm/unpublish! (hp/at :ex)))
            (is (= "revoked 1" (peer/ask p "poll" 20)))
            (is (= ["error" "40"] (take 2 (peer/words (peer/ask p "read" 0 8))))))
          (is (= "ok" (peer/ask p "disconnect"))))
        (child/value b `(rsm/publish! (hp/at :ex) {:segment-id ~(:segment-id segment) :acl ~everybody}))
        (testing "is judged by its own user, whatever it claims"
          (doseq [[mode expected] {0640 ["27" "connected"] 0646 ["connected" "connected"]}]
            (child/value b `(rsm/republish! (hp/at :ex) {:acl [{:node 1 :perm ~mode}]}))
            (doseq [[user answer] (map vector [[other other] nil] expected)]
              (with-far-importer [p world segment user]
                (is (= answer (first (remove #{"error"} (peer/words (peer/line p))))) [mode user])))))
        (testing "what is not there"
          (with-far-importer [p world {:segment-id (fresh-id)} nil]
            (is (= ["error" "7"] (take 2 (peer/words (peer/line p)))))))
        (testing "its death"
          (is (eventually (= 0 (child/value b `(rsm/importers (hp/at :ex))))))
          (with-far-importer [p world segment nil]
            (is (= "connected" (first (peer/words (peer/line p)))))
            (is (= 1 (child/value b `(rsm/importers (hp/at :ex))))))
          (is (eventually (= 0 (child/value b `(rsm/importers (hp/at :ex)))))))
        (close! b :ex)))))

;; ----------------------------------------------------------------- many, slow

(defn- most-importers
  "How many connections a gateway accepts of one node: a sixteenth of its descriptors."
  [gateway]
  (quot (long (parse-long (second (re-find #"Max open files\s+(\d+)" (child/proc (child/pid gateway) "limits"))))) 16))

(deftest many-importers
  (on-hosts "many importers"
    (let [{:keys [a b local]} @*calm*
          ;; half of them in the gateway's process, half of them through it
          half (quot (min 1000 (long (most-importers b))) 2)
          n (* 2 half)
          segment (of b :ex {})
          importers {a 0, local half}
          each (fn [form] (apply at-once (for [c [a local]] #(child/value c form 120000))))
          threads #(child/value % `(hp/threads))
          belongings #(child/belongings (child/pid %))]
      ;; the link for much data is there as well
      (doseq [c [a local]]
        (import! c :im segment)
        (child/value c `(hp/put-much! :im))
        (close! c :im))
      (is (eventually (= 0 (child/value b `(rsm/importers (hp/at :ex))))))
      (let [before (mapv (juxt threads belongings) [a b local])]
        (each `(do (def ~'many (vec (repeatedly ~half #(rsm/connect! @hp/controller ~segment)))) nil))
        (is (= n (child/value b `(rsm/importers (hp/at :ex)))))
        (testing "without further threads"
          (doseq [[c [count _]] (map vector [a b local] before)]
            ;; some that make connections end when they have had nothing to do for a while
            (is (>= (+ 12 (long count)) (long (threads c))))))
        (testing "all of them work"
          (doseq [[c from] importers]
            (is (nil? (child/value c `(dotimes [i# ~half]
                                        (rsm/put64! (nth ~'user/many i#) (* 8 (+ ~from i#)) (+ ~from i#)))))))
          (is (= (range n) (child/value b `(mapv #(hp/get-long :ex (* 8 %)) (range ~n)))))
          (child/value b `(rsm/signal-post! (hp/at :ex)))
          (is (= [nil nil] (each `(run! #(rsm/signal-wait! % {:timeout-ms 20000}) ~'user/many)))))
        (each `(do (run! rsm/close! ~'user/many) (ns-unmap '~'user '~'many) nil))
        (is (eventually (= 0 (child/value b `(rsm/importers (hp/at :ex))))))
        (testing "nothing of them is left"
          ;; selectors of the JVM come and go
          (let [more #(mapv (fn [[_ was] c] (filterv (fn [[kind n]] (< (+ 10 (long (get was kind 0))) (long n))) (belongings c)))
                            before [a b local])]
            (eventually (= [[] [] []] (more)))
            (is (= [[] [] []] (more)))))
        (println (format "  %d importers, threads before %s and afterwards %s" n (mapv first before) (mapv threads [a b local])))
        (close! b :ex)))))

(deftest slow-importer-beside-a-fast-one
  (on-hosts "a slow importer"
    (let [{:keys [a b c]} @*calm*
          segment (of b :ex {})]
      (import! a :im segment)
      (import! c :im segment)
      (child/value c `(hp/repeatedly! :gets (hp/get-much! :im)))
      (child/value c `(hp/repeatedly! :posts (rsm/signal-post! (hp/at :im))))
      (is (begun? c :gets))
      (child/signal! c "STOP")
      (try
        (child/value a `(hp/repeatedly! :puts (hp/put-much! :im)))
        (child/value a `(hp/repeatedly! :gets (hp/get-long :im 8)))
        ;; more than the way to the other one can hold
        (child/value b `(dotimes [_# 2000] (rsm/signal-post! (hp/at :ex))))
        (dotimes [_ 5]
          (is (begun? a :puts))
          (is (begun? a :gets)))
        (is (= [nil] (answers a segment)))
        (doseq [k [:puts :gets]]
          (is (contains? (child/value a `(hp/halt! ~k)) :value)))
        (is (nil? (child/value a `(dotimes [_# 2000] (rsm/signal-wait! (hp/at :im) {:timeout-ms 20000})))))
        (finally (child/signal! c "CONT")))
      (testing "which then goes on"
        (is (begun? c :gets))
        (doseq [k [:gets :posts]]
          (is (contains? (child/value c `(hp/halt! ~k)) :value)))
        (is (nil? (child/value c `(dotimes [_# 2000] (rsm/signal-wait! (hp/at :im) {:timeout-ms 20000}))))))
      (run! #(close! % :im) [a c])
      (close! b :ex))))

;; -------------------------------------------------------------------- cables

(defn- cut
  "Interrupts the way while a job goes on, and measures how long it takes both sides to notice."
  [{:keys [importer exporter]} what segment job [down! up!]]
  (testing what
    (let [begin! (fn []
                   (import-again! importer :im segment)
                   (is (eventually (= 1 (child/value exporter `(rsm/importers (hp/at :ex))))))
                   (child/value importer job))]
      (if (moves what)
        (begin-until-begun! importer [:b :m :im] begin!)
        (begin!)))
    (child/value exporter `(hp/once! :alone (hp/wait-without-importers! :ex)))
    (let [begin (System/nanoTime)]
      (down!)
      (try
        (let [end (outcome importer :job)]
          (noticed! (str what ", by the importer") (millis-since begin end))
          (is (lost (:rsm/error end)) (pr-str end))
          (is (eventually (child/value importer `(rsm/aborted? (hp/at :im)))))
          (noticed! (str what ", by the exporter") (millis-since begin (outcome exporter :alone)))
          (when (= what "a wait")
            (let [begin (System/nanoTime)]
              (is (= [:rsm/remote-node-unreachable] (answers importer segment)))
              (noticed! "a connect meanwhile" (quot (- (System/nanoTime) begin) 1000000)))))
        (finally (up!))))
    (close! importer :b :m :im)
    (println (format "  %-52s %s ms" (str what ", connected again after") (import-again! importer :im segment)))
    (is (nil? (child/value importer `(hp/set-long! :im 0 1))))
    (close! importer :im)))

(defn- cables-that-are-taken-out [{:keys [net exporter] :as world}]
  (let [segment (of exporter :ex {})
        cable [#(netns/unplug! net 1) #(netns/plug! net 1)]]
    (doseq [[what job] moves]
      (cut world what segment job cable))
    (cut world "a wait" segment `(hp/once! :job (rsm/signal-wait! (hp/at :im))) cable)
    (cut world "a wait, a link that is set down at the exporter's" segment
         `(hp/once! :job (rsm/signal-wait! (hp/at :im)))
         [#(netns/set-down! net 2) #(netns/set-up! net 2)])
    (close! exporter :ex)))

(defn- cable-taken-out-during-a-connect [{:keys [net importer exporter]}]
  (let [segment (of exporter :ex {})]
    (import-again! importer :im segment)
    (child/signal! exporter "STOP")
    (try
      (child/value importer `(hp/once! :job (hp/import! :second ~(assoc segment :timeout-ms 20000))))
      ;; until the other gateway waits for the exporter
      (Thread/sleep 100)
      (let [begin (System/nanoTime)]
        (netns/unplug! net 1)
        (let [end (outcome importer :job)]
          (noticed! "a connect that waits, by the importer" (millis-since begin end))
          (is (lost (:rsm/error end)) (pr-str end))))
      (finally
        (netns/plug! net 1)
        (child/signal! exporter "CONT")))
    (close! importer :im)
    (import-again! importer :im segment)
    (is (eventually (= 1 (child/value exporter `(rsm/importers (hp/at :ex))))))
    (close! importer :im)
    (close! exporter :ex)))

;; ------------------------------------------------- processes that stand still

(defn- while-stopped
  "Calls f while a process stands still: for 3 s at least."
  [c f]
  (let [begin (System/nanoTime)]
    (child/signal! c "STOP")
    (try
      (f begin)
      (Thread/sleep (max 0 (- 3000 (quot (- (System/nanoTime) begin) 1000000))))
      (finally (child/signal! c "CONT")))))

(defn- processes-that-stand-still [{:keys [importer local gateway exporter]}]
  (let [segment (of exporter :ex {})
        begin! (fn [importer]
                 (begin-until-begun! importer [:im :waiting]
                   (fn []
                     (import-again! importer :im segment)
                     (import-again! importer :waiting segment)
                     (is (eventually (= 2 (child/value exporter `(rsm/importers (hp/at :ex))))))
                     (child/value importer `(hp/repeatedly! :job (hp/set-long! :im 0 1)))
                     (child/value importer `(hp/once! :wait (rsm/signal-wait! (hp/at :waiting)))))))]
    (testing "the importer"
      (begin! importer)
      (while-stopped importer
        (fn [begin]
          (child/value exporter `(hp/once! :alone (hp/wait-without-importers! :ex)))
          (noticed! "an importer that stands still" (millis-since begin (outcome exporter :alone)))))
      (is (lost (:rsm/error (outcome importer :job))))
      (is (lost (:rsm/error (outcome importer :wait))))
      (close! importer :im :waiting))
    (testing "the importer's gateway"
      (begin! local)
      (while-stopped importer
        (fn [begin]
          (child/value exporter `(hp/once! :alone (hp/wait-without-importers! :ex)))
          (doseq [k [:job :wait]]
            (let [end (outcome local k)]
              (noticed! (str "an importer's gateway that stands still, " (name k)) (millis-since begin end))
              (is (lost (:rsm/error end)) (pr-str end))))
          (noticed! "an importer's gateway that stands still, the exporter" (millis-since begin (outcome exporter :alone)))
          (let [begin (System/nanoTime)]
            (is (#{:rsm/remote-node-unreachable :rsm/timeout} (first (answers local segment))))
            (noticed! "an importer's gateway that stands still, a connect" (quot (- (System/nanoTime) begin) 1000000)))))
      (close! local :im :waiting)
      (import-again! local :im segment)
      (is (nil? (child/value local `(hp/set-long! :im 0 1))))
      (close! local :im))
    (testing "the exporter's gateway"
      (begin! importer)
      (while-stopped gateway
        (fn [begin]
          (doseq [k [:job :wait]]
            (let [end (outcome importer k)]
              (noticed! (str "a gateway that stands still, " (name k)) (millis-since begin end))
              (is (lost (:rsm/error end)) (pr-str end))))
          (let [begin (System/nanoTime)]
            (is (#{:rsm/remote-node-unreachable :rsm/timeout} (first (answers importer segment))))
            (noticed! "a gateway that stands still, a connect" (quot (- (System/nanoTime) begin) 1000000)))))
      (close! importer :im :waiting))
    (testing "the exporter: its memory can be reached all the while"
      (begin! importer)
      (while-stopped exporter
        (fn [_]
          (is (begun? importer :job))
          (is (= 1 (child/value importer `(hp/get-long :im 0))))
          (is (= [:rsm/timeout] (answers importer (assoc segment :timeout-ms 500))))
          (is (begun? importer :job))))
      (is (begun? importer :job))
      (is (contains? (child/value importer `(hp/halt! :job)) :value))
      (child/value exporter `(rsm/signal-post! (hp/at :ex)))
      (is (contains? (outcome importer :wait) :value))
      (import-again! importer :another segment)
      (close! importer :another :im :waiting))
    (is (eventually (= 0 (child/value exporter `(rsm/importers (hp/at :ex))))))
    (close! exporter :ex)))

;; -------------------------------------------------------- processes that end

(defn- processes-that-end [{:keys [importer local gateway exporter] :as world}]
  (let [[next last] (at-once #(process! world 2 "next") #(process! world 2 "last"))
        _ (child/value next `(hp/open!))
        segment (of exporter :ex {})
        begin! (fn [importer segment]
                 (begin-until-begun! importer [:im :waiting]
                   (fn []
                     (import-again! importer :im segment)
                     (import-again! importer :waiting segment)
                     (child/value importer `(hp/repeatedly! :job (hp/put-much! :im)))
                     (child/value importer `(hp/once! :wait (rsm/signal-wait! (hp/at :waiting)))))))
        ended! (fn [importer what begin]
                 (doseq [k [:job :wait]]
                   (let [end (outcome importer k)]
                     (noticed! (str what ", " (name k)) (millis-since begin end))
                     (is (= :rsm/conn-aborted (:rsm/error end)) (pr-str end))))
                 (close! importer :im :waiting))]
    (testing "the exporter is killed"
      (begin! importer segment)
      (let [begin (System/nanoTime)]
        (child/kill-9! exporter)
        (ended! importer "an exporter that is killed" begin)
        (is (= [:rsm/seg-not-published] (answers importer segment)))))
    (testing "the gateway is killed: the next process takes over"
      (let [segment (of next :ex {})]
        (begin! importer segment)
        (is (not (netns/listens? (child/pid next) NodesFile/PORT)))
        (let [begin (System/nanoTime)]
          (child/kill-9! gateway)
          (ended! importer "a gateway that is killed" begin)
          (import-again! importer :im segment)
          (noticed! "a gateway that is killed, reached again" (quot (- (System/nanoTime) begin) 1000000)))
        (is (netns/listens? (child/pid next) NodesFile/PORT))
        (is (nil? (child/value importer `(hp/set-long! :im 0 5))))
        (is (= 5 (child/value next `(hp/get-long :ex 0))))
        (close! importer :im)))
    (child/value last `(hp/open!))
    (let [segment (of last :ex {})]
      (testing "the gateway ends: the next process takes over"
        (begin! importer segment)
        (let [begin (System/nanoTime)]
          (child/stop! next)
          (ended! importer "a gateway that ends" begin)
          (import-again! importer :im segment)
          (noticed! "a gateway that ends, reached again" (quot (- (System/nanoTime) begin) 1000000)))
        (close! importer :im))
      (testing "the importer is killed, who is the gateway of another one"
        (begin! local segment)
        (import-again! importer :im segment)
        (is (eventually (= 3 (child/value last `(rsm/importers (hp/at :ex))))))
        (child/value last `(hp/once! :alone (hp/wait-without-importers! :ex)))
        (let [begin (System/nanoTime)]
          (child/kill-9! importer)
          (noticed! "an importer that is killed" (millis-since begin (outcome last :alone)))
          (ended! local "an importer's gateway that is killed" begin)
          (is (= [:rsm/remote-node-unreachable] (answers local segment))))
        (is (eventually (= 0 (netns/links (child/pid last) NodesFile/PORT)))))
      (close! last :ex))))

;; In this order, because in the end few processes are left.
(deftest what-fails-is-noticed
  (on-hosts "what fails is noticed"
    (let [world (strict-world)]
      (testing "cables that are taken out"
        (cables-that-are-taken-out world)
        (cable-taken-out-during-a-connect world))
      (testing "processes that stand still"
        (processes-that-stand-still world))
      (testing "processes that end"
        (processes-that-end world)))))

;; ------------------------------------------------------------------ slow ways

(defn- slow-puts-and-gets
  "Moves of a MiB, and small ones beside them, while the way takes seconds for it."
  [importer exporter]
  (let [segment (of exporter :ex {})]
    (import! importer :im segment)
    (import! importer :small segment)
    (child/value importer `(hp/once! :put (hp/put-pattern! :im 0 ~mib 5)))
    (child/value importer `(hp/repeatedly! :small-gets (hp/get-long :small 8)))
    (is (= {:value nil} (dissoc (outcome importer :put) :at)))
    (is (child/value exporter `(hp/has-pattern? :ex 0 ~mib 5)))
    (child/value exporter `(rsm/put-bytes! (hp/at :ex) 0 (hp/pattern ~mib 6)))
    (child/value importer `(hp/once! :get (hp/has-pattern? :im 0 ~mib 6)))
    (is (= {:value true} (dissoc (outcome importer :get) :at)))
    (is (contains? (child/value importer `(hp/halt! :small-gets)) :value))
    (is (not (child/value importer `(rsm/aborted? (hp/at :im)))))
    (close! importer :im :small)
    (close! exporter :ex)))

(deftest a-slow-way-is-not-a-silent-one
  (on-hosts "a slow way"
    (if-let [obstacle (netns/slow-obstacle)]
      (runner/skip! "a slow way" obstacle)
      (let [{:keys [net] :as world} (world! {:hosts 2 :timeout 1500})
            [importer local exporter] (at-once #(process! world 1 "importer") #(process! world 1 "local" {:local? true})
                                               #(process! world 2 "exporter"))]
        (open! importer local)
        (open! exporter)
        (doseq [host [1 2]] (netns/slow! net host "3mbit"))
        (testing "a process with links of its own" (slow-puts-and-gets importer exporter))
        (testing "a process that goes over the gateway of its host" (slow-puts-and-gets local exporter))
        (testing "on which the other gateway stands still"
          (import! importer :im (of exporter :ex {}))
          (child/value importer `(hp/repeatedly! :puts (hp/put-much! :im)))
          (Thread/sleep 1000)
          (let [begin (System/nanoTime)]
            (child/signal! exporter "STOP")
            (let [end (outcome importer :puts)]
              (noticed! "a gateway that stands still on a slow way" (millis-since begin end))
              (is (lost (:rsm/error end)) (pr-str end)))
            (child/signal! exporter "CONT"))
          (close! importer :im))))))
