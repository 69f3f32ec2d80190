package org.rsmapi.sys;

/** An eventfd: a 64-bit counter that can be waited for. */
public final class EventFd implements AutoCloseable {
    private static final int EFD_NONBLOCK = 04000;
    private static final int EFD_CLOEXEC = 02000000;

    private final Fd fd = Fd.of(Libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");

    /** The descriptor, to wait for. */
    public Fd fd() {
        return fd;
    }

    /** Adds one. */
    public void signal() {
        try (Scratch one = new Scratch(8)) {
            one.putLong(0, 1);
            Libc.write(fd.number(), one.address(), 8);
        }
    }

    /** Sets it to zero. */
    public void drain() {
        try (Scratch count = new Scratch(8)) {
            Libc.read(fd.number(), count.address(), 8);
        }
    }

    @Override
    public void close() {
        fd.close();
    }
}
