(ns rsmapi.core-test
  "The public API in one process: what works, what is refused and how it is said."
  (:require [clojure.datafy :refer [datafy]]
            [clojure.edn :as edn]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.impl.scope :as scope]
            [rsmapi.test.ids :refer [fresh-id]]
            [rsmapi.test.outcome :refer [failure outcome]]
            [rsmapi.test.segment :refer [with-segment]])
  (:import (java.nio ByteBuffer)
           (org.rsmapi ExportSegment ImportSegment Mapping RsmException)))

(set! *warn-on-reflection* true)

(def ^:private id (fresh-id))

(def page (rsm/page-size))

;; ---------------------------------------------------------------- options

(deftest options-are-a-map-or-trailing-arguments
  (rsm/with-controller [c "loopback"]
    (doseq [create [#(rsm/create! c {:size page :allow-rebind true})
                    #(rsm/create! c :size page :allow-rebind true)
                    #(rsm/create! c :size page {:allow-rebind true})
                    #(rsm/create! c :size 1 :allow-rebind true {:size page})
                    #(rsm/create! c :size page :allow-rebind true nil)]]
      (with-open [ex ^ExportSegment (create)]
        (is (= [page true] ((juxt :size :allow-rebind) (datafy ex))))))
    (rsm/with-exported-segment [ex c :size page {:acl [{:node 0 :perm 0600}]}]
      (is (= [{:node 0 :perm 0600}] (:acl (datafy ex))))
      (rsm/republish! ex :acl [[0 0400]])
      (is (= [{:node 0 :perm 0400}] (:acl (datafy ex))))
      (rsm/republish! ex)
      (is (= [] (:acl (datafy ex))))
      (rsm/with-imported-segment [im c :segment-id (rsm/segment-id ex) :perm :read]
        (is (= :rsm/bad-perms (:rsm/error (rsm/check-map im :perm :rdwr))))
        (rsm/with-mapped-segment [m im :offset 0 {:length 8}]
          (is (= 8 (rsm/size m))))
        (is (= :rsm/timeout (failure (rsm/signal-wait! im :timeout-ms 0))))))
    (rsm/with-controller [three "shm0" :node 3]
      (is (= 3 (rsm/node-id three))))
    (rsm/with-local-memory [m 1 :round-up true]
      (is (= page (rsm/size m))))))

(deftest trailing-arguments-that-are-no-options
  (rsm/with-controller [c "loopback"]
    (let [told (fn [& args] (select-keys (error/catching (apply rsm/create! c args))
                                         [:rsm/error :rsm/op :rsm/option :rsm/hint]))
          refused (fn [option hint] {:rsm/error :rsm/bad-args-errors :rsm/op :export-create
                                     :rsm/option option :rsm/hint hint})
          forms "options are one map, or keywords with their values, then a map or nothing"]
      (is (= (refused ":size" "this option has no value") (told :size)))
      (is (= (refused ":lock" "this option has no value") (told :size page :lock)))
      (is (= (refused "7" forms) (told :size page 7)))
      (is (= (refused "\"size\"" forms) (told "size" page)))
      (is (= (refused "nil" forms) (told nil page)))
      (is (= "a map of options is the last argument" (:rsm/hint (told {:size page} :lock true))))
      (is (= (refused "\"lock\"" "the names of options are keywords") (told :size page {"lock" true})))
      (is (= ":sise" (:rsm/option (told :sise page :lock true))))
      (is (= :rsm/bad-length (:rsm/error (told))))
      (testing "which have no end, or cannot be read, or must not be looked at"
        (is (= :rsm/bad-args-errors (:rsm/error (apply told (range)))))
        (is (= :rsm/bad-args-errors (:rsm/error (apply told (cycle [:size page])))))
        (is (= :rsm/bad-args-errors (:rsm/error (apply told (concat [:a 1] (repeat :a))))))
        (is (= :rsm/bad-args-errors (:rsm/error (apply told :size page (lazy-cat [:lock true :lock true :lock true] (map inc [:a]))))))
        (is (= :rsm/bad-args-errors (:rsm/error (told (range) page))))
        (is (= :rsm/bad-args-errors (:rsm/error (told {(range) page}))))
        (is (= :rsm/bad-args-errors (:rsm/error (told :size page {(range) page}))))))
    (testing "a wrong handle is reported first"
      (is (= :rsm/bad-ctlr-hndl (failure (rsm/create! nil :size page :lock))))
      (is (= :rsm/bad-seg-hndl (failure (rsm/map! c :offset 0 7)))))))

(deftest sizes-are-rounded-up-on-request
  (rsm/with-controller [c "loopback"]
    (doseq [[size rounded] {1 page, (dec (long page)) page, page page, (inc (long page)) (* 2 (long page))}]
      (with-open [ex (rsm/create! c :size size :round-up true)]
        (is (= rounded (rsm/size ex)))))
    (let [told #(error/catching (rsm/create! c %))]
      (is (.contains ^String (:rsm/hint (told {:size 65537 :round-up false})) "the next length is 69632"))
      (is (= [:rsm/bad-length :rsm/bad-length] (map #(:rsm/error (told {:size % :round-up true})) [0 -1])))
      (is (= [:rsm/bad-mem-alignment :rsm/insufficient-mem]
             (map #(:rsm/error (told {:size % :round-up true})) [Long/MAX_VALUE (- Long/MAX_VALUE 4096)])))
      (is (= :rsm/bad-args-errors (:rsm/error (told {:size 1 :round-up 1}))))
      (is (= :rsm/bad-args-errors (:rsm/error (told {:buffer (ByteBuffer/allocateDirect 1) :round-up true})))))
    (rsm/with-local-memory [m 100]
      (testing "memory from allocate! is whole pages"
        (with-open [ex (rsm/create! c :address (rsm/address m) :size (rsm/size m) :round-up true)]
          (is (= page (rsm/size ex))))))
    (testing "what is checked is the rounded range"
      (with-segment [_ _ im]
        (rsm/with-mapped-segment [m im]
          (let [e (error/catching (rsm/create! c :address (rsm/address m) :size (inc (long page)) :round-up true))]
            (is (= [:rsm/bad-addr (* 2 (long page))] ((juxt :rsm/error :rsm/length) e)))))))
    (when (pos? (ExportSegment/hugePageSize))
      (let [huge (ExportSegment/hugePageSize)]
        (is (.contains ^String (:rsm/hint (error/catching (rsm/create! c :size (inc huge) :huge-pages true))) (str "the next length is " (* 2 huge))))
        (is (contains? #{huge :rsm/insufficient-resources :rsm/insufficient-mem}
                       (outcome (rsm/with-exported-segment [ex c :size 1 :huge-pages true :round-up true]
                                  (rsm/size ex)))))))
    (testing "where a mapping can begin"
      (rsm/with-exported-segment [ex c :size 65536]
        (rsm/with-imported-segment [im c :segment-id (rsm/segment-id ex)]
          (is (.contains ^String (:rsm/hint (rsm/check-map im :offset 5000 :length 1)) "the offset can be 4096 or 8192")))))))

;; ------------------------------------------------------------ controllers

(deftest controllers-are-counted-and-found-by-name
  (let [a (rsm/get-controller "loopback")
        b (rsm/get-controller "LoopBack7")
        c (rsm/get-controller nil)]
    (is (identical? a b))
    (is (identical? a c))
    (rsm/release-controller! a)
    (rsm/release-controller! b)
    (is (= 8 (:attr-page-size (rsm/controller-attr c))))
    (rsm/release-controller! c)
    (is (= :rsm/ctlr-not-present (failure (rsm/controller-attr c))))
    (is (= :rsm/bad-ctlr-hndl (failure (rsm/release-controller! c))))
    (is (= :rsm/ctlr-not-present (failure (rsm/create! c {:size page})))))
  (testing "shm controllers play nodes"
    (rsm/with-controller [three "shm0" {:node 3}]
      (rsm/with-controller [also-three "SHM" {:node 3}]
        (is (identical? three also-three)))
      (rsm/with-controller [four "shm0" {:node 4}]
        (is (not (identical? three four)))
        (is (= [3 4] (map rsm/node-id [three four])))))
    (is (= page (:page-size (rsm/with-controller [c "shm31"] (rsm/controller-attr c)))))
    (is (= :rsm/ctlr-not-present (failure (rsm/get-controller "shm32"))))
    (is (= :rsm/bad-conf (failure (rsm/get-controller "shm0" {:node 64})))))
  (testing "names that are none"
    (doseq [n ["" "123" "nosuch0" (apply str (repeat 300 "x")) "loopback\u0000" 7 :loopback "shm99999999999"]]
      (is (= :rsm/ctlr-not-present (failure (rsm/get-controller n))) (pr-str n)))))

(deftest nodes-of-an-shm-controller-reach-each-other-by-the-access-list
  (rsm/with-controller [one "shm0" {:node 1}]
    (rsm/with-controller [two "shm0" {:node 2}]
      (rsm/with-controller [other "shm1" {:node 2}]
        (rsm/with-controller [three "shm0" {:node 3}]
          (rsm/with-exported-segment [ex one {:size page :segment-id id
                                              :acl [{:node 2 :perm 0666} {:node 63 :perm 0444}]}]
            (rsm/put-long! ex 0 5)
            (rsm/with-imported-segment [im two {:node 1 :segment-id id}]
              (rsm/with-mapped-segment [m im]
                (is (= 5 (rsm/get-long m 0)))))
            (is (= :rsm/seg-not-published-to-node (failure (rsm/connect! three {:node 1 :segment-id id}))))
            (is (= :rsm/seg-not-published-to-node (failure (rsm/connect! other {:node 1 :segment-id id}))) "another interconnect")
            (is (= :rsm/seg-not-published-to-node (failure (rsm/connect! one {:segment-id id}))) "the local node is not on the list")
            (is (= :rsm/seg-not-published (failure (rsm/connect! two {:node 2 :segment-id id}))) "ids are per node")
            (is (= :rsm/remote-node-unreachable (failure (rsm/connect! two {:node 64 :segment-id id}))))
            (is (= :rsm/remote-node-unreachable (failure (rsm/connect! two {:node -1 :segment-id id}))))))
        (testing "the same id on two nodes"
          (rsm/with-exported-segment [_ one {:size page :segment-id id}]
            (rsm/with-exported-segment [_ two {:size page :segment-id id}]
              (is (= :rsm/segid-in-use (failure (rsm/export! one {:size page :segment-id id})))))))
        (testing "access lists of a real controller"
          (let [acl (fn [n] (mapv (fn [i] {:node (mod i 64) :perm 0600}) (range n)))]
            (is (nil? (failure (rsm/close! (rsm/export! one {:size page :acl (acl 64)})))))
            (is (= :rsm/bad-acl (failure (rsm/export! one {:size page :acl (acl 65)}))))
            (is (= :rsm/bad-acl (failure (rsm/export! one {:size page :acl [{:node 64 :perm 0600}]}))))))))))

(deftest the-last-release-ends-the-thread-whatever-it-is-doing
  (is (= #{nil} (set (repeatedly 3000
                                 #(failure (rsm/with-controller [c "loopback"]
                                             (rsm/with-exported-segment [ex c {:size page}]
                                               (rsm/close! (rsm/connect! c {:segment-id (rsm/segment-id ex)}))))))))))

;; ---------------------------------------------------------------- mapping

(deftest a-window-shows-its-part-of-the-segment
  (with-segment [_ ex im]
    (rsm/put-long! ex page 11)
    (rsm/put-long! ex (* 2 page) 22)
    (rsm/with-mapped-segment [m im {:offset page :length (+ page 9) :perm :rdwr}]
      (is (= 11 (rsm/get-long m 0)))
      (is (= 22 (rsm/get-long m page)))
      (is (= (+ page 9) (rsm/size m)))
      (rsm/put-byte! m (+ page 8) 33)
      (is (= 33 (rsm/get-byte ex (+ page page 8))))
      (is (= :rsm/bad-offset (failure (rsm/get-byte m (+ page 9)))) "one beyond the window, though not beyond the page"))
    (is (nil? (rsm/mapping im)))
    (testing "defaults: the whole of it, with the connection's permission"
      (rsm/with-mapped-segment [m im]
        (is (= (* 4 page) (rsm/size m)))
        (is (= :rdwr (:perm (datafy m)))))
      (rsm/with-mapped-segment [m im {:offset (* 3 page)}]
        (is (= page (rsm/size m)))))))

(deftest one-mapping-per-handle
  (with-segment [_ _ im]
    (let [m (rsm/map! im)]
      (is (= :rsm/seg-already-mapped (failure (rsm/map! im))))
      (is (= :rsm/seg-still-mapped (failure (rsm/disconnect! im))))
      (is (rsm/mapped? im))
      (rsm/unmap! im)
      (is (= :rsm/seg-not-mapped (failure (rsm/unmap! im))))
      (is (= :rsm/seg-not-mapped (failure (rsm/unmap! m))))
      (is (= :rsm/seg-not-mapped (failure (rsm/get-long m 0))))
      (is (= :rsm/seg-not-mapped (failure (rsm/put-long! m 0 1))))
      (testing "an old mapping's close does not end the next one"
        (let [next-one (rsm/map! im)]
          (rsm/close! m)
          (is (= :rsm/seg-not-mapped (failure (rsm/unmap! m))))
          (is (= 0 (rsm/get-long next-one 0))))))))

(deftest permissions-of-a-mapping
  (with-segment [_ ex im]
    (rsm/with-mapped-segment [m im {:perm :read}]
      (is (= :rsm/perm-denied (failure (rsm/put-long! m 0 1))))
      (is (= :rsm/perm-denied (failure (rsm/put-long! m -1 1))) "permission before range")
      (is (= :rsm/perm-denied (failure (rsm/compare-and-set-long! m 0 0 1))))
      (is (= :rsm/perm-denied (failure (rsm/fill! m 0 8 1))))
      (is (= 0 (rsm/get-long m 0))))
    (rsm/with-mapped-segment [m im {:perm :write}]
      (rsm/put-long! m 0 9)
      (is (= 9 (rsm/get-long ex 0)))
      (is (= :rsm/perm-denied (failure (rsm/get-long m 0))))
      (is (= :rsm/perm-denied (failure (rsm/get-and-add-long! m 0 1))))
      (is (= :rsm/perm-denied (failure (rsm/get-bytes m 0 8))))
      (is (= :rsm/perm-denied (failure (rsm/copy! m 0 ex 0 8)))))))

(deftest fixed-addresses
  (with-segment [_ ex im]
    (rsm/put-long! ex page 77)
    (let [free (with-open [^Mapping m (rsm/map! im)] (rsm/address m))]
      (testing "what is in the way is said, and stays"
        (let [e (error/catching (rsm/map! im {:attr :fixed :address (rsm/address ex)}))]
          (is (= 20 (:rsm/code e)))
          (is (some #(re-find #"memfd:rsmapi-segment" %) (:rsm/occupied-by e)))
          (is (= 77 (rsm/get-long ex page)))))
      (testing "a free address: the one that the last mapping gave back"
        (rsm/with-mapped-segment [m im {:attr :fixed :address free :offset page :length page}]
          (is (= free (rsm/address m)))
          (is (= 77 (rsm/get-long m 0)))
          (is (= :fixed (:attr (datafy m))))))
      (testing "addresses that cannot be"
        (is (= :rsm/bad-mem-alignment (failure (rsm/map! im {:attr :fixed :address (inc (long free))}))))
        (doseq [a [0 page (- page) (- Long/MAX_VALUE (dec (long page))) (bit-shift-left 1 60)]]
          (is (= :rsm/bad-length (failure (rsm/map! im {:attr :fixed :address a}))) (str a))))
      (testing "as a hint, anything will do"
        (doseq [a [0 1 page -1 Long/MAX_VALUE (inc (long free)) (rsm/address ex)]]
          (is (nil? (failure (rsm/close! (rsm/map! im {:address a})) 0)) (str a)))))))

(deftest mapping-over-own-memory
  (with-segment [_ ex im]
    (rsm/put-long! ex page 77)
    (rsm/with-local-memory [own (* 6 page)]
      (rsm/put-long! own 0 1)
      (rsm/put-long! own (* 2 page) 2)
      (rsm/put-long! own (* 5 page) 3)
      (rsm/with-mapped-segment [m im {:over own :at page :offset page :length (* 3 page)}]
        (is (= (+ (long (rsm/address own)) (long page)) (rsm/address m)))
        (is (= 77 (rsm/get-long own page) (rsm/get-long m 0)))
        (is (= [1 3] [(rsm/get-long own 0) (rsm/get-long own (* 5 page))]) "nothing outside is touched")
        (rsm/with-controller [c "loopback"]
          (rsm/with-imported-segment [second-one c {:segment-id (rsm/segment-id ex)}]
            (is (= :rsm/bad-length (failure (rsm/map! second-one {:over own :at page}))) "taken")
            (is (= :rsm/bad-length (failure (rsm/map! second-one {:over own :at (* 3 page)}))) "reaches past the end")
            (is (= :rsm/bad-mem-alignment (failure (rsm/map! second-one {:over own :at 1})))))
          (is (= :rsm/bad-addr (failure (rsm/create! c {:address (rsm/address own) :size (* 6 page)}))) "a mapping lies in it")))
      (is (= [1 0 0 3] (map #(rsm/get-long own (* (long page) (long %))) [0 1 2 5])) "zero pages are left"))))

(deftest check-map-says-what-map-would
  (with-segment [_ _ im]
    (doseq [offset [-1 0 1 page (* 4 page) Long/MAX_VALUE (- (long page)) nil "x" 1.5]
            length [0 1 -1 page (* 4 page) (inc (* 4 (long page))) Long/MAX_VALUE nil :y]
            perm [:read 0600 0 0601 0100 -1 nil "rw" 1777777777777]
            attr [nil :fixed :nonsense]
            :let [opts {:offset offset :length length :perm perm :attr attr :address 3}
                  checked (rsm/check-map im opts)
                  tried (error/catching (rsm/unmap! (rsm/map! im opts)))]]
      (is (= checked tried) (pr-str opts)))))

;; ------------------------------------------------------------- revocation

(deftest revocation
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (* 4 page) :segment-id id}]
      (let [im (rsm/connect! c {:segment-id id})
            m (rsm/map! im)
            unmapped (rsm/connect! c {:segment-id id})]
        (rsm/put-long! m 0 42)
        (is (= 2 (rsm/importers ex)))
        (rsm/unpublish! ex)
        (is (= :rsm/conn-aborted (failure (rsm/get-long m 0))))
        (is (= :rsm/conn-aborted (failure (rsm/put-long! m 0 1))))
        (is (= :rsm/bad-offset (failure (rsm/get-long m (* 4 page)))) "range before abort, as in the original")
        (is (= "unpublished" (:rsm/reason (error/catching (rsm/get-long m 0)))))
        (is (= 42 (rsm/get-long ex 0)) "nothing is lost")
        (is (= :rsm/conn-aborted (failure (rsm/map! unmapped))))
        (is (= :rsm/bad-length (failure (rsm/map! unmapped {:length 0}))))
        (is (rsm/aborted? im))
        (testing "publishing again does not revive them"
          (rsm/publish! ex {:segment-id id})
          (is (= 42 (rsm/get-long ex 0)))
          (is (= :rsm/conn-aborted (failure (rsm/get-long m 0))))
          (rsm/with-imported-segment [fresh c {:segment-id id}]
            (rsm/with-mapped-segment [f fresh]
              (is (= 42 (rsm/get-long f 0)))
              (rsm/put-long! f 0 43)
              (is (= 43 (rsm/get-long ex 0))))))
        (is (= :rsm/seg-still-mapped (failure (rsm/disconnect! im))))
        (rsm/unmap! im)
        (is (= :rsm/seg-not-mapped (failure (rsm/get-long m 0))))
        (rsm/disconnect! im)
        (rsm/disconnect! unmapped)
        (is (= :rsm/bad-seg-hndl (failure (rsm/disconnect! im))))
        (is (= :rsm/bad-seg-hndl (failure (rsm/map! im))))))
    (testing "destroy"
      (let [ex (rsm/export! c {:size page :segment-id id})
            im (rsm/connect! c {:segment-id id})
            m (rsm/map! im)]
        (rsm/destroy! ex)
        (is (= "destroyed" (:rsm/reason (error/catching (rsm/get-long m 0)))))
        (is (= :rsm/bad-seg-hndl (failure (rsm/destroy! ex))))
        (is (= :rsm/bad-seg-hndl (failure (rsm/publish! ex))))
        (is (= :rsm/bad-seg-hndl (failure (rsm/get-long ex 0))))
        (rsm/close! im)))))

(deftest no-write-of-the-exporter-is-lost-by-unpublish-and-publish
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (* 64 page)}]
      (let [slots (quot (* 64 (long page)) 8)
            stop (atom false)
            last-written (long-array slots)
            writer (future
                     (loop [i 0]
                       (when-not @stop
                         (let [slot (rem (* i 7919) slots)]
                           (rsm/put-long! ex (* 8 slot) (inc i))
                           (aset last-written slot (inc i))
                           (recur (inc i))))))]
        (dotimes [_ 100]
          (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex) :perm :read})]
            (rsm/unpublish! ex)
            (rsm/publish! ex)
            (rsm/close! im)))
        (reset! stop true)
        @writer
        (is (pos? (aget last-written 0)))
        (is (= (vec last-written) (vec (rsm/get-longs ex 0 slots))))))))

(deftest two-segments-over-the-same-memory
  (rsm/with-controller [c "loopback"]
    (rsm/with-local-memory [own (* 4 page)]
      (rsm/put-long! own 0 5)
      (let [opts {:address (rsm/address own) :size (* 4 page)}
            a (rsm/export! c opts)
            b (rsm/export! c opts)
            im-a (rsm/connect! c {:segment-id (rsm/segment-id a)})
            im-b (rsm/connect! c {:segment-id (rsm/segment-id b)})
            m-a (rsm/map! im-a)
            m-b (rsm/map! im-b)]
        (is (= 5 (rsm/get-long m-a 0) (rsm/get-long m-b 0)))
        (rsm/put-long! m-a 8 6)
        (is (= 6 (rsm/get-long m-b 8) (rsm/get-long own 8)))
        (is (= :rsm/bad-addr (failure (rsm/create! c {:address (+ (long page) (long (rsm/address own))) :size page}))) "a part of it")
        (rsm/unpublish! a)
        (is (= :rsm/conn-aborted (failure (rsm/get-long m-a 0))))
        (rsm/close! im-b)
        (rsm/with-imported-segment [again c {:segment-id (rsm/segment-id b)}]
          (rsm/with-mapped-segment [m again]
            (is (= [5 6] [(rsm/get-long m 0) (rsm/get-long m 8)]))
            (rsm/put-long! m 16 7)))
        (run! rsm/close! [a b im-a])
        (is (= [5 6 7] (vec (rsm/get-longs own 0 3))) "the memory stays, with its content")
        (rsm/put-long! own 0 1)
        (is (= 1 (rsm/get-long own 0)))))))

(deftest a-buffer-can-be-exported
  (rsm/with-controller [c "loopback"]
    (let [whole (ByteBuffer/allocateDirect (int (* 6 (long page))))
          buffer (.alignedSlice whole (int page))]
      (.limit buffer (int (* 4 (long page))))
      (.put buffer 0 (byte 9))
      (rsm/with-exported-segment [ex c {:buffer buffer}]
        (rsm/with-imported-segment [im c {:segment-id (rsm/segment-id ex)}]
          (rsm/with-mapped-segment [m im]
            (is (= 9 (rsm/get-byte m 0)))
            (rsm/put-byte! m 1 10)
            (is (= 10 (.get buffer 1))))))
      (is (= [9 10] [(.get buffer 0) (.get buffer 1)]))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:buffer (ByteBuffer/allocate 4096)}))))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:buffer (.asReadOnlyBuffer buffer)}))))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:buffer "no"}))))
      (is (= :rsm/bad-mem-alignment (failure (rsm/create! c {:buffer (.position (.duplicate buffer) 1)})))))))

