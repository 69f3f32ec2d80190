package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Java. */
public class StreamRsmapi extends Stream {
    private Shared shared;
    private Mapping mapping;

    @Setup
    public void open() {
        shared = new Shared(size);
        mapping = shared.mapped();
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public long sum() {
        Mapping memory = mapping;
        long sum = 0;
        for (int at = 0; at < size; at += Long.BYTES) {
            sum += memory.getLong(at);
        }
        return sum;
    }

    @Benchmark
    public long column() {
        Mapping memory = mapping;
        long sum = 0;
        for (int at = FIELD; at < size; at += RECORD) {
            sum += memory.getInt(at);
        }
        return sum;
    }

    @Benchmark
    public void fill() {
        mapping.fill(0, size, (byte) 1);
    }
}
