package org.rsmapi.loopback;

import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Waiting;

/**
 * The events that importers have posted for an export segment.
 *
 * <p>The counter is an eventfd that all importers have got with their answers, and could keep. So every end of a publication makes a
 * new one, with the count of the old: who is not an importer any more posts nothing here. The descriptor for waiting outside of the
 * library has to stay the same all the time, and therefore is an epoll set with the present counter in it.
 */
final class ExportEvents {
    private EventFd counter = EventFd.ofEvents(0);
    private boolean handedOut;
    private Epoll outside;
    private int holders;
    private boolean closed;

    /** The counter, for an importer. */
    synchronized EventFd handOut() {
        handedOut = true;
        return counter;
    }

    synchronized boolean take() {
        return !closed && counter.take();
    }

    Waiting.Outcome await(long deadlineNanos) {
        EventFd now;
        synchronized (this) {
            now = counter;
            if (!now.hold()) {
                return Waiting.Outcome.READY;
            }
        }
        try {
            return Waiting.forInput(now.fd(), deadlineNanos);
        } finally {
            now.release();
        }
    }

    synchronized int pollDescriptor() {
        if (outside == null) {
            Epoll set = new Epoll();
            try {
                set.add(counter.fd(), 0);
            } catch (RuntimeException | Error e) {
                set.close();
                throw e;
            }
            outside = set;
        }
        return outside.fd().number();
    }

    synchronized boolean hold() {
        if (!closed) {
            holders++;
        }
        return !closed;
    }

    synchronized void release() {
        holders--;
        closeIfFree();
    }

    /** A counter that is closed drops out of the set: while somebody may still look at the set, it has to stay. */
    private void closeIfFree() {
        if (closed && holders == 0) {
            counter.close();
            if (outside != null) {
                outside.close();
            }
        }
    }

    /** Takes a new counter, if anybody has got the present one. Who waits goes on with the new one. */
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
    }

    synchronized void close() {
        if (!closed) {
            closed = true;
            counter.signal(); // for those who wait
            closeIfFree();
        }
    }
}
