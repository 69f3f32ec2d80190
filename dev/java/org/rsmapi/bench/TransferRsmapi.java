package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;

/** The library, from Java. */
public class TransferRsmapi extends Transfer {
    @Benchmark
    public void put() {
        shared.segment.put(0, array, 0, size);
    }

    @Benchmark
    public byte[] get() {
        shared.segment.get(0, array, 0, size);
        return array;
    }
}
