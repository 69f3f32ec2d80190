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

/**
 * A socket that never waits by itself: {@link #receive} takes what is there, {@link #send} gives what the socket takes. Whoever has to wait
 * says until when.
 *
 * <p>One thread may receive while another one sends. Two that receive, or two that send, keep each other out.
 */
abstract class Channel implements AutoCloseable {
    /** Nothing to send. */
    protected static final ByteBuffer NOTHING = ByteBuffer.allocate(0);
    /** A thread that waits looks that often whether the channel was closed meanwhile. */
    private static final long LOOK_MILLIS = 100;

    /** Held by whoever sends. */
    protected final ReentrantLock sending = new ReentrantLock();
    private final SocketChannel socket;
    /** What was received: from 0 to its position. */
    private final ByteBuffer received;
    private volatile long heardAt = System.nanoTime();
    private volatile boolean closed;
    private volatile Selector readable;
    private volatile Selector writable;

    /**
     * A channel.
     *
     * @param socket    connected
     * @param capacity  bytes of {@link #received}
     */
    Channel(SocketChannel socket, int capacity) throws IOException {
        this.socket = socket;
        this.received = ByteBuffer.allocate(capacity);
        socket.configureBlocking(false);
    }

    final SocketChannel socket() {
        return socket;
    }

    /** When bytes were read from the socket last, also if they do not say anything yet. */
    final long heardAt() {
        return heardAt;
    }

    /** This process stood still: what was not heard meanwhile proves nothing. */
    final void forgive(long now) {
        heardAt = now;
    }

    /** Reads what is there. */
    protected final int read(ByteBuffer to) throws IOException {
        int n = socket.read(to);
        if (n > 0) {
            heardAt = System.nanoTime();
        }
        return n;
    }

    /** What was received: from 0 to its position. Whoever has used it compacts. */
    final ByteBuffer received() {
        return received;
    }

    /**
     * Adds to {@link #received} what has arrived.
     *
     * @return how many bytes; 0 if there is nothing, or no room; -1 at the end of the connection
     */
    abstract int receive() throws IOException;

    /** Whether something holds of what was received. */
    @FunctionalInterface
    interface Condition {
        boolean holds() throws IOException;
    }

    /**
     * Receives until something holds.
     *
     * @throws SocketTimeoutException if it does not in time
     */
    final void receiveUntil(Condition condition, long deadline) throws IOException {
        while (!condition.holds()) {
            int n = receive();
            if (n < 0) {
                throw new IOException("the other side has ended the connection");
            }
            if (n == 0 && !awaitInput(deadline, false)) {
                throw new SocketTimeoutException("no answer in time");
            }
        }
    }

    /** Whether there may be more to receive without anything arriving. */
    abstract boolean hasMore();

    /**
     * Sends as much as the socket takes.
     *
     * @return whether nothing is left, neither of this nor of what was to be sent before
     */
    abstract boolean send(ByteBuffer plain) throws IOException;

    /** Makes room for much data; before other threads use it. */
    void enlarge() {
    }

    /** What is still to be done before the socket is closed, without waiting. */
    protected void sayGoodbye() throws IOException {
    }

    /**
     * Sends everything.
     *
     * @throws SocketTimeoutException if the socket does not take it in time
     */
    final void sendAll(ByteBuffer plain, long deadline) throws IOException {
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

    /**
     * Waits until something may have arrived, or somebody has called {@link #wakeReader}.
     *
     * @return false if the time is up, or the thread was interrupted
     * @throws ClosedChannelException if it was closed
     */
    final boolean awaitInput(long deadline, boolean interruptible) throws IOException {
        return await(readableSelector(), deadline, interruptible);
    }

    /** Has the thread look that waits for input. */
    final void wakeReader() {
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
    final void releaseSelectors() {
        Link.close(readable);
        Link.close(writable);
        readable = null;
        writable = null;
    }

    /** Ends the connection at once. Who waits finds out. */
    @Override
    public final void close() {
        closed = true;
        if (sending.tryLock()) { // else whoever sends would have to be waited for
            try {
                sayGoodbye();
            } catch (IOException e) {
                closed = true;
            } finally {
                sending.unlock();
            }
        }
        Link.close(socket);
        releaseSelectors();
    }
}
