(ns rsmapi.process-test
  "Segments between processes: exchange, revocation, peers that die or are stopped, other
  users, other hosts. The children load this namespace too, and are asked to call what
  stands under \"inside of a process\"."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [code failure]]
            [rsmapi.test.runner :as runner])
  (:import (com.sun.jna Pointer)
           (java.io IOException RandomAccessFile)
           (java.util Arrays)
           (java.util.concurrent.atomic AtomicBoolean AtomicLong)
           (java.util.concurrent.locks LockSupport)
           (org.rsmapi RsmException)))

(set! *warn-on-reflection* true)

(def ^:private page (rsm/page-size))

;; ----------------------------------------------------- inside of a process

(defonce controller (delay (rsm/get-controller "loopback")))

;; The segment this process exports as :ex, the one it imports as :im, and its mapping as :m.
(defonce handles (atom {}))

(defn close!
  "Ends what this process holds."
  []
  (let [[held _] (reset-vals! handles {})]
    (run! rsm/close! (keep held [:m :im :ex]))))

(defn export!
  "Creates and publishes a segment. Returns its id."
  [opts]
  (let [ex (rsm/export! @controller opts)]
    (swap! handles assoc :ex ex)
    (rsm/segment-id ex)))

(defn publish! [opts] (rsm/publish! (:ex @handles) opts))
(defn republish! [opts] (rsm/republish! (:ex @handles) opts))
(defn unpublish! [] (rsm/unpublish! (:ex @handles)))
(defn destroy! [] (rsm/destroy! (:ex @handles)))
(defn importers [] (rsm/importers (:ex @handles)))

(defn import!
  "Connects to a segment and maps all of it. Returns the mapping's address."
  [opts]
  (let [im (rsm/connect! @controller opts)
        m  (rsm/map! im)]
    (swap! handles assoc :im im :m m)
    (rsm/address m)))

(defn- memory [] (let [{:keys [ex m]} @handles] (or m ex)))

(defn look [offset] (rsm/get-long-volatile (memory) offset))
(defn poke! [offset value] (rsm/put-long-volatile! (memory) offset value))
(defn fill! [value] (rsm/fill! (memory) 0 (rsm/size (memory)) value))

(defn as-seen
  "The code of reading through the mapping."
  []
  (code (look 0)))

(defn permissions
  "What the answers are to connects for reading, writing and both."
  [id]
  (mapv #(code (rsm/close! (rsm/connect! @controller {:segment-id id :perm %})))
        [:read :write :rdwr]))

(defn add-together!
  "Waits until as many processes as announced do this, and then adds one, n times."
  [processes n]
  (let [m (memory)]
    (rsm/get-and-add-long! m 8 1)
    (when-not (eventually (= processes (rsm/get-long-volatile m 8)))
      (throw (IllegalStateException. "nobody else came")))
    (dotimes [_ n]
      (rsm/get-and-add-long! m 0 1))))

