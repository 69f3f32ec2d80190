(ns rsmapi.cli-test
  "The command line: most of it by rsmapi.cli/run in this process, which returns the exit code, and as a
  program of its own what only a process has: pipes, signals, a terminal. And rsmapi.tool."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.cli :as cli]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.hosts :as hosts]
            [rsmapi.layout :as layout]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.test.hosts :as network]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.segment :refer [with-segment]]
            [rsmapi.tool :as tool])
  (:import (java.io File StringWriter)
           (java.net InetAddress ServerSocket)
           (java.nio.charset StandardCharsets)
           (java.util.concurrent TimeUnit)
           (org.rsmapi.sys Sockets)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

(defn- run-with [style args]
  (let [out (StringWriter.)
        err (StringWriter.)
        exit (binding [*out* out, *err* err]
               (cli/run (map str args) style))]
    {:exit exit :out (str out) :err (str err)}))

(defn- rsm
  "Runs a command line. {:exit :out :err}"
  [& args]
  (run-with nil args))

(defn- lines [s] (str/split-lines s))

(defn- data
  "The output of a successful command line with --edn."
  [& args]
  (let [{:keys [exit out err]} (apply rsm (concat args ["--edn"]))]
    (is (= [0 ""] [exit err]) (pr-str args))
    (edn/read-string out)))

(defn- fails
  "Runs a command line that fails, with and without --edn, and returns the data of the error. Checks that
  both say it on standard error only, and without a stack trace."
  [exit & args]
  (let [plain (apply rsm args)
        other (apply rsm (concat args ["--edn"]))
        found (try (edn/read-string (:err other)) (catch RuntimeException e e))]
    (is (= exit (:exit plain)) (pr-str args plain))
    (is (= exit (:exit other)) (pr-str args other))
    (is (= "" (:out plain) (:out other)))
    (is (str/starts-with? (:err plain) "rsm: ") (pr-str args))
    (is (>= 2 (count (lines (:err plain)))) (:err plain))
    (is (not (re-find #"(?m)^\s+at |Exception" (:err plain))))
    (is (keyword? (:rsm/error found)) (pr-str args other))
    (is (some? (error/lookup found)))
    found))

(defn- with-file* [^String text f]
  (let [file (File/createTempFile "rsmapi-cli" ".edn")]
    (try
      (spit file text)
      (f (str file))
      (finally (.delete file)))))

(defmacro ^:private with-file [[sym text] & body]
  `(with-file* ~text (fn [~sym] ~@body)))

(defn- put-text! [memory offset ^String s]
  (rsm/put-bytes! memory offset (.getBytes s StandardCharsets/US_ASCII)))

(defn- id-of [ex] (format "0x%08x" (rsm/segment-id ex)))

;; ------------------------------------------------------------------- help

(def ^:private commands ["ls" "stat" "dump" "watch" "put" "export" "topology" "key" "gateway" "errors"])

(deftest help
  (let [{:keys [exit out err]} (rsm "--help")]
    (is (= [0 ""] [exit err]))
    (doseq [command commands]
      (is (re-find (re-pattern (str "(?m)^  " command " ")) out))))
  (is (= (rsm "--help") (rsm "-h")))
  (doseq [command commands
          args [[command "--help"] [command "-h"] ["--help" command] ["help" command] [command "no" "such" "--help" "--nosuch"]]]
    (let [{:keys [exit out err]} (apply rsm args)]
      (is (= [0 ""] [exit err]) (pr-str args))
      (is (str/starts-with? out (str "usage: rsm " command)) (pr-str args))
      (is (str/includes? out "--edn"))))
  (testing "everything fits a terminal"
    (doseq [command commands, line (lines (:out (rsm command "--help")))]
      (is (>= 110 (count line)) line))))

(deftest wrong-usage
  (doseq [args [[] ["nosuch"] ["--nosuch"] ["--edn"] [""]
                ["ls" "more"] ["ls" "--node"] ["ls" "--node" "x"] ["ls" "--nosuch"] ["ls" "--node" "1.5"]
                ["stat"] ["stat" "x"] ["stat" ""] ["stat" "0x"] ["stat" "1" "2"] ["stat" "1" "--timeout-ms" "soon"]
                ["stat" "1" "--timeout-ms" "-1"] ["stat" "1" "--timeout-ms"]
                ["dump"] ["dump" "1" "--offset" "a"] ["dump" "1" "--length" "0xg"] ["dump" "1" "--layout" "/nosuch"]
                ["dump" "1" "--layout" "/"] ["dump" "1" "--layout" "/dev/null"] ["dump" "1" "--layout" "x" "--fields"]
                ["watch"] ["watch" "1" "--interval-ms" "0"] ["watch" "1" "--interval-ms" "-5"] ["watch" "1" "--changes" "0"]
                ["put"] ["put" "1"] ["put" "1" "0"] ["put" "1" "0" "int"] ["put" "1" "0" "int" "5" "6"] ["put" "1" "x" "int" "5"]
                ["put" "1" "0" "integer" "5"] ["put" "1" "0" "int" "five"] ["put" "1" "0" "int" ""] ["put" "1" "0" "double" "x"]
                ["put" "1" "0" "char" "ab"] ["put" "1" "0" "char" "65536"] ["put" "1" "0" "hex" "abc"] ["put" "1" "0" "hex" "xy"]
                ["put" "1" "0" "int" "5" "--offset" "8"] ["put" "1" "seq" "5"] ["put" "1" "seq" "--fields"]
                ["export"] ["export" "a" "b"] ["export" "/nosuch"] ["export" "/"] ["export" "/dev/null"] ["export" "/dev/zero"]
                ["export" "/etc/passwd" "--perm" "rw"] ["export" "/etc/passwd" "--perm" "0888"] ["export" "/etc/passwd" "--id" "x"]
                ["topology" "x"] ["errors" "nosuch"] ["errors" "99999"] ["errors" "1" "2"] ["errors" ":rsm/"] ["errors" ""]]]
    (if (= ["--edn"] args)
      (is (= 2 (:exit (apply rsm args))))
      (is (= :rsm/bad-args-errors (:rsm/error (apply fails 2 args))) (pr-str args)))))

(deftest a-malformed-layout
  (doseq [text ["" "[:struct" "#=(System/exit 1)" "#nosuch [1]" "5" "[:struct [:a :nosuch]]" "{:a 1 :a 2}"]]
    (with-file [file text]
      (is (= :rsm/bad-args-errors (:rsm/error (fails 2 "dump" "1" "--layout" file))) text))))

;; --------------------------------------------------------- looking at things

(deftest list-of-segments
  (with-segment [c ex _]
    (let [id (rsm/segment-id ex)
          {:keys [exit out err]} (rsm "ls")]
      (is (= [0 ""] [exit err]))
      (is (re-find #"^SEGMENT +NODE +UID +PID" out))
      (is (some #(str/starts-with? % (id-of ex)) (lines out)))
      (is (some #(= [id 0 true] ((juxt :segment-id :node :mine?) %)) (data "ls")))
      (is (some #(= id (:segment-id %)) (data "ls" "--node" "0x0")))
      (is (not-any? #(= id (:segment-id %)) (data "ls" "-n" "1"))))))

(deftest state-of-a-segment
  (with-segment [c ex _]
    (doseq [id [(id-of ex) (str (rsm/segment-id ex)) (str/upper-case (str/replace (id-of ex) "0x" "0X"))
                (str "+" (rsm/segment-id ex))]]
      (let [{:keys [exit out err]} (rsm "stat" id)]
        (is (= [0 ""] [exit err]))
        (is (str/includes? out (str (* 4 page) " bytes")))
        (is (str/includes? out "rdwr"))))
    (is (= {:segment-id (rsm/segment-id ex) :node 0 :controller "loopback" :size (* 4 page) :perm :rdwr :layout nil}
           (select-keys (data "stat" (id-of ex)) [:segment-id :node :controller :size :perm :layout])))
    (is (eventually (= 1 (rsm/importers ex))) "it has disconnected, the test has not"))
  (testing "the layout with which it is published"
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page :layout (layout/layout [:struct [:seq :u64] [:price :f64]])}]
        (is (re-find #"fields +seq price" (:out (rsm "stat" (id-of ex)))))
        (is (= [:seq :price] (map :name (:fields (:layout (data "stat" (id-of ex)))))))))))

(deftest no-such-segment
  (is (= {:rsm/error :rsm/seg-not-published :rsm/segment-id 0x6fffff42}
         (select-keys (fails 1 "stat" "0x6fffff42") [:rsm/error :rsm/segment-id])))
  (is (str/includes? (:err (rsm "stat" "0x6fffff42")) "segment-id 0x6fffff42") "as one writes it")
  (doseq [args [["dump" "0x6fffff42"] ["watch" "0x6fffff42"] ["put" "0x6fffff42" "0" "int" "1"]]]
    (is (= :rsm/seg-not-published (:rsm/error (apply fails 1 args)))))
  (is (= :rsm/bad-segid (:rsm/error (fails 1 "stat" "0x100000000"))))
  (is (= :rsm/bad-segid (:rsm/error (fails 1 "stat" "-99999999999"))))
  (is (= :rsm/bad-segid (:rsm/error (fails 1 "stat" "99999999999999999999"))))
  (is (= :rsm/bad-offset (:rsm/error (fails 1 "dump" "1" "--offset" "99999999999999999999"))))
  (is (= :rsm/ctlr-not-present (:rsm/error (fails 1 "stat" "1" "--controller" "nosuch"))))
  (is (= :rsm/ctlr-not-present (:rsm/error (fails 1 "stat" "1" "--node" "5"))) "loopback has one node")
  (is (= :rsm/bad-conf (:rsm/error (fails 1 "stat" "1" "-c" "shm3" "--from-node" "64")))))

(deftest bytes-of-a-segment
  (with-segment [c ex _]
    (put-text! ex 0 "hello, world")
    (put-text! ex 4096 "second page")
    (let [{:keys [exit out err]} (rsm "dump" (id-of ex) "--length" "40")]
      (is (= [0 ""] [exit err]))
      (is (re-find #"^00000000  68 65 6c 6c .*\|hello, world\.\.\.\.\|" out)))
    (is (re-find #"^00001000 .*\|second page" (:out (rsm "dump" (id-of ex) "-o" "4096" "-l" "0x10"))))
    (is (= [0 ""] ((juxt :exit :out) (rsm "dump" (id-of ex) "-l" "0"))))
    (testing "the whole segment"
      (let [found (data "dump" (id-of ex))]
        (is (= (map int "hello, world....") (map #(if (zero? %) 46 %) (:bytes (first found)))))
        (is (some #(= 4096 (:offset %)) found))
        (is (every? #(or (= 16 (count (:bytes %))) (:repeats %)) found))))
    (doseq [args [["-o" "-1"] ["-o" (inc (* 4 page)) "-l" "1"] ["-o" "0" "-l" (inc (* 4 page))] ["-o" "9223372036854775807" "-l" "1"]]]
      (is (= :rsm/bad-offset (:rsm/error (apply fails 1 "dump" (id-of ex) args))) (pr-str args)))
    (is (= :rsm/bad-length (:rsm/error (fails 1 "dump" (id-of ex) "-l" "-1"))))
    (testing "with a layout"
      (with-file [file "[:struct [:seq :u64] [:price :f64]]"]
        (rsm/put-long! ex 8192 7)
        (rsm/put-double! ex 8200 101.5)
        (let [{:keys [exit out err]} (rsm "dump" (id-of ex) "-o" "8192" "--layout" file)]
          (is (= [0 ""] [exit err]))
          (is (= ["seq    7" "price  101.5"] (take-last 2 (lines out))))
          (is (re-find #"^00002000 .*\|  seq price" out)))
        (is (= {:value {:seq 7 :price 101.5}} (last (data "dump" (id-of ex) "-o" "8192" "--layout" file))))))
    (is (= :rsm/bad-args-errors (:rsm/error (fails 2 "dump" (id-of ex) "--fields"))) "published without a layout")))

(deftest permissions
  ;; root may do everything, so that another user asks
  (if-let [why (child/obstacle {:uid 2001 :gid 2001})]
    (runner/skip! "permissions" why)
    (child/with-child [other {:uid 2001 :gid 2001}]
      (child/value other '(require 'rsmapi.cli 'clojure.edn))
      (let [run (fn [& args]
                  (child/value other `(let [out# (java.io.StringWriter.), err# (java.io.StringWriter.)]
                                        [(binding [*out* out#, *err* err#]
                                           (rsmapi.cli/run ~(mapv str (concat args ["--edn"]))))
                                         (str out# err#)])))
            perm (fn [& args] (let [[exit text] (apply run args)]
                                [exit ((some-fn :rsm/error :perm) (edn/read-string text))]))
            denied [1 :rsm/perm-denied]]
        (rsm/with-controller [c "loopback"]
          (rsm/with-exported-segment [ex c {:size page :acl [{:node 0 :perm 0602}]}]
            (is (= [0 :write] (perm "stat" (id-of ex))))
            (is (= denied (perm "dump" (id-of ex))))
            (is (= denied (perm "watch" (id-of ex))))
            (is (= 0 (first (run "put" (id-of ex) "0" "int" "7"))) "to write is enough for put")
            (is (= 7 (rsm/get-int ex 0)))
            (with-file [file "[:struct [:seq :u64]]"]
              (.setReadable (io/file file) true false)
              (is (= 0 (first (run "put" (id-of ex) "seq" "8" "--layout" file))))
              (is (= 8 (rsm/get-int ex 0)))))
          (rsm/with-exported-segment [ex c {:size page :acl [{:node 0 :perm 0604}]}]
            (is (= [0 :read] (perm "stat" (id-of ex))))
            (is (= 0 (first (run "dump" (id-of ex) "-l" "16"))))
            (is (= denied (perm "put" (id-of ex) "0" "int" "7"))))
          (rsm/with-exported-segment [ex c {:size page :acl [{:node 0 :perm 0600}]}]
            (is (= denied (perm "stat" (id-of ex))))))))))

(deftest nodes
  (rsm/with-controller [c "shm29" {:node 7}]
    (rsm/with-exported-segment [ex c {:size page :acl [{:node 9 :perm 0666} {:node 7 :perm 0666}]}]
      (is (= 7 (:node (data "stat" (id-of ex) "-c" "shm29" "-n" "7" "--from-node" "9"))))
      (is (= :rsm/seg-not-published-to-node
             (:rsm/error (fails 1 "stat" (id-of ex) "-c" "shm29" "-n" "7" "--from-node" "8"))))
      (is (str/includes? (:out (rsm "topology")) "shm29"))
      (is (some #(= "shm29" (:name %)) (:controllers (data "topology")))))))

;; -------------------------------------------------------------- networks

(deftest topology-of-networks
  (testing "without a nodes file"
    (let [{:keys [controllers problems]} (data "topology")]
      (is (not-any? #(= "net0" (:name %)) controllers))
      (is (nil? problems)))
    (is (str/includes? (:out (rsm "topology")) "net0: there is no nodes file")))
  (let [end! (network/begin! [1 2] nil)
        nodes-file (System/getProperty "rsmapi.nodes")
        peers (fn [found] (into {} (for [{:keys [name peers]} (:controllers found) :when (str/starts-with? name "net")]
                                     [name (mapv (juxt :node :state) peers)])))]
    (System/setProperty "rsmapi.net.timeout" "2000")
    (try
      (testing "without gateways"
        (is (= {"net0" [[2 :down]] "net1" [[1 :down]]} (peers (data "topology"))))
        (is (nil? (hosts/gateway-status)) "it has not stayed"))
      (testing "with those of other processes"
        (child/with-child [gateways {:label "gateways"}]
          (child/value gateways '(do (require 'rsmapi.hosts)
                                     (def both (mapv #(rsmapi.hosts/gateway {:controller %}) ["net0" "net1"]))
                                     nil))
          (is (eventually (= {"net0" [[2 :active]] "net1" [[1 :active]]} (peers (data "topology")))))
          (is (re-find #"(?m)^net0 +1 +2 +active$" (:out (rsm "topology"))))
          (testing "and in this one"
            (with-open [_ (hosts/gateway)]
              (is (eventually (= {"net0" [[2 :active]] "net1" [[1 :active]]} (peers (data "topology")))))))))
      (testing "with a malformed nodes file"
        (spit nodes-file "# a comment\nnode 1\n")
        (let [found (data "topology")]
          (is (= {} (peers found)))
          (is (= [["net0" :rsm/bad-conf nodes-file 2] ["net1" :rsm/bad-conf nodes-file 2]]
                 (mapv (juxt :controller :rsm/error :rsm/file :rsm/line) (:problems found)))))
        (is (re-find #"(?m)^net0: .*BAD_CONF.*nodes" (:out (rsm "topology")))))
      (finally (end!)))))

(deftest table-of-errors
  (is (= error/table (data "errors")))
  (is (= (inc (count error/table)) (count (lines (:out (rsm "errors"))))))
  (doseq [code ["18" "bad-offset" ":rsm/bad-offset" "rsm/bad-offset" "RSMERR_BAD_OFFSET" "rsmerr_bad_offset" "Bad-Offset"]]
    (is (= 18 (:rsm/code (data "errors" code))) code)
    (is (str/includes? (:out (rsm "errors" code)) "RSMERR_BAD_OFFSET"))))

;; -------------------------------------------------------------------- put

(deftest values
  (with-segment [c ex _]
    (let [put! (fn [& args] (let [{:keys [exit err] :as found} (apply rsm "put" (id-of ex) args)]
                              (is (= [0 ""] [exit err]) (pr-str args))
                              found))]
      (doseq [[type text read value]
              [["byte" "-5" rsm/get-byte -5] ["byte" "0xff" rsm/get-byte -1]
               ["short" "-32768" rsm/get-short -32768] ["short" "65535" rsm/get-short -1]
               ["char" "A" rsm/get-char \A] ["char" "0x20ac" rsm/get-char \u20ac]
               ["int" "-2147483648" rsm/get-int -2147483648] ["int" "0xffffffff" rsm/get-int -1]
               ["long" "-9223372036854775808" rsm/get-long Long/MIN_VALUE] ["long" "0xffffffffffffffff" rsm/get-long -1]
               ["long" "42" rsm/get-long 42]
               ["float" "1.5" rsm/get-float 1.5] ["float" "-1e3" rsm/get-float -1000.0]
               ["double" "-0.5" rsm/get-double -0.5] ["double" "Infinity" rsm/get-double ##Inf] ["double" "-5" rsm/get-double -5.0]]]
        (rsm/fill! ex 0 64 0)
        (put! "8" type text)
        (is (= value (read ex 8)) (pr-str type text)))
      (put! "0x10" "text" "h\u00e9llo")
      (is (= "h\u00e9llo" (String. ^bytes (rsm/get-bytes ex 16 6) StandardCharsets/UTF_8)))
      (put! "100" "hex" "de ad:BEEF")
      (is (= [0xde 0xad 0xbe 0xef] (map #(bit-and 0xff %) (rsm/get-bytes ex 100 4))))
      (put! "0" "short" "1" "--byte-order" "big-endian")
      (is (= [0 1] (seq (rsm/get-bytes ex 0 2))))
      (testing "with an event"
        (put! "0" "int" "1" "--signal")
        (is (nil? (rsm/signal-wait! ex {:timeout-ms 0})))
        (put! "0" "int" "1")
        (is (= :rsm/timeout (:rsm/error (error/catching (rsm/signal-wait! ex {:timeout-ms 0}))))))
      (is (= {:segment-id (rsm/segment-id ex) :offset 24 :type :long :length 8} (data "put" (id-of ex) "24" "long" "1")))
      (testing "out of range"
        (doseq [[type text] [["byte" "256"] ["short" "65536"] ["int" "4294967296"] ["long" "0x10000000000000000"] ["byte" "-129"]]]
          (is (= :rsm/bad-args-errors (:rsm/error (fails 2 "put" (id-of ex) "0" type text))) (pr-str type text)))
        (is (= :rsm/bad-offset (:rsm/error (fails 1 "put" (id-of ex) (* 4 page) "byte" "1"))))
        (is (= :rsm/bad-offset (:rsm/error (fails 1 "put" (id-of ex) "-1" "byte" "1"))))
        (is (= 2 (:exit (rsm "put" (id-of ex) "0" "int" "1" "--byte-order" "middle"))))))))

(deftest fields
  (with-file [file "[:struct [:seq :u64] [:name [:chars 8]] [:levels [:array 3 [:struct [:px :f64] [:n :i32]]]]]"]
    (with-segment [c ex _]
      (let [put (fn [& args] (apply rsm "put" (id-of ex) args))
            view #(deref (layout/view ex (edn/read-string (slurp file)) 64))]
        (is (= [0 ""] ((juxt :exit :err) (put "seq" "42" "--layout" file "--offset" "64"))))
        (is (= 0 (:exit (put "levels[2].px" "-101.5" "--layout" file "-o" "64"))))
        (is (= 0 (:exit (put "levels.1.n" "-7" "--layout" file "-o" "64"))))
        (is (= 0 (:exit (put "name" "ABC" "--layout" file "-o" "64"))))
        (is (= {:seq 42 :name "ABC" :levels [{:px 0.0 :n 0} {:px 0.0 :n -7} {:px -101.5 :n 0}]} (view)))
        (is (= :rsm/bad-args-errors (:rsm/error (fails 2 "put" (id-of ex) "nosuch" "1" "--layout" file))))
        (is (= :rsm/bad-args-errors (:rsm/error (fails 2 "put" (id-of ex) "seq" "x" "--layout" file))))
        (is (= :rsm/bad-offset (:rsm/error (fails 1 "put" (id-of ex) "levels[3].px" "1" "--layout" file))))
        (is (= :rsm/bad-offset (:rsm/error (fails 1 "put" (id-of ex) "seq" "1" "--layout" file "-o" (* 4 page))))))))
  (testing "of the layout with which it is published"
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page :layout (layout/layout [:struct [:seq :u64]])}]
        (is (= 0 (:exit (rsm "put" (id-of ex) "seq" "5" "--fields"))))
        (is (= {:seq 5} @(layout/view ex)))))))

;; ------------------------------------------------------------------ watch

(defn- watching
  "Starts watch in a thread. {:result a promise of {:exit :out :err}, :out what there is so far}"
  [style & args]
  (let [out (StringWriter.)
        err (StringWriter.)
        result (promise)
        thread (doto (Thread. ^Runnable
                              (fn []
                                (deliver result
                                         (try
                                           (binding [*out* out, *err* err]
                                             {:exit (cli/run (map str (cons "watch" args)) style)})
                                           (catch Throwable t t)))))
                 (.setDaemon true)
                 (.start))]
    {:thread thread :out #(str out) :err #(str err)
     :result #(deref result 30000 :still-watching)}))

(deftest segments-of-another-host
  (let [end! (network/begin! [1 2] nil)
        far  (fn [command ex & args] (concat [command (id-of ex)] args ["--controller" "net0" "--node" 2]))]
    (System/setProperty "rsmapi.net.timeout" "20000")
    (try
      (with-open [two (rsm/get-controller "net1")]
        (rsm/with-exported-segment [ex two {:size (* 2 page) :acl [{:node 1 :perm 0666}]}]
          (testing "put"
            (doseq [perm [0666 0222]]
              (rsm/republish! ex {:acl [{:node 1 :perm perm}]})
              (is (= {:exit 0 :out (str (id-of ex) ": long at 16, 8 bytes\n") :err ""} (apply rsm (far "put" ex 16 "long" perm "--signal"))))
              (is (= perm (rsm/get-long ex 16)))
              (is (nil? (rsm/signal-wait! ex {:timeout-ms 5000})))
              (is (zero? (:exit (apply rsm (far "put" ex 21 "int" -2 "--byte-order" "big-endian")))))
              (is (= -2 (rsm/get-int ex 21 :big-endian)))
              (is (zero? (:exit (apply rsm (far "put" ex 1003 "text" "hello")))))
              (is (= "hello" (rsm/get-text ex 1003 5)))
              (doseq [at [-1 (* 2 page)]]
                (is (= :rsm/bad-offset (:rsm/error (apply fails 1 (far "put" ex at "byte" 1)))))))
            (rsm/republish! ex {:acl [{:node 1 :perm 0666}]})
            (with-file [file "[:struct [:x :u64] [:y :u32]]"]
              (is (zero? (:exit (apply rsm (far "put" ex "y" 7 "--layout" file)))))
              (is (= 7 (rsm/get-int ex 8)))))
          (testing "dump"
            (is (re-find #"68 65 6c 6c 6f" (:out (apply rsm (far "dump" ex "--offset" 1000 "--length" 16))))))
          (testing "watch"
            (let [{:keys [out err result]} (apply watching nil (rest (far "watch" ex "-i" 5 "-l" 64 "--changes" 2)))]
              (is (eventually (= 1 (count (filter seq (lines (out)))))) "the content comes first")
              (rsm/put-byte! ex 40 1)
              (is (eventually (re-find #"(?m)^\S+Z  00000028  00 -> 01$" (out))))
              (rsm/put-byte! ex 41 1)
              (is (= {:exit 0} (result)))
              (is (= "" (err))))
            (let [{:keys [out result]} (apply watching nil (rest (far "watch" ex "-i" 5 "-l" 64)))]
              (is (eventually (seq (out))))
              (rsm/unpublish! ex)
              (is (= {:exit 4} (result)))))))
      (finally (end!)))))

(deftest a-gateway-whose-port-another-program-has
  (let [end!    (network/begin! [1 2] nil)
        port    (:port (first (hosts/nodes)))
        taken   (ServerSocket. (int port) 5 (InetAddress/getByName "127.0.0.1"))
        out     (StringWriter.)
        gateway (doto (Thread. ^Runnable #(binding [*out* out] (cli/run ["gateway"] nil))) (.setDaemon true) (.start))]
    (try
      (is (eventually (re-find #"waits to be the gateway of node 1; the port cannot be had: Address already in use" (str out))) (str out))
      (is (= 1 (count (lines (str out)))))
      (.close taken)
      (is (eventually (= 2 (count (lines (str out))))) "it has it now")
      (finally
        (.close taken)
        (.interrupt gateway)
        (.join gateway 10000)
        (end!)))))

(deftest changes-as-lines
  (with-segment [c ex _]
    (put-text! ex 0 "hello, world")
    (let [{:keys [out err result]} (watching nil (id-of ex) "-i" "5" "-l" "32" "--changes" "3")]
      (is (eventually (str/includes? (out) "68656c6c6f")) "the content comes first")
      (is (= 1 (count (lines (out)))))
      (rsm/put-byte! ex 4 0x21)
      (is (eventually (re-find #"(?m)^\S+Z  00000004  6f -> 21$" (out))))
      (rsm/put-byte! ex 100 1)
      (rsm/put-short! ex 30 0x0202)
      (is (eventually (str/includes? (out) "0000001e  0000 -> 0202")))
      (rsm/put-byte! ex 0 1)
      (is (= {:exit 0} (result)))
      (is (= 4 (count (lines (out)))) "the byte that is not watched is not shown")
      (is (= "" (err))))))

(deftest changes-as-data
  (with-segment [c ex _]
    (let [{:keys [out result]} (watching nil (id-of ex) "--edn" "-i" "5" "-o" "16" "-l" "16" "--changes" "1")]
      (is (eventually (seq (out))))
      (rsm/put-long! ex 16 -1)
      (is (= {:exit 0} (result)))
      (let [[start & changes] (map edn/read-string (lines (out)))]
        (is (= {:offset 16 :new "00000000000000000000000000000000"} (dissoc start :time)))
        (is (every? #(inst? (edn/read-string (str "#inst \"" (:time %) "\""))) (cons start changes)))
        (is (every? #(and (:old %) (:new %) (<= 16 (:offset %) 23)) changes)))))
  (testing "of fields"
    (with-file [file "[:struct [:seq :u64] [:price :f64]]"]
      (with-segment [c ex _]
        (rsm/put-double! ex 8 ##NaN)
        (let [{:keys [out result]} (watching nil (id-of ex) "--edn" "-i" "5" "--layout" file "--changes" "2")]
          (is (eventually (= 2 (count (lines (out))))))
          (rsm/put-long! ex 0 7)
          (is (eventually (= 3 (count (lines (out))))))
          (rsm/put-double! ex 8 1.5)
          (is (= {:exit 0} (result)))
          (is (= [[:seq] [:price] [:seq] [:price]] (map (comp :field edn/read-string) (lines (out)))))
          (is (= {:old 0 :new 7} (select-keys (edn/read-string (nth (lines (out)) 2)) [:old :new])))
          (is (= 1.5 (:new (edn/read-string (last (lines (out))))))))
        (let [{:keys [out result]} (watching nil (id-of ex) "-i" "5" "--layout" file "--changes" "1")]
          (is (eventually (= 2 (count (lines (out))))))
          (rsm/put-long! ex 0 8)
          (is (= {:exit 0} (result)))
          (is (re-find #"(?m)^\S+Z  seq  7 -> 8$" (out))))))))

(deftest redrawn-on-a-terminal
  (with-segment [c ex _]
    (doseq [colour [true false]]
      (rsm/fill! ex 0 64 0)
      (let [{:keys [out result]} (watching {:terminal true :colour colour} (id-of ex) "-i" "5" "-l" "32" "--changes" "1")]
        (is (eventually (= 3 (count (lines (out))))))
        (is (not (str/includes? (out) "\u001b[3A")) "nothing to draw over yet")
        (rsm/put-byte! ex 17 0x41)
        (is (= {:exit 0} (result)))
        (is (str/includes? (out) "\u001b[3A\u001b[J"))
        (is (= colour (str/includes? (out) "\u001b[1;7m41\u001b[0m")))
        (is (= colour (boolean (re-find #"\u001b\[[0-9;]*m" (out)))))
        (is (str/includes? (last (lines (str/replace (out) #"\u001b\[[0-9;]*[a-zA-Z]" "")))
                           "00000010  00 41 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |.A..............|"))))
    (testing "but not with --edn"
      (let [{:keys [out result]} (watching {:terminal true :colour true} (id-of ex) "-i" "5" "--edn" "--changes" "1")]
        (is (eventually (seq (out))))
        (rsm/put-byte! ex 17 0x42)
        (is (= {:exit 0} (result)))
        (is (not (str/includes? (out) "\u001b")))))))

(deftest the-end-of-what-is-watched
  (doseq [[what end!] {"unpublished" rsm/unpublish!, "destroyed" rsm/destroy!}]
    (testing what
      (rsm/with-controller [c "loopback"]
        (with-open [ex (rsm/export! c {:size page})]
          (rsm/fill! ex 0 16 0x55)
          (let [{:keys [out err result]} (watching nil (id-of ex) "-i" "5" "-l" "16")]
            (is (eventually (seq (out))))
            (end! ex)
            (is (= {:exit 4} (result)))
            (is (= 1 (count (lines (out)))) "the zeros after a revocation are not shown")
            (is (str/includes? (err) "RSMERR_CONN_ABORTED"))))))))

(deftest exporters-that-die-or-stop
  (child/with-child [exporter {}]
    (let [id (child/value exporter '(do (def ex (rsm/export! (rsm/get-controller nil) {:size 4096}))
                                        (rsm/segment-id ex)))
          {:keys [out result]} (watching nil id "-i" "5" "--edn")]
      (is (eventually (seq (out))))
      (child/signal! exporter "STOP")
      (testing "a stopped exporter does not answer"
        (doseq [args [["stat" id] ["dump" id] ["watch" id] ["put" id "0" "int" "1"]]]
          (let [start (System/nanoTime)]
            (is (= :rsm/timeout (:rsm/error (apply fails 3 (concat args ["--timeout-ms" "100"])))))
            (is (> 20000 (/ (- (System/nanoTime) start) 1e6)))))
        (is (some #(= id (:segment-id %)) (data "ls"))))
      (testing "but its memory is there"
        (is (= :still-watching (deref (future (result)) 100 :still-watching))))
      (child/kill-9! exporter)
      (is (= {:exit 4} (result)))
      (is (= :rsm/seg-not-published (:rsm/error (fails 1 "dump" id)))))))

(deftest one-who-listens-and-does-not-answer
  (let [id (fresh-id)]
    (with-open [_ (Sockets/listen (format "rsmapi/0/%08x" id) 16)]
      (let [start (System/nanoTime)]
        (is (= :rsm/timeout (:rsm/error (fails 3 "stat" id "-t" "200"))))
        (is (<= 400 (/ (- (System/nanoTime) start) 1e6) 20000) "200 ms, twice")))))

;; ----------------------------------------------------------------- rsmapi.tool

(defn- silently [f]
  (let [out (StringWriter.)]
    [(binding [*out* out] (f)) (str out)]))

(deftest functions
  (with-segment [c ex _]
    (let [id (rsm/segment-id ex)]
      (is (some #(= id (:segment-id %)) (first (silently #(tool/ls {})))))
      (is (= (* 4 page) (:size (first (silently #(tool/stat {:id id}))))))
      (is (= {:segment-id id :offset 8 :type :long :length 8}
             (first (silently #(tool/put {:id id :offset 8 :type :long :value -2})))))
      (is (= -2 (rsm/get-long ex 8)))
      (is (= {:segment-id id :field [:seq] :value 9}
             (first (silently #(tool/put {:id id :offset 8 :layout [:struct [:seq :u64]] :field [:seq] :value 9})))))
      (is (= 9 (rsm/get-long ex 8)))
      (is (str/includes? (second (silently #(tool/dump {:id id :length 16}))) "09 00"))
      (is (= 18 (:rsm/code (first (silently #(tool/errors {:code :rsm/bad-offset}))))))
      (is (= (rsm/topology) (first (silently #(tool/topology nil)))))
      (is (= 18 (:rsm/code (edn/read-string (second (silently #(tool/errors {:code 18 :edn true})))))))))
  (testing "errors"
    (doseq [[f opts error] [[tool/stat {} :rsm/bad-segid] [tool/stat nil :rsm/bad-segid] [tool/stat 5 :rsm/bad-args-errors]
                            [tool/stat {:id 1 :nosuch 1} :rsm/bad-args-errors] [tool/stat {:id "x"} :rsm/bad-segid]
                            [tool/ls {:edn 1} :rsm/bad-args-errors] [tool/ls {:node "x"} :rsm/bad-args-errors]
                            [tool/dump {:id 1 :offset "x"} :rsm/bad-offset] [tool/dump {:id 1 :layout 5} :rsm/bad-args-errors]
                            [tool/put {:id 1 :type nil} :rsm/bad-args-errors] [tool/put {:id 1 :type :int :value nil} :rsm/bad-args-errors]
                            [tool/put {:id 1 :type :text :value 5} :rsm/bad-args-errors] [tool/put {:id 1 :type :int :value 1.5} :rsm/bad-args-errors]
                            [tool/watch {:id 1 :interval-ms :soon} :rsm/bad-args-errors] [tool/stat {:id 1 :timeout-ms 1.5} :rsm/bad-args-errors]
                            [tool/export {} :rsm/bad-args-errors] [tool/export {:file 5} :rsm/bad-args-errors]
                            [tool/export {:file "/etc/passwd" :perm :all} :rsm/bad-acl] [tool/stat {:id 1 :controller 5} :rsm/ctlr-not-present]
                            [tool/errors {:code 'x} :rsm/bad-args-errors] [tool/errors {:code 1.5} :rsm/bad-args-errors]]]
      (let [e (try (f opts) (catch clojure.lang.ExceptionInfo e e))]
        (is (= [error true] ((juxt :rsm/error :exec-msg) (ex-data e))) (pr-str f opts e))
        (is (= error (:rsm/error (error/error-of e))))))))

(deftest export-until-interrupted
  (with-file [file "hello, world"]
    (let [out (StringWriter.)
          result (promise)
          thread (doto (Thread. ^Runnable (fn [] (deliver result (try (binding [*out* out] (tool/export {:file file :perm 0444 :edn true}))
                                                                       (catch Throwable t t)))))
                   .start)]
      (is (eventually (str/includes? (str out) "\n")))
      (let [{:keys [segment-id size length]} (edn/read-string (str out))]
        (is (= [page 12] [size length]))
        (is (= 0 (:exit (rsm "stat" segment-id))))
        (is (str/includes? (:out (rsm "dump" segment-id "-l" "16")) "|hello, world....|"))
        (.interrupt thread)
        (is (= segment-id (:segment-id (deref result 20000 nil))))
        (is (= :rsm/seg-not-published (:rsm/error (fails 1 "stat" segment-id))))))))

(deftest what-a-peer-writes-does-not-control-the-terminal
  (let [evil (str "a" (char 27) "[2J" (char 7) (char 0x9b) (char 0x202e))
        evil-name (keyword (str "a" (char 27) "c" (char 0x9b)))]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page
                                        :layout (layout/layout [:struct [:seq :u64] [evil-name [:chars 16]]])}]
        (layout/put! (layout/view ex) evil-name evil)
        (doseq [args [["stat"] ["dump" "--fields"] ["dump" "-l" "64"] ["watch" "--fields" "--changes" "1"]]
                more [[] ["--edn"]]]
          (let [changer (when (= "watch" (first args))
                          (future (loop [n 1]
                                    (Thread/sleep 20)
                                    (when (< n 500)
                                      (rsm/put-long! ex 0 n)
                                      (recur (inc n))))))
                {:keys [exit out err]} (apply rsm (first args) (id-of ex) (concat (rest args) more ["-t" "20000"]))]
            (some-> changer future-cancel)
            (is (= [0 ""] [exit err]) (pr-str args more))
            (is (not (re-find #"[\p{Cc}\p{Cf}&&[^\n]]" out)) (pr-str args more out))
            (when (seq more)
              (is (every? some? (map edn/read-string (if (= "dump" (first args)) [out] (lines out)))) "it reads back"))
            (when (some #{"--fields"} args)
              (is (str/includes? out "\\u001b[2J")))))))))

;; ------------------------------------------------------------- as a program

(def ^:private program
  ["-XX:TieredStopAtLevel=1" "--enable-native-access=ALL-UNNAMED" "-cp" (System/getProperty "java.class.path")
   "clojure.main" "-m" "rsmapi.cli"])

(defn- command [args]
  (into [(str (io/file (System/getProperty "java.home") "bin" "java"))] (concat program (map str args))))

(defn- sh
  "Runs a shell script in which rsm is a function."
  [script & args]
  (let [rsm (str "rsm() { " (str/join " " (map #(str "'" % "'") (command []))) " \"$@\"; }\n")
        {:keys [exit out err]} (apply shell/sh "bash" "-c" (str rsm script) "bash" (map str args))]
    {:exit exit :out out :err err}))

(deftest pipes-and-exit-codes
  (with-segment [c ex _ {:size (* 1024 1024)}]
    (let [all (byte-array (* 1024 1024))]
      (.nextBytes (java.util.Random. 1) all)
      (rsm/put-bytes! ex 0 all))
    (testing "a reader that ends"
      (let [{:keys [out err]} (sh "rsm dump $1 | head -n 1; echo ${PIPESTATUS[0]}" (id-of ex))]
        (is (= ["141"] (rest (lines out))))
        (is (= "" err))))
    (testing "no room for the output"
      (let [{:keys [exit err]} (sh "rsm dump $1 > /dev/full" (id-of ex))]
        (is (= 74 exit))
        (is (str/starts-with? err "rsm: the output cannot be written"))
        (is (= 1 (count (lines err))))))
    (testing "no colours in a pipe, and errors on standard error"
      (let [{:keys [exit out err]} (sh "rsm stat $1; rsm stat 0x6fffff42 2>&1 >/dev/null; exit 7" (id-of ex))]
        (is (= [7 ""] [exit err]))
        (is (not (str/includes? out "\u001b")))
        (is (str/includes? out "RSMERR_SEG_NOT_PUBLISHED"))))))

(defn- start ^Process [args & {:keys [terminal env]}]
  (let [builder (ProcessBuilder. ^java.util.List (into (if terminal
                                                         ["python3" (str (io/file (runner/root) "test/peers/terminal.py"))]
                                                         [])
                                                       (command args)))]
    (.putAll (.environment builder) (merge {"TERM" "xterm"} env))
    (.start builder)))

(defn- output-of
  "What a process has written: a function. So far, or everything if it has ended."
  [^Process process]
  (let [out (StringBuffer.)
        reader (doto (Thread. ^Runnable (fn []
                                          (with-open [in (io/reader (.getInputStream process))]
                                            (loop []
                                              (let [c (.read in)]
                                                (when-not (neg? c)
                                                  (.append out (char c))
                                                  (recur)))))))
                 (.setDaemon true)
                 .start)]
    #(do (when-not (.isAlive process)
           (.join ^Thread reader 30000))
         (str out))))

(defn- exit-of [^Process process]
  (if (.waitFor process 30 TimeUnit/SECONDS)
    (.exitValue process)
    (do (.destroyForcibly process) :still-running)))

(defn- published? [id]
  (= 0 (:exit (rsm "stat" id))))

(deftest an-exporting-process
  (with-file [file "hello, world"]
    (let [process (start ["export" file])
          out (output-of process)]
      (is (eventually (re-find #"^0x[0-9a-f]+\n" (out))))
      (let [id (str/trim (out))]
        (is (published? id))
        (is (some #(= (.pid process) (:pid %)) (data "ls")))
        (.destroy process)
        (is (= 143 (exit-of process)))
        (is (not (published? id)))))))

(defmacro ^:private with-terminal [& body]
  `(if (zero? (long (:exit (shell/sh "sh" "-c" "python3 -c 'import os; os.waitstatus_to_exitcode'"))))
     (do ~@body)
     (runner/skip! "terminal" "needs python3, 3.9 or later")))

(defn- ctrl-c! [^Process process]
  (doto (.getOutputStream process) (.write 3) .flush))

(deftest on-a-terminal
  (with-terminal
    (with-segment [c ex _]
      (doseq [[env drawn? coloured?] [[{} true true] [{"NO_COLOR" "1"} true false] [{"TERM" "dumb"} false false]]]
        (testing env
          (rsm/fill! ex 0 16 0)
          (let [process (start ["watch" (id-of ex) "-l" "16" "-i" "20"] :terminal true :env env)
                out (output-of process)]
            (is (eventually (re-find #"(?<!0x)0000" (out))) "it has looked")
            (rsm/put-byte! ex 3 0x5a)
            (is (eventually (re-find #"(?<![0-9a-fx])5a(?![0-9a-f])" (out))) "a byte, not a part of the id")
            (ctrl-c! process)
            (is (= 130 (exit-of process)))
            (is (= drawn? (str/includes? (out) "\u001b[J")))
            (is (= coloured? (boolean (re-find #"\u001b\[[0-9;]+m" (out)))))))))
    (with-file [file "hello, world"]
      (let [process (start ["export" file] :terminal true)
            out (output-of process)]
        (is (eventually (re-find #"0x[0-9a-f]+\r?\n" (out))))
        (let [id (re-find #"0x[0-9a-f]+" (out))]
          (is (published? id))
          (ctrl-c! process)
          (is (= 130 (exit-of process)))
          (is (not (published? id))))))))
