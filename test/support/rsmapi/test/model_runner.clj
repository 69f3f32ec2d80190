(ns rsmapi.test.model-runner
  "Plays commands of rsmapi.model against the library, beside the model, and tells where the
  two disagree. At the REPL:

    (require '[rsmapi.test.model-runner :as runner])
    (runner/check [[:get-controller :c \"loopback\"]
                   [:create :ex :c {:size 4096}]
                   [:get-long :ex 4089]])

  prints the calls with what came of them, and returns whether all is as the model has it."
  (:require [clojure.string :as str]
            [clojure.walk :as walk]
            [rsmapi.core :as rsm]
            [rsmapi.model :as model])
  (:import (java.nio.file Files Path)
           (org.rsmapi PollFd RsmException)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------ commands, and the library's functions

;; What the arguments of a command are, by place:
;;   :name      a new handle                :handle    a handle, or nil
;;   :options   a map, in which there may be handles, addresses and segment ids
;;   :data      itself                      :request   of putv! and getv!
;;   :handles   a vector of handles
;;   [:array t] an array of this type, as a vector
;;   [:local t] the same, or a handle, or a number

(def ^:private fixed-shapes
  {:get-controller [:name :data :data]
   :allocate [:name :data]
   :create [:name :handle :options]
   :publish [:handle :options]
   :rebind [:handle :options]
   :connect [:name :handle :options]
   :map [:name :handle :options]
   :copy [:handle :data :handle :data :data]
   :init-barrier [:name :handle]
   :get-pollfd [:name :handle]
   :create-localmemory-handle [:name :handle :handle :data]
   :free-localmemory-handle [:handle :handle]
   :signal-wait-pollfd [:handles :data]
   :put-signal [:handle :data [:local :byte] :data]
   :putv [:request]
   :getv [:request]
   :same? [:handle :handle]})

(def ^:private element-types
  {nil :byte "8" :byte "16" :short "32" :int "64" :long})

(defn- shape [op]
  (let [[_ array-type] (re-matches #"put-(\w+)s" (name op))
        [_ bits :as element] (re-matches #"(?:put|get)(8|16|32|64)?" (name op))]
    (cond
      (fixed-shapes op) (fixed-shapes op)
      element [:handle :data [:local (element-types bits)] :data :data]
      array-type [:handle :data [:array (keyword array-type)] :data]
      :else [:handle :data :data :data])))

(defn- function-name
  "The function of rsmapi.core for a command: its name without an exclamation mark, or with it. Of
  those that are there in both forms, the second fills its target, which a count is not. nil if
  there is none."
  [op & [_ _ target & more]]
  (let [publics (ns-publics 'rsmapi.core)
        [plain fills] (filter publics [(symbol (name op)) (symbol (str (name op) "!"))])]
    (if (and fills (or (next more) (not (integer? target)))) fills plain)))

(def ops
  "The commands that can be played: those whose function is there. Left out are processes of
  the model's own, and what becomes known a moment later only."
  (set (cons :same? (filter function-name (disj model/commands :importers)))))

;; ----------------------------------------------------------- arguments and values

(defn- as-array [type values]
  (case type
    :byte (byte-array (map unchecked-byte values))
    :short (short-array (map unchecked-short values))
    :char (char-array (map char values))
    :int (int-array (map unchecked-int values))
    :long (long-array values)
    :float (float-array values)
    :double (double-array values)))

(defn- place?
  "Whether an :address is [local-memory offset]."
  [x]
  (and (vector? x) (keyword? (first x))))

(defn- address-of [env [name at]]
  (some-> (env name) rsm/address (+ at)))

(defn- real-options [env opts]
  (if-not (map? opts)
    opts
    (cond-> opts
      (place? (:address opts)) (update :address #(address-of env %))
      (keyword? (:segment-id opts)) (update :segment-id #(some-> (env %) rsm/segment-id))
      (keyword? (:memory opts)) (update :memory env))))

(defn- real-local [env type x]
  (cond (vector? x) (as-array type x)
        (keyword? x) (env x)
        :else x))

(defn- real-request [env request]
  (cond-> request
    (keyword? (:segment request)) (update :segment env)
    (:iovec request) (update :iovec (partial mapv (fn [e] (update e :local #(real-local env :byte %)))))))

(defn- real-argument [env kind x]
  (case kind
    :handle (env x)
    :handles (mapv env x)
    :options (real-options env x)
    :request (real-request env x)
    :data x
    (let [[kind type] kind]
      (case kind
        :array (as-array type x)
        :local (real-local env type x)))))

(defn- names-of-ready
  "What signal-wait-pollfd! gives, as the names of the descriptors. Each must be ready for
  the one thing that they are for."
  [env ready]
  (mapv (fn [{:keys [segment revents] :as r}]
          (or (when (= #{:rdnorm} revents)
                (some (fn [[k v]] (when (and (instance? PollFd v)
                                             (identical? segment (.segment ^PollFd v)))
                                    k))
                      env))
              (dissoc r :segment)))
        ready))

(defn- data
  "A value of the library as the model has it. env has the handles that the command names."
  [env x]
  (let [name-of #(some (fn [[k v]] (when (identical? v %) k)) env)]
    (cond
      (nil? x) nil
      ;; of floats and bytes, as of the functions for one value, come doubles and longs
      (.isArray (class x)) (mapv #(cond (char? %) % (float? %) (double %) :else (long %)) x)
      (and (vector? x) (:revents (first x))) (names-of-ready env x)
      (name-of x) (name-of x)
      :else x)))

;; ------------------------------------------------------------- what is known already

(def known
  "Where library and model disagree, and it has been told: {:id :why :commands, the shortest
  that show it, and :is-it? of a step}. A sequence that comes to one of these ends there. When
  the commands do not show it any more, it has to go from here; a test sees to that."
  [])

(defn- known-step [step]
  (some #(when ((:is-it? %) step) (:id %)) known))

;; ------------------------------------------------------------------------ playing

(def ^:dynamic *faults*
  "For tests of the tests: command -> a function that is called in place of the library's,
  with that as its first argument."
  {})

(def ^:dynamic *settle*
  "Called after each command: over an interconnect where what has been asked for takes time, lets it happen."
  (fn []))

(defn- call [op args]
  (let [f (if (= :same? op) identical? @(ns-resolve 'rsmapi.core (apply function-name op args)))]
    (if-let [fault (*faults* op)]
      (apply fault f args)
      (apply f args))))

(defn perform
  "Makes the call that a command stands for. Returns [env result], result as the model's, or
  {:thrown text} for an exception that is no RSM error."
  [env [op & args]]
  (let [kinds (shape op)
        name (when (= :name (first kinds)) (first args))
        [kinds args] (if name [(rest kinds) (rest args)] [kinds args])]
    (try
      (let [value (call op (doall (map #(real-argument env %1 %2) kinds args)))]
        (if name
          [(assoc env name value) {:ok name}]
          [env {:ok (data (select-keys env (flatten args)) value)}]))
      (catch RsmException e
        [env {:error (ex-data e)}])
      (catch Throwable t
        [env {:thrown (str t)}]))))

(defn agrees?
  "Whether what came of a command, perhaps an exception that is no RSM error, is what the model
  expects."
  [expected actual]
  (and (not (:thrown actual))
       (model/agrees? expected actual)))

(defn looks
  "Commands that read all that is there for a process in a state, to be played at the end."
  [state]
  (for [[[process name] id] (sort-by (comp second key) (:names state))
        :let [{:keys [kind] :as h} (get-in state [:objects id])]
        :when (= process (:process state))
        :when (case kind
                :export (#{:created :published} (:state h))
                :mapping (and (:mapped? h) (not= 0200 (:perm h)))
                false)]
    [:get-bytes name 0 (:size h)]))

(defn end!
  "Closes what there is to close among these."
  [opened]
  (doseq [x opened
          :when (instance? java.lang.AutoCloseable x)]
    (try (.close ^java.lang.AutoCloseable x)
         (catch RsmException _))))

(defn play
  "Plays commands, from a state of the model on in which there is nothing but processes, until
  the library and the model disagree, or the model has nothing to say. Then reads all there
  is, and closes it. Returns {:steps [{:command :expected :actual :agree?} ...] :agree?
  boolean}, with :known and its id if they disagree where it is known, which counts as
  agreeing."
  [state commands]
  (let [opened (volatile! ())]
    (try
      (loop [state state, env {}, commands commands, steps [], looked? false]
        (if-let [[command & more] (seq commands)]
          (let [[state' expected] (model/step state command)
                [env' actual] (perform env command)
                _ (*settle*)
                agree? (agrees? expected actual)
                step {:command command :expected expected :actual actual :agree? agree?}
                steps (conj steps step)
                known (when-not agree? (known-step step))]
            (when-not (identical? env env')
              (vswap! opened conj (env' (second command))))
            (if (or (not agree?) (contains? expected :unspecified))
              (cond-> {:steps steps :agree? (or agree? (some? known))}
                known (assoc :known known))
              (recur state' env' more steps looked?)))
          (if looked?
            {:steps steps :agree? true}
            (recur state env (looks state) steps true))))
      (finally
        (end! @opened)))))

;; what a process that plays a part of the commands has
(defonce ^:private played-here (atom {:env {} :opened ()}))

(defn end-all!
  "Closes all that perform-all! has opened."
  []
  (end! (:opened (first (reset-vals! played-here {:env {} :opened ()}))))
  nil)

(defn- shorter
  "A result without what is not compared, and long vectors, which are mostly zeros, as {:runs [[value
  count] ...]}: for a pipe to another process."
  [{:keys [ok error] :as result}]
  (cond
    error (update result :error select-keys [:rsm/error :rsm/code :rsm/op :rsm/entry :rsm/residual])
    (and (vector? ok) (< 200 (count ok))) {:ok {:runs (mapv (juxt first count) (partition-by identity ok))}}
    :else result))

(defn whole
  "A result of perform-all! as it was."
  [result]
  (if-let [runs (and (map? (:ok result)) (:runs (:ok result)))]
    {:ok (vec (mapcat (fn [[x n]] (repeat n x)) runs))}
    result))

(defn perform-all!
  "Makes the calls that commands stand for, in this process, after those before. Returns the results;
  `whole` makes of them what they were."
  [commands]
  (mapv (fn [[_ name :as command]]
          (let [{:keys [env]} @played-here
                [env' result] (perform env command)]
            (when-not (identical? env env')
              (swap! played-here #(-> % (assoc :env env') (update :opened conj (env' name)))))
            (shorter result)))
        commands))

(defn named
  "What a name stands for in this process, for perform-all!."
  [name]
  (get-in @played-here [:env name]))

(defn- status
  "A line of /proc/self/status, as numbers in a base."
  [^String key base]
  (->> (Files/readAllLines (Path/of "/proc/self/status" (make-array String 0)))
       (some #(when (str/starts-with? % key) (subs % (count key))))
       (re-seq #"\d+")
       (map #(Long/parseLong % base))))

(defn settings
  "What the model has to know of this process."
  []
  {:node (rsm/with-controller [c "loopback"] (rsm/node-id c))
   :uid (second (status "Uid:" 10))
   :gid (second (status "Gid:" 10))
   :groups (set (status "Groups:" 10))
   :umask (first (status "Umask:" 8))})

(defn initial-state
  "The model's state for this process, with more settings of model/init."
  ([] (initial-state nil))
  ([more] (model/init (merge (settings) {:page-size (rsm/page-size)} more))))

;; ---------------------------------------------------------------------- telling it

(defn- symbol-of [x] (if (keyword? x) (symbol (name x)) x))

(defn- code-of-local [type x]
  (cond (vector? x) (list (symbol (str (name type) "-array"))
                          (if (= :char type) (list 'map 'char x) x))
        (keyword? x) (symbol-of x)
        :else x))

(defn- code-of-options [opts]
  (if-not (map? opts)
    opts
    (cond-> opts
      (place? (:address opts)) (update :address (fn [[l at]] (list '+ (list 'rsm/address (symbol-of l)) at)))
      (keyword? (:segment-id opts)) (update :segment-id #(list 'rsm/segment-id (symbol-of %)))
      (keyword? (:memory opts)) (update :memory symbol-of))))

(defn- code-of-argument [kind x]
  (case kind
    (:name :handle) (symbol-of x)
    :handles (mapv symbol-of x)
    :options (code-of-options x)
    :request (-> x
                 (update :segment #(some-> % symbol-of))
                 (update :iovec (partial mapv (fn [e] (update e :local #(code-of-local :byte %))))))
    :data x
    (code-of-local (second kind) x)))

(defn code
  "A command as the call of the library."
  [[op & args]]
  (let [kinds (shape op)
        [x & more :as forms] (map code-of-argument kinds args)
        f (if (= :same? op) 'identical? (symbol "rsm" (name (or (apply function-name op args) op))))]
    (if (= :name (first kinds))
      (list 'def x (list* f more))
      (list* f forms))))

(defn pasteable
  "Code as text that a terminal and a REPL take, whatever characters are in it."
  [code]
  (pr-str (walk/postwalk (fn [x]
                           (if (and (char? x) (not (<= 33 (int x) 126))) (list 'char (int x)) x))
                         code)))

(defn- brief [x]
  (let [x (if (:error x) (:error (update x :error select-keys [:rsm/error :rsm/code :rsm/op
                                                               :rsm/residual :rsm/entry]))
              x)
        s (pr-str x)]
    (if (< 300 (count s)) (str (subs s 0 300) " ...") s)))

(defn tell
  "What came of playing, as text to be pasted into a REPL: the calls, what they answered in
  comments; then the commands, for `check`."
  [{:keys [steps]}]
  (let [names (distinct (filter keyword? (flatten (map :command steps))))
        unknown (remove (set (for [{[op x] :command} steps :when (= :name (first (shape op)))] x)) names)
        handles (filter #(some (fn [{[op & args] :command}]
                                 (some (fn [[kind x]] (and (#{:handle :name} kind) (= x %)))
                                       (map vector (shape op) args)))
                               steps)
                        (concat names unknown))]
    (str/join
     "\n"
     (concat
      ["(require '[rsmapi.core :as rsm] '[rsmapi.test.model-runner :as runner])"
       (str "(do " (str/join " " (map #(str "(def " (name %) " nil)") (distinct handles))) ")")]
      (for [{:keys [command expected actual agree?]} steps]
        (str (pasteable (code command)) "   ;=> " (brief actual)
             (when-not agree? (str "\n;; THE MODEL EXPECTS " (brief expected)))))
      ["" (str "(runner/check\n " (pasteable (mapv :command steps)) ")")]))))

(defn check
  "Plays commands and prints what came of it. Returns whether library and model agree."
  [commands]
  (let [played (play (initial-state) commands)]
    (println (tell played))
    (:agree? played)))
