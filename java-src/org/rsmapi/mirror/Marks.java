package org.rsmapi.mirror;

import static org.rsmapi.mem.Engine.ENGINE;

/** A set of words of a mirror, as bits in native memory that is zero at first. Used by one thread at a time. */
final class Marks {
    private final long address;
    private final long count;
    /** No word outside of these is marked. */
    private long first;
    private long end;

    Marks(long address, long count) {
        this.address = address;
        this.count = count;
    }

    /** How many bytes marks of so many words take. */
    static long bytes(long count) {
        return (count + Long.SIZE - 1) / Long.SIZE * Long.BYTES;
    }

    boolean has(long word) {
        return word >= first && word < end && (bits(word) & bit(word)) != 0;
    }

    /** The first marked word from one on, or {@code limit}. */
    long next(long from, long limit) {
        long last = Math.min(limit, end);
        for (long word = Math.max(from, first); word < last; ) {
            long ahead = bits(word) >>> word;
            if (ahead == 0) {
                word = after(word);
            } else {
                return Math.min(word + Long.numberOfTrailingZeros(ahead), limit);
            }
        }
        return limit;
    }

    void add(long from, long to) {
        boolean none = first == end;
        first = none ? from : Math.min(first, from);
        end = none ? to : Math.max(end, to);
        for (long word = from; word < to; word = after(word)) {
            set(word, bits(word) | mask(word, to));
        }
    }

    void remove(long from, long to) {
        long last = Math.min(to, end);
        for (long word = Math.max(from, first); word < last; word = after(word)) {
            set(word, bits(word) & ~mask(word, last));
        }
    }

    /** The first word whose bit is in the next 64 bits. */
    private static long after(long word) {
        return (word | Long.SIZE - 1) + 1;
    }

    /** The bits of the words from one to before another one, as far as they are in the same 64 bits. */
    private static long mask(long from, long to) {
        long count = Math.min(after(from), to) - from;
        return -1L >>> Long.SIZE - count << from;
    }

    void addAll(Marks other) {
        for (long word = other.next(0, count); word < count; word = other.next(word + 1, count)) {
            add(word, word + 1);
        }
    }

    void clear() {
        remove(first, end);
        first = 0;
        end = 0;
    }

    private long bits(long word) {
        return ENGINE.getLong(address + word / Long.SIZE * Long.BYTES);
    }

    private void set(long word, long bits) {
        ENGINE.putLong(address + word / Long.SIZE * Long.BYTES, bits);
    }

    private static long bit(long word) {
        return 1L << word;
    }
}
