package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;

/**
 * What one process of this host does over this gateway with segments of another node: its frames go on over the gateway's links, with the
 * numbers that those have, and the replies come back.
 */
final class Forwarding extends Session {
    /** Bytes of answers that a process may be owed before no more is taken from it. */
    private static final long MOST_OWED = 1 << 20;
    private static final int MOST_CONNECTIONS = 4_096;

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
                return connection == null || pass(link, frame, connection, frame.length() - Long.BYTES);
            case Frame.GET:
                require(frame.length() == Long.BYTES + Integer.BYTES && frame.u32(Long.BYTES) > 0
                    && frame.u32(Long.BYTES) <= Frame.MOST_DATA);
                return ask(link, frame, connection, Frame.DATA, frame.u32(Long.BYTES));
            case Frame.ATOMIC:
                require(frame.length() == 3 * Long.BYTES);
                return ask(link, frame, connection, Frame.RESULT, Long.BYTES);
            case Frame.BARRIER:
            case Frame.POST:
                require(frame.length() == 0);
                return ask(link, frame, connection, Frame.DONE, 0);
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
                () -> link.execute(link::goOn));
        } catch (Lane.Ended e) {
            return true; // the process is told that the connection is aborted
        }
    }

    private boolean ask(Incoming link, Frame frame, Forwarded connection, int replyType, int bytes) {
        if (connection == null) {
            answerLost(link, replyType, RsmError.CONN_ABORTED.code(), frame.connection(), frame.tag());
            return true;
        }
        if (link.owed() > MOST_OWED) {
            return false; // it goes on when the process has read
        }
        Passing reply = new Passing(link, frame.connection(), frame.tag(), replyType, bytes);
        try {
            boolean sent = lane(link, connection).offer(frame.type(), frame.flags(), connection.number, reply, link.bytes(), frame.body(),
                frame.length(), 0, () -> link.execute(link::goOn));
            if (sent) {
                link.owe(Frame.HEADER + bytes);
            }
            return sent;
        } catch (Lane.Ended e) {
            answerLost(link, replyType, Frame.LOST, frame.connection(), frame.tag());
            return true;
        }
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
            int length = frame.length();
            if (frame.type() != type || length > owed - Frame.HEADER) {
                return false;
            }
            byte[] body = new byte[length];
            System.arraycopy(received, frame.body(), body, 0, length);
            link.executeSoon(() -> link.whenRoom(length, () -> {
                link.add(type, 0, code, connection, tag, length).put(body);
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
        if (!gateway().connects(this).run(asked.segmentId(), () -> connect(connection, tag, asked))) {
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
            lane.ask(new Connecting(connection, tag), Frame.CONNECT, 0, connection.number, asked.bytes(), asked::write);
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
        Object reason = failure.data().getOrDefault("reason", failure.data().get("hint"));
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

        Connecting(Forwarded connection, int tag) {
            this.connection = connection;
            this.tag = tag;
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
            answer(connection.local, tag, frame.code(), frame.bytes(0, frame.length()));
            return true;
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
            this.over = true;
            connections.remove(local, this);
            peer.forget(number, this);
            if (over != null) {
                disconnect(over);
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
