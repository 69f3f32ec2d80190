package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SelectionKey;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.RsmError;
import org.rsmapi.mem.Stage;
import org.rsmapi.spi.ExportedMemory;

/**
 * The gateway's end of a link that another node has made: takes its frames and answers them, in the thread of its service. What has to be
 * told besides, other threads send at once if it is nobody's turn.
 */
final class Incoming implements Service.Handler {
    /** Bytes that are taken before it is the turn of another link. */
    private static final int TURN = 1 << 19;
    private static final int LONG_BITS = Long.BYTES - 1;

    private final Gateway gateway;
    private final Service service;
    private final Link link;
    private final TlsChannel channel;
    private final Frame frame = new Frame();
    private final ByteBuffer out = ByteBuffer.allocate(2 * Frame.LARGEST + ExportedMemory.MAX_LAYOUT_BYTES);
    private final ReentrantLock turn = new ReentrantLock();
    // the rest with the turn
    private Session session;
    private SelectionKey key;
    /** What is to be sent as soon as there is room. */
    private final ArrayDeque<Runnable> backlog = new ArrayDeque<>();
    private int uncredited;
    private volatile long heardAt = System.nanoTime();
    private volatile long taken;
    private boolean closed;

    Incoming(Gateway gateway, Service service, Link link) {
        this.gateway = gateway;
        this.service = service;
        this.link = link;
        this.channel = link.channel();
    }

    NodesFile.Entry peer() {
        return link.peer();
    }

    /** Begins to take frames, of which there may be some already. */
    void begin(Session of, int helloEnd) {
        execute(() -> {
            session = of;
            try {
                channel.releaseSelectors();
                drop(helloEnd);
                add(Frame.WELCOME, 0, 0, 1, Integer.BYTES).putInt(gateway.fabric().timeoutMillis());
                key = channel.socket().register(service.selector(), SelectionKey.OP_READ, this);
                takeFrames();
                flush();
            } catch (IOException e) {
                session.end(e.toString());
            }
        });
    }

    private void drop(int bytes) {
        ByteBuffer received = channel.received();
        received.limit(received.position()).position(bytes);
        received.compact();
    }

    // ---- taking frames ----

    @Override
    public void ready(SelectionKey self) {
        turn.lock();
        try {
            takeTurn();
        } finally {
            turn.unlock();
        }
    }

    private void takeTurn() {
        try {
            flush();
            int bytes = 0;
            do {
                if (!takeFrames()) {
                    break; // the other side has to read first
                }
                int n = channel.receive();
                if (n < 0) {
                    session.end("the other node has ended the link");
                    return;
                }
                if (n > 0) {
                    heardAt = System.nanoTime();
                    bytes += n;
                    takeFrames();
                }
                if (n == 0 && !channel.hasMore()) {
                    break;
                }
            } while (bytes < TURN && channel.hasMore());
            flush();
            if (bytes >= TURN && channel.hasMore()) {
                execute(this::goOn);
            }
        } catch (IOException e) {
            session.end(e.toString());
        }
    }

    private void goOn() {
        if (!closed && key.isValid()) {
            takeTurn();
        }
    }

    /** Takes all whole frames; false if there is no room for answers. */
    private boolean takeFrames() throws IOException {
        ByteBuffer received = channel.received();
        int end = received.position();
        int at = 0;
        boolean room = true;
        while (!closed && frame.look(received, at, end)) {
            room = hasRoom();
            if (!room) {
                flush();
                room = hasRoom();
                if (!room) {
                    break;
                }
            }
            take();
            at = frame.end();
        }
        if (at > 0) {
            drop(at);
        }
        return room;
    }

    private boolean hasRoom() {
        return out.remaining() >= Frame.LARGEST;
    }

    private void take() throws IOException {
        int type = frame.type();
        if (type == Frame.PING) {
            add(Frame.PONG, 0, 0, frame.tag(), 0);
            return;
        }
        if (type == Frame.CONNECT) {
            connect();
            return;
        }
        Served connection = session.connections().get(frame.connection());
        int length = frame.length();
        switch (type) {
            case Frame.PUT:
                require(length > Long.BYTES);
                credit(length - Long.BYTES);
                if (connection != null) {
                    connection.put(frame.u64(0), channel.received().array(), frame.body() + Long.BYTES, length - Long.BYTES, service.stage());
                }
                return;
            case Frame.GET:
                require(length == Long.BYTES + Integer.BYTES && frame.u32(Long.BYTES) > 0 && frame.u32(Long.BYTES) <= Frame.MOST_DATA);
                get(connection, frame.u64(0), frame.u32(Long.BYTES));
                return;
            case Frame.ATOMIC:
                require(length == 3 * Long.BYTES);
                atomic(connection);
                return;
            case Frame.BARRIER:
                add(Frame.DONE, connection != null && connection.stands() ? 0 : RsmError.CONN_ABORTED.code(), frame.connection(), frame.tag(), 0);
                return;
            case Frame.POST:
                RsmError failed = connection == null ? RsmError.CONN_ABORTED : connection.post((frame.flags() & Frame.ACCUMULATE) != 0);
                add(Frame.DONE, failed == null ? 0 : failed.code(), frame.connection(), frame.tag(), 0);
                return;
            case Frame.TAKEN:
                if (connection != null) {
                    connection.mayHaveEvents();
                }
                return;
            case Frame.DISCONNECT:
                if (connection != null) {
                    connection.end();
                }
                return;
            default:
                throw new IOException("a frame of type " + type);
        }
    }

