package org.rsmapi.net;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.nio.channels.ServerSocketChannel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.Interconnects;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;

/**
 * The role of a host's gateway: who has the port of the node lets in other nodes, and is the importer of this host's segments for them.
 * A process that has a controller open plays it if no other process does, and takes over when that ends.
 */
final class Gateway {
    private static final long RETRY_NANOS = 500_000_000;
    private static final int BACKLOG = 128;
    private static final int SESSIONS_PER_PARTY = 128;
    /** How often in the time limit of a link's two sides something is said at least while something comes. */
    private static final int SAYINGS = 8;
    private static final long DESCRIPTORS_PER_CONNECTION = 16;
    private static final long LEAST_CONNECTIONS = 64;

    private final Fabric fabric;
    /** By party, so that none keeps the others waiting. */
    private final Map<String, Connects> connects = new ConcurrentHashMap<>();
    private final Map<String, Session> sessions = new ConcurrentHashMap<>();
    private final Map<Integer, AtomicLong> connectionsOfNodes = new ConcurrentHashMap<>();
    private final AtomicLong refusals = new AtomicLong();
    private final AtomicLong breaches = new AtomicLong();

    private Doorkeeper door;
    private LocalDoor localDoor;
    private Service doors;
    private Service control;
    private Service bulk;
    private Relay relay;
    private long triedAt = System.nanoTime();
    private boolean trying;
    private volatile boolean closed;
    private volatile Trouble last;

    /** What was refused, or failed, and when. */
    private record Trouble(String text, long at) {}

    Gateway(Fabric fabric) {
        this.fabric = fabric;
    }

    Fabric fabric() {
        return fabric;
    }

    // ---- the port ----

    /**
     * Tries to get the port, and looks after the links.
     *
     * @return in how many ns it wants to be called again at the latest
     */
    long tick(long now, boolean stoodStill) {
        if (closed) {
            return RETRY_NANOS;
        }
        synchronized (this) {
            if (door == null && !trying && now - triedAt > RETRY_NANOS) {
                triedAt = now;
                trying = true;
                retry();
            }
            if (door != null && localDoor == null) {
                openLocalDoor();
            }
        }
        long due = RETRY_NANOS;
        for (Session session : new ArrayList<>(sessions.values())) {
            session.tick(now);
            if (stoodStill) {
                session.control().forgive(now);
            } else if (now - session.heardAt() > session.limit()) {
                session.end("nothing was heard of the node");
            } else {
                due = Math.min(due, session.heardAt() + session.limit() - now + 1);
                session.sayThatItWaits();
            }
        }
        return due;
    }

    /** Tries again to get the port, in a thread that may wait: the name of the host has to be looked up. */
    private void retry() {
        boolean begun = false;
        try {
            fabric.work(() -> {
                try {
                    open();
                } finally {
                    tried();
                }
            });
            begun = true;
        } catch (RsmException e) {
            note(Introduction.inShort(e));
        } finally {
            trying = begun;
        }
    }

    private synchronized void tried() {
        trying = false;
    }

    private void openLocalDoor() {
        try {
            localDoor = LocalDoor.open(this, doors);
        } catch (IOException | OsError e) {
            note("processes of this host cannot be let in: " + e.getMessage());
        }
    }

    /** Tries to get the port. It may wait until the name of the host is looked up. */
    void open() {
        try {
            open(address(fabric.identity("gateway").here()));
        } catch (RsmException e) {
            note(Introduction.inShort(e));
        } catch (IOException | OsError e) {
            note("the port cannot be had: " + e.getMessage());
        }
    }

    private synchronized void open(InetSocketAddress address) throws IOException {
        if (closed || door != null) {
            return;
        }
        ServerSocketChannel port = ServerSocketChannel.open();
        try {
            port.bind(address, BACKLOG);
            doors = new Service("rsmapi-net-door");
            control = new Service("rsmapi-net-control");
            bulk = new Service("rsmapi-net-bulk");
            relay = new Relay();
            Doorkeeper keeper = new Doorkeeper(this, doors, port);
            doors.add(keeper);
            control.start();
            bulk.start();
            doors.start();
            door = keeper;
            openLocalDoor();
        } finally {
            if (door == null) {
                Link.close(port);
                stopServices();
            }
        }
    }

