package org.rsmapi.loopback;

import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.function.Predicate;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.Sockets;

/**
 * An answer with descriptors that its importer may not have read yet.
 *
 * <p>Until it is read, its descriptors are in flight. The kernel counts them for the exporter's user, and rejects further ones of all
 * processes of a user with too many. Closing this side's socket does not change that; only the importer can. So an answer counts until
 * it is read, also after the connection has ended. Its socket stays open until then, to find out.
 */
final class Unread {
    private static final long SWEEP_NANOS = 1_000_000;
    private static final long FIRST_LOOK_MILLIS = 5;
    private static final long LAST_LOOK_MILLIS = 1_000;

    /** Those that count. Guards all that follows, too. */
    private static final Set<Unread> ALL = new LinkedHashSet<>();
    private static long sweptAt;
    /** How many of them have ended, and when to look after them next. */
    private static int ended;
    private static long lookMillis;

    private final Fd socket;
    private final int uid;
    private final Quota.Share share;
    private Runnable afterwards;

    private Unread(Fd socket, int uid, Quota.Share share) {
        this.socket = socket;
        this.uid = uid;
        this.share = share;
    }

    /** Counts an answer that is about to be sent; null if that user has too many that are not read. */
    static Unread add(Fd socket, int uid) {
        synchronized (ALL) {
            Quota.Share share = Quota.ANSWERS.take(uid);
            if (share == null) {
                long now = System.nanoTime();
                if (now - sweptAt < SWEEP_NANOS) {
                    return null;
                }
                sweptAt = now;
                removeIf(each -> !Sockets.unread(each.socket));
                share = Quota.ANSWERS.take(uid);
                if (share == null) {
                    return null;
                }
            }
            try {
                Unread answer = new Unread(socket, uid, share);
                ALL.add(answer);
                return answer;
            } catch (Error e) {
                share.give();
                throw e;
            }
        }
    }

    /** Whether it is read. Then it does not count any more. To be asked before anything else is sent. */
    boolean isRead() {
        synchronized (ALL) {
            if (Sockets.unread(socket)) {
                return false;
            }
            cancel();
            return true;
        }
    }

    /** Does not count it: it was not sent, or is read. */
    void cancel() {
        synchronized (ALL) {
            if (ALL.remove(this)) {
                share.give();
            }
        }
    }

    /** Ends the connection: the socket is closed when the answer is read. */
    void end(Runnable whenClosed) {
        synchronized (ALL) {
            if (!ALL.contains(this)) {
                Sockets.endAccepted(socket, uid, whenClosed);
                return;
            }
            Sockets.shutdown(socket);
            afterwards = whenClosed;
            lookMillis = FIRST_LOOK_MILLIS;
            if (++ended == 1) {
                Reactor.ifRunning(lookMillis, Unread::look);
            }
        }
    }

    private static void look() {
        synchronized (ALL) {
            if (ended > 0) {
                removeIf(each -> each.afterwards != null && !Sockets.unread(each.socket));
            }
            if (ended > 0) {
                lookMillis = Math.min(LAST_LOOK_MILLIS, 2 * lookMillis);
                Reactor.ifRunning(lookMillis, Unread::look);
            }
        }
    }

    /** Closes the sockets of the connections that have ended: the process has no controller open any more. */
    static void giveUp() {
        synchronized (ALL) {
            removeIf(each -> each.afterwards != null);
        }
    }

    private static void removeIf(Predicate<Unread> condition) {
        for (Iterator<Unread> all = ALL.iterator(); all.hasNext(); ) {
            Unread each = all.next();
            if (condition.test(each)) {
                all.remove();
                each.share.give();
                if (each.afterwards != null) {
                    ended--;
                    Sockets.endAccepted(each.socket, each.uid, each.afterwards);
                }
            }
        }
    }
}
