package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.RsmError;
import org.rsmapi.mem.Stage;

/** What one process of another node does with segments of this host: takes its frames, and answers them. */
final class Serving extends Session {
    private static final int LONG_BITS = Long.BYTES - 1;

    private final NodesFile.Entry peer;
    private final Map<Integer, Served> connections = new ConcurrentHashMap<>();
    /** Revoked ones that the other gateway may still be accessing, and until when it may. */
    private final Map<Served, Long> lingering = new ConcurrentHashMap<>();

    Serving(Gateway gateway, String id, NodesFile.Entry peer) {
        super(gateway, id);
        this.peer = peer;
    }

    NodesFile.Entry peer() {
        return peer;
    }

    Map<Integer, Served> connections() {
        return connections;
    }

    @Override
    int importers() {
        return connections.size();
    }

    @Override
    String whose() {
        return party();
    }

    @Override
    String party() {
        return "node " + peer.node();
    }

    @Override
    void endConnections() {
        for (Served connection : new ArrayList<>(connections.values())) {
            connection.end();
        }
    }

    /** A connection that is revoked: it ends when the other gateway says so, or after a while. */
    void linger(Served connection) {
        lingering.put(connection, System.nanoTime() + limit());
        if (isOver()) {
            endConnections();
        }
    }

    /** A connection has ended. */
    void forget(Served connection) {
        connections.remove(connection.number(), connection);
        lingering.remove(connection);
    }

    @Override
    void tick(long now) {
        lingering.forEach((connection, until) -> {
            if (now - until > 0) {
                connection.end();
            }
        });
    }

    @Override
    public boolean take(Incoming link, Frame frame) throws IOException {
        int length = frame.length();
        Served connection = connections.get(frame.connection());
        switch (frame.type()) {
            case Frame.CONNECT:
                connect(frame);
                break;
            case Frame.PUT:
                require(length > Long.BYTES);
                if (connection != null) {
                    connection.put(frame.u64(0), link.bytes(), frame.body() + Long.BYTES, length - Long.BYTES, link.stage());
                }
                break;
            case Frame.GET:
                get(link, frame, connection, Get.read(frame));
                break;
            case Frame.ATOMIC:
                require(length == 3 * Long.BYTES);
                atomic(link, frame, connection);
                break;
            case Frame.BARRIER:
                done(link, frame, connection != null && connection.stands() ? null : RsmError.CONN_ABORTED);
                break;
            case Frame.POST:
                done(link, frame,
                    connection == null ? RsmError.CONN_ABORTED : connection.post((frame.flags() & Frame.ACCUMULATE) != 0));
                break;
            case Frame.TAKEN:
                if (connection != null) {
                    connection.mayHaveEvents();
                }
                break;
            case Frame.ORDER: // all of a link is in order
                require(length == 0);
                break;
            case Frame.DISCONNECT:
                if (connection != null) {
                    connection.end();
                }
                break;
            default:
                throw new IOException("a frame of type " + frame.type());
        }
        return true;
    }

    private static void done(Incoming link, Frame frame, RsmError error) {
        link.add(Frame.DONE, 0, error == null ? 0 : error.code(), frame.connection(), frame.tag(), 0);
    }

    private void connect(Frame frame) throws IOException {
        Connect asked = Connect.read(frame);
        require(!connections.containsKey(frame.connection()));
        gateway().admit(new Served(this, frame.connection(), frame.tag(), asked, (frame.flags() & Frame.ONE_SIDED) != 0),
            asked.millis());
    }

    /** Answers a CONNECT; in a turn. */
    void answer(Served connection, RsmError error, String hint) {
        Incoming link = control();
        byte[] text = error == null ? connection.layout() : hint == null ? new byte[0] : hint.getBytes(StandardCharsets.UTF_8);
        int fields = error == null ? connection.descriptionBytes() : 0;
        ByteBuffer body = ByteBuffer.allocate(fields + text.length); // made now: the connection may be over when there is room
        if (error == null) {
            connection.describe(body);
        }
        body.put(text).flip();
        link.whenRoom(body.remaining(), () ->
            link.add(Frame.ANSWER, 0, error == null ? 0 : error.code(), connection.number(), connection.tag(), body.remaining()).put(body));
    }

    private static void get(Incoming link, Frame frame, Served connection, Get wanted) {
        link.use(wanted.length());
        if (connection != null && connection.isKnown(wanted)) {
            link.add(Frame.DATA, Frame.UNCHANGED, 0, frame.connection(), frame.tag(), 0);
            return;
        }
        int length = wanted.length();
        Stage stage = link.stage();
        long at = stage.address() + (wanted.offset() & LONG_BITS); // aligned alike on both sides, so no word is divided
        boolean got = connection != null && connection.get(wanted.offset(), at, length);
        ByteBuffer to = link.add(Frame.DATA, 0, got ? 0 : RsmError.CONN_ABORTED.code(), frame.connection(), frame.tag(), got ? length : 0);
        if (got) {
            ENGINE.copyToArray(at, to.array(), to.position(), length);
            to.position(to.position() + length);
        }
    }

    private static void atomic(Incoming link, Frame frame, Served connection) {
        Long result = connection == null ? null : connection.atomic(frame.flags(), frame.u64(0), frame.u64(8), frame.u64(16));
        link.add(Frame.RESULT, 0, result == null ? RsmError.CONN_ABORTED.code() : 0, frame.connection(), frame.tag(), Long.BYTES)
            .putLong(result == null ? 0 : result);
    }
}
