package org.rsmapi.mem;

import java.util.ArrayDeque;
import org.rsmapi.sys.Vm;

/** Memory in which data lies between an array, a buffer or a segment and an interconnect. A few of them are kept for the next users. */
public final class Stage implements AutoCloseable {
    /** How many bytes there are. */
    public static final int BYTES = 256 << 10;

    private static final int KEPT = 4;
    private static final ArrayDeque<Stage> FREE = new ArrayDeque<>(KEPT);

    private final long bytes;
    private final long address;

    private Stage(long bytes) {
        this.bytes = bytes;
        this.address = Vm.mapAnonymous(bytes);
    }

    /**
     * One that nobody else uses until it is closed.
     *
     * @throws org.rsmapi.sys.OsError if there is no memory
     */
    public static Stage take() {
        synchronized (FREE) {
            Stage free = FREE.poll();
            if (free != null) {
                return free;
            }
        }
        return new Stage(BYTES);
    }

    /**
     * One of so many bytes, or more. Those that are larger than {@link #BYTES} are not kept.
     *
     * @throws org.rsmapi.sys.OsError if there is no memory
     */
    public static Stage take(long bytes) {
        return bytes <= BYTES ? take() : new Stage(Vm.wholePages(bytes));
    }

    /** Where it is. */
    public long address() {
        return address;
    }

    /** Gives it back. To be called once. */
    @Override
    public void close() {
        synchronized (FREE) {
            if (bytes == BYTES && FREE.size() < KEPT) {
                FREE.add(this);
                return;
            }
        }
        Vm.unmap(address, bytes);
    }
}
