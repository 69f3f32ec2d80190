package org.rsmapi;

import static org.rsmapi.mem.Engine.ENGINE;

import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.rsmapi.mem.ByteSwap;
import org.rsmapi.mem.Overlap;
import org.rsmapi.mem.Stage;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * How put and get, and putv and getv, move data. The methods of {@link ImportSegment} describe them and their errors.
 *
 * <p>The local side ({@code data}) is an array, a buffer, a memory or a local memory handle. Positions in it are in elements of an
 * array, else in bytes; {@code shift} is the binary logarithm of the element size.
 */
final class Transfer {
    /** How lost data is noticed. */
    private enum Guard {
        /** A barrier of the caller's reports it. */
        NONE,
        /** The call reports it. */
        CALL,
        /** The call reports it, and the segment needs a barrier for that. */
        CALL_WITH_BARRIER
    }

    private Transfer() {}

    /** One put or get. */
    static void move(ImportSegment segment, String op, boolean write, long offset, Object data, long index, long count, int shift) {
        segment.checkConnected(op);
        if (data == null) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", write ? "source" : "target").with("offset", offset);
        }
        if (shift > 0) {
            checkAligned(op, offset, data, index, 1 << shift);
        }
        Guard guard = segment.mode() == BarrierMode.IMPLICIT ? Guard.CALL_WITH_BARRIER : Guard.NONE;
        move(segment, op, write, offset, data, index, count, shift, guard);
    }

    /** putv and getv. Returns the residual count, 0. */
    static int moveAll(String op, boolean write, ScatterGather request) {
        if (request == null) {
            throw RsmException.of(RsmError.BAD_SGIO, op).with("argument", "request");
        }
        ImportSegment segment = request.segment();
        if (segment == null) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "segment");
        }
        segment.checkConnected(op);
        int count = request.iovec().size();
        if (count == 0 || count > ScatterGather.MAX_REQUESTS) {
            throw RsmException.of(RsmError.BAD_SGIO, op).with("entries", count).with("max-entries", ScatterGather.MAX_REQUESTS)
                .with("residual", count).hint("give 1 to 16 pieces");
        }
        for (int i = 0; i < count; i++) {
            try {
                move(segment, op, write, request.iovec().get(i));
            } catch (RsmException e) {
                throw e.with("entry", i).with("residual", count - i);
            }
        }
        if ((request.flags() & ScatterGather.IMPLICIT_SIGPOST) != 0) {
            segment.signalPost(request.flags());
        }
        return 0;
    }

    private static void move(ImportSegment segment, String op, boolean write, IoVec piece) {
        if (piece == null) {
            throw RsmException.of(RsmError.BAD_SGIO, op).hint("a piece is null");
        }
        Object memory = piece.local();
        long at = piece.localOffset();
        if (memory instanceof LocalMemoryHandle) {
            ((LocalMemoryHandle) memory).memory(op); // whether it has been freed comes first
        } else if (memory instanceof Long) {
            long address = (Long) memory;
            memory = address <= 0 ? null : LocalMemory.containing(address, 0);
            at = memory == null ? at : address - ((LocalMemory) memory).address() + at;
        }
        boolean unusable = memory == null || !write && memory instanceof ByteBuffer && ((ByteBuffer) memory).isReadOnly();
        if (unusable) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "local")
                .hint("give a local memory handle, memory, a byte array, a buffer that can be written to, or an address of local memory");
        }
        move(segment, op, write, piece.remoteOffset(), memory, at, piece.length(), 0, Guard.CALL);
    }

    /** The checks from the mapping on, and the move. */
    private static void move(ImportSegment segment, String op, boolean write, long offset, Object data, long index, long count,
            int shift, Guard guard) {
        if (segment.remote() != null) {
            moveRemotely(segment, op, write, offset, data, index, count, shift, guard);
            return;
        }
        while (true) {
            Mapping window = segment.window(op);
            long bytes = bytes(count, shift);
            checkRight(op, segment.permission(), window.permission(), write, offset);
            checkRange(op, window.offset(), window.size(), offset, bytes);
            checkLocal(op, data, index, count, shift);
            if (guard == Guard.CALL_WITH_BARRIER) {
                segment.checkBarrier(op);
            }
            if (guard != Guard.NONE) {
                segment.checkNotice(op);
            }
            long address = window.base + (offset - window.offset());
            move(op, write, window, address, memory(op, data), start(data) + index, count, shift);
            Reference.reachabilityFence(window);
            if (guard != Guard.NONE) {
                VarHandle.fullFence(); // what was written is there before the generation is read
                segment.checkAborted(op);
            }
            if (window.isCurrent()) {
                return;
            }
            // it was unmapped meanwhile: as if this call had come later
        }
    }

    private static long bytes(long count, int shift) {
        return count < 0 || count > Long.MAX_VALUE >> shift ? -1 : count << shift;
    }

    /** The local side without its handle, if it has one. */
    private static Object memory(String op, Object data) {
        return data instanceof LocalMemoryHandle ? ((LocalMemoryHandle) data).memory(op) : data;
    }

    private static long start(Object data) {
        return data instanceof LocalMemoryHandle ? ((LocalMemoryHandle) data).start() : 0;
    }

    /** The same where the exporter's memory is not shared: with the same checks in the same order, but nothing is mapped for it. */
    private static void moveRemotely(ImportSegment segment, String op, boolean write, long offset, Object data, long index, long count,
            int shift, Guard guard) {
        Mapping window = segment.mapping();
        if (window == null) {
            segment.checkUnmapped(op);
        }
        long bytes = bytes(count, shift);
        checkRight(op, segment.permission(), window == null ? segment.permission() : window.permission(), write, offset);
        checkRange(op, window == null ? 0 : window.offset(), window == null ? segment.size() : window.size(), offset, bytes);
        checkLocal(op, data, index, count, shift);
        if (guard == Guard.CALL_WITH_BARRIER) {
            segment.checkBarrier(op);
        }
        if (guard != Guard.NONE) {
            segment.checkNotice(op);
        }
        Object memory = memory(op, data);
        long at = start(data) + index;
        boolean swap = shift > 0 && segment.byteOrder() != ByteOrder.nativeOrder();
        int dataShift = data instanceof SegmentMemory || data instanceof LocalMemoryHandle ? shift : 0;
        RemoteAccess remote = segment.remote();
        long missesBefore = remote.misses();
        if (guard != Guard.NONE) {
            remote.open(op);
        }
        try (Stage stage = remote.stage(op)) {
            for (long done = 0; done < count; ) {
                long there = offset + (done << shift);
                long skipped = there & Long.BYTES - 1; // aligned alike on both sides, and no word is divided
                long here = stage.address() + skipped;
                long now = Math.min(count - done, Stage.BYTES - skipped >> shift);
                if (write) {
                    store(op, here, memory, at + (done << dataShift), now, shift, swap);
                    remote.put(op, there, here, now << shift, guard != Guard.NONE || done + now < count);
                } else {
                    remote.get(op, there, here, now << shift);
                    load(op, here, memory, at + (done << dataShift), now, shift, swap);
                }
                done += now;
            }
        }
        if (guard != Guard.NONE) {
            if (write) {
                remote.confirm(op, missesBefore);
            }
            segment.checkAborted(op);
        }
    }

    private static void checkAligned(String op, long offset, Object data, long index, int size) {
        boolean local = data instanceof SegmentMemory && (((SegmentMemory) data).base + index) % size != 0;
        if (local || offset % size != 0) {
            throw RsmException.of(RsmError.BAD_MEM_ALIGNMENT, op).with("argument", local ? "local memory" : "offset")
                .with("offset", offset).with("alignment", size).hint("elements lie at multiples of their size");
        }
    }

    static void checkRight(String op, Permission granted, Permission mapped, boolean write, long offset) {
        Permission lacking = !allows(granted, write) ? granted : !allows(mapped, write) ? mapped : null;
        if (lacking != null) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("offset", offset).with("perm", lacking)
                .hint(lacking == granted ? "the segment is not connected for that" : "the segment is not mapped for that");
        }
    }

    private static boolean allows(Permission permission, boolean write) {
        return write ? permission.writes() : permission.reads();
    }

    static void checkRange(String op, long start, long size, long offset, long bytes) {
        if (bytes < 0 || offset < start || offset - start > size - bytes) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", offset).with("length", bytes)
                .with("window-offset", start).with("window-length", size);
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
     * Moves in pieces while the window is mapped. The caller finds out whether the window has ended meanwhile.
     *
     * @param at  in local memory in bytes, else in elements
     */
    private static void move(String op, boolean write, Mapping window, long address, Object data, long at, long count, int shift) {
        boolean swap = shift > 0 && window.segment.byteOrder() != ByteOrder.nativeOrder();
        Overlap overlap = count << shift <= SegmentMemory.PIECE ? null : overlap(op, write, address, data, at, count << shift);
        boolean down = overlap != null && overlap.isDown();
        int dataShift = data instanceof SegmentMemory ? shift : 0;
        long done = 0;
        do {
            long now = overlap == null ? count : SegmentMemory.piece(overlap, count - done << shift) >> shift;
            long first = down ? count - done - now : done;
            if (write) {
                store(op, address + (first << shift), data, at + (first << dataShift), now, shift, swap);
            } else {
                load(op, address + (first << shift), data, at + (first << dataShift), now, shift, swap);
            }
            done += now;
            if (write) {
                window.emptyIfEnded(0, 0);
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

    private static void store(String op, long address, Object data, long index, long count, int shift, boolean swap) {
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
            SegmentMemory.copySwapped(data, (int) index, address, (int) count, shift);
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

    private static void load(String op, long address, Object data, long index, long count, int shift, boolean swap) {
        if (data instanceof SegmentMemory) {
            SegmentMemory target = (SegmentMemory) data;
            int before;
            do {
                before = target.moves;
                long to = target.writable(op, index, count << shift);
                copy(op, address, to, count, shift, swap);
                target.emptyIfEnded(index, count << shift);
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
