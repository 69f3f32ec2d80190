package org.rsmapi.bench;

import org.agrona.concurrent.UnsafeBuffer;
import org.openjdk.jmh.annotations.Benchmark;

/** Agrona's UnsafeBuffer, with its bounds checks. */
public class StreamAgrona extends StreamLoops {
    private UnsafeBuffer memory;

    @Override
    void open(Shared shared) {
        memory = new UnsafeBuffer(shared.buffer(size));
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
        memory.setMemory(0, size, (byte) 1);
    }
}
