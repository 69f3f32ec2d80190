package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.rsmapi.mem.Fingerprint;
import org.rsmapi.sys.Stack;

/**
 * The importer's end of a link. Frames go out, and replies come back to those who wait for them.
 *
 * <p>Who waits for a reply reads from the link itself, one thread at a time, and gives others theirs: so a reply needs no thread in
 * between. While nobody waits, the {@link Watcher} reads.
 */
final class Lane {
    /** A thread that waits for its turn to read looks that often. */
    private static final long TURN_NANOS = 50_000_000;
    /** A gateway that gives signs of life, but does not do what it is asked for, has so many times the time limit. */
    private static final long GIVE_UP_TIMES = 30;

    /** How often in the time limit a link is tested on which nothing is heard. */
    static final int PINGS = 4;

    /** So many parts are asked for at once where something is known of them. A power of two. */
    private static final int KNOWN_AT_ONCE = 8;

    private static final int LONGEST_REASON = 200;

    private final Channel channel;
    private final Receiver receiver;
    private final Watcher watcher;
    private final long timeout;

    private final ReentrantLock writing = new ReentrantLock();
    /** Frames that have not been sent. */
    private final ByteBuffer out = ByteBuffer.allocate(2 * Frame.LARGEST);
    /** What could not be sent without waiting, and is tried again. */
    private final ConcurrentLinkedQueue<Runnable> putOff = new ConcurrentLinkedQueue<>();
    private int lastTag;
    /** Bytes of data that have been sent, and those that have arrived. */
    private long sent;
    private volatile long arrived;
    /** When something was heard that belongs to data: on a slow way that delays what comes over the other link. */
    private volatile long movedAt;

    private final ReentrantLock reading = new ReentrantLock();
    private final Frame frame = new Frame();
    private final Map<Integer, Expected> expected = new ConcurrentHashMap<>();
    /** Those who wait for their turn to read. */
    private final ConcurrentLinkedQueue<Reply> queue = new ConcurrentLinkedQueue<>();

    private volatile long pingedAt = System.nanoTime();
    /** The other link of the session; null if there is none. */
    private volatile Lane beside;
    private volatile long usedAt;
    private final AtomicInteger expectingEvents = new AtomicInteger();
    private volatile String ended;

    /** Takes what is not a reply; it does not wait. */
    interface Receiver {
        void event(int connection, int count);

        void revoked(int connection, int reason);

        /** The link has ended. */
        void ended(Lane lane, String reason);
    }

    /** What is done with a reply; it does not wait. */
    interface Expected {
        /** The tag of the first frame that belongs to it; the others follow. */
        void setFirstTag(int tag);

        /** A frame has come, in an array with others; false if it cannot be an answer to what was asked. */
        boolean take(Frame frame, byte[] received);

        /** The link has ended. */
        void lose();
    }

    /** Thrown where the link has ended. */
    static final class Ended extends RuntimeException {
        private static final long serialVersionUID = 1;

        Ended(String reason) {
            super(reason, null, false, false);
        }
    }

    /**
     * An end.
     *
     * @param timeout  in ns: without a sign of life for so long the link has ended
     */
    Lane(Channel channel, Receiver receiver, Watcher watcher, long timeout) {
        this.channel = channel;
        this.receiver = receiver;
        this.watcher = watcher;
        this.timeout = timeout;
        this.movedAt = System.nanoTime() - timeout;
    }

    /** The other link of the session, which may delay this one. */
    void setBeside(Lane other) {
        beside = other;
    }

    /** Until when to wait for what the other gateway has to do. */
    long giveUpAt() {
        return System.nanoTime() + GIVE_UP_TIMES * timeout;
    }

    Channel channel() {
        return channel;
    }

    /** Why it has ended; null if it has not. */
    String ended() {
        return ended;
    }

    /** For how long nothing was heard of the other gateway, in ns: nothing on this link, and no data on the one beside it. */
    long silence(long now) {
        long silent = now - channel.heardAt();
        Lane other = beside;
        return other == null || silent > GIVE_UP_TIMES * timeout ? silent : Math.min(silent, now - other.movedAt);
    }

