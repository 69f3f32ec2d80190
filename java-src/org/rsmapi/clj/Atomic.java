package org.rsmapi.clj;

import org.rsmapi.ImportSegment;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.SegmentMemory;

/** Atomic access of Clojure code, to a memory or to an import segment. */
public final class Atomic {
    private Atomic() {}

    /** The memory or import segment itself; BAD_SEG_HNDL for anything else. */
    public static Object target(Object memory, String op) {
        if (memory instanceof SegmentMemory || memory instanceof ImportSegment) {
            return memory;
        }
        throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "memory").with("memory", memory)
            .hint("give a mapping, an export segment, local memory or an import segment");
    }

    /** Of what {@link #target} returned. */
    public static boolean compareAndSetInt(Object target, long offset, int expected, int value) {
        return target instanceof SegmentMemory ? ((SegmentMemory) target).compareAndSetInt(offset, expected, value)
            : ((ImportSegment) target).compareAndSetInt(offset, expected, value);
    }

    /** Of what {@link #target} returned. */
    public static boolean compareAndSetLong(Object target, long offset, long expected, long value) {
        return target instanceof SegmentMemory ? ((SegmentMemory) target).compareAndSetLong(offset, expected, value)
            : ((ImportSegment) target).compareAndSetLong(offset, expected, value);
    }

    /** Of what {@link #target} returned. */
    public static int getAndAddInt(Object target, long offset, int delta) {
        return target instanceof SegmentMemory ? ((SegmentMemory) target).getAndAddInt(offset, delta)
            : ((ImportSegment) target).getAndAddInt(offset, delta);
    }

    /** Of what {@link #target} returned. */
    public static long getAndAddLong(Object target, long offset, long delta) {
        return target instanceof SegmentMemory ? ((SegmentMemory) target).getAndAddLong(offset, delta)
            : ((ImportSegment) target).getAndAddLong(offset, delta);
    }
}
