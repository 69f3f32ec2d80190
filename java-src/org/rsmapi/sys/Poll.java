package org.rsmapi.sys;

import com.sun.jna.Native;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.spi.AbstractInterruptibleChannel;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Waiting for descriptors: with a deadline, without spinning, and ended by {@link Thread#interrupt()}. */
public final class Poll {
    private static final int POLLFD_BYTES = 8;
    /** A number that poll(2) passes over. */
    private static final int NO_FD = -1;

    /** A waker that is not in use: to create one for every wait would cost as much as the wait. */
    private static Waker idle;
    private static boolean keeping;

    private Poll() {}

    /** How a wait ended. */
    public enum Outcome { READY, TIMEOUT, INTERRUPTED }

    /**
     * Waits until the descriptor has input or its other end is gone.
     *
     * @param deadlineNanos on the clock of {@link System#nanoTime()}
     * @return INTERRUPTED leaves the thread's interrupt status set
     */
    public static Outcome forInput(Fd fd, long deadlineNanos) {
        return forAny(new int[] {fd.number()}, new short[] {Libc.POLLIN}, new short[1], deadlineNanos);
    }

    /**
     * Waits until the descriptor has input, or the group has been woken.
     *
     * @param wakes  {@link Group#wakes()} from before the caller looked whether there is anything to wait for
     */
    public static Outcome forInput(Fd fd, long deadlineNanos, Group group, int wakes) {
        return forAny(new int[] {fd.number()}, new short[] {Libc.POLLIN}, new short[1], deadlineNanos, group, wakes);
    }

    /** Threads that wait for one thing and are woken together, by a descriptor that no other process has. */
    public static final class Group {
        private final Set<Sleeper> sleepers = ConcurrentHashMap.newKeySet();
        private volatile int wakes;

        /** How often it has been woken. */
        public int wakes() {
            return wakes;
        }

        /** Wakes the threads that wait now, and those that have called {@link #wakes()} before and are about to wait. */
        public void wake() {
            synchronized (this) {
                wakes++;
            }
            sleepers.forEach(Sleeper::wake);
        }
    }

    /** What makes a thread that waits look again whether it has to go on waiting. */
    interface Sleeper {
        void wake();
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
        if (Threads.isVirtual()) {
            Outcome outcome = parked(fds, events, revents, deadlineNanos, group, wakes);
            if (outcome != null) {
                return outcome;
            }
        }
        return inPoll(fds, events, revents, deadlineNanos, group, wakes);
    }

    /** The wait of a virtual thread, which does not keep its carrier; null if it cannot be made in this way. */
    private static Outcome parked(int[] fds, short[] events, short[] revents, long deadlineNanos, Group group, int wakes) {
        try (Polled polled = new Polled(fds.length)) {
            polled.set(fds, events, NO_FD);
            if (polled.ready(0)) {
                polled.copyTo(revents);
                return Outcome.READY;
            }
            if (deadlineNanos - System.nanoTime() <= 0) {
                return Outcome.TIMEOUT;
            }
            try (Parking.Place place = Parking.enter(fds, events)) {
                if (place == null) {
                    return null;
                }
                group.sleepers.add(place);
                try {
                    return parked(place, polled, revents, deadlineNanos, group, wakes);
                } finally {
                    group.sleepers.remove(place);
                }
            }
        }
    }

    private static Outcome parked(Parking.Place place, Polled polled, short[] revents, long deadlineNanos, Group group, int wakes) {
        while (true) {
            place.look();
            if (polled.ready(0)) {
                polled.copyTo(revents);
                return Outcome.READY;
            }
            if (group.wakes != wakes) {
                return Outcome.READY;
            }
            if (Thread.currentThread().isInterrupted()) {
                return Outcome.INTERRUPTED;
            }
            long left = deadlineNanos - System.nanoTime();
            if (left <= 0) {
                return Outcome.TIMEOUT;
            }
            place.park(left);
        }
    }

    private static Outcome inPoll(int[] fds, short[] events, short[] revents, long deadlineNanos, Group group, int wakes) {
        Waker waker = waker();
        try (Polled own = fds.length == 1 ? null : new Polled(fds.length)) {
            Polled polled = own == null ? waker.one : own;
            polled.set(fds, events, waker.event.fd().number());
            if (deadlineNanos - System.nanoTime() <= 0) { // no wait, and so none that an interrupt could end
                if (polled.ready(0)) {
                    polled.copyTo(revents);
                    return Outcome.READY;
                }
                return Outcome.TIMEOUT;
            }
            // A thread inside poll(2) does not notice Thread.interrupt(). The JDK calls implCloseChannel in the thread that interrupts it
            // between begin() and end(), and there we make the poll return.
            group.sleepers.add(waker);
            Outcome outcome = new Interruptible(waker.event).await(polled, deadlineNanos, group, wakes);
            if (outcome == Outcome.READY) {
                polled.copyTo(revents);
            }
            return outcome;
        } finally {
            group.sleepers.remove(waker);
            idle(waker);
        }
    }

    private static Waker waker() {
        synchronized (Poll.class) {
            Waker waker = idle;
            if (waker != null) {
                idle = null;
                return waker;
            }
        }
        return new Waker();
    }

    private static void idle(Waker waker) {
        synchronized (Poll.class) {
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
        Parking.keep(keep);
        keeping = keep;
        if (keep && idle == null) {
            try {
                idle = new Waker();
            } catch (OsError e) {
                idle = null; // no descriptors: a wait will try again
            }
        }
        if (!keep) {
            if (idle != null) {
                idle.close();
                idle = null;
            }
        }
    }

    /**
     * Gets what it takes to post events to a process of another user, which might make a post wait, while it may be had: the kernel allows
     * the whole system so much of it (fs.aio-max-nr), and other users can use that up.
     */
    public static void prepareToPost() {
        Aio.prepare();
    }

    /** Frees what posting events keeps between posts. This may take a while, so not with a lock held. */
    public static void releasePosting() {
        Aio.close();
    }

    /** What a thread waits with: a descriptor to wake it by, and the block for waiting for that and one more. */
    private static final class Waker implements Sleeper, AutoCloseable {
        private final EventFd event;
        private final Polled one;

        Waker() {
            try (Opening opening = new Opening(1)) {
                event = opening.add(new EventFd());
                one = new Polled(1);
                opening.done();
            }
        }

        @Override
        public void wake() {
            event.signal();
        }

        @Override
        public void close() {
            event.close();
            one.close();
        }
    }

    /** The array of struct pollfd, and behind it one more for the waker. */
    private static final class Polled implements AutoCloseable {
        private final NativeBlock block;
        private final int count;

        Polled(int count) {
            this.count = count;
            block = new NativeBlock((count + 1) * POLLFD_BYTES);
        }

        void set(int[] fds, short[] events, int waker) {
            for (int i = 0; i < count; i++) {
                set(i, fds[i], events[i]);
            }
            set(count, waker, (short) Libc.POLLIN);
        }

        private void set(int i, int fd, short events) {
            block.putInt(i * POLLFD_BYTES, fd);
            block.putShort(i * POLLFD_BYTES + 4, events);
            block.putShort(i * POLLFD_BYTES + 6, (short) 0);
        }

        /** Polls once; whether one of ours is ready. */
        boolean ready(int timeoutMillis) {
            int n = Calls.poll(block.address(), count + 1L, timeoutMillis);
            if (n == -1) {
                int errno = Native.getLastError();
                if (errno == Errno.EINTR) {
                    return false;
                }
                throw new OsError("poll", errno);
            }
            return n > (woken() ? 1 : 0);
        }

        /** Whether the last poll has found that the waker has been signalled. */
        boolean woken() {
            return block.getShort(count * POLLFD_BYTES + 6) != 0;
        }

        void copyTo(short[] revents) {
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
            boolean ready;
            begin();
            try {
                while (true) {
                    // what is ready counts, also when there is no time left, or an interrupt
                    long left = isOpen() && group.wakes == wakes ? deadlineNanos - System.nanoTime() : 0;
                    ready = polled.ready(left <= 0 ? 0 : (int) Math.min(Integer.MAX_VALUE, left / 1_000_000 + 1))
                        || group.wakes != wakes;
                    if (ready || left <= 0) {
                        break;
                    }
                    if (polled.woken()) {
                        waker.drain(); // of an interrupt or a wake that is seen now, or of an earlier wait
                    }
                }
            } finally {
                endInterruptible();
            }
            if (ready) {
                return Outcome.READY;
            }
            if (isOpen()) {
                return Outcome.TIMEOUT;
            }
            // Thread.interrupt sets the status first and then calls the channel: the status may have been cleared before we began.
            Thread.currentThread().interrupt();
            return Outcome.INTERRUPTED;
        }

        /** {@link #isOpen()} reports the interrupt; the exception adds nothing. */
        private void endInterruptible() {
            try {
                end(true);
            } catch (AsynchronousCloseException e) {
                return;
            }
        }
    }
}