    private static void require(boolean holds) throws IOException {
        if (!holds) {
            throw new IOException("a malformed frame");
        }
    }

    private void credit(int bytes) {
        taken += bytes;
        uncredited += bytes;
        if (uncredited >= Frame.CREDIT_STEP) {
            add(Frame.CREDIT, 0, 0, 0, Integer.BYTES).putInt(uncredited);
            uncredited = 0;
        }
    }

    private void connect() throws IOException {
        require(frame.length() >= 6 * Integer.BYTES);
        int groups = frame.u32(20);
        require(groups >= 0 && groups <= Served.MOST_GROUPS && frame.length() == (6 + groups) * Integer.BYTES);
        int number = frame.connection();
        int tag = frame.tag();
        int[] ids = new int[groups];
        for (int i = 0; i < groups; i++) {
            ids[i] = frame.u32((6 + i) * Integer.BYTES);
        }
        require(!session.connections().containsKey(number));
        Served made = new Served(session, number, tag, frame.u32(0), frame.u32(4), new Served.Claims(frame.u32(12), frame.u32(16), ids));
        gateway.admit(made, frame.u32(8));
    }

    /** Answers a CONNECT; in a turn. */
    void answer(Served connection, RsmError error, String hint) {
        byte[] text = error == null ? connection.layout() : hint == null ? new byte[0] : hint.getBytes(StandardCharsets.UTF_8);
        int fields = error == null ? Served.DESCRIPTION_BYTES : 0;
        whenRoom(fields + text.length, () -> {
            ByteBuffer to =
                add(Frame.ANSWER, error == null ? 0 : error.code(), connection.number(), connection.tag(), fields + text.length);
            if (error == null) {
                connection.describe(to);
            }
            to.put(text);
        });
    }

    private void get(Served connection, long offset, int length) {
        Stage stage = service.stage();
        long at = stage.address() + (offset & LONG_BITS); // aligned alike on both sides, so no word is divided
        boolean got = connection != null && connection.get(offset, at, length);
        ByteBuffer to = add(Frame.DATA, got ? 0 : RsmError.CONN_ABORTED.code(), frame.connection(), frame.tag(), got ? length : 0);
        if (got) {
            ENGINE.copyToArray(at, to.array(), to.position(), length);
            to.position(to.position() + length);
        }
    }

    private void atomic(Served connection) {
        Long result = connection == null ? null : connection.atomic(frame.flags(), frame.u64(0), frame.u64(8), frame.u64(16));
        ByteBuffer to = add(Frame.RESULT, result == null ? RsmError.CONN_ABORTED.code() : 0, frame.connection(), frame.tag(), Long.BYTES);
        to.putLong(result == null ? 0 : result);
    }

    // ---- sending ----

    /** Sends a frame without an answer; in a turn. */
    void tell(int type, int code, int connection) {
        whenRoom(0, () -> add(type, code, connection, 0, 0));
    }

    /** Tells of events; in a turn. */
    void tellEvents(int connection, int count) {
        whenRoom(Integer.BYTES, () -> add(Frame.EVENT, 0, connection, 0, Integer.BYTES).putInt(count));
    }

    /** Adds a frame with so many bytes of body, now or when the other side has read. */
    private void whenRoom(int bytes, Runnable adding) {
        if (closed) {
            return;
        }
        try {
            if (!backlog.isEmpty() || out.remaining() < Frame.HEADER + bytes) {
                backlog.add(adding);
            } else {
                adding.run();
            }
            flush();
        } catch (IOException e) {
            session.end(e.toString());
        }
    }

    private ByteBuffer add(int type, int code, int connection, int tag, int bytes) {
        Frame.header(out, bytes, type, 0, code, connection, tag);
        return out;
    }

    private void flush() throws IOException {
        if (closed) {
            return;
        }
        boolean all = sendOut();
        while (all && !backlog.isEmpty()) {
            backlog.poll().run();
            all = sendOut();
        }
        if (key != null && key.isValid()) {
            int wanted = all ? SelectionKey.OP_READ : hasRoom() ? SelectionKey.OP_READ | SelectionKey.OP_WRITE : SelectionKey.OP_WRITE;
            if (key.interestOps() != wanted) {
                key.interestOps(wanted);
                service.look();
            }
        } else if (key != null) {
            throw new ClosedChannelException();
        }
    }

    private boolean sendOut() throws IOException {
        out.flip();
        try {
            return channel.send(out);
        } finally {
            out.compact();
        }
    }

    /** Bytes of data that have come. */
    long taken() {
        return taken;
    }

    long heardAt() {
        return heardAt;
    }

    void forgive(long now) {
        heardAt = now;
    }

    /** Has something done in a turn, by the service's thread. */
    void execute(Runnable task) {
        service.execute(() -> inTurn(task));
    }

    private void inTurn(Runnable task) {
        turn.lock();
        try {
            task.run();
        } finally {
            turn.unlock();
        }
    }

    /** Has something done in a turn, at once and by this thread if possible. */
    void executeSoon(Runnable task) {
        if (!turn.tryLock()) {
            execute(task);
            return;
        }
        try {
            task.run();
        } finally {
            turn.unlock();
        }
    }

    /** Closes the link; by any thread. */
    void close() {
        execute(() -> {
            closed = true;
            if (key != null) {
                key.cancel();
            }
            channel.close();
        });
    }
}
