package org.rsmapi;

import java.util.List;

/** The elements that put and get transfer: bytes in a row, or integers of 8, 16, 32 or 64 bits in the exporter's byte order. */
public enum ElementWidth {
    /** Bytes in a row: {@code rsm_memseg_import_put}, {@code rsm_memseg_import_get}. */
    BYTES("", 0, byte.class),
    /** {@code rsm_memseg_import_put8}, {@code rsm_memseg_import_get8}. */
    BITS_8("8", 0, byte.class),
    /** {@code rsm_memseg_import_put16}, {@code rsm_memseg_import_get16}. */
    BITS_16("16", 1, short.class, char.class),
    /** {@code rsm_memseg_import_put32}, {@code rsm_memseg_import_get32}. */
    BITS_32("32", 2, int.class, float.class),
    /** {@code rsm_memseg_import_put64}, {@code rsm_memseg_import_get64}. */
    BITS_64("64", 3, long.class, double.class);

    private final String putOp;
    private final String getOp;
    private final int shift;
    private final List<Class<?>> types;

    ElementWidth(String suffix, int shift, Class<?>... types) {
        this.putOp = "put" + suffix;
        this.getOp = "get" + suffix;
        this.shift = shift;
        this.types = List.of(types);
    }

    /** The name of the operation that writes such elements, such as {@code put16}. */
    public String putOp() {
        return putOp;
    }

    /** The name of the operation that reads such elements, such as {@code get16}. */
    public String getOp() {
        return getOp;
    }

    /** The binary logarithm of an element's size in bytes. */
    public int shift() {
        return shift;
    }

    /** The type of an integer of this width, such as {@code short}. */
    public Class<?> type() {
        return types.get(0);
    }

    /** Whether an object is an array whose elements have this width. */
    public boolean isArray(Object x) {
        return x != null && x.getClass().isArray() && types.contains(x.getClass().getComponentType());
    }
}
