(ns rsmapi.test.ids
  "Segment ids for tests. All runs on a machine share its ids, so a test does not name one.")

(set! *warn-on-reflection* true)

(defn fresh-id
  "An id that no other run is likely to have; nor the next 127 ids."
  []
  (+ 0x600000 (* 128 (long (rand-int 0xF00000)))))
