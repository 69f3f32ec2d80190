package org.rsmapi.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** A direct ByteBuffer, which has no call to fill it. */
public class StreamBuffer extends Stream {
    private Shared shared;
    private ByteBuffer buffer;

    @Setup
    public void open() {
        shared = new Shared(size);
        buffer = shared.buffer(size).order(ByteOrder.nativeOrder());
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public long sum() {
        ByteBuffer memory = buffer;
        long sum = 0;
        for (int at = 0; at < size; at += Long.BYTES) {
            sum += memory.getLong(at);
        }
        return sum;
    }

    @Benchmark
    public long column() {
        ByteBuffer memory = buffer;
        long sum = 0;
        for (int at = FIELD; at < size; at += RECORD) {
            sum += memory.getInt(at);
        }
        return sum;
    }
}
