(ns rsmapi.effects-test
  "Systems that report success for calls that they did not make, that refuse calls, and whose
  calls are interrupted again and again."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.filter :as filter]
            [rsmapi.test.runner :as runner])
  (:import (java.lang.reflect Field)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------- inside of the child

(defn- set-static! [class-name field value]
  (doto ^Field (.getDeclaredField (Class/forName class-name) field)
    (.setAccessible true)
    (.setBoolean nil value)))

(defn as-if-new!
  "Nothing has been found out about the system."
  []
  (set-static! "org.rsmapi.spi.Preload" "over" false)
  (set-static! "org.rsmapi.sys.Effects" "probed" false)
  (set-static! "org.rsmapi.sys.Vm" "advises" true)
  (set-static! "org.rsmapi.sys.Vm" "knowsNoReplace" true)
  (set-static! "org.rsmapi.sys.MemFd" "fallocates" true))

(defn round-trip
  "Content that is written on both sides and survives the end of the publication, of this size.
  Returns what the exporter has in the end, and what an importer sees."
  [size]
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (let [end (- (long size) 8)]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (let [m (rsm/map! im)]
            (rsm/put-long! ex 0 41)
            (rsm/put-long! m end 42)
            (rsm/unpublish! ex)
            {:exporter [(rsm/get-long ex 0) (rsm/get-long ex end)]
             :importer (:rsm/error (error/catching (rsm/get-long m 0)))}))))))

(def whole {:exporter [41 42], :importer :rsm/conn-aborted})

(defn outcome-under
  "What becomes of a round trip under a filter, on a system of which nothing is known yet."
  [rules size]
  (as-if-new!)
  (try
    (filter/under rules #(let [r (error/catching (round-trip size))]
                           (if (:rsm/error r)
                             (select-keys r [:rsm/error :rsm/effect :rsm/errno-name :rsm/op])
                             r)))
    (finally
      (as-if-new!))))

;; ------------------------------------------------------------------- tests

(def ^:private page 4096)

(defmacro ^:private with-filters [[c title] & body]
  `(if-let [why# (filter/obstacle)]
     (runner/skip! ~title why#)
     (child/with-child [~c {:label "effects"}]
       (child/value ~c '(require 'rsmapi.effects-test) 60000)
       ~@body)))

(deftest calls-that-do-nothing
  (with-filters [c "calls that do nothing"]
    (let [under #(child/value c `(outcome-under ~%1 ~%2) 60000)]
      (is (= whole (under [] (* 4 page))))
      (testing "there is another way"
        (doseq [rules [[[:madvise {2 23} 0]]                      ; MADV_POPULATE_WRITE
                       [[:madvise {} 0]]                          ; QEMU's user-mode emulation
                       [[:fallocate {1 0} 0]]]]
          (is (= whole (under rules (* 4 page))) (pr-str rules))))
      (testing "there is none"
        (doseq [[effect rules] {#"can neither shrink"            [[:fcntl {1 1033} 0]]          ; F_ADD_SEALS
                                #"length and the mode"           [[:fchmod {} 0]]
                                #"punched hole takes the pages"  [[:fallocate {1 3} 0]]
                                #"separates it from the file"    [[:mmap {3 0x4032} 0]]
                                #"is bound only once"            [[:bind {} 0]]
                                #"other end .* is identified"    [[:getsockopt {2 17} 0]]}]
          (let [{:rsm/keys [error op] :as r} (under rules (* 4 page))]
            (is (= [:rsm/ctlr-not-present :get-controller] [error op]) (pr-str rules r))
            (is (re-find effect (str (:rsm/effect r))) (pr-str rules r)))))
      (is (= whole (under [] (* 4 page))) "nothing of all that stays")
      (testing "a controller that does not open leaves nothing behind"
        (under [[:bind {} 0]] (* 4 page)) ; after the effect for which a context of asynchronous I/O is made
        (is (not (re-find #"\[aio\]" (child/proc (child/pid c) "maps"))))))))

(deftest calls-that-are-refused
  (with-filters [c "calls that are refused"]
    (doseq [call [:memfd-create :fallocate :fcntl :fchmod :ftruncate]
            [errno errno-name] {1 "EPERM", 13 "EACCES", 38 "ENOSYS"}]
      (let [r (child/value c `(outcome-under ~[[call {} errno]] ~page) 60000)]
        (is (= [:rsm/ctlr-not-present :get-controller errno-name] ((juxt :rsm/error :rsm/op :rsm/errno-name) r))
            (pr-str call errno-name r))))))

(deftest calls-that-are-interrupted
  ;; older kernels end a long call when a signal comes, and undo what it did
  (with-filters [c "calls that are interrupted"]
    (let [mib   0x100000
          long? [:> mib]]
      (is (= whole (child/value c `(outcome-under ~[[:fallocate {3 long?} 4] [:madvise {1 long?, 2 23} 4] [:pwrite {2 long?} 4]]
                                                  ~(* 64 mib))
                                60000)))
      (testing "without an end"
        (is (= ["EINTR" :rsm/ctlr-not-present]
               ((juxt :rsm/errno-name :rsm/error) (child/value c `(outcome-under [[:fallocate {} 4]] ~page) 60000))))))))
