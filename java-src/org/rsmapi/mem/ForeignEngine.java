package org.rsmapi.mem;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.invoke.VarHandle;
import java.nio.Buffer;
import java.nio.ByteBuffer;

/**
 * Memory access through {@code java.lang.foreign}, reached by reflection so that this class compiles on JDK 17.
 *
 * <p>One segment spans the whole address space. It is inserted into every handle as a constant, so that after inlining
 * nothing is left of its liveness and type checks, and the handle's remaining coordinate is the absolute address.
 * The handles are {@code static final} and invoked exactly: only then does the JIT compiler see through them.
 */
final class ForeignEngine extends Engine {
    private static final Class<?> SEGMENT = type("java.lang.foreign.MemorySegment");
    private static final Class<?> LAYOUT = type("java.lang.foreign.ValueLayout");
    private static final Object EVERYTHING = everything();

    private static final VarHandle BYTE = variable("JAVA_BYTE");
    private static final VarHandle SHORT = variable("JAVA_SHORT");
    private static final VarHandle INT = variable("JAVA_INT");
    private static final VarHandle LONG = variable("JAVA_LONG");
    private static final VarHandle SHORT_PLAIN = variable("JAVA_SHORT_UNALIGNED");
    private static final VarHandle INT_PLAIN = variable("JAVA_INT_UNALIGNED");
    private static final VarHandle LONG_PLAIN = variable("JAVA_LONG_UNALIGNED");

    private static final Object BYTES = layout("JAVA_BYTE");
    private static final Object SHORTS = layout("JAVA_SHORT_UNALIGNED");
    private static final Object CHARS = layout("JAVA_CHAR_UNALIGNED");
    private static final Object INTS = layout("JAVA_INT_UNALIGNED");
    private static final Object LONGS = layout("JAVA_LONG_UNALIGNED");
    private static final Object FLOATS = layout("JAVA_FLOAT_UNALIGNED");
    private static final Object DOUBLES = layout("JAVA_DOUBLE_UNALIGNED");

    /** (layout, address, array, index, count). */
    private static final MethodHandle TO_ARRAY = toArray();
    /** (array, index, layout, address, count). */
    private static final MethodHandle FROM_ARRAY = fromArray();
    /** (source, target, bytes). */
    private static final MethodHandle COPY = copyHandle();
    /** (address, bytes, value). */
    private static final MethodHandle FILL = fillHandle();
    /** (address, bytes) to a ByteBuffer of that range. */
    private static final MethodHandle VIEW = viewHandle();
    /** A ByteBuffer to the address of its position. */
    private static final MethodHandle ADDRESS = addressHandle();

    @Override
    public String name() {
        return "foreign";
    }