    /** The address of the nodes file, if it is one of this host's; else all of them. */
    private InetSocketAddress address(NodesFile.Entry here) throws IOException {
        InetAddress named;
        try {
            named = Link.resolved(here, fabric.timeoutMillis());
        } catch (IOException e) {
            return new InetSocketAddress(here.port());
        }
        boolean own = NetworkInterface.getByInetAddress(named) != null;
        return own ? new InetSocketAddress(named, here.port()) : new InetSocketAddress(here.port());
    }

    private void stopServices() {
        for (Service service : Arrays.asList(doors, control, bulk)) {
            if (service != null) {
                service.stop();
            }
        }
        doors = null;
        control = null;
        bulk = null;
        if (relay != null) {
            relay.stop();
            relay = null;
        }
    }

    /** Whether this process has the port. */
    synchronized boolean isOpen() {
        return door != null;
    }

    /** Gives the port back, and ends what goes through it. */
    void close() {
        closed = true;
        synchronized (this) {
            if (localDoor != null) {
                localDoor.stop();
                localDoor = null;
            }
            if (door != null) {
                door.stop();
                door = null;
                doors.stop();
            }
        }
        for (Session session : new ArrayList<>(sessions.values())) {
            session.end("the gateway ends");
        }
        synchronized (this) {
            stopServices();
        }
        connects.values().forEach(Connects::stop);
    }

    synchronized Relay relay() {
        return relay;
    }

    // ---- letting in ----

    /** A node has introduced itself, and said something first. */
    void letIn(Link link, Frame first) {
        Hello hello = Hello.read(first);
        if (hello == null || hello.node() != fabric.node()) {
            refused(null, "node " + link.peer().node() + " does not begin with a HELLO for this node");
            link.close();
            return;
        }
        String id = "node " + link.peer().node() + "/" + HexFormat.of().formatHex(hello.session());
        letIn(link.channel(), first, id, () -> new Serving(this, id, link.peer()));
    }

    /** A process of this host has said what it wants. */
    void letInLocal(Channel channel, Connect.User user, int pid, Frame first) {
        Hello hello = Hello.read(first);
        Peer peer = hello == null ? null : fabric.knownPeer(hello.node());
        if (peer == null) {
            refused(null, "process " + pid + " of this host does not begin with a HELLO for another node");
            channel.close();
            return;
        }
        String id = "user " + user.uid() + "/" + peer.node() + "/" + HexFormat.of().formatHex(hello.session());
        if ((first.flags() & Frame.BULK) != 0) {
            fabric.work(() -> {
                if (peer.makeBulk() == null) {
                    channel.close(); // the process goes on without
                } else {
                    letIn(channel, first, id, null);
                }
            });
            return;
        }
        letIn(channel, first, id, () -> new Forwarding(this, id, peer, user, pid));
    }

    private void letIn(Channel channel, Frame hello, String id, Supplier<Session> making) {
        boolean isBulk = (hello.flags() & Frame.BULK) != 0;
        int millis = Math.max(Fabric.LEAST_TIMEOUT, Math.min(Hello.read(hello).millis(), Fabric.MOST_TIMEOUT));
        long theirs = TimeUnit.MILLISECONDS.toNanos(millis);
        Session session = isBulk ? sessions.get(id) : making.get();
        Incoming link = null;
        if (session != null) {
            synchronized (this) {
                if (control == null) {
                    channel.close();
                    return;
                }
                link = new Incoming(this, isBulk ? bulk : control, channel, session,
                    Math.min(fabric.timeout(), theirs) / SAYINGS, session::end);
            }
            if (!isBulk) {
                session.setControl(link, Math.max(fabric.timeout(), theirs));
            }
        }
        boolean welcome = session != null && (isBulk ? session.setBulk(link)
            : sessionsOf(session.party()) < SESSIONS_PER_PARTY && sessions.putIfAbsent(id, session) == null);
        if (!welcome) {
            refused(null, isBulk ? "a link for much data names a session that is not there" : session.party() + " has too many links");
            channel.close();
            return;
        }
        if (isBulk) {
            channel.enlarge();
        }
        link.begin(hello.end());
    }

    private long sessionsOf(String party) {
        return sessions.values().stream().filter(each -> each.party().equals(party)).count();
    }

    /** A session has ended. */
    void forget(Session session) {
        sessions.remove(session.id(), session);
    }

    /** Ends what a node has here. */
    void endSessionsOf(int node, String reason) {
        for (Session session : sessions()) {
            if (session instanceof Serving && ((Serving) session).peer().node() == node) {
                session.end(reason);
            }
        }
    }

