package org.rsmapi.bench;

import java.io.IOException;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** The loops over shared memory that are measured from Java. A side says how it reads, as in {@link AccessLoops}. */
public abstract class StreamLoops extends Stream {
    private Shared shared;

    /** Gets the memory ready. */
    abstract void open(Shared memory) throws IOException;

    abstract long getLongAt(int at);

    abstract int getIntAt(int at);

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
    public long sum() {
        int end = size;
        long sum = 0;
        for (int at = 0; at < end; at += Long.BYTES) {
            sum += getLongAt(at);
        }
        return sum;
    }

    @Benchmark
    public long column() {
        int end = size;
        long sum = 0;
        for (int at = FIELD; at < end; at += RECORD) {
            sum += getIntAt(at);
        }
        return sum;
    }
}
