package org.rsmapi.shared;

import org.rsmapi.mem.Views;
import org.rsmapi.spi.Connection.Placement;
import org.rsmapi.spi.NoRoom;
import org.rsmapi.spi.PlacedRange;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.Vm;

/** A mapping of a part of a segment's memory file. It is a shared one, except for a read-only one over the caller's memory. */
public final class SharedRange extends PlacedRange {
    private final Views.View view;

    /**
     * Maps a part of the file.
     *
     * @param identity   the file's; null if it is not known
     * @param alignment  of the address, where it is not given: a power of two; 0 for none but the page size
     * @throws NoRoom if the addresses, or what a mapping needs of the process, are used up
     */
    public SharedRange(Fd file, MemFd.Identity identity, Placement placement, long address, boolean writable, long offset, long length,
            long alignment) {
        super(placement, address, writable, offset, length, (at, pages) -> place(file, placement, at, pages, writable, offset, alignment));
        try {
            view = Views.add(address(), length(), identity, offset);
        } catch (RuntimeException | Error e) {
            drop();
            throw e;
        }
    }

    private static long place(Fd file, Placement placement, long address, long pages, boolean writable, long offset,
            long alignment) {
        int prot = writable ? Vm.PROT_READ | Vm.PROT_WRITE : Vm.PROT_READ;
        switch (placement) {
            case FIXED:
                Vm.mapSharedAt(address, file, pages, prot, offset);
                return address;
            case FIXED_OVER_OWN:
                if (writable) {
                    Vm.replaceShared(address, file, pages, prot, offset);
                } else {
                    Vm.replaceReadOnly(address, file, pages, offset); // a thread may be writing there
                }
                return address;
            default:
                return alignment > 0 ? Vm.mapSharedAligned(file, pages, prot, offset, alignment)
                    : Vm.mapShared(file, pages, prot, offset, address);
        }
    }

    @Override
    protected String lackOfHugePages() {
        return "this part of the segment is not in huge pages: the exporter has to create it with HUGE_PAGES (:huge-pages true)";
    }

    @Override
    protected void lock() {
        if (isOverOwn() && !isWritable()) { // a mapping of Vm.replaceReadOnly
            touch(false);
            Vm.lockReadOnly(address(), length());
        } else {
            super.lock();
        }
    }

    @Override
    public void replaceWithZeroPages() {
        super.replaceWithZeroPages();
        if (view != null) { // else the constructor has failed
            view.remove();
        }
    }
}
