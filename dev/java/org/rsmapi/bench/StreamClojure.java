package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Clojure: the loops are those of rsmapi.bench.loops. */
public class StreamClojure extends Stream {
    private Shared shared;
    private Mapping mapping;
    private IFn.OLL sum;
    private IFn.OLL column;
    private IFn.OLL fill;

    @Setup
    public void open() {
        shared = new Shared(size);
        mapping = shared.mapped();
        sum = Loops.function("sum", IFn.OLL.class);
        column = Loops.function("column", IFn.OLL.class);
        fill = Loops.function("fill", IFn.OLL.class);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public long sum() {
        return sum.invokePrim(mapping, size);
    }

    @Benchmark
    public long column() {
        return column.invokePrim(mapping, size);
    }

    @Benchmark
    public long fill() {
        return fill.invokePrim(mapping, size);
    }
}
