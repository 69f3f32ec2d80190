package org.rsmapi.loopback;

import org.rsmapi.sys.Threads;

/**
 * Detects a counter of events that another process makes slow: a process that has a counter can add it to hundreds of thousands of epoll
 * sets, and the kernel visits all of them with each event.
 *
 * <p>The measure is the processor time of the calls, which a busy machine does not increase. It is read only after a call that was slow
 * by the clock.
 */
final class Pace {
    private static final long SLOW_NANOS = 10_000_000;
    /** Slow calls after which the counter is not used any more. */
    private static final int MOST = 16;

    private volatile boolean suspected;
    private volatile int slow;

    /** Whether processor time is looked at, for {@link #begin} and {@link #end} of one call. */
    boolean isSuspected() {
        return suspected;
    }

    /** The time at the start of a call. */
    long begin(boolean suspect) {
        return suspect ? Threads.processorNanos() : System.nanoTime();
    }

    /** Takes a call into account that has ended now. */
    void end(boolean suspect, long begun) {
        boolean late = begin(suspect) - begun > SLOW_NANOS;
        if (late && suspect) {
            slow++; // a count that is lost between two threads does not matter
        } else {
            suspected = late;
        }
    }

    /** Whether the counter has been slow too often. */
    boolean isTooSlow() {
        return slow >= MOST;
    }
}
