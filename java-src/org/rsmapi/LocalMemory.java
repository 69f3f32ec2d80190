package org.rsmapi;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Allocated;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Failures;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * Page-aligned memory of this process alone, allocated by the library.
 *
 * <p>It can be exported by its address ({@link Controller#exportCreate(long, long, int)}), it is a range into which
 * {@code RSM_MAP_FIXED} may map over what is there, and it can be read and written like a segment. The content is zero at
 * first. {@link #close()} ends it; while a segment or a mapping lies in it, the memory stays until that has ended too.
 */
public final class LocalMemory extends SegmentMemory implements AutoCloseable {
    private static final ConcurrentSkipListMap<Long, Range> RANGES = new ConcurrentSkipListMap<>();

    private final Range range;
    private final Reclaim.Watch watch;

    private LocalMemory(Range range, long size) {
        super(range.address, size, size);
        this.range = range;
        this.range.holder = new WeakReference<>(this);
        this.watch = Reclaim.whenUnreachable(this, range::giveBack);
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
            range.giveBack();
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

    /** Ends it: later access fails, and the memory is given back as soon as nothing lies in it. Idempotent. */
    @Override
    public void close() {
        readLimit = -1;
        writeLimit = -1;
        if (range.close()) {
            watch.ended();
        }
        Reclaim.reap();
    }

    @Override
    void empty() {
        range.empty();
    }

    @Override
    long refused(String op, boolean write, long offset, long bytes) {
        if (range.isClosed()) {
            throw RsmException.of(RsmError.BAD_ADDR, op).hint("the local memory is closed");
        }
        throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", offset).with("length", bytes).with("size", size());
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
        return range.occupy(this, address, length, shareable);
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

    /** Takes a part of it for a mapping of whole pages. */
    Part take(long address, long length) {
        if (!has(address, length)) {
            throw outside(address, length);
        }
        Part part = occupy(address, Vm.wholePages(length), false);
        if (part == null) {
            throw RsmException.of(RsmError.BAD_LENGTH, "import-map").with("address", address).with("length", length)
                .with("occupied-by", List.of("a segment or a mapping"))
                .hint("a segment or another mapping lies there, or the local memory is closed");
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
        private int users = 1;
        private volatile boolean vacated;

        private Part(LocalMemory memory, long address, long length, boolean shareable) {
            this.memory = memory;
            this.address = address;
            this.length = length;
            this.shareable = shareable;
        }

        /** Says that the mapping that took it has been closed, and that its pages are the local memory's again. */
        void vacate() {
            vacated = true;
        }

        boolean isVacated() {
            return vacated;
        }

        /** Says that one of those who took it does not need it any more. */
        void release() {
            memory.range.release(this);
        }
    }

    /** The address range; it does not know its holder strongly, so that a forgotten holder can be collected. */
    private static final class Range {
        private final long length;
        private final List<Part> parts = new ArrayList<>();
        private long address;
        private WeakReference<LocalMemory> holder;
        private boolean closed;

        Range(long length) {
            this.length = length;
        }

        synchronized boolean isClosed() {
            return closed;
        }

        synchronized Part occupy(LocalMemory memory, long start, long bytes, boolean shareable) {
            for (Part part : parts) {
                if (shareable && part.shareable && part.address == start && part.length == bytes) {
                    part.users++;
                    return part;
                }
                if (start < part.address + part.length && part.address < start + bytes) {
                    return null;
                }
            }
            if (closed) {
                return null;
            }
            Part part = new Part(memory, start, bytes, shareable);
            parts.add(part);
            return part;
        }

        synchronized void release(Part part) {
            part.users--;
            if (part.users == 0) {
                parts.remove(part);
                dropPages();
            }
        }

        synchronized boolean close() {
            if (closed) {
                return false;
            }
            closed = true;
            RANGES.remove(address);
            dropPages();
            return true;
        }

        private void dropPages() {
            if (closed && parts.isEmpty()) {
                Vm.abandon(address, length);
                LocalMemory memory = holder.get();
                if (memory != null) {
                    memory.watch.emptied(address, length);
                    memory.watch.vacated(address, length);
                }
            }
        }

        synchronized void empty() {
            if (closed && parts.isEmpty()) {
                Vm.drop(address, length);
            }
        }

        synchronized void giveBack() {
            RANGES.remove(address);
            Vm.unmap(address, length);
        }
    }
}
