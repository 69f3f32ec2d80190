(ns rsmapi.error
  "The errors of the RSMAPI as data.

  Every failure of this library is a clojure.lang.ExceptionInfo whose ex-data has at least

    :rsm/error     the error's name, such as :rsm/bad-offset
    :rsm/op        the operation, such as :import-map
    :rsm/code      the error's number in the RSMAPI, such as 18
    :cognitect.anomalies/category   what kind of failure it is

  and, where they matter, :rsm/offset, :rsm/length, :rsm/size (bytes), :rsm/perm,
  :rsm/node, :rsm/segment-id, :rsm/errno and :rsm/errno-name (of the system call
  :rsm/system-call that failed) and :rsm/hint (what to do).

  `table` has all errors, `lookup` finds one, `error-of` takes the data out of
  any exception, `catching` turns a failure into a value."
  (:require [clojure.string :as str]
            [rsmapi.impl.text :as text])
  (:import (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)

(defn- entry [^RsmError e]
  {:rsm/error (keyword "rsm" (.keyword e))
   :rsm/code (long (.code e))
   :rsm/name (.rsmName e)
   :cognitect.anomalies/category
   (keyword "cognitect.anomalies"
            (str/replace (text/lower-case (.name (.category e))) "_" "-"))
   :rsm/meaning (.meaning e)
   :rsm/retriable? (.retriable e)})

(def table
  "All errors, by number: maps of :rsm/error (keyword), :rsm/code (number),
  :rsm/name (as in the manual), :cognitect.anomalies/category, :rsm/meaning (one
  line) and :rsm/retriable? (whether the same call may succeed later)."
  (mapv entry (RsmError/values)))

(def ^:private by-key
  (into {} (mapcat (fn [e] [[(:rsm/error e) e] [(:rsm/code e) e] [(:rsm/name e) e]])) table))

(defn lookup
  "The entry of `table` for a keyword (:rsm/bad-offset), a number (18), a name
  (\"RSMERR_BAD_OFFSET\"), or the ex-data or exception of a failure; nil if there
  is none."
  [x]
  (cond
    (instance? Throwable x) (lookup (ex-data x))
    (map? x) (lookup (:rsm/error x))
    (int? x) (by-key (long x))
    :else (by-key x)))

(defn error-of
  "The data of a failure: (ex-data e) of the exception, or of the first of its
  causes that is an RSM failure; nil if there is none."
  [e]
  (->> (iterate #(some-> ^Throwable % .getCause) e)
       (take-while some?)
       (some #(when (instance? RsmException %) (ex-data %)))))

(defmacro catching
  "Evaluates body and returns its value, or, if it fails with an RSM error, that
  error's data. Other exceptions pass.

    (catching (rsm/map! im {:offset 100 :length 10}))
    ;=> {:rsm/error :rsm/bad-mem-alignment, :rsm/code 17, ...}"
  [& body]
  `(try
     ~@body
     (catch RsmException e#
       (ex-data e#))))
