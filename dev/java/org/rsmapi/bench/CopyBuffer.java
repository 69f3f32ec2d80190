package org.rsmapi.bench;

import java.nio.ByteBuffer;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** A direct ByteBuffer, by absolute positions. */
public class CopyBuffer extends Copy {
    private Shared shared;
    private ByteBuffer buffer;

    @Setup
    public void open() {
        shared = new Shared(2L * size);
        buffer = shared.buffer(2L * size);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public byte[] toArray() {
        buffer.get(0, array, 0, size);
        return array;
    }

    @Benchmark
    public void fromArray() {
        buffer.put(0, array, 0, size);
    }

    @Benchmark
    public void within() {
        buffer.put(size, buffer, 0, size);
    }
}
