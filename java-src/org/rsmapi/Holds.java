package org.rsmapi;

import java.util.concurrent.locks.LockSupport;

/**
 * The threads that are in the middle of something in a memory that has to be finished there: while there are any, the memory is neither
 * moved nor unmapped.
 *
 * <p>A thread that enters or leaves changes {@link #inside} in a synchronized block of its own and calls no method: a call could fail
 * with a StackOverflowError, and the thread would never have left.
 */
final class Holds {
    private static final long PAUSE_NANOS = 20_000;

    /** How many there are. Guarded by this object's monitor, like {@link #shut}. */
    int inside;
    /** Whether no thread may enter. */
    boolean shut;

    /** Lets no thread enter any more, and returns when all that are inside have left, which takes as long as a copy. */
    void shut() {
        synchronized (this) {
            shut = true;
            if (inside == 0) {
                return;
            }
        }
        boolean interrupted = Thread.interrupted(); // a pause would not be one
        try {
            while (!isEmpty()) {
                LockSupport.parkNanos(PAUSE_NANOS);
                interrupted |= Thread.interrupted();
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private synchronized boolean isEmpty() {
        return inside == 0;
    }

    /** Lets threads enter again. */
    synchronized void open() {
        shut = false;
    }
}
