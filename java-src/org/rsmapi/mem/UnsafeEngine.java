package org.rsmapi.mem;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;

/**
 * Memory access through {@code sun.misc.Unsafe}, for JDKs whose {@code java.lang.foreign} is absent or a preview.
 *
 * <p>The class is named by string only. javac warns at every mention of it, and under {@code --release} neither an
 * annotation nor a compiler option silences that ({@code -XDenableSunApiLintControl} does not on JDK 17 and 25,
 * {@code -XDignore.symbol.file} does on 17 only), so that {@code -Werror} would be out of reach. A {@code static final}
 * method handle invoked exactly costs the same as the direct call once compiled.
 *
 * <p>Plain access relies on the processor for unaligned addresses, as x86-64 and AArch64 allow.
 */
final class UnsafeEngine extends Engine {
    private static final Object UNSAFE = unsafe();

    /** In place of the object a field or array element would be in: an offset then is an address. */
    private static final Object NO_OBJECT = null;

    private static final MethodHandle GET_BYTE = get("getByte", byte.class);
    private static final MethodHandle GET_SHORT = get("getShort", short.class);
    private static final MethodHandle GET_INT = get("getInt", int.class);
    private static final MethodHandle GET_LONG = get("getLong", long.class);
    private static final MethodHandle PUT_BYTE = put("putByte", byte.class);
    private static final MethodHandle PUT_SHORT = put("putShort", short.class);
    private static final MethodHandle PUT_INT = put("putInt", int.class);
    private static final MethodHandle PUT_LONG = put("putLong", long.class);

    private static final MethodHandle GET_BYTE_VOLATILE = based("getByteVolatile", byte.class);
    private static final MethodHandle GET_SHORT_VOLATILE = based("getShortVolatile", short.class);
    private static final MethodHandle GET_INT_VOLATILE = based("getIntVolatile", int.class);
    private static final MethodHandle GET_LONG_VOLATILE = based("getLongVolatile", long.class);
    private static final MethodHandle PUT_BYTE_VOLATILE = based("putByteVolatile", void.class, byte.class);
    private static final MethodHandle PUT_SHORT_VOLATILE = based("putShortVolatile", void.class, short.class);
    private static final MethodHandle PUT_INT_VOLATILE = based("putIntVolatile", void.class, int.class);
    private static final MethodHandle PUT_LONG_VOLATILE = based("putLongVolatile", void.class, long.class);
    private static final MethodHandle PUT_INT_RELEASE = based("putOrderedInt", void.class, int.class);
    private static final MethodHandle PUT_LONG_RELEASE = based("putOrderedLong", void.class, long.class);

    private static final MethodHandle COMPARE_AND_SET_INT = based("compareAndSwapInt", boolean.class, int.class, int.class);
    private static final MethodHandle COMPARE_AND_SET_LONG = based("compareAndSwapLong", boolean.class, long.class, long.class);
    private static final MethodHandle GET_AND_ADD_INT = based("getAndAddInt", int.class, int.class);
    private static final MethodHandle GET_AND_ADD_LONG = based("getAndAddLong", long.class, long.class);

    /** (source base, source offset, target base, target offset, bytes). */
    private static final MethodHandle COPY = method("copyMemory", MethodType.methodType(
        void.class, Object.class, long.class, Object.class, long.class, long.class));
    /** (address, bytes, value). */
    private static final MethodHandle FILL = method("setMemory", MethodType.methodType(
        void.class, long.class, long.class, byte.class));

    /** (object, offset). */
    private static final MethodHandle GET_FIELD = based("getLong", long.class);
    private static final MethodHandle GET_OBJECT = based("getObject", Object.class);
    private static final long BUFFER_ADDRESS = fieldOffset(Buffer.class, "address");
    /** Of a buffer that is no mapped file it is null. */
    private static final long BUFFER_FILE = fieldOffset(MappedByteBuffer.class, "fd");

