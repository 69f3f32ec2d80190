package org.rsmapi.mem;

import static org.rsmapi.mem.Engine.ENGINE;

import java.nio.ByteBuffer;
import java.util.function.LongConsumer;
import org.rsmapi.sys.Vm;

/**
 * How the source and the target of a copy overlap, whichever addresses lead to them, and copies that come out as if the source had been
 * read before the target was written.
 *
 * <p>A copy in parts has to go up, from the start to the end, where the target lies before the source, and down where it lies behind.
 * The JDK's copy chooses the direction by the addresses. Where other addresses lead to the same memory ({@link Views}), the copy uses a
 * small bounce buffer, part by part; where parts of the ranges would need different directions, a bounce buffer for all of it.
 */
public enum Overlap {
    /** They have no byte in common, or each byte is its own target. */
    NONE,
    /** By their addresses, and the target lies before the source. */
    UP,
    /** By their addresses, and the target lies behind the source. */
    DOWN,
    /** By other addresses (too), and the target lies before the source. */
    ALIASED_UP,
    /** By other addresses (too), and the target lies behind the source. */
    ALIASED_DOWN,
    /** In several ways, or it is not known how. */
    MIXED;

    /** Longs of an array between source and target. */
    private static final int LONGS = 8_192;
    private static final int BYTES = LONGS * Long.BYTES;

    /** How two ranges overlap now. */
    public static Overlap of(long from, long to, long bytes) {
        return Views.overlap(from, to, bytes, byAddress(from, to, bytes));
    }

    private static Overlap byAddress(long from, long to, long bytes) {
        long distance = to - from;
        if (distance == 0 || distance >= bytes || -distance >= bytes) {
            return NONE;
        }
        return distance < 0 ? UP : DOWN;
    }

    /** Whether a copy in parts has to start with the last one. */
    public boolean isDown() {
        return this == DOWN || this == ALIASED_DOWN;
    }

    /**
     * Copies bytes. An element at its natural alignment in both ranges is never half-written.
     *
     * @throws org.rsmapi.sys.OsError if there is no memory for a detour
     */
    public static void copy(long from, long to, long bytes) {
        of(from, to, bytes).move(from, to, bytes);
    }

    /** Copies bytes of ranges that overlap like this; part of what {@link #of} was asked about will do, unless it is {@link #MIXED}. */
    public void move(long from, long to, long bytes) {
        switch (this) {
            case ALIASED_UP: case ALIASED_DOWN:
                moveInParts(from, to, bytes);
                return;
            case MIXED:
                long between = Vm.mapAnonymous(Vm.wholePages(bytes));
                try {
                    ENGINE.copy(from, between, bytes);
                    ENGINE.copy(between, to, bytes);
                } finally {
                    Vm.unmap(between, Vm.wholePages(bytes));
                }
                return;
            default:
                ENGINE.copy(from, to, bytes);
        }
    }

    private void moveInParts(long from, long to, long bytes) {
        int rest = (int) (bytes & Long.BYTES - 1);
        long whole = bytes - rest;
        if (isDown()) {
            moveRest(from + whole, to + whole, rest);
        }
        long[] between = new long[(int) Math.min(whole / Long.BYTES, LONGS)];
        for (long done = 0; done < whole; ) {
            int now = (int) Math.min((whole - done) / Long.BYTES, LONGS);
            long moving = (long) now * Long.BYTES;
            long at = isDown() ? whole - done - moving : done;
            ENGINE.copyToArray(from + at, between, 0, now);
            ENGINE.copyFromArray(between, 0, to + at, now);
            done += moving;
        }
        if (!isDown()) {
            moveRest(from + whole, to + whole, rest);
        }
    }

    /** Up to seven bytes, in the largest units that there are. */
    private static void moveRest(long from, long to, int bytes) {
        int ints = bytes & Integer.BYTES;
        int shorts = bytes & Short.BYTES;
        int first = ints == 0 ? 0 : ENGINE.getInt(from);
        short second = shorts == 0 ? 0 : ENGINE.getShort(from + ints);
        byte third = (bytes & 1) == 0 ? 0 : ENGINE.getByte(from + ints + shorts);
        if (ints != 0) {
            ENGINE.putInt(to, first);
        }
        if (shorts != 0) {
            ENGINE.putShort(to + ints, second);
        }
        if ((bytes & 1) != 0) {
            ENGINE.putByte(to + ints + shorts, third);
        }
    }

    // ---- buffers; their own checks stay in force ----

    /** How a copy of memory into a buffer overlaps. */
    public static Overlap of(long from, ByteBuffer to, int index, int bytes) {
        return to.isDirect() ? of(from, ENGINE.address(to) + index, bytes) : NONE;
    }

    /** How a copy of a buffer into memory overlaps. */
    public static Overlap of(ByteBuffer from, int index, long to, int bytes) {
        return from.isDirect() ? of(ENGINE.address(from) + index, to, bytes) : NONE;
    }

    /**
     * Copies from a buffer of any kind into memory, without the buffer's position.
     *
     * @throws RuntimeException if the buffer cannot be used
     * @throws InternalError    if its memory is not there: it is mapped, and its file has been truncated
     */
    public static void fromBuffer(ByteBuffer buffer, int index, long address, int count) {
        if (!buffer.isDirect()) {
            ENGINE.copyFromBuffer(buffer, index, address, count);
            return;
        }
        Overlap overlap = of(buffer, index, address, count);
        if (overlap == NONE) {
            ENGINE.copyFromBuffer(buffer, index, address, count);
        } else if (overlap == MIXED) {
            throughMemory(count, between -> ENGINE.copyFromBuffer(buffer, index, between, count),
                between -> ENGINE.copy(between, address, count));
        } else {
            byte[] between = new byte[Math.min(count, BYTES)];
            for (int done = 0; done < count; ) {
                int now = Math.min(count - done, BYTES);
                int at = overlap.isDown() ? count - done - now : done;
                buffer.get(index + at, between, 0, now);
                ENGINE.copyFromArray(between, 0, address + at, now);
                done += now;
            }
        }
        ENGINE.throwPendingFault(buffer);
    }

    /** Copies memory into a buffer of any kind that can be written to; see {@link #fromBuffer}. */
    public static void toBuffer(long address, ByteBuffer buffer, int index, int count) {
        if (!buffer.isDirect()) {
            ENGINE.copyToBuffer(address, buffer, index, count);
            return;
        }
        Overlap overlap = of(address, buffer, index, count);
        if (overlap == NONE) {
            ENGINE.copyToBuffer(address, buffer, index, count);
        } else if (overlap == MIXED) {
            throughMemory(count, between -> ENGINE.copy(address, between, count),
                between -> ENGINE.copyToBuffer(between, buffer, index, count));
        } else {
            byte[] between = new byte[Math.min(count, BYTES)];
            for (int done = 0; done < count; ) {
                int now = Math.min(count - done, BYTES);
                int at = overlap.isDown() ? count - done - now : done;
                ENGINE.copyToArray(address + at, between, 0, now);
                buffer.put(index + at, between, 0, now);
                done += now;
            }
        }
        ENGINE.throwPendingFault(buffer);
    }

    private static void throughMemory(int count, LongConsumer in, LongConsumer out) {
        long between = Vm.mapAnonymous(Vm.wholePages(count));
        try {
            in.accept(between);
            out.accept(between);
        } finally {
            Vm.unmap(between, Vm.wholePages(count));
        }
    }
}
