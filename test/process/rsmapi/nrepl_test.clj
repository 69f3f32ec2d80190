(ns rsmapi.nrepl-test
  "rsmapi.nrepl in a server of its own, asked by nREPL's client over a socket. nREPL is not on the
  class path of the tests: server and client are child JVMs that have it."
  (:require [clojure.java.io :as io]
            [clojure.set :as set]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child]
            [rsmapi.test.runner :as runner])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

(defn- jar
  "nREPL 1.0.0, of Clojars or of Debian's package; nil if it is not on this machine."
  ^File []
  (->> [(io/file (System/getProperty "user.home") ".m2/repository/nrepl/nrepl/1.0.0/nrepl-1.0.0.jar")
        (io/file "/usr/share/maven-repo/nrepl/nrepl/1.0.0/nrepl-1.0.0.jar")]
       (filter #(.isFile ^File %))
       first))

;; ------------------------------------------------------------ inside of children

(def ^:private start-server
  "In the server: starts it, and returns its port."
  '(do
     (require 'nrepl.server 'rsmapi.nrepl)
     (def server (nrepl.server/start-server :bind "127.0.0.1" :port 0
                                            :handler (nrepl.server/default-handler #'rsmapi.nrepl/wrap-rsm)))
     (:port server)))

(defn- start-client
  "In the client: connects. ask sends a message and collects the answers up to \"done\"."
  [port]
  `(do
     (require '~'nrepl.core)
     (def ~'transport (nrepl.core/connect :host "127.0.0.1" :port ~port))
     (def ~'client (nrepl.core/client ~'transport 20000))
     (def ~'session (nrepl.core/new-session ~'client))
     (defn ~'ask [~'message]
       (nrepl.core/combine-responses (nrepl.core/message ~'client (merge {:session ~'session} ~'message))))
     nil))

(def ^:dynamic *server* nil)
(def ^:dynamic *client* nil)

(defn- with-server [f]
  (if-let [jar (jar)]
    (child/with-child [server {:more-classes [jar] :label "nREPL server"}]
      (child/with-child [client {:more-classes [jar] :label "nREPL client"}]
        (let [port (child/value server start-server)]
          (child/value client (start-client port))
          (binding [*server* server, *client* client]
            (f)))))
    (f)))

(use-fixtures :once with-server)

(defmacro ^:private with-nrepl [& body]
  `(if *client*
     (do ~@body)
     (runner/skip! "nREPL" "nREPL 1.0.0 is not on this machine: apt-get install libnrepl-clojure")))

(defn- ask
  "The answers to a message, as one map."
  [message]
  (update (child/value *client* (list 'dissoc (list 'ask message) :id :session)) :status set))

(defn- evaluated [code]
  (let [{:keys [value] :as answer} (ask {:op "eval" :code (pr-str code)})]
    (is (some? value) (pr-str code answer))
    (first value)))

(defn- define!
  "Has vars in the namespace user of the server: c, ex, im, m."
  []
  (evaluated '(do
                (require '[rsmapi.core :as rsm])
                (when-let [old (resolve 'ex)]
                  (run! #(some-> % resolve deref rsm/close!) '[m im ex c])
                  old)
                (def c (rsm/get-controller "loopback"))
                (def ex (rsm/export! c {:size 65536}))
                (def im (rsm/connect! c {:segment-id (rsm/segment-id ex)}))
                (def m (rsm/map! im))
                (rsm/put-bytes! ex 0 (.getBytes "hello, world" "UTF-8"))
                :done)))

;; ------------------------------------------------------------------- tests

(deftest describes-itself
  (with-nrepl
    (let [{:keys [ops]} (ask {:op "describe" :verbose? "true"})
          ours (into {} (filter #(str/starts-with? (name (key %)) "rsm/") (update-keys ops #(subs (str %) 1))))]
      (is (= #{"rsm/segments" "rsm/describe" "rsm/hexdump" "rsm/check-map"} (set (keys ours))))
      (doseq [[op {:keys [doc requires optional returns]}] ours]
        (testing op
          (is (not (str/blank? doc)))
          (is (seq returns))
          (is (contains? optional :timeout-ms))
          (is (or (= "rsm/segments" op) (contains? requires :var))))))))

(deftest segments-of-this-machine
  (with-nrepl
    (define!)
    (let [id (parse-long (evaluated '(rsm/segment-id ex)))
          pid (parse-long (evaluated '(.pid (java.lang.ProcessHandle/current))))
          found (fn [answer] (first (filter #(= id (:segment-id %)) (:segments answer))))]
      (let [{:keys [status] :as answer} (ask {:op "rsm/segments"})]
        (is (= #{"done"} status))
        (is (= {:node 0 :mine? "true" :pid pid} (select-keys (found answer) [:node :mine? :pid]))))
      (is (some? (found (ask {:op "rsm/segments" :node 0}))))
      (is (some? (found (ask {:op "rsm/segments" :node "0x0"}))))
      (is (nil? (found (ask {:op "rsm/segments" :node 1}))))
      (is (= "rsm/bad-args-errors" (:error (ask {:op "rsm/segments" :node "first"})))))))

(deftest handles-as-data
  (with-nrepl
    (define!)
    (doseq [[message type] [[{:var "user/m"} "mapping"]
                            [{:var "m"} "mapping"]
                            [{:var "m" :ns "user"} "mapping"]
                            [{:var "im"} "import-segment"]
                            [{:var "ex"} "export-segment"]]]
      (let [{:keys [description status]} (ask (assoc message :op "rsm/describe"))]
        (is (= #{"done"} status))
        (is (= type (:type description)) (pr-str message description))))
    (is (= "loopback" (:name (:description (ask {:op "rsm/describe" :var "user/c"})))))
    (testing "the session's own values"
      (evaluated 'ex)
      (is (= "export-segment" (:type (:description (ask {:op "rsm/describe" :var "*1"}))))))
    (testing "what has been closed"
      (evaluated '(do (rsm/unmap! m) :done))
      (is (= "unmapped" (:state (:description (ask {:op "rsm/describe" :var "m"}))))))))

(deftest bytes-of-a-memory
  (with-nrepl
    (define!)
    (doseq [handle ["user/m" "user/ex" "user/im"]]
      (let [{:keys [lines size status]} (ask {:op "rsm/hexdump" :var handle :offset 0 :length 16})]
        (is (= #{"done"} status))
        (is (= 65536 size))
        (is (= 1 (count lines)))
        (is (= (concat (map int "hello, world") [0 0 0 0]) (:bytes (first lines))))
        (is (= "hello, world...." (:text (first lines))))
        (is (str/starts-with? (:hex (first lines)) "68 65 6c"))))
    (is (= 7 (:offset (first (:lines (ask {:op "rsm/hexdump" :var "m" :offset "0x7" :length "5"}))))))
    (is (< 1 (count (:lines (ask {:op "rsm/hexdump" :var "m" :width 8 :length 16})))))
    (testing "errors"
      (doseq [[error message] {"rsm/bad-offset" {:var "m" :offset 65537 :length 1}
                               "rsm/bad-length" {:var "m" :length 65537}
                               "rsm/bad-args-errors" {:var "m" :offset "none"}
                               "rsm/bad-seg-hndl" {:var "c"}}]
        (let [{:keys [status data] :as answer} (ask (assoc message :op "rsm/hexdump"))]
          (is (= #{"done" "error"} status))
          (is (= error (:error answer)) (pr-str message answer))
          (is (str/includes? (:message answer) "RSMERR_"))
          (is (= error (:rsm/error data)))
          (is (int? (:rsm/code data))))))
    (testing "after a revocation"
      (evaluated '(do (rsm/unpublish! ex) (rsm/aborted? im)))
      (is (= "rsm/conn-aborted" (:error (ask {:op "rsm/hexdump" :var "m" :length 16})))))))

(deftest what-map-would-throw
  (with-nrepl
    (define!)
    (evaluated '(do (rsm/unmap! m) :done))
    (is (= {:status #{"done"} :result "ok"} (ask {:op "rsm/check-map" :var "im"})))
    (is (= {:status #{"done"} :result "ok"}
           (ask {:op "rsm/check-map" :var "im" :offset 4096 :length 100 :perm "read" :attr ":none"})))
    (let [{:keys [result error data status]} (ask {:op "rsm/check-map" :var "im" :offset 100 :length 10})]
      (is (= [#{"done"} "error" "rsm/bad-mem-alignment" 17 100]
             [status result error (:rsm/code data) (:rsm/offset data)])))
    (is (= "rsm/bad-perms" (:error (ask {:op "rsm/check-map" :var "im" :perm "all"}))))
    (is (= "rsm/bad-seg-hndl" (:error (ask {:op "rsm/check-map" :var "c"}))))))

(deftest nothing-is-evaluated-or-loaded
  (with-nrepl
    (define!)
    (doseq [v ["(throw 1)" "#=(System/exit 1)" "java.util.jar.JarFile" "clojure.zip/zipper" "nosuch/m" "nosuch" "" " "
               "String" "user/" "/" ":m" (apply str (repeat 2000 "x")) 7 ["m"]]]
      (let [{:keys [status error] :as answer} (ask {:op "rsm/describe" :var v})]
        (is (= [#{"done" "error"} "rsm/bad-args-errors"] [status error]) (pr-str v answer))))
    (is (= "nil" (evaluated '(find-ns 'clojure.zip))))
    (is (= "rsm/bad-args-errors" (:error (ask {:op "rsm/describe"}))) "no var")
    (is (= "rsm/bad-args-errors" (:error (ask {:op "rsm/describe" :var "m" :ns "no.such.ns"}))))
    (is (= "rsm/bad-args-errors" (:error (ask {:op "rsm/describe" :var "clojure.core/map"}))) "not a handle")
    (testing "a var without a value"
      (evaluated '(do (declare nothing-yet) :done))
      (is (= "rsm/bad-args-errors" (:error (ask {:op "rsm/describe" :var "nothing-yet"})))))
    (testing "other ops are passed on"
      (is (contains? (:status (ask {:op "rsm/nosuch"})) "unknown-op")))))

(deftest an-op-that-takes-too-long-is-interrupted
  (with-nrepl
    (define!)
    ;; none of the ops waits for long, so a function that does is put in place of one
    (evaluated '(do
                  (def entered (promise))
                  (def left (promise))
                  (def original @#'rsmapi.inspect/describe)
                  (alter-var-root #'rsmapi.inspect/describe
                                  (constantly (fn [_]
                                                (deliver entered true)
                                                (try (Thread/sleep 600000)
                                                     (finally (deliver left true))))))
                  :done))
    (try
      (let [start (System/nanoTime)
            {:keys [status error]} (ask {:op "rsm/describe" :var "m" :timeout-ms 200})]
        (is (= [#{"done" "error"} "rsm/timeout"] [status error]))
        (is (<= 200 (/ (- (System/nanoTime) start) 1e6) 20000))
        (is (= "true" (evaluated '(deref left 20000 :still-running))) "the thread was interrupted"))
      (testing "other ops and evaluations go on meanwhile"
        (child/value *client* '(do (def slow (future (ask {:op "rsm/describe" :var "m" :timeout-ms 5000}))) nil))
        (is (= "3" (evaluated '(+ 1 2))))
        (is (= #{"done"} (:status (ask {:op "rsm/hexdump" :var "m" :length 1})))))
      (finally
        (evaluated '(do (alter-var-root #'rsmapi.inspect/describe (constantly original)) :done))))))

(deftest an-evaluation-that-waits-is-interrupted
  (with-nrepl
    (define!)
    (doseq [form '[(rsm/signal-wait! ex)
                   (rsm/signal-wait! im)
                   (rsm/signal-wait-pollfd! [(rsm/get-pollfd! ex)])]]
      (testing (pr-str form)
        (evaluated '(do (def waiter nil) :done))
        (child/value *client*
                     `(do (def ~'waiting-session (nrepl.core/new-session ~'client))
                          (def ~'answers (future (doall (nrepl.core/message
                                                         ~'client {:session ~'waiting-session :id "waiting" :op "eval"
                                                                   :code ~(pr-str (list 'do '(def waiter (Thread/currentThread)) form))}))))
                          nil))
        (is (child/eventually
             (= "true" (evaluated '(boolean (when waiter
                                              (some (fn [frame] (re-find #"org.rsmapi.sys" (.getClassName frame)))
                                                    (.getStackTrace waiter))))))))
        (is (false? (child/value *client* '(realized? answers))))
        (child/value *client* '(do (ask {:session waiting-session :op "interrupt" :interrupt-id "waiting"}) nil))
        (let [answers  (child/value *client* '(vec (deref answers 20000 [{:status ["still waiting"]}])))
              statuses (set (mapcat :status answers))]
          ;; nREPL also reports how the evaluation took it
          (is (set/subset? #{"interrupted" "done"} statuses))
          (is (not (contains? statuses "still waiting")))
          (is (some #(str/includes? (str (:err %)) "RSMERR_INTERRUPTED") answers) (pr-str answers)))
        (is (child/eventually (= "false" (evaluated '(.isAlive waiter)))))))
    (is (= "3" (evaluated '(+ 1 2))))
    (is (= "false" (evaluated '(.isInterrupted (Thread/currentThread)))))))

(deftest a-stopped-exporter-does-not-block-the-server
  (with-nrepl
    (child/with-child [exporter {}]
      (let [id (child/value exporter '(do (def ex (rsm/export! (rsm/get-controller nil) {:size 4096}))
                                          (rsm/segment-id ex)))]
        (evaluated `(do (require '~'[rsmapi.core :as rsm])
                        (def ~'other (rsmapi.core/connect! (rsmapi.core/get-controller nil) {:segment-id ~id :perm :read}))
                        (def ~'other-m (rsmapi.core/map! ~'other))
                        :done))
        (child/signal! exporter "STOP")
        (is (= #{"done"} (:status (ask {:op "rsm/describe" :var "other"}))))
        (is (= #{"done"} (:status (ask {:op "rsm/hexdump" :var "other-m" :length 64}))))
        (is (some #(= id (:segment-id %)) (:segments (ask {:op "rsm/segments"}))))
        (child/kill-9! exporter)
        (is (child/eventually (= "true" (evaluated '(rsm/aborted? other)))))
        (is (= "rsm/conn-aborted" (:error (ask {:op "rsm/hexdump" :var "other-m" :length 64}))))
        (is (= "aborted" (:state (:description (ask {:op "rsm/describe" :var "other"})))))))))

(deftest no-other-namespace-needs-it
  (doseq [^File f (file-seq (io/file (runner/root) "src"))
          :when (and (.isFile f) (not= "nrepl.clj" (.getName f)))]
    (is (not (re-find #"\[nrepl\.|rsmapi\.nrepl\b.*:as" (slurp f))) (str f)))
  (is (= #{} (set/select #(re-find #"/nrepl/" (str %))
                         (set (str/split (System/getProperty "java.class.path") #":"))))
      "the tests do not have nREPL themselves"))
