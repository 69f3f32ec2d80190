package org.rsmapi.sim;

import java.nio.ByteOrder;
import java.util.Set;
import java.util.function.Supplier;
import org.rsmapi.Capabilities;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Engine;
import org.rsmapi.sim.Fault.Message;
import org.rsmapi.shared.SharedRange;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Interconnect.AbortListener;
import org.rsmapi.spi.MappedRange;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.RemoteMemory;
import org.rsmapi.spi.Signals;

/** An importer's connection: what it asks for goes as messages to the exporter's node, and what comes back. */
@SuppressWarnings("try") // a turn is only to be held
final class SimConnection implements Connection, RemoteMemory {
    /** Writes that may be under way; a further one waits. */
    private static final int MOST_UNDER_WAY = 1_024;

    private final World world;
    private final int importer;
    private final int exporter;
    private final long segmentId;
    private final Permission permission;
    private final AbortListener listener;
    private final SimSignals signals;
    private SimExport export;
    private long size;
    private String layout;

    /** Of the importer: writes so far, and how many of them a barrier has been answered for. */
    private long sent;
    private long asked;
    /** When the last of what was sent arrives, and what later writes must not arrive before. */
    private long latest;
    private long fence;
    private int underWay;

    /** Of the exporter: whether the memory is still what was published when the connection began. */
    private boolean revoked;
    /** That of the export when it was connected: another one, and what was mapped is not the exporter's memory any more. */
    private int generation;
    private final Arrivals arrivals = new Arrivals();

    private boolean aborted;
    private boolean closed;

    /** What came back. */
    private static final class Reply {
        private boolean here;
        private RsmError error;
        private byte[] data;
        private long number;
    }

    private SimConnection(World world, int importer, int exporter, int segmentId, Permission permission, AbortListener listener) {
        this.world = world;
        this.importer = importer;
        this.exporter = exporter;
        this.segmentId = Integer.toUnsignedLong(segmentId);
        this.permission = permission;
        this.listener = listener;
        this.signals = new SimSignals(world);
    }

    int importer() {
        return importer;
    }

    int exporter() {
        return exporter;
    }

    // ---- the beginning ----

    static SimConnection open(World world, int from, int node, int segmentId, Permission permission, long deadline,
            AbortListener listener) {
        try (World.Turn turn = world.turn()) {
            SimConnection connection = new SimConnection(world, from, node, segmentId, permission, listener);
            connection.open(deadline);
            return connection;
        }
    }

