package org.rsmapi.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/**
 * Measures operations one by one, in batches. For each batch it prints the median, under a name, and the 99th percentile, under the name
 * with {@code -p99}.
 */
final class Batches {
    private static final int COUNT = 20;
    private static final int FEW = 5;
    /** Of operations that take longer than that, in ns, there are few batches. */
    private static final long SLOW = 50_000_000;
    /** With less time than that, in seconds, one only wants to see that it works: with little data, once. */
    private static final double QUICK = 0.1;
    private static final int QUICK_COUNT = 1;
    /** Until the JIT compiler has done with what the first operation needs, and with what others need. */
    private static final double FIRST_WARM_UP_SECONDS = 4;
    private static final double WARM_UP_SECONDS = 1.5;
    private static final double TICKS = 100; // of the kernel's clock in /proc, in a second
    private static final double GIB = 1L << 30;

    private final double seconds;
    /** Whose CPU time counts. */
    private final List<String> processes;
    private double warmUp = FIRST_WARM_UP_SECONDS;

    Batches(double seconds, List<String> processes) {
        this.seconds = seconds;
        this.processes = processes;
    }

    /** What is measured. */
    interface Operation {
        /** So many will follow. */
        default void begin(int count) throws Exception {}

        /** Does it once, and returns how long it took, in ns. */
        long once() throws Exception;
    }

    /** An operation that is timed from its begin to its end. */
    interface Timed extends Operation {
        void run() throws Exception;

        @Override
        default long once() throws Exception {
            long start = System.nanoTime();
            run();
            return System.nanoTime() - start;
        }
    }

    boolean isQuick() {
        return seconds < QUICK;
    }

    void measure(String name, Operation operation) throws Exception {
        measure(name, 0, operation);
    }

    /** Of an operation that moves so many bytes, it also prints the CPU seconds for a GiB, under the name with {@code -cpu}. */
    void measure(String name, long bytes, Operation operation) throws Exception {
        double goal = seconds * 1e9 / COUNT;
        long end = System.nanoTime() + (long) (1e9 * (isQuick() ? seconds : Math.max(seconds, warmUp)));
        warmUp = WARM_UP_SECONDS;
        int count = 1;
        while (true) {
            double took = batch(operation, count).sum();
            if (took >= goal && System.nanoTime() >= end) {
                break;
            }
            count = (int) Math.max(1, Math.min(count * 4.0, count * goal * 1.1 / Math.max(took, 1)));
        }
        int batches = isQuick() ? QUICK_COUNT : COUNT;
        double cpu = cpu();
        long done = 0;
        for (int i = 0; i < batches; i++) {
            Batch batch = batch(operation, count);
            Samples.print(name, batch.at(0.5));
            Samples.print(name + "-p99", batch.at(0.99));
            done += count;
            if (batch.at(0.5) > SLOW) {
                batches = Math.min(batches, FEW);
            }
        }
        if (bytes > 0) {
            Samples.print(name + "-cpu", (cpu() - cpu) / (done * bytes / GIB));
        }
    }

    /** Sorted times, in ns. */
    private record Batch(long[] times) {
        long sum() {
            return Arrays.stream(times).sum();
        }

        long at(double rank) {
            return times[(int) (times.length * rank)];
        }
    }

    private static Batch batch(Operation operation, int count) throws Exception {
        long[] times = new long[count];
        operation.begin(count);
        for (int i = 0; i < count; i++) {
            times[i] = operation.once();
        }
        Arrays.sort(times);
        return new Batch(times);
    }

    /** The CPU time of all the processes, in seconds. */
    private double cpu() throws IOException {
        double ticks = 0;
        for (String pid : processes) {
            String stat = Files.readString(Path.of("/proc", pid, "stat"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            ticks += Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
        }
        return ticks / TICKS;
    }
}
