package org.rsmapi;

import java.lang.ref.WeakReference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.mirror.Mirror;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.MappedRange;
import org.rsmapi.spi.NoRoom;
import org.rsmapi.spi.Nodes;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Deadline;
import org.rsmapi.sys.Stack;

/**
 * A connection to a segment that another process, or this one, has published (rsm_memseg_import_connect(3RSM)).
 *
 * <p>It has at most one mapping at a time; to map two windows, connect twice. When the exporter unpublishes or destroys the segment or
 * is gone, the connection is <i>aborted</i> for good: it can only be unmapped and disconnected. All methods may be called from any
 * thread.
 *
 * <p><b>Put and get</b> move data without a mapping of the caller's. Offsets are in bytes from the start of the segment; of a segment
 * that is mapped explicitly, only the mapped part can be reached. The first of these calls maps a segment that is not mapped, as a
 * whole and with the permission of the connection, until {@link #unmap()} or {@link #disconnect()}.
 *
 * <p>{@code put} and {@code get} move bytes. {@code put8} to {@code get64} move elements of that many bits, which are swapped if the
 * exporter's machine has another byte order. Their counts are in elements, their positions in arrays in elements, their offsets and
 * positions in memory in bytes. An element at its natural alignment is never seen half-written.
 *
 * <p>In the mode {@link BarrierMode#IMPLICIT}, a call that returns has moved its data to or from the exporter's memory, and reports
 * CONN_ABORTED otherwise; the segment needs a barrier for that. In the mode {@link BarrierMode#EXPLICIT}
 * {@link Barrier#closeBarrier()} reports it.
 *
 * <p>All of them throw {@link RsmException}, in this order: BAD_SEG_HNDL (disconnected), BAD_ADDR (the local side is null or cannot
 * be used), BAD_MEM_ALIGNMENT (the local address, then the offset, is no multiple of the element's size), CONN_ABORTED (not mapped),
 * INSUFFICIENT_RESOURCES, BAD_LENGTH or MAP_FAILED (it cannot be mapped), PERM_DENIED (the connection or the mapping lacks the right),
 * BAD_OFFSET (not wholly inside the segment or its mapped part; a negative count), BAD_LENGTH (not wholly inside the local side),
 * BARRIER_UNINITIALIZED, CONN_ABORTED, and what the state of local memory adds.
 *
 * <p><b>Mirrored memory</b> ({@link Capabilities.Memory#MIRRORED}). Over an interconnect that moves data instead of sharing memory, a
 * mapping is a copy: see {@link Mapping#isMirror()} and {@link Barrier}. Put and get map nothing then, and go past a mapping; they also
 * throw BARRIER_OPEN_FAILED (the exporter has not answered, and nothing was moved) and BARRIER_FAILURE (no answer: nobody knows whether
 * it was moved).
 */
public final class ImportSegment implements Segment {
    /** {@code RSM_MAP_NONE}: anywhere; an address is a hint. */
    public static final int MAP_NONE = 0;
    /** {@code RSM_MAP_FIXED}: exactly at the address, or not at all. */
    public static final int MAP_FIXED = 1;
    /** {@code RSM_MAP_RESERVED}: accepted and ignored, as in the original. */
    public static final int MAP_RESERVED = 2;

    /** Beyond the RSMAPI, a flag of map: enter all pages into the page table now. */
    public static final int MAP_PREFAULT = ExportSegment.PREFAULT;
    /** Beyond the RSMAPI, a flag of map: keep the memory from being swapped out while it is mapped. */
    public static final int MAP_LOCK = ExportSegment.LOCK;
    /**
     * Beyond the RSMAPI, a flag of map: map the huge pages of a segment that was created with {@link ExportSegment#HUGE_PAGES} as
     * huge pages. Offset, length and an address that is given have to be multiples of {@link ExportSegment#hugePageSize()}.
     */
    public static final int MAP_HUGE_PAGES = ExportSegment.HUGE_PAGES;

    private static final long PAUSE_NANOS = 20_000;

