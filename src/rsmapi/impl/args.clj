(ns rsmapi.impl.args
  "Turns the arguments of rsmapi.core into those of the Java core, and what cannot
  be turned into an RSM error."
  (:import (java.nio ByteBuffer)
           (java.time Duration)
           (java.util List)
           (org.rsmapi AccessEntry Controller ExportSegment ImportSegment LocalMemory
                       Mapping RsmError RsmException)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn failure
  "An exception of this error and operation (a string), with facts added."
  ^RsmException [^RsmError error op & {:as facts}]
  (reduce-kv (fn [^RsmException e k v] (.with e (name k) v))
             (RsmException/of error op)
             facts))

;; Handles

(defn controller
  ^Controller [x op]
  (if (instance? Controller x)
    x
    (throw (failure RsmError/BAD_CTLR_HNDL op :argument "controller" :controller x))))

(defn- segment-failure [x op hint]
  (failure RsmError/BAD_SEG_HNDL op :argument "segment" :segment x :hint hint))

(defn export-segment
  ^ExportSegment [x op]
  (if (instance? ExportSegment x)
    x
    (throw (segment-failure x op "give an export segment, from create!"))))

(defn import-segment
  "An import segment; a mapping stands for the segment it is of."
  ^ImportSegment [x op]
  (cond
    (instance? ImportSegment x) x
    (instance? Mapping x) (.segment ^Mapping x)
    :else (throw (segment-failure x op "give an import segment, from connect!"))))

;; Options

(defn options
  "The option map, checked for keys that the call does not have: a misspelt :perm
  must not silently mean the default."
  [x allowed op]
  (cond
    (nil? x) {}
    (not (map? x)) (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "options"
                                   :hint (str "options are a map of " (sort allowed))))
    :else
    (if-let [unknown (first (remove allowed (keys x)))]
      (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "options" :option (pr-str unknown)
                      :hint (str "the options are " (sort allowed))))
      x)))

(defn- fits-long? [x]
  (or (int? x)
      (and (integer? x) (<= Long/MIN_VALUE x Long/MAX_VALUE))))

(defn integer
  "A long, or `default` for nil; `error` for anything else. The operation and the
  argument's name come as one vector, because a function that returns a primitive takes
  four arguments at most."
  ^long [x default ^RsmError error [op argument]]
  (cond
    (fits-long? x) (long x)
    (and (nil? x) (some? default)) (long default)
    :else (throw (-> (failure error op :argument argument)
                     (.with argument x)
                     (.hint (str argument " has to be an integer of 64 bits"))))))

(defn int32
  "An int; what does not fit becomes `misfit`, which the core refuses."
  [^long n ^long misfit]
  (unchecked-int (if (<= Integer/MIN_VALUE n Integer/MAX_VALUE) n misfit)))

(def ^:private permissions
  {:none 0 :read 0400 :write 0200 :rdwr 0600})

(defn perm
  "The permission's RSMAPI number. A number passes as it is: the core judges it."
  [x default ^RsmError error op]
  (or (permissions x)
      (cond
        (and (nil? x) default) default
        (int? x) (int32 (long x) -1)
        :else (throw (failure error op :argument "perm"
                              :perm (if (keyword? x) x (pr-str x))
                              :hint "permissions are :read, :write, :rdwr, or 0400, 0200, 0600")))))

(defn flag
  "Whether an option is on; only true, false and nil will do."
  [x op argument]
  (if (or (nil? x) (boolean? x))
    (boolean x)
    (throw (failure RsmError/BAD_ARGS_ERRORS op :argument argument :hint "give true or false"))))

(defn duration
  "A Duration from milliseconds."
  ^Duration [millis default op]
  (let [n (integer millis default RsmError/BAD_ARGS_ERRORS [op "timeout-ms"])]
    (Duration/ofMillis n)))

(def ^:private attributes
  {:none ImportSegment/MAP_NONE
   :fixed ImportSegment/MAP_FIXED
   :reserved ImportSegment/MAP_RESERVED})

(defn attr
  "The map attribute's RSMAPI number."
  [x op]
  (cond
    (nil? x) ImportSegment/MAP_NONE
    (contains? attributes x) (attributes x)
    (int? x) (unchecked-int (long x))
    :else (throw (failure RsmError/BAD_ARGS_ERRORS op :argument "attr"
                          :hint "attributes are :none, :fixed and :reserved"))))

(defn- access-entry [x op]
  (let [[node bits] (cond
                      (map? x) [(:node x) (:perm x)]
                      (and (vector? x) (= 2 (count x))) x)]
    (if (and (int? node) (int? bits)
             (or (vector? x) (every? #{:node :perm} (keys x))))
      (AccessEntry. (int (int32 (long node) -1)) (int (int32 (long bits) -1)))
      (throw (failure RsmError/BAD_ACL op :argument "acl"
                      :hint "an entry is {:node 0 :perm 0640}, the permission an octal number")))))

(defn acl
  "The access list; nil stays nil."
  ^List [x op]
  (cond
    (nil? x) nil
    (sequential? x) (mapv #(access-entry % op) (take 4096 x))
    :else (throw (failure RsmError/BAD_ACL op :argument "acl"
                          :hint "the access list is a vector of {:node 0 :perm 0640}"))))

(defn buffer
  "A ByteBuffer; the core refuses what is no good."
  ^ByteBuffer [x op]
  (if (instance? ByteBuffer x)
    x
    (throw (failure RsmError/BAD_ADDR op :argument "buffer" :hint "give a direct java.nio.ByteBuffer"))))

(defn local-memory
  ^LocalMemory [x op]
  (if (instance? LocalMemory x)
    x
    (throw (failure RsmError/BAD_ADDR op :argument "over" :hint "give memory from allocate!"))))
