(ns rsmapi.test.wire
  "The protocol between gateways, written once more for tests: to call a gateway, or to be one, and to send whatever one
  likes. doc/protocol.md has the frames."
  (:require [clojure.string :as str])
  (:import (java.io ByteArrayOutputStream DataInputStream DataOutputStream IOException InputStream OutputStream)
           (java.net InetAddress InetSocketAddress ServerSocket Socket SocketTimeoutException)
           (java.lang.reflect Method)
           (java.nio ByteBuffer)
           (java.nio.file Path)
           (java.security SecureRandom)
           (java.security.cert X509Certificate)
           (java.util Arrays)
           (javax.net.ssl KeyManager SSLContext SSLSocket TrustManager X509ExtendedTrustManager X509KeyManager)
           (org.rsmapi LocalMemory)
           (org.rsmapi.mem Fingerprint)
           (org.rsmapi.net KeyFile)
           (org.rsmapi.sys Credentials Poll Poll$Outcome Sockets Sockets$Message)))

(set! *warn-on-reflection* true)

(def types
  {:hello 1 :welcome 2 :connect 3 :answer 4 :put 5 :get 6 :data 7 :atomic 8 :result 9 :barrier 10 :done 11 :post 12 :event 13
   :taken 14 :revoked 15 :disconnect 16 :ping 17 :pong 18 :credit 19 :status 20 :bye 21})

(def ^:private names (into {} (map (juxt val key)) types))

(def most-data 65536)
(def largest-body (+ most-data 256))

;; ---------------------------------------------------------------- frames

(defn bytes-of
  "Fields, one after the other: [:u8 n], [:u16 n], [:u32 n], [:u64 n], or an array of bytes."
  ^bytes [& fields]
  (let [bytes (ByteArrayOutputStream.)
        out (DataOutputStream. bytes)]
    (doseq [field fields]
      (if (bytes? field)
        (.write out ^bytes field)
        (let [[kind n] field, n (long n)]
          (case kind
            :u8 (.writeByte out (unchecked-int n))
            :u16 (.writeShort out (unchecked-int n))
            :u32 (.writeInt out (unchecked-int n))
            :u64 (.writeLong out n)))))
    (.toByteArray bytes)))

(def nothing (byte-array 0))

(defn frame
  "The bytes of a frame. :length, if it is given, is what the header says in the place of the body's."
  ^bytes [{:keys [type flags code connection tag body length]}]
  (let [^bytes body (or body nothing)]
    (bytes-of [:u32 (or length (alength body))] [:u8 (get types type type)] [:u8 (or flags 0)] [:u16 (or code 0)]
              [:u32 (or connection 0)] [:u32 (or tag 0)] body)))

(defn hello [session node & {:as more}]
  (merge {:type :hello :body (bytes-of session [:u32 60000] [:u32 node])} more))

