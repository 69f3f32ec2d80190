(ns rsmapi.own-memory-test
  "Memory of the caller's: what of it can be exported, and how long it exists; what two segments over
  the same memory do to each other; and what may be done with memory over which a mapping lies."
  (:require [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child :refer [eventually]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.outcome :refer [outcome]]
            [rsmapi.test.runner :as runner])
  (:import (java.lang.reflect Method)
           (java.nio ByteBuffer MappedByteBuffer)
           (com.sun.jna Pointer)
           (java.nio.channels FileChannel FileChannel$MapMode)
           (java.nio.file OpenOption StandardOpenOption)
           (org.rsmapi LocalMemory)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))
(def ^:private size (* 4 page))

;; ------------------------------------------------------------------ arenas
;; java.lang.foreign by reflection: it is final from JDK 22 on

(def ^:private arenas? (<= 22 (.feature (Runtime/version))))

(defn- invoke [class-name method target & args]
  (let [^Method m (->> (.getMethods (Class/forName (str "java.lang.foreign." class-name)))
                       (filter #(and (= method (.getName ^Method %))
                                     (= (count args) (.getParameterCount ^Method %))))
                       first)]
    (.invoke m target (to-array args))))

(defn- arena [kind] (invoke "Arena" kind nil))

(defn- buffer-of ^ByteBuffer [arena]
  (invoke "MemorySegment" "asByteBuffer" (invoke "Arena" "allocate" arena (long size) (long page))))

(defn- close-arena! [arena] (invoke "Arena" "close" arena))

(deftest memory-of-arenas
  (if-not arenas?
    (runner/skip! "memory-of-arenas" "this JDK has no java.lang.foreign")
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size size :allow-rebind true}]
        (let [refused? #(and (= :rsm/bad-addr (outcome (rsm/close! (rsm/create! c {:buffer %}))))
                             (= :rsm/bad-addr (outcome (rsm/rebind! ex {:buffer %}))))]
          (testing "closed"
            (doseq [kind ["ofShared" "ofConfined"]]
              (let [a (arena kind), b (buffer-of a)]
                (close-arena! a)
                (is (refused? b) kind)
                (is (refused? (.duplicate b)) kind)
                (is (= :rsm/bad-addr (outcome (rsm/create-localmemory-handle! c b))) kind))))
          (testing "that another thread could close while importers use the memory"
            (doseq [kind ["ofShared" "ofConfined"]]
              (let [a (arena kind), b (buffer-of a)]
                (is (refused? b) kind)
                (is (refused? (.slice b 0 (int page))) kind)
                (close-arena! a))))
          (testing "of another thread"
            (let [a (promise), done (promise)
                  t (Thread. #(let [mine (arena "ofConfined")]
                                (deliver a (buffer-of mine))
                                @done
                                (close-arena! mine)))]
              (.start t)
              (is (refused? @a))
              (deliver done true)
              (.join t)))
          (testing "that nobody closes"
            (doseq [kind ["ofAuto" "global"]]
              (let [b (buffer-of (arena kind))]
                (rsm/with-exported-segment [own c {:buffer b}]
                  (rsm/put-long! own 8 42)
                  (is (= 42 (.getLong (.order b (java.nio.ByteOrder/nativeOrder)) 8)) kind))))))))))

(deftest other-buffers
  (rsm/with-controller [c "loopback"]
    (let [direct (.alignedSlice (ByteBuffer/allocateDirect (+ size page)) (int page))]
      (doseq [b [direct (.slice direct 0 (int page)) (.duplicate direct)]]
        (rsm/with-exported-segment [ex c {:buffer (.limit ^ByteBuffer b (int (* page (quot (.capacity ^ByteBuffer b) page))))}]
          (is (some? ex))))
      (testing "a private mapping of a file"
        (let [file (java.io.File/createTempFile "rsmapi" ".data")]
          (with-open [ch (FileChannel/open (.toPath file) (into-array OpenOption [StandardOpenOption/READ StandardOpenOption/WRITE]))]
            (.write ch (ByteBuffer/allocate size) 0)
            (let [^MappedByteBuffer b (.map ch FileChannel$MapMode/PRIVATE 0 size)]
              (rsm/with-exported-segment [ex c {:buffer b}]
                (rsm/put-byte! ex 3 7)
                (is (= 7 (.get b 3))))))
          (.delete file))))))

