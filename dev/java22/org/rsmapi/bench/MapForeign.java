package org.rsmapi.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** FileChannel.map with an arena of this thread, which is the cheapest to close. */
public class MapForeign extends Map {
    private Shared shared;

    @Setup
    public void open() {
        shared = new Shared(size);
        shared.channel();
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public void mapUnmap() throws IOException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment mapping = shared.channel().map(FileChannel.MapMode.READ_WRITE, 0, size, arena);
            if (touch) {
                for (long at = 0; at < size; at += PAGE) {
                    mapping.set(ValueLayout.JAVA_BYTE, at, (byte) 1);
                }
            }
        }
    }
}
