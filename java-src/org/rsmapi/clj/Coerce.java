package org.rsmapi.clj;

import clojure.lang.BigInt;
import clojure.lang.Keyword;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.rsmapi.ArrayType;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.SegmentMemory;

/**
 * Turns what Clojure code passes into what the Java methods take, and everything else into an {@link RsmException}.
 *
 * <p>The overloads are there for the inline expansions of {@code rsmapi.core}: Clojure's compiler picks one by the
 * argument's static type, so that a primitive long passes unboxed and anything else is looked at when it runs. The primitive
 * overloads that only throw keep a call with such an argument from being reflective. {@code Long} has one of its own so
 * that a null behind a {@code ^Long} hint arrives here; a second boxed type would make a literal {@code nil} ambiguous.
 */
public final class Coerce {
    private static final Keyword LITTLE_ENDIAN = Keyword.intern("little-endian");
    private static final Keyword BIG_ENDIAN = Keyword.intern("big-endian");
    private static final Keyword NATIVE = Keyword.intern("native");
    private static final BigInteger LEAST = BigInteger.valueOf(Long.MIN_VALUE);
    private static final BigInteger MOST = BigInteger.valueOf(Long.MAX_VALUE);

    private Coerce() {
    }

    /** The memory itself; BAD_SEG_HNDL for anything else. */
    public static SegmentMemory memory(Object memory, String op) {
        return memory(memory, "memory", op);
    }

    /** The memory itself; BAD_SEG_HNDL for anything else. */
    static SegmentMemory memory(Object memory, String argument, String op) {
        if (memory instanceof SegmentMemory) {
            return (SegmentMemory) memory;
        }
        throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", argument).with(argument, memory)
            .hint("give a mapping, an export segment or local memory");
    }

    /** An offset in bytes as it is; whether it lies in the segment is found out later. */
    public static long offset(long offset, String op) {
        return offset;
    }

    /** An offset in bytes; BAD_OFFSET for null. */
    public static long offset(Long offset, String op) {
        return offset((Object) offset, op);
    }

    /** BAD_OFFSET: a floating-point number is not an offset. */
    public static long offset(double offset, String op) {
        return offset((Object) offset, op);
    }

    /** BAD_OFFSET: a character is not an offset. */
    public static long offset(char offset, String op) {
        return offset((Object) offset, op);
    }

    /** BAD_OFFSET: a truth value is not an offset. */
    public static long offset(boolean offset, String op) {
        return offset((Object) offset, op);
    }

