(ns rsmapi.arguments-test
  "Every function of the API with arguments that are no good, in every place, in all states of
  the handles: an RSM error or success, nothing else, and nothing half done. How is in
  rsmapi.test.sweep; here is which functions there are. The calls are made in a child JVM, so that
  a crash fails a test and nothing else."
  (:require [clojure.set :as set]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.inspect]
            [rsmapi.layout]
            [rsmapi.sim]
            [rsmapi.test.sweep :as sweep])
  (:import (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)

(def ^:private size sweep/size)
(def ^:private page sweep/page)

(defn- new-bytes [] (byte-array 8))

;; -------------------------------------------------------------- the functions

;; The rows of sweep-row!. Symbols are names of a world.
(def ^:private calls
  {'get-controller       {:good [["loopback"] ["shm9" {:node 3}] ["shm9" :node 3]] :harmless? true}
   'release-controller!  {:good '[[c]]}
   'controller-attr      {:good '[[c]] :harmless? true}
   'capabilities         {:good '[[c] [im] [m]] :harmless? true}
   'node-id              {:good '[[c]] :harmless? true}
   'segment-id-range     {:good '[["app" {:file file}] ["app" :file file]] :also [["app"]] :harmless? true}

   'create!              {:good [['c {:size size :allow-rebind true :dont-wait true :prefault true}]
                                 ['c {:buffer 'buffer}] ['c :size 1 :round-up true {:dont-wait true}]]
                          :also [['c] ['c {:size size :address 4096}]
                                 ['c {:size size :lock true :huge-pages false}]] :harmless? true}
   'destroy!             {:good '[[ex]]}
   'publish!             {:good '[[ex2] [ex2 {:segment-id 0 :acl [{:node 0 :perm 0600}]}]
                                  [ex2 :segment-id 0 {:acl [[0 0600]]}] [ex2 :layout l]]}
   'unpublish!           {:good '[[ex]]}
   'republish!           {:good '[[ex] [ex {:acl [{:node 0 :perm 0600}]}] [ex :acl nil]]}
   'rebind!              {:good '[[ex2 {:memory mem2 :at 0}] [ex2 :buffer buffer]]
                          :also [['ex2] ['ex2 {:address 4096 :length size}]]}
   'export!              {:good [['c {:size size :segment-id 0 :acl [[0 0600]]}]
                                 ['c {:buffer 'buffer :allow-rebind true :dont-wait false}]]
                          :also [['c] ['c {:size size :address 4096 :prefault true :lock true
                                           :huge-pages true :round-up false}]
                                 ['c :size size :segment-id 0 :acl nil :layout 'l]] :harmless? true}
   'published?           {:good '[[ex]] :harmless? true}
   'importers            {:good '[[ex]] :harmless? true}

   'connect!             {:good '[[c {:segment-id id}]
                                  [c {:node 0 :segment-id id :perm :rdwr :timeout-ms 5000
                                      :barrier true}]
                                  [c :segment-id id :perm :read]
                                  [c :segment-id id :layout l]]
                          :also [['c]] :harmless? true}
   'disconnect!          {:good '[[im]] :in :unmapped}
   'connected?           {:good '[[im]] :harmless? true}
   'aborted?             {:good '[[im]] :harmless? true}

   'map!                 {:good [['im]
                                 ['im {:offset 0 :length page :perm :read :attr :none :address 0}]
                                 ['im {:prefault true :lock true :huge-pages false}]
                                 ['im :length page :over 'mem2 {:at 0}]]
                          :also [['im {:attr :fixed :address 0}] ['im {:huge-pages true}]]
                          :in   :unmapped :harmless? true}
   'check-map            {:good [['im]
                                 ['im {:offset 0 :length page :perm :read :attr :none :address 0}]
                                 ['im {:prefault true :lock true :huge-pages false}]
                                 ['im :length page :over 'mem2 {:at 0}]]
                          :in   :unmapped :harmless? true}
   'unmap!               {:good '[[im] [m]]}
   'pull!                {:good '[[m] [m {:offset 8 :length 8}] [m :offset 8]] :harmless? true}
   'push!                {:good '[[m] [m {:offset 8 :length 8}] [m :offset 8]] :harmless? true}
   'mapping              {:good '[[im]] :harmless? true}
   'mapped?              {:good '[[im] [m]] :harmless? true}

   'size                 {:good '[[im] [ex]] :harmless? true}
   'segment-id           {:good '[[im] [ex] [m]] :harmless? true}
   'address              {:good '[[m] [ex] [mem]] :harmless? true}
   ;; before JDK 22 there are none
   'memory-segment       {(if (<= 22 (.feature (Runtime/version))) :good :also) '[[m] [ex] [mem]] :harmless? true}
   'close!               {:good '[[c] [m] [im] [ex] [mem] [h] [b] [pollfd]]}
   'allocate!            {:good [[size] [1 {:round-up true}] [1 :round-up true]] :harmless? true}
   'free!                {:good '[[mem2]]}
   'create-localmemory-handle! {:good '[[c mem] [c mem {:offset 0 :length 8}] [c buffer]
                                         [c mem :length 8 :offset 0]]
                                :harmless? true}
   'free-localmemory-handle!   {:good '[[c h]]}

   'put!                 {:good [['im 0 new-bytes] '[im 0 mem] '[im 0 mem 0 8]]
                          :maps? true :harmless? true}
   'get!                 {:good [['im 0 new-bytes] '[im 0 mem] '[im 0 mem 0 8]]
                          :maps? true :harmless? true}
   'put-signal!          {:good [['im 0 new-bytes {:no-accumulate false}]
                                 ['im 0 new-bytes :no-accumulate false]] :maps? true :watch? true}
   'putv!                {:good '[[{:segment im
                                    :iovec [{:local mem :local-offset 0 :remote-offset 0 :length 8}
                                            {:local h :remote-offset 8 :length 8}]
                                    :signal true :no-accumulate true}]]
                          :maps? true :watch? true}
   'getv!                {:good '[[{:segment im
                                    :iovec [{:local mem :local-offset 0 :remote-offset 0 :length 8}
                                            {:local h :remote-offset 8 :length 8}]
                                    :signal false :no-accumulate true}]]
                          :maps? true :watch? true}
   'byte-order           {:good '[[im]] :harmless? true}

   'init-barrier!        {:good '[[im]]}
   'open-barrier!        {:good '[[b]]}
   'order-barrier!       {:good '[[b]]}
   ;; it is closed whatever it tells
   'close-barrier!       {:good '[[b]] :changes? true}
   'destroy-barrier!     {:good '[[b]]}
   'barrier-mode         {:good '[[im]] :harmless? true}
   'set-barrier-mode!    {:good '[[im :explicit] [im 1]]}

   'signal-post!         {:good '[[ex] [im {:no-accumulate true}] [im :no-accumulate nil]] :watch? true}
   'signal-wait!         {:good '[[ex] [im {:timeout-ms 0}] [im :timeout-ms 0 nil]] :waits? true :watch? true}
   'get-pollfd!          {:good '[[ex] [im]]}
   'release-pollfd!      {:good '[[ex] [im]]}
   'signal-wait-pollfd!  {:good '[[[pollfd {:fd 0 :events #{:in}}] {:timeout-ms 0}]
                                  [[pollfd] :timeout-ms 0]] :waits? true}
   'on-signal!           {:good '[[ex f] [im f {:on-end f}] [im f :on-end f]]}

   'get-text             {:good '[[m 0 8] [m 0 8 {:charset :us-ascii :keep-nul true :malformed :replace}]
                                  [m 0 8 :charset "UTF-16LE"]] :harmless? true}
   'put-text!            {:good '[[m 0 "text"] [m 0 "text" {:charset :utf-16be :length 9}]
                                  [m 0 "text" :length 4]] :harmless? true}

   'read-snapshot        {:good '[[m] [m {:version 0 :offset 8 :length 8 :timeout-ms 0}]
                                  [m :read f :version 0]]
                          :waits? true :calls-back? true :harmless? true}
   'write-snapshot!      {:good [['m new-bytes] ['m new-bytes {:version 0 :offset 8 :timeout-ms 0}]
                                 ['m new-bytes :offset 8 :timeout-ms 0]]
                          :waits? true :harmless? true}})

