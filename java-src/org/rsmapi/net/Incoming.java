package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SelectionKey;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.rsmapi.mem.Stage;
import org.rsmapi.spi.ExportedMemory;

/**
 * The gateway's end of a link that another node has made: takes its frames and answers them, in the thread of its service. What has to be
 * told besides, other threads send at once if it is nobody's turn.
 */
final class Incoming implements Service.Handler {
    /** Bytes that are taken, or read for the other side, before it is the turn of another link. */
    private static final int TURN = 1 << 19;
    private static final int MOST_OWED = 1 << 20;
    private final Gateway gateway;
    /** Something is said at least that often while something comes, in ns: on a slow way nothing else tells the other side that this one is there. */
    private final long sayEvery;
    private final Service service;
    private final Channel channel;
    private final Taker taker;
    private final Consumer<String> ended;
    private final Frame frame = new Frame();
    private final ByteBuffer out = ByteBuffer.allocate(2 * Frame.LARGEST + ExportedMemory.MAX_LAYOUT_BYTES);
    private final ReentrantLock turn = new ReentrantLock();
    /** Tasks that the service's thread has been given, and has not begun. */
    private final AtomicInteger queued = new AtomicInteger();
    // the rest with the turn
    private SelectionKey key;
    /** What is to be sent as soon as there is room. */
    private final ArrayDeque<Runnable> backlog = new ArrayDeque<>();
    private int uncredited;
    /** Of {@link #TURN}, what this turn has used. */
    private long used;
    private long saidAt = System.nanoTime();
    private volatile long taken;
    /** Whether a frame is there that cannot be taken yet. */
    private volatile boolean waits;
    private long owed;
    private boolean closed;

    /** What frames are for. */
    @FunctionalInterface
    interface Taker {
        /**
         * Takes a frame, in a turn. It does not wait.
         *
         * @return false if it cannot be taken now: {@link #goOn} when it can
         * @throws IOException if it is not one of those that may come: the link is ended
         */
        boolean take(Incoming link, Frame frame) throws IOException;
    }

    /**
     * A link that takes nothing yet.
     *
     * @param sayEvery  how often something is said at least while something comes, in ns
     * @param ended  called when the link has ended by itself, or because of what came
     */
    Incoming(Gateway gateway, Service service, Channel channel, Taker taker, long sayEvery, Consumer<String> ended) {
        this.sayEvery = sayEvery;
        this.gateway = gateway;
        this.service = service;
        this.channel = channel;
        this.taker = taker;
        this.ended = ended;
    }

    /** Memory for data, for takers. */
    Stage stage() {
        return service.stage();
    }

    /** The bytes in which the body of a frame is. */
    byte[] bytes() {
        return channel.received().array();
    }