    // ---- writing ----

    /**
     * Sends a frame, and those that are kept back.
     *
     * @param body  adds so many bytes; null for none
     * @param more  whether it may be kept back, because another frame comes at once
     * @throws Ended if the link has ended
     */
    void send(int type, int flags, int connection, int bytes, Consumer<ByteBuffer> body, boolean more) {
        Stack.lock(writing);
        try {
            add(type, flags, connection, 0, bytes, body);
            if (!more) {
                flushOut();
            }
        } finally {
            unlock();
        }
    }

    /** Sends a question. */
    void ask(Expected reply, int type, int flags, int connection, int bytes, Consumer<ByteBuffer> body) {
        Stack.lock(writing);
        try {
            add(type, flags, connection, expect(reply, 1), bytes, body);
            flushOut();
        } finally {
            unlock();
        }
    }

    /**
     * Asks for data, in one frame or several.
     *
     * @param known  what is known of it, and need not be sent; null for nothing
     */
    void get(Reply reply, int connection, long offset, long length, Known known) {
        Stack.lock(writing);
        try {
            int tag = expect(reply, parts(length));
            for (long done = 0; done < length; done += Frame.MOST_DATA) {
                long at = offset + done;
                int now = (int) Math.min(Frame.MOST_DATA, length - done);
                Get part = known == null ? new Get(at, now, 0, 0, null) : known.get(at, done, now);
                add(Frame.GET, part.flags(), connection, tag++, part.bytes(), part::write);
                if (known != null && (tag & KNOWN_AT_ONCE - 1) == 0) { // the other side computes as well
                    flushOut();
                }
            }
            flushOut();
        } finally {
            unlock();
        }
    }

    /**
     * What is known of data that is asked for.
     *
     * @param address  where that is
     * @param secret   for fingerprints, as is the other one
     */
    record Known(long address, long secret, long otherSecret) {
        private Get get(long offset, long done, int length) {
            return new Get(offset, length, secret, otherSecret, Fingerprint.of(address + done, length, secret, otherSecret));
        }
    }

    static int parts(long length) {
        return (int) ((length + Frame.MOST_DATA - 1) / Frame.MOST_DATA);
    }

    /** Sends data. It may be kept back if {@code more}. */
    void put(int connection, long offset, long address, long length, boolean more) {
        Stack.lock(writing);
        try {
            for (long done = 0; done < length; done += Frame.MOST_DATA) {
                int now = (int) Math.min(Frame.MOST_DATA, length - done);
                if (sent + now - arrived > Frame.WINDOW) {
                    awaitCredit(now);
                }
                room(Frame.HEADER + Long.BYTES + now);
                Frame.header(out, Long.BYTES + now, Frame.PUT, 0, 0, connection, 0);
                out.putLong(offset + done);
                ENGINE.copyToArray(address + done, out.array(), out.position(), now);
                out.position(out.position() + now);
                sent += now;
            }
            if (!more || out.position() > Frame.MOST_DATA) {
                flushOut();
            }
        } finally {
            unlock();
        }
    }

    /**
     * Sends a frame of another link, without waiting.
     *
     * @param reply  what the reply is for; null if there is none
     * @param data   how many bytes of the body are data
     * @param later  run when there may be room, if there is none now
     * @return whether it was sent
     * @throws Ended if the link has ended
     */
    boolean offer(int type, int flags, int connection, Expected reply, byte[] bytes, int from, int length, int data, Runnable later) {
        if (!writing.tryLock()) {
            putOff(later);
            if (!writing.isLocked()) {
                runPutOff();
            }
            return false;
        }
        boolean full = false;
        try {
            if (out.remaining() < Frame.HEADER + length) {
                sendNow();
            }
            if (!takes(length, data)) {
                putOff.add(later);
                sendNow();
                full = !takes(length, data);
                return false;
            }
            Frame.header(out, length, type, flags, 0, connection, reply == null ? 0 : expect(reply, 1));
            out.put(bytes, from, length);
            sent += data;
            sendNow();
            return true;
        } finally {
            if (full) {
                writing.unlock(); // what was put off waits for what arrives, or for a socket that takes something
            } else {
                unlock();
            }
        }
    }

