package org.rsmapi;

import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Waiting;

/** The signals of one segment handle, for {@link ExportSegment} and {@link ImportSegment}. */
final class Signaling {
    private static final Duration LONGEST = Duration.ofDays(36_500);

    /** What the segment knows about its own state. */
    interface State {
        /** Throws if the handle has been ended. */
        void checkOpen(String op);

        /** Why no event will come any more, or null. */
        RsmException ended(String op);
    }

    private final Signals signals;
    private final State state;
    private int references;

    Signaling(Signals signals, State state) {
        this.signals = signals;
        this.state = state;
    }

    void post(int flags) {
        String op = "signal-post";
        state.checkOpen(op);
        RsmException ended = state.ended(op);
        if (ended != null) {
            throw ended;
        }
        try {
            signals.post((flags & Segment.SIGPOST_NO_ACCUMULATE) == 0);
        } catch (OsError e) {
            throw Failures.resources(op, e);
        }
    }

    void await(Duration timeout) {
        String op = "signal-wait";
        try {
            await(op, timeout);
        } catch (OsError e) {
            throw Failures.resources(op, e);
        }
    }

    private void await(String op, Duration timeout) {
        long deadline = deadline(timeout);
        Misses misses = null;
        while (true) {
            state.checkOpen(op);
            if (signals.take()) {
                return;
            }
            state.checkOpen(op);
            RsmException ended = state.ended(op);
            if (ended != null) {
                if (signals.take()) { // it came before the end that we were told of
                    return;
                }
                throw ended;
            }
            if (misses != null) {
                misses.check();
            }
            switch (signals.await(deadline)) {
                case TIMEOUT:
                    if (signals.take()) {
                        return;
                    }
                    throw timedOut(op, timeout);
                case INTERRUPTED:
                    throw RsmException.of(RsmError.INTERRUPTED, op);
                default:
                    misses = misses == null ? new Misses(op, timeout, deadline) : misses;
                    break;
            }
        }
    }

    /**
     * What has been reported to a wait was taken by another thread, or by a process that has the counter. One that posts events and takes
     * them again must neither keep the wait from its end nor a processor busy.
     */
    static final class Misses {
        private static final int FREE = 64;
        private static final long PAUSE_NANOS = 200_000;

        private final String op;
        private final Duration timeout;
        private final long deadline;
        private int count;

        Misses(String op, Duration timeout, long deadline) {
            this.op = op;
            this.timeout = timeout;
            this.deadline = deadline;
        }

        /** Throws TIMEOUT or INTERRUPTED. */
        void check() {
            if (deadline - System.nanoTime() <= 0) {
                throw timedOut(op, timeout);
            }
            if (Thread.currentThread().isInterrupted()) {
                throw RsmException.of(RsmError.INTERRUPTED, op);
            }
            if (++count > FREE) {
                LockSupport.parkNanos(PAUSE_NANOS);
            }
        }
    }

    /** What a poll that has found something has found: an event, the end, or that another one was faster. */
    int pollResult() {
        if (signals.take()) {
            return PollFd.RDNORM;
        }
        return state.ended("signal-wait-pollfd") != null ? PollFd.HUP : 0;
    }

    /** Keeps the descriptor open for a poll; false if the handle has been ended. */
    boolean hold() {
        return signals.hold();
    }

    void letGo() {
        signals.release();
    }

    /** The moment at which a wait ends, on the clock of {@link System#nanoTime()}. */
    static long deadline(Duration timeout) {
        boolean forEver = timeout == null || timeout.isNegative() || timeout.compareTo(LONGEST) > 0;
        return Waiting.deadline(forEver ? Long.MAX_VALUE : timeout.toNanos());
    }

    static RsmException timedOut(String op, Duration timeout) {
        return RsmException.of(RsmError.TIMEOUT, op).with("timeout-ms", timeout == null ? -1 : timeout.toMillis())
            .hint("no event was posted in that time");
    }

    PollFd reference(Segment segment) {
        state.checkOpen("get-pollfd");
        int descriptor = signals.pollDescriptor();
        synchronized (this) {
            references++;
        }
        return new PollFd(segment, this, descriptor, PollFd.IN | PollFd.RDNORM);
    }

    void release() {
        state.checkOpen("release-pollfd");
        synchronized (this) {
            references = Math.max(0, references - 1);
        }
    }

    /** Throws if there are references to the descriptor. */
    synchronized void checkUnreferenced(String op) {
        if (references > 0) {
            throw RsmException.of(RsmError.POLLFD_IN_USE, op).with("references", references)
                .hint("release each poll descriptor that was got, or use close");
        }
    }

    synchronized void dropReferences() {
        references = 0;
    }
}