;; --------------------------------------------------- memory by its address

(deftest freed-memory-where-any-address-is-allowed
  (child/with-child [child {:jvm-opts ["-Drsmapi.foreign-memory=allow"]}]
    (child/value child
      (list 'do
            '(require 'rsmapi.test.outcome)
            '(def c (rsm/get-controller nil))
            (list 'def 'size size)
            '(defn tried [address]
               (rsmapi.test.outcome/outcome (rsm/close! (rsm/create! c {:address address :size size}))))))
    (testing "memory of allocate!"
      (is (= [nil :rsm/bad-addr]
             (child/value child '(let [m (rsm/allocate! size)
                                       address (rsm/address m)
                                       before (tried address)]
                                   (rsm/free! m)
                                   [before (tried address)])))))
    (testing "memory of a segment, and of a mapping, before and after their end"
      (is (= (repeat 4 :rsm/bad-addr)
             (child/value child '(let [ex (rsm/export! c {:size size})
                                       im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
                                       m  (rsm/map! im)
                                       places [(rsm/address ex) (rsm/address m)]
                                       before (mapv tried places)]
                                   (run! rsm/close! [m im ex])
                                   (into before (map tried places)))))))
    (testing "a part of such memory"
      (is (= :rsm/bad-addr
             (child/value child '(let [m (rsm/allocate! (* 4 size))
                                       address (rsm/address m)]
                                   (rsm/free! m)
                                   (tried (+ address size)))))))
    (testing "memory that is the caller's"
      (is (nil? (child/value child '(let [block (com.sun.jna.Native/malloc (* 2 size))
                                          at (* (rsm/page-size) (inc (quot block (rsm/page-size))))]
                                      (tried at))))))))

;; ---------------------------------------------- two segments, one memory

(deftest the-end-of-one-publication-and-importers-of-another
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [mine size]
      (let [export #(rsm/export! c {:address (rsm/address mine) :size size})
            import #(rsm/connect! c (merge {:segment-id (rsm/segment-id %1)} %2))]
        (testing "one that has had no importer, or none with memory"
          (doseq [end! [rsm/unpublish! rsm/destroy!], with-import? [false true]]
            (let [a (export), b (export)
                  im (import b nil)
                  m (rsm/map! im)]
              (when with-import?
                (rsm/close! (import a {:perm :none})))
              (rsm/put-long! b 0 1)
              (end! a)
              (rsm/put-long! b 0 2)
              (is (= 2 (rsm/get-long m 0)) "still the same memory")
              (is (not (rsm/aborted? im)))
              (run! rsm/close! [im a b]))))
        (testing "one whose memory was given to an importer, also if that is gone"
          (let [a (export), b (export)
                im (import b nil)]
            (rsm/close! (import a nil))
            (rsm/unpublish! a)
            (is (rsm/aborted? im))
            (run! rsm/close! [im a b])))))))

;; ------------------------------------------- memory over which a mapping lies
;; What is wrong here can crash the JVM: all of it runs in child JVMs.