(deftest memory-that-is-not-the-callers-is-refused
  (rsm/with-controller [c "loopback"]
    (let [heap (rsm/allocate! page)
          unmapped (rsm/address heap)]
      (rsm/free! heap)
      (is (= :rsm/bad-addr (failure (rsm/create! c {:address unmapped :size page}))))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:address (* 7 (long page)) :size page}))))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:address 0 :size page}))))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:address nil :size page}))))
      (is (= :rsm/bad-addr (failure (rsm/create! c {:address -4096 :size page})))))))

;; ---------------------------------------------------------- bad arguments

(def nonsense [nil "x" :k 1.5 3/2 \a [] {} 99999999999999999999N -1 Long/MAX_VALUE Long/MIN_VALUE (Object.)])

(deftest only-rsm-errors-leave-the-api
  (with-segment [_ ex im]
    (rsm/with-controller [c "loopback"]
      (let [calls (concat
                   (for [f [#'rsm/release-controller! #'rsm/controller-attr #'rsm/node-id #'rsm/destroy! #'rsm/unpublish!
                            #'rsm/disconnect! #'rsm/map! #'rsm/check-map #'rsm/unmap! #'rsm/publish! #'rsm/size
                            #'rsm/segment-id #'rsm/address #'rsm/close! #'rsm/published? #'rsm/importers #'rsm/aborted?
                            #'rsm/mapped? #'rsm/mapping #'rsm/free! #'rsm/allocate!]]
                     (fn [x] (when-not (and (= f #'rsm/allocate!) (= x Long/MAX_VALUE)) (f x))))
                   (for [k [:size :address :buffer :allow-rebind :dont-wait :nonsense]]
                     (fn [x] (rsm/close! (rsm/create! c (assoc {:size page} k x)))))
                   (for [k [:segment-id :acl :nonsense]]
                     (fn [x] (rsm/close! (rsm/export! c (assoc {:size page} k x)))))
                   (for [k [:node :perm]]
                     (fn [x] (rsm/close! (rsm/export! c {:size page :acl [(assoc {:node 0 :perm 0600} k x)]}))))
                   [(fn [x] (rsm/republish! ex {:acl [x]}))
                    (fn [x] (rsm/republish! ex x))
                    (fn [x] (rsm/close! (rsm/create! c x)))
                    (fn [x] (rsm/get-controller "shm0" {:node x}))
                    (fn [x] (rsm/get-controller "shm0" x))]
                   (for [k [:node :segment-id :perm :timeout-ms :nonsense]]
                     (fn [x] (rsm/close! (rsm/connect! c (assoc {:segment-id (rsm/segment-id ex)} k x)))))
                   (for [k [:offset :length :perm :attr :address :over :at :nonsense]]
                     (fn [x] (rsm/unmap! (rsm/map! im {k x})))))]
        (doseq [[i call] (map-indexed vector calls)
                x nonsense]
          (is (try (call x) true
                   (catch RsmException e
                     (let [d (ex-data e)]
                       (and (= d (edn/read-string (pr-str d)))
                            (every? d [:rsm/error :rsm/code :rsm/op :cognitect.anomalies/category])
                            (= (:rsm/code d) (:rsm/code (error/lookup (:rsm/error d))))))))
              (str "call " i " with " (pr-str x))))
        (is (= :rsm/bad-ctlr-hndl (failure (rsm/create! im {:size page}))))
        (is (= :rsm/bad-seg-hndl (failure (rsm/map! ex))))))))

(deftest data-of-an-error
  (with-segment [_ _ im]
    (let [e (try (rsm/map! im {:offset 100 :length 10}) (catch Exception e e))
          d (ex-data e)]
      (is (= {:rsm/error :rsm/bad-mem-alignment :rsm/code 17 :rsm/op :import-map :rsm/offset 100 :rsm/length 10
              :rsm/size (* 4 page) :rsm/perm :rdwr :cognitect.anomalies/category :cognitect.anomalies/incorrect}
             (select-keys d [:rsm/error :rsm/code :rsm/op :rsm/offset :rsm/length :rsm/size :rsm/perm
                             :cognitect.anomalies/category])))
      (is (string? (:rsm/hint d)))
      (is (re-find #"RSMERR_BAD_MEM_ALIGNMENT \(17\) in import-map" (ex-message e)))
      (is (= d (edn/read-string (pr-str d))))
      (is (= d (rsm/check-map im {:offset 100 :length 10})))
      (is (= d (error/error-of (ex-info "wrapped" {} e)))))))

(deftest the-error-table
  (is (= 48 (count error/table)))
  (is (= (count error/table) (count (set (map :rsm/code error/table)))))
  (doseq [{:rsm/keys [error code name] :as entry} error/table]
    (is (= entry (error/lookup error) (error/lookup code) (error/lookup name)))))

;; ---------------------------------------------------------- with- macros

(deftest with-macros-keep-the-bodys-error
  (let [order (atom [])
        handle (reify java.lang.AutoCloseable
                 (close [_] (swap! order conj :closed) (throw (ex-info "close" {}))))
        body (ex-info "body" {})]
    (scope/close-after-failure body handle)
    (is (= ["close"] (map ex-message (.getSuppressed ^Throwable body))))
    (is (= [:closed] @order)))
  (testing "everything is closed when the body fails"
    (let [handles (atom nil)]
      (is (= "mine"
             (try
               (with-segment [_ ex im]
                 (rsm/with-mapped-segment [m im]
                   (reset! handles [ex im m])
                   (throw (ex-info "mine" {}))))
               (catch Exception e (ex-message e)))))
      (is (= [:destroyed :disconnected :unmapped] (map (comp :state datafy) @handles)))))
  (testing "and when the body has closed it itself"
    (is (= :done (with-segment [_ ex im]
                   (rsm/with-mapped-segment [m im]
                     (run! rsm/close! [m im ex])
                     :done)))))
  (testing "a failure to publish leaves nothing"
    (with-segment [_ ex _]
      (rsm/with-controller [c "loopback"]
        (is (= :rsm/segid-in-use (failure (rsm/with-controller [c "loopback"]
                          (rsm/republish! ex {:acl nil})
                          (let [taken (rsm/export! c {:size page :segment-id id})]
                            (try (rsm/export! c {:size page :segment-id id})
                                 (finally (rsm/close! taken))))))))))))

(deftest handles-print-in-one-line-and-answer-datafy
  (with-segment [_ ex im]
    (rsm/with-mapped-segment [m im {:offset page :length 10 :perm :read}]
      (rsm/with-local-memory [own 100]
        (rsm/with-controller [c "loopback"]
          (doseq [x [c ex im m own]]
            (is (re-matches #"#<\w+ .+>" (pr-str x)))
            (is (= (datafy x) (edn/read-string (pr-str (datafy x)))))))
        (is (= {:type :mapping :state :mapped :segment-id (rsm/segment-id ex) :perm :read :attr :none :implicit? false
                :offset page :length 10 :address (rsm/address m)}
               (datafy m)))
        (is (= (datafy m) (:mapping (datafy im))))
        (is (= (.pid (java.lang.ProcessHandle/current)) (-> (datafy im) :exporter :pid)))))))
