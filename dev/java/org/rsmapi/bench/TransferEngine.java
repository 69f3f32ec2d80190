package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.rsmapi.mem.Engine;

/** The copy alone. */
public class TransferEngine extends Transfer {
    @Benchmark
    public void put() {
        Engine.ENGINE.copyFromArray(array, 0, mapping.address(), size);
    }

    @Benchmark
    public byte[] get() {
        Engine.ENGINE.copyToArray(mapping.address(), array, 0, size);
        return array;
    }
}
