package org.rsmapi;

import static org.rsmapi.mem.Engine.ENGINE;

import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.rsmapi.mem.ByteSwap;
import org.rsmapi.mem.Overlap;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * Moving data to and from an import segment without a mapping of one's own: rsm_memseg_import_put(3RSM) and
 * rsm_memseg_import_get(3RSM) with their kin.
 *
 * <p>Offsets are in bytes from the start of the segment; of a segment that is mapped explicitly, only the mapped part can be
 * reached. A segment that is not mapped is mapped by the first of these calls, as a whole and with the permission of the connection,
 * and stays so until {@link ImportSegment#unmap()} or {@link ImportSegment#disconnect()}.
 *
 * <p>{@code put} and {@code get} move bytes; their siblings move elements of 8, 16, 32 or 64 bits, which are swapped if the
 * exporter's machine has another byte order. An element at its natural alignment is never seen half-written.
 *
 * <p>In the mode {@link BarrierMode#IMPLICIT}, a call that returns has moved its data to or from the exporter's memory, and one
 * that finds out that the exporter is gone is CONN_ABORTED; the segment needs a barrier for that. In the mode
 * {@link BarrierMode#EXPLICIT} it is the barrier's {@link Barrier#close()} that tells.
 *
 * <p>All of them throw {@link RsmException}, in this order: BAD_SEG_HNDL (disconnected), BAD_ADDR (the local side is null or cannot
 * be used), BAD_MEM_ALIGNMENT (the local address, then the offset, is no multiple of the element's size), CONN_ABORTED (not mapped),
 * INSUFFICIENT_RESOURCES, BAD_LENGTH or MAP_FAILED (it cannot be mapped), PERM_DENIED (the connection or the mapping lacks the right),
 * BAD_OFFSET (not wholly inside the segment or its mapped part; a negative count), BAD_LENGTH (not wholly inside the local side),
 * BARRIER_UNINITIALIZED, CONN_ABORTED, and what the state of local memory adds.
 */
public abstract class SegmentTransfer {
    private static final int SWAP_CHUNK = 1024;

    /** What stands in the way of lost data being noticed. */
    enum Guard {
        /** Nothing: a barrier of the caller's does. */
        NONE,
        /** The barrier of the segment, which has to be there. */
        BARRIER,
        /** The call itself. */
        ABORT
    }

    SegmentTransfer() {
    }

    abstract void checkConnected(String op);

    /** The present mapping, or a new one of the whole segment. */
    abstract Mapping window(String op);

    abstract Permission granted();

    abstract Guard guard();

    abstract void checkBarrier(String op);

    /** Throws if the connection is known to be aborted. */
    abstract void checkNotice(String op);

    /** Throws if the connection is aborted; asks the exporter's state page. */
    abstract void checkAborted(String op);

    abstract ByteOrder order();

    abstract void post(int flags);

    // ---- bytes ----

    /** Writes {@code length} bytes of an array from {@code index} on. */
    public final void put(long offset, byte[] source, int index, long length) {
        transfer("put", true, offset, source, index, length, 0);
    }

    /** Reads {@code length} bytes into an array from {@code index} on. */
    public final void get(long offset, byte[] target, int index, long length) {
        transfer("get", false, offset, target, index, length, 0);
    }

    /** Writes {@code length} bytes of local memory, an export segment or a mapping from {@code from} on. */
    public final void put(long offset, SegmentMemory source, long from, long length) {
        transfer("put", true, offset, source, from, length, 0);
    }

    /** Reads {@code length} bytes into local memory, an export segment or a mapping from {@code to} on. */
    public final void get(long offset, SegmentMemory target, long to, long length) {
        transfer("get", false, offset, target, to, length, 0);
    }

    /** Writes a buffer from its position to its limit, and moves the position there. */
    public final void put(long offset, ByteBuffer source) {
        int position = source == null ? 0 : source.position();
        int count = source == null ? 0 : Math.max(source.limit() - position, 0);
        transfer("put", true, offset, source, position, count, 0);
        advance("put", source, position + count);
    }

    /** Reads into a buffer from its position to its limit, and moves the position there. */
    public final void get(long offset, ByteBuffer target) {
        boolean usable = target != null && !target.isReadOnly();
        int position = usable ? target.position() : 0;
        int count = usable ? Math.max(target.limit() - position, 0) : 0;
        transfer("get", false, offset, usable ? target : null, position, count, 0);
        advance("get", target, position + count);
    }

    private static void advance(String op, ByteBuffer buffer, int position) {
        try {
            buffer.position(position);
        } catch (IllegalArgumentException e) {
            throw SegmentMemory.unusable(op, e);
        }
    }

    /** {@link #put(long, byte[], int, long)}, and when that has succeeded {@link Segment#signalPost} with these flags. */
    public final void putSignal(long offset, byte[] source, int index, long length, int flags) {
        put(offset, source, index, length);
        post(flags);
    }

    /** {@link #put(long, SegmentMemory, long, long)}, and when that has succeeded {@link Segment#signalPost} with these flags. */
    public final void putSignal(long offset, SegmentMemory source, long from, long length, int flags) {
        put(offset, source, from, length);
        post(flags);
    }

    /** {@link #put(long, ByteBuffer)}, and when that has succeeded {@link Segment#signalPost} with these flags. */
    public final void putSignal(long offset, ByteBuffer source, int flags) {
        put(offset, source);
        post(flags);
    }

    // ---- elements: counts in elements, offsets and positions in local memory in bytes ----

    /** Writes 8-bit elements. */
    public final void put8(long offset, byte[] source, int index, long count) {
        transfer("put8", true, offset, source, index, count, 0);
    }

    /** Reads 8-bit elements. */
    public final void get8(long offset, byte[] target, int index, long count) {
        transfer("get8", false, offset, target, index, count, 0);
    }

    /** Writes 8-bit elements. */
    public final void put8(long offset, SegmentMemory source, long from, long count) {
        transfer("put8", true, offset, source, from, count, 0);
    }

    /** Reads 8-bit elements. */
    public final void get8(long offset, SegmentMemory target, long to, long count) {
        transfer("get8", false, offset, target, to, count, 0);
    }

    /** Writes 16-bit elements. */
    public final void put16(long offset, short[] source, int index, long count) {
        transfer("put16", true, offset, source, index, count, 1);
    }

    /** Reads 16-bit elements. */
    public final void get16(long offset, short[] target, int index, long count) {
        transfer("get16", false, offset, target, index, count, 1);
    }

    /** Writes 16-bit elements. */
    public final void put16(long offset, char[] source, int index, long count) {
        transfer("put16", true, offset, source, index, count, 1);
    }

    /** Reads 16-bit elements. */
    public final void get16(long offset, char[] target, int index, long count) {
        transfer("get16", false, offset, target, index, count, 1);
    }

    /** Writes 16-bit elements. */
    public final void put16(long offset, SegmentMemory source, long from, long count) {
        transfer("put16", true, offset, source, from, count, 1);
    }

    /** Reads 16-bit elements. */
    public final void get16(long offset, SegmentMemory target, long to, long count) {
        transfer("get16", false, offset, target, to, count, 1);
    }

    /** Writes 32-bit elements. */
    public final void put32(long offset, int[] source, int index, long count) {
        transfer("put32", true, offset, source, index, count, 2);
    }

    /** Reads 32-bit elements. */
    public final void get32(long offset, int[] target, int index, long count) {
        transfer("get32", false, offset, target, index, count, 2);
    }

    /** Writes 32-bit elements. */
    public final void put32(long offset, float[] source, int index, long count) {
        transfer("put32", true, offset, source, index, count, 2);
    }

    /** Reads 32-bit elements. */
    public final void get32(long offset, float[] target, int index, long count) {
        transfer("get32", false, offset, target, index, count, 2);
    }

    /** Writes 32-bit elements. */
    public final void put32(long offset, SegmentMemory source, long from, long count) {
        transfer("put32", true, offset, source, from, count, 2);
    }

    /** Reads 32-bit elements. */
    public final void get32(long offset, SegmentMemory target, long to, long count) {
        transfer("get32", false, offset, target, to, count, 2);
    }

    /** Writes 64-bit elements. */
    public final void put64(long offset, long[] source, int index, long count) {
        transfer("put64", true, offset, source, index, count, 3);
    }

    /** Reads 64-bit elements. */
    public final void get64(long offset, long[] target, int index, long count) {
        transfer("get64", false, offset, target, index, count, 3);
    }

    /** Writes 64-bit elements. */
    public final void put64(long offset, double[] source, int index, long count) {
        transfer("put64", true, offset, source, index, count, 3);
    }

    /** Reads 64-bit elements. */
    public final void get64(long offset, double[] target, int index, long count) {
        transfer("get64", false, offset, target, index, count, 3);
    }

    /** Writes 64-bit elements. */
    public final void put64(long offset, SegmentMemory source, long from, long count) {
        transfer("put64", true, offset, source, from, count, 3);
    }

    /** Reads 64-bit elements. */
    public final void get64(long offset, SegmentMemory target, long to, long count) {
        transfer("get64", false, offset, target, to, count, 3);
    }

    // ---- how it is done; shift is the binary logarithm of the element size, data an array, a buffer, a memory or its handle ----

    private void transfer(String op, boolean write, long offset, Object data, long index, long count, int shift) {
        checkConnected(op);
        if (data == null) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", write ? "source" : "target").with("offset", offset);
        }
        if (shift > 0) {
            checkAligned(op, offset, data, index, 1 << shift);
        }
        move(op, write, offset, data, index, count, shift, guard());
    }

    /** Checks from the mapping on, and the move. */
    final void move(String op, boolean write, long offset, Object data, long index, long count, int shift, Guard guard) {
        while (true) {
            Mapping window = window(op);
            long bytes = count < 0 || count > Long.MAX_VALUE >> shift ? -1 : count << shift;
            checkRight(op, window, write, offset);
            checkRange(op, window, offset, bytes);
            checkLocal(op, data, index, count, shift);
            if (guard == Guard.BARRIER) {
                checkBarrier(op);
            }
            if (guard != Guard.NONE) {
                checkNotice(op);
            }
            long address = window.base + (offset - window.offset());
            Object memory = data;
            long at = index;
            if (data instanceof LocalMemoryHandle) {
                memory = ((LocalMemoryHandle) data).memory(op);
                at += ((LocalMemoryHandle) data).start();
            }
            move(op, write, window, address, memory, at, count, shift);
            Reference.reachabilityFence(window);
            if (guard != Guard.NONE) {
                VarHandle.fullFence(); // what was written is there before the generation is read
                checkAborted(op);
            }
            if (window.isCurrent()) {
                return;
            }
            // it was unmapped meanwhile: as if we had come later
        }
    }

    private static void checkAligned(String op, long offset, Object data, long index, int size) {
        boolean local = data instanceof SegmentMemory && (((SegmentMemory) data).base + index) % size != 0;
        if (local || offset % size != 0) {
            throw RsmException.of(RsmError.BAD_MEM_ALIGNMENT, op).with("argument", local ? "local memory" : "offset")
                .with("offset", offset).with("alignment", size).hint("elements lie at multiples of their size");
        }
    }

    private void checkRight(String op, Mapping window, boolean write, long offset) {
        Permission lacking = !allows(granted(), write) ? granted() : !allows(window.permission(), write) ? window.permission() : null;
        if (lacking != null) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("offset", offset).with("perm", lacking)
                .hint(lacking == granted() ? "the segment is not connected for that" : "the segment is not mapped for that");
        }
    }

    private static boolean allows(Permission permission, boolean write) {
        return write ? permission.writes() : permission.reads();
    }

    private static void checkRange(String op, Mapping window, long offset, long bytes) {
        if (bytes < 0 || offset < window.offset() || offset - window.offset() > window.size() - bytes) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", offset).with("length", bytes)
                .with("window-offset", window.offset()).with("window-length", window.size());
        }
    }

    private static void checkLocal(String op, Object data, long index, long count, int shift) {
        long length = data instanceof SegmentMemory ? ((SegmentMemory) data).size() >> shift
            : data instanceof ByteBuffer ? ((ByteBuffer) data).limit()
            : data instanceof LocalMemoryHandle ? ((LocalMemoryHandle) data).length() : Array.getLength(data);
        long first = data instanceof SegmentMemory ? index >> shift : index;
        if (index < 0 || first > length - count) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("index", index).with("count", count).with("local-length", length)
                .hint("index and count must lie inside the array, buffer or memory");
        }
    }

    /**
     * Moves in pieces, for as long as the window is there: what becomes of a move whose window has ended is for the caller to find out.
     *
     * @param at  in local memory in bytes, else in elements
     */
    private void move(String op, boolean write, Mapping window, long address, Object data, long at, long count, int shift) {
        Overlap overlap = count << shift <= SegmentMemory.PIECE ? null : overlap(op, write, address, data, at, count << shift);
        boolean down = overlap != null && overlap.isDown();
        int dataShift = data instanceof SegmentMemory ? shift : 0;
        long done = 0;
        do {
            long now = overlap == null ? count : SegmentMemory.piece(overlap, count - done << shift) >> shift;
            long first = down ? count - done - now : done;
            if (write) {
                store(op, address + (first << shift), data, at + (first << dataShift), now, shift);
            } else {
                load(op, address + (first << shift), data, at + (first << dataShift), now, shift);
            }
            done += now;
            if (write) {
                window.emptyIfEnded();
            }
        } while (done < count && window.isMapped());
    }

    private static Overlap overlap(String op, boolean write, long address, Object data, long at, long bytes) {
        if (data instanceof SegmentMemory) {
            SegmentMemory memory = (SegmentMemory) data;
            return write ? Overlap.of(memory.readable(op, at, bytes), address, bytes)
                : Overlap.of(address, memory.writable(op, at, bytes), bytes);
        }
        if (data instanceof ByteBuffer) {
            ByteBuffer buffer = (ByteBuffer) data;
            try {
                return write ? Overlap.of(buffer, (int) at, address, (int) bytes) : Overlap.of(address, buffer, (int) at, (int) bytes);
            } catch (RuntimeException e) {
                throw SegmentMemory.unusable(op, e);
            }
        }
        return Overlap.NONE;
    }

    private void store(String op, long address, Object data, long index, long count, int shift) {
        boolean swap = shift > 0 && order() != ByteOrder.nativeOrder();
        if (data instanceof SegmentMemory) {
            SegmentMemory source = (SegmentMemory) data;
            copy(op, source.readable(op, index, count << shift), address, count, shift, swap);
            Reference.reachabilityFence(source);
        } else if (data instanceof ByteBuffer) {
            try {
                Overlap.fromBuffer((ByteBuffer) data, (int) index, address, (int) count);
            } catch (RuntimeException | InternalError e) {
                throw SegmentMemory.unusable(op, e);
            }
        } else if (swap) {
            storeSwapped(address, data, (int) index, (int) count, shift);
        } else {
            ENGINE.copyFromArray(data, (int) index, address, (int) count);
        }
    }

    private static void copy(String op, long from, long to, long count, int shift, boolean swap) {
        try {
            if (swap) {
                copySwapped(from, to, count, shift);
            } else {
                Overlap.copy(from, to, count << shift);
            }
        } catch (OsError e) {
            throw SegmentMemory.noRoom(op, count << shift, e);
        }
    }

    private static void storeSwapped(long address, Object array, int index, int count, int shift) {
        Object piece = Array.newInstance(array.getClass().getComponentType(), Math.min(count, SWAP_CHUNK));
        for (int done = 0; done < count; done += SWAP_CHUNK) {
            int now = Math.min(count - done, SWAP_CHUNK);
            System.arraycopy(array, index + done, piece, 0, now);
            ByteSwap.swap(piece, 0, now);
            ENGINE.copyFromArray(piece, 0, address + ((long) done << shift), now);
        }
    }

    private void load(String op, long address, Object data, long index, long count, int shift) {
        boolean swap = shift > 0 && order() != ByteOrder.nativeOrder();
        if (data instanceof SegmentMemory) {
            SegmentMemory target = (SegmentMemory) data;
            int before;
            do {
                before = target.moves;
                long to = target.writable(op, index, count << shift);
                copy(op, address, to, count, shift, swap);
                target.emptyIfEnded();
            } while (target.movedSince(before));
            Reference.reachabilityFence(target);
        } else if (data instanceof ByteBuffer) {
            try {
                Overlap.toBuffer(address, (ByteBuffer) data, (int) index, (int) count);
            } catch (RuntimeException | InternalError e) {
                throw SegmentMemory.unusable(op, e);
            }
        } else {
            ENGINE.copyToArray(address, data, (int) index, (int) count);
            if (swap) {
                ByteSwap.swap(data, (int) index, (int) count);
            }
        }
    }

    /** Element by element; like the other copies it may be within one memory, with ranges that overlap. */
    private static void copySwapped(long from, long to, long count, int shift) {
        long bytes = count << shift;
        Overlap overlap = Overlap.of(from, to, bytes);
        if (overlap == Overlap.MIXED) {
            long between = Vm.mapAnonymous(Vm.wholePages(bytes));
            try {
                copySwapped(from, between, count, shift);
                ENGINE.copy(between, to, bytes);
            } finally {
                Vm.unmap(between, Vm.wholePages(bytes));
            }
            return;
        }
        boolean down = overlap.isDown();
        for (long i = 0; i < count; i++) {
            long at = (down ? count - 1 - i : i) << shift;
            switch (shift) {
                case 1: ENGINE.putShort(to + at, Short.reverseBytes(ENGINE.getShort(from + at))); break;
                case 2: ENGINE.putInt(to + at, Integer.reverseBytes(ENGINE.getInt(from + at))); break;
                default: ENGINE.putLong(to + at, Long.reverseBytes(ENGINE.getLong(from + at))); break;
            }
        }
    }
}
