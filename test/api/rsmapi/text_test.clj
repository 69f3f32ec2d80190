(ns rsmapi.text-test
  "Strings in memory: get-text and put-text!."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.test.check.clojure-test :refer [defspec]]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.outcome :refer [failure outcome]]
            [rsmapi.test.segment :refer [with-segment]])
  (:import (java.nio.charset Charset StandardCharsets)
           (org.rsmapi LocalMemory)))

(set! *warn-on-reflection* true)

(def ^:private size 4096)

(defn- bytes-at [m offset n]
  (vec (rsm/get-bytes m offset n)))

(deftest text-is-read-up-to-the-first-nul
  (rsm/with-local-memory [m size]
    (is (= 7 (rsm/put-text! m 10 "grüße")) "its bytes")
    (is (= "grüße" (rsm/get-text m 10 7) (rsm/get-text m 10 100)))
    (is (= "" (rsm/get-text m 0 8) (rsm/get-text m 0 0)))
    (is (= "grüße\u0000" (rsm/get-text m 10 8 :keep-nul true)))
    (testing "what is behind the NUL does not matter"
      (rsm/put-bytes! m 0 (byte-array [65 0 -1 -2 -128]))
      (is (= "A" (rsm/get-text m 0 5)))
      (is (= :rsm/bad-args-errors (failure (rsm/get-text m 0 5 :keep-nul true)))))
    (testing "also at the end of a piece that is decoded at once"
      (with-open [m ^LocalMemory (rsm/allocate! 100000)]
        (doseq [n [8191 8192 8193 8207 8208 8209 16384 99999]]
          (rsm/fill! m 0 100000 -1)
          (rsm/put-text! m 0 (apply str (repeat n "a")) :length (inc (long n)))
          (is (= n (count (rsm/get-text m 0 100000)))))))))

