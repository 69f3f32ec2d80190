package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;

/** A Java array of that type, on the heap. */
public class AccessArray extends Access {
    private long[] longArray;
    private int[] intArray;
    private byte[] byteArray;

    @Setup
    public void make() {
        longArray = new long[COUNT];
        intArray = new int[COUNT];
        byteArray = new byte[COUNT];
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        long[] memory = longArray;
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory[offsets[i]];
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putLong() {
        long[] memory = longArray;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory[offsets[i]] = i;
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        int[] memory = intArray;
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory[offsets[i]];
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putInt() {
        int[] memory = intArray;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory[offsets[i]] = i;
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        byte[] memory = byteArray;
        int[] offsets = bytes;
        long sum = 0;
        for (int i = 0; i < offsets.length; i++) {
            sum += memory[offsets[i]];
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putByte() {
        byte[] memory = byteArray;
        int[] offsets = bytes;
        for (int i = 0; i < offsets.length; i++) {
            memory[offsets[i]] = (byte) i;
        }
    }
}
