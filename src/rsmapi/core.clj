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
                controller-attr node-id page-size topology segment-id-range
  Export        create! destroy! publish! unpublish! republish! rebind! export!
                with-exported-segment  published? importers
  Import        connect! disconnect! with-imported-segment
                connected? aborted?
  Mapping       map! unmap! check-map with-mapped-segment mapped? mapping
  Any segment   size segment-id address close!
  Own memory    allocate! free! with-local-memory
                create-localmemory-handle! free-localmemory-handle!
  Put and get   put! get! put8! get8 put16! get16 put32! get32 put64! get64
                putv! getv! put-signal!  byte-order
  Barriers      init-barrier! open-barrier! order-barrier! close-barrier!
                destroy-barrier! with-barrier  barrier-mode set-barrier-mode!
  Signals       signal-post! signal-wait! signal-wait-pollfd! get-pollfd!
                release-pollfd! on-signal!
  Access        get-long put-long! and so on for byte, short, char, int, float and
                double; -volatile, -acquire and -release! for ordered access;
                compare-and-set-long! get-and-add-long! (and int, and with
                -acquire! and -release!); get-bytes put-bytes! and so on for arrays;
                get-buffer! put-buffer! fill! copy!; read-snapshot write-snapshot!

  Sizes, lengths and offsets are in bytes. Permissions are :read, :write, :rdwr or the
  RSMAPI's octal numbers 0400, 0200, 0600. Options are one map. Every failure is an
  exception whose ex-data is described in rsmapi.error. Arguments of a wrong type are
  found before anything else; then the checks run in the order of the manual.

  Handles are java.lang.AutoCloseable, can be used from any thread, print without
  touching the segment, and answer clojure.datafy/datafy."
  (:require [clojure.core.protocols :as protocols]
            [rsmapi.impl.access :as access]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.transfer :as transfer])
  (:import (java.io File)
           (java.nio ByteBuffer ByteOrder)
           (java.nio.file Path)
           (java.util.function Function)
           (org.rsmapi Controller ControllerAttributes AccessEntry Barrier BarrierMode
                       ExportSegment ImportSegment LocalMemory LocalMemoryHandle Mapping
                       Permission PollFd PollFd$Ready RsmError RsmException ScatterGather Segment
                       SegmentIdRange SegmentMemory Seqlock Topology Topology$ConnectionState
                       Topology$LocalController Topology$RemoteController)
           (org.rsmapi.clj Listener Move)))

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

  Errors, in order: :rsm/bad-conf (no such node), :rsm/ctlr-not-present (also: the system does
  not have the effects that the library needs), :rsm/insufficient-resources,
  :rsm/insufficient-mem. rsm_get_controller(3RSM)."
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
  multiples of it.

  Errors: :rsm/ctlr-not-present (native functions cannot be called)."
  []
  (Controller/pageSize))

(defn- keyword-of [^Enum e]
  (keyword (.replace (.toLowerCase (.name e) java.util.Locale/ROOT) "_" "-")))

