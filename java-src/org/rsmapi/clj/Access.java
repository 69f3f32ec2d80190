package org.rsmapi.clj;

/**
 * Typed access to memory for Clojure: what the functions of {@code rsmapi.core} such as {@code get-long} and {@code put-long!} call,
 * directly where they are expanded inline.
 *
 * <p>The methods are those of {@link org.rsmapi.SegmentMemory} with Clojure's types: integers come and go as long, floats as
 * double (a float's signalling NaN becomes a quiet one on the way; use the int accessors for its exact bits). A value put must
 * fit the type in memory, read as signed or as unsigned: a byte takes -128 to 255, a short -32768 to 65535, an int
 * -2^31 to 2^32-1; BAD_ARGS_ERRORS otherwise. Reading is always signed. A memory that is none is BAD_SEG_HNDL, a byte
 * order that is none BAD_ARGS_ERRORS.
 *
 * <p>No two methods here share name and number of parameters: a call needs no reflection whatever the types of its arguments.
 */
public final class Access {
    private Access() {
    }

    public static long getByte(Object memory, long offset) {
        return Coerce.memory(memory, "get-byte").getByte(offset);
    }

    public static void putByte(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-byte").putByte(offset, toByte(value, "value", "put-byte"));
    }

    public static long getByteVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-byte-volatile").getByteVolatile(offset);
    }

    public static void putByteVolatile(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-byte-volatile").putByteVolatile(offset, toByte(value, "value", "put-byte-volatile"));
    }

    public static long getByteAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-byte-acquire").getByteAcquire(offset);
    }

    public static void putByteRelease(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-byte-release").putByteRelease(offset, toByte(value, "value", "put-byte-release"));
    }

    public static long getShort(Object memory, long offset) {
        return Coerce.memory(memory, "get-short").getShort(offset);
    }

    public static void putShort(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-short").putShort(offset, toShort(value, "value", "put-short"));
    }

    public static long getShort(Object memory, long offset, Object order) {
        return Coerce.memory(memory, "get-short").getShort(offset, Coerce.order(order, "get-short"));
    }

    public static void putShort(Object memory, long offset, long value, Object order) {
        Coerce.memory(memory, "put-short").putShort(offset, toShort(value, "value", "put-short"), Coerce.order(order, "put-short"));
    }

    public static long getShortVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-short-volatile").getShortVolatile(offset);
    }

    public static void putShortVolatile(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-short-volatile").putShortVolatile(offset, toShort(value, "value", "put-short-volatile"));
    }

    public static long getShortAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-short-acquire").getShortAcquire(offset);
    }

    public static void putShortRelease(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-short-release").putShortRelease(offset, toShort(value, "value", "put-short-release"));
    }

    public static char getChar(Object memory, long offset) {
        return Coerce.memory(memory, "get-char").getChar(offset);
    }

    public static void putChar(Object memory, long offset, char value) {
        Coerce.memory(memory, "put-char").putChar(offset, value);
    }

    public static char getChar(Object memory, long offset, Object order) {
        return Coerce.memory(memory, "get-char").getChar(offset, Coerce.order(order, "get-char"));
    }

    public static void putChar(Object memory, long offset, char value, Object order) {
        Coerce.memory(memory, "put-char").putChar(offset, value, Coerce.order(order, "put-char"));
    }

    public static char getCharVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-char-volatile").getCharVolatile(offset);
    }

    public static void putCharVolatile(Object memory, long offset, char value) {
        Coerce.memory(memory, "put-char-volatile").putCharVolatile(offset, value);
    }

    public static char getCharAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-char-acquire").getCharAcquire(offset);
    }

    public static void putCharRelease(Object memory, long offset, char value) {
        Coerce.memory(memory, "put-char-release").putCharRelease(offset, value);
    }

    public static long getInt(Object memory, long offset) {
        return Coerce.memory(memory, "get-int").getInt(offset);
    }

    public static void putInt(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-int").putInt(offset, toInt(value, "value", "put-int"));
    }

    public static long getInt(Object memory, long offset, Object order) {
        return Coerce.memory(memory, "get-int").getInt(offset, Coerce.order(order, "get-int"));
    }

    public static void putInt(Object memory, long offset, long value, Object order) {
        Coerce.memory(memory, "put-int").putInt(offset, toInt(value, "value", "put-int"), Coerce.order(order, "put-int"));
    }

    public static long getIntVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-int-volatile").getIntVolatile(offset);
    }

    public static void putIntVolatile(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-int-volatile").putIntVolatile(offset, toInt(value, "value", "put-int-volatile"));
    }

    public static long getIntAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-int-acquire").getIntAcquire(offset);
    }

    public static void putIntRelease(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-int-release").putIntRelease(offset, toInt(value, "value", "put-int-release"));
    }

    public static long getLong(Object memory, long offset) {
        return Coerce.memory(memory, "get-long").getLong(offset);
    }

    public static void putLong(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-long").putLong(offset, value);
    }

    public static long getLong(Object memory, long offset, Object order) {
        return Coerce.memory(memory, "get-long").getLong(offset, Coerce.order(order, "get-long"));
    }

    public static void putLong(Object memory, long offset, long value, Object order) {
        Coerce.memory(memory, "put-long").putLong(offset, value, Coerce.order(order, "put-long"));
    }

    public static long getLongVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-long-volatile").getLongVolatile(offset);
    }

    public static void putLongVolatile(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-long-volatile").putLongVolatile(offset, value);
    }

    public static long getLongAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-long-acquire").getLongAcquire(offset);
    }

    public static void putLongRelease(Object memory, long offset, long value) {
        Coerce.memory(memory, "put-long-release").putLongRelease(offset, value);
    }

    public static double getFloat(Object memory, long offset) {
        return Coerce.memory(memory, "get-float").getFloat(offset);
    }

    public static void putFloat(Object memory, long offset, double value) {
        Coerce.memory(memory, "put-float").putFloat(offset, (float) value);
    }

    public static double getFloat(Object memory, long offset, Object order) {
        return Coerce.memory(memory, "get-float").getFloat(offset, Coerce.order(order, "get-float"));
    }

    public static void putFloat(Object memory, long offset, double value, Object order) {
        Coerce.memory(memory, "put-float").putFloat(offset, (float) value, Coerce.order(order, "put-float"));
    }

    public static double getFloatVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-float-volatile").getFloatVolatile(offset);
    }

    public static void putFloatVolatile(Object memory, long offset, double value) {
        Coerce.memory(memory, "put-float-volatile").putFloatVolatile(offset, (float) value);
    }

    public static double getFloatAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-float-acquire").getFloatAcquire(offset);
    }

    public static void putFloatRelease(Object memory, long offset, double value) {
        Coerce.memory(memory, "put-float-release").putFloatRelease(offset, (float) value);
    }

    public static double getDouble(Object memory, long offset) {
        return Coerce.memory(memory, "get-double").getDouble(offset);
    }

    public static void putDouble(Object memory, long offset, double value) {
        Coerce.memory(memory, "put-double").putDouble(offset, value);
    }

    public static double getDouble(Object memory, long offset, Object order) {
        return Coerce.memory(memory, "get-double").getDouble(offset, Coerce.order(order, "get-double"));
    }

    public static void putDouble(Object memory, long offset, double value, Object order) {
        Coerce.memory(memory, "put-double").putDouble(offset, value, Coerce.order(order, "put-double"));
    }

    public static double getDoubleVolatile(Object memory, long offset) {
        return Coerce.memory(memory, "get-double-volatile").getDoubleVolatile(offset);
    }

    public static void putDoubleVolatile(Object memory, long offset, double value) {
        Coerce.memory(memory, "put-double-volatile").putDoubleVolatile(offset, value);
    }

    public static double getDoubleAcquire(Object memory, long offset) {
        return Coerce.memory(memory, "get-double-acquire").getDoubleAcquire(offset);
    }

    public static void putDoubleRelease(Object memory, long offset, double value) {
        Coerce.memory(memory, "put-double-release").putDoubleRelease(offset, value);
    }

    public static boolean compareAndSetInt(Object memory, long offset, long expected, long value) {
        String op = "compare-and-set-int";
        return Coerce.memory(memory, op)
            .compareAndSetInt(offset, toInt(expected, "expected", op), toInt(value, "value", op));
    }

    public static boolean compareAndSetLong(Object memory, long offset, long expected, long value) {
        return Coerce.memory(memory, "compare-and-set-long").compareAndSetLong(offset, expected, value);
    }

    public static long getAndAddInt(Object memory, long offset, long delta) {
        return Coerce.memory(memory, "get-and-add-int").getAndAddInt(offset, toInt(delta, "delta", "get-and-add-int"));
    }

    public static long getAndAddLong(Object memory, long offset, long delta) {
        return Coerce.memory(memory, "get-and-add-long").getAndAddLong(offset, delta);
    }

    public static boolean compareAndSetIntAcquire(Object memory, long offset, long expected, long value) {
        String op = "compare-and-set-int-acquire";
        return Coerce.memory(memory, op)
            .compareAndSetIntAcquire(offset, toInt(expected, "expected", op), toInt(value, "value", op));
    }

    public static boolean compareAndSetLongAcquire(Object memory, long offset, long expected, long value) {
        return Coerce.memory(memory, "compare-and-set-long-acquire").compareAndSetLongAcquire(offset, expected, value);
    }

    public static long getAndAddIntAcquire(Object memory, long offset, long delta) {
        String op = "get-and-add-int-acquire";
        return Coerce.memory(memory, op).getAndAddIntAcquire(offset, toInt(delta, "delta", op));
    }

    public static long getAndAddLongAcquire(Object memory, long offset, long delta) {
        return Coerce.memory(memory, "get-and-add-long-acquire").getAndAddLongAcquire(offset, delta);
    }

    public static boolean compareAndSetIntRelease(Object memory, long offset, long expected, long value) {
        String op = "compare-and-set-int-release";
        return Coerce.memory(memory, op)
            .compareAndSetIntRelease(offset, toInt(expected, "expected", op), toInt(value, "value", op));
    }

    public static boolean compareAndSetLongRelease(Object memory, long offset, long expected, long value) {
        return Coerce.memory(memory, "compare-and-set-long-release").compareAndSetLongRelease(offset, expected, value);
    }

    public static long getAndAddIntRelease(Object memory, long offset, long delta) {
        String op = "get-and-add-int-release";
        return Coerce.memory(memory, op).getAndAddIntRelease(offset, toInt(delta, "delta", op));
    }

    public static long getAndAddLongRelease(Object memory, long offset, long delta) {
        return Coerce.memory(memory, "get-and-add-long-release").getAndAddLongRelease(offset, delta);
    }

    static byte toByte(long value, String argument, String op) {
        return (byte) Coerce.inRange(value, Byte.MIN_VALUE, 255, argument, op);
    }

    static short toShort(long value, String argument, String op) {
        return (short) Coerce.inRange(value, Short.MIN_VALUE, 65535, argument, op);
    }

    static int toInt(long value, String argument, String op) {
        return (int) Coerce.inRange(value, Integer.MIN_VALUE, 0xFFFFFFFFL, argument, op);
    }
}
