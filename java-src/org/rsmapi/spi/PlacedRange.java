package org.rsmapi.spi;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Engine;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Connection.Placement;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/** A {@link MappedRange} that mmap(2) has made: what is the same whatever is mapped. */
public abstract class PlacedRange implements MappedRange {
    private static final String OP = "import-map";
    /** Below this address nothing is mapped: the JVM relies on faults there to find null references. */
    private static final long LOWEST = 1L << 20;

    private final long address;
    private final long length;
    private final Placement placement;
    private final boolean writable;

    /** Maps whole pages. */
    @FunctionalInterface
    protected interface Placer {
        /**
         * Maps the pages.
         *
         * @param hint  the address, which is a hint or 0 where the placement is {@link Placement#ANYWHERE}
         * @return where they are
         * @throws OsError if that is not possible
         */
        long place(long hint, long pages);
    }

    /**
     * Maps a part of a segment.
     *
     * @param offset  in the segment
     * @param length  in bytes; whole pages are mapped
     * @throws NoRoom if the addresses, or what a mapping needs of the process, are used up
     * @throws RsmException if it cannot be mapped there
     */
    protected PlacedRange(Placement placement, long address, boolean writable, long offset, long length, Placer placer) {
        long pages = Vm.wholePages(length);
        boolean possible = address >= LOWEST && address <= Long.MAX_VALUE - pages;
        if (placement != Placement.ANYWHERE && !possible) {
            throw at(placement, address, RsmException.of(RsmError.BAD_LENGTH, OP), offset, length)
                .hint("nothing can be mapped at that address");
        }
        try {
            this.address = placer.place(possible ? address : 0, pages);
        } catch (OsError e) {
            RsmException failure = at(placement, address, failure(e), offset, length);
            if (placement != Placement.ANYWHERE) {
                explain(failure, address, pages, e);
            }
            throw e.isShortage() || e.is(Errno.ENOMEM, Errno.EEXIST) ? new NoRoom(failure) : failure;
        }
        this.length = pages;
        this.placement = placement;
        this.writable = writable;
    }

    private static RsmException at(Placement placement, long address, RsmException failure, long offset, long length) {
        failure.with("offset", offset).with("length", length);
        return placement == Placement.ANYWHERE ? failure : failure.with("address", address);
    }

    private static RsmException failure(OsError e) {
        if (e.isShortage() && e.want() != OsError.Want.MEMORY) {
            return Failures.resources(OP, e);
        }
        boolean badRange = e.is(Errno.ENOMEM, Errno.EEXIST, Errno.EINVAL, Errno.EPERM);
        return Failures.of(badRange ? RsmError.BAD_LENGTH : RsmError.MAP_FAILED, OP, e);
    }

    private static void explain(RsmException failure, long address, long pages, OsError e) {
        if (e.is(Errno.EEXIST)) {
            List<Object> there = new ArrayList<>();
            for (Vm.Region region : Vm.regions(address, address + pages)) {
                there.add(region.toString());
            }
            failure.with("occupied-by", there)
                .hint("something is mapped there; choose another address, or map over memory from LocalMemory.allocate");
        } else if (!failure.data().containsKey("hint")) {
            failure.hint("nothing can be mapped at that address");
        }
    }

    /**
     * Makes the memory what it is to be.
     *
     * @param offset  in the segment
     * @throws RsmException if it cannot be; then the mapping is gone
     */
    public final void furnish(Set<MemoryOption> options, long offset) {
        try {
            if (options.contains(MemoryOption.HUGE_PAGES)) {
                touch(false);
                requireHuge(offset);
            }
            if (options.contains(MemoryOption.PREFAULT)) {
                touch(writable);
            }
            if (options.contains(MemoryOption.LOCK)) {
                lock();
            }
        } catch (OsError e) {
            drop();
            throw at(placement, address, Failures.resources(OP, e), offset, length);
        } catch (RuntimeException | Error e) {
            drop();
            throw e;
        }
    }

    private void requireHuge(long offset) {
        if (!Vm.isHuge(address, length)) {
            throw at(placement, address, RsmException.of(RsmError.INSUFFICIENT_RESOURCES, OP), offset, length)
                .hint(Vm.hugePageSize() == 0 ? "this kernel has no transparent huge pages" : lackOfHugePages());
        }
    }

    /** For a hint: why the memory is not in huge pages, where the kernel has some. */
    protected abstract String lackOfHugePages();

    /** Keeps the memory from being swapped out. */
    protected void lock() {
        Vm.lock(address, length);
    }

    /** Enters all pages into the page table. */
    protected final void touch(boolean write) {
        boolean populated = write ? Vm.populateForWriting(address, length) : Vm.populateForReading(address, length);
        for (long at = address; !populated && at < address + length; at += Vm.pageSize()) {
            if (write) {
                Engine.ENGINE.getAndAddInt(at, 0); // changes nothing, also if another thread is writing there
            } else {
                Engine.ENGINE.getByteVolatile(at);
            }
        }
    }

    /** Ends it, when nobody uses it yet. */
    protected final void drop() {
        replaceWithZeroPages();
        unmap();
    }

    @Override
    public final long address() {
        return address;
    }

    /** In bytes, whole pages. */
    protected long length() {
        return length;
    }

    /** Whether it is the caller's own memory in whose place it lies. */
    protected final boolean isOverOwn() {
        return placement == Placement.FIXED_OVER_OWN;
    }

    /** Whether the importer may write. */
    protected final boolean isWritable() {
        return writable;
    }

    @Override
    public void replaceWithZeroPages() {
        Vm.replaceWithZeroPages(address, length);
    }

    @Override
    public final void empty() {
        if (!isOverOwn()) {
            Vm.drop(address, length);
        }
    }

    @Override
    public Object retire(Object user) {
        switch (placement) {
            case ANYWHERE:
                return Reclaim.ended(address, length);
            case FIXED:
                Reclaim.ended(user, address, length); // by itself: the same address may be wanted again
                return null;
            default:
                return null;
        }
    }

    @Override
    public void unmap() {
        if (!isOverOwn()) {
            Vm.unmap(address, length);
        }
    }
}
