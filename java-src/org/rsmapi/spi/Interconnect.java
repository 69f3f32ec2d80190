package org.rsmapi.spi;

import java.util.Set;
import org.rsmapi.Capabilities;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;

/**
 * One controller of an interconnect, as the model needs it.
 *
 * <p>The model has checked all arguments that can be checked without the interconnect; an implementation reports what goes
 * wrong in its own doing as {@link org.rsmapi.RsmException}. The package's description has the order of calls, threads and errors.
 */
public interface Interconnect {
    /** The controller's canonical name, such as {@code loopback} or {@code shm0}. */
    String name();

    /** The node that this process plays here. */
    int localNode();

    /** The time on its clock, in nanoseconds: that of {@link System#nanoTime()}, unless it has one of its own. */
    default long nanoTime() {
        return System.nanoTime();
    }

    /** Whether the controller has ended by itself, for good. It then counts as released, and another one can be opened in its place. */
    default boolean ended() {
        return false;
    }

    /** Whether segments can be reached from the local node only. */
    default boolean localOnly() {
        return false;
    }

    /** Entries that an access list may have. */
    default int maxAccessEntries() {
        return 64;
    }

    /** The limits and widths of the controller. */
    ControllerAttributes attributes();

    /** What can be done with segments that are imported over it. */
    Capabilities capabilities();

    /**
     * Memory for a segment, allocated by the interconnect.
     *
     * @param length  whole pages
     */
    ExportedMemory allocate(long length, Set<MemoryOption> options);

    /**
     * Makes the caller's own memory exportable. It stays at its address and keeps its content.
     *
     * @param owner  kept reachable for as long as the memory is used, an {@link Allocated} where the library has allocated it; null if
     *               there is nothing to keep
     */
    ExportedMemory adopt(long address, long length, Object owner, Set<MemoryOption> options);

    /**
     * Connects to a published segment.
     *
     * @param node          a node that {@link #localOnly} and the range 0..63 allow
     * @param segmentId     any 32-bit id, unsigned
     * @param deadline      until when to wait for the exporter's answer, on the clock of {@link #nanoTime()}
     * @param listener      told if the connection is aborted, at least once, from any thread; not told of
     *                      {@link Connection#close()}
     */
    Connection connect(int node, int segmentId, Permission permission, long deadline, AbortListener listener);

    /** Ends the controller. Segments and connections that are still there go on. */
    void close();

    /** Told when the exporter has revoked the segment or is gone. */
    @FunctionalInterface
    interface AbortListener {
        /**
         * The connection has been aborted.
         *
         * @param reason  {@code unpublished}, {@code destroyed}, {@code exporter-gone}, {@code protocol-error} or {@code unreachable}
         */
        void aborted(String reason);
    }
}
