(ns rsmapi.test.files
  "Folders of tests. Without anything that a small Java runtime does not have: children load it."
  (:import (java.io File)))

(set! *warn-on-reflection* true)

(defn delete-tree!
  "Deletes a file, or a folder with all that is in it."
  [^File root]
  (run! #(.delete ^File %) (reverse (file-seq root))))
