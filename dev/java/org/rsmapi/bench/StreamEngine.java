package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.rsmapi.Mapping;
import org.rsmapi.mem.Engine;

/** The library's memory engine alone, at absolute addresses, without any check. */
public class StreamEngine extends StreamLoops {
    private Mapping mapping;
    private long base;

    @Override
    void open(Shared shared) {
        mapping = shared.mapped();
        base = mapping.address();
    }

    @Override
    long getLongAt(int at) {
        return Engine.ENGINE.getLong(base + at);
    }

    @Override
    int getIntAt(int at) {
        return Engine.ENGINE.getInt(base + at);
    }

    @Benchmark
    public void fill() {
        Engine.ENGINE.fill(base, size, (byte) 1);
    }
}
