package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Java. */
public class AccessRsmapi extends Access {
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
        Mapping memory = mapping;
        int[] offsets = longs;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.getLong(offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putLong() {
        Mapping memory = mapping;
        int[] offsets = longs;
        for (int i = 0; i < offsets.length; i++) {
            memory.putLong(offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        Mapping memory = mapping;
        int[] offsets = ints;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.getInt(offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putInt() {
        Mapping memory = mapping;
        int[] offsets = ints;
        for (int i = 0; i < offsets.length; i++) {
            memory.putInt(offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        Mapping memory = mapping;
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.getByte(offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putByte() {
        Mapping memory = mapping;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory.putByte(offsets[i], (byte) i);
        }
    }
}
