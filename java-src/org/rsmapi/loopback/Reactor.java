package org.rsmapi.loopback;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.sys.Closer;
import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.Poll;
import org.rsmapi.sys.Threads;

/**
 * The one thread of the loopback interconnect: it answers connects, and learns when a peer has something to say or is gone.
 *
 * <p>It starts with the first descriptor to watch and ends with its last user: every open controller, publication and
 * connection calls {@link #acquire()}, and {@link #release} at its end.
 */
final class Reactor {
    /**
     * What watches a descriptor. Called by the reactor's thread; may be called once more after it was removed. It does not wait for
     * anything, locks included: a handler that needs a lock which is taken pauses its registration until that is free.
     */
    interface Handler {
        void ready(Registration self);
    }

    private static final Object LOCK = new Object();
    private static final AtomicLong TOKENS = new AtomicLong(1);
    private static final long WAKE = 0;
    /** How long a descriptor is not looked at whose handler has failed, and nothing is if the kernel cannot tell what is ready. */
    private static final long FAILURE_MILLIS = 50;

    private static int holders;
    private static Reactor running;

    private final Epoll epoll;
    private final EventFd waker;
    private final Map<Long, Registration> watched = new ConcurrentHashMap<>();
    private final PriorityQueue<Timer> timers = new PriorityQueue<>(Comparator.comparingLong(Timer::due));
    private final Thread thread = Threads.daemon(this::run, "rsmapi-loopback");
    private volatile boolean stopping;

    private record Timer(long due, Runnable action) {}

    /** A watched descriptor. Its monitor keeps a number from being used that belongs to the next file already. */
    static final class Registration {
        private final Reactor reactor;
        private final Fd fd;
        private final long token;
        private final Handler handler;
        private boolean removed;
        private volatile boolean paused;

        private Registration(Reactor reactor, Fd fd, long token, Handler handler) {
            this.reactor = reactor;
            this.fd = fd;
            this.token = token;
            this.handler = handler;
        }

        /** Stops watching. Before the descriptor is closed. */
        synchronized void remove() {
            if (!removed) {
                removed = true;
                reactor.watched.remove(token);
                reactor.epoll.remove(fd);
            }
        }

        /** Stops watching until {@link #resume()}. */
        synchronized void pause() {
            if (!removed) {
                paused = true;
                reactor.epoll.pause(fd, token, true);
            }
        }

        /** Goes on after a pause. By any thread. */
        synchronized void resume() {
            if (!removed && paused) {
                paused = false;
                reactor.epoll.pause(fd, token, false);
            }
        }

        /** Stops watching for a while. */
        void pause(long millis) {
            pause();
            reactor.schedule(millis, this::resume);
        }

        /** Runs something later, in the reactor's thread, if that is still running then. By any thread. */
        void later(long millis, Runnable action) {
            reactor.schedule(millis, action);
        }

        private void ready() {
            if (!paused) {
                try {
                    handler.ready(this);
                } catch (RuntimeException | Error e) {
                    pause(FAILURE_MILLIS);
                    throw e;
                }
            }
        }
    }

    private Reactor(Epoll epoll, EventFd waker) {
        this.epoll = epoll;
        this.waker = waker;
    }

    private static Reactor start() {
        try (Opening opening = new Opening(2)) {
            Epoll epoll = opening.add(new Epoll());
            EventFd waker = opening.add(new EventFd());
            epoll.add(waker.fd(), WAKE);
            Reactor reactor = new Reactor(epoll, waker);
            Threads.start(reactor.thread);
            opening.done(); // the thread closes them
            Poll.keep(true);
            return reactor;
        }
    }

    /** Says that the reactor will be needed. */
    static void acquire() {
        synchronized (LOCK) {
            holders++;
        }
    }

    /**
     * Says that it is not needed any more by one who needed it.
     *
     * @param wait  whether to return only when the thread has ended, if this was the last one. The caller must not hold a lock
     *              that a handler takes.
     */
    static void release(boolean wait) {
        Reactor last = null;
        boolean unused;
        synchronized (LOCK) {
            unused = --holders == 0;
            if (unused) {
                last = running;
                running = null;
                Poll.keep(false);
            }
        }
        if (last != null) {
            last.stop(wait);
            Unread.giveUp();
        }
        if (unused) {
            Poll.releasePosting();
        }
    }

    /** Watches a descriptor. The caller has acquired the reactor. */
    static Registration watch(Fd fd, Handler handler) {
        Reactor reactor = current();
        long token = TOKENS.getAndIncrement();
        Registration registration = new Registration(reactor, fd, token, handler);
        reactor.watched.put(token, registration);
        try {
            reactor.epoll.add(fd, token);
        } catch (RuntimeException | Error e) {
            reactor.watched.remove(token);
            throw e;
        }
        return registration;
    }

    /** Runs something later, in the reactor's thread, if there is one. */
    static void ifRunning(long millis, Runnable action) {
        synchronized (LOCK) {
            if (running != null) {
                running.schedule(millis, action);
            }
        }
    }

    private static Reactor current() {
        synchronized (LOCK) {
            if (running == null) {
                running = start();
            }
            return running;
        }
    }

    private void schedule(long millis, Runnable action) {
        synchronized (timers) {
            timers.add(new Timer(System.nanoTime() + millis * 1_000_000, action));
        }
        if (Thread.currentThread() != thread) {
            waker.signal();
        }
    }

    private void stop(boolean wait) {
        synchronized (this) { // the thread, once it has seen that it shall stop, closes what we are about to use
            stopping = true;
            waker.signal();
        }
        if (wait && Thread.currentThread() != thread) {
            boolean interrupted = false;
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException e) {
                    interrupted = true; // it ends at once; the interrupt is for the caller's next blocking call
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private void run() {
        try {
            while (!stopping) {
                if (!safely(this::once)) {
                    LockSupport.parkNanos(FAILURE_MILLIS * 1_000_000);
                }
            }
        } finally {
            synchronized (this) {
                epoll.close();
                waker.close();
            }
        }
    }

    private void once() {
        for (long token : epoll.await(untilNextTimer())) {
            if (token == WAKE) {
                waker.drain();
            } else {
                Registration registration = watched.get(token);
                if (registration != null) {
                    safely(registration::ready);
                }
            }
        }
        for (Timer timer : dueTimers()) {
            safely(timer.action());
        }
        Closer.retry();
        Reclaim.reap();
    }

    private static boolean safely(Runnable action) {
        try {
            action.run();
            return true;
        } catch (RuntimeException | Error e) {
            // One peer's trouble, or a moment without memory, must not end the service of all the others. Handlers drop the
            // peer that they fail with.
            return false;
        }
    }

    private int untilNextTimer() {
        synchronized (timers) {
            Timer next = timers.peek();
            if (next == null) {
                return -1;
            }
            long left = next.due() - System.nanoTime();
            return left <= 0 ? 0 : (int) Math.min(Integer.MAX_VALUE, left / 1_000_000 + 1);
        }
    }

    private List<Timer> dueTimers() {
        List<Timer> due = new ArrayList<>();
        synchronized (timers) {
            while (!timers.isEmpty() && timers.peek().due() - System.nanoTime() <= 0) {
                due.add(timers.poll());
            }
        }
        return due;
    }
}
