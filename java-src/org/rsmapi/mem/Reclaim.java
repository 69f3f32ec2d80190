package org.rsmapi.mem;

import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * What has to wait until an object can no longer be reached: giving back the address range behind a handle (a thread may be in
 * the middle of an access through it), and the net under handles that nobody closed.
 *
 * <p>There is no thread. The queue is drained by {@link #reap()} whenever the library makes or ends something. Closing is
 * always explicit and at once; only the bare address range, by then without any memory behind it, waits here.
 */
public final class Reclaim {
    /** Ended ranges that may wait for the garbage collector before we ask it to run: well below the kernel's 65,530 mappings. */
    private static final int PATIENCE = 32_768;

    private static final ReferenceQueue<Object> QUEUE = new ReferenceQueue<>();
    private static final Set<Watch> WATCHES = ConcurrentHashMap.newKeySet();
    private static final AtomicInteger WAITING = new AtomicInteger();
    private static final AtomicBoolean COLLECTING = new AtomicBoolean();
    private static volatile int patience = PATIENCE;

    private Reclaim() {}

    /** What is due when an object has become unreachable. */
    private interface Due {}

    private record Action(Runnable action) implements Due {}

    private record Range(long address, long length) implements Due {
        long end() {
            return address + length;
        }
    }

    /** The promise to do something when an object has become unreachable. */
    public static final class Watch extends PhantomReference<Object> {
        private Due due;
        private boolean ended;

        private Watch(Object holder, Due due) {
            super(holder, QUEUE);
            this.due = due;
        }

        /** Drops the promise; the action does not run. */
        public void cancel() {
            if (WATCHES.remove(this)) {
                clear();
                settle();
            }
        }

        /** Says that the resource has been ended in the orderly way, and that only its address range still waits. */
        public synchronized void ended() {
            if (!ended && due != null) {
                ended = true;
                WAITING.incrementAndGet();
            }
        }

        private synchronized Due settle() {
            Due now = due;
            due = null;
            if (ended && now != null) {
                WAITING.decrementAndGet();
            }
            return now;
        }
    }

    /** Runs {@code action} some time after {@code holder} has become unreachable. The action must not refer to the holder. */
    public static Watch whenUnreachable(Object holder, Runnable action) {
        return watch(holder, new Action(action));
    }

    /** Gives an address range of whole pages back some time after {@code holder} has become unreachable. */
    public static Watch whenUnreachable(Object holder, long address, long length) {
        return watch(holder, new Range(address, length));
    }

    private static Watch watch(Object holder, Due due) {
        Watch watch = new Watch(holder, due);
        WATCHES.add(watch);
        return watch;
    }

    /** Runs what is due. */
    public static void reap() {
        drain();
        if (WAITING.get() > patience && COLLECTING.compareAndSet(false, true)) {
            try {
                collect();
                // Where System.gc() is switched off it cannot help: do not ask again for every call.
                patience = Math.max(PATIENCE, WAITING.get() + PATIENCE / 4);
            } finally {
                COLLECTING.set(false);
            }
        }
    }

    /** Asks the garbage collector to find what is unreachable, and reaps it: when the kernel has run out of something. */
    public static void collect() {
        int before = WAITING.get();
        System.gc();
        for (int i = 0; i < 50 && WAITING.get() >= before && before > 0; i++) {
            drain();
            try {
                Thread.sleep(1);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                break;
            }
        }
        drain();
    }

    private static void drain() {
        List<Range> ranges = null;
        Watch watch;
        while ((watch = (Watch) QUEUE.poll()) != null) {
            Due due = WATCHES.remove(watch) ? watch.settle() : null;
            if (due instanceof Range) {
                ranges = ranges == null ? new ArrayList<>() : ranges;
                ranges.add((Range) due);
            } else if (due != null) {
                run(((Action) due).action());
            }
        }
        if (ranges != null) {
            giveBack(ranges);
        }
    }

    private static void run(Runnable action) {
        try {
            action.run();
        } catch (RuntimeException e) {
            // Nobody is there who could do anything about a thing that would not go; the others must still go.
            return;
        }
    }

    /** Neighbours go together: the kernel has merged them, and taking them apart again would cost more than all the rest. */
    private static void giveBack(List<Range> ranges) {
        ranges.sort(Comparator.comparingLong(Range::address));
        long start = ranges.get(0).address();
        long end = start;
        for (Range range : ranges) {
            if (range.address() != end) {
                unmap(start, end - start);
                start = range.address();
            }
            end = range.end();
        }
        unmap(start, end - start);
    }

    private static void unmap(long address, long length) {
        try {
            Vm.unmap(address, length);
        } catch (OsError e) {
            // Splitting a mapping can fail in a process that has too many. The range then stays taken, without any memory.
            return;
        }
    }

    /** How many ended address ranges wait for the garbage collector. For tests and diagnosis. */
    public static int waiting() {
        return WAITING.get();
    }
}
