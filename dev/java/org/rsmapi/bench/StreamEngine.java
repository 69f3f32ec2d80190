package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;
import org.rsmapi.mem.Engine;

/** The library's memory engine alone, at absolute addresses: nothing is checked. */
public class StreamEngine extends Stream {
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
        long base = mapping.address();
        long sum = 0;
        for (int at = 0; at < size; at += Long.BYTES) {
            sum += Engine.ENGINE.getLong(base + at);
        }
        return sum;
    }

    @Benchmark
    public long column() {
        long base = mapping.address();
        long sum = 0;
        for (int at = FIELD; at < size; at += RECORD) {
            sum += Engine.ENGINE.getInt(base + at);
        }
        return sum;
    }

    @Benchmark
    public void fill() {
        Engine.ENGINE.fill(mapping.address(), size, (byte) 1);
    }
}
