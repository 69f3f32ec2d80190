(ns rsmapi.impl.transfer
  "Defines put and get of elements in rsmapi.core, for each of their sizes."
  (:require [rsmapi.impl.access :as access]
            [rsmapi.impl.args :as args])
  (:import (org.rsmapi.clj Move)))

(def ^:private elements
  [{:bits 8  :integers "-128 to 255"      :array "a byte array"            :new "byte"}
   {:bits 16 :integers "-32768 to 65535"  :array "a short or char array"   :new "short" :unit 2}
   {:bits 32 :integers "-2^31 to 2^32-1"  :array "an int or float array"   :new "int"   :unit 4}
   {:bits 64 :integers "-2^63 to 2^63-1"  :array "a long or double array"  :new "long"  :unit 8}])

(defn- place [{:keys [unit]}]
  (str "in bytes from its start"
       (when unit (str ", a multiple of " unit))))

(defn- swapping [{:keys [unit]}]
  (when unit
    " They are swapped if the exporter's machine has another byte order."))

(def ^:private pieces
  " index and count say which elements of an array; of a memory, index is in bytes and count in elements.")

(defn- put [{:keys [bits integers array] :as e}]
  `(defn ~(symbol (str "put" bits "!"))
     ~(access/text
       (str "Writes " bits "-bit elements to an import segment at offset, " (place e) ", and returns nil.
             The source is an integer (" integers "), a sequence of integers, " array " or memory."
            (swapping e) pieces)
       "For mapping, barriers and errors see put!; an integer that does not fit is :rsm/bad-args-errors."
       (str "rsm_memseg_import_put" bits "(3RSM)."))
     ([~'segment ~'offset ~'source]
      (Move/put ~bits ~'segment ~'offset ~'source nil nil))
     ([~'segment ~'offset ~'source ~'index ~'count]
      (Move/put ~bits ~'segment ~'offset ~'source (args/given ~'index) (args/given ~'count)))))

(defn- get-elements [{:keys [bits array new] :as e}]
  `(defn ~(symbol (str "get" bits))
     ~(access/text
       (str "Reads " bits "-bit elements of an import segment from offset on, " (place e) ", and returns
             what they are in: a new " new " array, if target is how many, or the target itself, " array
            " or memory." (swapping e) pieces)
       "For mapping, barriers and errors see put!."
       (str "rsm_memseg_import_get" bits "(3RSM)."))
     ([~'segment ~'offset ~'target]
      (Move/get ~bits ~'segment ~'offset ~'target nil nil))
     ([~'segment ~'offset ~'target ~'index ~'count]
      (Move/get ~bits ~'segment ~'offset ~'target (args/given ~'index) (args/given ~'count)))))

(defmacro def-transfers
  "Defines put8! get8 and so on in the current namespace."
  []
  `(do ~@(mapcat (juxt put get-elements) elements)))
