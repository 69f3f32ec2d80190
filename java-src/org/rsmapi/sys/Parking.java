package org.rsmapi.sys;

import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.locks.LockSupport;

/**
 * Where virtual threads wait for descriptors: they are parked, so that they do not keep their carriers, and one thread waits for all of
 * them with epoll(7).
 *
 * <p>Of several that wait for one descriptor only one is woken at a time, because one event is for one of them. The descriptor is reported
 * once, and again after the one that was woken has looked at it: if there is more, the next one is woken, and nothing that has been
 * reported is lost when the one that was woken has been interrupted or is too late.
 */
final class Parking {
    private static final Object LOCK = new Object();
    private static final long WAKE = 0;
    private static final int MASK_BITS = 16;
    private static final long FAILURE_NANOS = 50_000_000;

    // All of these are guarded by LOCK.
    private static Parking running;
    /** Whether the thread stays while there is no wait. */
    private static boolean keeping;
    private static long lastToken = WAKE;

    private final Epoll epoll;
    private final EventFd waker;
    /** By the descriptor's number. */
    private final Map<Integer, Watch> byNumber = new HashMap<>();
    private final Map<Long, Watch> byToken = new HashMap<>();
    private int places;

    /** A descriptor for which there are places. */
    private static final class Watch {
        private final int fd;
        private final long token;
        /** The places that have not been woken since their threads looked last. */
        private final Set<Place> queue = new LinkedHashSet<>();
        private int users;
        /** For each bit of poll(2), how many want it. */
        private final int[] wanted = new int[MASK_BITS];
        private boolean armed;

        Watch(int fd, long token) {
            this.fd = fd;
            this.token = token;
        }

        void want(short events, int change) {
            users += change;
            for (int i = 0; i < MASK_BITS; i++) {
                if ((events >> i & 1) != 0) {
                    wanted[i] += change;
                }
            }
        }

        int wantedMask() {
            int bits = 0;
            for (int i = 0; i < MASK_BITS; i++) {
                bits |= wanted[i] > 0 ? 1 << i : 0;
            }
            return bits;
        }
    }

    /** One thread's wait. */
    static final class Place implements Poll.Sleeper, AutoCloseable {
        private final Parking parking;
        private final Thread thread = Thread.currentThread();
        private final int[] fds;
        private final short[] events;
        /** For each descriptor; null where this place does not count yet. */
        private final Watch[] watches;
        private volatile boolean woken;

        private Place(Parking parking, int[] fds, short[] events) {
            this.parking = parking;
            this.fds = fds;
            this.events = events;
            this.watches = new Watch[fds.length];
        }

        @Override
        public void wake() {
            woken = true;
            LockSupport.unpark(thread);
        }

        /** To be called before the thread looks whether there is something to wait for. */
        void look() {
            woken = false;
        }

        /** Parks until the place is woken, the thread interrupted, or the time up; or for no reason. */
        void park(long nanos) {
            long longest = parking.queue(this) ? nanos : Math.min(nanos, FAILURE_NANOS);
            if (!woken && !thread.isInterrupted()) {
                LockSupport.parkNanos(longest);
            }
        }

        @Override
        public void close() {
            parking.remove(this);
        }
    }

    private Parking(Epoll epoll, EventFd waker) {
        this.epoll = epoll;
        this.waker = waker;
    }

    private static Parking start() {
        try (Opening opening = new Opening(2)) {
            Epoll epoll = opening.add(new Epoll());
            EventFd waker = opening.add(new EventFd());
            epoll.add(waker.fd(), WAKE);
            Parking parking = new Parking(epoll, waker);
            Threads.start(Threads.daemon(parking::run, "rsmapi-waiting"));
            opening.done(); // the thread closes them
            return parking;
        }
    }

    /** Whether the thread, once it runs, stays while there is no wait; otherwise it ends with the last one. */
    static void keep(boolean keep) {
        synchronized (LOCK) {
            keeping = keep;
            endIfUnused();
        }
    }

