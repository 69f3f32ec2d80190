(ns rsmapi.mirror-test
  "Import segments whose exporter's memory is not shared: mirrored mappings, their barriers, put and get, and
  atomic access. The exporter's side is rsmapi.test.far."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.test.far :as far]
            [rsmapi.test.outcome :refer [failure outcome]]
            [rsmapi.test.runner :as runner]
            [rsmapi.test.segment :refer [with-segment]])
  (:import (java.nio ByteBuffer ByteOrder)
           (java.util.concurrent CountDownLatch)
           (org.rsmapi ImportSegment)))

(set! *warn-on-reflection* true)

(def ^:private page (long (rsm/page-size)))

(defmacro ^:private with-far
  "Binds sym to a segment of four pages, and im to an import segment of it."
  [[sym im opts connect-opts] & body]
  `(let [~sym (far/segment (merge {:size (* 4 page)} ~opts))]
     (far/with-controller* ~sym
       (fn [c#]
         (rsm/with-imported-segment [~im c# (merge {:segment-id 0x600001} ~connect-opts)]
           ~@body)))))

(defn- number-in [{:keys [^bytes bytes byte-order]} offset]
  (locking bytes
    (.getLong (.order (ByteBuffer/wrap bytes) byte-order) (int offset))))

(defn- set-in! [{:keys [^bytes bytes byte-order]} offset value]
  (locking bytes
    (.putLong (.order (ByteBuffer/wrap bytes) byte-order) (int offset) (long value))))

(defn- asked
  "What the connections were asked for since the last time."
  [{:keys [asked]}]
  (first (reset-vals! asked [])))

(defn- puts [segment]
  (filterv #(= :put (first %)) (asked segment)))

(defn- fail! [{:keys [fail]} & ops]
  (reset! fail (zipmap ops (repeat far/no-answer!))))

;; --------------------------------------------------------------- mappings

(deftest a-mapping-is-a-copy
  (with-far [s im]
    (is (= {:memory :mirrored :atomic-sizes [4 8] :access-control :enforced :encrypted? true :via "far"}
           (rsm/capabilities im)))
    (set-in! s 0 1)
    (set-in! s (* 3 page) 4)
    (rsm/with-mapped-segment [m im]
      (is (= (rsm/capabilities im) (rsm/capabilities m)))
      (is (= [1 4] (map #(rsm/get-long m %) [0 (* 3 page)])) "it is filled when it is made")
      (set-in! s 0 2)
      (is (= 1 (rsm/get-long m 0)))
      (rsm/put-long! m 8 7)
      (is (= 0 (number-in s 8)))
      (rsm/with-barrier [_ im]
        (is (= [2 7] (map #(rsm/get-long m %) [0 8])) "what was changed here stays")
        (rsm/put-long! m 16 9)
        (is (= 0 (number-in s 16))))
      (is (= [2 7 9] (map #(number-in s %) [0 8 16]))))))

(deftest windows
  (with-far [s im]
    (set-in! s page 5)
    (rsm/with-mapped-segment [m im :offset page :length 100 :perm :read]
      (is (= 5 (rsm/get-long m 0)))
      (is (= 100 (rsm/size m)))
      (is (= :rsm/bad-offset (failure (rsm/get-long m 96))))
      (is (= :rsm/perm-denied (failure (rsm/put-long! m 0 1))))
      (is (= :rsm/seg-already-mapped (failure (rsm/map! im))))
      (is (= :rsm/seg-still-mapped (failure (rsm/disconnect! im)))))
    (is (= [[:get page page]] (filterv #(= :get (first %)) (asked s))))
    (rsm/with-mapped-segment [m im :offset page :length 100 :perm :write]
      (is (= :rsm/perm-denied (failure (rsm/get-long m 0))))
      (rsm/put-long! m 8 6))
    (is (= [5 6] (map #(number-in s %) [page (+ 8 page)])) "a write-only mapping sends what was written, too")
    (doseq [[error opts] {:rsm/bad-perms {:perm 0} :rsm/bad-length {:length 0} :rsm/bad-offset {:offset -1}
                          :rsm/bad-mem-alignment {:offset 1 :length 1}
                          :rsm/insufficient-resources {:huge-pages true :offset 0 :length (* 4 page)}}]
      (let [found (failure (rsm/map! im opts))]
        (is (or (= error found)
                (and (= error :rsm/insufficient-resources) (= :rsm/bad-mem-alignment found))))))))

(deftest places
  (with-far [s im]
    (set-in! s 0 5)
    (rsm/with-local-memory [own (* 4 page)]
      (rsm/fill! own 0 (* 4 page) 1)
      (let [m (rsm/map! im :over own :at page :length page :perm :read)]
        (is (= (+ page (long (rsm/address own))) (rsm/address m)))
        (is (= 5 (rsm/get-long own page)))
        (is (= :rsm/perm-denied (failure (rsm/put-long! own page 1))))
        (is (= 0x0101010101010101 (rsm/get-long own 0) (rsm/get-long own (* 2 page))))
        (rsm/unmap! m)
        (is (= 0 (rsm/get-long own page)))
        (rsm/put-long! own page 1)))
    (let [address (rsm/with-local-memory [own (* 4 page)] (rsm/address own))]
      (rsm/with-local-memory [own page]
        (let [e (error/catching (rsm/map! im :attr :fixed :address (rsm/address own)))]
          (is (= :rsm/bad-length (:rsm/error e)))
          (is (seq (:rsm/occupied-by e)))))
      (is (contains? #{address :rsm/bad-length} (outcome (rsm/with-mapped-segment [m im :attr :fixed :address address]
                                                           (rsm/address m))))))
    (rsm/with-mapped-segment [m im :prefault true :lock true :length page]
      (is (= 5 (rsm/get-long m 0))))))

(deftest a-connection-that-may-not-read
  (with-far [s im {} {:perm :write}]
    (let [e (error/catching (rsm/map! im :perm :write))]
      (is (= :rsm/bad-perms (:rsm/error e)))
      (is (.contains ^String (:rsm/hint e) "connect with 0600")))
    (is (= (error/catching (rsm/map! im :perm :write)) (rsm/check-map im :perm :write)))
    (rsm/put! im 0 (byte-array [1]))
    (is (= 1 (aget ^bytes (:bytes s) 0)))
    (is (= :rsm/perm-denied (failure (rsm/get! im 0 (byte-array 1)))))))

;; --------------------------------------------------- what is sent, and when

(deftest changed-words-are-sent
  (with-far [s im]
    (rsm/with-mapped-segment [m im]
      (asked s)
      (doseq [at [3 8 17 100 (dec (* 4 page))]]
        (rsm/put-byte! m at 1))
      (rsm/push! m)
      (is (= [[:put 0 24] [:put 96 8] [:put (- (* 4 page) 8) 8]] (puts s)))
      (rsm/push! m)
      (is (= [] (puts s)))
      (rsm/put-byte! m 3 1)
      (rsm/push! m)
      (is (= [] (puts s)) "the same value")
      (testing "parts"
        (rsm/fill! m 0 64 2)
        (rsm/push! m :offset 9 :length 10)
        (is (= [[:put 8 16]] (puts s)))
        (rsm/push! m :offset 32)
        (is (= [[:put 32 32]] (puts s)))
        (rsm/push! m :offset 0 :length 0)
        (is (= [] (puts s)))
        (set-in! s 200 1)
        (set-in! s 208 1)
        (rsm/pull! m :offset 200 :length 1)
        (is (= [1 0] (map #(rsm/get-long m %) [200 208])))))
    (is (= [[:put 0 8] [:put 24 8]] (puts s)) "unmap! sends what is left")))

(deftest two-importers-of-one-page
  (let [s (far/segment {:size page})]
    (far/with-controller* s
      (fn [c]
        (rsm/with-imported-segment [a c :segment-id 1]
          (rsm/with-imported-segment [b c :segment-id 1]
            (rsm/with-mapped-segment [ma a]
              (rsm/with-mapped-segment [mb b]
                (rsm/put-long! ma 0 1)
                (rsm/put-long! mb 8 2)
                (set-in! s 16 3)
                (rsm/push! ma)
                (rsm/push! mb)
                (is (= [1 2 3] (map #(number-in s %) [0 8 16])))
                (doseq [m [ma mb]]
                  (rsm/pull! m)
                  (is (= [1 2 3] (map #(rsm/get-long m %) [0 8 16]))))))))))))

(deftest barriers-on-a-mirror
  (with-far [s im]
    (let [m (rsm/map! im)
          b (rsm/init-barrier! im)]
      (asked s)
      (rsm/open-barrier! b)
      (is (= [[:open] [:get 0 (* 4 page)]] (asked s)))
      (rsm/put-long! m 0 1)
      (rsm/order-barrier! b)
      (is (= [[:put 0 8] [:order]] (asked s)))
      (rsm/put-long! m 0 2)
      (rsm/close-barrier! b)
      (is (= [[:put 0 8] [:confirm]] (asked s)))
      (testing "unmapping while one is open"
        (rsm/open-barrier! b)
        (rsm/put-long! m 8 5)
        (rsm/unmap! m)
        (is (= 5 (number-in s 8)))
        (asked s)
        (rsm/close-barrier! b)
        (is (= [[:confirm]] (asked s))))
      (testing "without a mapping"
        (rsm/open-barrier! b)
        (rsm/order-barrier! b)
        (rsm/close-barrier! b)
        (is (= [[:open] [:order] [:confirm]] (asked s))))
      (is (= :rsm/barrier-not-opened (failure (rsm/close-barrier! b))))
      (is (= [] (asked s))))))

(deftest without-an-answer
  (with-far [s im]
    (let [m (rsm/map! im)
          b (rsm/init-barrier! im)
          fails (fn [f] (select-keys (error/catching (f)) [:rsm/error :rsm/op :rsm/node :rsm/segment-id]))
          failing (fn [error op] {:rsm/error error :rsm/op op :rsm/node 0 :rsm/segment-id 0x600001})]
      (testing "open"
        (fail! s :open)
        (is (= (failing :rsm/barrier-open-failed :open-barrier) (fails #(rsm/open-barrier! b))))
        (fail! s :get)
        (is (= :rsm/barrier-open-failed (failure (rsm/open-barrier! b))))
        (is (= :rsm/barrier-not-opened (failure (rsm/close-barrier! b))))
        (is (= (failing :rsm/barrier-failure :pull) (fails #(rsm/pull! m)))))
      (fail! s)
      (testing "close"
        (rsm/open-barrier! b)
        (rsm/put-long! m 0 1)
        (fail! s :confirm)
        (is (= (failing :rsm/barrier-failure :close-barrier) (fails #(rsm/close-barrier! b))))
        (is (= :rsm/barrier-not-opened (failure (rsm/close-barrier! b))))
        (fail! s)
        (set-in! s 0 99) ; as if it had not arrived
        (rsm/open-barrier! b)
        (is (= 1 (rsm/get-long m 0)) "it is not undone by what comes in")
        (rsm/put-long! m 0 1) ; the program repeats what it has done
        (rsm/close-barrier! b)
        (is (= 1 (number-in s 0)))
        (asked s)
        (rsm/push! m)
        (is (= [] (puts s)) "now it has arrived"))
      (testing "push"
        (rsm/put-long! m 8 2)
        (fail! s :put)
        (is (= (failing :rsm/barrier-failure :push) (fails #(rsm/push! m))))
        (is (= 0 (number-in s 8)))
        (fail! s)
        (rsm/push! m)
        (is (= 2 (number-in s 8))))
      (testing "unmap"
        (rsm/open-barrier! b)
        (rsm/put-long! m 8 3)
        (fail! s :put)
        (rsm/unmap! m)
        (is (= :rsm/seg-not-mapped (failure (rsm/get-long m 0))))
        (fail! s)
        (is (= (failing :rsm/barrier-failure :close-barrier) (fails #(rsm/close-barrier! b))))
        (rsm/open-barrier! b)
        (rsm/close-barrier! b))
      (testing "map"
        (fail! s :get)
        (is (= (failing :rsm/map-failed :import-map) (fails #(rsm/map! im))))
        (is (nil? (rsm/mapping im)))
        (fail! s)
        (is (= 2 (rsm/get-long (rsm/map! im) 8)))
        (rsm/unmap! im)))))

;; --------------------------------------------------------------- the end

(deftest revoked
  (with-far [s im]
    (let [m (rsm/map! im)
          b (rsm/init-barrier! im)]
      (rsm/open-barrier! b)
      (rsm/put-long! m 0 1)
      (far/revoke! s)
      (asked s)
      (is (= :rsm/conn-aborted (failure (rsm/get-long m 0))))
      (is (= [:rsm/conn-aborted :rsm/conn-aborted] [(failure (rsm/pull! m)) (failure (rsm/push! m))]))
      (is (= :rsm/conn-aborted (failure (rsm/map! (doto im rsm/unmap!)))))
      (is (nil? (rsm/order-barrier! b)))
      (is (= :rsm/conn-aborted (failure (rsm/close-barrier! b))))
      (is (nil? (rsm/open-barrier! b)))
      (is (= :rsm/conn-aborted (failure (rsm/put! im 0 (byte-array 1)))))
      (is (= :rsm/conn-aborted (failure (rsm/get-and-add-long! im 0 1))))
      (is (= [] (asked s)) "nothing was asked for")
      (is (= 0 (number-in s 0)))))
  (testing "in the middle of a call"
    (doseq [[op call] {:get #(rsm/pull! %2) :put #(rsm/push! %2) :confirm #(rsm/push! %2)
                       :compare-and-exchange (fn [im _] (rsm/compare-and-set-long! im 0 0 1))
                       :get-and-add (fn [im _] (rsm/get-and-add-int! im 0 1))}]
      (testing op
        (with-far [s im]
          (let [m (rsm/map! im)]
            (rsm/put-long! m 0 1)
            (reset! (:fail s) {op #(far/revoke! s)})
            (is (= :rsm/conn-aborted (failure (call im m))))
            (is (= :rsm/conn-aborted (failure (rsm/get-long m 0))))
            (rsm/unmap! m))))))
  (testing "while it is being mapped"
    (with-far [s im]
      (reset! (:fail s) {:get #(far/revoke! s)})
      (is (contains? #{:rsm/conn-aborted :mapped} (outcome (rsm/map! im) :mapped)))
      (when-let [m (rsm/mapping im)]
        (is (= :rsm/conn-aborted (failure (rsm/get-long m 0))))
        (rsm/unmap! im)))))

(deftest over-own-memory-after-a-revocation
  (with-far [s im]
    (rsm/with-local-memory [own page]
      (set-in! s 0 5)
      (let [m (rsm/map! im :over own :length page)]
        (reset! (:fail s) {:get #(far/revoke! s)})
        (set-in! s 0 6)
        (is (= :rsm/conn-aborted (failure (rsm/pull! m))))
        (rsm/unmap! m)
        (is (= 0 (rsm/get-long own 0)))))))

;; -------------------------------------------------------------- refusals

(deftest ordered-access-is-refused
  (with-far [_ im]
    (rsm/with-mapped-segment [m im]
      (doseq [[title call] {"volatile" #(rsm/get-long-volatile m 0) "acquire" #(rsm/get-byte-acquire m 0)
                            "release" #(rsm/put-int-release! m 0 1) "byte" #(rsm/put-byte-volatile! m 0 1)
                            "cas" #(rsm/compare-and-set-long! m 0 0 1) "add" #(rsm/get-and-add-int! m 0 1)
                            "snapshot" #(rsm/read-snapshot m {:version 0 :offset 8 :length 8})
                            "write" #(rsm/write-snapshot! m (byte-array 8))}]
        (is (= :rsm/locks-not-supported (failure (call))) title))
      (is (= :rsm/bad-mem-alignment (failure (rsm/get-long-volatile m 1))))
      (is (= :rsm/bad-offset (failure (rsm/get-long-volatile m -8))))
      (is (= 0 (rsm/get-long m 0))))))

(deftest bad-arguments
  (with-far [_ im]
    (let [m (rsm/map! im)
          r (rsm/with-imported-segment [other (.controller ^ImportSegment im) :segment-id 1]
              (rsm/with-mapped-segment [r other :perm :read]
                [(failure (rsm/push! r)) (failure (rsm/pull! r))]))]
      (is (= [:rsm/perm-denied nil] r))
      (doseq [f [rsm/pull! rsm/push!]]
        (doseq [[error args] [[:rsm/bad-seg-hndl [nil]] [:rsm/bad-seg-hndl [im]] [:rsm/bad-args-errors [m :no 1]]
                              [:rsm/bad-offset [m :offset "x"]] [:rsm/bad-length [m :length 1.5]]
                              [:rsm/bad-offset [m :offset -1]] [:rsm/bad-length [m :length -1]]
                              [:rsm/bad-offset [m :offset (inc (* 4 page))]] [:rsm/bad-offset [m :length (inc (* 4 page))]]
                              [:rsm/bad-offset [m :offset 8 :length Long/MAX_VALUE]]]]
          (is (= error (failure (apply f args))) (pr-str args))))
      (rsm/unmap! m)
      (is (= [:rsm/seg-not-mapped :rsm/seg-not-mapped] [(failure (rsm/pull! m)) (failure (rsm/push! m))])))
    (is (= :rsm/bad-args-errors (failure (rsm/capabilities 7))))))

;; ------------------------------------------------- put, get, atomic access

(deftest put-and-get-go-to-the-exporter
  (with-far [s im]
    (rsm/put! im 8 (byte-array [1 2 3]))
    (is (= [[:open] [:put 8 3] [:confirm]] (asked s)))
    (is (nil? (rsm/mapping im)) "nothing is mapped for it")
    (is (= [1 2 3] (vec (rsm/get! im 8 (byte-array 3)))))
    (rsm/set-barrier-mode! im :explicit)
    (asked s)
    (rsm/put! im 8 (byte-array [4]))
    (is (= [[:put 8 1]] (asked s)))
    (rsm/set-barrier-mode! im :implicit)
    (testing "of every kind"
      (rsm/put64! im 16 (long-array [1 -1]))
      (is (= [1 -1] (vec (rsm/get64 im 16 2))))
      (rsm/put16! im 32 (char-array "ab"))
      (is (= "ab" (apply str (rsm/get16! im 32 (char-array 2)))))
      (rsm/with-local-memory [own (* 4 page)]
        (rsm/put-long! own 0 77)
        (rsm/put! im 40 own 0 8)
        (is (= 77 (number-in s 40)))
        (rsm/get! im 40 own 8 8)
        (is (= 77 (rsm/get-long own 8)))
        (let [h (rsm/create-localmemory-handle! (.controller ^ImportSegment im) own)]
          (rsm/putv! {:segment im :iovec [{:local h :remote-offset 48 :length 8}
                                          {:local (byte-array [9]) :remote-offset 56 :length 1}]})
          (is (= [77 9] (map #(number-in s %) [48 56])))
          (rsm/free-localmemory-handle! (.controller ^ImportSegment im) h))))
    (testing "more than is moved at once"
      (with-far [s im {:size 1048576}]
        (let [data (byte-array (map unchecked-byte (range 1000003)))]
          (rsm/put! im 5 data)
          (is (every? #(zero? (rem (long %) 8)) (rest (map second (puts s)))) "no word is divided")
          (is (= (seq data) (take 1000003 (drop 5 (:bytes s)))))
          (is (= (seq data) (seq (rsm/get! im 5 (byte-array 1000003))))))))
    (testing "errors"
      (is (= :rsm/bad-offset (failure (rsm/put! im (* 4 page) (byte-array 1)))))
      (is (= :rsm/bad-mem-alignment (failure (rsm/put64! im 4 1))))
      (fail! s :confirm)
      (is (= :rsm/barrier-failure (failure (rsm/put! im 0 (byte-array 1)))))
      (fail! s :open)
      (is (= :rsm/barrier-open-failed (failure (rsm/put! im 0 (byte-array 1)))))
      (fail! s)
      (rsm/with-mapped-segment [m im :offset page :length page :perm :read]
        (is (= :rsm/bad-offset (failure (rsm/get! im 0 (byte-array 1)))))
        (is (= :rsm/perm-denied (failure (rsm/put! im page (byte-array 1)))))
        m))))

(deftest past-a-mirror-of-ones-own
  (with-far [_ im]
    (rsm/with-mapped-segment [m im]
      (rsm/put! im 0 (byte-array [1]))
      (is (= 0 (rsm/get-byte m 0)))
      (rsm/pull! m)
      (is (= 1 (rsm/get-byte m 0)))
      (rsm/put-byte! m 0 2)
      (rsm/put! im 0 (byte-array [3]))
      (is (= [3] (vec (rsm/get! im 0 (byte-array 1)))))
      (rsm/pull! m)
      (is (= 2 (rsm/get-byte m 0)))
      (rsm/push! m)
      (is (= [2] (vec (rsm/get! im 0 (byte-array 1))))))))

(deftest another-byte-order
  (doseq [order [ByteOrder/BIG_ENDIAN ByteOrder/LITTLE_ENDIAN]]
    (with-far [s im {:byte-order order}]
      (rsm/put64! im 0 (long-array [1 2]))
      (is (= [1 2] (map #(number-in s %) [0 8])))
      (is (= [1 2] (vec (rsm/get64 im 0 2))))
      (is (= 2 (rsm/get-and-add-long! im 8 3)))
      (is (= 5 (number-in s 8)))
      (is (true? (rsm/compare-and-set-long! im 8 5 -6)))
      (is (= -6 (number-in s 8))))))

(deftest atomic-access-to-the-segment
  (with-far [s im]
    (is (= 0 (rsm/get-and-add-long! im 8 5)))
    (is (= [[:get-and-add 8 8]] (asked s)))
    (is (= 5 (rsm/get-and-add-long! im 8 -7)))
    (is (true? (rsm/compare-and-set-long! im 8 -2 40)))
    (is (false? (rsm/compare-and-set-long! im 8 -2 41)))
    (is (= 40 (number-in s 8)))
    (is (= 0 (rsm/get-and-add-int! im 0 -1)))
    (is (= -1 (rsm/get-and-add-int! im 0 1)))
    (is (true? (rsm/compare-and-set-int! im 0 0 -5)))
    (is (true? (rsm/compare-and-set-int! im 0 -5 6)))
    (is (= [40 48] (mapv #(apply rsm/get-and-add-long! im 8 %) [[8] [0]])) "as a value")
    (is (= [:rsm/bad-mem-alignment :rsm/bad-offset :rsm/bad-offset :rsm/bad-seg-hndl]
           [(failure (rsm/get-and-add-long! im 4 1)) (failure (rsm/get-and-add-int! im -4 1))
            (failure (rsm/get-and-add-long! im (* 4 page) 1)) (failure (rsm/get-and-add-long! :x 0 1))]))
    (fail! s :get-and-add)
    (is (= :rsm/barrier-failure (failure (rsm/get-and-add-long! im 8 1)))))
  (with-far [_ im {:atomic-sizes #{(int 4)}}]
    (is (= 0 (rsm/get-and-add-int! im 0 1)))
    (is (= :rsm/locks-not-supported (failure (rsm/get-and-add-long! im 0 1)))))
  (doseq [perm [:read :write]]
    (with-far [_ im {} {:perm perm}]
      (is (= :rsm/perm-denied (failure (rsm/get-and-add-int! im 0 1)))))))

(deftest where-memory-is-shared
  (with-segment [c ex im]
    (is (= {:memory :shared :atomic-sizes [4 8] :access-control :enforced :encrypted? false :via "loopback"}
           (rsm/capabilities c) (rsm/capabilities im)))
    (rsm/put-long! ex 8 40)
    (is (= 40 (rsm/get-and-add-long! im 8 2)))
    (is (rsm/mapped? im) "as put! and get! do")
    (is (true? (rsm/compare-and-set-long! im 8 42 43)))
    (is (false? (rsm/compare-and-set-long! im 8 42 44)))
    (is (= 43 (rsm/get-long ex 8)))
    (is (= 0 (rsm/get-and-add-int! im 4 -1)))
    (is (= -1 (rsm/get-int ex 4)))
    (rsm/unmap! im)
    (rsm/with-mapped-segment [m im :offset page :length page]
      (is (= 0 (rsm/get-and-add-long! im page 7)))
      (is (= 7 (rsm/get-long m 0)))
      (is (= [nil nil] [(rsm/pull! m) (rsm/push! m)]))
      (is (= [:rsm/bad-offset :rsm/bad-offset :rsm/bad-mem-alignment]
             [(failure (rsm/get-and-add-long! im 0 1)) (failure (rsm/get-and-add-long! im (* 2 page) 1))
              (failure (rsm/get-and-add-int! im (+ page 2) 1))])))
    (testing "while it is being mapped and unmapped"
      (let [n 2000
            threads (mapv (fn [x]
                            (Thread. ^Runnable (fn [] (dotimes [_ n] (rsm/get-and-add-long! x 64 1)))))
                          [im im ex])]
        (run! #(.start ^Thread %) threads)
        (while (some #(.isAlive ^Thread %) threads)
          (outcome (rsm/unmap! im)))
        (is (= (* 3 n) (rsm/get-long ex 64)))
        (outcome (rsm/unmap! im))))
    (rsm/unpublish! ex)
    (is (= :rsm/conn-aborted (failure (rsm/get-and-add-long! im 64 1))))
    (is (= :rsm/conn-aborted (failure (rsm/with-mapped-segment [m im] m))))
    (rsm/close! im)
    (is (= :rsm/bad-seg-hndl (failure (rsm/get-and-add-long! im 64 1)))))
  (doseq [perm [:read :write]]
    (with-segment [_ _ im {:connect {:perm perm}}]
      (is (= :rsm/perm-denied (failure (rsm/get-and-add-int! im 0 1)))))))

;; ---------------------------------------------------------------- properties

(def ^:private words 24)

(defn- step
  "One step of a mirror's model: words of the exporter, the mirror and its twin, and which words the exporter
  may not have. kind is what confirmation brings."
  [{:keys [far here twin unsure sent] :as state} [op i x]]
  (let [changed #(or (not= (here %) (twin %)) (contains? unsure %))
        push (fn []
               (let [to (filter changed (range words))]
                 (assoc state
                        :far (reduce #(assoc %1 %2 (here %2)) far to)
                        :twin (reduce #(assoc %1 %2 (here %2)) twin to)
                        :unsure (reduce disj unsure to)
                        :sent (into sent to))))]
    (case op
      :write (assoc-in state [:here i] x)
      :far   (assoc-in state [:far i] x)
      :pull  (assoc state
                    :here (mapv #(if (changed %) (here %) (far %)) (range words))
                    :twin far)
      :push  (assoc (push) :sent #{})
      :lost  (let [state (push)]
               (assoc state :unsure (into (:unsure state) (:sent state)) :sent #{})))))

(def ^:private a-step
  (gen/frequency [[6 (gen/tuple (gen/return :write) (gen/choose 0 (dec words)) (gen/choose -1 2))]
                  [4 (gen/tuple (gen/return :far) (gen/choose 0 (dec words)) (gen/choose -1 2))]
                  [3 (gen/return [:pull])] [2 (gen/return [:push])] [2 (gen/return [:lost])]]))

(deftest a-mirror-does-what-its-model-does
  (let [seed (runner/new-seed)
        s (far/segment {:size page})]
    (far/with-controller* s
      (fn [c]
        (let [r (tc/quick-check
                 (runner/trials 300 20000)
                 (prop/for-all [steps (gen/vector a-step 0 60)]
                   (java.util.Arrays/fill ^bytes (:bytes s) (byte 0))
                   (fail! s)
                   (rsm/with-imported-segment [im c :segment-id 1]
                     (rsm/with-mapped-segment [m im]
                       (let [zeros (vec (repeat words 0))
                             end (reduce (fn [state [op i x :as a]]
                                           (case op
                                             :write (rsm/put-long! m (* 8 (long i)) x)
                                             :far (set-in! s (* 8 (long i)) x)
                                             :pull (rsm/pull! m)
                                             :push (rsm/push! m)
                                             :lost (do (fail! s :confirm)
                                                       (failure (rsm/push! m))
                                                       (fail! s)))
                                           (step state a))
                                         {:far zeros :here zeros :twin zeros :unsure #{} :sent #{}}
                                         steps)]
                         (= [(:far end) (:here end)]
                            [(mapv #(number-in s (* 8 (long %))) (range words))
                             (vec (rsm/get-longs m 0 words))])))))
                 :seed seed)]
          (is (:pass? r) (pr-str seed (:smallest (:shrunk r)))))))))

(deftest no-change-is-lost-to-what-comes-in
  (with-far [s im {:size page}]
    (let [m (rsm/map! im)
          n 64
          rounds 3000
          ready (CountDownLatch. 1)
          failed (atom nil)
          writer (fn [word]
                   (Thread. ^Runnable (fn []
                                        (.await ready)
                                        (try
                                          (dotimes [i rounds]
                                            (rsm/put-long! m (* 8 (long word)) (inc i)))
                                          (catch Throwable t (reset! failed t))))))
          writers (mapv writer (range 0 n 16))]
      (run! #(.start ^Thread %) writers)
      (.countDown ready)
      (while (some #(.isAlive ^Thread %) writers)
        (dotimes [word n]
          (when-not (zero? (rem word 16))
            (set-in! s (* 8 word) (rand-int 1000))))
        (rsm/pull! m)
        (rsm/push! m))
      (is (nil? @failed))
      (rsm/push! m)
      (rsm/pull! m)
      (is (= (repeat 4 rounds) (map #(number-in s (* 8 (long %))) (range 0 n 16))))
      (is (= (mapv #(number-in s (* 8 (long %))) (range n)) (vec (rsm/get-longs m 0 n))))
      (rsm/unmap! m))))

(deftest unmapping-waits-for-its-turn
  (with-far [s im]
    (let [m (rsm/map! im)
          asked (promise)
          go-on (promise)]
      (rsm/put-long! m 0 1)
      (reset! (:fail s) {:get (fn [] (deliver asked true) (deref go-on 10000 nil))})
      (let [pull (future (outcome (rsm/pull! m) :pulled))]
        @asked
        (let [unmap (future (rsm/unmap! m))]
          (is (= :waiting (deref unmap 100 :waiting)))
          (deliver go-on true)
          (is (nil? (deref unmap 10000 :waiting)))
          (is (contains? #{:pulled :rsm/seg-not-mapped} (deref pull 10000 :waiting)))
          (is (= 1 (number-in s 0))))))))
