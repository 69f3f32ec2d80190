package org.rsmapi.mem;

import static org.rsmapi.mem.Engine.ENGINE;

/** Where two ranges of memory differ. */
public final class Differences {
    private static final int UNROLLED = 4 * Long.BYTES;

    private Differences() {}

    /**
     * The offset, from one on, of the next 8 bytes that are not the same in both ranges, or {@code length} if there are none. Offsets
     * and the length are multiples of 8.
     */
    public static long next(long a, long b, long from, long length) {
        long i = from;
        for (; i <= length - UNROLLED; i += UNROLLED) {
            long difference = different(a, b, i) | different(a, b, i + 8) | different(a, b, i + 16) | different(a, b, i + 24);
            if (difference != 0) {
                break;
            }
        }
        while (i < length && different(a, b, i) == 0) {
            i += Long.BYTES;
        }
        return Math.min(i, length);
    }

    private static long different(long a, long b, long i) {
        return ENGINE.getLong(a + i) ^ ENGINE.getLong(b + i);
    }
}
