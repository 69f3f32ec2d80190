(ns rsmapi.gen-test
  "The generators make what they say, and what they make shrinks to what matters."
  (:require [clojure.set :as set]
            [clojure.test :refer [deftest is testing]]
            [clojure.test.check :as tc]
            [clojure.test.check.generators :as gen]
            [clojure.test.check.properties :as prop]
            [rsmapi.gen :as rsm-gen]
            [rsmapi.model :as model]
            [rsmapi.sim :as sim]))

(set! *warn-on-reflection* true)

(defn- sample
  "Many values of a generator, of all sizes; the same ones each time."
  ([g] (sample g 1500))
  ([g n]
   (map #(gen/generate g (mod % 100) %) (range n))))

(defn- smallest
  "What a property that fails shrinks to; nil if it does not fail."
  [g holds?]
  (first (:smallest (:shrunk (tc/quick-check 2000 (prop/for-all* [g] holds?) :seed 5)))))

(def ^:private place {:size (* 5 4096) :page-size 4096 :perm :read})

(defn- page? [n] (zero? (rem n 4096)))

(deftest sizes-and-what-is-none
  (is (every? #(and (page? %) (<= 4096 % (* 16 4096))) (sample (rsm-gen/size))))
  (is (every? #(zero? (rem % 65536)) (sample (rsm-gen/size {:page-size 65536}))))
  (is (set/subset? #{0 1 -1 4095 4097 Long/MAX_VALUE Long/MIN_VALUE} (set (sample (rsm-gen/any-size)))))
  (is (some string? (sample (rsm-gen/any-size))))
  (testing "none that would have to be allocated"
    (is (empty? (filter #(and (int? %) (page? %) (> % 65536)) (sample (rsm-gen/any-size)))))))

(deftest places-in-memory
  (is (every? #(and (page? %) (<= 0 % (* 4 4096))) (sample (rsm-gen/offset place))))
  (is (set/subset? #{0 1 -1 4095 4096 4097 20479 20480 20481 -4096 Long/MAX_VALUE Long/MIN_VALUE
                     (- Long/MAX_VALUE 4096)}
                   (set (sample (rsm-gen/any-offset place)))))
  (is (every? #(<= 1 % (- 20480 8192)) (sample (rsm-gen/length place 8192))))
  (let [lengths (set (sample (rsm-gen/any-length place 8192)))]
    (is (set/subset? #{0 1 -1 12287 12288 12289 Long/MAX_VALUE Long/MIN_VALUE
                       (- Long/MAX_VALUE 8192) (- Long/MAX_VALUE 8191)}
                     lengths)))
  (is (every? (fn [{:keys [offset length]}] (and (page? offset) (pos? length) (<= (+ offset length) 20480)))
              (sample (rsm-gen/window place))))
  (let [offsets (set (sample (rsm-gen/access place 8)))]
    (is (set/subset? #{0 20472 20473 20480 -1} offsets)))
  (let [offsets (frequencies (sample (rsm-gen/access (assoc place :aligned? true) 8)))
        right (fn [o] (and (<= 0 o 20472) (zero? (rem o 8))))]
    (is (< 1000 (reduce + (vals (filter (comp right key) offsets)))))))

(deftest numbers-near-others
  (is (set/subset? #{99 100 101 0 Long/MIN_VALUE} (set (sample (rsm-gen/near 100)))))
  (is (every? int? (sample (rsm-gen/near Long/MAX_VALUE Long/MIN_VALUE))))
  (is (every? int? (sample (rsm-gen/near)))))

(deftest rights
  (is (= #{:read :write :rdwr 0400 0200 0600} (set (sample rsm-gen/perm))))
  (is (set/subset? #{:none 0 0601 0777 -1 "read" :rdwr} (set (sample rsm-gen/any-perm))))
  (is (every? #(and (<= 0 % 0666) (zero? (bit-and 0111 %))) (sample rsm-gen/acl-perm)))
  (is (not-any? #{:fixed 1} (sample rsm-gen/attr)))
  (is (set/subset? #{:fixed 1 "fixed" nil} (set (sample rsm-gen/any-attr)))))

(deftest ids-and-nodes
  (is (every? #(<= 0x600000 % 0x7FFFFFFF) (sample rsm-gen/segment-id)))
  (let [ids (sample rsm-gen/reserved-segment-id)]
    (is (every? #(or (<= 1 % 0x3FFFFF) (<= 0x80000000 % 0xFFFFFFFF)) ids))
    (is (set/subset? #{1 0x0FFFFF 0x100000 0x1FFFFF 0x200000 0x2FFFFF 0x300000 0x3FFFFF
                       0x80000000 0xFFFFFFFF}
                     (set ids))))
  (let [ids (set (sample rsm-gen/any-segment-id))]
    (is (set/subset? #{0 -1 0x100000000 0x400000 0x5FFFFF} ids))
    (is (some string? ids)))
  (is (every? #(<= 0 % 63) (sample rsm-gen/node)))
  (is (set/subset? #{0 63 64 -1} (set (sample rsm-gen/any-node)))))

(deftest access-lists
  (let [lists (sample (rsm-gen/acl {:nodes [1 2]}))]
    (is (every? #{1 2} (map :node (mapcat identity lists))))
    (is (= #{nil [] 64} (set/intersection #{nil [] 64} (into (set lists) (map count) lists)))))
  (is (every? #(<= (count %) 1) (sample (rsm-gen/acl {:max 1}))))
  (let [lists (sample (rsm-gen/any-acl))]
    (is (some #(and (vector? %) (= 65 (count %))) lists))
    (is (some number? lists))
    (is (some (fn [l] (and (vector? l) (some #(and (map? %) (= 64 (:node %))) l))) lists))))

(deftest map-requests
  (let [segment (assoc place :state :connected)]
    (is (every? #(nil? (model/check-map segment %)) (sample (rsm-gen/map-request place))))
    (testing "arbitrary ones meet every objection that a fresh connection has"
      (is (= #{nil :rsm/bad-args-errors :rsm/bad-offset :rsm/bad-length :rsm/bad-perms
               :rsm/bad-addr :rsm/bad-mem-alignment}
             (set (map #(:rsm/error (model/check-map segment %))
                       (sample (rsm-gen/any-map-request place)))))))
    (testing ":fixed only at what no page begins at"
      (is (every? #(or (not (map? %)) (not (#{:fixed 1 3} (:attr %)))
                       (not (int? (:address %))) (odd? (:address %)))
                  (sample (rsm-gen/any-map-request place)))))
    (testing "every state of a segment"
      (let [answers (map #(model/check-map (gen/generate rsm-gen/segment 30 %)
                                           (gen/generate (rsm-gen/any-map-request place) 30 %))
                         (range 3000))]
        (is (set/subset? #{:rsm/bad-seg-hndl :rsm/seg-already-mapped :rsm/conn-aborted}
                         (set (map :rsm/error answers))))))))

(deftest contents-of-segments
  (doseq [{:keys [size data]} (sample rsm-gen/contents 300)
          {:keys [offset bytes]} data]
    (is (<= 0 offset (+ offset (count bytes)) size))
    (is (every? #(<= -128 % 127) bytes)))
  (is (= 7 (count (gen/generate (rsm-gen/bytes 7))))))

;; ------------------------------------------------------------------ commands

(defn- all-commands [opts n]
  (map #(gen/generate (rsm-gen/commands (merge {:max-length 60} opts)) 60 %) (range n)))

(deftest commands-cover-everything
  (let [sequences (all-commands {} 400)
        commands (mapcat identity sequences)
        results (mapcat model/results sequences)]
    (is (= (disj model/commands :exit :umask :same? :importers)
           (set (map first commands))))
    (is (not-any? :unspecified results))
    (testing "and most errors"
      (is (set/subset? #{:rsm/bad-ctlr-hndl :rsm/ctlr-not-present :rsm/bad-seg-hndl
                         :rsm/seg-already-published :rsm/seg-not-published
                         :rsm/seg-not-published-to-node :rsm/seg-already-mapped
                         :rsm/seg-still-mapped :rsm/seg-not-mapped :rsm/bad-barrier-ptr
                         :rsm/bad-sgio :rsm/bad-addr :rsm/bad-mem-alignment :rsm/bad-offset
                         :rsm/bad-length :rsm/bad-acl :rsm/bad-segid :rsm/reserved-segid
                         :rsm/segid-in-use :rsm/bad-mode :rsm/bad-perms :rsm/perm-denied
                         :rsm/rebind-not-allowed :rsm/pollfd-in-use :rsm/barrier-uninitialized
                         :rsm/barrier-not-opened :rsm/remote-node-unreachable :rsm/conn-aborted
                         :rsm/timeout :rsm/bad-conf :rsm/bad-args-errors}
                       (set (map (comp :rsm/error :error) results)))))
    (testing "and most of the time they succeed"
      (is (< 0.5 (/ (count (filter #(contains? % :ok) results)) (count results)))))))

(deftest commands-keep-to-their-options
  (let [ops #{:get-controller :create :publish :connect :map :get-byte}
        commands (mapcat identity (all-commands {:ops ops :segment-ids [0x700000] :max-length 20
                                                 :controllers [["loopback"]]} 100))]
    (is (= ops (set (map first commands))))
    (is (not-any? #(contains? (nth % 3 nil) :barrier) (filter #(= :connect (first %)) commands)))
    (is (set/subset? (set (keep (comp :segment-id #(nth % 2 nil)) (filter #(= :publish (first %)) commands)))
                     (into #{0x700000 0 -1 0x100000000 "x" Long/MIN_VALUE}
                           (filter #(and (int? %) (or (<= 1 % 0x3FFFFF) (>= % 0x80000000))))
                           (keep (comp :segment-id #(nth % 2 nil)) commands)))))
  (let [sequences (all-commands {:max-length 5} 50)]
    (is (every? #(<= (count %) 5) sequences)))
  (let [state (model/init {:processes {:b {:uid 2}}})
        commands (mapcat identity (all-commands {:processes [:self :b] :state state} 20))]
    (is (some #(= [:in :b] (take 2 %)) commands))))

(deftest the-same-seed-gives-the-same-commands
  (is (= (gen/generate (rsm-gen/commands) 40 3) (gen/generate (rsm-gen/commands) 40 3))))

(deftest failures-shrink
  (testing "a request is left with what is wrong with it"
    (let [segment (assoc place :state :connected)
          misaligned? (fn [request]
                        (and (= 17 (:rsm/code (model/check-map segment request)))
                             (not (:attr request))))]
      (is (= {:offset 1 :length 1}
             (smallest (rsm-gen/any-map-request place) (complement misaligned?))))))
  (testing "commands are left with those that it takes"
    (let [aborted? (fn [commands]
                     (some #(= :rsm/conn-aborted (:rsm/error (:error %))) (model/results commands)))
          commands (smallest (rsm-gen/commands {:max-length 60}) (complement aborted?))]
      (is (<= 5 (count commands) 7) (pr-str commands))
      (is (= [:get-controller :create :publish :connect] (map first (take 4 commands)))))))

(deftest worlds-and-what-goes-wrong-in-them
  (doseq [opts (take 300 (sample (rsm-gen/world {:segments [[1 0x600001]]})))]
    (sim/close! (sim/world opts)))
  (is (= #{:lose :delay :fail :cut :mend :kill :stop :continue :revoke}
         (set (mapcat #(map :fault %) (sample (rsm-gen/faults))))))
  (is (every? #{{:fault :lose :message :put :nth 1} {:fault :lose :message :put :nth 2}}
              (mapcat identity (sample (rsm-gen/faults {:kinds [:lose] :messages [:put] :most-messages 2})))))
  (is (= [{:message :done :nth 1 :fault :lose}]
         (smallest (rsm-gen/faults) (fn [faults] (not-any? #(= [:lose :done] [(:fault %) (:message %)]) faults))))))
