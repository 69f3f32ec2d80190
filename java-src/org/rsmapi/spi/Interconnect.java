package org.rsmapi.spi;

import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;

/**
 * One controller of an interconnect, as the model needs it.
 *
 * <p>The model has checked all arguments that can be checked without the interconnect; an implementation reports what goes
 * wrong in its own doing as {@link org.rsmapi.RsmException}. Calls on one segment come one at a time, except where a method says
 * otherwise.
 */
public interface Interconnect {
    /** The controller's canonical name, such as {@code loopback} or {@code shm0}. */
    String name();

    /** The node that this process plays here. */
    int localNode();

    /** Whether segments can be reached from the local node only. */
    boolean localOnly();

    /** Entries that an access list may have. */
    int maxAccessEntries();

    /** What the controller can do. */
    ControllerAttributes attributes();

    /**
     * Memory for a segment, allocated by the interconnect.
     *
     * @param length  whole pages
     * @param flags   of {@link org.rsmapi.ExportSegment}; those that say how the memory is to be
     */
    ExportedMemory allocate(long length, int flags);

    /**
     * Makes the caller's own memory exportable. It stays at its address and keeps its content.
     *
     * @param owner  kept reachable for as long as the memory is used, an {@link Allocated} where the library has allocated it; null if
     *               there is nothing to keep
     * @param flags  as in {@link #allocate}
     */
    ExportedMemory adopt(long address, long length, Object owner, int flags);

    /**
     * Connects to a published segment.
     *
     * @param node          a node that {@link #localOnly} and the range 0..63 allow
     * @param segmentId     any 32-bit id, unsigned
     * @param timeoutNanos  how long to wait for the exporter's answer
     * @param listener      told if the connection is aborted, at least once, from any thread; not told of
     *                      {@link Connection#close()}
     */
    Connection connect(int node, int segmentId, Permission permission, long timeoutNanos, AbortListener listener);

    /** Ends the controller. Segments and connections that are still there go on. */
    void close();

    /** Told when the exporter has revoked the segment or is gone. */
    @FunctionalInterface
    interface AbortListener {
        /**
         * The connection has been aborted.
         *
         * @param reason  {@code unpublished}, {@code destroyed}, {@code exporter-gone} or {@code protocol-error}
         */
        void aborted(String reason);
    }
}
