package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;

/**
 * What one process of this host does over this gateway with segments of another node: its frames go on over the gateway's links, with the
 * numbers that those have, and the replies come back.
 */
final class Forwarding extends Session {
    private static final int MOST_CONNECTIONS = 4_096;
    /** Where the flags are in an answer to a connect. */
    private static final int FLAGS_AT = Served.DESCRIPTION_BYTES - Integer.BYTES;

    private final Peer peer;
    private final Connect.User user;
    private final int pid;
    private final Map<Integer, Forwarded> connections = new ConcurrentHashMap<>();

    Forwarding(Gateway gateway, String id, Peer peer, Connect.User user, int pid) {
        super(gateway, id);
        this.peer = peer;
        this.user = user;
        this.pid = pid;
    }

    @Override
    int importers() {
        return connections.size();
    }

    @Override
    String whose() {
        return "process " + pid + " of " + party();
    }

    @Override
    String party() {
        return "user " + Integer.toUnsignedString(user.uid());
    }

    @Override
    void endConnections() {
        for (Forwarded connection : new ArrayList<>(connections.values())) {
            connection.end(connection.lane);
        }
    }

    // ---- frames of the process ----

    @Override
    public boolean take(Incoming link, Frame frame) throws IOException {
        Forwarded connection = connections.get(frame.connection());
        switch (frame.type()) {
            case Frame.CONNECT:
                require(connection == null);
                connect(frame);
                return true;
            case Frame.PUT:
                require(frame.length() > Long.BYTES);
                return connection == null || put(link, frame, connection, frame.length() - Long.BYTES);
            case Frame.GET:
                Get wanted = Get.read(frame);
                return connection != null && connection.remote != null ? get(link, frame, connection, wanted)
                    : ask(link, frame, connection, Frame.DATA, wanted.length());
            case Frame.ATOMIC:
                require(frame.length() == 3 * Long.BYTES);
                return askInOrder(link, frame, connection, Frame.RESULT, Long.BYTES);
            case Frame.BARRIER:
                require(frame.length() == 0);
                return connection != null && connection.remote != null ? confirm(link, frame, connection)
                    : ask(link, frame, connection, Frame.DONE, 0);
            case Frame.POST:
                require(frame.length() == 0);
                return askInOrder(link, frame, connection, Frame.DONE, 0);
            case Frame.ORDER:
                require(frame.length() == 0);
                return connection == null || connection.remote == null || connection.remote.order(link::goOnSoon);
            case Frame.TAKEN:
                require(frame.length() == 0);
                return connection == null || pass(link, frame, connection, 0);
            case Frame.DISCONNECT:
                if (connection != null) {
                    connection.end(lane(link, connection)); // behind what was written over it
                }
                return true;
            default:
                throw new IOException("a frame of type " + frame.type());
        }
    }

    /** The link to the other node that belongs to one of the process. */
    private Lane lane(Incoming link, Forwarded connection) {
        Lane much = link == control() ? null : peer.bulk();
        return much == null ? connection.lane : much;
    }

    private boolean pass(Incoming link, Frame frame, Forwarded connection, int data) {
        try {
            return lane(link, connection).offer(frame.type(), frame.flags(), connection.number, null, link.bytes(), frame.body(), frame.length(), data,
                link::goOnSoon);
        } catch (Lane.Ended e) {
            return true; // the process is told that the connection is aborted
        }
    }

    private boolean ask(Incoming link, Frame frame, Forwarded connection, int replyType, int bytes) {
        if (connection == null) {
            answerLost(link, replyType, RsmError.CONN_ABORTED.code(), frame.connection(), frame.tag());
            return true;
        }
        if (link.owesMuch()) {
            return false; // it goes on when the process has read
        }
        Passing reply = new Passing(link, frame.connection(), frame.tag(), replyType, bytes);
        try {
            boolean sent = lane(link, connection).offer(frame.type(), frame.flags(), connection.number, reply, link.bytes(), frame.body(),
                frame.length(), 0, link::goOnSoon);
            if (sent) {
                link.owe(Frame.HEADER + bytes);
            }
            return sent;
        } catch (Lane.Ended e) {
            answerLost(link, replyType, Frame.LOST, frame.connection(), frame.tag());
            return true;
        }
    }

