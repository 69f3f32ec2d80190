package org.rsmapi.net;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import org.rsmapi.Capabilities;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect.AbortListener;
import org.rsmapi.spi.RemoteMemory;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.OsError;

/** An importer's connection to a segment on another host. */
final class NetConnection implements Connection, RemoteMemory, Peer.Importer {
    /** Moves of more than that go over the lane for much data, if there is one. */
    private static final long SMALL = 1 << 14;
    private static final int FIELDS = 24;
    /** For fingerprints. */
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final long SECRET = RANDOM.nextLong();
    private static final long OTHER_SECRET = RANDOM.nextLong();
    private static final long LARGEST = 1L << 47;
    private static final long SMALLEST_PAGE = 4096;

    private final Peer peer;
    private final int number;
    private final long segmentId;
    private final Permission permission;
    private final AbortListener listener;
    private final NetSignals signals;
    private final Lane control;
    private long size;
    private int pid;
    private long uid;
    private ByteOrder order;
    private String layout;
    private boolean byDevice;

    /** Writes on each lane so far, and those of which it is known that they have arrived. */
    private final Progress onControl = new Progress();
    private final Progress onBulk = new Progress();
    private volatile Lane bulk;

    private volatile String aborted;
    private volatile boolean closed;
    private boolean ended;

    private static final class Progress {
        private long written;
        private long confirmed;

        boolean isDirty() {
            return written != confirmed;
        }
    }

    private NetConnection(Peer peer, Lane control, int segmentId, Permission permission, AbortListener listener) {
        this.peer = peer;
        this.control = control;
        this.segmentId = Integer.toUnsignedLong(segmentId);
        this.permission = permission;
        this.listener = listener;
        try {
            this.signals = new NetSignals(this);
        } catch (OsError e) {
            throw about(Failures.resources("import-connect", e));
        }
        this.number = peer.nextNumber();
    }

    // ---- the beginning ----

    static NetConnection open(Peer peer, int segmentId, Permission permission, long deadline, AbortListener listener) {
        peer.fabric().acquire();
        NetConnection connection = null;
        boolean done = false;
        try {
            connection = new NetConnection(peer, peer.control(segmentId, deadline), segmentId, permission, listener);
            peer.add(connection.number, connection, connection.control);
            connection.open(deadline);
            done = true;
            return connection;
        } finally {
            if (!done && connection != null) {
                connection.end();
            } else if (!done) {
                peer.fabric().release();
            }
        }
    }

    Lane control() {
        return control;
    }

    private void open(long deadline) {
        Reply reply = new Reply(Frame.ANSWER);
        long millis = Math.max(1, Math.min((deadline - System.nanoTime()) / 1_000_000, Integer.MAX_VALUE));
        Connect.User user = new Connect.User(Credentials.uid(), Credentials.gid(), Credentials.groups());
        Connect asked = new Connect((int) segmentId, permission.bits(), (int) millis, user);
        try {
            control.ask(reply, Frame.CONNECT, 0, number, asked.bytes(), asked::write);
            if (!control.await(reply, deadline)) {
                hangUp();
                RsmError error = Thread.currentThread().isInterrupted() ? RsmError.INTERRUPTED : RsmError.TIMEOUT;
                throw failure(error, "import-connect").hint("the exporter's host has not answered");
            }
        } catch (Lane.Ended e) {
            throw failure(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect").with("reason", e.getMessage());
        }
        if (reply.code() == Frame.LOST) {
            throw failure(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect").hint("the gateway of this host has lost the node");
        }
        if (reply.code() != 0) {
            throw refusal(reply.code(), reply.body());
        }
        read(reply.body());
    }

    private RsmException refusal(int code, byte[] reason) {
        RsmError error = RsmError.ofCode(code);
        RsmException failure = failure(error == null ? RsmError.INTERNAL_ERROR : error, "import-connect");
        return reason == null || reason.length == 0 ? failure : failure.hint(new String(reason, StandardCharsets.UTF_8));
    }

    private void read(byte[] body) {
        if (body == null || body.length < FIELDS) {
            hangUp();
            throw failure(RsmError.CONN_ABORTED, "import-connect").hint("the other gateway breaks the protocol");
        }
        ByteBuffer fields = ByteBuffer.wrap(body);
        size = fields.getLong();
        uid = fields.getLong();
        pid = fields.getInt();
        int flags = fields.getInt();
        order = (flags & Frame.BIG_ENDIAN) != 0 ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN;
        byDevice = (flags & Frame.BY_DEVICE) != 0;
        layout = body.length == FIELDS ? null : decoded(ByteBuffer.wrap(body, FIELDS, body.length - FIELDS));
        if (size <= 0 || size > LARGEST || size % SMALLEST_PAGE != 0) {
            hangUp();
            throw failure(RsmError.CONN_ABORTED, "import-connect").with("size", size).hint("the other gateway breaks the protocol");
        }
    }

    private static String decoded(ByteBuffer text) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(text).toString();
        } catch (CharacterCodingException e) {
            return null;
        }
    }

