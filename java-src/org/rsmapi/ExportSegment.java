package org.rsmapi;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.mem.Accesses;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.sys.Identity;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * Memory that this process offers to others: created, then published under a segment id, unpublished and destroyed
 * (rsm_memseg_export_create(3RSM), rsm_memseg_export_publish(3RSM)).
 *
 * <p>The exporter reads and writes it through the methods of {@link SegmentMemory}, at any time from create to destroy. A
 * published segment stays published until it is unpublished or destroyed, or the process ends, whether or not anybody keeps this
 * object.
 *
 * <p>When {@link #unpublish()} or {@link #destroy()} returns, no importer sees the memory any more or can change it, not even
 * one that is stopped or means harm. What the exporter wrote is kept.
 *
 * <p>Publishing again after that has to move the content to a new memory file. The exporter's own access through this class waits
 * meanwhile; whoever writes by raw address, or has one long compiled loop of plain writes under way, must hold off.
 */
public final class ExportSegment extends SegmentMemory implements Segment {
    /** {@code RSM_ALLOW_REBIND}: the memory may be exchanged later. */
    public static final int ALLOW_REBIND = 1;
    /** {@code RSM_CREATE_SEG_DONTWAIT}: fail rather than wait for resources. */
    public static final int CREATE_SEG_DONTWAIT = 2;
    /** Beyond the RSMAPI: enter all pages into the page table now, so that no first access has to. */
    public static final int PREFAULT = 1 << 16;
    /** Beyond the RSMAPI: keep the memory from being swapped out, for as long as it is shared. */
    public static final int LOCK = 1 << 17;
    /** Beyond the RSMAPI: huge pages. The length, and an address, have to be multiples of {@link #hugePageSize()}. */
    public static final int HUGE_PAGES = 1 << 18;

    private static final long MAX_ID = 0xFFFF_FFFFL;
    private static final long FIRST_FREE_ID = 0x40_0000L;
    private static final long FIRST_AUTOMATIC_ID = 0x8000_0000L;
    private static final int MAX_NODE = 63;
    private static final int MAX_PERMISSION = 0666;

    /** Published segments are reachable from here, so that dropping the object does not unpublish. */
    private static final Set<ExportSegment> PUBLISHED = ConcurrentHashMap.newKeySet();

    private final ReentrantLock lock = new ReentrantLock();
    private final Controller controller;
    private final ExportedMemory memory;
    private final int flags;
    private final int umask = Identity.umask();
    private final Owner owner;
    private final boolean allocated;
    private final Reclaim.Watch watch;
    private final Signaling signaling;
    private final Gate gate = new Gate();
    private final Holds holds = new Holds();
    /** Where the memory that was allocated for it is or was. */
    private final long first;
    /** Whether that memory is being taken away. */
    private volatile boolean ending;
    private volatile boolean destroyed;
    private volatile Publication publication;

    private static final class Publication {
        private final List<AccessEntry> access;
        /** Not changed any more when others can see it. */
        private long segmentId;

        Publication(long segmentId, List<AccessEntry> access) {
            this.segmentId = segmentId;
            this.access = access;
        }
    }

    /** Whose memory it is. */
    private static final class Owner {
        private Object present;
        /** Memory that a thread which has just looked at the address may still use; never read. */
        private final ArrayList<Object> former = new ArrayList<>();

        Owner(Object owner) {
            present = owner;
        }

        /** Makes sure that the next change does not fail. */
        synchronized void prepare() {
            former.ensureCapacity(former.size() + 2);
        }

        synchronized void change(Object next) {
            release();
            present = next;
        }

        synchronized void release() {
            if (present instanceof LocalMemory.Part) {
                ((LocalMemory.Part) present).release();
            }
            if (present != null) {
                former.add(present);
            }
            present = null;
        }
    }

    /** A segment of this memory, which is ended if there is none. */
    static ExportSegment of(Controller controller, ExportedMemory memory, long size, int flags, Object owner) {
        ExportSegment segment;
        try {
            segment = new ExportSegment(controller, memory, size, flags, owner);
        } catch (RuntimeException | Error e) {
            memory.destroy();
            memory.giveBack();
            throw e;
        }
        Reclaim.reap();
        return segment;
    }

    private ExportSegment(Controller controller, ExportedMemory memory, long size, int flags, Object owner) {
        super(memory.address(), size, size, true);
        this.controller = controller;
        this.memory = memory;
        this.flags = flags;
        this.allocated = owner == null;
        this.first = memory.address();
        Owner holder = new Owner(owner);
        this.owner = holder;
        this.signaling = new Signaling(memory.signals(), new Signaling.State() {
            @Override
            public void checkOpen(String op) {
                checkLive(op);
            }

            @Override
            public RsmException ended(String op) {
                return null;
            }
        });
        this.watch = Reclaim.whenUnreachable(this, () -> { // last: if anything fails, the caller ends the memory
            memory.destroy();
            memory.giveBack();
            holder.release();
        });
    }

    /**
     * The size of a huge page in bytes, or 0 if there are none on this machine.
     *
     * @throws RsmException CTLR_NOT_PRESENT (native functions cannot be called)
     */
    public static long hugePageSize() {
        Entrance.require("huge-page-size");
        return Vm.hugePageSize();
    }

    /** Checks 4 to 6 of create. */
    static void checkLength(Interconnect interconnect, long address, long length, int flags) {
        RsmException failure = null;
        if (length <= 0) {
            failure = RsmException.of(RsmError.BAD_LENGTH, "export-create");
        } else if (length % Vm.pageSize() != 0 || address % Vm.pageSize() != 0) {
            failure = RsmException.of(RsmError.BAD_MEM_ALIGNMENT, "export-create")
                .hint("address and length have to be multiples of the page size");
        } else {
            long max = interconnect.attributes().maxExportSegmentSize();
            if (!interconnect.localOnly() && max != 0 && length > max) {
                failure = RsmException.of(RsmError.BAD_LENGTH, "export-create").with("max-export-segment-size", max);
            }
        }
        if (failure == null && (flags & HUGE_PAGES) != 0) {
            failure = hugePageObjection("export-create", address, length);
        }
        if (failure != null) {
            failure.with("length", length).with("page-size", Vm.pageSize());
            throw address == 0 ? failure : failure.with("address", address);
        }
    }

    private static RsmException hugePageObjection(String op, long address, long length) {
        long huge = hugePageSize();
        if (huge == 0) {
            return RsmException.of(RsmError.INSUFFICIENT_RESOURCES, op).hint("this kernel has no transparent huge pages");
        }
        return length % huge == 0 && address % huge == 0 ? null
            : RsmException.of(RsmError.BAD_MEM_ALIGNMENT, op).with("huge-page-size", huge)
                .hint("with huge pages, address and length have to be multiples of their size");
    }

    /**
     * Publishes the segment to every node, by the umask rule: owner, group and others get what the umask at create leaves
     * of read and write.
     *
     * @param segmentId  0x400000 to 0x7FFFFFFF, or 0 to have one assigned (0x80000000 and above)
     * @return the id
     * @throws RsmException see {@link #publish(long, List)}
     */
    public long publish(long segmentId) {
        return publish(segmentId, List.of());
    }

    /**
     * Publishes the segment (rsm_memseg_export_publish(3RSM)).
     *
     * @param segmentId  0x400000 to 0x7FFFFFFF, or 0 to have one assigned (0x80000000 and above)
     * @param access     which nodes may connect, and with which permissions; null or empty: the umask rule for every node. The
     *                   {@code loopback} controller takes one entry, for the local node; others take 64
     * @return the id
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed), SEG_ALREADY_PUBLISHED, BAD_SEGID (not 32 bits),
     *     RESERVED_SEGID, BAD_ACL, SEGID_IN_USE, INSUFFICIENT_MEM, INSUFFICIENT_RESOURCES
     */
    public long publish(long segmentId, List<AccessEntry> access) {
        Stack.reserve();
        lock.lock();
        try {
            checkLive("export-publish");
            if (publication != null) {
                throw RsmException.of(RsmError.SEG_ALREADY_PUBLISHED, "export-publish").with("segment-id", publication.segmentId);
            }
            checkId(segmentId);
            List<AccessEntry> entries = checkAccess("export-publish", access);
            Publication next = new Publication(segmentId, entries);
            try {
                PUBLISHED.add(this); // before, because nothing may fail afterwards
                next.segmentId = Integer.toUnsignedLong(memory.publish((int) segmentId, new AccessPolicy(entries, umask), gate));
            } catch (RuntimeException | Error e) {
                PUBLISHED.remove(this);
                throw e;
            }
            publication = next;
            return next.segmentId;
        } finally {
            lock.unlock();
        }
    }

    private static void checkId(long id) {
        if (id < 0 || id > MAX_ID) {
            throw RsmException.of(RsmError.BAD_SEGID, "export-publish").with("segment-id", id)
                .hint("segment ids have 32 bits");
        }
        if (id != 0 && (id < FIRST_FREE_ID || id >= FIRST_AUTOMATIC_ID)) {
            throw RsmException.of(RsmError.RESERVED_SEGID, "export-publish").with("segment-id", id)
                .hint("use 0x400000 to 0x7FFFFFFF (0x600000 and above are for applications), or 0 to have one assigned");
        }
    }

    private List<AccessEntry> checkAccess(String op, List<AccessEntry> access) {
        if (access == null) {
            return List.of();
        }
        Interconnect interconnect = controller.interconnect();
        Object[] entries = Lists.copy(access, AccessEntry.class, Lists.LONGEST, RsmError.BAD_ACL, op);
        if (entries.length > interconnect.maxAccessEntries()) {
            throw RsmException.of(RsmError.BAD_ACL, op).with("entries", entries.length)
                .with("max-entries", interconnect.maxAccessEntries());
        }
        List<AccessEntry> checked = new ArrayList<>(entries.length);
        for (Object each : entries) {
            if (each == null) {
                throw RsmException.of(RsmError.BAD_ACL, op).hint("an entry is null");
            }
            AccessEntry entry = (AccessEntry) each;
            checked.add(entry);
            boolean reachable = interconnect.localOnly() ? entry.node() == interconnect.localNode()
                : entry.node() >= 0 && entry.node() <= MAX_NODE;
            if (!reachable) {
                throw RsmException.of(RsmError.BAD_ACL, op).with("node", entry.node()).with("perm", entry.permission())
                    .hint(interconnect.localOnly() ? "loopback takes one entry, for the local node" : "nodes are 0 to 63");
            }
            if (entry.permission() < 0 || entry.permission() > MAX_PERMISSION) {
                throw RsmException.of(RsmError.BAD_ACL, op).with("node", entry.node()).with("perm", entry.permission())
                    .hint("a permission is three octal digits of 4 (read) and 2 (write), at most 0666");
            }
        }
        return List.copyOf(checked);
    }

    /**
     * Ends the publication (rsm_memseg_export_unpublish(3RSM)). Importers are told, and when this returns the memory is out of
     * their reach. The content stays, and the segment can be published again.
     *
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed), SEG_NOT_PUBLISHED, INSUFFICIENT_MEM (there was no memory to
     *     move the content to; importers are disconnected, and the call has to be made again)
     */
    public void unpublish() {
        Stack.reserve();
        lock.lock();
        try {
            checkPublished("export-unpublish");
            memory.unpublish();
            publication = null;
            PUBLISHED.remove(this);
        } finally {
            lock.unlock();
        }
    }

    /**
     * Changes the access list (rsm_memseg_export_republish(3RSM)). It counts for later connects; connected importers keep what
     * they have.
     *
     * @param access  as in {@link #publish(long, List)}
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed), SEG_NOT_PUBLISHED, BAD_ACL
     */
    public void republish(List<AccessEntry> access) {
        Stack.reserve();
        lock.lock();
        try {
            checkPublished("export-republish");
            List<AccessEntry> entries = checkAccess("export-republish", access);
            Publication next = new Publication(publication.segmentId, entries);
            memory.republish(new AccessPolicy(entries, umask));
            publication = next;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Takes other memory in the place of the present one (rsm_memseg_export_rebind(3RSM)): memory from {@link LocalMemory#allocate},
     * by its address. Importers keep their connections, and see what it contains where they have mapped the segment; what they saw is
     * undefined while the call runs. The present memory keeps its content, if it is the caller's own.
     *
     * <p>This segment is then at the new address. Its access through this class waits meanwhile; otherwise nobody may write to the new
     * memory while the call runs, and whoever writes by raw address, or has one long compiled loop of plain access under way, must hold
     * off.
     *
     * @param address  a multiple of the page size
     * @param length   the segment's size
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed), BAD_ADDR (0), REBIND_NOT_ALLOWED (not created with
     *     {@link #ALLOW_REBIND}), BAD_LENGTH (not the segment's size), BAD_ADDR (not aligned, not mapped, a file mapped shared),
     *     PERM_DENIED (not writable), BAD_ADDR (not the caller's, or in use by another segment or mapping), REBIND_NOT_ALLOWED (the
     *     segment is published and another one is exported over the same memory), INSUFFICIENT_MEM, INSUFFICIENT_RESOURCES
     */
    public void rebind(long address, long length) {
        String op = "export-rebind";
        Stack.reserve();
        lock.lock();
        try {
            checkRebind(op, address == 0 ? "give the address of other memory, or a writable direct ByteBuffer" : null, length);
            if (address == base) {
                return;
            }
            checkAlignment(op, address);
            checkApart(op, address);
            rebindTo(address, Controller.occupied(op, address, length));
        } finally {
            lock.unlock();
        }
    }

    /**
     * Takes a direct buffer's memory, from its position to its limit, in the place of the present one.
     *
     * @throws RsmException as {@link #rebind(long, long)}; BAD_ADDR too if the buffer is null, on the heap or read-only, if its memory
     *     has been freed, or can be freed by closing an arena
     */
    public void rebind(ByteBuffer buffer) {
        String op = "export-rebind";
        Stack.reserve();
        lock.lock();
        try {
            CallerBuffer next = CallerBuffer.of(buffer);
            checkRebind(op, next.objection(), next.isUsable() ? next.length() : 0);
            long address = next.address();
            if (address == base) {
                return;
            }
            checkAlignment(op, address);
            checkApart(op, address);
            rebindTo(address, next.owner());
        } finally {
            lock.unlock();
        }
    }

    /** Checks what does not depend on the address; {@code objection} says what is wrong with the memory, or is null. */
    private void checkRebind(String op, String objection, long length) {
        checkLive(op);
        if (objection != null) {
            throw RsmException.of(RsmError.BAD_ADDR, op).hint(objection);
        }
        if ((flags & ALLOW_REBIND) == 0) {
            throw RsmException.of(RsmError.REBIND_NOT_ALLOWED, op).hint("create the segment with ALLOW_REBIND (:allow-rebind true)");
        }
        if (length != size()) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("length", length).with("size", size())
                .hint("the other memory has to be as long as the segment");
        }
    }

    private void checkApart(String op, long address) {
        if (address < base + size() && base < address + size()) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("address", address).with("present-address", base).with("length", size())
                .hint("the range overlaps the segment's present memory: give that memory itself, or other memory");
        }
    }

    private void checkAlignment(String op, long address) {
        long unit = (flags & HUGE_PAGES) != 0 ? hugePageSize() : Vm.pageSize();
        if (address % unit != 0) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("address", address).with("page-size", unit)
                .hint("the address has to be a multiple of the page size");
        }
    }

    private void rebindTo(long address, Object next) {
        try {
            owner.prepare();
            memory.rebind(address, next, gate);
        } catch (RuntimeException | Error e) {
            if (next instanceof LocalMemory.Part) {
                ((LocalMemory.Part) next).release();
            }
            throw e;
        }
        owner.change(next);
        if (allocated) {
            watch.emptied(first, size());
        }
    }

    /**
     * Destroys the segment (rsm_memseg_export_destroy(3RSM)), unpublishing it first if it is published. The caller's own memory
     * keeps its address and content; memory that the library allocated is gone.
     *
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed already), POLLFD_IN_USE, INSUFFICIENT_MEM (there was no memory to
     *     move the caller's own content to; the call has to be made again)
     */
    public void destroy() {
        Stack.reserve();
        lock.lock();
        try {
            checkLive("export-destroy");
            signaling.checkUnreferenced("export-destroy");
            end();
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

    private void end() {
        readLimit = -1;
        writeLimit = -1;
        ending = true;
        try {
            memory.destroy();
        } catch (RuntimeException | Error e) {
            ending = false;
            throw e;
        }
        destroyed = true;
        publication = null;
        PUBLISHED.remove(this);
        if (allocated) {
            watch.ended();
            watch.emptied(first, size());
            watch.vacated(first, size());
        } else {
            watch.cancel();
        }
        owner.release();
    }

    /** Destroys the segment if that has not been done, whether or not somebody has its poll descriptor. */
    @Override
    public void close() {
        Stack.reserve();
        lock.lock();
        try {
            if (!destroyed) {
                signaling.dropReferences();
                end();
            }
        } finally {
            lock.unlock();
        }
        Reclaim.reap();
    }

    private void checkLive(String op) {
        if (destroyed) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, op).hint("the segment has been destroyed");
        }
    }

    private void checkPublished(String op) {
        checkLive(op);
        if (publication == null) {
            throw RsmException.of(RsmError.SEG_NOT_PUBLISHED, op);
        }
    }

    /** The controller that it was created on. */
    public Controller controller() {
        return controller;
    }

    /** The address of its first byte in this process; the same until {@link #rebind}. */
    public long address() {
        return base;
    }

    /** The id under which it is published, or -1. */
    public long segmentId() {
        Publication now = publication;
        return now == null ? -1 : now.segmentId;
    }

    /** The access list it is published with; empty for the umask rule, null if it is not published. */
    public List<AccessEntry> access() {
        Publication now = publication;
        return now == null ? null : now.access;
    }

    /** The flags of create. */
    public int flags() {
        return flags;
    }

    /** Whether it is published. While another thread publishes or unpublishes it, this waits for how that ends. */
    public boolean isPublished() {
        Stack.reserve();
        lock.lock();
        try {
            return publication != null;
        } finally {
            lock.unlock();
        }
    }

    /** Whether it has not been destroyed. */
    @Override
    public boolean isOpen() {
        return !destroyed;
    }

    /** How many importers are connected now. */
    public int importers() {
        return memory.importers();
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
        Stack.reserve();
        lock.lock();
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
    void empty() {
        if (ending && allocated && base == first) {
            Vm.drop(first, size());
        }
    }

    @Override
    Holds holds() {
        return holds;
    }

    @Override
    long refused(String op, boolean write, long offset, long bytes) {
        gate.await(op);
        checkLive(op);
        if (offset < 0 || offset > size() - bytes) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", offset).with("length", bytes).with("size", size());
        }
        return base + offset;
    }

    /** Keeps access through this object waiting while the memory moves. */
    private final class Gate implements ExportedMemory.Gate {
        private static final int LOOKS = 1_000;
        /** The name of the method in which an access waits here. */
        private static final String REFUSED = "refused";

        private boolean shut;

        @Override
        public void shut() {
            synchronized (this) {
                shut = true;
            }
            holds.shut();
            readLimit = -1;
            writeLimit = -1;
            VarHandle.fullFence();
            moves++; // by one thread at a time: the segment's lock is held
            VarHandle.fullFence();
            // Of virtual threads nothing is seen: their bulk writes find out by the field moves, and of an interpreted write of a
            // single value the bytecode or two between check and access remain.
            for (int i = 0; i < LOOKS && Accesses.areSeen(REFUSED); i++) {
                Thread.onSpinWait();
            }
        }

        @Override
        public synchronized void open() {
            try {
                changeBase(memory.address());
            } finally {
                shut = false;
                readLimit = size();
                writeLimit = size();
                holds.open();
                notifyAll();
            }
        }

        /**
         * After a rebind. A thread may have read the old address and be about to read the limit: compiled code does that in any
         * order. When all threads have been stopped at a safepoint once more, there is none left between the two.
         */
        private void changeBase(long address) {
            if (address != base) {
                base = address;
                VarHandle.fullFence();
                try {
                    Thread.getAllStackTraces();
                } catch (OutOfMemoryError e) {
                    return; // the garbage collection that came before this error has stopped all threads too
                }
            }
        }

        void await(String op) {
            Accesses.WAITING.incrementAndGet();
            try {
                awaitOpen(op);
            } finally {
                Accesses.WAITING.decrementAndGet();
            }
        }

        private synchronized void awaitOpen(String op) {
            while (shut) {
                try {
                    wait();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    throw RsmException.of(RsmError.INTERRUPTED, op).hint("the segment's memory is being moved").causedBy(e);
                }
            }
        }
    }

    @Override
    public String toString() {
        Publication now = publication;
        return "#<ExportSegment " + (now == null ? "" : String.format(Locale.ROOT, "0x%08x ", now.segmentId)) + size() + " bytes on "
            + controller.name() + (destroyed ? " destroyed>" : now == null ? " created>" : " published>");
    }
}
