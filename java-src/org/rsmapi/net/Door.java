package org.rsmapi.net;

import java.io.IOException;
import java.net.InetAddress;
import java.net.SocketTimeoutException;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import org.rsmapi.RsmException;

/**
 * A port at which callers are let in when they have shown who they are. Until then a caller has a short time, one of few places, and no
 * thread.
 */
abstract class Door implements Service.Handler, Service.Chore {
    /** Callers who have not shown who they are. With one more, the oldest of the party that has most of them has to go. */
    private static final int PLACES = 128;
    /** If a caller cannot be accepted, most likely for want of descriptors, it is tried again after that time. */
    private static final long PAUSE_NANOS = 100_000_000;

    private final Gateway gateway;
    private final Service service;
    private final ServerSocketChannel port;
    private final long limit;
    private final SelectionKey accepting;
    // the rest in the service's thread
    private final Places<Caller> callers = new Places<>(PLACES, Caller::party);
    private boolean paused;
    private long pausedUntil;

    /**
     * A door, which is open when it has been added to the service's chores.
     *
     * @param service  whose thread accepts
     * @param limit    how long a caller may take, in ns
     */
    Door(Gateway gateway, Service service, ServerSocketChannel port, long limit) throws IOException {
        this.gateway = gateway;
        this.service = service;
        this.port = port;
        this.limit = limit;
        port.configureBlocking(false);
        this.accepting = port.register(service.selector(), SelectionKey.OP_ACCEPT, this);
    }

    final Gateway gateway() {
        return gateway;
    }

    final ServerSocketChannel port() {
        return port;
    }

    /**
     * Somebody at the door.
     *
     * @param socket  accepted; it is closed if this fails
     */
    abstract Caller caller(SocketChannel socket) throws IOException;

    @Override
    public final void ready(SelectionKey key) {
        try {
            SocketChannel socket;
            while ((socket = port.accept()) != null) {
                admit(socket);
            }
        } catch (IOException | OutOfMemoryError e) {
            gateway.refused(null, "no connection can be accepted: " + e.getMessage());
            key.interestOps(0); // else it would be tried without end
            paused = true;
            pausedUntil = System.nanoTime() + PAUSE_NANOS;
        }
    }

    private void admit(SocketChannel socket) {
        InetAddress address = Caller.address(socket);
        boolean admitted = false;
        try {
            socket.configureBlocking(false);
            Caller caller = caller(socket);
            caller.key = socket.register(service.selector(), SelectionKey.OP_READ, caller);
            callers.add(caller);
            admitted = true;
            makeRoom();
        } catch (RsmException e) {
            gateway.refused(address, Caller.reason(e));
        } catch (IOException e) {
            return; // it has gone
        } catch (RuntimeException | Error e) {
            gateway.refused(address, "the gateway has failed: " + e);
        } finally {
            if (!admitted) {
                Link.close(socket);
            }
        }
    }

    private void makeRoom() {
        Caller surplus;
        while ((surplus = callers.surplus()) != null) {
            surplus.ready(surplus.key); // it may just have shown who it is
            if (surplus == callers.surplus()) {
                surplus.refuse("too many connections that have not proved anything");
            }
        }
    }

    /** Sends away whose time is up, and accepts again after a pause. */
    @Override
    public final long run(long now) {
        if (paused && now - pausedUntil >= 0 && accepting.isValid()) {
            paused = false;
            accepting.interestOps(SelectionKey.OP_ACCEPT);
        }
        Caller first;
        while ((first = callers.first()) != null && now - first.deadline >= 0) {
            first.refuse(first.failure(new SocketTimeoutException()));
        }
        long due = first == null ? NEVER : first.deadline - now;
        return paused ? Math.min(due, Math.max(0, pausedUntil - now)) : due;
    }

    /** Closes it; the service ends besides. */
    void stop() {
        Link.close(port);
        service.look(); // the port is closed when the key is gone
    }

    /** Somebody at the door, in the service's thread. */
    abstract class Caller implements Service.Handler {
        private final SocketChannel socket;
        private final long deadline = System.nanoTime() + limit;
        private SelectionKey key;

        Caller(SocketChannel socket) {
            this.socket = socket;
        }

        /** Those who share places with it. */
        abstract Object party();

        /**
         * Takes what has arrived. When that shows who it is, calls {@link #leave}, and has it let in.
         *
         * @throws IOException for {@link #failure}
         * @throws RsmException why it is not let in
         */
        abstract void hear() throws IOException;

        /** Why a failure keeps it from being let in, for people; null if that need not be told. */
        abstract String failure(IOException e);

        /** Ends its connection. */
        abstract void close();

        @Override
        public final void ready(SelectionKey self) {
            String refusal;
            try {
                hear();
                return;
            } catch (RsmException e) {
                refusal = reason(e);
            } catch (IOException e) {
                refusal = failure(e);
            } catch (RuntimeException | Error e) {
                refusal = "the gateway has failed: " + e;
            }
            refuse(refusal);
        }

        /** It is not at the door any more; whoever calls has the socket, which is closed if {@link #hear} fails afterwards. */
        final void leave() {
            callers.remove(this);
            key.cancel();
        }

        private void refuse(String reason) {
            leave();
            if (reason != null) {
                gateway.refused(address(socket), reason);
            }
            close();
        }

        static InetAddress address(SocketChannel socket) {
            return socket.socket().getInetAddress();
        }

        static String reason(RsmException e) {
            return Introduction.inShort(e);
        }
    }
}
