package org.rsmapi.clj;

import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import org.rsmapi.ArrayType;
import org.rsmapi.SegmentMemory;

/**
 * Access to many values at once for Clojure: arrays, buffers, fill and copy. Every argument may be anything. The first one, from left
 * to right, that cannot be used is reported as an {@link org.rsmapi.RsmException}: BAD_SEG_HNDL for the memory, BAD_OFFSET, BAD_LENGTH
 * for counts, lengths and array positions, BAD_ADDR for what should be an array or a buffer, BAD_ARGS_ERRORS for the byte order.
 */
public final class Bulk {
    private Bulk() {
    }

    /** Reads {@code count} elements into a new array. */
    public static Object get(ArrayType type, Object memory, Object offset, Object count, Object order) {
        String op = type.getOp();
        SegmentMemory from = Coerce.memory(memory, op);
        long at = Coerce.offset(offset, op);
        long length = Coerce.length(count, "count", op);
        return from.getArray(at, type, length, Coerce.order(order, op));
    }

    /** Fills the array {@code target}, and returns it. */
    public static Object getInto(ArrayType type, Object memory, Object offset, Object target, Object order) {
        String op = type.getOp();
        SegmentMemory from = Coerce.memory(memory, op);
        long at = Coerce.offset(offset, op);
        Object array = Coerce.array(type, target, op);
        from.getArray(at, type, array, 0, Array.getLength(array), Coerce.order(order, op));
        return array;
    }

    /** Fills a part of the array {@code target}, and returns the array. */
    public static Object getInto(ArrayType type, Object memory, Object offset, Object target, Object index, Object count, Object order) {
        String op = type.getOp();
        SegmentMemory from = Coerce.memory(memory, op);
        long at = Coerce.offset(offset, op);
        Object array = Coerce.array(type, target, op);
        int first = Coerce.arrayIndex(index, "index", op);
        int length = Coerce.arrayIndex(count, "count", op);
        from.getArray(at, type, array, first, length, Coerce.order(order, op));
        return array;
    }

    /** Writes the array {@code source}. */
    public static void put(ArrayType type, Object memory, Object offset, Object source, Object order) {
        String op = type.putOp();
        SegmentMemory to = Coerce.memory(memory, op);
        long at = Coerce.offset(offset, op);
        Object array = Coerce.array(type, source, op);
        to.putArray(at, type, array, 0, Array.getLength(array), Coerce.order(order, op));
    }

    /** Writes a piece of the array {@code source}. */
    public static void put(ArrayType type, Object memory, Object offset, Object source, Object index, Object count, Object order) {
        String op = type.putOp();
        SegmentMemory to = Coerce.memory(memory, op);
        long at = Coerce.offset(offset, op);
        Object array = Coerce.array(type, source, op);
        int first = Coerce.arrayIndex(index, "index", op);
        int length = Coerce.arrayIndex(count, "count", op);
        to.putArray(at, type, array, first, length, Coerce.order(order, op));
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
        target.fill(at, bytes, Coerce.byteOf(Coerce.integer(value, "value", "fill"), "value", "fill"));
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
