package org.rsmapi.clj;

import clojure.lang.BigInt;
import clojure.lang.ISeq;
import clojure.lang.RT;
import clojure.lang.Sequential;
import java.lang.reflect.Array;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import org.rsmapi.ArrayType;
import org.rsmapi.ElementWidth;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.SegmentMemory;

/**
 * Put and get for Clojure. Every argument may be anything. One that cannot be used is reported as an {@link RsmException}: BAD_SEG_HNDL
 * for the segment, BAD_OFFSET, BAD_ADDR for what should be data, BAD_LENGTH for positions and counts, BAD_ARGS_ERRORS for an element.
 *
 * <p>Without index and count (both null) the whole array, buffer or memory is meant. Of a memory, the index is in bytes.
 */
public final class Transfer {
    private Transfer() {
    }

    /**
     * Writes elements.
     *
     * @param source  an array, a memory, with BYTES a buffer; otherwise also one integer, or a sequential collection of integers
     */
    public static void put(ElementWidth width, Object segment, Object offset, Object source, Object index, Object count) {
        String op = width.putOp();
        ImportSegment to = segment(segment, op);
        long at = Coerce.offset(offset, op);
        if (source instanceof ByteBuffer && width == ElementWidth.BYTES && index == null && count == null) {
            to.put(at, (ByteBuffer) source);
            return;
        }
        Object data = local(width, elements(width, source, to, op), op);
        long first = first(data, index, op);
        to.put(width, at, data, first, count(width, data, first, count, op));
    }

    /** Reads elements into an array, a memory, or with BYTES a buffer, and returns that. */
    public static Object get(ElementWidth width, Object segment, Object offset, Object target, Object index, Object count) {
        String op = width.getOp();
        ImportSegment from = segment(segment, op);
        long at = Coerce.offset(offset, op);
        if (target instanceof ByteBuffer && width == ElementWidth.BYTES && index == null && count == null) {
            from.get(at, (ByteBuffer) target);
            return target;
        }
        Object data = local(width, target, op);
        long first = first(data, index, op);
        from.get(width, at, data, first, count(width, data, first, count, op));
        return target;
    }

    /** Reads so many elements into a new array, and returns that. */
    public static Object get(ElementWidth width, Object segment, Object offset, Object count) {
        String op = width.getOp();
        ImportSegment from = segment(segment, op);
        long at = Coerce.offset(offset, op);
        long wanted = count(count, op);
        boolean fits = wanted >= 0 && wanted <= Math.min(from.size() >> width.shift(), ArrayType.MAX_LENGTH);
        // the core reports one that does not fit, in its turn, without an array of that length
        Object array = Array.newInstance(width.type(), fits ? (int) wanted : 0);
        from.get(width, at, array, 0, wanted);
        return array;
    }

    private static ImportSegment segment(Object segment, String op) {
        if (segment instanceof ImportSegment) {
            return (ImportSegment) segment;
        }
        if (segment instanceof Mapping) {
            return ((Mapping) segment).segment();
        }
        throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "segment").with("segment", segment)
            .hint("give an import segment, from connect!");
    }

    // ---- elements as Clojure values ----

    private static boolean isInteger(Object x) {
        return x instanceof Number && !(x instanceof Double || x instanceof Float);
    }

    private static Object elements(ElementWidth width, Object source, ImportSegment to, String op) {
        if (width != ElementWidth.BYTES && isInteger(source)) {
            Object one = Array.newInstance(width.type(), 1);
            set(width, one, 0, source, op);
            return one;
        }
        if (width != ElementWidth.BYTES && source instanceof Sequential) {
            return elements(width, RT.seq(source), to.size() >> width.shift(), op);
        }
        return source;
    }

    /** The elements in an array; no more than the segment can hold, because the collection may be endless. */
    private static Object elements(ElementWidth width, ISeq items, long most, String op) {
        Object array = Array.newInstance(width.type(), 16);
        int length = 0;
        for (ISeq rest = items; rest != null; rest = rest.next()) {
            if (length == most || length == ArrayType.MAX_LENGTH) {
                throw RsmException.of(RsmError.BAD_OFFSET, op).with("most-elements", length)
                    .hint("there are more elements than the segment can hold");
            }
            if (length == Array.getLength(array)) {
                array = copy(width, array, (int) Math.min(2L * length, ArrayType.MAX_LENGTH));
            }
            set(width, array, length++, rest.first(), op);
        }
        return copy(width, array, length);
    }

    private static Object copy(ElementWidth width, Object array, int length) {
        Object copy = Array.newInstance(width.type(), length);
        System.arraycopy(array, 0, copy, 0, Math.min(length, Array.getLength(array)));
        return copy;
    }

    private static void set(ElementWidth width, Object array, int index, Object value, String op) {
        long element = Coerce.integer(value, "element", op);
        switch (width) {
            case BITS_16: ((short[]) array)[index] = Coerce.shortOf(element, "element", op); break;
            case BITS_32: ((int[]) array)[index] = Coerce.intOf(element, "element", op); break;
            case BITS_64: ((long[]) array)[index] = element; break;
            default: ((byte[]) array)[index] = Coerce.byteOf(element, "element", op); break;
        }
    }

    // ---- positions and counts ----

    /** The array or memory, or null, which the core reports in its turn; BAD_ADDR for anything else. */
    private static Object local(ElementWidth width, Object data, String op) {
        if (data == null || data instanceof SegmentMemory || width.isArray(data)) {
            return data;
        }
        throw Coerce.notUsable("array", data, op, "give a " + width.type() + " array");
    }

    /** The position; one that no array has becomes -1, which the core reports in its turn. */
    private static long first(Object data, Object index, String op) {
        long first = index == null ? 0 : Coerce.length(index, "index", op);
        return data instanceof SegmentMemory || first >= 0 && first <= Integer.MAX_VALUE ? first : -1;
    }

    private static long count(ElementWidth width, Object data, long first, Object count, String op) {
        if (count != null) {
            return count(count, op);
        }
        long all = data == null ? 0 : data instanceof SegmentMemory ? ((SegmentMemory) data).size() - first >> width.shift()
            : Array.getLength(data) - first;
        return Math.max(0, all);
    }

    /** A count; one of more than 64 bits becomes a negative one, which reaches past the end of the segment as well. */
    private static long count(Object count, String op) {
        boolean wide = count instanceof BigInt && ((BigInt) count).bipart != null
            || count instanceof BigInteger && ((BigInteger) count).bitLength() > 63;
        return wide ? -1 : Coerce.length(count, "count", op);
    }
}
