package org.rsmapi.loopback;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;

/**
 * How much of this process's descriptors its importers may take, from the system properties and, where those do not say, from
 * what the process may have ({@code RLIMIT_NOFILE}).
 *
 * @param all     what all importers may have together
 * @param others  what all importers with another uid than this process may have together, uid 0 not counted
 * @param each    what the importers with one such uid may have
 */
record Limits(int all, int others, int each) {
    private static final String CONNECTIONS = "rsmapi.max-connections";
    private static final String CONNECTIONS_EACH = "rsmapi.max-connections-per-user";
    private static final String ANSWERS = "rsmapi.max-unread-answers";
    private static final String ANSWERS_EACH = "rsmapi.max-unread-answers-per-user";

    /** What an importer costs: its socket, its counter of events, and a third for what may come. */
    private static final int DESCRIPTORS_EACH = 3;
    private static final int MAX_CONNECTIONS = 16_384;
    private static final int MAX_ANSWERS = 1_024;
    private static final int SHARES = 4;
    /** An unread answer counts as up to four descriptors in flight, of which a user may have as many as a process open ones. */
    private static final int ANSWER_SHARES = 16;
    private static final long VALID_NANOS = 1_000_000_000L;

    private static Configured configured = new Configured(0, 0, 0, 0);
    private static Limits connections;
    private static Limits answers;
    private static long readAt;

    /** What the properties say; 0 where they do not. */
    private record Configured(int connections, int connectionsEach, int answers, int answersEach) {}

    /** Connections from importers, at most. */
    static synchronized Limits connections() {
        refresh();
        return connections;
    }

    /** Answers with descriptors that the importers have not read yet, at most. */
    static synchronized Limits answers() {
        refresh();
        return answers;
    }

    /**
     * Reads the properties.
     *
     * @throws RsmException BAD_CONF if one of them is malformed
     */
    static synchronized void configure(String op) {
        configured = new Configured(property(op, CONNECTIONS), property(op, CONNECTIONS_EACH), property(op, ANSWERS),
            property(op, ANSWERS_EACH));
        connections = null;
    }

    private static void refresh() {
        if (connections == null || System.nanoTime() - readAt > VALID_NANOS) {
            long descriptors = descriptors();
            long reserve = descriptors / SHARES; // for this process itself
            connections = of(configured.connections, configured.connectionsEach,
                Math.min(MAX_CONNECTIONS, (descriptors - reserve) / DESCRIPTORS_EACH));
            answers = of(configured.answers, configured.answersEach, Math.min(MAX_ANSWERS, descriptors / ANSWER_SHARES));
            readAt = System.nanoTime();
        }
    }

    private static long descriptors() {
        try {
            return Fd.limit();
        } catch (OsError e) {
            return 1_024; // the usual one
        }
    }

    private static Limits of(int all, int each, long otherwise) {
        int most = all > 0 ? all : (int) Math.max(SHARES, otherwise);
        int one = Math.min(most, each > 0 ? each : Math.max(1, most / SHARES));
        return new Limits(most, Math.max(one, most / 2), one);
    }

    private static int property(String op, String name) {
        String value = System.getProperty(name);
        if (value == null || value.isBlank()) {
            return 0;
        }
        try {
            int number = Integer.parseInt(value.trim());
            if (number > 0) {
                return number;
            }
        } catch (NumberFormatException e) {
            throw malformed(op, name, value).causedBy(e);
        }
        throw malformed(op, name, value);
    }

    private static RsmException malformed(String op, String name, String value) {
        return RsmException.of(RsmError.BAD_CONF, op).with("value", value)
            .hint("the system property " + name + " has to be a number from 1 to " + Integer.MAX_VALUE);
    }
}
