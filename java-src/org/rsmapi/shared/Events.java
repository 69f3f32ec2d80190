package org.rsmapi.shared;

import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;

/**
 * The events of one segment handle, in an eventfd.
 *
 * <p>The end is not reported to waiters by the counter, which other processes may share. A descriptor that is handed out for waiting
 * elsewhere is an epoll set with the counter in it, and an eventfd of our own for the end.
 */
public class Events implements Signals {
    /** The number of the counter in sets of descriptors. */
    protected static final long OWN = 0;
    private static final long END = 1;

    /** Threads that wait. */
    protected final Poll.Group waiters = new Poll.Group();
    /** The events. It belongs to this object. With the monitor held. */
    protected EventFd counter;
    /** A set of several counters, where there are some; with the monitor held. */
    protected Epoll inbox;
    /** The set that is handed out, if it has been asked for; with the monitor held. */
    protected Epoll outside;
    private EventFd endMark;
    private int holders;
    private volatile boolean ended;
    private boolean closed;

    /** Without a counter: a subclass sets it when nothing else can fail. */
    protected Events() {
    }

    /** Whether it is closed. With the monitor held. */
    protected final boolean isClosed() {
        return closed;
    }

    @Override
    public synchronized boolean take() {
        try {
            return !closed && takeOne();
        } catch (OsError e) {
            throw Failures.resources("signal-wait", e);
        }
    }

    /** Takes one event if there is one. With the monitor held. */
    protected boolean takeOne() {
        return counter.take();
    }

    @Override
    public Outcome await(long deadlineNanos) {
        int wakes = waiters.wakes();
        EventFd now;
        Epoll set;
        synchronized (this) {
            now = counter;
            set = inbox;
            if (ended || !(set == null ? now.hold() : hold())) {
                return Outcome.READY;
            }
        }
        try {
            return outcome(Poll.forInput(set == null ? now.fd() : set.fd(), deadlineNanos, waiters, wakes));
        } catch (OsError e) {
            throw Failures.resources("signal-wait", e);
        } finally {
            if (set == null) {
                now.release();
            } else {
                release();
            }
        }
    }

    private static Outcome outcome(Poll.Outcome outcome) {
        switch (outcome) {
            case READY:
                return Outcome.READY;
            case TIMEOUT:
                return Outcome.TIMEOUT;
            default:
                return Outcome.INTERRUPTED;
        }
    }

    @Override
    public synchronized int pollDescriptor() {
        try {
            if (outside == null) {
                openOutside();
            }
            return outside.fd().number();
        } catch (OsError e) {
            throw Failures.resources("get-pollfd", e);
        }
    }

    private void openOutside() {
        try (Opening opening = new Opening(2)) {
            Epoll set = opening.add(new Epoll());
            EventFd end = opening.add(new EventFd());
            set.add(end.fd(), END);
            set.add(inbox == null ? counter.fd() : inbox.fd(), OWN);
            opening.done();
            outside = set;
            endMark = end;
        }
        if (ended) {
            endMark.signal();
        }
    }

    @Override
    public synchronized boolean hold() {
        if (!closed) {
            holders++;
        }
        return !closed;
    }

    @Override
    public synchronized void release() {
        holders--;
        closeIfFree();
    }

    private void closeIfFree() {
        if (closed && holders == 0) {
            closeCounters();
            if (outside != null) {
                outside.close();
                endMark.close();
            }
        }
    }

    /** Closes what has events. With the monitor held. */
    protected void closeCounters() {
        counter.close();
    }

    /** Wakes waiters: no more events will come. Events that are there can still be taken. */
    public final synchronized void end() {
        ended = true;
        if (endMark != null) {
            endMark.signal();
        }
        waiters.wake();
        ended();
    }

    /** Whether it has ended. */
    protected final boolean hasEnded() {
        return ended;
    }

    /** It has ended; a subclass whose threads wait in another way wakes them. With the monitor held. */
    protected void ended() {
    }

    /** Ends it, and closes the descriptors as soon as nobody holds them. Idempotent. */
    public final synchronized void close() {
        if (!closed) {
            closed = true;
            end();
            closeIfFree();
        }
    }
}
