(ns rsmapi.impl.command.look
  "The commands that look: ls, stat, dump, errors."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.string :as str]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.command.common :refer [bad-argument connected layout-for layout-of]]
            [rsmapi.impl.hexdump :as hexdump]
            [rsmapi.impl.show :as show]
            [rsmapi.impl.text :as text]
            [rsmapi.inspect :as inspect]
            [rsmapi.layout :as layout])
  (:import (org.rsmapi RsmError)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------ ls and stat

(defn ls
  "Lists the published segments."
  [{:keys [node]} style]
  (let [found (inspect/segments {:node node})]
    (if (:edn style)
      (show/print-edn found)
      (show/table style ["SEGMENT" "NODE" "UID" "PID"]
                  (for [{:keys [segment-id node uid pid]} found]
                    [(show/id-text segment-id) node uid pid])))
    found))

(defn stat
  "Tells what connecting to a segment tells."
  [opts style]
  (connected
   opts "stat" [:rdwr :read :write]
   (fn [im]
     (let [data (assoc (select-keys (datafy im) [:controller :node :segment-id :size :perm :exporter :byte-order])
                       :layout (some-> (layout/of im) layout/describe))]
       (if (:edn style)
         (show/print-edn data)
         (show/facts style [["segment" (show/id-text (:segment-id data))]
                            ["controller" (:controller data)]
                            ["node" (:node data)]
                            ["size" (str (:size data) " bytes")]
                            ["permission" (name (:perm data))]
                            ["pid" (get-in data [:exporter :pid])]
                            ["uid" (get-in data [:exporter :uid])]
                            ["byte order" (name (:byte-order data))]
                            ["fields" (some->> data :layout :fields (map (comp name :name)) (str/join " "))]]))
       data))))

;; ------------------------------------------------------------------- dump

(defn- print-fields [style value]
  (if (:edn style)
    (show/print-edn {:value value})
    (do (println)
        (show/facts style (for [[path value] (show/leaves value)]
                            [(show/path-text path) value])))))

(defn dump
  "Prints bytes of a segment, and with a layout its fields."
  [{:keys [offset length layout] :as opts} style]
  (let [op     "dump"
        layout (layout-of layout op)
        offset (args/integer offset 0 RsmError/BAD_OFFSET [op "offset"])]
    (connected
     opts op [:read]
     (fn [im]
       (rsm/with-mapped-segment [m im {:perm :read}]
         (let [layout  (layout-for layout im op)
               view    (when layout (layout/view m layout offset))
               whole   (if layout (layout/size-of layout) (max 0 (- (long (rsm/size m)) (max 0 offset))))
               length  (args/integer length whole RsmError/BAD_LENGTH [op "length"])
               request (hexdump/request m (cond-> {:offset offset :length length}
                                            layout (assoc :layout layout :at offset))
                                        op)]
           (when (:edn style)
             (println "["))
           (doseq [line (hexdump/lines request)]
             (if (:edn style)
               (show/print-edn line)
               (println (show/printable (hexdump/text line request)))))
           (when view
             (print-fields style @view))
           (when (:edn style)
             (println "]"))
           {:segment-id (rsm/segment-id im) :offset offset :length length}))))))

;; ----------------------------------------------------------------- errors

(defn- error-named
  "The error of a number, a keyword or a name, or of a text of those; nil if there is none."
  [x]
  (if (string? x)
    (or (when (re-matches #"\d{1,9}" x) (error/lookup (parse-long x)))
        (error/lookup (text/upper-case x))
        (error/lookup (keyword "rsm" (-> (text/lower-case x) (str/replace #"^:?(rsm/)?" "")))))
    (error/lookup x)))

(defn errors
  "Prints the errors, or one of them."
  [{:keys [code]} style]
  (let [found (when (some? code)
                (or (error-named code)
                    (throw (bad-argument "errors" "code" "give a number such as 18, or a name such as bad-offset or RSMERR_BAD_OFFSET"
                                         :code code))))]
    (cond
      (:edn style) (show/print-edn (or found error/table))
      found        (show/facts style [["error" (:rsm/error found)]
                                      ["name" (:rsm/name found)]
                                      ["code" (:rsm/code found)]
                                      ["meaning" (:rsm/meaning found)]
                                      ["category" (name (:cognitect.anomalies/category found))]
                                      ["retriable" (if (:rsm/retriable? found) "yes" "no")]])
      :else        (show/table style ["CODE" "ERROR" "MEANING"]
                               (map (juxt :rsm/code (comp name :rsm/error) :rsm/meaning) error/table)))
    (or found error/table)))
