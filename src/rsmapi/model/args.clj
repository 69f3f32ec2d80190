(ns ^:no-doc rsmapi.model.args
  "What the Clojure functions can see for themselves about their arguments: whether a thing
  is of the right type. They see it before anything else, handle first, then the options."
  (:require [rsmapi.model.error :refer [checked]]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn int64?
  "Whether x is an integer of 64 bits."
  [x]
  (or (int? x)
      (and (integer? x) (<= Long/MIN_VALUE x Long/MAX_VALUE))))

(defn int64
  "x as a long; default for nil, and for an invalid one (which is an objection by itself)."
  ^long [x default]
  (long (if (int64? x) x default)))

(defn optional-int64? [x]
  (or (nil? x) (int64? x)))

(defn bad-options?
  "Whether x is neither nil nor a map of allowed options."
  [x allowed]
  (not (or (nil? x)
           (and (map? x) (every? allowed (keys x))))))

(defn flag? [x]
  (or (nil? x) (boolean? x)))

;; ------------------------------------------------------------- permissions

(def read-bit 0400)
(def write-bit 0200)

(def permissions
  "The names of the RSMAPI's permissions."
  {:none 0, :read 0400, :write 0200, :rdwr 0600})

(defn perm?
  "Whether x may stand where a permission does; whether it is one is for the call to judge."
  [x]
  (or (nil? x) (int? x) (contains? permissions x)))

(defn perm
  "The number of a permission; default for nil, and for an invalid one."
  ^long [x default]
  (long (cond (contains? permissions x) (permissions x)
              (int? x) x
              :else default)))

(defn lacks?
  "Whether a permission lacks one of the wanted bits."
  [perm wanted]
  (not= wanted (bit-and (long perm) (long wanted))))

;; -------------------------------------------------------------- attributes

(def attributes {:none 0, :fixed 1, :reserved 2})

(defn attr? [x]
  (or (nil? x) (int? x) (contains? attributes x)))

(defn fixed?
  "Whether an attribute has RSM_MAP_FIXED."
  [x]
  (odd? (long (cond (contains? attributes x) (attributes x)
                    (int? x) x
                    :else 0))))

;; ------------------------------------------------------------ access lists

(defn- entry [x]
  (let [[node bits] (cond (map? x) [(:node x) (:perm x)]
                          (and (vector? x) (= 2 (count x))) x)]
    (when (and (int? node) (int? bits)
               (or (vector? x) (every? #{:node :perm} (keys x))))
      [node bits])))

(defn acl?
  "Whether x is nil or a list of entries, {:node n :perm bits} or [n bits]."
  [x]
  (or (nil? x)
      (and (sequential? x) (every? entry x))))

(defn acl
  "The access list as a vector of [node bits]; nil for nil and for an empty one, which
  means the same."
  [x]
  (when (and (acl? x) (seq x))
    (mapv entry x)))

;; ------------------------------------------------------------------ checks

(defmacro with-typed
  "The checks on the types of options, before all others: not a map, an unknown option, then
  pairs of an error and the test that objects."
  [state op opts allowed type-checks & body]
  `(checked ~state ~op
     [:rsm/bad-args-errors (bad-options? ~opts ~allowed)
      ~@type-checks]
     ~@body))