    // ---- the same by one-sided access ----

    private boolean put(Incoming link, Frame frame, Forwarded connection, int data) {
        OneSidedPath.Remote remote = connection.remote;
        if (remote == null) {
            return pass(link, frame, connection, data);
        }
        if (!mayMove(connection, true, frame.u64(0), data)) {
            return true;
        }
        return remote.put(frame.u64(0), link.bytes(), frame.body() + Long.BYTES, data, link::goOnSoon);
    }

    /** Whether a range can be moved; if not, the connection is ended, as the other gateway would do. */
    private boolean mayMove(Forwarded connection, boolean write, long offset, int length) {
        if (connection.remote.mayMove(write, offset, length)) {
            return true;
        }
        control().executeSoon(() -> control().tell(Frame.REVOKED, Peer.reasonNumber("protocol-error"), connection.local));
        connection.end(connection.lane);
        return false;
    }

    private boolean get(Incoming link, Frame frame, Forwarded connection, Get wanted) {
        int length = wanted.length();
        if (!mayMove(connection, false, wanted.offset(), length)) {
            answerLost(link, Frame.DATA, RsmError.CONN_ABORTED.code(), frame.connection(), frame.tag());
            return true;
        }
        int tag = frame.tag();
        return !link.owesMuch() && owing(link, length, connection.remote.get(wanted,
            (code, data) -> link.executeSoon(() -> {
                link.paid(Frame.HEADER + length);
                int flags = code == 0 && data.length == 0 ? Frame.UNCHANGED : 0;
                link.whenRoom(data.length, () -> link.add(Frame.DATA, flags, code, connection.local, tag, data.length).put(data));
            }), link::goOnSoon));
    }

    private boolean confirm(Incoming link, Frame frame, Forwarded connection) {
        int tag = frame.tag();
        return !link.owesMuch() && owing(link, 0, connection.remote.confirm(
            code -> link.executeSoon(() -> {
                link.paid(Frame.HEADER);
                link.whenRoom(0, () -> link.add(Frame.DONE, 0, code, connection.local, tag, 0));
            }), link::goOnSoon));
    }

    private static boolean owing(Incoming link, int bytes, boolean asked) {
        if (asked) {
            link.owe(Frame.HEADER + bytes);
        }
        return asked;
    }

    /** Asks over the link, when what was put by one-sided access has arrived. */
    private boolean askInOrder(Incoming link, Frame frame, Forwarded connection, int replyType, int bytes) {
        OneSidedPath.Remote remote = connection == null ? null : connection.remote;
        if (remote == null) {
            return ask(link, frame, connection, replyType, bytes);
        }
        if (link.owesMuch()) {
            return false;
        }
        int type = frame.type();
        int flags = frame.flags();
        byte[] body = frame.bytes(0, frame.length());
        Passing reply = new Passing(link, frame.connection(), frame.tag(), replyType, bytes);
        return owing(link, bytes, remote.after(
            () -> connection.lane.ask(reply, type, flags, connection.number, body.length, out -> out.put(body)),
            reply::lose, link::goOnSoon));
    }

    private static void answerLost(Incoming link, int type, int code, int connection, int tag) {
        int bytes = type == Frame.RESULT ? Long.BYTES : 0;
        link.whenRoom(bytes, () -> {
            ByteBuffer to = link.add(type, 0, code, connection, tag, bytes);
            if (bytes > 0) {
                to.putLong(0);
            }
        });
    }

    /** A reply that goes on to the process. */
    private static final class Passing implements Lane.Expected {
        private final Incoming link;
        private final int connection;
        private final int tag;
        private final int type;
        private final int owed;

