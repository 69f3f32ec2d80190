package org.rsmapi.clj;

import clojure.lang.BigInt;
import clojure.lang.ISeq;
import clojure.lang.RT;
import clojure.lang.Sequential;
import java.lang.reflect.Array;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.SegmentMemory;

/**
 * Put and get for Clojure. Every argument may be anything; what cannot be used is an {@link RsmException}: BAD_SEG_HNDL for the
 * segment, BAD_OFFSET, BAD_ADDR for what should be data, BAD_LENGTH for positions and counts, BAD_ARGS_ERRORS for an element.
 *
 * <p>Without index and count (both null) the whole array, buffer or memory is meant. Of a memory, the index is in bytes.
 */
public final class Move {
    private static final int BYTES = 0;

    /** What every JVM can allocate. */
    private static final int LONGEST_ARRAY = Integer.MAX_VALUE - 8;

    private Move() {
    }

    static ImportSegment segment(Object segment, String op) {
        if (segment instanceof ImportSegment) {
            return (ImportSegment) segment;
        }
        if (segment instanceof Mapping) {
            return ((Mapping) segment).segment();
        }
        throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "segment").with("segment", segment)
            .hint("give an import segment, from connect!");
    }

    /** Writes bytes. */
    public static void put(Object segment, Object offset, Object source, Object index, Object count) {
        put(segment(segment, "put"), Coerce.offset(offset, "put"), BYTES, source, index, count, "put");
    }

    /** Reads bytes, and returns the target. */
    public static Object get(Object segment, Object offset, Object target, Object index, Object count) {
        get(segment(segment, "get"), Coerce.offset(offset, "get"), BYTES, target, index, count, "get");
        return target;
    }

    /** Writes elements of so many bits: an integer is one, a sequential collection of integers several. */
    public static void put(int bits, Object segment, Object offset, Object source, Object index, Object count) {
        String op = "put" + bits;
        ImportSegment to = segment(segment, op);
        long at = Coerce.offset(offset, op);
        put(to, at, bits, elements(bits, source, to, op), index, count, op);
    }

    /** Reads elements of so many bits, and returns what they are in: the target, or a new array if it is a count. */
    public static Object get(int bits, Object segment, Object offset, Object target, Object index, Object count) {
        String op = "get" + bits;
        ImportSegment from = segment(segment, op);
        long at = Coerce.offset(offset, op);
        if (!isInteger(target) || index != null || count != null) {
            get(from, at, bits, target, index, count, op);
            return target;
        }
        long wanted = count(target, op);
        boolean fits = wanted >= 0 && wanted <= Math.min(from.size() / (bits / 8), LONGEST_ARRAY);
        // one that does not fit is refused by the core, in its turn, without an array of that length
        Object array = Array.newInstance(type(bits), fits ? (int) wanted : 0);
        get(from, at, bits, array, null, fits ? null : target, op);
        return array;
    }

    private static boolean isInteger(Object x) {
        return x instanceof Number && !(x instanceof Double || x instanceof Float);
    }

    private static Object elements(int bits, Object source, ImportSegment to, String op) {
        if (isInteger(source)) {
            Object one = Array.newInstance(type(bits), 1);
            set(bits, one, 0, source, op);
            return one;
        }
        if (source instanceof Sequential) {
            return elements(bits, RT.seq(source), to.size() / size(bits), op);
        }
        return source;
    }

    /** The elements in an array; no more than the segment can hold, for the collection may be endless. */
    private static Object elements(int bits, ISeq items, long most, String op) {
        Object array = Array.newInstance(type(bits), 16);
        int length = 0;
        for (ISeq rest = items; rest != null; rest = rest.next()) {
            if (length == most || length == LONGEST_ARRAY) {
                throw RsmException.of(RsmError.BAD_OFFSET, op).with("most-elements", length)
                    .hint("there are more elements than the segment can hold");
            }
            if (length == Array.getLength(array)) {
                array = copy(array, (int) Math.min(2L * length, LONGEST_ARRAY));
            }
            set(bits, array, length++, rest.first(), op);
        }
        return copy(array, length);
    }

    private static Object copy(Object array, int length) {
        Object copy = Array.newInstance(array.getClass().getComponentType(), length);
        System.arraycopy(array, 0, copy, 0, Math.min(length, Array.getLength(array)));
        return copy;
    }

    private static Class<?> type(int bits) {
        return bits == 8 ? byte.class : bits == 16 ? short.class : bits == 32 ? int.class : long.class;
    }

    private static void set(int bits, Object array, int index, Object value, String op) {
        long element = Coerce.integer(value, "element", op);
        switch (bits) {
            case 8: ((byte[]) array)[index] = Access.toByte(element, "element", op); break;
            case 16: ((short[]) array)[index] = Access.toShort(element, "element", op); break;
            case 32: ((int[]) array)[index] = Access.toInt(element, "element", op); break;
            default: ((long[]) array)[index] = element; break;
        }
    }

    // bits 0: bytes, of put and get

    private static void put(ImportSegment to, long offset, int bits, Object source, Object index, Object count, String op) {
        if (source instanceof ByteBuffer && bits == BYTES && index == null && count == null) {
            to.put(offset, (ByteBuffer) source);
            return;
        }
        if (source instanceof SegmentMemory) {
            SegmentMemory memory = (SegmentMemory) source;
            long from = start(index, op);
            long n = elements(count, (memory.size() - from) / size(bits), op);
            switch (bits) {
                case 8: to.put8(offset, memory, from, n); break;
                case 16: to.put16(offset, memory, from, n); break;
                case 32: to.put32(offset, memory, from, n); break;
                case 64: to.put64(offset, memory, from, n); break;
                default: to.put(offset, memory, from, n); break;
            }
            return;
        }
        int first = (int) first(index, op);
        long n = elements(count, source != null && source.getClass().isArray() ? Array.getLength(source) - (long) first : 0, op);
        switch (bits) {
            case 8: to.put8(offset, array(byte[].class, source, op), first, n); break;
            case 16:
                if (source instanceof char[]) {
                    to.put16(offset, (char[]) source, first, n);
                } else {
                    to.put16(offset, array(short[].class, source, op), first, n);
                }
                break;
            case 32:
                if (source instanceof float[]) {
                    to.put32(offset, (float[]) source, first, n);
                } else {
                    to.put32(offset, array(int[].class, source, op), first, n);
                }
                break;
            case 64:
                if (source instanceof double[]) {
                    to.put64(offset, (double[]) source, first, n);
                } else {
                    to.put64(offset, array(long[].class, source, op), first, n);
                }
                break;
            default: to.put(offset, array(byte[].class, source, op), first, n); break;
        }
    }

    private static void get(ImportSegment from, long offset, int bits, Object target, Object index, Object count, String op) {
        if (target instanceof ByteBuffer && bits == BYTES && index == null && count == null) {
            from.get(offset, (ByteBuffer) target);
            return;
        }
        if (target instanceof SegmentMemory) {
            SegmentMemory memory = (SegmentMemory) target;
            long to = start(index, op);
            long n = elements(count, (memory.size() - to) / size(bits), op);
            switch (bits) {
                case 8: from.get8(offset, memory, to, n); break;
                case 16: from.get16(offset, memory, to, n); break;
                case 32: from.get32(offset, memory, to, n); break;
                case 64: from.get64(offset, memory, to, n); break;
                default: from.get(offset, memory, to, n); break;
            }
            return;
        }
        int first = (int) first(index, op);
        long n = elements(count, target != null && target.getClass().isArray() ? Array.getLength(target) - (long) first : 0, op);
        switch (bits) {
            case 8: from.get8(offset, array(byte[].class, target, op), first, n); break;
            case 16:
                if (target instanceof char[]) {
                    from.get16(offset, (char[]) target, first, n);
                } else {
                    from.get16(offset, array(short[].class, target, op), first, n);
                }
                break;
            case 32:
                if (target instanceof float[]) {
                    from.get32(offset, (float[]) target, first, n);
                } else {
                    from.get32(offset, array(int[].class, target, op), first, n);
                }
                break;
            case 64:
                if (target instanceof double[]) {
                    from.get64(offset, (double[]) target, first, n);
                } else {
                    from.get64(offset, array(long[].class, target, op), first, n);
                }
                break;
            default: from.get(offset, array(byte[].class, target, op), first, n); break;
        }
    }

    private static int size(int bits) {
        return Math.max(1, bits / 8);
    }

    private static long start(Object index, String op) {
        return index == null ? 0 : Coerce.length(index, "index", op);
    }

    /** The position in an array; what no array has becomes one that none has either, which the core refuses in its turn. */
    private static long first(Object index, String op) {
        long first = start(index, op);
        return first < 0 || first > Integer.MAX_VALUE ? -1 : first;
    }

    private static long elements(Object count, long all, String op) {
        return count == null ? Math.max(0, all) : count(count, op);
    }

    /** A count; one of more than 64 bits becomes a negative one, which reaches past the end of the segment as well. */
    private static long count(Object count, String op) {
        boolean wide = count instanceof BigInt && ((BigInt) count).bipart != null
            || count instanceof BigInteger && ((BigInteger) count).bitLength() > 63;
        return wide ? -1 : Coerce.length(count, "count", op);
    }

    /** The array, or null, which the core refuses in its turn; BAD_ADDR for anything else. */
    private static <T> T array(Class<T> type, Object array, String op) {
        return array == null ? null : Coerce.array(type, array, op);
    }
}
