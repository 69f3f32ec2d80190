package org.rsmapi.spi;

import java.util.List;
import org.rsmapi.Topology;

/** Opens the controllers of one kind of interconnect; found with {@link java.util.ServiceLoader}. */
public interface InterconnectProvider {
    /**
     * Opens a controller.
     *
     * @param type  the name without its trailing digits, in lower case
     * @param unit  the trailing digits, 0 if there are none
     * @param node  the node that the caller wants to be there, or -1 for the configured one
     * @return null if this provider has no such controller
     */
    Interconnect open(String type, int unit, int node);

    /** The controllers of this kind that the topology lists, with the nodes that can be reached over them. */
    default List<Topology.LocalController> controllers() {
        return List.of();
    }
}
