package org.rsmapi.sys;

import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Keeps mappings and addresses for the JVM. A process that has as many mappings as the kernel allows cannot start a thread or enlarge
 * its heap, and the JVM ends where that happens. So the library takes no new ones when few are left.
 *
 * <p>To count the mappings takes the kernel and us milliseconds when there are many. Here the library counts what it can have added at
 * most, and looks again when that may have used up half of what was left at the last look.
 */
final class Space {
    private static final String MAPS = "/proc/self/maps";
    private static final long DEFAULT_MAPPINGS = 65_530;
    /** The reserve of mappings, and the part of the limit that it is where the limit is small. */
    private static final long RESERVE = 2048;
    private static final long RESERVE_PART = 8;
    /** The part of the addresses that is the reserve. */
    private static final long ADDRESSES_PART = 32;
    /** How many mappings, and bytes, may be added at least before the next look. */
    private static final long LEAST = 64;
    private static final long LEAST_BYTES = 1L << 26;
    private static final long USER_ADDRESSES = 1L << 47;

    private static final AtomicLong MAPPINGS = new AtomicLong();
    private static final AtomicLong BYTES = new AtomicLong();

    private Space() {}

    /**
     * Says that a call is about to add mappings.
     *
     * @param parts  how many at most
     * @throws OsError ENOMEM if only the reserve is left
     */
    static void take(int parts, long bytes, String call) {
        if (MAPPINGS.addAndGet(-parts) < 0 | BYTES.addAndGet(-bytes) < 0) {
            look(bytes, call);
        }
    }

    /** Says that a call that must not be refused may add mappings. */
    static void mayAdd(int parts) {
        MAPPINGS.addAndGet(-parts);
    }

    private static synchronized void look(long bytes, String call) {
        if (MAPPINGS.get() >= 0 && BYTES.get() >= 0) {
            return; // another thread has looked
        }
        long allowed = allowed();
        long count = count();
        long left = allowed - Math.min(RESERVE, allowed / RESERVE_PART) - count;
        if (count >= 0 && left <= 0) {
            throw new OsError(call, Errno.ENOMEM, OsError.Want.MAPPINGS);
        }
        long addresses = addresses();
        long taken = taken();
        long free = addresses - addresses / ADDRESSES_PART - taken;
        if (taken >= 0 && free < bytes) {
            throw new OsError(call, Errno.ENOMEM, OsError.Want.ADDRESSES);
        }
        MAPPINGS.set(Math.max(LEAST, left / 2));
        BYTES.set(Math.max(LEAST_BYTES, (free - bytes) / 2));
    }

    /** How many mappings there are; -1 if that cannot be found out. */
    static long count() {
        long lines = Proc.countLines(MAPS);
        return lines == 0 ? -1 : lines;
    }

    /** How many mappings the kernel allows. */
    static long allowed() {
        return Proc.numberIn("/proc/sys/vm/max_map_count", DEFAULT_MAPPINGS);
    }

    /** What an mmap lacked that failed with ENOMEM. */
    static OsError.Want lacking(long bytes) {
        if (count() >= allowed() - LEAST) {
            return OsError.Want.MAPPINGS;
        }
        return taken() > addresses() - bytes ? OsError.Want.ADDRESSES : OsError.Want.MEMORY;
    }

    private static long addresses() {
        return Math.min(USER_ADDRESSES, Limit.addresses());
    }

    private static long taken() {
        List<String> lines = Proc.read("/proc/self/statm");
        long pages = lines.isEmpty() ? -1 : Proc.number(lines.get(0), -1);
        return pages == -1 ? -1 : Math.min(Long.MAX_VALUE / Vm.pageSize(), pages) * Vm.pageSize();
    }
}
