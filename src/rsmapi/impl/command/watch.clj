(ns rsmapi.impl.command.watch
  "The command watch."
  (:require [clojure.string :as str]
            [rsmapi.core :as rsm]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.command.common :refer [at-least connected layout-for layout-of]]
            [rsmapi.impl.show :as show]
            [rsmapi.impl.text :as text]
            [rsmapi.layout :as layout])
  (:import (java.time Instant)
           (java.time.temporal ChronoUnit)
           (org.rsmapi RsmError RsmException)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def default-interval-ms 500)
(def default-length "In bytes." 256)

(def ^:private width "Bytes on a line." 16)

(defn- now []
  (str (.truncatedTo (Instant/now) ChronoUnit/MILLIS)))

(defn- runs
  "The ranges of indices, as [from to], at which two arrays of the same length differ."
  [^bytes a ^bytes b]
  (loop [i 0, start -1, found []]
    (cond
      (= i (alength a))         (if (neg? start) found (conj found [start i]))
      (= (aget a i) (aget b i)) (recur (inc i) -1 (if (neg? start) found (conj found [start i])))
      :else                     (recur (inc i) (if (neg? start) i start) found))))

(defn- piece [^bytes a from to]
  (show/hex (java.util.Arrays/copyOfRange a (int from) (int to)) ""))

(defn- watched-bytes
  "What watch does for bytes: how to read them, what has changed, and how to show it."
  [m offset length style]
  {:range {:offset offset :length length}
   :read-all #(rsm/get-bytes m offset length)
   :find-changes (fn [^bytes before ^bytes after]
              (if before
                (for [[from to] (runs before after)]
                  {:offset (+ (long offset) (long from))
                   :old (piece before from to)
                   :new (piece after from to)})
                [{:offset offset :new (piece after 0 (alength after))}]))
   :lines (fn [^bytes after changes]
            (let [changed (into #{} (mapcat (fn [{:keys [offset old new]}]
                                              (when old
                                                (range offset (+ (long offset) (quot (count new) 2))))))
                                changes)]
              (map-indexed (fn [i row]
                             (show/dump-line style (+ (long offset) (* (long width) (long i))) row width
                                             #(contains? changed %)))
                           (partition-all width after))))
   :text (fn [{:keys [offset old new]}]
           (str (text/hex offset 8) "  " (when old (str old " -> ")) new))})

(defn- same? [a b]
  ;; not =, for which NaN is not NaN
  (if (nil? a) (nil? b) (or (= a b) (.equals ^Object a b))))

(defn- watched-fields
  "What watch does for the fields of a layout, of which there are always the same."
  [m layout offset style]
  (let [view (layout/view m layout offset)]
    {:range {:offset offset :length (layout/size-of layout)}
     :read-all #(show/leaves (deref view))
     :find-changes (fn [before after]
                (if before
                  (keep (fn [[[path old] [_ new]]]
                          (when-not (same? old new)
                            {:field path :old old :new new}))
                        (map vector before after))
                  (map (fn [[path value]] {:field path :new value}) after)))
     :lines (fn [after changes]
              (let [changed (into #{} (keep #(when (contains? % :old) (:field %))) changes)
                    width   (apply max 0 (map (comp count show/path-text first) after))]
                (for [[path value] after
                      :let [shown (show/value-text value)
                            name (show/path-text path)]]
                  (str (text/padded name width) "  "
                       (if (changed path) (show/paint style :changed shown) shown)))))
     :text (fn [{:keys [field new] :as change}]
             (str (show/path-text field) "  "
                  (when (contains? change :old) (str (show/value-text (:old change)) " -> "))
                  (show/value-text new)))}))

(defn- ended [im]
  (args/failure RsmError/CONN_ABORTED "watch" :segment-id (rsm/segment-id im)
                :hint "the exporter has unpublished the segment, has ended, or cannot be reached"))

(defn- pause [^long ms op]
  (try
    (Thread/sleep ms)
    (catch InterruptedException _
      (.interrupt (Thread/currentThread))
      (throw (args/failure RsmError/INTERRUPTED op)))))

;; Each look at the memory is shown by a function of what was read, what has changed, and how many
;; changes there were until now.

(defn- line-teller
  "Prints a line for each change, or a map of EDN."
  [style {:keys [text]}]
  (fn [_after found _n]
    (let [time (now)]
      (doseq [change found]
        (if (:edn style)
          (show/print-edn (assoc change :time time))
          (println time "" (text change))))
      (flush))))

(defn- redrawer
  "Draws everything again when something has changed, and once more after that, without marks."
  [style {:keys [lines]} title]
  (let [drawn  (volatile! 0)
        marked (volatile! false)]
    (fn [after found n]
      (when (or (seq found) @marked)
        (let [lines (cons (title n) (lines after found))]
          (show/redraw style @drawn lines)
          (vreset! drawn (count lines))
          (vreset! marked (boolean (some #(contains? % :old) found))))))))

(defn- bring-in!
  "Has a mapping show what the exporter has."
  [im watched]
  (when (= :mirrored (:memory (rsm/capabilities im)))
    (try
      (rsm/pull! (rsm/mapping im) (:range watched))
      (catch RsmException e
        (when-not (rsm/aborted? im)
          (throw e))))))

(defn- follow
  "Looks again and again, until there were so many changes (nil: without end)."
  [im {:keys [read-all find-changes] :as watched} show interval limit]
  (loop [before nil, n 0]
    (let [after (do (bring-in! im watched)
                    (read-all))
          _     (when (rsm/aborted? im) ; what was read after that is zeros
                  (throw (ended im)))
          found (find-changes before after)
          n     (if before (+ n (count found)) n)]
      (show after found n)
      (if (and limit (<= (long limit) n))
        {:segment-id (rsm/segment-id im) :changes n}
        (do (pause interval "watch")
            (recur after n))))))

(defn watch
  "Prints what changes in a segment."
  [{:keys [offset length layout interval-ms changes] :as opts} style]
  (let [op       "watch"
        interval (at-least interval-ms 1 [op "interval-ms" default-interval-ms])
        limit    (when (some? changes) (at-least changes 1 [op "changes" nil]))
        layout   (layout-of layout op)
        offset   (args/integer offset 0 RsmError/BAD_OFFSET [op "offset"])]
    (connected
     opts op [:read]
     (fn [im]
       (rsm/with-mapped-segment [m im {:perm :read}]
         (let [layout  (layout-for layout im op)
               rest    (max 0 (- (long (rsm/size m)) (max 0 offset)))
               length  (args/integer length (min (long default-length) rest) RsmError/BAD_LENGTH [op "length"])
               watched (if layout (watched-fields m layout offset style) (watched-bytes m offset length style))
               title   (fn [n]
                         (str (show/id-text (rsm/segment-id im)) ", every " interval " ms, "
                              n (when limit (str " of " limit)) " changes, " (now)))
               show    (if (and (:terminal style) (not (:edn style)))
                         (redrawer style watched title)
                         (line-teller style watched))]
           (follow im watched show interval limit)))))))