;; They look, and print.
(def ^:private looking
  {'rsmapi.sim/world             {:good [[] [{:unit 3 :seed 1 :memory :shared :latency [1 2] :timeout 1000 :overtake true :manual false
                                             :faults [{:fault :lose :message :put :nth 1}]}]
                                         [:unit 3 {:latency 5}]]
                                  :harmless? true}
   'rsmapi.sim/close!            {:good '[[w]]}
   'rsmapi.sim/name              {:good '[[w]] :harmless? true}
   'rsmapi.sim/now               {:good '[[w]] :harmless? true}
   'rsmapi.sim/step!             {:good '[[w]] :harmless? true}
   'rsmapi.sim/run!              {:good '[[w]] :harmless? true}
   'rsmapi.sim/advance!          {:good '[[w 5]] :harmless? true}
   'rsmapi.sim/cut!              {:good '[[w 1 2] [w 1 2 :one-way]] :harmless? true}
   'rsmapi.sim/mend!             {:good '[[w 1 2] [w 1 2 :both]] :harmless? true}
   'rsmapi.sim/kill!             {:good '[[w 1]] :harmless? true}
   'rsmapi.sim/stop!             {:good '[[w 1]] :harmless? true}
   'rsmapi.sim/continue!         {:good '[[w 1]] :harmless? true}
   'rsmapi.sim/history           {:good '[[w]] :harmless? true}
   'rsmapi.sim/plan              {:good '[[story]] :harmless? true}
   'rsmapi.inspect/segments      {:good [[] [{:node 0 :mine true :pids false}] [:node 0 :mine false :pids false]]
                                  :harmless? true}
   'rsmapi.inspect/describe      {:good '[[c] [im] [ex] [m] [mem] [h] [b] [pollfd] [{:node 0 :segment-id id}]]
                                  :harmless? true}
   'rsmapi.inspect/hexdump       {:good '[[m] [mem {:offset 8 :length 8 :width 4 :group 2 :all true}]
                                          [ex :offset 8 :layout [:array 9 :u16] :at 2]] :harmless? true}
   'rsmapi.inspect/hexdump-lines {:good '[[m] [mem {:offset 8 :length 8 :width 4 :group 2 :all true}]
                                          [ex :offset 8 :layout [:array 9 :u16] :at 2]] :harmless? true}})