    /** Not final, so that the compiler does not know it. */
    private static int none;

    /** Where the elements of an array start: the same for every array type with elements of that size. */
    private static final long BYTES = arrayBase(byte[].class);
    private static final long SHORTS = arrayBase(short[].class);
    private static final long INTS = arrayBase(int[].class);
    private static final long LONGS = arrayBase(long[].class);

    private static final int BUFFER_CHUNK = 1 << 16;

    @Override
    public String name() {
        return "unsafe";
    }

    @Override
    void copyChunk(long source, long target, long bytes) {
        copy(NO_OBJECT, source, NO_OBJECT, target, bytes);
    }

    @Override
    void chunkToArray(long address, Object array, int index, int count) {
        int shift = shift(array);
        copy(NO_OBJECT, address, array, base(shift) + ((long) index << shift), (long) count << shift);
    }

    @Override
    void chunkFromArray(Object array, int index, long address, int count) {
        int shift = shift(array);
        copy(array, base(shift) + ((long) index << shift), NO_OBJECT, address, (long) count << shift);
    }

    private static void copy(Object source, long sourceOffset, Object target, long targetOffset, long bytes) {
        try {
            COPY.invokeExact(source, sourceOffset, target, targetOffset, bytes);
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
    public void copyToBuffer(long address, ByteBuffer buffer, int index, int count) {
        if (buffer.hasArray()) {
            copyToArray(address, buffer.array(), buffer.arrayOffset() + index, count);
            return;
        }
        byte[] chunk = new byte[Math.min(count, BUFFER_CHUNK)]; // the detour keeps the buffer's own checks in force
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, chunk.length);
            chunkToArray(address + done, chunk, 0, now);
            buffer.put(index + done, chunk, 0, now);
            done += now;
        }
    }

