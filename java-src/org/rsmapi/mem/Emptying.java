package org.rsmapi.mem;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Drops the pages of ended ranges again, a few times and at growing intervals. A compiled loop that writes single values may have
 * checked once for many of them, and then fills the pages of a range that has ended meanwhile.
 */
final class Emptying {
    /** So long after the end of a range, and then after each time. */
    private static final long[] INTERVALS_NANOS = {1_000_000_000L, 10_000_000_000L, 100_000_000_000L};

    private static final List<Queue<Due>> QUEUES = Stream.generate(ConcurrentLinkedQueue<Due>::new)
        .limit(INTERVALS_NANOS.length).collect(Collectors.toUnmodifiableList());
    private static final AtomicBoolean RUNNING = new AtomicBoolean();

    private Emptying() {}

    /** What may have pages that have to be dropped. */
    interface Target {
        /** Drops them; false if the range has been returned to the system. */
        boolean empty();
    }

    private record Due(Target target, long nanoTime) {}

    /** Says that a range has ended, and that its pages have been dropped for the first time. */
    static void later(Target target) {
        later(target, 0);
    }

    private static void later(Target target, int times) {
        int queue = Math.min(times, INTERVALS_NANOS.length - 1);
        QUEUES.get(queue).add(new Due(target, System.nanoTime() + INTERVALS_NANOS[queue]));
    }

    /** Does what is due, unless another thread is doing it. */
    static void run() {
        if (!RUNNING.compareAndSet(false, true)) {
            return;
        }
        try {
            long now = System.nanoTime();
            for (int i = 0; i < QUEUES.size(); i++) {
                Queue<Due> queue = QUEUES.get(i);
                Due next;
                while ((next = queue.peek()) != null && next.nanoTime() - now <= 0) {
                    queue.poll();
                    if (next.target().empty()) {
                        later(next.target(), i + 1);
                    }
                }
            }
        } finally {
            RUNNING.set(false);
        }
    }
}
