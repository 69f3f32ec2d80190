package org.rsmapi.net;

import java.io.IOException;
import java.time.Duration;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Preload;

/**
 * The gateway of a host, played by this process for as long as this object is open, in addition to what its controllers do. That is for a
 * process that does nothing else ({@code clojure -M:rsm gateway}); any process that has a {@code net} controller open and may read the
 * host's key plays it if no other process does.
 */
public final class HostGateway implements AutoCloseable {
    private static final String OP = "gateway";

    private final Fabric fabric;
    private boolean closed;

    private HostGateway(Fabric fabric) {
        this.fabric = fabric;
    }

    /**
     * Begins to play the gateway. If another process has the node's port, this one takes over when that ends. If the nodes file names an
     * RDMA device for this node ({@code ucx=}), data goes through it where the other gateway has one too; the property
     * {@code rsmapi.ucx} is {@code auto}, {@code off} or {@code required}.
     *
     * @param unit  0 for {@code net0}, up to 7
     * @throws RsmException BAD_ARGS_ERRORS (the unit), BAD_CONF (the nodes file, the key, a property, a device that is required and
     *     cannot be used), INSUFFICIENT_RESOURCES, and what opening a controller throws
     */
    public static HostGateway open(int unit) {
        check(unit);
        Preload.once();
        Fabric fabric = Fabric.open(unit);
        if (fabric.isLocal()) {
            fabric.release();
            throw RsmException.of(RsmError.BAD_CONF, OP).hint("this process may not read the host's key, or the property rsmapi.gateway is "
                + "other, or another controller of this process goes through the gateway of another process");
        }
        boolean done = false;
        try {
            fabric.openDevice();
            done = true;
            return new HostGateway(fabric);
        } finally {
            if (!done) {
                fabric.release();
            }
        }
    }

    private static void check(int unit) {
        if (unit < 0 || unit >= NetProvider.MAX_UNITS) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, OP).with("argument", "unit").with("value", unit)
                .hint("units are 0 to " + (NetProvider.MAX_UNITS - 1));
        }
    }

    /** Whether it has the node's port, so that other nodes can come. */
    public boolean isOpen() {
        return fabric.gateway().isOpen();
    }

    /** How it is doing. */
    public GatewayStatus status() {
        return fabric.status();
    }

    /**
     * How the gateway of this host is doing, whichever process plays it.
     *
     * @param unit     0 for {@code net0}, up to 7
     * @param timeout  how long to wait for it
     * @return null if no process plays it
     * @throws RsmException BAD_ARGS_ERRORS, REMOTE_NODE_UNREACHABLE (it does not answer, or is played by a user who may not),
     *     BAD_DRIVER_VERSION
     */
    public static GatewayStatus ask(int unit, Duration timeout) {
        check(unit);
        Preload.once();
        long deadline = System.nanoTime() + Math.min(timeout.toMillis(), Integer.MAX_VALUE) * 1_000_000L;
        Invitation invitation = Place.invitation(unit, deadline);
        if (invitation == null) {
            return null;
        }
        try (Channel channel = invitation.accept(deadline)) {
            return GatewayStatus.decode(Status.ask(channel, deadline));
        } catch (IOException e) {
            throw RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, OP).with("reason", e.toString()).causedBy(e)
                .hint("the gateway of this host does not answer");
        }
    }

    /** Gives the port back, and ends what goes through the gateway, unless this process's controllers need it. Idempotent. */
    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            fabric.release();
        }
    }
}
