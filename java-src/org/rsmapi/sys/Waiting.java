package org.rsmapi.sys;

import com.sun.jna.Native;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.spi.AbstractInterruptibleChannel;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Waiting for descriptors in the calling thread: with a deadline, without spinning, and ended by {@link Thread#interrupt()}. */
public final class Waiting {
    /** {@code POLLIN}: there is something to read. */
    public static final int POLLIN = 1;
    /** {@code POLLOUT}: there is room to write. */
    public static final int POLLOUT = 4;

    private static final int POLLFD_BYTES = 8;

    /** A waker that nobody uses at the moment: making one for every wait would cost as much as the wait. */
    private static EventFd idle;
    private static boolean keeping;

    private Waiting() {}

    /** How a wait ended. */
    public enum Outcome { READY, TIMEOUT, INTERRUPTED }

    /** A time on the clock of {@link System#nanoTime()}, so many nanoseconds from now; at most a century or so. */
    public static long deadline(long nanos) {
        return System.nanoTime() + Math.min(nanos, Long.MAX_VALUE / 4);
    }

    /**
     * Waits until the descriptor has input or its other end is gone.
     *
     * @param deadlineNanos on the clock of {@link System#nanoTime()}
     * @return INTERRUPTED leaves the thread's interrupt status set
     */
    public static Outcome forInput(Fd fd, long deadlineNanos) {
        return forAny(new int[] {fd.number()}, new short[] {POLLIN}, new short[1], deadlineNanos);
    }

    /**
     * Waits until the descriptor has input, or the group has been woken.
     *
     * @param wakes  {@link Group#wakes()} from before the caller looked whether there is anything to wait for
     */
    public static Outcome forInput(Fd fd, long deadlineNanos, Group group, int wakes) {
        return forAny(new int[] {fd.number()}, new short[] {POLLIN}, new short[1], deadlineNanos, group, wakes);
    }

    /** Those who wait for one thing, to be woken together. Nobody outside of this process can keep them from waking. */
    public static final class Group {
        private final Set<EventFd> wakers = ConcurrentHashMap.newKeySet();
        private volatile int wakes;

        /** How often it has been woken. */
        public int wakes() {
            return wakes;
        }

        /** Wakes those who wait now, and those who have asked for {@link #wakes()} before and are about to wait. */
        public void wake() {
            synchronized (this) {
                wakes++;
            }
            wakers.forEach(EventFd::signal);
        }
    }

    /**
     * Waits until poll(2) has something to say of one of the descriptors.
     *
     * @param events   what to wait for, the bits of poll(2)
     * @param revents  is filled with what there is
     * @param deadlineNanos on the clock of {@link System#nanoTime()}
     * @return INTERRUPTED leaves the thread's interrupt status set
     * @throws OsError EINVAL if there are more descriptors than the process may have open, ENOMEM
     */
    public static Outcome forAny(int[] fds, short[] events, short[] revents, long deadlineNanos) {
        return forAny(fds, events, revents, deadlineNanos, new Group(), 0);
    }

    private static Outcome forAny(int[] fds, short[] events, short[] revents, long deadlineNanos, Group group, int wakes) {
        try (Polled polled = new Polled(fds, events)) {
            if (polled.ready(null, 0)) {
                polled.tell(revents);
                return Outcome.READY;
            }
            if (deadlineNanos - System.nanoTime() <= 0) {
                return Outcome.TIMEOUT;
            }
            // A thread inside poll(2) does not notice Thread.interrupt(). The JDK calls implCloseChannel on whoever interrupts it
            // between begin() and end(), and there we make the poll return.
            EventFd waker = waker();
            group.wakers.add(waker);
            try {
                Outcome outcome = new Interruptible(waker).await(polled, deadlineNanos, group, wakes);
                if (outcome == Outcome.READY) {
                    polled.tell(revents);
                }
                return outcome;
            } finally {
                group.wakers.remove(waker);
                idle(waker);
            }
        }
    }

    private static EventFd waker() {
        synchronized (Waiting.class) {
            EventFd waker = idle;
            if (waker != null) {
                idle = null;
                return waker;
            }
        }
        return new EventFd();
    }

    private static void idle(EventFd waker) {
        synchronized (Waiting.class) {
            if (keeping && idle == null) {
                idle = waker;
                return;
            }
        }
        waker.close();
    }

    /**
     * Whether a descriptor for waiting may be kept from one wait to the next. It is made now, so that waiting does not change how
     * many there are, and closed when it may not be kept any more.
     */
    public static synchronized void keep(boolean keep) {
        keeping = keep;
        if (keep && idle == null) {
            try {
                idle = new EventFd();
            } catch (OsError e) {
                idle = null; // for want of descriptors: who waits will ask again
            }
        }
        if (!keep) {
            if (idle != null) {
                idle.close();
                idle = null;
            }
        }
    }

    /** Gives back what posting events keeps from one time to the next. This may take a while, so not with a lock held. */
    public static void giveBack() {
        Aio.close();
    }

    /** The array of struct pollfd, and behind it one more for the waker. */
    private static final class Polled implements AutoCloseable {
        private final Scratch block;
        private final int count;

        Polled(int[] fds, short[] events) {
            count = fds.length;
            block = new Scratch((count + 1) * POLLFD_BYTES);
            for (int i = 0; i < count; i++) {
                block.putInt(i * POLLFD_BYTES, fds[i]);
                block.putShort(i * POLLFD_BYTES + 4, events[i]);
            }
            block.putShort(count * POLLFD_BYTES + 4, (short) POLLIN);
        }

        /** Polls once; whether one of ours is ready. The waker only ends the wait. */
        boolean ready(EventFd waker, int timeoutMillis) {
            block.putInt(count * POLLFD_BYTES, waker == null ? -1 : waker.fd().number());
            int n = Libc.poll(block.address(), count + 1L, timeoutMillis);
            if (n == -1) {
                int errno = Native.getLastError();
                if (errno == Errno.EINTR) {
                    return false;
                }
                throw new OsError("poll", errno);
            }
            return n > (block.getShort(count * POLLFD_BYTES + 6) != 0 ? 1 : 0);
        }

        void tell(short[] revents) {
            for (int i = 0; i < count; i++) {
                revents[i] = block.getShort(i * POLLFD_BYTES + 6);
            }
        }

        @Override
        public void close() {
            block.close();
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

        Outcome await(Polled polled, long deadlineNanos, Group group, int wakes) {
            boolean ready = false;
            begin();
            try {
                // what is left in it is of an earlier wait, or of an interrupt or a wake that is seen below
                waker.drain();
                long left;
                while (!ready && isOpen() && (left = deadlineNanos - System.nanoTime()) > 0) {
                    ready = group.wakes != wakes || polled.ready(waker, (int) Math.min(Integer.MAX_VALUE, left / 1_000_000 + 1));
                    waker.drain();
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
}
