package org.rsmapi.net;

import java.util.ArrayList;
import java.util.List;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.InterconnectProvider;
import org.rsmapi.spi.Interconnects;
import org.rsmapi.spi.Preload;

/**
 * The controllers {@code net0} to {@code net7}, whose nodes are hosts: those of a {@link NodesFile}. Which of them this host is, its
 * {@link KeyFile} says.
 */
public final class NetProvider implements InterconnectProvider {
    static final String TYPE = "net";
    static final int MAX_UNITS = 8;
    private static final String OP = "get-controller";

    @Override
    public Interconnect open(String type, int unit, int node) {
        if (!type.equals(TYPE) || unit >= MAX_UNITS) {
            return null;
        }
        Preload.once();
        Fabric fabric = Fabric.open(unit);
        boolean done = false;
        try {
            if (node != -1 && node != fabric.node()) {
                throw RsmException.of(RsmError.CTLR_NOT_PRESENT, OP).with("controller", fabric.name()).with("node", node)
                    .hint("by its key this host is node " + fabric.node());
            }
            Interconnect local = Interconnects.withinHost(fabric.name(), fabric.node(), false, OP);
            done = true;
            return new NetInterconnect(fabric, local);
        } finally {
            if (!done) {
                fabric.release();
            }
        }
    }

    @Override
    public List<Topology.LocalController> controllers() {
        List<Topology.LocalController> found = new ArrayList<>();
        for (Fabric fabric : Fabric.running()) {
            found.add(fabric.topology());
        }
        return found;
    }
}
