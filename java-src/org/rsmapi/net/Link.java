package org.rsmapi.net;

import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.nio.channels.SocketChannel;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.rsmapi.RsmException;
import org.rsmapi.spi.ConfFile;
import org.rsmapi.sys.Threads;

/**
 * A connection to the gateway of another node, when both have proved who they are: TLS 1.3 with the keys of the nodes file, and greetings
 * that agree on a version.
 */
public final class Link implements AutoCloseable {
    private static final String OP = "link";
    private final TlsChannel channel;
    private final NodesFile.Entry peer;
    private final int version;

    /** Who we are, and whom we know: read anew for each link, so that changes of the files count. */
    public record Identity(KeyFile own, NodesFile nodes) {
        /**
         * Our own line of the nodes file.
         *
         * @throws RsmException BAD_CONF (there is none with our key)
         */
        public NodesFile.Entry here() {
            NodesFile.Entry here = nodes.withKey(own.fingerprint());
            if (here == null) {
                throw ConfFile.failure(OP, nodes.file()).with("key", own.fingerprint()).with("key-file", own.file().toString())
                    .hint("no node has this host's key");
            }
            return here;
        }
    }

    Link(TlsChannel channel, NodesFile.Entry peer, int version) {
        this.channel = channel;
        this.peer = peer;
        this.version = version;
    }

    /**
     * Calls the gateway of a node.
     *
     * @param millis  how long that may take in all
     * @throws RsmException BAD_CONF (the nodes file has no such node, or not this one), REMOTE_NODE_UNREACHABLE (with the reason: there is
     *     no gateway, it took too long, one side does not accept the other's key), BAD_DRIVER_VERSION (no common version)
     */
    public static Link call(Identity identity, int node, int millis) {
        return call(identity, node, millis, millis);
    }

    /**
     * The same with a limit for the way, and one for what both sides have to compute, which takes long in processes that have just begun.
     *
     * @param millis        how long it may take until there is a connection
     * @param moreMillis    how long it may take in all
     */
    static Link call(Identity identity, int node, int millis, int moreMillis) {
        NodesFile.Entry to = identity.nodes().nodes().get(node);
        if (to == null) {
            throw ConfFile.failure(OP, identity.nodes().file()).with("node", node).hint("the file has no line for the node");
        }
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(moreMillis);
        SocketChannel socket = null;
        try {
            InetAddress address = resolved(to, millis);
            socket = SocketChannel.open();
            socket.socket().connect(new InetSocketAddress(address, to.port()), millis);
        } catch (IOException | RuntimeException e) {
            close(socket);
            throw Introduction.unreachable(to.node(), e instanceof SocketTimeoutException ? "no answer in time"
                : e instanceof ConnectException ? "there is no gateway: " + e.getMessage()
                : "the gateway cannot be reached: " + e.getMessage(), e);
        }
        return introduce(new Introduction(identity, socket, to.node()), deadline);
    }

    /** A thread of its own asks for the address: that cannot be ended, and may take longer. */
    static InetAddress resolved(NodesFile.Entry to, int millis) throws IOException {
        FutureTask<InetAddress> asking = new FutureTask<>(() -> InetAddress.getByName(to.host()));
        Threads.start(Threads.daemon(asking, "rsmapi-resolve"));
        try {
            return asking.get(millis, TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw new IOException(String.valueOf(e.getCause()), e);
        } catch (TimeoutException e) {
            throw new IOException("the address of " + to.host() + " was not found in time", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        }
    }

    /**
     * Goes on with a connection that another gateway has made.
     *
     * @param millis  how long it may take until both know each other
     * @throws RsmException as for {@link #call}; the socket is closed then
     */
    public static Link answer(Identity identity, SocketChannel socket, int millis) {
        return introduce(new Introduction(identity, socket, -1), System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis));
    }

    private static Link introduce(Introduction introduction, long deadline) {
        Link link = null;
        try {
            while (!introduction.proceed()) {
                if (!introduction.channel().awaitInput(deadline, false)) {
                    throw new SocketTimeoutException("no answer in time");
                }
            }
            link = introduction.link();
            return link;
        } catch (IOException e) {
            throw introduction.failure(e);
        } finally {
            if (link == null) {
                introduction.close();
            }
        }
    }

    static void close(AutoCloseable socket) {
        if (socket != null) {
            try {
                socket.close();
            } catch (Exception e) {
                return; // it is not used any more
            }
        }
    }

    /** The other node. */
    public NodesFile.Entry peer() {
        return peer;
    }

    /** The version that both speak. */
    public int version() {
        return version;
    }

    /** What goes from one to the other. */
    TlsChannel channel() {
        return channel;
    }

    @Override
    public void close() {
        channel.close();
    }
}
