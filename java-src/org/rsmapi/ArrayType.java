package org.rsmapi;

import java.lang.reflect.Array;

/** The arrays that can be copied to and from memory: those of numbers and of chars. */
public enum ArrayType {
    BYTES(byte.class, 0),
    SHORTS(short.class, 1),
    CHARS(char.class, 1),
    INTS(int.class, 2),
    LONGS(long.class, 3),
    FLOATS(float.class, 2),
    DOUBLES(double.class, 3);

    /** The most elements that an array can have on every JVM; the last few lengths below 2^31 are not portable. */
    public static final int MAX_LENGTH = Integer.MAX_VALUE - 8;

    private final Class<?> element;
    private final Class<?> array;
    private final int shift;
    private final String getOp;
    private final String putOp;

    ArrayType(Class<?> element, int shift) {
        this.element = element;
        this.array = Array.newInstance(element, 0).getClass();
        this.shift = shift;
        this.getOp = "get-" + element.getName() + "s";
        this.putOp = "put-" + element.getName() + "s";
    }

    /** The binary logarithm of an element's size in bytes. */
    public int shift() {
        return shift;
    }

    /** The type of an element, such as {@code int}. */
    public Class<?> element() {
        return element;
    }

    /** The name of the operation that reads such an array, such as {@code get-ints}. */
    public String getOp() {
        return getOp;
    }

    /** The name of the operation that writes such an array, such as {@code put-ints}. */
    public String putOp() {
        return putOp;
    }

    /** Whether an object is such an array. */
    public boolean is(Object x) {
        return array.isInstance(x);
    }

    /** A new array, of a length that has been checked. */
    Object newArray(int length) {
        return Array.newInstance(element, length);
    }
}
