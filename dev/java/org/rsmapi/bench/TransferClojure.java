package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;

/** The library, from Clojure. */
public class TransferClojure extends Transfer {
    private IFn put;
    private IFn get;

    @Setup
    public void load() {
        put = Loops.function("put-all", IFn.class);
        get = Loops.function("get-all", IFn.class);
    }

    @Benchmark
    public Object put() {
        return put.invoke(shared.segment, array);
    }

    @Benchmark
    public Object get() {
        return get.invoke(shared.segment, array);
    }
}
