package org.rsmapi.clj;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.rsmapi.SegmentMemory;
import org.rsmapi.mem.ByteSwap;

/**
 * Access to many values at once for Clojure: arrays, buffers, fill and copy. Every argument may be anything; what cannot be used
 * is an {@link org.rsmapi.RsmException}: BAD_SEG_HNDL for the memory, BAD_OFFSET, BAD_LENGTH for counts, lengths and array
 * positions, BAD_ADDR for what should be an array or a buffer, BAD_ARGS_ERRORS for the byte order.
 */
public final class Bulk {
    private Bulk() {
    }

    /** Fills the byte[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static byte[] getBytes(Object memory, Object offset, Object target) {
        SegmentMemory from = Coerce.memory(memory, "get-bytes");
        long at = Coerce.offset(offset, "get-bytes");
        if (target == null || target.getClass().isArray()) {
            byte[] array = Coerce.array(byte[].class, target, "get-bytes");
            from.getBytes(at, array, 0, array.length);
            return array;
        }
        return from.getBytes(at, Coerce.length(target, "count", "get-bytes"));
    }

    /** Fills a piece of the byte[] {@code target} and returns the array. */
    public static byte[] getBytes(Object memory, Object offset, Object target, Object index, Object count) {
        SegmentMemory from = Coerce.memory(memory, "get-bytes");
        long at = Coerce.offset(offset, "get-bytes");
        byte[] array = Coerce.array(byte[].class, target, "get-bytes");
        from.getBytes(at, array, Coerce.arrayIndex(index, "index", "get-bytes"), Coerce.arrayIndex(count, "count", "get-bytes"));
        return array;
    }

    /** Writes the byte[] {@code source}. */
    public static void putBytes(Object memory, Object offset, Object source) {
        SegmentMemory to = Coerce.memory(memory, "put-bytes");
        long at = Coerce.offset(offset, "put-bytes");
        byte[] array = Coerce.array(byte[].class, source, "put-bytes");
        to.putBytes(at, array, 0, array.length);
    }

    /** Writes a piece of the byte[] {@code source}. */
    public static void putBytes(Object memory, Object offset, Object source, Object index, Object count) {
        SegmentMemory to = Coerce.memory(memory, "put-bytes");
        long at = Coerce.offset(offset, "put-bytes");
        byte[] array = Coerce.array(byte[].class, source, "put-bytes");
        to.putBytes(at, array, Coerce.arrayIndex(index, "index", "put-bytes"), Coerce.arrayIndex(count, "count", "put-bytes"));
    }

    /** Fills the short[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static short[] getShorts(Object memory, Object offset, Object target, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-shorts");
        long at = Coerce.offset(offset, "get-shorts");
        ByteOrder byteOrder = Coerce.order(order, "get-shorts");
        if (target == null || target.getClass().isArray()) {
            short[] array = Coerce.array(short[].class, target, "get-shorts");
            from.getShorts(at, array, 0, array.length, byteOrder);
            return array;
        }
        short[] values = from.getShorts(at, Coerce.length(target, "count", "get-shorts"));
        if (byteOrder != ByteOrder.nativeOrder()) {
            ByteSwap.swap(values, 0, values.length);
        }
        return values;
    }

    /** Fills a piece of the short[] {@code target} and returns the array. */
    public static short[] getShorts(Object memory, Object offset, Object target, Object index, Object count, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-shorts");
        long at = Coerce.offset(offset, "get-shorts");
        ByteOrder byteOrder = Coerce.order(order, "get-shorts");
        short[] array = Coerce.array(short[].class, target, "get-shorts");
        from.getShorts(at, array, Coerce.arrayIndex(index, "index", "get-shorts"), Coerce.arrayIndex(count, "count", "get-shorts"), byteOrder);
        return array;
    }

    /** Writes the short[] {@code source}. */
    public static void putShorts(Object memory, Object offset, Object source, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-shorts");
        long at = Coerce.offset(offset, "put-shorts");
        ByteOrder byteOrder = Coerce.order(order, "put-shorts");
        short[] array = Coerce.array(short[].class, source, "put-shorts");
        to.putShorts(at, array, 0, array.length, byteOrder);
    }

