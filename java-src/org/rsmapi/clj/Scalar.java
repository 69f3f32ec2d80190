package org.rsmapi.clj;

import clojure.lang.BigInt;
import clojure.lang.Keyword;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.SegmentMemory;
import org.rsmapi.Strided;

/**
 * A number of a layout: its type, width and byte order, and how it is read and written.
 *
 * <p>Integers are Clojure longs; one of {@code :u64} from 2^63 on is a BigInt. Floating-point numbers are doubles. The <em>bits</em> of a
 * number are what lies in memory, in a long: those above its width do not count.
 */
public final class Scalar {
    private static final BigInteger TWO_64 = BigInteger.ONE.shiftLeft(64);

    /** The types, in the order of their ordinals. */
    enum Type {
        I8(1), U8(1), I16(2), U16(2), I32(4), U32(4), I64(8), U64(8), F32(4), F64(8);

        private final int bytes;

        Type(int bytes) {
            this.bytes = bytes;
        }
    }

    private final Type type;
    private final Keyword name;
    private final boolean swap;

    private Scalar(Type type, Keyword name, boolean swap) {
        this.type = type;
        this.name = name;
        this.swap = swap;
    }

    /** The number of this type, such as {@code :u32}; null if there is no such type. */
    public static Scalar of(Object name, ByteOrder order) {
        if (name instanceof Keyword && ((Keyword) name).getNamespace() == null) {
            for (Type type : Type.values()) {
                if (type.name().toLowerCase(java.util.Locale.ROOT).equals(((Keyword) name).getName())) {
                    return new Scalar(type, (Keyword) name, type.bytes > 1 && order != ByteOrder.nativeOrder());
                }
            }
        }
        return null;
    }

    /** The type as a keyword. */
    public Keyword name() {
        return name;
    }

    /** The width in bytes. */
    public int bytes() {
        return type.bytes;
    }

    /** Whether it has another byte order than this machine. */
    public boolean isSwapped() {
        return swap;
    }

    /** Whether it is a floating-point number. */
    public boolean isFloating() {
        return type == Type.F32 || type == Type.F64;
    }

    // ---- values and bits ----

    private Object value(long bits) {
        switch (type) {
            case F32:
                return (double) Float.intBitsToFloat((int) bits);
            case F64:
                return Double.longBitsToDouble(bits);
            case U64:
                return bits >= 0 ? (Object) bits : BigInt.fromBigInteger(BigInteger.valueOf(bits).add(TWO_64));
            default:
                return integer(bits);
        }
    }

    /** An integer of this type as a long. */
    private long integer(long bits) {
        switch (type) {
            case I8:
                return (byte) bits;
            case U8:
                return bits & 0xFF;
            case I16:
                return (short) bits;
            case U16:
                return bits & 0xFFFF;
            case I32:
                return (int) bits;
            case U32:
                return bits & 0xFFFF_FFFFL;
            default:
                return bits;
        }
    }

    /** The bits of a value; BAD_ARGS_ERRORS if it is no number that this type can hold. */
    public long bits(Object value, Object field, String op) {
        switch (type) {
            case F32:
                return Float.floatToRawIntBits((float) number(value, field, op)) & 0xFFFF_FFFFL;
            case F64:
                return Double.doubleToRawLongBits(number(value, field, op));
            case U64:
                return unsigned(value, field, op);
            default:
                if (value instanceof Long) {
                    return bits((long) value, field, op);
                }
                Long exact = Coerce.exactly(value);
                if (exact == null) {
                    throw misfit(value, field, op);
                }
                return bits((long) exact, field, op);
        }
    }

    /** The bits of an integer; BAD_ARGS_ERRORS if this type cannot hold it. */
    long bits(long value, Object field, String op) {
        if (integer(value) != value) {
            throw misfit(value, field, op);
        }
        return value;
    }

    private long unsigned(Object value, Object field, String op) {
        Long exact = Coerce.exactly(value);
        if (exact != null && exact >= 0) {
            return exact;
        }
        BigInteger big = value instanceof BigInt ? ((BigInt) value).toBigInteger()
            : value != null && value.getClass() == BigInteger.class ? (BigInteger) value : null;
        if (big == null || big.signum() < 0 || big.bitLength() > 64) {
            throw misfit(value, field, op);
        }
        return big.longValue();
    }

