package org.rsmapi.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** A MemorySegment of a shared arena: like a mapping, it can be closed by any thread. */
public class StreamForeign extends Stream {
    private Shared shared;
    private Arena arena;
    private MemorySegment segment;

    @Setup
    public void open() throws IOException {
        shared = new Shared(size);
        arena = Arena.ofShared();
        segment = shared.channel().map(FileChannel.MapMode.READ_WRITE, 0, size, arena).fill((byte) 0);
    }

    @TearDown
    public void close() {
        arena.close();
        shared.close();
    }

    @Benchmark
    public long sum() {
        MemorySegment memory = segment;
        long sum = 0;
        for (int at = 0; at < size; at += Long.BYTES) {
            sum += memory.get(ValueLayout.JAVA_LONG_UNALIGNED, at);
        }
        return sum;
    }

    @Benchmark
    public long column() {
        MemorySegment memory = segment;
        long sum = 0;
        for (int at = FIELD; at < size; at += RECORD) {
            sum += memory.get(ValueLayout.JAVA_INT_UNALIGNED, at);
        }
        return sum;
    }

    @Benchmark
    public void fill() {
        segment.fill((byte) 1);
    }
}
