package org.rsmapi.mem;

import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * What has to wait until an object can no longer be reached: giving back the address range behind a handle (a thread may be in
 * the middle of an access through it), and the net under handles that nobody closed.
 *
 * <p>A compiled loop that writes single values may have checked once for many of them, and then fills the pages of a range that has
 * ended. Ranges that still wait are therefore emptied again later, a few times and at growing intervals.
 *
 * <p>Where the ranges are wanted before the collector has found out, and where it is never asked to, {@link #giveBackEnded()} finds
 * out by itself that no thread is in the middle of an access.
 *
 * <p>There is no thread. The queue is drained by {@link #reap()} whenever the library makes or ends something. Closing is
 * always explicit and at once; only the bare address range, by then without any memory behind it, waits here.
 */
public final class Reclaim {
    /** Ended ranges that may wait for the garbage collector before we look whether that is too many. */
    private static final int PATIENCE = 32_768;
    /** Bytes of them: an eighth of what a process has for addresses on x86-64. */
    private static final long PATIENCE_BYTES = 1L << 44;

    /** Ranges, and bytes, that may wait for each other: see {@link #ended(long, long)}. */
    private static final int BATCH = 64;
    private static final long BATCH_BYTES = 1L << 30;

    /** When ranges that wait are emptied again: so long after their end, and then after each time. */
    private static final long[] AGAIN_NANOS = {1_000_000_000L, 10_000_000_000L, 100_000_000_000L};

    private static final List<Queue<Emptying>> EMPTYING = Stream.generate(ConcurrentLinkedQueue<Emptying>::new)
        .limit(AGAIN_NANOS.length).collect(Collectors.toUnmodifiableList());
    private static final AtomicBoolean EMPTIES = new AtomicBoolean();

    private static final ReferenceQueue<Object> QUEUE = new ReferenceQueue<>();
    private static final Set<Watch> WATCHES = ConcurrentHashMap.newKeySet();
    private static final AtomicInteger WAITING = new AtomicInteger();
    private static final AtomicLong WAITING_BYTES = new AtomicLong();
    private static final AtomicBoolean COLLECTING = new AtomicBoolean();
    private static volatile int patience = PATIENCE;
    private static volatile long patienceBytes = PATIENCE_BYTES;
    /** The batch that ranges are added to, guarded by {@link #QUEUE}. */
    private static Ranges batch;

    private Reclaim() {}

    /** What is due when an object has become unreachable. */
    private interface Due {}

    private record Action(Runnable action) implements Due {}

    private record Range(long address, long length) {
        long end() {
            return address + length;
        }

        boolean touches(Range other) {
            return address < other.end() && other.address < end();
        }
    }

    /** Address ranges that are given back together. */
    private static final class Ranges implements Due {
        private final List<Range> list = new ArrayList<>(1);
        private WeakReference<Object> keeper;
        private long bytes;

        void add(long address, long length) {
            list.add(new Range(address, length));
            bytes += length;
        }
    }

    /** Ranges that are to be emptied again. */
    private record Emptying(Watch watch, long due) {}

    /** The promise to do something when an object has become unreachable. */
    public static final class Watch extends PhantomReference<Object> {
        private Due due;
        private boolean ended;
        /** What is behind the holder and has no memory any more, beside what is due; null for nothing. */
        private Range empty;
        /** Where only an access that is under way can still be; null while there is more behind the holder. */
        private Range vacated;

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

        /**
         * Says that a range which is given back by this promise, and not before, has been emptied.
         */
        public void emptied(long address, long length) {
            synchronized (this) {
                if (empty != null || due == null) {
                    return;
                }
                empty = new Range(address, length);
            }
            emptyLater(this, 0);
        }

        /**
         * Says that what is behind the holder, whose place is a range, has been ended, and that nobody but a thread in the middle of an
         * access can still use it.
         */
        public synchronized void vacated(long address, long length) {
            vacated = new Range(address, length);
        }

        /** Whether what is due can be done as soon as all accesses that are under way now have ended. */
        private synchronized boolean isVacated() {
            return due instanceof Ranges || due != null && ended && vacated != null;
        }

        /** Whether a range is wanted that waits here. */
        private synchronized boolean keeps(Range wanted) {
            if (due instanceof Ranges) {
                List<Range> list;
                synchronized (QUEUE) {
                    list = new ArrayList<>(((Ranges) due).list);
                }
                return list.stream().anyMatch(wanted::touches);
            }
            return due != null && vacated != null && wanted.touches(vacated);
        }

        /** Empties the ranges once more; false if they have been given back. */
        private synchronized boolean empty() {
            if (due == null) {
                return false;
            }
            if (empty != null) {
                Vm.drop(empty.address(), empty.length());
            }
            if (due instanceof Ranges) {
                List<Range> list;
                synchronized (QUEUE) { // it may still grow
                    list = new ArrayList<>(((Ranges) due).list);
                }
                if (!list.isEmpty()) {
                    forEachRun(list, Vm::drop);
                }
            }
            return true;
        }

        private synchronized Due settle() {
            Due now = due;
            due = null;
            if (now instanceof Ranges) {
                WAITING.addAndGet(-((Ranges) now).list.size());
                WAITING_BYTES.addAndGet(-((Ranges) now).bytes);
            } else if (ended && now != null) {
                WAITING.decrementAndGet();
            }
            return now;
        }
    }

    /** Runs {@code action} some time after {@code holder} has become unreachable. The action must not refer to the holder. */
    public static Watch whenUnreachable(Object holder, Runnable action) {
        Watch watch = new Watch(holder, new Action(action));
        try {
            WATCHES.add(watch);
        } catch (Error e) {
            watch.cancel(); // it may be in there nevertheless
            throw e;
        }
        return watch;
    }

    /**
     * Gives an address range of whole pages back, behind which there is nothing any more, some time after {@code user} has become
     * unreachable.
     */
    public static void ended(Object user, long address, long length) {
        Ranges ranges = new Ranges();
        ranges.add(address, length);
        waits(length);
        Watch watch = new Watch(user, ranges);
        WATCHES.add(watch);
        emptyLater(watch, 0);
    }

    /**
     * The same for a range that nobody will want at just this address. Several of them, which were ended one after the other, go together:
     * to watch each by itself would cost the garbage collector more than all the rest of an end.
     *
     * @return what those who may still be using the range have to keep reachable
     */
    public static Object ended(long address, long length) {
        synchronized (QUEUE) {
            Object keeper = batch == null ? null : batch.keeper.get();
            if (keeper == null) {
                keeper = new Object();
                batch = new Ranges();
                batch.keeper = new WeakReference<>(keeper);
                Watch watch = new Watch(keeper, batch);
                WATCHES.add(watch);
                emptyLater(watch, 0);
            }
            batch.add(address, length);
            waits(length);
            if (batch.list.size() == BATCH || batch.bytes >= BATCH_BYTES) {
                batch = null;
            }
            return keeper;
        }
    }

    private static void waits(long length) {
        WAITING.incrementAndGet();
        WAITING_BYTES.addAndGet(length);
    }

    private static void emptyLater(Watch watch, int times) {
        int queue = Math.min(times, AGAIN_NANOS.length - 1);
        EMPTYING.get(queue).add(new Emptying(watch, System.nanoTime() + AGAIN_NANOS[queue]));
    }

    private static void emptyAgain() {
        if (!EMPTIES.compareAndSet(false, true)) {
            return;
        }
        try {
            long now = System.nanoTime();
            for (int i = 0; i < EMPTYING.size(); i++) {
                Queue<Emptying> queue = EMPTYING.get(i);
                Emptying next;
                while ((next = queue.peek()) != null && next.due() - now <= 0) {
                    queue.poll();
                    if (next.watch().empty()) {
                        emptyLater(next.watch(), i + 1);
                    }
                }
            }
        } finally {
            EMPTIES.set(false);
        }
    }

    /** Runs what is due. */
    public static void reap() {
        drain();
        emptyAgain();
        int waiting = WAITING.get();
        long bytes = WAITING_BYTES.get();
        if ((waiting > patience || bytes > patienceBytes) && COLLECTING.compareAndSet(false, true)) {
            try {
                // The kernel takes neighbours for one: many ranges need not be many mappings.
                if ((bytes > patienceBytes || Vm.mappingsScarce()) && !giveBackEnded()) {
                    collect();
                }
                // Where System.gc() is switched off it cannot help; then do not ask for it with every call.
                patience = WAITING.get() + PATIENCE;
                patienceBytes = WAITING_BYTES.get() + PATIENCE_BYTES;
            } finally {
                COLLECTING.set(false);
            }
        } else if (waiting < PATIENCE && patience > 2 * PATIENCE) {
            patience = PATIENCE;
            patienceBytes = PATIENCE_BYTES;
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

    /**
     * Gives back what has been ended in the orderly way and waits for its holders to become unreachable, if the accesses that are under
     * way end soon. That takes no garbage collection.
     *
     * @return false if nothing waits, or a thread may be in the middle of an access for longer
     */
    public static boolean giveBackEnded() {
        List<Watch> ended;
        synchronized (QUEUE) {
            batch = null; // what is ended from now on is not in it
            ended = new ArrayList<>(WATCHES);
        }
        ended.removeIf(watch -> !watch.isVacated());
        if (ended.isEmpty() || !Accesses.allOver()) {
            return false;
        }
        List<Range> ranges = new ArrayList<>();
        for (Watch watch : ended) {
            if (WATCHES.remove(watch)) {
                watch.clear();
                give(watch.settle(), ranges);
            }
        }
        giveBack(ranges);
        return true;
    }

    /**
     * Why a range cannot be had, if something that has ended waits there: the end of an error's hint; otherwise null.
     */
    public static String obstacle(long address, long length) {
        Range wanted = new Range(address, length);
        for (Watch watch : WATCHES) {
            if (watch.keeps(wanted)) {
                return "memory that has been closed had this place, and a thread may still be using it, such as a virtual thread whose"
                    + " stack cannot be seen" + (collects() ? ": try again, or drop the closed object (at a REPL *1, *2 and *3 keep it)"
                    : "; the garbage collector, which could tell, is not run by System.gc() in this JVM (-XX:+DisableExplicitGC,"
                    + " or a collector that never collects): try again");
            }
        }
        return null;
    }

    /** Whether a request for a collection of garbage has one run. */
    private static boolean collects() {
        WeakReference<Object> garbage = new WeakReference<>(new Object());
        System.gc();
        return garbage.get() == null;
    }

    private static void drain() {
        List<Range> ranges = null;
        Watch watch;
        while ((watch = (Watch) QUEUE.poll()) != null) {
            if (WATCHES.remove(watch)) {
                ranges = ranges == null ? new ArrayList<>() : ranges;
                give(watch.settle(), ranges);
            }
        }
        if (ranges != null) {
            giveBack(ranges);
        }
    }

    /** Does what is due, except that ranges are added to others. */
    private static void give(Due due, List<Range> ranges) {
        if (due instanceof Ranges) {
            ranges.addAll(((Ranges) due).list);
        } else if (due != null) {
            run(((Action) due).action());
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
        if (ranges.isEmpty()) {
            return;
        }
        forEachRun(ranges, Reclaim::unmap);
    }

    private interface RangeAction {
        void apply(long address, long length);
    }

    private static void forEachRun(List<Range> ranges, RangeAction action) {
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
