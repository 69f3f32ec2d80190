package org.rsmapi;

import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.mem.Accesses;
import org.rsmapi.mem.ForeignView;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Nodes;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * Memory that this process offers to others: created, then published under a segment id, unpublished and destroyed
 * (rsm_memseg_export_create(3RSM), rsm_memseg_export_publish(3RSM)).
 *
 * <p>The exporter reads and writes it through the methods of {@link SegmentMemory}, at any time from create to destroy. A
 * published segment stays published until it is unpublished or destroyed, or the process ends, also if this object is no longer
 * referenced.
 *
 * <p>When {@link #unpublish()} or {@link #destroy()} returns, no importer can read or change the memory any more, not even one that is
 * stopped or hostile. The exporter's writes are kept.
 *
 * <p>Publishing again after that copies the content to a new memory file. The exporter's access through this class waits
 * during the copy. Do not write by raw address, or in one long compiled loop of plain writes, at that time.
 */
public final class ExportSegment extends SegmentMemory implements Segment {
    /** {@code RSM_ALLOW_REBIND}: {@link #rebind} is allowed. */
    public static final int ALLOW_REBIND = 1;
    /** {@code RSM_CREATE_SEG_DONTWAIT}: fail rather than wait for resources. */
    public static final int CREATE_SEG_DONTWAIT = 2;
    /** Beyond the RSMAPI: enter all pages into the page table now. */
    public static final int PREFAULT = 1 << 16;
    /** Beyond the RSMAPI: keep the memory from being swapped out while it is shared. */
    public static final int LOCK = 1 << 17;
    /** Beyond the RSMAPI: huge pages. The length, and an address, have to be multiples of {@link #hugePageSize()}. */
    public static final int HUGE_PAGES = 1 << 18;

    private static final long FIRST_FREE_ID = 0x40_0000L;
    private static final long FIRST_AUTOMATIC_ID = 0x8000_0000L;
    private static final int MAX_PERMISSION = 0666;

    /** Published segments are reachable from here, so that dropping the object does not unpublish. */
    private static final Set<ExportSegment> PUBLISHED = ConcurrentHashMap.newKeySet();

    private final ReentrantLock lock = new ReentrantLock();
    private final Controller controller;
    private final ExportedMemory memory;
    private final int flags;
    private final int umask = Credentials.umask();
    private final Owner owner;
    private final boolean allocated;
    private final Reclaim.Watch watch;
    private final PollReferences references = new PollReferences();
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
        private final String layout;

        Publication(long segmentId, List<AccessEntry> access, String layout) {
            this.segmentId = segmentId;
            this.access = access;
            this.layout = layout;
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

        /** Returns what releases the memory that was the segment's before. */
        synchronized Runnable change(Object next) {
            Object before = present;
            if (before != null) {
                former.add(before);
            }
            present = next;
            return () -> {
                if (before instanceof LocalMemory.Part) {
                    ((LocalMemory.Part) before).release();
                }
            };
        }
    }

    /** A segment of this memory, which is ended if there is none. */
    static ExportSegment of(Controller controller, ExportedMemory memory, long size, int flags, Object owner) {
        ExportSegment segment;
        try {
            segment = new ExportSegment(controller, memory, size, flags, owner);
        } catch (RuntimeException | Error e) {
            memory.destroy();
            memory.unmap();
            throw e;
        }
        Reclaim.reap();
        return controller.listed(segment);
    }

    /** The published segments by {@link #place}. */
    static Map<Long, ExportSegment> published() {
        Map<Long, ExportSegment> found = new HashMap<>();
        for (ExportSegment segment : PUBLISHED) {
            long id = segment.segmentId();
            if (id >= 0) {
                found.put(place(segment.controller.nodeId(), id), segment);
            }
        }
        return found;
    }

    /** Node and id as one number. */
    static long place(int node, long segmentId) {
        return (long) node << 32 | segmentId;
    }

    private ExportSegment(Controller controller, ExportedMemory memory, long size, int flags, Object owner) {
        super(memory.address(), size, size, true, false);
        this.controller = controller;
        this.memory = memory;
        this.flags = flags;
        this.allocated = owner == null;
        this.first = memory.address();
        Owner holder = new Owner(owner);
        this.owner = holder;
        this.watch = Reclaim.whenUnreachable(this, () -> { // last: if anything fails, the caller ends the memory
            memory.destroy();
            memory.unmap();
            holder.change(null).run();
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

    /** Those of the flags that say how the memory is to be. */
    static Set<MemoryOption> memoryOptions(int flags) {
        Set<MemoryOption> options = EnumSet.noneOf(MemoryOption.class);
        add(options, MemoryOption.PREFAULT, flags & PREFAULT);
        add(options, MemoryOption.LOCK, flags & LOCK);
        add(options, MemoryOption.HUGE_PAGES, flags & HUGE_PAGES);
        return options;
    }

    private static void add(Set<MemoryOption> options, MemoryOption option, int flag) {
        if (flag != 0) {
            options.add(option);
        }
    }

    /** Checks 4 to 6 of create. */
    static void checkLength(Interconnect interconnect, long address, long length, int flags) {
        RsmException failure = null;
        if (length <= 0) {
            failure = RsmException.of(RsmError.BAD_LENGTH, "export-create").hint("a segment has at least one page");
        } else if (length % Vm.pageSize() != 0 || address % Vm.pageSize() != 0) {
            failure = RsmException.of(RsmError.BAD_MEM_ALIGNMENT, "export-create")
                .hint("address and length have to be multiples of the page size" + next(length, (flags & HUGE_PAGES) != 0));
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
                .hint("with huge pages, address and length have to be multiples of their size" + next(length, true));
    }

    /** For hints: the next multiple of the page size; empty if the length is one. */
    private static String next(long length, boolean hugePages) {
        long page = hugePages && hugePageSize() != 0 ? hugePageSize() : Vm.pageSize();
        if (length % page == 0 || length > Long.MAX_VALUE - page) {
            return "";
        }
        return "; the next length is " + (length / page + 1) * page + ", which :round-up true takes in Clojure";
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
        return publish(segmentId, access, null);
    }

    /**
     * Publishes the segment with a description of what it contains, which importers find in {@link ImportSegment#layout()}. Beyond the
     * RSMAPI.
     *
     * @param layout  any text of at most 65,536 bytes in UTF-8; the Clojure namespace {@code rsmapi.layout} gives it a form. Null or
     *                empty for none
     * @throws RsmException see {@link #publish(long, List)}; BAD_ARGS_ERRORS (the text is too long), after BAD_ACL
     */
    public long publish(long segmentId, List<AccessEntry> access, String layout) {
        Stack.reserve();
        lock.lock();
        try {
            checkLive("export-publish");
            if (publication != null) {
                throw RsmException.of(RsmError.SEG_ALREADY_PUBLISHED, "export-publish").with("segment-id", publication.segmentId);
            }
            checkId(segmentId);
            List<AccessEntry> entries = checkAccess("export-publish", access);
            byte[] text = layoutBytes(layout);
            Publication next = new Publication(segmentId, entries, text == null ? null : layout);
            try {
                PUBLISHED.add(this); // before, because nothing may fail afterwards
                next.segmentId = Integer.toUnsignedLong(memory.publish((int) segmentId, new AccessPolicy(entries, umask), text, gate));
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

    private static byte[] layoutBytes(String layout) {
        if (layout == null || layout.isEmpty()) {
            return null;
        }
        byte[] text = layout.length() > ExportedMemory.MAX_LAYOUT_BYTES ? null : layout.getBytes(StandardCharsets.UTF_8);
        if (text == null || text.length > ExportedMemory.MAX_LAYOUT_BYTES) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "export-publish").with("argument", "layout")
                .with("length", text == null ? layout.length() : text.length)
                .hint("a layout has at most " + ExportedMemory.MAX_LAYOUT_BYTES + " bytes");
        }
        return text;
    }

    private static void checkId(long id) {
        if (id < 0 || id > SegmentIdRange.MAX_ID) {
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
                : Nodes.exists(entry.node());
            if (!reachable) {
                throw RsmException.of(RsmError.BAD_ACL, op).with("node", entry.node()).with("perm", entry.permission())
                    .hint(interconnect.localOnly() ? "loopback takes one entry, for the local node" : Nodes.RANGE);
            }
            if (entry.permission() < 0 || entry.permission() > MAX_PERMISSION) {
                throw RsmException.of(RsmError.BAD_ACL, op).with("node", entry.node()).with("perm", entry.permission())
                    .hint("a permission is three octal digits of 4 (read) and 2 (write), at most 0666");
            }
        }
        return List.copyOf(checked);
    }

    /**
     * Ends the publication (rsm_memseg_export_unpublish(3RSM)). Importers receive a notice, and when this returns they can no
     * longer reach the memory. The content stays, and the segment can be published again.
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
     * Changes the access list (rsm_memseg_export_republish(3RSM)). It applies to later connects; connected importers keep
     * their permission.
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
            Publication next = new Publication(publication.segmentId, entries, publication.layout);
            memory.republish(new AccessPolicy(entries, umask));
            publication = next;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Replaces the memory by other memory (rsm_memseg_export_rebind(3RSM)): memory from {@link LocalMemory#allocate}, by its address.
     * Importers keep their connections and mappings, and see the new content; during the call they see a mixture. The present memory
     * keeps its content, if it is the caller's own.
     *
     * <p>The segment is then at the new address. Its access through this class waits during the call. Do not write to the new memory in
     * another way, by raw address, or in one long compiled loop of plain access, during the call.
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
     * Replaces the memory by that of a direct buffer, from its position to its limit.
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
        endFormerView();
        ForeignView.whenClosed(this, owner.change(next));
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
            references.checkNone("export-destroy");
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
        endView();
        if (allocated) {
            watch.ended();
            watch.emptied(first, size());
            ForeignView.whenClosed(this, () -> watch.vacated(first, size()));
        } else {
            watch.cancel();
        }
        ForeignView.whenClosed(this, owner.change(null));
        controller.ended(this);
    }

    /** Destroys the segment if that has not been done, also with poll descriptors in use. */
    @Override
    public void close() {
        Stack.reserve();
        lock.lock();
        try {
            if (!destroyed) {
                references.dropAll();
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

    /** The layout it is published with; null if there is none, or it is not published. */
    public String layout() {
        Publication now = publication;
        return now == null ? null : now.layout;
    }

    /** The flags of create. */
    public int flags() {
        return flags;
    }

    /** Whether it is published. Waits while another thread publishes or unpublishes it. */
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
        checkLive("signal-post");
        memory.post((flags & SIGPOST_NO_ACCUMULATE) == 0);
    }

    @Override
    public void signalWait(Duration timeout) {
        String op = "signal-wait";
        Signals signals = memory.signals();
        SignalWait wait = new SignalWait(op, timeout, signals);
        do {
            checkLive(op);
            if (signals.take()) {
                return;
            }
            checkLive(op);
        } while (!wait.await(signals));
    }

    @Override
    public PollFd getPollfd() {
        Stack.reserve();
        lock.lock();
        try {
            checkLive("get-pollfd");
            return references.add(this, memory.signals());
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void releasePollfd() {
        checkLive("release-pollfd");
        references.drop();
    }

    @Override
    void empty(long offset, long bytes) {
        if (ending && allocated && base == first) {
            Vm.drop(first, size());
        }
    }

    @Override
    boolean isWritable() {
        return true;
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
            for (int i = 0; i < LOOKS && Accesses.areSeenIn(SegmentMemory.class, REFUSED); i++) {
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
