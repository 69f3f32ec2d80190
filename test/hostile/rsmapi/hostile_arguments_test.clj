(ns rsmapi.hostile-arguments-test
  "Arguments that fail, change or never end when they are looked at; files that are none; and what the JVM refuses."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner])
  (:import (java.io File RandomAccessFile)
           (java.nio.file FileSystems Files)
           (java.time Duration)
           (java.util AbstractList ArrayList List)
           (org.rsmapi AccessEntry ExportSegment ImportSegment IoVec PollFd ScatterGather)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

(defn- promptly
  "The outcome of a call that must not hang."
  [f]
  (deref (future (outcome (f))) 20000 :late))

;; -------------------------------------------------------------------- files

(defmacro ^:private with-file [[sym] & body]
  `(let [~(with-meta sym {:tag `File}) (File/createTempFile "rsmapi" nil)]
     (try ~@body (finally (.delete ~sym)))))

(deftest segment-id-files-that-are-none
  (testing "a FIFO that has no writer"
    (with-file [f]
      (.delete f)
      (is (zero? (.waitFor (.start (ProcessBuilder. ^List (vector "mkfifo" (str f)))))))
      (is (= :rsm/bad-conf (promptly #(rsm/segment-id-range "a" {:file f}))))))
  (testing "devices and folders"
    (is (= :rsm/bad-conf (promptly #(rsm/segment-id-range "a" {:file "/dev/zero"}))))
    (is (= :rsm/bad-conf (promptly #(rsm/segment-id-range "a" {:file "/tmp"})))))
  (testing "a line of 600 MB"
    (with-file [f]
      (with-open [raf (RandomAccessFile. f "rw")]
        (.setLength raf 600000000))
      (is (= :rsm/bad-conf (promptly #(rsm/segment-id-range "a" {:file f}))))))
  (testing "names that are none"
    (is (= :rsm/bad-conf (outcome (rsm/segment-id-range "a" {:file "a\u0000b"}))))
    (is (= :rsm/bad-conf (outcome (rsm/segment-id-range "a" {:file (File. "a\u0000b")})))))
  (testing "a path of a file system that is closed"
    (with-file [f]
      (.delete f)
      (let [fs (FileSystems/newFileSystem (java.net.URI. (str "jar:" (.toURI f))) {"create" "true"})
            path (.getPath fs "/ids" (make-array String 0))]
        (Files/writeString path "reserved a 600000 5\n" (make-array java.nio.file.OpenOption 0))
        (is (= {:base 0x600000 :length 5} (rsm/segment-id-range "a" {:file path})))
        (.close fs)
        (is (= :rsm/bad-conf (outcome (rsm/segment-id-range "a" {:file path})))))))
  (testing "a length of 0, as in the original"
    (with-file [f]
      (spit f "reserved a 600000 0\nreserved b 600000 -1\n")
      (is (= {:base 0x600000 :length 0} (rsm/segment-id-range "a" {:file f})))
      (is (= :rsm/bad-conf (outcome (rsm/segment-id-range "b" {:file f})))))))

(deftest the-name-of-the-segment-id-file
  (System/setProperty "rsmapi.segmentid" "a\u0000b")
  (try
    (is (= :rsm/bad-conf (outcome (rsm/segment-id-range "a"))))
    (finally
      (System/clearProperty "rsmapi.segmentid")))
  (child/with-child [c {:label "locale"
                        :prefix ["env" "LC_ALL=C" "RSMAPI_SEGMENTID=/tmp/\u00e4\u4e16"]
                        :jvm-opts ["-Dsun.jnu.encoding=ANSI_X3.4-1968"]}]
    (is (= :rsm/bad-conf (:rsm/error (:error (child/ask c '(rsm/segment-id-range "a"))))))))

;; -------------------------------------------------------------------- lists

(defn- list-of
  "A list whose size and items are what the functions say."
  [size item]
  (proxy [AbstractList] []
    (size [] (int (size)))
    (get [i] (item i))))

(defn- changing
  "A list of these items the first time that it is read, and of the others afterwards."
  [first-items others]
  (let [reads (atom 0)]
    (proxy [AbstractList] []
      (size [] (int 1))
      (get [i] (nth first-items i))
      (iterator [] (let [^Iterable now (if (= 1 (swap! reads inc)) first-items others)] (.iterator now)))
      (toArray [] (to-array (if (= 1 (swap! reads inc)) first-items others))))))

(defn- boom [& _] (throw (IllegalStateException. "mine")))

(def ^:private hostile-lists
  [(list-of boom boom)
   (list-of (constantly 1) boom)
   (list-of (constantly 1) (constantly "no item"))
   (list-of (constantly -1) boom)
   (list-of (constantly Integer/MAX_VALUE) (constantly nil))])

(deftest java-lists
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (with-open [^ExportSegment ex2 (rsm/create! c {:size page})]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (doseq [^List l hostile-lists]
            ;; of a negative size: empty, which is allowed
            (is (contains? #{:rsm/bad-acl nil} (promptly #(do (.publish ex2 0 l) (.unpublish ex2) nil))))
            (is (= :rsm/bad-sgio (promptly #(ImportSegment/putv (ScatterGather. im 0 l)))))
            (is (contains? #{:rsm/bad-args-errors :rsm/timeout} (promptly #(PollFd/await l Duration/ZERO)))))
          (testing "an access list is what was checked"
            (let [good (AccessEntry. 0 0600), bad (AccessEntry. 5 0777)]
              (.publish ex2 0 (changing [good] [bad bad bad]))
              (is (= [good] (vec (.access ex2))))
              (.unpublish ex2)))
          (testing "while another thread changes it"
            (let [l (ArrayList. ^java.util.Collection (repeat 3 (IoVec/of (byte-array 8) 0 0 8)))
                  stop (atom false)
                  changer (future (while (not @stop) (.add l 0 nil) (.remove l (int 0))))]
              (dotimes [_ 2000]
                (let [result (outcome (ImportSegment/getv (ScatterGather. im 0 l)))]
                  (when-not (contains? #{0 :rsm/bad-sgio} result)
                    (is (= :ok result)))))
              (reset! stop true)
              @changer)))))))

(deftest sequences-that-fail
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size page}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
        (rsm/unpublish! ex)
        (is (= :rsm/bad-acl (outcome (rsm/publish! ex {:acl (map inc [:a])}))))
        (rsm/publish! ex)
        (is (= :rsm/bad-args-errors (outcome (rsm/signal-wait-pollfd! (map inc [:a])))))
        (with-open [again (rsm/connect! c {:segment-id (rsm/segment-id ex)})]
          (is (= :rsm/bad-sgio (outcome (rsm/putv! {:segment again :iovec (map inc [:a])}))))
          (testing "the number of pieces is theirs"
            (is (= {:rsm/error :rsm/bad-sgio :rsm/entries 1000 :rsm/residual 1000}
                   (select-keys (error/catching (rsm/putv! {:segment again :iovec (vec (repeat 1000 nil))}))
                                [:rsm/error :rsm/entries :rsm/residual])))))))))

(deftest numbers-that-fail
  (let [zero-denominator (clojure.lang.Ratio. BigInteger/ONE BigInteger/ZERO)
        nothing (clojure.lang.Ratio. nil nil)
        own (proxy [Number] []
              (doubleValue [] (boom)) (longValue [] (boom)) (intValue [] (boom)) (toString [] (boom)))
        big (proxy [BigInteger] ["5"] (compareTo [_] (boom)) (longValue [] (boom)))]
    (rsm/with-local-memory [m page]
      (doseq [n [zero-denominator nothing own big]]
        (is (= :rsm/bad-args-errors (outcome (rsm/put-long! m 0 n))))
        (is (= :rsm/bad-offset (outcome (rsm/get-long m n)))))
      (doseq [n [zero-denominator nothing own]]
        (is (= :rsm/bad-args-errors (outcome (rsm/put-double! m 0 n))))
        (is (= :rsm/bad-args-errors (outcome (rsm/put-float! m 0 n)))))
      (is (string? (:rsm/value (error/catching (rsm/put-double! m 0 own))))))))

;; ----------------------------------------------------------------- odds and ends

(deftest small-things
  (testing "loopback with any number is loopback"
    (with-open [c (rsm/get-controller "loopback1234567890")]
      (is (= "loopback" (str/replace (.name ^org.rsmapi.Controller c) #"\d+$" ""))))
    (is (= :rsm/ctlr-not-present (outcome (rsm/get-controller "shm1234567890"))))
    (with-open [c (rsm/get-controller "shm0000000000001")]
      (is (= "shm1" (.name ^org.rsmapi.Controller c)))))
  (testing "no descriptors at all"
    (is (= :rsm/bad-addr (outcome (rsm/signal-wait-pollfd! nil))))
    (is (= :rsm/bad-addr (outcome (PollFd/await nil nil)))))
  (testing "rebind to a range over the present memory"
    (rsm/with-controller [c "loopback"]
      (rsm/with-local-memory [m (* 3 page)]
        (with-open [ex (rsm/create! c {:address (rsm/address m) :size (* 2 page) :allow-rebind true})]
          (let [e (error/catching (rsm/rebind! ex {:address (+ page (rsm/address m)) :length (* 2 page)}))]
            (is (= :rsm/bad-addr (:rsm/error e)))
            (is (str/includes? (:rsm/hint e) "overlaps the segment's present memory"))))))))

(deftest a-heap-that-is-too-small
  (child/with-child [c {:label "small heap" :jvm-opts ["-Xmx64m"]}]
    (is (= :rsm/insufficient-mem
           (:rsm/error (:error (child/ask c '(with-open [m (rsm/allocate! 200000000)] (rsm/get-bytes m 0 200000000)))))))
    (is (= :rsm/insufficient-mem
           (:rsm/error (:error (child/ask c '(with-open [m (rsm/allocate! 200000000)] (rsm/get-longs m 0 25000000)))))))
    (is (= :rsm/insufficient-mem
           (:rsm/error (:error (child/ask c '(with-open [m (rsm/allocate! 200000000)] (rsm/read-snapshot m)))))))))

(deftest no-more-threads
  (let [opts {:label "no threads" :uid 2001 :gid 2001}]
    (if-let [obstacle (child/obstacle opts)]
      (runner/skip! "threads" obstacle)
      (child/with-child [c opts]
        (is (= :rsm/insufficient-resources
               (child/value c '(let [c (rsm/get-controller nil)
                                     ex (rsm/create! c {:size 65536})
                                     ;; the limit counts the threads of the user
                                     set-limit (com.sun.jna.Function/getFunction "c" "setrlimit")
                                     limit (doto (com.sun.jna.Memory. 16) (.setLong 0 1) (.setLong 8 1))]
                                 (def kept [c ex])
                                 (.invokeInt set-limit (object-array [(int 6) limit]))
                                 (try (rsm/publish! ex) (catch clojure.lang.ExceptionInfo e (:rsm/error (ex-data e))))))))
        (is (= [false :rsm/insufficient-resources :rsm/insufficient-resources nil]
               (child/value c '(let [[c ex] kept
                                     told (fn [f] (try (f) (catch clojure.lang.ExceptionInfo e (:rsm/error (ex-data e)))))]
                                 [(rsm/published? ex)
                                  (told (fn [] (rsm/on-signal! ex (fn [_]))))
                                  (told (fn [] (rsm/export! c {:size 65536})))
                                  (do (rsm/close! ex) (rsm/close! c))]))))))))
