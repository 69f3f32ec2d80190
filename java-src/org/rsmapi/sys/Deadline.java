package org.rsmapi.sys;

import java.time.Duration;

/** Deadlines on the clock of {@link System#nanoTime()}. */
public final class Deadline {
    /** As far ahead as a deadline can be: 73 years. */
    private static final long FARTHEST = Long.MAX_VALUE / 4;

    private Deadline() {}

    /** The deadline after so much time from now; null or a negative time means as late as possible. */
    public static long after(Duration time) {
        return after(time, System.nanoTime());
    }

    /** The same on another clock, by which it is {@code now}. */
    public static long after(Duration time, long now) {
        boolean never = time == null || time.isNegative() || time.getSeconds() >= FARTHEST / 1_000_000_000;
        return now + (never ? FARTHEST : time.toNanos());
    }

    /** Whether it has passed. */
    public static boolean hasPassed(long deadline) {
        return deadline - System.nanoTime() <= 0;
    }
}
