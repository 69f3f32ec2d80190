package org.rsmapi.net;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.ConfFile;
import org.rsmapi.sys.Credentials;

/**
 * Which node this host is, and how this process gets to the others.
 *
 * @param nodes  all that there are
 * @param node   this host's
 * @param local  whether over the gateway that another process of this host plays. Else the process has the host's key: it calls other nodes
 *               itself, and plays the gateway if no other process does
 */
record Place(NodesFile nodes, int node, boolean local) {
    private static final String OP = "get-controller";
    private static final String ROLE = "rsmapi.gateway";
    private static final int NOBODY = -1;

    /**
     * By the files, the property {@code rsmapi.gateway}, and the gateway that is there.
     *
     * @throws RsmException BAD_CONF, REMOTE_NODE_UNREACHABLE (there is no gateway, and this process cannot be one)
     */
    static Place find(int unit, int timeoutMillis) {
        String role = System.getProperty(ROLE, "auto").trim().toLowerCase(Locale.ROOT);
        if (!role.equals("auto") && !role.equals("other")) {
            throw RsmException.of(RsmError.BAD_CONF, OP).with("value", role).hint("the system property " + ROLE
                + " is auto, or other for a process that leaves the role of the gateway to others");
        }
        Path key = KeyFile.defaultFile(OP, unit);
        int owner = owner(key);
        // root could read any file, but does not take the key of another user for its own
        boolean readable = Files.isReadable(key) && (owner == 0 || owner == Credentials.uid());
        if (role.equals("auto") && readable) {
            Link.Identity identity = identity(unit, OP);
            return new Place(identity.nodes(), identity.here().node(), false);
        }
        NodesFile nodes = nodes(unit, OP);
        Invitation invitation = invitation(unit, System.nanoTime() + timeoutMillis * 1_000_000L);
        if (invitation == null) {
            if (!readable) {
                if (Files.exists(key) && (!Files.isReadable(key) || owner != Credentials.uid())) {
                    throw ConfFile.failure(OP, key).with("controller", NetProvider.TYPE + unit)
                        .hint("no process of this host is the gateway, and this process cannot be: the key is another user's");
                }
                KeyFile.read(OP, key); // says why not
            }
            throw RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, OP).with("controller", NetProvider.TYPE + unit)
                .hint("no process of this host is the gateway");
        }
        return new Place(nodes, invitation.node(), true);
    }

    static NodesFile nodes(int unit, String op) {
        return NodesFile.read(op, NodesFile.defaultFile(op, unit));
    }

    static Link.Identity identity(int unit, String op) {
        return new Link.Identity(KeyFile.read(op, KeyFile.defaultFile(op, unit)), nodes(unit, op));
    }

    /** Who owns the host's key, and so may play the gateway; -1 if that cannot be told. */
    private static int owner(Path key) {
        try {
            return (Integer) Files.getAttribute(key, "unix:uid");
        } catch (IOException | RuntimeException e) {
            return NOBODY;
        }
    }

    /** What the gateway of this host says to this process; null if there is none. */
    static Invitation invitation(int unit, long deadline) {
        Path key = KeyFile.defaultFile("link", unit);
        return Invitation.ask(NetProvider.TYPE + unit, key, owner(key), deadline);
    }

    /** A channel to the gateway of this host. */
    static Channel throughGateway(int unit, int node, long timeout) {
        long deadline = System.nanoTime() + timeout;
        Invitation invitation = invitation(unit, deadline);
        if (invitation == null) {
            throw Introduction.unreachable(node, "no process of this host is the gateway", null);
        }
        if (invitation.node() != node) {
            throw Introduction.unreachable(node, "this host is node " + invitation.node() + " now", null);
        }
        try {
            return invitation.accept(deadline);
        } catch (IOException e) {
            throw Introduction.unreachable(node, "the gateway of this host cannot be reached: " + e.getMessage(), e);
        }
    }
}
