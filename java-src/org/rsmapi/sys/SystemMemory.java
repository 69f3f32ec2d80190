package org.rsmapi.sys;

import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

/** How much memory the machine has, and how much of it this process could still get. */
public final class SystemMemory {
    private static final String MEMINFO = "/proc/meminfo";
    private static final long UNKNOWN = Long.MAX_VALUE;

    /** The part of what is allowed that is left to the JVM, and its bounds. */
    private static final long RESERVE_PART = 16;
    private static final long LEAST_RESERVE = 4L << 20;
    private static final long MOST_RESERVE = 64L << 20;
    private static final long HEAP_PART = 8;
    private static final long MOST_HEAP = 256L << 20;

    /** How much may be taken before the next look: a part of what was there at the last one, and its bounds. */
    private static final long STEP_PART = 16;
    private static final long LEAST_STEP = 2L << 20;
    private static final long MOST_STEP = 64L << 20;

    /** Bytes that may be taken before the next look. */
    private static final AtomicLong UNSEEN = new AtomicLong();

    private SystemMemory() {}

    /** Physical memory in bytes. */
    public static long total() {
        return bytes("MemTotal:", Proc.read(MEMINFO));
    }

    /** What can be had without a process being killed for it: the machine's available memory or what the control groups leave. */
    public static long available() {
        List<String> meminfo = Proc.read(MEMINFO);
        long free = bytes("MemAvailable:", meminfo);
        long swap = bytes("SwapFree:", meminfo);
        long machine = free == UNKNOWN ? UNKNOWN : free + (swap == UNKNOWN ? 0 : swap);
        ControlGroups.Memory groups = ControlGroups.memory();
        long reserve = reserve(Math.min(bytes("MemTotal:", meminfo), groups.limit()));
        long available = Math.min(machine, groups.available());
        return available == UNKNOWN ? UNKNOWN : Math.max(0, available - reserve);
    }

    /** What is left to the JVM: for what it may need outside of its heap, and a part of what its heap may still grow by. */
    private static long reserve(long limit) {
        Runtime jvm = Runtime.getRuntime();
        long heap = Math.max(0, jvm.maxMemory() - jvm.totalMemory());
        return Math.max(LEAST_RESERVE, Math.min(MOST_RESERVE, limit / RESERVE_PART)) + Math.min(heap, Math.min(MOST_HEAP, limit / HEAP_PART));
    }

    /**
     * Says that memory is about to be taken. The kernel would hand out page after page, and then end a process to get them back.
     * Many small amounts count together: what is there is looked up again after every few MiB.
     *
     * @throws OsError ENOMEM if there is not as much
     */
    static void take(long bytes, String call) {
        if (UNSEEN.addAndGet(-bytes) < 0) {
            look(bytes, call);
        }
    }

    private static synchronized void look(long bytes, String call) {
        if (UNSEEN.get() >= 0) {
            return; // another thread has looked
        }
        long available = available();
        if (bytes > available) {
            UNSEEN.set(-1);
            throw new OsError(call, Errno.ENOMEM);
        }
        UNSEEN.set(Math.min(available - bytes, Math.max(LEAST_STEP, Math.min(MOST_STEP, available / STEP_PART))));
    }

    private static long bytes(String key, List<String> meminfo) {
        long kilobytes = Proc.numberAfter(key, meminfo, UNKNOWN);
        return kilobytes > UNKNOWN / 1024 ? UNKNOWN : kilobytes * 1024;
    }
}
