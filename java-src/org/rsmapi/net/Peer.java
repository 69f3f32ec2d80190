package org.rsmapi.net;

import java.io.IOException;
import java.security.SecureRandom;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology.ConnectionState;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.UcxError;

/**
 * Another node, as this process's importers see it: the links to its gateway, and the connections over them. There is one link for what is
 * urgent, and one for much data, which is made when it is wanted for the first time. When one ends, both do, and all connections with them.
 */
final class Peer implements Lane.Receiver {
    private static final long RETRY_NANOS = 1_000_000_000;
    /** For how long data goes over the links when one-sided access has failed. */
    private static final long ONE_SIDED_RETRY_NANOS = 10_000_000_000L;
    /** A link for much data that could not be made is tried again after a pause, which doubles each time. */
    private static final long LEAST_PAUSE_NANOS = 100_000_000;
    private static final long MOST_PAUSE_NANOS = 10_000_000_000L;
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final String[] REASONS = {"exporter-gone", "unpublished", "destroyed", "exporter-gone", "protocol-error", "unreachable"};
    static final String UNREACHABLE = "unreachable";

    private final Fabric fabric;
    private final int node;
    private final AtomicInteger numbers = new AtomicInteger();
    private final Map<Integer, Importer> connections = new ConcurrentHashMap<>();

    /** Held while a path is opened: other threads of UCX may keep that waiting, and nothing waits with the monitor held. */
    private final Object opening = new Object();

    // with the monitor held
    private Lane control;
    private Lane bulk;
    private byte[] session;
    private boolean calling;
    private boolean callingBulk;
    /** 0, or since the link for much data could not be made: how long the pause is, and when it ends. */
    private long bulkPause;
    private long bulkPausedUntil;
    private RsmException failure;
    private long failedAt;
    /** Whether the last failure was one of keys or versions, and not of the way. */
    private boolean met;
    private OneSidedPath path;
    private boolean oneSidedFailed;
    private long oneSidedFailedAt;

    /** Who has a connection over the links. Nothing here waits. */
    interface Importer {
        /** Events have come. */
        void event(int count);

        /** The connection is aborted. */
        void abort(String reason);
    }

    Peer(Fabric fabric, int node) {
        this.fabric = fabric;
        this.node = node;
    }

    Fabric fabric() {
        return fabric;
    }

    int node() {
        return node;
    }

    int nextNumber() {
        return numbers.incrementAndGet();
    }

    /** Has what comes for a number come to an importer, which is aborted if the link has ended. */
    void add(int number, Importer importer, Lane over) {
        connections.put(number, importer);
        if (over.ended() != null) {
            importer.abort(UNREACHABLE);
        }
    }

    void forget(int number, Importer importer) {
        connections.remove(number, importer);
    }

    // ---- links ----

    /**
     * The link for what is urgent, which is made if there is none.
     *
     * @throws RsmException REMOTE_NODE_UNREACHABLE, BAD_DRIVER_VERSION, BAD_CONF, INTERRUPTED, TIMEOUT
     */
    synchronized Lane control(int segmentId, long deadline) {
        if (control == null) {
            call();
            failure = null;
        }
        while (control == null && failure == null) {
            long left = deadline - System.nanoTime();
            if (left <= 0) {
                throw about(RsmException.of(RsmError.TIMEOUT, "import-connect"), segmentId).hint("there is no link to the node yet");
            }
            try {
                wait(left / 1_000_000 + 1);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw about(RsmException.of(RsmError.INTERRUPTED, "import-connect"), segmentId);
            }
        }
        if (control == null) {
            RsmException copy = RsmException.of(failure.error(), "import-connect").causedBy(failure);
            failure.data().forEach(copy::with);
            throw about(copy, segmentId);
        }
        return control;
    }

    private RsmException about(RsmException failed, int segmentId) {
        return failed.with("node", node).with("segment-id", Integer.toUnsignedLong(segmentId));
    }

