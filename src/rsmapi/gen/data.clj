(ns ^:no-doc rsmapi.gen.data
  "Generators of commands that move data: typed access, put and get, vectors. As in
  rsmapi.gen.segment."
  (:require [clojure.string :as str]
            [clojure.test.check.generators :as gen]
            [rsmapi.gen.handle :refer [live nothing place which with-handle]]
            [rsmapi.gen.value :as value]
            [rsmapi.model.memory :as memory]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------ typed access

(def ^:private access-op
  (re-pattern (str "(get|put|compare-and-set|get-and-add)"
                   "-(byte|short|char|int|long|float|double)"
                   "(s|-volatile|-acquire|-release)?")))

(defn split-op
  "What a command of typed access does, and to which type: [:get :int \"-volatile\"]."
  [op]
  (when-let [[_ verb type suffix] (re-matches access-op (name op))]
    [(keyword verb) (keyword type) suffix]))

(defn number-of
  "Values for a type: small, at the ends of its range, or any; now and then beyond it."
  [type]
  (let [{:keys [min max]} (memory/types type)
        fractions (gen/double* {:NaN? false :infinite? false})]
    (case type
      :char (gen/one-of [(gen/fmap char (gen/choose 0 200)) (gen/choose 0 65535)])
      :float (gen/fmap #(double (.floatValue ^Double %))
                       (gen/such-that #(<= -1e30 (double %) 1e30) fractions 100))
      :double fractions
      (gen/frequency
       (cond-> [[4 (gen/choose 0 100)]
                [3 (gen/elements [min max -1])]
                [2 (gen/large-integer* {:min min :max max})]]
         (not= :long type) (conj [1 (gen/elements [(inc (long max)) (dec (long min))])]))))))

(defn fits-element?
  "Whether an array of a type can hold a value."
  [type x]
  (let [n (memory/width type)
        top (if (= 8 n) Long/MAX_VALUE (dec (bit-shift-left 1 (dec (* 8 n)))))]
    (case type
      (:float :double) true
      :char (or (char? x) (<= 0 x 65535))
      (<= (bit-not (long top)) x top))))

(def ^:private order (gen/frequency [[3 (gen/return nil)]
                                     [3 (gen/elements [:little-endian :big-endian :native])]
                                     [1 (gen/return :middle-endian)]]))

(defn- with-order [type args]
  (if (= :byte type)
    args
    (gen/let [args args, o order]
      (cond-> args (some? o) (conj o)))))

(defn- access-args
  "The arguments after the handle."
  [op p]
  (let [[verb type suffix] (split-op op)
        n (memory/width type)
        at (value/access (assoc p :aligned? (not (contains? #{nil "s"} suffix))) n)
        aligned (value/access (assoc p :aligned? true) n)
        value (number-of type)]
    (case verb
      :compare-and-set (gen/tuple aligned (gen/frequency [[3 (gen/return 0)] [1 value]]) value)
      :get-and-add (gen/tuple aligned value)
      :get (case suffix
             "s" (with-order type
                   (gen/let [k (gen/frequency [[8 (gen/choose 0 4)] [1 (gen/return -1)]])
                             at (value/access p (max 0 (* n (long k))))]
                     [at k]))
             nil (with-order type (gen/tuple at))
             (gen/tuple at))
      :put (case suffix
             "s" (with-order type
                   (gen/let [vs (gen/vector (gen/such-that #(fits-element? type %) value 50) 0 4)
                             at (value/access p (* n (count vs)))]
                     [at vs]))
             nil (with-order type (gen/tuple at value))
             (gen/tuple at value)))))

(def ^:private memories [:mapping :mapping :mapping :export :local-memory])

(defn access
  "[op memory & arguments], of one value or an array."
  [state _ op]
  (with-handle state op memories #(access-args op (place state %))))

(defn atomic
  "The same, also on an import segment."
  [state _ op]
  (with-handle state op (conj (vec memories) :import) #(access-args op (place state %))))

(defn part
  "[:pull mapping options?] and [:push mapping options?]."
  [state _ op]
  (with-handle state op [:mapping]
    (fn [h]
      (gen/frequency
       [[4 (gen/return [])]
        [3 (gen/let [n (gen/frequency [[8 (gen/choose 0 40)] [1 (gen/elements [-1 (:size h 0)])]])
                     at (value/access (place state h) (max 0 (long n)))]
             [{:offset at :length n}])]
        [1 (gen/elements [[{:offset 8}] [{:length 0}] [{:nonsense 1}]])]]))))

(defn fill
  "[:fill memory offset length value]"
  [state _ op]
  (with-handle state op memories
    (fn [h]
      (gen/let [n (gen/frequency [[8 (gen/choose 0 40)] [1 (gen/elements [-1 (:size h 0)])]])
                at (value/access (place state h) (max 0 (long n)))
                value (number-of :byte)]
        [at n value]))))

(defn copy
  "[:copy memory offset target target-offset length]"
  [state _ op]
  (with-handle state op memories
    (fn [h]
      (gen/let [to (apply which state memories)
                n (gen/frequency [[8 (gen/choose 0 40)] [1 (gen/elements [-1 (:page-size state)])]])
                from-at (value/access (place state h) (max 0 (long n)))
                to-at (value/access (place state (s/handle state to)) (max 0 (long n)))]
        [from-at to to-at n]))))

;; ------------------------------------------------------ put, get and vectors

(def posts
  "The options of posting a signal, as arguments."
  (gen/elements [[] [] [{:no-accumulate true}]]))

(def elements
  "Commands that put or get on the segment: the type of their elements."
  {:put :byte, :get :byte, :put8 :byte, :get8 :byte, :put16 :short, :get16 :short
   :put32 :int, :get32 :int, :put64 :long, :get64 :long, :put-signal :byte})

(defn- element-values
  "Vectors of up to 4 elements, as an array of that type can hold them."
  [type]
  (gen/vector (gen/such-that #(fits-element? type %) (number-of type) 50) 0 4))

(defn- with-index
  "The local side with an index and a count, or without: as arguments, and how many elements
  move."
  [local n]
  (gen/frequency
   [[5 (gen/return [[local] n])]
    [2 (gen/let [i (gen/choose 0 n)
                 k (gen/choose 0 (- (long n) (long i)))]
         [[local i k] k])]
    [1 (gen/let [i (gen/elements [-1 0 1 n]), k (gen/elements [-1 0 n (inc (long n))])]
         [[local i k] (max 0 (long k))])]]))

(defn- local-memory-side
  "Memory as a local side: it needs an index and a count, aligned for elements of width."
  [state width]
  (when-let [ls (seq (live state :local-memory))]
    (gen/let [l (gen/elements ls)
              k (gen/choose 0 4)
              i (value/access {:size (:size (s/handle state l)) :aligned? (not= 1 width)
                               :page-size (:page-size state)}
                              (* (long width) (long k)))]
      [[l i k] k])))

(defn- window-of
  "Offsets in the segment that a transfer of n bytes can have: in the window that is
  mapped, or in all of it; at times outside."
  [state im width n]
  (let [{:keys [offset size]} (or (s/object state (:mapping im))
                                  {:offset 0 :size (:size im (:page-size state))})]
    (gen/frequency
     [[5 (gen/fmap #(+ (long offset) (long %))
                   (gen/such-that #(< -100000 (long %) 1000000)
                                  (value/access {:size size :page-size (:page-size state)
                                                 :aligned? (not= 1 width)}
                                                n)
                                  50))]
      [1 (value/access {:size (:size im 0) :page-size (:page-size state) :aligned? true} n)]])))

(defn transfer
  "[op import offset local-side & more]"
  [state _ op]
  (let [type (elements op)
        width (memory/width type)
        put? (str/starts-with? (name op) "put")]
    (with-handle state op [:import]
      (fn [im]
        (gen/let [vs (element-values type)
                  [local n] (gen/frequency
                             (cond-> [[6 (if (= :put-signal op)
                                           (gen/return [[vs] (count vs)])
                                           (with-index vs (count vs)))]]
                               (and (not= :put-signal op) (seq (live state :local-memory)))
                               (conj [1 (local-memory-side state width)])
                               (and (not put?) (not= :get op))
                               (conj [3 (gen/fmap (fn [k] [[k] k]) (gen/choose 0 4))])
                               (and put? (not (#{:put :put-signal} op)))
                               (conj [2 (gen/fmap (fn [v] [[v] 1])
                                                  (gen/such-that #(fits-element? type %)
                                                                 (number-of type) 50))])
                               :always (conj [1 (gen/return [[:nothing] 0])])))
                  at (window-of state im width (* (long n) width))
                  post (if (= :put-signal op) posts nothing)]
          (into [at] (concat local post)))))))

(defn- iovec-entry [state im put?]
  (gen/let [vs (gen/vector (gen/choose -128 127) 1 8)
            memory (gen/elements (cons nil (mapcat #(live state %) [:local-memory :localmem])))
            local (gen/return (or memory (if put? vs :nothing)))
            n (gen/frequency [[8 (gen/choose 0 (count vs))]
                              [1 (gen/elements [-1 (inc (count vs))])]])
            i (gen/frequency [[6 (gen/return 0)] [1 (gen/elements [1 -1])]])
            at (window-of state im 1 (max 0 (long n)))]
    {:local local :local-offset i :remote-offset at :length n}))

(defn scatter-gather
  "[op {:segment import :iovec entries ...}]"
  [state _ op]
  (let [put? (= :putv op)]
    (when-let [im (which state :import)]
      (gen/let [im im
                entry (gen/return (iovec-entry state (s/segment state im) put?))
                entries (gen/frequency
                         [[12 (gen/vector entry 1 4)]
                          [1 (gen/fmap #(vec (repeat 17 %)) entry)]
                          [1 (gen/elements [[] nil])]])
                signal (gen/elements [{} {} {:signal true} {:signal true :no-accumulate true}])]
        [op (merge {:segment im :iovec entries} signal)]))))
