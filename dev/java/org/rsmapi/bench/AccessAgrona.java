package org.rsmapi.bench;

import org.agrona.concurrent.UnsafeBuffer;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Agrona's UnsafeBuffer, with its bounds checks. */
public class AccessAgrona extends Access {
    private Shared shared;
    private UnsafeBuffer buffer;

    @Setup
    public void open() {
        shared = new Shared(BYTES);
        buffer = new UnsafeBuffer(shared.buffer(BYTES));
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        UnsafeBuffer memory = buffer;
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
        UnsafeBuffer memory = buffer;
        int[] offsets = longs;
        for (int i = 0; i < offsets.length; i++) {
            memory.putLong(offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        UnsafeBuffer memory = buffer;
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
        UnsafeBuffer memory = buffer;
        int[] offsets = ints;
        for (int i = 0; i < offsets.length; i++) {
            memory.putInt(offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        UnsafeBuffer memory = buffer;
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
        UnsafeBuffer memory = buffer;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory.putByte(offsets[i], (byte) i);
        }
    }
}
