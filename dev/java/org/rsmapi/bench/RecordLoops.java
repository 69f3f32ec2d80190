package org.rsmapi.bench;

import java.io.IOException;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** The loops over records that are measured from Java. A side says how it reads, as in {@link AccessLoops}. */
public abstract class RecordLoops extends Records {
    private Shared shared;

    /** Gets the memory ready. */
    abstract void open(Shared memory) throws IOException;

    abstract double getDoubleAt(int at);

    @Setup
    public final void open() throws IOException {
        shared = new Shared(size);
        open(shared);
    }

    @TearDown
    public final void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public double field() {
        int[] from = indices;
        double sum = 0;
        for (int i = 0; i < COUNT; i++) {
            sum += getDoubleAt(from[i] * RECORD + PRICE);
        }
        return sum;
    }

    @Benchmark
    public double sum() {
        int count = size / RECORD;
        double sum = 0;
        for (int i = 0; i < count; i++) {
            sum += getDoubleAt(i * RECORD + PRICE);
        }
        return sum;
    }
}
