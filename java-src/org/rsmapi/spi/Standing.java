package org.rsmapi.spi;

import org.rsmapi.sys.Vm;

/**
 * A mapping of memory that says whether a publication stands: it does for as long as a number is there. What was read from the segment
 * before that number was, and what was written to it, was read from or written to the exporter's memory.
 *
 * @param address   of the mapping, which can only be read
 * @param length    of the mapping in bytes
 * @param offset    where the 8 bytes of the number are, in this machine's byte order
 * @param expected  the number
 */
public record Standing(long address, long length, long offset, long expected) implements AutoCloseable {
    /** Unmaps it; to be called once. */
    @Override
    public void close() {
        Vm.unmap(address, length);
    }
}
