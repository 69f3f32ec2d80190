(ns ^:no-doc rsmapi.gen.value
  "Generators of single arguments; rsmapi.gen says what they make. Where alternatives have
  weights, what is right comes first: that is what test.check shrinks to."
  (:refer-clojure :exclude [bytes])
  (:require [clojure.test.check.generators :as gen]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- numbers

(def ^:private extremes
  [0 1 -1 Long/MAX_VALUE Long/MIN_VALUE (dec Long/MAX_VALUE) (inc Long/MIN_VALUE)
   Integer/MAX_VALUE Integer/MIN_VALUE (inc Integer/MAX_VALUE) 0xFFFFFFFF 0x100000000])

(defn- sum
  "A sum that wraps around, as the sums do that a wrong check would make."
  ^long [a b]
  (unchecked-add (long a) (long b)))

(defn near [numbers]
  (let [beside (distinct (mapcat (fn [n] [n (sum n 1) (sum n -1)]) numbers))]
    (gen/frequency
     (cond->> [[2 (gen/elements extremes)]
               [1 gen/large-integer]]
       (seq beside) (cons [6 (gen/elements beside)])))))

(def ^:private nonsense
  "Of no type that anything takes."
  (gen/elements ["x" :nonsense [] #{} 1/2 1.5 (bigint 1e30) (bigint -1e30)]))

(defn- or-nonsense [generator]
  (gen/frequency [[40 generator] [1 nonsense]]))

(defn- page-of ^long [place] (:page-size place 4096))
(defn- size-of ^long [place] (:size place 65536))

;; ------------------------------------------------------------------- sizes

(def page-count
  (gen/frequency [[6 (gen/choose 1 4)] [1 (gen/choose 5 16)]]))

(defn size [place]
  (gen/fmap #(* (page-of place) (long %)) page-count))

(defn any-size [place]
  (let [page (page-of place)]
    (or-nonsense
     (gen/frequency
      [[4 (size place)]
       [3 (gen/elements [0 1 -1 (dec page) (inc page) (- page) (inc (* 2 page)) (dec (* 16 page))])]
       [1 (gen/elements [Long/MAX_VALUE Long/MIN_VALUE (inc Long/MIN_VALUE)
                         (inc (bit-shift-left 1 62))])]]))))

;; --------------------------------------------------------------- in memory

(defn offset [place]
  (let [pages (quot (size-of place) (page-of place))]
    (gen/fmap #(* (page-of place) (long %))
              (gen/frequency [[3 (gen/choose 0 (max 0 (dec pages)))]
                              [1 (gen/elements (distinct [0 (max 0 (dec pages))]))]]))))

(defn any-offset [place]
  (let [page (page-of place), size (size-of place)]
    (gen/frequency
     [[8 (offset place)]
      [1 (gen/choose 0 page)]
      [4 (near [page size (- size page) (- page) (quot size 2)
                (- Long/MAX_VALUE page) (- Long/MAX_VALUE size)])]
      ;; on a page border, where nothing but the sum is wrong
      [1 (gen/fmap #(* page (long %))
                   (gen/elements [-1 (quot size page) (quot Long/MAX_VALUE page)
                                  (quot Long/MIN_VALUE page)]))]])))

(defn length [place offset]
  (let [page (page-of place)
        room (max 1 (- (size-of place) (long offset)))]
    (gen/frequency
     [[2 (gen/choose 1 room)]
      [2 (gen/elements (filterv #(<= 1 (long %) room)
                                [1 (dec page) page (inc page) (dec room) room]))]])))

(defn any-length [place offset]
  (let [page (page-of place)
        room (sum (size-of place) (sum 1 (bit-not (long offset))))]
    (gen/frequency
     [[8 (length place (if (<= 0 (long offset) (size-of place)) offset 0))]
      [4 (near [page room (- page) (sum Long/MAX_VALUE (sum 1 (bit-not (long offset))))
                (- (size-of place))])]])))

(defn window [place]
  (gen/let [offset (offset place)
            length (length place offset)]
    {:offset offset :length length}))

(defn access [place n]
  (let [size (size-of place)
        n (long n)
        step (if (:aligned? place) (max 1 n) 1)
        last-one (* step (quot (max 0 (- size n)) step))]
    (gen/frequency
     [[10 (gen/fmap #(* step (long %)) (gen/choose 0 (quot (max 0 (- size n)) step)))]
      [6 (gen/elements (distinct [0 last-one (max 0 (- last-one step))
                                  (min last-one (* step (quot (page-of place) step)))]))]
      [2 (gen/elements [(inc (- size n)) size (+ size step) -1 (- step) (dec size)])]
      [1 (near [size (- Long/MAX_VALUE n)])]])))

;; ------------------------------------------------------------------ rights

(def perm (gen/elements [:read :write :rdwr 0400 0200 0600]))

(def any-perm
  (gen/frequency
   [[12 perm]
    [2 (gen/elements [:none 0])]
    [3 (gen/elements [0100 0601 0644 0401 01 0700 0777 01000 0666 -1 -0400 0x100000180
                      Long/MAX_VALUE Long/MIN_VALUE])]
    [1 (gen/elements [:nonsense :RDWR "read" [] 0.5 (bigint 1e30)])]]))

(def acl-perm
  (gen/frequency
   [[3 (gen/elements [0600 0640 0400 0200 0666 0644 0060 0066 0 0624])]
    [1 (gen/fmap (fn [[o g w]] (+ (* 0100 (long o)) (* 010 (long g)) (long w)))
                 (gen/vector (gen/elements [6 4 2 0]) 3))]]))

(def ^:private any-acl-perm
  (gen/frequency
   [[4 acl-perm]
    ;; execute bits below 0666 are accepted, and ignored
    [1 (gen/elements [0555 0111 0641])]
    [2 (gen/elements [0667 0777 01000 -1 Long/MAX_VALUE 0x100000180])]]))

(def attr (gen/elements [nil :none :reserved 0 2]))

(def any-attr
  (gen/frequency
   [[6 attr]
    [3 (gen/elements [:fixed 1 3])]
    [1 (gen/elements [:nonsense "fixed" [] 1.5])]]))

;; --------------------------------------------------------------------- ids

(def node
  (gen/frequency [[3 (gen/choose 0 3)] [1 (gen/elements [0 63 62])] [1 (gen/choose 0 63)]]))

(def any-node
  (or-nonsense
   (gen/frequency
    [[6 node]
     [2 (gen/elements [64 65 -1 100 Integer/MAX_VALUE 0x100000000 Long/MIN_VALUE])]])))

(def segment-id
  (gen/frequency
   [[4 (gen/choose 0x600000 0x600010)]
    [1 (gen/elements [0x600000 0x7FFFFFFF])]
    [1 (gen/choose 0x600000 0x7FFFFFFF)]]))

(defn- from-to
  "The numbers of a range, its ends likely."
  [from to]
  (gen/one-of [(gen/elements [from to]) (gen/choose from to)]))

(def reserved-segment-id
  (gen/one-of [(from-to 0x000001 0x0FFFFF)
               (from-to 0x100000 0x1FFFFF)
               (from-to 0x200000 0x2FFFFF)
               (from-to 0x300000 0x3FFFFF)
               (from-to 0x80000000 0xFFFFFFFF)]))

(def any-segment-id
  (or-nonsense
   (gen/frequency
    [[4 segment-id]
     [1 (gen/return 0)]
     [2 reserved-segment-id]
     [1 (from-to 0x400000 0x5FFFFF)]
     [1 (gen/elements [-1 0x100000000 Long/MAX_VALUE Long/MIN_VALUE Integer/MIN_VALUE])]])))

;; ------------------------------------------------------------------- lists

(defn- entry [node perm]
  (gen/let [n node, p perm]
    {:node n :perm p}))

(defn acl [{:keys [nodes max] :or {max 64}}]
  (let [e (entry (if nodes (gen/elements nodes) node) acl-perm)
        few (min 8 (long max))]
    (gen/frequency
     [[2 (gen/elements [nil []])]
      [6 (gen/vector e 1 few)]
      ;; many, of a few kinds: 64 entries that shrink one by one would take for ever
      [1 (gen/fmap #(vec (take max (cycle %))) (gen/vector e 1 4))]])))

(defn any-acl [{:keys [max] :or {max 64} :as opts}]
  (let [e (entry node acl-perm)
        one-wrong (fn [wrong] (gen/let [es (gen/vector e 0 3), w wrong]
                                (conj es w)))]
    (gen/frequency
     [[6 (acl opts)]
      [1 (one-wrong (entry any-node acl-perm))]
      [2 (one-wrong (entry node any-acl-perm))]
      [1 (one-wrong (gen/elements [nil 1 {} {:node 0} {:node 0 :perm 0600 :x 1} [0] [0 0600 1]
                                   [0 "rw"] "0600"]))]
      [1 (gen/fmap #(vec (repeat (inc (long max)) %)) e)]
      [1 (gen/elements [1 "acl" {:node 0 :perm 0600} :all])]])))

;; ---------------------------------------------------------------- requests

(def ^:private part-of
  "Permissions that a connection with a permission can be mapped with."
  {:read [:read 0400], 0400 [:read 0400]
   :write [:write 0200], 0200 [:write 0200]
   :rdwr [:rdwr :read :write 0600 0400 0200], 0600 [:rdwr :read :write 0600 0400 0200]})

(defn- some-of
  "A map of some of these options, each there with its probability in ten."
  [options]
  (gen/let [present (apply gen/tuple
                           (for [[_ n _] options]
                             (gen/frequency [[(- 10 (long n)) (gen/return false)]
                                             [(long n) (gen/return true)]])))
            values (apply gen/tuple (map #(nth % 2) options))]
    (into {} (keep (fn [[p [k] v]] (when p [k v]))) (map vector present options values))))

(defn map-request [place]
  (gen/let [w (window place)
            o (some-of [[:perm 6 (gen/elements (part-of (:perm place :rdwr) [:rdwr]))]
                        [:attr 2 attr]
                        [:address 1 (near [4096])]
                        [:prefault 1 gen/boolean]
                        [:huge-pages 1 (gen/return false)]])
            without (gen/elements [[] [] [:length] [:offset :length]])]
    (apply dissoc (merge w o) without)))

(defn any-map-request [place]
  (gen/frequency
   [[30 (gen/let [offset (or-nonsense (any-offset place))
                  length (or-nonsense (any-length place (if (int? offset) offset 0)))
                  o (some-of [[:perm 6 any-perm]
                              [:attr 3 any-attr]
                              [:address 3 (or-nonsense (near [4096 8192]))]
                              [:prefault 1 (or-nonsense gen/boolean)]
                              [:lock 1 (or-nonsense (gen/return false))]])
                  without (gen/elements [[] [] [] [:length] [:offset]])]
          (let [r (apply dissoc (merge {:offset offset :length length} o) without)]
            ;; never ask the kernel to map at an address that may be in use
            (if (#{:fixed 1 3} (:attr r))
              (update r :address #(if (int? %) (bit-or 1 (long %)) (or % 1)))
              r)))]
    [1 (gen/elements [nil {} {:ofset 0} {:offset 0 "length" 1} 1 "x" [:offset 0]])]]))

;; ---------------------------------------------------------------- segments

(def segment
  (gen/let [size (size nil)
            perm (gen/frequency [[9 (gen/elements [:rdwr :read :write])] [1 (gen/return :none)]])
            state (gen/frequency [[9 (gen/return :connected)] [1 (gen/return :disconnected)]])
            mapped? (gen/frequency [[6 (gen/return false)] [1 (gen/return true)]])
            aborted? (gen/frequency [[4 (gen/return false)] [1 (gen/return true)]])]
    {:page-size 4096 :size size :perm perm :state state
     :mapped? (and mapped? (= :connected state))
     :aborted? aborted?}))

(def ^:private one-byte
  (gen/frequency [[3 (gen/choose -128 127)] [1 (gen/elements [1 -1 127 -128 0x5A])]]))

(defn bytes [n]
  (gen/vector one-byte n))

(def contents
  (gen/let [size (size nil)
            at (gen/return (gen/one-of [(gen/choose 0 (dec (long size)))
                                        (gen/elements [0 (dec (long size)) 4095])]))
            stretches (gen/vector (gen/tuple at (gen/choose 1 32)) 0 4)
            data (apply gen/tuple
                        (for [[at n] stretches
                              :let [at (long at), n (min (long n) (- (long size) at))]]
                          (gen/fmap (fn [b] {:offset at :bytes b}) (bytes n))))]
    {:size size :data data}))
