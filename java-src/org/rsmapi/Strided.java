package org.rsmapi;

import static org.rsmapi.mem.Engine.ENGINE;

import java.lang.ref.Reference;
import org.rsmapi.mem.Accesses;

/**
 * Numbers that lie at equal distances in memory, as one field of an array of structures does.
 *
 * <p>The loops count with an int and make each address of it: the compilers of JDK 17 and 25 handle that form well. The memory is checked
 * once for each piece of at most {@value #PIECE} numbers, and no method of another class but the engine's is called between the check
 * and the accesses.
 *
 * <p>Offsets and distances are in bytes. Values have the native byte order. Errors: BAD_SEG_HNDL (no memory), BAD_LENGTH (a negative
 * count, or one past the end of the array; a distance of less than 1), BAD_ADDR (no array), BAD_OFFSET (not all of the numbers lie inside
 * the memory), and those of {@link SegmentMemory}. If the memory ends during a call, the array may have been filled in part.
 */
public final class Strided {
    static {
        Accesses.areMadeIn(Strided.class);
    }

    /** Numbers that are read after one check. */
    private static final int PIECE = 8192;

    private Strided() {}

    /** Reads doubles. */
    public static void getDoubles(SegmentMemory memory, long offset, long stride, double[] target, int index, int count) {
        String op = "get-double";
        checkArray(op, memory, stride, target, index, count);
        checkAll(op, memory, offset, stride, Double.BYTES, count);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Double.BYTES, now);
            int to = index + done;
            for (int i = 0; i < now; i++) {
                target[to + i] = Double.longBitsToDouble(ENGINE.getLong(at + i * stride));
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
    }

    /** Reads floats, as doubles. */
    public static void getFloats(SegmentMemory memory, long offset, long stride, double[] target, int index, int count) {
        String op = "get-float";
        checkArray(op, memory, stride, target, index, count);
        checkAll(op, memory, offset, stride, Float.BYTES, count);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Float.BYTES, now);
            int to = index + done;
            for (int i = 0; i < now; i++) {
                target[to + i] = Float.intBitsToFloat(ENGINE.getInt(at + i * stride));
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
    }

    /** Reads longs. */
    public static void getLongs(SegmentMemory memory, long offset, long stride, long[] target, int index, int count) {
        String op = "get-long";
        checkArray(op, memory, stride, target, index, count);
        checkAll(op, memory, offset, stride, Long.BYTES, count);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Long.BYTES, now);
            int to = index + done;
            for (int i = 0; i < now; i++) {
                target[to + i] = ENGINE.getLong(at + i * stride);
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
    }

    /** Reads ints, as longs. */
    public static void getInts(SegmentMemory memory, long offset, long stride, long[] target, int index, int count) {
        String op = "get-int";
        checkArray(op, memory, stride, target, index, count);
        checkAll(op, memory, offset, stride, Integer.BYTES, count);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Integer.BYTES, now);
            int to = index + done;
            for (int i = 0; i < now; i++) {
                target[to + i] = ENGINE.getInt(at + i * stride);
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
    }

    /** Reads shorts, as longs. */
    public static void getShorts(SegmentMemory memory, long offset, long stride, long[] target, int index, int count) {
        String op = "get-short";
        checkArray(op, memory, stride, target, index, count);
        checkAll(op, memory, offset, stride, Short.BYTES, count);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Short.BYTES, now);
            int to = index + done;
            for (int i = 0; i < now; i++) {
                target[to + i] = ENGINE.getShort(at + i * stride);
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
    }

    /** Reads bytes, as longs. */
    public static void getBytes(SegmentMemory memory, long offset, long stride, long[] target, int index, int count) {
        String op = "get-byte";
        checkArray(op, memory, stride, target, index, count);
        checkAll(op, memory, offset, stride, Byte.BYTES, count);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Byte.BYTES, now);
            int to = index + done;
            for (int i = 0; i < now; i++) {
                target[to + i] = ENGINE.getByte(at + i * stride);
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
    }

    /** Adds doubles, one after the other, to {@code initial}. */
    public static double sumDoubles(SegmentMemory memory, long offset, long stride, int count, double initial) {
        String op = "get-double";
        check(op, memory, stride, count);
        checkAll(op, memory, offset, stride, Double.BYTES, count);
        double sum = initial;
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Double.BYTES, now);
            for (int i = 0; i < now; i++) {
                sum += Double.longBitsToDouble(ENGINE.getLong(at + i * stride));
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
        return sum;
    }

    /**
     * Adds longs, one after the other, to {@code initial}.
     *
     * @throws ArithmeticException if a sum does not fit a long
     */
    public static long sumLongs(SegmentMemory memory, long offset, long stride, int count, long initial) {
        String op = "get-long";
        check(op, memory, stride, count);
        checkAll(op, memory, offset, stride, Long.BYTES, count);
        long sum = initial;
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, PIECE);
            long at = piece(op, memory, offset + done * stride, stride, Long.BYTES, now);
            long overflow = 0;
            for (int i = 0; i < now; i++) {
                long value = ENGINE.getLong(at + i * stride);
                long next = sum + value;
                overflow |= (sum ^ next) & (value ^ next);
                sum = next;
            }
            if (overflow < 0) {
                throw new ArithmeticException("integer overflow");
            }
            done += now;
        }
        Reference.reachabilityFence(memory);
        return sum;
    }

    /**
     * Checks that the heap can have an array for so many numbers of 8 bytes.
     *
     * @throws RsmException INSUFFICIENT_MEM
     */
    public static void checkHeap(int count) {
        if (count > ArrayType.MAX_LENGTH) {
            throw RsmException.of(RsmError.INSUFFICIENT_MEM, "get-array").with("count", count)
                .hint("an array holds at most " + ArrayType.MAX_LENGTH + " elements");
        }
        SegmentMemory.checkHeap("get-array", (long) count * Long.BYTES);
    }

    private static void check(String op, SegmentMemory memory, long stride, int count) {
        if (memory == null) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "memory");
        }
        if (count < 0 || stride < 1) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("count", count).with("stride", stride)
                .hint("a count is 0 or more, a distance 1 byte or more");
        }
    }

    private static void checkArray(String op, SegmentMemory memory, long stride, Object target, int index, int count) {
        check(op, memory, stride, count);
        SegmentMemory.checkArray(op, target, index, count);
    }

    /** Checks the whole range first: nothing is read if not all can be. */
    private static void checkAll(String op, SegmentMemory memory, long offset, long stride, int width, int count) {
        if (count > PIECE) {
            memory.readable(op, offset, span(stride, width, count));
        }
    }

    /** The address of the first number of a piece. */
    private static long piece(String op, SegmentMemory memory, long offset, long stride, int width, int count) {
        return memory.readable(op, offset, span(stride, width, count));
    }

    /** The bytes from the start of the first number to the end of the last one, at most the largest long. */
    private static long span(long stride, int width, int count) {
        return stride > (Long.MAX_VALUE - width) / Math.max(count, 1) ? Long.MAX_VALUE : (count - 1) * stride + width;
    }
}
