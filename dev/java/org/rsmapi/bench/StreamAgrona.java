package org.rsmapi.bench;

import org.agrona.concurrent.UnsafeBuffer;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Agrona's UnsafeBuffer, with its bounds checks. */
public class StreamAgrona extends Stream {
    private Shared shared;
    private UnsafeBuffer buffer;

    @Setup
    public void open() {
        shared = new Shared(size);
        buffer = new UnsafeBuffer(shared.buffer(size));
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public long sum() {
        UnsafeBuffer memory = buffer;
        long sum = 0;
        for (int at = 0; at < size; at += Long.BYTES) {
            sum += memory.getLong(at);
        }
        return sum;
    }

    @Benchmark
    public long column() {
        UnsafeBuffer memory = buffer;
        long sum = 0;
        for (int at = FIELD; at < size; at += RECORD) {
            sum += memory.getInt(at);
        }
        return sum;
    }

    @Benchmark
    public void fill() {
        buffer.setMemory(0, size, (byte) 1);
    }
}
