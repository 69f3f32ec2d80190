(ns rsmapi.refused-test
  "Sandboxes that do not let a process make a call: EPERM, EACCES or ENOSYS is its answer. Each call
  of the library is refused in turn; there is another way then, or an error, and no call spins or
  is late."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.effects-test :as effects]
            [rsmapi.test.filter :as filter]
            [rsmapi.test.runner :as runner])
  (:import (com.sun.management OperatingSystemMXBean)
           (java.lang.management ManagementFactory)
           (org.rsmapi RsmException)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------- inside of the child

(defn- cpu-ms ^long []
  (quot (.getProcessCpuTime ^OperatingSystemMXBean (ManagementFactory/getOperatingSystemMXBean)) 1000000))

(defn- now-ms ^long []
  (quot (System/nanoTime) 1000000))

(defn- failure [^RsmException e]
  (let [{:rsm/keys [error op errno-name system-call]} (ex-data e)]
    (cond-> [error op] system-call (conj system-call errno-name))))

(defmacro ^:private told [& body]
  `(try ~@body (catch RsmException e# (failure e#))))

(defn- everything
  "Uses everything once. What came of each step that did not go well."
  []
  (let [steps (atom {})
        step! (fn [k good f]
                (let [r (told (f))]
                  (when (not= good r) (swap! steps assoc k r))
                  r))]
    (step! :life nil
           (fn []
             (rsm/with-controller [c "loopback"]
               (rsm/with-exported-segment [ex c {:size 4096}]
                 (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :timeout-ms 1000}]
                   (step! :map 5 #(rsm/with-mapped-segment [m im]
                                    (rsm/put-long! m 0 5)
                                    (rsm/get-long ex 0)))
                   (step! :put 7 #(do (rsm/put! im 8 (byte-array [7]) 0 1)
                                      (rsm/get-byte ex 8)))
                   (step! :wait-in-vain [:rsm/timeout :signal-wait] #(rsm/signal-wait! ex {:timeout-ms 50}))
                   (when (nil? (step! :post nil #(rsm/signal-post! im)))
                     (step! :wait nil #(rsm/signal-wait! ex {:timeout-ms 500}))
                     (step! :post-again nil #(rsm/signal-post! im))
                     (let [p (step! :pollfd :descriptor #(do (rsm/get-pollfd! ex) :descriptor))]
                       (when (= :descriptor p)
                         (step! :wait-pollfd 1 #(count (rsm/signal-wait-pollfd! [(rsm/get-pollfd! ex)] {:timeout-ms 500}))))))
                   (let [heard (promise)
                         listener (told (rsm/on-signal! ex (fn [_] (deliver heard :event))))]
                     (told (rsm/signal-post! im))
                     (step! :callback :event #(deref heard 1000 :nothing))
                     (when-not (vector? listener) (step! :close-listener nil #(rsm/close! listener))))
                   (step! :unpublish nil #(rsm/unpublish! ex)))))))
    @steps))

(defn outcome-under
  "[What did not go well, processor time and time in ms] when these calls are refused."
  [rules]
  (effects/as-if-new!)
  (let [cpu (cpu-ms), start (now-ms)
        what (try (filter/under rules everything)
                  (catch Throwable e {:life (str e)}))]
    (effects/as-if-new!)
    [what (- (cpu-ms) cpu) (- (now-ms) start)]))

;; -------------------------------------------------------------------- tests

(def ^:private refusals {1 "EPERM", 13 "EACCES", 38 "ENOSYS"})

(def ^:private calls
  "What is refused: calls, with the arguments that tell the library's from the JVM's."
  [[:read {2 8}] [:write {2 8}] [:poll {}] [:lseek {}] [:ioctl {}] [:pwrite {}] [:madvise {2 23}] [:socket {}] [:connect {}]
   [:sendmsg {}] [:recvmsg {}] [:shutdown {}] [:bind {}] [:listen {}] [:socketpair {}] [:setsockopt {}] [:getsockopt {}]
   [:fcntl {}] [:ftruncate {}] [:fchmod {}] [:umask {}] [:fstatfs {}] [:mlock {}] [:io-setup {}] [:io-submit {}] [:io-destroy {}]
   [:epoll-wait {}] [:epoll-ctl {}] [:fallocate {}] [:accept4 {}] [:eventfd2 {}] [:epoll-create1 {}] [:prlimit64 {}]
   [:memfd-create {}] [:preadv2 {}] [:statx {}]
   [:mmap {3 0x1}] [:mmap {3 0x11}] [:mmap {3 0x12}] [:mmap {3 0x4032}] [:mmap {3 0x100001}]])

(def ^:private dispensable
  "Calls that the library can do without."
  #{[:ioctl {}] [:madvise {2 23}] [:shutdown {}] [:socketpair {}] [:umask {}] [:mlock {}] [:io-setup {}] [:io-submit {}]
    [:io-destroy {}] [:prlimit64 {}] [:preadv2 {}]})

(defn- error-with-name? [r]
  (and (vector? r) (#{:rsm/ctlr-not-present :rsm/insufficient-resources :rsm/internal-error} (first r))))

(deftest every-call
  (if-let [why (filter/obstacle)]
    (runner/skip! "calls that are refused" why)
    (child/with-child [c {:label "refused"}]
      (child/value c '(require 'rsmapi.refused-test) 60000)
      (doseq [[call args] calls
              [errno errno-name] (cond-> refusals (= :io-setup call) (assoc 11 "EAGAIN"))]
        (testing (str call args " " errno-name)
          (let [[what cpu time] (child/value c `(outcome-under ~[[call args errno]]) 90000)]
            (if (dispensable [call args])
              (is (= {} what))
              (is (every? error-with-name? (vals what))))
            (is (< (long cpu) 2000) "it spins")
            (is (< (long time) 8000) "it is late"))))
      (testing "nothing of all that stays"
        (is (= {} (first (child/value c `(outcome-under []) 90000))))))))

(defn fixed-mapping-under
  "The error of a mapping at an address, when mmap(2) is refused there."
  [errno]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size 4096}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (filter/under [[:mmap {3 0x100001} errno]]
                      #(first (told (rsm/map! im {:attr :fixed :address 0x100000000000}))))))))

(deftest a-mapping-that-is-refused
  (if-let [why (filter/obstacle)]
    (runner/skip! "a mapping that is refused" why)
    (child/with-child [c {:label "refused"}]
      (child/value c '(require 'rsmapi.refused-test) 60000)
      (testing "the address cannot be used: below vm.mmap_min_addr, for example"
        (is (= :rsm/bad-length (child/value c `(fixed-mapping-under 1)))))
      (testing "otherwise"
        (is (= :rsm/map-failed (child/value c `(fixed-mapping-under 13))))))))
