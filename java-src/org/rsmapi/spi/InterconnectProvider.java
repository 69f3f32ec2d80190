package org.rsmapi.spi;

import java.util.List;
import org.rsmapi.PublishedSegment;
import org.rsmapi.Topology;

/** Opens the controllers of one kind of interconnect; found with {@link java.util.ServiceLoader}. */
public interface InterconnectProvider {
    /**
     * Opens a controller.
     *
     * @param type  the name without its trailing digits, in lower case
     * @param unit  the trailing digits, 0 if there are none; not negative, and as large as the caller likes
     * @param node  the node that the caller wants to be there, 0 to 63, or -1 for the configured one ({@link Nodes#configured})
     * @return null if this provider has no such controller
     */
    Interconnect open(String type, int unit, int node);

    /**
     * What an interconnect between hosts makes of it: a controller for what stays on this host, under another name and without being
     * listed in the topology. What is exported over it can be imported by those who name the same controller.
     *
     * @param controller  the name
     * @param node        the node that plays there
     * @param asOthers    whether its connects are judged as those of a user that is neither the exporter nor in its group: by the last
     *                    digit of an access list
     * @return null if this provider has none
     */
    default Interconnect withinHost(String controller, int node, boolean asOthers) {
        return null;
    }

    /** The controllers of this kind that the topology lists, with the nodes that can be reached over them. */
    default List<Topology.LocalController> controllers() {
        return List.of();
    }

    /**
     * The segments that are published on this machine over controllers of this kind, without asking their exporters. Which of them
     * are this process's own, and over which of its controllers, the model adds.
     *
     * @param processes  whether to look for the exporting processes, which may take longer
     */
    default List<PublishedSegment> published(boolean processes) {
        return List.of();
    }
}
