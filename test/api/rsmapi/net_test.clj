(ns rsmapi.net-test
  "What gateways are told and how they know each other: nodes files, keys, and links between two of them."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.error :as error]
            [rsmapi.test.files :as files]
            [rsmapi.test.javac :as javac]
            [rsmapi.test.outcome :refer [failure]])
  (:import (java.io File)
           (java.net InetSocketAddress Socket)
           (java.nio.channels ServerSocketChannel)
           (java.nio.file Files LinkOption Path)
           (java.nio.file.attribute PosixFilePermissions)
           (java.time Duration)
           (org.rsmapi.net KeyFile Link Link$Identity NodesFile NodesFile$Entry)))

(set! *warn-on-reflection* true)

(defmacro ^:private with-folder [[sym] & body]
  `(let [~(with-meta sym {:tag `File}) (javac/temp-dir)]
     (try ~@body (finally (files/delete-tree! ~sym)))))

(defn- path ^Path [folder name] (.toPath (io/file folder name)))

(defn- written ^Path [folder name text]
  (spit (io/file folder name) text)
  (path folder name))

(defn- mode! [^Path file text]
  (Files/setPosixFilePermissions file (PosixFilePermissions/fromString text)))

;; -------------------------------------------------------------- nodes files

(defn- digits [c] (apply str (repeat 64 c)))

(defn- nodes [folder & lines]
  (update-vals (into {} (.nodes (NodesFile/read "test" (written folder "nodes" (str/join "\n" lines)))))
               (fn [^NodesFile$Entry e] [(.host e) (.port e) (.key e) (.sameUsers e) (.device e)])))

(deftest nodes-files
  (with-folder [folder]
    (is (= {} (nodes folder) (nodes folder "" "# nothing" "   # at all")))
    (is (= {0  ["hosta.example" 7463 (str "sha256:" (digits "a")) false nil]
            7  ["fd00::7%eth0" 1 (str "sha256:" (digits "b")) true nil]
            63 ["10.0.0.3" 65535 (str "sha256:" (digits "c")) true "mlx5_0:1"]}
           (nodes folder
                  "# the hosts of \u00c5sa, \u0445"
                  (str "node 0 hosta.example sha256:" (digits "A") " # the first")
                  (str "  node\t7 [fd00::7%eth0]:1 sha256:" (digits "b") " uids=same  ")
                  (str "node 63 10.0.0.3:65535 sha256:" (digits "c") " ucx=mlx5_0:1 uids=same"))))
    (doseq [[line value]
            {"nodes 1 h sha256:"                                     "nodes"
             "node 64 h sha256:"                                     "64"
             "node -1 h sha256:"                                     "-1"
             "node +1 h sha256:"                                     "+1"
             "node 01 h sha256:"                                     "01"
             "node 99999999999999999999 h sha256:"                   "99999999999999999999"
             "node 1 h: sha256:"                                     ""
             "node 1 h:0 sha256:"                                    "h:0"
             "node 1 h:65536 sha256:"                                "65536"
             "node 1 h:x sha256:"                                    "x"
             "node 1 -h sha256:"                                     "-h"
             "node 1 fd00::1 sha256:"                                "fd00::1"
             "node 1 [fd00::1 sha256:"                               "[fd00::1"
             "node 1 [dead.beef]:5 sha256:"                          "[dead.beef]:5"
             "node 1 h;rm sha256:"                                   "h;rm"
             (str "node 1 " (apply str (repeat 254 "h")) " sha256:") (apply str (repeat 254 "h"))
             "node 1 h sha1:00"                                      "sha1:00"
             (str "node 1 h sha256:" (digits "g"))                   (str "sha256:" (digits "g"))
             (str "node 1 h sha256:" (digits "a") "a")               (str "sha256:" (digits "a") "a")
             (str "node 1 h sha256:" (digits "a") " uids=other")     "uids=other"
             (str "node 1 h sha256:" (digits "a") " uids")           "uids"
             (str "node 1 h sha256:" (digits "a") " ucx=mlx5_0")     "ucx=mlx5_0"
             (str "node 1 h sha256:" (digits "a") " uids=same uids=same") "uids=same"
             (str "node 1 h sha256:" (digits "a") " ucx=a:1 ucx=b:1") "ucx=b:1"
             (str "node 1 h sha256:" (digits "a") " colour=red")     "colour=red"}]
      (is (= [:rsm/bad-conf 2 value]
             ((juxt :rsm/error :rsm/line :rsm/value)
              (error/catching (nodes folder "" (cond-> line (str/ends-with? line "sha256:") (str (digits "a")))))))
          line))
    (testing "too few fields"
      (is (= [:rsm/bad-conf 1 (str (path folder "nodes"))]
             ((juxt :rsm/error :rsm/line :rsm/file) (error/catching (nodes folder "node 1 h"))))))
    (testing "what two nodes cannot have"
      (doseq [line [(str "node 1 h2 sha256:" (digits "b"))
                    (str "node 2 h2 sha256:" (digits "a"))
                    (str "node 2 H sha256:" (digits "b"))
                    (str "node 2 h:7463 sha256:" (digits "b"))]]
        (is (= [:rsm/bad-conf 2] ((juxt :rsm/error :rsm/line)
                                  (error/catching (nodes folder (str "node 1 h sha256:" (digits "a")) line))))
            line)))
    (testing "a file that others can write to"
      (nodes folder "")
      (mode! (path folder "nodes") "rw-rw-r--")
      (is (= :rsm/bad-conf (failure (NodesFile/read "test" (path folder "nodes")))))
      (mode! (path folder "nodes") "rw-r--r--"))
    (testing "files that are none"
      (is (= :rsm/bad-addr (failure (NodesFile/read "test" nil)) (failure (KeyFile/read "test" nil))))
      (is (= :rsm/bad-conf (failure (NodesFile/read "test" (path folder "missing")))))
      (is (= :rsm/bad-conf (failure (NodesFile/read "test" (.toPath folder))))))
    (testing "where it is"
      (is (= "/etc/rsm/rsm.nodes" (str (NodesFile/defaultFile "test" 0))))
      (System/setProperty "rsmapi.nodes" "/elsewhere")
      (try (is (= "/elsewhere" (str (NodesFile/defaultFile "test" 0))))
           (finally (System/clearProperty "rsmapi.nodes")))
      (is (= ["/etc/rsm/net1.nodes" "/etc/rsm/net1.key" "/etc/rsm/rsm.key"]
             (map str [(NodesFile/defaultFile "test" 1) (KeyFile/defaultFile "test" 1) (KeyFile/defaultFile "test" 0)]))))))

