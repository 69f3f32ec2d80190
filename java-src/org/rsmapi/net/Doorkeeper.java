package org.rsmapi.net;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.rsmapi.RsmException;

/**
 * Accepts connections at a gateway's port, and lets in who proves to be a node. Until then a connection has a short time, one of few
 * places, and no thread.
 */
final class Doorkeeper implements Service.Handler {
    /** Connections that have not proved anything. With one more, the oldest of the address that has most of them has to go. */
    private static final int PLACES = 128;

    private final Gateway gateway;
    private final ServerSocketChannel port;
    private final Service service;
    private final SelectionKey accepting;
    private final Set<Caller> callers = new LinkedHashSet<>();

    Doorkeeper(Gateway gateway, ServerSocketChannel port) throws IOException {
        this.gateway = gateway;
        this.port = port;
        this.service = new Service("rsmapi-net-door");
        port.configureBlocking(false);
        this.accepting = port.register(service.selector(), SelectionKey.OP_ACCEPT, this);
    }

    void start() {
        service.start();
    }

    Service service() {
        return service;
    }

    void stop() {
        Link.close(port);
        service.stop();
    }

    /** Called often. */
    void tick(long now) {
        service.execute(() -> {
            if (accepting.isValid()) {
                accepting.interestOps(SelectionKey.OP_ACCEPT);
            }
            for (Caller caller : new ArrayList<>(callers)) {
                if (now - caller.deadline > 0) {
                    caller.refuse(caller.introduction.failure(new java.net.SocketTimeoutException()));
                }
            }
        });
    }

    @Override
    public void ready(SelectionKey key) {
        try {
            SocketChannel socket;
            while ((socket = port.accept()) != null) {
                admit(socket);
            }
        } catch (IOException e) {
            gateway.refused(null, "no connection can be accepted: " + e.getMessage()); // descriptors, most likely
            key.interestOps(0); // until the clock ticks: else it would be tried without end
        }
    }

    private void admit(SocketChannel socket) {
        try {
            Caller caller = new Caller(socket);
            callers.add(caller);
            if (callers.size() > PLACES) {
                oldestOfMost().refuse(null);
            }
        } catch (RsmException e) {
            gateway.refused(address(socket), reason(e));
            Link.close(socket);
        } catch (IOException e) {
            Link.close(socket);
        }
    }

    private Caller oldestOfMost() {
        Map<InetAddress, List<Caller>> byAddress = new HashMap<>();
        List<Caller> most = List.of();
        for (Caller caller : callers) {
            List<Caller> same = byAddress.computeIfAbsent(caller.address, key -> new ArrayList<>());
            same.add(caller);
            most = same.size() > most.size() ? same : most;
        }
        return most.get(0);
    }

    private static InetAddress address(SocketChannel socket) {
        try {
            return socket.getRemoteAddress() instanceof InetSocketAddress ? ((InetSocketAddress) socket.getRemoteAddress()).getAddress() : null;
        } catch (IOException e) {
            return null;
        }
    }

    static String reason(RsmException e) {
        return String.valueOf(e.data().getOrDefault("reason", e.getMessage()));
    }

    /** Somebody at the door. */
    private final class Caller implements Service.Handler {
        private final InetAddress address;
        private final Introduction introduction;
        private final SelectionKey key;
        private final long deadline = System.nanoTime() + Fabric.INTRODUCTION_TIMES * gateway.fabric().timeout();
        private final Frame frame = new Frame();
        private boolean introduced;

        Caller(SocketChannel socket) throws IOException {
            this.address = Doorkeeper.address(socket);
            this.introduction = new Introduction(gateway.fabric().identity("link"), socket, -1);
            this.key = socket.register(service.selector(), SelectionKey.OP_READ, this);
        }

        @Override
        public void ready(SelectionKey self) {
            try {
                introduced = introduced || introduction.proceed();
                if (introduced) {
                    hear();
                }
            } catch (RsmException e) {
                refuse(e);
            } catch (IOException e) {
                refuse(introduction.failure(e));
            } catch (RuntimeException | Error e) {
                callers.remove(this);
                throw e;
            }
        }

        /** Waits for the HELLO. */
        private void hear() throws IOException {
            TlsChannel channel = introduction.channel();
            do {
                if (channel.receive() < 0) {
                    throw new IOException("the other side has ended the connection");
                }
                if (frame.look(channel.received(), 0, channel.received().position())) {
                    callers.remove(this);
                    key.cancel();
                    gateway.letIn(introduction.link(), frame);
                    return;
                }
            } while (channel.hasMore());
        }

        void refuse(RsmException reason) {
            callers.remove(this);
            key.cancel();
            introduction.close();
            gateway.refused(address, reason == null ? "too many connections that have not proved anything" : reason(reason));
        }
    }
}