    @Override
    public void copyFromBuffer(ByteBuffer buffer, int index, long address, int count) {
        if (buffer.hasArray()) {
            copyFromArray(buffer.array(), buffer.arrayOffset() + index, address, count);
            return;
        }
        byte[] chunk = new byte[Math.min(count, BUFFER_CHUNK)];
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, chunk.length);
            buffer.get(index + done, chunk, 0, now);
            chunkFromArray(chunk, 0, address + done, now);
            done += now;
        }
    }

    @Override
    long address(ByteBuffer buffer) {
        try {
            return (long) GET_FIELD.invokeExact((Object) buffer, BUFFER_ADDRESS);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    /** The JVM makes an array of unknown dimensions itself, and from there the thread comes back with what is pending. */
    @Override
    void throwPendingFault(ByteBuffer buffer) {
        if (isMapped(buffer) && new byte[none][none].length != none) {
            throw new AssertionError();
        }
    }

    private static boolean isMapped(ByteBuffer buffer) {
        try {
            return (Object) GET_OBJECT.invokeExact((Object) buffer, BUFFER_FILE) != null;
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    private static long fieldOffset(Class<?> type, String name) {
        try {
            Field field = type.getDeclaredField(name);
            return (long) UNSAFE.getClass().getMethod("objectFieldOffset", Field.class).invoke(UNSAFE, field);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static long base(int shift) {
        return shift == 0 ? BYTES : shift == 1 ? SHORTS : shift == 2 ? INTS : LONGS;
    }

    private static Object unsafe() {
        try {
            Field field = Class.forName("sun.misc.Unsafe").getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return field.get(null);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static MethodHandle get(String name, Class<?> type) {
        return method(name, MethodType.methodType(type, long.class));
    }

    private static MethodHandle put(String name, Class<?> type) {
        return method(name, MethodType.methodType(void.class, long.class, type));
    }

    /** A method that takes an object and an offset. */
    private static MethodHandle based(String name, Class<?> result, Class<?>... operands) {
        MethodType type = MethodType.methodType(result, Object.class, long.class).appendParameterTypes(operands);
        return method(name, type);
    }

    private static MethodHandle method(String name, MethodType type) {
        try {
            return MethodHandles.publicLookup().findVirtual(UNSAFE.getClass(), name, type).bindTo(UNSAFE);
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static long arrayBase(Class<?> array) {
        try {
            Object base = UNSAFE.getClass().getMethod("arrayBaseOffset", Class.class).invoke(UNSAFE, array);
            return ((Integer) base).longValue();
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    // ---- the accesses, for each type and order ----

    @Override
    public byte getByte(long address) {
        try {
            return (byte) GET_BYTE.invokeExact(address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putByte(long address, byte value) {
        try {
            PUT_BYTE.invokeExact(address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public byte getByteVolatile(long address) {
        try {
            return (byte) GET_BYTE_VOLATILE.invokeExact(NO_OBJECT, address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putByteVolatile(long address, byte value) {
        try {
            PUT_BYTE_VOLATILE.invokeExact(NO_OBJECT, address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public byte getByteAcquire(long address) {
        return getByteVolatile(address);
    }

    @Override
    public void putByteRelease(long address, byte value) {
        putByteVolatile(address, value);
    }

    @Override
    public short getShort(long address) {
        try {
            return (short) GET_SHORT.invokeExact(address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putShort(long address, short value) {
        try {
            PUT_SHORT.invokeExact(address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public short getShortVolatile(long address) {
        try {
            return (short) GET_SHORT_VOLATILE.invokeExact(NO_OBJECT, address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putShortVolatile(long address, short value) {
        try {
            PUT_SHORT_VOLATILE.invokeExact(NO_OBJECT, address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public short getShortAcquire(long address) {
        return getShortVolatile(address);
    }

    @Override
    public void putShortRelease(long address, short value) {
        putShortVolatile(address, value);
    }

    @Override
    public int getInt(long address) {
        try {
            return (int) GET_INT.invokeExact(address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putInt(long address, int value) {
        try {
            PUT_INT.invokeExact(address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int getIntVolatile(long address) {
        try {
            return (int) GET_INT_VOLATILE.invokeExact(NO_OBJECT, address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putIntVolatile(long address, int value) {
        try {
            PUT_INT_VOLATILE.invokeExact(NO_OBJECT, address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int getIntAcquire(long address) {
        return getIntVolatile(address);
    }

    @Override
    public void putIntRelease(long address, int value) {
        try {
            PUT_INT_RELEASE.invokeExact(NO_OBJECT, address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public long getLong(long address) {
        try {
            return (long) GET_LONG.invokeExact(address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putLong(long address, long value) {
        try {
            PUT_LONG.invokeExact(address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public long getLongVolatile(long address) {
        try {
            return (long) GET_LONG_VOLATILE.invokeExact(NO_OBJECT, address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public void putLongVolatile(long address, long value) {
        try {
            PUT_LONG_VOLATILE.invokeExact(NO_OBJECT, address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public long getLongAcquire(long address) {
        return getLongVolatile(address);
    }

    @Override
    public void putLongRelease(long address, long value) {
        try {
            PUT_LONG_RELEASE.invokeExact(NO_OBJECT, address, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public boolean compareAndSetInt(long address, int expected, int value) {
        try {
            return (boolean) COMPARE_AND_SET_INT.invokeExact(NO_OBJECT, address, expected, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int getAndAddInt(long address, int delta) {
        try {
            return (int) GET_AND_ADD_INT.invokeExact(NO_OBJECT, address, delta);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public boolean compareAndSetLong(long address, long expected, long value) {
        try {
            return (boolean) COMPARE_AND_SET_LONG.invokeExact(NO_OBJECT, address, expected, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public long getAndAddLong(long address, long delta) {
        try {
            return (long) GET_AND_ADD_LONG.invokeExact(NO_OBJECT, address, delta);
        } catch (Throwable t) {
            throw broken(t);
        }
    }
}
