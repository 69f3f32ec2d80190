package org.rsmapi.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** MemorySegment.copy. */
public class CopyForeign extends Copy {
    private Shared shared;
    private Arena arena;
    private MemorySegment segment;

    @Setup
    public void open() throws IOException {
        shared = new Shared(2L * size);
        arena = Arena.ofShared();
        segment = shared.channel().map(FileChannel.MapMode.READ_WRITE, 0, 2L * size, arena).fill((byte) 0);
    }

    @TearDown
    public void close() {
        arena.close();
        shared.close();
    }

    @Benchmark
    public byte[] toArray() {
        MemorySegment.copy(segment, ValueLayout.JAVA_BYTE, 0, array, 0, size);
        return array;
    }

    @Benchmark
    public void fromArray() {
        MemorySegment.copy(array, 0, segment, ValueLayout.JAVA_BYTE, 0, size);
    }

    @Benchmark
    public void within() {
        MemorySegment.copy(segment, 0, segment, size, size);
    }
}