    private double number(Object value, Object field, String op) {
        if (value instanceof Number) {
            try {
                return ((Number) value).doubleValue();
            } catch (Exception e) { // a ratio with the denominator 0, or a number class of the caller's
                throw misfit(value, field, op).causedBy(e);
            }
        }
        throw misfit(value, field, op);
    }

    private RsmException misfit(Object value, Object field, String op) {
        return RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "value").with("value", value).with("field", field)
            .with("type", name).hint("give " + range());
    }

    private String range() {
        switch (type) {
            case F32:
            case F64:
                return "a number";
            case I64:
                return "an integer of 64 bits, signed";
            case U64:
                return "an integer from 0 to 2^64-1";
            default:
                int width = 8 * type.bytes;
                boolean signed = type.name().charAt(0) == 'I';
                return "an integer from " + (signed ? -(1L << width - 1) : 0) + " to " + ((1L << (signed ? width - 1 : width)) - 1);
        }
    }

    /** The bytes in memory for these bits. */
    public byte[] encode(long bits) {
        byte[] bytes = new byte[type.bytes];
        boolean little = (ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN) != swap;
        for (int i = 0; i < bytes.length; i++) {
            bytes[little ? i : bytes.length - 1 - i] = (byte) (bits >> 8 * i);
        }
        return bytes;
    }

    // ---- plain access ----

    private long load(SegmentMemory memory, long offset) {
        switch (type.bytes) {
            case 1:
                return memory.getByte(offset);
            case 2:
                short two = memory.getShort(offset);
                return swap ? Short.reverseBytes(two) : two;
            case 4:
                int four = memory.getInt(offset);
                return swap ? Integer.reverseBytes(four) : four;
            default:
                long eight = memory.getLong(offset);
                return swap ? Long.reverseBytes(eight) : eight;
        }
    }

    /** The value at an offset. */
    public Object get(SegmentMemory memory, long offset) {
        if (isFloating() && !swap) { // for an error that names the type
            return type == Type.F64 ? memory.getDouble(offset) : (double) memory.getFloat(offset);
        }
        return value(load(memory, offset));
    }

    /** Writes bits at an offset. */
    public void put(SegmentMemory memory, long offset, long bits) {
        if (isFloating() && !swap) {
            if (type == Type.F64) {
                memory.putDouble(offset, Double.longBitsToDouble(bits));
            } else {
                memory.putFloat(offset, Float.intBitsToFloat((int) bits));
            }
            return;
        }
        switch (type.bytes) {
            case 1:
                memory.putByte(offset, (byte) bits);
                break;
            case 2:
                memory.putShort(offset, swap ? Short.reverseBytes((short) bits) : (short) bits);
                break;
            case 4:
                memory.putInt(offset, swap ? Integer.reverseBytes((int) bits) : (int) bits);
                break;
            default:
                memory.putLong(offset, swap ? Long.reverseBytes(bits) : bits);
        }
    }

    // ---- ordered access ----

    /** The value at an offset, read with volatile order. */
    public Object getVolatile(SegmentMemory memory, long offset) {
        switch (type.bytes) {
            case 1:
                return value(memory.getByteVolatile(offset));
            case 2:
                short two = memory.getShortVolatile(offset);
                return value(swap ? Short.reverseBytes(two) : two);
            case 4:
                int four = memory.getIntVolatile(offset);
                return value(swap ? Integer.reverseBytes(four) : four);
            default:
                long eight = memory.getLongVolatile(offset);
                return value(swap ? Long.reverseBytes(eight) : eight);
        }
    }

    /** The value at an offset, read with acquire order. */
    public Object getAcquire(SegmentMemory memory, long offset) {
        switch (type.bytes) {
            case 1:
                return value(memory.getByteAcquire(offset));
            case 2:
                short two = memory.getShortAcquire(offset);
                return value(swap ? Short.reverseBytes(two) : two);
            case 4:
                int four = memory.getIntAcquire(offset);
                return value(swap ? Integer.reverseBytes(four) : four);
            default:
                long eight = memory.getLongAcquire(offset);
                return value(swap ? Long.reverseBytes(eight) : eight);
        }
    }

    /** Writes bits at an offset with volatile order. */
    public void putVolatile(SegmentMemory memory, long offset, long bits) {
        switch (type.bytes) {
            case 1:
                memory.putByteVolatile(offset, (byte) bits);
                break;
            case 2:
                memory.putShortVolatile(offset, swap ? Short.reverseBytes((short) bits) : (short) bits);
                break;
            case 4:
                memory.putIntVolatile(offset, swap ? Integer.reverseBytes((int) bits) : (int) bits);
                break;
            default:
                memory.putLongVolatile(offset, swap ? Long.reverseBytes(bits) : bits);
        }
    }

    /** Writes bits at an offset with release order. */
    public void putRelease(SegmentMemory memory, long offset, long bits) {
        switch (type.bytes) {
            case 1:
                memory.putByteRelease(offset, (byte) bits);
                break;
            case 2:
                memory.putShortRelease(offset, swap ? Short.reverseBytes((short) bits) : (short) bits);
                break;
            case 4:
                memory.putIntRelease(offset, swap ? Integer.reverseBytes((int) bits) : (int) bits);
                break;
            default:
                memory.putLongRelease(offset, swap ? Long.reverseBytes(bits) : bits);
        }
    }

    /** Whether {@link #compareAndSet} is possible: integers of 4 and 8 bytes. */
    public boolean isAtomic() {
        return !isFloating() && type.bytes >= 4;
    }

    /** Replaces the expected bits by others, in one step. */
    public boolean compareAndSet(SegmentMemory memory, long offset, long expected, long bits) {
        if (type.bytes == 4) {
            return swap ? memory.compareAndSetInt(offset, Integer.reverseBytes((int) expected), Integer.reverseBytes((int) bits))
                : memory.compareAndSetInt(offset, (int) expected, (int) bits);
        }
        return swap ? memory.compareAndSetLong(offset, Long.reverseBytes(expected), Long.reverseBytes(bits))
            : memory.compareAndSetLong(offset, expected, bits);
    }

    /** Adds to the value at an offset, in one step, and returns the value before. The sum wraps. For the native byte order only. */
    public Object getAndAdd(SegmentMemory memory, long offset, long delta) {
        return value(type.bytes == 4 ? memory.getAndAddInt(offset, (int) delta) : memory.getAndAddLong(offset, delta));
    }

    // ---- many at equal distances ----

    /** Reads integers, as longs: those of {@code :u64} from 2^63 on are negative. */
    void gather(SegmentMemory memory, long offset, long stride, long[] target, int count) {
        switch (type.bytes) {
            case 1:
                Strided.getBytes(memory, offset, stride, target, 0, count);
                break;
            case 2:
                Strided.getShorts(memory, offset, stride, target, 0, count);
                break;
            case 4:
                Strided.getInts(memory, offset, stride, target, 0, count);
                break;
            default:
                Strided.getLongs(memory, offset, stride, target, 0, count);
        }
        if (swap) {
            int shift = 64 - 8 * type.bytes;
            for (int i = 0; i < count; i++) {
                target[i] = Long.reverseBytes(target[i]) >> shift;
            }
        }
        switch (type) {
            case U8:
            case U16:
            case U32:
                long mask = (1L << 8 * type.bytes) - 1;
                for (int i = 0; i < count; i++) {
                    target[i] &= mask;
                }
                break;
            default:
        }
    }

    /** Reads floating-point numbers, as doubles. */
    void gather(SegmentMemory memory, long offset, long stride, double[] target, int count) {
        if (swap) {
            long[] bits = new long[count];
            if (type == Type.F32) {
                Strided.getInts(memory, offset, stride, bits, 0, count);
                for (int i = 0; i < count; i++) {
                    target[i] = Float.intBitsToFloat(Integer.reverseBytes((int) bits[i]));
                }
            } else {
                Strided.getLongs(memory, offset, stride, bits, 0, count);
                for (int i = 0; i < count; i++) {
                    target[i] = Double.longBitsToDouble(Long.reverseBytes(bits[i]));
                }
            }
        } else if (type == Type.F32) {
            Strided.getFloats(memory, offset, stride, target, 0, count);
        } else {
            Strided.getDoubles(memory, offset, stride, target, 0, count);
        }
    }

    /** The value of a gathered integer. */
    Object valueOf(long integer) {
        return type == Type.U64 ? value(integer) : (Object) integer;
    }

    /** Whether a sum of the gathered integers is that of the values. */
    boolean isUnsignedLong() {
        return type == Type.U64;
    }

    /** Whether the numbers are summed where they lie. */
    boolean isPlain() {
        return !swap && (type == Type.F64 || type == Type.I64);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Scalar && type == ((Scalar) other).type && swap == ((Scalar) other).swap;
    }

    @Override
    public int hashCode() {
        return Arrays.asList(type.ordinal(), swap).hashCode();
    }

    @Override
    public String toString() {
        return name.toString();
    }
}
