package org.rsmapi;

import java.lang.ref.WeakReference;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * A connection to a segment that another process, or this one, has published (rsm_memseg_import_connect(3RSM)).
 *
 * <p>It has at most one mapping at a time; to map two windows, connect twice. Put and get ({@link SegmentTransfer}) map a segment that
 * is not mapped yet. When the exporter unpublishes or destroys the segment or is gone, the connection is <i>aborted</i> for good: it
 * can only be unmapped and disconnected.
 *
 * <p>All methods may be called from any thread.
 */
public final class ImportSegment extends SegmentTransfer implements Segment {
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
    /** The mapping keeps the segment reachable and the other way round: who loses the one has lost the other. */
    private final Reclaim.Watch watch;
    private final Place place = new Place();
    private final Signaling signaling;
    /** Changed with the lock held. */
    private volatile Mapping mapping;
    private volatile boolean disconnected;
    private volatile BarrierMode mode = BarrierMode.IMPLICIT;
    /** The one that put and get use: the latest that was initialised, unless it has been destroyed. */
    private volatile Barrier barrier;

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

    /** Where the current mapping is, if it has a place of its own. */
    private static final class Place {
        private volatile long address;
        private volatile long length;

        void is(long where, long bytes) {
            address = where;
            length = Vm.wholePages(bytes);
        }

        void none() {
            length = 0;
        }

        void giveBack() {
            if (length > 0) {
                Vm.unmap(address, length);
            }
        }

        /** For a mapping that was lost. */
        void leave(Connection connection) {
            if (length > 0) {
                connection.detach(address, length);
                giveBack();
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
        this.signaling = new Signaling(connection.signals(), new Signaling.State() {
            @Override
            public void checkOpen(String op) {
                checkConnected(op);
            }

            @Override
            public RsmException ended(String op) {
                return isAborted() ? ImportSegment.this.aborted(op) : null;
            }
        });
        Place mapped = place;
        this.watch = Reclaim.whenUnreachable(this, () -> { // last: if anything fails, the caller closes the connection
            connection.close();
            mapped.leave(connection);
        });
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
        Stack.reserve();
        Reclaim.reap();
        Watcher watcher = new Watcher();
        Connection connection = interconnect.connect(node, (int) segmentId, permission, nanos(timeout), watcher);
        try {
            ImportSegment segment = new ImportSegment(controller, node, segmentId, permission, connection, watcher);
            watcher.attach(segment);
            return segment;
        } catch (RuntimeException | Error e) {
            connection.close();
            throw e;
        }
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
     *     what is there), INSUFFICIENT_RESOURCES, INSUFFICIENT_MEM (so much may not be locked), MAP_FAILED
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
        try {
            return withRoom(() -> tryMap(over, address, attributes, perm, offset, length));
        } catch (RsmException e) {
            String obstacle = (attributes & MAP_FIXED) != 0 && isNoRoom(e) ? Reclaim.obstacle(address, Vm.wholePages(length)) : null;
            throw obstacle == null ? e : e.hint(obstacle);
        }
    }

    private static boolean isNoRoom(RsmException e) {
        return e.data().containsKey("errno") || e.data().containsKey("occupied-by");
    }

    /** Tries again if there was no room. */
    private static Mapping withRoom(Supplier<Mapping> making) {
        Reclaim.reap();
        try {
            return making.get();
        } catch (RsmException e) {
            if (!isNoRoom(e)) {
                throw e;
            }
        }
        // The place of a closed mapping is taken until no thread can be using it. This is outside of the lock, because an access that is
        // under way, and what the garbage collector finds, may need locks.
        if (Reclaim.giveBackEnded()) {
            try {
                return making.get();
            } catch (RsmException e) {
                if (!isNoRoom(e)) {
                    throw e;
                }
            }
        }
        Reclaim.collect();
        return making.get();
    }

