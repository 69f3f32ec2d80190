package org.rsmapi.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/** Copies from shared memory into a byte array, from the array into shared memory, and from one half of the memory to the other. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public abstract class Copy {
    /** Bytes that one call copies. */
    @Param({"64", "4096", "65536", "1048576", "67108864"})
    public int size;

    byte[] array;

    /** Makes the array, with every page of it touched. */
    @Setup
    public void makeArray() {
        array = new byte[size];
    }
}