    /** Has a link made, unless that is being done. With the monitor held. */
    private void call() {
        if (!calling) {
            calling = true;
            byte[] id = new byte[Hello.SESSION_BYTES];
            RANDOM.nextBytes(id);
            begin(() -> calling = false, () -> {
                RsmException failed = null;
                Lane made = null;
                try {
                    made = makeLane(id, false);
                } catch (RsmException e) {
                    failed = e;
                } catch (RuntimeException | Error e) {
                    failed = RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "link").with("reason", e.toString()).causedBy(e);
                } finally {
                    called(made, id, failed);
                }
            });
        }
    }

    /** Has a thread do something that may wait. With the monitor held. */
    private void begin(Runnable ifNot, Runnable action) {
        boolean begun = false;
        try {
            fabric.work(action);
            begun = true;
        } finally {
            if (!begun) {
                ifNot.run();
            }
        }
    }

    private void called(Lane made, byte[] id, RsmException failed) {
        if (made != null && fabric.isStopping()) {
            made.end("this process does not use the controller any more");
        }
        setCalled(made, id, failed);
    }

    private synchronized void setCalled(Lane made, byte[] id, RsmException failed) {
        calling = false;
        if (made != null && made.ended() == null) {
            control = made;
            session = id;
            failure = null;
            bulkPause = 0;
        } else {
            failure = failed != null ? failed : unreachable(made == null ? "the link could not be made" : made.ended());
            failedAt = System.nanoTime();
            met = failure.error() == RsmError.BAD_DRIVER_VERSION || failure.data().containsKey("claimed-key");
        }
        notifyAll();
    }

    private Lane makeLane(byte[] id, boolean isBulk) {
        Channel channel = fabric.reach(node);
        if (isBulk) {
            channel.enlarge();
        }
        Lane lane = new Lane(channel, this, fabric.watcher(), fabric.timeout());
        boolean done = false;
        try {
            Reply welcome = new Reply(Frame.WELCOME);
            lane.ask(welcome, Frame.HELLO, isBulk ? Frame.BULK : 0, 0, Hello.BYTES,
                new Hello(id, fabric.timeoutMillis(), node)::write);
            if (!lane.await(welcome, System.nanoTime() + Fabric.INTRODUCTION_TIMES * fabric.timeout())) {
                throw unreachable("no answer in time");
            }
            if (welcome.code() != 0) {
                RsmError error = RsmError.ofCode(welcome.code());
                throw RsmException.of(error == null ? RsmError.REMOTE_NODE_UNREACHABLE : error, "link").with("node", node)
                    .with("reason", "the gateway has refused the link");
            }
            fabric.watcher().add(lane);
            done = true;
            return lane;
        } catch (Lane.Ended e) {
            throw unreachable(e.getMessage());
        } catch (IOException e) {
            throw unreachable(e.toString());
        } finally {
            if (!done) {
                lane.end("the link could not be made");
            }
        }
    }

    private RsmException unreachable(String reason) {
        return Introduction.unreachable(node, reason, null);
    }

    /** The link for much data, which is made if there is none. It may wait; null if there can be none now. */
    Lane makeBulk() {
        Lane of;
        byte[] id;
        synchronized (this) {
            if (control == null || !mayCallBulk()) {
                return bulk;
            }
            callingBulk = true;
            of = control;
            id = session;
        }
        return makeBulk(of, id);
    }

    private Lane makeBulk(Lane of, byte[] id) {
        Lane made = null;
        try {
            made = makeLane(id, true);
        } catch (RuntimeException | Error e) {
            made = null; // the other link does everything meanwhile
        } finally {
            calledBulk(of, made);
        }
        return made;
    }

    /** The link for much data, if there is one. */
    synchronized Lane bulk() {
        return bulk;
    }

    /** The link for much data that belongs to one for what is urgent; null if there is none yet. It does not wait. */
    synchronized Lane bulk(Lane of) {
        if (control != of) {
            return null;
        }
        if (mayCallBulk()) {
            callingBulk = true;
            byte[] id = session;
            try {
                begin(() -> callingBulk = false, () -> makeBulk(of, id));
            } catch (RsmException e) {
                pauseBulk(); // no thread for it: the other link does everything meanwhile
            }
        }
        return bulk;
    }

    private boolean mayCallBulk() {
        return bulk == null && !callingBulk && (bulkPause == 0 || System.nanoTime() - bulkPausedUntil >= 0);
    }

    private void pauseBulk() {
        bulkPause = Math.min(MOST_PAUSE_NANOS, Math.max(LEAST_PAUSE_NANOS, 2 * bulkPause));
        bulkPausedUntil = System.nanoTime() + bulkPause;
    }

    private void calledBulk(Lane of, Lane made) {
        synchronized (this) {
            callingBulk = false;
            if (made != null && control == of && made.ended() == null) {
                bulk = made;
                bulkPause = 0;
                of.setBeside(made);
                made.setBeside(of);
                return;
            }
            if (control == of) {
                pauseBulk();
            }
        }
        if (made != null) {
            made.end("the session has ended");
        }
    }

    // ---- one-sided access ----

    /** Whether to ask the other gateway for one-sided access to its segments. */
    boolean wantsOneSided() {
        return fabric.oneSided() != null && fabric.deviceOf(node) != null && !hasFailedOneSided();
    }

    private synchronized boolean hasFailedOneSided() {
        return oneSidedFailed && System.nanoTime() - oneSidedFailedAt < ONE_SIDED_RETRY_NANOS;
    }

    private synchronized void failOneSided() {
        oneSidedFailed = true;
        oneSidedFailedAt = System.nanoTime();
    }

    /**
     * One-sided access to a segment; null if there can be none now.
     *
     * @param over  the link over which the keys have come
     */
    OneSidedPath.Remote remote(Lane over, RemoteKeys keys, int number, Permission permission) {
        try {
            OneSidedPath found = path(over, keys.worker());
            return found == null ? null : found.remote(keys, number, permission);
        } catch (UcxError | OsError e) {
            failOneSided();
            fabric.noteOneSided("node " + node + ": " + e.getMessage());
            return null;
        }
    }

    private OneSidedPath path(Lane over, byte[] worker) {
        synchronized (opening) {
            OneSided device = fabric.oneSided();
            OneSidedPath found;
            synchronized (this) {
                if (device == null || control != over || hasFailedOneSided()) {
                    return null;
                }
                found = path;
            }
            if (found == null) {
                found = OneSidedPath.open(device, over, worker, this::failOneSided);
                if (!setPath(found, over)) {
                    found.end();
                }
            }
            return found.leads(over, worker) ? found : null;
        }
    }

    private synchronized boolean setPath(OneSidedPath opened, Lane over) {
        if (control != over) {
            return false;
        }
        path = opened;
        return true;
    }

    /** Makes a link if there is none and the last failure is some time ago, so that the state is known. */
    void probe(long now) {
        synchronized (this) {
            if (control == null && !calling && (failure == null || now - failedAt > RETRY_NANOS)) {
                call();
            }
        }
    }

    /**
     * Looks after the links.
     *
     * @return in how many ns it wants to be called again at the latest
     */
    long tick(long now, boolean stoodStill) {
        Lane first;
        Lane second;
        synchronized (this) {
            first = control;
            second = bulk;
        }
        long due = RETRY_NANOS;
        for (Lane lane : new Lane[] {first, second}) {
            if (lane != null) {
                if (stoodStill) {
                    lane.forgive(now);
                }
                due = Math.min(due, lane.tick(now));
            }
        }
        return due;
    }

    /** Ends the links, and so the connections over them. */
    void close(String reason) {
        Lane first;
        synchronized (this) {
            first = control;
        }
        if (first != null) {
            first.end(reason);
        }
    }

    /** The state of the way to it. */
    synchronized ConnectionState state() {
        if (control == null) {
            return failure != null && met ? ConnectionState.UP : ConnectionState.DOWN;
        }
        return control.silence(System.nanoTime()) > fabric.timeout() / 2 ? ConnectionState.GOING_DOWN : ConnectionState.ACTIVE;
    }

    synchronized GatewayStatus.Peer status() {
        long silent = control == null ? -1 : control.silence(System.nanoTime()) / 1_000_000;
        String reason = control != null || failure == null ? null : Introduction.inShort(failure);
        return new GatewayStatus.Peer(node, state(), silent, connections.size(), path != null, reason);
    }

    /** Waits for what is on its way: for {@link Fabric#settle}. */
    void settle() {
        Lane[] lanes;
        synchronized (this) {
            lanes = new Lane[] {control, bulk};
        }
        for (Lane lane : lanes) {
            if (lane != null) {
                lane.settle(Frame.PING, 0);
            }
        }
        for (int number : connections.keySet()) { // gateways on the way send on what is asked for a connection only
            if (lanes[0] != null) {
                lanes[0].settle(Frame.BARRIER, number);
            }
        }
    }

    // ---- what comes ----

    @Override
    public void event(int connection, int count) {
        Importer found = connections.get(connection);
        if (found != null) {
            found.event(count);
        }
    }

    @Override
    public void revoked(int connection, int reason) {
        Importer found = connections.get(connection);
        if (found != null) {
            found.abort(REASONS[reason >= 0 && reason < REASONS.length ? reason : 0]);
        }
    }

    /** The number of a reason for {@link Frame#REVOKED}. */
    static int reasonNumber(String reason) {
        for (int i = 1; i < REASONS.length; i++) {
            if (REASONS[i].equals(reason)) {
                return i;
            }
        }
        return 0;
    }

    @Override
    public void ended(Lane lane, String reason) {
        Lane other;
        OneSidedPath ending;
        synchronized (this) {
            if (lane != control && lane != bulk) {
                return;
            }
            ending = path;
            path = null;
            other = lane == control ? bulk : control;
            control = null;
            bulk = null;
            failure = unreachable(reason);
            failedAt = System.nanoTime() - RETRY_NANOS;
            met = false;
        }
        if (other != null) {
            other.end(reason);
        }
        if (ending != null) {
            ending.end();
        }
        for (Importer connection : connections.values()) {
            connection.abort(UNREACHABLE);
        }
    }
}