    private Mapping tryMap(LocalMemory over, long address, int attributes, int perm, long offset, long length) {
        Stack.lock(lock);
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
                mapping = make(placement, address, wanted, offset, length, part, false);
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

    private Mapping make(Connection.Placement placement, long address, Permission wanted, long offset, long length,
            LocalMemory.Part part, boolean implicit) {
        long where = connection.map(placement, address, wanted, offset, length);
        if (part == null) {
            place.is(where, length);
        }
        int attributes = placement == Connection.Placement.ANYWHERE ? MAP_NONE : MAP_FIXED;
        try {
            return new Mapping(this, connection, where, attributes, wanted, offset, length, part, implicit);
        } catch (RuntimeException | Error e) {
            connection.detach(where, length);
            if (part == null) {
                place.giveBack();
                place.none();
            }
            throw e;
        }
    }

    /**
     * What {@link #map(long, int, int, long, long)} would throw for these arguments now, or null if it would go on to ask
     * the kernel. Nothing is done.
     */
    public RsmException checkMap(long address, int attributes, int perm, long offset, long length) {
        Stack.lock(lock);
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
                return objection.hint("a handle has one mapping, which put and get make too: unmap it, or connect again");
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
        Stack.lock(lock);
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
        Stack.lock(lock);
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
        if (pagesGone) {
            ending.empty();
        } else {
            connection.detach(ending.address(), ending.size());
        }
        place.none();
        ending.leave();
        mapping = null;
    }

    private void abort() {
        Stack.lock(lock);
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
     * Ends the connection (rsm_memseg_import_disconnect(3RSM)). A mapping that put or get have made is unmapped.
     *
     * @throws RsmException in this order: BAD_SEG_HNDL (disconnected already), SEG_STILL_MAPPED, POLLFD_IN_USE (the mapping that put
     *     or get have made is unmapped nevertheless)
     */
    public void disconnect() {
        Stack.lock(lock);
        try {
            checkConnected("import-disconnect");
            if (mapping != null && !mapping.isImplicit()) {
                throw RsmException.of(RsmError.SEG_STILL_MAPPED, "import-disconnect").with("segment-id", segmentId)
                    .hint("unmap it first, or use close");
            }
            if (mapping != null) {
                dropMapping();
            }
            signaling.checkUnreferenced("import-disconnect");
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
        Stack.lock(lock);
        try {
            if (!disconnected) {
                if (mapping != null) {
                    dropMapping();
                }
                signaling.dropReferences();
                disconnect();
            }
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

    @Override
    void checkConnected(String op) {
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
    public long exporterUid() {
        return connection.exporterUid();
    }

    /** The byte order of the exporter's machine. */
    public ByteOrder byteOrder() {
        return connection.byteOrder();
    }

    /** The current mapping, or null; also one that put or get have made. */
    public Mapping mapping() {
        return mapping;
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

    // ---- barriers ----

    /**
     * Initialises a barrier (rsm_memseg_import_init_barrier(3RSM), with the default type). It becomes the one that put and get use
     * in the mode IMPLICIT; without any they are BARRIER_UNINITIALIZED.
     *
     * @throws RsmException BAD_SEG_HNDL (disconnected)
     */
    public Barrier initBarrier() {
        Stack.lock(lock);
        try {
            checkConnected("init-barrier");
            Barrier next = new Barrier(this);
            barrier = next;
            return next;
        } finally {
            lock.unlock();
        }
    }

    /**
     * A barrier beside the one that put and get use. Beyond the RSMAPI.
     *
     * @throws RsmException BAD_SEG_HNDL (disconnected)
     */
    public Barrier extraBarrier() {
        checkConnected("init-barrier");
        return new Barrier(this);
    }

    /** The barrier has been destroyed. */
    void detach(Barrier which) {
        Stack.lock(lock);
        try {
            if (barrier == which) {
                barrier = null;
            }
        } finally {
            lock.unlock();
        }
    }

    /**
     * The mode of put and get (rsm_memseg_import_get_mode(3RSM)); IMPLICIT at first.
     *
     * @throws RsmException BAD_SEG_HNDL (disconnected)
     */
    public BarrierMode getMode() {
        checkConnected("get-mode");
        return mode;
    }

    /**
     * Changes the mode of put and get (rsm_memseg_import_set_mode(3RSM)).
     *
     * @throws RsmException in this order: BAD_SEG_HNDL (disconnected), BAD_MODE (null)
     */
    public void setMode(BarrierMode next) {
        checkConnected("set-mode");
        if (next == null) {
            throw RsmException.of(RsmError.BAD_MODE, "set-mode").hint("modes are EXPLICIT (0) and IMPLICIT (1)");
        }
        mode = next;
    }

    // ---- what put and get need ----

    @Override
    Mapping window(String op) {
        Mapping now = mapping;
        if (now != null) {
            return now;
        }
        checkConnected(op);
        try {
            return withRoom(() -> mapImplicitly(op));
        } catch (RsmException e) {
            throw e.op().equals(op) ? e : e.inOp(op);
        }
    }

    private Mapping mapImplicitly(String op) {
        Stack.lock(lock);
        try {
            checkConnected(op);
            if (mapping == null) {
                checkAborted(op);
                if (permission == Permission.NONE) {
                    throw RsmException.of(RsmError.PERM_DENIED, op).with("perm", permission)
                        .hint("the segment is connected without any permission");
                }
                mapping = make(Connection.Placement.ANYWHERE, 0, permission, 0, size(), null, true);
            }
            return mapping;
        } finally {
            lock.unlock();
        }
    }

    @Override
    Permission granted() {
        return permission;
    }

    @Override
    Guard guard() {
        return mode == BarrierMode.IMPLICIT ? Guard.BARRIER : Guard.NONE;
    }

    @Override
    void checkBarrier(String op) {
        if (barrier == null) {
            throw RsmException.of(RsmError.BARRIER_UNINITIALIZED, op).with("segment-id", segmentId)
                .hint("initialise a barrier for the segment, or set its mode to explicit");
        }
    }

    @Override
    void checkNotice(String op) {
        if (watcher.reason != null) {
            throw aborted(op);
        }
    }

    @Override
    void checkAborted(String op) {
        if (isAborted()) {
            throw aborted(op);
        }
    }

    @Override
    ByteOrder order() {
        return connection.byteOrder();
    }

    @Override
    void post(int flags) {
        signaling.post(flags);
    }

    // ---- scatter and gather ----

    /**
     * Writes all pieces, one after the other (rsm_memseg_import_putv(3RSM)). No barrier is needed, and the mode does not matter: a
     * call that returns has moved everything to the exporter's memory.
     *
     * @return the residual count, 0
     * @throws RsmException in this order: BAD_SGIO (null), BAD_SEG_HNDL (the segment is null or disconnected), BAD_SGIO (no pieces or
     *     more than 16); then for each piece, with {@code entry} (its index) and {@code residual} (how many are left, with it) in the
     *     data: BAD_SGIO (null), BAD_LOCALMEM_HNDL, BAD_ADDR (the local side), BAD_OFFSET (also: a negative length), BAD_LENGTH (past
     *     the end of the local side), CONN_ABORTED and the others of {@link SegmentTransfer}; then those of {@link Segment#signalPost}
     */
    public static int putv(ScatterGather request) {
        return Vector.move("putv", true, request);
    }

    /**
     * Reads all pieces, one after the other (rsm_memseg_import_getv(3RSM)).
     *
     * @return the residual count, 0
     * @throws RsmException as {@link #putv}
     */
    public static int getv(ScatterGather request) {
        return Vector.move("getv", false, request);
    }

    // ---- signals ----

    @Override
    public void signalPost(int flags) {
        signaling.post(flags);
    }

    @Override
    public void signalWait(Duration timeout) {
        signaling.await(timeout);
    }

    @Override
    public PollFd getPollfd() {
        Stack.lock(lock);
        try {
            return signaling.reference(this);
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void releasePollfd() {
        signaling.release();
    }

    @Override
    public boolean isOpen() {
        return !disconnected;
    }

    /** Whether it has not been disconnected. */
    public boolean isConnected() {
        return !disconnected;
    }

    @Override
    public String toString() {
        return "#<ImportSegment " + String.format(Locale.ROOT, "0x%08x", segmentId) + " node " + node + " " + size() + " bytes " + permission
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
