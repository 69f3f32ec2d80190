package org.rsmapi.net;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Threads;

/**
 * How processes of a gateway's own host come to it. The kernel says who a process is at a socket in the abstract namespace, where it gets a
 * ticket; with that it makes a connection over the loopback device.
 *
 * <pre>
 *  0  "RSMG"
 *  4  u16  version, 1
 *  6  u8   node
 *  7  0
 *  8  u16  port on 127.0.0.1, and 2 bytes, 0
 * 12  u32  0
 * 16  16 bytes that the process sends first on the connection
 * 32  16 bytes that the gateway sends first
 * </pre>
 *
 * <p>Numbers are in network byte order. Without a gateway there is nobody at the socket.
 */
final class LocalDoor implements Service.Handler {
    private static final int MAGIC = 0x52534D47;
    private static final int VERSION = 1;
    private static final int SECRET = 16;
    private static final int TICKET = 3 * SECRET;
    private static final int NAME_BYTES = 16;
    private static final int BACKLOG = 64;
    /** Tickets that have not been used, in all and of one user; and connections that have not said what they want. */
    private static final int MOST_TICKETS = 1_024;
    private static final int MOST_OF_USER = 256;
    private static final long TICKET_NANOS = 5_000_000_000L;
    private static final long PAUSE_NANOS = 50_000_000;
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final byte[] LOOPBACK = {127, 0, 0, 1};

    private final Gateway gateway;
    private final Service service;
    private final Fd listener;
    private final ServerSocketChannel port;
    private final SelectionKey accepting;
    private final Poll.Group wakers = new Poll.Group();
    private final Thread thread = Threads.daemon(this::run, "rsmapi-net-local");
    /** By the secret that a process has to send; in the order in which they were given. Guarded by itself. */
    private final Map<String, Ticket> tickets = new LinkedHashMap<>();
    private volatile boolean stopping;

    /** Who may come, and what the gateway answers. */
    private record Ticket(Connect.User user, int pid, byte[] answer, long deadline) {}

    private LocalDoor(Gateway gateway, Service service, Fd listener, ServerSocketChannel port) throws IOException {
        this.gateway = gateway;
        this.service = service;
        this.listener = listener;
        this.port = port;
        port.configureBlocking(false);
        this.accepting = port.register(service.selector(), SelectionKey.OP_ACCEPT, this);
    }

