package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Clojure: the calls are those of rsmapi.bench.loops. */
public class CopyClojure extends Copy {
    private Shared shared;
    private Mapping mapping;
    private IFn.OOLO toArray;
    private IFn.OOLO fromArray;
    private IFn.OLO within;

    @Setup
    public void open() {
        shared = new Shared(2L * size);
        mapping = shared.mapped();
        toArray = Loops.function("copy-out", IFn.OOLO.class);
        fromArray = Loops.function("copy-in", IFn.OOLO.class);
        within = Loops.function("copy-within", IFn.OLO.class);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public Object toArray() {
        return toArray.invokePrim(mapping, array, size);
    }

    @Benchmark
    public Object fromArray() {
        return fromArray.invokePrim(mapping, array, size);
    }

    @Benchmark
    public Object within() {
        return within.invokePrim(mapping, size);
    }
}