    // ---- the end ----

    private void hangUp() {
        Lane lane = onBulk.isDirty() && bulk != null ? bulk : control; // behind what was written
        try {
            lane.send(Frame.DISCONNECT, 0, number, 0, null, false);
        } catch (Lane.Ended e) {
            return; // nobody there who has to know
        }
    }

    /** Aborts it, if it is not closed; by any thread, and without waiting. */
    @Override
    public void abort(String reason) {
        synchronized (this) {
            if (aborted != null || closed) {
                return;
            }
            aborted = reason;
        }
        peer.forget(number, this);
        signals.end();
        peer.fabric().tell(() -> listener.aborted(reason));
    }

    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
        }
        if (aborted == null) {
            hangUp();
        }
        end();
    }

    private void end() {
        synchronized (this) {
            closed = true;
            if (ended) {
                return;
            }
            ended = true;
        }
        peer.forget(number, this);
        signals.close();
        peer.fabric().release();
    }

    // ---- what it is ----

    @Override
    public Capabilities capabilities() {
        return byDevice ? NetInterconnect.BY_DEVICE : NetInterconnect.CAPABILITIES;
    }

    @Override
    public long size() {
        return size;
    }

    @Override
    public ByteOrder byteOrder() {
        return order;
    }

    @Override
    public String layout() {
        return layout;
    }

    @Override
    public int exporterPid() {
        return pid;
    }

    @Override
    public long exporterUid() {
        return uid;
    }

    @Override
    public boolean aborted() {
        return aborted != null;
    }

    @Override
    public String abortReason() {
        return aborted;
    }

    @Override
    public RemoteMemory remote() {
        return this;
    }

    // ---- signals ----

    @Override
    public Signals signals() {
        return signals;
    }

    @Override
    public void post(boolean accumulate) {
        checkAlive("signal-post");
        try {
            Lane lane;
            synchronized (onControl) {
                lane = onBulk.isDirty() ? bulk : control;
            }
            Reply reply = new Reply(Frame.DONE);
            lane.ask(reply, Frame.POST, accumulate ? Frame.ACCUMULATE : 0, number, 0, null);
            lane.awaitAlways(reply);
            check("signal-post", reply);
        } catch (Lane.Ended e) {
            throw lost("signal-post", e);
        }
    }

    @Override
    public void event(int count) {
        signals.add(count);
    }

    /** All events have been taken that were told: more may come. */
    void taken() {
        if (aborted == null && !closed) {
            try {
                control.send(Frame.TAKEN, 0, number, 0, null, false);
            } catch (Lane.Ended e) {
                return; // no more come
            }
        }
    }

    // ---- data ----

    /** The lane for a move. What was written on the other one has arrived before. */
    private Lane lane(long length) {
        boolean waits;
        Lane chosen;
        synchronized (onControl) {
            if (bulk == null && length > SMALL) {
                bulk = peer.bulk(control);
            }
            boolean much = bulk != null && (onBulk.isDirty() || length > SMALL);
            chosen = much ? bulk : control;
            waits = much && onControl.isDirty();
        }
        if (waits) {
            settle("put", control, onControl);
        }
        return chosen;
    }

    private Progress progress(Lane lane) {
        return lane == control ? onControl : onBulk;
    }

    @Override
    public void put(long offset, long address, long length) {
        put(offset, address, length, false);
    }

    @Override
    public void put(long offset, long address, long length, boolean more) {
        checkAlive("put");
        try {
            Lane lane = lane(length);
            synchronized (onControl) {
                progress(lane).written++;
            }
            lane.put(number, offset, address, length, more);
        } catch (Lane.Ended e) {
            throw lost("put", e);
        }
    }

    @Override
    public void get(long offset, long address, long length) {
        get(offset, length, Reply.ofData(address, length, false), null);
    }

    @Override
    public void getChanged(long offset, long address, long length, long known, Part changed) {
        Reply reply = Reply.ofData(address, length, true);
        get(offset, length, reply, new Lane.Known(known, SECRET, OTHER_SECRET));
        reply.tellChanged(changed);
    }

    private void get(long offset, long length, Reply reply, Lane.Known known) {
        checkAlive("get");
        try {
            Lane lane = lane(length);
            lane.get(reply, number, offset, length, known);
            await("get", lane, reply);
        } catch (Lane.Ended e) {
            throw lost("get", e);
        }
    }

    @Override
    public long compareAndExchange(long offset, int width, long expected, long value) {
        return atomic("compare-and-exchange", offset, width, value, expected);
    }

    @Override
    public long getAndAdd(long offset, int width, long delta) {
        return atomic("get-and-add", offset, width | Frame.ADD, delta, 0);
    }

    private long atomic(String op, long offset, int flags, long operand, long expected) {
        checkAlive(op);
        try {
            Reply reply = new Reply(Frame.RESULT);
            Lane lane = lane(Long.BYTES);
            lane.ask(reply, Frame.ATOMIC, flags, number, 3 * Long.BYTES, out -> out.putLong(offset).putLong(operand).putLong(expected));
            await(op, lane, reply);
            return reply.number();
        } catch (Lane.Ended e) {
            throw lost(op, e);
        }
    }

    @Override
    public void open() {
        checkAlive("open");
        long silent = control.silence(System.nanoTime());
        if (silent > peer.fabric().timeout() / 2) {
            throw failure(RsmError.BARRIER_OPEN_FAILED, "open").with("silent-ms", silent / 1_000_000)
                .hint("nothing has been heard of the exporter's host for a while");
        }
    }

    @Override
    public void order() {
        checkAlive("order");
        boolean first;
        boolean second;
        synchronized (onControl) {
            first = onControl.isDirty();
            second = onBulk.isDirty();
        }
        if (first && second) {
            confirm();
        } else if (first || second) { // what is written from now on takes the same way
            try {
                Lane lane = first ? control : bulk;
                if (byDevice) {
                    lane.send(Frame.ORDER, 0, number, 0, null, false);
                } else {
                    lane.flush();
                }
            } catch (Lane.Ended e) {
                throw lost("order", e);
            }
        }
    }

    @Override
    public void confirm() {
        checkAlive("confirm");
        boolean first;
        boolean second;
        synchronized (onControl) {
            second = onBulk.isDirty();
            first = onControl.isDirty() || !second; // whoever confirms without having written wants to know whether it stands
        }
        try {
            if (second) {
                settle("confirm", bulk, onBulk);
            }
            if (first) {
                settle("confirm", control, onControl);
            }
        } catch (Lane.Ended e) {
            throw lost("confirm", e);
        }
    }

    /** Waits until what was written on a lane has arrived. */
    private void settle(String op, Lane lane, Progress progress) {
        long until;
        synchronized (onControl) {
            until = progress.written;
        }
        Reply reply = new Reply(Frame.DONE);
        lane.ask(reply, Frame.BARRIER, 0, number, 0, null);
        await(op, lane, reply);
        synchronized (onControl) {
            progress.confirmed = Math.max(progress.confirmed, until);
        }
    }

    private void await(String op, Lane lane, Reply reply) {
        if (!lane.await(reply, lane.giveUpAt())) {
            if (Thread.currentThread().isInterrupted()) {
                throw failure(RsmError.INTERRUPTED, op);
            }
            throw failure(RsmError.BARRIER_FAILURE, op).hint("the exporter's host has not answered");
        }
        check(op, reply);
    }

    private void check(String op, Reply reply) {
        if (reply.code() == Frame.LOST) {
            abort(Peer.UNREACHABLE);
            throw failure(RsmError.CONN_ABORTED, op).with("reason", "the gateway of this host has lost the node");
        }
        if (reply.code() != 0) {
            RsmError error = RsmError.ofCode(reply.code());
            if (error == null || error == RsmError.CONN_ABORTED) {
                abort("unpublished");
                throw failure(RsmError.CONN_ABORTED, op);
            }
            throw failure(error, op);
        }
    }

    // ---- what goes wrong ----

    private void checkAlive(String op) {
        if (aborted != null || closed) {
            RsmException failure = failure(RsmError.CONN_ABORTED, op);
            throw aborted == null ? failure : failure.with("reason", aborted);
        }
    }

    private RsmException lost(String op, Lane.Ended e) {
        abort(Peer.UNREACHABLE);
        return failure(RsmError.CONN_ABORTED, op).with("reason", e.getMessage());
    }

    private RsmException failure(RsmError error, String op) {
        return about(RsmException.of(error, op));
    }

    private RsmException about(RsmException failure) {
        return failure.with("node", peer.node()).with("segment-id", segmentId).with("perm", permission);
    }
}