;; --------------------------------------------------------------------- keys

(deftest keys-of-nodes
  (with-folder [folder]
    (let [file (path folder "key")
          made (KeyFile/make file (Duration/ofDays 30))
          text (slurp (str file))
          read-with (fn [text]
                      (let [other (written folder "other" text)]
                        (mode! other "rw-------")
                        (error/catching (KeyFile/read "test" other))))]
      (is (= "rw-------" (PosixFilePermissions/toString (Files/getPosixFilePermissions file (make-array LinkOption 0)))))
      (is (re-matches #"sha256:[0-9a-f]{64}" (.fingerprint made)))
      (is (= (.fingerprint made) (.fingerprint (KeyFile/read "test" file))))
      (is (not (str/includes? (str made) "PRIVATE")))
      (testing "what openssl says of it, where that is"
        (when (try (zero? (.waitFor (.start (ProcessBuilder. ["openssl" "version"])))) (catch java.io.IOException _ false))
          (let [told (fn [& command]
                       (let [p (.start (ProcessBuilder. ^java.util.List (vec command)))]
                         [(slurp (.getInputStream p)) (.waitFor p)]))]
            (is (= 0 (second (told "openssl" "x509" "-in" (str file) "-noout" "-text"))))
            (is (= 0 (second (told "openssl" "verify" "-CAfile" (str file) (str file)))))
            (is (= 0 (second (told "openssl" "ec" "-in" (str file) "-noout" "-check")))))))
      (testing "an older one is not replaced"
        (is (= :rsm/bad-conf (failure (KeyFile/make file (Duration/ofDays 30)))))
        (is (= text (slurp (str file)))))
      (testing "where it cannot be made"
        (is (= :rsm/bad-conf (failure (KeyFile/make (path folder "no/such/folder") (Duration/ofDays 30)))))
        (doseq [validity [(Duration/ofSeconds 0) (Duration/ofDays -1) (Duration/ofSeconds Long/MAX_VALUE)]]
          (is (= :rsm/bad-args-errors (failure (KeyFile/make (path folder "another") validity))))))
      (testing "those who may read it"
        (doseq [mode ["rw-r-----" "rw----r--" "rwx--x---" "rw--w----"]]
          (mode! file mode)
          (is (= [:rsm/bad-conf (str file)] ((juxt :rsm/error :rsm/file) (error/catching (KeyFile/read "test" file)))) mode))
        (mode! file "r--------")
        (is (= (.fingerprint made) (.fingerprint (KeyFile/read "test" file)))))
      (testing "what is no key"
        (let [other (slurp (str (.file (KeyFile/make (path folder "second") (Duration/ofDays 1)))))
              part  (fn [text n] (nth (re-seq #"(?s)-----BEGIN.*?-----END [A-Z ]+-----" text) n))]
          (doseq [[what text] {"nothing"             ""
                               "no private key"      (part text 1)
                               "no certificate"      (part text 0)
                               "that of another key" (str (part text 0) "\n" (part other 1))
                               "two keys"            (str text (part other 0))
                               "no Base64"           (str/replace text #"KEY-----\nM" "KEY-----\n=")
                               "a byte is missing"   (str (str/replace-first (part text 0) #"[A-Za-z0-9+/]\n" "\n") (part text 1))
                               "nonsense"            (apply str (repeat 100 "-----BEGIN PRIVATE KEY-----"))}]
            (is (= :rsm/bad-conf (:rsm/error (read-with text))) what))))
      (is (= :rsm/bad-conf (failure (KeyFile/read "test" (path folder "missing")))))
      (is (= :rsm/bad-conf (failure (KeyFile/read "test" (.toPath folder)))))
      (testing "its time"
        (KeyFile/make (path folder "short") (Duration/ofSeconds 1))
        (Thread/sleep 1100)
        (is (re-find #"expired" (:rsm/hint (error/catching (KeyFile/read "test" (path folder "short"))))))))))

;; -------------------------------------------------------------------- links

(def ^:private limit 3000)

(defmacro ^:private with-port
  "Runs the body with a socket that listens on this host."
  [[sym] & body]
  `(with-open [~(with-meta sym {:tag `ServerSocketChannel}) (.bind (ServerSocketChannel/open) (InetSocketAddress. "127.0.0.1" 0))]
     ~@body))

(defn- port-of [^ServerSocketChannel server]
  (.getPort ^InetSocketAddress (.getLocalAddress server)))

(defn- meeting
  "What becomes of a call from one to the other: {:caller :answerer}, each the other's node and version, or the data of an error.
  `caller` and `answerer` are functions of a port: who they are."
  [caller answerer]
  (with-port [server]
    (let [port (port-of server)
          tell (fn [f] (error/catching (with-open [^Link link (f)] [(.node (.peer link)) (.version link)])))
          answering (future (tell #(Link/answer (answerer port) (.accept server) limit)))
          called (tell #(Link/call (caller port) 2 limit))]
      {:caller called :answerer (deref answering 20000 :hangs)})))

(defn- identity-of [folder ^KeyFile own lines]
  (Link$Identity. own (NodesFile/read "test" (written folder (str (gensym "nodes-")) (str/join "\n" lines)))))

(defn- line [node port ^KeyFile key]
  (str "node " node " 127.0.0.1:" port " " (.fingerprint key)))

(defn- gist [{:keys [caller answerer]}]
  (mapv #(if (map? %) [(:rsm/error %) (:rsm/reason %)] %) [caller answerer]))

(deftest links-between-gateways
  (with-folder [folder]
    (let [made (fn ^KeyFile [name days] (KeyFile/make (path folder name) days))
          one (made "one" (Duration/ofDays 1))
          two (made "two" (Duration/ofDays 1))
          three (made "three" (Duration/ofDays 1))
          expiring (made "expiring" (Duration/ofSeconds 1))
          who (fn [own & lines] (fn [port] (identity-of folder own (map #(apply % [port]) lines))))
          is-one (fn [port] (line 1 1 one))
          is-two (fn [port] (line 2 port two))
          is-three (fn [port] (line 3 3 three))
          good-one (who one is-one is-two)
          good-two (who two is-one is-two)
          not-accepted "it does not accept this node's key, has not proved its own, or has ended"]
      (testing "who know each other"
        (is (= [[2 1] [1 1]] (gist (meeting good-one good-two)))))
      (testing "a caller that is not known"
        (is (= [[:rsm/remote-node-unreachable not-accepted] [:rsm/remote-node-unreachable "no node has this key"]]
               (gist (meeting (who three is-three is-two) good-two)))))
      (testing "one who answers with another key than the node's"
        (is (= [:rsm/remote-node-unreachable "no node has this key"]
               (first (gist (meeting good-one (who three is-one is-three)))))))
      (testing "one who is another node"
        (is (= [:rsm/remote-node-unreachable "it is the key of node 3"]
               (first (gist (meeting (who one is-one is-two is-three) (who three is-one is-three)))))))
      (testing "the two do not agree on who the caller is"
        (is (= [:rsm/remote-node-unreachable "the gateway says that it is node 1"]
               (second (gist (meeting good-one (who two (fn [_] (line 5 1 one)) is-two)))))))
      (testing "this node itself"
        (is (= [:rsm/remote-node-unreachable "it is the key of node 1"] (first (gist (meeting good-one good-one))))))
      (testing "a key that has expired"
        (Thread/sleep 1100)
        (let [is-expired (fn [port] (line 1 1 expiring))]
          (is (= [[:rsm/remote-node-unreachable not-accepted]
                  [:rsm/remote-node-unreachable "the key has expired: make another one"]]
                 (gist (meeting (who expiring is-expired is-two) (who two is-expired is-two)))))))
      (testing "nodes that the file does not have"
        (is (= [[:rsm/bad-conf nil] [:rsm/bad-conf nil]]
               (gist (meeting (who one is-two) (who two is-one)))))
        (is (= :rsm/bad-conf (failure (Link/call (identity-of folder one [(is-one 0)]) 2 limit)))))
      (testing "nobody there"
        (is (= :rsm/remote-node-unreachable
               (failure (Link/call (identity-of folder one [(is-one 0) (line 2 9 two)]) 2 limit))))
        (is (= :rsm/remote-node-unreachable
               (failure (Link/call (identity-of folder one [(is-one 0) (str "node 2 no-such-host.invalid " (.fingerprint ^KeyFile two))])
                                   2 limit))))))))

(defn- strange
  "What a gateway makes of a caller who does this with its socket. [error reason, seconds]"
  [identity millis f]
  (with-port [server]
    (let [began (System/nanoTime)
          answering (future (error/catching (Link/answer identity (.accept server) millis)))]
      (with-open [socket (Socket. "127.0.0.1" (int (port-of server)))]
        (let [doing (future (try (f socket) (catch java.io.IOException _ :closed)))
              result (deref answering 20000 :hangs)]
          (future-cancel doing)
          [(:rsm/error result) (:rsm/reason result) (quot (- (System/nanoTime) began) 1000000000)])))))

(deftest strangers-at-the-port
  (with-folder [folder]
    (let [one (KeyFile/make (path folder "one") (Duration/ofDays 1))
          two (KeyFile/make (path folder "two") (Duration/ofDays 1))
          identity (identity-of folder two [(line 1 1 one) (line 2 2 two)])
          send! (fn [^Socket s ^bytes bytes] (.write (.getOutputStream s) bytes) (.flush (.getOutputStream s)))
          random (java.util.Random. 5)]
      (testing "who says nothing, or a byte at a time, is cut off"
        (is (= [:rsm/remote-node-unreachable "no answer in time" 0] (strange identity 500 (fn [_] (Thread/sleep 10000)))))
        (is (= [:rsm/remote-node-unreachable "no answer in time" 0]
               (strange identity 500 (fn [s] (doseq [b (concat [22 3 1 2 0 1 0 1 0xfc 3 3] (repeat 500 7))]
                                               (send! s (byte-array [(unchecked-byte b)]))
                                               (Thread/sleep 20)))))))
      (testing "other protocols, and noise"
        (doseq [bytes (concat [(.getBytes "GET / HTTP/1.1\r\n\r\n") (byte-array 100000) (byte-array 0)]
                              (repeatedly 100 #(let [b (byte-array (inc (.nextInt random 300)))] (.nextBytes random b) b))
                              (repeatedly 100 #(let [b (byte-array (+ 6 (.nextInt random 300)))]
                                                 (.nextBytes random b)
                                                 (System/arraycopy (byte-array (map unchecked-byte [22 3 3 0 (- (alength b) 5)])) 0 b 0 5)
                                                 b)))]
          (let [[error reason] (strange identity limit (fn [^Socket s] (send! s bytes) (.shutdownOutput s)))]
            (is (= :rsm/remote-node-unreachable error))
            ;; some of it could be the beginning of TLS
            (is (re-find #"^it (?:does not speak TLS 1.3 as a gateway does|has ended the connection in the handshake)" reason))))))))
