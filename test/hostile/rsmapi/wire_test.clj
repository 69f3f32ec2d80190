(ns rsmapi.wire-test
  "Random and hostile bytes and descriptors at both ends of the protocol of doc/protocol.md.
  Nobody is let in who has not asked properly, nobody believes an exporter who does not keep to
  it, nothing crashes or hangs, and nothing is left behind.

  What is right is decided here by the document, not by the library. The side that is tested is
  in a child, whose death would fail the test."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.runner :as runner])
  (:import (com.sun.jna Function)
           (java.nio ByteBuffer ByteOrder)
           (java.util SplittableRandom)
           (java.util.concurrent.atomic AtomicBoolean)
           (org.rsmapi.sys EventFd Fd MemFd OsError Sockets Sockets$Message)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))

;; ---------------------------------------------------------- descriptors

(defn- c-call [^String function & arguments]
  (long (.invokeInt (Function/getFunction "c" function) (object-array arguments))))

(defn- as-fd
  "A descriptor that the library did not open."
  ^Fd [n]
  (when (neg? (long n))
    (throw (IllegalStateException. "no descriptor")))
  (.newInstance (doto (.getDeclaredConstructor Fd (into-array Class [Integer/TYPE])) (.setAccessible true))
                (object-array [(int n)])))

(def ^:private kinds
  "How to make a descriptor of each kind. Only the first four are good for something."
  {:memory    #(MemFd/create "wire-test" size)
   :read-only #(let [fd (MemFd/create "wire-test" size)] (try (MemFd/reopenReadOnly fd) (finally (.close fd))))
   :state     (fn []
                (let [fd (MemFd/create "wire-test" page)
                      b  (doto (ByteBuffer/allocate 32)
                           (.order ByteOrder/LITTLE_ENDIAN)
                           (.put (.getBytes "RSMS")) (.putInt 1) (.putLong 1) (.putInt 1) (.putInt 0) (.putLong size))
                      m  (com.sun.jna.Memory. 32)]
                  (.write m 0 (.array b) 0 32)
                  (c-call "pwrite" (int (.number fd)) m 32 0)
                  (try (MemFd/reopenReadOnly fd) (finally (.close fd)))))
   :counter   #(as-fd (c-call "eventfd" (int 0) (int 02004001)))
   :blank     #(let [fd (MemFd/create "wire-test" page)] (try (MemFd/reopenReadOnly fd) (finally (.close fd))))
   :short     #(MemFd/create "wire-test" (quot size 2))
   :unsealed  (fn []
                (let [fd (as-fd (c-call "memfd_create" "wire-test" (int 3)))]
                  (c-call "ftruncate" (int (.number fd)) size)
                  fd))
   :directory #(as-fd (c-call "open" "/tmp" (int 02200000) (int 0)))
   :device    #(as-fd (c-call "open" "/dev/zero" (int 02000002) (int 0)))
   :pipe      (fn []
                (let [ends (com.sun.jna.Memory. 8)]
                  (c-call "pipe2" ends (int 02000000))
                  (c-call "close" (int (.getInt ends 4)))
                  (as-fd (.getInt ends 0))))
   :socket    #(as-fd (c-call "socket" (int 1) (int 5) (int 0)))})

(defn- pick [^SplittableRandom random xs] (nth xs (.nextInt random (int (count xs)))))

(defmacro ^:private with-descriptors
  "Evaluates body with sym bound to an array of new descriptors of these kinds, and closes them."
  [[sym ks] & body]
  `(let [~sym (into-array Fd (map #((kinds %)) ~ks))]
     (try
       ~@body
       (finally
         (run! #(.close ^Fd %) ~sym)))))

;; -------------------------------------------------------------- messages

(defn- header ^ByteBuffer [type length]
  (doto (ByteBuffer/allocate length)
    (.order ByteOrder/LITTLE_ENDIAN)
    (.put (.getBytes "RSM1")) (.putShort 1) (.putShort (short type)) (.putInt (int length))))

(defn- connect-message ^bytes [{:keys [node id perm]}]
  (.array (doto (header 1 64)
            (.putInt 12 (int node)) (.putInt 16 (unchecked-int id)) (.putInt 20 (int perm)) (.putLong 24 7)
            (.position 32) (.put (.getBytes "loopback")))))

(defn- answer-message ^bytes [{:keys [code size perm descriptors layout]}]
  (.array (doto (header 2 64)
            (.putInt 12 (int code)) (.putLong 16 (long size)) (.putLong 24 1) (.putInt 32 (int perm))
            (.putInt 36 1) (.putInt 40 (int page)) (.putInt 44 (int descriptors)) (.putInt 48 1)
            (.putInt 52 (int (or layout 0))))))

(defn- field [^bytes message at] (.getInt (.order (ByteBuffer/wrap message) ByteOrder/LITTLE_ENDIAN) (int at)))

(defn- random-bytes ^bytes [^SplittableRandom random n]
  (let [bytes (byte-array n)]
    (dotimes [i n] (aset bytes i (unchecked-byte (.nextInt random 256))))
    bytes))

(def ^:private telling
  "Numbers that are likely to be taken for something."
  [0 1 2 3 63 64 65 -1 Integer/MAX_VALUE Integer/MIN_VALUE 0400 0600 0777])

(defn- mutated
  "The message, most often changed somewhere."
  ^bytes [^SplittableRandom random ^bytes message]
  (case (.nextInt random 7)
    0 message
    1 (random-bytes random (.nextInt random 300))
    2 (byte-array (take (.nextInt random (inc (alength message))) message))
    3 (byte-array (concat message (random-bytes random (inc (.nextInt random 600)))))
    4 (let [changed (aclone message)]
        (dotimes [_ (inc (.nextInt random 4))]
          (aset changed (.nextInt random (alength changed)) (unchecked-byte (.nextInt random 256))))
        changed)
    (5 6) (let [changed (aclone message)]
            (.putInt (.order (ByteBuffer/wrap changed) ByteOrder/LITTLE_ENDIAN)
                     (int (* 4 (.nextInt random (quot (alength changed) 4))))
                     (int (pick random telling)))
            changed)))

(defn- starts-well?
  "Whether a message has our magic, this version, this type and the right length."
  [^bytes message type]
  (and (= 64 (alength message))
       (= "RSM1" (String. message 0 4))
       (= (bit-or 1 (bit-shift-left type 16)) (field message 4))
       (= 64 (field message 8))))

;; ------------------------------------------------------- the exporter's end

(defn- name-of [id] (format "rsmapi/0/%08x" id))

(defn- proper-connect?
  "Whether by the document this CONNECT has to be granted, from this process: the one segment is
  published for its owner to read, and root may do everything."
  [^bytes message ks id root?]
  (and (starts-well? message 1)
       (empty? ks)
       (= (unchecked-int id) (field message 16))
       (= 0 (field message 12))
       (zero? (bit-and (field message 20) (bit-not 0600)))
       ;; on the node itself the controller does not matter
       (or root? (zero? (bit-and (field message 20) 0200)))))

(defn- next-message
  "The next message on a socket, or nil after so many milliseconds."
  ^Sockets$Message [^Fd socket millis]
  (let [end (+ (System/nanoTime) (* 1000000 (long millis)))]
    (loop []
      (or (try (Sockets/receive socket 512 32) (catch OsError _ nil))
          (when (pos? (- end (System/nanoTime)))
            (Thread/sleep 1)
            (recur))))))

(defn- ask-badly!
  "One connection to the exporter. Returns nil, or what was wrong with how it was treated."
  [^SplittableRandom random id root? left-open]
  (let [socket  (Sockets/connect (name-of id))
        perm    (pick random [0 0400 0600 0200])
        message (mutated random (connect-message {:node 0 :id id :perm perm}))
        ks      (if (zero? (.nextInt random 3))
                  (vec (repeatedly (.nextInt random 20) #(pick random (keys kinds))))
                  [])]
    (try
      (with-descriptors [fds ks]
        (Sockets/send socket message fds)
        (when (zero? (.nextInt random 5))
          (Sockets/send socket (random-bytes random (.nextInt random 100)) (make-array Fd 0))))
      (if (zero? (.nextInt random 10))
        (do (swap! left-open conj socket) nil)
        (try
          (with-open [answer (next-message socket 2000)]
            (let [data   (when answer (.data answer))
                  let-in (and data (= 64 (alength ^bytes data)) (zero? (long (field data 12))))]
              (cond
                (nil? answer) (when (proper-connect? message ks id root?)
                                {:problem "no answer to a proper request"})
                (zero? (alength ^bytes data)) nil
                (not (starts-well? data 2)) {:problem "an answer that is none" :answer (vec data)}
                (and let-in (not (proper-connect? message ks id root?)))
                {:problem "let in" :message (vec message) :descriptors ks}
                (and (not let-in) (seq (.descriptors answer))) {:problem "descriptors with a refusal"})))
          (finally
            (.close socket))))
      (catch OsError _
        (.close socket) ; it has hung up on us while we were talking
        nil))))

(deftest nobody-is-let-in-by-accident
  (child/with-child [c {}]
    (let [id    (child/value c '(do (require '[rsmapi.test.child :as child])
                                    (def ctl (rsm/get-controller "loopback"))
                                    (def ex (rsm/export! ctl {:size (* 4 (rsm/page-size))}))
                                    (rsm/put-long! ex 0 4711)
                                    (rsm/segment-id ex)))
          good  (fn []
                  (rsm/with-controller [here "loopback"]
                    (rsm/with-imported-segment [im here {:segment-id id :perm :read :timeout-ms 20000}]
                      (first (rsm/get64 im 0 1)))))
          _     (good)
          _     (eventually (= 0 (child/value c '(rsm/importers ex))))
          held  (child/value c '(child/belongings))
          seed  (rand-int Integer/MAX_VALUE)
          random (SplittableRandom. seed)
          root? (= 0 (c-call "geteuid"))
          open  (atom [])
          n     (if (runner/long-run?) 100000 1500)
          wrong (into [] (comp (keep (fn [_] (ask-badly! random id root? open))) (take 5)) (range n))]
      (println "  seed" seed)
      (is (= [] wrong) (str "seed " seed))
      (is (= 4711 (good)) "it serves as ever")
      (run! #(.close ^Fd %) @open)
      (testing "a flood of connections that say nothing"
        (let [flood (into [] (keep (fn [_] (try (Sockets/connect (name-of id)) (catch OsError _ nil)))) (range 3000))]
          (is (< 100 (count flood)))
          (is (= 4711 (good)) "it serves meanwhile")
          (run! #(.close ^Fd %) flood)))
      (let [left (volatile! nil)]
        (is (eventually (= held (vreset! left (child/value c '(child/belongings)))))
            (str "nothing is left: " held " and now " @left)))
      (is (= 4711 (good)))
      (child/value c '(rsm/close! ex)))))

;; ------------------------------------------------------- the importer's end

(def ^:private proper-kinds {0 [:state :counter :counter]
                             0400 [:read-only :state :counter :counter]
                             0200 [:memory :state :counter :counter]
                             0600 [:memory :state :counter :counter]})

(defn- usable?
  "Whether by the document this kind of descriptor may stand where that one is expected."
  [kind expected announced]
  (case expected
    :counter (= :counter kind)
    :state (= :state kind)
    :memory (and (= :memory kind) (<= announced size))
    :read-only (and (#{:memory :read-only} kind) (<= announced size))))

(defn- announced [^bytes message] (.getLong (.order (ByteBuffer/wrap message) ByteOrder/LITTLE_ENDIAN) 16))

(def ^:private lengths
  "The bytes of the memory files that are no shorter for being sealed."
  {:memory size :read-only size :state page :blank page :short (quot size 2)})

(defn- layout-usable?
  "Whether by the document the kind of descriptor behind the others can bring a layout of so many bytes."
  [kind bytes]
  (or (= 0 bytes)
      (and (<= 1 (long bytes) 65536)
           (contains? lengths kind)
           (<= (* page (quot (+ (long bytes) (dec page)) page)) (long (lengths kind))))))

(defn- proper-answer? [^bytes message ks perm]
  (and (starts-well? message 2)
       (zero? (long (field message 12)))
       (pos? (announced message))
       (= perm (field message 32))
       (= (count ks) (field message 44))
       (<= (count ks) 16)
       (let [expected (proper-kinds perm)]
         (and (<= (count expected) (count ks))
              (layout-usable? (get ks (count expected)) (field message 52))
              (every? true? (map #(usable? %1 %2 (announced message)) ks expected))))))

(defn- answer-kinds [^SplittableRandom random perm]
  (let [proper (proper-kinds perm)]
    (case (.nextInt random 6)
      (0 1) proper
      5 (conj proper (pick random [:memory :read-only :blank :short :state]))
      2 (assoc proper (.nextInt random (count proper)) (pick random (keys kinds)))
      3 (vec (take (.nextInt random (inc (count proper))) proper))
      4 (into proper (repeatedly (inc (.nextInt random 14)) #(pick random (keys kinds)))))))

(defn- serve!
  "Answers one importer in some way. Returns whether the answer was a proper one."
  [^SplittableRandom random ^Fd socket]
  (with-open [request (next-message socket 5000)]
    (let [perm    (field (.data request) 20)
          ks      (answer-kinds random perm)
          message (mutated random (answer-message {:code (pick random [0 0 0 0 7 27 101 4242])
                                                   :size size :perm perm :descriptors (count ks)
                                                   :layout (pick random [0 0 0 1 100 page (inc page) 65536 65537 -1])}))]
      (with-descriptors [fds ks]
        (Sockets/send socket message fds))
      {:proper? (proper-answer? message ks perm) :message message :kinds ks})))

(defn- harass!
  "Notices to an importer that has been let in."
  [^SplittableRandom random ^Fd socket]
  (try
    (dotimes [_ (.nextInt random 4)]
      (with-descriptors [fds (vec (repeatedly (.nextInt random 5) #(pick random (keys kinds))))]
        (Sockets/send socket
                      (mutated random (.array (doto (header (pick random [3 3 4 9]) 32) (.putInt 12 1) (.putLong 16 2))))
                      fds)))
    (catch OsError _ nil)))

(def ^:private refusals
  "What an importer may be told when the answer was not a proper one. A refusal with a code that
  exists is that error."
  #{0 40 42 101})

(deftest nobody-is-believed-by-accident
  (child/with-child [c {}]
    (child/value c '(do (require '[rsmapi.test.child :as child])
                        (def ctl (rsm/get-controller "loopback"))
                        (defn visit [id perm]
                          (try
                            (let [im (rsm/connect! ctl {:segment-id id :perm perm :timeout-ms 3000})]
                              (try
                                ;; it is used a little, whatever it is
                                (doseq [f [#(rsm/put64! im 0 1) #(rsm/get64 im 0 1) #(rsm/signal-post! im)
                                           #(rsm/signal-wait! im {:timeout-ms 0})
                                           #(rsm/unmap! im) #(rsm/get-byte (rsm/map! im) 0)]]
                                  (try (f) (catch org.rsmapi.RsmException _ nil)))
                                0
                                (finally (rsm/close! im))))
                            (catch org.rsmapi.RsmException e
                              (:rsm/code (ex-data e)))))))
    (let [id       (fresh-id)
          seed     (rand-int Integer/MAX_VALUE)
          random   (SplittableRandom. seed)
          listener (Sockets/listen (name-of id) 16)
          ;; one good visit, so that what is kept for later is there
          visit!   (fn [perm]
                     (let [ticket (child/send! c (list 'visit id perm))
                           ^Fd socket (loop [] (or (Sockets/accept listener) (do (Thread/sleep 1) (recur))))
                           served (try
                                    (let [served (serve! random socket)]
                                      (harass! random socket)
                                      served)
                                    (catch OsError _ {:proper? false}))]
                       ;; a hang-up is answered by one more attempt, which finds nobody
                       (.close socket)
                       (let [again (future (loop [end (+ (System/nanoTime) 60000000000)]
                                             (when (pos? (- end (System/nanoTime)))
                                               (when-not (realized? (:promise ticket))
                                                 (when-let [fd (Sockets/accept listener)] (.close ^Fd fd))
                                                 (Thread/sleep 1)
                                                 (recur end)))))
                             result (child/answer c ticket 60000)]
                         @again
                         [served result])))
          ;; one that goes well, so that what the process keeps is there
          _        (loop [n 0]
                     (when-not (or (= 0 (:ok (second (visit! 0600)))) (= n 200))
                       (recur (inc n))))
          held     (child/value c '(do (System/gc) (org.rsmapi.mem.Reclaim/reap) (child/belongings)))
          n        (if (runner/long-run?) 50000 800)
          wrong    (into []
                         (comp (map (fn [_]
                                      (let [perm (pick random [0 0400 0600 0200])
                                            [{:keys [proper? message kinds]} {:keys [ok error]}] (visit! perm)]
                                        (cond
                                          error {:problem "another exception" :error error}
                                          (not (or (refusals ok) (and message (starts-well? message 2) (= ok (field message 12)))))
                                          {:problem "an error that it should not be" :code ok}
                                          (and (= 0 ok) (not proper?))
                                          {:problem "believed" :message (vec message) :kinds kinds :perm perm}
                                          (and proper? (not= 0 ok))
                                          {:problem "not believed" :code ok :message (vec message) :kinds kinds :perm perm}))))
                               (remove nil?)
                               (take 5))
                         (range n))]
      (.close listener)
      (println "  seed" seed)
      (is (= [] wrong) (str "seed " seed))
      (let [left (volatile! nil)]
        (is (eventually (= held (vreset! left (child/value c '(do (System/gc) (org.rsmapi.mem.Reclaim/reap) (child/belongings))))))
            (str "nothing is left: " held " and now " @left))))))
