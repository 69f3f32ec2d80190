package org.rsmapi.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** A MemorySegment of a shared arena: like a mapping, it can be closed by any thread. */
public class AccessForeign extends Access {
    private Shared shared;
    private Arena arena;
    private MemorySegment segment;

    @Setup
    public void open() throws IOException {
        shared = new Shared(BYTES);
        arena = Arena.ofShared();
        segment = shared.channel().map(FileChannel.MapMode.READ_WRITE, 0, BYTES, arena).fill((byte) 0);
    }

    @TearDown
    public void close() {
        arena.close();
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        MemorySegment memory = segment;
        int[] offsets = longs;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.get(ValueLayout.JAVA_LONG_UNALIGNED, offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putLong() {
        MemorySegment memory = segment;
        int[] offsets = longs;
        for (int i = 0; i < offsets.length; i++) {
            memory.set(ValueLayout.JAVA_LONG_UNALIGNED, offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        MemorySegment memory = segment;
        int[] offsets = ints;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.get(ValueLayout.JAVA_INT_UNALIGNED, offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putInt() {
        MemorySegment memory = segment;
        int[] offsets = ints;
        for (int i = 0; i < offsets.length; i++) {
            memory.set(ValueLayout.JAVA_INT_UNALIGNED, offsets[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        MemorySegment memory = segment;
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory.get(ValueLayout.JAVA_BYTE, offsets[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putByte() {
        MemorySegment memory = segment;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory.set(ValueLayout.JAVA_BYTE, offsets[i], (byte) i);
        }
    }
}
