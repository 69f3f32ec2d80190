package org.rsmapi.sys;

import com.sun.jna.Native;

/** Waiting for many descriptors at once; each is known by a number that the caller chose. */
public final class Epoll implements AutoCloseable {
    private static final int EPOLL_CLOEXEC = 02000000;
    private static final int CTL_ADD = 1;
    private static final int CTL_DEL = 2;
    private static final int CTL_MOD = 3;
    private static final int EPOLLIN = 1;
    private static final int EPOLLRDHUP = 0x2000;
    private static final int EPOLLONESHOT = 1 << 30;
    private static final int CAPACITY = 64;
    // The kernel packs struct epoll_event on x86-64 only.
    private static final boolean PACKED = "amd64".equals(System.getProperty("os.arch"));
    private static final int EVENT_BYTES = PACKED ? 12 : 16;
    private static final int DATA = PACKED ? 4 : 8;

    private final Fd fd;
    private final NativeBlock events;

    public Epoll() {
        try (Opening opening = new Opening(1)) {
            events = opening.add(new NativeBlock(CAPACITY * EVENT_BYTES));
            fd = Fd.of(Libc.epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
            opening.done();
        }
    }

    /** Watches a descriptor for input and for the other end going away. */
    public void add(Fd watched, long token) {
        control(CTL_ADD, watched, token, EPOLLIN | EPOLLRDHUP);
    }

    /**
     * Stops reporting a descriptor for now, or goes on. That the other end is gone is reported once more nevertheless: the kernel
     * does not leave it out, whatever the mask is.
     */
    public void pause(Fd watched, long token, boolean paused) {
        control(CTL_MOD, watched, token, paused ? EPOLLONESHOT : EPOLLIN | EPOLLRDHUP);
    }

    /** The descriptor of the set itself, which can be waited for like one of those in it. */
    public Fd fd() {
        return fd;
    }

    /** Stops watching it. Has to be called before the descriptor is closed. */
    public void remove(Fd watched) {
        // without the structure, which the kernel does not look at: an end must not need memory
        OsError.check(Libc.epoll_ctl(fd.number(), CTL_DEL, watched.number(), 0), "epoll_ctl");
    }

    /** Watches a descriptor by its number for input, as {@link #watchOnce(int, long, int)} does. */
    public void watchOnce(int watched, long token) {
        watchOnce(watched, token, EPOLLIN);
    }

    /**
     * Watches a descriptor by its number, whether or not it is being watched, until it has been reported once.
     *
     * @param mask  the bits of poll(2), which are epoll's too
     */
    public void watchOnce(int watched, long token, int mask) {
        try (NativeBlock event = event(token, mask | EPOLLONESHOT)) {
            int result = Libc.epoll_ctl(fd.number(), CTL_MOD, watched, event.address());
            if (result == -1 && Native.getLastError() == Errno.ENOENT) {
                result = Libc.epoll_ctl(fd.number(), CTL_ADD, watched, event.address());
            }
            OsError.check(result, "epoll_ctl");
        }
    }

    /** Stops watching a descriptor by its number, if it is being watched. */
    public void forget(int watched) {
        Libc.epoll_ctl(fd.number(), CTL_DEL, watched, 0);
    }

    private void control(int op, Fd watched, long token, int mask) {
        try (NativeBlock event = event(token, mask)) {
            OsError.check(Libc.epoll_ctl(fd.number(), op, watched.number(), event.address()), "epoll_ctl");
        }
    }

    private static NativeBlock event(long token, int mask) {
        NativeBlock event = new NativeBlock(EVENT_BYTES);
        event.putInt(0, mask);
        event.putLong(DATA, token);
        return event;
    }

    /**
     * Waits until something is ready. Called by one thread only.
     *
     * @param timeoutMillis -1 waits for ever
     * @return the numbers of what is ready; none if the time was up or the wait was interrupted
     */
    public long[] await(int timeoutMillis) {
        int n = Libc.epoll_wait(fd.number(), events.address(), CAPACITY, timeoutMillis);
        if (n == -1) {
            int errno = Native.getLastError();
            if (errno == Errno.EINTR) {
                return new long[0];
            }
            throw new OsError("epoll_wait", errno);
        }
        long[] tokens = new long[n];
        for (int i = 0; i < n; i++) {
            tokens[i] = events.getLong(i * EVENT_BYTES + DATA);
        }
        return tokens;
    }

    @Override
    public void close() {
        fd.close();
        events.close();
    }
}