    /** Writes a piece of the short[] {@code source}. */
    public static void putShorts(Object memory, Object offset, Object source, Object index, Object count, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-shorts");
        long at = Coerce.offset(offset, "put-shorts");
        ByteOrder byteOrder = Coerce.order(order, "put-shorts");
        short[] array = Coerce.array(short[].class, source, "put-shorts");
        to.putShorts(at, array, Coerce.arrayIndex(index, "index", "put-shorts"), Coerce.arrayIndex(count, "count", "put-shorts"), byteOrder);
    }

    /** Fills the char[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static char[] getChars(Object memory, Object offset, Object target, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-chars");
        long at = Coerce.offset(offset, "get-chars");
        ByteOrder byteOrder = Coerce.order(order, "get-chars");
        if (target == null || target.getClass().isArray()) {
            char[] array = Coerce.array(char[].class, target, "get-chars");
            from.getChars(at, array, 0, array.length, byteOrder);
            return array;
        }
        char[] values = from.getChars(at, Coerce.length(target, "count", "get-chars"));
        if (byteOrder != ByteOrder.nativeOrder()) {
            ByteSwap.swap(values, 0, values.length);
        }
        return values;
    }

    /** Fills a piece of the char[] {@code target} and returns the array. */
    public static char[] getChars(Object memory, Object offset, Object target, Object index, Object count, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-chars");
        long at = Coerce.offset(offset, "get-chars");
        ByteOrder byteOrder = Coerce.order(order, "get-chars");
        char[] array = Coerce.array(char[].class, target, "get-chars");
        from.getChars(at, array, Coerce.arrayIndex(index, "index", "get-chars"), Coerce.arrayIndex(count, "count", "get-chars"), byteOrder);
        return array;
    }

    /** Writes the char[] {@code source}. */
    public static void putChars(Object memory, Object offset, Object source, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-chars");
        long at = Coerce.offset(offset, "put-chars");
        ByteOrder byteOrder = Coerce.order(order, "put-chars");
        char[] array = Coerce.array(char[].class, source, "put-chars");
        to.putChars(at, array, 0, array.length, byteOrder);
    }

    /** Writes a piece of the char[] {@code source}. */
    public static void putChars(Object memory, Object offset, Object source, Object index, Object count, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-chars");
        long at = Coerce.offset(offset, "put-chars");
        ByteOrder byteOrder = Coerce.order(order, "put-chars");
        char[] array = Coerce.array(char[].class, source, "put-chars");
        to.putChars(at, array, Coerce.arrayIndex(index, "index", "put-chars"), Coerce.arrayIndex(count, "count", "put-chars"), byteOrder);
    }

    /** Fills the int[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static int[] getInts(Object memory, Object offset, Object target, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-ints");
        long at = Coerce.offset(offset, "get-ints");
        ByteOrder byteOrder = Coerce.order(order, "get-ints");
        if (target == null || target.getClass().isArray()) {
            int[] array = Coerce.array(int[].class, target, "get-ints");
            from.getInts(at, array, 0, array.length, byteOrder);
            return array;
        }
        int[] values = from.getInts(at, Coerce.length(target, "count", "get-ints"));
        if (byteOrder != ByteOrder.nativeOrder()) {
            ByteSwap.swap(values, 0, values.length);
        }
        return values;
    }

    /** Fills a piece of the int[] {@code target} and returns the array. */
    public static int[] getInts(Object memory, Object offset, Object target, Object index, Object count, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-ints");
        long at = Coerce.offset(offset, "get-ints");
        ByteOrder byteOrder = Coerce.order(order, "get-ints");
        int[] array = Coerce.array(int[].class, target, "get-ints");
        from.getInts(at, array, Coerce.arrayIndex(index, "index", "get-ints"), Coerce.arrayIndex(count, "count", "get-ints"), byteOrder);
        return array;
    }

    /** Writes the int[] {@code source}. */
    public static void putInts(Object memory, Object offset, Object source, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-ints");
        long at = Coerce.offset(offset, "put-ints");
        ByteOrder byteOrder = Coerce.order(order, "put-ints");
        int[] array = Coerce.array(int[].class, source, "put-ints");
        to.putInts(at, array, 0, array.length, byteOrder);
    }

