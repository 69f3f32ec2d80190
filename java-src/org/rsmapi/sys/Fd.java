package org.rsmapi.sys;

import com.sun.jna.Native;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A file descriptor that this process owns: closed once, and unusable afterwards.
 *
 * <p>The number is handed out by {@link #number()} only while the descriptor is open; whoever may race with a close holds the
 * lock of the object that owns it, because the kernel gives the same number to the next file.
 */
public final class Fd implements AutoCloseable {
    private static final int CLOSED = -1;
    private static final int RLIMIT_NOFILE = 7;
    private static final int RLIMIT_BYTES = 16;

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
        try (Scratch block = new Scratch(RLIMIT_BYTES)) {
            check(Libc.getrlimit(RLIMIT_NOFILE, block.address()), "getrlimit");
            long limit = block.getLong(0);
            return limit < 0 ? Long.MAX_VALUE : limit;
        }
    }

    @Override
    public String toString() {
        int n = number.get();
        return n == CLOSED ? "fd closed" : "fd " + n;
    }

    static Fd of(int result, String call) {
        check(result, call);
        try {
            return new Fd(result);
        } catch (Error e) { // for want of memory: then the descriptor has no owner
            Libc.close(result);
            throw e;
        }
    }

    /** The result of a call that answers -1 when it fails; errno is read before anything else can change it. */
    static int check(int result, String call) {
        if (result == -1) {
            throw new OsError(call, Native.getLastError());
        }
        return result;
    }

    static long check(long result, String call) {
        if (result == -1L) {
            throw new OsError(call, Native.getLastError());
        }
        return result;
    }
}
