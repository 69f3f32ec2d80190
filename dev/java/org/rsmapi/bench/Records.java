package org.rsmapi.bench;

import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/** An array of structures, each with a sequence number, a price and others: reads of one price, and the sum of all. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public abstract class Records {
    /** Bytes from one record to the next. */
    static final int RECORD = 32;
    /** Where in a record the price is. */
    static final int PRICE = 8;
    /** Prices that one call of a benchmark method reads. */
    public static final int COUNT = 256;

    /** Bytes in all. */
    @Param("8192")
    public int size;

    /** The records that are read, in an order that cannot be foreseen. */
    int[] indices;

    @Setup
    public void chooseRecords() {
        indices = new Random(42).ints(COUNT, 0, size / RECORD).toArray();
    }
}
