package org.rsmapi.loopback;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.rsmapi.shared.Events;
import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.OsError;

/**
 * The events of one segment handle: those that importers have posted for an export segment, or the exporter for an import segment.
 *
 * <p>A counter is an eventfd that others have too, and may do with as they like. So an export segment has several: one that the importers
 * of this process's own user (and root) share, and one for each other user who has an importer. A user who fills a counter keeps only
 * that user's posts from arriving. Events are taken from the counters in turn. When a counter is given up, because its user has no
 * importer any more or the publication has ended, the events in it are carried over, but no more than {@link #MOST_CARRIED}.
 */
final class LoopbackSignals extends Events {
    /** More events than this were not posted one by one, or not for anybody who takes them. */
    static final long MOST_CARRIED = 1L << 20;

    private static final long KEPT = Long.MAX_VALUE;

    private boolean handedOut;
    /** The counters of other users, by uid. */
    private final Map<Integer, Other> others = new HashMap<>();
    /** The events of other users who have left. It is this side's alone: an addition to another counter could be made to wait. */
    private EventFd kept;
    /** Of which counter an event was taken last. */
    private long lastTaken;

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
                if (!isClosed() && !other.ignored) {
                    inbox.remove(other.counter.fd());
                    kept.addOwn(other.counter.count(MOST_CARRIED));
                }
            } finally {
                other.counter.close();
            }
        }
    }

    @Override
    protected boolean takeOne() {
        return inbox == null ? counter.take() : takeInTurn();
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
    protected void closeCounters() {
        counter.close();
        others.forEach((uid, other) -> other.counter.close());
        if (inbox != null) {
            inbox.close();
            kept.close();
        }
    }

    /**
     * Replaces the counter that former importers have by a new one: what they post from now on is lost. The events are
     * carried over, and threads that wait go on with the new one.
     */
    synchronized void renew() {
        if (isClosed() || !handedOut) {
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
}
