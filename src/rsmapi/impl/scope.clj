(ns rsmapi.impl.scope
  "What the with- macros of rsmapi.core expand to."
  (:require [rsmapi.impl.args :as args])
  (:import (org.rsmapi Barrier)))

(set! *warn-on-reflection* true)

(defn close-after-failure
  "Closes a handle after the body failed. The body's failure is thrown; a failure of close is
  suppressed by it."
  [^Throwable failure ^java.lang.AutoCloseable handle]
  (try
    (.close handle)
    (catch Throwable t
      (.addSuppressed failure t))))

(defn- check-symbol [macro sym]
  (when-not (simple-symbol? sym)
    (throw (IllegalArgumentException. (str macro " binds one symbol, as in [x ...]")))))

(defn opened
  "The form that binds sym, hinted with class, to the value of open, evaluates body and closes the
  value."
  [macro sym class open body]
  (check-symbol macro sym)
  (let [sym (if (:tag (meta sym)) sym (vary-meta sym assoc :tag class))]
    `(let [~sym ~open
           result# (try
                     ~@body
                     (catch Throwable t#
                       (close-after-failure t# ~sym)
                       (throw t#)))]
       (.close ~(with-meta (symbol (name sym)) {:tag class}))
       result#)))

(defn extra-barrier
  "A barrier beside the one that put and get use."
  ^Barrier [segment]
  (.extraBarrier (args/import-segment segment "init-barrier")))

(defn with-barrier
  "The form that evaluates body between the open and the close of a barrier bound to sym, and
  destroys the barrier."
  [sym segment body]
  (check-symbol "with-barrier" sym)
  (let [barrier (with-meta (symbol (name sym)) {:tag `Barrier})]
    `(let [~(vary-meta sym assoc :tag `Barrier) (extra-barrier ~segment)]
       (try
         (.open ~barrier)
         (let [result# (do ~@body)]
           (.closeBarrier ~barrier)
           result#)
         (finally
           (.close ~barrier))))))