    /** Somebody was not let in. */
    void refused(InetAddress address, String reason) {
        note(address == null ? reason : address.getHostAddress() + ": " + reason); // who sees the number sees why, too
        refusals.incrementAndGet();
    }

    /** A node has not kept to the rules. */
    void breach(int node) {
        breaches.incrementAndGet();
        note("node " + node + " has asked for what its connection does not have");
    }

    // ---- connects ----

    /** The interconnect within this host, for importers of a node. */
    Interconnect local(int node, boolean asOthers) {
        return Interconnects.withinHost(fabric.name(), node, asOthers, "import-connect");
    }

    /** Has a connection made, without waiting for it. In the thread of the session's control link. */
    void admit(Served connection, int millis) {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
        AtomicLong count = connectionsOfNodes.computeIfAbsent(connection.session().peer().node(), key -> new AtomicLong());
        long most = Math.max(LEAST_CONNECTIONS, Fd.limit() / DESCRIPTORS_PER_CONNECTION);
        if (count.incrementAndGet() > most) {
            count.decrementAndGet();
            connection.session().answer(connection, RsmError.INSUFFICIENT_RESOURCES, "the other gateway serves "
                + most + " connections of a node at most");
            return;
        }
        if (connection.session().connections().putIfAbsent(connection.number(), connection) != null) { // both links ask at once
            count.decrementAndGet();
            connection.session().end("a connection with the number of another one");
            return;
        }
        if (connection.session().isOver()) { // its connections may have been ended before
            connection.end();
        }
        if (!connects(connection.session()).run(connection.uid(), connection.segmentId(), () -> make(connection, deadline))) {
            answer(connection, RsmError.INSUFFICIENT_RESOURCES, "the other gateway has too many connects to make");
        }
    }

    /** Who makes the connects that a session asks for. */
    Connects connects(Session session) {
        return connects.computeIfAbsent(session.party(), party -> new Connects());
    }

    private void make(Served connection, long deadline) {
        RsmError error = null;
        String hint = null;
        try {
            if (connection.isOver()) {
                error = RsmError.CONN_ABORTED; // the importer has gone while it waited
            } else if (deadline - System.nanoTime() <= 0) {
                error = RsmError.TIMEOUT;
                hint = "the exporter has too many connects to answer";
            } else {
                connection.connect(deadline);
            }
        } catch (RsmException e) {
            error = e.error();
            hint = connection.hint(e);
        } catch (OsError e) {
            error = RsmError.INSUFFICIENT_RESOURCES;
            hint = "the other gateway lacks something: " + e.getMessage();
        } catch (RuntimeException | Error e) {
            error = RsmError.INSUFFICIENT_RESOURCES;
            hint = "the other gateway has failed: " + e;
        }
        RsmError found = error;
        String said = hint;
        answer(connection, found, said);
    }

    private void answer(Served connection, RsmError error, String hint) {
        Incoming link = connection.session().control();
        link.execute(() -> {
            if (error != null) {
                connection.session().answer(connection, error, hint);
                connection.session().connections().remove(connection.number(), connection);
                ended(connection);
            } else if (connection.isOver()) {
                connection.session().answer(connection, RsmError.CONN_ABORTED, null);
            } else {
                connection.session().answer(connection, null, null);
                connection.begin();
            }
        });
    }

    /** A connection is not there any more. */
    void ended(Served connection) {
        connectionsOfNodes.get(connection.session().peer().node()).decrementAndGet();
    }

    /** Waits until what exporters have told has been sent: for {@link Fabric#settle}. */
    void settle() throws Exception {
        for (Session session : sessions()) {
            if (session instanceof Serving) {
                for (Served connection : new ArrayList<>(((Serving) session).connections().values())) {
                    while (!connection.isQuiet()) {
                        Thread.onSpinWait();
                    }
                }
            }
            FutureTask<Void> last = new FutureTask<>(() -> null);
            session.control().execute(last);
            last.get();
        }
    }

    // ---- status ----

    /** What has been refused or has failed last, why, and how long ago; null for nothing. */
    String lastRefusal() {
        Trouble found = last;
        return found == null ? null : found.text + " (" + (System.nanoTime() - found.at) / 1_000_000_000 + " s ago)";
    }

    /** Something has failed that whoever looks at the status wants to know of. */
    void note(String trouble) {
        last = new Trouble(trouble, System.nanoTime());
    }

    long refusals() {
        return refusals.get();
    }

    long breaches() {
        return breaches.get();
    }

    List<Session> sessions() {
        return new ArrayList<>(sessions.values());
    }
}
