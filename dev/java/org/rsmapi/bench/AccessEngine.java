package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;
import org.rsmapi.mem.Engine;

/** The library's memory engine alone, at absolute addresses: nothing is checked. */
public class AccessEngine extends Access {
    private Shared shared;
    private Mapping mapping;

    @Setup
    public void open() {
        shared = new Shared(BYTES);
        mapping = shared.mapped();
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        long base = mapping.address();
        int[] offsets = longs;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += Engine.ENGINE.getLong(base + offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putLong() {
        long base = mapping.address();
        int[] offsets = longs;
        for (int i = 0; i < offsets.length; i++) {
            Engine.ENGINE.putLong(base + offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        long base = mapping.address();
        int[] offsets = ints;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += Engine.ENGINE.getInt(base + offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putInt() {
        long base = mapping.address();
        int[] offsets = ints;
        for (int i = 0; i < offsets.length; i++) {
            Engine.ENGINE.putInt(base + offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        long base = mapping.address();
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += Engine.ENGINE.getByte(base + offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putByte() {
        long base = mapping.address();
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            Engine.ENGINE.putByte(base + offsets[i], (byte) i);
        }
    }
}
