(ns rsmapi.ucx-test
  "The calls of UCX, over tcp between two processes: what arrives, what fails when a peer is gone, what bad
  addresses and keys do, and what loading the library and closing a worker leave behind."
  (:require [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.test.runner :as runner])
  (:import (java.io File)
           (java.lang.reflect Field Modifier)
           (org.rsmapi.sys UcxWorker)))

(set! *warn-on-reflection* true)

(def ^:private over-tcp {:quick? true, :jvm-opts ["-Drsmapi.ucx.tcp-for-tests-without-protection=true"]})

(def ^:private helpers
  "What the children know."
  '(do
     (import '(com.sun.jna Function Memory Pointer)
             '(org.rsmapi.sys Ucx UcxError UcxKey UcxPeer UcxRegion UcxWorker))
     (set! *warn-on-reflection* false)
     (defn deadline [ms] (+ (System/nanoTime) (* 1000000 (long ms))))
     (defn hex [bytes] (apply str (map #(format "%02x" %) bytes)))
     (defn unhex [text] (byte-array (map #(unchecked-byte (Long/parseLong (apply str %) 16)) (partition 2 text))))
     (defn address [memory] (Pointer/nativeValue memory))
     (defn status [f]
       (try (f) :ok (catch UcxError e (keyword (.statusName e)))))
     (defn timed
       "[status ms]"
       [f]
       (let [start (System/nanoTime), result (status f)]
         [result (quot (- (System/nanoTime) start) 1000000)]))
     (defn serve!
       "Registers memory and keeps the worker going. Returns what the other side needs."
       [length]
       (def memory (doto (Memory. length) .clear))
       (def worker (UcxWorker/open "lo"))
       (def region (.register worker (address memory) length true))
       (def going (atom true))
       (def server (Thread. #(while @going
                               (dotimes [_ 100] (.progress worker))
                               (Thread/yield))))
       (.start server)
       [(hex (.address worker)) (hex (.key region))])
     (defn quit! []
       (reset! going false)
       (.join server)
       (.close worker))
     (defn connect! [length worker-address key]
       (def local (doto (Memory. length) .clear))
       (def worker (UcxWorker/open "lo"))
       (def peer (.connect worker (unhex worker-address)))
       (def remote (.key peer (unhex key))))
     (defn digest [memory offset length]
       (let [sum (java.util.zip.CRC32C.)]
         (.update sum (.getByteBuffer memory offset length))
         (.getValue sum)))
     (defn fill! [memory length seed]
       (let [bytes (byte-array length)]
         (.nextBytes (java.util.Random. seed) bytes)
         (.write memory 0 bytes 0 length)))))

(def ^:private why-not
  (delay
    (child/with-child [c {:label "ucx"}]
      (child/value c '(org.rsmapi.sys.Ucx/obstacle)))))

(defn- here?
  "Whether UCX is there; says so if it is not."
  [test-name]
  (let [reason @why-not]
    (when reason (runner/skip! test-name reason))
    (nil? reason)))

(defmacro ^:private with-ucx [test-name children & body]
  `(when (here? ~test-name)
     ~(reduce (fn [body c]
                `(child/with-child [~c (assoc over-tcp :label ~(str c))]
                   (child/value ~c helpers)
                   ~body))
              `(do ~@body)
              (reverse children))))

;; ----------------------------------------------------------------- numbers

(defn- gcc [& args]
  (try (apply shell/sh "gcc" args) (catch java.io.IOException _ {:exit 127 :err "there is no gcc"})))

(defn- constants [^String class-name]
  (into {}
        (for [^Field f (.getDeclaredFields (Class/forName class-name))
              :when (Modifier/isStatic (.getModifiers f))]
          [(.getName f) (long (.get (doto f (.setAccessible true)) nil))])))

(defn- status-name [n]
  (let [m (doto (.getDeclaredMethod org.rsmapi.sys.UcxError "name" (into-array Class [Integer/TYPE])) (.setAccessible true))]
    (.invoke m nil (object-array [(int n)]))))

(deftest numbers-of-the-headers
  (let [program (File/createTempFile "ucx" "abi")
        source  (io/file (runner/root) "test/peers/ucx_abi.c")
        api     "the numbers of the headers"]
    (try
      (cond
        (not= 0 (:exit (gcc "--version")))
        (runner/skip! api "needs gcc")

        (not= 0 (:exit (gcc "-E" "-include" "ucp/api/ucp.h" "-xc" "-o" "/dev/null" "/dev/null")))
        (runner/skip! api "needs the headers of UCX")

        :else
        (let [{:keys [exit err]} (gcc "-std=gnu99" "-Wall" "-Wextra" "-Werror" "-o" (str program) (str source))]
          (is (= 0 exit) err)
          (let [lines    (map #(str/split % #" ") (str/split-lines (:out (shell/sh (str program)))))
                statuses (filter #(= "status" (first %)) lines)
                expected (into {} (map (fn [[n v]] [n (parse-long v)])) (remove #(= "status" (first %)) lines))
                ours     (dissoc (constants "org.rsmapi.sys.UcxAbi") "API_MAJOR" "API_MINOR")]
            (is (= expected ours))
            (is (< 20 (count statuses)))
            (doseq [[_ n text] statuses]
              (is (= text (status-name (parse-long n))))))))
      (finally (.delete program)))))

;; ----------------------------------------------------------------- loading

(def ^:private footprint
  "What a library may change in a process: the handlers of signals, and the code of functions that are
  hooked."
  '(do
     (defn handlers []
       (vec (for [signal (range 1 65)
                  :let [action (doto (Memory. 152) .clear)]]
              (do (.invokeInt (Function/getFunction "c" "sigaction") (to-array [(int signal) nil action]))
                  [(.getLong action 0) (.getInt action 136)]))))
     (defn code []
       (into {} (for [f ["mmap" "munmap" "mremap" "madvise" "shmat" "shmdt" "sbrk" "brk" "malloc" "free" "dlopen"]]
                  [f (hex (.getByteArray (Function/getFunction "c" f) 0 32))])))
     (defn environment []
       (let [process (.start (ProcessBuilder. ["sh" "-c" "tr '\\0' '\\n' < /proc/$$/environ | cut -d= -f1 | sort"]))]
         (clojure.string/split-lines (slurp (.getInputStream process)))))
     (defn footprint [] [(handlers) (code) (environment)])))

(deftest loading-it-leaves-the-process-as-it-was
  (when (here? "loading")
    (child/with-child [c (assoc over-tcp :label "loading" :env {"UCX_HANDLE_ERRORS" "bt" "UCX_TLS" "all"
                                                                "UCX_MEM_MMAP_HOOK_MODE" "bistro" "UCX_MEM_EVENTS" "y"})]
      (child/value c helpers)
      (child/value c footprint)
      (child/value c '(def before (footprint)))
      (testing "not before it is asked for"
        (child/value c '(rsm/get-controller nil))
        (is (not (str/includes? (child/proc (child/pid c) "maps") "libucp"))))
      (child/value c '(serve! 65536))
      (is (str/includes? (child/proc (child/pid c) "maps") "libucp"))
      (is (child/value c '(re-matches #"1\.\d+\.\d+" (Ucx/version))))
      (doseq [[what i] {"handlers of signals" 0, "code of the C library" 1, "environment of children" 2}]
        (is (= [] (child/value c `(let [~'a (nth ~'before ~i) ~'b (nth (~'footprint) ~i)]
                                    (if (= ~'a ~'b) [] [~'a ~'b]))))
            what))
      (testing "the JVM still handles its own SIGSEGV"
        (is (= 20000 (child/value c '(do (defn length [^String s] (.length s))
                                         (dotimes [_ 20000] (length "warm"))
                                         (count (filter #(= :npe %) (repeatedly 20000 #(try (length nil) (catch NullPointerException _ :npe))))))))))
      (child/value c '(quit!))
      (is (= "" (child/output c))))))

(defn- library-file [pid]
  (second (re-find #"(/\S*/libucp\.so\S*)" (child/proc pid "maps"))))

(deftest without-the-library
  (when (here? "without the library")
    (let [file    (child/with-child [c over-tcp]
                    (child/value c '(org.rsmapi.sys.Ucx/obstacle))
                    (library-file (child/pid c)))
          prefix  ["unshare" "--mount" "sh" "-c" (str "mount --bind /dev/null '" file "' && exec \"$@\"") "sh"]]
      (if-let [obstacle (child/obstacle {:prefix prefix})]
        (runner/skip! "without the library" obstacle)
        (child/with-child [c (assoc over-tcp :prefix prefix)]
          (child/value c helpers)
          (is (re-find #"^libucp\.so\.0 cannot be loaded: .+" (str (child/value c '(Ucx/obstacle)))))
          (is (= (child/value c '(Ucx/obstacle)) (child/value c '(Ucx/obstacle))))
          (is (nil? (child/value c '(Ucx/version))))
          (is (= :UNSUPPORTED (child/value c '(status #(UcxWorker/open "lo"))))))))))

(deftest devices
  (testing "names that are more, or less, than one device"
    (doseq [name ["" "all" "^lo" "lo,eth0" "a b" "../x" "mlx5_0:" "mlx5_0:1:2" "mlx5_0:1000" (apply str (repeat 64 "a"))]]
      (is (thrown-with-msg? org.rsmapi.sys.UcxError #"INVALID_PARAM" (UcxWorker/open name)) name)))
  (when (here? "devices")
    (child/with-child [c {:label "no switch"}]
      (child/value c helpers)
      (testing "without the switch, no transport but RDMA's"
        (is (= :NO_DEVICE (child/value c '(status #(UcxWorker/open "lo")))))))
    (with-ucx "devices" [c]
      (is (= :NO_DEVICE (child/value c '(status #(UcxWorker/open "mlx5_99:1")))))
      (is (= :ok (child/value c '(status #(.close (UcxWorker/open "lo")))))))))

;; -------------------------------------------------------------------- data

(def ^:private length (+ 4096 (* 8 1024 1024)))

(defn- connected!
  "Has one child register memory, and the other one connect to it."
  [exporter importer n]
  (let [[address key] (child/value exporter (list 'serve! n))]
    (child/value importer (list 'do (list 'connect! n address key) nil))
    [address key]))

(deftest what-arrives
  (with-ucx "data" [exporter importer]
    (connected! exporter importer length)
    (testing "sizes, from and to all alignments"
      (is (= [] (child/value
                 importer
                 '(vec (for [size [1 2 3 4 7 8 9 15 16 31 32 63 64 65 127 128 1000]
                             shift (range 8)
                             :let [n 4096, from (+ 8 shift), to (+ 2048 (- 7 shift))]
                             :when (do (fill! local n (+ size shift))
                                       (.put peer (+ (address local) from) remote to size (deadline 10000))
                                       (.flush peer (deadline 10000))
                                       (.get peer (+ (address local) to) remote to size (deadline 10000))
                                       (not= (digest local from size) (digest local to size)))]
                         [size shift]))))))
    (doseq [size [1 8 511 4096 65535 65536 65537 1000003 (* 8 1024 1024)]
            offset [0 1 4095]
            :let [put (child/value importer
                                   (list 'do (list 'fill! 'local size (+ size offset))
                                         (list '.put 'peer '(address local) 'remote offset size '(deadline 10000))
                                         '(.flush peer (deadline 10000))
                                         (list 'digest 'local 0 size)))]]
      (is (= put (child/value exporter (list 'digest 'memory offset size))) [:put size offset])
      (is (= put (child/value importer
                              (list 'do '(.clear local)
                                    (list '.get 'peer '(address local) 'remote offset size '(deadline 10000))
                                    (list 'digest 'local 0 size))))
          [:get size offset]))
    (testing "many puts, one flush"
      (is (= (child/value importer '(do (fill! local 65536 7)
                                        (dotimes [i 8192] (.put peer (+ (address local) (* 8 i)) remote (* 8 i) 8 (deadline 10000)))
                                        (.flush peer (deadline 10000))
                                        (digest local 0 65536)))
             (child/value exporter '(digest memory 0 65536)))))
    (testing "nothing"
      (is (= :ok (child/value importer (list 'status (list 'fn [] (list '.put 'peer '(address local) 'remote length 0 '(deadline 1000))))))))
    (testing "beyond the region"
      (doseq [[offset n] [[length 1] [-1 1] [0 (inc length)] [Long/MAX_VALUE 1] [0 -1] [1 Long/MAX_VALUE]]
              call '[.put .get]]
        (is (= :OUT_OF_RANGE (child/value importer (list 'status (list 'fn [] (list call 'peer '(address local) 'remote offset n '(deadline 1000)))))))))
    (testing "two threads"
      (is (= [true true]
             (child/value importer
                          '(let [work (fn [at]
                                        (future
                                          (let [mine (doto (Memory. 4096) (fill! 4096 at)), back (Memory. 4096)]
                                            (every? true? (repeatedly 300 (fn []
                                                                            (.put peer (address mine) remote at 4096 (deadline 10000))
                                                                            (.flush peer (deadline 10000))
                                                                            (.get peer (address back) remote at 4096 (deadline 10000))
                                                                            (= (digest mine 0 4096) (digest back 0 4096))))))))]
                             (mapv deref [(work 0) (work 8192)]))))))
    (child/value importer '(do (.close worker) (.close worker) (.close peer) (.close remote)))
    (child/value exporter '(quit!))))

(deftest closed-things
  (with-ucx "closing" [exporter importer]
    (let [[address key] (connected! exporter importer 65536)]
      (child/value importer '(.close remote))
      (is (= :CANCELED (child/value importer '(status #(.put peer (address local) remote 0 8 (deadline 1000))))))
      (child/value importer '(.close peer))
      (is (= [:CANCELED :CANCELED] (child/value importer (list 'mapv 'status [(list 'fn [] '(.flush peer (deadline 1000)))
                                                                             (list 'fn [] (list '.key 'peer (list 'unhex key)))]))))
      (testing "a key of another peer"
        (child/value importer (list 'do (list 'def 'one (list '.connect 'worker (list 'unhex address)))
                                    (list 'def 'other (list '.connect 'worker (list 'unhex address)))
                                    (list 'def 'remote (list '.key 'one (list 'unhex key)))
                                    nil))
        (is (= [:CANCELED :ok] (child/value importer '(mapv status [#(.put other (address local) remote 0 8 (deadline 1000))
                                                                    #(.put one (address local) remote 0 8 (deadline 5000))])))))
      (child/value importer '(.close worker))
      (is (= (vec (repeat 4 :CANCELED))
             (child/value importer (list 'mapv 'status [(list 'fn [] '(.progress worker)) (list 'fn [] '(.address worker))
                                                        (list 'fn [] '(.register worker (address local) 8 true))
                                                        (list 'fn [] (list '.connect 'worker (list 'unhex address)))]))))
      (testing "while another thread waits"
        (child/value exporter '(do (reset! going false) (.join server)))
        (doseq [what '[peer worker]]
          (child/value importer (list 'do (list 'connect! 65536 address key) nil))
          (is (= :CANCELED (child/value importer (list 'let ['waiting '(future (status #(do (.put peer (address local) remote 0 65536 (deadline 20000))
                                                                                            (.flush peer (deadline 20000)))))]
                                                       '(Thread/sleep 100)
                                                       (list '.close what)
                                                       '(deref waiting 10000 :hangs)))))
          (child/value importer '(.close worker)))))))

(deftest a-region-is-closed-while-a-peer-writes
  (with-ucx "a region is closed" [exporter importer]
    (connected! exporter importer 1048576)
    (let [writing (child/send! importer '(loop [i 0]
                                           (let [s (status #(do (.put peer (address local) remote 0 65536 (deadline 1000))
                                                                (.flush peer (deadline 1000))))]
                                             (if (and (= s :ok) (< i 2000)) (recur (inc i)) s))))]
      (Thread/sleep 50)
      (child/value exporter '(do (.close region) (.close region)))
      ;; over tcp there is no adapter that checks keys; that would be a failure
      (is (keyword? (:ok (child/answer importer writing)))))
    (is (child/alive? exporter))
    (child/value exporter '(quit!))
    (is (child/alive? exporter))))

;; ------------------------------------------------------------------- peers

(def ^:private attempts
  "What importers do to a peer that is gone."
  {:put   '(fn [] (.put peer (address local) remote 0 8388608 (deadline 300)) (.flush peer (deadline 300)))
   :small '(fn [] (.put peer (address local) remote 0 8 (deadline 300)) (.flush peer (deadline 300)))
   :get   '(fn [] (.get peer (address local) remote 0 65536 (deadline 300)))})

(defn- ends-in-time? [[status ms]]
  (and (not= :ok status) (> 3000 ms)))

(deftest a-peer-that-is-stopped
  ;; The exporter is not continued: where an importer has given up meanwhile, libucp 1.13.1 over tcp can
  ;; end the exporter's process, by "Fatal: unexpected error: Endpoint timeout" or an assertion.
  (with-ucx "a stopped peer" [importer]
    (doseq [[what attempt] attempts
            first-use      [false true]]
      (child/with-child [exporter over-tcp]
        (child/value exporter helpers)
        (connected! exporter importer 8388608)
        (when first-use
          (is (= :ok (child/value importer '(status #(do (.put peer (address local) remote 0 8 (deadline 5000)) (.flush peer (deadline 5000))))))))
        (child/signal! exporter "STOP")
        (let [result (child/value importer (list 'timed attempt))]
          (is (ends-in-time? result) [what first-use result])
          (is (= :TIMED_OUT (first result)) what)
          (is (ends-in-time? (child/value importer (list 'timed attempt))) "and fails at once afterwards"))
        (child/value importer '(.close worker))
        (child/kill-9! exporter)))))

(deftest a-peer-that-is-killed
  (with-ucx "a killed peer" [importer]
    (doseq [[what attempt] attempts
            first-use      [false true]]
      (child/with-child [exporter over-tcp]
        (child/value exporter helpers)
        (connected! exporter importer 8388608)
        (when first-use
          (is (= :ok (child/value importer '(status #(do (.put peer (address local) remote 0 8 (deadline 5000)) (.flush peer (deadline 5000))))))))
        (child/kill-9! exporter)
        (let [result (child/value importer (list 'timed attempt))]
          (is (ends-in-time? result) [what first-use result]))
        (child/value importer '(.close worker))))
    (testing "in the middle of writing"
      (child/with-child [exporter over-tcp]
        (child/value exporter helpers)
        (connected! exporter importer 8388608)
        (let [writing (child/send! importer '(loop [i 0]
                                               (let [[s ms] (timed #(do (.put peer (address local) remote 0 8388608 (deadline 3000))
                                                                        (.flush peer (deadline 3000))))]
                                                 (if (and (= s :ok) (< i 10000)) (recur (inc i)) [s ms]))))]
          (Thread/sleep 100)
          (child/kill-9! exporter)
          (let [[status ms] (:ok (child/answer importer writing))]
            (is (not= :ok status))
            (is (> 6000 ms))))))
    (is (child/alive? importer))))

(deftest an-importer-that-is-killed
  (with-ucx "a killed importer" [exporter]
    (let [[address key] (child/value exporter '(serve! 1048576))]
      (dotimes [_ 3]
        (child/with-child [importer over-tcp]
          (child/value importer helpers)
          (child/value importer (list 'do (list 'connect! 1048576 address key) nil))
          (child/send! importer '(while true (.put peer (address local) remote 0 1048576 (deadline 5000)) (.flush peer (deadline 5000))))
          (Thread/sleep 100)
          (child/kill-9! importer)))
      (child/with-child [importer over-tcp]
        (child/value importer helpers)
        (child/value importer (list 'do (list 'connect! 1048576 address key) nil))
        (is (= :ok (child/value importer '(status #(do (.put peer (address local) remote 0 8 (deadline 5000)) (.flush peer (deadline 5000))))))))
      (child/value exporter '(quit!)))))

;; --------------------------------------------------------------- bad input

(deftest bad-addresses-and-keys
  (with-ucx "bad input" [exporter importer]
    (let [[address key] (connected! exporter importer 65536)]
      (doseq [[what good call] [["address" address '#(.connect worker %)] ["key" key '#(.key peer %)]]]
        (testing what
          (is (= {:INVALID_ADDR (* 3 (quot (count good) 2))}
                 (child/value importer
                              `(let [~'good (~'unhex ~good) ~'n (alength ~'good)
                                     ~'flip (fn [~'i ~'v] (doto (aclone ~'good) (aset ~'i (unchecked-byte (bit-xor ~'v (aget ~'good ~'i))))))]
                                 (frequencies
                                  (for [~'i (range ~'n)
                                        ~'bad [(java.util.Arrays/copyOf ~'good ~'i) (~'flip ~'i 1) (~'flip ~'i 255)]]
                                    (~'status (fn [] (~call ~'bad)))))))))
          (is (= :INVALID_ADDR (child/value importer (list 'status (list 'fn [] (list call '(byte-array 100000)))))))))
      (testing "one instead of the other"
        (is (= [:INVALID_ADDR :INVALID_ADDR]
               (child/value importer (list 'mapv 'status [(list 'fn [] (list '.connect 'worker (list 'unhex key)))
                                                          (list 'fn [] (list '.key 'peer (list 'unhex address)))])))))
      (is (= :ok (child/value importer '(status #(do (.put peer (address local) remote 0 8 (deadline 5000)) (.flush peer (deadline 5000)))))))
      (testing "memory that is none"
        (is (= [:INVALID_PARAM :INVALID_PARAM :INVALID_PARAM]
               (child/value importer '(mapv status [#(.register worker 0 8 true) #(.register worker (address local) 0 true)
                                                    #(.register worker (address local) -1 true)]))))))))

;; ------------------------------------------------------------ what is left

(deftest nothing-is-left
  (with-ucx "leaks" [exporter importer]
    (let [[address key] (child/value exporter '(serve! 1048576))
          rounds   (fn [n]
                     (child/value importer
                                  (list 'dotimes ['_ n]
                                        (list 'connect! 4096 address key)
                                        '(.put peer (address local) remote 0 8 (deadline 5000))
                                        '(.flush peer (deadline 5000))
                                        '(.register worker (address local) 4096 false)
                                        '(status (fn [] (UcxWorker/open "mlx5_99:1")))
                                        '(.close worker))))
          holds    (fn [c]
                     (System/gc)
                     {:fds     (count (.list (io/file (str "/proc/" (child/pid c) "/fd"))))
                      :threads (count (.list (io/file (str "/proc/" (child/pid c) "/task"))))
                      :mib     (quot (parse-long (second (re-find #"VmRSS:\s+(\d+)" (child/proc (child/pid c) "status")))) 1024)})
          settled  (fn [c before]
                     (child/eventually (let [now (holds c)]
                                         (and (<= (:fds now) (:fds before)) (<= (:threads now) (:threads before))))))]
      (rounds 10)
      (let [before {:importer (holds importer) :exporter (holds exporter)}]
        (rounds 60)
        (doseq [[what c] {:importer importer :exporter exporter}]
          (is (settled c (before what)) [what (before what) (holds c)])
          (is (> 24 (- (:mib (holds c)) (:mib (before what)))) [what (before what) (holds c)])))
      (child/value exporter '(quit!)))))
