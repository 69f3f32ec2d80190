package org.rsmapi.net;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import javax.net.ssl.SSLException;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.net.Link.Identity;

/** How two gateways get to know each other: TLS with their keys, then a greeting of each. It never waits. */
final class Introduction implements AutoCloseable {
    private static final String OP = "link";
    /** What the JDK says where the other side has said why. */
    private static final String ALERT = "Received fatal alert";

    private final Seen seen;
    private final int here;
    private final SocketChannel socket;
    private TlsChannel channel;
    private ByteBuffer ours;
    private boolean proved;
    private Link link;

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

    /**
     * Begins.
     *
     * @param socket  connected; closed if this fails
     * @param wanted  the node that was called; -1 if it has called
     * @throws RsmException BAD_CONF (the nodes file has no node with this host's key), REMOTE_NODE_UNREACHABLE
     */
    Introduction(Identity identity, SocketChannel socket, int wanted) {
        this.seen = new Seen(identity, wanted);
        this.socket = socket;
        boolean done = false;
        try {
            here = identity.here().node();
            socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
            channel = new TlsChannel(socket, PinnedKeys.engine(PinnedKeys.context(identity.own(), seen), wanted >= 0), Frame.LARGEST);
            done = true;
        } catch (IOException | GeneralSecurityException e) {
            throw failure(e);
        } finally {
            if (!done) {
                Link.close(socket);
            }
        }
    }

    TlsChannel channel() {
        return channel;
    }

    /**
     * Goes as far as possible.
     *
     * @return whether it is over, and there is a {@link #link}
     * @throws IOException for {@link #failure}
     * @throws RsmException BAD_DRIVER_VERSION, REMOTE_NODE_UNREACHABLE
     */
    boolean proceed() throws IOException {
        if (!proved) {
            if (!channel.handshake()) {
                return false;
            }
            proved = true;
            ours = new Greeting(Greeting.OLDEST, Greeting.NEWEST, here).encode();
        }
        if (!channel.send(ours)) {
            return false;
        }
        while (channel.received().position() < Greeting.BYTES) { // only now a caller knows whether its own key was accepted
            int n = channel.receive();
            if (n < 0) {
                throw new IOException("the other side has ended the connection");
            }
            if (n == 0) {
                return false;
            }
        }
        channel.received().flip();
        Greeting theirs = Greeting.decode(channel.received().slice(0, Greeting.BYTES));
        channel.received().position(Greeting.BYTES).compact();
        link = new Link(channel, seen.peer, version(theirs));
        return true;
    }

    private int version(Greeting theirs) {
        int version = theirs == null ? 0 : new Greeting(Greeting.OLDEST, Greeting.NEWEST, here).common(theirs);
        if (version == 0) {
            throw RsmException.of(RsmError.BAD_DRIVER_VERSION, OP).with("node", seen.peer.node())
                .with("versions", theirs == null ? "none" : theirs.oldest() + " to " + theirs.newest())
                .with("our-versions", Greeting.OLDEST + " to " + Greeting.NEWEST);
        }
        if (theirs.node() != seen.peer.node()) {
            throw unreachable(seen.peer.node(), "the gateway says that it is node " + theirs.node(), null);
        }
        return version;
    }

    Link link() {
        return link;
    }

    /** What a failure means. */
    RsmException failure(Exception e) {
        RsmException failure = unreachable(seen.wanted >= 0 || !proved ? seen.wanted : seen.peer.node(), reason(e), e);
        return seen.key == null ? failure : failure.with(proved ? "key" : "claimed-key", seen.key).with("own-key", seen.identity.own().fingerprint());
    }

    /** Why something has failed, for people; null if that is not known. */
    static Object reason(RsmException failure) {
        return failure.data().getOrDefault("reason", failure.data().get("hint"));
    }

    /** A failure in one sentence, for a status. */
    static String inShort(RsmException failure) {
        Object reason = reason(failure);
        if (reason == null) {
            return failure.getMessage();
        }
        Object key = failure.data().get("claimed-key");
        Object file = failure.data().get("file");
        Object line = failure.data().get("line");
        return (failure.error() == RsmError.REMOTE_NODE_UNREACHABLE ? "" : failure.error() + ": ") + reason
            + (key == null ? "" : ", " + key) + (file == null ? "" : " (" + file + (line == null ? "" : ", line " + line) + ")");
    }

    private String reason(Exception e) {
        return seen.refused != null ? seen.refused
            : e instanceof SocketTimeoutException ? "no answer in time"
            : seen.key != null && (proved || seen.wanted >= 0) ? "it does not accept this node's key, has not proved its own, or has ended"
            : seen.key != null ? "it has not proved that the key is its own"
            : e instanceof SSLException && String.valueOf(e.getMessage()).contains(ALERT) ? "it has rejected the handshake: compare this node's key with its nodes file"
            : e instanceof SSLException ? "it does not speak TLS 1.3 as a gateway does"
            : e instanceof IOException ? "it has ended the connection in the handshake: it is no gateway, or one that cannot use its own key or nodes file" : e.toString();
    }

    static RsmException unreachable(int node, String reason, Exception cause) {
        RsmException failure = RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, OP).with("reason", reason);
        if (node >= 0) {
            failure.with("node", node);
        }
        return cause == null ? failure : failure.causedBy(cause);
    }

    /** Ends the connection. */
    @Override
    public void close() {
        Link.close(channel == null ? socket : channel);
    }
}
