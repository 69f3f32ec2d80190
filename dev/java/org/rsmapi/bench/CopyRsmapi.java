package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Java. */
public class CopyRsmapi extends Copy {
    private Shared shared;
    private Mapping mapping;

    @Setup
    public void open() {
        shared = new Shared(2L * size);
        mapping = shared.mapped();
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public byte[] toArray() {
        mapping.getBytes(0, array, 0, size);
        return array;
    }

    @Benchmark
    public void fromArray() {
        mapping.putBytes(0, array, 0, size);
    }

    @Benchmark
    public void within() {
        mapping.copyTo(0, mapping, size, size);
    }
}
