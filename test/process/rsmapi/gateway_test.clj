(ns rsmapi.gateway-test
  "Gateways in processes of their own: who may use them, as whom their importers connect, what becomes of connections when they
  end, and what they tell."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.hosts :as hosts]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as network]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [failure]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.wire :as wire])
  (:import (java.io IOException)
           (java.net InetAddress ServerSocket)
           (java.nio.file Files)
           (java.nio.file.attribute PosixFilePermissions)
           (java.util Arrays)
           (org.rsmapi Controller)
           (org.rsmapi.net KeyFile)))

(set! *warn-on-reflection* true)

(def ^:private through-others {:quick? true :jvm-opts ["-Drsmapi.gateway=other"]})

(defmacro ^:private with-nodes
  "Runs the body with nodes 1 (net0) and 2 (net1); `more` is added to their lines, and a time limit set."
  [[more timeout-ms] & body]
  `(let [end!# (network/begin! [1 2] ~more)]
     (System/setProperty "rsmapi.net.timeout" (str ~timeout-ms))
     (try ~@body (finally (end!#)))))

(defn- play-gateway! [child controller]
  (child/value child `(do (require '~'rsmapi.hosts)
                          (def ~'gateway (rsmapi.hosts/gateway :controller ~controller))
                          (rsmapi.hosts/open? ~'gateway))))

(def ^:private id (fresh-id))

(def ^:private modes [0600 0060 0006 0400 0040 0004])

(defn- can-connect
  "For each mode, in the access list of a segment that one child exports, what becomes of another one's connect."
  [exporter importer]
  (mapv (fn [mode]
          (child/value exporter `(do (def ~'ex (rsmapi.core/create! ~'c :size 4096))
                                     (rsmapi.core/publish! ~'ex :segment-id ~id :acl [{:node 1 :perm ~mode}])
                                     nil))
          (try
            (child/value importer `(let [im# (rsmapi.error/catching (rsmapi.core/connect! ~'c :node 2 :segment-id ~id))]
                                     (if (map? im#)
                                       (:rsm/error im#)
                                       (do (rsmapi.core/put! im# 0 (byte-array [1 2 3]))
                                           (rsmapi.core/close! im#)
                                           :rsm/ok))))
            (finally (child/value exporter '(do (rsmapi.core/close! ex) nil)))))
        modes))

(defn- open! [child controller]
  (child/value child `(do (require '~'rsmapi.error) (def ~'c (rsmapi.core/get-controller ~controller)) nil)))

(deftest importers-of-other-hosts-are-who-they-are-if-the-nodes-file-says-so
  (if-let [why (child/obstacle {:uid 2001 :gid 3001})]
    (runner/skip! "users and groups of importers" why)
    (doseq [[more expected] {nil         {:owner 0006 :group 0006 :other 0006}
                             "uids=same" {:owner 0600 :group 0060 :other 0006}}]
      (with-nodes [more 20000]
        (child/with-child [gateways {:label "gateways of root" :quick? true}]
          (is (play-gateway! gateways "net0"))
          (child/value gateways '(do (def second-gateway (rsmapi.hosts/gateway :controller "net1")) nil))
          (child/with-child [exporter (assoc through-others :uid 2001 :gid 3001)]
            (open! exporter "net1")
            (doseq [[who user] {:owner {:uid 2001 :gid 2001}
                                :group {:uid 2002 :gid 2002 :groups [3001]}
                                :other {:uid 2003 :gid 2003}}]
              (child/with-child [importer (merge through-others user)]
                (open! importer "net0")
                (is (= (mapv #(if (= (expected who) %) :rsm/ok :rsm/perm-denied) modes) (can-connect exporter importer))
                    [more who])))))))))

(deftest root-of-another-host-is-nobody-here
  (with-nodes [nil 20000]
    (with-open [two (rsm/get-controller "net1")]
      (rsm/with-exported-segment [ex two {:size 4096 :segment-id id :acl [{:node 1 :perm 0660}]}]
        (rsm/with-controller [one "net0"]
          (is (= :rsm/perm-denied (failure (rsm/connect! one :node 2 :segment-id id))))
          (is (= :rsm/perm-denied (failure (rsm/connect! one :node 2 :segment-id id :perm :none))))
          (rsm/republish! ex :acl [{:node 1 :perm 0664}])
          (is (= :rsm/perm-denied (failure (rsm/connect! one :node 2 :segment-id id))))
          (rsm/with-imported-segment [im one {:node 2 :segment-id id :perm :read}]
            (is (rsm/connected? im))))))))

(deftest who-plays-the-gateway
  (with-nodes [nil 2000]
    (testing "nobody"
      (is (nil? (hosts/gateway-status)))
      (System/setProperty "rsmapi.gateway" "other")
      (try
        (is (= :rsm/remote-node-unreachable (failure (rsm/get-controller "net0"))))
        (is (= :rsm/bad-conf (:rsm/error (error/catching (let [file (System/getProperty "rsmapi.key")]
                                                           (System/setProperty "rsmapi.key" (str file ".missing"))
                                                           (try (rsm/get-controller "net0")
                                                                (finally (System/setProperty "rsmapi.key" file))))))))
        (finally (System/clearProperty "rsmapi.gateway")))
      (System/setProperty "rsmapi.gateway" "perhaps")
      (try (is (= [:rsm/bad-conf "perhaps"] ((juxt :rsm/error :rsm/value) (error/catching (rsm/get-controller "net0")))))
           (finally (System/clearProperty "rsmapi.gateway"))))
    (testing "a process that does nothing else"
      (child/with-child [gateway {:quick? true}]
        (is (play-gateway! gateway "net0"))
        (let [{:keys [pid node open? peers callers]} (hosts/gateway-status)]
          (is (= [(.pid ^Process (:process gateway)) 1 true [] [2]] [pid node open? callers (map :node peers)])))
        (testing "not this one as well, until that has ended"
          (with-open [mine (hosts/gateway)]
            (is (not (hosts/open? mine)))
            (is (= (.pid ^Process (:process gateway)) (:pid (hosts/gateway-status))))
            (child/kill-9! gateway)
            (is (eventually (hosts/open? mine)))
            (is (= (.pid (java.lang.ProcessHandle/current)) (:pid (eventually (hosts/gateway-status))))))
          (is (eventually (nil? (hosts/gateway-status)))))))
    (testing "arguments"
      (is (= :rsm/bad-args-errors (failure (hosts/gateway :controller "shm0")) (failure (hosts/gateway-status :controller "net8"))
             (failure (hosts/gateway-status :controller :net0)) (failure (hosts/open? nil)) (failure (hosts/gateway :unit 0)))))))

(deftest a-gateway-of-somebody-else
  (if-let [why (child/obstacle {:uid 2001 :gid 3001})]
    (runner/skip! "a gateway of another user" why)
    (with-nodes [nil 2000]
      (child/with-child [stranger {:quick? true :uid 2001 :gid 3001}]
        (child/value stranger '(do (def listener
                                     (let [^java.lang.reflect.Method name (.getDeclaredMethod (Class/forName "org.rsmapi.net.LocalDoor") "name"
                                                                                              (into-array Class [String java.nio.file.Path]))]
                                       (.setAccessible name true)
                                       (org.rsmapi.sys.Sockets/listen
                                        (.invoke name nil (object-array ["net0" (org.rsmapi.net.KeyFile/defaultFile "test" 0)])) 5)))
                                   nil))
        (is (= :rsm/remote-node-unreachable (failure (hosts/gateway-status))))
        (System/setProperty "rsmapi.gateway" "other")
        (try (is (re-find #"2001" (str (:rsm/reason (error/catching (rsm/get-controller "net0"))))))
             (finally (System/clearProperty "rsmapi.gateway")))
        (testing "does not keep the true one from other hosts"
          (with-open [mine (hosts/gateway)]
            (is (hosts/open? mine))))))))

(defn- write-through! [im n]
  (rsm/put64! im 0 (long-array [n]) 0 1))

(deftest gateways-that-end
  (with-nodes [nil 1000]
    (with-open [two (rsm/get-controller "net1")]
      (rsm/with-exported-segment [ex two {:size 65536 :segment-id id :acl [{:node 1 :perm 0666}]}]
        (doseq [[how end!] {:killed child/kill-9!
                            :closed #(child/value % '(do (.close ^org.rsmapi.net.HostGateway gateway) nil))}]
          (child/with-child [gateway {:quick? true}]
            (is (play-gateway! gateway "net0"))
            (System/setProperty "rsmapi.gateway" "other")
            (let [^Controller one (try (rsm/get-controller "net0") (finally (System/clearProperty "rsmapi.gateway")))]
              (with-open [one one]
                (let [im (rsm/connect! one :node 2 :segment-id id)
                      aborted (promise)]
                  (rsm/on-signal! im (fn [_]) {:on-end #(deliver aborted (:rsm/error (ex-data %)))})
                  (write-through! im 42)
                  (is (= 42 (rsm/get-long ex 0)))
                  (is (= 1 (rsm/importers ex)))
                  (end! gateway)
                  (testing how
                    (is (= :rsm/conn-aborted (deref aborted 10000 :hangs)))
                    (is (= :rsm/conn-aborted (failure (write-through! im 43))))
                    (is (rsm/aborted? im))
                    (is (eventually (zero? (long (rsm/importers ex)))) "the other side has found out")
                    (is (= :rsm/remote-node-unreachable (failure (rsm/connect! one :node 2 :segment-id id))))
                    (child/with-child [other {:quick? true}]
                      (is (play-gateway! other "net0"))
                      (rsm/with-imported-segment [again one {:node 2 :segment-id id}]
                        (write-through! again 44)
                        (is (= 44 (rsm/get-long ex 0))))))
                  (rsm/close! im))))))))))

(deftest keys-are-replaced-while-gateways-run
  (with-nodes [nil 2000]
    (let [file (System/getProperty "rsmapi.nodes")
          key-file (io/file (System/getProperty "rsmapi.key"))
          before (slurp file)
          write! (fn [text] ; in one step, as an editor or a deployment does
                   (let [next (str file ".next")]
                     (spit next text)
                     (Files/move (.toPath (io/file next)) (.toPath (io/file file))
                                 (into-array [java.nio.file.StandardCopyOption/ATOMIC_MOVE]))))
          old (:key (hosts/read-key key-file))]
      (with-open [one (rsm/get-controller "net0")
                  two (rsm/get-controller "net1")]
        (rsm/with-exported-segment [ex two {:size 4096 :segment-id id :acl [{:node 1 :perm 0666}]}]
          (let [im (rsm/connect! one :node 2 :segment-id id)]
            (write-through! im 1)
            (.delete key-file)
            (let [new (:key (hosts/make-key! key-file))]
              (write-through! im 2)
              (write! (str/replace before old new))
              (is (eventually (rsm/aborted? im)) "the old key does not count any more")
              (is (eventually (not (:rsm/error (error/catching (rsm/close! (rsm/connect! one :node 2 :segment-id id)))))))
              (testing "while the file is malformed, what there is goes on"
                (let [im (rsm/connect! one :node 2 :segment-id id)]
                  (write! "node 1")
                  (Thread/sleep 1500)
                  (write-through! im 3)
                  (is (not (rsm/aborted? im)))
                  (write! (str/replace before old new))
                  (Thread/sleep 1000)
                  (is (not (rsm/aborted? im)))
                  (testing "a node that the file does not have any more"
                    (write! (str/replace (str/replace before old new) #"(?m)^node 2.*$" ""))
                    (is (eventually (rsm/aborted? im)))
                    (is (eventually (= [1 []] ((juxt :node (comp vec :peers)) (hosts/gateway-status)))))
                    (is (= :rsm/remote-node-unreachable (failure (rsm/connect! one :node 2 :segment-id id)))))
                  (rsm/close! im))) ; else the gateway would stay
              (rsm/close! im))))))))

;; ------------------------------------------------------------------ versions

(defn- key-of-2 []
  (KeyFile/read "test" (.toPath (io/file (System/getProperty (network/property 1 "key"))))))

(defn- port-of [node]
  (:port (first (filter #(= node (:node %)) (hosts/nodes)))))

(defn- call-with-versions
  "What becomes of a call of node 2 to the gateway of node 1."
  [versions]
  (try
    (wire/with-link [link (wire/tls (port-of 1) (key-of-2))]
      (wire/greet! link 2 :versions versions)
      (:type (wire/ask! link #{:welcome} (wire/hello (wire/new-session) 1)) :end))
    (catch IOException _ :end)))

(defn- versions-that-do-not-overlap [^Controller one]
  (let [id (fresh-id)
        connect #(error/catching (rsm/connect! one :node 2 :segment-id id :timeout-ms 20000))
        versions (atom nil)]
    (with-open [server (ServerSocket. (int (port-of 2)) 50 (InetAddress/getByName "127.0.0.1"))]
      (wire/serve! server (key-of-2) 2 (constantly nil) :versions versions)
      (doseq [[oldest newest :as theirs] [[0 0] [2 2] [2 65535] [1 0]]] ; the last is none
        (testing theirs
          (reset! versions theirs)
          (testing "when this host calls"
            (is (= [:rsm/bad-driver-version 2] ((juxt :rsm/error :rsm/node) (connect))))
            (is (eventually (re-find #"BAD_DRIVER_VERSION|version" (str (:reason (first (:peers (hosts/gateway-status)))))))
                (pr-str (hosts/gateway-status))))
          (testing "when it is called"
            (let [{:keys [refusals]} (hosts/gateway-status)]
              (is (= :end (call-with-versions theirs)))
              (is (eventually (< (long refusals) (long (:refusals (hosts/gateway-status))))))
              (is (re-find #"BAD_DRIVER_VERSION|version" (str (:last-refusal (hosts/gateway-status)))))))))
      (is (= [:welcome :welcome] (mapv call-with-versions [[0 1] [1 9]])) "versions that do"))
    (testing "and then another gateway of that host"
      (System/clearProperty "rsmapi.gateway")
      (with-open [two (rsm/get-controller "net1")]
        (rsm/with-exported-segment [ex two {:size 4096 :segment-id id :acl [{:node 1 :perm 0666}]}]
          (let [im (eventually (let [im (connect)] (when-not (map? im) im)))]
            (write-through! im 42)
            (is (= 42 (rsm/get-long ex 0)))
            (is (nil? (:reason (first (:peers (hosts/gateway-status))))))
            (rsm/close! im)))))))

(deftest gateways-with-no-version-in-common
  (with-nodes ["uids=same" 5000]
    (testing "this process is the gateway"
      (with-open [one (rsm/get-controller "net0")]
        (versions-that-do-not-overlap one)))
    (testing "another process is"
      (child/with-child [gateway {:quick? true}]
        (is (play-gateway! gateway "net0"))
        (System/setProperty "rsmapi.gateway" "other")
        (try
          (with-open [one (rsm/get-controller "net0")]
            (versions-that-do-not-overlap one))
          (finally (System/clearProperty "rsmapi.gateway")))))))

(deftest the-loopback-address-of-ipv6
  (if-let [why (try (with-open [_ (ServerSocket. 0 1 (InetAddress/getByName "::1"))] nil)
                    (catch IOException e (str "needs IPv6: " (ex-message e))))]
    (runner/skip! "the loopback address of IPv6" why)
    (with-nodes ["uids=same" 20000]
      (let [file (System/getProperty "rsmapi.nodes")
            id (fresh-id)
            transfer (fn []
                       (with-open [one (rsm/get-controller "net0")]
                         (rsm/with-imported-segment [im one {:node 2 :segment-id id}]
                           (write-through! im 7)
                           (seq (rsm/get64 im 0 1)))))]
        (spit file (str/replace (slurp file) "127.0.0.1" "[::1]"))
        (is (= ["::1" "::1"] (map :host (hosts/nodes))))
        (with-open [two (rsm/get-controller "net1")]
          (rsm/with-exported-segment [ex two {:size 4096 :segment-id id :acl [{:node 1 :perm 0666}]}]
            (is (= [7] (transfer)))
            (testing "with another process as the gateway"
              (child/with-child [gateway {:quick? true}]
                (is (play-gateway! gateway "net0"))
                (System/setProperty "rsmapi.gateway" "other")
                (try (is (= [7] (transfer)))
                     (finally (System/clearProperty "rsmapi.gateway")))))))))))

(deftest mirrors-are-pulled-in-several-requests
  (with-nodes [nil 20000]
    (with-open [one (rsm/get-controller "net0")
                two (rsm/get-controller "net1")]
      (let [block    65536
            request  (* 4 1048576)
            size     (+ (* 2 request) block 4096)
            words    (quot size 8)
            ends     (fn [at] (mapcat #(vector (dec (quot (long %) 8)) (quot (long %) 8)) at)) ; the words beside a place
            expected (long-array words)
            change!  (fn [m i value]
                       (rsm/put-long! m (* 8 (long i)) value)
                       (aset expected i (long value)))]
        (rsm/with-exported-segment [ex two {:size size :segment-id id :acl [{:node 1 :perm 0666}]}]
          (rsm/with-imported-segment [im one {:node 2 :segment-id id}]
            (rsm/with-mapped-segment [m im]
              (doseq [[what changed] {"nothing" []
                                      "the first and the last word" [0 1 (- words 2) (dec words)]
                                      "beside the ends of blocks" (ends (range block size (* 7 block)))
                                      "beside the ends of requests" (ends [request (* 2 request)])
                                      "one block in the middle" (range (quot (+ request block) 8) (quot (+ request block block) 8))
                                      "everything" (range words)}]
                (testing what
                  (doseq [i changed] ; each side has words of its own
                    (change! (if (even? (long i)) ex m) i (rand-int 1000000)))
                  (rsm/push! m)
                  (rsm/pull! m)
                  (is (Arrays/equals expected ^longs (rsm/get-longs m 0 words)) "here")
                  (is (Arrays/equals expected ^longs (rsm/get-longs ex 0 words)) "there"))))))))))

(deftest files-that-are-not-right
  (with-nodes [nil 2000]
    (let [file (io/file (System/getProperty "rsmapi.key"))
          refused (fn [] ((juxt :rsm/error :rsm/file) (error/catching (rsm/get-controller "net0"))))]
      (testing "a key that others may read"
        (Files/setPosixFilePermissions (.toPath file) (PosixFilePermissions/fromString "rw-r--r--"))
        (is (= [:rsm/bad-conf (str file)] (refused)))
        (Files/setPosixFilePermissions (.toPath file) (PosixFilePermissions/fromString "rw-------")))
      (testing "another node than the key's"
        (is (= :rsm/ctlr-not-present (failure (rsm/get-controller "net0" :node 2))))
        (is (nil? (rsm/release-controller! (rsm/get-controller "net0" :node 1)))))
      (testing "a time limit"
        (doseq [value ["0" "99" "60001" "soon" "-1"]]
          (System/setProperty "rsmapi.net.timeout" value)
          (is (= [:rsm/bad-conf value] ((juxt :rsm/error :rsm/value) (error/catching (rsm/get-controller "net0"))))))
        (System/setProperty "rsmapi.net.timeout" "2000"))
      (testing "units that there are not"
        (is (= :rsm/ctlr-not-present (failure (rsm/get-controller "net8")))))
      (testing "a nodes file without this host's key"
        (spit (System/getProperty "rsmapi.nodes") "")
        (is (= :rsm/bad-conf (failure (rsm/get-controller "net0")))))
      (testing "no nodes file"
        (.delete (io/file (System/getProperty "rsmapi.nodes")))
        (is (= :rsm/bad-conf (failure (rsm/get-controller "net0"))))))))

(deftest keys-and-nodes-as-data
  (with-nodes ["uids=same" 2000]
    (let [{:keys [key file not-after]} (hosts/read-key)
          [one two :as all] (hosts/nodes)]
      (is (= (System/getProperty "rsmapi.key") file))
      (is (inst? not-after))
      (is (= 2 (count all)))
      (is (= {:node 1 :host "127.0.0.1" :key key :same-uids? true :ucx nil} (dissoc one :port)))
      (is (= 2 (:node two)))
      (is (= :rsm/bad-conf (failure (hosts/make-key! file)) (failure (hosts/nodes (str file "x")))))
      (is (= :rsm/bad-args-errors (failure (hosts/make-key! "/nowhere" :days 0)) (failure (hosts/make-key! "/nowhere" :years 1)))))))
