package org.rsmapi.mem;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * Ended address ranges that are returned to the system together, when one object is unreachable. To watch an object for each range
 * would cost the garbage collector more than all the rest of an unmap.
 */
final class RangeBatch {
    /** Ranges, and bytes, of a batch. */
    private static final int MOST = 64;
    private static final long MOST_BYTES = 1L << 30;

    private static final AtomicInteger WAITING = new AtomicInteger();
    private static final AtomicLong WAITING_BYTES = new AtomicLong();

    private final List<Range> ranges = new ArrayList<>(1);
    private final WeakReference<Object> keeper;
    private long bytes;

    /** An empty batch; its ranges may be in use while {@code keeper} is reachable. */
    RangeBatch(Object keeper) {
        this.keeper = new WeakReference<>(keeper);
    }

    /** How many ranges are in batches and have not been returned, and their bytes. */
    static int waiting() {
        return WAITING.get();
    }

    static long waitingBytes() {
        return WAITING_BYTES.get();
    }

    /** Counts something that waits like a range of a batch, or does not wait any more. */
    static void count(int ranges, long bytes) {
        WAITING.addAndGet(ranges);
        WAITING_BYTES.addAndGet(bytes);
    }

    /** The object that has to be unreachable; null if it is. */
    Object keeper() {
        return keeper.get();
    }

    synchronized void add(Range range) {
        ranges.add(range);
        bytes += range.length();
        count(1, range.length());
    }

    synchronized boolean isFull() {
        return ranges.size() == MOST || bytes >= MOST_BYTES;
    }

    /** The ranges that are in it now. */
    synchronized List<Range> ranges() {
        return new ArrayList<>(ranges);
    }

    /** Says that its ranges are about to be returned. */
    synchronized void countReturned() {
        count(-ranges.size(), -bytes);
    }

    /** Drops the pages of its ranges. */
    void empty() {
        forEachRun(ranges(), Vm::drop);
    }

    /** Returns ranges to the system. */
    static void unmap(List<Range> ranges) {
        forEachRun(ranges, RangeBatch::unmap);
    }

    private static void unmap(long address, long length) {
        try {
            Vm.unmap(address, length);
        } catch (OsError e) {
            // Splitting a mapping can fail in a process that has too many. The range then stays taken, without any memory.
            return;
        }
    }

    private interface RangeAction {
        void apply(long address, long length);
    }

    /** Neighbours go together: the kernel has merged them, and to take them apart again would cost more than all the rest. */
    private static void forEachRun(List<Range> ranges, RangeAction action) {
        if (ranges.isEmpty()) {
            return;
        }
        ranges.sort(Comparator.comparingLong(Range::address));
        long start = ranges.get(0).address();
        long end = start;
        for (Range range : ranges) {
            if (range.address() != end) {
                action.apply(start, end - start);
                start = range.address();
            }
            end = range.end();
        }
        action.apply(start, end - start);
    }
}
