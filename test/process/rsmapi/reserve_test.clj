(ns rsmapi.reserve-test
  "The last units of what a process may have stay with the JVM: mappings, addresses, descriptors,
  memory of its control group, memory that it may lock. And the kernel's numbers, which are
  unsigned."
  (:require [clojure.datafy :as datafy]
            [clojure.java.io :as io]
            [clojure.java.shell :as shell]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.runner :as runner])
  (:import (com.sun.jna NativeLibrary)
           (java.io FileInputStream)
           (java.lang ProcessHandle)
           (org.rsmapi.sys Vm)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private mib 0x100000)

(defn text
  "A file of the kernel's. Some do not say how much there is to read, which slurp asks; some give
  everything with the first read."
  [file]
  (with-open [in (FileInputStream. (io/file file))]
    (let [piece (byte-array 65536)]
      (loop [all ""]
        (let [n (.read in piece)]
          (if (pos? n)
            (recur (str all (String. piece 0 n "ISO-8859-1")))
            all))))))

;; ------------------------------------------------------- inside of the child

(def kept "What children keep reachable." (atom []))

(defn until-refused
  "Calls f with 0, 1, ... and keeps what it returns, until it throws an RSM error. Returns how often it
  returned and what is in the error."
  [f ^long most]
  (loop [i 0]
    (let [r (if (< i most) (error/catching (f i)) {:rsm/error :none})]
      (if (and (map? r) (:rsm/error r))
        [i (select-keys r [:rsm/error :rsm/op :rsm/hint])]
        (do (swap! kept conj r)
            (recur (inc i)))))))

