package org.rsmapi.sys;

import com.sun.jna.Native;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.spi.AbstractInterruptibleChannel;

/** Waiting for one descriptor in the calling thread: with a deadline, without spinning, and ended by {@link Thread#interrupt()}. */
public final class Waiting {
    private static final int POLLIN = 1;
    private static final int POLLFD_BYTES = 8;

    private Waiting() {}

    /** How a wait ended. */
    public enum Outcome { READY, TIMEOUT, INTERRUPTED }

    /**
     * Waits until the descriptor has input or its other end is gone.
     *
     * @param deadlineNanos on the clock of {@link System#nanoTime()}
     * @return INTERRUPTED leaves the thread's interrupt status set
     */
    public static Outcome forInput(Fd fd, long deadlineNanos) {
        if (poll(fd, null, 0)) {
            return Outcome.READY;
        }
        // A thread inside poll(2) does not notice Thread.interrupt(). The JDK calls implCloseChannel on whoever interrupts it
        // between begin() and end(), and there we make the poll return.
        try (EventFd waker = new EventFd()) {
            return new Interruptible(waker).await(fd, deadlineNanos);
        }
    }

    private static final class Interruptible extends AbstractInterruptibleChannel {
        private final EventFd waker;

        Interruptible(EventFd waker) {
            this.waker = waker;
        }

        @Override
        protected void implCloseChannel() {
            waker.signal(); // by the interrupting thread, before end() returns
        }

        Outcome await(Fd fd, long deadlineNanos) {
            boolean ready = false;
            begin();
            try {
                long left;
                while (!ready && isOpen() && (left = deadlineNanos - System.nanoTime()) > 0) {
                    ready = poll(fd, waker.fd(), (int) Math.min(Integer.MAX_VALUE, left / 1_000_000 + 1));
                }
            } finally {
                leave();
            }
            if (ready) {
                return Outcome.READY;
            }
            if (isOpen()) {
                return Outcome.TIMEOUT;
            }
            // Whoever interrupts sets the status first and then looks for us: it may have been set, and cleared, before we began.
            Thread.currentThread().interrupt();
            return Outcome.INTERRUPTED;
        }

        /** The interrupt is told by {@link #isOpen()}; the exception says nothing more. */
        private void leave() {
            try {
                end(true);
            } catch (AsynchronousCloseException e) {
                return;
            }
        }
    }

    /** Polls one descriptor, and a second one that only ends the wait; whether the first is ready. */
    private static boolean poll(Fd fd, Fd waker, int timeoutMillis) {
        try (Scratch fds = new Scratch(2 * POLLFD_BYTES)) {
            fds.putInt(0, fd.number());
            fds.putShort(4, (short) POLLIN);
            fds.putInt(8, waker == null ? -1 : waker.number());
            fds.putShort(12, (short) POLLIN);
            int n = Libc.poll(fds.address(), 2, timeoutMillis);
            if (n == -1) {
                int errno = Native.getLastError();
                if (errno == Errno.EINTR) {
                    return false;
                }
                throw new OsError("poll", errno);
            }
            return fds.getShort(6) != 0;
        }
    }
}
