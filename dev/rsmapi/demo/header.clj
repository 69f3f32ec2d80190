(ns rsmapi.demo.header
  "What both sides of the demo know of the segment: a page with a header, then the bytes.

    offset  type
         0  long   magic
         8  long   how many bytes follow the header; the segment has whole pages
        16  long   their CRC32C"
  (:require [rsmapi.core :as rsm]))

(set! *warn-on-reflection* true)

(def magic 0x52534d44454d4f31) ; RSMDEMO1

(defn size
  "Of the header, in bytes: a page, so that what follows can be mapped by itself."
  []
  (rsm/page-size))

(defn put!
  "Writes the header. A reader that finds the magic finds all that was written before it."
  [segment {:keys [length crc]}]
  (rsm/put-long! segment 8 length)
  (rsm/put-long! segment 16 crc)
  (rsm/put-long-release! segment 0 magic))

(defn look
  "The header as a map."
  [m]
  {:magic (rsm/get-long-acquire m 0)
   :length (rsm/get-long m 8)
   :crc (rsm/get-long m 16)})
