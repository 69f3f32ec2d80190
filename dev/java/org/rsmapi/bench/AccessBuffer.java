package org.rsmapi.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** A direct ByteBuffer. */
public class AccessBuffer extends Access {
    private Shared shared;
    private ByteBuffer buffer;

    @Setup
    public void open() {
        shared = new Shared(BYTES);
        buffer = shared.buffer(BYTES).order(ByteOrder.nativeOrder());
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        ByteBuffer memory = buffer;
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
        ByteBuffer memory = buffer;
        int[] offsets = longs;
        for (int i = 0; i < offsets.length; i++) {
            memory.putLong(offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        ByteBuffer memory = buffer;
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
        ByteBuffer memory = buffer;
        int[] offsets = ints;
        for (int i = 0; i < offsets.length; i++) {
            memory.putInt(offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        ByteBuffer memory = buffer;
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.get(offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putByte() {
        ByteBuffer memory = buffer;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory.put(offsets[i], (byte) i);
        }
    }
}
