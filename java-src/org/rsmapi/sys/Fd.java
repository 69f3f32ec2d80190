package org.rsmapi.sys;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * A file descriptor that this process owns: closed once, and unusable afterwards.
 *
 * <p>The number is handed out by {@link #number()} only while the descriptor is open. A caller that may race with a close holds the
 * lock of the object that owns it, because the kernel reuses the number.
 */
public final class Fd implements AutoCloseable {
    private static final int CLOSED = -1;
    /** The descriptors that are left to the JVM, and the part of the limit that they are where the limit is small. */
    private static final long RESERVE = 64;
    private static final long RESERVE_PART = 8;

    /** The first number that is of the reserve, as far as that is known. */
    private static volatile long reserved;

    private final AtomicInteger number;

    Fd(int number) {
        this.number = new AtomicInteger(number);
    }

    /** The descriptor's number; fails with EBADF if it is closed. */
    public int number() {
        int n = number.get();
        if (n == CLOSED) {
            throw new OsError("use of a closed descriptor", Errno.EBADF);
        }
        return n;
    }

    /** Whether it is still open. */
    public boolean isOpen() {
        return number.get() != CLOSED;
    }

    /** Closes it; the second and later calls do nothing. */
    @Override
    public void close() {
        int n = number.getAndSet(CLOSED);
        if (n != CLOSED) {
            Libc.close(n);
        }
    }

    /** How many descriptors this process may have open at present ({@code RLIMIT_NOFILE}). */
    public static long limit() {
        return Limit.descriptors();
    }

    @Override
    public String toString() {
        int n = number.get();
        return n == CLOSED ? "fd closed" : "fd " + n;
    }

    /**
     * A new descriptor of the library's.
     *
     * @throws OsError EMFILE also if it is one of those that are left to the JVM, which needs some to load classes and open files.
     *     The kernel gives the lowest number that is free, so a number shows how many are in use at least
     */
    static Fd of(int result, String call) {
        int number = OsError.check(result, call);
        try {
            if (number < reserved || number < look()) {
                return new Fd(number);
            }
        } catch (RuntimeException | Error e) { // no memory: the descriptor has no owner
            Libc.close(number);
            throw e;
        }
        Libc.close(number);
        throw new OsError(call, Errno.EMFILE);
    }

    private static long look() {
        long limit = limit();
        long first = limit - Math.min(RESERVE, limit / RESERVE_PART);
        reserved = first;
        return first;
    }
}
