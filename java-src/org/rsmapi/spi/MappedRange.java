package org.rsmapi.spi;

/**
 * A part of a segment in this process's address space, made by {@link Connection#map}. It ends in two steps, because a thread may be
 * in the middle of an access: {@link #replaceWithZeroPages()} takes the segment's pages away at once, and {@link #retire} or
 * {@link #unmap()} returns the addresses.
 */
public interface MappedRange {
    /** The address of its first byte. */
    long address();

    /** Replaces the pages with zero pages, in one step. A thread that still uses the range then reads zeros and changes nothing. */
    void replaceWithZeroPages();

    /** Drops what has been written to the zero pages since {@link #replaceWithZeroPages()}. */
    void empty();

    /**
     * Returns the addresses of a detached range to the system, once they cannot be in use any more: when {@code user} is unreachable,
     * or earlier if no access is under way. Does nothing where the addresses are the caller's own memory.
     *
     * @param user  the object through which the range was used
     * @return what {@code user} has to keep reachable from now on; may be null
     */
    Object retire(Object user);

    /**
     * Returns the addresses of a detached range to the system now; nothing may be using them. Does nothing where they are the caller's
     * own memory.
     */
    void unmap();
}
