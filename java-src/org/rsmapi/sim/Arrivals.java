package org.rsmapi.sim;

import java.util.TreeSet;

/** Which of the writes 1, 2, 3 and so on of a connection have arrived at the exporter. It remembers the gaps. */
final class Arrivals {
    private final TreeSet<Long> missing = new TreeSet<>();
    private long highest;

    void add(long number) {
        for (long skipped = highest + 1; skipped < number; skipped++) {
            missing.add(skipped);
        }
        missing.remove(number);
        highest = Math.max(highest, number);
    }

    /** Whether all after one and up to another have arrived. Those are not asked about again. */
    boolean have(long after, long until) {
        boolean all = until <= highest && missing.subSet(after, false, until, true).isEmpty();
        missing.headSet(until, true).clear();
        return all;
    }
}
