package org.rsmapi.mem;

/** An address range. */
record Range(long address, long length) {
    /** The address behind it. */
    long end() {
        return address + length;
    }

    boolean overlaps(Range other) {
        return address < other.end() && other.address < end();
    }
}
