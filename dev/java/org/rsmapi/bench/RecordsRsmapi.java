package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.rsmapi.Mapping;
import org.rsmapi.Strided;

/** The library, from Java. */
public class RecordsRsmapi extends RecordLoops {
    private Mapping memory;

    @Override
    void open(Shared shared) {
        memory = shared.mapped();
    }

    @Override
    double getDoubleAt(int at) {
        return memory.getDouble(at);
    }

    @Benchmark
    public double strided() {
        return Strided.sumDoubles(memory, PRICE, RECORD, size / RECORD, 0);
    }
}
