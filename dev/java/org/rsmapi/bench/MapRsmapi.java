package org.rsmapi.bench;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;
import org.rsmapi.Permission;

/** The library, from Java. */
public class MapRsmapi extends Map {
    private Shared shared;

    @Setup
    public void open() {
        shared = new Shared(size);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    public void mapUnmap() {
        Mapping mapping = shared.segment.map(Permission.RDWR, 0, size);
        if (touch) {
            for (long at = 0; at < size; at += PAGE) {
                mapping.putByte(at, (byte) 1);
            }
        }
        mapping.close();
    }
}