    /** Begins to take frames, of which there may be some already. */
    void begin(int helloEnd) {
        execute(() -> {
            try {
                channel.releaseSelectors();
                drop(helloEnd);
                add(Frame.WELCOME, 0, 0, 0, 1, Integer.BYTES).putInt(gateway.fabric().timeoutMillis());
                key = channel.socket().register(service.selector(), SelectionKey.OP_READ, this);
                takeTurn();
            } catch (IOException e) {
                ended.accept(e.toString());
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
        } catch (RuntimeException | Error e) {
            ended.accept("the gateway has failed: " + e); // nobody knows what has been done of a frame
        } finally {
            turn.unlock();
        }
    }

    private void takeTurn() {
        try {
            flush();
            used = 0;
            long before = channel.heardAt();
            do {
                if (!takeFrames()) {
                    break; // the other side has to read first
                }
                int n = channel.receive();
                if (n < 0) {
                    ended.accept("the other node has ended the link");
                    return;
                }
                if (n > 0) {
                    used += n;
                    takeFrames();
                }
                if (n == 0 && !channel.hasMore()) {
                    break;
                }
            } while (used < TURN && channel.hasMore());
            if (channel.heardAt() != before) {
                saySomething();
            }
            flush();
            if (used >= TURN) {
                goOnSoon();
            }
        } catch (IOException e) {
            ended.accept(e.toString());
        }
    }

    /** Goes on with what could not be taken before; by any thread. */
    void goOnSoon() {
        execute(this::goOn);
    }

    /** Goes on with what could not be taken before; in a turn. */
    void goOn() {
        if (!closed && key != null && key.isValid()) {
            waits = false;
            takeTurn();
        }
    }

    /** Takes all whole frames; false if there is no room for answers. */
    private boolean takeFrames() throws IOException {
        ByteBuffer received = channel.received();
        int end = received.position();
        int at = 0;
        boolean room = true;
        while (!closed && used < TURN && frame.look(received, at, end)) {
            room = hasRoom();
            if (!room) {
                flush();
                room = hasRoom();
                if (!room) {
                    break;
                }
            }
            waits = !takeOne();
            if (waits) {
                room = false;
                break;
            }
            at = frame.end();
        }
        if (at > 0) {
            drop(at);
        }
        return room;
    }

    /** So much was read for the other side, which may be told of it in a few bytes; in a turn. */
    void use(long bytes) {
        used += bytes;
    }

    private boolean hasRoom() {
        return out.remaining() >= Frame.LARGEST;
    }

    /** Takes a frame; false if that is not possible now. */
    private boolean takeOne() throws IOException {
        if (frame.type() == Frame.PING) {
            add(Frame.PONG, 0, 0, 0, frame.tag(), 0);
            return true;
        }
        if (!taker.take(this, frame)) {
            return false;
        }
        if (frame.type() == Frame.PUT) {
            credit(frame.length() - Long.BYTES);
        }
        return true;
    }

    private void credit(int bytes) {
        taken += bytes;
        uncredited += bytes;
        if (uncredited >= Frame.CREDIT_STEP) {
            credit();
        }
    }

    private void credit() {
        add(Frame.CREDIT, 0, 0, 0, 0, Integer.BYTES).putInt(uncredited);
        uncredited = 0;
    }

    /** Tells the other side that this one is there, if nothing else has told it for a while; in a turn. */
    private void saySomething() {
        if (out.position() == 0 && System.nanoTime() - saidAt > sayEvery) {
            credit();
        }
    }

    /** Whether it takes nothing from the other side, because the way on has no room. */
    boolean waits() {
        return waits;
    }

    /** The same by another thread, while {@link #waits}. */
    void sayThatItWaits() {
        execute(() -> {
            if (!closed && waits) {
                saySomething();
                flushOrEnd();
            }
        });
    }

    // ---- what a process is owed ----

    /** Whether so many bytes of answers have been asked for elsewhere, and have not come, that nothing more is asked for. */
    boolean owesMuch() {
        return owed > MOST_OWED;
    }

    void owe(int bytes) {
        owed += bytes;
    }

    /** Such an answer has come; in a turn. */
    void paid(int bytes) {
        owed -= bytes;
        if (waits && owed < MOST_OWED / 2) { // not for each of them
            goOnSoon();
        }
    }

    /** Sends such an answer by this thread; false if it is another one's turn, or there is no room. */
    boolean payAtOnce(int bytes, int type, int flags, int code, int connection, int tag, byte[] body, int from, int length) {
        if (queued.get() > 0 || !turn.tryLock()) {
            return false;
        }
        try {
            if (closed || !backlog.isEmpty() || out.remaining() < Frame.HEADER + length) {
                return false;
            }
            add(type, flags, code, connection, tag, length).put(body, from, length);
            paid(bytes);
            flushOrEnd();
            return true;
        } finally {
            turn.unlock();
        }
    }

    // ---- sending ----

    /** Sends a frame without an answer; in a turn. */
    void tell(int type, int code, int connection) {
        whenRoom(0, () -> add(type, 0, code, connection, 0, 0));
    }

    /** Tells of events; in a turn. */
    void tellEvents(int connection, int count) {
        whenRoom(Integer.BYTES, () -> add(Frame.EVENT, 0, 0, connection, 0, Integer.BYTES).putInt(count));
    }

    /** Adds a frame with so many bytes of body, now or when the other side has read. */
    void whenRoom(int bytes, Runnable adding) {
        if (closed) {
            return;
        }
        if (!backlog.isEmpty() || out.remaining() < Frame.HEADER + bytes) {
            backlog.add(adding);
        } else {
            adding.run();
        }
        flushOrEnd();
    }

    private void flushOrEnd() {
        try {
            flush();
        } catch (IOException e) {
            ended.accept(e.toString());
        }
    }

    /** Adds a frame; whoever calls adds the body. In a turn; for answers to frames there is room. */
    ByteBuffer add(int type, int flags, int code, int connection, int tag, int bytes) {
        Frame.header(out, bytes, type, flags, code, connection, tag);
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
            int wanted = waits ? all ? 0 : SelectionKey.OP_WRITE : all ? SelectionKey.OP_READ : hasRoom() ? SelectionKey.OP_READ | SelectionKey.OP_WRITE : SelectionKey.OP_WRITE;
            if (key.interestOps() != wanted) {
                key.interestOps(wanted);
                service.look();
            }
        } else if (key != null) {
            throw new ClosedChannelException();
        }
    }

    private boolean sendOut() throws IOException {
        if (out.position() > 0) {
            saidAt = System.nanoTime();
        }
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
        return channel.heardAt();
    }

    void forgive(long now) {
        channel.forgive(now);
    }

    /** Has something done in a turn, by the service's thread. */
    void execute(Runnable task) {
        queued.incrementAndGet();
        service.execute(() -> {
            queued.decrementAndGet();
            inTurn(task);
        });
    }

    private void inTurn(Runnable task) {
        turn.lock();
        try {
            task.run();
        } finally {
            turn.unlock();
        }
    }

    /** Has something done in a turn, at once and by this thread if possible, and after what was to be done before. */
    void executeSoon(Runnable task) {
        if (queued.get() > 0 || !turn.tryLock()) {
            execute(task);
            return;
        }
        try {
            task.run();
        } finally {
            turn.unlock();
        }
    }

    /** Closes the link, and says why if there is room for it; by any thread. */
    void close(String reason) {
        execute(() -> {
            byte[] text = reason.getBytes(StandardCharsets.UTF_8);
            if (!closed && out.remaining() >= Frame.HEADER + text.length) {
                add(Frame.BYE, 0, 0, 0, 0, text.length).put(text);
                try {
                    sendOut();
                } catch (IOException e) {
                    closed = true;
                }
            }
            closed = true;
            if (key != null) {
                key.cancel();
            }
            channel.close();
        });
    }
}
