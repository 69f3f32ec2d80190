package org.rsmapi.spi;

import java.util.List;
import org.rsmapi.AccessEntry;

/**
 * Who may import a published segment: an access list, or without one the umask rule.
 *
 * @param entries  checked entries; empty means every node, with {@code 0666} less the umask
 * @param umask    the exporter's umask when the segment was created
 */
public record AccessPolicy(List<AccessEntry> entries, int umask) {
    private static final int DIGITS = 0666;

    /** Answer of {@link #digits} for a node that the list does not name. */
    public static final int NOT_LISTED = -1;

    /** The three octal digits (of 4 and 2) that hold for an importer's node, or {@link #NOT_LISTED}. The first entry counts. */
    public int digits(int node) {
        if (entries.isEmpty()) {
            return DIGITS & ~umask;
        }
        for (AccessEntry entry : entries) {
            if (entry.node() == node) {
                return entry.permission() & DIGITS;
            }
        }
        return NOT_LISTED;
    }
}
