(ns rsmapi.test.proxy
  "A TCP proxy that does to connections what networks do. What it does is a plan, which is data, and a seed: so plans can be
  generated and shrunk.

    {:seed   4                                          ; of chunks and jitter
     :shape  {:chunk 7 :jitter-ms 2 :gather-ms 5}       ; all optional
     :faults [{:way :there :at 100 :kind :reset}
              {:way :back :after-ms 20 :kind :half-close}]}

  The ways are :there, from who connects, and :back. The shape holds for all that is passed on: at most :chunk bytes are
  written at a time, each time after up to :jitter-ms; :gather-ms is how long more is waited for, to be passed on together.

  A fault happens :at so many bytes of its way since the plan was set, counted over all connections, or :after-ms. Kinds:

    :delay       waits for :ms once
    :flip        changes a bit of the next byte
    :lose        leaves out the next byte
    :reset       resets the connection in both directions
    :half-close  ends this way; the other one goes on
    :stall       reads no more, in both directions, until calm!
    :black-hole  takes everything and passes on nothing, on all connections and on new ones, until calm!"
  (:import (java.io IOException InputStream OutputStream)
           (java.net InetAddress ServerSocket Socket)
           (java.util SplittableRandom)
           (java.util.concurrent.atomic AtomicLong)))

(set! *warn-on-reflection* true)

(def kinds [:delay :flip :lose :reset :half-close :stall :black-hole])

