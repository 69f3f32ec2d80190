package org.rsmapi.net;

import java.nio.file.Path;
import java.util.Collections;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rsmapi.RsmException;
import org.rsmapi.spi.ConfFile;
import org.rsmapi.spi.Nodes;

/**
 * The hosts that segments reach: a file that is the same on all of them. It has one line for each node,
 *
 * <pre>{@code
 * node 2 hostb.example:7463 sha256:<64 hexadecimal digits> uids=same ucx=mlx5_0:1
 * }</pre>
 *
 * <p>where the port and what follows the key may be left out. The key is the SHA-256 of the node's public key, see {@link KeyFile}. An
 * IPv6 address is in brackets. Blank lines count for nothing, and so does what follows a {@code #}.
 *
 * @param file   where it was read from
 * @param nodes  the nodes by their number
 */
public record NodesFile(Path file, SortedMap<Integer, Entry> nodes) {
    /** The port of gateways, unless the file says another one. */
    public static final int PORT = 7463;

    private static final ConfFile FILE = file(0);
    private static final int FIELDS = 4;
    private static final int WRITABLE = 022;
    private static final int LONGEST_HOST = 253;
    private static final int LARGEST_PORT = 65_535;
    private static final Pattern NUMBER = Pattern.compile("0|[1-9][0-9]{0,4}");
    private static final Pattern PLACE = Pattern.compile("(\\[(?=[^\\]]*:)[0-9A-Fa-f:.]{2,45}(?:%[0-9A-Za-z]+)?\\]|[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?)"
        + "(?::([^:]*))?");
    private static final Pattern KEY = Pattern.compile("sha256:[0-9A-Fa-f]{64}");
    private static final Pattern DEVICE = Pattern.compile("[0-9A-Za-z_.-]+:[0-9]{1,3}");

    /**
     * One node.
     *
     * @param node      its number, 0 to 63
     * @param host      name or address, without brackets
     * @param port      of its gateway
     * @param key       {@code sha256:} and 64 digits in lower case
     * @param sameUsers whether user and group ids of that host mean the same here
     * @param device    the RDMA device with its port, such as {@code mlx5_0:1}; null for none
     */
    public record Entry(int node, String host, int port, String key, boolean sameUsers, String device) {}

    private static ConfFile file(int unit) {
        return ConfFile.ofUnit("nodes", "nodes", unit);
    }

    /**
     * Where the file for a controller is: what the system property {@code rsmapi.nodes} or the environment variable {@code RSMAPI_NODES}
     * says, or {@code /etc/rsm/rsm.nodes}. For {@code net1} and so on these are {@code rsmapi.net1.nodes}, {@code RSMAPI_NET1_NODES} and
     * {@code /etc/rsm/net1.nodes}.
     *
     * @throws RsmException BAD_CONF if that cannot be the name of a file
     */
    public static Path defaultFile(String op, int unit) {
        return file(unit).path(op);
    }

    /**
     * Reads a file.
     *
     * @throws RsmException BAD_CONF, with the file and the line: it cannot be read; others than root and this user may write to it; a line is malformed; a number, a key or a place is
     *     given to two nodes
     */
    public static NodesFile read(String op, Path file) {
        FILE.checkOwner(op, file, WRITABLE, "others than its owner may write to the file, which says whose keys are accepted");
        SortedMap<Integer, Entry> nodes = new TreeMap<>();
        Set<String> taken = new HashSet<>();
        int number = 0;
        for (String line : FILE.lines(op, file)) {
            number++;
            String text = line.substring(0, line.indexOf('#') < 0 ? line.length() : line.indexOf('#')).strip();
            if (!text.isEmpty()) {
                Entry entry = new Line(op, file, number, text.split("\\s+")).entry();
                if (nodes.putIfAbsent(entry.node(), entry) != null) {
                    throw ConfFile.malformed(op, file, number, "the node has a line already").with("node", entry.node());
                }
                if (!taken.add(entry.key())) {
                    throw ConfFile.malformed(op, file, number, "two nodes have the same key").with("node", entry.node());
                }
                if (!taken.add(entry.host().toLowerCase(Locale.ROOT) + " " + entry.port())) {
                    throw ConfFile.malformed(op, file, number, "two nodes have the same host and port").with("node", entry.node());
                }
            }
        }
        return new NodesFile(file, Collections.unmodifiableSortedMap(nodes));
    }

    /** The node with a key, or null. */
    public Entry withKey(String key) {
        for (Entry entry : nodes.values()) {
            if (entry.key().equals(key)) {
                return entry;
            }
        }
        return null;
    }

    /** The fields of a line. */
    private record Line(String op, Path file, int number, String[] fields) {
        Entry entry() {
            if (!fields[0].equals("node")) {
                throw malformed("a line begins with: node", fields[0]);
            }
            if (fields.length < FIELDS) {
                throw ConfFile.malformed(op, file, number, "a line has at least four fields, as in: node 2 hostb:" + PORT + " sha256:...");
            }
            int node = number(fields[1], Nodes.COUNT - 1, Nodes.RANGE);
            Matcher place = PLACE.matcher(fields[2]);
            if (!place.matches() || place.group(1).length() > LONGEST_HOST) {
                throw malformed("give a host name or an address, and a port: hostb:" + PORT + ", [fd00::2]:" + PORT, fields[2]);
            }
            String host = place.group(1).startsWith("[") ? place.group(1).substring(1, place.group(1).length() - 1) : place.group(1);
            int port = place.group(2) == null ? PORT : number(place.group(2), LARGEST_PORT, "ports are 1 to " + LARGEST_PORT);
            if (port == 0) {
                throw malformed("ports are 1 to " + LARGEST_PORT, fields[2]);
            }
            if (!KEY.matcher(fields[3]).matches()) {
                throw malformed("a key is sha256: and 64 hexadecimal digits", fields[3]);
            }
            return withOptions(new Entry(node, host, port, fields[3].toLowerCase(Locale.ROOT), false, null));
        }

        private Entry withOptions(Entry plain) {
            boolean sameUsers = false;
            String device = null;
            Set<String> seen = new HashSet<>();
            for (int i = FIELDS; i < fields.length; i++) {
                String name = fields[i].replaceFirst("=.*", "=");
                String value = fields[i].substring(Math.min(name.length(), fields[i].length()));
                if (!seen.add(name)) {
                    throw malformed("the option is given twice", fields[i]);
                }
                if (fields[i].equals("uids=same")) {
                    sameUsers = true;
                } else if (name.equals("ucx=") && DEVICE.matcher(value).matches()) {
                    device = value;
                } else {
                    throw malformed("options are uids=same, and ucx= with a device and its port, such as ucx=mlx5_0:1", fields[i]);
                }
            }
            return new Entry(plain.node(), plain.host(), plain.port(), plain.key(), sameUsers, device);
        }

        private int number(String text, int most, String hint) {
            int value = NUMBER.matcher(text).matches() ? Integer.parseInt(text) : -1;
            if (value < 0 || value > most) {
                throw malformed(hint, text);
            }
            return value;
        }

        private RsmException malformed(String hint, String value) {
            return ConfFile.malformed(op, file, number, hint).with("value", value);
        }
    }
}
