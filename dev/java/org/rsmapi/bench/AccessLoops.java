package org.rsmapi.bench;

import java.io.IOException;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/**
 * The loops of the sides that are measured from Java. A side says how it makes one access; each JVM loads one side, so the compiler
 * inlines it.
 */
public abstract class AccessLoops extends Access {
    private Shared shared;

    /** Gets the memory ready. */
    abstract void open(Shared memory) throws IOException;

    abstract long getLongAt(int at);

    abstract void putLongAt(int at, long value);

    abstract int getIntAt(int at);

    abstract void putIntAt(int at, int value);

    abstract byte getByteAt(int at);

    abstract void putByteAt(int at, byte value);

    /** Where the accesses of a type go; for a Java array, which elements. */
    int[] places(int[] offsets) {
        return offsets;
    }

    @Setup
    public final void open() throws IOException {
        shared = new Shared(BYTES);
        open(shared);
    }

    @TearDown
    public final void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getLong() {
        int[] places = places(longs);
        long sum = 0;
        for (int i = 0; i < places.length; i++) {
            sum += getLongAt(places[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putLong() {
        int[] places = places(longs);
        for (int i = 0; i < places.length; i++) {
            putLongAt(places[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getInt() {
        int[] places = places(ints);
        long sum = 0;
        for (int i = 0; i < places.length; i++) {
            sum += getIntAt(places[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putInt() {
        int[] places = places(ints);
        for (int i = 0; i < places.length; i++) {
            putIntAt(places[i], i);
        }
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public long getByte() {
        int[] places = places(bytes);
        long sum = 0;
        for (int i = 0; i < places.length; i++) {
            sum += getByteAt(places[i]);
        }
        return sum;
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public void putByte() {
        int[] places = places(bytes);
        for (int i = 0; i < places.length; i++) {
            putByteAt(places[i], (byte) i);
        }
    }
}