    private void open(long deadline) {
        if (world.isKnownToBeDown(importer, exporter)) {
            throw about(RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect")).hint("there is no way to that node");
        }
        Reply reply = new Reply();
        world.send(Message.CONNECT, importer, exporter, 0, null, () -> answer(reply), "segment-id", segmentId);
        Signals.Outcome outcome = world.await(() -> reply.here, deadline);
        if (!reply.here || reply.error != null) {
            revoked = true; // an answer that comes later finds nobody
            if (export != null) {
                export.connected().remove(this);
            }
            RsmError error = reply.here ? reply.error : outcome == Signals.Outcome.INTERRUPTED ? RsmError.INTERRUPTED
                : world.hasEnded() ? RsmError.CTLR_NOT_PRESENT : RsmError.TIMEOUT;
            throw about(RsmException.of(error, "import-connect").with("perm", permission));
        }
        world.connections().add(this);
        world.watchPath(this);
    }

    /** At the exporter's node. */
    private void answer(Reply reply) {
        SimExport found = world.published(exporter, (int) segmentId);
        int digits = found == null ? 0 : found.access().digits(importer);
        int granted = digits & 0600;
        RsmError error = found == null ? RsmError.SEG_NOT_PUBLISHED
            : digits == AccessPolicy.NOT_LISTED ? RsmError.SEG_NOT_PUBLISHED_TO_NODE
            : granted == 0 || (granted & permission.bits()) != permission.bits() ? RsmError.PERM_DENIED : null;
        if (error == null && !revoked) {
            export = found;
            size = found.size();
            layout = found.layout();
            generation = found.generation();
            found.add(this);
        }
        world.send(Message.ANSWER, exporter, importer, 0, found, () -> {
            reply.error = error;
            reply.here = true;
        }, "segment-id", segmentId, "code", error == null ? 0 : error.code());
    }

    // ---- the end ----

    /** At the exporter's node: the memory is taken away. What arrives from now on changes nothing. */
    void revoke(String reason) {
        revoked = true;
        world.send(Message.REVOKED, exporter, importer, 0, null, () -> abort(reason), "segment-id", segmentId);
    }

    /** At the exporter's node, which ends. */
    void isGone() {
        revoked = true;
    }

    /** There is no way for too long. */
    void lostWay(String reason) {
        leave();
        abort(reason);
    }

    /** At the exporter's node: the importer is not one any more. */
    void leave() {
        if (!revoked) {
            revoked = true;
            export.connected().remove(this);
        }
    }

    /** At the importer's node. */
    void abort(String reason) {
        if (!aborted && !closed) {
            aborted = true;
            world.note("abort", "node", importer, "segment-id", segmentId, "reason", reason);
            world.connections().remove(this);
            signals.abort();
            world.afterwards(() -> listener.aborted(reason));
        }
    }

    @Override
    public void close() {
        try (World.Turn turn = world.turn()) {
            if (!closed) {
                closed = true;
                signals.end();
                world.connections().remove(this);
                if (!aborted) {
                    world.send(Message.DISCONNECT, importer, exporter, latest, export, this::leave, "segment-id", segmentId);
                }
            }
        }
    }

    // ---- what it is ----

    @Override
    public Capabilities capabilities() {
        return SimInterconnect.capabilities(world);
    }

    @Override
    public long size() {
        return size;
    }

    @Override
    public ByteOrder byteOrder() {
        return ByteOrder.nativeOrder();
    }

    @Override
    public String layout() {
        return layout;
    }

    @Override
    public boolean aborted() {
        try (World.Turn turn = world.turn()) {
            if (isMemoryTaken()) {
                abort("revoked"); // before the message: what is read now is not the exporter's
            }
            return aborted;
        }
    }

    @Override
    public RemoteMemory remote() {
        return world.shares() ? null : this;
    }

    private boolean isMemoryTaken() {
        return world.shares() && export.generation() != generation;
    }

    int generation() {
        return generation;
    }

    @Override
    public MappedRange map(Placement placement, long address, Permission wanted, long offset, long length, Set<MemoryOption> options) {
        SharedRange range;
        try (World.Turn turn = world.turn()) {
            if (revoked || isMemoryTaken()) {
                abort("revoked");
            }
            checkAlive("import-map");
            range = export.map(placement, address, wanted.writes(), offset, length, options);
        }
        range.furnish(options, offset);
        return range;
    }

    // ---- signals ----

    @Override
    public Signals signals() {
        return signals;
    }

    @Override
    public void post(boolean accumulate) {
        try (World.Turn turn = world.turn()) {
            checkAlive("signal-post");
            world.send(Message.POST, importer, exporter, fence, export, () -> {
                if (!revoked) {
                    export.events().post(accumulate);
                }
            }, "segment-id", segmentId);
        }
    }

    /** At the exporter's node. */
    void postHere(boolean accumulate) {
        world.send(Message.POST, exporter, importer, 0, export, () -> {
            if (!closed) {
                signals.post(accumulate);
            }
        }, "segment-id", segmentId);
    }

    // ---- data ----

    @Override
    public void put(long offset, long address, long length) {
        byte[] data = new byte[(int) length];
        Engine.ENGINE.copyToArray(address, data, 0, data.length);
        try (World.Turn turn = world.turn()) {
            checkAlive("put");
            if (underWay >= MOST_UNDER_WAY
                    && world.await(() -> underWay < MOST_UNDER_WAY || aborted, world.now() + world.options().timeout()) != Signals.Outcome.READY) {
                throw unanswered("put");
            }
            checkAlive("put");
            long number = ++sent;
            underWay++;
            long after = world.options().overtake() ? fence : Math.max(fence, latest);
            World.Sent message = world.send(Message.PUT, importer, exporter, after, export, () -> {
                underWay--;
                if (!revoked) {
                    export.write(offset, data);
                    arrivals.add(number);
                }
            }, "segment-id", segmentId, "offset", offset, "length", length);
            if (message.lost()) {
                world.at(message.arrives(), () -> underWay--);
            }
            latest = Math.max(latest, message.arrives());
        }
    }

    @Override
    public void get(long offset, long address, long length) {
        Reply reply = ask("get", Message.GET, Message.DATA, () -> {
            Reply found = new Reply();
            found.data = export.read(offset, (int) length);
            return found;
        }, "offset", offset, "length", length);
        Engine.ENGINE.copyFromArray(reply.data, 0, address, reply.data.length);
    }

    @Override
    public long compareAndExchange(long offset, int width, long expected, long value) {
        return ask("compare-and-exchange", Message.ATOMIC, Message.RESULT, () -> {
            Reply found = new Reply();
            found.number = export.compareAndExchange(offset, width, expected, value);
            return found;
        }, "offset", offset, "length", width).number;
    }

    @Override
    public long getAndAdd(long offset, int width, long delta) {
        return ask("get-and-add", Message.ATOMIC, Message.RESULT, () -> {
            Reply found = new Reply();
            found.number = export.getAndAdd(offset, width, delta);
            return found;
        }, "offset", offset, "length", width).number;
    }

    @Override
    public void open() {
        try (World.Turn turn = world.turn()) {
            checkAlive("open");
        }
    }

    @Override
    public void order() {
        try (World.Turn turn = world.turn()) {
            checkAlive("order");
            fence = latest;
        }
    }

    @Override
    public void confirm() {
        long from;
        long to;
        try (World.Turn turn = world.turn()) {
            from = asked;
            to = sent;
        }
        try {
            ask("confirm", Message.BARRIER, Message.DONE, () -> {
                Reply found = new Reply();
                found.error = arrivals.have(from, to) ? null : RsmError.BARRIER_FAILURE;
                return found;
            }, "after", from, "until", to);
        } finally {
            try (World.Turn turn = world.turn()) {
                asked = Math.max(asked, to); // whoever asks again asks about what is written from now on
            }
        }
    }

    /** Sends a question behind all that was sent, and waits for the answer. */
    private Reply ask(String op, Message question, Message answer, Supplier<Reply> work, Object... facts) {
        try (World.Turn turn = world.turn()) {
            checkAlive(op);
            Reply reply = new Reply();
            Object[] all = new Object[facts.length + 2];
            System.arraycopy(facts, 0, all, 2, facts.length);
            all[0] = "segment-id";
            all[1] = segmentId;
            boolean[] fails = new boolean[1];
            World.Sent message = world.send(question, importer, exporter, latest, export, () -> {
                Reply found = revoked ? new Reply() : work.get();
                found.error = revoked ? RsmError.CONN_ABORTED : fails[0] ? RsmError.BARRIER_FAILURE : found.error;
                world.send(answer, exporter, importer, 0, export, () -> {
                    reply.error = found.error;
                    reply.data = found.data;
                    reply.number = found.number;
                    reply.here = true;
                }, "segment-id", segmentId);
            }, all);
            fails[0] = message.fails();
            latest = Math.max(latest, message.arrives());
            fence = latest;
            Signals.Outcome outcome = world.await(() -> reply.here || aborted, world.now() + world.options().timeout());
            if (outcome == Signals.Outcome.INTERRUPTED && !reply.here) {
                throw about(RsmException.of(RsmError.INTERRUPTED, op));
            }
            if (reply.here && reply.error == RsmError.CONN_ABORTED) {
                abort("revoked");
            }
            checkAlive(op);
            if (!reply.here) {
                throw unanswered(op);
            }
            if (reply.error != null) {
                throw about(RsmException.of(reply.error, op));
            }
            return reply;
        }
    }

    private void checkAlive(String op) {
        world.checkPath(this);
        if (aborted || closed || world.hasEnded()) {
            throw about(RsmException.of(RsmError.CONN_ABORTED, op));
        }
    }

    private RsmException unanswered(String op) {
        return about(RsmException.of(RsmError.BARRIER_FAILURE, op)).with("timeout-ms", world.options().timeout() / 1_000_000);
    }

    private RsmException about(RsmException failure) {
        return failure.with("node", exporter).with("segment-id", segmentId);
    }
}
