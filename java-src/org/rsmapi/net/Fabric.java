package org.rsmapi.net;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;
import org.rsmapi.spi.ConfFile;
import org.rsmapi.spi.Failures;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Threads;
import org.rsmapi.sys.Ucx;
import org.rsmapi.sys.UcxError;

/**
 * What a process has of one network of hosts: its node, the ways to the others, and the gateway, if this process is the host's. It is
 * there while a controller, a segment or a connection of the process needs it.
 */
final class Fabric {
    private static final String OP = "get-controller";
    private static final String TIMEOUT = "rsmapi.net.timeout";
    private static final String UCX = "rsmapi.ucx";
    private static final int DEFAULT_TIMEOUT = 1_000;
    static final int LEAST_TIMEOUT = 100;
    static final int MOST_TIMEOUT = 60_000;
    /** If the clock is late by so much, or by a fifth of the time limit, the process stood still. */
    private static final long LATE_NANOS = 200_000_000;
    private static final int LATE_IN_TIMEOUT = 5;
    /** What two gateways have to compute to know each other takes long in processes that have just begun: so many times the time limit. */
    static final int INTRODUCTION_TIMES = 3;
    private static final long LEAST_WAIT_NANOS = 1_000_000;
    /** How often the nodes file is looked at. */
    private static final long LOOK_NANOS = 500_000_000;
    /** How many links may be made at a time. */
    private static final int WORKERS = 64;
    private static final long IDLE_SECONDS = 5;

    private static final Map<Integer, Fabric> RUNNING = new HashMap<>();

    private final int unit;
    private final int node;
    /** Whether other hosts are reached over the gateway that another process of this host plays. */
    private final boolean local;
    private final int timeoutMillis;
    private final Watcher watcher;
    private final ThreadPoolExecutor workers = pool("rsmapi-net-call", 0, WORKERS, false);
    private final ThreadPoolExecutor teller = pool("rsmapi-net-tell", 1, 1, true);
    private final Thread clock = Threads.daemon(this::keepTime, "rsmapi-net-clock");
    private final SortedMap<Integer, Peer> peers = new ConcurrentSkipListMap<>();
    private final Gateway gateway;
    /** The nodes file as it was read last, and what it looked like then; for the clock. */
    private NodesFile nodes;
    private String stamp;
    /** That of a file which is not right. */
    private String noted;
    private long lookedAt;
    private final long begun = System.nanoTime();
    /** Who we are and whom we know, by the files as they were read last. */
    private volatile Known known;
    private int uses;
    /** Only where this process is nothing but a gateway. */
    private volatile OneSided oneSided;
    private String device;
    private volatile String oneSidedNote;
    private volatile boolean stopping;

    private Fabric(int unit, Place place) throws IOException {
        this.nodes = place.nodes();
        this.stamp = stamp(place.nodes().file());
        this.unit = unit;
        this.node = place.node();
        this.local = place.local();
        this.timeoutMillis = configuredTimeout();
        for (int other : place.nodes().nodes().keySet()) {
            if (other != node) {
                peers.put(other, new Peer(this, other));
            }
        }
        this.gateway = new Gateway(this);
        this.watcher = new Watcher();
    }

    private record Known(String stamp, Link.Identity identity) {}

    /** Threads that end when they have had nothing to do for a while. */
    static ThreadPoolExecutor pool(String name, int least, int most, boolean queued) {
        ThreadPoolExecutor made = new ThreadPoolExecutor(least, most, IDLE_SECONDS, TimeUnit.SECONDS,
            queued ? new LinkedBlockingQueue<>() : new SynchronousQueue<>(), action -> Threads.daemon(action, name));
        made.allowCoreThreadTimeOut(true);
        return made;
    }

    private static int configuredTimeout() {
        String value = System.getProperty(TIMEOUT);
        if (value == null || value.isBlank()) {
            return DEFAULT_TIMEOUT;
        }
        int millis;
        try {
            millis = Integer.parseInt(value.trim());
        } catch (NumberFormatException e) {
            millis = -1;
        }
        if (millis < LEAST_TIMEOUT || millis > MOST_TIMEOUT) {
            throw RsmException.of(RsmError.BAD_CONF, OP).with("value", value).hint("the system property " + TIMEOUT
                + " is a time limit in ms, from " + LEAST_TIMEOUT + " to " + MOST_TIMEOUT);
        }
        return millis;
    }

