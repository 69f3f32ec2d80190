package org.rsmapi;

import java.time.Duration;
import org.rsmapi.spi.Signals;
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
        signals.post((flags & Segment.SIGPOST_NO_ACCUMULATE) == 0);
    }

    void await(Duration timeout) {
        String op = "signal-wait";
        long deadline = deadline(timeout);
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
            switch (signals.await(deadline)) {
                case TIMEOUT:
                    if (signals.take()) {
                        return;
                    }
                    throw timedOut(op, timeout);
                case INTERRUPTED:
                    throw RsmException.of(RsmError.INTERRUPTED, op);
                default:
                    break;
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
