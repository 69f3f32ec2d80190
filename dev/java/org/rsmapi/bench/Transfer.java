package org.rsmapi.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** Moving a byte array to and from an import segment that has a barrier and is mapped, so that no call has to map it. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public abstract class Transfer {
    /** Bytes that one call moves. */
    @Param({"8", "64", "4096", "65536", "1048576"})
    public int size;

    Shared shared;
    Mapping mapping;
    byte[] array;

    /** Makes the segment and the array. */
    @Setup
    public void open() {
        shared = new Shared(size);
        shared.segment.initBarrier();
        mapping = shared.mapped();
        array = new byte[size];
    }

    /** Ends the segment. */
    @TearDown
    public void close() {
        shared.close();
    }
}
