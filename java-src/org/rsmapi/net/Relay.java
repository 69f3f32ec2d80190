package org.rsmapi.net;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.sys.Epoll;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Threads;

/** The thread of a gateway that waits for what exporters post, for all connections. */
final class Relay {
    private static final long WAKE = 0;
    private static final long PAUSE_NANOS = 50_000_000;

    private final Epoll set;
    private final EventFd waker;
    private final Thread thread = Threads.daemon(this::run, "rsmapi-net-relay");
    private final Map<Long, Served> byToken = new HashMap<>();
    private final Map<Served, Long> tokens = new HashMap<>();
    private long lastToken = WAKE;
    private boolean stopped;

    /** A relay, whose thread runs. */
    Relay() {
        try (Opening opening = new Opening(2)) {
            set = opening.add(new Epoll());
            waker = opening.add(new EventFd());
            set.add(waker.fd(), WAKE);
            Threads.start(thread);
            opening.done();
        }
    }

    /** Reports once when a descriptor has input. */
    synchronized void watch(Served connection, int descriptor) {
        if (!stopped) {
            long token = tokens.computeIfAbsent(connection, key -> ++lastToken);
            byToken.put(token, connection);
            set.watchOnce(descriptor, token);
        }
    }

    /** Before the descriptor is closed. */
    synchronized void forget(Served connection, int descriptor) {
        Long token = tokens.remove(connection);
        if (token != null) {
            byToken.remove(token);
            if (!stopped) {
                set.forget(descriptor);
            }
        }
    }

    private void run() {
        while (true) {
            long[] ready;
            try {
                ready = set.await(-1);
            } catch (OsError e) {
                LockSupport.parkNanos(PAUSE_NANOS);
                continue;
            }
            for (long token : ready) {
                Served connection;
                synchronized (this) {
                    connection = byToken.get(token);
                    if (stopped) {
                        set.close();
                        waker.close();
                        return;
                    }
                }
                if (connection != null) {
                    relay(connection);
                }
            }
        }
    }

    private static void relay(Served connection) {
        try {
            connection.relay();
        } catch (RuntimeException | Error e) {
            connection.session().control().execute(connection::end); // it would hear of nothing any more
        }
    }

    synchronized void stop() {
        stopped = true;
        waker.signal();
    }
}
