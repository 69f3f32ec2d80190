package org.rsmapi.sys;

import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The system calls that are made all the time. JNA needs up to half a microsecond for one, as much as the kernel. From JDK 22 on
 * {@code java.lang.foreign} is there too, which needs next to nothing for a call, but a tenth of a second to get ready: a process that
 * makes many calls gets that, in a thread of its own, while it goes on with JNA.
 *
 * <p>Either way the result is that of the C library, and errno is {@link com.sun.jna.Native#getLastError()}.
 */
final class Calls {
    private static final int MANY = 10_000;
    private static final int FIRST_RELEASE = 22;

    /** Calls until now, approximately, because threads count without a lock. Negative where there is nothing to change to. */
    private static int made = Runtime.version().feature() < FIRST_RELEASE ? Integer.MIN_VALUE : 0;
    private static final AtomicBoolean LINKING = new AtomicBoolean();
    private static volatile boolean linked;

    private Calls() {}

    static long mmap(long address, long length, int prot, int flags, int fd, long offset) {
        return fast() ? ForeignCalls.mmap(address, length, prot, flags, fd, offset)
            : Libc.mmap(address, length, prot, flags, fd, offset);
    }

    static int munmap(long address, long length) {
        return fast() ? ForeignCalls.munmap(address, length) : Libc.munmap(address, length);
    }

    static int poll(long fds, long count, int timeoutMillis) {
        return fast() ? ForeignCalls.poll(fds, count, timeoutMillis) : Libc.poll(fds, count, timeoutMillis);
    }

    static long write(int fd, long buffer, long length) {
        return fast() ? ForeignCalls.write(fd, buffer, length) : Libc.write(fd, buffer, length);
    }

    /** For calls that not every C library has a function for; the numbers depend on the processor. */
    static long syscall(long number, long a, long b, long c, long d, long e, long f) {
        return fast() ? ForeignCalls.syscall(number, a, b, c, d, e, f) : Libc.syscall(number, a, b, c, d, e, f);
    }

    private static boolean fast() {
        if (linked) {
            return true;
        }
        if (made >= 0 && ++made >= MANY && LINKING.compareAndSet(false, true)) {
            made = Integer.MIN_VALUE;
            start();
        }
        return false;
    }

    private static void start() {
        try {
            Threads.start(Threads.daemon(Calls::link, "rsmapi-link"));
        } catch (OsError | OutOfMemoryError e) {
            return; // no more threads: the call that is due must not fail for that
        }
    }

    private static void link() {
        try {
            ForeignCalls.link();
            linked = true;
        } catch (LinkageError | OutOfMemoryError e) {
            return; // not permitted, or no memory for it: everything works without
        }
    }
}
