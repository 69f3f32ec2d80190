(ns rsmapi.inspect-test
  "Looking: segments of this machine with exporters that are stopped, dead, hostile or another
  user's; handles as data; hexdumps."
  (:require [clojure.datafy :refer [datafy nav]]
            [clojure.edn :as edn]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.inspect :as inspect]
            [rsmapi.layout :as layout]
            [rsmapi.test.child :as child]
            [rsmapi.test.outcome :refer [failure]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.segment :refer [with-segment]])
  (:import (org.rsmapi Controller LocalMemory)
           (org.rsmapi.sys Fd Sockets)))

(set! *warn-on-reflection* true)

(def ^:private pid (.pid (java.lang.ProcessHandle/current)))
(def ^:private uid (java.nio.file.Files/getAttribute (.toPath (java.io.File. "/proc/self")) "unix:uid"
                                                     (make-array java.nio.file.LinkOption 0)))

(defn- found
  "What segments says of an id."
  [id & opts]
  (filterv #(= id (:segment-id %)) (apply inspect/segments opts)))

;; ---------------------------------------------------------------- segments

(deftest published-segments-are-listed
  (rsm/with-controller [c "shm7" :node 5]
    (with-open [ex (rsm/create! c :size 1 :round-up true)]
      (let [id (rsm/publish! ex)]
        (is (= [{:controller "shm7" :node 5 :segment-id id :uid uid :pid pid :mine? true}] (found id)))
        (is (= (found id) (found id :node 5) (found id :mine true) (found id :pids false)
               (found id {:node 5 :mine true :pids true})))
        (is (= [] (found id :node 4) (found id :mine false)))
        (let [all (inspect/segments)]
          (is (= all (sort-by (juxt :node :segment-id) all))))
        (rsm/with-imported-segment [_ c :segment-id id]
          (is (= 1 (count (found id))) "a connection has the name too"))
        (rsm/unpublish! ex)
        (is (= [] (found id)))))))

(deftest segments-of-other-processes
  (child/with-child [child {:label "exporter"}]
    (let [id (child/value child '(do (def c (rsm/get-controller nil))
                                     (def ex (rsm/export! c :size 65536))
                                     (rsm/segment-id ex)))
          there {:node 0 :segment-id id :uid uid :pid (child/pid child) :mine? false}]
      (is (= [there] (found id)))
      (is (= there (dissoc (inspect/describe there) :type :published? :id)))
      (testing "one that is stopped"
        (child/signal! child "STOP")
        (is (= [there] (found id)))
        (is (:published? (inspect/describe there)))
        (child/signal! child "CONT"))
      (child/kill-9! child)
      (testing "one that is dead"
        (is (= [] (found id)))
        (is (= (assoc there :type :published-segment :published? false :id (format "0x%08x" id))
               (inspect/describe there)))))))

(deftest segments-of-other-users
  (let [opts {:label "another user" :uid 2001 :gid 2001}]
    (if-let [obstacle (child/obstacle opts)]
      (runner/skip! "another user" obstacle)
      (child/with-child [child opts]
        (rsm/with-controller [c "loopback"]
          (rsm/with-exported-segment [ex c :size 65536]
            (let [theirs (child/value child '(do (require '[rsmapi.inspect :as inspect])
                                                 (def c (rsm/get-controller nil))
                                                 (rsm/segment-id (rsm/export! c :size 65536))))
                  seen-there (fn [id] (child/value child `(filterv #(= ~id (:segment-id %)) (rsmapi.inspect/segments))))
                  there {:node 0 :segment-id theirs :uid 2001 :pid (child/pid child) :mine? false}]
              (is (= [there] (found theirs)))
              (is (= [(assoc there :controller "loopback" :mine? true)] (seen-there theirs)))
              (is (= [{:node 0 :segment-id (rsm/segment-id ex) :uid uid :mine? false}]
                     (seen-there (rsm/segment-id ex)))
                  "it may not look into this process"))))))))

;; Names that others bind

(defn- listening [name] (Sockets/listen name 1))

(def ^:private no-segments
  ["rsmapi/0/0070001" "rsmapi/0/007000011" "rsmapi/0/0070000A" "rsmapi/64/00700001" "rsmapi/00/00700001"
   "rsmapi/63/00000000" "rsmapi//00700001" "rsmapi/0/00700001/" "rsmapi/-1/00700001" "rsmapi/0/-0700001"
   "rsmapi/0/00700001\u0000" "rsmapi/0/00700001\n" "\u0000rsmapi/0/00700002" " @rsmapi/0/00700003"
   "x\n0: 00000002 00000000 00010000 0005 01 12345 @rsmapi/0/00700004" "rsmapi" "rsmapi/" "rsmapi-node/x/y"
   "rsmapi/\u0001\u0002/\u007f"])

(defn- strange
  "What is listed of this test's names, or cannot be: other processes publish meanwhile."
  []
  (remove #(and (<= 0 (long (:node %)) 63) (pos? (long (:segment-id %)))
                (not (<= 0x700000 (long (:segment-id %)) 0x70000f)))
          (inspect/segments)))

(deftest hostile-names-are-ignored
  (let [sockets (mapv listening no-segments)]
    (try
      (is (= [] (strange)))
      (testing "a name that is bound, and is not listened to"
        (with-open [_ ^Fd (Sockets/bind "rsmapi/0/00700005")]
          (is (= [] (found 0x700005)))))
      (testing "whoever listens under a good name is listed, with the user"
        (with-open [_ ^Fd (listening "rsmapi/63/00700006")]
          (is (= [{:node 63 :segment-id 0x700006 :uid uid :pid pid :mine? false}] (found 0x700006)))))
      (testing "a file, which /proc/net/unix shows in the same way"
        (let [folder (java.nio.file.Files/createTempDirectory "rsmapi" (make-array java.nio.file.attribute.FileAttribute 0))
              file   (.resolve folder "@rsmapi")]
          (try
            (with-open [s (java.nio.channels.ServerSocketChannel/open java.net.StandardProtocolFamily/UNIX)]
              (.bind s (java.net.UnixDomainSocketAddress/of file))
              (is (= [] (strange))))
            (finally
              (java.nio.file.Files/deleteIfExists file)
              (java.nio.file.Files/delete folder)))))
      (finally
        (run! (fn [^Fd s] (.close s)) sockets)))))

(deftest thousands-of-names
  (let [sockets (mapv #(listening (format "rsmapi/62/0071%04x" %)) (range 3000))]
    (try
      (let [listed (inspect/segments :node 62)]
        (is (= 3000 (count listed)))
        (is (= #{[uid pid false]} (set (map (juxt :uid :pid :mine?) listed))))
        (is (= 0x710bb7 (:segment-id (peek listed)))))
      (finally
        (run! (fn [^Fd s] (.close s)) sockets)))
    (is (= [] (inspect/segments :node 62)))))

(deftest without-sock-diag
  (child/with-child [child {:label "no sock_diag" :jvm-opts ["-Drsmapi.test.without=sock-diag"]}]
    (let [[id listed] (child/value child '(do (require '[rsmapi.inspect :as inspect])
                                              (def c (rsm/get-controller nil))
                                              (let [id (rsm/segment-id (rsm/export! c :size 65536))]
                                                (def im (rsm/connect! c :segment-id id))
                                                [id (filterv (fn [s] (= id (:segment-id s))) (inspect/segments))])))]
      (is (= [{:controller "loopback" :node 0 :segment-id id :pid (child/pid child) :mine? true}] listed))
      (with-open [_ ^Fd (listening "rsmapi/61/00700007")
                  _ ^Fd (Sockets/bind "rsmapi/61/00700008")
                  _ ^Fd (listening "rsmapi/61/0070000X")]
        (is (= [{:node 61 :segment-id 0x700007 :mine? false}] (child/value child '(inspect/segments :node 61))))))))

(deftest an-interrupted-thread-lists-too
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c :size 65536]
      (.interrupt (Thread/currentThread))
      (let [listed (found (rsm/segment-id ex))
            interrupted? (Thread/interrupted)]
        (is (= [true 1] [interrupted? (count listed)]))))))

(deftest nothing-is-left-behind
  (inspect/segments)
  (let [before (child/belongings)
        threads #(set (filter (fn [^Thread t] (= "rsmapi-owners" (.getName t))) (keys (Thread/getAllStackTraces))))]
    (dotimes [_ 20] (inspect/segments))
    (is (= before (child/belongings)))
    (is (child/eventually (empty? (threads))))))

(deftest wrong-options-of-segments
  (doseq [args [[:node] [:node "0"] [:node nil :mine 1] [{:uid 0}] [:pids :no] ["x"] [7] [:mine true 7]]]
    (let [e (error/catching (apply inspect/segments args))]
      (is (= [:rsm/bad-args-errors :segments] ((juxt :rsm/error :rsm/op) e)) (pr-str args)))))

;; -------------------------------------------------------- describe, datafy, nav

(defn- readable? [x] (= x (edn/read-string (pr-str x))))

(defn- walk
  "What an inspector shows of the value at a key."
  [x k]
  (datafy (nav x k (get x k))))

(deftest a-controller-leads-to-its-segments
  (with-segment [c ex im]
    (rsm/with-mapped-segment [m im]
      (let [d (datafy c)
            segments (walk d :segments)]
        (is (= [{:type :export-segment :segment-id (rsm/segment-id ex) :size (rsm/size ex)}
                {:type :import-segment :node 0 :segment-id (rsm/segment-id ex) :size (rsm/size ex)}]
               (:segments d) segments))
        (is (identical? ex (nav segments 0 (first segments))))
        (is (identical? im (nav segments 1 (second segments))))
        (is (= {:type :x} (nav segments 7 {:type :x})))
        (let [imported (walk segments 1)]
          (is (= "loopback" (:controller imported)))
          (is (identical? c (nav imported :controller "loopback")))
          (is (identical? m (nav imported :mapping (:mapping imported))))
          (is (= {:type :mapping :state :mapped} (select-keys (walk imported :mapping) [:type :state])))
          (is (identical? im (nav (walk imported :mapping) :segment-id 1)))
          (is (= 0 (nav imported :node 0))))
        (is (identical? c (nav (walk segments 0) :controller nil)))
        (is (= (filter :mine? (inspect/segments)) (filter :mine? (walk d :published))
               (filter :mine? (:published (inspect/describe c)))))
        (is (every? readable? [(datafy c) (datafy ex) (datafy im) (datafy m) (inspect/describe c)]))))))

(deftest open-segments-of-a-controller
  (rsm/with-controller [c "loopback"]
    (rsm/with-controller [other "shm9" :node 1]
      (let [count-of #(count (.segments ^Controller %))
            before (count-of c)
            ex (rsm/export! c :size 65536)
            ims (mapv (fn [_] (rsm/connect! c :segment-id (rsm/segment-id ex))) (range 3))]
        (is (= (+ 4 before) (count-of c)))
        (is (= 0 (count-of other)))
        (rsm/disconnect! (first ims))
        (rsm/close! (second ims))
        (is (= (+ 2 before) (count-of c)))
        (rsm/destroy! ex)
        (is (= (+ 1 before) (count-of c)) "an aborted import segment is open")
        (rsm/close! (peek ims))
        (is (= before (count-of c)))
        (testing "a failed call leaves nothing"
          (is (= :rsm/bad-length (failure (rsm/create! c :size 0))))
          (is (= :rsm/seg-not-published (failure (rsm/connect! c :segment-id 0x6fffff))))
          (is (= before (count-of c))))))))

(deftest lost-segments-are-not-kept
  (rsm/with-controller [c "shm10"]
    (let [refs (mapv (fn [_] (java.lang.ref.WeakReference. (rsm/create! c :size 65536))) (range 50))]
      (is (child/eventually (System/gc)
                            (every? (fn [^java.lang.ref.WeakReference r] (nil? (.get r))) refs)))
      (is (child/eventually (empty? (:segments (datafy c))))))))

(deftest dead-handles-are-data
  (let [c (rsm/get-controller "shm11") ; that no other test holds
        ex (rsm/export! c :size 65536)
        im (rsm/connect! c :segment-id (rsm/segment-id ex))
        m (rsm/map! im)
        mem (rsm/allocate! 100)
        h (rsm/create-localmemory-handle! c mem)
        b (rsm/init-barrier! im)
        p (rsm/get-pollfd! ex)
        l (rsm/on-signal! im (fn [_]))
        handles [l p b h m im ex mem c]]
    (doseq [x handles]
      (is (string? (:handle (inspect/describe x))))
      (is (map? (inspect/describe x))))
    (run! rsm/close! handles)
    (doseq [x handles]
      (is (map? (inspect/describe x)) (str x)))
    (is (= [:unmapped :disconnected :destroyed] (map (comp :state inspect/describe) [m im ex])))
    (is (= {:open? false :segments []} (select-keys (inspect/describe c) [:open? :segments])))
    (is (nil? (:mapping (inspect/describe im))))))

(deftest what-cannot-be-described
  (doseq [x [nil 7 "x" {} [] {:node 0} {:segment-id 1} {:node "0" :segment-id 1} (range) {(range) 1} (Object.) String
             (sorted-map "a" 1)]]
    (let [e (error/catching (inspect/describe x))]
      (is (= [:rsm/bad-args-errors :describe] ((juxt :rsm/error :rsm/op) e))))))

;; ----------------------------------------------------------------- hexdump

(defmacro ^:private with-memory [[sym size] & body]
  `(rsm/with-local-memory [~sym ~size] ~@body))

(defn- shown [& args]
  (str/split-lines (with-out-str (apply inspect/hexdump args))))

(deftest hexdumps
  (with-memory [m 600]
    (rsm/put-text! m 0 "hello, wörld")
    (rsm/put-byte! m 300 255)
    (is (= ["00000000  68 65 6c 6c 6f 2c 20 77  c3 b6 72 6c 64 00 00 00  |hello, w..rld...|"
            "00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|"
            "*"
            "00000100  344 more bytes: (hexdump memory :offset 256)"]
           (shown m)))
    (is (= [{:offset 0 :bytes [104 101 108 108] :hex "68656c6c" :text "hell"}
            {:offset 4 :bytes [111 44] :hex "6f2c" :text "o,"}]
           (inspect/hexdump-lines m :length 6 :width 4 :group 4)
           (inspect/hexdump-lines m {:length 6 :width 4 :group 4 :offset nil :all nil})))
    (is (= ["00000100  00000000 00000000  00000000 00000000  |................|"
            "*"
            "00000120  00000000 00000000  00000000 ff000000  |................|"
            "00000130  000000                                |...|"
            "00000133"]
           (shown m :offset 256 :length 51 :group 4)))
    (is (= [16 32] (map :offset (inspect/hexdump-lines m :offset 16 :length 32 :all true))))
    (is (= [{:offset 32 :repeats 15}] (filter :repeats (inspect/hexdump-lines m :offset 16 :length 256))))
    (testing "the last line is shown if it is shorter"
      (is (= [nil 1 nil] (map :repeats (inspect/hexdump-lines m :offset 400 :length 40)))))
    (testing "the end of the memory"
      (is (= [592] (map :offset (inspect/hexdump-lines m :offset 592))))
      (is (= [] (inspect/hexdump-lines m :offset 600) (inspect/hexdump-lines m :length 0)))
      (is (= ["00000258"] (shown m :offset 600))))
    (testing "all bytes, across the pieces in which they are read"
      (with-open [m ^LocalMemory (rsm/allocate! 20000)]
        (dotimes [i 20000] (rsm/put-byte! m i (mod (* 7 i) 251)))
        (doseq [width [1 7 16 100 1024]]
          (let [lines (inspect/hexdump-lines m :length 20000 :width width)]
            (is (= (map #(mod (* 7 (long %)) 251) (range 20000)) (mapcat :bytes lines)))
            (is (= (range 0 20000 width) (map :offset lines)))
            (is (= (mapcat :bytes lines)
                   (mapcat #(map (fn [h] (Long/parseLong h 16)) (re-seq #"\S\S" (:hex %))) lines)))))))
    (testing "a large memory of zeros takes no memory"
      (with-open [m ^LocalMemory (rsm/allocate! 20000000)]
        (is (= [0 16] (map :offset (inspect/hexdump-lines m :length 20000000))))))))

(def ^:private quote-layout
  (layout/layout [:struct [:seq :u64] [:price :f64] [:qty :i32] [:levels [:array 2 [:struct [:px :i16]]]] [:sym [:chars 12]]]))

(deftest fields-beside-the-bytes
  (with-memory [m 600]
    (rsm/put-text! m 24 "ABC")
    (is (= ["00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|  seq price"
            "00000010  00 00 00 00 00 00 00 00  41 42 43 00 00 00 00 00  |........ABC.....|  qty levels[0].px levels[1].px sym"
            "00000020  00 00 00 00                                       |....|              sym"
            "00000024"]
           (shown m :length 36 :layout quote-layout)))
    (is (= [["seq"] ["seq" "price"] ["price" "qty"] ["levels[0].px" "levels[1].px" "sym"] ["sym"] []]
           (map :fields (inspect/hexdump-lines m :length 48 :layout quote-layout :width 8 :at 4 :all true))))
    (testing "an array, from the middle on; what is behind it is collapsed"
      (is (= [["[1].seq"] ["[1].price"] ["[1].qty" "[1].levels[0].px" "[1].levels[1].px"]]
             (map :fields (take 3 (inspect/hexdump-lines m :offset 40 :layout [:array 2 quote-layout] :width 8)))))
      (is (= [nil 9 nil] (map :repeats (take-last 3 (inspect/hexdump-lines m :offset 80 :length 84 :layout :u16 :width 8)))))
      (is (= [["[5]" "[6]"] ["[7]"]]
             (map :fields (inspect/hexdump-lines m :offset 10 :length 8 :width 4 :layout [:array 8 :u16]))))
      (is (= [["[99999999]"]]
             (map :fields (inspect/hexdump-lines m :offset 8 :length 2 :layout [:array 100000000 :u16] :at (- 8 199999998))))))
    (testing "zeros with names are shown"
      (is (= 16 (count (filter :fields (inspect/hexdump-lines m :offset 256 :length 256 :layout [:array 100 quote-layout]))))))
    (testing "what is no layout, or is nowhere"
      (doseq [[expected & opts] [[:rsm/bad-args-errors :layout :nope] [:rsm/bad-args-errors :layout [:array 0 :u8]]
                                 [:rsm/bad-args-errors :layout true] [:rsm/bad-args-errors :layout 7]
                                 [:rsm/bad-args-errors :at 8] [:rsm/bad-args-errors :at 0 :layout false]
                                 [:rsm/bad-offset :layout :u8 :at "0"] [:rsm/bad-offset :layout :u8 :at Long/MIN_VALUE]
                                 [:rsm/bad-offset :layout :u8 :at Long/MAX_VALUE]]]
        (is (= [expected :hexdump] ((juxt :rsm/error :rsm/op) (error/catching (apply inspect/hexdump m opts)))) (pr-str opts)))))
  (testing "the layout of a publication"
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c :size 65536 :layout [:struct [:head [:array 4096 :u8]] [:tail :u64]]]
        (rsm/with-imported-segment [im c :segment-id (rsm/segment-id ex)]
          (rsm/with-mapped-segment [m im :offset 4096]
            (is (= [["tail"] []] (map :fields (inspect/hexdump-lines m :layout true :width 8 :length 16))
                   (map :fields (inspect/hexdump-lines ex :layout true :width 8 :length 16 :offset 4096)))))))))
  (testing "describe"
    (is (= (layout/describe quote-layout) (inspect/describe quote-layout)))))

(deftest wrong-arguments-of-hexdump
  (with-memory [m 600]
    (doseq [[expected & opts] [[:rsm/bad-offset :offset -1] [:rsm/bad-offset :offset 601] [:rsm/bad-offset :offset "0"]
                               [:rsm/bad-offset :offset Long/MIN_VALUE] [:rsm/bad-offset :offset Long/MAX_VALUE :length 1]
                               [:rsm/bad-offset :offset 1 :length 600] [:rsm/bad-offset :length Long/MAX_VALUE]
                               [:rsm/bad-length :length -1] [:rsm/bad-length :length 1.5]
                               [:rsm/bad-args-errors :width 0] [:rsm/bad-args-errors :width 1025] [:rsm/bad-args-errors :width :x]
                               [:rsm/bad-args-errors :group 0] [:rsm/bad-args-errors :group 17]
                               [:rsm/bad-args-errors :all 1] [:rsm/bad-args-errors :size 1] [:rsm/bad-args-errors :all]
                               [:rsm/bad-args-errors 7]]
            f [inspect/hexdump inspect/hexdump-lines]]
      (is (= [expected :hexdump] ((juxt :rsm/error :rsm/op) (error/catching (apply f m opts)))) (pr-str opts)))
    (doseq [x [nil 7 (byte-array 8)]]
      (is (= :rsm/bad-seg-hndl (failure (inspect/hexdump x)))))
    (rsm/free! m)
    (is (= :rsm/bad-addr (failure (inspect/hexdump m)) (failure (inspect/hexdump-lines m :length 0))))))

(deftest a-hexdump-of-what-ends-meanwhile
  (testing "permission"
    (with-segment [_ _ im]
      (rsm/with-mapped-segment [m im :perm :write]
        (is (= :rsm/perm-denied (failure (inspect/hexdump m)))))))
  (testing "revocation: by the printer itself, after some lines"
    (with-segment [_ ex im {:size 65536}]
      (rsm/with-mapped-segment [m im]
        (let [lines (atom 0)
              see (fn [text]
                    (when (and (str/includes? (str text) "|") (= 300 (swap! lines inc)))
                      (rsm/unpublish! ex)))
              out (proxy [java.io.Writer] []
                    (write ([x] (see x)) ([x _ _] (see x)))
                    (flush []) (close []))]
          (is (= :rsm/conn-aborted (binding [*out* out] (failure (inspect/hexdump m :length 65536 :all true)))))
          (is (< 299 (long @lines) 1024))
          (is (= :rsm/conn-aborted (failure (inspect/hexdump m))))))))
  (testing "the death of the exporter"
    (child/with-child [child {:label "exporter"}]
      (let [id (child/value child '(rsm/segment-id (rsm/export! (rsm/get-controller nil) :size 65536)))]
        (rsm/with-controller [c "loopback"]
          (rsm/with-imported-segment [im c :segment-id id]
            (rsm/with-mapped-segment [m im]
              (child/signal! child "STOP")
              (is (= 3 (count (inspect/hexdump-lines m))) "one that is stopped does not matter")
              (child/kill-9! child)
              (is (child/eventually (= :rsm/conn-aborted (failure (inspect/hexdump m)))))
              (is (= :aborted (:state (inspect/describe m)) (:state (inspect/describe im))))))))))
  (testing "an interrupt"
    (with-memory [m 100000]
      (.interrupt (Thread/currentThread))
      (let [result (failure (inspect/hexdump-lines m))]
        (is (= [true :rsm/interrupted] [(Thread/interrupted) result]))))))
