package org.rsmapi.net;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import org.rsmapi.Topology.ConnectionState;

/**
 * How a gateway is doing.
 *
 * @param controller   the controller's name, such as {@code net0}
 * @param node         the host's node
 * @param pid          of the process that plays the gateway
 * @param open         whether it has the node's port, so that other nodes can come
 * @param upMillis     for how long the process has been using the network
 * @param peers        the other nodes, and what this process's importers have there
 * @param callers      who has links to this gateway: processes of other nodes, and of this host; the first 200 of them
 * @param device       the RDMA device of the gateway; null if it has none
 * @param refusals     connections that were not let in
 * @param breaches     how often another node asked for what its connection did not have
 * @param lastRefusal  who was not let in last, or asked too much, or what has failed; why, and how long ago; null for nothing
 */
public record GatewayStatus(String controller, int node, long pid, boolean open, long upMillis, List<Peer> peers, List<Caller> callers,
        Device device, long refusals, long breaches, String lastRefusal) {
    private static final int MOST_CALLERS = 200;
    private static final int LONGEST_TEXT = 500;

    /**
     * Another node.
     *
     * @param node          its number
     * @param state         of the way to it
     * @param silentMillis  since when nothing was heard; -1 if there is no link
     * @param importers     connections to its segments
     * @param oneSided      whether data goes over the RDMA devices of both sides
     * @param reason        why there is no link; null if there is one, or nobody knows
     */
    public record Peer(int node, ConnectionState state, long silentMillis, int importers, boolean oneSided, String reason) {}

    /**
     * The RDMA device that the nodes file names for the gateway's own node.
     *
     * @param name      the device with its port, such as {@code mlx5_0:1}
     * @param version   of UCX, such as {@code 1.13.1}; null if the device is not in use
     * @param obstacle  why the device is not in use, or what has failed last; null for nothing
     */
    public record Device(String name, String version, String obstacle) {}

    /**
     * A process that has links to the gateway.
     *
     * @param who           for people: the node, or the process and user of this host
     * @param silentMillis  since when nothing was heard
     * @param importers     its connections to segments
     * @param bytes         of data that it has written
     */
    public record Caller(String who, long silentMillis, int importers, long bytes) {}

    /** Copies the lists. */
    public GatewayStatus {
        peers = List.copyOf(peers);
        callers = List.copyOf(callers);
    }

    byte[] encode() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeUTF(controller);
            out.writeInt(node);
            out.writeLong(pid);
            out.writeBoolean(open);
            out.writeLong(upMillis);
            out.writeLong(refusals);
            out.writeLong(breaches);
            text(out, lastRefusal);
            text(out, device == null ? null : device.name);
            text(out, device == null ? null : device.version);
            text(out, device == null ? null : device.obstacle);
            out.writeInt(peers.size());
            for (Peer peer : peers) {
                out.writeInt(peer.node);
                out.writeInt(peer.state.number());
                out.writeLong(peer.silentMillis);
                out.writeInt(peer.importers);
                out.writeBoolean(peer.oneSided);
                text(out, peer.reason);
            }
            out.writeInt(Math.min(callers.size(), MOST_CALLERS));
            for (Caller caller : callers.subList(0, Math.min(callers.size(), MOST_CALLERS))) {
                text(out, caller.who);
                out.writeLong(caller.silentMillis);
                out.writeInt(caller.importers);
                out.writeLong(caller.bytes);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e); // arrays fail in no way
        }
        return bytes.toByteArray();
    }

    private static void text(DataOutputStream out, String text) throws IOException {
        out.writeUTF(text == null ? "" : text.substring(0, Math.min(text.length(), LONGEST_TEXT)));
    }

    static GatewayStatus decode(byte[] bytes) throws IOException {
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            String controller = in.readUTF();
            int node = in.readInt();
            long pid = in.readLong();
            boolean open = in.readBoolean();
            long up = in.readLong();
            long refusals = in.readLong();
            long breaches = in.readLong();
            String last = text(in);
            Device device = new Device(text(in), text(in), text(in));
            List<Peer> peers = new ArrayList<>();
            for (int left = in.readInt(); left > 0; left--) {
                peers.add(new Peer(in.readInt(), state(in.readInt()), in.readLong(), in.readInt(), in.readBoolean(), text(in)));
            }
            List<Caller> callers = new ArrayList<>();
            for (int left = in.readInt(); left > 0; left--) {
                callers.add(new Caller(text(in), in.readLong(), in.readInt(), in.readLong()));
            }
            return new GatewayStatus(controller, node, pid, open, up, peers, callers, device.name == null ? null : device, refusals, breaches,
                last);
        }
    }

    private static String text(DataInputStream in) throws IOException {
        String text = in.readUTF();
        return text.isEmpty() ? null : text;
    }

    private static ConnectionState state(int number) throws IOException {
        for (ConnectionState state : ConnectionState.values()) {
            if (state.number() == number) {
                return state;
            }
        }
        throw new IOException("a state of number " + number);
    }
}