    private static void endIfUnused() {
        if (running != null && !keeping && running.places == 0) {
            running.waker.signal();
            running = null;
        }
    }

    /**
     * A place to wait for some descriptors.
     *
     * @return null if this system or its limits do not allow to wait in this way
     */
    static Place enter(int[] fds, short[] events) {
        synchronized (LOCK) {
            Place place = null;
            try {
                if (running == null) {
                    running = start();
                }
                place = new Place(running, fds, events);
                running.places++;
                running.enter(place);
                return place;
            } catch (OsError e) {
                if (place != null) {
                    place.close();
                }
                return null;
            } catch (Error e) {
                if (place != null) {
                    place.close();
                }
                throw e;
            }
        }
    }

    private void enter(Place place) {
        for (int i = 0; i < place.fds.length; i++) {
            if (place.fds[i] >= 0) {
                Watch watch = watch(place.fds[i]);
                watch.want(place.events[i], 1);
                place.watches[i] = watch;
                watch.queue.add(place);
                // In any case: a place may still wait for a file that is closed, whose number another file has now.
                arm(watch);
            }
        }
    }

    private Watch watch(int fd) {
        Watch watch = byNumber.get(fd);
        if (watch == null) {
            watch = new Watch(fd, ++lastToken);
            byToken.put(watch.token, watch);
            byNumber.put(fd, watch);
        }
        return watch;
    }

    /** Has the kernel report the descriptor once. */
    private void arm(Watch watch) {
        epoll.watchOnce(watch.fd, watch.token, watch.wantedMask());
        watch.armed = true;
    }

    /**
     * Puts a place where it waits behind the others, if it has been woken, and has its descriptors reported again.
     *
     * @return false if that was not possible
     */
    private boolean queue(Place place) {
        synchronized (LOCK) {
            try {
                for (Watch watch : place.watches) {
                    if (watch != null) {
                        watch.queue.add(place);
                        if (!watch.armed) {
                            arm(watch);
                        }
                    }
                }
                return true;
            } catch (OsError e) {
                return false;
            }
        }
    }

    private void remove(Place place) {
        synchronized (LOCK) {
            for (int i = 0; i < place.fds.length; i++) {
                Watch watch = place.watches[i];
                if (watch != null) {
                    watch.want(place.events[i], -1);
                    watch.queue.remove(place);
                    if (watch.users == 0) {
                        byNumber.remove(watch.fd);
                        byToken.remove(watch.token);
                        epoll.forget(watch.fd);
                    } else if (!watch.armed) {
                        passOn(watch); // it may be this place that was woken
                    }
                }
            }
            places--;
            endIfUnused();
        }
    }

    private void passOn(Watch watch) {
        try {
            arm(watch);
        } catch (OsError | OutOfMemoryError e) {
            watch.queue.forEach(Place::wake); // their threads look, and try to arm it themselves
        }
    }

    private void run() {
        try {
            while (isRunning()) {
                try {
                    wakeNext(epoll.await(-1));
                } catch (OsError | OutOfMemoryError e) {
                    LockSupport.parkNanos(FAILURE_NANOS);
                    armAll();
                }
            }
        } finally {
            synchronized (LOCK) {
                epoll.close();
                waker.close();
            }
        }
    }

    private boolean isRunning() {
        synchronized (LOCK) {
            return running == this;
        }
    }

    private void wakeNext(long[] tokens) {
        synchronized (LOCK) {
            for (long token : tokens) {
                Watch watch = byToken.get(token);
                if (watch != null) {
                    watch.armed = false;
                    if (!watch.queue.isEmpty()) {
                        Place next = watch.queue.iterator().next();
                        watch.queue.remove(next);
                        next.wake();
                    }
                }
            }
        }
    }

    /** What has been reported may not have got to anybody. */
    private void armAll() {
        synchronized (LOCK) {
            byToken.values().forEach(this::passOn);
        }
    }
}
