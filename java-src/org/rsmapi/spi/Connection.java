package org.rsmapi.spi;

import java.nio.ByteOrder;
import org.rsmapi.Permission;

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

    /** The segment's size in bytes. */
    long size();

    /** The byte order of the exporter's machine. */
    ByteOrder byteOrder();

    /** The signals of the import segment. */
    Signals signals();

    /** Process id of the exporter, 0 if it is not known. For people to read. */
    int exporterPid();

    /** Effective user id of the exporter, by the kernel's word; -1 if it is not known. */
    long exporterUid();

    /**
     * Whether the connection is aborted, by the newest information that can be had without asking the exporter. If not, everything
     * that this thread has read from the segment or written to it before was read from or written to the exporter's memory.
     */
    boolean aborted();

    /**
     * Maps a part of the segment.
     *
     * @param offset  a multiple of the page size
     * @param length  at least 1; whole pages are mapped
     * @return the address
     */
    long map(Placement placement, long address, Permission permission, long offset, long length);

    /**
     * Puts zero pages in the place of a mapping, in one step, so that whoever still uses the range sees nothing and harms nobody.
     * The model gives the address range back when nobody can reach it any more.
     */
    void detach(long address, long length);

    /** Ends the connection. Idempotent; may be called at any time. */
    void close();
}
