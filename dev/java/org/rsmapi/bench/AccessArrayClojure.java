package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;

/** Java arrays on the heap, from Clojure: the loops are those of rsmapi.bench.loops. */
public class AccessArrayClojure extends Access {
    private final long[] longArray = new long[COUNT];
    private final int[] intArray = new int[COUNT];
    private final byte[] byteArray = new byte[COUNT];
    private IFn.OOL getLong;
    private IFn.OOL getInt;
    private IFn.OOL getByte;
    private IFn.OOL putLong;
    private IFn.OOL putInt;
    private IFn.OOL putByte;

    @Setup
    public void open() {
        getLong = Loops.function("array-get-longs", IFn.OOL.class);
        getInt = Loops.function("array-get-ints", IFn.OOL.class);
        getByte = Loops.function("array-get-bytes", IFn.OOL.class);
        putLong = Loops.function("array-put-longs", IFn.OOL.class);
        putInt = Loops.function("array-put-ints", IFn.OOL.class);
        putByte = Loops.function("array-put-bytes", IFn.OOL.class);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        return getLong.invokePrim(longArray, bytes);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long putLong() {
        return putLong.invokePrim(longArray, bytes);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        return getInt.invokePrim(intArray, bytes);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long putInt() {
        return putInt.invokePrim(intArray, bytes);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        return getByte.invokePrim(byteArray, bytes);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long putByte() {
        return putByte.invokePrim(byteArray, bytes);
    }
}
