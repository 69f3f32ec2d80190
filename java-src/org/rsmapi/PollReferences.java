package org.rsmapi;

import org.rsmapi.spi.Signals;

/** Counts the references to a segment's poll descriptor: while there are any, destroy and disconnect fail. */
final class PollReferences {
    private int count;

    /** One reference more. */
    PollFd add(Segment segment, Signals signals) {
        int descriptor = signals.pollDescriptor();
        synchronized (this) {
            count++;
        }
        return new PollFd(segment, signals, this, descriptor, PollFd.IN | PollFd.RDNORM);
    }

    /** One less, if there are any. */
    synchronized void drop() {
        count = Math.max(0, count - 1);
    }

    synchronized void dropAll() {
        count = 0;
    }

    /** Throws if there are references. */
    synchronized void checkNone(String op) {
        if (count > 0) {
            throw RsmException.of(RsmError.POLLFD_IN_USE, op).with("references", count)
                .hint("release each poll descriptor that was got, or use close");
        }
    }
}