    private boolean takes(int length, int data) {
        return sent + data - arrived <= Frame.WINDOW && out.remaining() >= Frame.HEADER + length;
    }

    private void putOff(Runnable action) {
        putOff.add(action);
        if (sent - arrived <= 0) { // nothing is on its way whose arrival would be told
            watcher.wantRoom(this);
        }
    }

    private void unlock() {
        writing.unlock();
        if (!putOff.isEmpty()) {
            runPutOff();
        }
    }

    private void runPutOff() {
        Runnable action;
        while ((action = putOff.poll()) != null) {
            action.run();
        }
    }

    /** Sends what the socket takes, for the watcher; true if nothing is left. */
    boolean sendInBackground() {
        if (!writing.tryLock()) {
            return true; // whoever has the lock sends
        }
        try {
            sendNow();
            return out.position() == 0;
        } finally {
            unlock();
        }
    }

    /** Waits until no more data is on its way than may be. */
    private void awaitCredit(int bytes) {
        flushOut();
        Reply credit = new Reply(Frame.CREDIT);
        Condition room = () -> sent + bytes - arrived <= Frame.WINDOW;
        wait(credit, room, giveUpAt(), false);
        if (!room.holds()) {
            end("the other gateway does not take what is sent");
        }
    }

    /** With the writing lock held. */
    private void add(int type, int flags, int connection, int tag, int bytes, Consumer<ByteBuffer> body) {
        room(Frame.HEADER + bytes);
        Frame.header(out, bytes, type, flags, 0, connection, tag);
        if (body != null) {
            body.accept(out);
        }
    }

    private void room(int bytes) {
        if (out.remaining() < bytes) {
            flushOut();
        }
    }

    /** Sends what was kept back. */
    void flush() {
        Stack.lock(writing);
        try {
            if (out.position() > 0) {
                flushOut();
            }
        } finally {
            unlock();
        }
    }

    private void flushOut() {
        if (ended != null) {
            throw new Ended(ended);
        }
        out.flip();
        try {
            // a link that nobody hears of is ended by the fabric's clock
            channel.sendAll(out, giveUpAt());
        } catch (IOException e) {
            end(brokenBy(e));
            throw new Ended(ended);
        } finally {
            out.clear();
        }
    }

    private static String brokenBy(IOException e) {
        return "the link is broken: " + (e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage());
    }

    /** Has replies to the next tags come to it; returns the first. With the writing lock held. */
    private int expect(Expected reply, int parts) {
        int first = lastTag + 1;
        reply.setFirstTag(first);
        for (int i = 0; i < parts; i++) {
            expected.put(++lastTag, reply);
        }
        if (ended != null) {
            throw new Ended(ended);
        }
        return first;
    }

    // ---- reading ----

    /** What a thread waits for. */
    @FunctionalInterface
    interface Condition {
        /** Whether it need not wait any more; it is quick. */
        boolean holds();
    }

    /**
     * Waits until something holds that frames of this link, or {@link #look}, can bring about. It reads for others meanwhile.
     *
     * @return false if it does not hold: the time is up, the thread was interrupted, or the link has ended
     */
    boolean await(Condition until, long deadline) {
        wait(new Reply(Frame.EVENT), until, deadline, true);
        return until.holds();
    }

    /** Has all who wait look whether what they wait for holds. */
    void look() {
        for (Reply waiter : queue) {
            waiter.wake();
        }
        channel.wakeReader();
    }

    /** Waits for a reply, also if the thread is interrupted. */
    void awaitAlways(Reply reply) {
        wait(reply, reply::isHere, giveUpAt(), false);
        if (!reply.isHere()) {
            end("the other gateway does not answer");
        }
        if (!reply.isHere() || reply.code() == Reply.LOST) {
            throw new Ended(ended == null ? "the link has ended" : ended);
        }
    }

