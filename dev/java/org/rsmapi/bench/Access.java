package org.rsmapi.bench;

import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/**
 * Single reads and writes. Every side does as many, at offsets that come from an array, so that no compiler can see where the next
 * one goes, merge two of them or move several at once. Memory and offsets fit the first level cache.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public abstract class Access {
    /** Accesses in one call of a benchmark method. */
    public static final int COUNT = 1024;
    /** What the widest type needs. */
    static final int BYTES = COUNT * Long.BYTES;

    /** Whether the offsets rise, or jump. Each comes once. */
    @Param({"random", "sequential"})
    public String order;

    /** Offsets of bytes; for a Java array, the indices of whatever it is of. */
    int[] bytes;
    /** Offsets of ints. */
    int[] ints;
    /** Offsets of longs. */
    int[] longs;

    /** Fills in the offsets. */
    @Setup
    public void chooseOffsets() {
        bytes = new int[COUNT];
        for (int i = 0; i < COUNT; i++) {
            bytes[i] = i;
        }
        if (order.equals("random")) {
            Random random = new Random(42);
            for (int i = COUNT - 1; i > 0; i--) {
                int j = random.nextInt(i + 1);
                int swap = bytes[i];
                bytes[i] = bytes[j];
                bytes[j] = swap;
            }
        }
        ints = scaled(Integer.BYTES);
        longs = scaled(Long.BYTES);
    }

    private int[] scaled(int size) {
        int[] offsets = bytes.clone();
        for (int i = 0; i < COUNT; i++) {
            offsets[i] *= size;
        }
        return offsets;
    }
}
