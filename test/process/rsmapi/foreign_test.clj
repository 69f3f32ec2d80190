(ns rsmapi.foreign-test
  "Peers in other languages, which share no code with this library: test/peers. Those that
  keep to the protocol, in both directions, with memory and signals, and those that do not,
  each against a child JVM. Read-only importers under another user try what can be tried on a
  descriptor."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.peer :as peer :refer [ask end! id-of line obstacle pid tell! with-peer words]]
            [rsmapi.test.runner :as runner])
  (:import (java.nio ByteBuffer ByteOrder)
           (java.util Arrays HexFormat Random)
           (java.util.zip CRC32)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))

(defn- hex [^bytes bytes] (.formatHex (HexFormat/of) bytes))
(defn- zeros [n] (str/join (repeat n "00")))

(defn- crc [^bytes bytes]
  (format "%08x" (.getValue (doto (CRC32.) (.update bytes)))))

(defn- noise ^bytes [n]
  (let [bytes (byte-array n)]
    (.nextBytes (Random. 20240229) bytes)
    bytes))

;; ----------------------------------------------------- inside of the child

(defonce controller (delay (rsm/get-controller "loopback")))

;; The segment the child exports.
(defonce exported (atom nil))

(defn export!
  "Exports a segment filled with 0x5a, under an id if one is given. Returns its id."
  ([] (export! 0))
  ([id]
   ;; the peers know nothing of layouts, and go on all the same
   (reset! exported (rsm/export! @controller {:size size :segment-id id
                                              :layout [:struct [:first :u64] [:more [:array 16 :u64]]]}))
   (rsm/fill! @exported 0 size 0x5a)
   (rsm/segment-id @exported)))

(defn content
  "The crc of the exported segment's content."
  []
  (crc (rsm/get-bytes @exported 0 size)))

;; A connection that the child keeps.
(defonce imported (atom nil))

(defn import!
  "Connects the child and keeps the connection. Returns nil."
  [opts]
  (reset! imported (rsm/connect! @controller opts))
  nil)

(defn outcome
  "The code of the RSM error with which f fails when called, or 0."
  [f]
  (let [seen (error/catching (f) 0)]
    (if (map? seen) (:rsm/code seen) seen)))

;; What another thread of the child is doing.
(defonce busy (atom nil))

(defn start!
  "Calls f in another thread of the child. Returns nil."
  [f]
  (reset! busy (future (outcome f)))
  nil)

(defn polling?
  "Whether a thread of the child waits inside of poll(2)."
  []
  (boolean (some (fn [[^Thread thread stack]]
                   (and (str/starts-with? (.getName thread) "clojure-agent-send-off-pool")
                        (= "poll" (some-> ^StackTraceElement (first stack) .getMethodName))))
                 (Thread/getAllStackTraces))))

(defn ended
  "How what start! was given has ended, or :late after 10 s."
  []
  (deref @busy 10000 :late))

(defn connect
  "Connects and disconnects. Returns the code and :objection, if it fails; if not, the code
  0 and what can be read at the start."
  [opts]
  (let [im (error/catching (rsm/connect! @controller opts))]
    (if (map? im)
      {:code (:rsm/code im) :objection (:rsm/objection im)}
      (try
        (rsm/with-mapped-segment [m im {:perm :read}]
          {:code 0 :read (rsm/get-long m 0)})
        (finally (rsm/close! im))))))

;; ------------------------------------------------------------------- peers

