package org.rsmapi.bench;

import org.agrona.concurrent.UnsafeBuffer;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Agrona's UnsafeBuffer, with its bounds checks. */
public class CopyAgrona extends Copy {
    private Shared shared;
    private UnsafeBuffer buffer;

    @Setup
    public void open() {
        shared = new Shared(2L * size);
        buffer = new UnsafeBuffer(shared.buffer(2L * size));
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public byte[] toArray() {
        buffer.getBytes(0, array, 0, size);
        return array;
    }

    @Benchmark
    public void fromArray() {
        buffer.putBytes(0, array, 0, size);
    }

    @Benchmark
    public void within() {
        buffer.putBytes(size, buffer, 0, size);
    }
}