(defn- call
  "A function of rsmapi.core by the parts of its name."
  [& parts]
  (ns-resolve 'rsmapi.core (symbol (apply str parts))))

(def ^:private types [["byte" 1 7] ["short" 2 7] ["char" 2 \a] ["int" 4 7] ["long" 8 7] ["float" 4 1.5] ["double" 8 1.5]])

(def ^:private arrays
  {"byte" byte-array "short" short-array "char" char-array "int" int-array "long" long-array "float" float-array
   "double" double-array})

(defn- value-ways []
  (into {}
        (for [[type _ value] types, [order writing] {"" "", "-volatile" "-volatile", "-acquire" "-release"}
              [way f] {[:get (str type order)] #((call "get-" type order) %1 %2)
                       [:put (str type order)] #((call "put-" type writing "!") %1 %2 value)}]
          [way f])))

(defn- atomic-ways []
  (into {}
        (for [type ["int" "long"], order ["" "-acquire" "-release"]
              [way f] {[:both (str "set-" type order)] #((call "compare-and-set-" type order "!") %1 %2 0 1)
                       [:both (str "add-" type order)] #((call "get-and-add-" type order "!") %1 %2 1)}]
          [way f])))

(defn- array-ways []
  (into {}
        (for [[type ^long width] types
              order [:big-endian :little-endian]
              :let [n (quot 8 width), array (arrays type)
                    order (when-not (= "byte" type) [order])
                    call-with (fn [f & args] (apply f (concat args order)))]
              [way f] {[:get :bulk (str type "s" order)] #(call-with (call "get-" type "s") %1 %2 n)
                       [:get :bulk (str type "s!" order)] #(call-with (call "get-" type "s!") %1 %2 (array n))
                       [:put :bulk (str type "s" order)] #(call-with (call "put-" type "s!") %1 %2 (array n))}]
          [way f])))

(defn- other-ways []
  (let [other (rsm/allocate! page)]
    {[:get :bulk "buffer"] #(rsm/get-buffer! %1 %2 (ByteBuffer/allocate 8))
     [:get :bulk "direct"] #(rsm/get-buffer! %1 %2 (ByteBuffer/allocateDirect 8))
     [:put :bulk "buffer"] #(rsm/put-buffer! %1 %2 (ByteBuffer/allocate 8))
     [:put :bulk "direct"] #(rsm/put-buffer! %1 %2 (ByteBuffer/allocateDirect 8))
     [:put :bulk "fill"]   #(rsm/fill! %1 %2 8 0)
     [:get :bulk "copy"]   #(rsm/copy! %1 %2 other 0 8)
     [:put :bulk "copy"]   #(rsm/copy! other 0 %1 %2 8)
     [:get "version"]      #(rsm/read-snapshot %1 {:version %2 :offset 0 :length 0 :timeout-ms 0})
     [:get :bulk "snapshot"]  #(rsm/read-snapshot %1 {:version 0 :offset %2 :length 8})
     [:both "version"]     #(rsm/write-snapshot! %1 (byte-array 8) {:version %2 :offset 8 :timeout-ms 0})
     [:put :bulk "snapshot"] #(rsm/write-snapshot! %1 (byte-array 8) {:version 0 :offset %2})}))

(defn- transfer-ways
  "The memory as the local side: a put reads there, and a get writes there."
  [c im]
  (let [handle (memoize #(rsm/create-localmemory-handle! c % {:offset 0 :length size}))
        piece (fn [local offset] {:segment im :iovec [{:local local :local-offset offset :length 8}]})]
    (into {[:get :bulk "put!"]  #(rsm/put! im 0 %1 %2 8)
           [:put :bulk "get!"]  #(rsm/get! im 0 %1 %2 8)
           [:get :bulk "putv!"] #(rsm/putv! (piece %1 %2))
           [:put :bulk "getv!"] #(rsm/getv! (piece %1 %2))
           [:get :bulk "putv! by handle"]  #(rsm/putv! (piece (handle %1) %2))
           [:put :bulk "getv! by handle"]  #(rsm/getv! (piece (handle %1) %2))
           [:get :bulk "putv! by address"] #(rsm/putv! (piece (+ (rsm/address %1) (long %2)) 0))
           [:put :bulk "getv! by address"] #(rsm/getv! (piece (+ (rsm/address %1) (long %2)) 0))}
          (for [^long bits [8 16 32 64]
                [way f] {[:get (str "put" bits)] #((call "put" bits "!") im 0 %1 %2 (quot 64 bits))
                         [:put (str "get" bits)] #((call "get" bits "!") im 0 %1 %2 (quot 64 bits))}]
            [way f]))))

(def ^:private denied
  {:read #{:put :both}, :write #{:get :both}, :rdwr #{}})

(def ^:private outside [(- page 8) (* 2 page)])
(def ^:private inside [page (- (* 2 page) 8)])
(def ^:private across [(- page 4) (- (* 2 page) 4)])

(defn- unexpected
  "The ways that end otherwise at these offsets."
  [own ways offsets denied]
  (vec (for [[[kind :as way] f] ways
             at offsets
             :let [end (outcome (do (f own at) nil))]
             :when (not (or (= end (when (denied kind) :rsm/perm-denied))
                            (and (= end :rsm/timeout) (not (denied kind)))))] ; data looks like an odd version
         [way at end])))

(defn ways-of-access
  "For each permission of a mapping that lies over the second page of own memory: the ways of access that end otherwise
  than they should, in the mapping, beside it, across its ends, and after its end; and how many ways there are."
  []
  (let [c     (rsm/get-controller "loopback")
        ex    (rsm/export! c {:size size})
        there (rsm/connect! c {:segment-id (rsm/segment-id (rsm/export! c {:size size}))})
        im    (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        own   (rsm/allocate! size)
        ways  (merge (value-ways) (atomic-ways) (array-ways) (other-ways) (transfer-ways c there))
        bulk  (into {} (filter #(= :bulk (second (key %)))) ways)]
    (into {:ways (count ways)}
          (for [perm [:read :write :rdwr]
                :let [m (rsm/map! im {:over own :at page :length page :perm perm})]]
            [perm (let [mapped (concat (unexpected own ways outside #{})
                                       (unexpected own ways inside (denied perm))
                                       (unexpected own bulk across (denied perm)))]
                    (rsm/unmap! m)
                    (into (vec mapped)
                          (concat (unexpected own ways (concat outside inside) #{})
                                  (unexpected own bulk across #{}))))]))))

(defmacro ^:private in-child
  "The value of a call of a function of this namespace in a child JVM."
  [opts & call]
  `(child/with-child [child# ~opts]
     (child/value child# '(require 'rsmapi.own-memory-test) 90000)
     (child/value child# (list ~@(map #(if (symbol? %) (list 'quote (symbol "rsmapi.own-memory-test" (name %))) %) call)) 60000)))

(deftest a-mapping-takes-its-permission-to-the-memory-that-it-lies-over
  (let [seen (in-child {:label "permissions"} ways-of-access)]
    (is (< 100 (:ways seen)))
    (is (= {:read [] :write [] :rdwr []} (dissoc seen :ways)))))

(deftest the-data-of-the-error
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [own size]
      (rsm/with-exported-segment [ex c {:size size}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm :read}]
          (rsm/with-mapped-segment [_ im {:over own :at page :length 100}]
            (is (= {:rsm/error :rsm/perm-denied :rsm/op :fill :rsm/offset 8 :rsm/length (- size 8) :rsm/perm :read
                    :rsm/mapping-offset page :rsm/mapping-length page}
                   (select-keys (error/catching (rsm/fill! own 8 (- size 8) 1))
                                [:rsm/error :rsm/op :rsm/offset :rsm/length :rsm/perm :rsm/mapping-offset :rsm/mapping-length])))
            (is (= 0 (rsm/get-long own 8)) "nothing was written")
            (testing "what comes before"
              (is (= :rsm/bad-offset (outcome (rsm/put-long! own (- size 7) 1))))
              (is (= :rsm/bad-offset (outcome (rsm/put-long! own -1 1))))))
          (testing "a call that fails leaves no restriction"
            (is (= :rsm/bad-length (outcome (rsm/map! im {:over own :at (- size page) :length size}))))
            (rsm/fill! own 0 size 1)))
        (rsm/free! own)
        (is (= :rsm/bad-addr (outcome (rsm/put-long! own 0 1))))))))

(deftest memory-that-is-freed-while-a-mapping-lies-over-it
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size size}]
      (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm :read}]
        (let [own (rsm/allocate! size)
              m (rsm/map! im {:over own :at page :length page})]
          (rsm/put-long! ex 0 42)
          (rsm/free! own)
          (doseq [at [0 page (* 2 page)]]
            (is (= [:rsm/bad-addr :rsm/bad-addr]
                   [(outcome (rsm/get-long own at)) (outcome (rsm/put-long! own at 1))])))
          (is (= 42 (rsm/get-long m 0)))
          (rsm/unmap! m)
          (is (= :rsm/bad-addr (outcome (rsm/put-long! own page 1)))))))))

(defn late-writes
  "Writes by raw address to a read-only mapping that lies over own memory, as a thread does that has passed the check
  before. What is seen then: by the exporter, through the mapping after a time, after a revocation, and after an unmap."
  []
  (let [c   (rsm/get-controller "loopback")
        ex  (rsm/export! c {:size size})
        own (rsm/allocate! size)
        im  (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        m   (rsm/map! im {:over own :at page :offset page :length (* 2 page) :perm :read})
        write! #(.setLong (Pointer. (+ (rsm/address own) page)) 0 -1)]
    (rsm/put-long! ex page 42)
    (write!)
    (let [exporter (rsm/get-long ex page)
          again (eventually (rsm/close! (rsm/allocate! 1)) (= 42 (rsm/get-long m 0)))]
      (write!)
      (rsm/put-long! ex page 43)
      (rsm/unpublish! ex)
      (let [revoked [(rsm/aborted? im) (outcome (rsm/get-long m 0)) (rsm/get-long own page)]]
        (rsm/unmap! m)
        {:exporter exporter, :again again, :revoked revoked
         :later [(rsm/get-long ex page) (rsm/get-long own page)]}))))

(deftest a-write-that-comes-too-late
  (is (= {:exporter 42, :again true, :revoked [true :rsm/conn-aborted 0], :later [43 0]}
         (in-child {:label "late"} late-writes))))

(defn where-all-memory-is-locked
  "Whether read-only mappings over own memory show the segment in a process that locks all new memory."
  []
  (let [c   (rsm/get-controller "loopback")
        ex  (rsm/export! c {:size size})
        own (rsm/allocate! size)]
    (.invokeInt (com.sun.jna.Function/getFunction "c" "mlockall") (object-array [(int 2)])) ; MCL_FUTURE
    (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm :read}]
      (rsm/with-mapped-segment [m im {:over own}]
        (vec (for [at [0 page (* 3 page)]]
               (do (rsm/put-long! ex at 42)
                   (rsm/get-long m at))))))))

(deftest a-read-only-mapping-over-memory-where-all-new-memory-is-locked
  (is (= [42 42 42] (in-child {:label "locking"} where-all-memory-is-locked))))

(defn while-threads-write
  "Maps over own memory while threads write to it by single values, in bulk, and in a loop that is compiled without a check.
  How the writes ended, how often the exporter saw one of them, and whether the mapping shows the exporter's memory in the end."
  [rounds]
  (let [c    (rsm/get-controller "loopback")
        ex   (rsm/export! c {:size size})
        im   (rsm/connect! c {:segment-id (rsm/segment-id ex)})
        ^LocalMemory own (rsm/allocate! size)
        stop (volatile! false)
        write-on (fn [^long n] (loop [i 0] (when (< i n) (rsm/put-long! own page -1) (recur (inc i)))))
        ends (atom #{})
        writers (mapv (fn [write!]
                        (let [t (Thread. (fn []
                                          (while (not @stop)
                                            (swap! ends conj (outcome (do (write!) :done))))))]
                         (doto t (.start))))
                      [#(dotimes [_ 100] (rsm/put-int! own (+ 16 page) -1))
                       #(rsm/put-bytes! own 0 (byte-array size (byte -1)))
                       #(rsm/fill! own 64 (- size 64) -1)
                       #(write-on 1000000)])
        stray (loop [round 0, stray 0]
                (if (= round rounds)
                  stray
                  (let [m (rsm/map! im {:over own :at page :offset 0 :length page :perm :read})
                        strays (count (for [_ (range 50), at [0 16 64], :when (not= 0 (rsm/get-long ex at))] at))]
                    (Thread/sleep 1)
                    (rsm/unmap! m)
                    (recur (inc (long round)) (+ (long stray) strays)))))]
    (vreset! stop true)
    (run! #(.join ^Thread %) writers)
    (rsm/put-long! ex 0 42)
    [stray @ends
     (rsm/with-mapped-segment [m im {:over own :perm :read}] (rsm/get-long m 0))]))

(deftest threads-that-write-where-a-read-only-mapping-is-placed
  (is (= [0 #{:done :rsm/perm-denied} 42] (in-child {:label "writing"} while-threads-write 8))))

(deftest what-cannot-be-done-with-such-memory
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [own size]
      (rsm/with-exported-segment [ex c {:size size}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex) :perm :read}]
          (rsm/with-exported-segment [other c {:size size :allow-rebind true}]
            (rsm/with-mapped-segment [_ im {:over own :at page :length page}]
              (is (= :rsm/bad-addr (outcome (rsm/create! c {:address (rsm/address own) :size size}))))
              (is (= :rsm/bad-addr (outcome (rsm/create! c {:address (+ (rsm/address own) page) :size page}))))
              (is (= :rsm/bad-addr (outcome (rsm/rebind! other {:memory own}))))
              (rsm/with-exported-segment [beside c {:address (rsm/address own) :size page}]
                (rsm/put-long! beside 0 1)
                (is (= 1 (rsm/get-long own 0)))
                (is (= :rsm/perm-denied (outcome (rsm/put-long! own page 1))))))))))))