    /** Writes a piece of the int[] {@code source}. */
    public static void putInts(Object memory, Object offset, Object source, Object index, Object count, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-ints");
        long at = Coerce.offset(offset, "put-ints");
        ByteOrder byteOrder = Coerce.order(order, "put-ints");
        int[] array = Coerce.array(int[].class, source, "put-ints");
        to.putInts(at, array, Coerce.arrayIndex(index, "index", "put-ints"), Coerce.arrayIndex(count, "count", "put-ints"), byteOrder);
    }

    /** Fills the long[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static long[] getLongs(Object memory, Object offset, Object target, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-longs");
        long at = Coerce.offset(offset, "get-longs");
        ByteOrder byteOrder = Coerce.order(order, "get-longs");
        if (target == null || target.getClass().isArray()) {
            long[] array = Coerce.array(long[].class, target, "get-longs");
            from.getLongs(at, array, 0, array.length, byteOrder);
            return array;
        }
        long[] values = from.getLongs(at, Coerce.length(target, "count", "get-longs"));
        if (byteOrder != ByteOrder.nativeOrder()) {
            ByteSwap.swap(values, 0, values.length);
        }
        return values;
    }

    /** Fills a piece of the long[] {@code target} and returns the array. */
    public static long[] getLongs(Object memory, Object offset, Object target, Object index, Object count, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-longs");
        long at = Coerce.offset(offset, "get-longs");
        ByteOrder byteOrder = Coerce.order(order, "get-longs");
        long[] array = Coerce.array(long[].class, target, "get-longs");
        from.getLongs(at, array, Coerce.arrayIndex(index, "index", "get-longs"), Coerce.arrayIndex(count, "count", "get-longs"), byteOrder);
        return array;
    }

    /** Writes the long[] {@code source}. */
    public static void putLongs(Object memory, Object offset, Object source, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-longs");
        long at = Coerce.offset(offset, "put-longs");
        ByteOrder byteOrder = Coerce.order(order, "put-longs");
        long[] array = Coerce.array(long[].class, source, "put-longs");
        to.putLongs(at, array, 0, array.length, byteOrder);
    }

    /** Writes a piece of the long[] {@code source}. */
    public static void putLongs(Object memory, Object offset, Object source, Object index, Object count, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-longs");
        long at = Coerce.offset(offset, "put-longs");
        ByteOrder byteOrder = Coerce.order(order, "put-longs");
        long[] array = Coerce.array(long[].class, source, "put-longs");
        to.putLongs(at, array, Coerce.arrayIndex(index, "index", "put-longs"), Coerce.arrayIndex(count, "count", "put-longs"), byteOrder);
    }

    /** Fills the float[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static float[] getFloats(Object memory, Object offset, Object target, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-floats");
        long at = Coerce.offset(offset, "get-floats");
        ByteOrder byteOrder = Coerce.order(order, "get-floats");
        if (target == null || target.getClass().isArray()) {
            float[] array = Coerce.array(float[].class, target, "get-floats");
            from.getFloats(at, array, 0, array.length, byteOrder);
            return array;
        }
        float[] values = from.getFloats(at, Coerce.length(target, "count", "get-floats"));
        if (byteOrder != ByteOrder.nativeOrder()) {
            ByteSwap.swap(values, 0, values.length);
        }
        return values;
    }

    /** Fills a piece of the float[] {@code target} and returns the array. */
    public static float[] getFloats(Object memory, Object offset, Object target, Object index, Object count, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-floats");
        long at = Coerce.offset(offset, "get-floats");
        ByteOrder byteOrder = Coerce.order(order, "get-floats");
        float[] array = Coerce.array(float[].class, target, "get-floats");
        from.getFloats(at, array, Coerce.arrayIndex(index, "index", "get-floats"), Coerce.arrayIndex(count, "count", "get-floats"), byteOrder);
        return array;
    }

    /** Writes the float[] {@code source}. */
    public static void putFloats(Object memory, Object offset, Object source, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-floats");
        long at = Coerce.offset(offset, "put-floats");
        ByteOrder byteOrder = Coerce.order(order, "put-floats");
        float[] array = Coerce.array(float[].class, source, "put-floats");
        to.putFloats(at, array, 0, array.length, byteOrder);
    }

    /** Writes a piece of the float[] {@code source}. */
    public static void putFloats(Object memory, Object offset, Object source, Object index, Object count, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-floats");
        long at = Coerce.offset(offset, "put-floats");
        ByteOrder byteOrder = Coerce.order(order, "put-floats");
        float[] array = Coerce.array(float[].class, source, "put-floats");
        to.putFloats(at, array, Coerce.arrayIndex(index, "index", "put-floats"), Coerce.arrayIndex(count, "count", "put-floats"), byteOrder);
    }

