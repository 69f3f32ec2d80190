package org.rsmapi.sim;

import java.util.ArrayList;
import java.util.List;
import java.util.SortedSet;
import java.util.TreeSet;
import org.rsmapi.PublishedSegment;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.InterconnectProvider;
import org.rsmapi.spi.Nodes;
import org.rsmapi.spi.Preload;

/** The controllers {@code sim0} to {@code sim31}, which are there while a {@link World} of that unit is open. */
@SuppressWarnings("try") // a turn is only to be held
public final class SimProvider implements InterconnectProvider {
    static final String TYPE = "sim";

    @Override
    public Interconnect open(String type, int unit, int node) {
        if (!type.equals(TYPE) || unit >= World.COUNT) {
            return null;
        }
        World world = World.of(unit);
        if (world == null) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller").with("controller", TYPE + unit)
                .hint("a simulated controller is there while its world is open: see rsmapi.sim");
        }
        Preload.once();
        int here = node == -1 ? Nodes.configured("get-controller") : node;
        if (!world.isUp(here)) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller").with("controller", TYPE + unit).with("node", here)
                .hint("the node has ended");
        }
        return new SimInterconnect(world, here);
    }

    private static SortedSet<Integer> nodes(World world) {
        SortedSet<Integer> nodes = new TreeSet<>();
        for (SimInterconnect each : SimInterconnect.OPEN) {
            if (each.world() == world && !each.ended()) {
                nodes.add(each.localNode());
            }
        }
        return nodes;
    }

    @Override
    public List<Topology.LocalController> controllers() {
        List<Topology.LocalController> found = new ArrayList<>();
        for (World world : World.all()) {
            SortedSet<Integer> nodes = nodes(world);
            try (World.Turn turn = world.turn()) {
                for (int node : nodes) {
                    List<Topology.RemoteController> peers = new ArrayList<>();
                    for (int peer : nodes) {
                        if (peer != node) {
                            peers.add(new Topology.RemoteController(peer, world.controller(), peer, state(world, node, peer)));
                        }
                    }
                    found.add(new Topology.LocalController(world.controller(), node, List.copyOf(peers)));
                }
            }
        }
        return found;
    }

    private static Topology.ConnectionState state(World world, int node, int peer) {
        return !world.isDown(node, peer) ? Topology.ConnectionState.ACTIVE
            : world.isKnownToBeDown(node, peer) ? Topology.ConnectionState.DOWN : Topology.ConnectionState.GOING_DOWN;
    }

    @Override
    public List<PublishedSegment> published(boolean processes) {
        List<PublishedSegment> found = new ArrayList<>();
        for (World world : World.all()) {
            try (World.Turn turn = world.turn()) {
                for (SimExport export : world.published().values()) {
                    found.add(new PublishedSegment(world.controller(), export.node(), export.segmentId(), -1, -1, false));
                }
            }
        }
        return found;
    }
}