(defn alive
  "What a JVM has to be able to do, with this many threads and files at once."
  [^long threads ^long files]
  (let [gate (promise)
        all  (mapv (fn [_] (doto (Thread. ^Runnable (fn [] @gate)) .start)) (range threads))
        open (mapv (fn [_] (FileInputStream. "/dev/null")) (range files))]
    (deliver gate true)
    (run! #(.join ^Thread %) all)
    (run! #(.close ^FileInputStream %) open)
    (System/gc)
    (count (filter odd? (vec (range 1000000))))
    :alive))

(defn with-checked-child* [{:keys [before] :as opts} title f]
  (if-let [why (child/obstacle opts)]
    (runner/skip! title why)
    (child/with-child [c opts]
      (child/value c '(require 'rsmapi.reserve-test) 60000)
      (child/value c before)
      (child/value c '(def ctl (rsm/get-controller nil)))
      (f c))))

(defmacro ^:private with-checked-child
  "A child with a controller, ctl. :before is a form for it to evaluate before that."
  [[c opts title] & body]
  `(with-checked-child* ~opts ~title (fn [~c] ~@body)))

;; ---------------------------------------------------------------- mappings

(defn map-at
  "Maps and unmaps at the i-th of many addresses that are no neighbours. Returns the mapping."
  [im ^long i]
  (let [m (rsm/map! im {:address (+ 0x100000000000 (* 3 page i)) :attr :fixed :length page})]
    (rsm/unmap! im)
    m))

(defn share-and-take-back
  "Exports every second page of a local memory for a moment, the i-th one: it is a mapping of its own
  from then on."
  [ctl mem ^long i]
  (rsm/destroy! (rsm/create! ctl {:address (+ (long (rsm/address mem)) (* 2 page i)) :size page})))

(def ^:private allowed (delay (parse-long (str/trim (text "/proc/sys/vm/max_map_count")))))

(deftest mappings
  (with-checked-child [c {:label "mappings"} "mappings"]
    (child/value c `(do (def ~'mem (rsm/allocate! ~(* 2 page (+ 5000 (long @allowed)))))
                        (def ~'ex (rsm/export! ~'ctl {:size 4096}))
                        (def ~'other (rsm/create! ~'ctl {:size 4096}))))
    (let [[n refusal] (child/value c `(until-refused (fn [i#] (share-and-take-back ~'ctl ~'mem i#)) ~(deref allowed)) 120000)]
      (is (= [:rsm/insufficient-resources :export-create] ((juxt :rsm/error :rsm/op) refusal)) (pr-str n refusal))
      (is (re-find #"max_map_count" (str (:rsm/hint refusal))))
      (is (< (quot (long @allowed) 4) (long n)) "it is not refused too early")
      (testing "all else that needs one is refused, too"
        (doseq [form '[(rsm/create! ctl {:size 4096}) (rsm/allocate! 4096) (rsm/publish! other)
                       (rsm/connect! ctl {:segment-id (rsm/segment-id ex)})]]
          (is (= :rsm/insufficient-resources (-> (child/ask c form) :error :rsm/error)) (pr-str form))))
      (is (= :alive (child/value c `(alive 300 0) 60000)))
      (testing "when the memory has been freed it works again"
        (child/value c '(rsm/free! mem))
        (is (some? (:ok (child/ask c '(rsm/size (rsm/allocate! 4096))))))))))

(deftest closed-mappings
  (with-checked-child [c {:label "closed mappings"} "closed mappings"]
    (child/value c '(do (def ex (rsm/export! ctl {:size 4096}))
                        (def im (rsm/connect! ctl {:segment-id (rsm/segment-id ex)}))))
    (testing "take none for good, although their objects are kept"
      (let [n (+ 5000 (long @allowed))]
        (is (= [n {:rsm/error :none}] (child/value c `(until-refused (fn [i#] (map-at ~'im i#)) ~n) 120000)))))
    (is (= :alive (child/value c `(alive 300 0) 60000)))))

(deftest addresses
  (with-checked-child [c {:label "addresses" :prefix ["sh" "-c" "ulimit -v 8388608 && exec \"$@\"" "sh"]
                          :jvm-opts ["-XX:ReservedCodeCacheSize=64m" "-XX:CompressedClassSpaceSize=64m"]}
                       "addresses"]
    (child/value c `(do (def ~'ex (rsm/export! ~'ctl {:size ~(* 64 mib)}))
                        (def ~'im (rsm/connect! ~'ctl {:segment-id (rsm/segment-id ~'ex)}))))
    (let [[n refusal] (child/value c `(until-refused (fn [i#] (rsm/allocate! ~(* 64 mib))) 500) 60000)]
      (is (= :rsm/insufficient-resources (:rsm/error refusal)) (pr-str n refusal))
      (is (re-find #"ulimit -v" (str (:rsm/hint refusal))))
      (is (< 10 (long n)))
      (is (= :rsm/insufficient-resources (-> (child/ask c '(rsm/map! im)) :error :rsm/error)))
      (is (= :alive (child/value c `(alive 40 0) 60000))))))

(deftest descriptors
  (with-checked-child [c {:label "descriptors" :prefix ["sh" "-c" "ulimit -n 512 && exec \"$@\"" "sh"]} "descriptors"]
    (child/value c '(do (def ex (rsm/create! ctl {:size 4096}))
                        (rsm/publish! ex)))
    (doseq [f [`(fn [_#] (rsm/create! ~'ctl {:size 4096}))
               `(fn [_#] (rsm/connect! ~'ctl {:segment-id (rsm/segment-id ~'ex)}))]]
      (let [[n refusal] (child/value c `(until-refused ~f 1000) 60000)]
        (is (= :rsm/insufficient-resources (:rsm/error refusal)) (pr-str f n refusal))
        (is (= :alive (child/value c `(alive 5 40) 60000)))
        (child/value c `(do (run! rsm/close! @kept) (reset! kept []) nil) 60000)))
    (is (some? (:ok (child/ask c '(rsm/size (rsm/create! ctl {:size 4096}))))))))

;; ----------------------------------------------------------- control groups

(defn- controller
  "Where memory's control groups are, and what their files are called; nil if there are none."
  []
  (let [mounts (map #(str/split % #" ") (str/split-lines (text "/proc/mounts")))
        at     (fn [type option]
                 (some (fn [[_ where t options]]
                         (when (and (= t type) (or (nil? option) (some #{option} (str/split options #","))))
                           where))
                       mounts))
        two    (at "cgroup2" nil)]
    (if (and two (re-find #"\bmemory\b" (text (io/file two "cgroup.controllers"))))
      {:where two, :limit "memory.max", :used "memory.current", :two? true}
      (when-let [one (at "cgroup" "memory")]
        {:where one, :limit "memory.limit_in_bytes", :used "memory.usage_in_bytes"}))))

(defn- make-group!
  "A control group with that limit, as a map with its :folder, or why there cannot be one, a string."
  [limit]
  (if-let [{:keys [where two?] :as group} (controller)]
    (let [folder (io/file where (str "rsmapi-test-" (.pid (ProcessHandle/current)) "-" (System/nanoTime)))]
      (try
        (when two?
          (spit (io/file where "cgroup.subtree_control") "+memory"))
        (if (.mkdir folder)
          (do (spit (io/file folder (:limit group)) (str limit))
              (assoc group :folder folder))
          "needs the right to make a control group")
        (catch java.io.IOException e
          (.delete folder)
          (str "needs a control group with a limit of memory: " (.getMessage e)))))
    "needs control groups of memory"))

(defmacro ^:private with-group [[group limit title] & body]
  `(let [~group (make-group! ~limit)]
     (if (string? ~group)
       (runner/skip! ~title ~group)
       (try
         ~@body
         (finally
           (eventually (.delete ^java.io.File (:folder ~group))))))))

(defn- inside [{:keys [folder]}]
  ["sh" "-c" (str "echo $$ > '" folder "/cgroup.procs' && exec \"$@\"") "sh"])

(defn- number-in [{:keys [folder]} file] (parse-long (str/trim (text (io/file folder file)))))

(deftest a-group-that-becomes-full
  (with-group [g (* 300 mib) "a group that becomes full"]
    (doseq [size [(* 2 mib) 65536]]
      (with-checked-child [c {:label "group" :prefix (inside g)} "a group that becomes full"]
        (let [[n refusal] (child/value c `(until-refused (fn [_#] (rsm/create! ~'ctl {:size ~size})) 10000) 60000)]
          (is (= :rsm/insufficient-mem (:rsm/error refusal)) (pr-str size n refusal))
          (is (< (* 50 mib) (* (long n) (long size))) "it is not refused too early")
          (is (= :alive (child/value c `(alive 20 20) 60000))))))))

(deftest a-group-full-of-page-cache
  (with-group [g (* 300 mib) "a group full of page cache"]
    (with-checked-child [c {:label "cache" :prefix (inside g)} "a group full of page cache"]
      (let [file (io/file (System/getProperty "user.dir") "target" (str "cache-" (System/nanoTime)))]
        (try
          (is (zero? (child/value c `(:exit (shell/sh "dd" "if=/dev/zero" ~(str "of=" file) "bs=1M" "count=400" "conv=fsync")) 60000)))
          (is (zero? (child/value c `(:exit (shell/sh "dd" "of=/dev/null" "bs=1M" ~(str "if=" file))) 60000)))
          (is (< (* 270 mib) (long (number-in g (:used g)))) "it is full")
          (is (= 4194304 (child/value c `(rsm/size (rsm/create! ~'ctl {:size ~(* 4 mib)})))))
          (finally
            (.delete file)))))))

;; ------------------------------------------- what the kernel says, made up

(defn pretend!
  "Has a file of this process's folder in /proc read as this text from now on, for this process and its
  children. The process needs a mount namespace of its own."
  [file text]
  (let [own  (str "/proc/" (.pid (ProcessHandle/current)) "/" file)
        fake (str (System/getProperty "java.io.tmpdir") "/" file)]
    (spit fake text)
    (let [{:keys [exit err]} (shell/sh "mount" "--bind" fake own)]
      (when-not (zero? (long exit))
        (throw (IllegalStateException. (str err)))))))

(def ^:private namespaced {:prefix ["unshare" "--mount"]})

(defn pretend-group!
  "A group of version 2 with a limit of 300 MiB, of which 290 are used."
  []
  (let [root (io/file (System/getProperty "java.io.tmpdir") "root")
        put! (fn [folder file x]
               (let [f (io/file root folder file)]
                 (io/make-parents f)
                 (spit f (str x "\n"))))]
    (put! "a" "memory.max" (* 300 mib))
    (put! "a" "memory.current" (* 290 mib))
    (put! "a" "memory.stat" "anon 1")
    (put! "a/b" "memory.max" "max")
    (pretend! "cgroup" "12:cpu:/x\n0::/a/b\n")
    (pretend! "mountinfo" (str "30 24 0:26 / " root " rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"))))

(defn cache!
  "So much of that is page cache."
  [bytes]
  (spit (io/file (System/getProperty "java.io.tmpdir") "root" "a" "memory.stat")
        (str "anon 1\nfile 7\ninactive_file " bytes "\nactive_file 0\nslab_reclaimable 0\n")))

(deftest a-group-of-version-2
  (with-checked-child [c (assoc namespaced :label "version 2" :before `(do (pretend-group!) (cache! ~(* 200 mib))))
                       "a group of version 2"]
    (child/value c '(defn new-ones [n size] (rsmapi.reserve-test/until-refused (fn [_] (rsm/create! ctl {:size size})) n)))
    (is (= [1 {:rsm/error :none}] (child/value c '(new-ones 1 0x1000000))))
    (child/value c `(cache! ~(* 5 mib)))
    ;; 15 MiB are left, and the reserve is more than that
    (is (= :rsm/insufficient-mem (:rsm/error (second (child/value c '(new-ones 100 0x100000))))))
    (child/value c `(cache! ~(* 200 mib)))
    (is (= [1 {:rsm/error :none}] (child/value c '(new-ones 1 0x400000))))))

(deftest an-inode-above-2-to-the-63
  (with-checked-child [c (assoc namespaced :label "inode") "an inode above 2^63"]
    (child/value c `(do (def ~'memory (rsm/allocate! ~(* 4 page)))
                        (pretend! "maps" (str (text "/proc/self/maps")
                                              "7ff000000000-7ff000001000 r--p 00000000 00:2d 18446744073709551615 /some/file\n"
                                              "7ff000002000-7ff000003000 rw-s 00000000 00:2d 18446744073709551616 /other\n"))))
    (is (= (* 4 page) (child/value c '(rsm/size (rsm/create! ctl {:address (rsm/address memory) :size 16384})))))
    (is (= [false true]
           (child/value c '(mapv #(.sharedFile ^org.rsmapi.sys.Vm$Region %)
                                 (org.rsmapi.sys.Vm/regions 0x7ff000000000 0x7ff000003000))
                        10000))
        "its inode is not 0")))

(deftest a-uid-above-2-to-the-31
  (with-checked-child [c {:uid 4000000000 :gid 4000000000 :label "uid"} "a uid above 2^31"]
    (let [id (child/value c '(let [ex (rsm/create! ctl {:size 4096})]
                               (def ex ex)
                               (rsm/publish! ex {:acl [{:node 0 :perm 0600}]})))]
      (rsm/with-controller [ctl nil]
        (rsm/with-imported-segment [im ctl {:segment-id id}]
          (is (= 4000000000 (-> (datafy/datafy im) :exporter :uid))))))))

;; ------------------------------------------------------------ locked memory

(defn- libc [function & args]
  (.invokeInt (.getFunction (NativeLibrary/getProcess) function) (object-array args)))

(defn mapped-at [^long address]
  (str (first (Vm/regions address (inc address)))))

(defn with-little-to-lock
  "What is refused, and what an end leaves mapped, when all new memory has to be locked and cannot. The JVM
  needs new memory, too: of the 34 MiB that may be locked, 2 are left for it."
  [ctl lock?]
  (let [ex  (rsm/create! ctl {:size (* 8 (long mib))})
        _   (rsm/publish! ex)
        im  (rsm/connect! ctl {:segment-id (rsm/segment-id ex)})
        im2 (rsm/connect! ctl {:segment-id (rsm/segment-id ex)})]
    (when lock? (libc "mlockall" (int 2))) ; MCL_FUTURE
    (try
      (let [m  (rsm/map! im)
            at (rsm/address m)
            [_ full] (until-refused (fn [_] (rsm/allocate! (* 4 (long mib)))) (if lock? 1000 2))
            refused  [full (error/catching (rsm/map! im2)) (error/catching (rsm/create! ctl {:size (* 8 (long mib))}))]]
        (rsm/unmap! im)
        {:refused (mapv #(when (map? %) [(:rsm/error %) (boolean (re-find #"ulimit -l" (str (:rsm/hint %))))]) refused)
         :there   (mapped-at at)})
      (finally
        (libc "munlockall")))))

(deftest little-memory-may-be-locked
  ;; root may lock as much as it likes
  (with-checked-child [c {:uid 2001 :gid 2001 :label "locked" :prefix ["sh" "-c" "ulimit -l 34816 && exec \"$@\"" "sh"]
                          :jvm-opts ["-Xms128m" "-XX:+AlwaysPreTouch" "-Xint"]}
                       "little memory may be locked"]
    (child/value c '(do (rsmapi.reserve-test/with-little-to-lock ctl false) nil)) ; all classes are there
    (let [{:keys [refused there]} (child/value c '(rsmapi.reserve-test/with-little-to-lock ctl true))]
      (is (= (repeat 3 [:rsm/insufficient-mem true]) refused))
      (is (and (seq there) (not (str/includes? there "memfd"))) "an end needs no more than there is"))))