    /** Fills the double[] {@code target}, or a new one if it is a count instead, and returns it. */
    public static double[] getDoubles(Object memory, Object offset, Object target, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-doubles");
        long at = Coerce.offset(offset, "get-doubles");
        ByteOrder byteOrder = Coerce.order(order, "get-doubles");
        if (target == null || target.getClass().isArray()) {
            double[] array = Coerce.array(double[].class, target, "get-doubles");
            from.getDoubles(at, array, 0, array.length, byteOrder);
            return array;
        }
        double[] values = from.getDoubles(at, Coerce.length(target, "count", "get-doubles"));
        if (byteOrder != ByteOrder.nativeOrder()) {
            ByteSwap.swap(values, 0, values.length);
        }
        return values;
    }

    /** Fills a piece of the double[] {@code target} and returns the array. */
    public static double[] getDoubles(Object memory, Object offset, Object target, Object index, Object count, Object order) {
        SegmentMemory from = Coerce.memory(memory, "get-doubles");
        long at = Coerce.offset(offset, "get-doubles");
        ByteOrder byteOrder = Coerce.order(order, "get-doubles");
        double[] array = Coerce.array(double[].class, target, "get-doubles");
        from.getDoubles(at, array, Coerce.arrayIndex(index, "index", "get-doubles"), Coerce.arrayIndex(count, "count", "get-doubles"), byteOrder);
        return array;
    }

    /** Writes the double[] {@code source}. */
    public static void putDoubles(Object memory, Object offset, Object source, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-doubles");
        long at = Coerce.offset(offset, "put-doubles");
        ByteOrder byteOrder = Coerce.order(order, "put-doubles");
        double[] array = Coerce.array(double[].class, source, "put-doubles");
        to.putDoubles(at, array, 0, array.length, byteOrder);
    }

    /** Writes a piece of the double[] {@code source}. */
    public static void putDoubles(Object memory, Object offset, Object source, Object index, Object count, Object order) {
        SegmentMemory to = Coerce.memory(memory, "put-doubles");
        long at = Coerce.offset(offset, "put-doubles");
        ByteOrder byteOrder = Coerce.order(order, "put-doubles");
        double[] array = Coerce.array(double[].class, source, "put-doubles");
        to.putDoubles(at, array, Coerce.arrayIndex(index, "index", "put-doubles"), Coerce.arrayIndex(count, "count", "put-doubles"), byteOrder);
    }

    /** Fills the buffer from its position to its limit, and returns it. */
    public static ByteBuffer getBuffer(Object memory, Object offset, Object target) {
        SegmentMemory from = Coerce.memory(memory, "get-buffer");
        long at = Coerce.offset(offset, "get-buffer");
        ByteBuffer buffer = Coerce.buffer(target, "get-buffer");
        from.get(at, buffer);
        return buffer;
    }

    /** Writes the buffer from its position to its limit. */
    public static void putBuffer(Object memory, Object offset, Object source) {
        SegmentMemory to = Coerce.memory(memory, "put-buffer");
        long at = Coerce.offset(offset, "put-buffer");
        to.put(at, Coerce.buffer(source, "put-buffer"));
    }

    /** Sets {@code length} bytes. */
    public static void fill(Object memory, Object offset, Object length, Object value) {
        SegmentMemory target = Coerce.memory(memory, "fill");
        long at = Coerce.offset(offset, "fill");
        long bytes = Coerce.length(length, "length", "fill");
        target.fill(at, bytes, Access.toByte(Coerce.integer(value, "value", "fill"), "value", "fill"));
    }

    /** Copies {@code length} bytes from one memory to another or within one. */
    public static void copy(Object memory, Object offset, Object target, Object targetOffset, Object length) {
        SegmentMemory from = Coerce.memory(memory, "copy");
        long at = Coerce.offset(offset, "copy");
        SegmentMemory to = Coerce.memory(target, "target", "copy");
        long toOffset = Coerce.offset(targetOffset, "copy");
        from.copyTo(at, to, toOffset, Coerce.length(length, "length", "copy"));
    }
}
