package org.rsmapi.spi;

import java.nio.ByteOrder;
import java.util.Set;
import org.rsmapi.Capabilities;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;

/** One importer's connection to a published segment. */
public interface Connection {
    /** Where a mapping has to go. */
    enum Placement {
        /** Anywhere; the address is a hint. */
        ANYWHERE,
        /** Exactly there, and nothing may be there yet. */
        FIXED,
        /** Exactly there, in the place of memory that the caller owns. */
        FIXED_OVER_OWN
    }

    /** What can be done with it. */
    Capabilities capabilities();

    /** The segment's size in bytes, whole pages. */
    long size();

    /** The byte order of the exporter's machine. */
    ByteOrder byteOrder();

    /**
     * What the exporter has published of the content's layout, decoded from UTF-8; null for nothing, and for what cannot be decoded.
     * Nobody has checked it.
     */
    default String layout() {
        return null;
    }

    /** The events that the exporter posts for the import segment. */
    Signals signals();

    /**
     * Posts one event for the export segment. May be called at any time. Where there is a {@link #remote()}, it arrives after what was
     * ordered or confirmed before.
     *
     * @param accumulate  if not, nothing is posted while the export segment has events
     * @throws RsmException CONN_ABORTED, INSUFFICIENT_RESOURCES (the counter is at its end)
     */
    void post(boolean accumulate);

    /** Process id of the exporter, 0 if it is not known. For people to read. */
    default int exporterPid() {
        return 0;
    }

    /** Effective user id of the exporter, by the kernel's word; -1 if it is not known. */
    default long exporterUid() {
        return -1;
    }

    /**
     * Whether the connection is aborted; may be called at any time. By the newest information that can be had without asking the exporter. If not, everything
     * that this thread has read from the segment or written to it before was read from or written to the exporter's memory.
     */
    boolean aborted();

    /**
     * Why the connection is aborted, as the {@link Interconnect.AbortListener} is told, where that is known before; else null. May be
     * called at any time.
     */
    default String abortReason() {
        return null;
    }

    /**
     * The memory in which {@link #aborted()} looks whether the publication stands, for those who let others read the segment and that
     * memory without this process's doing. The caller closes it; it may be open for longer than the connection.
     *
     * @return null if there is none, or the connection is aborted
     * @throws org.rsmapi.sys.OsError if it cannot be mapped
     */
    default Standing standing() {
        return null;
    }

    /**
     * Moves data where the exporter's memory cannot be mapped; null where it can. The same at each call.
     */
    default RemoteMemory remote() {
        return null;
    }

    /**
     * Maps a part of the segment. Not called where there is a {@link #remote()}: the model then mirrors the segment in memory of this
     * process.
     *
     * @param offset  a multiple of the page size
     * @param length  at least 1; whole pages are mapped
     * @param options how the memory is to be. With huge pages, offset and length, and the address unless it is a hint, are multiples of
     *                their size. To make the memory ready may take seconds; the end of the connection must not have to wait for it
     * @throws NoRoom if the addresses, or what a mapping needs of the process, are used up
     * @throws RsmException if that is not possible, or the memory cannot be made as it is to be; then nothing is mapped
     */
    default MappedRange map(Placement placement, long address, Permission permission, long offset, long length,
            Set<MemoryOption> options) {
        throw RsmException.of(RsmError.MAP_FAILED, "import-map").hint("this interconnect does not share memory");
    }

    /** Ends the connection. Idempotent; may be called at any time. */
    void close();
}
