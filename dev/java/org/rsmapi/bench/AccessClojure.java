package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Clojure: the loops are those of rsmapi.bench.loops. */
public class AccessClojure extends Access {
    private Shared shared;
    private Mapping mapping;
    private IFn.OOL getLong;
    private IFn.OOL getInt;
    private IFn.OOL getByte;
    private IFn.OOL putLong;
    private IFn.OOL putInt;
    private IFn.OOL putByte;

    @Setup
    public void open() {
        shared = new Shared(BYTES);
        mapping = shared.mapped();
        getLong = Loops.function("get-longs", IFn.OOL.class);
        getInt = Loops.function("get-ints", IFn.OOL.class);
        getByte = Loops.function("get-bytes", IFn.OOL.class);
        putLong = Loops.function("put-longs", IFn.OOL.class);
        putInt = Loops.function("put-ints", IFn.OOL.class);
        putByte = Loops.function("put-bytes", IFn.OOL.class);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        return getLong.invokePrim(mapping, longs);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long putLong() {
        return putLong.invokePrim(mapping, longs);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        return getInt.invokePrim(mapping, ints);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long putInt() {
        return putInt.invokePrim(mapping, ints);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        return getByte.invokePrim(mapping, bytes);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long putByte() {
        return putByte.invokePrim(mapping, bytes);
    }
}