(deftest a-fixed-length-is-filled-up
  (rsm/with-local-memory [m size]
    (rsm/fill! m 0 size 1)
    (is (= 3 (rsm/put-text! m 2 "abc" :length 6)))
    (is (= [1 1 97 98 99 0 0 0 1] (bytes-at m 0 9)))
    (is (= 6 (rsm/put-text! m 2 "abcdef" {:length 6})))
    (is (= [1 1 97 98 99 100 101 102 1] (bytes-at m 0 9)))
    (is (= "abcdef" (rsm/get-text m 2 6)))
    (is (= 0 (rsm/put-text! m 2 "" :length 6) (rsm/put-text! m 2 "" :length 0)))
    (is (= "" (rsm/get-text m 2 6)))
    (testing "what does not fit is not written in part"
      (rsm/put-text! m 0 "abcdefgh")
      (is (= {:rsm/error :rsm/bad-length :rsm/op :put-text :rsm/length 5 :rsm/needed 6}
             (select-keys (error/catching (rsm/put-text! m 0 "xxxxü" :length 5)) [:rsm/error :rsm/op :rsm/length :rsm/needed])))
      (is (= :rsm/bad-length (failure (rsm/put-text! m 0 "" :length -1))))
      (is (= :rsm/bad-offset (failure (rsm/put-text! m (- (long size) 2) "xyz"))))
      (is (= :rsm/bad-offset (failure (rsm/put-text! m (- (long size) 4) "x" :length 5))))
      (is (= :rsm/bad-offset (failure (rsm/put-text! m 0 "x" :length Long/MAX_VALUE))))
      (is (= :rsm/bad-offset (failure (rsm/put-text! m -1 "x" :length 5))))
      (is (= "abcdefgh" (rsm/get-text m 0 8)))
      (is (every? #{1} (bytes-at m 8 (- (long size) 8)))))))

(deftest charsets
  (rsm/with-local-memory [m size]
    (doseq [[charset bytes] {:us-ascii [97 98], "ISO-8859-1" [97 98], StandardCharsets/UTF_8 [97 98], nil [97 98]
                             :utf-16le [97 0 98 0], :utf-16be [0 97 0 98], :utf-16 [-2 -1 0 97 0 98]
                             :utf-32be [0 0 0 97 0 0 0 98]}]
      (rsm/fill! m 0 size -1)
      (is (= (count bytes) (rsm/put-text! m 0 "ab" :charset charset :length 21)))
      (is (= bytes (bytes-at m 0 (count bytes))) (str charset))
      (doseq [n [(count bytes) 20 21]]
        (is (= "ab" (rsm/get-text m 0 n :charset charset)) (str charset n))))
    (testing "which are none, or cannot be used"
      (doseq [charset [:utf-9 :no/charset "" "utf 8" 8 [] (keyword "a b") (range)
                       (proxy [Charset] ["x-hostile" nil]
                         (newDecoder [] (throw (IllegalStateException. "mine")))
                         (newEncoder [] (throw (UnsupportedOperationException. "mine"))))]
              call [#(rsm/get-text m 0 8 :charset %) #(rsm/put-text! m 0 "a" :charset %)]]
        (let [e (error/catching (call charset))]
          (is (= [:rsm/bad-args-errors "charset"] [(:rsm/error e) (:rsm/argument e)])))))))

(deftest characters-that-the-charset-does-not-have
  (rsm/with-local-memory [m size]
    (let [told (fn [text & opts]
                 (select-keys (error/catching (apply rsm/put-text! m 0 text opts))
                              [:rsm/error :rsm/op :rsm/index :rsm/character :rsm/charset]))]
      (is (= {:rsm/error :rsm/bad-args-errors :rsm/op :put-text :rsm/index 2 :rsm/character "U+00FC" :rsm/charset "US-ASCII"}
             (told "grün" :charset :us-ascii)))
      (is (= [9000 "U+1F600"] ((juxt :rsm/index :rsm/character)
                               (told (str (apply str (repeat 9000 "a")) "\ud83d\ude00") :charset :iso-8859-1))))
      (testing "half a character"
        (is (= [1 "U+D83D"] ((juxt :rsm/index :rsm/character) (told "a\ud83d"))))
        (is (= [0 "U+DE00"] ((juxt :rsm/index :rsm/character) (told "\ude00a")))))
      (is (= (repeat 8 0) (bytes-at m 0 8)) "nothing is written"))))

(deftest bytes-that-are-no-text
  (rsm/with-local-memory [m size]
    (rsm/put-bytes! m 100 (byte-array [97 98 -61 40 99]))
    (is (= {:rsm/error :rsm/bad-args-errors :rsm/op :get-text :rsm/offset 102 :rsm/charset "UTF-8"}
           (select-keys (error/catching (rsm/get-text m 100 8)) [:rsm/error :rsm/op :rsm/offset :rsm/charset])))
    (is (= "ab\ufffd(c" (rsm/get-text m 100 8 :malformed :replace)))
    (is (= :rsm/bad-args-errors (failure (rsm/get-text m 100 8 :malformed :error))))
    (rsm/put-text! m 200 "ü")
    (is (= "\ufffd\ufffd" (rsm/get-text m 200 8 {:charset :us-ascii :malformed :replace})))
    (testing "half a character at the end"
      (rsm/put-text! m 0 "grü")
      (is (= [:rsm/bad-args-errors 2] ((juxt :rsm/error :rsm/offset) (error/catching (rsm/get-text m 0 3)))))
      (is (= "gr\ufffd" (rsm/get-text m 0 3 :malformed :replace))))
    (testing "the position in a long text"
      (with-open [m ^LocalMemory (rsm/allocate! 40000)]
        (rsm/fill! m 0 40000 97)
        (rsm/put-byte! m 33333 -1)
        (is (= 33333 (:rsm/offset (error/catching (rsm/get-text m 0 40000)))))
        (is (= 33233 (- (long (:rsm/offset (error/catching (rsm/get-text m 100 39900)))) 100)))))))

(deftest wrong-arguments
  (rsm/with-local-memory [m size]
    (doseq [[expected result] [[:rsm/bad-seg-hndl (failure (rsm/get-text nil 0 1))]
                               [:rsm/bad-seg-hndl (failure (rsm/put-text! "m" 0 "a"))]
                               [:rsm/bad-offset (failure (rsm/get-text m "0" 1))]
                               [:rsm/bad-offset (failure (rsm/put-text! m nil "a"))]
                               [:rsm/bad-offset (failure (rsm/get-text m (inc (long size)) 0))]
                               [:rsm/bad-offset (failure (rsm/get-text m 1 size))]
                               [:rsm/bad-length (failure (rsm/get-text m 0 -1))]
                               [:rsm/bad-length (failure (rsm/get-text m 0 1.5))]
                               [:rsm/bad-args-errors (failure (rsm/put-text! m 0 nil))]
                               [:rsm/bad-args-errors (failure (rsm/put-text! m 0 :text))]
                               [:rsm/bad-args-errors (failure (rsm/put-text! m 0 (StringBuilder. "a")))]
                               [:rsm/bad-args-errors (failure (rsm/get-text m 0 1 :malformed :ignore))]
                               [:rsm/bad-args-errors (failure (rsm/get-text m 0 1 :keep-nul 1))]
                               [:rsm/bad-args-errors (failure (rsm/get-text m 0 1 :length 1))]
                               [:rsm/bad-args-errors (failure (rsm/put-text! m 0 "a" :pad true))]
                               [:rsm/bad-length (failure (rsm/put-text! m 0 "a" :length "1"))]]]
      (is (= expected result)))
    (rsm/free! m)
    (is (= [:rsm/bad-addr :rsm/bad-addr] [(failure (rsm/get-text m 0 1)) (failure (rsm/put-text! m 0 "a" :length 8))]))))

(deftest permissions-and-revocation
  (with-segment [_ ex im]
    (rsm/with-mapped-segment [m im :perm :write]
      (is (= 2 (rsm/put-text! m 0 "ab" :length 8)) "needs no permission to read")
      (is (= :rsm/perm-denied (failure (rsm/get-text m 0 2)))))
    (rsm/with-mapped-segment [m im :perm :read]
      (is (= "ab" (rsm/get-text m 0 100)))
      (is (= :rsm/perm-denied (failure (rsm/put-text! m 0 "x"))))
      (is (= :rsm/perm-denied (failure (rsm/put-text! m 0 "x" :length 4))))
      (rsm/unpublish! ex)
      (is (= :rsm/conn-aborted (failure (rsm/get-text m 0 2)))))
    (is (= "ab" (rsm/get-text ex 0 8)))))

(defspec text-comes-back 200
  (prop/for-all [text (gen/fmap #(apply str %) (gen/vector (gen/frequency [[8 gen/char-alpha]
                                                                          [2 (gen/fmap char (gen/choose 1 0xd7ff))]
                                                                          [1 (gen/return "\ud83d\ude00")]])
                                                           0 40))
                 charset (gen/elements [:utf-8 :utf-16le :utf-16 :utf-32be])
                 offset (gen/choose 0 100)
                 room (gen/choose 0 400)]
    (rsm/with-local-memory [m size]
      (rsm/fill! m 0 size 7)
      (let [encoded (.getBytes ^String text (Charset/forName (name charset)))
            n (alength encoded)
            result (outcome (rsm/put-text! m offset text :charset charset :length room))]
        (if (<= n room)
          (and (= n result)
               (= (concat encoded (repeat (- room n) 0) [7]) (bytes-at m offset (inc room)))
               (= text (rsm/get-text m offset room :charset charset)))
          (and (= :rsm/bad-length result)
               (every? #{7} (bytes-at m 0 size))))))))
