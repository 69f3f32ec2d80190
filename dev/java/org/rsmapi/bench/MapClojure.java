package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** The library, from Clojure. */
public class MapClojure extends Map {
    private Shared shared;
    private IFn mapUnmap;

    @Setup
    public void open() {
        shared = new Shared(size);
        mapUnmap = Loops.function("map-unmap", IFn.class);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public Object mapUnmap() {
        return mapUnmap.invoke(shared.segment, size, touch);
    }
}