(defn- ask-times
  "What a peer answers when it is told n times."
  [n peer & words]
  (vec (repeatedly n #(apply ask peer words))))

(defn- events
  "Takes the events that a segment has and returns how many they were."
  [segment]
  (count (take-while #(= 0 %)
                     (repeatedly #(outcome (fn [] (rsm/signal-wait! segment {:timeout-ms 0})))))))

(defn- wait-code
  "How a wait for an event ends: a code. Not before 30 s are over, if there is nothing."
  [segment]
  (outcome #(rsm/signal-wait! segment {:timeout-ms 30000})))

;; ------------------------------------------------------------ the one child

(defonce ^:private victim (atom nil))

(defn- in-child [form] (child/value @victim form))

(use-fixtures :once
  (fn [run]
    (peer/with-programs
      (fn []
        (child/with-child [c {:label "victim"}]
          (child/value c '(require 'rsmapi.foreign-test))
          (reset! victim c)
          (run))))))

(defn- in-each-language
  "Calls f with each language of a peer, if it can be had here."
  [test-name f]
  (doseq [language [:python :c]]
    (if-let [reason (obstacle language)]
      (runner/skip! (str test-name ", " (name language)) reason)
      (testing (name language)
        (f language)))))

;; ------------------------------------------------ those that keep to the protocol

(deftest foreign-importers
  (in-each-language
   "foreign importers"
   (fn [language]
     (let [segment (noise size)]
       (rsm/with-exported-segment [ex @controller {:size size :segment-id (fresh-id) :acl [{:node 0 :perm 0600}]}]
         (let [id   (id-of (rsm/segment-id ex))
               part (fn [from to] (hex (Arrays/copyOfRange segment (int from) (int to))))]
           (rsm/put-bytes! ex 0 segment)
           (with-peer [peer {:language language} "import" 0 id "0600"]
             (let [[connected announced generation granted order page-size exporter] (words (line peer))]
               (is (= ["connected" (str size) "0600" "1" (str page) (str (.pid (java.lang.ProcessHandle/current)))]
                      [connected announced granted order page-size exporter]))
               (is (eventually (= 1 (rsm/importers ex))))
               (is (= "ok" (ask peer "map" "0600" 0 size)))
               (is (= (crc segment) (ask peer "crc" 0 size)) "it sees all of the content")
               (is (= (part 100 116) (ask peer "read" 100 16)))
               (is (= "ok" (ask peer "write" (+ page 3) "0102fe")))
               (is (= [1 2 -2] (vec (rsm/get-bytes ex (+ page 3) 3))))
               (rsm/put-long! ex 8 0x1122334455667788 :little-endian)
               (is (= "8877665544332211" (ask peer "read" 8 8)))
               (is (= (str generation " 1") (ask peer "state")))
               (rsm/unpublish! ex)
               (is (= (zeros 16) (ask peer "read" 100 16)) "zeros before it has looked at any notice")
               (is (= "ok" (ask peer "write" 0 "ff")))
               (is (not= -1 (rsm/get-byte ex 0)))
               (is (= (str (inc (parse-long generation)) " 2") (ask peer "state")))
               (is (= (str "revoked 1 " (inc (parse-long generation))) (ask peer "wait" 30)))
               (is (= "ok" (ask peer "unmap")))
               (is (= "ok" (ask peer "disconnect")))))
           (with-peer [peer {:language language} "import" 0 id "0600"]
             (is (str/starts-with? (line peer) "error 7 ")))
           (rsm/publish! ex {:segment-id (Long/parseLong id 16)
                             :acl [{:node 0 :perm 0600}]})
           (testing "reading only, and the segment's end"
             (with-peer [peer {:language language} "import" 0 id "0400"]
               (let [[_ _ generation granted] (words (line peer))]
                 (is (= "0400" granted))
                 (is (= "ok" (ask peer "map" "0400" page page)))
                 (is (= (hex (rsm/get-bytes ex (+ page 100) 16)) (ask peer "read" (+ page 100) 16)))
                 (is (str/starts-with? (ask peer "write" page "00") "error 27 "))
                 (rsm/destroy! ex)
                 (is (= (str "revoked 2 " (inc (parse-long generation))) (ask peer "wait" 30))))))))))))

(deftest foreign-exporters
  (in-each-language
   "foreign exporters"
   (fn [language]
     (let [id    (fresh-id)
           first-seen (noise 16)]
       (with-peer [peer {:language language} "export" 0 (id-of id) size "0600"]
         (is (= "published" (line peer)))
         (is (= "ok" (ask peer "write" (+ page 5) (hex first-seen))))
         (is (= 24 (:rsm/code (error/catching (rsm/export! @controller {:size page :segment-id id}))))
             "the id is taken")
         (rsm/with-imported-segment [im @controller {:segment-id id}]
           (is (= size (rsm/size im)))
           (is (eventually (str/starts-with? (ask peer "importers") "1 ")))
           (rsm/with-mapped-segment [m im]
             (is (= (hex first-seen) (hex (rsm/get-bytes m (+ page 5) 16))))
             (rsm/put-bytes! m 0 (noise size))
             (doseq [at (range 0 size page)]
               (is (= (hex (rsm/get-bytes m at page)) (ask peer "read" at page))))
             (is (= "ok" (ask peer "unpublish")))
             (is (eventually (= {:rsm/code 40 :rsm/reason "unpublished"}
                                (let [seen (error/catching (rsm/get-long m 0))] ; 0 until the notice is here
                                  (when (map? seen)
                                    (select-keys seen [:rsm/code :rsm/reason]))))))))
         (is (= 7 (:rsm/code (error/catching (rsm/connect! @controller {:segment-id id})))))
         (is (= (hex (noise 16)) (ask peer "read" 0 16)) "the content is still there"))
       (testing "its death"
         (with-peer [peer {:language language} "export" 0 (id-of id) size "umask"]
           (is (= "published" (line peer)))
           (rsm/with-imported-segment [im @controller {:segment-id id}]
             (rsm/with-mapped-segment [m im]
               (is (= 0 (rsm/get-long m 0)))
               (end! peer)
               (is (eventually (= "exporter-gone" (:rsm/reason (error/catching (rsm/get-long m 0))))))))))
       (testing "its proper end"
         (with-peer [peer {:language language} "export" 0 (id-of id) size "umask"]
           (is (= "published" (line peer)))
           (rsm/with-imported-segment [im @controller {:segment-id id :perm :read}]
             (tell! peer "quit")
             (is (eventually (rsm/aborted? im)))
             (is (eventually (= "destroyed" (:rsm/reason (error/catching (rsm/map! im)))))))))))))

;; ----------------------------------------------------------------- signals

(defn- post-each
  "Posts once with each of these option maps."
  [segment & opts]
  (run! #(rsm/signal-post! segment %) opts))

(deftest signals-with-foreign-importers
  (in-each-language
   "signals with foreign importers"
   (fn [language]
     (doseq [perm ["0600" "0400" "0000"]]
       (testing perm
         (rsm/with-exported-segment [ex @controller {:size size :segment-id (fresh-id) :acl [{:node 0 :perm 0600}]}]
           (let [id (rsm/segment-id ex)]
             (with-peer [peer {:language language} "import" 0 (id-of id) perm]
               (let [[connected _ generation granted] (words (line peer))]
                 (is (= ["connected" perm] [connected granted]))
                 (testing "from the importer"
                   (is (= ["ok" "ok" "ok"] (ask-times 3 peer "post")))
                   (is (= 0 (wait-code ex)))
                   (is (= 2 (events ex)) "as many as were posted")
                   (is (= ["ok" "ok"] (ask-times 2 peer "post-no-accumulate")))
                   (is (= 1 (events ex)))
                   (is (= ["ok" "ok"] (ask-times 2 peer "post")))
                   (is (= "ok" (ask peer "post-no-accumulate")))
                   (is (= 2 (events ex)) "events that are there do not become one"))
                 (testing "to the importer"
                   (is (= "timeout" (ask peer "poll" 0)))
                   (post-each ex nil nil nil nil)
                   (is (= "event" (ask peer "poll" 30) (ask peer "epoll" 30) (ask peer "poll" 0) (ask peer "epoll" 0)))
                   (is (= "timeout" (ask peer "poll" 0) (ask peer "epoll" 0)) "as many as were posted")
                   (tell! peer "poll" 30)
                   (post-each ex nil)
                   (is (= "event" (line peer)))
                   (tell! peer "epoll" 30)
                   (post-each ex {:no-accumulate true})
                   (is (= "event" (line peer)))
                   (post-each ex {:no-accumulate true} {:no-accumulate true})
                   (is (= "1" (ask peer "drain")))
                   (post-each ex nil nil {:no-accumulate true})
                   (is (= "2" (ask peer "drain"))))
                 (testing "the end of the publication"
                   (is (= "ok" (ask peer "post")))
                   (post-each ex nil nil)
                   (rsm/unpublish! ex)
                   (post-each ex nil)
                   (is (= 1 (events ex)) "what was posted before stays")
                   (is (= ["event" "event"] [(ask peer "poll" 30) (ask peer "epoll" 30)]) "and comes first")
                   (is (= "ok" (ask peer "post")))
                   (is (= 0 (events ex)) "the importer that there was posts to nobody")
                   (rsm/publish! ex {:segment-id id :acl [{:node 0 :perm 0600}]})
                   (with-peer [other {:language language} "import" 0 (id-of id) perm]
                     (is (str/starts-with? (line other) "connected "))
                     (is (= ["ok" "ok" "ok"] (ask-times 3 peer "post")))
                     (is (= "ok" (ask other "post")))
                     (is (= 1 (events ex)) "nor to the next publication")
                     (post-each ex nil)
                     (is (= "event" (ask other "poll" 30)))
                     (is (= "0" (ask peer "drain")) "and nothing is posted to it"))
                   (is (= (str "revoked 1 " (inc (parse-long generation))) (ask peer "epoll" 30)))
                   (is (= "ok" (ask peer "disconnect")))))))))))))

(deftest signals-with-foreign-exporters
  (in-each-language
   "signals with foreign exporters"
   (fn [language]
     (let [id (fresh-id)]
       (with-peer [peer {:language language} "export" 0 (id-of id) size "0600"]
         (is (= "published" (line peer)))
         (rsm/with-imported-segment [im @controller {:segment-id id}]
           (testing "to the exporter"
             (is (= "timeout" (ask peer "poll" 0) (ask peer "epoll" 0)))
             (post-each im nil nil nil)
             (is (= "event" (ask peer "poll" 30) (ask peer "epoll" 30) (ask peer "poll" 0)))
             (is (= "timeout" (ask peer "epoll" 0)))
             (tell! peer "epoll" 30)
             (post-each im {:no-accumulate true})
             (is (= "event" (line peer)))
             (tell! peer "poll" 30)
             (post-each im nil)
             (is (= "event" (line peer)))
             (post-each im {:no-accumulate true} {:no-accumulate true})
             (is (= "1" (ask peer "drain")))
             (rsm/put-signal! im 8 (byte-array [1 2 3]))
             (is (= ["event" "010203"] [(ask peer "poll" 30) (ask peer "read" 8 3)])))
           (testing "from the exporter, to each importer"
             (doseq [perm [:read :none]]
               (rsm/with-imported-segment [other @controller {:segment-id id :perm perm}]
                 (is (= ["ok" "ok" "ok"] (ask-times 3 peer "post")))
                 (is (= [0 0] [(wait-code im) (wait-code other)]))
                 (is (= [2 2] [(events im) (events other)]))
                 (is (= "ok" (ask peer "post")))
                 (is (= 1 (events other)))
                 (is (= "ok" (ask peer "post-no-accumulate")))
                 (is (= [1 1] [(events im) (events other)]))
                 (post-each other nil)
                 (is (= "event" (ask peer "poll" 30)) "whatever the permission"))))
           (testing "the end of the publication"
             (is (= ["ok" "ok"] (ask-times 2 peer "post")))
             (post-each im nil)
             (let [waits (future [(wait-code im) (wait-code im) (wait-code im)])]
               (is (= "ok" (ask peer "unpublish")))
               (is (= [0 0 40] (deref waits 60000 :late)) "the events come first"))
             (is (= 40 (outcome #(rsm/signal-post! im))))
             (is (= "1" (ask peer "drain")) "and stay on the other side"))))
       (testing "the exporter's death wakes those who wait"
         (with-peer [peer {:language language} "export" 0 (id-of id) size "umask"]
           (is (= "published" (line peer)))
           (rsm/with-imported-segment [im @controller {:segment-id id}]
             (let [waits (future (wait-code im))]
               (end! peer)
               (is (= 40 (deref waits 60000 :late)))
               (is (eventually (= 40 (outcome #(rsm/signal-post! im)))))))))))))

(deftest poll-descriptors-and-foreign-peers
  (in-each-language
   "poll descriptors and foreign peers"
   (fn [language]
     (rsm/with-exported-segment [ex @controller {:size size :segment-id (fresh-id)}]
       (let [id    (fresh-id)
             ready (fn [fds] (future (mapv (juxt :segment :revents) (rsm/signal-wait-pollfd! fds {:timeout-ms 30000}))))]
         (with-peer [importer {:language language} "import" 0 (id-of (rsm/segment-id ex)) "0400"]
           (is (str/starts-with? (line importer) "connected "))
           (with-peer [exporter {:language language} "export" 0 (id-of id) size "0600"]
             (is (= "published" (line exporter)))
             (rsm/with-imported-segment [im @controller {:segment-id id}]
               (let [fds [(rsm/get-pollfd! ex) (rsm/get-pollfd! im)]]
                 (dotimes [_ 10]
                   (doseq [[peer segment] [[importer ex] [exporter im]]]
                     (let [found (ready fds)]
                       (is (= "ok" (ask peer "post")))
                       (is (= [[segment #{:rdnorm}]] (deref found 60000 :late))))))
                 (is (= 42 (outcome #(rsm/signal-wait-pollfd! fds {:timeout-ms 0}))))
                 (is (= ["ok" "ok"] [(ask importer "post") (ask exporter "post")]))
                 (is (= [[ex #{:rdnorm}] [im #{:rdnorm}]] @(ready fds)))
                 (testing "after a publication's end"
                   (let [segment-id (rsm/segment-id ex)]
                     (rsm/unpublish! ex)
                     (rsm/publish! ex {:segment-id segment-id}))
                   (with-peer [next-importer {:language language} "import" 0 (id-of (rsm/segment-id ex)) "0400"]
                     (is (str/starts-with? (line next-importer) "connected "))
                     (let [found (ready fds)]
                       (is (= ["ok" "ok"] [(ask importer "post") (ask next-importer "post")]))
                       (is (= [[ex #{:rdnorm}]] (deref found 60000 :late)) "the descriptor stays"))
                     (is (= 42 (outcome #(rsm/signal-wait-pollfd! fds {:timeout-ms 0}))))))
                 (testing "the exporter's death"
                   (let [found (ready fds)]
                     (end! exporter)
                     (is (= [[im #{:hup}]] (deref found 60000 :late)))))
                 (run! rsm/release-pollfd! [ex im]))))))))))

;; ----------------------------------------------- byte order, and other memory

(deftest an-exporter-of-the-other-byte-order
  (if-let [reason (obstacle :python)]
    (runner/skip! "an exporter of the other byte order" reason)
    (let [id    (fresh-id)
          other (if (= ByteOrder/LITTLE_ENDIAN (ByteOrder/nativeOrder)) "big" "little")]
      (with-peer [peer {} "export" 0 (id-of id) size "0600" "--order" other]
        (is (= "published" (line peer)))
        (rsm/with-imported-segment [im @controller {:segment-id id}]
          (is (= (keyword (str other "-endian")) (rsm/byte-order im)))
          (let [raw   (noise 64)
                ours  (fn [put-elements array n]
                        ;; how our bytes would lie there if nothing were swapped
                        (let [b (.order (ByteBuffer/allocate 64) (ByteOrder/nativeOrder))]
                          (put-elements b array)
                          (vec (map vec (partition n (.array b))))))
                cases [[16 (short-array (map unchecked-short (repeatedly 32 #(rand-int 65536))))
                        (fn [^ByteBuffer b ^shorts a] (.put (.asShortBuffer b) a))
                        rsm/put16! rsm/get16 rsm/get16! #(short-array 32)]
                       [32 (int-array (map unchecked-int (repeatedly 16 #(- (long (rand 4294967296)) 2147483648))))
                        (fn [^ByteBuffer b ^ints a] (.put (.asIntBuffer b) a))
                        rsm/put32! rsm/get32 rsm/get32! #(int-array 16)]
                       [64 (long-array (repeatedly 8 #(.nextLong (java.util.concurrent.ThreadLocalRandom/current))))
                        (fn [^ByteBuffer b ^longs a] (.put (.asLongBuffer b) a))
                        rsm/put64! rsm/get64 rsm/get64! #(long-array 8)]]]
            (doseq [[width array put-elements put-n! get-n get-n! new-array] cases
                    :let [bytes-each (quot (long width) 8)
                          unswapped  (ours put-elements array bytes-each)
                          swapped    (hex (byte-array (mapcat reverse unswapped)))
                          count-of   (count (seq array))]]
              (testing (str width " bits")
                (testing "from and to arrays"
                  (put-n! im 128 array)
                  (is (= swapped (ask peer "read" 128 64)))
                  (is (= (seq array) (seq (get-n! im 128 (new-array)))))
                  (is (= (seq array) (seq (get-n im 128 count-of))))
                  (put-n! im 256 array 1 (dec count-of))
                  (is (= (subs swapped (* 2 bytes-each)) (ask peer "read" 256 (- 64 bytes-each))) "a part of it")
                  (let [target (new-array)]
                    (get-n! im 256 target 1 (dec count-of))
                    (is (= (cons 0 (rest (seq array))) (seq target)))))
                (testing "a single element"
                  (put-n! im 320 (first array))
                  (is (= (subs swapped 0 (* 2 bytes-each)) (ask peer "read" 320 bytes-each)))
                  (is (= [(first array)] (seq (get-n im 320 1)))))
                (testing "from and to memory"
                  (rsm/with-local-memory [memory 4096]
                    (rsm/put-bytes! memory 64 (byte-array (apply concat unswapped)))
                    (put-n! im 384 memory 64 count-of)
                    (is (= swapped (ask peer "read" 384 64)))
                    (get-n! im 384 memory 512 count-of)
                    (is (= (hex (rsm/get-bytes memory 64 64)) (hex (rsm/get-bytes memory 512 64))))))
                (testing "what the exporter has put there"
                  (is (= "ok" (ask peer "write" 448 (hex (byte-array (range bytes-each))))))
                  (is (= (if (= "big" other) (reduce #(+ (* 256 %1) %2) 0 (range bytes-each))
                             (reduce #(+ (* 256 %1) %2) 0 (reverse (range bytes-each))))
                         (first (get-n im 448 1)))))))
            (testing "more than fits into one piece of the work"
              (let [many    (short-array (map unchecked-short (range (quot size 2))))
                    swapped (.order (ByteBuffer/allocate size) (if (= "big" other) ByteOrder/BIG_ENDIAN ByteOrder/LITTLE_ENDIAN))]
                (.put (.asShortBuffer swapped) many)
                (rsm/put16! im 0 many)
                (is (= (hex (.array swapped)) (ask peer "read" 0 size)))
                (is (= (seq many) (seq (rsm/get16 im 0 (count many)))))))
            (testing "bytes are never swapped"
              (rsm/put8! im 0 raw)
              (is (= (hex raw) (ask peer "read" 0 64)))
              (is (= (seq raw) (seq (rsm/get8 im 0 64))))
              (rsm/put! im 64 raw)
              (is (= (hex raw) (ask peer "read" 64 64)))
              (is (= (seq raw) (seq (rsm/get! im 64 (byte-array 64)))))
              (rsm/with-local-memory [memory 4096]
                (rsm/put-bytes! memory 0 raw)
                (rsm/put8! im 128 memory 0 64)
                (rsm/put! im 192 memory 0 64)
                (rsm/putv! {:segment im :iovec [{:local memory :remote-offset 256 :length 64}]})
                (is (= (str/join (repeat 3 (hex raw))) (ask peer "read" 128 192)))))))))))

(deftest a-foreign-importer-and-a-rebind
  (in-each-language
   "rebind"
   (fn [language]
     (rsm/with-local-memory [memory size]
       (rsm/with-exported-segment [ex @controller {:size size :allow-rebind true}]
         (rsm/fill! ex 0 size 0x11)
         (with-peer [peer {:language language} "import" 0 (id-of (rsm/segment-id ex)) "0600"]
           (let [[_ _ generation] (words (line peer))]
             (is (= "ok" (ask peer "map" "0600" 0 size)))
             (is (= "1111" (ask peer "read" page 2)))
             (rsm/put-bytes! memory 0 (noise size))
             (rsm/rebind! ex {:memory memory})
             (is (= (crc (noise size)) (ask peer "crc" 0 size)) "the same mapping shows the other memory")
             (is (= "timeout" (ask peer "wait" 0)) "nobody has told it anything")
             (is (= (str generation " 1") (ask peer "state")))
             (is (= "ok" (ask peer "write" 8 "0a0b")))
             (is (= [[10 11] [10 11]] (mapv #(vec (rsm/get-bytes % 8 2)) [ex memory])))
             (rsm/put-bytes! ex page (byte-array [1 2 3]))
             (is (= "010203" (ask peer "read" page 3)))
             (is (= "ok" (ask peer "post")))
             (is (= 1 (events ex)) "signals go on")
             (rsm/unpublish! ex)
             (is (= (str "revoked 1 " (inc (parse-long generation))) (ask peer "wait" 30)))
             (is (= "ok" (ask peer "write" 8 "7777")))
             (is (= [10 11] (vec (rsm/get-bytes memory 8 2)))))))))))

(deftest foreign-controllers-in-the-topology
  (if-let [reason (obstacle :python)]
    (runner/skip! "foreign controllers" reason)
    (let [peers (fn [] (some #(when (= "shm29" (:name %)) (:peers %)) (:controllers (rsm/topology))))]
      (rsm/with-controller [_ "shm29" {:node 1}]
        (is (= [] (peers)))
        (with-peer [peer {} "present" "shm29/5/0123456789abcdef" "shm29/5/00000000000000ff" "shm29/63/0123456789abcdef"
                    ;; those are not names of the protocol
                    "shm29/64/0123456789abcdef" "shm29/6/0123" "shm29/7" "shm29/x/0123456789abcdef" "shm29/8/0123456789ABCDEF"]
          (is (= "present" (line peer)))
          (is (= [[5 "shm29" :active] [63 "shm29" :active]] (map (juxt :node :controller :state) (peers)))))
        (is (eventually (= [] (peers))))))))

(deftest access-lists-of-a-foreign-exporter
  (if-let [reason (obstacle :python)]
    (runner/skip! "access lists" reason)
    (let [id (fresh-id)
          from-node (fn [node]
                      (rsm/with-controller [c "shm3" {:node node}]
                        (let [im (error/catching (rsm/connect! c {:node 5 :segment-id id :perm :read}))]
                          (if (map? im) (:rsm/code im) (do (rsm/close! im) 0)))))]
      (with-peer [peer {} "export" 5 (id-of id) size "5:0600,7:0644" "shm3"]
        (is (= "published" (line peer)))
        (is (= [0 0 8] (mapv from-node [5 7 9])))))))

;; -------------------------------------------- exporters that do not keep to it

(def ^:private evils
  "What the importer says to each kind of exporter: the code, and what is objected to."
  [["version"        101 nil]
   ["short"          40 #"wrong length"]
   ["oversized"      40 #"wrong length"]
   ["no-fds"         40 #"descriptors are missing"]
   ["many-fds"       40 #"lost a part"]
   ["pipe"           40 #"not a memory file"]
   ["dir"            40 #"not a memory file"]
   ["hugetlb"        40 #"not made of ordinary pages"]
   ["unsealed"       40 #"not sealed against shrinking"]
   ["state-unsealed" 40 #"not sealed against shrinking"]
   ["small"          40 #"shorter than announced"]
   ["huge"           40 #"impossible size|shorter than announced"]
   ["zero-size"      40 #"impossible size"]
   ["rdonly"         40 #"not open for writing"]
   ["wrong-magic"    40 #"not one of this protocol"]
   ["state-magic"    40 #"state page"]
   ["counter-pipe"   40 #"a descriptor is not an eventfd"]
   ["counter-memfd"  40 #"a descriptor is not an eventfd"]
   ["counter-epoll"  40 #"a descriptor is not an eventfd"]
   ["own-pipe"       40 #"a descriptor is not an eventfd"]
   ["own-memfd"      40 #"a descriptor is not an eventfd"]
   ["own-epoll"      40 #"a descriptor is not an eventfd"]
   ["one-too-few"    40 #"descriptors are missing"]
   ["one-lost"       40 #"descriptors are missing"]
   ["silent"         42 nil]
   ["close"          40 nil]])

(defn- belongings-of-child [] (child/belongings (child/pid @victim)))

(defn- settled
  "What the child holds when it is only a controller that has been used, also to wait: the
  library keeps a descriptor to end a wait with for the next one."
  []
  (in-child `(with-open [ex# (rsm/export! @controller {:size ~page})]
               (outcome #(rsm/signal-wait! ex# {:timeout-ms 1}))))
  (belongings-of-child))

(deftest exporters-that-break-the-protocol
  (if-let [reason (obstacle :python)]
    (runner/skip! "exporters that break the protocol" reason)
    (let [before (settled)
          id     (fresh-id)]
      (doseq [[kind code objection] evils]
        (testing kind
          (with-peer [peer {} "export" 0 (id-of id) size "0600" "--evil" kind]
            (let [published (line peer)]
              (if (str/starts-with? published "unsupported")
                (runner/skip! (str "exporter with " kind) published)
                (let [outcome (in-child `(connect {:segment-id ~id :timeout-ms ~(if (= code 42) 300 30000)}))]
                  (is (= "published" published))
                  (is (= code (:code outcome)))
                  (if objection
                    (is (re-find objection (str (:objection outcome))))
                    (is (nil? (:objection outcome))))
                  (is (eventually (= before (belongings-of-child)))
                      "what came with the answer is closed")))))))
      (testing "garbage"
        (with-peer [peer {} "export" 0 (id-of id) size "0600" "--evil" "garbage" "--seed" 7]
          (is (= "published" (line peer)))
          (let [codes (in-child `(vec (repeatedly 200 #(:code (connect {:segment-id ~id})))))]
            (is (= #{} (disj (set codes) 40 101)) "seed 7"))
          (is (eventually (= before (belongings-of-child))))))
      (testing "an answer that takes its time is a good one"
        (with-peer [peer {} "export" 0 (id-of id) size "0600" "--evil" "drip" "--seconds" 0.3]
          (is (= "published" (line peer)))
          (is (= {:code 0 :read 0} (in-child `(connect {:segment-id ~id :timeout-ms 30000}))))))
      (testing "read-only memory is enough to read"
        (with-peer [peer {} "export" 0 (id-of id) size "0600" "--evil" "rdonly"]
          (is (= "published" (line peer)))
          (is (= {:code 0 :read 0} (in-child `(connect {:segment-id ~id :perm :read}))))))
      (testing "a notice of a later version is ignored"
        (with-peer [peer {} "export" 0 (id-of id) size "0600" "--evil" "notice"]
          (is (= "published" (line peer)))
          (is (= 0 (:code (in-child `(connect {:segment-id ~id})))))
          (is (= "ok" (ask peer "write" 0 "07")))
          (is (= 7 (:read (in-child `(connect {:segment-id ~id})))))))
      (testing "one with descriptors ends the connection"
        (with-peer [peer {} "export" 0 (id-of id) size "0600" "--evil" "notice-fds"]
          (is (= "published" (line peer)))
          (in-child `(import! {:segment-id ~id}))
          ;; the exporter's attempt fails, and it gives up; or, if it came in time or the kernel is an older one, the importer does
          (is (eventually (contains? (cond-> #{"protocol-error"} (peer/refused-descriptors?) (conj "exporter-gone"))
                             (in-child `(:rsm/reason (error/catching (rsm/map! @imported) (rsm/unmap! @imported) nil))))))
          (in-child `(rsm/close! @imported))))
      (is (eventually (= before (belongings-of-child)))))))

;; -------------------------------------------- importers that do not keep to it

(def ^:private attacks
  "What an exporter answers to each kind of importer, connection by connection."
  [["short"         ["closed" "answer 117 1" "answer 117 1"]]
   ["oversized"     ["answer 117 1" "answer 117 1" "answer 117 1"]]
   ["with-fds"      (if (peer/refused-descriptors?) ["refused EPERM"] ["answer 117 1"])]
   ["zero-length"   ["closed"]]
   ["wrong-version" ["answer 101 1" "answer 101 1" "answer 101 1"]]
   ["wrong-id"      ["answer 7 1"]]
   ["wrong-magic"   ["closed"]]
   ["bad-perm"      ["answer 0 1" "answer 27 1" "answer 27 1" "answer 27 1" "answer 27 1"]] ; no permission is one
   ["talk-after"    ["answer 0 1" "closed"]]])

(defn- outcomes
  "What an attacker says of its connections."
  [peer]
  (vec (take-while #(not (#{"done" :end} %)) (repeatedly #(line peer)))))

(deftest importers-that-break-the-protocol
  (if-let [reason (obstacle :python)]
    (runner/skip! "importers that break the protocol" reason)
    (let [id      (in-child `(export!))
          content (in-child `(content))
          ;; the descriptor for those who only read comes with the first of them, and stays
          _       (connect {:segment-id id :perm :read})
          before  (eventually (let [held (belongings-of-child)]
                                (Thread/sleep 500) ; what an earlier connection had is closed one after the other
                                (when (and (= 1 (held "socket")) (= held (belongings-of-child))) held)))
          unhurt? (fn []
                    (is (= 0 (:code (connect {:segment-id id}))) "a good importer gets in")
                    (is (eventually (= 0 (in-child `(rsm/importers @exported)))))
                    (is (eventually (= before (belongings-of-child))) (pr-str before (belongings-of-child)))
                    (is (= content (in-child `(content)))))]
      (unhurt?)
      (doseq [[kind answers] attacks]
        (testing kind
          (with-peer [peer {} "attack" 0 (id-of id) kind]
            (is (str/starts-with? (line peer) "connected "))
            (is (= answers (outcomes peer))))
          (unhurt?)))
      (testing "garbage"
        (with-peer [peer {} "attack" 0 (id-of id) "garbage" 200 "--seed" 7]
          (is (= "connected 200" (line peer)))
          (is (= {"closed" 200} (frequencies (outcomes peer)))))
        (unhurt?))
      (testing "many who say nothing keep nobody out, and do not stay"
        (with-peer [peer {} "attack" 0 (id-of id) "flood" 300 "--seconds" 60]
          (is (= "connected 300" (line peer)))
          (is (= 0 (:code (connect {:segment-id id}))) "with all of them there")
          ;; the name, 64 silent ones, and the good importer's end that may still be open
          (is (<= ((belongings-of-child) "socket") 66) "they do not use up the descriptors")
          (is (= {"closed" 300} (frequencies (outcomes peer)))))
        (unhurt?))
      (in-child `(rsm/close! @exported)))))

;; ------------------------------------------------------------ misused counters

(deftest an-importer-that-misuses-the-counters
  (if-let [reason (obstacle :python)]
    (runner/skip! "an importer that misuses the counters" reason)
    (let [id     (in-child `(export! ~(fresh-id)))
          post   `(outcome #(rsm/signal-post! @exported))
          look   `(outcome #(rsm/signal-wait! @exported {:timeout-ms 0}))]
      (with-peer [peer {} "import" 0 (id-of id) "0400"]
        (is (str/starts-with? (line peer) "connected "))
        (with-peer [honest {} "import" 0 (id-of id) "0400"]
          (is (str/starts-with? (line honest) "connected "))
          (testing "its own: full, and blocking for whoever writes"
            (is (= "ok" (ask peer "fill" "own")))
            (is (= [0 0] [(in-child post) (in-child post)]))
            (is (= "2" (ask honest "drain")) "the others get theirs")
            (is (= 0 (in-child `(outcome #(rsm/signal-post! @exported {:no-accumulate true})))))
            (is (= "1" (ask honest "drain")))
            (is (= "event" (ask peer "poll" 0)) "when there is room again")
            (is (= 0 (in-child post)))
            (is (= "1" (ask honest "drain"))))
          (testing "the exporter's: full, and blocking for everybody"
            (is (= "ok" (ask peer "fill" "theirs")))
            (rsm/with-imported-segment [im @controller {:segment-id id}]
              (is (= 31 (outcome #(rsm/signal-post! im))))
              (is (str/starts-with? (ask honest "post") "error 31 "))
              (is (= 0 (in-child look)) "an event is one, whoever posted it")
              (is (= 0 (outcome #(rsm/signal-post! im))) "and makes room")
              (is (= 31 (outcome #(rsm/signal-post! im))))))
          (testing "a counter that blocks and has nothing"
            (is (= "stealing" (ask peer "steal" "own" 0)))
            (is (str/starts-with? (line peer) "stolen "))
            (in-child `(do (rsm/unpublish! @exported) (rsm/publish! @exported {:segment-id ~id}) nil))
            (is (= 0 (in-child look)) "the events of before are still there"))))
      (in-child `(rsm/close! @exported))
      (testing "and is connected while the segment ends"
        (doseq [ending [`(rsm/unpublish! @exported) `(rsm/destroy! @exported) `(rsm/close! @exported)]
                :let   [id (in-child `(export!))]]
          (with-peer [peer {} "import" 0 (id-of id) "0600"]
            (is (str/starts-with? (line peer) "connected "))
            (is (= "ok" (ask peer "fill" "own") (ask peer "fill" "theirs")))
            (is (= 0 (in-child `(outcome #(~@ending)))))
            (is (= 0 (in-child `(outcome #(rsm/close! @exported)))))
            ;; of its own counter it can take what it put there itself
            (is (= "event" (ask peer "poll" 30)))))))))

(deftest an-exporter-that-misuses-the-counters
  (if-let [reason (obstacle :python)]
    (runner/skip! "an exporter that misuses the counters" reason)
    (let [id     (fresh-id)
          before (settled)]
      (with-peer [peer {} "export" 0 (id-of id) size "0600"]
        (is (= "published" (line peer)))
        (in-child `(import! {:segment-id ~id}))
        (is (= "ok" (ask peer "fill" "own") (ask peer "fill" "theirs")))
        (is (= 31 (in-child `(outcome #(rsm/signal-post! @imported)))))
        (is (= 0 (in-child `(outcome #(rsm/signal-wait! @imported {:timeout-ms 0})))))
        (is (= 0 (in-child `(outcome #(rsm/put! @imported 0 (byte-array 8))))) "all else works")
        (is (= "ok" (ask peer "unpublish")))
        (is (eventually (= 40 (in-child `(outcome #(rsm/signal-post! @imported))))))
        (is (#{0 40} (in-child `(outcome #(rsm/signal-wait! @imported)))) "there is no end of events; no wait lasts")
        (is (= 0 (in-child `(outcome #(rsm/close! @imported)))))
        (is (eventually (= before (belongings-of-child))))))))

(deftest waits-end-though-a-peer-steals-events
  ;; Whoever steals is faster than a thread that has to be woken, in one round out of three: enough rounds are done.
  (if-let [reason (obstacle :python)]
    (runner/skip! "stolen events" reason)
    (child/with-child [c {:label "waiting"}]
      (child/value c '(require 'rsmapi.foreign-test))
      (testing "an importer, at the end of the exporter's segment"
        (dotimes [round 10]
          (let [id (child/value c `(export!))]
            (with-peer [peer {} "import" 0 (id-of id) "0000"]
              (is (str/starts-with? (line peer) "connected "))
              (child/value c `(start! #(rsm/signal-wait! @exported)))
              (is (child/value c `(eventually (polling?))))
              (is (= "stealing" (ask peer "steal" "theirs" 20)))
              (child/value c `(rsm/close! @exported))
              (is (= 5 (child/value c `(ended))) (str "round " round))))))
      (testing "an exporter, at the end of the publication"
        (dotimes [round 10]
          (let [id (fresh-id)]
            (with-peer [peer {} "export" 0 (id-of id) size "0600"]
              (is (= "published" (line peer)))
              (child/value c `(import! {:segment-id ~id}))
              (child/value c `(start! #(rsm/signal-wait! @imported)))
              (is (child/value c `(eventually (polling?))))
              (is (= "stealing" (ask peer "unpublish-and-steal" 20)))
              (is (= 40 (child/value c `(ended))) (str "round " round))
              (child/value c `(rsm/close! @imported)))))))))

(deftest posts-and-ends-though-an-importer-jams-its-counter
  (if-let [reason (obstacle :c)]
    (runner/skip! "a jammed counter" reason)
    (child/with-child [c {:label "jammed"}]
      (child/value c '(require 'rsmapi.foreign-test))
      (let [id (child/value c `(export!))]
        (with-peer [peer {:language :c} "import" 0 (id-of id) "0000"]
          (is (str/starts-with? (line peer) "connected "))
          (is (= "jamming" (ask peer "jam")))
          (child/value c `(start! #(let [end# (+ (System/nanoTime) 7000000000)]
                                     (while (neg? (- (System/nanoTime) end#))
                                       (rsm/signal-post! @exported)))))
          (is (= 0 (child/value c `(ended))) "posts return")
          (is (nil? (child/value c `(rsm/close! @exported)))))))))

;; --------------------------------------------------- revocation that is ignored

(defn- processor-time
  "How long a process has run, in the kernel's ticks."
  [pid]
  (let [[_ fields] (re-find #"\) (.*)" (child/proc pid "stat"))]
    (parse-long (nth (words fields) 11))))

(deftest a-writer-that-ignores-a-revocation
  (if-let [reason (obstacle :python)]
    (runner/skip! "a writer that ignores a revocation" reason)
    (rsm/with-exported-segment [ex @controller {:size size}]
      (rsm/fill! ex 0 size 0x5a)
      (with-peer [peer {} "import" 0 (id-of (rsm/segment-id ex)) "0600"]
        (is (str/starts-with? (line peer) "connected "))
        (is (= "ok" (ask peer "map" "0600" 0 size)))
        (let [old (rsm/get-long ex 0)]
          (tell! peer "spin-write" 0 120)
          (is (eventually (not= old (rsm/get-long-volatile ex 0))) "it is writing"))
        (rsm/unpublish! ex)
        (let [content (rsm/get-bytes ex 0 size)
              same?   #(Arrays/equals ^bytes content ^bytes (rsm/get-bytes ex 0 size))
              ticks   (processor-time (pid peer))]
          (is (every? #(= 0x5a %) (drop 8 content)) "nothing else has changed")
          (is (eventually (or (not (same?))
                              (< (+ ticks 20) (processor-time (pid peer)))))
              "it goes on writing")
          (is (same?) "nothing of it arrives"))))))

(deftest a-reader-that-ignores-a-revocation
  (if-let [reason (obstacle :python)]
    (runner/skip! "a reader that ignores a revocation" reason)
    (rsm/with-exported-segment [ex @controller {:size size}]
      (rsm/fill! ex 0 size 0x5a)
      (with-peer [peer {} "import" 0 (id-of (rsm/segment-id ex)) "0400"]
        (is (str/starts-with? (line peer) "connected "))
        (is (= "ok" (ask peer "map" "0400" 0 size)))
        (is (= "5a5a" (ask peer "checked-read" page 2)))
        (rsm/unpublish! ex)
        (rsm/fill! ex 0 size 0x77)
        (is (= (crc (byte-array size)) (ask peer "crc" 0 size)) "all zeros")
        (is (str/starts-with? (ask peer "checked-read" page 2) "error 40 "))))))

;; --------------------------------------------------------------- other users

(def ^:private stranger {:uid 2004 :gid 3004})

(defn- as-stranger []
  {:prefix ["setpriv" "--reuid=2004" "--regid=3004" "--clear-groups"]})

(deftest what-a-stranger-can-do-with-the-descriptors
  (if-let [reason (or (obstacle :python)
                      (child/obstacle stranger)
                      (peer/obstacle-to-others))]
    (runner/skip! "descriptors in the hands of another user" reason)
    (rsm/with-exported-segment [ex @controller {:size size :acl [{:node 0 :perm 0644}]}]
      (rsm/put-bytes! ex 0 (noise size))
      (let [id      (id-of (rsm/segment-id ex))
            unhurt? #(is (= (crc (noise size)) (crc (rsm/get-bytes ex 0 size))))]
        (testing "not granted"
          (with-peer [peer (as-stranger) "import" 0 id "0600"]
            (is (str/starts-with? (line peer) "error 27 "))))
        (testing "granted for reading"
          (with-peer [peer (as-stranger) "import" 0 id "0400"]
            (is (re-find #"^connected \d+ \d+ 0400 " (line peer)))
            (is (= "ok" (ask peer "map" "0400" 0 size)))
            (is (= (crc (noise size)) (ask peer "crc" 0 size)))
            (doseq [[attack refusal] [["mmap-rw" "refused EACCES"]
                                      ["mprotect-rw" "refused EACCES"]
                                      ["reopen-rw" "refused EACCES"]
                                      ["truncate" "smaller refused EINVAL larger refused EINVAL"]
                                      ["chmod" "refused EPERM"]
                                      ["punch" "refused EBADF"]]]
              (is (= refusal (ask peer attack)) attack)
              (unhurt?))
            (is (= "ok" (ask peer "unmap")) "it is still alive")))
        (testing "granted for reading and writing"
          (rsm/republish! ex {:acl [{:node 0 :perm 0646}]})
          (with-peer [peer (as-stranger) "import" 0 id "0600"]
            (is (re-find #"^connected \d+ \d+ 0600 " (line peer)))
            (doseq [[attack refusal] [["reopen-rw" "refused EACCES"]
                                      ["truncate" "smaller refused EPERM larger refused EPERM"]
                                      ["chmod" "refused EPERM"]]]
              (is (= refusal (ask peer attack)) attack)
              (unhurt?))))))))
