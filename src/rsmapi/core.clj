(ns rsmapi.core
  "Remote Shared Memory: the public API.

  One process exports a segment of memory and publishes it under a 32-bit id. Others connect to
  it, map a part of it, and use it with plain loads and stores.

    (require '[rsmapi.core :as rsm])

    (rsm/with-controller [c \"loopback\"]
      (rsm/with-exported-segment [ex c {:size 65536 :segment-id 0x600001
                                        :acl [{:node 0 :perm 0640}]}]
        (rsm/with-imported-segment [im c :node 0 :segment-id 0x600001 :perm :rdwr]
          (rsm/with-mapped-segment [m im {:offset 4096 :length 8192 :perm :read}]
            (rsm/get-long m 0)))))

  Controllers   get-controller release-controller! with-controller
                controller-attr node-id page-size topology segment-id-range
                capabilities
  Export        create! destroy! publish! unpublish! republish! rebind! export!
                with-exported-segment  published? importers
  Import        connect! disconnect! with-imported-segment
                connected? aborted?
  Mapping       map! unmap! check-map with-mapped-segment mapped? mapping  pull! push!
  Any segment   size segment-id address close!  memory-segment
  Own memory    allocate! free! with-local-memory
                create-localmemory-handle! free-localmemory-handle!
  Put and get   put! get! put8! get8 get8! put16! get16 get16! put32! get32 get32!
                put64! get64 get64! putv! getv! put-signal!  byte-order
  Barriers      init-barrier! open-barrier! order-barrier! close-barrier!
                destroy-barrier! with-barrier  barrier-mode set-barrier-mode!
  Signals       signal-post! signal-wait! signal-wait-pollfd! get-pollfd!
                release-pollfd! on-signal!
  Access        get-long put-long! and so on for byte, short, char, int, float and
                double; -volatile, -acquire and -release! for ordered access;
                compare-and-set-long! get-and-add-long! (and int, and with
                -acquire! and -release!; without those for import segments, too); get-bytes get-bytes! put-bytes! and so on for
                arrays; get-buffer! put-buffer! fill! copy!; get-text put-text! for
                strings; read-snapshot write-snapshot!

  Sizes, lengths and offsets are in bytes. Permissions are :read, :write, :rdwr or the RSMAPI's
  octal numbers 0400, 0200, 0600. A function whose name ends in ! changes a handle, the memory,
  or a target of the caller's.

  Options are the last arguments: a map, or keywords with their values, or both. So
  (create! c {:size 65536}) is (create! c :size 65536). The with- macros take them in the same way.

  Every failure is an exception whose ex-data is described in rsmapi.error. Types of arguments
  are checked first; the other checks have the order of the manual.

  Handles are java.lang.AutoCloseable, can be used from any thread, print without touching the
  segment, and support clojure.datafy/datafy."
  (:require [rsmapi.impl.args :as args :refer [untagged]]
            [rsmapi.impl.data :as data]
            [rsmapi.impl.scope :as scope])
  (:import (java.nio ByteBuffer)
           (java.util.function Function)
           (org.rsmapi ArrayType Barrier Barrier$Scope Controller ElementWidth ExportSegment ImportSegment LocalMemory
                       LocalMemoryHandle Mapping PollFd RsmError RsmException SegmentIdRange
                       SegmentMemory Seqlock)
           (org.rsmapi.clj Atomic Bulk Coerce Listener Transfer)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ------------------------------------------------------------- controllers

(defn get-controller
  "Returns the controller of this name: \"loopback\" (also for nil) for the local node, \"shm0\" to
  \"shm31\" for 64 nodes on one machine, \"net0\" to \"net7\" for other hosts (see rsmapi.hosts). The
  same name and node return the same controller, with one more reference. Call
  release-controller! once for each.

  Options:
    :node  the node of this process, 0 to 63; shm controllers only. The default is the system
           property rsmapi.node, the environment variable RSMAPI_NODE, or 0. On net controllers
           the host's key decides

  Errors, in order: :rsm/bad-conf (no such node), :rsm/ctlr-not-present (also: an effect of a
  system call that the library needs is missing), :rsm/insufficient-resources,
  :rsm/insufficient-mem. Net controllers: also :rsm/bad-conf (the key or the nodes file, with
  :rsm/file and :rsm/line; this process cannot read the key, and no process of this host plays the
  gateway), :rsm/remote-node-unreachable (the gateway of this host does not let it in).
  rsm_get_controller(3RSM)."
  (^Controller [name] (get-controller name nil))
  (^Controller [name opts]
   (let [op "get-controller"
         {:keys [node]} (args/options opts #{:node} op)
         name (args/controller-name name op)]
     (if (nil? node)
       (Controller/get name)
       (Controller/get name (int (args/node node nil RsmError/BAD_CONF op))))))
  (^Controller [name opts & more] (get-controller name (args/trailing opts more))))

(defn release-controller!
  "Drops one reference to a controller. The last one ends the controller; its segments stay
  usable. Returns nil.

  Errors: :rsm/bad-ctlr-hndl (not a controller, or no reference is left).
  rsm_release_controller(3RSM)."
  [controller]
  (.release (args/controller controller "release-controller")))

(defmacro with-controller
  "Evaluates body with sym bound to (get-controller name opts), then releases the controller.

    (with-controller [c \"loopback\"] ...)
    (with-controller [c \"shm0\" :node 3] ...)"
  [[sym name & opts] & body]
  (scope/opened "with-controller" sym `Controller `(get-controller ~name ~@opts) body))

(defn controller-attr
  "Returns the attributes of a controller, with the RSMAPI's names:

    :attr-direct-access-sizes  :attr-atomic-sizes   masks, bit values are bytes
    :attr-page-size            mask in KiB: bit n stands for 2^n KiB
    :attr-max-export-segment-size :attr-tot-export-segment-size    bytes
    :attr-max-export-segments                                      count
    :attr-max-import-map-size :attr-tot-import-map-size            bytes
    :attr-max-import-segments                                      count

  0 means no limit; loopback has 0 for all but the page size, as the original. :page-size,
  the machine's page size in bytes, is beyond the original.

  Errors: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released).
  rsm_get_controller_attr(3RSM)."
  [controller]
  (data/attributes (.attributes (args/controller controller "controller-attr"))))

(defn capabilities
  "Returns what can be done over a controller, or with an import segment (or its mapping):

    {:memory :shared, :atomic-sizes [4 8], :access-control :enforced, :encrypted? false,
     :via \"loopback\"}

  :memory is :shared if a mapping is the exporter's memory, or :mirrored if it is a copy, which
  barriers, pull! and push! bring up to date. :atomic-sizes are the widths in bytes of
  compare-and-set and get-and-add on an import segment. :access-control is :enforced, or :advisory
  if only importers that keep to the rules are held by access lists. :encrypted? says whether what
  travels between machines is encrypted; it is false where nothing does. :via is the name of the way.

  Errors: :rsm/bad-args-errors (neither of these), :rsm/ctlr-not-present (released).
  Beyond the RSMAPI."
  [x]
  (data/capabilities
   (cond
     (instance? Controller x) (.capabilities ^Controller x)
     (instance? ImportSegment x) (.capabilities ^ImportSegment x)
     (instance? Mapping x) (.capabilities (.segment ^Mapping x))
     :else (throw (args/failure RsmError/BAD_ARGS_ERRORS "capabilities" :argument "x" :value x
                                :hint "give a controller or an import segment")))))

(defn node-id
  "Returns this process's node on a controller, 0 to 63.

  Errors: :rsm/bad-ctlr-hndl."
  [controller]
  (long (.nodeId (args/controller controller "node-id"))))

(defn page-size
  "Returns this machine's page size in bytes. Sizes of segments and offsets of mappings are
  multiples of it.

  Errors: :rsm/ctlr-not-present (native functions cannot be called)."
  []
  (Controller/pageSize))

(defn topology
  "Returns the controllers and nodes that can be reached:

    {:node 0
     :controllers [{:name \"shm0\" :hw-addr 0
                    :peers [{:node 3 :controller \"shm0\" :hw-addr 3 :state :active}]}]}

  :node is the local node. The list has each shm controller that is open on this machine, with
  the nodes that other controllers have. loopback is not listed. :state is :down, :up, :active
  or :going-down; only :active can be used.

  Errors: :rsm/bad-conf (the configured node is invalid), :rsm/ctlr-not-present (native
  functions cannot be called).
  rsm_get_interconnect_topology(3RSM)."
  []
  (data/topology (Controller/topology)))

(defn segment-id-range
  "Returns the segment ids that are reserved for an application (a string), as
  {:base 0x600000 :length 16}: the first id, and how many.

  Options:
    :file  the configuration file. The default is the system property rsmapi.segmentid, the
           environment variable RSMAPI_SEGMENTID, or /etc/rsm/rsm.segmentid. Its lines are
           `reserved <application id> <base, hexadecimal> <length, decimal>`

  Errors, in order: :rsm/bad-addr (nil, not a string), :rsm/bad-conf (the file cannot be read,
  is not a regular file, or is larger than 1 MiB, or a line up to the application's is
  malformed), :rsm/bad-appid (no line for the application).
  rsm_get_segmentid_range(3RSM)."
  ([application-id] (segment-id-range application-id nil))
  ([application-id opts]
   (let [op "segment-id-range"
         {:keys [file]} (args/options opts #{:file} op)
         id (args/text application-id op "application-id")]
     (data/id-range (if (nil? file)
                      (SegmentIdRange/of id)
                      (SegmentIdRange/of id (args/file-path file op))))))
  ([application-id opts & more] (segment-id-range application-id (args/trailing opts more))))

;; ------------------------------------------------------------------ export

(defn create!
  "Creates an export segment and returns it. publish! makes it available to others.

  Options:
    :size          in bytes, a multiple of the page size. Required, except with :buffer. The
                   memory is zero, and all of it is allocated now
    :round-up      true: round :size up to whole pages (huge ones with :huge-pages)
    :address       exports the caller's memory at this address, a multiple of the page size:
                   memory from allocate!, or any if the JVM has
                   -Drsmapi.foreign-memory=allow. It keeps its content and address, also
                   after destroy!
    :buffer        exports the memory of a direct java.nio.ByteBuffer, from its position to its
                   limit. It must not belong to an arena that can be closed
    :allow-rebind  true: rebind! is allowed (RSM_ALLOW_REBIND)
    :dont-wait     true: fail rather than wait for resources (RSM_CREATE_SEG_DONTWAIT)

  Beyond the original:
    :prefault      true: enter all pages into the page table now
    :lock          true: keep the memory from being swapped out while it is shared
    :huge-pages    true: use huge pages; size and address are multiples of theirs, 2 MiB on
                   x86-64

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released), :rsm/bad-addr (nil or
  unusable memory), :rsm/bad-length, :rsm/bad-mem-alignment, :rsm/bad-length (more than the
  controller allows), :rsm/bad-mem-alignment (huge pages), :rsm/bad-addr (in use by another
  segment or mapping, not mapped, a file that is mapped shared), :rsm/perm-denied (not
  writable), :rsm/bad-addr (not known to be the caller's), :rsm/insufficient-mem (also: it
  cannot be locked), :rsm/insufficient-resources (also: there are no huge pages).
  rsm_memseg_export_create(3RSM)."
  (^ExportSegment [controller] (create! controller nil))
  (^ExportSegment [controller opts]
   (let [op "export-create"
         c (args/controller controller op)
         {:keys [size address buffer] :as opts}
         (-> (args/options opts args/create-options op)
             (args/exclusive [:address :buffer] op)
             (args/exclusive [:size :buffer] op)
             (args/exclusive [:round-up :buffer] op))
         flags (int (args/create-flags op opts))
         bytes #(args/rounded (args/integer size nil RsmError/BAD_LENGTH [op "size"]) op opts)]
     (cond
       (some? buffer) (.exportCreate c (args/buffer buffer op) flags)
       (contains? opts :address) (.exportCreate c
                                                (args/integer address nil RsmError/BAD_ADDR [op "address"])
                                                (long (bytes))
                                                flags)
       :else (.exportCreate c (long (bytes)) flags))))
  (^ExportSegment [controller opts & more] (create! controller (args/trailing opts more))))

(defn destroy!
  "Destroys an export segment; unpublishes it first if it is published. The caller's own memory
  keeps its address and content. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl (not an export segment, or destroyed already),
  :rsm/pollfd-in-use, :rsm/insufficient-mem (there is no memory to copy the caller's own
  content to; call again).
  rsm_memseg_export_destroy(3RSM)."
  [segment]
  (.destroy (args/export-segment segment "export-destroy")))

(defn publish!
  "Publishes an export segment and returns its segment id.

  Options:
    :segment-id  0x400000 to 0x7fffffff (applications use 0x600000 and above); with 0, the
                 default, the library assigns an id
    :acl         the access list, a vector of {:node n :perm 0640}. The three octal digits are
                 for owner, group and others, each 4 (read) plus 2 (write). With nil or an
                 empty list, the default, every node has 0666 less the umask at create!.
                 loopback takes one entry, for the local node; shm controllers take 64
    :layout      a layout of rsmapi.layout, or its form, which importers get (beyond the original)

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-already-published, :rsm/bad-segid (not 32
  bits), :rsm/reserved-segid, :rsm/bad-acl, :rsm/segid-in-use, :rsm/insufficient-mem,
  :rsm/insufficient-resources.
  rsm_memseg_export_publish(3RSM)."
  ([segment] (publish! segment nil))
  ([segment opts]
   (let [op "export-publish"
         ex (args/export-segment segment op)
         {:keys [segment-id acl layout]} (args/options opts #{:segment-id :acl :layout} op)
         layout (args/layout-text layout op)]
     (.publish ex
               (args/integer segment-id 0 RsmError/BAD_SEGID [op "segment-id"])
               (args/acl acl op)
               layout)))
  ([segment opts & more] (publish! segment (args/trailing opts more))))

(defn unpublish!
  "Ends a segment's publication. When this returns, no importer can read or change the memory
  any more. The content stays, and the segment can be published again. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-not-published, :rsm/insufficient-mem (call
  again).
  rsm_memseg_export_unpublish(3RSM)."
  [segment]
  (.unpublish (args/export-segment segment "export-unpublish")))

(defn republish!
  "Changes the access list of a published segment for later connects. Existing connections
  keep their permission. Returns nil.

  Options:
    :acl  as in publish!

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-not-published, :rsm/bad-acl.
  rsm_memseg_export_republish(3RSM)."
  ([segment] (republish! segment nil))
  ([segment opts]
   (let [op "export-republish"
         ex (args/export-segment segment op)
         {:keys [acl]} (args/options opts #{:acl} op)]
     (.republish ex (args/acl acl op))))
  ([segment opts & more] (republish! segment (args/trailing opts more))))

(defn rebind!
  "Replaces the memory of a segment by other memory of the caller's, with its content.
  Importers stay connected and mapped, and see the new content at the same addresses; during
  the call they see a mixture. The old memory keeps its address and content if it is the
  caller's own. Returns nil.

  Options, one of
    :memory   memory from allocate!; with :at, the offset in it in bytes, default 0
    :address  such memory by its address; with :length, in bytes
    :buffer   a direct java.nio.ByteBuffer, from its position to its limit, as in create!

  The length must be the segment's. Access to the segment through this library waits during the
  call; do not write to the new memory in another way.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-addr (nil), :rsm/rebind-not-allowed (not
  created with :allow-rebind), :rsm/bad-length, :rsm/bad-addr (not at a page, in use by another
  segment or mapping, not mapped, a file that is mapped shared), :rsm/perm-denied (not
  writable), :rsm/bad-addr (not known to be the caller's), :rsm/rebind-not-allowed (published,
  and another segment is exported over the present memory), :rsm/insufficient-mem,
  :rsm/insufficient-resources. The present memory is accepted, and nothing is done.
  rsm_memseg_export_rebind(3RSM)."
  ([segment] (rebind! segment nil))
  ([segment opts]
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
                        (.rebind ex (args/address-in memory at size op) length))
       :else (.rebind ex
                      (args/integer address 0 RsmError/BAD_ADDR [op "address"])
                      (args/integer length size RsmError/BAD_LENGTH [op "length"])))))
  ([segment opts & more] (rebind! segment (args/trailing opts more))))

(defn export!
  "create! and publish! in one call: returns the published segment. Options and errors are those
  of both. If publishing fails, the segment is destroyed."
  (^ExportSegment [controller] (export! controller nil))
  (^ExportSegment [controller opts]
   (let [opts (args/options opts (conj args/create-options :segment-id :acl :layout) "export-create")
         ex (create! controller (dissoc opts :segment-id :acl :layout))]
     (try
       (publish! ex (select-keys opts [:segment-id :acl :layout]))
       ex
       (catch Throwable t
         (scope/close-after-failure t ex)
         (throw t)))))
  (^ExportSegment [controller opts & more] (export! controller (args/trailing opts more))))

(defmacro with-exported-segment
  "Creates and publishes a segment, evaluates body with sym bound to it, and destroys it.
  Options are those of create! and publish!.

    (with-exported-segment [ex c :size 65536 :segment-id 0x600001] ...)"
  [[sym controller & opts] & body]
  (scope/opened "with-exported-segment" sym `ExportSegment `(export! ~controller ~@opts) body))

(defn published?
  "Whether an export segment is published. Waits while another thread publishes or unpublishes
  it."
  [segment]
  (.isPublished (args/export-segment segment "published?")))

(defn importers
  "Returns how many importers are connected to an export segment."
  [segment]
  (long (.importers (args/export-segment segment "importers"))))

;; ------------------------------------------------------------------ import

(defn connect!
  "Connects to a published segment and returns the import segment.

  Options:
    :segment-id  required
    :node        the exporting node; default: the controller's own
    :perm        :read, :write or :rdwr; default :rdwr. :none (0) is legal for importers that
                 could have another one; such a connection cannot be mapped
    :timeout-ms  how long to wait for the exporter's answer, which takes microseconds unless
                 the exporter is stopped; default 5000
    :barrier     whether to initialise a barrier, which put! and get! need; default true. The
                 original does not
    :layout      a layout of rsmapi.layout, or its form, that the segment must be published with
                 (beyond the original)

  Errors, in order: :rsm/bad-ctlr-hndl, :rsm/ctlr-not-present (released), :rsm/perm-denied
  (not a permission), :rsm/bad-segid (not 32 bits), :rsm/bad-args-errors (a negative
  timeout), :rsm/ctlr-not-present (another node over loopback),
  :rsm/remote-node-unreachable, :rsm/insufficient-resources, :rsm/seg-not-published,
  :rsm/bad-driver-version, :rsm/seg-not-published-to-node, :rsm/perm-denied (not granted),
  :rsm/insufficient-resources (the exporter's, or its limit of importers is reached),
  :rsm/conn-aborted (the exporter closed the connection or broke the protocol),
  :rsm/timeout, :rsm/interrupted, :rsm/bad-args-errors (the exporter's layout is another, or there is
  none: :rsm/layout, :rsm/exporter-layout and :rsm/difference have the details).
  rsm_memseg_import_connect(3RSM)."
  (^ImportSegment [controller] (connect! controller nil))
  (^ImportSegment [controller opts]
   (let [op "import-connect"
         c (args/controller controller op)
         {:keys [node segment-id perm timeout-ms barrier layout]}
         (args/options opts #{:node :segment-id :perm :timeout-ms :barrier :layout} op)
         layout (args/layout-text layout op)
         barrier? (or (nil? barrier) (args/flag barrier op "barrier"))
         im (.importConnect c
                            (int (args/node node (.nodeId c) RsmError/REMOTE_NODE_UNREACHABLE op))
                            (args/integer segment-id nil RsmError/BAD_SEGID [op "segment-id"])
                            (int (args/perm perm 0600 RsmError/PERM_DENIED op))
                            (args/duration timeout-ms 5000 op))]
     (try
       (args/demand-layout layout (.layout im) op)
       (when barrier?
         (.initBarrier im))
       im
       (catch Throwable t
         (scope/close-after-failure t im)
         (throw t)))))
  (^ImportSegment [controller opts & more] (connect! controller (args/trailing opts more))))

(defn disconnect!
  "Ends a connection, with the mapping that put! or get! may have made. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl (not an import segment, or disconnected already),
  :rsm/seg-still-mapped (by map!), :rsm/pollfd-in-use.
  rsm_memseg_import_disconnect(3RSM)."
  [segment]
  (.disconnect (args/import-segment segment "import-disconnect")))

(defmacro with-imported-segment
  "Connects to a segment, evaluates body with sym bound to the import segment, then unmaps and
  disconnects. Options are those of connect!.

    (with-imported-segment [im c :segment-id 0x600001 :perm :read] ...)"
  [[sym controller & opts] & body]
  (scope/opened "with-imported-segment" sym `ImportSegment `(connect! ~controller ~@opts) body))

(defn connected?
  "Whether an import segment has not been disconnected."
  [segment]
  (.isConnected (args/import-segment segment "connected?")))

(defn aborted?
  "Whether the exporter has revoked an import segment or is gone. Uses the newest information
  in shared memory; sends no message."
  [segment]
  (.isAborted (args/import-segment segment "aborted?")))

;; ----------------------------------------------------------------- mapping

(defn map!
  "Maps a part of an import segment and returns the mapping. Access functions read and write it
  at offsets from its start.

  Options:
    :offset   in bytes, a multiple of the page size; default 0
    :length   in bytes, any; default: the rest of the segment
    :perm     :read, :write or :rdwr, at most the permission of the connection; default: that
              one. The kernel enforces :read, this library :write
    :attr     :none, or :fixed to map exactly at :address (RSM_MAP_FIXED); default :none
    :address  with :fixed, the address, a multiple of the page size where nothing is mapped;
              otherwise a hint
    :over     memory from allocate! over which to map; excludes :attr and :address. The
              permission of the mapping also holds for access through that memory
    :at       with :over, the offset in it in bytes, a multiple of the page size; default 0
    :prefault whether to enter all pages into the page table, so that no first access has to;
              default false
    :lock     whether to keep the memory from being swapped out while it is mapped (mlock);
              default false
    :huge-pages  whether the memory has to be in huge pages here too. The exporter has created
              it with :huge-pages; offset, length, and an address that is given, are multiples
              of their size; default false

  If the memory cannot be made like that, nothing is mapped.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-already-mapped, :rsm/bad-perms (not a
  permission), :rsm/bad-length (0), :rsm/bad-offset (negative), :rsm/bad-length (negative, or
  past the end), :rsm/bad-mem-alignment (offset, then address, then for huge pages),
  :rsm/conn-aborted, :rsm/bad-perms (more than the connection has; where memory is mirrored, see
  capabilities, also if the connection may not read), :rsm/bad-length (the address cannot be
  used; :rsm/occupied-by says what is there), :rsm/insufficient-resources (also: the exporter's
  memory is not in huge pages), :rsm/insufficient-mem (so much may not be locked),
  :rsm/map-failed (where memory is mirrored, also if the exporter does not answer).
  rsm_memseg_import_map(3RSM)."
  (^Mapping [segment] (map! segment nil))
  (^Mapping [segment opts]
   (let [im (args/import-segment segment "import-map")
         {:keys [offset length perm attr address ^LocalMemory over at flags]} (args/map-request im opts)]
     (if over
       (.mapOver im over (long at) (int perm) (long offset) (long length) (int flags))
       (.map im (long address) (int attr) (int perm) (long offset) (long length) (int flags)))))
  (^Mapping [segment opts & more] (map! segment (args/trailing opts more))))

(defn check-map
  "Returns the error that map! would throw for these options now, as data, or nil. Maps nothing
  and does not ask the kernel, so a fixed address may still turn out to be taken.

    (check-map im {:offset 100 :length 10})
    ;=> {:rsm/error :rsm/bad-mem-alignment, :rsm/code 17, :rsm/op :import-map, ...}"
  ([segment] (check-map segment nil))
  ([segment opts]
   (try
     (let [im (args/import-segment segment "import-map")
           {:keys [offset length perm attr address ^LocalMemory over at flags]} (args/map-request im opts)]
       (some-> (if over
                 (.checkMapOver im over (long at) (int perm) (long offset) (long length) (int flags))
                 (.checkMap im (long address) (int attr) (int perm) (long offset) (long length) (int flags)))
               ex-data))
     (catch RsmException e
       (ex-data e))))
  ([segment opts & more] (check-map segment (args/trailing opts more))))

(defn unmap!
  "Unmaps a mapping, given the mapping or its import segment. A thread that is using it reads
  zeros, or writes to no memory of the segment, and then gets :rsm/seg-not-mapped. Returns nil.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/seg-not-mapped.
  rsm_memseg_import_unmap(3RSM)."
  [segment]
  (if (and (instance? Mapping segment) (not (.isCurrent ^Mapping segment)))
    (throw (args/failure RsmError/SEG_NOT_MAPPED "import-unmap"
                         :segment-id (.segmentId (.segment ^Mapping segment))))
    (.unmap (args/import-segment segment "import-unmap"))))

(defmacro with-mapped-segment
  "Maps a part of an import segment, evaluates body with sym bound to the mapping, and unmaps
  it. Options are those of map!; they can be left out.

    (with-mapped-segment [m im {:offset 4096 :length 8192 :perm :read}]
      (get-long m 0))"
  [[sym segment & opts] & body]
  (scope/opened "with-mapped-segment" sym `Mapping `(map! ~segment ~@opts) body))

(defn- mapping-of ^Mapping [x op]
  (if (instance? Mapping x)
    x
    (throw (args/failure RsmError/BAD_SEG_HNDL op :argument "mapping" :mapping x
                         :hint "give a mapping, from map!"))))

(defn- part
  "Offset and length of a part of a mapping, from options."
  [^Mapping m opts op]
  (let [{:keys [offset length]} (args/options opts #{:offset :length} op)
        offset (args/integer offset 0 RsmError/BAD_OFFSET [op "offset"])]
    [offset (args/integer length (if (<= 0 (long offset) (.size m)) (- (.size m) (long offset)) 0)
                          RsmError/BAD_LENGTH [op "length"])]))

(defn pull!
  "Brings what the exporter has into a mapping that is a copy (see capabilities): when this
  returns, reading gives what was there at the time of the call, or later. What this process has
  written and not sent yet stays. open-barrier! does this for the whole mapping. Where the memory is
  shared, this is a fence. Returns nil.

  Options:
    :offset  in the mapping, in bytes; default 0. Whole words of 8 bytes are brought in
    :length  in bytes; default: the rest of the mapping

  Errors, in order: :rsm/bad-seg-hndl (no mapping), :rsm/bad-args-errors (options), :rsm/seg-not-mapped,
  :rsm/bad-length, :rsm/bad-offset, :rsm/conn-aborted, :rsm/barrier-failure (no answer: a part may
  have been brought in).
  Beyond the RSMAPI."
  ([mapping] (pull! mapping nil))
  ([mapping opts]
   (let [m (mapping-of mapping "pull")
         [offset length] (part m opts "pull")]
     (.pull m (long offset) (long length))))
  ([mapping opts & more] (pull! mapping (args/trailing opts more))))

(defn push!
  "Sends what this process has changed in a mapping that is a copy (see capabilities), and waits
  until it has arrived. close-barrier! does this for the whole mapping. Where the memory is shared,
  this is a fence. Returns nil.

  Options:
    :offset  in the mapping, in bytes; default 0. Words of 8 bytes, at multiples of 8, are sent if
             one of their bytes has changed
    :length  in bytes; default: the rest of the mapping

  Errors, in order: :rsm/bad-seg-hndl (no mapping), :rsm/bad-args-errors (options), :rsm/seg-not-mapped,
  :rsm/perm-denied (mapped for reading), :rsm/bad-length, :rsm/bad-offset, :rsm/conn-aborted,
  :rsm/barrier-failure (nobody knows whether it has arrived; the next push! sends it again).
  Beyond the RSMAPI."
  ([mapping] (push! mapping nil))
  ([mapping opts]
   (let [m (mapping-of mapping "push")
         [offset length] (part m opts "push")]
     (.push m (long offset) (long length))))
  ([mapping opts & more] (push! mapping (args/trailing opts more))))

(defn mapping
  "Returns the mapping of an import segment, made by map! or by put! and get!, or nil."
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
  "Allocates private, page-aligned memory of zeros: to export by its address, or to map over.
  free! ends it. bytes is any number from 1 on; the memory takes up whole pages.

  Options:
    :round-up  true: the size of the memory is that of its pages

  Errors, in order: :rsm/bad-length, :rsm/ctlr-not-present (native functions cannot be
  called), :rsm/insufficient-mem, :rsm/insufficient-resources."
  (^LocalMemory [bytes]
   (LocalMemory/allocate (args/integer bytes nil RsmError/BAD_LENGTH ["allocate" "length"])))
  (^LocalMemory [bytes opts]
   (let [op "allocate"
         length (args/integer bytes nil RsmError/BAD_LENGTH [op "length"])
         opts (args/options opts #{:round-up} op)]
     (LocalMemory/allocate (args/rounded length op opts))))
  (^LocalMemory [bytes opts & more] (allocate! bytes (args/trailing opts more))))

(defn free!
  "Frees memory from allocate!. Segments and mappings in it stay until they are closed. Returns
  nil; a second call does nothing.

  Errors: :rsm/bad-addr (not such memory)."
  [memory]
  (.close (args/local-memory memory "free" "memory")))

(defmacro with-local-memory
  "Evaluates body with sym bound to (allocate! bytes), then frees the memory. Options are those of
  allocate!."
  [[sym bytes & opts] & body]
  (scope/opened "with-local-memory" sym `LocalMemory `(allocate! ~bytes ~@opts) body))

;; ------------------------------------------------------------- put and get

(defn put!
  "Writes bytes to an import segment, at offset in bytes from the start of the segment, and
  returns nil. The source is a byte array, a java.nio.ByteBuffer (from its position to its
  limit; moves the position there) or a memory (local memory, an export segment, a mapping).
  index and count select bytes of an array or a memory. The source may overlap the target.

  A segment that is not mapped is mapped as a whole, with the permission of the connection,
  until unmap! or disconnect!. If map! has mapped it, only the mapped part can be reached. Where
  memory is mirrored (see capabilities), nothing is mapped, and data goes past a mapping.

  In the barrier mode :implicit, the data is in the exporter's memory when this returns. In
  the mode :explicit, close-barrier! reports a loss.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-addr (not usable as source),
  :rsm/bad-mem-alignment (in put16! and the like: the address of a memory, then the offset),
  :rsm/conn-aborted (not mapped), :rsm/insufficient-resources, :rsm/bad-length,
  :rsm/map-failed (it cannot be mapped), :rsm/perm-denied, :rsm/bad-offset (not wholly inside
  the segment or its mapped part), :rsm/bad-length (not wholly inside the source),
  :rsm/barrier-uninitialized, :rsm/conn-aborted; then those of the state of a source memory. Where
  memory is mirrored, also :rsm/barrier-open-failed (the exporter does not answer, nothing was
  moved) and :rsm/barrier-failure (no answer: nobody knows whether it was moved).
  rsm_memseg_import_put(3RSM)."
  ([segment offset source] (Transfer/put ElementWidth/BYTES segment offset source nil nil))
  ([segment offset source index count]
   (Transfer/put ElementWidth/BYTES segment offset source (args/given index) (args/given count))))

(defn get!
  "Reads bytes of an import segment from offset on, in bytes from the start of the segment, into
  the target, and returns the target: a byte array, a java.nio.ByteBuffer (from its position to
  its limit; moves the position there) or a memory. index and count select bytes of an array or
  a memory.

  For mapping, barriers and errors see put!.
  rsm_memseg_import_get(3RSM)."
  ([segment offset target] (Transfer/get ElementWidth/BYTES segment offset target nil nil))
  ([segment offset target index count]
   (Transfer/get ElementWidth/BYTES segment offset target (args/given index) (args/given count))))

(defn byte-order
  "Returns the byte order of the exporter's machine: :little-endian or :big-endian.

  Errors: :rsm/bad-seg-hndl."
  [segment]
  (data/byte-order (.byteOrder (args/import-segment segment "byte-order"))))

(defn putv!
  "Writes up to 16 pieces to an import segment, in order. Returns {:residual 0}, the number of
  pieces that are left.

    (putv! {:segment im
            :iovec [{:local memory :local-offset 0 :remote-offset 4096 :length 100}
                    {:local h :remote-offset 8192 :length 8}]
            :signal true})

  Request:
    :segment        the import segment
    :iovec          a vector of pieces. :local is a local memory handle, a memory, a byte array,
                    a java.nio.ByteBuffer (counted from its start) or the address of memory
                    from allocate!. :length is in bytes, as are :local-offset and
                    :remote-offset, which default to 0
    :signal         true: post one event after the last piece (RSM_IMPLICIT_SIGPOST)
    :no-accumulate  true: not if there are events (RSM_SIGPOST_NO_ACCUMULATE)

  Needs no barrier; the barrier mode does not matter.

  Errors, in order: :rsm/bad-sgio (not a request), :rsm/bad-seg-hndl, :rsm/bad-sgio (no piece,
  more than 16, a malformed one); then piece by piece, with :rsm/entry (its index) and
  :rsm/residual (how many are left, including it): :rsm/bad-localmem-hndl, :rsm/bad-addr, and
  those of put! except for barriers; then those of signal-post!. The pieces before a failure
  have been written.
  rsm_memseg_import_putv(3RSM)."
  [request]
  {:residual (long (ImportSegment/putv (args/scatter-gather request "putv")))})

(defn getv!
  "Reads up to 16 pieces of an import segment, in order; see putv!.
  rsm_memseg_import_getv(3RSM)."
  [request]
  {:residual (long (ImportSegment/getv (args/scatter-gather request "getv")))})

(defn create-localmemory-handle!
  "Returns a handle for memory that putv! and getv! use often: local memory, an export segment,
  a mapping, a direct java.nio.ByteBuffer (from its position to its limit), or the address of
  memory from allocate!. free-localmemory-handle! ends it.

  Options, not with a buffer:
    :offset  where it starts in a memory, in bytes, at the start of a page; default 0
    :length  in bytes; default: the rest. Required with an address

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
       (.createLocalMemoryHandle c (args/buffer memory op)))))
  (^LocalMemoryHandle [controller memory opts & more]
   (create-localmemory-handle! controller memory (args/trailing opts more))))

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
  "Initialises a barrier for an import segment and returns it. put! and get! use it in the mode
  :implicit, instead of the one that connect! has initialised.

  Errors: :rsm/bad-seg-hndl.
  rsm_memseg_import_init_barrier(3RSM)."
  ^Barrier [segment]
  (.initBarrier (args/import-segment segment "init-barrier")))

(defn open-barrier!
  "Opens a barrier; close-barrier! then reports on all accesses since. An open barrier starts
  again. If the exporter is gone, the close reports it. Where memory is mirrored (see
  capabilities), the exporter's content is brought into the mapping. Returns nil.

  Errors, in order: :rsm/bad-barrier-ptr (not a barrier), :rsm/barrier-uninitialized
  (destroyed), :rsm/bad-seg-hndl (disconnected); where memory is mirrored, :rsm/barrier-open-failed
  (the exporter does not answer; the barrier is not open then).
  rsm_memseg_import_open_barrier(3RSM)."
  [barrier]
  (.open (args/barrier barrier "open-barrier"))
  nil)

(defn order-barrier!
  "A full fence: orders this thread's reads and writes before it before those after it, for all
  threads and processes. Returns nil.

  Where memory is mirrored, what was changed in a mapping is sent, before what is sent later.

  Errors, in order: :rsm/bad-barrier-ptr, :rsm/barrier-uninitialized, :rsm/bad-seg-hndl,
  :rsm/barrier-not-opened; where memory is mirrored, :rsm/barrier-failure.
  rsm_memseg_import_order_barrier(3RSM)."
  [barrier]
  (.order (args/barrier barrier "order-barrier")))

(defn close-barrier!
  "Closes a barrier. If it returns (nil), every access by this thread since the open, by put! and
  get! or through a mapping, has reached the memory that was published when the segment was
  connected. If it throws :rsm/conn-aborted, some accesses may be lost. It sends no message. A
  rebind! by the exporter is not a failure.

  Errors, in order: :rsm/bad-barrier-ptr, :rsm/barrier-uninitialized, :rsm/bad-seg-hndl,
  :rsm/barrier-not-opened, :rsm/conn-aborted; where memory is mirrored, :rsm/barrier-failure (no answer:
  nobody knows whether all has arrived). The barrier is closed in both cases.
  rsm_memseg_import_close_barrier(3RSM)."
  [barrier]
  (.closeBarrier (args/barrier barrier "close-barrier")))

(defn destroy-barrier!
  "Ends a barrier. If put! and get! used it, they have no barrier then. Returns nil.

  Errors, in order: :rsm/bad-barrier-ptr, :rsm/barrier-uninitialized (destroyed already).
  rsm_memseg_import_destroy_barrier(3RSM)."
  [barrier]
  (.destroy (args/barrier barrier "destroy-barrier")))

(defmacro with-barrier
  "Evaluates body between the open and the close of a new barrier of an import segment, bound to
  sym, then destroys the barrier. Returns the value of body if all its accesses have reached the
  segment; throws :rsm/conn-aborted if some may be lost.

    (with-barrier [b im]
      (put-long! m 0 1)
      (order-barrier! b)
      (put-long! m 8 2))"
  [[sym segment] & body]
  (scope/with-barrier sym segment body))

(defn barrier-mode
  "Returns the barrier mode of an import segment: :implicit, the default, in which put! and get!
  report a loss themselves, or :explicit, in which close-barrier! does.

  Errors: :rsm/bad-seg-hndl.
  rsm_memseg_import_get_mode(3RSM)."
  [segment]
  (data/keyword-of (.getMode (args/import-segment segment "get-mode"))))

(defn set-barrier-mode!
  "Sets the barrier mode of an import segment to :implicit (1) or :explicit (0). Returns nil.

  Errors, in order: :rsm/bad-seg-hndl, :rsm/bad-mode.
  rsm_memseg_import_set_mode(3RSM)."
  [segment mode]
  (.setMode (args/import-segment segment "set-mode") (args/barrier-mode mode)))

;; ----------------------------------------------------------------- signals

(defn signal-post!
  "Posts one event and returns nil. On an import segment it is for the export segment, whatever
  the permission. On an export segment it is for each connected import segment. Events are
  counted: as many signal-wait! succeed as events were posted.

  Options:
    :no-accumulate  true: post nothing where there are events (RSM_SIGPOST_NO_ACCUMULATE). An
                    importer does not see events that other users' importers have posted

  Errors, in order: :rsm/bad-seg-hndl, :rsm/conn-aborted (an import segment),
  :rsm/insufficient-resources (the counter is at its end).
  rsm_intr_signal_post(3RSM)."
  ([segment] (signal-post! segment nil))
  ([segment opts]
   (let [op "signal-post"
         s (args/segment segment op)]
     (.signalPost s (args/post-flags opts op))))
  ([segment opts & more] (signal-post! segment (args/trailing opts more))))

(defn put-signal!
  "put!, followed by signal-post! with these options if the put succeeds. Returns nil.

  Errors: those of put!, then those of signal-post!."
  ([segment offset source] (put-signal! segment offset source nil))
  ([segment offset source opts]
   (let [flags (args/post-flags opts "signal-post")]
     (put! segment offset source)
     (.signalPost (args/import-segment segment "signal-post") flags)))
  ([segment offset source opts & more] (put-signal! segment offset source (args/trailing opts more))))

(defn signal-wait!
  "Takes an event of a segment; waits if there is none. Returns nil.

  Options:
    :timeout-ms  how long to wait; 0 does not wait. Negative or nil, the default: for ever

  Errors, in order: :rsm/bad-seg-hndl (also if the segment is closed during the wait),
  :rsm/conn-aborted (an import segment without events whose exporter is gone, also during the
  wait), :rsm/timeout, :rsm/interrupted.
  rsm_intr_signal_wait(3RSM)."
  ([segment] (signal-wait! segment nil))
  ([segment opts]
   (let [op "signal-wait"
         s (args/segment segment op)
         {:keys [timeout-ms]} (args/options opts #{:timeout-ms} op)]
     (.signalWait s (args/timeout timeout-ms op))))
  ([segment opts & more] (signal-wait! segment (args/trailing opts more))))

(defn get-pollfd!
  "Returns the poll descriptor of a segment, with one more reference, for signal-wait-pollfd! and
  for poll and epoll in other libraries. datafy returns its number, as
  {:fd n :events #{:in :rdnorm} ...}. It has input while the segment has events; that of an
  import segment has input for ever when the exporter is gone. Do not read from it; take events
  with signal-wait! or signal-wait-pollfd!.

  While there are references, destroy! and disconnect! fail; close! does not. release-pollfd!,
  or close! on the descriptor, drops the reference.

  Errors: :rsm/bad-seg-hndl, :rsm/insufficient-resources.
  rsm_memseg_get_pollfd(3RSM)."
  ^PollFd [segment]
  (.getPollfd (args/segment segment "get-pollfd")))

(defn release-pollfd!
  "Drops one reference to a segment's poll descriptor; does nothing if there is none. Returns
  nil.

  Errors: :rsm/bad-seg-hndl.
  rsm_memseg_release_pollfd(3RSM)."
  [segment]
  (.releasePollfd (args/segment segment "release-pollfd")))

(defn signal-wait-pollfd!
  "Waits until at least one of several descriptors is ready: those of get-pollfd!, and others as
  {:fd 5 :events #{:in}} (:in, :out, :pri). Takes one event of each segment that has events.
  Returns the ready ones, in order, each as

    {:fd 5 :revents #{:in}}  or  {:fd 7 :segment im :revents #{:rdnorm}}

  A segment that is closed, or whose exporter is gone, has :hup; the others have the bits of
  poll(2). Several threads may wait with the same descriptors: an event is reported to the
  thread that has taken it.

  Options:
    :timeout-ms  as in signal-wait!

  Errors: :rsm/bad-addr (nil), :rsm/bad-args-errors, :rsm/ctlr-not-present (native functions
  cannot be called), :rsm/insufficient-mem, :rsm/timeout, :rsm/interrupted.
  rsm_intr_signal_wait_pollfd(3RSM)."
  ([fds] (signal-wait-pollfd! fds nil))
  ([fds opts]
   (let [op "signal-wait-pollfd"
         {:keys [timeout-ms]} (args/options opts #{:timeout-ms} op)
         waited (args/pollfds fds op)]
     (mapv data/ready (PollFd/await waited (args/timeout timeout-ms op)))))
  ([fds opts & more] (signal-wait-pollfd! fds (args/trailing opts more))))

(defn on-signal!
  "Calls (f segment) for each event of a segment, in a thread of its own, and returns a listener.
  It stops when the listener is closed (with close! or with-open), the segment is closed, or the
  exporter is gone. It takes the events, so do not wait for them elsewhere.

  Options:
    :on-end  a function of one argument that is called last, in the same thread: with the error
             that ended the listener (such as :rsm/conn-aborted in its ex-data), with nil if it
             was closed, or with the exception of f

  Errors: :rsm/bad-seg-hndl, :rsm/bad-args-errors (not a function),
  :rsm/insufficient-resources (no thread can be created)."
  ([segment f] (on-signal! segment f nil))
  ([segment f opts]
   (let [op "on-signal"
         s (args/segment segment op)
         {:keys [on-end]} (args/options opts #{:on-end} op)]
     (when (nil? (args/function f op "f"))
       (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "f" :hint "give a function")))
     (args/function on-end op "on-end")
     (Listener/start s
                     (reify java.util.function.Consumer
                       (accept [_ segment] (f segment)))
                     (reify java.util.function.Consumer
                       (accept [_ failure] (when on-end (on-end failure)))))))
  ([segment f opts & more] (on-signal! segment f (args/trailing opts more))))

;; ------------------------------------------------------------ any segment

(defn size
  "Returns the size in bytes of a segment or local memory, or of the window of a mapping. The
  size of an import segment is beyond the original."
  [x]
  (cond
    (instance? SegmentMemory x) (.size ^SegmentMemory x)
    :else (.size (args/import-segment x "size"))))

(defn segment-id
  "Returns the segment id of an import segment, a mapping, or a published export segment; nil if
  that is not published."
  [x]
  (if (instance? ExportSegment x)
    (data/segment-id x)
    (.segmentId (args/import-segment x "segment-id"))))

(defn address
  "Returns the address in this process of an export segment, a mapping or local memory, for
  other native libraries. Access by address is not checked; doc/libraries.md says what to keep
  in mind."
  [x]
  (cond
    (instance? ExportSegment x) (.address ^ExportSegment x)
    (instance? Mapping x) (.address ^Mapping x)
    (instance? LocalMemory x) (.address ^LocalMemory x)
    :else (throw (args/failure RsmError/BAD_SEG_HNDL "address" :argument "segment"))))

(defn memory-segment
  "Returns a java.lang.foreign.MemorySegment of a mapping, an export segment or local memory, for
  other libraries. JDK 22 and later. It is read-only where the memory is: a read-only mapping, or
  local memory over a part of which one lies.

  Its scope ends at unmap!, at a revocation, when an export segment is destroyed or moves to
  other memory (rebind!), when local memory is freed, or a mapping with :read or :write is placed
  over a part of it. A later access is an IllegalStateException. It keeps the memory reachable.

    (.get ^MemorySegment (memory-segment m) ValueLayout/JAVA_LONG 0)

  Errors, in order: :rsm/bad-seg-hndl (not a memory; also a destroyed export segment),
  :rsm/seg-not-mapped, :rsm/bad-addr (freed local memory), :rsm/perm-denied (it may not be read),
  :rsm/conn-aborted, :rsm/interrupted (while publish! or rebind! moves the memory),
  :rsm/ctlr-not-present (before JDK 22)."
  [memory]
  (.memorySegment (args/memory memory "memory-segment")))

(defn close!
  "Closes any handle of this library, whatever its state: destroys an export segment; unmaps and
  disconnects an import segment (both also with poll descriptors in use); unmaps a mapping;
  frees local memory, or a handle of it; destroys a barrier; drops the reference of a poll
  descriptor, or one to a controller; stops a listener of on-signal!. Returns nil; a second call
  does nothing.

  Errors: :rsm/bad-seg-hndl (not a handle)."
  [handle]
  (cond
    (or (instance? SegmentMemory handle)
        (instance? ImportSegment handle)
        (instance? Barrier handle)
        (instance? Barrier$Scope handle)
        (instance? PollFd handle)
        (instance? Controller handle)
        (instance? LocalMemoryHandle handle)
        (instance? Listener handle)) (.close ^java.lang.AutoCloseable handle)
    :else (throw (args/failure RsmError/BAD_SEG_HNDL "close" :argument "handle"))))

;; ------------------------- what exists for each type: put8! to copy!

(load "core_typed")

;; -------------------------------------------------------------------- text

(defn get-text
  "Reads text of at most length bytes from offset on, in bytes from the start of the memory, and
  returns a string: up to the first NUL, or all of it if there is none. What is behind the NUL
  does not matter.

  Options:
    :charset    :utf-8 (the default), :us-ascii, :iso-8859-1, :utf-16le or another one by its
                name as a keyword or a string, or a java.nio.charset.Charset
    :keep-nul   true: read all, and keep NULs as characters
    :malformed  what to do about bytes that are not text of the charset: :error, the default, or
                :replace, to read each of them as U+FFFD. A whole text can also look malformed
                while another process writes it

  Errors: those of get-bytes: :rsm/bad-seg-hndl, :rsm/bad-offset, :rsm/perm-denied,
  :rsm/bad-length, :rsm/insufficient-mem; and :rsm/bad-args-errors if there is no such charset, or
  the bytes are not text of it (:rsm/offset is where). Beyond the original."
  (^String [memory offset length] (get-text memory offset length nil))
  (^String [memory offset length opts]
   (let [op "get-text"
         m (args/memory memory op)
         offset (Coerce/offset offset op)
         length (Coerce/length length "length" op)
         {:keys [charset] :as opts} (args/options opts #{:charset :keep-nul :malformed} op)]
     (.getText m offset length (args/charset charset op) (int (args/text-flags op opts)))))
  (^String [memory offset length opts & more]
   (get-text memory offset length (args/trailing opts more))))

(defn put-text!
  "Writes a string at offset, in bytes from the start of the memory, and returns how many bytes the
  text has in the charset. Nothing is written if not all of it can be.

  Options:
    :length   fill up with NULs to this number of bytes, so that nothing is left there of a longer
              text. A text that needs all of them has no NUL behind it. Without :length, only the
              text is written
    :charset  as in get-text

  Errors: :rsm/bad-seg-hndl, :rsm/bad-offset, :rsm/perm-denied; :rsm/bad-args-errors if text is
  not a string, there is no such charset, or it does not have a character of the text (:rsm/index
  is which); :rsm/bad-length if the text is longer than :length; :rsm/insufficient-mem if :length
  is more than the heap can be. Beyond the original."
  ([memory offset text] (put-text! memory offset text nil))
  ([memory offset text opts]
   (let [op "put-text"
         m (args/memory memory op)
         offset (Coerce/offset offset op)
         text (if (string? text)
                text
                (throw (args/failure RsmError/BAD_ARGS_ERRORS op :argument "text" :hint "give a string")))
         {:keys [length charset]} (args/options opts #{:length :charset} op)
         charset (args/charset charset op)]
     (long (if (nil? length)
             (.putText m offset ^String text charset)
             (.putText m offset (Coerce/length length "length" op) ^String text charset)))))
  ([memory offset text opts & more] (put-text! memory offset text (args/trailing opts more))))

;; --------------------------------------------------------------- snapshots

(defn read-snapshot
  "Reads data that write-snapshot! writes, as a whole: reads again if a write happened meanwhile.
  Readers delay neither writers nor each other.

  A version, a long at a multiple of 8, goes with the data: even while there is no write, odd
  during a write; each write adds 2.

  Options:
    :version     the offset of the version in bytes; default 0
    :offset      where the data is, in bytes; default 8
    :length      in bytes; default up to the end of the memory
    :read        a function of the memory, instead of offset and length. What it reads may be
                 half-written; then it is called again
    :timeout-ms  how long to try; negative or nil, the default: for ever

  Returns the data as a byte array, or the value of :read.

  Errors: those of get-bytes and get-long-acquire; :rsm/bad-offset (the data overlaps the
  version), :rsm/timeout (other writers do not stop, or one has died during a write),
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
         (Seqlock/read m version offset length timeout)))))
  ([memory opts & more] (read-snapshot memory (args/trailing opts more))))

(defn write-snapshot!
  "Writes a byte array as a whole, for readers that use read-snapshot. Waits for other writers.
  Returns the new version. A write that has begun completes; an interrupt ends only the wait
  before it.

  Options:
    :version     the offset of the version in bytes; default 0
    :offset      where the data goes, in bytes; default 8
    :timeout-ms  how long to wait for other writers; negative or nil, the default: for ever

  Errors: those of put-bytes! and compare-and-set-long!; :rsm/bad-offset (the data overlaps the
  version), :rsm/timeout (a writer has died during a write), :rsm/interrupted. Beyond the
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
       (throw (args/failure RsmError/BAD_ADDR op :argument "data" :data data :hint "give a byte array")))))
  ([memory data opts & more] (write-snapshot! memory data (args/trailing opts more))))