    @Override
    void copyChunk(long source, long target, long bytes) {
        try {
            COPY.invokeExact(source, target, bytes);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    void fillChunk(long address, long bytes, byte value) {
        try {
            FILL.invokeExact(address, bytes, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    void chunkToArray(long address, Object array, int index, int count) {
        try {
            TO_ARRAY.invokeExact(elements(array), address, array, index, count);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    void chunkFromArray(Object array, int index, long address, int count) {
        try {
            FROM_ARRAY.invokeExact(array, index, elements(array), address, count);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    private static Object elements(Object array) {
        if (array instanceof byte[]) {
            return BYTES;
        } else if (array instanceof long[]) {
            return LONGS;
        } else if (array instanceof double[]) {
            return DOUBLES;
        } else if (array instanceof int[]) {
            return INTS;
        } else if (array instanceof float[]) {
            return FLOATS;
        } else if (array instanceof short[]) {
            return SHORTS;
        } else {
            return CHARS;
        }
    }

    @Override
    public void copyToBuffer(long address, ByteBuffer buffer, int index, int count) {
        buffer.put(index, view(address, count), 0, count);
    }

    @Override
    public void copyFromBuffer(ByteBuffer buffer, int index, long address, int count) {
        view(address, count).put(0, buffer, index, count);
    }

    @Override
    long address(ByteBuffer buffer) {
        int position = buffer.position();
        try {
            return (long) ADDRESS.invokeExact(buffer) - position;
        } catch (RuntimeException e) {
            throw e;
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    /** A thread that comes back from native code throws what is pending. */
    @Override
    void throwPendingFault(ByteBuffer buffer) {
        Thread.holdsLock(this);
    }

    private static ByteBuffer view(long address, long bytes) {
        try {
            return (ByteBuffer) VIEW.invokeExact(address, bytes);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    private static Class<?> type(String name) {
        try {
            return Class.forName(name);
        } catch (ClassNotFoundException e) {
            throw broken(e);
        }
    }

    private static Object everything() {
        try {
            Object nothing = SEGMENT.getField("NULL").get(null);
            return SEGMENT.getMethod("reinterpret", long.class).invoke(nothing, Long.MAX_VALUE);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static Object layout(String name) {
        try {
            return LAYOUT.getField(name).get(null);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static VarHandle variable(String layout) {
        try {
            Object ofSegment = LAYOUT.getMethod("varHandle").invoke(layout(layout));
            Object ofAddress = MethodHandles.class.getMethod("insertCoordinates", VarHandle.class, int.class, Object[].class)
                .invoke(null, ofSegment, 0, new Object[] {EVERYTHING}); // named by string, being a preview before JDK 22
            return ((VarHandle) ofAddress).withInvokeExactBehavior();
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static MethodHandle toArray() {
        MethodType type = MethodType.methodType(void.class, SEGMENT, LAYOUT, long.class, Object.class, int.class, int.class);
        MethodHandle ofAddress = MethodHandles.insertArguments(copier(type), 0, EVERYTHING);
        return ofAddress.asType(ofAddress.type().changeParameterType(0, Object.class));
    }

    private static MethodHandle fromArray() {
        MethodType type = MethodType.methodType(void.class, Object.class, int.class, SEGMENT, LAYOUT, long.class, int.class);
        MethodHandle ofAddress = MethodHandles.insertArguments(copier(type), 2, EVERYTHING);
        return ofAddress.asType(ofAddress.type().changeParameterType(2, Object.class));
    }

    private static MethodHandle copyHandle() {
        MethodType type = MethodType.methodType(void.class, SEGMENT, long.class, SEGMENT, long.class, long.class);
        MethodHandle fromEverything = MethodHandles.insertArguments(copier(type), 0, EVERYTHING);
        return MethodHandles.insertArguments(fromEverything, 1, EVERYTHING);
    }

    private static MethodHandle copier(MethodType type) {
        try {
            return MethodHandles.publicLookup().findStatic(SEGMENT, "copy", type);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static MethodHandle fillHandle() {
        MethodHandle fill = method("fill", MethodType.methodType(SEGMENT, byte.class));
        return MethodHandles.dropReturn(MethodHandles.collectArguments(fill, 0, slice()));
    }

    private static MethodHandle viewHandle() {
        MethodHandle asByteBuffer = method("asByteBuffer", MethodType.methodType(ByteBuffer.class));
        return MethodHandles.collectArguments(asByteBuffer, 0, slice());
    }

    private static MethodHandle addressHandle() {
        try {
            MethodHandle segment = MethodHandles.publicLookup().findStatic(SEGMENT, "ofBuffer",
                MethodType.methodType(SEGMENT, Buffer.class));
            MethodHandle address = MethodHandles.filterReturnValue(segment, method("address", MethodType.methodType(long.class)));
            return address.asType(MethodType.methodType(long.class, ByteBuffer.class));
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static MethodHandle slice() {
        return method("asSlice", MethodType.methodType(SEGMENT, long.class, long.class)).bindTo(EVERYTHING);
    }

    private static MethodHandle method(String name, MethodType type) {
        try {
            return MethodHandles.publicLookup().findVirtual(SEGMENT, name, type);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    // ---- the accesses, for each type and order ----

    @Override
    public byte getByte(long address) {
        return (byte) BYTE.get(address);
    }

    @Override
    public void putByte(long address, byte value) {
        BYTE.set(address, value);
    }

    @Override
    public byte getByteVolatile(long address) {
        return (byte) BYTE.getVolatile(address);
    }

    @Override
    public void putByteVolatile(long address, byte value) {
        BYTE.setVolatile(address, value);
    }

    @Override
    public byte getByteAcquire(long address) {
        return (byte) BYTE.getAcquire(address);
    }

    @Override
    public void putByteRelease(long address, byte value) {
        BYTE.setRelease(address, value);
    }

    @Override
    public short getShort(long address) {
        return (short) SHORT_PLAIN.get(address);
    }

    @Override
    public void putShort(long address, short value) {
        SHORT_PLAIN.set(address, value);
    }

    @Override
    public short getShortVolatile(long address) {
        return (short) SHORT.getVolatile(address);
    }

    @Override
    public void putShortVolatile(long address, short value) {
        SHORT.setVolatile(address, value);
    }

    @Override
    public short getShortAcquire(long address) {
        return (short) SHORT.getAcquire(address);
    }

    @Override
    public void putShortRelease(long address, short value) {
        SHORT.setRelease(address, value);
    }

    @Override
    public int getInt(long address) {
        return (int) INT_PLAIN.get(address);
    }

    @Override
    public void putInt(long address, int value) {
        INT_PLAIN.set(address, value);
    }

    @Override
    public int getIntVolatile(long address) {
        return (int) INT.getVolatile(address);
    }

    @Override
    public void putIntVolatile(long address, int value) {
        INT.setVolatile(address, value);
    }

    @Override
    public int getIntAcquire(long address) {
        return (int) INT.getAcquire(address);
    }

    @Override
    public void putIntRelease(long address, int value) {
        INT.setRelease(address, value);
    }

    @Override
    public long getLong(long address) {
        return (long) LONG_PLAIN.get(address);
    }

    @Override
    public void putLong(long address, long value) {
        LONG_PLAIN.set(address, value);
    }

    @Override
    public long getLongVolatile(long address) {
        return (long) LONG.getVolatile(address);
    }

    @Override
    public void putLongVolatile(long address, long value) {
        LONG.setVolatile(address, value);
    }

    @Override
    public long getLongAcquire(long address) {
        return (long) LONG.getAcquire(address);
    }

    @Override
    public void putLongRelease(long address, long value) {
        LONG.setRelease(address, value);
    }

    @Override
    public boolean compareAndSetInt(long address, int expected, int value) {
        return (boolean) INT.compareAndSet(address, expected, value);
    }

    @Override
    public int getAndAddInt(long address, int delta) {
        return (int) INT.getAndAdd(address, delta);
    }

    @Override
    public boolean compareAndSetLong(long address, long expected, long value) {
        return (boolean) LONG.compareAndSet(address, expected, value);
    }

    @Override
    public long getAndAddLong(long address, long delta) {
        return (long) LONG.getAndAdd(address, delta);
    }
    @Override
    public boolean compareAndSetIntAcquire(long address, int expected, int value) {
        return (int) INT.compareAndExchangeAcquire(address, expected, value) == expected;
    }

    @Override
    public int getAndAddIntAcquire(long address, int delta) {
        return (int) INT.getAndAddAcquire(address, delta);
    }

    @Override
    public boolean compareAndSetIntRelease(long address, int expected, int value) {
        return (int) INT.compareAndExchangeRelease(address, expected, value) == expected;
    }

    @Override
    public int getAndAddIntRelease(long address, int delta) {
        return (int) INT.getAndAddRelease(address, delta);
    }

    @Override
    public boolean compareAndSetLongAcquire(long address, long expected, long value) {
        return (long) LONG.compareAndExchangeAcquire(address, expected, value) == expected;
    }

    @Override
    public long getAndAddLongAcquire(long address, long delta) {
        return (long) LONG.getAndAddAcquire(address, delta);
    }

    @Override
    public boolean compareAndSetLongRelease(long address, long expected, long value) {
        return (long) LONG.compareAndExchangeRelease(address, expected, value) == expected;
    }

    @Override
    public long getAndAddLongRelease(long address, long delta) {
        return (long) LONG.getAndAddRelease(address, delta);
    }
}
