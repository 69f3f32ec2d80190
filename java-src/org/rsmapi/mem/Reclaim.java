package org.rsmapi.mem;

import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import org.rsmapi.sys.Vm;

/**
 * What has to wait until an object is unreachable: returning the address range behind a handle, because a thread may be in the middle
 * of an access through it; and the clean-up of handles that were never closed.
 *
 * <p>Closing is always explicit and at once. Only the bare address range, by then without any memory behind it, waits here. Where the
 * ranges are needed before the garbage collector has found out, {@link #returnEnded()} finds out by itself that no thread is in the
 * middle of an access.
 *
 * <p>There is no thread. The queue is drained by {@link #reap()} whenever the library makes or ends something.
 */
public final class Reclaim {
    /** Ended ranges that may wait before we look whether that is too many. */
    private static final int MOST_WAITING = 32_768;
    /** Bytes of them: an eighth of what a process has for addresses on x86-64. */
    private static final long MOST_WAITING_BYTES = 1L << 44;
    /** How long {@link #collect()} waits at most for what the collector has found, in ms. */
    private static final int COLLECT_MILLIS = 50;

    private static final ReferenceQueue<Object> QUEUE = new ReferenceQueue<>();
    private static final Set<Watch> WATCHES = ConcurrentHashMap.newKeySet();
    private static final AtomicBoolean COLLECTING = new AtomicBoolean();
    private static volatile int mostWaiting = MOST_WAITING;
    private static volatile long mostWaitingBytes = MOST_WAITING_BYTES;
    /** Whether the last request for a garbage collection has had one run. */
    private static volatile boolean collects = true;
    /** The batch that ranges are added to, guarded by {@link #QUEUE}. */
    private static RangeBatch batch;

    private Reclaim() {}

    /** The promise to do something when an object has become unreachable: to run an action, or to return a batch of ranges. */
    public static final class Watch extends PhantomReference<Object> implements Emptying.Target {
        private Runnable action;
        private RangeBatch ranges;
        private boolean ended;
        /** A range behind the holder that has no memory any more; null for none. */
        private Range empty;
        /** Where only an access that is under way can still be; null while there is more behind the holder. */
        private Range vacated;

        private Watch(Object holder, Runnable action, RangeBatch ranges) {
            super(holder, QUEUE);
            this.action = action;
            this.ranges = ranges;
        }

        private boolean isDue() {
            return action != null || ranges != null;
        }

        /** Drops the promise; the action does not run. */
        public void cancel() {
            if (WATCHES.remove(this)) {
                clear();
                complete(new ArrayList<>());
            }
        }

        /** Says that the resource has been closed, and that only its address range still waits. */
        public synchronized void ended() {
            if (!ended && isDue()) {
                ended = true;
                RangeBatch.count(1, 0);
            }
        }

        /** Says that a range which is returned by this promise, and not before, has been emptied. */
        public void emptied(long address, long length) {
            synchronized (this) {
                if (empty != null || !isDue()) {
                    return;
                }
                empty = new Range(address, length);
            }
            Emptying.later(this);
        }

        /**
         * Says that what is behind the holder, whose place is a range, has been closed, and that only a thread in the middle of an
         * access can still use it.
         */
        public synchronized void vacated(long address, long length) {
            vacated = new Range(address, length);
        }

        /** Whether what is due can be done as soon as all accesses that are under way now have ended. */
        private synchronized boolean isVacated() {
            return ranges != null || action != null && ended && vacated != null;
        }

        /** Whether a part of a range waits here. */
        private synchronized boolean keeps(Range wanted) {
            return ranges != null ? ranges.ranges().stream().anyMatch(wanted::overlaps)
                : action != null && vacated != null && wanted.overlaps(vacated);
        }

        @Override
        public synchronized boolean empty() {
            if (empty != null && isDue()) {
                Vm.drop(empty.address(), empty.length());
            }
            if (ranges != null) {
                ranges.empty();
            }
            return isDue();
        }

        /** Ends the promise: adds its ranges to others, and returns its action, or null. */
        private synchronized Runnable complete(List<Range> returned) {
            Runnable now = action;
            if (ranges != null) {
                ranges.countReturned();
                returned.addAll(ranges.ranges());
            } else if (ended && now != null) {
                RangeBatch.count(-1, 0);
            }
            action = null;
            ranges = null;
            return now;
        }
    }

    /** Runs {@code action} some time after {@code holder} has become unreachable. The action must not refer to the holder. */
    public static Watch whenUnreachable(Object holder, Runnable action) {
        Watch watch = new Watch(holder, action, null);
        try {
            WATCHES.add(watch);
        } catch (Error e) {
            watch.cancel(); // it may be in there nevertheless
            throw e;
        }
        return watch;
    }

