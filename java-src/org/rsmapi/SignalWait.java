package org.rsmapi;

import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Deadline;

/**
 * One wait for events: its deadline, its errors, and its pace. An event that woke the wait may be taken by another thread, or by a
 * process that has the counter. A process that posts events and takes them again must neither prolong the wait nor keep a processor
 * busy.
 */
final class SignalWait {
    /** Wake-ups without an event before the wait pauses after each. */
    private static final int FREE = 64;
    private static final long PAUSE_NANOS = 200_000;

    private final String op;
    private final Duration timeout;
    /** Whose clock it is; null for the system's. */
    private final Signals clock;
    private final long deadline;
    private int misses;

    /** Null or a negative timeout means for ever; a null clock is the system's. */
    SignalWait(String op, Duration timeout, Signals clock) {
        this.op = op;
        this.timeout = timeout;
        this.clock = clock;
        this.deadline = Deadline.after(timeout, now());
    }

    private long now() {
        return clock == null ? System.nanoTime() : clock.nanoTime();
    }

    long deadline() {
        return deadline;
    }

    /**
     * Waits until there may be an event, or the segment has ended.
     *
     * @return true if there was one just at the deadline, and it was taken
     * @throws RsmException TIMEOUT, INTERRUPTED
     */
    boolean await(Signals signals) {
        if (misses > 0) {
            checkAfterMiss();
        }
        switch (signals.await(deadline)) {
            case TIMEOUT:
                if (signals.take()) {
                    return true;
                }
                throw timedOut();
            case INTERRUPTED:
                throw interrupted();
            default:
                misses++;
                return false;
        }
    }

    /** Says that the wait was woken, but there was no event. Throws TIMEOUT or INTERRUPTED if the wait must end. */
    void missed() {
        misses++;
        checkAfterMiss();
    }

    private void checkAfterMiss() {
        if (deadline - now() <= 0) {
            throw timedOut();
        }
        if (Thread.currentThread().isInterrupted()) {
            throw interrupted();
        }
        if (misses > FREE) {
            LockSupport.parkNanos(PAUSE_NANOS);
        }
    }

    RsmException interrupted() {
        return RsmException.of(RsmError.INTERRUPTED, op);
    }

    RsmException timedOut() {
        return RsmException.of(RsmError.TIMEOUT, op).with("timeout-ms", timeout == null ? -1 : timeout.toMillis())
            .hint("no event was posted in that time");
    }
}
