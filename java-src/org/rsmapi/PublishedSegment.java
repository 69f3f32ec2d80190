package org.rsmapi;

/**
 * A segment that is published on this machine, as the kernel lists it: see {@link Controller#published}.
 *
 * @param controller  the controller's name; null if it is not known, as of other processes' segments
 * @param node        the exporting node
 * @param segmentId   its id
 * @param uid         the user of the process that published it, or -1 if it is not known
 * @param pid         that process, or -1 if it is not known: this process may not look into those of other users
 * @param own         whether this process has published it
 */
public record PublishedSegment(String controller, int node, long segmentId, long uid, long pid, boolean own) {
    @Override
    public String toString() {
        return "#<PublishedSegment node " + node + " 0x" + Long.toHexString(0x1_0000_0000L | segmentId).substring(1)
            + (uid < 0 ? "" : " uid " + uid) + (pid < 0 ? "" : " pid " + pid) + ">";
    }
}
