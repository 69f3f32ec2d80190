(ns rsmapi.conformance-test
  "Plays the cases of conformance.edn, which says what they look like."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest do-report is testing use-fixtures]]
            [rsmapi.test.child :as child]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.sim :as sim]
            [rsmapi.test.hosts :as hosts]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.runner :as runner])
  (:import (com.sun.jna Function Native Pointer)
           (java.io RandomAccessFile)
           (java.nio ByteBuffer ByteOrder)
           (java.nio.channels FileChannel$MapMode)
           (org.rsmapi Controller ExportSegment ImportSegment)))

(set! *warn-on-reflection* true)

(def ^:private conformance
  (edn/read-string (slurp (io/resource "rsmapi/conformance.edn"))))

;; ------------------------------------------------ one process plays its part

;; What the names stand for, and what has to be closed after the case.
(defonce ^:private world (atom {:names {} :opened []}))

(defn- opened [x]
  (swap! world update :opened conj x)
  x)

(defn- release!
  "Drops a reference to a controller, which is then not to be closed after the case."
  [c]
  (rsm/release-controller! c)
  (swap! world update :opened
         (fn [xs] (let [[before [_ & after]] (split-with #(not (identical? c %)) xs)]
                    (vec (concat before after))))))

;; Memory that the library does not give

(defn- c-function ^Function [^String name] (Function/getFunction "c" name))

(defn- mmap-read-only [^long length]
  (let [prot-read 1, private-anonymous 0x22
        address (.invokeLong (c-function "mmap")
                             (object-array [(Pointer. 0) length (int prot-read)
                                            (int private-anonymous) (int -1) 0]))]
    (opened (reify java.lang.AutoCloseable
              (close [_] (.invokeInt (c-function "munmap")
                                     (object-array [(Pointer. address) length])))))
    address))

(defn- mmap-file [^long length]
  (let [file (java.io.File/createTempFile "rsmapi" nil)]
    (opened (reify java.lang.AutoCloseable
              (close [_] (.delete file))))
    (with-open [raf (RandomAccessFile. file "rw")]
      (.map (.getChannel raf) FileChannel$MapMode/READ_WRITE 0 length))))

(defn- buffer-address [^ByteBuffer buffer]
  (Pointer/nativeValue (Native/getDirectBufferPointer buffer)))

(defn- ints-of
  "The ints that these bytes are on this machine."
  [^bytes array]
  (let [ints (.asIntBuffer (.order (ByteBuffer/wrap array) (ByteOrder/nativeOrder)))]
    (vec (repeatedly (.remaining ints) #(.get ints)))))

;; Configuration files

(defn- file-of
  "The path of a new file with this text."
  [text]
  (let [file (java.io.File/createTempFile "rsmapi" nil)]
    (opened (reify java.lang.AutoCloseable
              (close [_] (.delete file))))
    (spit file text)
    (str file)))

(defn- missing-file
  "The path of a file that is not there."
  []
  (let [file (java.io.File/createTempFile "rsmapi" nil)]
    (.delete file)
    (str file)))

(defn- publish-alone!
  "Publishes under an id that another run of this test may hold for a moment."
  [segment opts]
  (loop [attempts 100]
    (let [id (error/catching (rsm/publish! segment opts))]
      (cond
        (number? id) id
        (and (= 24 (:rsm/code id)) (pos? attempts)) (do (Thread/sleep 50) (recur (dec attempts)))
        :else (rsm/publish! segment opts)))))

(def ^:private ^:dynamic *over*
  "Another interconnect to play over: {:get returns what loopback is to be, :settle called after each call}, or nil."
  nil)

(defn- get-controller [controller & opts]
  (opened (if (and *over* (= "loopback" controller))
            ((:get *over*))
            (apply rsm/get-controller controller opts))))

(def ^:private calls
  {:get-controller     get-controller
   :release-controller release!
   :controller-attr    rsm/controller-attr
   :node-id            rsm/node-id
   :create             (comp opened rsm/create!)
   :destroy            rsm/destroy!
   :publish            rsm/publish!
   :publish-alone      publish-alone!
   :unpublish          rsm/unpublish!
   :republish          rsm/republish!
   :published?         rsm/published?
   :segment-id         rsm/segment-id
   :connect            (comp opened rsm/connect!)
   :disconnect         rsm/disconnect!
   :aborted?           rsm/aborted?
   :map                rsm/map!
   :unmap              rsm/unmap!
   :mapping            rsm/mapping
   :topology           rsm/topology
   :segment-id-range   rsm/segment-id-range
   :rebind             rsm/rebind!
   :put                rsm/put!
   :get                rsm/get!
   :put8               rsm/put8!
   :get8               (comp vec rsm/get8)
   :put16              rsm/put16!
   :put32              rsm/put32!
   :put64              rsm/put64!
   :putv               rsm/putv!
   :init-barrier       rsm/init-barrier!
   :open-barrier       rsm/open-barrier!
   :order-barrier      rsm/order-barrier!
   :close-barrier      rsm/close-barrier!
   :destroy-barrier    rsm/destroy-barrier!
   :set-mode           rsm/set-barrier-mode!
   :signal-post        rsm/signal-post!
   :signal-wait        rsm/signal-wait!
   :signal-wait-pollfd (comp (partial mapv :revents) rsm/signal-wait-pollfd!)
   :get-pollfd         rsm/get-pollfd!
   :release-pollfd     rsm/release-pollfd!
   :create-localmemory-handle (comp opened rsm/create-localmemory-handle!)
   :free-localmemory-handle   rsm/free-localmemory-handle!
   :allocate           (comp opened rsm/allocate!)
   :address            rsm/address
   :get-byte           (fn [m offset] (rsm/get-byte m offset))
   :put-byte           (fn [m offset value] (rsm/put-byte! m offset value))
   :get-int            (fn [m offset] (rsm/get-int m offset))
   :get-long           (fn [m offset] (rsm/get-long m offset))
   :put-long           (fn [m offset value] (rsm/put-long! m offset value))
   :put-no-bytes       (fn [m offset] (rsm/put-bytes! m offset (byte-array 0)))
   ;; what the Clojure API cannot say: other flag bits, and nulls
   :java-create        (fn [^Controller c address length flags]
                         (opened (.exportCreate c (long address) (long length) (int flags))))
   :java-republish     (fn [^ExportSegment segment acl]
                         (.republish segment ^java.util.List acl))
   :java-map           (fn [^ImportSegment segment address attributes perm offset length]
                         (.map segment (long address) (int attributes) (int perm)
                               (long offset) (long length)))
   :java-map-over      (fn [^ImportSegment segment memory at perm offset length]
                         (.mapOver segment memory (long at) (int perm)
                                   (long offset) (long length)))
   :java-get-array     (fn [^ImportSegment segment offset bytes length]
                         (.get segment (long offset) (byte-array bytes) (int 0) (long length)))
   :java-signal-post   (fn [^ImportSegment segment flags]
                         (.signalPost segment (int flags)))
   :java-create-localmemory-handle
   (fn [^Controller c address length]
     (opened (.createLocalMemoryHandle c (long address) (long length))))
   ;; the system
   :umask              (fn [mask] (.invokeInt (c-function "umask") (object-array [(int mask)])))
   :read-only-memory   mmap-read-only
   :shared-file        mmap-file
   :buffer-address     buffer-address
   :file-of            file-of
   :missing-file       missing-file
   ;; values
   :alias              identity
   :same?              identical?
   :distinct?          distinct?
   :at-least?          (fn [least & numbers] (every? #(<= least %) numbers))
   :ints-of            ints-of})

(def ^:private words
  "Keywords that mean themselves."
  #{:read :write :rdwr :none :fixed :explicit :implicit})

(def ^:private operators
  {:+ +', :- -', :* *'
   :pow    (fn [base exponent] (reduce *' (repeat exponent base)))
   :repeat (fn [n x] (vec (repeat n x)))
   :bytes  (fn [n] (byte-array n))})

(defn- resolved
  "An argument with its names replaced by what they stand for."
  [names x]
  (cond
    (contains? names x) (names x)
    (words x) x
    (keyword? x) (throw (IllegalArgumentException. (str "no such name: " x)))
    (and (vector? x) (operators (first x))) (apply (operators (first x))
                                                   (map #(resolved names %) (rest x)))
    (vector? x) (mapv #(resolved names %) x)
    (map? x) (update-vals x #(resolved names %))
    :else x))

(defn- data? [x]
  (cond
    (map? x)  (every? data? (vals x))
    (coll? x) (every? data? x)
    :else     (or (nil? x) (boolean? x) (number? x) (string? x) (keyword? x))))

(defn- error-code
  "The RSMAPI code of a failure; of what is not one, the text that says what it is."
  [^Throwable t]
  (or (:rsm/code (ex-data t))
      (str (.getName (class t)) ": " (.getMessage t))))

(defn play!
  "Makes a call in this process. Returns {:code 0}, with the :value if it is data, or
  the :code of the error."
  [[function & arguments] as]
  (try
    (let [names (:names @world)
          value (apply (or (calls function)
                           (throw (IllegalArgumentException. (str "no such call: " function))))
                       (map #(resolved names %) arguments))]
      (when *over*
        ((:settle *over*)))
      (when as
        (swap! world assoc-in [:names as] value))
      (cond-> {:code 0}
        (data? value) (assoc :value value)))
    (catch Throwable t
      {:code (error-code t)})))

(defn begin!
  "Forgets the last case, and knows these names."
  [names]
  (reset! world {:names names :opened []})
  nil)

(defn end!
  "Closes what is still open, the last one first. Returns what went wrong."
  []
  (let [{:keys [opened]} @world]
    (begin! {})
    (vec (for [^java.lang.AutoCloseable x (rseq opened)
               :let [wrong (try
                             (.close x)
                             nil
                             (catch Throwable t
                               (str "closing " x ": " t)))]
               :when wrong]
           wrong))))

;; ----------------------------------------------------------- several processes

(def ^:private obstacle
  "Why nobody can play in this place here, or nil."
  (memoize (fn [place]
             (child/obstacle (get-in conformance [:children place])))))

;; Futures of the children, by name. Their start takes a while, so it begins before the
;; first test.
(defonce ^:private children (atom {}))

(defn- start-child! [place opts]
  (let [c (child/start! (assoc opts :label (name place)))]
    (try
      (child/value c '(require 'rsmapi.conformance-test) 90000)
      c
      (catch Throwable t
        (child/kill-9! c)
        (throw t)))))

(defn- start-children! []
  (reset! children
          (into {} (for [[place opts] (:children conformance)
                         :when (nil? (obstacle place))]
                     [place (future (start-child! place opts))]))))

(defn- stop-children! []
  (let [[started _] (reset-vals! children {})]
    (doseq [c (vals started)]
      (try
        (child/stop! @c)
        (catch Throwable t
          (do-report {:type :error, :message "ending the children", :expected nil, :actual t}))))))

(use-fixtures :once
  (fn [run]
    (start-children!)
    (try
      (run)
      (finally
        (stop-children!)))))

(defn- process-of
  "Who plays the part of this place: :self, or the name of a child."
  [place]
  (if (= :unprivileged place)
    (if (obstacle :exporter) :self :exporter)
    place))

(defn- at
  "Applies a function of this namespace, in this process or a child."
  [process function & arguments]
  (if (= :self process)
    (apply @(ns-resolve 'rsmapi.conformance-test function) arguments)
    (child/value @(@children process)
                 (list* (symbol "rsmapi.conformance-test" (name function))
                        (map #(list 'quote %) arguments)))))

;; ------------------------------------------------------------------- a case

(def ^:private ids
  ;; In the range for applications, and not likely to be taken by another run.
  (let [base (fresh-id)]
    {:ID (inc base) :nowhere (+ 2 base)}))

(defn- constants []
  (merge ids {:PG (rsm/page-size) :S (* 4 (rsm/page-size))}))

(defn- preparations
  "The calls that a setup means, [call as], in order and each once. A name of the setup may
  have others that it needs; a call stands for itself."
  [setup]
  (let [setups (:setups conformance)]
    (letfn [(add [[done calls :as so-far] x]
              (cond
                (vector? x) [done (conj calls [x nil])]
                (done x) so-far
                :else
                (let [{:keys [needs call is]} (or (setups x)
                                                  (throw (ex-info (str "no such setup: " x) {})))
                      [done calls] (reduce add [done calls] needs)]
                  [(conj done x)
                   (cond-> (conj calls [call (when-not is x)])
                     is (conj [[:alias is] x]))])))]
      (second (reduce add [#{} []] setup)))))

(defn- named [code]
  (if-let [e (and (int? code) (error/lookup code))]
    (list code (:rsm/error e))
    code))

(defn- judge!
  "Reports whether a result is the expected one: as a failure with these words, or as passed."
  [expected {:keys [code value]} words]
  (let [wanted (:value expected)
        value  (if (map? wanted) (select-keys value (keys wanted)) value)
        good?  (if (map? expected)
                 (and (= 0 code) (= wanted value))
                 (= expected code))]
    (do-report {:type     (if good? :pass :fail)
                :message  words
                :expected (if (map? expected) expected (named expected))
                :actual   (if (and (map? expected) (= 0 code)) {:value value} (named code))})))

(defn- with-constants
  "Names of constants in an expected value stand for them."
  [expected]
  (if (contains? (constants) (:value expected))
    (update expected :value (constants))
    expected))

(defn- steps-of [{:keys [call expect steps]}]
  (or steps [[call expect]]))

(defn- setups-of [{:keys [in setup] :or {in :self}}]
  (if (map? setup) setup {in setup}))

(defn- places-of [{:keys [in] :or {in :self} :as c}]
  (distinct (concat (keys (setups-of c))
                    (map #(:in (nth % 2 nil) in) (steps-of c)))))

(defn- play-setup! [c]
  (doseq [[place setup] (setups-of c)
          [call as]     (preparations setup)]
    (judge! 0 (at (process-of place) 'play! call as)
            (str "case " (:case c) ", setup: " call " in " place))))

(defn- play-steps! [{:keys [in] :or {in :self} :as c}]
  (doseq [[i [call expected options]] (map-indexed vector (steps-of c))]
    (let [place (:in options in)]
      (judge! (with-constants expected)
              (at (process-of place) 'play! call (:as options))
              (str "case " (:case c) ", step " (inc (long i)) ": " call " in " place)))))

(defn- play-case! [c]
  (testing (str "basis " (:basis c))
    (let [processes (distinct (map process-of (places-of c)))
          why-not   (some obstacle processes)]
      (if why-not
        (runner/skip! (str "case " (:case c)) why-not)
        (try
          (run! #(at % 'begin! (constants)) processes)
          (play-setup! c)
          (play-steps! c)
          (finally
            ;; importers were named last
            (doseq [p (reverse processes)]
              (is (= [] (at p 'end!)) (str "case " (:case c) ", cleaning up in " p)))))))))

(defn- play-group! [group]
  (run! play-case! (get-in conformance [:cases group])))

;; -------------------------------------------------------------------- tests

(deftest controllers (play-group! :controllers))

(deftest create-and-destroy (play-group! :create-and-destroy))

(deftest publish (play-group! :publish))

(deftest connect (play-group! :connect))

(deftest map-and-unmap (play-group! :map-and-unmap))

(deftest put-and-get (play-group! :put-and-get))

(deftest barriers (play-group! :barriers))

(deftest signals (play-group! :signals))

(deftest local-memory-handles-and-vectors (play-group! :local-memory-handles-and-vectors))

(deftest topology-and-id-ranges (play-group! :topology-and-id-ranges))

(deftest rebind (play-group! :rebind))

(defn- play-over-sim! [memory]
  (let [alone  (filter #(= [:self] (distinct (map process-of (places-of %)))) (mapcat val (:cases conformance)))
        others (merge (get-in conformance [:elsewhere :sim]) (get-in conformance [:elsewhere memory]))
        played (remove (comp others :case) alone)]
    (println (str "   over sim, " (name memory) ": " (count played) " cases"))
    (is (< 80 (count played)))
    (doseq [c played]
      (sim/with-world [w {:memory memory}]
        (binding [*over* {:get #(rsm/get-controller (sim/name w)) :settle #(sim/run! w)}]
          (play-case! c))))))

(deftest over-simulated-shared-memory (play-over-sim! :shared))

(deftest over-simulated-mirrored-memory (play-over-sim! :mirrored))

(defn- play-over-gateways! [opts]
  (let [alone  (filter #(= [:self] (distinct (map process-of (places-of %)))) (mapcat val (:cases conformance)))
        others (merge (get-in conformance [:elsewhere :sim]) (get-in conformance [:elsewhere :mirrored]))
        played (remove (comp others :case) alone)]
    (println (str "   over gateways" (when (:through-gateways? opts) ", through that of the host") ": " (count played) " cases"))
    (is (< 80 (count played)))
    (hosts/with-network [0] opts
      (binding [*over* {:get #(hosts/controller 0) :settle hosts/settle!}]
        (run! play-case! played)))))

(deftest over-gateways (play-over-gateways! nil))

(deftest over-gateways-in-another-process (play-over-gateways! {:through-gateways? true}))

(deftest every-case-is-somewhere
  (let [{:keys [numbers cases never]} conformance
        played (map :case (mapcat val cases))]
    (is (= (sort numbers) (sort (concat played (keys never))))
        "each number once, in :cases or :never")
    (is (= (count numbers) (count (set numbers))))
    (is (every? #(and (string? %) (not (str/blank? %))) (vals never)))
    (is (= #{:controllers :topology-and-id-ranges :create-and-destroy :rebind :publish :connect
             :map-and-unmap :put-and-get :barriers :signals :local-memory-handles-and-vectors}
           (set (keys cases)))
        "each group has a test")))
