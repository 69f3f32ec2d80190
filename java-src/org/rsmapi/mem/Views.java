package org.rsmapi.mem;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import org.rsmapi.sys.MemFd;

/**
 * Which address ranges of this process are views of which memory file. Different addresses can lead to the same memory: an export
 * segment and the mappings of it, mappings by several connections, segments over the same memory, a mapping over own memory. Whether
 * two ranges overlap is therefore a question of file and offset; see {@link Overlap}.
 *
 * <p>A view is added after the file has been mapped and before the address is handed out, and removed after other pages have taken the
 * file's place. A view that is removed late makes a copy slower, but not wrong.
 */
public final class Views {
    /** By identity; null is the identity of files that could not be identified. Guards the counts too. */
    private static final Map<MemFd.Identity, Memory> MEMORIES = new HashMap<>();
    private static final ConcurrentSkipListMap<Long, View> BY_ADDRESS = new ConcurrentSkipListMap<>();

    /** How many memories have more than one view here, or may have. While it is 0 addresses tell everything. */
    private static volatile int aliased;

    private Views() {}

    /** A memory file. */
    private static final class Memory {
        private final MemFd.Identity identity;
        private int views;

        Memory(MemFd.Identity identity) {
            this.identity = identity;
        }

        private boolean isAliased() {
            return views > (identity == null ? 0 : 1);
        }

        void count(int change) {
            boolean before = isAliased();
            views += change;
            if (isAliased() != before) {
                aliased += before ? -1 : 1;
            }
            if (views == 0) {
                MEMORIES.remove(identity);
            }
        }
    }

    /** A range in which a file is mapped. */
    public static final class View {
        private final Long address;
        private final long length;
        private final Memory memory;
        private final long offset;
        /** Whether it has been removed; it may still be in the map then. */
        private volatile boolean removed;

        private View(Long address, long length, Memory memory, long offset) {
            this.address = address;
            this.length = length;
            this.memory = memory;
            this.offset = offset;
        }

        private long end() {
            return address + length;
        }

        private boolean has(long start, long bytes) {
            return start >= address && start + bytes <= end();
        }

        private View next(long before) {
            return higher(address, before);
        }

        /** Whether the two may show the same file. */
        private boolean mayBe(View other) {
            return memory == other.memory || memory.identity == null || other.memory.identity == null;
        }

        /** Removes it. Idempotent, and needs no memory. */
        public void remove() {
            synchronized (MEMORIES) {
                if (removed) {
                    return;
                }
                removed = true;
                memory.count(-1);
                try {
                    BY_ADDRESS.remove(address, this);
                } catch (OutOfMemoryError e) {
                    return; // it stays, unseen, until another view begins at the address
                }
            }
        }
    }

    /**
     * Adds a view.
     *
     * @param identity  of the file; null if it is not known
     * @param offset    in the file, in bytes
     */
    public static View add(long address, long length, MemFd.Identity identity, long offset) {
        synchronized (MEMORIES) {
            Memory memory = MEMORIES.get(identity);
            if (memory == null) {
                memory = new Memory(identity);
                MEMORIES.put(identity, memory);
            }
            View view = new View(address, length, memory, offset);
            memory.count(1);
            try {
                View before = BY_ADDRESS.put(view.address, view);
                if (before != null) {
                    before.remove();
                }
            } catch (Error e) {
                view.remove(); // it may be in there nevertheless
                throw e;
            }
            return view;
        }
    }

    /** How the ranges overlap, if the answer by their addresses is {@code plain}. */
    static Overlap overlap(long from, long to, long bytes, Overlap plain) {
        return aliased == 0 ? plain : search(from, to, bytes, plain);
    }

    private static Overlap search(long from, long to, long bytes, Overlap plain) {
        View own = first(from, from + bytes);
        if (own == null || own.has(from, bytes) && own.has(to, bytes)) {
            return plain;
        }
        boolean up = false;
        boolean down = false;
        for (View source = own; source != null; source = source.next(from + bytes)) {
            for (View target = first(to, to + bytes); target != null; target = target.next(to + bytes)) {
                if (source == target || !source.mayBe(target)) {
                    continue;
                }
                if (source.memory != target.memory) {
                    return Overlap.MIXED; // a file without identity: it may be the other one, at any offset
                }
                if (source.memory.identity == null) {
                    return Overlap.MIXED;
                }
                // byte i of the source is byte i + shift of the target
                long shift = source.offset + (from - source.address) - (target.offset + (to - target.address));
                long first = Math.max(Math.max(source.address - from, 0) + shift, Math.max(target.address - to, 0));
                long end = Math.min(Math.min(source.end() - from, bytes) + shift, Math.min(target.end() - to, bytes));
                up |= first < end && shift > 0;
                down |= first < end && shift < 0;
            }
        }
        if (!up && !down) {
            return plain;
        }
        up |= plain == Overlap.UP;
        down |= plain == Overlap.DOWN;
        return up && down ? Overlap.MIXED : up ? Overlap.ALIASED_UP : Overlap.ALIASED_DOWN;
    }

    /** The first view that touches the range, or null. */
    private static View first(long start, long end) {
        Map.Entry<Long, View> entry = BY_ADDRESS.floorEntry(start);
        while (entry != null && entry.getValue().removed) {
            entry = BY_ADDRESS.lowerEntry(entry.getKey());
        }
        return entry != null && entry.getValue().end() > start ? entry.getValue() : higher(start, end);
    }

    /** The first view that begins between two addresses, or null. */
    private static View higher(long after, long before) {
        Map.Entry<Long, View> entry = BY_ADDRESS.higherEntry(after);
        while (entry != null && entry.getValue().removed) {
            entry = BY_ADDRESS.higherEntry(entry.getKey());
        }
        return entry != null && entry.getKey() < before ? entry.getValue() : null;
    }

    /** How many views there are. For tests and diagnosis. */
    public static int count() {
        return BY_ADDRESS.size();
    }
}
