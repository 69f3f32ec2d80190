package org.rsmapi.net;

import java.io.IOException;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Reads from the lanes from which nobody else reads: one thread for all of them. It keeps away from a lane while callers wait for replies
 * there one after the other, and comes back when none has for a moment, or at once if somebody wants to know of events.
 */
final class Watcher {
    private static final long AWAY_NANOS = 1_000_000;

    private final Service service = new Service("rsmapi-net-watch");
    private final Map<Lane, SelectionKey> watched = new ConcurrentHashMap<>();
    /** Lanes that are not watched for the moment. */
    private final Map<Lane, SelectionKey> away = new ConcurrentHashMap<>();

    Watcher() throws IOException {
        service.add(this::comeBackWhereNobodyReads);
    }

    void start() {
        service.start();
    }

    /**
     * Watches a lane.
     *
     * @throws ClosedChannelException if it has ended, or the watcher has
     */
    void add(Lane lane) throws ClosedChannelException {
        Service.Handler reader = key -> read(lane, key);
        SelectionKey key;
        try {
            key = lane.channel().socket().register(service.selector(), SelectionKey.OP_READ, reader);
        } catch (ClosedSelectorException e) {
            throw new ClosedChannelException();
        }
        watched.put(lane, key);
        service.look();
    }

    void remove(Lane lane) {
        SelectionKey key = watched.remove(lane);
        away.remove(lane);
        if (key != null) {
            key.cancel();
            service.look(); // the socket is closed when the key is gone
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
            await(key, SelectionKey.OP_READ);
        }
    }

    /** The socket of a lane has not taken everything. */
    void wantRoom(Lane lane) {
        SelectionKey key = watched.get(lane);
        if (key != null) {
            await(key, SelectionKey.OP_WRITE);
        }
    }

    private void await(SelectionKey key, int operation) {
        try {
            key.interestOpsOr(operation);
        } catch (CancelledKeyException e) {
            return; // the lane has ended
        }
        service.look();
    }

    private long comeBackWhereNobodyReads(long now) {
        for (Lane lane : away.keySet()) {
            if (now - lane.usedAt() > AWAY_NANOS) {
                comeBack(lane);
            }
        }
        return away.isEmpty() ? Service.Chore.NEVER : AWAY_NANOS;
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
        } catch (RuntimeException | Error e) {
            lane.end("reading from the link has failed: " + e);
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
        service.stop();
    }
}
