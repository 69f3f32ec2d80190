package org.rsmapi.sys;

import com.sun.jna.Native;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * An eventfd: a 64-bit counter that can be waited for.
 *
 * <p>Any thread may use it while another one closes it: a user that needs the descriptor's number for longer than a method call calls
 * {@link #hold()} and then {@link #release()}; the descriptor is closed with the last release.
 *
 * <p>A process at the other end may do with the counter what it likes, also make it blocking, which is a property of both ends
 * at once. Neither {@link #post} nor {@link #take} waits because of that (see {@link Aio}), but on systems without asynchronous I/O,
 * or before Linux 5.8: there it can, if the other end changes counter and descriptor just between a look and the call behind it.
 */
public final class EventFd implements AutoCloseable {
    private static final int EFD_SEMAPHORE = 1;
    private static final int EFD_NONBLOCK = 04000;
    private static final int EFD_CLOEXEC = 02000000;
    private static final int F_SETFL = 4;
    private static final int O_RDWR = 2;
    private static final int RWF_NOWAIT = 8;
    private static final String LINK = "anon_inode:[eventfd]";
    private static final String COUNT = "eventfd-count:";
    private static final int RADIX = 16;
    private static final int COUNTED_BY_TAKING = 4096;

    /** Bit of {@link #users}: it is closed. */
    private static final int CLOSED = 1 << 30;

    // a pollfd and the number to write, for who posts; an iovec and the number read, for who takes
    private static final int POLLFD = 0;
    private static final int WRITTEN = 8;
    private static final int IOVEC = 16;
    private static final int READ = 32;
    private static final int BYTES = 40;

    private final Fd fd;
    private final NativeBlock block;
    private final AtomicInteger users = new AtomicInteger();
    private final Object posting = new Object();
    private final Object taking = new Object();

    /** A counter at 0 of which {@link #drain()} takes everything. */
    public EventFd() {
        this(0, null);
    }

    /** Takes a descriptor over, or makes one: last, when nothing else can fail. */
    private EventFd(int flags, Fd received) {
        try (Opening opening = new Opening(1)) {
            block = opening.add(new NativeBlock(BYTES));
            fd = received != null ? received : Fd.of(Libc.eventfd(0, flags | EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
            opening.done();
        }
        block.putLong(WRITTEN, 1);
        block.putLong(IOVEC, block.address() + READ);
        block.putLong(IOVEC + 8, 8);
    }

    /** A counter of events, of which {@link #take()} takes one. */
    public static EventFd ofEvents(long count) {
        EventFd events = new EventFd(EFD_SEMAPHORE, null);
        if (count != 0) {
            events.add(count);
        }
        return events;
    }

    /** The counter that a peer has sent; it belongs to the new object, and is closed if there is none. */
    public static EventFd received(Fd fd) {
        try {
            return new EventFd(0, fd);
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
    }

    /** What is wrong with a descriptor that a peer sent as a counter, or null if it is one. */
    public static String objection(Fd fd) {
        try {
            return Files.readSymbolicLink(Path.of(Proc.pathOf(fd))).toString().equals(LINK) ? null : "not an eventfd";
        } catch (IOException e) {
            return "not to be identified";
        }
    }

    /** The descriptor, to wait for and to hand out. */
    public Fd fd() {
        return fd;
    }

    /** Keeps the descriptor open until {@link #release()}; false if it is closed. */
    public boolean hold() {
        while (true) {
            int now = users.get();
            if ((now & CLOSED) != 0) {
                return false;
            }
            if (users.compareAndSet(now, now + 1)) {
                return true;
            }
        }
    }

    /** Ends one {@link #hold()}. */
    public void release() {
        if (users.decrementAndGet() == CLOSED) {
            fd.close();
            block.close();
        }
    }

    /** Adds one to a counter that no other process has; does nothing if it is closed, or full. */
    public void signal() {
        if (hold()) {
            try {
                add(1);
            } catch (OsError e) {
                return; // what is being ended, or woken, has to be gone on with
            } finally {
                release();
            }
        }
    }

    /**
     * Adds one event.
     *
     * @param accumulate  whether also if there are events already
     * @return false if the counter is at its end, or closed
     * @throws OsError if the system refuses a call
     */
    public boolean post(boolean accumulate) {
        if (!hold()) {
            return false;
        }
        try {
            int ready = ready();
            if (!accumulate && (ready & Libc.POLLIN) != 0) {
                return true;
            }
            return (ready & Libc.POLLOUT) != 0 && (Aio.addOne(fd.number()) || addPlainly());
        } finally {
            release();
        }
    }

    /** The other end would have to fill the counter and make it blocking in the moment before the write to have it wait. */
    private boolean addPlainly() {
        doNotBlock();
        return add(1);
    }

    private int ready() {
        synchronized (posting) {
            block.putInt(POLLFD, fd.number());
            block.putInt(POLLFD + 4, Libc.POLLIN | Libc.POLLOUT);
            int n = Calls.poll(block.address() + POLLFD, 1, 0);
            if (n == -1) {
                int errno = Native.getLastError();
                if (errno != Errno.EINTR) {
                    throw new OsError("poll", errno);
                }
                return Libc.POLLOUT; // the write tells
            }
            return n > 0 ? block.getShort(POLLFD + 6) : 0;
        }
    }

    /** Adds events to a counter that only this side has: another one could be made to wait. Does nothing if it is closed. */
    public void addOwn(long count) {
        if (count > 0 && hold()) {
            try {
                add(count);
            } finally {
                release();
            }
        }
    }

    private boolean add(long count) {
        synchronized (posting) {
            block.putLong(WRITTEN, count);
            if (Calls.write(fd.number(), block.address() + WRITTEN, 8) == 8) {
                return true;
            }
            int errno = Native.getLastError();
            if (errno != Errno.EAGAIN && errno != Errno.EINTR) {
                throw new OsError("write", errno);
            }
            return false;
        }
    }

    /**
     * Takes one event (or, of a counter that is not one of events, all), if there is one.
     *
     * @throws OsError if the system refuses a call
     */
    public boolean take() {
        if (!hold()) {
            return false;
        }
        try {
            synchronized (taking) {
                return read(block.address() + IOVEC, block.address() + READ);
            }
        } finally {
            release();
        }
    }

    /** A read that does not wait, whatever the other end has done to the descriptor. */
    private boolean read(long iovec, long buffer) {
        long n = Calls.syscall(Libc.SYS_PREADV2, fd.number(), iovec, 1, -1, -1, RWF_NOWAIT);
        if (n == -1) {
            int errno = Native.getLastError();
            if (errno == Errno.EAGAIN || errno == Errno.EINTR) {
                return false;
            }
            n = readPlainly(buffer); // a kernel before 5.8, or a sandbox
        }
        return n == 8;
    }

    /** The other end would have to empty the counter and make it blocking in the moment before the read to have it wait. */
    private long readPlainly(long buffer) {
        if ((ready() & Libc.POLLIN) == 0) {
            return 0;
        }
        doNotBlock();
        long n = Libc.read(fd.number(), buffer, 8);
        if (n == -1) {
            int errno = Native.getLastError();
            if (errno != Errno.EAGAIN && errno != Errno.EINTR) {
                throw new OsError("read", errno);
            }
        }
        return n;
    }

    private void doNotBlock() {
        Libc.fcntl(fd.number(), F_SETFL, O_RDWR | EFD_NONBLOCK);
    }

    /** Sets it to zero. */
    public void drain() {
        take();
    }

    /** How many events the counter has, but not more than {@code most}. If it has any, this is slow. */
    public long count(long most) {
        if (!hold()) {
            return 0;
        }
        try {
            if ((ready() & Libc.POLLIN) == 0) {
                return 0;
            }
            for (String line : Proc.read("/proc/self/fdinfo/" + fd.number())) {
                if (line.startsWith(COUNT)) {
                    long count = Long.parseUnsignedLong(line.substring(COUNT.length()).trim(), RADIX);
                    return count < 0 || count > most ? most : count;
                }
            }
            long taken = 0; // /proc cannot be read, for example without descriptors
            while (taken < Math.min(most, COUNTED_BY_TAKING) && take()) {
                taken++;
            }
            return taken;
        } finally {
            release();
        }
    }

    /** Closes it now or with the last {@link #release()}. Idempotent. */
    @Override
    public void close() {
        int now;
        do {
            now = users.get();
            if ((now & CLOSED) != 0) {
                return;
            }
        } while (!users.compareAndSet(now, now + 1 | CLOSED));
        release();
    }
}
