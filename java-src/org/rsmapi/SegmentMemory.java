package org.rsmapi;

import static org.rsmapi.mem.Engine.ENGINE;

import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.util.Arrays;
import java.util.Objects;
import org.rsmapi.mem.Accesses;
import org.rsmapi.mem.ByteSwap;
import org.rsmapi.mem.ForeignView;
import org.rsmapi.mem.Overlap;
import org.rsmapi.spi.Failures;
import org.rsmapi.sys.OsError;

/**
 * Memory that can be read and written at byte offsets: an export segment, the mapping of an import segment, or local memory.
 *
 * <p>Offsets and lengths are in bytes and count from the start of the window (of a mapping: from the offset that was
 * mapped). Every access that does not lie wholly inside the window, is not permitted, or comes after the memory was unmapped or
 * revoked throws {@link RsmException} and touches nothing. So does any malformed argument; no other exception is thrown.
 *
 * <p><b>Memory order</b> is in the method's name, with the meaning {@link java.lang.invoke.VarHandle} gives it, and holds
 * between processes as it does between threads. Plain access promises neither order nor, for more than one byte, that a
 * concurrent writer is not seen half-way. {@code Volatile}, {@code Acquire}, {@code Release} and atomic access need an
 * offset that is a multiple of the value's size ({@link RsmError#BAD_MEM_ALIGNMENT} otherwise: the processor cannot keep
 * the promise across a cache line, and may stop the process for trying). A loop that waits for a change must read with one
 * of these: the JIT compiler may make a plain read, with its check for revocation, once for the whole loop.
 *
 * <p>Floats and doubles keep their bits, also those of a NaN.
 *
 * <p><b>How the check works.</b> {@link #readLimit} and {@link #writeLimit} are the window's size where that kind of access is
 * allowed and -1 where it is not, so that one comparison checks range, permission and state. An unmap or a
 * revocation sets both to -1 and replaces the pages by anonymous ones; the address range itself is returned only when the handle is
 * unreachable, or its addresses are needed and no access is under way ({@link Accesses}). Both fields are plain on purpose: a thread
 * that has passed the check just before reads zeros, or writes to pages that are dropped, and never faults; one of its next accesses
 * fails. Every access therefore ends with
 * {@link Reference#reachabilityFence}, after the access and not in a finally block, which would only add a path
 * to compile (the engine does not throw).
 *
 * <p>Operations on many bytes check again between pieces of {@link #PIECE} bytes, and fail there if the memory has ended. One that has
 * written after the end frees the pages that it has filled ({@link #empty}), because the collector, on which the address range
 * waits, does not know of them.
 *
 * <p><b>Overlap.</b> A copy has the content that the source had before, also if source and target overlap, through the same or
 * different handles and addresses: {@link Overlap}.
 */
public abstract class SegmentMemory {
    static {
        Accesses.areMadeIn(SegmentMemory.class);
        Accesses.areMadeIn(Transfer.class);
        Accesses.areMadeIn(Seqlock.class, Seqlock.ATTEMPT);
    }

    /** For {@link #getText}: NULs are characters of the text; otherwise the first one ends it. */
    public static final int KEEP_NUL = 1;
    /** For {@link #getText}: malformed bytes become U+FFFD; otherwise they are an error. */
    public static final int REPLACE_MALFORMED = 2;

    /** Elements a temporary array holds while swapped values are written. */
    private static final int SWAP_CHUNK = 1024;

    /** Bytes that are moved between two checks. In small pieces the JVM would not copy as it does where caches are of no use. */
    static final long PIECE = 16L << 20;

    /** Beyond what any processor has for a process. */
    private static final long LARGEST_ADDRESS = Long.MAX_VALUE >> 2;

    /** Bytes of an array for which the limit of the heap is not asked for. */
    private static final long ALWAYS_TRIED = 1L << 20;

    /** The address of offset 0, a multiple of the page size. */
    long base;

    /** The window's size in bytes, or -1 while reading is not allowed. */
    long readLimit;

    /** The window's size in bytes, or -1 while writing is not allowed. */
    long writeLimit;

    /**
     * How often the memory has been moved to another file, where that can happen: counted after the limits were taken away and
     * before the content is copied. A bulk write that finds another number than before cannot know whether the
     * copy has all of its bytes, and is repeated.
     */
    volatile int moves;

    private final boolean movable;

    /** 1 where the memory is a copy, on which ordered and atomic access would promise too much; else 0. */
    private final int incoherent;

    /** Guards {@link #view}. Taken before the locks of local memory, and after that of a segment. */
    private final Object viewLock = new Object();

    /** What {@link #memorySegment()} has returned; null if nothing, or it has ended. */
    private ForeignView view;

    /** Final, and with it the JVM orders the other fields before any publication: limits are never seen without the base. */
    private final long size;

    /** The limits are the window's size in bytes, or -1 for a kind of access that is not allowed; one of them is the size. */
    SegmentMemory(long base, long readLimit, long writeLimit) {
        this(base, readLimit, writeLimit, false, false);
    }

    /** The same for memory that can be moved, or is a copy of what others see. */
    SegmentMemory(long base, long readLimit, long writeLimit, boolean movable, boolean copy) {
        this.movable = movable;
        this.incoherent = copy ? 1 : 0;
        this.base = base;
        this.readLimit = readLimit;
        this.writeLimit = writeLimit;
        this.size = Math.max(readLimit, writeLimit);
    }

    /** The window's size in bytes, also after it was closed. */
    public final long size() {
        return size;
    }

    /**
     * Decides on an access that failed the check: finds out why and throws, or, if it turns out to be allowed after all
     * (the memory was being moved), returns the address of {@code offset}.
     *
     * @param op the operation's name in the error
     * @param write whether the access writes
     * @param offset as the caller gave it, possibly negative
     * @param bytes how many bytes from there on, 0 or more
     */
    abstract long refused(String op, boolean write, long offset, long bytes);

    /**
     * Frees the pages that were written after the end, if this memory has ended and only its address range is still there; or that were
     * written where this is not allowed any more. Otherwise does nothing.
     *
     * @param offset  what was written
     */
    abstract void empty(long offset, long bytes);

    /** Whether all of it can be written, as long as it can be read. */
    abstract boolean isWritable();

    /** Keeps the memory from being moved and unmapped; null where the caller is responsible for that. */
    Holds holds() {
        return null;
    }

    // ---- for other libraries ----