    static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);

    private final ReentrantLock lock = new ReentrantLock();
    private final Controller controller;
    private final int node;
    private final long segmentId;
    private final Permission permission;
    private final Connection connection;
    /** Null where the exporter's memory is shared. */
    private final RemoteAccess remote;
    private final Watcher watcher;
    /** Mapping and segment keep each other reachable, so they are lost together. */
    private final Reclaim.Watch watch;
    /** The addresses of the current mapping; null while there is none, or it is over local memory. */
    private final AtomicReference<MappedRange> range = new AtomicReference<>();
    private final PollReferences references = new PollReferences();
    /** Changed with the lock held. */
    private volatile Mapping mapping;
    private volatile boolean disconnected;
    /** Whether the lock is held by a call that makes memory ready. */
    private volatile boolean preparing;
    /** Whether {@link #abort()} has been called. */
    private volatile boolean revoked;
    private volatile BarrierMode mode = BarrierMode.IMPLICIT;
    /** The one that put and get use: the latest that was initialised, unless it has been destroyed. */
    private volatile Barrier barrier;

    /** Called by the interconnect when it aborts the connection. It does not keep the segment reachable. */
    private static final class Watcher implements Interconnect.AbortListener {
        private volatile String reason;
        private volatile WeakReference<ImportSegment> target;

        @Override
        public void aborted(String why) {
            synchronized (this) {
                reason = reason == null ? why : reason;
            }
            abortTarget();
        }

        void attach(ImportSegment segment) {
            target = new WeakReference<>(segment);
            if (reason != null) {
                abortTarget();
            }
        }

        private void abortTarget() {
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
        this.remote = connection.remote() == null ? null : new RemoteAccess(this, connection.remote());
        this.watcher = watcher;
        AtomicReference<MappedRange> mapped = range;
        this.watch = Reclaim.whenUnreachable(this, () -> { // last: if anything fails, the caller closes the connection
            connection.close();
            MappedRange lost = mapped.get();
            if (lost != null) {
                lost.replaceWithZeroPages();
                lost.unmap();
            }
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
        if (segmentId < 0 || segmentId > SegmentIdRange.MAX_ID) {
            throw RsmException.of(RsmError.BAD_SEGID, op).with("segment-id", segmentId).hint("segment ids have 32 bits");
        }
        if (timeout == null || timeout.isNegative()) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "timeout");
        }
        if (interconnect.localOnly() && node != interconnect.localNode()) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, op).with("node", node).with("segment-id", segmentId)
                .hint("loopback reaches the local node only, which is " + interconnect.localNode());
        }
        if (!Nodes.exists(node)) {
            throw RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, op).with("node", node).with("segment-id", segmentId)
                .hint(Nodes.RANGE);
        }
        Stack.reserve();
        Reclaim.reap();
        Watcher watcher = new Watcher();
        Connection connection = interconnect.connect(node, (int) segmentId, permission, Deadline.after(timeout, interconnect.nanoTime()), watcher);
        try {
            ImportSegment segment = new ImportSegment(controller, node, segmentId, permission, connection, watcher);
            watcher.attach(segment);
            return controller.listed(segment);
        } catch (RuntimeException | Error e) {
            connection.close();
            throw e;
        }
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
     *     what is there), INSUFFICIENT_RESOURCES, INSUFFICIENT_MEM (so much may not be locked), MAP_FAILED. Where memory is
     *     mirrored, BAD_PERMS also if the connection may not read, and MAP_FAILED also if the exporter does not answer
     */
    public Mapping map(long address, int attributes, int perm, long offset, long length) {
        return map(address, attributes, perm, offset, length, 0);
    }

    /**
     * Maps a part of the segment, and makes its memory ready. If that fails, nothing is mapped. Beyond the RSMAPI.
     *
     * @param flags  {@link #MAP_PREFAULT}, {@link #MAP_LOCK}, {@link #MAP_HUGE_PAGES}, added; other bits are ignored
     * @throws RsmException as {@link #map(long, int, int, long, long)}; also BAD_MEM_ALIGNMENT (no multiples of the size of a huge
     *     page), INSUFFICIENT_MEM (the process may not lock so much), INSUFFICIENT_RESOURCES (the exporter's memory is not in huge
     *     pages, or the kernel has none)
     */
    public Mapping map(long address, int attributes, int perm, long offset, long length, int flags) {
        return map(new MapRequest(null, address, attributes, perm, offset, length, flags));
    }

    /**
     * Maps a part of the segment over memory that the caller owns. While it is mapped, the permission also holds for access to that part
     * through the local memory (PERM_DENIED). When the mapping is closed, the range is zero pages of the local memory again.
     *
     * @param over    where
     * @param at      offset in it, in bytes, a multiple of the page size
     * @param perm    0400, 0200 or 0600, at most what the connection has
     * @param offset  as in {@link #map(long, int, int, long, long)}
     * @param length  as in {@link #map(long, int, int, long, long)}
     * @throws RsmException as {@link #map(long, int, int, long, long)}; BAD_LENGTH if the range is not in the memory or in use
     */
    public Mapping mapOver(LocalMemory over, long at, int perm, long offset, long length) {
        return mapOver(over, at, perm, offset, length, 0);
    }

    /**
     * The same, and makes the memory ready.
     *
     * @param flags  as in {@link #map(long, int, int, long, long, int)}
     */
    public Mapping mapOver(LocalMemory over, long at, int perm, long offset, long length, int flags) {
        return map(over(over, at, perm, offset, length, flags));
    }

    private static MapRequest over(LocalMemory over, long at, int perm, long offset, long length, int flags) {
        if (over == null) {
            throw RsmException.of(RsmError.BAD_ADDR, MapRequest.OP).with("argument", "over");
        }
        return new MapRequest(over, over.address() + at, MAP_FIXED, perm, offset, length, flags);
    }

    private Mapping map(MapRequest request) {
        for (Room room = new Room(request.neededAddress(), request.length()); ; ) {
            try {
                return tryMap(request);
            } catch (NoRoom e) {
                room.makeAfter(e);
            }
        }
    }

    private Mapping tryMap(MapRequest request) {
        Stack.lock(lock);
        try {
            RsmException objection = request.objection(this);
            if (objection != null) {
                throw objection;
            }
            LocalMemory.Part part = request.over() == null ? null : request.over().take(request.address(), request.length(), request.wanted());
            boolean mapped = false;
            try {
                mapping = make(request, part, false);
                mapped = true;
            } finally {
                if (!mapped && part != null) {
                    part.release();
                }
            }
            if (revoked) {
                abort();
            }
            return mapping;
        } finally {
            lock.unlock();
        }
    }

    private Mapping make(MapRequest request, LocalMemory.Part part, boolean implicit) {
        MappedRange mapped;
        preparing = remote != null || !request.options().isEmpty();
        try {
            mapped = remote != null ? mirror(request)
                : connection.map(request.placement(), request.address(), request.wanted(), request.offset(), request.length(),
                    request.options());
        } finally {
            preparing = false;
        }
        if (part == null) { // otherwise the mapping sees to it: the addresses are the local memory's
            range.set(mapped);
        }
        try {
            return new Mapping(this, mapped, request, part, implicit);
        } catch (RuntimeException | Error e) {
            mapped.replaceWithZeroPages();
            range.set(null);
            mapped.unmap();
            throw e;
        }
    }

    private Mirror mirror(MapRequest request) {
        Mirror mirror = new Mirror(remote.memory(), request.placement(), request.address(), request.wanted().writes(), request.offset(),
            request.length(), request.options());
        boolean filled = false;
        try {
            mirror.pull(0, mirror.length());
            filled = true;
            return mirror;
        } catch (RsmException e) {
            throw isAborted() ? aborted(MapRequest.OP).causedBy(e)
                : RsmException.of(RsmError.MAP_FAILED, MapRequest.OP).with("segment-id", segmentId).with("node", node)
                    .with("offset", request.offset()).with("length", request.length()).causedBy(e)
                    .hint("the content could not be brought in: the exporter has not answered");
        } finally {
            if (!filled) {
                mirror.replaceWithZeroPages();
                mirror.unmap();
            }
        }
    }

    /**
     * What {@link #map(long, int, int, long, long)} would throw for these arguments now, or null if it would go on to ask
     * the kernel. Nothing is done.
     */
    public RsmException checkMap(long address, int attributes, int perm, long offset, long length) {
        return checkMap(address, attributes, perm, offset, length, 0);
    }

    /** The same with the flags of map; whether the memory can be made ready is found out only by mapping. */
    public RsmException checkMap(long address, int attributes, int perm, long offset, long length, int flags) {
        return check(new MapRequest(null, address, attributes, perm, offset, length, flags));
    }

    /** The same for {@link #mapOver}; whether another segment or mapping lies there is found out only by mapping. */
    public RsmException checkMapOver(LocalMemory over, long at, int perm, long offset, long length) {
        return checkMapOver(over, at, perm, offset, length, 0);
    }

    /** The same with the flags of map. */
    public RsmException checkMapOver(LocalMemory over, long at, int perm, long offset, long length, int flags) {
        MapRequest request = over(over, at, perm, offset, length, flags);
        RsmException objection = check(request);
        return objection != null || over.has(request.address(), length) ? objection : LocalMemory.outside(request.address(), length);
    }

    private RsmException check(MapRequest request) {
        Stack.lock(lock);
        try {
            return request.objection(this);
        } finally {
            lock.unlock();
        }
    }

    /**
     * Unmaps the mapping (rsm_memseg_import_unmap(3RSM)). A thread that is using it reads zeros, or writes to no memory of the
     * segment, and then gets {@code RSMERR_SEG_NOT_MAPPED}.
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
        if (ending.isMirror()) {
            finish(ending);
        }
        if (pagesGone) {
            ending.empty(0, 0);
        } else {
            ending.replaceWithZeroPages();
        }
        range.set(null);
        ending.release();
        mapping = null;
    }

    private void finish(Mapping ending) {
        preparing = true;
        try {
            remote.finish(ending.mirror(), !revoked && ending.permission().writes());
        } finally {
            preparing = false;
        }
    }

    /**
     * Ends the mapping. Also the service thread does this, and must not wait while memory is made ready, which takes seconds for many
     * gigabytes: then the thread that does so ends the mapping itself, before others can use it.
     */
    private void abort() {
        Stack.reserve();
        revoked = true;
        while (!lock.tryLock()) {
            if (preparing) {
                return;
            }
            LockSupport.parkNanos(PAUSE_NANOS);
        }
        try {
            if (mapping != null && mapping.isMapped()) {
                mapping.end(false);
                mapping.replaceWithZeroPages();
            }
        } finally {
            lock.unlock();
        }
    }

    RsmException aborted(String op) {
        String reason = watcher.reason != null ? watcher.reason : connection.abortReason();
        return RsmException.of(RsmError.CONN_ABORTED, op).with("segment-id", segmentId).with("node", node)
            .with("reason", reason == null ? "revoked" : reason)
            .hint(("unreachable".equals(reason) ? "the exporter's host cannot be reached" : "the exporter has revoked the segment or is gone")
                + ": unmap, disconnect, and connect again");
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
            references.checkNone("import-disconnect");
            disconnected = true;
            watch.cancel();
            connection.close();
            controller.ended(this);
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
                references.dropAll();
                disconnect();
            }
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

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

    /**
     * What the exporter has published of the content's layout ({@link ExportSegment#publish(long, List, String)}), or null. It is the
     * exporter's text: nobody has checked it.
     */
    public String layout() {
        return connection.layout();
    }

    /** What can be done with it. */
    public Capabilities capabilities() {
        return connection.capabilities();
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
     * Whether the exporter has revoked the segment or is gone. Uses the newest information in shared memory and sends no message. Once
     * it has returned true, every access through a mapping throws CONN_ABORTED.
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

    /** How it reaches the exporter's memory; null where that is shared. */
    RemoteAccess remote() {
        return remote;
    }

    /** What put and get check of a segment that is not mapped. */
    void checkUnmapped(String op) {
        checkConnected(op);
        checkAborted(op);
        if (permission == Permission.NONE) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("perm", permission)
                .hint("the segment is connected without any permission");
        }
    }

    Mapping window(String op) {
        Mapping now = mapping;
        if (now != null) {
            return now;
        }
        checkConnected(op);
        try {
            for (Room room = new Room(Room.ANYWHERE, size()); ; ) {
                try {
                    return mapImplicitly(op);
                } catch (NoRoom e) {
                    room.makeAfter(e);
                }
            }
        } catch (RsmException e) {
            throw e.op().equals(op) ? e : e.inOp(op);
        }
    }

    private Mapping mapImplicitly(String op) {
        Stack.lock(lock);
        try {
            checkConnected(op);
            if (mapping == null) {
                checkUnmapped(op);
                mapping = make(MapRequest.whole(permission, size()), null, true);
            }
            return mapping;
        } finally {
            lock.unlock();
        }
    }

    /** The mode, whether or not the segment is connected. */
    BarrierMode mode() {
        return mode;
    }

    void checkBarrier(String op) {
        if (barrier == null) {
            throw RsmException.of(RsmError.BARRIER_UNINITIALIZED, op).with("segment-id", segmentId)
                .hint("initialise a barrier for the segment, or set its mode to explicit");
        }
    }

    void checkNotice(String op) {
        if (watcher.reason != null) {
            throw aborted(op);
        }
    }

    void checkAborted(String op) {
        if (isAborted()) {
            throw aborted(op);
        }
    }

    // ---- atomic access ----

    /**
     * Writes an int, if another one is there, and returns whether it was: in one step, also towards the exporter's own atomic access and
     * that of other importers. Beyond the RSMAPI. The numbers are those of the exporter's byte order.
     *
     * @param offset  in the segment, in bytes, a multiple of 4
     * @throws RsmException in this order: BAD_SEG_HNDL (disconnected), LOCKS_NOT_SUPPORTED (the interconnect has no such access:
     *     {@link Capabilities#atomicSizes()}), BAD_MEM_ALIGNMENT, CONN_ABORTED (not mapped), what mapping the segment for put and get may
     *     report, PERM_DENIED (not for both reading and writing), BAD_OFFSET (not wholly inside the segment or its mapped part),
     *     CONN_ABORTED, BARRIER_FAILURE (no answer: nobody knows whether it was done)
     */
    public boolean compareAndSetInt(long offset, int expected, int value) {
        return Atomics.compareAndSet(this, "compare-and-set-int", offset, Integer.BYTES, expected, value);
    }

    /** The same with a long, at a multiple of 8. */
    public boolean compareAndSetLong(long offset, long expected, long value) {
        return Atomics.compareAndSet(this, "compare-and-set-long", offset, Long.BYTES, expected, value);
    }

    /** Adds to an int, wrapping around, and returns what was there before; as {@link #compareAndSetInt} writes. */
    public int getAndAddInt(long offset, int delta) {
        return (int) Atomics.getAndAdd(this, "get-and-add-int", offset, Integer.BYTES, delta);
    }

    /** The same with a long, at a multiple of 8. */
    public long getAndAddLong(long offset, long delta) {
        return Atomics.getAndAdd(this, "get-and-add-long", offset, Long.BYTES, delta);
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
     *     the end of the local side), CONN_ABORTED and the others of put and get; then those of {@link Segment#signalPost}
     */
    public static int putv(ScatterGather request) {
        return Transfer.moveAll("putv", true, request);
    }

    /**
     * Reads all pieces, one after the other (rsm_memseg_import_getv(3RSM)).
     *
     * @return the residual count, 0
     * @throws RsmException as {@link #putv}
     */
    public static int getv(ScatterGather request) {
        return Transfer.moveAll("getv", false, request);
    }

    // ---- signals ----

    @Override
    public void signalPost(int flags) {
        checkConnected("signal-post");
        checkAborted("signal-post");
        connection.post((flags & SIGPOST_NO_ACCUMULATE) == 0);
    }

    @Override
    public void signalWait(Duration timeout) {
        String op = "signal-wait";
        Signals signals = connection.signals();
        SignalWait wait = new SignalWait(op, timeout, signals);
        do {
            checkConnected(op);
            if (signals.take()) {
                return;
            }
            checkConnected(op);
            if (isAborted()) {
                if (signals.take()) {
                    return; // it was posted before the abort
                }
                throw aborted(op);
            }
        } while (!wait.await(signals));
    }

    @Override
    public PollFd getPollfd() {
        Stack.lock(lock);
        try {
            checkConnected("get-pollfd");
            return references.add(this, connection.signals());
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void releasePollfd() {
        checkConnected("release-pollfd");
        references.drop();
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
        return "#<ImportSegment " + String.format(Locale.ROOT, "0x%08x", segmentId) + " node " + node + " " + size() + " bytes "
            + permission + " " + state() + ">";
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

    // ---- put and get: bytes, then elements of 8, 16, 32 and 64 bits ----

    /** rsm_memseg_import_put(3RSM): writes {@code length} bytes of an array from {@code index} on. */
    public void put(long offset, byte[] source, int index, long length) {
        put(ElementWidth.BYTES, offset, source, index, length);
    }

    /** rsm_memseg_import_get(3RSM): reads {@code length} bytes into an array from {@code index} on. */
    public void get(long offset, byte[] target, int index, long length) {
        get(ElementWidth.BYTES, offset, target, index, length);
    }

    /** rsm_memseg_import_put(3RSM): writes {@code length} bytes of local memory, an export segment or a mapping from {@code from} on. */
    public void put(long offset, SegmentMemory source, long from, long length) {
        put(ElementWidth.BYTES, offset, source, from, length);
    }

    /** rsm_memseg_import_get(3RSM): reads {@code length} bytes into local memory, an export segment or a mapping from {@code to} on. */
    public void get(long offset, SegmentMemory target, long to, long length) {
        get(ElementWidth.BYTES, offset, target, to, length);
    }

    /** rsm_memseg_import_put(3RSM): writes a buffer from its position to its limit, and moves the position there. */
    public void put(long offset, ByteBuffer source) {
        int position = source == null ? 0 : source.position();
        int count = source == null ? 0 : Math.max(source.limit() - position, 0);
        put(ElementWidth.BYTES, offset, source, position, count);
        advance("put", source, position + count);
    }

    /** rsm_memseg_import_get(3RSM): reads into a buffer from its position to its limit, and moves the position there. */
    public void get(long offset, ByteBuffer target) {
        boolean usable = target != null && !target.isReadOnly();
        int position = usable ? target.position() : 0;
        int count = usable ? Math.max(target.limit() - position, 0) : 0;
        get(ElementWidth.BYTES, offset, usable ? target : null, position, count);
        advance("get", target, position + count);
    }

    private static void advance(String op, ByteBuffer buffer, int position) {
        try {
            buffer.position(position);
        } catch (IllegalArgumentException e) {
            throw SegmentMemory.unusable(op, e);
        }
    }

    /** {@link #put(long, byte[], int, long)}, and when that has succeeded {@link #signalPost} with these flags. */
    public void putSignal(long offset, byte[] source, int index, long length, int flags) {
        put(offset, source, index, length);
        signalPost(flags);
    }

    /** {@link #put(long, SegmentMemory, long, long)}, and when that has succeeded {@link #signalPost} with these flags. */
    public void putSignal(long offset, SegmentMemory source, long from, long length, int flags) {
        put(offset, source, from, length);
        signalPost(flags);
    }

    /** {@link #put(long, ByteBuffer)}, and when that has succeeded {@link #signalPost} with these flags. */
    public void putSignal(long offset, ByteBuffer source, int flags) {
        put(offset, source);
        signalPost(flags);
    }

    /**
     * The put of this element width.
     *
     * @param source  an array of elements of this width, a memory, or with {@link ElementWidth#BYTES} a buffer
     * @param index   in an array in elements, else in bytes
     * @param count   in elements
     */
    public void put(ElementWidth width, long offset, Object source, long index, long count) {
        checkWidth("put", width);
        Transfer.move(this, width.putOp(), true, offset, usable(width, source), index, count, width.shift());
    }

    /**
     * The get of this element width.
     *
     * @param target  an array of elements of this width, a memory, or with {@link ElementWidth#BYTES} a buffer
     * @param index   in an array in elements, else in bytes
     * @param count   in elements
     */
    public void get(ElementWidth width, long offset, Object target, long index, long count) {
        checkWidth("get", width);
        Transfer.move(this, width.getOp(), false, offset, usable(width, target), index, count, width.shift());
    }

    private static void checkWidth(String op, ElementWidth width) {
        if (width == null) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "width").hint("give an element width");
        }
    }

    /** The local side, or null if it cannot be one. */
    private static Object usable(ElementWidth width, Object data) {
        return width.isArray(data) || data instanceof SegmentMemory || width == ElementWidth.BYTES && data instanceof ByteBuffer
            ? data : null;
    }

    /** rsm_memseg_import_put8(3RSM). */
    public void put8(long offset, byte[] source, int index, long count) {
        put(ElementWidth.BITS_8, offset, source, index, count);
    }

    /** rsm_memseg_import_get8(3RSM). */
    public void get8(long offset, byte[] target, int index, long count) {
        get(ElementWidth.BITS_8, offset, target, index, count);
    }

    /** rsm_memseg_import_put8(3RSM). */
    public void put8(long offset, SegmentMemory source, long from, long count) {
        put(ElementWidth.BITS_8, offset, source, from, count);
    }

    /** rsm_memseg_import_get8(3RSM). */
    public void get8(long offset, SegmentMemory target, long to, long count) {
        get(ElementWidth.BITS_8, offset, target, to, count);
    }

    /** rsm_memseg_import_put16(3RSM). */
    public void put16(long offset, short[] source, int index, long count) {
        put(ElementWidth.BITS_16, offset, source, index, count);
    }

    /** rsm_memseg_import_get16(3RSM). */
    public void get16(long offset, short[] target, int index, long count) {
        get(ElementWidth.BITS_16, offset, target, index, count);
    }

    /** rsm_memseg_import_put16(3RSM). */
    public void put16(long offset, char[] source, int index, long count) {
        put(ElementWidth.BITS_16, offset, source, index, count);
    }

    /** rsm_memseg_import_get16(3RSM). */
    public void get16(long offset, char[] target, int index, long count) {
        get(ElementWidth.BITS_16, offset, target, index, count);
    }

    /** rsm_memseg_import_put16(3RSM). */
    public void put16(long offset, SegmentMemory source, long from, long count) {
        put(ElementWidth.BITS_16, offset, source, from, count);
    }

    /** rsm_memseg_import_get16(3RSM). */
    public void get16(long offset, SegmentMemory target, long to, long count) {
        get(ElementWidth.BITS_16, offset, target, to, count);
    }

    /** rsm_memseg_import_put32(3RSM). */
    public void put32(long offset, int[] source, int index, long count) {
        put(ElementWidth.BITS_32, offset, source, index, count);
    }

    /** rsm_memseg_import_get32(3RSM). */
    public void get32(long offset, int[] target, int index, long count) {
        get(ElementWidth.BITS_32, offset, target, index, count);
    }

    /** rsm_memseg_import_put32(3RSM). */
    public void put32(long offset, float[] source, int index, long count) {
        put(ElementWidth.BITS_32, offset, source, index, count);
    }

    /** rsm_memseg_import_get32(3RSM). */
    public void get32(long offset, float[] target, int index, long count) {
        get(ElementWidth.BITS_32, offset, target, index, count);
    }

    /** rsm_memseg_import_put32(3RSM). */
    public void put32(long offset, SegmentMemory source, long from, long count) {
        put(ElementWidth.BITS_32, offset, source, from, count);
    }

    /** rsm_memseg_import_get32(3RSM). */
    public void get32(long offset, SegmentMemory target, long to, long count) {
        get(ElementWidth.BITS_32, offset, target, to, count);
    }

    /** rsm_memseg_import_put64(3RSM). */
    public void put64(long offset, long[] source, int index, long count) {
        put(ElementWidth.BITS_64, offset, source, index, count);
    }

    /** rsm_memseg_import_get64(3RSM). */
    public void get64(long offset, long[] target, int index, long count) {
        get(ElementWidth.BITS_64, offset, target, index, count);
    }

    /** rsm_memseg_import_put64(3RSM). */
    public void put64(long offset, double[] source, int index, long count) {
        put(ElementWidth.BITS_64, offset, source, index, count);
    }

    /** rsm_memseg_import_get64(3RSM). */
    public void get64(long offset, double[] target, int index, long count) {
        get(ElementWidth.BITS_64, offset, target, index, count);
    }

    /** rsm_memseg_import_put64(3RSM). */
    public void put64(long offset, SegmentMemory source, long from, long count) {
        put(ElementWidth.BITS_64, offset, source, from, count);
    }

    /** rsm_memseg_import_get64(3RSM). */
    public void get64(long offset, SegmentMemory target, long to, long count) {
        get(ElementWidth.BITS_64, offset, target, to, count);
    }
}
