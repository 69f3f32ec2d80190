package org.rsmapi.sys;

import java.util.Map;
import java.util.TreeMap;

/**
 * The address ranges that the library has mapped and not unmapped, in processes that may export memory by any address. Such an address
 * must not be the library's own: that of a mapping, of a segment, or of memory that was freed and is about to be unmapped.
 */
final class OwnRanges {
    private static final boolean KEPT = "allow".equals(System.getProperty("rsmapi.foreign-memory"));
    /** End by start; the ranges do not overlap. */
    private static final TreeMap<Long, Long> ENDS = new TreeMap<>();

    private OwnRanges() {}

    static void add(long address, long length) {
        if (KEPT) {
            synchronized (ENDS) {
                ENDS.put(address, address + length);
            }
        }
    }

    /** Several neighbours, or a part of one, may be unmapped at once. */
    static void remove(long address, long length) {
        if (!KEPT) {
            return;
        }
        long end = address + length;
        synchronized (ENDS) {
            Map.Entry<Long, Long> last;
            while ((last = ENDS.lowerEntry(end)) != null && last.getValue() > address) {
                ENDS.remove(last.getKey());
                if (last.getValue() > end) {
                    ENDS.put(end, last.getValue());
                }
                if (last.getKey() < address) {
                    ENDS.put(last.getKey(), address);
                    return;
                }
            }
        }
    }

    /** Whether a part of a range is the library's. False where the ranges are not kept. */
    static boolean touch(long address, long length) {
        synchronized (ENDS) {
            Map.Entry<Long, Long> last = ENDS.lowerEntry(address + length);
            return last != null && last.getValue() > address;
        }
    }
}
