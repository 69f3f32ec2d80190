package org.rsmapi.net;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;

/**
 * The connects of one node's or one user's importers, which wait for exporters: a few threads. Of the threads, and of the places of those
 * that wait for one, whoever asks may have as many as are left: alone one half, and more of them ever less. So however slow the connects of
 * one are, there are threads for others. For one segment there are few.
 */
final class Connects {
    static final int MOST_THREADS = 16;
    /** Those to one segment that may wait for its exporter; others wait for them. */
    private static final int PER_SEGMENT = 4;
    private static final int MOST_WAITING = 1_024;

    private final ThreadPoolExecutor threads = Fabric.pool("rsmapi-net-connect", 0, Integer.MAX_VALUE, false); // as many as run
    // with the monitor held
    private final Share running = new Share(MOST_THREADS);
    private final Share queued = new Share(MOST_WAITING);
    private final Map<Integer, Integer> bySegment = new HashMap<>();
    private final ArrayDeque<Connect> waiting = new ArrayDeque<>();

    private record Connect(int asker, int segmentId, Runnable action) {}

    /** How many each has of a number of things. */
    private static final class Share {
        private final int most;
        private final Map<Integer, Integer> byAsker = new HashMap<>();
        private int all;

        Share(int most) {
            this.most = most;
        }

        int of(int asker) {
            return byAsker.getOrDefault(asker, 0);
        }

        boolean hasRoom(int asker) {
            return of(asker) < most - all;
        }

        void add(int asker, int count) {
            all += count;
            Connects.add(byAsker, asker, count);
        }
    }

    private static void add(Map<Integer, Integer> counts, int key, int count) {
        counts.merge(key, count, (before, more) -> before + more == 0 ? null : before + more);
    }

    /**
     * Has a connect made, now or later.
     *
     * @param asker  who shares with others: a user of the node, or a process of the user
     * @return false if too many wait
     */
    synchronized boolean run(int asker, int segmentId, Runnable action) {
        Connect connect = new Connect(asker, segmentId, action);
        if (mayRun(connect) && start(connect)) {
            return true;
        }
        if (running.all == 0 || !queued.hasRoom(asker)) { // whoever runs takes it afterwards
            return false;
        }
        queued.add(asker, 1);
        return waiting.add(connect);
    }

    private boolean mayRun(Connect connect) {
        return running.hasRoom(connect.asker) && bySegment.getOrDefault(connect.segmentId, 0) < PER_SEGMENT;
    }

    /** In a thread of its own; false if there cannot be one more. */
    private boolean start(Connect connect) {
        count(connect, 1);
        try {
            threads.execute(() -> runAll(connect));
            return true;
        } catch (RejectedExecutionException | OutOfMemoryError e) {
            count(connect, -1);
            return false;
        }
    }

    private void count(Connect connect, int more) {
        running.add(connect.asker, more);
        add(bySegment, connect.segmentId, more);
    }

    /** Makes one, and then others that wait. */
    private void runAll(Connect first) {
        for (Connect next = first; next != null; next = after(next)) {
            try {
                next.action.run();
            } catch (RuntimeException | Error e) {
                continue; // who has asked gives up after a time
            }
        }
    }

    private synchronized Connect after(Connect done) {
        count(done, -1);
        Connect next = next();
        if (next == null) {
            return null;
        }
        leave(next);
        count(next, 1);
        Connect more;
        while ((more = next()) != null && start(more)) { // where one waited for a segment's exporter, there may be room for several
            leave(more);
        }
        return next;
    }

    private void leave(Connect connect) {
        waiting.remove(connect);
        queued.add(connect.asker, -1);
    }

    /** Of those that may run, the first one of who has fewest running. */
    private Connect next() {
        Connect best = null;
        for (Connect each : waiting) {
            if (mayRun(each) && (best == null || running.of(each.asker) < running.of(best.asker))) {
                best = each;
            }
        }
        return best;
    }

    void stop() {
        threads.shutdown();
    }
}