        Passing(Incoming link, int connection, int tag, int type, int bytes) {
            this.link = link;
            this.connection = connection;
            this.tag = tag;
            this.type = type;
            this.owed = Frame.HEADER + bytes;
        }

        @Override
        public void setFirstTag(int first) {
        }

        @Override
        public boolean take(Frame frame, byte[] received) {
            int code = frame.code();
            int flags = frame.flags();
            int length = frame.length();
            if (frame.type() != type || length > owed - Frame.HEADER) {
                return false;
            }
            if (link.payAtOnce(owed, type, flags, code, connection, tag, received, frame.body(), length)) {
                return true;
            }
            byte[] body = frame.bytes(0, length);
            link.executeSoon(() -> link.whenRoom(length, () -> {
                link.add(type, flags, code, connection, tag, length).put(body);
                link.paid(owed);
            }));
            return true;
        }

        @Override
        public void lose() {
            link.executeSoon(() -> {
                link.paid(owed);
                answerLost(link, type, Frame.LOST, connection, tag);
            });
        }
    }

    // ---- connections ----

    private void connect(Frame frame) throws IOException {
        Connect claimed = Connect.read(frame);
        Connect asked = new Connect(claimed.segmentId(), claimed.permission(), claimed.millis(), user); // the kernel's word
        int number = frame.connection();
        int tag = frame.tag();
        if (connections.size() >= MOST_CONNECTIONS) {
            refuse(number, tag, RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "import-connect")
                .hint("the gateway of this host has " + MOST_CONNECTIONS + " connections of one process at most"));
            return;
        }
        Forwarded connection = new Forwarded(number);
        connections.put(number, connection);
        if (!gateway().connects(this).run(pid, asked.segmentId(), () -> connect(connection, tag, asked))) {
            connections.remove(number);
            refuse(number, tag, RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "import-connect")
                .hint("the gateway of this host has too many connects to make"));
        }
    }

    /** In a thread that may wait. */
    private void connect(Forwarded connection, int tag, Connect asked) {
        long deadline = System.nanoTime() + asked.millis() * 1_000_000L;
        try {
            Lane lane = peer.control(asked.segmentId(), deadline);
            synchronized (connection) {
                connection.lane = lane;
            }
            peer.add(connection.number, connection, lane);
            lane.ask(new Connecting(connection, tag, Permission.ofBits(asked.permission())), Frame.CONNECT,
                peer.wantsOneSided() ? Frame.ONE_SIDED : 0, connection.number, asked.bytes(), asked::write);
            if (connection.over) { // it was ended before it was asked for
                peer.forget(connection.number, connection);
                lane.send(Frame.DISCONNECT, 0, connection.number, 0, null, false);
            }
        } catch (RsmException e) {
            connection.end(null);
            refuse(connection.local, tag, e);
        } catch (Lane.Ended e) {
            connection.end(null);
            refuse(connection.local, tag, RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect").hint(e.getMessage()));
        }
    }

    private void refuse(int number, int tag, RsmException failure) {
        Object reason = Introduction.reason(failure);
        byte[] text = reason == null ? new byte[0] : String.valueOf(reason).getBytes(java.nio.charset.StandardCharsets.UTF_8);
        answer(number, tag, failure.error().code(), text);
    }

    private void answer(int number, int tag, int code, byte[] body) {
        Incoming link = control();
        link.executeSoon(() -> link.whenRoom(body.length, () -> link.add(Frame.ANSWER, 0, code, number, tag, body.length).put(body)));
    }

    /** The answer to a CONNECT. */
    private final class Connecting implements Lane.Expected {
        private final Forwarded connection;
        private final int tag;
        private final Permission permission;

        Connecting(Forwarded connection, int tag, Permission permission) {
            this.connection = connection;
            this.tag = tag;
            this.permission = permission;
        }

        @Override
        public void setFirstTag(int first) {
        }

        @Override
        public boolean take(Frame frame, byte[] received) {
            if (frame.type() != Frame.ANSWER) {
                return false;
            }
            if (frame.code() != 0) {
                connection.end(null);
            }
            byte[] body = frame.bytes(0, frame.length());
            if (frame.code() != 0 || body.length < Served.DESCRIPTION_BYTES) {
                answer(connection.local, tag, frame.code(), body);
            } else {
                connected(body);
            }
            return true;
        }

        /** Takes the keys out of the answer, which the process has no use for. */
        private void connected(byte[] body) {
            ByteBuffer in = ByteBuffer.wrap(body);
            ByteBuffer out = ByteBuffer.allocate(body.length);
            int flags = in.getInt(FLAGS_AT);
            out.put(in.slice(0, FLAGS_AT)).putInt(flags & Frame.BIG_ENDIAN);
            in.position(Served.DESCRIPTION_BYTES);
            RemoteKeys keys = (flags & Frame.WITH_KEYS) == 0 ? null : RemoteKeys.read(in);
            out.put(in).flip();
            if (keys == null || permission == null) {
                connected(null, out);
                return;
            }
            try {
                peer.fabric().work(() -> connected(peer.remote(connection.lane, keys, connection.number, permission), out));
            } catch (RsmException e) {
                connected(null, out);
            }
        }

        private void connected(OneSidedPath.Remote remote, ByteBuffer description) {
            if (remote == null && peer.fabric().requiresOneSided(peer.node())) {
                connection.end(connection.lane);
                refuse(connection.local, tag, RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect")
                    .hint("there is no one-sided access to the node, which the gateway of this host requires"));
                return;
            }
            if (remote != null) {
                connection.use(remote);
                description.putInt(FLAGS_AT, description.getInt(FLAGS_AT) | Frame.BY_DEVICE);
            }
            byte[] rest = new byte[description.remaining()];
            description.get(rest);
            answer(connection.local, tag, 0, rest);
        }

        @Override
        public void lose() {
            connection.end(null);
            answer(connection.local, tag, RsmError.REMOTE_NODE_UNREACHABLE.code(), new byte[0]);
        }
    }

    /** A connection of the process to a segment of the other node. */
    private final class Forwarded implements Peer.Importer {
        /** The number that the process has given it, and that of the gateway's links. */
        private final int local;
        private final int number = peer.nextNumber();
        private volatile Lane lane;
        /** How this gateway reaches the segment by itself; null if it does not. */
        private volatile OneSidedPath.Remote remote;
        private volatile boolean over;

        Forwarded(int local) {
            this.local = local;
        }

        @Override
        public void event(int count) {
            Incoming link = control();
            link.executeSoon(() -> link.tellEvents(local, count));
        }

        @Override
        public void abort(String reason) {
            Incoming link = control();
            link.executeSoon(() -> link.tell(Frame.REVOKED, Peer.reasonNumber(reason), local));
            end(null);
        }

        /** Ends it, and tells the other gateway over a lane; null if that need not know. */
        void end(Lane over) {
            OneSidedPath.Remote access;
            synchronized (this) {
                this.over = true;
                access = remote;
            }
            connections.remove(local, this);
            peer.forget(number, this);
            if (access != null) {
                access.close();
            } else if (over != null) {
                disconnect(over);
            }
        }

        /** Has data moved by one-sided access. */
        void use(OneSidedPath.Remote access) {
            boolean late;
            synchronized (this) {
                late = over;
                if (!late) {
                    remote = access;
                }
            }
            if (late) {
                access.close();
            }
        }

        private void disconnect(Lane over) {
            try {
                over.offer(Frame.DISCONNECT, 0, number, null, new byte[0], 0, 0, 0, () -> disconnect(over));
            } catch (Lane.Ended e) {
                return;
            }
        }
    }
}