    /**
     * A {@code java.lang.foreign.MemorySegment} of all of it, for other libraries: to be cast to that type, JDK 22 and later. It is
     * read-only where this memory is: a read-only mapping, or local memory over a part of which one lies.
     *
     * <p>Its scope ends when the mapping is unmapped or the segment revoked, when the export segment is destroyed or moves to other
     * memory ({@link ExportSegment#rebind}), when the local memory is closed, or a mapping that does not allow everything is placed over a
     * part of it. Any later access is an IllegalStateException. A native call or I/O operation that is using the segment at that moment
     * goes on, with zeros or with memory that nobody else sees. The segment keeps this memory reachable.
     *
     * <p>Access through it is not checked for more than its scope and bounds. In particular it does not wait while the memory of an
     * export segment is moved; see {@link ExportSegment}.
     *
     * @return always the same one, until that ends
     * @throws RsmException as an access that reads all of the memory, and then CTLR_NOT_PRESENT (before JDK 22)
     */
    public final Object memorySegment() {
        String op = "memory-segment";
        synchronized (viewLock) {
            readable(op, 0, size);
            if (!ForeignView.isSupported()) {
                throw RsmException.of(RsmError.CTLR_NOT_PRESENT, op).with("java-version", Runtime.version().toString())
                    .hint("memory segments need JDK 22 or later; on earlier ones, use the address");
            }
            boolean readOnly = !isWritable();
            if (view == null || !view.shows(base, size, readOnly)) {
                endView();
                view = ForeignView.of(this, base, size, readOnly);
            }
            return view.segment();
        }
    }

    /** Ends what {@link #memorySegment()} has returned. To be called when its limits have changed. */
    final void endView() {
        synchronized (viewLock) {
            if (view != null) {
                ForeignView ending = view;
                view = null;
                ending.end();
            }
        }
    }

    /** The same, unless it shows the present memory. */
    final void endFormerView() {
        synchronized (viewLock) {
            if (view != null && !view.shows(base, size, !isWritable())) {
                endView();
            }
        }
    }

    // ---- arrays of any of these types: the errors are those of the methods for one type, and BAD_ARGS_ERRORS if the type is null ----

    /**
     * Reads {@code count} elements into a new array.
     *
     * @return an array of the type, such as {@code int[]}
     */
    public final Object getArray(long offset, ArrayType type, long count, ByteOrder order) {
        String op = checked(type, "get-array").getOp();
        boolean swap = swaps(type, order, op);
        Object values = type.newArray(newArrayLength(op, offset, count, type.shift()));
        loadArray(op, offset, values, 0, Array.getLength(values), type.shift());
        if (swap) {
            ByteSwap.swap(values, 0, Array.getLength(values));
        }
        return values;
    }

    /** Reads {@code count} elements into {@code target}, an array of the type (BAD_ADDR otherwise), from {@code index} on. */
    public final void getArray(long offset, ArrayType type, Object target, int index, int count, ByteOrder order) {
        String op = checked(type, "get-array").getOp();
        boolean swap = swaps(type, order, op);
        loadArray(op, offset, checked(type, target, op), index, count, type.shift());
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} elements of {@code source}, an array of the type (BAD_ADDR otherwise), from {@code index} on. */
    public final void putArray(long offset, ArrayType type, Object source, int index, int count, ByteOrder order) {
        String op = checked(type, "put-array").putOp();
        if (swaps(type, order, op)) {
            storeSwapped(op, offset, checked(type, source, op), index, count, type.shift());
        } else {
            storeArray(op, offset, checked(type, source, op), index, count, type.shift());
        }
    }

