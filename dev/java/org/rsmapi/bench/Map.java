package org.rsmapi.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/**
 * Mapping shared memory and unmapping it again. The memory is allocated before; what a touch costs is the page table's entry, one
 * written byte for every page.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public abstract class Map {
    static final int PAGE = 4096;

    /** Bytes that are mapped. */
    @Param({"4096", "2097152", "1073741824"})
    public long size;

    /** Whether every page is written to. */
    @Param({"false", "true"})
    public boolean touch;
}
