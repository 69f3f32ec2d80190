(ns rsmapi.test.far
  "An interconnect that moves data: a segment is a byte array, to which nobody but the importer has a way.
  What it is asked for is noted, and it can be made to fail."
  (:import (java.nio ByteOrder)
           (java.util Set)
           (org.rsmapi Capabilities Capabilities$AccessControl Capabilities$Memory Controller ControllerAttributes
                       RsmError RsmException)
           (org.rsmapi.mem Engine)
           (org.rsmapi.spi Connection Interconnect Interconnect$AbortListener RemoteMemory Signals Signals$Outcome)))

(set! *warn-on-reflection* true)

(defn segment
  "A segment: {:bytes an array, :asked what connections were asked for, :fail what fails, :listeners,
  :aborted? :byte-order}. In :fail are functions of no argument by operation, called before it is done, and
  :after-put, :before-get and so on.

  Options: :size, :byte-order, :atomic-sizes."
  [{:keys [size byte-order atomic-sizes]}]
  {:bytes (byte-array size)
   :byte-order (or byte-order (ByteOrder/nativeOrder))
   :atomic-sizes (or atomic-sizes #{(int 4) (int 8)})
   :asked (atom [])
   :fail (atom {})
   :listeners (atom [])
   :aborted? (atom false)})

(defn no-answer! []
  (throw (RsmException/of RsmError/BARRIER_FAILURE "far")))

(defn revoke!
  "The exporter takes the memory away."
  [{:keys [aborted? listeners]}]
  (reset! aborted? true)
  (doseq [^Interconnect$AbortListener l @listeners]
    (.aborted l "unpublished")))

(defn- asked! [{:keys [asked fail aborted?]} & [op :as what]]
  (swap! asked conj (vec what))
  (when @aborted?
    (throw (RsmException/of RsmError/CONN_ABORTED "far")))
  (when-let [f (@fail op)]
    (f)))

(defn- number-at [^bytes bytes offset width order]
  (let [b (.order (java.nio.ByteBuffer/wrap bytes) order)]
    (if (= 8 (long width)) (.getLong b (int offset)) (long (.getInt b (int offset))))))

(defn- set-number! [^bytes bytes offset width order value]
  (let [b (.order (java.nio.ByteBuffer/wrap bytes) order)]
    (if (= 8 (long width)) (.putLong b (int offset) (long value)) (.putInt b (int offset) (unchecked-int value)))))

(defn- remote [{:keys [^bytes bytes byte-order] :as segment}]
  (reify RemoteMemory
    (put [_ offset address length]
      (asked! segment :put offset length)
      (locking bytes
        (.copyToArray Engine/ENGINE address bytes (int offset) (int length))))
    (get [_ offset address length]
      (asked! segment :get offset length)
      (locking bytes
        (.copyFromArray Engine/ENGINE bytes (int offset) address (int length))))
    (open [_] (asked! segment :open))
    (order [_] (asked! segment :order))
    (confirm [_] (asked! segment :confirm))
    (compareAndExchange [_ offset width expected value]
      (asked! segment :compare-and-exchange offset width)
      (locking bytes
        (let [before (number-at bytes offset width byte-order)]
          (when (= before expected)
            (set-number! bytes offset width byte-order value))
          before)))
    (getAndAdd [_ offset width delta]
      (asked! segment :get-and-add offset width)
      (locking bytes
        (let [before (number-at bytes offset width byte-order)]
          (set-number! bytes offset width byte-order (unchecked-add before delta))
          before)))))

(defn- silent []
  (reify Signals
    (take [_] false)
    (await [_ _] Signals$Outcome/TIMEOUT)
    (pollDescriptor [_] -1)
    (hold [_] false)
    (release [_])))

(defn- capabilities [{:keys [^Set atomic-sizes]}]
  (Capabilities. Capabilities$Memory/MIRRORED atomic-sizes Capabilities$AccessControl/ENFORCED true "far"))

(defn- connection [{:keys [bytes byte-order aborted?] :as segment}]
  (let [memory (remote segment)
        signals (silent)]
    (reify Connection
      (capabilities [_] (capabilities segment))
      (size [_] (alength ^bytes bytes))
      (byteOrder [_] byte-order)
      (layout [_] nil)
      (signals [_] signals)
      (post [_ _])
      (exporterPid [_] 0)
      (exporterUid [_] -1)
      (aborted [_] @aborted?)
      (remote [_] memory)
      (map [_ _ _ _ _ _ _] (throw (UnsupportedOperationException.)))
      (close [_] (swap! (:asked segment) conj [:close])))))

(defn- interconnect [{:keys [listeners] :as segment}]
  (reify Interconnect
    (name [_] "far0")
    (localNode [_] 0)
    (localOnly [_] false)
    (maxAccessEntries [_] 64)
    (attributes [_] (ControllerAttributes. 8 12 4 0 0 0 0 0 0))
    (capabilities [_] (capabilities segment))
    (allocate [_ _ _] (throw (UnsupportedOperationException.)))
    (adopt [_ _ _ _ _] (throw (UnsupportedOperationException.)))
    (connect [_ _ _ _ _ listener]
      (swap! listeners conj listener)
      (connection segment))
    (close [_])))

(defn controller-of
  "A controller of an interconnect."
  ^Controller [interconnect]
  (let [made (.newInstance (doto (.getDeclaredConstructor Controller (into-array Class [Interconnect]))
                             (.setAccessible true))
                           (object-array [interconnect]))]
    (.setInt (doto (.getDeclaredField Controller "references") (.setAccessible true)) made 1)
    made))

(defn controller
  "A controller over which every segment is this one."
  ^Controller [segment]
  (controller-of (interconnect segment)))

(defn with-controller*
  "Calls f with a controller over which every segment is this one."
  [segment f]
  (with-open [c (controller segment)]
    (f c)))
