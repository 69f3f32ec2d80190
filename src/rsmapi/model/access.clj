(ns ^:no-doc rsmapi.model.access
  "Typed access in the model: through a mapping, an export segment or local memory, at
  offsets from its start.

  The commands are named as the functions of rsmapi.core, without the mark at the end:
  [:get-long m offset order?] [:put-int-volatile m offset value] [:get-bytes m offset n]
  [:put-shorts m offset values order?] [:fill m offset length value] [:copy m offset target
  target-offset length] [:compare-and-set-long m offset expected value] [:get-and-add-int m
  offset delta]. Arrays are vectors."
  (:require [rsmapi.model.args :as args]
            [rsmapi.model.error :refer [checked failed ok unspecified]]
            [rsmapi.model.memory :as memory]
            [rsmapi.model.state :as s]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------------- memory

(defn- memory-handle
  "The mapping, export segment or local memory of this name."
  [state x]
  (let [h (s/handle state x)]
    (when (#{:mapping :export :local-memory} (:kind h)) h)))

(defn- ended
  "The error of a memory that its owner has ended; nil if it is there."
  [{:keys [kind] :as h}]
  (case kind
    :mapping      (when-not (:mapped? h) :rsm/seg-not-mapped)
    :export       (when-not (s/alive? h) :rsm/bad-seg-hndl)
    :local-memory (when-not (:open? h) :rsm/bad-addr)))

(defn- outside?
  "Whether n bytes at an offset do not lie wholly inside a memory."
  [h offset n]
  (let [size (long (:size h)), offset (long offset), n (long n)]
    (or (neg? offset)
        (> offset size)
        (> n (- size offset)))))

(defn- revoked? [state h]
  (and (= :mapping (:kind h))
       (:aborted? (s/object state (:import h)))))

(defn- objection
  "The error of accessing n bytes of a memory, wanting these bits of permission; nil if it
  can be done."
  [state h offset n wanted]
  (or (ended h)
      (cond
        (args/lacks? (:perm h 0600) wanted) :rsm/perm-denied
        (outside? h offset n) :rsm/bad-offset
        (revoked? state h) :rsm/conn-aborted)))

;; ------------------------------------------------------------ single values

(defn of-type?
  "Whether x can be a value of a type at all."
  [type x]
  (case type
    :char (or (char? x) (integer? x))
    (:float :double) (number? x)
    (integer? x)))

(defn fits? [type x]
  (let [{:keys [min max]} (memory/types type)]
    (or (char? x)
        (nil? min)
        (<= min x max))))

(defn- order-of [order]
  (contains? memory/orders order))

(defn- single
  "One access to one value. access says
    :op :type :bits (wanted) :aligned? and :values (of that type, to be checked)
  effect gets the value that is there and gives [new-value-or-nil result]."
  [state {:keys [op type bits aligned? values order]} x offset effect]
  (let [h (memory-handle state x)
        n (memory/width type)
        at (args/int64 offset 0)]
    (checked state op
      [:rsm/bad-seg-hndl (nil? h)
       :rsm/bad-offset (not (args/int64? offset))
       :rsm/bad-args-errors (not-every? #(and (of-type? type %) (fits? type %)) values)
       :rsm/bad-args-errors (not (order-of order))]
      (if-let [e (objection state h at n bits)]
        (failed state op e)
        (checked state op
          [:rsm/bad-mem-alignment (and aligned? (not (zero? (rem at n))))
           :rsm/locks-not-supported (and aligned? (:window h))]
          (let [[new-value result] (effect (memory/decode type order (s/read-at state h at n)))]
            (ok (if (some? new-value)
                  (s/write-at state h at (memory/encode type order new-value))
                  state)
                result)))))))

(defn- wrap
  "An integer as a type of 4 or 8 bytes holds it, signed."
  [type x]
  (if (= :int type) (long (unchecked-int (long x))) (long x)))

(defn- get-value [op type aligned?]
  (fn [state x offset & [order]]
    (single state {:op op :type type :bits args/read-bit :aligned? aligned? :order order}
            x offset (fn [there] [nil there]))))

(defn- put-value [op type aligned?]
  (fn [state x offset value & [order]]
    (single state {:op op :type type :bits args/write-bit :aligned? aligned? :order order
                   :values [value]}
            x offset (fn [_] [value nil]))))

(defn exchanged
  "What compare-and-set does to a value that is there: [new-value-or-nil result]."
  [type expected value]
  (fn [there]
    (cond
      (= memory/any there) [memory/any memory/any]
      (= (wrap type expected) there) [value true]
      :else [nil false])))

(defn added
  "What get-and-add does to a value that is there."
  [type delta]
  (fn [there]
    (if (= memory/any there)
      [memory/any memory/any]
      [(wrap type (unchecked-add (long there) (long delta))) there])))

(defn- compare-and-set [op type]
  (fn [state x offset expected value]
    (single state {:op op :type type :bits 0600 :aligned? true :values [expected value]}
            x offset (exchanged type expected value))))

(defn- get-and-add [op type]
  (fn [state x offset delta]
    (single state {:op op :type type :bits 0600 :aligned? true :values [delta]}
            x offset (added type delta))))

;; ------------------------------------------------------------- many at once

(defn- many
  "An access to n bytes; effect gives [state value] when nothing objects."
  [state {:keys [op bits order]} x offset n effect]
  (let [h (memory-handle state x)]
    (checked state op
      [:rsm/bad-seg-hndl (nil? h)
       :rsm/bad-offset (not (args/int64? offset))
       :rsm/bad-args-errors (not (order-of order))
       :rsm/bad-length (not (args/int64? n))
       :rsm/bad-length (neg? (long n))]
      (if-let [e (objection state h offset n bits)]
        (failed state op e)
        (effect h)))))

(defn- bytes-of
  "How many bytes n values of a type are. A number for which there is no array anyway is let
  be: the product would not fit a long."
  [type n]
  (if (and (args/int64? n) (< -1 (long n) 0x7FFFFFFF))
    (* (memory/width type) (long n))
    n))

(defn- get-values [op type]
  (fn [state x offset n & [order]]
    (let [bytes (bytes-of type n)]
      (many state {:op op :bits args/read-bit :order order} x offset bytes
            (fn [h] (ok state (memory/decode-all type order (s/read-at state h offset bytes))))))))

(defn- put-values [op type]
  (fn [state x offset values & [order]]
    (many state {:op op :bits args/write-bit :order order} x offset (bytes-of type (count values))
          (fn [h] (ok (s/write-at state h offset (mapcat #(memory/encode type order %) values)))))))

(defn- fill [state x offset length value]
  (let [h (memory-handle state x)]
    (checked state :fill
      [:rsm/bad-seg-hndl (nil? h)
       :rsm/bad-offset (not (args/int64? offset))
       :rsm/bad-length (not (args/int64? length))
       :rsm/bad-args-errors (not (of-type? :byte value))
       :rsm/bad-args-errors (not (fits? :byte value))]
      (many state {:op :fill :bits args/write-bit} x offset length
            (fn [h] (ok (s/write-at state h offset
                                    (repeat length (first (memory/encode :byte nil value))))))))))

(defn- copy [state x offset target target-offset length]
  (let [to (memory-handle state target)]
    (checked state :copy
      [:rsm/bad-seg-hndl (nil? (memory-handle state x))
       :rsm/bad-seg-hndl (nil? to)
       :rsm/bad-offset (not (args/int64? target-offset))]
      (many state {:op :copy :bits args/read-bit} x offset length
            (fn [from]
              (if-let [e (objection state to target-offset length args/write-bit)]
                (failed state :copy e)
                (ok (s/write-at state to target-offset (s/read-at state from offset length)))))))))

;; ----------------------------------------------------------------- commands

(defn- command [& parts]
  (keyword (apply str parts)))

(defn- type-commands [type]
  (let [t (name type)
        entry (fn [f op & more] [op (apply f op type more)])]
    (concat
     [(entry get-value (command "get-" t) false)
      (entry put-value (command "put-" t) false)
      (entry get-values (command "get-" t "s"))
      (entry put-values (command "put-" t "s"))]
     (for [suffix ["-volatile" "-acquire"]]
       (entry get-value (command "get-" t suffix) true))
     (for [suffix ["-volatile" "-release"]]
       (entry put-value (command "put-" t suffix) true))
     (when (#{:int :long} type)
       [(entry compare-and-set (command "compare-and-set-" t))
        (entry get-and-add (command "get-and-add-" t))]))))

(def commands
  "Command -> function of the state and the command's arguments."
  (into {:fill fill :copy copy}
        (mapcat type-commands)
        (keys memory/types)))
