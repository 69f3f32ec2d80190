package org.rsmapi.loopback;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;

/**
 * The events of one segment handle: those that importers have posted for an export segment, or the exporter for an import segment.
 *
 * <p>A counter is an eventfd that others have too, and may do with as they like. So an export segment has several: one that the importers
 * of this process's own user (and root) share, and one for each other user who has an importer. A user who fills a counter keeps only
 * that user's posts from arriving. Events are taken from the counters in turn. When a counter is given up, because its user has no
 * importer any more or the publication has ended, the events in it are carried over, but no more than {@link #MOST_CARRIED}.
 *
 * <p>The end is not reported to waiters by the counters, which other processes share. A descriptor that is handed
 * out for waiting elsewhere is an epoll set with the counters in it, and an eventfd of our own for the end.
 */
final class LoopbackSignals implements Signals {
    /** More events than this were not posted one by one, or not for anybody who takes them. */
    static final long MOST_CARRIED = 1L << 20;

    private static final long OWN = 0;
    private static final long END = 1;
    private static final long KEPT = Long.MAX_VALUE;

    private final Poll.Group waiters = new Poll.Group();
    private EventFd counter;
    private boolean handedOut;
    /** The counters of other users, by uid. */
    private final Map<Integer, Other> others = new HashMap<>();
    /** All counters, from when there is more than one. */
    private Epoll inbox;
    /** The events of other users who have left. It is this side's alone: an addition to another counter could be made to wait. */
    private EventFd kept;
    /** Of which counter an event was taken last. */
    private long lastTaken;
    private Epoll outside;
    private EventFd endMark;
    private int holders;
    private boolean ended;
    private boolean closed;

    /** The counter of another user's importers. */
    private static final class Other {
        private final EventFd counter;
        private final Pace pace = new Pace();
        private int importers;
        /** Whether nothing is taken from it any more. */
        private boolean ignored;

        Other(EventFd counter) {
            this.counter = counter;
        }
    }

    LoopbackSignals(EventFd counter) {
        this.counter = counter;
    }

    /** With a new counter, which is made when nothing else can fail. */
    LoopbackSignals() {
        this.counter = EventFd.ofEvents(0);
    }

    /**
     * The counter for an importer of this user; {@link #removeImporter} when it disconnects.
     *
     * @throws OsError if there are no descriptors for another counter
     */
    synchronized EventFd addImporter(int uid) {
        if (!Quota.isOther(uid)) {
            handedOut = true;
            return counter;
        }
        Other other = others.get(uid);
        if (other == null) {
            other = add(uid);
        }
        other.importers++;
        return other.counter;
    }

    private Other add(int uid) {
        if (inbox == null) {
            openInbox();
        }
        try (Opening opening = new Opening(1)) {
            Other other = new Other(opening.add(EventFd.ofEvents(0)));
            inbox.add(other.counter.fd(), token(uid));
            others.put(uid, other);
            opening.done();
            return other;
        }
    }

    /** Not 0: that is the first counter. */
    private static long token(int uid) {
        return Integer.toUnsignedLong(uid) + 1;
    }

    private void openInbox() {
        try (Opening opening = new Opening(2)) {
            Epoll set = opening.add(new Epoll());
            EventFd keeping = opening.add(EventFd.ofEvents(0));
            set.add(keeping.fd(), KEPT);
            set.add(counter.fd(), OWN);
            if (outside != null) {
                outside.add(set.fd(), OWN);
                outside.remove(counter.fd());
            }
            opening.done();
            inbox = set;
            kept = keeping;
        }
        waiters.wake(); // threads that wait for the single counter
    }

    /** An importer of this user has disconnected. */
    synchronized void removeImporter(int uid) {
        Other other = others.get(uid);
        if (other != null && --other.importers == 0) {
            others.remove(uid);
            try {
                if (!closed && !other.ignored) {
                    inbox.remove(other.counter.fd());
                    kept.addOwn(other.counter.count(MOST_CARRIED));
                }
            } finally {
                other.counter.close();
            }
        }
    }

    @Override
    public synchronized boolean take() {
        try {
            return !closed && (inbox == null ? counter.take() : takeInTurn());
        } catch (OsError e) {
            throw Failures.resources("signal-wait", e);
        }
    }

    /** Of the counters that have events, the one whose turn it is: the next behind the last, in the order of the users' ids. */
    private boolean takeInTurn() {
        long[] ready = inbox.await(0);
        Arrays.sort(ready);
        int first = 0;
        while (first < ready.length && ready[first] <= lastTaken) {
            first++;
        }
        for (int i = 0; i < ready.length; i++) {
            long token = ready[(first + i) % ready.length];
            if (take(token)) {
                lastTaken = token;
                return true;
            }
        }
        return false;
    }

    private boolean take(long token) {
        if (token == OWN || token == KEPT) {
            return (token == OWN ? counter : kept).take();
        }
        Other other = others.get((int) (token - 1));
        if (other == null) {
            return false;
        }
        boolean suspect = other.pace.isSuspected();
        long begun = other.pace.begin(suspect);
        boolean taken = other.counter.take();
        other.pace.end(suspect, begun);
        if (other.pace.isTooSlow() && !other.ignored) {
            other.ignored = true;
            inbox.remove(other.counter.fd());
        }
        return taken;
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
            counter.close();
            others.forEach((uid, other) -> other.counter.close());
            if (inbox != null) {
                inbox.close();
                kept.close();
            }
            if (outside != null) {
                outside.close();
                endMark.close();
            }
        }
    }

    /**
     * Replaces the counter that former importers have by a new one: what they post from now on is lost. The events are
     * carried over, and threads that wait go on with the new one.
     */
    synchronized void renew() {
        if (closed || !handedOut) {
            return;
        }
        EventFd next;
        try {
            next = EventFd.ofEvents(0);
        } catch (OsError e) {
            return; // without descriptors the old one has to do: what the publication's end is for is the memory
        }
        try (Opening opening = new Opening(1)) {
            opening.add(next);
            Epoll set = inbox != null ? inbox : outside;
            if (set != null) {
                set.add(next.fd(), OWN);
                set.remove(counter.fd());
            }
            opening.done();
        }
        next.addOwn(counter.count(MOST_CARRIED));
        counter.close();
        counter = next;
        handedOut = false;
        waiters.wake();
    }

    /** Wakes waiters: no more events will come. Events that are there can still be taken. */
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
