package org.rsmapi;

import java.util.List;

/**
 * What can be reached from here: {@code rsm_topology_t} of rsm_get_interconnect_topology(3RSM).
 *
 * <p>{@code loopback} is not in it. Without other open controllers the list is empty.
 *
 * @param nodeId       the local node
 * @param controllers  the local controllers, by name and hardware address
 */
public record Topology(int nodeId, List<LocalController> controllers) {
    /**
     * A controller of this machine: {@code rsmka_connections_t} and what belongs to it.
     *
     * @param name             such as {@code shm0}
     * @param hardwareAddress  its address on the interconnect; on {@code shm} controllers the node that is played
     * @param peers            the nodes that can be reached over it
     */
    public record LocalController(String name, long hardwareAddress, List<RemoteController> peers) {}

    /**
     * A controller on another node.
     *
     * @param nodeId           the node
     * @param controller       its controller
     * @param hardwareAddress  that controller's address on the interconnect
     * @param state            whether it can be used
     */
    public record RemoteController(int nodeId, String controller, long hardwareAddress, ConnectionState state) {}

    /** The state of the path to a remote controller. Only ACTIVE can be used. */
    public enum ConnectionState {
        DOWN(1), UP(2), ACTIVE(3), GOING_DOWN(4);

        private final int number;

        ConnectionState(int number) {
            this.number = number;
        }

        /** The RSMAPI's number, 3 for {@code RSM_CONNECTION_ACTIVE}. */
        public int number() {
            return number;
        }
    }
}