(defn- new-run [{:keys [seed shape faults] :as plan}]
  {:plan plan :shape shape :faults faults :seed (or seed 0) :began (System/nanoTime) :dark (atom false) :fired (atom #{})
   :passed {:there (AtomicLong.) :back (AtomicLong.)}})

(defn- thread! [name f]
  (doto (Thread. ^Runnable f ^String name) (.setDaemon true) (.start)))

(defn- close-quietly [^java.io.Closeable x]
  (try (.close x) (catch IOException _)))

(defn- reset-link! [{:keys [^Socket from ^Socket to]}]
  (doseq [^Socket socket [from to]]
    (try (.setSoLinger socket true 0) (catch IOException _))
    (close-quietly socket)))

(defn- end-way! [{:keys [^Socket from ^Socket to] :as link} way]
  (swap! (:ended link) conj way)
  (try (.shutdownOutput ^Socket (if (= :there way) to from)) (catch IOException _)))

;; ------------------------------------------------------------- passing on

(defn- write! [{:keys [shape]} ^SplittableRandom random ^OutputStream out ^bytes bytes from to]
  (let [{:keys [chunk jitter-ms]} shape]
    (loop [from (long from)]
      (when (< from (long to))
        (let [n (min (- (long to) from) (long (or chunk 65536)))]
          (when jitter-ms
            (Thread/sleep (long (.nextInt random (inc (int jitter-ms))))))
          (.write out bytes (int from) (int n))
          (.flush out)
          (recur (+ from n)))))))

(defn- fire!
  "Lets a fault happen at a place of the buffer. Returns how many bytes to leave out."
  [{:keys [dark fired]} link {:keys [kind way ms] :as fault} ^bytes bytes place]
  (swap! fired conj fault)
  (case kind
    :delay (do (Thread/sleep (long ms)) 0)
    :flip (do (aset bytes place (unchecked-byte (bit-xor (aget bytes place) (bit-shift-left 1 (mod (long (or ms 0)) 8))))) 0)
    :lose 1
    :reset (do (reset-link! link) 0)
    :half-close (do (end-way! link way) 0)
    :stall (do (reset! (:stalled link) true) 0)
    :black-hole (do (reset! dark true) 0)))

(defn- silent?
  "Whether nothing is passed on this way."
  [{:keys [dark]} link way]
  (or @dark (contains? @(:ended link) way)))

(defn- await-calm [proxy run link]
  (while (and @(:stalled link) (identical? run @(:run proxy)))
    (Thread/sleep 2))
  (reset! (:stalled link) false))

(defn- due
  "The faults of a way that happen among so many bytes from `start` on, with the place of each."
  [{:keys [faults fired began]} way start n]
  (let [start (long start)
        elapsed (quot (- (System/nanoTime) (long began)) 1000000)]
    (->> faults
         (keep (fn [{:keys [at after-ms] :as fault}]
                 (when (and (= way (:way fault)) (not (@fired fault)))
                   (let [place (if at (- (long at) start) (if (<= (long after-ms) elapsed) 0 -1))]
                     (when (< -1 place (long n)) [place fault])))))
         (sort-by first))))

(defn- pass-on! [proxy run link way random out ^bytes bytes n]
  (let [n (long n)
        start (.getAndAdd ^AtomicLong (get (:passed run) way) n)
        send! (fn [from to] (when-not (silent? run link way) (write! run random out bytes from to)))]
    (loop [from 0, [[place fault] & more] (due run way start n)]
      (if fault
        (let [place (max from (long place))]
          (send! from place)
          (let [left-out (long (fire! run link fault bytes place))]
            (await-calm proxy run link)
            (recur (+ place left-out) more)))
        (send! from n)))))

(defn- gather!
  "Reads what comes within the time; how many bytes there are then."
  [^InputStream in ^bytes bytes n ms]
  (let [end (+ (System/nanoTime) (* 1000000 (long ms)))]
    (loop [n (long n)]
      (let [room (- (alength bytes) n)
            now (min room (.available in))]
        (cond (zero? room) n
              (pos? now) (recur (+ n (.read in bytes (int n) (int now))))
              (< (System/nanoTime) end) (do (Thread/sleep 1) (recur n))
              :else n)))))

(defn- pump! [{:keys [run] :as proxy} {:keys [^Socket from ^Socket to number] :as link} way]
  (let [[^Socket source ^Socket target] (if (= :there way) [from to] [to from])
        bytes (byte-array 65536)]
    (try
      (let [in (.getInputStream source)
            out (.getOutputStream target)]
        (loop [random nil, of nil]
          (let [n (.read in bytes)]
            (if (neg? n)
              (when-not (silent? @run link way) (end-way! link way))
              (let [now @run
                    random (if (identical? now of) random
                             (SplittableRandom. (hash [(:seed now) number way])))
                    n (if-let [ms (:gather-ms (:shape now))] (gather! in bytes n ms) n)]
                (pass-on! proxy now link way random out bytes n)
                (recur random now))))))
      (catch IOException _
        (reset-link! link)))
    (when (= 2 (swap! (:over link) inc))
      (close-quietly from)
      (close-quietly to)
      (swap! (:links proxy) disj link))))

(defn- accept! [{:keys [^ServerSocket server target links numbers] :as proxy}]
  (try
    (while true
      (let [from (.accept server)]
        (try
          (let [to (Socket. (InetAddress/getByName "127.0.0.1") (int target))
                link {:from from :to to :number (swap! numbers inc) :ended (atom #{}) :stalled (atom false) :over (atom 0)}]
            (run! #(.setTcpNoDelay ^Socket % true) [from to])
            (swap! links conj link)
            (thread! "proxy-there" #(pump! proxy link :there))
            (thread! "proxy-back" #(pump! proxy link :back)))
          (catch IOException _
            (close-quietly from)))))
    (catch IOException _))) ; it is closed

;; ---------------------------------------------------------------- the API

(defn start!
  "A proxy on a port of its own before another port of this host. It passes on everything until there is a plan."
  [target]
  (let [server (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1"))
        proxy {:server server :port (.getLocalPort server) :target target :links (atom #{}) :numbers (atom -1)
               :run (atom (new-run nil))}]
    (thread! "proxy-accept" #(accept! proxy))
    proxy))

(defn port [proxy] (:port proxy))

(defn- timed! [{:keys [run links]} of {:keys [after-ms] :as fault}]
  (Thread/sleep (long after-ms))
  (when (and (identical? of @run) (not (@(:fired of) fault)))
    (doseq [link @links]
      (fire! of link fault (byte-array 1) 0))))

(defn plan!
  "Sets a plan; bytes and time are counted from now on."
  [{:keys [run] :as proxy} plan]
  (let [of (reset! run (new-run plan))]
    (doseq [fault (:faults plan)
            :when (and (:after-ms fault) (#{:reset :half-close :stall :black-hole} (:kind fault)))]
      (thread! "proxy-time" #(timed! proxy of fault)))))

(defn calm!
  "Ends the plan: from now on everything is passed on. Returns the faults that have happened."
  [{:keys [run]}]
  (let [before @run]
    (reset! run (new-run nil))
    @(:fired before)))

(defn passed
  "How many bytes have come since the plan was set: [there back]."
  [{:keys [run]}]
  (mapv #(.get ^AtomicLong (get (:passed @run) %)) [:there :back]))

(defn cut!
  "Resets all connections."
  [{:keys [links]}]
  (run! reset-link! @links))

(defn stop! [{:keys [server links]}]
  (close-quietly server)
  (run! reset-link! @links))

(defmacro with-proxy
  "Evaluates body with sym bound to a proxy before a port."
  [[sym target] & body]
  `(let [~sym (start! ~target)]
     (try ~@body (finally (stop! ~sym)))))
