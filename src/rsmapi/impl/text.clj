(ns rsmapi.impl.text
  "Text that is the same in every locale."
  (:import (java.util Locale)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn upper-case ^String [^String s]
  (.toUpperCase s Locale/ROOT))

(defn lower-case ^String [^String s]
  (.toLowerCase s Locale/ROOT))

(defn hex
  "A number as at least so many hexadecimal digits."
  ^String [^long n ^long digits]
  (let [text (Long/toHexString n)]
    (str (.repeat "0" (int (max 0 (- digits (count text))))) text)))

(defn padded
  "The text, with spaces up to a width."
  ^String [text ^long width]
  (let [text (str text)]
    (str text (.repeat " " (int (max 0 (- width (count text))))))))
