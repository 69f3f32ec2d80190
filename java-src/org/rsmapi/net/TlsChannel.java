package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SocketChannel;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;

/** A channel with TLS on it. */
final class TlsChannel extends Channel {
    /** Records for which there is room in each direction; if it is for much data. */
    private static final int RECORDS = 2;
    private static final int MANY_RECORDS = 8;

    private final SSLEngine engine;
    private ByteBuffer fromNet;
    private ByteBuffer toNet;
    /** Whether there may be more to decrypt without anything being received. */
    private boolean more;
    private boolean begun;

    /**
     * A channel before its handshake.
     *
     * @param socket    connected
     * @param engine    with the side that it plays
     * @param capacity  bytes of {@link #received} beyond one record
     */
    TlsChannel(SocketChannel socket, SSLEngine engine, int capacity) throws IOException {
        super(socket, capacity + engine.getSession().getApplicationBufferSize());
        this.engine = engine;
        int packet = engine.getSession().getPacketBufferSize();
        fromNet = ByteBuffer.allocate(RECORDS * packet);
        toNet = ByteBuffer.allocate(RECORDS * packet);
    }

    @Override
    void enlarge() {
        fromNet = larger(fromNet);
        toNet = larger(toNet);
    }

    private static ByteBuffer larger(ByteBuffer buffer) {
        return ByteBuffer.allocate(buffer.capacity() / RECORDS * MANY_RECORDS).put(buffer.flip());
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
            result = engine.unwrap(fromNet, received());
        } finally {
            fromNet.compact();
        }
        more = fromNet.position() > 0;
        if (result.getStatus() == SSLEngineResult.Status.CLOSED) {
            throw new IOException("the other side has ended the handshake");
        }
        if (result.getStatus() != SSLEngineResult.Status.BUFFER_UNDERFLOW) {
            return true;
        }
        int n = read(fromNet);
        if (n < 0) {
            throw new IOException("the other side has ended the connection in the handshake");
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

    @Override
    int receive() throws IOException {
        ByteBuffer received = received();
        int before = received.position();
        while (true) {
            if (more && !decrypt()) {
                return received.position() > before ? received.position() - before : -1;
            }
            if (received.position() > before || received.remaining() < engine.getSession().getApplicationBufferSize()) {
                return received.position() - before;
            }
            int n = read(fromNet);
            if (n <= 0) {
                return n;
            }
            more = true;
        }
    }

    @Override
    boolean hasMore() {
        return more;
    }

    /** Decrypts whole records; false at the end that the other side has announced. */
    private boolean decrypt() throws IOException {
        fromNet.flip();
        try {
            while (true) {
                SSLEngineResult result = engine.unwrap(fromNet, received());
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

    // ---- sending ----

    @Override
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
            socket().write(toNet);
        } finally {
            toNet.compact();
        }
        return toNet.position() == 0;
    }

    // ---- the end ----

    @Override
    protected void sayGoodbye() throws IOException {
        engine.closeOutbound();
        send(NOTHING); // as a courtesy
    }
}