    private static ArrayType checked(ArrayType type, String op) {
        if (type == null) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "type").hint("give the type of the array");
        }
        return type;
    }

    private static Object checked(ArrayType type, Object array, String op) {
        if (array != null && !type.is(array)) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "array").with("value", array.getClass().getName())
                .hint("give an array of " + type.element().getName() + "s");
        }
        return array; // null is reported by the access itself
    }

    private static boolean swaps(ArrayType type, ByteOrder order, String op) {
        return swaps(order, op) && type.shift() > 0;
    }

    // ---- buffers ----

    /**
     * Reads into {@code target} from its position to its limit, and moves the position there. It may be any buffer
     * that is not read-only; one whose memory was freed is BAD_ADDR.
     */
    public final void get(long offset, ByteBuffer target) {
        if (target == null || target.isReadOnly()) {
            throw RsmException.of(RsmError.BAD_ADDR, "get-buffer").with("argument", "buffer")
                .hint("give a ByteBuffer that can be written to");
        }
        int position = target.position();
        int count = Math.max(target.limit() - position, 0); // another thread may be moving them
        try {
            Overlap overlap = count <= PIECE ? Overlap.NONE
                : Overlap.of(readable("get-buffer", offset, count), target, position, count);
            int done = 0;
            do {
                int now = (int) piece(overlap, count - done);
                int at = overlap.isDown() ? count - done - now : done;
                Overlap.toBuffer(readable("get-buffer", offset + at, now), target, position + at, now);
                done += now;
            } while (done < count);
            target.position(position + count);
        } catch (RsmException e) {
            throw e;
        } catch (RuntimeException | InternalError e) {
            throw unusable("get-buffer", e);
        }
        Reference.reachabilityFence(this);
    }

    /**
     * Writes {@code source} from its position to its limit, and moves the position there. It may be any buffer,
     * also a read-only one; one whose memory was freed is BAD_ADDR.
     */
    public final void put(long offset, ByteBuffer source) {
        if (source == null) {
            throw RsmException.of(RsmError.BAD_ADDR, "put-buffer").with("argument", "buffer").hint("give a ByteBuffer");
        }
        int position = source.position();
        int count = Math.max(source.limit() - position, 0);
        try {
            Overlap overlap = count <= PIECE ? Overlap.NONE
                : Overlap.of(source, position, writable("put-buffer", offset, count), count);
            int done = 0;
            do {
                int now = (int) piece(overlap, count - done);
                int at = overlap.isDown() ? count - done - now : done;
                int before;
                do {
                    before = moves;
                    Overlap.fromBuffer(source, position + at, writable("put-buffer", offset + at, now), now);
                    emptyIfEnded(offset + at, now);
                } while (movedSince(before));
                done += now;
            } while (done < count);
            source.position(position + count);
        } catch (RsmException e) {
            throw e;
        } catch (RuntimeException | InternalError e) {
            throw unusable("put-buffer", e);
        }
        Reference.reachabilityFence(this);
    }

    // ---- ranges ----

    /** Sets {@code length} bytes to {@code value}. */
    public final void fill(long offset, long length, byte value) {
        checkLength("fill", length);
        if (length > PIECE) {
            writable("fill", offset, length); // nothing is touched if not all can be
        }
        long done = 0;
        do {
            long now = Math.min(length - done, PIECE);
            int before;
            do {
                before = moves;
                ENGINE.fill(writable("fill", offset + done, now), now, value);
                emptyIfEnded(offset + done, now);
            } while (movedSince(before));
            done += now;
        } while (done < length);
        Reference.reachabilityFence(this);
    }

    /** Copies {@code length} bytes to {@code target}, which may be this memory too, with ranges that overlap. */
    public final void copyTo(long offset, SegmentMemory target, long targetOffset, long length) {
        if (target == null) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, "copy").with("argument", "target");
        }
        checkLength("copy", length);
        Overlap overlap = Overlap.of(readable("copy", offset, length), target.writable("copy", targetOffset, length), length);
        long done = 0;
        do {
            long now = piece(overlap, length - done);
            long at = overlap.isDown() ? length - done - now : done;
            int before;
            do {
                before = target.moves;
                long from = readable("copy", offset + at, now);
                long to = target.writable("copy", targetOffset + at, now);
                try {
                    overlap.move(from, to, now);
                } catch (OsError e) {
                    throw noRoom("copy", now, e);
                }
                target.emptyIfEnded(targetOffset + at, now);
                // where the ranges overlap the source is not what it was
            } while (target.movedSince(before) && overlap == Overlap.NONE);
            done += now;
        } while (done < length);
        Reference.reachabilityFence(this);
        Reference.reachabilityFence(target);
    }

    /** How many of the bytes that are left to move at a time. */
    static long piece(Overlap overlap, long left) {
        return overlap == Overlap.MIXED ? left : Math.min(left, PIECE);
    }

    static RsmException noRoom(String op, long bytes, OsError cause) {
        return Failures.of(RsmError.INSUFFICIENT_MEM, op, cause).with("length", bytes)
            .hint("source and target overlap in several ways: move the data in parts");
    }

    // ---- the checks ----

    /** Whether what has just been written may have been left behind by a move. */
    final boolean movedSince(int before) {
        if (!movable) {
            return false;
        }
        VarHandle.fullFence();
        return moves != before;
    }

    /** To be called after many bytes have been written. */
    final void emptyIfEnded(long offset, long bytes) {
        VarHandle.acquireFence(); // the compiler must not read the limit before
        if (writeLimit < offset + bytes) {
            empty(offset, bytes);
        }
    }

    /** The address of so many bytes from {@code offset} on, which may be read, now: nothing may come between this and the reading. */
    final long readable(String op, long offset, long bytes) {
        try {
            return address(Objects.checkIndex(offset, places(readLimit, bytes)));
        } catch (IndexOutOfBoundsException e) {
            return refused(op, false, offset, bytes);
        }
    }

    /** The same for writing. */
    final long writable(String op, long offset, long bytes) {
        try {
            return address(Objects.checkIndex(offset, places(writeLimit, bytes)));
        } catch (IndexOutOfBoundsException e) {
            return refused(op, true, offset, bytes);
        }
    }

    /**
     * At how many offsets so many bytes can start, and 0 rather than less. That it is not negative, and with {@link #address} that no
     * address is, the JIT compiler sees by the masks, and leaves out what it or the engine would check again.
     */
    private static long places(long limit, long bytes) {
        long places = limit - bytes + 1;
        return places & ~(places >> 63) & LARGEST_ADDRESS;
    }

    private long address(long offset) {
        Accesses.mark();
        return (base & LARGEST_ADDRESS) + offset;
    }

    private long readableAligned(String op, long offset, long bytes) {
        return aligned(op, readable(op, offset, bytes), offset, bytes);
    }

    private long writableAligned(String op, long offset, long bytes) {
        return aligned(op, writable(op, offset, bytes), offset, bytes);
    }

    final long updatable(String op, long offset, long bytes) {
        if (readLimit < 0 || writeLimit < 0) {
            return aligned(op, refusedUpdate(op, offset, bytes), offset, bytes);
        }
        readable(op, offset, bytes);
        return writableAligned(op, offset, bytes);
    }

    /** {@link #refused} for an access that reads and writes. */
    long refusedUpdate(String op, long offset, long bytes) {
        return refused(op, true, offset, bytes);
    }

    private long aligned(String op, long address, long offset, long bytes) {
        if ((address & (bytes - 1) | incoherent) != 0) {
            throw unordered(op, address, offset, bytes);
        }
        return address;
    }

    private static RsmException unordered(String op, long address, long offset, long bytes) {
        if ((address & (bytes - 1)) != 0) {
            return RsmException.of(RsmError.BAD_MEM_ALIGNMENT, op).with("offset", offset).with("alignment", bytes)
                .hint("ordered and atomic access needs an offset that is a multiple of " + bytes);
        }
        return RsmException.of(RsmError.LOCKS_NOT_SUPPORTED, op).with("offset", offset)
            .hint("this mapping is a copy of the segment, and others do not see such an access in its order: use a barrier, or "
                + "compare-and-set and get-and-add on the import segment");
    }

    private static boolean swaps(ByteOrder order, String op) {
        if (order == null) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "order")
                .hint("give ByteOrder.LITTLE_ENDIAN or BIG_ENDIAN");
        }
        return order != ByteOrder.nativeOrder();
    }

    private static void checkLength(String op, long length) {
        if (length < 0) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("length", length).hint("a length is 0 or more bytes");
        }
    }

    static void checkArray(String op, Object array, int index, int count) {
        if (array == null) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "array").hint("the array is null");
        }
        int length = Array.getLength(array);
        if ((index | count) < 0 || index > length - count) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("index", index).with("count", count)
                .with("array-length", length).hint("index and count must lie inside the array");
        }
    }

    /** Checks the segment's range before anything is allocated: a wrong count must not end in an OutOfMemoryError. */
    private int newArrayLength(String op, long offset, long count, int shift) {
        if (count < 0) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("count", count).hint("a count is 0 or more elements");
        }
        readable(op, offset, count > Long.MAX_VALUE >> shift ? Long.MAX_VALUE : count << shift);
        return arrayLength(op, count, shift);
    }

    private static int arrayLength(String op, long count, int shift) {
        if (count > ArrayType.MAX_LENGTH) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("count", count)
                .hint("an array holds at most " + ArrayType.MAX_LENGTH + " elements");
        }
        checkHeap(op, count << shift);
        return (int) count;
    }

    /** An array that is larger than the heap can be is refused; of one that is not, the JVM finds out whether there is room. */
    static void checkHeap(String op, long bytes) {
        if (bytes > ALWAYS_TRIED && bytes > Runtime.getRuntime().maxMemory()) {
            throw RsmException.of(RsmError.INSUFFICIENT_MEM, op).with("length", bytes)
                .with("heap-limit", Runtime.getRuntime().maxMemory()).hint("read it in parts, or start the JVM with a larger heap (-Xmx)");
        }
    }

    /** The failure for what a buffer throws, or the JVM for it. */
    static RsmException unusable(String op, Throwable cause) {
        if (cause instanceof OsError) {
            return noRoom(op, 0, (OsError) cause);
        }
        return RsmException.of(RsmError.BAD_ADDR, op).with("argument", "buffer").causedBy(cause)
            .hint(cause instanceof InternalError ? "the buffer's file has been truncated, or its memory cannot be read"
                : "the buffer is closed, belongs to another thread, or was changed meanwhile");
    }

    // ---- array access; shift is the binary logarithm of the element size ----

    private void loadArray(String op, long offset, Object array, int index, int count, int shift) {
        checkArray(op, array, index, count);
        int most = (int) (PIECE >> shift);
        if (count > most) {
            readable(op, offset, (long) count << shift); // nothing is touched if not all can be
        }
        int done = 0;
        do {
            int now = Math.min(count - done, most);
            ENGINE.copyToArray(readable(op, offset + ((long) done << shift), (long) now << shift), array, index + done, now);
            done += now;
        } while (done < count);
        Reference.reachabilityFence(this);
    }

    private void storeArray(String op, long offset, Object array, int index, int count, int shift) {
        storeArray(op, offset, array, index, count, shift, false);
    }

    /** Writes with the bytes of every element reversed. */
    private void storeSwapped(String op, long offset, Object array, int index, int count, int shift) {
        storeArray(op, offset, array, index, count, shift, true);
    }

    private void storeArray(String op, long offset, Object array, int index, int count, int shift, boolean swap) {
        checkArray(op, array, index, count);
        int most = (int) (PIECE >> shift);
        if (count > most) {
            writable(op, offset, (long) count << shift); // nothing is touched if not all can be
        }
        int done = 0;
        do {
            int now = Math.min(count - done, most);
            int before;
            do {
                before = moves;
                long address = writable(op, offset + ((long) done << shift), (long) now << shift);
                if (swap) {
                    copySwapped(array, index + done, address, now, shift);
                } else {
                    ENGINE.copyFromArray(array, index + done, address, now);
                }
                emptyIfEnded(offset + ((long) done << shift), (long) now << shift);
            } while (movedSince(before));
            done += now;
        } while (done < count);
        Reference.reachabilityFence(this);
    }

    /** Copies from an array with the bytes of every element reversed, through a bounce buffer: the caller's array must not change. */
    static void copySwapped(Object array, int index, long address, int count, int shift) {
        Object chunk = Array.newInstance(array.getClass().getComponentType(), Math.min(count, SWAP_CHUNK));
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, SWAP_CHUNK);
            System.arraycopy(array, index + done, chunk, 0, now);
            ByteSwap.swap(chunk, 0, now);
            ENGINE.copyFromArray(chunk, 0, address + ((long) done << shift), now);
            done += now;
        }
    }

    // From here on everything exists once for each type or width.

    // ---- plain access: native byte order unless one is given, any alignment, no promise on order or tearing ----

    /** Reads a byte (1 byte). */
    public final byte getByte(long offset) {
        return loadByte("get-byte", offset);
    }

    /** Writes a byte (1 byte). */
    public final void putByte(long offset, byte value) {
        storeByte("put-byte", offset, value);
    }

    /** Reads a short (2 bytes). */
    public final short getShort(long offset) {
        return loadShort("get-short", offset);
    }

    /** Writes a short (2 bytes). */
    public final void putShort(long offset, short value) {
        storeShort("put-short", offset, value);
    }

    /** Reads a short in the given byte order. */
    public final short getShort(long offset, ByteOrder order) {
        boolean swap = swaps(order, "get-short");
        short bits = loadShort("get-short", offset);
        return swap ? Short.reverseBytes(bits) : bits;
    }

    /** Writes a short in the given byte order. */
    public final void putShort(long offset, short value, ByteOrder order) {
        storeShort("put-short", offset, swaps(order, "put-short") ? Short.reverseBytes(value) : value);
    }

    /** Reads a char (2 bytes). */
    public final char getChar(long offset) {
        return (char) loadShort("get-char", offset);
    }

    /** Writes a char (2 bytes). */
    public final void putChar(long offset, char value) {
        storeShort("put-char", offset, (short) value);
    }

    /** Reads a char in the given byte order. */
    public final char getChar(long offset, ByteOrder order) {
        boolean swap = swaps(order, "get-char");
        char value = (char) loadShort("get-char", offset);
        return swap ? Character.reverseBytes(value) : value;
    }

    /** Writes a char in the given byte order. */
    public final void putChar(long offset, char value, ByteOrder order) {
        storeShort("put-char", offset, (short) (swaps(order, "put-char") ? Character.reverseBytes(value) : value));
    }

    /** Reads an int (4 bytes). */
    public final int getInt(long offset) {
        return loadInt("get-int", offset);
    }

    /** Writes an int (4 bytes). */
    public final void putInt(long offset, int value) {
        storeInt("put-int", offset, value);
    }

    /** Reads an int in the given byte order. */
    public final int getInt(long offset, ByteOrder order) {
        boolean swap = swaps(order, "get-int");
        int bits = loadInt("get-int", offset);
        return swap ? Integer.reverseBytes(bits) : bits;
    }

    /** Writes an int in the given byte order. */
    public final void putInt(long offset, int value, ByteOrder order) {
        storeInt("put-int", offset, swaps(order, "put-int") ? Integer.reverseBytes(value) : value);
    }

    /** Reads a long (8 bytes). */
    public final long getLong(long offset) {
        return loadLong("get-long", offset);
    }

    /** Writes a long (8 bytes). */
    public final void putLong(long offset, long value) {
        storeLong("put-long", offset, value);
    }

    /** Reads a long in the given byte order. */
    public final long getLong(long offset, ByteOrder order) {
        boolean swap = swaps(order, "get-long");
        long bits = loadLong("get-long", offset);
        return swap ? Long.reverseBytes(bits) : bits;
    }

    /** Writes a long in the given byte order. */
    public final void putLong(long offset, long value, ByteOrder order) {
        storeLong("put-long", offset, swaps(order, "put-long") ? Long.reverseBytes(value) : value);
    }

    /** Reads a float (4 bytes). */
    public final float getFloat(long offset) {
        return Float.intBitsToFloat(loadInt("get-float", offset));
    }

    /** Writes a float (4 bytes). */
    public final void putFloat(long offset, float value) {
        storeInt("put-float", offset, Float.floatToRawIntBits(value));
    }

    /** Reads a float in the given byte order. */
    public final float getFloat(long offset, ByteOrder order) {
        boolean swap = swaps(order, "get-float");
        int bits = loadInt("get-float", offset);
        return Float.intBitsToFloat(swap ? Integer.reverseBytes(bits) : bits);
    }

    /** Writes a float in the given byte order. */
    public final void putFloat(long offset, float value, ByteOrder order) {
        int bits = Float.floatToRawIntBits(value);
        storeInt("put-float", offset, swaps(order, "put-float") ? Integer.reverseBytes(bits) : bits);
    }

    /** Reads a double (8 bytes). */
    public final double getDouble(long offset) {
        return Double.longBitsToDouble(loadLong("get-double", offset));
    }

    /** Writes a double (8 bytes). */
    public final void putDouble(long offset, double value) {
        storeLong("put-double", offset, Double.doubleToRawLongBits(value));
    }

    /** Reads a double in the given byte order. */
    public final double getDouble(long offset, ByteOrder order) {
        boolean swap = swaps(order, "get-double");
        long bits = loadLong("get-double", offset);
        return Double.longBitsToDouble(swap ? Long.reverseBytes(bits) : bits);
    }

    /** Writes a double in the given byte order. */
    public final void putDouble(long offset, double value, ByteOrder order) {
        long bits = Double.doubleToRawLongBits(value);
        storeLong("put-double", offset, swaps(order, "put-double") ? Long.reverseBytes(bits) : bits);
    }

    // ---- ordered access: native byte order, naturally aligned ----

    /** Reads a byte with volatile semantics. */
    public final byte getByteVolatile(long offset) {
        return loadByteVolatile("get-byte-volatile", offset);
    }

    /** Writes a byte with volatile semantics. */
    public final void putByteVolatile(long offset, byte value) {
        storeByteVolatile("put-byte-volatile", offset, value);
    }

    /** Reads a byte; accesses after it are not moved before it. */
    public final byte getByteAcquire(long offset) {
        return loadByteAcquire("get-byte-acquire", offset);
    }

    /** Writes a byte; accesses before it are not moved after it. */
    public final void putByteRelease(long offset, byte value) {
        storeByteRelease("put-byte-release", offset, value);
    }

    /** Reads a short with volatile semantics. */
    public final short getShortVolatile(long offset) {
        return loadShortVolatile("get-short-volatile", offset);
    }

    /** Writes a short with volatile semantics. */
    public final void putShortVolatile(long offset, short value) {
        storeShortVolatile("put-short-volatile", offset, value);
    }

    /** Reads a short; accesses after it are not moved before it. */
    public final short getShortAcquire(long offset) {
        return loadShortAcquire("get-short-acquire", offset);
    }

    /** Writes a short; accesses before it are not moved after it. */
    public final void putShortRelease(long offset, short value) {
        storeShortRelease("put-short-release", offset, value);
    }

    /** Reads a char with volatile semantics. */
    public final char getCharVolatile(long offset) {
        return (char) loadShortVolatile("get-char-volatile", offset);
    }

    /** Writes a char with volatile semantics. */
    public final void putCharVolatile(long offset, char value) {
        storeShortVolatile("put-char-volatile", offset, (short) value);
    }

    /** Reads a char; accesses after it are not moved before it. */
    public final char getCharAcquire(long offset) {
        return (char) loadShortAcquire("get-char-acquire", offset);
    }

    /** Writes a char; accesses before it are not moved after it. */
    public final void putCharRelease(long offset, char value) {
        storeShortRelease("put-char-release", offset, (short) value);
    }

    /** Reads an int with volatile semantics. */
    public final int getIntVolatile(long offset) {
        return loadIntVolatile("get-int-volatile", offset);
    }

    /** Writes an int with volatile semantics. */
    public final void putIntVolatile(long offset, int value) {
        storeIntVolatile("put-int-volatile", offset, value);
    }

    /** Reads an int; accesses after it are not moved before it. */
    public final int getIntAcquire(long offset) {
        return loadIntAcquire("get-int-acquire", offset);
    }

    /** Writes an int; accesses before it are not moved after it. */
    public final void putIntRelease(long offset, int value) {
        storeIntRelease("put-int-release", offset, value);
    }

    /** Reads a long with volatile semantics. */
    public final long getLongVolatile(long offset) {
        return loadLongVolatile("get-long-volatile", offset);
    }

    /** Writes a long with volatile semantics. */
    public final void putLongVolatile(long offset, long value) {
        storeLongVolatile("put-long-volatile", offset, value);
    }

    /** Reads a long; accesses after it are not moved before it. */
    public final long getLongAcquire(long offset) {
        return loadLongAcquire("get-long-acquire", offset);
    }

    /** Writes a long; accesses before it are not moved after it. */
    public final void putLongRelease(long offset, long value) {
        storeLongRelease("put-long-release", offset, value);
    }

    /** Reads a float with volatile semantics. */
    public final float getFloatVolatile(long offset) {
        return Float.intBitsToFloat(loadIntVolatile("get-float-volatile", offset));
    }

    /** Writes a float with volatile semantics. */
    public final void putFloatVolatile(long offset, float value) {
        storeIntVolatile("put-float-volatile", offset, Float.floatToRawIntBits(value));
    }

    /** Reads a float; accesses after it are not moved before it. */
    public final float getFloatAcquire(long offset) {
        return Float.intBitsToFloat(loadIntAcquire("get-float-acquire", offset));
    }

    /** Writes a float; accesses before it are not moved after it. */
    public final void putFloatRelease(long offset, float value) {
        storeIntRelease("put-float-release", offset, Float.floatToRawIntBits(value));
    }

    /** Reads a double with volatile semantics. */
    public final double getDoubleVolatile(long offset) {
        return Double.longBitsToDouble(loadLongVolatile("get-double-volatile", offset));
    }

    /** Writes a double with volatile semantics. */
    public final void putDoubleVolatile(long offset, double value) {
        storeLongVolatile("put-double-volatile", offset, Double.doubleToRawLongBits(value));
    }

    /** Reads a double; accesses after it are not moved before it. */
    public final double getDoubleAcquire(long offset) {
        return Double.longBitsToDouble(loadLongAcquire("get-double-acquire", offset));
    }

    /** Writes a double; accesses before it are not moved after it. */
    public final void putDoubleRelease(long offset, double value) {
        storeLongRelease("put-double-release", offset, Double.doubleToRawLongBits(value));
    }

    // ---- atomic access: volatile semantics unless the name says less, naturally aligned, needs the right to read and to write ----

    /** Sets the int to {@code value} if it is {@code expected}, and says whether it did. */
    public final boolean compareAndSetInt(long offset, int expected, int value) {
        long address = updatable("compare-and-set-int", offset, 4);
        boolean done = ENGINE.compareAndSetInt(address, expected, value);
        Reference.reachabilityFence(this);
        return done;
    }

    /** Adds {@code delta} to the int, wrapping around, and returns what it was before. */
    public final int getAndAddInt(long offset, int delta) {
        long address = updatable("get-and-add-int", offset, 4);
        int before = ENGINE.getAndAddInt(address, delta);
        Reference.reachabilityFence(this);
        return before;
    }

    /** Sets the long to {@code value} if it is {@code expected}, and says whether it did. */
    public final boolean compareAndSetLong(long offset, long expected, long value) {
        long address = updatable("compare-and-set-long", offset, 8);
        boolean done = ENGINE.compareAndSetLong(address, expected, value);
        Reference.reachabilityFence(this);
        return done;
    }

    /** Adds {@code delta} to the long, wrapping around, and returns what it was before. */
    public final long getAndAddLong(long offset, long delta) {
        long address = updatable("get-and-add-long", offset, 8);
        long before = ENGINE.getAndAddLong(address, delta);
        Reference.reachabilityFence(this);
        return before;
    }

    /** As {@link #compareAndSetInt}, but with less order: accesses after it are not moved before it. */
    public final boolean compareAndSetIntAcquire(long offset, int expected, int value) {
        long address = updatable("compare-and-set-int-acquire", offset, 4);
        boolean done = ENGINE.compareAndSetIntAcquire(address, expected, value);
        Reference.reachabilityFence(this);
        return done;
    }

    /** As {@link #getAndAddInt}, but with less order: accesses after it are not moved before it. */
    public final int getAndAddIntAcquire(long offset, int delta) {
        long address = updatable("get-and-add-int-acquire", offset, 4);
        int before = ENGINE.getAndAddIntAcquire(address, delta);
        Reference.reachabilityFence(this);
        return before;
    }

    /** As {@link #compareAndSetInt}, but with less order: accesses before it are not moved after it. */
    public final boolean compareAndSetIntRelease(long offset, int expected, int value) {
        long address = updatable("compare-and-set-int-release", offset, 4);
        boolean done = ENGINE.compareAndSetIntRelease(address, expected, value);
        Reference.reachabilityFence(this);
        return done;
    }

    /** As {@link #getAndAddInt}, but with less order: accesses before it are not moved after it. */
    public final int getAndAddIntRelease(long offset, int delta) {
        long address = updatable("get-and-add-int-release", offset, 4);
        int before = ENGINE.getAndAddIntRelease(address, delta);
        Reference.reachabilityFence(this);
        return before;
    }

    /** As {@link #compareAndSetLong}, but with less order: accesses after it are not moved before it. */
    public final boolean compareAndSetLongAcquire(long offset, long expected, long value) {
        long address = updatable("compare-and-set-long-acquire", offset, 8);
        boolean done = ENGINE.compareAndSetLongAcquire(address, expected, value);
        Reference.reachabilityFence(this);
        return done;
    }

    /** As {@link #getAndAddLong}, but with less order: accesses after it are not moved before it. */
    public final long getAndAddLongAcquire(long offset, long delta) {
        long address = updatable("get-and-add-long-acquire", offset, 8);
        long before = ENGINE.getAndAddLongAcquire(address, delta);
        Reference.reachabilityFence(this);
        return before;
    }

    /** As {@link #compareAndSetLong}, but with less order: accesses before it are not moved after it. */
    public final boolean compareAndSetLongRelease(long offset, long expected, long value) {
        long address = updatable("compare-and-set-long-release", offset, 8);
        boolean done = ENGINE.compareAndSetLongRelease(address, expected, value);
        Reference.reachabilityFence(this);
        return done;
    }

    /** As {@link #getAndAddLong}, but with less order: accesses before it are not moved after it. */
    public final long getAndAddLongRelease(long offset, long delta) {
        long address = updatable("get-and-add-long-release", offset, 8);
        long before = ENGINE.getAndAddLongRelease(address, delta);
        Reference.reachabilityFence(this);
        return before;
    }

    // ---- text ----

    /**
     * Reads text of at most {@code length} bytes: up to the first NUL, or all of them if there is none or with {@link #KEEP_NUL}. What
     * is behind the NUL does not matter.
     *
     * @param flags  {@link #KEEP_NUL}, {@link #REPLACE_MALFORMED}; other bits are ignored
     * @throws RsmException BAD_ARGS_ERRORS if there is no charset, or the bytes are not text of it: {@code offset} says where
     */
    public final String getText(long offset, long length, Charset charset, int flags) {
        String op = "get-text";
        if (charset == null) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "charset").hint("give a charset");
        }
        byte[] bytes = new byte[newArrayLength(op, offset, length, 0)];
        loadArray(op, offset, bytes, 0, bytes.length, 0);
        return Text.decode(op, bytes, offset, charset, flags);
    }

    /**
     * Writes a text, without a NUL behind it.
     *
     * @return how many bytes it has
     * @throws RsmException BAD_ARGS_ERRORS if there is no text or no charset, or the charset does not have one of the characters
     */
    public final int putText(long offset, String text, Charset charset) {
        byte[] bytes = Text.encode("put-text", text, charset);
        storeArray("put-text", offset, bytes, 0, bytes.length, 0);
        return bytes.length;
    }

    /**
     * Writes a text and fills up with NULs, so that {@code length} bytes are written. There is no NUL behind a text that needs all of
     * them.
     *
     * @return how many bytes the text has
     * @throws RsmException as {@link #putText(long, String, Charset)}; BAD_LENGTH if the text is longer, or the length is negative
     */
    public final int putText(long offset, long length, String text, Charset charset) {
        String op = "put-text";
        checkLength(op, length);
        byte[] bytes = Text.encode(op, text, charset);
        if (bytes.length > length) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("length", length).with("needed", bytes.length)
                .hint("the text does not fit");
        }
        writable(op, offset, length); // before it is allocated
        byte[] padded = Arrays.copyOf(bytes, arrayLength(op, length, 0));
        storeArray(op, offset, padded, 0, padded.length, 0);
        return bytes.length;
    }

    // ---- arrays: offsets in bytes, array positions and counts in elements, any alignment, no order between elements ----

    /** Reads {@code count} bytes into a new array. */
    public final byte[] getBytes(long offset, long count) {
        byte[] values = new byte[newArrayLength("get-bytes", offset, count, 0)];
        loadArray("get-bytes", offset, values, 0, values.length, 0);
        return values;
    }

    /** Reads {@code count} bytes into {@code target} from {@code index} on. */
    public final void getBytes(long offset, byte[] target, int index, int count) {
        loadArray("get-bytes", offset, target, index, count, 0);
    }

    /** Writes {@code count} bytes of {@code source} from {@code index} on. */
    public final void putBytes(long offset, byte[] source, int index, int count) {
        storeArray("put-bytes", offset, source, index, count, 0);
    }

    /** Reads {@code count} shorts into a new array. */
    public final short[] getShorts(long offset, long count) {
        short[] values = new short[newArrayLength("get-shorts", offset, count, 1)];
        loadArray("get-shorts", offset, values, 0, values.length, 1);
        return values;
    }

    /** Reads {@code count} shorts into {@code target} from {@code index} on. */
    public final void getShorts(long offset, short[] target, int index, int count) {
        loadArray("get-shorts", offset, target, index, count, 1);
    }

    /** Reads {@code count} shorts of the given byte order into {@code target} from {@code index} on. */
    public final void getShorts(long offset, short[] target, int index, int count, ByteOrder order) {
        boolean swap = swaps(order, "get-shorts");
        loadArray("get-shorts", offset, target, index, count, 1);
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} shorts of {@code source} from {@code index} on. */
    public final void putShorts(long offset, short[] source, int index, int count) {
        storeArray("put-shorts", offset, source, index, count, 1);
    }

    /** Writes {@code count} shorts of {@code source} from {@code index} on, in the given byte order. */
    public final void putShorts(long offset, short[] source, int index, int count, ByteOrder order) {
        if (swaps(order, "put-shorts")) {
            storeSwapped("put-shorts", offset, source, index, count, 1);
        } else {
            storeArray("put-shorts", offset, source, index, count, 1);
        }
    }

    /** Reads {@code count} chars into a new array. */
    public final char[] getChars(long offset, long count) {
        char[] values = new char[newArrayLength("get-chars", offset, count, 1)];
        loadArray("get-chars", offset, values, 0, values.length, 1);
        return values;
    }

    /** Reads {@code count} chars into {@code target} from {@code index} on. */
    public final void getChars(long offset, char[] target, int index, int count) {
        loadArray("get-chars", offset, target, index, count, 1);
    }

    /** Reads {@code count} chars of the given byte order into {@code target} from {@code index} on. */
    public final void getChars(long offset, char[] target, int index, int count, ByteOrder order) {
        boolean swap = swaps(order, "get-chars");
        loadArray("get-chars", offset, target, index, count, 1);
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} chars of {@code source} from {@code index} on. */
    public final void putChars(long offset, char[] source, int index, int count) {
        storeArray("put-chars", offset, source, index, count, 1);
    }

    /** Writes {@code count} chars of {@code source} from {@code index} on, in the given byte order. */
    public final void putChars(long offset, char[] source, int index, int count, ByteOrder order) {
        if (swaps(order, "put-chars")) {
            storeSwapped("put-chars", offset, source, index, count, 1);
        } else {
            storeArray("put-chars", offset, source, index, count, 1);
        }
    }

    /** Reads {@code count} ints into a new array. */
    public final int[] getInts(long offset, long count) {
        int[] values = new int[newArrayLength("get-ints", offset, count, 2)];
        loadArray("get-ints", offset, values, 0, values.length, 2);
        return values;
    }

    /** Reads {@code count} ints into {@code target} from {@code index} on. */
    public final void getInts(long offset, int[] target, int index, int count) {
        loadArray("get-ints", offset, target, index, count, 2);
    }

    /** Reads {@code count} ints of the given byte order into {@code target} from {@code index} on. */
    public final void getInts(long offset, int[] target, int index, int count, ByteOrder order) {
        boolean swap = swaps(order, "get-ints");
        loadArray("get-ints", offset, target, index, count, 2);
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} ints of {@code source} from {@code index} on. */
    public final void putInts(long offset, int[] source, int index, int count) {
        storeArray("put-ints", offset, source, index, count, 2);
    }

    /** Writes {@code count} ints of {@code source} from {@code index} on, in the given byte order. */
    public final void putInts(long offset, int[] source, int index, int count, ByteOrder order) {
        if (swaps(order, "put-ints")) {
            storeSwapped("put-ints", offset, source, index, count, 2);
        } else {
            storeArray("put-ints", offset, source, index, count, 2);
        }
    }

    /** Reads {@code count} longs into a new array. */
    public final long[] getLongs(long offset, long count) {
        long[] values = new long[newArrayLength("get-longs", offset, count, 3)];
        loadArray("get-longs", offset, values, 0, values.length, 3);
        return values;
    }

    /** Reads {@code count} longs into {@code target} from {@code index} on. */
    public final void getLongs(long offset, long[] target, int index, int count) {
        loadArray("get-longs", offset, target, index, count, 3);
    }

    /** Reads {@code count} longs of the given byte order into {@code target} from {@code index} on. */
    public final void getLongs(long offset, long[] target, int index, int count, ByteOrder order) {
        boolean swap = swaps(order, "get-longs");
        loadArray("get-longs", offset, target, index, count, 3);
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} longs of {@code source} from {@code index} on. */
    public final void putLongs(long offset, long[] source, int index, int count) {
        storeArray("put-longs", offset, source, index, count, 3);
    }

    /** Writes {@code count} longs of {@code source} from {@code index} on, in the given byte order. */
    public final void putLongs(long offset, long[] source, int index, int count, ByteOrder order) {
        if (swaps(order, "put-longs")) {
            storeSwapped("put-longs", offset, source, index, count, 3);
        } else {
            storeArray("put-longs", offset, source, index, count, 3);
        }
    }

    /** Reads {@code count} floats into a new array. */
    public final float[] getFloats(long offset, long count) {
        float[] values = new float[newArrayLength("get-floats", offset, count, 2)];
        loadArray("get-floats", offset, values, 0, values.length, 2);
        return values;
    }

    /** Reads {@code count} floats into {@code target} from {@code index} on. */
    public final void getFloats(long offset, float[] target, int index, int count) {
        loadArray("get-floats", offset, target, index, count, 2);
    }

    /** Reads {@code count} floats of the given byte order into {@code target} from {@code index} on. */
    public final void getFloats(long offset, float[] target, int index, int count, ByteOrder order) {
        boolean swap = swaps(order, "get-floats");
        loadArray("get-floats", offset, target, index, count, 2);
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} floats of {@code source} from {@code index} on. */
    public final void putFloats(long offset, float[] source, int index, int count) {
        storeArray("put-floats", offset, source, index, count, 2);
    }

    /** Writes {@code count} floats of {@code source} from {@code index} on, in the given byte order. */
    public final void putFloats(long offset, float[] source, int index, int count, ByteOrder order) {
        if (swaps(order, "put-floats")) {
            storeSwapped("put-floats", offset, source, index, count, 2);
        } else {
            storeArray("put-floats", offset, source, index, count, 2);
        }
    }

    /** Reads {@code count} doubles into a new array. */
    public final double[] getDoubles(long offset, long count) {
        double[] values = new double[newArrayLength("get-doubles", offset, count, 3)];
        loadArray("get-doubles", offset, values, 0, values.length, 3);
        return values;
    }

    /** Reads {@code count} doubles into {@code target} from {@code index} on. */
    public final void getDoubles(long offset, double[] target, int index, int count) {
        loadArray("get-doubles", offset, target, index, count, 3);
    }

    /** Reads {@code count} doubles of the given byte order into {@code target} from {@code index} on. */
    public final void getDoubles(long offset, double[] target, int index, int count, ByteOrder order) {
        boolean swap = swaps(order, "get-doubles");
        loadArray("get-doubles", offset, target, index, count, 3);
        if (swap) {
            ByteSwap.swap(target, index, count);
        }
    }

    /** Writes {@code count} doubles of {@code source} from {@code index} on. */
    public final void putDoubles(long offset, double[] source, int index, int count) {
        storeArray("put-doubles", offset, source, index, count, 3);
    }

    /** Writes {@code count} doubles of {@code source} from {@code index} on, in the given byte order. */
    public final void putDoubles(long offset, double[] source, int index, int count, ByteOrder order) {
        if (swaps(order, "put-doubles")) {
            storeSwapped("put-doubles", offset, source, index, count, 3);
        } else {
            storeArray("put-doubles", offset, source, index, count, 3);
        }
    }

    // ---- single values by width; op names the public method ----

    private byte loadByte(String op, long offset) {
        long address = readable(op, offset, 1);
        byte value = ENGINE.getByte(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeByte(String op, long offset, byte value) {
        long address = writable(op, offset, 1);
        ENGINE.putByte(address, value);
        Reference.reachabilityFence(this);
    }

    private byte loadByteVolatile(String op, long offset) {
        long address = readableAligned(op, offset, 1);
        byte value = ENGINE.getByteVolatile(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeByteVolatile(String op, long offset, byte value) {
        long address = writableAligned(op, offset, 1);
        ENGINE.putByteVolatile(address, value);
        Reference.reachabilityFence(this);
    }

    private byte loadByteAcquire(String op, long offset) {
        long address = readableAligned(op, offset, 1);
        byte value = ENGINE.getByteAcquire(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeByteRelease(String op, long offset, byte value) {
        long address = writableAligned(op, offset, 1);
        ENGINE.putByteRelease(address, value);
        Reference.reachabilityFence(this);
    }

    private short loadShort(String op, long offset) {
        long address = readable(op, offset, 2);
        short value = ENGINE.getShort(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeShort(String op, long offset, short value) {
        long address = writable(op, offset, 2);
        ENGINE.putShort(address, value);
        Reference.reachabilityFence(this);
    }

    private short loadShortVolatile(String op, long offset) {
        long address = readableAligned(op, offset, 2);
        short value = ENGINE.getShortVolatile(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeShortVolatile(String op, long offset, short value) {
        long address = writableAligned(op, offset, 2);
        ENGINE.putShortVolatile(address, value);
        Reference.reachabilityFence(this);
    }

    private short loadShortAcquire(String op, long offset) {
        long address = readableAligned(op, offset, 2);
        short value = ENGINE.getShortAcquire(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeShortRelease(String op, long offset, short value) {
        long address = writableAligned(op, offset, 2);
        ENGINE.putShortRelease(address, value);
        Reference.reachabilityFence(this);
    }

    private int loadInt(String op, long offset) {
        long address = readable(op, offset, 4);
        int value = ENGINE.getInt(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeInt(String op, long offset, int value) {
        long address = writable(op, offset, 4);
        ENGINE.putInt(address, value);
        Reference.reachabilityFence(this);
    }

    private int loadIntVolatile(String op, long offset) {
        long address = readableAligned(op, offset, 4);
        int value = ENGINE.getIntVolatile(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeIntVolatile(String op, long offset, int value) {
        long address = writableAligned(op, offset, 4);
        ENGINE.putIntVolatile(address, value);
        Reference.reachabilityFence(this);
    }

    private int loadIntAcquire(String op, long offset) {
        long address = readableAligned(op, offset, 4);
        int value = ENGINE.getIntAcquire(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeIntRelease(String op, long offset, int value) {
        long address = writableAligned(op, offset, 4);
        ENGINE.putIntRelease(address, value);
        Reference.reachabilityFence(this);
    }

    private long loadLong(String op, long offset) {
        long address = readable(op, offset, 8);
        long value = ENGINE.getLong(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeLong(String op, long offset, long value) {
        long address = writable(op, offset, 8);
        ENGINE.putLong(address, value);
        Reference.reachabilityFence(this);
    }

    private long loadLongVolatile(String op, long offset) {
        long address = readableAligned(op, offset, 8);
        long value = ENGINE.getLongVolatile(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeLongVolatile(String op, long offset, long value) {
        long address = writableAligned(op, offset, 8);
        ENGINE.putLongVolatile(address, value);
        Reference.reachabilityFence(this);
    }

    private long loadLongAcquire(String op, long offset) {
        long address = readableAligned(op, offset, 8);
        long value = ENGINE.getLongAcquire(address);
        Reference.reachabilityFence(this);
        return value;
    }

    private void storeLongRelease(String op, long offset, long value) {
        long address = writableAligned(op, offset, 8);
        ENGINE.putLongRelease(address, value);
        Reference.reachabilityFence(this);
    }
}
