package org.rsmapi.spi;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;

/** The nodes of an interconnect, 0 to 63, and which of them this process plays by default. */
public final class Nodes {
    /** How many nodes there are. */
    public static final int COUNT = 64;
    /** For hints: the range as words. */
    public static final String RANGE = "nodes are 0 to " + (COUNT - 1);

    private static final String PROPERTY = "rsmapi.node";
    private static final String VARIABLE = "RSMAPI_NODE";

    private Nodes() {}

    /** Whether a number is that of a node. */
    public static boolean exists(int node) {
        return node >= 0 && node < COUNT;
    }

    /**
     * The node that this process plays unless it asks for another one: what the system property {@code rsmapi.node} or the environment
     * variable {@code RSMAPI_NODE} says, or 0.
     *
     * @throws RsmException BAD_CONF if it is not a node
     */
    public static int configured(String op) {
        String property = System.getProperty(PROPERTY);
        String value = property != null ? property : System.getenv(VARIABLE);
        if (value == null || value.isBlank()) {
            return 0;
        }
        RsmException malformed = RsmException.of(RsmError.BAD_CONF, op).hint(
            (property != null ? "the system property " + PROPERTY : "the environment variable " + VARIABLE)
                + " has to be a number from 0 to " + (COUNT - 1));
        int node;
        try {
            node = Integer.parseInt(value.trim());
        } catch (NumberFormatException e) {
            throw malformed.with("value", value).causedBy(e);
        }
        if (!exists(node)) {
            throw malformed.with("node", node);
        }
        return node;
    }
}
