package org.rsmapi.loopback;

import java.util.ArrayList;
import java.util.List;
import java.util.SortedSet;
import org.rsmapi.PublishedSegment;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.InterconnectProvider;
import org.rsmapi.spi.Nodes;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.SocketOwners;

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
            int here = Nodes.configured(OP);
            if (node != -1 && node != here) {
                throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller").with("controller", type).with("node", node)
                    .hint("loopback is on the configured node, " + here + "; use shm0 to choose another");
            }
            return new LoopbackInterconnect(new LocalNode("loopback", here, true, false, false));
        }
        if (ours) {
            return new LoopbackInterconnect(new LocalNode("shm" + unit, node == -1 ? Nodes.configured(OP) : node, false, true, false));
        }
        return null;
    }

    @Override
    public Interconnect withinHost(String controller, int node, boolean asOthers) {
        if (!SUPPORTED) {
            return null;
        }
        Limits.configure(OP);
        return new LoopbackInterconnect(new LocalNode(controller, node, false, false, asOthers));
    }

    @Override
    public List<PublishedSegment> published(boolean processes) {
        if (!SUPPORTED) {
            return List.of();
        }
        Entrance.require("published");
        List<PublishedSegment> found = new ArrayList<>();
        try {
            for (SocketOwners.Listening each : SocketOwners.listening(name -> Wire.Name.parse(name) != null, processes)) {
                Wire.Name name = Wire.Name.parse(each.name());
                long id = Integer.toUnsignedLong(name.segmentId());
                found.add(new PublishedSegment(null, name.node(), id, each.uid(), each.pid(), false));
            }
        } catch (OsError e) {
            throw Failures.resources("published", e);
        }
        return found;
    }

    @Override
    public List<Topology.LocalController> controllers() {
        if (!SUPPORTED) {
            return List.of();
        }
        Entrance.require("topology");
        int configured = Nodes.configured("topology");
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
}
