package org.rsmapi.net;

import java.io.IOException;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.sys.Threads;

/**
 * Reads from the lanes from which nobody else reads: one thread for all of them. It keeps away from a lane while callers wait for replies
 * there one after the other, and comes back when none has for a moment, or at once if somebody wants to know of events.
 */
final class Watcher {
    private static final long AWAY_NANOS = 1_000_000;
    private static final long AWAY_MILLIS = 1;
    private static final long IDLE_MILLIS = 1_000;

    private final Selector selector;
    private final Thread thread = Threads.daemon(this::run, "rsmapi-net-watch");
    private final Map<Lane, SelectionKey> watched = new ConcurrentHashMap<>();
    /** Lanes that are not watched for the moment. */
    private final Map<Lane, SelectionKey> away = new ConcurrentHashMap<>();
    private volatile boolean stopping;

    Watcher() throws IOException {
        selector = Selector.open();
    }

    void start() {
        Threads.start(thread);
    }

    /**
     * Watches a lane.
     *
     * @throws ClosedChannelException if it has ended, or the watcher has
     */
    void add(Lane lane) throws ClosedChannelException {
        SelectionKey key;
        try {
            key = lane.channel().socket().register(selector, SelectionKey.OP_READ, lane);
        } catch (ClosedSelectorException e) {
            throw new ClosedChannelException();
        }
        watched.put(lane, key);
        selector.wakeup();
    }

    void remove(Lane lane) {
        SelectionKey key = watched.remove(lane);
        away.remove(lane);
        if (key != null) {
            key.cancel();
            selector.wakeup(); // the socket is closed when the key is gone
        }
    }

    /** Somebody has stopped reading. Unless another caller comes soon, the watcher goes on. */
    void attend(Lane lane) {
        if (lane.isExpectingEvents()) {
            comeBack(lane);
        }
    }

    /** Reads from a lane at once. */
    void comeBack(Lane lane) {
        SelectionKey key = away.remove(lane);
        if (key != null) {
            try {
                key.interestOpsOr(SelectionKey.OP_READ);
            } catch (CancelledKeyException e) {
                return;
            }
            selector.wakeup();
        }
    }

    private void run() {
        while (!stopping) {
            try {
                selector.select(away.isEmpty() ? IDLE_MILLIS : AWAY_MILLIS);
                List<SelectionKey> ready = new ArrayList<>(selector.selectedKeys());
                selector.selectedKeys().clear();
                for (SelectionKey key : ready) {
                    read((Lane) key.attachment(), key);
                }
                long now = System.nanoTime();
                for (Lane lane : away.keySet()) {
                    if (now - lane.usedAt() > AWAY_NANOS) {
                        comeBack(lane);
                    }
                }
            } catch (IOException e) {
                stopping = stopping || !selector.isOpen();
            }
        }
        try {
            selector.close();
        } catch (IOException e) {
            stopping = true;
        }
    }

    /** The socket of a lane has not taken everything. */
    void wantRoom(Lane lane) {
        SelectionKey key = watched.get(lane);
        if (key != null) {
            try {
                key.interestOpsOr(SelectionKey.OP_WRITE);
            } catch (CancelledKeyException e) {
                return;
            }
            selector.wakeup();
        }
    }

    private void read(Lane lane, SelectionKey key) {
        try {
            if (key.isWritable()) {
                send(lane, key);
            }
            if (key.isReadable() && !lane.readInBackground() && watched.containsKey(lane)) {
                key.interestOpsAnd(~SelectionKey.OP_READ);
                away.put(lane, key);
                if (!watched.containsKey(lane)) { // it has ended meanwhile
                    away.remove(lane);
                }
            }
        } catch (CancelledKeyException e) {
            away.remove(lane);
        }
    }

    private static void send(Lane lane, SelectionKey key) {
        try {
            key.interestOpsAnd(~SelectionKey.OP_WRITE);
            if (!lane.sendInBackground()) {
                key.interestOpsOr(SelectionKey.OP_WRITE);
            }
        } catch (Lane.Ended e) {
            return;
        }
    }

    void stop() {
        stopping = true;
        selector.wakeup();
    }
}
