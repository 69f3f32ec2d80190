package org.rsmapi.bench;

/** What a program of the benchmark prints for each sample: a name and a number in one line. */
final class Samples {
    static final int COUNT = 20;

    private Samples() {
    }

    static void print(String name, double value) {
        System.out.println(name + " " + value);
        System.out.flush();
    }

    /** Something that is done so many times. */
    interface Work {
        void times(long count) throws Exception;
    }

    /** Warms up, finds out how often is long enough, and prints so many samples of the time for one, in nanoseconds. */
    static void measure(String name, double seconds, Work work) throws Exception {
        double goal = seconds * 1e9 / COUNT;
        long count = 1;
        long end = System.nanoTime() + (long) Math.max(seconds * 1e9, 5e8 * Math.min(1, seconds * 2));
        double took = time(work, count);
        while (took < goal || System.nanoTime() < end) {
            count = Math.max(1, (long) Math.min(count * 4.0, count * goal * 1.1 / Math.max(took, 1)));
            took = time(work, count);
            if (took >= goal && System.nanoTime() >= end) {
                break;
            }
        }
        for (int i = 0; i < COUNT; i++) {
            print(name, time(work, count) / count);
        }
    }

    private static double time(Work work, long count) throws Exception {
        long start = System.nanoTime();
        work.times(count);
        return System.nanoTime() - start;
    }
}
