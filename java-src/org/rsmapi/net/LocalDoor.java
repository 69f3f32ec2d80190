package org.rsmapi.net;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Threads;

/**
 * How processes of a gateway's own host come to it. The kernel says who a process is at a socket in the abstract namespace, where it gets a
 * ticket, an {@link Invitation}; with that it makes a connection over the loopback device. Without a gateway there is nobody at the socket.
 */
final class LocalDoor extends Door {
    private static final int NAME_BYTES = 16;
    private static final int BACKLOG = 64;
    /** Tickets that have not been used, in all and of one user. */
    private static final int MOST_TICKETS = 1_024;
    private static final int MOST_OF_USER = 256;
    /** How long a ticket is good for, and how long a process has to say what it wants. */
    private static final long TICKET_NANOS = 5_000_000_000L;
    private static final long PAUSE_NANOS = 50_000_000;
    private static final long LONGEST_WAIT_NANOS = 3_600_000_000_000L;
    private static final SecureRandom RANDOM = new SecureRandom();

    private final Fd listener;
    private final Poll.Group wakers = new Poll.Group();
    private final Thread thread = Threads.daemon(this::giveTickets, "rsmapi-net-local");
    /** Guarded by itself. */
    private final Places<Ticket> tickets = new Places<>(MOST_TICKETS, Ticket::uid);
    private volatile boolean stopping;

    /** Who may come, what it sends and what the gateway answers, and until when. */
    private record Ticket(Connect.User user, int pid, byte[] theirs, byte[] ours, long deadline) {
        int uid() {
            return user.uid();
        }
    }

    private LocalDoor(Gateway gateway, Service service, Fd listener, ServerSocketChannel port) throws IOException {
        super(gateway, service, port, TICKET_NANOS);
        this.listener = listener;
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
            port.bind(new InetSocketAddress(Invitation.loopback(), 0), BACKLOG);
            LocalDoor made = new LocalDoor(gateway, service, listener, port);
            Threads.start(made.thread);
            door = made;
            service.add(door);
            return door;
        } finally {
            if (door == null) {
                listener.close();
                Link.close(port);
            }
        }
    }

    @Override
    void stop() {
        stopping = true;
        wakers.wake();
        super.stop();
    }

    // ---- tickets ----

    private void giveTickets() {
        while (!stopping) {
            int wakes = wakers.wakes();
            try {
                if (!stopping && Poll.forInput(listener, System.nanoTime() + LONGEST_WAIT_NANOS, wakers, wakes) == Poll.Outcome.READY) {
                    giveTicket();
                }
            } catch (OsError | IOException | OutOfMemoryError e) {
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
            Connect.User user = new Connect.User(peer.uid(), peer.gid(), peer.groups());
            Ticket ticket = new Ticket(user, peer.pid(), secret(), secret(), System.nanoTime() + TICKET_NANOS);
            if (!keep(ticket)) {
                gateway().refused(null, "user " + Integer.toUnsignedString(peer.uid()) + " of this host asks too often");
                Sockets.send(caller, Invitation.REFUSAL);
                return;
            }
            int at = ((InetSocketAddress) port().getLocalAddress()).getPort();
            Sockets.send(caller, new Invitation(gateway().fabric().node(), at, ticket.theirs, ticket.ours).encode());
        }
    }

    private static byte[] secret() {
        byte[] secret = new byte[Invitation.SECRET];
        RANDOM.nextBytes(secret);
        return secret;
    }

    private boolean keep(Ticket ticket) {
        synchronized (tickets) {
            Ticket first;
            while ((first = tickets.first()) != null && System.nanoTime() - first.deadline > 0) {
                tickets.remove(first);
            }
            if (tickets.of(ticket.uid()) >= MOST_OF_USER) {
                return false;
            }
            tickets.add(ticket);
            tickets.remove(tickets.surplus());
            return true;
        }
    }

    private Ticket use(byte[] secret) {
        synchronized (tickets) {
            for (Ticket each : tickets.all()) {
                if (MessageDigest.isEqual(each.theirs, secret) && tickets.remove(each) && System.nanoTime() - each.deadline <= 0) {
                    return each;
                }
            }
            return null;
        }
    }

    // ---- connections ----

    @Override
    Caller caller(SocketChannel socket) throws IOException {
        socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
        return new Visitor(socket);
    }

    /** A process that has made a connection: it shows a ticket, then says what it wants. Those without a ticket share places. */
    private final class Visitor extends Caller {
        private final SocketChannel socket;
        private final ByteBuffer secret = ByteBuffer.allocate(Invitation.SECRET);
        private final Frame frame = new Frame();
        private Ticket ticket;
        /** Made when there is a ticket: it has much memory. */
        private PlainChannel channel;

        Visitor(SocketChannel socket) {
            super(socket);
            this.socket = socket;
        }

        @Override
        Object party() {
            return ticket == null ? null : ticket.uid();
        }

        @Override
        void hear() throws IOException {
            if (ticket == null && !showTicket()) {
                return;
            }
            if (channel.receive() < 0) {
                throw new IOException("the process has ended the connection");
            }
            if (!frame.look(channel.received(), 0, channel.received().position())) {
                return;
            }
            leave();
            if (frame.type() == Frame.STATUS) {
                channel.send(Status.frame(gateway().fabric().status().encode()));
                close();
            } else {
                gateway().letInLocal(channel, ticket.user, ticket.pid, frame);
            }
        }

        private boolean showTicket() throws IOException {
            if (socket.read(secret) < 0) {
                throw new IOException("the process has ended the connection");
            }
            if (secret.hasRemaining()) {
                return false;
            }
            Ticket shown = use(secret.array());
            if (shown == null) {
                throw Introduction.unreachable(-1, "a process of this host has no ticket", null);
            }
            channel = new PlainChannel(socket);
            ticket = shown;
            if (!channel.send(ByteBuffer.wrap(ticket.ours))) {
                throw new IOException("the process does not read");
            }
            return true;
        }

        @Override
        String failure(IOException e) {
            return null; // a process that has ended, or has not gone on, has not tried anything
        }

        @Override
        void close() {
            Link.close(channel == null ? socket : channel);
        }
    }
}
