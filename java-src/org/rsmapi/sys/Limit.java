package org.rsmapi.sys;

/** Limits of this process (getrlimit(2)). */
final class Limit {
    private static final int RLIMIT_NOFILE = 7;
    private static final int RLIMIT_AS = 9;
    private static final int BYTES = 16;

    private Limit() {}

    /** How many descriptors it may have. */
    static long descriptors() {
        return of(RLIMIT_NOFILE);
    }

    /** How many bytes of addresses it may have. */
    static long addresses() {
        return of(RLIMIT_AS);
    }

    private static long of(int resource) {
        try (NativeBlock block = new NativeBlock(BYTES)) {
            long limit = Libc.getrlimit(resource, block.address()) == 0 ? block.getLong(0) : -1;
            return limit < 0 ? Long.MAX_VALUE : limit;
        }
    }
}
