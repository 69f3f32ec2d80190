package org.rsmapi.net;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.security.MessageDigest;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;
import org.rsmapi.sys.Sockets;

/**
 * The ticket that a process gets at the {@link LocalDoor} of its host's gateway.
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
 * <p>Numbers are in network byte order.
 *
 * @param node    the host's
 * @param port    where the process makes its connection
 * @param ours    what the process sends first
 * @param theirs  what the gateway sends first
 */
record Invitation(int node, int port, byte[] ours, byte[] theirs) {
    static final int SECRET = 16;
    /** What a process gets that asks too often. */
    static final byte[] REFUSAL = new byte[1];

    private static final int BYTES = 3 * SECRET;
    private static final int MAGIC = 0x52534D47;
    private static final int VERSION = 1;
    private static final int SHORT = 0xFFFF;
    private static final byte[] LOOPBACK = {127, 0, 0, 1};

    static InetAddress loopback() throws IOException {
        return InetAddress.getByAddress(LOOPBACK);
    }

    byte[] encode() {
        ByteBuffer message = ByteBuffer.allocate(BYTES);
        message.putInt(MAGIC).putShort((short) VERSION).put((byte) node).put((byte) 0).putShort((short) port)
            .position(SECRET).put(ours).put(theirs);
        return message.array();
    }

    private static Invitation decode(byte[] message) {
        ByteBuffer fields = ByteBuffer.wrap(message);
        if (message.length != BYTES || fields.getInt(0) != MAGIC || fields.getShort(4) != VERSION) {
            throw RsmException.of(RsmError.BAD_DRIVER_VERSION, "link")
                .hint("the gateway of this host is of another version of the library");
        }
        byte[] ours = new byte[SECRET];
        byte[] theirs = new byte[SECRET];
        fields.position(SECRET).get(ours).get(theirs);
        return new Invitation(fields.get(6), fields.getShort(8) & SHORT, ours, theirs);
    }

    /**
     * Asks the gateway of this host to let this process in.
     *
     * @param controller  the controller's name
     * @param key         where the host's key is
     * @param owner       a user that may be the gateway, besides root and this user; -1 for none
     * @return null if there is no gateway
     * @throws RsmException REMOTE_NODE_UNREACHABLE (what is there is not a gateway of those who may be one, or does not answer),
     *     BAD_DRIVER_VERSION
     */
    static Invitation ask(String controller, Path key, int owner, long deadline) {
        Fd socket;
        try {
            socket = Sockets.connect(LocalDoor.name(controller, key));
        } catch (OsError e) {
            return null;
        }
        try (socket) {
            int uid = Sockets.peer(socket).uid();
            if (uid != 0 && uid != Credentials.uid() && uid != owner) {
                throw failure("user " + Integer.toUnsignedString(uid) + " is the gateway, who does not own the host's key");
            }
            if (Poll.forInput(socket, deadline) != Poll.Outcome.READY) {
                throw failure("the gateway of this host does not answer");
            }
            try (Sockets.Message message = Sockets.receive(socket, BYTES, 0)) {
                if (message == null || message.data().length == 0) {
                    return null; // it has just ended
                }
                if (message.data().length == REFUSAL.length) {
                    throw failure("the gateway of this host does not let this process in: it asks too often");
                }
                return decode(message.data());
            }
        } catch (OsError e) {
            return null; // as well
        }
    }

    private static RsmException failure(String reason) {
        return Introduction.unreachable(-1, reason, null);
    }

    /** Makes the connection. */
    Channel accept(long deadline) throws IOException {
        SocketChannel socket = SocketChannel.open();
        PlainChannel channel = null;
        boolean done = false;
        try {
            int left = (int) Math.max(1, (deadline - System.nanoTime()) / 1_000_000);
            socket.socket().connect(new InetSocketAddress(loopback(), port), left);
            socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
            channel = new PlainChannel(socket);
            ByteBuffer received = channel.received();
            channel.sendAll(ByteBuffer.wrap(ours), deadline);
            channel.receiveUntil(() -> received.position() >= SECRET, deadline);
            byte[] answer = new byte[SECRET];
            received.flip().get(answer).compact();
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
