package org.rsmapi.sim;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What has happened in a world: the newest entries, each a list of names and values. Used in a turn. */
final class History {
    private static final int MOST = 100_000;

    private final ArrayDeque<Object[]> entries = new ArrayDeque<>();
    private long forgotten;

    /** Adds an entry, without names whose value is null. */
    void add(long time, String event, Object[] facts, Object... more) {
        if (entries.size() == MOST) {
            entries.removeFirst();
            forgotten++;
        }
        Object[] entry = new Object[4 + facts.length + more.length];
        entry[0] = "time";
        entry[1] = time;
        entry[2] = "event";
        entry[3] = event;
        System.arraycopy(more, 0, entry, 4, more.length);
        System.arraycopy(facts, 0, entry, 4 + more.length, facts.length);
        entries.addLast(entry);
    }

    /** How many entries were dropped, the oldest ones. */
    long forgotten() {
        return forgotten;
    }

    List<Map<String, Object>> copy() {
        List<Map<String, Object>> copy = new ArrayList<>(entries.size());
        for (Object[] entry : entries) {
            Map<String, Object> map = new LinkedHashMap<>();
            for (int i = 0; i + 1 < entry.length; i += 2) {
                if (entry[i + 1] != null) {
                    map.put((String) entry[i], entry[i + 1]);
                }
            }
            copy.add(Collections.unmodifiableMap(map));
        }
        return copy;
    }
}
