package org.rsmapi.net;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.concurrent.locks.ReentrantLock;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;
import javax.net.ssl.SSLException;

/**
 * A socket with TLS on it that never waits by itself: {@link #receive} takes what is there, {@link #send} gives what the socket takes.
 * Whoever has to wait says until when.
 *
 * <p>One thread may receive while another one sends. Two that receive, or two that send, keep each other out.
 */
final class TlsChannel implements AutoCloseable {
    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);
    /** Records that go to the socket with one call. */
    private static final int RECORDS = 4;
    /** A thread that waits looks that often whether the channel was closed meanwhile. */
    private static final long LOOK_MILLIS = 100;

    private final SocketChannel socket;
    private final SSLEngine engine;
    private final ByteBuffer fromNet;
    private final ByteBuffer toNet;
    private final ReentrantLock sending = new ReentrantLock();
    /** What was received and decrypted: from 0 to its position. */
    private final ByteBuffer received;
    /** Whether there may be more to decrypt without anything being received. */
    private boolean more;
    private boolean begun;
    private volatile boolean closed;
    private volatile Selector readable;
    private volatile Selector writable;

    /**
     * A channel before its handshake.
     *
     * @param socket    connected
     * @param engine    with the side that it plays
     * @param capacity  bytes of {@link #received} beyond one record
     */
    TlsChannel(SocketChannel socket, SSLEngine engine, int capacity) throws IOException {
        this.socket = socket;
        this.engine = engine;
        socket.configureBlocking(false);
        int packet = engine.getSession().getPacketBufferSize();
        fromNet = ByteBuffer.allocate(2 * packet);
        toNet = ByteBuffer.allocate(RECORDS * packet);
        received = ByteBuffer.allocate(capacity + engine.getSession().getApplicationBufferSize());
    }

    SocketChannel socket() {
        return socket;
    }

    /** What was received: from 0 to its position. Whoever has used it compacts. */
    ByteBuffer received() {
        return received;
    }

    // ---- the beginning ----

    /**
     * Goes on with the handshake, in which both sides prove their keys.
     *
     * @return whether it is over; if not, something has to arrive, or the socket to take something
     */
    boolean handshake() throws IOException {
        if (!begun) {
            begun = true;
            engine.beginHandshake();
        }
        while (true) {
            switch (engine.getHandshakeStatus()) {
                case NEED_TASK:
                    runTasks();
                    break;
                case NEED_WRAP:
                    if (!send(NOTHING)) {
                        return false;
                    }
                    break;
                case NEED_UNWRAP:
                case NEED_UNWRAP_AGAIN:
                    if (!unwrapStep()) {
                        return false;
                    }
                    break;
                default:
                    return send(NOTHING);
            }
        }
    }

    /** Reads one message of the handshake; false if it has not arrived. */
    private boolean unwrapStep() throws IOException {
        fromNet.flip();
        SSLEngineResult result;
        try {
            result = engine.unwrap(fromNet, received);
        } finally {
            fromNet.compact();
        }
        more = fromNet.position() > 0;
        if (result.getStatus() == SSLEngineResult.Status.CLOSED) {
            throw new SSLException("the other side has ended the handshake");
        }
        if (result.getStatus() != SSLEngineResult.Status.BUFFER_UNDERFLOW) {
            return true;
        }
        int n = socket.read(fromNet);
        if (n < 0) {
            throw new SSLException("the other side has ended the connection in the handshake");
        }
        return n > 0;
    }

    private void runTasks() {
        Runnable task;
        while ((task = engine.getDelegatedTask()) != null) {
            task.run();
        }
    }

    // ---- receiving ----

    /**
     * Adds to {@link #received} what has arrived.
     *
     * @return how many bytes; 0 if there is nothing, or no room; -1 at the end of the connection
     */
    int receive() throws IOException {
        int before = received.position();
        while (true) {
            if (more && !decrypt()) {
                return received.position() > before ? received.position() - before : -1;
            }
            if (received.position() > before || received.remaining() < engine.getSession().getApplicationBufferSize()) {
                return received.position() - before;
            }
            int n = socket.read(fromNet);
            if (n <= 0) {
                return n;
            }
            more = true;
        }
    }

    /** Whether there may be more to receive without anything arriving. */
    boolean hasMore() {
        return more;
    }

    /** Decrypts whole records; false at the end that the other side has announced. */
    private boolean decrypt() throws IOException {
        fromNet.flip();
        try {
            while (true) {
                SSLEngineResult result = engine.unwrap(fromNet, received);
                switch (result.getStatus()) {
                    case CLOSED:
                        return false;
                    case BUFFER_UNDERFLOW:
                        more = false;
                        return true;
                    case BUFFER_OVERFLOW:
                        return true; // whoever reads has to make room
                    default:
                        attend(result.getHandshakeStatus());
                }
            }
        } finally {
            fromNet.compact();
        }
    }

    /** What TLS wants in between: new keys, for example. */
    private void attend(HandshakeStatus status) throws IOException {
        if (status == HandshakeStatus.NEED_TASK) {
            runTasks();
        }
        if (engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP) {
            send(NOTHING);
        }
    }

    /**
     * Waits until something may have arrived, or somebody has called {@link #wakeReader}.
     *
     * @return false if the time is up, or the thread was interrupted
     * @throws ClosedChannelException if it was closed
     */
    boolean awaitInput(long deadline, boolean interruptible) throws IOException {
        return await(readableSelector(), deadline, interruptible);
    }

    /** Has the thread look that waits for input. */
    void wakeReader() {
        Selector waiting = readable;
        if (waiting != null) {
            waiting.wakeup();
        }
    }

    private Selector readableSelector() throws IOException {
        if (readable == null) {
            readable = selector(SelectionKey.OP_READ);
        }
        return readable;
    }

    // ---- sending ----

    /**
     * Encrypts and sends, as far as the socket takes it.
     *
     * @return whether nothing is left, neither of this nor of what was to be sent before
     */
    boolean send(ByteBuffer plain) throws IOException {
        sending.lock();
        try {
            while (true) {
                boolean full = !encrypt(plain);
                if (!flush()) {
                    return false;
                }
                if (!full) {
                    if (plain.hasRemaining()) {
                        throw new ClosedChannelException();
                    }
                    return true;
                }
            }
        } finally {
            sending.unlock();
        }
    }

    /** Fills the buffer with records; false if there is more than it can hold. */
    private boolean encrypt(ByteBuffer plain) throws IOException {
        boolean first = !plain.hasRemaining() && engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP;
        while (plain.hasRemaining() || first) {
            SSLEngineResult result = engine.wrap(plain, toNet);
            switch (result.getStatus()) {
                case BUFFER_OVERFLOW:
                    return false;
                case CLOSED:
                    return true;
                default:
                    first = engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP;
            }
        }
        return true;
    }

    private boolean flush() throws IOException {
        if (toNet.position() == 0) {
            return true;
        }
        toNet.flip();
        try {
            socket.write(toNet);
        } finally {
            toNet.compact();
        }
        return toNet.position() == 0;
    }

    /**
     * Sends everything.
     *
     * @throws SocketTimeoutException if the socket does not take it in time
     */
    void sendAll(ByteBuffer plain, long deadline) throws IOException {
        sending.lock();
        try {
            while (!send(plain)) {
                if (writable == null) {
                    writable = selector(SelectionKey.OP_WRITE);
                }
                if (!await(writable, deadline, false)) {
                    throw new SocketTimeoutException("the other side does not read");
                }
            }
        } finally {
            sending.unlock();
        }
    }

    // ---- waiting ----

    private Selector selector(int operation) throws IOException {
        Selector made = Selector.open();
        try {
            socket.register(made, operation);
            return made;
        } catch (IOException | RuntimeException e) {
            made.close();
            throw e;
        }
    }

    private boolean await(Selector selector, long deadline, boolean interruptible) throws IOException {
        boolean interrupted = false;
        try {
            while (true) {
                if (closed || !selector.isOpen()) {
                    throw new ClosedChannelException();
                }
                long left = deadline - System.nanoTime();
                int n = selector.select(Math.max(1, Math.min(left / 1_000_000, LOOK_MILLIS)));
                selector.selectedKeys().clear();
                if (n == 0 && Thread.currentThread().isInterrupted()) {
                    if (interruptible) {
                        return false;
                    }
                    interrupted = Thread.interrupted(); // else select would not wait
                } else if (n > 0 || deadline - System.nanoTime() > 0) {
                    return true;
                }
                if (deadline - System.nanoTime() <= 0) {
                    return false;
                }
            }
        } catch (ClosedSelectorException | CancelledKeyException e) {
            throw new ClosedChannelException();
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Closes what only those need who wait for this channel alone. Nobody may be waiting. */
    void releaseSelectors() {
        close(readable);
        close(writable);
        readable = null;
        writable = null;
    }

    private static void close(Selector selector) {
        if (selector != null) {
            try {
                selector.close();
            } catch (IOException e) {
                return; // it is not used any more
            }
        }
    }

    // ---- the end ----

    /** Ends the connection at once. Who waits finds out. */
    @Override
    public void close() {
        closed = true;
        if (sending.tryLock()) { // else whoever sends would have to be waited for
            try {
                engine.closeOutbound();
                send(NOTHING); // as a courtesy
            } catch (IOException e) {
                closed = true;
            } finally {
                sending.unlock();
            }
        }
        try {
            socket.close();
        } catch (IOException e) {
            closed = true;
        }
        releaseSelectors();
    }
}
