package org.rsmapi.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/**
 * Passes over much memory: the sum of all its longs, the sum of one int of each record, and filling it with one byte. Every page has
 * been touched before.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public abstract class Stream {
    /** Bytes from one record to the next. */
    static final int RECORD = 64;
    /** Where in a record the int of the column is. */
    static final int FIELD = 16;

    /** Bytes in all. */
    @Param("67108864")
    public int size;
}