    // ---- its life ----

    /** The fabric of a unit, with one more use. */
    static Fabric open(int unit) {
        synchronized (RUNNING) {
            Fabric running = RUNNING.get(unit);
            if (running == null) {
                running = begin(unit, Place.find(unit, configuredTimeout()));
            }
            running.uses++;
            return running;
        }
    }

    private static Fabric begin(int unit, Place place) {
        Fabric made = null;
        boolean done = false;
        try {
            made = new Fabric(unit, place);
            made.watcher.start();
            if (!made.local) {
                made.gateway.open();
            }
            Threads.start(made.clock);
            RUNNING.put(unit, made);
            done = true;
            return made;
        } catch (IOException e) {
            throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, OP).with("reason", e.toString()).causedBy(e);
        } catch (OsError e) {
            throw Failures.resources(OP, e);
        } finally {
            if (!done && made != null) {
                made.stop();
            }
        }
    }

    /** One more use. */
    void acquire() {
        synchronized (RUNNING) {
            uses++;
        }
    }

    /** One use less; with the last it ends. */
    void release() {
        synchronized (RUNNING) {
            uses--;
            if (uses > 0) {
                return;
            }
            RUNNING.remove(unit);
        }
        stop();
    }

    private void stop() {
        stopping = true;
        gateway.close();
        for (Peer peer : peers()) {
            peer.close("this process does not use the controller any more");
        }
        closeDevice();
        watcher.stop();
        workers.shutdown();
        teller.shutdown();
        LockSupport.unpark(clock);
    }

    // ---- one-sided access ----

    /**
     * Opens the RDMA device that the nodes file names for this node.
     *
     * @throws RsmException BAD_CONF if the property {@code rsmapi.ucx} requires one, and there is none that can be used
     */
    synchronized void openDevice() {
        String named = identity("gateway").here().device();
        DeviceUse use = DeviceUse.configured();
        if (oneSided != null || stopping || use == DeviceUse.OFF) {
            return;
        }
        device = named;
        String obstacle = named == null ? "the nodes file names no device for this node" : null;
        if (named != null) {
            try {
                oneSided = OneSided.open(named);
            } catch (UcxError | OsError e) {
                obstacle = e.getMessage();
            }
        }
        oneSidedNote = obstacle;
        if (obstacle != null && use == DeviceUse.REQUIRED) {
            throw RsmException.of(RsmError.BAD_CONF, "gateway").with("property", UCX).with("value", "required").with("reason", obstacle)
                .hint("the gateway has to have an RDMA device, and has none");
        }
    }

    private synchronized void closeDevice() {
        if (oneSided != null) {
            oneSided.close();
            oneSided = null;
        }
    }

    /** How the property {@code rsmapi.ucx} says that RDMA devices are used. */
    private enum DeviceUse {
        /** Where both sides have one that works. */
        AUTO,
        OFF,
        /** Nothing else is used between nodes that have one. */
        REQUIRED;

        static DeviceUse configured() {
            String value = System.getProperty(UCX, "");
            for (DeviceUse each : values()) {
                if (value.isBlank() && each == AUTO || each.name().toLowerCase(Locale.ROOT).equals(value.trim())) {
                    return each;
                }
            }
            throw RsmException.of(RsmError.BAD_CONF, "gateway").with("value", value)
                .hint("the system property " + UCX + " is auto, off or required");
        }
    }

    /** This gateway's device; null if it uses none. */
    OneSided oneSided() {
        OneSided opened = oneSided;
        return opened == null || opened.failure() != null ? null : opened;
    }

    /** The device that the nodes file names for a node; null for none. */
    String deviceOf(int other) {
        Known last = known;
        NodesFile.Entry entry;
        try {
            entry = identity("link").nodes().nodes().get(other);
        } catch (RsmException e) { // what is there goes on as it was while a file cannot be read
            entry = last == null ? null : last.identity().nodes().nodes().get(other);
        }
        return entry == null ? null : entry.device();
    }

    /** Whether data must not go over the links to a node. */
    boolean requiresOneSided(int other) {
        return oneSided != null && DeviceUse.configured() == DeviceUse.REQUIRED && deviceOf(other) != null;
    }

    /** What has failed last, for people. */
    void noteOneSided(String failure) {
        oneSidedNote = failure;
    }

    private synchronized GatewayStatus.Device deviceStatus() {
        String failure = oneSided == null ? null : oneSided.failure();
        return device == null ? null
            : new GatewayStatus.Device(device, oneSided() == null ? null : Ucx.version(),
                failure == null ? oneSidedNote : failure);
    }

    /** The fabrics that this process uses. */
    static List<Fabric> running() {
        synchronized (RUNNING) {
            return new ArrayList<>(new TreeMap<>(RUNNING).values());
        }
    }

    boolean isStopping() {
        return stopping;
    }

    // ---- what it is ----

    String name() {
        return NetProvider.TYPE + unit;
    }

    int node() {
        return node;
    }

    long timeout() {
        return TimeUnit.MILLISECONDS.toNanos(timeoutMillis);
    }

    int timeoutMillis() {
        return timeoutMillis;
    }

    Path keyFile() {
        return KeyFile.defaultFile("gateway", unit);
    }

    boolean isLocal() {
        return local;
    }

    GatewayStatus status() {
        List<GatewayStatus.Peer> others = new ArrayList<>();
        for (Peer peer : peers()) {
            others.add(peer.status());
        }
        List<GatewayStatus.Caller> callers = new ArrayList<>();
        for (Session session : gateway.sessions()) {
            callers.add(session.status());
        }
        return new GatewayStatus(name(), node, Credentials.pid(), gateway.isOpen(), (System.nanoTime() - begun) / 1_000_000, others, callers,
            deviceStatus(), gateway.refusals(), gateway.breaches(), gateway.lastRefusal());
    }

    Watcher watcher() {
        return watcher;
    }

    Gateway gateway() {
        return gateway;
    }

    /**
     * Who we are and whom we know, by the files as they are now.
     *
     * @throws RsmException BAD_CONF
     */
    Link.Identity identity(String op) {
        Path key = KeyFile.defaultFile(op, unit);
        String found = stamp(key) + stamp(NodesFile.defaultFile(op, unit));
        Known last = known;
        if (last == null || !last.stamp().equals(found) || KeyFile.objection(last.identity().own().certificate()) != null) {
            last = new Known(found, readIdentity(op)); // strangers at the door do not cause more than a look
            known = last;
        }
        return last.identity();
    }

    private Link.Identity readIdentity(String op) {
        Link.Identity now = Place.identity(unit, op);
        if (now.here().node() != node) {
            throw ConfFile.failure(op, now.nodes().file()).with("node", now.here().node())
                .hint("this host was node " + node + " when the controller was opened, and its key is another node's now");
        }
        return now;
    }

    /**
     * A channel to the gateway of a node, or to that of this host, which goes on from there.
     *
     * @throws RsmException REMOTE_NODE_UNREACHABLE, BAD_DRIVER_VERSION, BAD_CONF
     */
    Channel reach(int other) {
        return local ? Place.throughGateway(unit, node, timeout()) : Link.call(identity("link"), other, timeoutMillis, INTRODUCTION_TIMES * timeoutMillis).channel();
    }

    /** Another node; null if the nodes file has none of that number. */
    Peer peer(int other) {
        Peer known = peers.get(other);
        if (known == null && other != node && Place.nodes(unit, "import-connect").nodes().containsKey(other)) {
            return peers.computeIfAbsent(other, number -> new Peer(this, number));
        }
        return known;
    }

    /** Another node of those that the nodes file had when the clock looked last; null if it is none. */
    Peer knownPeer(int other) {
        return peers.get(other);
    }

    private List<Peer> peers() {
        return new ArrayList<>(peers.values());
    }

    Topology.LocalController topology() {
        List<Topology.RemoteController> found = new ArrayList<>();
        for (Peer peer : peers()) {
            found.add(new Topology.RemoteController(peer.node(), name(), peer.node(), peer.state()));
        }
        return new Topology.LocalController(name(), node, List.copyOf(found));
    }

    // ---- its threads ----

    /** Does something that may wait, such as making a link. */
    void work(Runnable action) {
        try {
            workers.execute(action);
        } catch (RejectedExecutionException | OutOfMemoryError e) { // of threads, by its own limit or by that of the system
            throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "link").causedBy(e).hint("too many links are being made");
        }
    }

    /** Has a listener told, by a thread that may wait for it. */
    void tell(Runnable action) {
        try {
            teller.execute(action);
        } catch (RejectedExecutionException e) {
            action.run(); // the last connection is being closed
        }
    }

    // ---- the nodes file ----

    private static String stamp(Path file) {
        try {
            BasicFileAttributes found = Files.readAttributes(file, BasicFileAttributes.class);
            return found.lastModifiedTime() + " " + found.size() + " " + found.fileKey();
        } catch (IOException | RuntimeException e) {
            return e.toString();
        }
    }

    /** Ends links to and from nodes of which the file says something else now. While it cannot be read, nothing changes. */
    private void lookAtFile(long now) {
        if (now - lookedAt < LOOK_NANOS) {
            return;
        }
        lookedAt = now;
        String found = stamp(nodes.file());
        if (found.equals(stamp)) {
            return;
        }
        NodesFile next;
        try {
            next = NodesFile.read("nodes", nodes.file());
        } catch (RsmException e) {
            if (!found.equals(noted)) {
                noted = found;
                gateway.note(Introduction.inShort(e));
            }
            return; // new links report it as well
        }
        NodesFile before = nodes;
        stamp = found;
        nodes = next;
        for (int other : next.nodes().keySet()) {
            if (other != node) {
                peers.computeIfAbsent(other, number -> new Peer(this, number));
            }
        }
        for (NodesFile.Entry entry : before.nodes().values()) {
            NodesFile.Entry changed = next.nodes().get(entry.node());
            if (!entry.equals(changed)) {
                forgetNode(entry.node(), changed == null ? "the nodes file does not have the node any more"
                    : "the nodes file says something else of the node now", changed == null);
            }
        }
    }

    private void forgetNode(int other, String reason, boolean removed) {
        Peer peer = removed ? peers.remove(other) : peers.get(other);
        if (peer != null) {
            peer.close(reason);
        }
        gateway.endSessionsOf(other, reason);
    }

    /**
     * Waits until what this process has asked for, and what its exporters have told, has arrived, between gateways of this process: for
     * tests.
     */
    static void settle() throws Exception {
        for (int round = 0; round < 2; round++) {
            for (Fabric fabric : running()) {
                fabric.gateway.settle();
            }
            for (Fabric fabric : running()) {
                for (Peer peer : fabric.peers()) {
                    peer.settle();
                }
                fabric.teller.submit(() -> { }).get();
            }
        }
    }

    private void keepTime() {
        long longest = Math.min(timeout() / Lane.PINGS, LOOK_NANOS);
        long late = Math.min(timeout() / LATE_IN_TIMEOUT, LATE_NANOS);
        long due = System.nanoTime() + longest;
        while (!stopping) {
            LockSupport.parkNanos(this, due - System.nanoTime());
            long now = System.nanoTime();
            boolean stoodStill = now - due > late;
            long wait = longest;
            try {
                lookAtFile(now);
                for (Peer peer : peers()) {
                    wait = Math.min(wait, peer.tick(now, stoodStill));
                    peer.probe(now);
                }
                if (!local) {
                    wait = Math.min(wait, gateway.tick(now, stoodStill));
                }
            } catch (RuntimeException | Error e) {
                wait = longest; // memory, most likely: the next tick does it
            }
            due = now + Math.max(wait, LEAST_WAIT_NANOS);
        }
    }
}