    /** An offset in bytes; BAD_OFFSET for anything but an integer of at most 64 bits. */
    public static long offset(Object offset, String op) {
        Long exact = exactly(offset);
        if (exact == null) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("argument", "offset").with("offset", offset)
                .hint("an offset is an integer, in bytes");
        }
        return exact;
    }

    /** An integer argument as it is; whether it fits the type in memory is found out later. */
    public static long integer(long value, String argument, String op) {
        return value;
    }

    /** An integer argument; BAD_ARGS_ERRORS for null. */
    public static long integer(Long value, String argument, String op) {
        return integer((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a floating-point number is not an integer. */
    public static long integer(double value, String argument, String op) {
        return integer((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a character is not an integer. */
    public static long integer(char value, String argument, String op) {
        return integer((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a truth value is not an integer. */
    public static long integer(boolean value, String argument, String op) {
        return integer((Object) value, argument, op);
    }

    /** An integer argument; BAD_ARGS_ERRORS for anything but an integer of at most 64 bits. */
    public static long integer(Object value, String argument, String op) {
        Long exact = exactly(value);
        if (exact == null) {
            throw badArgument(value, argument, op, "give an integer of at most 64 bits");
        }
        return exact;
    }

    /** A number argument as it is. */
    public static double number(double value, String argument, String op) {
        return value;
    }

    /** A number argument, rounded to a double. */
    public static double number(long value, String argument, String op) {
        return value;
    }

    /** A number argument; BAD_ARGS_ERRORS for null. */
    public static double number(Double value, String argument, String op) {
        return number((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a character is not a number. */
    public static double number(char value, String argument, String op) {
        return number((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a truth value is not a number. */
    public static double number(boolean value, String argument, String op) {
        return number((Object) value, argument, op);
    }

    /** A number argument, rounded to a double; BAD_ARGS_ERRORS for anything but a number. */
    public static double number(Object value, String argument, String op) {
        if (value instanceof Number) {
            try {
                return ((Number) value).doubleValue();
            } catch (Exception e) { // a ratio with the denominator 0, or a number class of the caller's
                throw badArgument(value, argument, op, "give a number").causedBy(e);
            }
        }
        throw badArgument(value, argument, op, "give a number");
    }

    /** A character argument as it is. */
    public static char character(char value, String argument, String op) {
        return value;
    }

    /** A character argument by its number; BAD_ARGS_ERRORS outside of 0 to 65535. */
    public static char character(long value, String argument, String op) {
        return (char) inRange(value, 0, Character.MAX_VALUE, argument, op);
    }

    /** A character argument; BAD_ARGS_ERRORS for null. */
    public static char character(Character value, String argument, String op) {
        return character((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a floating-point number is not a character. */
    public static char character(double value, String argument, String op) {
        return character((Object) value, argument, op);
    }

    /** BAD_ARGS_ERRORS: a truth value is not a character. */
    public static char character(boolean value, String argument, String op) {
        return character((Object) value, argument, op);
    }

    /** A character argument; BAD_ARGS_ERRORS for anything but a character or an integer from 0 to 65535. */
    public static char character(Object value, String argument, String op) {
        if (value instanceof Character) {
            return (Character) value;
        }
        Long exact = exactly(value);
        if (exact == null) {
            throw badArgument(value, argument, op, "give a character, or its number");
        }
        return character(exact.longValue(), argument, op);
    }

    /** The byte with this value, read as signed or unsigned; BAD_ARGS_ERRORS outside of -128 to 255. */
    public static byte byteOf(long value, String argument, String op) {
        return (byte) inRange(value, Byte.MIN_VALUE, 0xFF, argument, op);
    }

    /** The short with this value, read as signed or unsigned; BAD_ARGS_ERRORS outside of -32768 to 65535. */
    public static short shortOf(long value, String argument, String op) {
        return (short) inRange(value, Short.MIN_VALUE, 0xFFFF, argument, op);
    }

    /** The int with this value, read as signed or unsigned; BAD_ARGS_ERRORS outside of -2^31 to 2^32-1. */
    public static int intOf(long value, String argument, String op) {
        return (int) inRange(value, Integer.MIN_VALUE, 0xFFFF_FFFFL, argument, op);
    }

    /** The value if it lies between the two, inclusive; BAD_ARGS_ERRORS otherwise. */
    static long inRange(long value, long least, long most, String argument, String op) {
        if (value < least || value > most) {
            throw badArgument(value, argument, op, "give an integer from " + least + " to " + most);
        }
        return value;
    }

    /** The value if it lies between the two, inclusive; BAD_ARGS_ERRORS otherwise. */
    public static long within(long value, long least, long most, String argument, String op) {
        return inRange(value, least, most, argument, op);
    }

    /** The distance in bytes of the element with this index from the first one; BAD_OFFSET outside of 0 to {@code count} - 1. */
    public static long element(long index, long count, long stride, String op) {
        if (index < 0 || index >= count) {
            throw badIndex(index, count, op);
        }
        return index * stride;
    }

    /** BAD_OFFSET for null. */
    public static long element(Long index, long count, long stride, String op) {
        return element((Object) index, count, stride, op);
    }

    /** BAD_OFFSET: a floating-point number is not an index. */
    public static long element(double index, long count, long stride, String op) {
        throw badIndex(index, count, op);
    }

    /** BAD_OFFSET: a character is not an index. */
    public static long element(char index, long count, long stride, String op) {
        throw badIndex(index, count, op);
    }

    /** BAD_OFFSET: a truth value is not an index. */
    public static long element(boolean index, long count, long stride, String op) {
        throw badIndex(index, count, op);
    }

    /** The same for an index of any kind; BAD_OFFSET for anything but an integer of at most 64 bits. */
    public static long element(Object index, long count, long stride, String op) {
        Long exact = exactly(index);
        if (exact == null) {
            throw badIndex(index, count, op);
        }
        return element(exact.longValue(), count, stride, op);
    }

    private static RsmException badIndex(Object index, long count, String op) {
        return RsmException.of(RsmError.BAD_OFFSET, op).with("argument", "index").with("index", index).with("count", count)
            .hint("an index is an integer from 0 to the number of elements less one");
    }

    /** A length or count; BAD_LENGTH for anything but an integer of at most 64 bits. */
    public static long length(Object length, String argument, String op) {
        Long exact = exactly(length);
        if (exact == null) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("argument", argument).with(argument, length)
                .hint("give an integer");
        }
        return exact;
    }

    /** A position or count in an array; BAD_LENGTH for anything but an integer that an array can have. */
    static int arrayIndex(Object index, String argument, String op) {
        long exact = length(index, argument, op);
        if (exact < 0 || exact > Integer.MAX_VALUE) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("argument", argument).with(argument, exact)
                .hint("index and count must lie inside the array");
        }
        return (int) exact;
    }

    /** A byte order; BAD_ARGS_ERRORS for anything but the three keywords or a {@link ByteOrder}. */
    public static ByteOrder order(Object order, String op) {
        if (order == LITTLE_ENDIAN) {
            return ByteOrder.LITTLE_ENDIAN;
        } else if (order == BIG_ENDIAN) {
            return ByteOrder.BIG_ENDIAN;
        } else if (order == NATIVE) {
            return ByteOrder.nativeOrder();
        } else if (order instanceof ByteOrder) {
            return (ByteOrder) order;
        }
        throw badArgument(order, "order", op, "give :little-endian, :big-endian, :native or a java.nio.ByteOrder");
    }

    /** A byte buffer; BAD_ADDR for anything else. */
    static ByteBuffer buffer(Object buffer, String op) {
        if (buffer instanceof ByteBuffer) {
            return (ByteBuffer) buffer;
        }
        throw notUsable("buffer", buffer, op, "give a java.nio.ByteBuffer");
    }

    /** An array of the given type; BAD_ADDR for anything else. */
    static Object array(ArrayType type, Object array, String op) {
        if (type.is(array)) {
            return array;
        }
        throw notUsable("array", array, op, "give a " + type.element() + " array");
    }

    static RsmException notUsable(String argument, Object value, String op, String hint) {
        return RsmException.of(RsmError.BAD_ADDR, op).with("argument", argument).with(argument, value).hint(hint);
    }

    private static RsmException badArgument(Object value, String argument, String op, String hint) {
        return RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", argument).with(argument, value).hint(hint);
    }

    /** The integer, or null if it is not one of at most 64 bits. A double never is: 1.0 as an offset is a mistake upstream. */
    static Long exactly(Object value) {
        if (value instanceof Long) {
            return (Long) value;
        } else if (value instanceof Integer || value instanceof Short || value instanceof Byte) {
            return ((Number) value).longValue();
        } else if (value instanceof BigInt) {
            return exactly(((BigInt) value).toBigInteger());
        } else if (value != null && value.getClass() == BigInteger.class) {
            BigInteger big = (BigInteger) value;
            return big.compareTo(LEAST) >= 0 && big.compareTo(MOST) <= 0 ? big.longValue() : null;
        }
        return null;
    }
}