(defn- until-aborted
  "Reads the first long over and over. Returns the :seen values and how the mapping's end
  was reported, and :nanos, the time from the call."
  [turn!]
  (let [m     (memory)
        start (System/nanoTime)]
    (loop [seen #{}]
      (let [value (try (turn!)
                       (rsm/get-long-volatile m 0)
                       (catch RsmException e (ex-data e)))]
        (cond
          (map? value) {:seen   seen
                        :error  (select-keys value [:rsm/code :rsm/reason])
                        :nanos  (- (System/nanoTime) start)}
          (< 30000000000 (- (System/nanoTime) start)) {:seen (conj seen value) :error :none}
          (contains? seen value) (recur seen)
          :else (recur (conj seen value)))))))

(defn watch
  "Reads until the mapping is aborted, and counts at offset 8 how often."
  []
  (let [m (memory)]
    (until-aborted #(rsm/get-and-add-long! m 8 1))))

(defn kill-and-watch
  "Kills the exporter and reads, 10000 times a second, until that shows."
  [exporter-pid]
  (let [^java.lang.ProcessHandle exporter (.get (java.lang.ProcessHandle/of exporter-pid))
        kill! (delay (.destroyForcibly exporter))]
    (until-aborted (fn []
                     @kill!
                     (LockSupport/parkNanos 100000)))))

;; Writers of increasing numbers, one number per page. Each knows what it has written last
;; to every page.

(defn- writer [^AtomicBoolean stop ^AtomicLong done ^long pages write!]
  (let [last-written (long-array pages)
        thread (Thread. (fn []
                          (loop [value 1, n 0]
                            (when-not (.get stop)
                              (write! n value)
                              (aset last-written n value)
                              (.set done value)
                              (recur (inc value) (rem (+ n 7919) pages))))))]
    (.start thread)
    {:thread thread :last-written last-written :done done}))

(defn unpublish-under-writers!
  "Unpublishes while one thread writes through the API and another one by address. Returns
  for each of both how many of its writes happened :during the call, and how many pages do
  not have what it wrote last (:lost)."
  []
  (let [ex      (:ex @handles)
        raw     (Pointer. (rsm/address ex))
        pages   (quot (long (rsm/size ex)) (long page))
        page    (long page)
        stop    (AtomicBoolean.)
        writers [(writer stop (AtomicLong.) pages
                         (fn [n value] (rsm/put-long! ex (* page (long n)) value)))
                 (writer stop (AtomicLong.) pages
                         (fn [n value] (.setLong raw (+ 8 (* page (long n))) (long value))))]
        counts  (fn [] (mapv #(.get ^AtomicLong (:done %)) writers))
        beyond? (fn [marks] (every? true? (map < marks (counts))))]
    (try
      (eventually (beyond? (repeat pages)))
      (let [before (counts)
            _      (rsm/unpublish! ex)
            after  (counts)]
        (eventually (beyond? (map #(+ 1000 (long %)) after)))
        (.set stop true)
        (run! #(.join ^Thread (:thread %)) writers)
        {:during (mapv - after before)
         :lost   (vec (for [[offset {:keys [^longs last-written]}] (map vector [0 8] writers)]
                        (count (remove (fn [n]
                                         (= (aget last-written (int n))
                                            (rsm/get-long ex (+ (long offset) (* page (long n))))))
                                       (range pages)))))})
      (finally
        (.set stop true)))))

;; --------------------------------------------------------------- processes

(defn- start-children!
  "Children with these options, started at the same time."
  [options]
  (let [starting (mapv (fn [opts]
                         (future
                           (let [c (child/start! opts)]
                             (try
                               (child/value c '(require 'rsmapi.process-test))
                               c
                               (catch Throwable t
                                 (child/kill-9! c)
                                 (throw t))))))
                       options)
        started  (mapv #(try @% (catch Throwable t t)) starting)]
    (when-let [t (some #(when (instance? Throwable %) %) started)]
      (run! child/kill-9! (remove #(instance? Throwable %) started))
      (throw t))
    started))

(defn- with-children* [options f]
  (let [children (start-children! options)
        result   (try
                   (apply f children)
                   (catch Throwable t
                     (run! #(child/stop-after-failure! t %) children)
                     (throw t)))]
    (run! child/stop! children)
    result))

(defmacro ^:private with-children
  "Binds each name to a child with the options behind it."
  [bindings & body]
  `(with-children* ~(vec (take-nth 2 (rest bindings)))
     (fn ~(vec (take-nth 2 bindings)) ~@body)))

;; Children that do little start twice as fast without the second compiler.
(def ^:private short-lived {:jvm-opts ["-XX:TieredStopAtLevel=1"]})

;; Two that live through all tests, and hold nothing between them.
(defonce ^:private exporter (atom nil))
(defonce ^:private importer (atom nil))

(use-fixtures :once
  (fn [run]
    (with-children [a {:label "exporter"}, b {:label "importer"}]
      (reset! exporter a)
      (reset! importer b)
      (run))))

(use-fixtures :each
  (fn [run]
    (try
      (run)
      (finally
        (doseq [c [@exporter @importer]]
          (child/signal! c "CONT")
          (child/value c `(close!)))))))

(defn- answer-of
  "The value of what has been sent to a child."
  [c ticket]
  (let [{:keys [ok error]} (child/answer c ticket)]
    (when error
      (throw (ex-info (str "in " (:label c) ": " (pr-str error)) error)))
    ok))

(defn- in-exporter [form] (child/value @exporter form))
(defn- in-importer [form] (child/value @importer form))

(defn- names-of
  "How many sockets of the id's name there are on this host."
  [id]
  (count (filter #(str/ends-with? % (format "@rsmapi/0/%08x" id))
                 (str/split-lines (child/proc "net/unix")))))

;; ---------------------------------------------------------- the harness itself

(deftest whatever-is-sent-to-a-child-arrives
  (doseq [chars (partition-all 1024 (map char (range 0x10000)))]
    (let [forms [(vec chars) (apply str chars)]]
      (is (= forms (in-exporter (list 'quote forms))))))
  (is (= "[:not-edn #object" (subs (:printed (child/ask @exporter '[:not-edn (Object.)])) 0 17))))

;; ---------------------------------------------------- exchange, revocation

(deftest both-sides-see-what-the-other-writes
  (let [id (in-exporter `(export! {:size ~(* 4 page)}))]
    (in-exporter `(poke! ~page 11))
    (in-importer `(import! {:segment-id ~id}))
    (is (= 11 (in-importer `(look ~page))))
    (in-importer `(poke! 16 -22))
    (is (= -22 (in-exporter `(look 16))))
    (is (= 1 (in-exporter `(importers))))
    (testing "atomic operations are atomic between processes"
      (let [n    100000
            adds (mapv #(child/send! % `(add-together! 2 ~n)) [@exporter @importer])]
        (dorun (map child/answer [@exporter @importer] adds))
        (is (= (* 2 n) (in-exporter `(look 0)) (in-importer `(look 0))))))
    (in-importer `(close!))
    (is (eventually (= 0 (in-exporter `(importers)))))))

(deftest revocation-and-publishing-again
  (let [id (in-exporter `(export! {:size ~page :segment-id ~(fresh-id)}))
        aborted (fn [reason] {:rsm/code 40 :rsm/reason reason})]
    (in-exporter `(poke! 0 5))
    (in-importer `(import! {:segment-id ~id}))
    (is (= 5 (in-importer `(look 0))))
    (in-exporter `(unpublish!))
    (in-exporter `(poke! 0 6))
    (let [{:keys [seen error]} (in-importer `(watch))]
      (is (= (aborted "unpublished") error))
      (is (every? zero? seen)))
    (is (= 40 (in-importer `(as-seen))))
    (is (= :rsm/seg-not-published (in-importer `(failure (import! {:segment-id ~id})))) "not published now")
    (testing "again, under the same id and with the content there is"
      (is (= id (in-exporter `(publish! {:segment-id ~id}))))
      (is (= 40 (in-importer `(as-seen))) "the old connection stays as it is")
      (in-importer `(close!))
      (in-importer `(import! {:segment-id ~id}))
      (is (= 6 (in-importer `(look 0)))))
    (in-exporter `(destroy!))
    (let [{:keys [seen error]} (in-importer `(watch))]
      (is (= (aborted "destroyed") error))
      (is (every? zero? seen)))
    (is (zero? (names-of id)))
    (testing "the id is free for another process"
      (in-importer `(close!))
      (is (= id (in-importer `(export! {:size ~page :segment-id ~id})))))))

(deftest nothing-is-lost-when-a-large-segment-is-unpublished
  (let [id (in-exporter `(export! {:size ~(bit-shift-left 64 20) :segment-id ~(fresh-id)}))]
    ;; at least three rounds, and one in which both writers got on while the memory moved
    (loop [round 1, hit? false]
      (in-importer `(import! {:segment-id ~id}))
      (let [{:keys [lost during]} (in-exporter `(unpublish-under-writers!))
            hit? (or hit? (every? pos? during))]
        (is (= [0 0] lost))
        (is (= 40 (in-importer `(as-seen))))
        (in-importer `(close!))
        (cond
          (and hit? (<= 3 round)) nil
          (= 12 round) (is hit? "no writer ran while the segment was unpublished")
          :else (do (in-exporter `(publish! {:segment-id ~id}))
                    (recur (inc round) hit?)))))))

;; ------------------------------------------------------------------- death

(defn- kill-an-exporter!
  "Returns the milliseconds until the importer noticed."
  [victim importer]
  (let [id (child/value victim `(export! {:size ~(* 4 page) :segment-id ~(fresh-id)}))
        _  (child/value victim `(poke! 0 5))
        _  (child/value importer `(import! {:segment-id ~id}))
        {:keys [seen error nanos]} (child/value importer `(kill-and-watch ~(child/pid victim)))]
    (is (= {:rsm/code 40 :rsm/reason "exporter-gone"} error))
    (is (= #{5} seen) "up to then the content is there")
    (is (= 40 (child/value importer `(as-seen))))
    (is (= 137 (child/kill-9! victim)))
    (testing "leaves nothing behind"
      (is (zero? (names-of id)))
      (is (= :rsm/seg-not-published (child/value importer `(failure (rsm/connect! @controller {:segment-id ~id})))))
      (is (= id (in-exporter `(export! {:size ~page :segment-id ~id})))
          "another process can publish the same id at once"))
    (child/value importer `(close!))
    (in-exporter `(close!))
    (/ (or nanos ##Inf) 1e6)))

;; Nearly all of the time until a JVM's death is noticed is the kernel's: it frees the memory
;; before it closes the sockets, and waits for a processor for every thread. So that a busy
;; machine does not count, these children have precedence, if we may give it.
(def ^:private urgent (assoc short-lived :prefix ["nice" "-n" "-20"]))

(defn- kill-exporters!
  "The median of the times of five."
  []
  (with-children* (cons (assoc urgent :label "importer")
                        (repeat 5 (assoc urgent :label "exporter to be killed")))
    (fn [importer & victims]
      ;; so that it has what stays with it
      (child/value importer `(export! {:size ~page}))
      (child/value importer `(close!))
      (let [before (child/belongings (child/pid importer))
            times  (mapv #(kill-an-exporter! % importer) victims)
            median (nth (sort times) 2)]
        (is (eventually (= before (child/belongings (child/pid importer)))))
        (println (format "  kill -9 of the exporter noticed after %s ms, median %.1f ms"
                         (str/join ", " (map #(format "%.1f" %) times)) median))
        median))))

(deftest a-killed-exporter
  (is (some #(< (double %) 100.0) (repeatedly 2 kill-exporters!)) "noticed in 100 ms"))

(deftest a-killed-importer
  (with-children [victim (assoc short-lived :label "importer to be killed")]
    (let [id     (in-exporter `(export! {:size ~(* 4 page) :segment-id ~(fresh-id)}))
          before (in-exporter `(child/belongings))]
      (child/value victim `(import! {:segment-id ~id}))
      (child/value victim `(poke! 0 5))
      (is (= 1 (in-exporter `(importers))))
      (is (not= before (in-exporter `(child/belongings))) "a connection is among the things counted")
      (child/kill-9! victim)
      (is (eventually (= 0 (in-exporter `(importers)))))
      ;; the descriptor for reading and the likes stay with the publication
      (is (eventually (= before (in-exporter `(child/belongings)))))
      (testing "the segment goes on"
        (in-importer `(import! {:segment-id ~id}))
        (is (= 5 (in-importer `(look 0))))))))

;; ------------------------------------------------------- stopped processes

(defn- memory-of
  "The bytes at an address of another process, or nil if we may not look."
  [pid address length]
  (try
    (with-open [f (RandomAccessFile. (str "/proc/" pid "/mem") "r")]
      (let [bytes (byte-array length)]
        (.seek f address)
        (.readFully f bytes)
        bytes))
    (catch IOException _ nil)))

(defn- all-zero? [^bytes bytes]
  (Arrays/equals bytes (byte-array (alength bytes))))

(deftest a-stopped-importer-does-not-hold-up-unpublish
  (let [id      (in-exporter `(export! {:size ~(* 4 page) :segment-id ~(fresh-id)}))
        _       (in-exporter `(fill! 0x55))
        address (in-importer `(import! {:segment-id ~id}))
        content (in-exporter `(look 0))
        _       (in-exporter `(poke! 8 0))
        watched (child/send! @importer `(watch))]
    (is (eventually (pos? (long (in-exporter `(look 8))))) "the importer is reading")
    (child/signal! @importer "STOP")
    (let [mapped (:mappings (child/belongings (child/pid @importer)))]
      (in-exporter `(unpublish!))
      (in-exporter `(fill! 0x77))
      (if-let [bytes (memory-of (child/pid @importer) address (* 4 (long page)))]
        (is (all-zero? bytes) "nothing to be seen in its address space")
        (runner/skip! "memory of the stopped importer" "needs the right to read /proc/<pid>/mem"))
      (is (= mapped (:mappings (child/belongings (child/pid @importer))))
          "it still has the old mapping: it has not been able to do anything about it")
      (child/signal! @importer "CONT")
      (let [{:keys [seen error]} (answer-of @importer watched)]
        (is (= {:rsm/code 40 :rsm/reason "unpublished"} error))
        (is (every? #{content 0} seen) "and never what the exporter has written since")))))

(defn- blocked-in-poll? [^Thread t]
  (some #(= "poll" (.getMethodName ^StackTraceElement %)) (.getStackTrace t)))

(deftest a-stopped-exporter-does-not-hold-up-connect
  (let [id      (in-exporter `(export! {:size ~page :segment-id ~(fresh-id)}))
        connect (fn [timeout-ms]
                  (error/catching
                   (rsm/close! (rsm/connect! @controller {:segment-id id :timeout-ms timeout-ms}))))
        first-time (connect 5000)
        before  (child/belongings)]
    (is (nil? first-time))
    (child/signal! @exporter "STOP")
    (testing "timeout"
      (let [start (System/nanoTime)]
        (is (= :rsm/timeout (:rsm/error (connect 200))))
        (is (<= 200000000 (- (System/nanoTime) start)) "not before its time"))
      (is (= :rsm/timeout (:rsm/error (connect 0)))))
    (testing "Thread.interrupt"
      (let [outcome (promise)
            thread  (doto (Thread. (fn []
                                     (let [e (connect 600000)]
                                       (deliver outcome [(:rsm/code e) (.isInterrupted (Thread/currentThread))]))))
                      .start)]
        (is (eventually (blocked-in-poll? thread)))
        (.interrupt thread)
        (is (= [41 true] (deref outcome 30000 :still-waiting)) "the interrupt stays set")))
    (testing "an interrupt that was there before"
      (let [outcome (future (.interrupt (Thread/currentThread))
                            [(:rsm/code (connect 600000)) (Thread/interrupted)])]
        (is (= [41 true] (deref outcome 30000 :still-waiting)))))
    (testing "future-cancel"
      (let [outcome (promise)
            thread  (promise)
            waiting (future (deliver thread (Thread/currentThread))
                            (deliver outcome (:rsm/error (connect 600000))))]
        (is (eventually (blocked-in-poll? (deref thread 30000 nil))))
        (future-cancel waiting)
        (is (= :rsm/interrupted (deref outcome 30000 :still-waiting)))))
    (testing "when so many wait that the kernel takes no more"
      (is (some #(re-find #"does not accept" (str (:rsm/hint %)))
                (repeatedly 300 #(let [e (connect 1)]
                                   (is (= 42 (:rsm/code e)))
                                   e)))
          "it comes to that")
      (let [outcome (promise)
            thread  (doto (Thread. (fn []
                                     (deliver outcome [(:rsm/code (connect 600000))
                                                       (.isInterrupted (Thread/currentThread))])))
                      .start)]
        (.interrupt thread)
        (is (= [41 true] (deref outcome 30000 :still-waiting)))))
    (is (eventually (= before (child/belongings))) "nothing is left of all that")
    (testing "when it goes on"
      (child/signal! @exporter "CONT")
      (is (nil? (connect 30000)))
      (is (eventually (= 0 (in-exporter `(importers))))))))

;; ------------------------------------------------------------- other users

(def ^:private exporting-user (assoc short-lived :uid 2001 :gid 3001 :umask 0027 :label "exporting user"))

(def ^:private importing-users
  "Users and which digit is theirs. Being the owner comes before being in the group."
  [[{:uid 2001 :gid 3009 :label "owner"} :owner]
   [{:uid 2002 :gid 3001 :label "in the group"} :group]
   [{:uid 2003 :gid 3003 :groups [3004 3001] :label "in the group, too"} :group]
   [{:uid 2004 :gid 3004 :label "other"} :other]])

(def ^:private every-acl
  (for [owner [0 2 4 6], group [0 2 4 6], other [0 2 4 6]]
    {:owner owner :group group :other other}))

(defn- expected
  "The codes for reading, writing and both, with this octal digit."
  [digit]
  (mapv #(if (= % (bit-and (long digit) (long %))) 0 27) [4 2 6]))

(defn- octal ^long [{:keys [owner group other]}]
  (+ (* 64 (long owner)) (* 8 (long group)) (long other)))

(deftest other-users-have-the-permissions-of-the-access-list
  (if-let [obstacle (child/obstacle exporting-user)]
    (runner/skip! "other users" obstacle)
    (with-children* (cons exporting-user (map #(merge short-lived (first %)) importing-users))
      (fn [exporter & importers]
        (let [id     (child/value exporter `(export! {:size ~page :segment-id ~(fresh-id)}))
              acl    (fn [perm] {:acl [{:node 0 :perm perm}]})
              asked  (fn []
                       (let [form `(permissions ~id)]
                         (mapv answer-of importers (mapv #(child/send! % form) importers))))
              wanted (fn [digits]
                       (mapv (fn [[_ who]] (expected (digits who))) importing-users))]
          (testing "without an access list it is the umask's at create!"
            (is (= (wanted {:owner 6 :group 4 :other 0}) (asked))))
          (doseq [digits every-acl]
            (child/value exporter `(republish! ~(acl (octal digits))))
            (testing (format "access list %04o" (octal digits))
              (is (= (wanted digits) (asked)))
              (is (= (expected (:owner digits)) (child/value exporter `(permissions ~id)))
                  "the exporter itself is the owner")
              (is (= [0 0 0] (permissions id)) "root passes")))
          (testing "reading and writing across users"
            (let [other (last importers)]
              (child/value exporter `(republish! ~(acl 0604)))
              (child/value exporter `(poke! 0 5))
              (child/value other `(import! {:segment-id ~id :perm :read}))
              (is (= 5 (child/value other `(look 0))))
              (is (= :rsm/perm-denied (child/value other `(failure (poke! 0 6)))))
              (is (= {:pid (child/pid exporter) :uid 2001}
                     (child/value other `(:exporter (datafy (:im @handles))))))
              (child/value other `(close!))
              (child/value exporter `(republish! ~(acl 0606)))
              (child/value other `(import! {:segment-id ~id}))
              (child/value other `(poke! 0 7))
              (is (= 7 (child/value exporter `(look 0))))
              (child/value exporter `(unpublish!))
              (is (= 40 (:rsm/code (:error (child/value other `(watch))))))
              (is (= 7 (child/value exporter `(look 0)))))))))))

;; ------------------------------------------------------------- other hosts

(def ^:private another-host (assoc short-lived :prefix ["unshare" "--net"] :label "another host"))

(deftest network-namespaces-are-hosts
  (if-let [obstacle (child/obstacle another-host)]
    (runner/skip! "two hosts" obstacle)
    (with-children [elsewhere another-host]
      (let [id   (in-exporter `(export! {:size ~page :segment-id ~(fresh-id)}))
            here (fn [form] (child/value elsewhere form))]
        (in-exporter `(poke! 0 1))
        (is (= :rsm/seg-not-published (here `(failure (import! {:segment-id ~id})))) "segments of another host are not seen")
        (is (= id (here `(export! {:size ~page :segment-id ~id}))) "and the same id is free")
        (here `(poke! 0 2))
        (is (= 1 (names-of id)))
        (here `(import! {:segment-id ~id}))
        (in-importer `(import! {:segment-id ~id}))
        (is (= [1 2] [(in-importer `(look 0)) (here `(look 0))]))
        (here `(close!))
        (is (= 1 (in-importer `(look 0))))
        (is (= :rsm/seg-not-published (here `(failure (import! {:segment-id ~id})))))))))