    /**
     * Returns an address range of whole pages, behind which there is no memory any more, some time after {@code user} has become
     * unreachable.
     */
    public static void ended(Object user, long address, long length) {
        RangeBatch single = new RangeBatch(user);
        single.add(new Range(address, length));
        watch(user, single);
    }

    /**
     * The same for a range whose addresses are not wanted again. Several of them, which were ended one after the other, are returned
     * together.
     *
     * @return what the users of the range have to keep reachable
     */
    public static Object ended(long address, long length) {
        synchronized (QUEUE) {
            Object keeper = batch == null ? null : batch.keeper();
            if (keeper == null) {
                keeper = new Object();
                batch = new RangeBatch(keeper);
                watch(keeper, batch);
            }
            batch.add(new Range(address, length));
            if (batch.isFull()) {
                batch = null;
            }
            return keeper;
        }
    }

    private static void watch(Object holder, RangeBatch ranges) {
        Watch watch = new Watch(holder, null, ranges);
        WATCHES.add(watch);
        Emptying.later(watch);
    }

    /** Has something emptied a few times, at growing intervals, until it says that it is no more use ({@link Emptying}). */
    public static void emptyLater(BooleanSupplier target) {
        Emptying.later(target::getAsBoolean);
    }

    /** Runs what is due. */
    public static void reap() {
        ForeignView.retry();
        drain();
        Emptying.run();
        int waiting = RangeBatch.waiting();
        long bytes = RangeBatch.waitingBytes();
        if ((waiting > mostWaiting || bytes > mostWaitingBytes) && COLLECTING.compareAndSet(false, true)) {
            try {
                // The kernel takes neighbours for one: many ranges need not be many mappings.
                if ((bytes > mostWaitingBytes || Vm.mappingsScarce()) && !returnEnded()) {
                    collect();
                }
                // Where System.gc() is switched off it cannot help; then do not ask for it with every call.
                mostWaiting = RangeBatch.waiting() + MOST_WAITING;
                mostWaitingBytes = RangeBatch.waitingBytes() + MOST_WAITING_BYTES;
            } finally {
                COLLECTING.set(false);
            }
        } else if (waiting < MOST_WAITING && mostWaiting > 2 * MOST_WAITING) {
            mostWaiting = MOST_WAITING;
            mostWaitingBytes = MOST_WAITING_BYTES;
        }
    }

    /** Asks the garbage collector to find what is unreachable, and reaps it: when the process has run out of something. */
    public static void collect() {
        int before = RangeBatch.waiting();
        WeakReference<Object> garbage = new WeakReference<>(new Object());
        System.gc();
        collects = garbage.get() == null;
        for (int i = 0; i < COLLECT_MILLIS && RangeBatch.waiting() >= before && before > 0; i++) {
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
     * Returns the ranges of what has been closed and waits for its holders to become unreachable, if the accesses that are under way
     * end soon. That takes no garbage collection.
     *
     * @return false if nothing waits, or a thread may be in the middle of an access for longer
     */
    public static boolean returnEnded() {
        ForeignView.retry();
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
                complete(watch, ranges);
            }
        }
        RangeBatch.unmap(ranges);
        return true;
    }

    /**
     * Why a range cannot be had after {@link #collect()}, as the hint of an error; null if nothing that was closed waits there.
     */
    public static String obstacle(long address, long length) {
        Range wanted = new Range(address, length);
        if (ForeignView.keeps(wanted)) {
            return "memory that has been closed had this place, and a native call or an I/O operation still uses a memory segment of it:"
                + " try again when it is over";
        }
        for (Watch watch : WATCHES) {
            if (watch.keeps(wanted)) {
                return "memory that has been closed had this place, and a thread may still be using it, such as a virtual thread whose"
                    + " stack cannot be seen" + (collects ? ": try again, or drop the closed object (at a REPL *1, *2 and *3 keep it)"
                    : "; the garbage collector, which could tell, is not run by System.gc() in this JVM (-XX:+DisableExplicitGC,"
                    + " or a collector that never collects): try again");
            }
        }
        return null;
    }

    private static void drain() {
        List<Range> ranges = null;
        Watch watch;
        while ((watch = (Watch) QUEUE.poll()) != null) {
            if (WATCHES.remove(watch)) {
                ranges = ranges == null ? new ArrayList<>() : ranges;
                complete(watch, ranges);
            }
        }
        if (ranges != null) {
            RangeBatch.unmap(ranges);
        }
    }

    /** Runs the watch's action, or adds its ranges to others. */
    private static void complete(Watch watch, List<Range> ranges) {
        Runnable action = watch.complete(ranges);
        if (action == null) {
            return;
        }
        try {
            action.run();
        } catch (RuntimeException e) {
            return; // there is no caller to report it to, and the other watches must still be completed
        }
    }

    /** How many ended address ranges have not been returned to the system. For tests and diagnosis. */
    public static int waiting() {
        return RangeBatch.waiting();
    }
}