    /**
     * The name of the socket, without the NUL in front: by the controller and the file of the host's key, so that several hosts that are
     * played on one machine do not meet. Who cannot read the file knows where it is.
     */
    static String name(String controller, Path key) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256")
                .digest((controller + " " + key.toAbsolutePath().normalize()).getBytes(StandardCharsets.UTF_8));
            return "rsmapi-gateway/" + HexFormat.of().formatHex(hash, 0, NAME_BYTES);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e); // every JVM has SHA-256
        }
    }

    /**
     * Opens it; null if another gateway of this host has it.
     *
     * @param service  whose thread accepts
     */
    static LocalDoor open(Gateway gateway, Service service) throws IOException {
        Fd listener;
        try {
            listener = Sockets.listen(name(gateway.fabric().name(), gateway.fabric().keyFile()), BACKLOG);
        } catch (OsError e) {
            return null;
        }
        ServerSocketChannel port = null;
        LocalDoor door = null;
        try {
            port = ServerSocketChannel.open();
            port.bind(new InetSocketAddress(InetAddress.getByAddress(LOOPBACK), 0), BACKLOG);
            door = new LocalDoor(gateway, service, listener, port);
            Threads.start(door.thread);
            return door;
        } finally {
            if (door == null) {
                listener.close();
                Link.close(port);
            }
        }
    }

    void stop() {
        stopping = true;
        wakers.wake();
        Link.close(port);
    }

    // ---- tickets ----

    private void run() {
        while (!stopping) {
            int wakes = wakers.wakes();
            try {
                if (!stopping && Poll.forInput(listener, System.nanoTime() + TICKET_NANOS, wakers, wakes) == Poll.Outcome.READY) {
                    giveTicket();
                }
            } catch (OsError | IOException e) {
                LockSupport.parkNanos(PAUSE_NANOS);
            }
        }
        listener.close();
    }

    private void giveTicket() throws IOException {
        try (Fd caller = Sockets.accept(listener)) {
            if (caller == null) {
                return;
            }
            Sockets.Peer peer = Sockets.peer(caller);
            byte[] theirs = new byte[SECRET];
            byte[] ours = new byte[SECRET];
            RANDOM.nextBytes(theirs);
            RANDOM.nextBytes(ours);
            Connect.User user = new Connect.User(peer.uid(), peer.gid(), peer.groups());
            if (!keep(theirs, new Ticket(user, peer.pid(), ours, System.nanoTime() + TICKET_NANOS))) {
                gateway.refused(null, "user " + Integer.toUnsignedString(peer.uid()) + " of this host asks too often");
                Sockets.send(caller, new byte[1]);
                return;
            }
            int at = ((InetSocketAddress) port.getLocalAddress()).getPort();
            ByteBuffer message = ByteBuffer.allocate(TICKET);
            message.putInt(MAGIC).putShort((short) VERSION).put((byte) gateway.fabric().node()).put((byte) 0).putShort((short) at)
                .position(SECRET).put(theirs).put(ours);
            Sockets.send(caller, message.array());
        }
    }

    private boolean keep(byte[] secret, Ticket ticket) {
        synchronized (tickets) {
            long now = System.nanoTime();
            tickets.values().removeIf(each -> now - each.deadline() > 0);
            long same = tickets.values().stream().filter(each -> each.user().uid() == ticket.user().uid()).count();
            if (same >= MOST_OF_USER) {
                return false;
            }
            if (tickets.size() >= MOST_TICKETS) {
                Iterator<Ticket> oldest = tickets.values().iterator();
                oldest.next();
                oldest.remove();
            }
            tickets.put(HexFormat.of().formatHex(secret), ticket);
            return true;
        }
    }

    private Ticket use(byte[] secret) {
        synchronized (tickets) {
            return tickets.remove(HexFormat.of().formatHex(secret));
        }
    }

    // ---- connections ----

    @Override
    public void ready(SelectionKey key) {
        try {
            SocketChannel socket;
            while ((socket = port.accept()) != null) {
                SocketChannel accepted = socket;
                accepted.setOption(StandardSocketOptions.TCP_NODELAY, true);
                Caller caller = new Caller(new PlainChannel(accepted));
                caller.key = accepted.register(service.selector(), SelectionKey.OP_READ, caller);
                callers.put(caller, System.nanoTime() + TICKET_NANOS);
                if (callers.size() > MOST_TICKETS) {
                    callers.keySet().iterator().next().end();
                }
            }
        } catch (IOException e) {
            gateway.refused(null, "no connection can be accepted: " + e.getMessage());
            key.interestOps(0); // until the clock ticks
        }
    }

    /** Those that have not said what they want, and until when they have to; in the service's thread. */
    private final Map<Caller, Long> callers = new LinkedHashMap<>();

    /** Called often. */
    void tick(long now) {
        service.execute(() -> {
            if (accepting.isValid()) {
                accepting.interestOps(SelectionKey.OP_ACCEPT);
            }
            for (Map.Entry<Caller, Long> each : new ArrayList<>(callers.entrySet())) {
                if (now - each.getValue() > 0) {
                    each.getKey().end();
                }
            }
        });
    }

    /** A process that has made a connection. */
    private final class Caller implements Service.Handler {
        private final PlainChannel channel;
        private final Frame frame = new Frame();
        private SelectionKey key;
        private Ticket ticket;

        Caller(PlainChannel channel) {
            this.channel = channel;
        }

        @Override
        public void ready(SelectionKey self) {
            try {
                if (channel.receive() < 0) {
                    end();
                    return;
                }
                ByteBuffer received = channel.received();
                if (ticket == null && received.position() >= SECRET) {
                    byte[] secret = new byte[SECRET];
                    received.flip().get(secret).compact();
                    ticket = use(secret);
                    if (ticket == null || !channel.send(ByteBuffer.wrap(ticket.answer()))) {
                        gateway.refused(null, "a process of this host has no ticket");
                        end();
                        return;
                    }
                }
                if (ticket != null && frame.look(received, 0, received.position())) {
                    if (frame.type() == Frame.STATUS) {
                        channel.send(Status.frame(gateway.fabric().status().encode()));
                        end();
                        return;
                    }
                    callers.remove(this);
                    key.cancel();
                    gateway.letInLocal(channel, ticket.user(), ticket.pid(), frame);
                }
            } catch (IOException e) {
                end();
            }
        }

        void end() {
            callers.remove(this);
            key.cancel();
            channel.close();
        }
    }

    // ---- the other side ----

    /** What a process gets from the gateway of its host. */
    record Invitation(int node, int port, byte[] ours, byte[] theirs) {
        /** Makes the connection. */
        Channel accept(long deadline) throws IOException {
            SocketChannel socket = SocketChannel.open();
            PlainChannel channel = null;
            boolean done = false;
            try {
                int left = (int) Math.max(1, (deadline - System.nanoTime()) / 1_000_000);
                socket.socket().connect(new InetSocketAddress(InetAddress.getByAddress(LOOPBACK), port), left);
                socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
                channel = new PlainChannel(socket);
                channel.sendAll(ByteBuffer.wrap(ours), deadline);
                while (channel.received().position() < SECRET) {
                    int n = channel.receive();
                    if (n < 0) {
                        throw new IOException("the gateway has ended the connection");
                    }
                    if (n == 0 && !channel.awaitInput(deadline, false)) {
                        throw new SocketTimeoutException("no answer in time");
                    }
                }
                byte[] answer = new byte[SECRET];
                channel.received().flip().get(answer).compact();
                if (!MessageDigest.isEqual(answer, theirs)) {
                    throw new IOException("it is not the gateway that answers");
                }
                done = true;
                return channel;
            } finally {
                if (!done) {
                    Link.close(channel == null ? socket : channel);
                }
            }
        }
    }

    /**
     * Asks the gateway of this host to let this process in.
     *
     * @param controller  the controller's name
     * @param key         where the host's key is
     * @param owner       a user that may be the gateway, besides root and this user; -1 for none
     * @return null if there is no gateway
     * @throws RsmException REMOTE_NODE_UNREACHABLE (what is there is not a gateway of those who may be one, or does not answer)
     */
    static Invitation ask(String controller, Path key, int owner, long deadline) {
        Fd socket;
        try {
            socket = Sockets.connect(name(controller, key));
        } catch (OsError e) {
            return null;
        }
        try (socket) {
            int uid = Sockets.peer(socket).uid();
            if (uid != 0 && uid != Credentials.uid() && uid != owner) {
                throw failure("user " + Integer.toUnsignedString(uid) + " plays the gateway, who does not own the host's key");
            }
            if (Poll.forInput(socket, deadline) != Poll.Outcome.READY) {
                throw failure("the gateway of this host does not answer");
            }
            try (Sockets.Message message = Sockets.receive(socket, TICKET, 0)) {
                if (message == null || message.data().length == 0) {
                    return null; // it has just ended
                }
                if (message.data().length == 1) {
                    throw failure("the gateway of this host does not let this process in: it asks too often");
                }
                ByteBuffer fields = ByteBuffer.wrap(message.data());
                if (message.data().length != TICKET || fields.getInt(0) != MAGIC || fields.getShort(4) != VERSION) {
                    throw RsmException.of(RsmError.BAD_DRIVER_VERSION, "link")
                        .hint("the gateway of this host is of another version of the library");
                }
                byte[] ours = new byte[SECRET];
                byte[] theirs = new byte[SECRET];
                fields.position(SECRET).get(ours).get(theirs);
                return new Invitation(fields.get(6), fields.getShort(8) & 0xFFFF, ours, theirs);
            }
        } catch (OsError e) {
            return null; // as well
        }
    }

    private static RsmException failure(String reason) {
        return RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, "link").with("reason", reason);
    }
}
