package org.rsmapi.loopback;

import java.util.ArrayList;
import java.util.List;
import java.util.SortedSet;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.InterconnectProvider;

/**
 * The controllers {@code loopback} (the local node only) and {@code shm0} to {@code shm31} (64 nodes on one machine).
 *
 * <p>The node that a process plays is 0, or what the system property {@code rsmapi.node} or the environment variable
 * {@code RSMAPI_NODE} says, or, for an {@code shm} controller, what the caller asks for.
 */
public final class LoopbackProvider implements InterconnectProvider {
    private static final String OP = "get-controller";
    private static final String OS = System.getProperty("os.name");
    private static final String ARCHITECTURE = System.getProperty("os.arch");
    private static final boolean SUPPORTED =
        "Linux".equals(OS) && ("amd64".equals(ARCHITECTURE) || "aarch64".equals(ARCHITECTURE));
    private static final int MAX_UNITS = 32;
    private static final int MAX_NODES = 64;

    @Override
    public Interconnect open(String type, int unit, int node) {
        boolean ours = type.equals("loopback") || type.equals("shm") && unit < MAX_UNITS;
        if (ours && !SUPPORTED) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller").with("controller", type)
                .with("platform", OS + " " + ARCHITECTURE).hint("this interconnect needs Linux on x86-64 or aarch64");
        }
        if (ours) {
            Limits.configure(OP);
        }
        if (type.equals("loopback")) {
            int here = configuredNode(OP);
            if (node != -1 && node != here) {
                throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller").with("controller", type).with("node", node)
                    .hint("loopback is on the configured node, " + here + "; use shm0 to choose another");
            }
            return new LoopbackInterconnect("loopback", here, true);
        }
        if (ours) {
            return new LoopbackInterconnect("shm" + unit, node == -1 ? configuredNode(OP) : checked(OP, node, "the :node option"), false);
        }
        return null;
    }

    @Override
    public List<Topology.LocalController> controllers() {
        if (!SUPPORTED) {
            return List.of();
        }
        Entrance.require("topology");
        int configured = configuredNode("topology");
        List<Topology.LocalController> found = new ArrayList<>();
        LoopbackInterconnect.presences().forEach((controller, there) -> {
            SortedSet<Integer> here = LoopbackInterconnect.nodesPlayed(controller);
            for (int node : here.isEmpty() ? List.of(configured) : here) {
                List<Topology.RemoteController> peers = new ArrayList<>();
                for (int peer : there) {
                    if (peer != node) {
                        peers.add(new Topology.RemoteController(peer, controller, peer, Topology.ConnectionState.ACTIVE));
                    }
                }
                found.add(new Topology.LocalController(controller, node, List.copyOf(peers)));
            }
        });
        return found;
    }

    /** The node that this process plays where it does not say otherwise. */
    public static int configuredNode(String op) {
        String property = System.getProperty("rsmapi.node");
        String value = property != null ? property : System.getenv("RSMAPI_NODE");
        if (value == null || value.isBlank()) {
            return 0;
        }
        String origin = property != null ? "the system property rsmapi.node" : "the environment variable RSMAPI_NODE";
        try {
            return checked(op, Integer.parseInt(value.trim()), origin);
        } catch (NumberFormatException e) {
            throw RsmException.of(RsmError.BAD_CONF, op).with("value", value)
                .hint(origin + " has to be a number from 0 to 63").causedBy(e);
        }
    }

    private static int checked(String op, int node, String origin) {
        if (node < 0 || node >= MAX_NODES) {
            throw RsmException.of(RsmError.BAD_CONF, op).with("node", node)
                .hint(origin + " has to be a number from 0 to 63");
        }
        return node;
    }
}