;; Structures in memory.
(def ^:private structures
  (update-keys
   '{layout            {:good [[[:struct [:x :u8]]] [l]] :harmless? true}
     describe          {:good [[l]] :harmless? true}
     size-of           {:good [[l] [[:array 3 :f64]]] :harmless? true}
     offset-of         {:good [[l :x] [l [:n 1]]] :harmless? true}
     fingerprint       {:good [[l]] :harmless? true}
     difference        {:good [[l l]] :harmless? true}
     of                {:good [[m] [ex] [im] [mem]] :harmless? true}
     view              {:good [[m l] [mem l 8]] :also [[m]] :harmless? true}
     array             {:good [[m l] [ex :f64 8] [m l 0 3]] :harmless? true}
     column            {:good [[a :y] [a [:n 1]]] :also [[a]] :harmless? true}
     values            {:good [[column]] :harmless? true}
     put!              {:good [[v :x 3] [v {:y 1.5 :s "ab"}] [a 0 {:s "ab"} [1 :n] [1 2 3]]] :harmless? true}
     get-volatile      {:good [[v :x] [v [:n 1]]] :harmless? true}
     get-acquire       {:good [[v :x]] :harmless? true}
     put-volatile!     {:good [[v :x 3]] :harmless? true}
     put-release!      {:good [[v :y 1.5]] :harmless? true}
     compare-and-set!  {:good [[v :x 0 1]] :harmless? true}
     get-and-add!      {:good [[v :x 2]] :harmless? true}
     read-snapshot     {:good [[v] [v {:version :x :timeout-ms 0}] [v :timeout-ms 0]] :waits? true :harmless? true}
     write-snapshot!   {:good [[v {:y 1.5}] [v {:y 1.5} {:version :version :timeout-ms 0}] [v {:s "ab"} :timeout-ms 0]]
                        :waits? true :harmless? true}}
   #(symbol "rsmapi.layout" (name %))))

(defn- access-row [& good] {:good (vec good) :harmless? true})

(def ^:private value-types
  "[type, an array of it, an element, whether it has a byte order]"
  [["byte" byte-array 1 false] ["short" short-array 1 true] ["char" char-array \c true]
   ["int" int-array 1 true] ["long" long-array 1 true] ["float" float-array 1.5 true]
   ["double" double-array 1.5 true]])

(defn- access-calls [[type array value ordered?]]
  (let [named  #(symbol (apply str %&))
        array  #(array 2)
        ;; without an order it is the same with the native one
        row    (fn [& calls]
                 (if ordered?
                   (assoc (apply access-row (map #(conj % :big-endian) calls)) :fine calls)
                   (apply access-row calls)))]
    {(named "get-" type)              (row '[m 0])
     (named "put-" type "!")          (row ['m 0 value])
     (named "get-" type "-volatile")  (access-row '[m 0])
     (named "put-" type "-volatile!") (access-row ['m 0 value])
     (named "get-" type "-acquire")   (access-row '[m 0])
     (named "put-" type "-release!")  (access-row ['m 0 value])
     (named "get-" type "s")          (row '[m 0 2])
     (named "get-" type "s!")         (row ['m 0 array] ['m 0 array 0 1])
     (named "put-" type "s!")         (row ['m 0 array] ['m 0 array 0 1])}))

(def ^:private atomic-calls
  (into {}
        (for [type ["int" "long"], order ["" "-acquire" "-release"]]
          (let [memories (if (= "" order) '[m im] '[m])]
            {(symbol (str "compare-and-set-" type order "!")) (apply access-row (map #(vector % 0 0 1) memories))
             (symbol (str "get-and-add-" type order "!"))     (apply access-row (map #(vector % 0 1) memories))}))))

(def ^:private range-calls
  {'get-buffer! (access-row '[m 0 buffer])
   'put-buffer! (access-row '[m 0 buffer])
   'fill!       (access-row '[m 0 8 1])
   'copy!       (access-row '[m 0 mem 0 8])})

(defn- element-calls [[bits array]]
  (let [array #(array 2)
        row   #(assoc (apply access-row %&) :maps? true)]
    {(symbol (str "put" bits "!")) (row ['im 0 1] ['im 0 [1 2]] ['im 0 array 0 1] ['im 0 'mem 0 1])
     (symbol (str "get" bits))     (row ['im 0 2])
     (symbol (str "get" bits "!")) (row ['im 0 array 0 1] ['im 0 'mem 0 1])}))

(def ^:private rows
  (into (merge calls looking structures atomic-calls range-calls)
        (concat (mapcat access-calls value-types)
                (mapcat element-calls [[8 byte-array] [16 short-array] [32 int-array]
                                       [64 long-array]]))))

;; ------------------------------------------------------ inside of the child

(defn sweep-functions!
  "All functions in one state."
  [state]
  (sweep/left
   #(binding [*out* (java.io.Writer/nullWriter)] ; what hexdump prints
      (sweep/together (for [[function row] (sort rows)]
                        (sweep/sweep-row! state function row))))))

(defn sweep-classes!
  "All classes of the Java core in one state."
  [state]
  (sweep/left
   #(sweep/together (for [c (sweep/java-classes)]
                      (sweep/sweep-class! state c)))))

;; ---------------------------------------------------------------------- tests

(defn- functions
  "The functions of the API that take arguments."
  []
  (set (for [n '[rsmapi.core rsmapi.inspect rsmapi.layout rsmapi.sim]
             [function v] (ns-publics n)
             :let [{:keys [macro arglists]} (meta v)]
             :when (and (not macro) (some seq arglists))]
         (if (= 'rsmapi.core n) function (symbol (name n) (name function))))))

(deftest every-function-and-option-is-swept
  (is (= (functions) (set (keys rows))) "each function is in the table")
  (doseq [[function {:keys [good also]}] rows
          :let [documented (->> (:doc (meta (ns-resolve 'rsmapi.core function)))
                                (re-seq #"(?m)^    :([a-z-]+) ")
                                (map (comp keyword second))
                                (remove #(re-find #"^attr-|^page-size" (name %))))
                swept      (mapcat #(cond (map? %) (keys %) (keyword? %) [%])
                                  (apply concat (concat good also)))]]
    (is (empty? (set/difference (set documented) (set swept))) (str function ": options"))))

(deftest the-sweep-can-see
  (testing "failures that are no RSM errors, or not readable ones"
    (is (some? (sweep/failure-flaw (NullPointerException.))))
    (is (some? (sweep/failure-flaw (OutOfMemoryError.))))
    (is (nil? (sweep/failure-flaw (RsmException/of RsmError/BAD_OFFSET "op"))))
    (is (some? (sweep/failure-flaw (RsmException/of RsmError/BAD_OFFSET "two words")))))
  (testing "a good call that fails"
    (is (seq (:flaws (sweep/sweep-row! :live 'size {:good '[[c]]})))))
  (testing "a failure that leaves something half done"
    (with-redefs [rsm/size (fn [x]
                             (rsm/put-byte! x 0 1)
                             (throw (RsmException/of RsmError/BAD_OFFSET "size")))]
      (is (some #(re-find #"has changed" %) (:flaws (sweep/sweep-row! :live 'size {:good '[[ex]]})))))))

(defn- sweep-in-child! [child function state]
  (let [found (child/value child (list (symbol "rsmapi.arguments-test" (name function)) state) 120000)]
    (println (format "  %s %s: %d calls, %d refused" (name function) (name state)
                     (:calls found) (:refused found)))
    (is (= [] (:flaws found)) (str function " " state))
    (is (< 1000 (:refused found) (:calls found)) (str function " " state ": enough of both"))))

(defn- sweep-all!
  "One function of the two above in all states, in a child JVM."
  [function]
  ;; the code is run a few times each, so quick compilation is what counts; an exception without
  ;; a trace would not tell where it comes from
  (child/with-child [child {:label    (name function)
                            :jvm-opts ["-XX:TieredStopAtLevel=1" "-XX:-OmitStackTraceInFastThrow"]}]
    (child/value child '(require 'rsmapi.arguments-test) 90000)
    ;; What the library keeps for all controllers comes with the first and goes with the last: here that would be with every
    ;; call, and each time the kernel makes sure for some milliseconds that nobody uses it any more.
    (child/value child '(let [c (rsm/get-controller "shm31")]
                          (def kept [c (rsm/export! c {:size 4096})])
                          (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id (peek kept))}]
                            (rsm/signal-post! im))))
    (run! #(sweep-in-child! child function %) sweep/states)
    (is (child/alive? child))))

(deftest bad-arguments
  (run! deref (mapv #(future (sweep-all! %)) '[sweep-functions! sweep-classes!])))

(deftest a-place-in-memory-is-in-that-memory
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [one size]
      (rsm/with-local-memory [other size]
        (rsm/with-exported-segment [ex c {:size size :allow-rebind true}]
          (doseq [at [(- (rsm/address other) (rsm/address one)) page -1 Long/MIN_VALUE Long/MAX_VALUE]]
            (is (= :rsm/bad-addr (:rsm/error (error/catching (rsm/rebind! ex {:memory one :at at}))))
                (str "at " at)))
          (is (nil? (rsm/rebind! ex {:memory one :at 0}))))))))
