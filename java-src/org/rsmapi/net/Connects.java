package org.rsmapi.net;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.rsmapi.sys.Threads;

/** The connects of one node's or one user's importers, which wait for others: a few threads, and few of them for one segment. */
final class Connects {
    private static final int MOST_THREADS = 16;
    /** Those to one segment that may wait for its exporter; others wait for them. */
    private static final int PER_SEGMENT = 4;
    private static final int MOST_WAITING = 1_024;
    private static final long IDLE_SECONDS = 5;

    private final ThreadPoolExecutor threads = new ThreadPoolExecutor(0, MOST_THREADS, IDLE_SECONDS, TimeUnit.SECONDS,
        new SynchronousQueue<>(), action -> Threads.daemon(action, "rsmapi-net-connect"));
    // with the monitor held
    private final Map<Integer, Integer> running = new HashMap<>();
    private final ArrayDeque<Connect> waiting = new ArrayDeque<>();

    private record Connect(int segmentId, Runnable action) {}

    /** Has a connect made, now or later; false if too many wait. */
    synchronized boolean run(int segmentId, Runnable action) {
        Connect connect = new Connect(segmentId, action);
        if (mayRun(connect) && start(connect)) {
            return true;
        }
        // whoever runs takes it afterwards
        return !running.isEmpty() && waiting.size() < MOST_WAITING && waiting.add(connect);
    }

    private boolean mayRun(Connect connect) {
        return running.getOrDefault(connect.segmentId, 0) < PER_SEGMENT;
    }

    private boolean start(Connect connect) {
        running.merge(connect.segmentId, 1, Integer::sum);
        try {
            threads.execute(() -> runAll(connect));
            return true;
        } catch (RejectedExecutionException | OutOfMemoryError e) { // all threads have something to do, or there cannot be one more
            end(connect);
            return false;
        }
    }

    private void end(Connect connect) {
        running.computeIfPresent(connect.segmentId, (id, count) -> count > 1 ? count - 1 : null);
    }

    /** Makes one, and then others that wait. */
    private void runAll(Connect first) {
        for (Connect next = first; next != null; next = after(next)) {
            next.action.run();
        }
    }

    private synchronized Connect after(Connect done) {
        end(done);
        for (Connect each : waiting) {
            if (mayRun(each)) {
                waiting.remove(each);
                running.merge(each.segmentId, 1, Integer::sum);
                return each;
            }
        }
        return null;
    }

    void stop() {
        threads.shutdown();
    }
}
