(ns rsmapi.core
  "Remote Shared Memory: the public API.

  One process exports a segment of memory and publishes it under a 32-bit id; others
  connect to it, map a part of it and use it with plain loads and stores.

    (require '[rsmapi.core :as rsm])

    (rsm/with-controller [c \"loopback\"]
      (rsm/with-exported-segment [ex c {:size 65536 :segment-id 0x600001
                                        :acl [{:node 0 :perm 0640}]}]
        (rsm/with-imported-segment [im c {:node 0 :segment-id 0x600001 :perm :rdwr}]
          (rsm/with-mapped-segment [m im {:offset 4096 :length 8192 :perm :read}]
            (rsm/get-long m 0)))))

  Controllers   get-controller release-controller! with-controller
                controller-attr node-id page-size
  Export        create! destroy! publish! unpublish! republish! export!
                with-exported-segment  published? importers
  Import        connect! disconnect! with-imported-segment
                connected? aborted?
  Mapping       map! unmap! check-map with-mapped-segment mapped? mapping
  Any segment   size segment-id address close!
  Own memory    allocate! free! with-local-memory
  Access        get-long put-long! and so on for byte, short, char, int, float and
                double; -volatile, -acquire and -release! for ordered access;
                compare-and-set-long! get-and-add-long! (and int); get-bytes
                put-bytes! and so on for arrays; get-buffer! put-buffer! fill! copy!

  Sizes, lengths and offsets are in bytes. Permissions are :read, :write, :rdwr or the
  RSMAPI's octal numbers 0400, 0200, 0600. Options are one map. Every failure is an
  exception whose ex-data is described in rsmapi.error. Arguments of a wrong type are
  found before anything else; then the checks run in the order of the manual.

  Handles are java.lang.AutoCloseable, can be used from any thread, print without
  touching the segment, and answer clojure.datafy/datafy."
  (:require [clojure.core.protocols :as protocols]
            [rsmapi.impl.access :as access]
            [rsmapi.impl.args :as args])
  (:import (org.rsmapi Controller ControllerAttributes AccessEntry ExportSegment ImportSegment
                       LocalMemory Mapping Permission RsmError RsmException SegmentMemory)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------ with- macros

(defn ^:no-doc close-after-failure
  "Closes what a with- macro has opened after its body failed: the body's failure is the
  one that is told, and a failure to close goes along as suppressed."
  [^Throwable failure ^java.lang.AutoCloseable handle]
  (try
    (.close handle)
    (catch Throwable t
      (.addSuppressed failure t))))

(defn- opened
  "The form that binds sym (hinted with class) to the value of open for the body, and closes
  it afterwards."
  [macro sym class open body]
  (when-not (simple-symbol? sym)
    (throw (IllegalArgumentException. (str macro " binds one symbol, as in [x ...]"))))
  (let [sym (if (:tag (meta sym)) sym (vary-meta sym assoc :tag class))]
    `(let [~sym ~open
           result# (try
                     ~@body
                     (catch Throwable t#
                       (close-after-failure t# ~sym)
                       (throw t#)))]
       (.close ~(with-meta (symbol (name sym)) {:tag class}))
       result#)))

;; ------------------------------------------------------------- controllers

(defn get-controller
  "The controller of this name: \"loopback\" (also for nil) for the local node, \"shm0\" to
  \"shm31\" for 64 nodes on one machine. The same name gives the same controller and one
  reference more; end each with release-controller!.

  Options:
    :node  the node to play, 0 to 63; shm controllers only. The default is what the
           system property rsmapi.node or the environment variable RSMAPI_NODE says,
           or 0

  Errors, in order: :rsm/bad-conf (no such node), :rsm/ctlr-not-present,
  :rsm/insufficient-resources. rsm_get_controller(3RSM)."
  (^Controller [name] (get-controller name nil))
  (^Controller [name opts]
   (let [op "get-controller"
         {:keys [node]} (args/options opts #{:node} op)]
     (when-not (or (nil? name) (string? name))
       (throw (args/failure RsmError/CTLR_NOT_PRESENT op :argument "name"
                            :hint "a controller's name is a string")))
     (if (nil? node)
       (Controller/get ^String name)
       (Controller/get ^String name
                       (int (args/int32 (args/integer node nil RsmError/BAD_CONF [op "node"]) -1)))))))

(defn release-controller!
  "Drops one reference to a controller; the last one ends it. Segments that are still there
  go on. Returns nil.

  Errors: :rsm/bad-ctlr-hndl (not a controller, or no reference is left).
  rsm_release_controller(3RSM)."
  [controller]
  (.release (args/controller controller "release-controller")))

(defmacro with-controller
  "Evaluates body with sym bound to (get-controller name opts), and releases it afterwards.

    (with-controller [c \"loopback\"] ...)
    (with-controller [c \"shm0\" {:node 3}] ...)"
  [[sym name opts] & body]
  (opened "with-controller" sym `Controller `(get-controller ~name ~opts) body))

(defn controller-attr
  "What a controller can do, as a map with the RSMAPI's names:

    :attr-direct-access-sizes  :attr-atomic-sizes   masks, bit values are bytes
    :attr-page-size            mask in KiB: bit n stands for 2^n KiB
    :attr-max-export-segment-size :attr-tot-export-segment-size    bytes
    :attr-max-export-segments                                      count
    :attr-max-import-map-size :attr-tot-import-map-size            bytes
    :attr-max-import-segments                                      count

  0 means no limit; loopback says 0 for all but the page size, as the original does. Beyond
  the original, :page-size is this machine's page size in bytes.

  Errors: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released).
  rsm_get_controller_attr(3RSM)."
  [controller]
  (let [^ControllerAttributes a (.attributes (args/controller controller "controller-attr"))]
    {:attr-direct-access-sizes (long (.directAccessSizes a))
     :attr-atomic-sizes (long (.atomicSizes a))
     :attr-page-size (.pageSize a)
     :attr-max-export-segment-size (.maxExportSegmentSize a)
     :attr-tot-export-segment-size (.totalExportSegmentSize a)
     :attr-max-export-segments (.maxExportSegments a)
     :attr-max-import-map-size (.maxImportMapSize a)
     :attr-tot-import-map-size (.totalImportMapSize a)
     :attr-max-import-segments (.maxImportSegments a)
     :page-size (Controller/pageSize)}))

(defn node-id
  "The node that is played on a controller, 0 to 63.

  Errors: :rsm/bad-ctlr-hndl."
  [controller]
  (long (.nodeId (args/controller controller "node-id"))))

(defn page-size
  "This machine's page size in bytes. Sizes of segments and offsets of mappings are
  multiples of it."
  []
  (Controller/pageSize))

;; ------------------------------------------------------------------ export

(def ^:private create-options #{:size :address :buffer :allow-rebind :dont-wait})

(defn create!
  "Creates an export segment, which can then be published. Returns it.

  Options:
    :size          in bytes, a multiple of the page size. Needed, except with :buffer. The
                   memory is zero, and all of it is allocated now
    :address       the caller's own memory instead, by address, a multiple of the page size:
                   memory from allocate!, or any if the JVM was started with
                   -Drsmapi.foreign-memory=allow. It keeps its content and its address, also
                   after destroy!
    :buffer        the caller's own memory instead: a direct java.nio.ByteBuffer, from its
                   position to its limit
    :allow-rebind  true: the memory may be exchanged later (RSM_ALLOW_REBIND)
    :dont-wait     true: fail rather than wait for resources (RSM_CREATE_SEG_DONTWAIT)

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released), :rsm/bad-addr (nil
  or unusable memory), :rsm/bad-length, :rsm/bad-mem-alignment, :rsm/bad-length (more than
  the controller takes), :rsm/bad-addr (not mapped, a file mapped shared),
  :rsm/perm-denied (not writable), :rsm/bad-addr (not known to be the caller's),
  :rsm/insufficient-mem, :rsm/insufficient-resources.
  rsm_memseg_export_create(3RSM)."
  ^ExportSegment [controller opts]
  (let [op "export-create"
        c (args/controller controller op)
        {:keys [size address buffer allow-rebind dont-wait]} (args/options opts create-options op)
        flags (int (bit-or (long (if (args/flag allow-rebind op "allow-rebind") ExportSegment/ALLOW_REBIND 0))
                           (long (if (args/flag dont-wait op "dont-wait") ExportSegment/CREATE_SEG_DONTWAIT 0))))
        bytes #(args/integer size nil RsmError/BAD_LENGTH [op "size"])]
    (cond
      (some? buffer) (.exportCreate c (args/buffer buffer op) flags)
      (contains? opts :address) (.exportCreate c
                                               (args/integer address nil RsmError/BAD_ADDR [op "address"])
                                               (long (bytes))
                                               flags)
      :else (.exportCreate c (long (bytes)) flags))))

(defn destroy!
  "Destroys an export segment, unpublishing it first if it is published. Returns nil.
  Memory of the caller's own keeps its address and content.

  Errors: :rsm/bad-seg-hndl (not an export segment, or destroyed already).
  rsm_memseg_export_destroy(3RSM)."
  [segment]
  (.destroy (args/export-segment segment "export-destroy")))

(defn publish!
  "Publishes an export segment and returns its segment id.

  Options:
    :segment-id  0x400000 to 0x7fffffff (applications use 0x600000 and above); 0, the
                 default, has one assigned
    :acl         who may connect: a vector of {:node n :perm 0640}, the three octal digits
                 being for owner, group and others, each 4 (read) plus 2 (write). Nil or
                 empty, the default: every node, with what the umask at create! leaves.
                 loopback takes one entry, for the local node; shm controllers take 64

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-already-published, :rsm/bad-segid (not 32
  bits), :rsm/reserved-segid, :rsm/bad-acl, :rsm/segid-in-use, :rsm/insufficient-mem,
  :rsm/insufficient-resources.
  rsm_memseg_export_publish(3RSM)."
  ([segment] (publish! segment nil))
  ([segment opts]
   (let [op "export-publish"
         ex (args/export-segment segment op)
         {:keys [segment-id acl]} (args/options opts #{:segment-id :acl} op)]
     (.publish ex
               (args/integer segment-id 0 RsmError/BAD_SEGID [op "segment-id"])
               (args/acl acl op)))))

(defn unpublish!
  "Ends a segment's publication. When this returns, no importer sees the memory any more or
  can change it. The content stays, and the segment can be published again. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-not-published, :rsm/insufficient-mem (call
  again).
  rsm_memseg_export_unpublish(3RSM)."
  [segment]
  (.unpublish (args/export-segment segment "export-unpublish")))

(defn republish!
  "Changes a published segment's access list for later connects; who is connected keeps what
  they have. Returns nil.

  Options:
    :acl  as in publish!

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-not-published, :rsm/bad-acl.
  rsm_memseg_export_republish(3RSM)."
  [segment opts]
  (let [op "export-republish"
        ex (args/export-segment segment op)
        {:keys [acl]} (args/options opts #{:acl} op)]
    (.republish ex (args/acl acl op))))

(defn export!
  "create! and publish! in one: returns the published segment. Options are those of both.
  If publishing fails, nothing is left; the errors are those of both."
  ^ExportSegment [controller opts]
  (let [opts (args/options opts (conj create-options :segment-id :acl) "export-create")
        ex (create! controller (dissoc opts :segment-id :acl))]
    (try
      (publish! ex (select-keys opts [:segment-id :acl]))
      ex
      (catch Throwable t
        (close-after-failure t ex)
        (throw t)))))

(defmacro with-exported-segment
  "Creates and publishes a segment, evaluates body with sym bound to it, and destroys it
  afterwards. Options are those of create! and publish!.

    (with-exported-segment [ex c {:size 65536 :segment-id 0x600001}] ...)"
  [[sym controller opts] & body]
  (opened "with-exported-segment" sym `ExportSegment `(export! ~controller ~opts) body))

(defn published?
  "Whether an export segment is published."
  [segment]
  (.isPublished (args/export-segment segment "published?")))

(defn importers
  "How many importers are connected to an export segment now."
  [segment]
  (long (.importers (args/export-segment segment "importers"))))

;; ------------------------------------------------------------------ import

(defn connect!
  "Connects to a published segment and returns the import segment.

  Options:
    :segment-id  needed
    :node        the exporting node; default: the controller's own
    :perm        :read, :write or :rdwr; default :rdwr. :none (0) is legal too: every
                 listed node gets it, and nothing can be mapped with it
    :timeout-ms  how long to wait for the exporter's answer, which takes microseconds unless
                 it is stopped; default 5000

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released), :rsm/perm-denied
  (not a permission), :rsm/bad-segid (not 32 bits), :rsm/bad-args-errors (a negative
  timeout), :rsm/ctlr-not-present (another node over loopback),
  :rsm/remote-node-unreachable, :rsm/insufficient-resources, :rsm/seg-not-published,
  :rsm/bad-driver-version, :rsm/seg-not-published-to-node, :rsm/perm-denied (not granted),
  :rsm/conn-aborted (the exporter broke off or breaks the protocol), :rsm/timeout,
  :rsm/interrupted.
  rsm_memseg_import_connect(3RSM)."
  ^ImportSegment [controller opts]
  (let [op "import-connect"
        c (args/controller controller op)
        {:keys [node segment-id perm timeout-ms]}
        (args/options opts #{:node :segment-id :perm :timeout-ms} op)]
    (.importConnect c
                    (int (args/int32 (args/integer node (.nodeId c) RsmError/REMOTE_NODE_UNREACHABLE [op "node"]) -1))
                    (args/integer segment-id nil RsmError/BAD_SEGID [op "segment-id"])
                    (int (args/perm perm 0600 RsmError/PERM_DENIED op))
                    (args/duration timeout-ms 5000 op))))

(defn disconnect!
  "Ends a connection. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl (not an import segment, or disconnected already),
  :rsm/seg-still-mapped.
  rsm_memseg_import_disconnect(3RSM)."
  [segment]
  (.disconnect (args/import-segment segment "import-disconnect")))

(defmacro with-imported-segment
  "Connects to a segment, evaluates body with sym bound to the import segment, and
  afterwards unmaps what is mapped and disconnects. Options are those of connect!.

    (with-imported-segment [im c {:segment-id 0x600001 :perm :read}] ...)"
  [[sym controller opts] & body]
  (opened "with-imported-segment" sym `ImportSegment `(connect! ~controller ~opts) body))

(defn connected?
  "Whether an import segment has not been disconnected."
  [segment]
  (.isConnected (args/import-segment segment "connected?")))

(defn aborted?
  "Whether the exporter has revoked an import segment or is gone: the newest information
  there is, and nobody is asked for it."
  [segment]
  (.isAborted (args/import-segment segment "aborted?")))

;; ----------------------------------------------------------------- mapping

(def ^:private map-options #{:offset :length :perm :attr :address :over :at})

(defn- map-request
  "The arguments of ImportSegment.map from the options of map!."
  [^ImportSegment im opts]
  (let [op "import-map"
        {:keys [offset length perm attr address over at]} (args/options opts map-options op)
        offset (args/integer offset 0 RsmError/BAD_OFFSET [op "offset"])
        _ (when (and (some? over) (or (some? attr) (some? address)))
            (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "over"
                                 :hint ":over says where to map; :attr and :address do not go with it")))
        rest-of-it (if (<= 0 offset (.size im)) (- (.size im) offset) (.size im))]
    {:offset offset
     :length (args/integer length rest-of-it RsmError/BAD_LENGTH [op "length"])
     :perm (args/perm perm (.bits (.permission im)) RsmError/BAD_PERMS op)
     :attr (args/attr attr op)
     :address (args/integer address 0 RsmError/BAD_ADDR [op "address"])
     :over (when (some? over) (args/local-memory over op))
     :at (args/integer at 0 RsmError/BAD_ADDR [op "at"])}))

(defn map!
  "Maps a part of an import segment and returns the mapping, which the access functions
  read and write at offsets from its start.

  Options:
    :offset   in bytes, a multiple of the page size; default 0
    :length   in bytes, need not be a multiple of the page size; default: the rest
    :perm     :read, :write or :rdwr, at most what the connection has; default: all of that.
              The kernel enforces :read; :write is enforced by this library
    :attr     :none, or :fixed to map exactly at :address (RSM_MAP_FIXED); default :none
    :address  with :fixed, where to map: a multiple of the page size; nothing may be mapped
              there. Otherwise a hint
    :over     memory from allocate!, to map in its place, instead of :attr and :address; then
    :at       says where in it, in bytes, a multiple of the page size; default 0

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-already-mapped, :rsm/bad-perms (not a
  permission), :rsm/bad-length (0), :rsm/bad-offset (negative), :rsm/bad-length (negative, or
  past the end), :rsm/bad-mem-alignment (offset, then address), :rsm/conn-aborted,
  :rsm/bad-perms (more than the connection has), :rsm/bad-length (the address cannot be
  used; :rsm/occupied-by says what is there), :rsm/insufficient-resources, :rsm/map-failed.
  rsm_memseg_import_map(3RSM)."
  (^Mapping [segment] (map! segment nil))
  (^Mapping [segment opts]
   (let [im (args/import-segment segment "import-map")
         {:keys [offset length perm attr address over at]} (map-request im opts)]
     (if over
       (.mapOver im over (long at) (int perm) (long offset) (long length))
       (.map im (long address) (int attr) (int perm) (long offset) (long length))))))

(defn check-map
  "What map! would throw for these options now, as a value: the error's data, or nil if the
  request is good. Nothing is mapped, and the kernel is not asked, so a fixed address may
  still turn out to be taken.

    (check-map im {:offset 100 :length 10})
    ;=> {:rsm/error :rsm/bad-mem-alignment, :rsm/code 17, :rsm/op :import-map, ...}"
  ([segment] (check-map segment nil))
  ([segment opts]
   (try
     (let [im (args/import-segment segment "import-map")
           {:keys [offset length perm attr address ^LocalMemory over at]} (map-request im opts)]
       (some-> (if over
                 (.checkMapOver im over (long at) (int perm) (long offset) (long length))
                 (.checkMap im (long address) (int attr) (int perm) (long offset) (long length)))
               ex-data))
     (catch RsmException e
       (ex-data e)))))

(defn unmap!
  "Unmaps the mapping of an import segment, given either. Who is using it at this moment reads
  zeros and writes to nobody, and then gets :rsm/seg-not-mapped. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-not-mapped.
  rsm_memseg_import_unmap(3RSM)."
  [segment]
  (if (and (instance? Mapping segment) (not (.isCurrent ^Mapping segment)))
    (throw (args/failure RsmError/SEG_NOT_MAPPED "import-unmap"
                         :segment-id (.segmentId (.segment ^Mapping segment))))
    (.unmap (args/import-segment segment "import-unmap"))))

(defmacro with-mapped-segment
  "Maps a part of an import segment, evaluates body with sym bound to the mapping, and
  unmaps it afterwards. Options are those of map!; they can be left out.

    (with-mapped-segment [m im {:offset 4096 :length 8192 :perm :read}]
      (get-long m 0))"
  [[sym segment opts] & body]
  (opened "with-mapped-segment" sym `Mapping `(map! ~segment ~opts) body))

(defn mapping
  "The current mapping of an import segment, or nil."
  [segment]
  (.mapping (args/import-segment segment "mapping")))

(defn mapped?
  "Whether a mapping is mapped, or an import segment has a mapping."
  [segment]
  (if (instance? Mapping segment)
    (.isCurrent ^Mapping segment)
    (some? (mapping segment))))

;; ------------------------------------------------------------- own memory

(defn allocate!
  "Page-aligned memory of this process alone, of zeros: to export by its address, or to map
  over. Ends with free!.

  Errors: :rsm/bad-length, :rsm/insufficient-mem."
  ^LocalMemory [bytes]
  (LocalMemory/allocate (args/integer bytes nil RsmError/BAD_LENGTH ["allocate" "length"])))

(defn free!
  "Ends memory from allocate!. What is exported or mapped in it goes on until that ends.
  Returns nil, also if it has been done before.

  Errors: :rsm/bad-addr (not such memory)."
  [memory]
  (.close (args/local-memory memory "free")))

(defmacro with-local-memory
  "Evaluates body with sym bound to (allocate! bytes), and frees it afterwards."
  [[sym bytes] & body]
  (opened "with-local-memory" sym `LocalMemory `(allocate! ~bytes) body))

;; ------------------------------------------------------------ any segment

(defn size
  "The size in bytes of a segment, or of the window of a mapping. That an importer can ask
  for it is beyond the original."
  [x]
  (cond
    (instance? SegmentMemory x) (.size ^SegmentMemory x)
    :else (.size (args/import-segment x "size"))))

(defn segment-id
  "The segment id of an import segment or mapping, or of an export segment if it is
  published (nil if not)."
  [x]
  (if (instance? ExportSegment x)
    (let [id (.segmentId ^ExportSegment x)]
      (when-not (neg? id) id))
    (.segmentId (args/import-segment x "segment-id"))))

(defn address
  "The address of the first byte, in this process, of an export segment, a mapping or local
  memory. For calls of other native libraries; nothing guards an access by address."
  [x]
  (cond
    (instance? ExportSegment x) (.address ^ExportSegment x)
    (instance? Mapping x) (.address ^Mapping x)
    (instance? LocalMemory x) (.address ^LocalMemory x)
    :else (throw (args/failure RsmError/BAD_SEG_HNDL "address" :argument "segment"))))

(defn close!
  "Ends any handle of this library in the proper way, whatever its state: destroys an export
  segment, unmaps and disconnects an import segment, unmaps a mapping, frees memory, drops
  one reference to a controller. Returns nil; a second time does nothing.

  Errors: :rsm/bad-seg-hndl (not a handle)."
  [handle]
  (if (or (instance? SegmentMemory handle)
          (instance? ImportSegment handle)
          (instance? Controller handle))
    (.close ^java.lang.AutoCloseable handle)
    (throw (args/failure RsmError/BAD_SEG_HNDL "close" :argument "handle"))))

;; ----------------------------------------------------------- typed access

(access/def-accessors)

;; ------------------------------------------------- printing, and as data

(doseq [c [Controller ExportSegment ImportSegment Mapping LocalMemory]]
  (defmethod print-method c [x ^java.io.Writer w] (.write w (str x))))

(defn- permission-keyword [^Permission p]
  ({Permission/NONE :none Permission/READ :read Permission/WRITE :write Permission/RDWR :rdwr} p))

(defn- acl-data [entries]
  (mapv (fn [^AccessEntry e] {:node (long (.node e)) :perm (long (.permission e))}) entries))

(extend-protocol protocols/Datafiable
  Controller
  (datafy [c]
    (cond-> {:name (.name c) :node (long (.nodeId c)) :open? (.isOpen c)}
      (.isOpen c) (assoc :attributes (controller-attr c))))

  ExportSegment
  (datafy [ex]
    {:type :export-segment
     :state (cond (not (.isOpen ex)) :destroyed (.isPublished ex) :published :else :created)
     :controller (.name (.controller ex))
     :segment-id (segment-id ex)
     :size (.size ex)
     :address (.address ex)
     :acl (some-> (.access ex) acl-data)
     :allow-rebind (pos? (bit-and (.flags ex) ExportSegment/ALLOW_REBIND))
     :importers (long (.importers ex))})

  ImportSegment
  (datafy [im]
    {:type :import-segment
     :state (cond (not (.isConnected im)) :disconnected (.isAborted im) :aborted :else :connected)
     :controller (.name (.controller im))
     :node (long (.node im))
     :segment-id (.segmentId im)
     :perm (permission-keyword (.permission im))
     :size (.size im)
     :exporter {:pid (long (.exporterPid im)) :uid (long (.exporterUid im))}
     :mapping (some-> (.mapping im) protocols/datafy)})

  Mapping
  (datafy [m]
    {:type :mapping
     :state (cond (not (.isCurrent m)) :unmapped (.isMapped m) :mapped :else :aborted)
     :segment-id (.segmentId (.segment m))
     :perm (permission-keyword (.permission m))
     :attr (if (= (.attributes m) ImportSegment/MAP_FIXED) :fixed :none)
     :offset (.offset m)
     :length (.size m)
     :address (.address m)})

  LocalMemory
  (datafy [m]
    {:type :local-memory :size (.size m) :address (.address m) :open? (.isOpen m)}))
