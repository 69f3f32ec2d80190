package org.rsmapi.net;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import javax.net.ssl.SSLSocket;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.ConfFile;

/**
 * A connection to the gateway of another node, when both have proved who they are: TLS 1.3 with the keys of the nodes file, and greetings
 * that agree on a version.
 */
public final class Link implements AutoCloseable {
    private static final String OP = "link";
    private static final int BUFFER = 1 << 16;

    /** The socket below TLS: to close that never waits for the other side. */
    private final Socket socket;
    private final NodesFile.Entry peer;
    private final int version;
    private final DataInputStream in;
    private final OutputStream out;

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

    /** Looks at the key of the other side, and remembers whose it is and why it was refused. */
    private static final class Seen implements PinnedKeys.Check {
        private final Identity identity;
        /** The node that we have called; -1 if we were called. */
        private final int wanted;
        private NodesFile.Entry peer;
        private String refused;
        private String key;

        Seen(Identity identity, int wanted) {
            this.identity = identity;
            this.wanted = wanted;
        }

        @Override
        public void check(X509Certificate certificate) throws CertificateException {
            key = KeyFile.fingerprint(certificate.getPublicKey());
            peer = identity.nodes().withKey(key);
            String objection = KeyFile.objection(certificate);
            refused = objection != null ? objection
                : peer == null ? "no node has this key"
                : wanted >= 0 && peer.node() != wanted ? "it is the key of node " + peer.node()
                : peer.node() == identity.here().node() ? "it is this node's own key" : null;
            if (refused != null) {
                throw new CertificateException(refused);
            }
        }
    }

    private Link(Socket socket, NodesFile.Entry peer, int version, DataInputStream in, OutputStream out) {
        this.socket = socket;
        this.peer = peer;
        this.version = version;
        this.in = in;
        this.out = out;
    }

    /**
     * Calls the gateway of a node.
     *
     * @param millis  how long that may take in all
     * @throws RsmException BAD_CONF (the nodes file has no such node, or not this one), REMOTE_NODE_UNREACHABLE (with the reason: there is
     *     no gateway, it took too long, one side does not accept the other's key), BAD_DRIVER_VERSION (no common version)
     */
    public static Link call(Identity identity, int node, int millis, ScheduledExecutorService clock) {
        NodesFile.Entry to = identity.nodes().nodes().get(node);
        if (to == null) {
            throw ConfFile.failure(OP, identity.nodes().file()).with("node", node).hint("the file has no line for the node");
        }
        Socket socket = new Socket();
        try (Limit limit = Limit.of(socket, millis, clock)) {
            try {
                socket.connect(new InetSocketAddress(resolved(to, millis), to.port()), millis);
            } catch (IOException | RuntimeException e) {
                close(socket);
                throw unreachable(to.node(), limit.over() ? "no answer in time" : "the gateway cannot be reached: " + e.getMessage(), e);
            }
            return secured(identity, socket, to.node(), limit);
        }
    }

    /** A thread of its own asks for the address: that cannot be ended, and may take longer. */
    private static InetAddress resolved(NodesFile.Entry to, int millis) throws IOException {
        FutureTask<InetAddress> asking = new FutureTask<>(() -> InetAddress.getByName(to.host()));
        Thread thread = new Thread(asking, "rsmapi-resolve");
        thread.setDaemon(true);
        thread.start();
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
    public static Link answer(Identity identity, Socket socket, int millis, ScheduledExecutorService clock) {
        try (Limit limit = Limit.of(socket, millis, clock)) {
            return secured(identity, socket, -1, limit);
        }
    }

    private static Link secured(Identity identity, Socket socket, int wanted, Limit limit) {
        Seen seen = new Seen(identity, wanted);
        boolean proved = false;
        try {
            int here = identity.here().node();
            socket.setTcpNoDelay(true);
            SSLSocket secured = PinnedKeys.over(PinnedKeys.context(identity.own(), seen), socket, wanted >= 0);
            secured.startHandshake();
            proved = true;
            DataInputStream in = new DataInputStream(new BufferedInputStream(secured.getInputStream(), BUFFER));
            Greeting ours = new Greeting(Greeting.OLDEST, Greeting.NEWEST, here);
            ours.write(secured.getOutputStream());
            Greeting theirs = Greeting.read(in); // only now a caller knows whether its own key was accepted
            int version = theirs == null ? 0 : ours.common(theirs);
            if (version == 0) {
                throw RsmException.of(RsmError.BAD_DRIVER_VERSION, OP).with("node", seen.peer.node())
                    .with("versions", theirs == null ? "none" : theirs.oldest() + " to " + theirs.newest())
                    .with("our-versions", Greeting.OLDEST + " to " + Greeting.NEWEST);
            }
            if (theirs.node() != seen.peer.node()) {
                throw unreachable(seen.peer.node(), "the gateway says that it is node " + theirs.node(), null);
            }
            if (!limit.met()) {
                throw unreachable(seen.peer.node(), "no answer in time", null);
            }
            return new Link(socket, seen.peer, version, in, secured.getOutputStream());
        } catch (IOException | GeneralSecurityException e) {
            close(socket);
            RsmException failure = unreachable(wanted >= 0 || !proved ? wanted : seen.peer.node(), reason(seen, proved, limit, e), e);
            throw seen.key == null ? failure : failure.with(proved ? "key" : "claimed-key", seen.key);
        } catch (RuntimeException | Error e) {
            close(socket);
            throw e;
        }
    }

    private static String reason(Seen seen, boolean proved, Limit limit, Exception e) {
        return seen.refused != null ? seen.refused
            : limit.over() ? "no answer in time"
            : seen.key != null && (proved || seen.wanted >= 0) ? "it does not accept this node's key, has not proved its own, or has ended"
            : seen.key != null ? "it has not proved that the key is its own"
            : e instanceof IOException ? "it does not speak TLS 1.3 as a gateway does" : e.toString();
    }

    private static RsmException unreachable(int node, String reason, Exception cause) {
        RsmException failure = RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, OP).with("reason", reason);
        if (node >= 0) {
            failure.with("node", node);
        }
        return cause == null ? failure : failure.causedBy(cause);
    }

    private static void close(Socket socket) {
        try {
            socket.close();
        } catch (IOException e) {
            return; // it is not used any more
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

    /** What the other gateway sends. */
    public DataInputStream in() {
        return in;
    }

    /** What the other gateway gets. */
    public OutputStream out() {
        return out;
    }

    @Override
    public void close() {
        close(socket);
    }

    /** Closes a socket when something takes too long: whoever waits for it gets an exception. */
    private static final class Limit implements AutoCloseable {
        private ScheduledFuture<?> end;
        private boolean over;
        private boolean met;

        static Limit of(Socket socket, int millis, ScheduledExecutorService clock) {
            Limit limit = new Limit();
            try {
                limit.end = clock.schedule(() -> limit.expire(socket), millis, TimeUnit.MILLISECONDS);
            } catch (RejectedExecutionException e) {
                Link.close(socket);
                throw unreachable(-1, "this gateway is ending", e);
            }
            return limit;
        }

        private synchronized void expire(Socket socket) {
            if (!met) {
                over = true;
                Link.close(socket);
            }
        }

        synchronized boolean over() {
            return over;
        }

        /** Says that it was in time, if it was. */
        synchronized boolean met() {
            met = !over;
            return met;
        }

        @Override
        public void close() {
            end.cancel(false);
        }
    }
}
