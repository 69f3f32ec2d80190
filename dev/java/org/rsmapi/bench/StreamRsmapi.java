package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.rsmapi.Mapping;

/** The library, from Java. */
public class StreamRsmapi extends StreamLoops {
    private Mapping memory;

    @Override
    void open(Shared shared) {
        memory = shared.mapped();
    }

    @Override
    long getLongAt(int at) {
        return memory.getLong(at);
    }

    @Override
    int getIntAt(int at) {
        return memory.getInt(at);
    }

    @Benchmark
    public void fill() {
        memory.fill(0, size, (byte) 1);
    }
}
