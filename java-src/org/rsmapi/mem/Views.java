package org.rsmapi.mem;

import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;

/**
 * Where parts of memory files lie in memory that the program also reaches in other ways: the program's own memory that is exported, and
 * mappings over such memory. Two addresses can therefore mean the same byte, and a copy between them has to go in the right direction.
 */
public final class Views {
    /** How two ranges of one length lie to each other. */
    public enum Relation {
        /** They have no byte in common. */
        APART,
        /** They may have, and a copy that starts with the first bytes is right. */
        UP,
        /** They may have, and a copy that starts with the last bytes is right. */
        DOWN,
        /** Neither direction is right for all bytes, or it is not known which one is: only a copy by way of other memory is right. */
        MIXED
    }

    /** The file number of memory that no file is known to lie behind. */
    public static final long NO_FILE = 0;

    /** For a range behind which a file lies in parts. */
    public static final long SEVERAL_FILES = -1;

    private static final ConcurrentSkipListMap<Long, View> VIEWS = new ConcurrentSkipListMap<>();
    private static final View PLAIN = new View(0, NO_FILE, 0);
    private static final View SEVERAL = new View(0, NO_FILE, 0);
    private static volatile boolean any;

    private Views() {}

    /** A range of addresses that ends at {@code end}, and the bytes of a file, from {@code offset} on, that lie there. */
    private record View(long end, long file, long offset) {}

    /** Says that a part of a file lies at an address. It replaces what was said of that address before. */
    public static void add(long address, long length, long file, long offset) {
        VIEWS.put(address, new View(address + length, file, offset));
        any = true;
    }

    /** Says that there is no file at that address any more. */
    public static void remove(long address) {
        VIEWS.remove(address);
        any = !VIEWS.isEmpty();
    }

    /** Whether there are any. If not, addresses that differ mean different bytes, but for mappings and segments. */
    public static boolean any() {
        return any;
    }

    private static View of(long address, long bytes) {
        Map.Entry<Long, View> last = VIEWS.lowerEntry(address + bytes);
        if (last == null || last.getValue().end <= address) {
            return PLAIN;
        }
        return last.getKey() <= address && last.getValue().end >= address + bytes
            ? new View(0, last.getValue().file, last.getValue().offset + (address - last.getKey())) : SEVERAL;
    }

    /** The number of the file behind a range of addresses, {@link #NO_FILE} or {@link #SEVERAL_FILES}. */
    public static long fileAt(long address, long bytes) {
        View view = of(address, bytes);
        return view == SEVERAL ? SEVERAL_FILES : view.file;
    }

    /**
     * How a source and a target lie to each other.
     *
     * @param file    the number of the file behind the range, {@link #NO_FILE} if it is to be found out by the address
     * @param offset  where the range starts in that file
     */
    public static Relation relation(long source, long sourceFile, long sourceOffset, long target, long targetFile, long targetOffset,
            long bytes) {
        View from = sourceFile == NO_FILE ? of(source, bytes) : new View(0, sourceFile, sourceOffset);
        View to = targetFile == NO_FILE ? of(target, bytes) : new View(0, targetFile, targetOffset);
        if (from == SEVERAL || to == SEVERAL) {
            return from == PLAIN || to == PLAIN ? byPosition(source, target, bytes) : Relation.MIXED;
        }
        return from.file != to.file ? Relation.APART
            : from.file == NO_FILE ? byPosition(source, target, bytes) : byPosition(from.offset, to.offset, bytes);
    }

    private static Relation byPosition(long source, long target, long bytes) {
        return target > source && target - source < bytes ? Relation.DOWN
            : source > target && source - target < bytes ? Relation.UP : Relation.APART;
    }
}
