package org.rsmapi;

import java.lang.ref.WeakReference;
import java.time.Duration;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.sys.Vm;

/**
 * A connection to a segment that another process, or this one, has published (rsm_memseg_import_connect(3RSM)).
 *
 * <p>It has at most one mapping at a time; to map two windows, connect twice. When the exporter unpublishes or destroys the
 * segment or is gone, the connection is <i>aborted</i> for good: it can only be unmapped and disconnected.
 *
 * <p>All methods may be called from any thread.
 */
public final class ImportSegment implements AutoCloseable {
    /** {@code RSM_MAP_NONE}: anywhere; an address is a hint. */
    public static final int MAP_NONE = 0;
    /** {@code RSM_MAP_FIXED}: exactly at the address, or not at all. */
    public static final int MAP_FIXED = 1;
    /** {@code RSM_MAP_RESERVED}: accepted and ignored, as in the original. */
    public static final int MAP_RESERVED = 2;

    static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);

    private static final long MAX_ID = 0xFFFF_FFFFL;

    private final ReentrantLock lock = new ReentrantLock();
    private final Controller controller;
    private final int node;
    private final long segmentId;
    private final Permission permission;
    private final Connection connection;
    private final Watcher watcher;
    private final Reclaim.Watch watch;
    private Mapping mapping;
    private volatile boolean disconnected;

    /** Told by the interconnect; it does not keep the segment reachable. */
    private static final class Watcher implements Interconnect.AbortListener {
        private volatile String reason;
        private volatile WeakReference<ImportSegment> target;

        @Override
        public void aborted(String why) {
            synchronized (this) {
                reason = reason == null ? why : reason;
            }
            tell();
        }

        void attach(ImportSegment segment) {
            target = new WeakReference<>(segment);
            if (reason != null) {
                tell();
            }
        }

        private void tell() {
            ImportSegment segment = target == null ? null : target.get();
            if (segment != null) {
                segment.abort();
            }
        }
    }

    private ImportSegment(Controller controller, int node, long segmentId, Permission permission, Connection connection,
            Watcher watcher) {
        this.controller = controller;
        this.node = node;
        this.segmentId = segmentId;
        this.permission = permission;
        this.connection = connection;
        this.watcher = watcher;
        this.watch = Reclaim.whenUnreachable(this, connection::close);
    }

    static ImportSegment connect(Controller controller, Interconnect interconnect, int node, long segmentId, int perm,
            Duration timeout) {
        String op = "import-connect";
        Permission permission = Permission.ofBits(perm);
        if (permission == null) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("perm", perm).with("segment-id", segmentId)
                .hint("connect takes 0400 (read), 0200 (write), 0600 (both) or 0 (nothing)");
        }
        if (segmentId < 0 || segmentId > MAX_ID) {
            throw RsmException.of(RsmError.BAD_SEGID, op).with("segment-id", segmentId).hint("segment ids have 32 bits");
        }
        if (timeout == null || timeout.isNegative()) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "timeout");
        }
        if (interconnect.localOnly() && node != interconnect.localNode()) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, op).with("node", node).with("segment-id", segmentId)
                .hint("loopback reaches the local node only, which is " + interconnect.localNode());
        }
        Reclaim.reap();
        Watcher watcher = new Watcher();
        Connection connection = interconnect.connect(node, (int) segmentId, permission, nanos(timeout), watcher);
        ImportSegment segment = new ImportSegment(controller, node, segmentId, permission, connection, watcher);
        watcher.attach(segment);
        return segment;
    }

    private static long nanos(Duration timeout) {
        return timeout.compareTo(Duration.ofDays(36_500)) > 0 ? Long.MAX_VALUE / 4 : timeout.toNanos();
    }

    /**
     * Maps the whole segment, with the connection's permission.
     *
     * @throws RsmException see {@link #map(long, int, int, long, long)}
     */
    public Mapping map() {
        return map(permission, 0, size());
    }

    /**
     * Maps a part of the segment, wherever there is room.
     *
     * @param offset  in bytes, a multiple of the page size
     * @param length  in bytes, at least 1; need not be a multiple of the page size
     * @throws RsmException see {@link #map(long, int, int, long, long)}
     */
    public Mapping map(Permission wanted, long offset, long length) {
        return map(0, MAP_NONE, wanted == null ? 0 : wanted.bits(), offset, length);
    }

    /**
     * Maps a part of the segment (rsm_memseg_import_map(3RSM)).
     *
     * @param address     with {@link #MAP_FIXED}, where to map: a multiple of the page size, and nothing may be mapped there;
     *                    otherwise a hint, or 0
     * @param attributes  {@link #MAP_NONE} or {@link #MAP_FIXED}; other bits are ignored
     * @param perm        0400, 0200 or 0600, at most what the connection has
     * @param offset      in bytes from the start of the segment, a multiple of the page size
     * @param length      in bytes, at least 1; need not be a multiple of the page size
     * @throws RsmException in this order: BAD_SEG_HNDL (disconnected), SEG_ALREADY_MAPPED, BAD_PERMS (not a permission),
     *     BAD_LENGTH (0), BAD_OFFSET (negative), BAD_LENGTH (negative, or past the end), BAD_MEM_ALIGNMENT (offset, then address),
     *     CONN_ABORTED, BAD_PERMS (more than the connection has), BAD_LENGTH (the address range cannot be used: the data says
     *     what is there), INSUFFICIENT_RESOURCES, MAP_FAILED
     */
    public Mapping map(long address, int attributes, int perm, long offset, long length) {
        return map(null, address, attributes, perm, offset, length);
    }

    /**
     * Maps a part of the segment over memory that the caller owns, in the place of what is there. When the mapping has been
     * closed, and its object is not reachable any more, the range is zero pages of the local memory again.
     *
     * @param over    where
     * @param at      offset in it, in bytes, a multiple of the page size
     * @param perm    0400, 0200 or 0600, at most what the connection has
     * @param offset  as in {@link #map(long, int, int, long, long)}
     * @param length  as in {@link #map(long, int, int, long, long)}
     * @throws RsmException as {@link #map(long, int, int, long, long)}; BAD_LENGTH if the range is not in the memory or in use
     */
    public Mapping mapOver(LocalMemory over, long at, int perm, long offset, long length) {
        return map(own(over), over.address() + at, MAP_FIXED, perm, offset, length);
    }

    private static LocalMemory own(LocalMemory over) {
        if (over == null) {
            throw RsmException.of(RsmError.BAD_ADDR, "import-map").with("argument", "over");
        }
        return over;
    }

    private Mapping map(LocalMemory over, long address, int attributes, int perm, long offset, long length) {
        Reclaim.reap();
        try {
            return tryMap(over, address, attributes, perm, offset, length);
        } catch (RsmException e) {
            boolean noRoom = e.data().containsKey("errno") || e.data().containsKey("occupied-by");
            if (!noRoom) {
                throw e;
            }
        }
        // The place of a closed mapping is taken until nobody can reach its object. This is outside of the lock, because what
        // the garbage collector finds may need other locks.
        Reclaim.collect();
        return tryMap(over, address, attributes, perm, offset, length);
    }

    private Mapping tryMap(LocalMemory over, long address, int attributes, int perm, long offset, long length) {
        lock.lock();
        try {
            RsmException objection = objection(address, attributes, perm, offset, length);
            if (objection != null) {
                throw objection;
            }
            Permission wanted = Permission.ofBits(perm);
            LocalMemory.Part part = over == null ? null : over.take(address, length);
            Connection.Placement placement = part != null ? Connection.Placement.FIXED_OVER_OWN
                : (attributes & MAP_FIXED) != 0 ? Connection.Placement.FIXED : Connection.Placement.ANYWHERE;
            try {
                long place = connection.map(placement, address, wanted, offset, length);
                mapping = new Mapping(this, connection, place, attributes & MAP_FIXED, wanted, offset, length, part);
            } catch (RuntimeException | Error e) {
                if (part != null) {
                    part.release();
                }
                throw e;
            }
            return mapping;
        } finally {
            lock.unlock();
        }
    }

    /**
     * What {@link #map(long, int, int, long, long)} would throw for these arguments now, or null if it would go on to ask
     * the kernel. Nothing is done.
     */
    public RsmException checkMap(long address, int attributes, int perm, long offset, long length) {
        lock.lock();
        try {
            return objection(address, attributes, perm, offset, length);
        } finally {
            lock.unlock();
        }
    }

    /** The same for {@link #mapOver}; that something else lies there already is found out only by trying. */
    public RsmException checkMapOver(LocalMemory over, long at, int perm, long offset, long length) {
        long address = own(over).address() + at;
        RsmException objection = checkMap(address, MAP_FIXED, perm, offset, length);
        return objection != null || over.has(address, length) ? objection : LocalMemory.outside(address, length);
    }

    private RsmException objection(long address, int attributes, int perm, long offset, long length) {
        RsmError error = error(address, attributes, perm, offset, length);
        if (error == null) {
            return null;
        }
        RsmException objection = error == RsmError.CONN_ABORTED ? aborted("import-map") : RsmException.of(error, "import-map");
        objection.with("offset", offset).with("length", length).with("size", size());
        Permission wanted = Permission.ofBits(perm);
        boolean legal = wanted != null && wanted != Permission.NONE;
        objection.with("perm", wanted == null ? (Object) perm : wanted);
        switch (error) {
            case SEG_ALREADY_MAPPED:
                return objection.hint("a handle has one mapping: unmap it, or connect again for a second window");
            case BAD_PERMS:
                return !legal ? objection.hint("map takes 0400 (read), 0200 (write) or 0600 (both)")
                    : objection.with("granted", permission).hint("connect with the permission that the mapping needs");
            case BAD_MEM_ALIGNMENT:
                if ((attributes & MAP_FIXED) != 0) {
                    objection.with("address", address);
                }
                return objection.with("page-size", Vm.pageSize())
                    .hint("offset, and address with RSM_MAP_FIXED, have to be multiples of the page size");
            case BAD_SEG_HNDL:
                return objection.hint("the segment has been disconnected");
            default:
                return objection;
        }
    }

    /** The checks of map in the documented order. */
    private RsmError error(long address, int attributes, int perm, long offset, long length) {
        Permission wanted = Permission.ofBits(perm);
        if (disconnected) {
            return RsmError.BAD_SEG_HNDL;
        }
        if (mapping != null) {
            return RsmError.SEG_ALREADY_MAPPED;
        }
        if (wanted == null || wanted == Permission.NONE) {
            return RsmError.BAD_PERMS;
        }
        if (length == 0) {
            return RsmError.BAD_LENGTH;
        }
        if (offset < 0) {
            return RsmError.BAD_OFFSET;
        }
        if (length < 0 || length > size() - offset) {
            return RsmError.BAD_LENGTH;
        }
        if (offset % Vm.pageSize() != 0 || (attributes & MAP_FIXED) != 0 && address % Vm.pageSize() != 0) {
            return RsmError.BAD_MEM_ALIGNMENT;
        }
        if (isAborted()) {
            return RsmError.CONN_ABORTED;
        }
        return permission.includes(wanted) ? null : RsmError.BAD_PERMS;
    }

    /**
     * Unmaps the mapping (rsm_memseg_import_unmap(3RSM)). A thread that is using it at this moment reads zeros and writes to
     * nobody, and then gets {@code RSMERR_SEG_NOT_MAPPED}.
     *
     * @throws RsmException in this order: BAD_SEG_HNDL (disconnected), SEG_NOT_MAPPED
     */
    public void unmap() {
        lock.lock();
        try {
            checkConnected("import-unmap");
            if (mapping == null) {
                throw RsmException.of(RsmError.SEG_NOT_MAPPED, "import-unmap").with("segment-id", segmentId);
            }
            dropMapping();
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

    /** Unmaps this mapping if it is still the current one. */
    void unmap(Mapping which) {
        lock.lock();
        try {
            if (mapping == which) {
                dropMapping();
            }
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

    private void dropMapping() {
        Mapping ending = mapping;
        boolean pagesGone = ending.isAborted();
        ending.end(true);
        if (!pagesGone) {
            connection.detach(ending.address(), ending.size());
        }
        mapping = null;
    }

    private void abort() {
        lock.lock();
        try {
            if (mapping != null && mapping.isMapped()) {
                mapping.end(false);
                connection.detach(mapping.address(), mapping.size());
            }
        } finally {
            lock.unlock();
        }
    }

    RsmException aborted(String op) {
        String reason = watcher.reason;
        return RsmException.of(RsmError.CONN_ABORTED, op).with("segment-id", segmentId).with("node", node)
            .with("reason", reason == null ? "revoked" : reason)
            .hint("the exporter has revoked the segment or is gone: unmap, disconnect, and connect again");
    }

    /**
     * Ends the connection (rsm_memseg_import_disconnect(3RSM)).
     *
     * @throws RsmException in this order: BAD_SEG_HNDL (disconnected already), SEG_STILL_MAPPED
     */
    public void disconnect() {
        lock.lock();
        try {
            checkConnected("import-disconnect");
            if (mapping != null) {
                throw RsmException.of(RsmError.SEG_STILL_MAPPED, "import-disconnect").with("segment-id", segmentId)
                    .hint("unmap it first, or use close");
            }
            disconnected = true;
            watch.cancel();
            connection.close();
        } finally {
            lock.unlock();
        }
    }

    /** Unmaps and disconnects what of it has not been done. */
    @Override
    public void close() {
        lock.lock();
        try {
            if (!disconnected) {
                if (mapping != null) {
                    dropMapping();
                }
                disconnect();
            }
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

    private void checkConnected(String op) {
        if (disconnected) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("segment-id", segmentId)
                .hint("the segment has been disconnected");
        }
    }

    /** The controller it was connected over. */
    public Controller controller() {
        return controller;
    }

    /** The exporting node. */
    public int node() {
        return node;
    }

    /** The segment's id, unsigned 32 bits. */
    public long segmentId() {
        return segmentId;
    }

    /** What was asked for at connect, and granted. */
    public Permission permission() {
        return permission;
    }

    /** The segment's size in bytes; the original has no such call. */
    public long size() {
        return connection.size();
    }

    /** The exporter's process id as it told us, for people to read; 0 if not known. */
    public int exporterPid() {
        return connection.exporterPid();
    }

    /** The exporter's effective user id, by the kernel's word. */
    public int exporterUid() {
        return connection.exporterUid();
    }

    /** The current mapping, or null. */
    public Mapping mapping() {
        lock.lock();
        try {
            return mapping;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Whether the exporter has revoked the segment or is gone. Tells the newest; asks nobody. Once it has said so, every access
     * through a mapping says so too.
     */
    public boolean isAborted() {
        if (watcher.reason == null && !disconnected && connection.aborted()) {
            abort(); // the state page is ahead of the notice
            return true;
        }
        return watcher.reason != null;
    }

    /** Whether it has not been disconnected. */
    public boolean isConnected() {
        return !disconnected;
    }

    @Override
    public String toString() {
        return "#<ImportSegment " + String.format("0x%08x", segmentId) + " node " + node + " " + size() + " bytes " + permission
            + " " + state() + ">";
    }

    private String state() {
        if (disconnected) {
            return "disconnected";
        }
        if (watcher.reason != null || connection.aborted()) {
            return "aborted";
        }
        return mapping() != null ? "mapped" : "connected";
    }
}
