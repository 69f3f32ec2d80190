package org.rsmapi.loopback;

import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Waiting;

/**
 * The events of one segment handle: those that importers have posted for an export segment, or the exporter for an import segment.
 *
 * <p>The counter is an eventfd that others have too, and may do with as they like. What this side has to tell to those who wait
 * here, that there is an end, therefore does not go by the counter. A descriptor that is handed out for waiting elsewhere is an epoll
 * set with the counter in it, and an eventfd of our own for the end.
 */
final class Events implements Signals {
    private final Waiting.Group waiters = new Waiting.Group();
    private final Poster poster;
    private EventFd counter;
    private boolean handedOut;
    private Epoll outside;
    private EventFd endMark;
    private int holders;
    private boolean ended;
    private boolean closed;

    /** The way to the other side's counters. */
    @FunctionalInterface
    interface Poster {
        void post(boolean accumulate);
    }

    Events(EventFd counter, Poster poster) {
        this.counter = counter;
        this.poster = poster;
    }

    /** With a counter of its own, which is made when nothing else can fail. */
    Events(Poster poster) {
        this.poster = poster;
        this.counter = EventFd.ofEvents(0);
    }

    @Override
    public void post(boolean accumulate) {
        poster.post(accumulate);
    }

    /** The counter, for an importer. */
    synchronized EventFd handOut() {
        handedOut = true;
        return counter;
    }

    @Override
    public synchronized boolean take() {
        return !closed && counter.take();
    }

    @Override
    public Waiting.Outcome await(long deadlineNanos) {
        int wakes = waiters.wakes();
        EventFd now;
        synchronized (this) {
            now = counter;
            if (ended || !now.hold()) {
                return Waiting.Outcome.READY;
            }
        }
        try {
            return Waiting.forInput(now.fd(), deadlineNanos, waiters, wakes);
        } finally {
            now.release();
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
        Epoll set = new Epoll();
        EventFd end = null;
        try {
            end = new EventFd();
            set.add(end.fd(), 1);
            set.add(counter.fd(), 0);
        } catch (RuntimeException | Error e) {
            set.close();
            if (end != null) {
                end.close();
            }
            throw e;
        }
        outside = set;
        endMark = end;
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
            counter.close();
            if (outside != null) {
                outside.close();
                endMark.close();
            }
        }
    }

    /**
     * Takes a new counter with the count of the old, if anybody has got that: who is not an importer any more posts nothing here.
     * Who waits goes on with the new one.
     */
    synchronized void renew() {
        if (closed || !handedOut) {
            return;
        }
        EventFd next;
        try {
            next = EventFd.ofEvents(counter.count());
        } catch (OsError e) {
            return; // without descriptors the old one has to do: what the publication's end is for is the memory
        }
        if (outside != null) {
            outside.add(next.fd(), 0);
            outside.remove(counter.fd());
        }
        counter.close();
        counter = next;
        handedOut = false;
        waiters.wake();
    }

    /** Tells those who wait that nothing will come any more. What has come is there to be taken. */
    synchronized void end() {
        ended = true;
        if (endMark != null) {
            endMark.signal();
        }
        waiters.wake();
    }

    synchronized void close() {
        if (!closed) {
            closed = true;
            end();
            closeIfFree();
        }
    }
}
