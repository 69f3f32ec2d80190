(ns rsmapi.fingerprint-test
  "What tells gateways that data need not be sent: as doc/protocol.md defines it, and different for different data."
  (:require [clojure.test :refer [deftest is]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop])
  (:import (org.rsmapi.mem Engine Fingerprint Stage)))

(set! *warn-on-reflection* true)

(def ^:private ^Engine engine Engine/ENGINE)

(defn- fingerprint [words s t]
  (with-open [stage (Stage/take)]
    (doseq [[i w] (map-indexed vector words)]
      (.putLong engine (+ (.address stage) (* 8 (long i))) w))
    (let [f (Fingerprint/of (.address stage) (* 8 (count words)) s t)]
      [(.first f) (.second f)])))

(defn- folded [x y]
  (let [product (* (biginteger x) (biginteger y))]
    (bit-xor (.longValue (.shiftRight (biginteger product) 64)) (.longValue (biginteger product)))))

(defn- by-definition [words s t]
  (let [p 0x6A09E667F3BCC909
        q (unchecked-long 0xBB67AE8584CAA73B)
        n (* 8 (count words))
        [a b] (reduce (fn [[a b] [w v]]
                        (if v
                          [(unchecked-add (long (folded (bit-xor a w) (bit-xor v t))) (long w))
                           (unchecked-add (long (folded (bit-xor b v) (bit-xor w s p))) (long v))]
                          [(unchecked-add (long (folded (bit-xor a w) t)) (long w))
                           (unchecked-add (long (folded (bit-xor b w) (bit-xor s p))) (long w))]))
                      [(bit-xor s n) (bit-xor t n)]
                      (partition-all 2 words))]
    [(folded (bit-xor a q) (bit-xor b s)) (folded (bit-xor b p) (bit-xor a t q))]))

(def ^:private any-long (gen/one-of [gen/large-integer (gen/elements [0 -1 1 Long/MIN_VALUE Long/MAX_VALUE])]))

(defn- passes! [n property]
  (let [result (tc/quick-check n property)]
    (is (true? (:pass? result)) (pr-str (select-keys result [:seed :shrunk])))))

(deftest as-defined
  (passes! 500 (prop/for-all [words (gen/vector any-long 0 20), s any-long, t any-long]
                 (= (by-definition words s t) (fingerprint words s t)))))

(deftest different-for-different-data
  (passes! 500 (prop/for-all [words (gen/vector any-long 1 20), s gen/large-integer, t gen/large-integer
                              at gen/nat, bit (gen/choose 0 63)]
                 (let [at (mod at (count words))
                       other (update words at bit-flip bit)]
                   (and (= (fingerprint words s t) (fingerprint words s t))
                        (not= (fingerprint words s t) (fingerprint other s t))
                        (not= (fingerprint words s t) (fingerprint (conj words 0) s t))))))
  (let [random (java.util.Random. 1)
        s (.nextLong random)
        t (.nextLong random)]
    ;; pages that differ in one word: no two fingerprints are the same, nor any half of two
    (let [all (for [i (range 512), v (range 8)] (fingerprint (assoc (vec (repeat 512 0)) i v) s t))]
      (is (= (inc (* 512 7)) (count (set (map first all))) (count (set (map second all))))))))
