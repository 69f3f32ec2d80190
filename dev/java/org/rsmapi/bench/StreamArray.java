package org.rsmapi.bench;

import java.util.Arrays;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;

/** Java arrays on the heap. */
public class StreamArray extends Stream {
    private long[] longs;
    private int[] ints;

    @Setup
    public void make() {
        longs = new long[size / Long.BYTES];
        ints = new int[size / Integer.BYTES];
    }

    @Benchmark
    public long sum() {
        long[] memory = longs;
        long sum = 0;
        for (int i = 0; i < memory.length; i++) {
            sum += memory[i];
        }
        return sum;
    }

    @Benchmark
    public long column() {
        int[] memory = ints;
        long sum = 0;
        for (int i = FIELD / Integer.BYTES; i < memory.length; i += RECORD / Integer.BYTES) {
            sum += memory[i];
        }
        return sum;
    }

    @Benchmark
    public void fill() {
        Arrays.fill(longs, 0x0101010101010101L);
    }
}