(defn topology
  "What can be reached from here, as a map:

    {:node 0
     :controllers [{:name \"shm0\" :hw-addr 0
                    :peers [{:node 3 :controller \"shm0\" :hw-addr 3 :state :active}]}]}

  :node is the local node. A controller is there if somebody on this machine uses it (shm
  controllers; loopback is not listed), its peers are the nodes that others play. :state is
  :down, :up, :active or :going-down; only :active can be used.

  Errors: :rsm/bad-conf (the configured node is none), :rsm/ctlr-not-present (native functions
  cannot be called).
  rsm_get_interconnect_topology(3RSM)."
  []
  (let [^Topology t (Controller/topology)]
    {:node (long (.nodeId t))
     :controllers
     (mapv (fn [^Topology$LocalController c]
             {:name (.name c)
              :hw-addr (.hardwareAddress c)
              :peers (mapv (fn [^Topology$RemoteController r]
                             {:node (long (.nodeId r))
                              :controller (.controller r)
                              :hw-addr (.hardwareAddress r)
                              :state (keyword-of (.state r))})
                           (.peers c))})
           (.controllers t))}))

(defn segment-id-range
  "The segment ids that are reserved for an application, a string: {:base 0x600000 :length 16},
  the first id and how many.

  Options:
    :file  the configuration file; default what the system property rsmapi.segmentid or the
           environment variable RSMAPI_SEGMENTID says, or /etc/rsm/rsm.segmentid. Its lines
           are `reserved <application id> <base, hexadecimal> <length, decimal>`

  Errors, in order: :rsm/bad-addr (nil, not a string), :rsm/bad-conf (the file cannot be read,
  is not a regular file, or is larger than a MiB, or a line up to the application's is
  malformed), :rsm/bad-appid (no line for it).
  rsm_get_segmentid_range(3RSM)."
  ([application-id] (segment-id-range application-id nil))
  ([application-id opts]
   (let [op "segment-id-range"
         {:keys [file]} (args/options opts #{:file} op)
         text (fn ^String [x argument]
                (if (string? x)
                  x
                  (throw (args/failure RsmError/BAD_ADDR op :argument argument :hint "give a string"))))
         id (text application-id "application-id")
         file (if (instance? File file) (str file) file)
         ^SegmentIdRange r (if (nil? file)
                             (SegmentIdRange/of ^String id)
                             (SegmentIdRange/of ^String id ^Path (if (instance? Path file) file (args/path (text file "file") op))))]
     {:base (.base r) :length (.length r)})))

;; ------------------------------------------------------------------ export

(def ^:private create-options
  #{:size :address :buffer :allow-rebind :dont-wait :prefault :lock :huge-pages})

(defn- create-flags [op {:keys [allow-rebind dont-wait prefault lock huge-pages]}]
  (reduce (fn [^long flags [on argument bit]]
            (if (args/flag on op argument) (bit-or flags (long bit)) flags))
          0
          [[allow-rebind "allow-rebind" ExportSegment/ALLOW_REBIND]
           [dont-wait "dont-wait" ExportSegment/CREATE_SEG_DONTWAIT]
           [prefault "prefault" ExportSegment/PREFAULT]
           [lock "lock" ExportSegment/LOCK]
           [huge-pages "huge-pages" ExportSegment/HUGE_PAGES]]))

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
                   position to its limit. It must not belong to an arena that can be closed
    :allow-rebind  true: the memory may be exchanged later (RSM_ALLOW_REBIND)
    :dont-wait     true: fail rather than wait for resources (RSM_CREATE_SEG_DONTWAIT)

  Beyond the original:
    :prefault      true: enter all pages into the page table now, so that no first access
                   has to
    :lock          true: keep the memory from being swapped out, for as long as it is shared
    :huge-pages    true: huge pages; size and address have to be multiples of theirs, 2 MiB
                   on x86-64

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released), :rsm/bad-addr (nil
  or unusable memory), :rsm/bad-length, :rsm/bad-mem-alignment, :rsm/bad-length (more than
  the controller takes), :rsm/bad-mem-alignment (huge pages), :rsm/bad-addr (in use by
  another segment or mapping, not mapped, a file mapped shared), :rsm/perm-denied (not
  writable), :rsm/bad-addr (not known to be the caller's),
  :rsm/insufficient-mem (also: it cannot be locked), :rsm/insufficient-resources (also: there
  are no huge pages).
  rsm_memseg_export_create(3RSM)."
  ^ExportSegment [controller opts]
  (let [op "export-create"
        c (args/controller controller op)
        {:keys [size address buffer] :as opts}
        (-> (args/options opts create-options op)
            (args/exclusive [:address :buffer] op)
            (args/exclusive [:size :buffer] op))
        flags (int (create-flags op opts))
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

  Errors, in order: :rsm/bad-seg-hndl (not an export segment, or destroyed already),
  :rsm/pollfd-in-use, :rsm/insufficient-mem (there was none to move the caller's own content
  to; call again).
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

(defn- address-in
  "The address of a place in local memory from which there are as many bytes. Where they are not
  all in it, it is one that no memory has, for the core to refuse in its turn: what lies
  behind may be other memory of the caller's."
  ^long [memory at ^long bytes op]
  (let [m (args/local-memory memory op "memory")
        at (args/integer at 0 RsmError/BAD_ADDR [op "at"])
        page (Controller/pageSize)
        whole (* page (quot (+ (.size m) (dec page)) page))]
    (if (<= 0 at (- whole bytes))
      (+ (.address m) at)
      -1)))

(defn rebind!
  "Takes other memory of the caller's, with what it contains, in the place of a segment's
  present memory. Importers stay connected and mapped, and see the new content at the same
  address; while the call runs, what they see is undefined. Memory of the caller's own that
  is given up keeps its address and content. Returns nil.

  Options, one of
    :memory   memory from allocate!; with :at, where in it, in bytes, default 0
    :address  such memory by its address; with :length, in bytes
    :buffer   a direct java.nio.ByteBuffer, from its position to its limit, as in create!

  The length has to be the segment's. Access to the segment through this library waits
  meanwhile; nobody may write to the new memory otherwise.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-addr (nil), :rsm/rebind-not-allowed (not
  created with :allow-rebind), :rsm/bad-length, :rsm/bad-addr (not at a page, in use by
  another segment or mapping, not mapped, a file mapped shared), :rsm/perm-denied (not
  writable), :rsm/bad-addr (not known to be the caller's), :rsm/rebind-not-allowed (published,
  and another segment is exported over the present memory), :rsm/insufficient-mem,
  :rsm/insufficient-resources. The present memory once more is no error, and nothing is done.
  rsm_memseg_export_rebind(3RSM)."
  [segment opts]
  (let [op "export-rebind"
        ex (args/export-segment segment op)
        {:keys [memory at address length buffer]}
        (-> (args/options opts #{:memory :at :address :length :buffer} op)
            (args/exclusive [:memory :address :buffer] op)
            (args/exclusive [:at :address :buffer] op)
            (args/exclusive [:length :buffer] op))
        size (.size ex)]
    (cond
      (some? buffer) (.rebind ex (args/buffer buffer op))
      (some? memory) (let [length (args/integer length size RsmError/BAD_LENGTH [op "length"])]
                       (.rebind ex (address-in memory at size op) length))
      :else (.rebind ex
                     (args/integer address 0 RsmError/BAD_ADDR [op "address"])
                     (args/integer length size RsmError/BAD_LENGTH [op "length"])))))

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
  "Whether an export segment is published. While another thread publishes or unpublishes it, this
  waits for how that ends."
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
    :perm        :read, :write or :rdwr; default :rdwr. :none (0) is legal too: whoever
                 could have one of the others gets it, and nothing can be mapped with it
    :timeout-ms  how long to wait for the exporter's answer, which takes microseconds unless
                 it is stopped; default 5000
    :barrier     whether to initialise a barrier at once, so that put! and get! work as they
                 are; default true. The original does not

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released), :rsm/perm-denied
  (not a permission), :rsm/bad-segid (not 32 bits), :rsm/bad-args-errors (a negative
  timeout), :rsm/ctlr-not-present (another node over loopback),
  :rsm/remote-node-unreachable, :rsm/insufficient-resources, :rsm/seg-not-published,
  :rsm/bad-driver-version, :rsm/seg-not-published-to-node, :rsm/perm-denied (not granted),
  :rsm/insufficient-resources (the exporter's, or this user has its share of its importers),
  :rsm/conn-aborted (the exporter broke off or breaks the protocol), :rsm/timeout,
  :rsm/interrupted.
  rsm_memseg_import_connect(3RSM)."
  ^ImportSegment [controller opts]
  (let [op "import-connect"
        c (args/controller controller op)
        {:keys [node segment-id perm timeout-ms barrier]}
        (args/options opts #{:node :segment-id :perm :timeout-ms :barrier} op)
        barrier? (or (nil? barrier) (args/flag barrier op "barrier"))
        im (.importConnect c
                           (int (args/int32 (args/integer node (.nodeId c) RsmError/REMOTE_NODE_UNREACHABLE [op "node"]) -1))
                           (args/integer segment-id nil RsmError/BAD_SEGID [op "segment-id"])
                           (int (args/perm perm 0600 RsmError/PERM_DENIED op))
                           (args/duration timeout-ms 5000 op))]
    (when barrier?
      (.initBarrier im))
    im))

(defn disconnect!
  "Ends a connection, and the mapping that put! or get! may have made. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl (not an import segment, or disconnected already),
  :rsm/seg-still-mapped (by map!), :rsm/pollfd-in-use.
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
     :over (when (some? over) (args/local-memory over op "over"))
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
  used; :rsm/occupied-by says what is there), :rsm/insufficient-resources, :rsm/insufficient-mem (all
  memory is locked, and so much may not be), :rsm/map-failed.
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
  "The current mapping of an import segment, made by map! or by put! and get!, or nil."
  [segment]
  (.mapping (args/import-segment segment "mapping")))

(defn mapped?
  "Whether a mapping is mapped, or an import segment has a mapping."
  [segment]
  (if (instance? Mapping segment)
    (.isCurrent ^Mapping segment)
    (some? (.mapping (args/import-segment segment "mapped?")))))

;; ------------------------------------------------------------- own memory

(defn allocate!
  "Page-aligned memory of this process alone, of zeros: to export by its address, or to map
  over. Ends with free!.

  Errors, in order: :rsm/bad-length, :rsm/ctlr-not-present (native functions cannot be
  called), :rsm/insufficient-mem, :rsm/insufficient-resources."
  ^LocalMemory [bytes]
  (LocalMemory/allocate (args/integer bytes nil RsmError/BAD_LENGTH ["allocate" "length"])))

(defn free!
  "Ends memory from allocate!. What is exported or mapped in it goes on until that ends.
  Returns nil, also if it has been done before.

  Errors: :rsm/bad-addr (not such memory)."
  [memory]
  (.close (args/local-memory memory "free" "memory")))

(defmacro with-local-memory
  "Evaluates body with sym bound to (allocate! bytes), and frees it afterwards."
  [[sym bytes] & body]
  (opened "with-local-memory" sym `LocalMemory `(allocate! ~bytes) body))

;; ------------------------------------------------------------- put and get

(defn put!
  "Writes bytes to an import segment, at offset in bytes from the start of the segment, and
  returns nil. The source is a byte array, a java.nio.ByteBuffer (from its position to its
  limit, where the position is then) or memory: local memory, an export segment, a mapping.
  index and count say which bytes of an array or a memory; without them it is all. The source
  may overlap the target.

  A segment that is not mapped gets mapped, as a whole and with the connection's permission,
  until unmap! or disconnect!; of one that map! has mapped, only the mapped part can be
  reached.

  When it returns, in the barrier mode :implicit, the data is in the exporter's memory. In
  the mode :explicit, close-barrier! tells.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-addr (not usable as source),
  :rsm/bad-mem-alignment (in put16! and the like: the address of local memory, then the
  offset), :rsm/conn-aborted (not mapped), :rsm/insufficient-resources, :rsm/bad-length,
  :rsm/map-failed (it cannot be mapped), :rsm/perm-denied, :rsm/bad-offset (not wholly inside
  the segment or its mapped part), :rsm/bad-length (not wholly inside the source),
  :rsm/barrier-uninitialized, :rsm/conn-aborted; then those of the state of a memory that is
  the source.
  rsm_memseg_import_put(3RSM)."
  ([segment offset source] (Move/put segment offset source nil nil))
  ([segment offset source index count]
   (Move/put segment offset source (args/given index) (args/given count))))

(defn get!
  "Reads bytes of an import segment from offset on, in bytes from the start of the segment,
  into the target, and returns that: a byte array, a java.nio.ByteBuffer (from its position
  to its limit, where the position is then) or memory. index and count say which bytes of an
  array or a memory; without them it is all.

  For mapping, barriers and errors see put!.
  rsm_memseg_import_get(3RSM)."
  ([segment offset target] (Move/get segment offset target nil nil))
  ([segment offset target index count]
   (Move/get segment offset target (args/given index) (args/given count))))

(transfer/def-transfers)

(defn byte-order
  "The byte order of the machine that exports an import segment: :little-endian or
  :big-endian.

  Errors: :rsm/bad-seg-hndl."
  [segment]
  (if (= ByteOrder/LITTLE_ENDIAN (.byteOrder (args/import-segment segment "byte-order")))
    :little-endian
    :big-endian))

(defn putv!
  "Writes up to 16 pieces to an import segment, one after the other. Returns {:residual 0}:
  how many are left.

    (putv! {:segment im
            :iovec [{:local memory :local-offset 0 :remote-offset 4096 :length 100}
                    {:local h :remote-offset 8192 :length 8}]
            :signal true})

  Request:
    :segment        the import segment
    :iovec          a vector of pieces. Of each, :local is a local memory handle, memory, a
                    byte array, a java.nio.ByteBuffer (counted from its start) or the address
                    of memory from allocate!; :length is in bytes; :local-offset and
                    :remote-offset too, both default 0
    :signal         true: then post one event (RSM_IMPLICIT_SIGPOST)
    :no-accumulate  true: but not if there are events (RSM_SIGPOST_NO_ACCUMULATE)

  No barrier is needed, and the barrier mode does not matter.

  Errors, in order: :rsm/bad-sgio (not a request), :rsm/bad-seg-hndl, :rsm/bad-sgio (no piece,
  more than 16, one that is none); then piece by piece, with :rsm/entry, its index, and
  :rsm/residual, how many are left with it: :rsm/bad-localmem-hndl, :rsm/bad-addr, and those
  of put! but for barriers; then those of signal-post!. What came before the piece stays
  done.
  rsm_memseg_import_putv(3RSM)."
  [request]
  {:residual (long (ImportSegment/putv (args/scatter-gather request "putv")))})

(defn getv!
  "Reads up to 16 pieces of an import segment, one after the other; see putv!.
  rsm_memseg_import_getv(3RSM)."
  [request]
  {:residual (long (ImportSegment/getv (args/scatter-gather request "getv")))})

(defn create-localmemory-handle!
  "A handle for memory that putv! and getv! use often: local memory, an export segment, a
  mapping, a direct java.nio.ByteBuffer (from its position to its limit), or the address of
  memory from allocate!. It ends with free-localmemory-handle!.

  Options, not with a buffer:
    :offset  where it starts in a memory, in bytes; default 0. A page has to start there
    :length  in bytes; default the rest. Needed with an address

  Errors, in order: :rsm/bad-ctlr-hndl (not a controller), :rsm/bad-addr (not usable, not at a
  page), :rsm/ctlr-not-present (released), :rsm/bad-length.
  rsm_create_localmemory_handle(3RSM)."
  (^LocalMemoryHandle [controller memory] (create-localmemory-handle! controller memory nil))
  (^LocalMemoryHandle [controller memory opts]
   (let [op "create-localmemory-handle"
         c (args/controller controller op)
         {:keys [offset length]} (args/options opts #{:offset :length} op)
         start (args/integer offset 0 RsmError/BAD_ADDR [op "offset"])
         bytes (fn [default] (args/integer length default RsmError/BAD_LENGTH [op "length"]))]
     (cond
       (instance? SegmentMemory memory)
       (.createLocalMemoryHandle c ^SegmentMemory memory start
                                 (long (bytes (- (.size ^SegmentMemory memory) start))))

       (int? memory)
       (.createLocalMemoryHandle c (unchecked-add (long memory) start) (long (bytes nil)))

       (and (instance? ByteBuffer memory) (or offset length))
       (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "options"
                            :hint "a buffer is taken from its position to its limit"))

       :else
       (.createLocalMemoryHandle c (args/buffer memory op))))))

(defn free-localmemory-handle!
  "Frees a local memory handle; the memory stays. Returns nil.

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released),
  :rsm/bad-localmem-hndl (not one, or freed already).
  rsm_free_localmemory_handle(3RSM)."
  [controller handle]
  (let [op "free-localmemory-handle"
        c (args/controller controller op)]
    (if (or (nil? handle) (instance? LocalMemoryHandle handle))
      (.freeLocalMemoryHandle c handle)
      (throw (args/failure RsmError/BAD_LOCALMEM_HNDL op :argument "handle" :handle handle)))))

;; ---------------------------------------------------------------- barriers

(defn init-barrier!
  "Initialises a barrier for an import segment and returns it. It becomes the one that put!
  and get! use in the mode :implicit; connect! has made the first.

  Errors: :rsm/bad-seg-hndl.
  rsm_memseg_import_init_barrier(3RSM)."
  ^Barrier [segment]
  (.initBarrier (args/import-segment segment "init-barrier")))

(defn open-barrier!
  "Opens a barrier, for what is done until close-barrier!. Returns nil. An open one starts
  anew; that the exporter is gone is told by the close.

  Errors, in order: :rsm/bad-barrier-ptr (not a barrier), :rsm/barrier-uninitialized
  (destroyed), :rsm/bad-seg-hndl (disconnected).
  rsm_memseg_import_open_barrier(3RSM)."
  [barrier]
  (.open (args/barrier barrier "open-barrier"))
  nil)

(defn order-barrier!
  "What this thread has read and written before comes before what it reads and writes
  afterwards, for everybody: a full fence. Returns nil.

  Errors, in order: :rsm/bad-barrier-ptr, :rsm/barrier-uninitialized, :rsm/bad-seg-hndl,
  :rsm/barrier-not-opened.
  rsm_memseg_import_order_barrier(3RSM)."
  [barrier]
  (.order (args/barrier barrier "order-barrier")))

(defn close-barrier!
  "Closes a barrier. If it returns (nil), every access by this thread since the open, by put!
  and get! or through a mapping, has reached the memory that was published when the segment
  was connected. If not, some of it may be lost. Nobody is asked for that. A rebind! of the
  exporter's is no failure.

  Errors, in order: :rsm/bad-barrier-ptr, :rsm/barrier-uninitialized, :rsm/bad-seg-hndl,
  :rsm/barrier-not-opened, :rsm/conn-aborted (the barrier is closed then).
  rsm_memseg_import_close_barrier(3RSM)."
  [barrier]
  (.close (args/barrier barrier "close-barrier")))

(defn destroy-barrier!
  "Ends a barrier. If it is the one that put! and get! use, they have none then. Returns nil.

  Errors, in order: :rsm/bad-barrier-ptr, :rsm/barrier-uninitialized (destroyed already).
  rsm_memseg_import_destroy_barrier(3RSM)."
  [barrier]
  (.destroy (args/barrier barrier "destroy-barrier")))

(defn ^:no-doc extra-barrier!
  "A barrier beside the one that put! and get! use."
  ^Barrier [segment]
  (.extraBarrier (args/import-segment segment "init-barrier")))

(defmacro with-barrier
  "Evaluates body between the open and the close of a barrier of an import segment, bound to
  sym, and destroys it. Returns the value of body if everything that it did has happened;
  throws :rsm/conn-aborted if some of it may be lost.

    (with-barrier [b im]
      (put-long! m 0 1)
      (order-barrier! b)
      (put-long! m 8 2))"
  [[sym segment] & body]
  (when-not (simple-symbol? sym)
    (throw (IllegalArgumentException. "with-barrier binds one symbol, as in [b im]")))
  `(let [~(vary-meta sym assoc :tag `Barrier) (extra-barrier! ~segment)]
     (try
       (open-barrier! ~sym)
       (let [result# (do ~@body)]
         (close-barrier! ~sym)
         result#)
       (finally
         (close! ~sym)))))

(defn barrier-mode
  "The barrier mode of an import segment: :implicit, as at first, where put! and get! see for
  themselves that nothing is lost, or :explicit, where close-barrier! tells.

  Errors: :rsm/bad-seg-hndl.
  rsm_memseg_import_get_mode(3RSM)."
  [segment]
  (keyword-of (.getMode (args/import-segment segment "get-mode"))))

(defn set-barrier-mode!
  "Changes the barrier mode of an import segment to :implicit (1) or :explicit (0). Returns
  nil.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-mode.
  rsm_memseg_import_set_mode(3RSM)."
  [segment mode]
  (.setMode (args/import-segment segment "set-mode") (args/barrier-mode mode)))

;; ----------------------------------------------------------------- signals

(defn- post-flags [opts op]
  (let [{:keys [no-accumulate]} (args/options opts #{:no-accumulate} op)]
    (int (if (args/flag no-accumulate op "no-accumulate") Segment/SIGPOST_NO_ACCUMULATE 0))))

(defn signal-post!
  "Posts one event, and returns nil: with an import segment, for the export segment, whatever
  the permission; with an export segment, for each import segment that is connected to it,
  which may be none. Events are counted: as many signal-wait! succeed as were posted.

  Options:
    :no-accumulate  true: who has events already gets none (RSM_SIGPOST_NO_ACCUMULATE); an
                    importer does not see events that other users' importers have posted

  Errors, in order: :rsm/bad-seg-hndl, :rsm/conn-aborted (an import segment),
  :rsm/insufficient-resources (the counter is at its end).
  rsm_intr_signal_post(3RSM)."
  ([segment] (signal-post! segment nil))
  ([segment opts]
   (let [op "signal-post"
         s (args/segment segment op)]
     (.signalPost s (post-flags opts op)))))

(defn put-signal!
  "put!, and if that has succeeded signal-post! with these options. Returns nil.

  Errors: those of put!, then those of signal-post!."
  ([segment offset source] (put-signal! segment offset source nil))
  ([segment offset source opts]
   (let [flags (post-flags opts "signal-post")]
     (put! segment offset source)
     (.signalPost (args/import-segment segment "signal-post") flags))))

(defn signal-wait!
  "Waits for an event of a segment and takes it. Returns nil.

  Options:
    :timeout-ms  how long; 0 only looks. Negative or not given: for ever

  Errors, in order: :rsm/bad-seg-hndl (also if the segment is ended meanwhile),
  :rsm/conn-aborted (an import segment without events whose exporter is gone, also meanwhile),
  :rsm/timeout, :rsm/interrupted.
  rsm_intr_signal_wait(3RSM)."
  ([segment] (signal-wait! segment nil))
  ([segment opts]
   (let [op "signal-wait"
         s (args/segment segment op)
         {:keys [timeout-ms]} (args/options opts #{:timeout-ms} op)]
     (.signalWait s (args/timeout timeout-ms op)))))

(defn get-pollfd!
  "A descriptor to wait with for a segment and other things at once, one reference more; it
  can be datafied, as {:fd n :events #{:in :rdnorm} ...}. It is for signal-wait-pollfd!, and
  for poll and epoll in whatever library: it has input while the segment has events (of an
  import segment also, for ever, when the exporter is gone). Do not read from it; take the
  events by signal-wait! or signal-wait-pollfd!.

  While there are references, the segment cannot be destroyed or disconnected, but by close!.

  Errors: :rsm/bad-seg-hndl, :rsm/insufficient-resources.
  rsm_memseg_get_pollfd(3RSM)."
  ^PollFd [segment]
  (.getPollfd (args/segment segment "get-pollfd")))

(defn release-pollfd!
  "Drops one reference to a segment's poll descriptor; without any it does nothing. Returns
  nil.

  Errors: :rsm/bad-seg-hndl.
  rsm_memseg_release_pollfd(3RSM)."
  [segment]
  (.releasePollfd (args/segment segment "release-pollfd")))

(defn signal-wait-pollfd!
  "Waits until there is something for at least one of several descriptors: those of
  get-pollfd!, and others as {:fd 5 :events #{:in}} (:in, :out, :pri). Of each segment with
  events one is taken. Returns those with something, in order, each as

    {:fd 5 :revents #{:in}}  or  {:fd 7 :segment im :revents #{:rdnorm}}

  A segment that has ended, or whose exporter is gone, has :hup; for the others it is what
  poll(2) says. Several threads may wait with the same descriptors: an event is reported to
  the one that has taken it.

  Options:
    :timeout-ms  as in signal-wait!

  Errors: :rsm/bad-addr (nil), :rsm/bad-args-errors, :rsm/ctlr-not-present (native functions
  cannot be called), :rsm/insufficient-mem, :rsm/timeout, :rsm/interrupted. rsm_intr_signal_wait_pollfd(3RSM)."
  ([fds] (signal-wait-pollfd! fds nil))
  ([fds opts]
   (let [op "signal-wait-pollfd"
         {:keys [timeout-ms]} (args/options opts #{:timeout-ms} op)
         waited (args/pollfds fds op)]
     (mapv (fn [^PollFd$Ready ready]
             (let [p (.fd ready)]
               (cond-> {:fd (long (.fd p)) :revents (args/poll-events (.revents ready))}
                 (.segment p) (assoc :segment (.segment p)))))
           (PollFd/await waited (args/timeout timeout-ms op))))))

(defn on-signal!
  "Calls (f segment) for each event of a segment, one after the other, on a thread of its own,
  until the segment is ended, its exporter is gone, or what this returns is closed: it is
  java.lang.AutoCloseable. The events are taken, so nobody else should wait for them.

  Options:
    :on-end  a function of one argument, called last, on the same thread: with the error that
             ended it (ex-data says which, as in :rsm/conn-aborted), with nil if it was
             closed, or with what f threw

  Errors: :rsm/bad-seg-hndl, :rsm/bad-args-errors (not a function),
  :rsm/insufficient-resources (no thread can be made)."
  ([segment f] (on-signal! segment f nil))
  ([segment f opts]
   (let [op "on-signal"
         s (args/segment segment op)
         {:keys [on-end]} (args/options opts #{:on-end} op)]
     (doseq [[x argument] [[f "f"] [(or on-end identity) "on-end"]]]
       (when-not (ifn? x)
         (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument argument :hint "give a function"))))
     (Listener/start s
                     (reify java.util.function.Consumer
                       (accept [_ segment] (f segment)))
                     (reify java.util.function.Consumer
                       (accept [_ failure] (when on-end (on-end failure))))))))

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
  segment, unmaps and disconnects an import segment (either also with poll descriptors in
  use), unmaps a mapping, frees memory or its handle, destroys a barrier, drops one reference
  to a controller, ends a listener of on-signal!. Returns nil; a second time does nothing.

  Errors: :rsm/bad-seg-hndl (not a handle)."
  [handle]
  (cond
    (instance? Barrier handle) (when (.isInitialized ^Barrier handle)
                                 (.destroy ^Barrier handle))
    (or (instance? SegmentMemory handle)
        (instance? ImportSegment handle)
        (instance? Controller handle)
        (instance? LocalMemoryHandle handle)
        (instance? Listener handle)) (.close ^java.lang.AutoCloseable handle)
    :else (throw (args/failure RsmError/BAD_SEG_HNDL "close" :argument "handle"))))

;; ----------------------------------------------------------- typed access

(access/def-accessors)

;; --------------------------------------------------------------- snapshots

(defn read-snapshot
  "Reads data that others write with write-snapshot! as a whole, never half-written: again
  and again until nobody has written meanwhile. Readers hold up nobody.

  A version, a long at a multiple of 8, goes with the data: even if nobody is writing, odd
  while somebody is, and 2 more after each write.

  Options:
    :version     the offset of the version in bytes; default 0
    :offset      where the data is, in bytes; default 8
    :length      in bytes; default up to the end of the memory
    :read        a function of the memory that is called instead, and whose value is
                 returned. What it reads may be half-written, and then it is called again
    :timeout-ms  how long to try; negative or not given: for ever

  Returns the data as a byte array, or what :read returns.

  Errors: those of get-bytes and get-long-acquire; :rsm/bad-offset (the data lies over the
  version), :rsm/timeout (somebody is writing all the time, or has died while writing),
  :rsm/interrupted. Beyond the original."
  ([memory] (read-snapshot memory nil))
  ([memory opts]
   (let [op "read-snapshot"
         m (args/memory memory op)
         {:keys [version offset length read timeout-ms]}
         (args/options opts #{:version :offset :length :read :timeout-ms} op)
         version (args/integer version 0 RsmError/BAD_OFFSET [op "version"])
         timeout (args/timeout timeout-ms op)]
     (if (some? read)
       (if (ifn? read)
         (Seqlock/read m version (reify Function (apply [_ memory] (read memory))) timeout)
         (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "read" :hint "give a function")))
       (let [offset (args/integer offset 8 RsmError/BAD_OFFSET [op "offset"])
             length (args/integer length (max 0 (- (.size m) offset)) RsmError/BAD_LENGTH [op "length"])]
         (Seqlock/read m version offset length timeout))))))

(defn write-snapshot!
  "Writes a byte array as a whole, for readers who use read-snapshot, after others who are
  writing. Returns the new version. A write that has begun comes to its end: an interrupt
  ends only the wait before it.

  Options:
    :version     the offset of the version in bytes; default 0
    :offset      where the data goes, in bytes; default 8
    :timeout-ms  how long to wait for other writers; negative or not given: for ever

  Errors: those of put-bytes! and compare-and-set-long!; :rsm/bad-offset (the data lies over
  the version), :rsm/timeout (somebody has died while writing), :rsm/interrupted. Beyond the
  original."
  ([memory data] (write-snapshot! memory data nil))
  ([memory data opts]
   (let [op "write-snapshot"
         m (args/memory memory op)
         {:keys [version offset timeout-ms]} (args/options opts #{:version :offset :timeout-ms} op)]
     (if (bytes? data)
       (Seqlock/write m
                      (args/integer version 0 RsmError/BAD_OFFSET [op "version"])
                      (args/integer offset 8 RsmError/BAD_OFFSET [op "offset"])
                      ^bytes data 0 (alength ^bytes data)
                      (args/timeout timeout-ms op))
       (throw (args/failure RsmError/BAD_ADDR op :argument "data" :data data :hint "give a byte array"))))))

;; ------------------------------------------------- printing, and as data

(doseq [c [Controller ExportSegment ImportSegment Mapping LocalMemory LocalMemoryHandle Barrier
           PollFd Listener]]
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
     :state (cond (not (.isOpen ex)) :destroyed (neg? (.segmentId ex)) :created :else :published)
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
     :byte-order (byte-order im)
     :barrier-mode (when (.isConnected im) (barrier-mode im))
     :mapping (some-> (.mapping im) protocols/datafy)})

  Mapping
  (datafy [m]
    {:type :mapping
     :state (cond (not (.isCurrent m)) :unmapped (.isMapped m) :mapped :else :aborted)
     :segment-id (.segmentId (.segment m))
     :perm (permission-keyword (.permission m))
     :attr (if (= (.attributes m) ImportSegment/MAP_FIXED) :fixed :none)
     :implicit? (.isImplicit m)
     :offset (.offset m)
     :length (.size m)
     :address (.address m)})

  LocalMemoryHandle
  (datafy [h]
    {:type :local-memory-handle :length (.length h) :open? (.isOpen h)})

  Barrier
  (datafy [b]
    {:type :barrier
     :state (cond (not (.isInitialized b)) :destroyed (.isOpen b) :open :else :closed)
     :segment (.segment b)})

  PollFd
  (datafy [p]
    {:type :pollfd
     :fd (long (.fd p))
     :events (args/poll-events (.events p))
     :revents (args/poll-events (.revents p))
     :segment (.segment p)})

  LocalMemory
  (datafy [m]
    {:type :local-memory :size (.size m) :address (.address m) :open? (.isOpen m)}))
