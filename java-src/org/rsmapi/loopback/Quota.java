package org.rsmapi.loopback;

import java.util.HashMap;
import java.util.Map;
import java.util.function.Supplier;
import org.rsmapi.sys.Credentials;

/** How much of one kind the importers have of this process, by user; see {@link Limits}. */
final class Quota {
    /** Connections, from accept until the socket is closed. */
    static final Quota CONNECTIONS = new Quota(Limits::connections);
    /** Answers with descriptors that have not been read. */
    static final Quota ANSWERS = new Quota(Limits::answers);

    /** Users who have nothing are forgotten when there are more than this. */
    private static final int FORGET = 64;

    private final Supplier<Limits> limits;
    private final Map<Integer, Share> shares = new HashMap<>();
    private int all;
    private int others;

    private Quota(Supplier<Limits> limits) {
        this.limits = limits;
    }

    /** What one user has. To give needs no memory. */
    final class Share {
        private final boolean other;
        private int taken;

        private Share(boolean other) {
            this.other = other;
        }

        private void change(int by) {
            taken += by;
            all += by;
            others += other ? by : 0;
        }

        /** Gives one back. */
        void give() {
            synchronized (Quota.this) {
                change(-1);
            }
        }
    }

    /** Takes one for a user; null if that user, or all together, have as many as they may have. */
    Share take(int uid) {
        Limits now = limits.get();
        boolean other = isOther(uid);
        synchronized (this) {
            if (all >= now.all() || other && others >= now.others()) {
                return null;
            }
            if (shares.size() > FORGET) {
                shares.values().removeIf(share -> share.taken == 0);
            }
            Share share = shares.computeIfAbsent(uid, key -> new Share(other));
            if (other && share.taken >= now.each()) {
                return null;
            }
            share.change(1);
            return share;
        }
    }

    /** This process's own user, and root, could take what they want in other ways as well. */
    static boolean isOther(int uid) {
        return uid != 0 && uid != Credentials.uid();
    }
}
