(ns rsmapi.test.segment
  "A segment that this process exports and imports."
  (:require [rsmapi.core :as rsm]))

(set! *warn-on-reflection* true)

(defmacro with-segment
  "Evaluates body with a controller bound to c, an export segment to ex, and an import segment of it
  to im; _ leaves one out. Options are those of create! (the default size is four pages), and
  :connect, those of connect!."
  [[c ex im opts] & body]
  (let [[c ex im] (map #(if (= '_ %) (gensym "unused") %) [c ex im])]
    `(let [opts# ~opts]
       (rsm/with-controller [~c "loopback"]
         (rsm/with-exported-segment [~ex ~c (merge {:size (* 4 (long (rsm/page-size)))} (dissoc opts# :connect))]
           (rsm/with-imported-segment [~im ~c (merge {:segment-id (rsm/segment-id ~ex)} (:connect opts#))]
             ~@body))))))
