package org.rsmapi;

import java.lang.invoke.VarHandle;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.rsmapi.mem.ForeignView;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Allocated;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.NoRoom;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * Page-aligned memory of this process alone, allocated by the library.
 *
 * <p>It can be exported by its address ({@link Controller#exportCreate(long, long, int)}), mapped over
 * ({@link ImportSegment#mapOver}), and read and written like a segment. The content is zero at first. {@link #close()} frees it;
 * segments and mappings in it stay until they are closed.
 *
 * <p>While a mapping lies over a part of it, the mapping's permission holds for access to that part through this object too
 * (PERM_DENIED). The limits then end where the first such part begins, and {@link #refused} decides on what lies behind.
 */
public final class LocalMemory extends SegmentMemory implements AutoCloseable {
    private static final ConcurrentSkipListMap<Long, Range> RANGES = new ConcurrentSkipListMap<>();
    /** How often copies of a read-only mapping's pages are dropped that single late writes may have made. */
    private static final int LOOKS = 2;

    private final Range range;
    private final Reclaim.Watch watch;

    private LocalMemory(Range range, long size) {
        super(range.address, size, size);
        this.range = range;
        this.range.holder = new WeakReference<>(this);
        this.watch = Reclaim.whenUnreachable(this, range::unmap);
    }

    /**
     * Allocates memory.
     *
     * @param bytes at least 1; the range behind it is a whole number of pages
     * @throws RsmException in this order: BAD_LENGTH, CTLR_NOT_PRESENT (native functions cannot be called), INSUFFICIENT_MEM,
     *     INSUFFICIENT_RESOURCES
     */
    public static LocalMemory allocate(long bytes) {
        if (bytes <= 0) {
            throw RsmException.of(RsmError.BAD_LENGTH, "allocate").with("length", bytes);
        }
        Entrance.require("allocate");
        if (bytes > Long.MAX_VALUE - Vm.pageSize()) {
            throw RsmException.of(RsmError.INSUFFICIENT_MEM, "allocate").with("length", bytes);
        }
        Stack.reserve();
        Reclaim.reap();
        long length = Vm.wholePages(bytes);
        Range range = new Range(length);
        range.address = anonymous(length);
        LocalMemory memory = null;
        try {
            memory = new LocalMemory(range, bytes);
            RANGES.put(range.address, range);
            return memory;
        } catch (RuntimeException | Error e) {
            if (memory != null) {
                memory.watch.cancel();
            }
            range.unmap();
            throw e;
        }
    }

    private static long anonymous(long length) {
        try {
            return Vm.mapAnonymous(length);
        } catch (OsError e) {
            throw Failures.resources("allocate", e).with("length", length);
        }
    }

    /** The address of the first byte. */
    public long address() {
        return range.address;
    }

    /** Whether it has not been closed. */
    public boolean isOpen() {
        return !range.isClosed();
    }

    /** Frees it: later access fails. Segments and mappings in it stay until they are closed. Idempotent. */
    @Override
    public void close() {
        if (range.close(this)) {
            endView();
            range.dropUnused();
            watch.ended();
        }
        Reclaim.reap();
    }

    @Override
    void empty(long offset, long bytes) {
        range.empty(range.address + offset, bytes);
    }

    @Override
    long refused(String op, boolean write, long offset, long bytes) {
        if (range.isClosed()) {
            throw RsmException.of(RsmError.BAD_ADDR, op).hint("the local memory is closed");
        }
        Part[] restricted;
        long end;
        synchronized (range) {
            restricted = range.restricted;
            end = restricted.length > 0 ? size() : write ? writeLimit : readLimit;
        }
        if (offset < 0 || offset > end - bytes) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", offset).with("length", bytes).with("size", size());
        }
        long address = range.address + offset;
        for (Part part : restricted) {
            if (!part.allows(write) && part.touches(address, bytes)) {
                throw RsmException.of(RsmError.PERM_DENIED, op).with("offset", offset).with("length", bytes)
                    .with("perm", part.permission).with("mapping-offset", part.address - range.address)
                    .with("mapping-length", part.length)
                    .hint(write ? "a read-only mapping lies over this part" : "a write-only mapping lies over this part");
            }
        }
        return address;
    }

    @Override
    long refusedUpdate(String op, long offset, long bytes) {
        refused(op, false, offset, bytes);
        return refused(op, true, offset, bytes);
    }

    /** The live local memory that contains this whole range, or null. */
    static LocalMemory containing(long address, long length) {
        Map.Entry<Long, Range> below = RANGES.floorEntry(address);
        if (below == null) {
            return null;
        }
        Range range = below.getValue();
        boolean inside = length >= 0 && address - range.address <= range.length - length;
        return inside && !range.isClosed() ? range.holder.get() : null;
    }

    /**
     * Takes a part of it for a segment or mapping; null if another one lies there.
     *
     * @param shareable  whether exactly the same part may be taken more than once, for segments over the same memory
     */
    Part occupy(long address, long length, boolean shareable) {
        return range.occupy(new Part(this, address, length, shareable, Permission.RDWR));
    }

    @Override
    boolean isWritable() {
        return range.isWritable();
    }

    /** Whether the whole pages of a range lie in it. */
    boolean has(long address, long length) {
        return address >= range.address && Vm.wholePages(length) <= range.length - (address - range.address);
    }

    /** The failure to map over a range that does not lie in it. */
    static RsmException outside(long address, long length) {
        return RsmException.of(RsmError.BAD_LENGTH, "import-map").with("address", address).with("length", length)
            .hint("the range does not lie in the local memory");
    }

    /** Takes a part of it for a mapping of whole pages. The permission holds for this memory's access to the part from now on. */
    Part take(long address, long length, Permission permission) {
        if (!has(address, length)) {
            throw outside(address, length);
        }
        Part part = range.occupy(new Part(this, address, Vm.wholePages(length), false, permission));
        if (part == null) {
            throw new NoRoom(RsmException.of(RsmError.BAD_LENGTH, "import-map").with("address", address).with("length", length)
                .with("occupied-by", List.of("a segment or a mapping"))
                .hint("a segment or another mapping lies there, or the local memory is closed"));
        }
        if (permission != Permission.RDWR) {
            endView();
        }
        return part;
    }

    @Override
    public String toString() {
        return "#<LocalMemory 0x" + Long.toHexString(range.address) + " " + size() + " bytes" + (range.isClosed() ? " closed>" : ">");
    }

    /** A part that is in use. It keeps the memory reachable. */
    static final class Part implements Allocated {
        private final LocalMemory memory;
        private final long address;
        private final long length;
        private final boolean shareable;
        private final Permission permission;
        private int users = 1;
        private volatile boolean vacated;
        /** Whether pages of the mapping that have been dropped are to be entered into the page table again. */
        private boolean ready;

        private Part(LocalMemory memory, long address, long length, boolean shareable, Permission permission) {
            this.memory = memory;
            this.address = address;
            this.length = length;
            this.shareable = shareable;
            this.permission = permission;
        }

        private boolean allows(boolean write) {
            return write ? permission.writes() : permission.reads();
        }

        private boolean touches(long start, long bytes) {
            return start < address + length && address < start + bytes;
        }

        /**
         * Says that the mapping that took it has been closed, and that its pages are the local memory's again: so are the permissions.
         */
        void vacate() {
            memory.range.vacate(this);
        }

        /** Says that the mapping has been placed. Copies of its pages that late writes may still make are dropped again, for a time. */
        void placed(Set<MemoryOption> options) {
            if (!permission.writes()) {
                ready = !options.isEmpty();
                Range range = memory.range;
                WeakReference<Part> part = new WeakReference<>(this);
                AtomicInteger looks = new AtomicInteger(LOOKS);
                Reclaim.emptyLater(() -> range.dropCopies(part.get()) && looks.decrementAndGet() > 0);
            }
        }

        boolean isVacated() {
            return vacated;
        }

        /** Ends one use of it. */
        void release() {
            memory.range.release(this);
        }
    }

    /**
     * The address range; it does not know its holder strongly, so that a forgotten holder can be collected.
     *
     * <p>A part is restricted before a mapping is placed there, and until its pages have been replaced. A thread that has passed the
     * check of a write just before may still write when a read-only mapping is there. The mapping is a private one therefore
     * ({@link Vm#replaceReadOnly}): the write goes to a copy of the page, which is dropped again.
     */
    private static final class Range {
        private static final Part[] NONE = {};

        private final long length;
        private final List<Part> parts = new ArrayList<>();
        /** The parts for which not everything is allowed. Replaced, like the limits, with the monitor held; never changed. */
        private Part[] restricted = NONE;
        private long address;
        private WeakReference<LocalMemory> holder;
        private boolean closed;
        private boolean viewsEnded;

        Range(long length) {
            this.length = length;
        }

        synchronized boolean isClosed() {
            return closed;
        }

        synchronized boolean isWritable() {
            return Arrays.stream(restricted).allMatch(part -> part.allows(true));
        }

        synchronized Part occupy(Part wanted) {
            for (Part part : parts) {
                if (wanted.shareable && part.shareable && part.address == wanted.address && part.length == wanted.length) {
                    part.users++;
                    return part;
                }
                if (part.touches(wanted.address, wanted.length)) {
                    return null;
                }
            }
            if (closed) {
                return null;
            }
            parts.add(wanted);
            restrict(wanted.memory);
            return wanted;
        }

        synchronized void vacate(Part part) {
            part.vacated = true;
            restrict(part.memory);
        }

        synchronized void release(Part part) {
            part.users--;
            if (part.users == 0) {
                parts.remove(part);
                restrict(part.memory);
                dropPages();
            }
        }

        /** Has the limits end where the first part begins to which they do not apply. */
        private void restrict(LocalMemory memory) {
            Part[] next = parts.stream().filter(part -> !part.vacated && part.permission != Permission.RDWR).toArray(Part[]::new);
            if (next.length == 0 && restricted.length == 0) {
                return;
            }
            long readable = memory.size();
            long writable = memory.size();
            for (Part part : next) {
                readable = part.allows(false) ? readable : Math.min(readable, part.address - address);
                writable = part.allows(true) ? writable : Math.min(writable, part.address - address);
            }
            restricted = next;
            if (!closed) {
                memory.readLimit = readable;
                memory.writeLimit = writable;
                VarHandle.fullFence();
            }
        }

        synchronized boolean close(LocalMemory memory) {
            if (closed) {
                return false;
            }
            memory.readLimit = -1;
            memory.writeLimit = -1;
            closed = true;
            RANGES.remove(address);
            return true;
        }

        /** Gives the pages back, now that no view is left that does not know of the end. */
        synchronized void dropUnused() {
            viewsEnded = true;
            dropPages();
        }

        private void dropPages() {
            if (viewsEnded && parts.isEmpty()) {
                Vm.replaceWithZeroPages(address, length);
                LocalMemory memory = holder.get();
                if (memory != null) {
                    memory.watch.emptied(address, length);
                    ForeignView.whenClosed(memory, () -> memory.watch.vacated(address, length));
                }
            }
        }

        /** Drops what a write has left behind that came too late. */
        synchronized void empty(long start, long bytes) {
            if (closed && parts.isEmpty()) {
                Vm.drop(address, length);
            }
            for (Part part : restricted) {
                if (part.touches(start, bytes)) {
                    dropCopies(part);
                }
            }
        }

        /** False if no read-only mapping is there any more. */
        synchronized boolean dropCopies(Part part) {
            if (part == null || part.vacated || part.allows(true) || !parts.contains(part)) {
                return false;
            }
            Vm.dropCopies(part.address, part.length);
            if (part.ready) {
                Vm.populateForReading(part.address, part.length);
            }
            return true;
        }

        synchronized void unmap() {
            RANGES.remove(address);
            Vm.unmap(address, length);
        }
    }
}