    /**
     * Waits for a reply.
     *
     * @param deadline  on the clock of {@link System#nanoTime()}
     * @return false if the time is up, or the thread was interrupted: then nothing more is written to the asker's memory
     * @throws Ended if the link has ended before
     */
    boolean await(Reply reply, long deadline) {
        wait(reply, reply::isHere, deadline, true);
        if (!reply.isHere()) {
            reply.giveUp();
            if (ended == null) {
                return false;
            }
        }
        if (!reply.isHere() || reply.code() == Reply.LOST) {
            throw new Ended(ended == null ? "the link has ended" : ended);
        }
        return true;
    }

    /** Asks a question to which any answer will do, and waits for that. */
    void settle(int type, int connection) {
        Reply reply = new Reply(type == Frame.PING ? Frame.PONG : Frame.DONE);
        ask(reply, type, 0, connection, 0, null);
        awaitAlways(reply);
    }

    private void wait(Reply waiter, Condition until, long deadline, boolean interruptible) {
        boolean interrupted = false;
        while (!until.holds() && ended == null && deadline - System.nanoTime() > 0) {
            if (reading.tryLock()) {
                try {
                    if (!until.holds()) {
                        read(until, deadline, interruptible);
                    }
                } finally {
                    usedAt = System.nanoTime();
                    reading.unlock();
                    passOn();
                }
            } else {
                queue.add(waiter);
                try {
                    if (!until.holds() && reading.isLocked()) {
                        LockSupport.parkNanos(this, Math.min(TURN_NANOS, Math.max(1, deadline - System.nanoTime())));
                    }
                } finally {
                    queue.remove(waiter);
                }
            }
            if (Thread.interrupted()) {
                interrupted = true;
                if (interruptible) {
                    break;
                }
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        Reply next = queue.peek();
        if (next != null && !reading.isLocked()) {
            next.wake(); // else this thread may have been woken in its place
        }
    }

    /** Somebody else reads from now on. */
    private void passOn() {
        Reply next = queue.peek();
        if (next != null) {
            next.wake();
        } else {
            watcher.attend(this);
        }
    }

    /** With the reading lock held. */
    private void read(Condition until, long deadline, boolean interruptible) {
        try {
            while (true) {
                int n = receive();
                if (until.holds() || ended != null) {
                    return;
                }
                if (n == 0 && !channel.awaitInput(deadline, interruptible)) {
                    return;
                }
            }
        } catch (IOException e) {
            end(brokenBy(e));
        }
    }

    /** Takes what has arrived; with the reading lock held. Returns how many bytes. */
    private int receive() throws IOException {
        int total = 0;
        long before = channel.heardAt();
        do {
            int n = channel.receive();
            if (n < 0) {
                end("the other gateway has ended the link");
                return total;
            }
            if (n > 0) {
                total += n;
                dispatch();
            }
        } while (channel.hasMore());
        if (channel.heardAt() != before && (total == 0 || channel.received().position() > 0)) { // a part of a long frame
            movedAt = channel.heardAt();
        }
        return total;
    }

    private void dispatch() throws IOException {
        ByteBuffer received = channel.received();
        int end = received.position();
        int at = 0;
        while (frame.look(received, at, end)) {
            take();
            at = frame.end();
        }
        if (at > 0) {
            received.limit(end).position(at);
            received.compact();
        }
    }

    private void take() throws IOException {
        switch (frame.type()) {
            case Frame.DATA:
                movedAt = channel.heardAt();
                takeReply();
                return;
            case Frame.RESULT:
            case Frame.DONE:
            case Frame.ANSWER:
            case Frame.WELCOME:
            case Frame.PONG:
                takeReply();
                return;
            case Frame.CREDIT:
                movedAt = channel.heardAt();
                arrived += frame.length() < Integer.BYTES ? 0 : Integer.toUnsignedLong(frame.u32(0));
                runPutOff();
                return;
            case Frame.EVENT:
                receiver.event(frame.connection(), frame.length() < Integer.BYTES ? 0 : frame.u32(0));
                return;
            case Frame.BYE:
                end("the other gateway has ended the link: " + new String(frame.bytes(0, Math.min(frame.length(), LONGEST_REASON)),
                    StandardCharsets.UTF_8));
                return;
            case Frame.REVOKED:
                receiver.revoked(frame.connection(), frame.code());
                return;
            default:
                throw new IOException("a frame of type " + frame.type());
        }
    }

    private void takeReply() throws IOException {
        Expected reply = expected.remove(frame.tag());
        if (reply != null && !reply.take(frame, channel.received().array())) {
            reply.lose();
            throw new IOException("an answer that does not belong to its question");
        }
    }

    /**
     * Reads what is there, for the watcher.
     *
     * @return false if somebody else reads
     */
    boolean readInBackground() {
        if (!reading.tryLock()) {
            return false;
        }
        try {
            receive();
        } catch (IOException e) {
            end(brokenBy(e));
        } finally {
            reading.unlock();
        }
        Reply next = queue.peek();
        if (next != null) {
            next.wake();
        }
        return true;
    }

    /** When a thread that waits for a reply has read last. */
    long usedAt() {
        return reading.isLocked() ? System.nanoTime() : usedAt;
    }

    /** Somebody waits for events, or has begun to: they are read at once. */
    void expectEvents() {
        expectingEvents.incrementAndGet();
        watcher.comeBack(this);
    }

    void expectEventsNoMore() {
        expectingEvents.decrementAndGet();
    }

    boolean isExpectingEvents() {
        return expectingEvents.get() > 0;
    }

    // ---- the end ----

    /**
     * Sends what was kept back, sends a PING if nothing was heard, and ends the link if nothing was heard for too long.
     *
     * @return in how many ns it wants to be called again at the latest
     */
    long tick(long now) {
        if (ended != null) {
            return timeout;
        }
        long silent = silence(now);
        if (silent > timeout) {
            end("nothing was heard of the other gateway for " + timeout / 1_000_000 + " ms");
            return timeout;
        }
        // a little early, so that one tick does it for all links
        long quiet = now - Math.max(channel.heardAt(), pingedAt);
        boolean ping = quiet > timeout / PINGS / 2;
        if ((ping || out.position() > 0) && writing.tryLock()) { // else somebody sends, or waits for the other side to read
            try {
                if (ping) {
                    pingedAt = now;
                    add(Frame.PING, 0, 0, 0, 0, null);
                }
                if (out.position() > 0) {
                    sendNow();
                }
            } catch (Ended e) {
                return timeout;
            } finally {
                unlock();
            }
        }
        runPutOff(); // they look themselves whether there is room
        return Math.max(1, Math.min(timeout - silent, timeout / PINGS - (ping ? 0 : quiet)));
    }

    /** Sends what the socket takes. What is left goes with the next frame, or when the socket takes something. */
    private void sendNow() {
        if (ended != null) {
            throw new Ended(ended);
        }
        out.flip();
        boolean all;
        try {
            all = channel.send(out);
        } catch (IOException e) {
            out.position(out.limit());
            end(brokenBy(e));
            throw new Ended(ended);
        } finally {
            out.compact();
        }
        if (!all) {
            watcher.wantRoom(this);
        }
    }

    /** This process stood still: what was not heard meanwhile proves nothing. */
    void forgive(long now) {
        channel.forgive(now);
    }

    /** Ends the link. */
    void end(String reason) {
        synchronized (this) {
            if (ended != null) {
                return;
            }
            ended = reason;
        }
        watcher.remove(this);
        channel.close();
        for (Expected reply : expected.values()) {
            reply.lose();
        }
        runPutOff();
        for (Reply waiter : queue) {
            waiter.wake();
        }
        receiver.ended(this, reason);
    }
}