(defn connect [number segment-id & {:keys [perm ms uid gid groups tag]}]
  {:type :connect :connection number :tag (or tag number)
   :body (apply bytes-of [:u32 segment-id] [:u32 (or perm 0600)] [:u32 (or ms 5000)] [:u32 (or uid (Credentials/uid))] [:u32 (or gid (Credentials/gid))]
                [:u32 (count groups)] (map #(vector :u32 %) groups))})

(defn put [number offset ^bytes data] {:type :put :connection number :body (bytes-of [:u64 offset] data)})
(defn get-of [number offset length & {:keys [tag]}]
  {:type :get :connection number :tag (or tag 7) :body (bytes-of [:u64 offset] [:u32 length])})
(defn known-of
  "A get of what the asker says it has."
  [number offset ^bytes has & {:keys [tag]}]
  (let [n (alength has)
        ^Fingerprint known (with-open [m (LocalMemory/allocate n)]
                             (.putBytes m 0 has 0 n)
                             (Fingerprint/of (.address m) n 5 6))]
    {:type :get :flags 1 :connection number :tag (or tag 7)
     :body (bytes-of [:u64 offset] [:u32 n] [:u64 5] [:u64 6] [:u64 (.first known)] [:u64 (.second known)])}))
(defn atomic [number offset flags operand expected]
  {:type :atomic :flags flags :connection number :tag 7 :body (bytes-of [:u64 offset] [:u64 operand] [:u64 expected])})

(defn new-session ^bytes []
  (doto (byte-array 16) (->> (.nextBytes (SecureRandom.)))))

;; ------------------------------------------------------------------- TLS

(defn- key-manager [^KeyFile own]
  (reify X509KeyManager
    (chooseClientAlias [_ _ _ _] "node")
    (chooseServerAlias [_ type _ _] (when (str/starts-with? type "EC") "node"))
    (getClientAliases [_ _ _] (into-array String ["node"]))
    (getServerAliases [_ _ _] (into-array String ["node"]))
    (getCertificateChain [_ _] (into-array X509Certificate [(.certificate own)]))
    (getPrivateKey [_ _] (.key own))))

(defn- trust-everybody []
  (proxy [X509ExtendedTrustManager] []
    (checkClientTrusted ([_ _]) ([_ _ _]))
    (checkServerTrusted ([_ _]) ([_ _ _]))
    (getAcceptedIssuers [] (make-array X509Certificate 0))))

(defn- context
  "With a key file, or without a key."
  ^SSLContext [own]
  (doto (SSLContext/getInstance "TLS")
    (.init (when own (into-array KeyManager [(key-manager own)])) (into-array TrustManager [(trust-everybody)]) nil)))

(defn- channel [^SSLSocket socket]
  {:socket socket
   :in (DataInputStream. (java.io.BufferedInputStream. (.getInputStream socket)))
   :out (.getOutputStream socket)})

(defn tcp
  "A plain connection to a port of this host, from one of this host's addresses."
  ^Socket [port from]
  (doto (Socket.)
    (.bind (InetSocketAddress. (InetAddress/getByName from) 0))
    (.connect (InetSocketAddress. (InetAddress/getByName "127.0.0.1") (int port)) 10000)
    (.setSoTimeout 10000)))

(defn tls
  "TLS to a port, with the key of a file or without one. Options: :from, an address of this host; :protocols."
  [port own & {:keys [from protocols]}]
  (let [plain (tcp port (or from "127.0.0.1"))
        socket ^SSLSocket (.createSocket (.getSocketFactory (context own)) plain "127.0.0.1" (int port) true)]
    (.setEnabledProtocols socket (into-array String (or protocols ["TLSv1.3"])))
    (.startHandshake socket)
    (channel socket)))

(defn answer-tls
  "TLS as the side that was called."
  [^Socket plain own]
  (.setSoTimeout plain 10000)
  (let [socket ^SSLSocket (.createSocket (.getSocketFactory (context own)) plain nil true)]
    (.setUseClientMode socket false)
    (.setNeedClientAuth socket true)
    (.setEnabledProtocols socket (into-array String ["TLSv1.3"]))
    (.startHandshake socket)
    (channel socket)))

;; ------------------------------------------------------------------ talk

(defn close! [{:keys [^Socket socket]}]
  (try
    (.setSoLinger socket true 0) ; TLS would wait until its farewell is sent
    (catch IOException _))
  (try (.close socket) (catch IOException _)))

(defn send-bytes! [{:keys [^OutputStream out]} ^bytes bytes]
  (.write out bytes)
  (.flush out))

(defn send! [link & frames]
  (send-bytes! link (apply bytes-of (map #(if (bytes? %) % (frame %)) frames))))

(defn- greeting ^bytes [node [oldest newest]]
  (bytes-of (.getBytes "RSMN") [:u16 oldest] [:u16 newest] [:u8 node] (byte-array 7)))

(defn greet!
  "Greets as a node, and reads the other side's greeting. :versions are the oldest and the newest that it says it speaks."
  [{:keys [^DataInputStream in] :as link} node & {:keys [versions] :or {versions [1 1]}}]
  (send-bytes! link (greeting node versions))
  (.readFully in (byte-array 16))
  link)

(defn read-frame
  "The next frame, :end, or :silence."
  [{:keys [^DataInputStream in]}]
  (try
    (let [length (.readInt in)
          type (.readUnsignedByte in)
          flags (.readUnsignedByte in)
          code (.readUnsignedShort in)
          connection (.readInt in)
          tag (.readInt in)
          body (byte-array length)]
      (.readFully in body)
      {:type (names type type) :flags flags :code code :connection connection :tag tag :body body})
    (catch SocketTimeoutException _ :silence)
    (catch IOException _ :end)))

(defn read-until
  "Reads until a frame of these types, which is returned, or :end or :silence."
  [link types]
  (loop []
    (let [found (read-frame link)]
      (if (or (keyword? found) (types (:type found))) found (recur)))))

(defn ask!
  "Sends frames and reads until a frame of these types."
  [link types & frames]
  (try
    (apply send! link frames)
    (read-until link types)
    (catch IOException _ :end)))

(defn link!
  "A link to the gateway of a node, with a key file, after its HELLO was answered. Adds :session."
  [port own here there & {:keys [session from flags] :or {session (new-session) flags 0}}]
  (let [link (assoc (greet! (tls port own :from from) here) :session session)
        welcome (ask! link #{:welcome} (hello session there :flags flags))]
    (if (map? welcome)
      link
      (do (close! link)
          (throw (IOException. (str "no welcome: " welcome)))))))

;; -------------------------------------------------- from the same host

(def ^:private ^Method door-name
  (delay (doto (.getDeclaredMethod (Class/forName "org.rsmapi.net.LocalDoor") "name" (into-array Class [String Path]))
           (.setAccessible true))))

(defn door
  "The name of the socket at which the gateway of this host gives tickets, for a controller and the file of the host's key."
  [controller key-file]
  (.invoke ^Method @door-name nil (object-array [controller (Path/of (str key-file) (make-array String 0))])))

(defn ticket
  "A ticket from a door: {:node :port :ours :theirs}; :refused, or :end."
  [name]
  (with-open [socket (Sockets/connect name)]
    (if-not (= Poll$Outcome/READY (Poll/forInput socket (+ (System/nanoTime) 10000000000)))
      :silence
      (with-open [^Sockets$Message message (Sockets/receive socket 48 0)]
        (let [bytes (.data message), fields (ByteBuffer/wrap bytes)]
          (case (alength bytes)
            0 :end
            1 :refused
            48 {:node (.get fields 6) :port (bit-and 0xffff (.getShort fields 8))
                :ours (Arrays/copyOfRange bytes 16 32) :theirs (vec (Arrays/copyOfRange bytes 32 48))}))))))

(defn enter!
  "A connection with a ticket, which may be a wrong one; :theirs is what the gateway has answered, nil for nothing."
  [{:keys [port ours]}]
  (let [socket (tcp port "127.0.0.1")
        link {:socket socket
              :in (DataInputStream. (java.io.BufferedInputStream. (.getInputStream socket)))
              :out (.getOutputStream socket)}]
    (.setSoTimeout socket 10000)
    (assoc link :theirs (try
                          (send-bytes! link ours)
                          (let [answer (byte-array 16)]
                            (.readFully ^DataInputStream (:in link) answer)
                            (vec answer))
                          (catch IOException _ nil)))))

(defmacro with-link [[sym link] & body]
  `(let [~sym ~link]
     (try ~@body (finally (close! ~sym)))))

(defn serve!
  "Is the gateway of a node, until the socket is closed. `answer` is given each frame, and returns the frames to send, or nil.
  :versions is an atom with what it greets with."
  [^ServerSocket server own node answer & {:keys [versions] :or {versions (atom [1 1])}}]
  (future
    (try
      (while true
        (let [plain (.accept server)]
          (future
            (try
              (with-link [link (answer-tls plain own)]
                (greet! link node :versions @versions)
                (loop []
                  (let [found (read-frame link)]
                    (when-not (= :end found)
                      (when-let [frames (when (map? found) (answer found))]
                        (apply send! link frames))
                      (recur)))))
              (catch Exception _))))) ; the other side has ended the link, or does not understand the answer
      (catch IOException _))))

(defn number-at [^bytes body at kind]
  (let [b (ByteBuffer/wrap body)]
    (case kind :u32 (bit-and 0xffffffff (.getInt b (int at))) :u64 (.getLong b (int at)))))
