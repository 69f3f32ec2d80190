package org.rsmapi.loopback;

import java.util.HashMap;
import java.util.Map;
import java.util.function.Supplier;
import org.rsmapi.sys.Identity;

/** How much of one kind the importers have of this process, by user; see {@link Limits}. */
final class Quota {
    /** Connections, from accept until the socket is closed. */
    static final Quota CONNECTIONS = new Quota(Limits::connections);
    /** Answers with descriptors that have not been read. */
    static final Quota ANSWERS = new Quota(Limits::answers);

    private final Supplier<Limits> limits;
    private final Map<Integer, Integer> taken = new HashMap<>();
    private int all;
    private int others;

    private Quota(Supplier<Limits> limits) {
        this.limits = limits;
    }

    /** Takes one for a user; false if that user, or all together, have as many as they may have. */
    boolean take(int uid) {
        Limits now = limits.get();
        boolean other = isOther(uid);
        synchronized (this) {
            int mine = taken.getOrDefault(uid, 0);
            if (all >= now.all() || other && (others >= now.others() || mine >= now.each())) {
                return false;
            }
            taken.put(uid, mine + 1);
            all++;
            others += other ? 1 : 0;
            return true;
        }
    }

    /** Gives one back. */
    void give(int uid) {
        synchronized (this) {
            taken.computeIfPresent(uid, (key, n) -> n == 1 ? null : n - 1);
            all--;
            others -= isOther(uid) ? 1 : 0;
        }
    }

    /** This process's own user, and root, could take what they want in other ways as well. */
    private static boolean isOther(int uid) {
        return uid != 0 && uid != Identity.uid();
    }
}
