package org.rsmapi.mem;

import java.lang.reflect.InvocationTargetException;
import java.nio.ByteBuffer;
import java.util.Locale;

/**
 * Raw memory access at absolute addresses: the one place, with its subclasses, that touches memory outside the Java heap.
 *
 * <p>Nothing is checked here. The caller has made sure that every byte of the range belongs to a mapping of its own, that
 * array ranges lie inside the array and, for the ordered and atomic methods, that the address is a multiple of the
 * value's size (an unaligned atomic access can kill the JVM). Users go through {@code org.rsmapi.SegmentMemory}, which checks.
 *
 * <p>Values are in native byte order, lengths in bytes, array positions and counts in elements. Plain access takes any
 * alignment. {@code Volatile}, {@code Acquire}, {@code Release} and the atomic methods (volatile in effect) order
 * accesses the way {@link java.lang.invoke.VarHandle} describes.
 *
 * <p>{@link #ENGINE} is chosen once, when this class is loaded, so that the JIT compiler sees one receiver type and
 * inlines it. JDK 22 and later use {@code java.lang.foreign}, earlier ones {@code sun.misc.Unsafe}; the system property
 * {@code rsmapi.engine} ({@code foreign} or {@code unsafe}) forces one, and a value that cannot be honoured is an
 * {@link IllegalStateException} (inside an {@link ExceptionInInitializerError}) rather than a silent other choice.
 */
public abstract class Engine {
    /** The engine of this process. */
    public static final Engine ENGINE = choose();

    private static final int FIRST_FOREIGN_RELEASE = 22;

    /**
     * Bytes moved between two safepoint polls: a single copy of gigabytes would hold up a garbage collection for as long. In small pieces
     * the JVM would not copy as it does where caches are of no use.
     */
    private static final long CHUNK = 16L << 20;

    Engine() {
    }

    private static Engine choose() {
        String wanted = System.getProperty("rsmapi.engine");
        if (wanted != null) {
            return of(wanted.trim().toLowerCase(Locale.ROOT));
        }
        return of(Runtime.version().feature() >= FIRST_FOREIGN_RELEASE ? "foreign" : "unsafe");
    }

    /**
     * An engine by name, {@code foreign} or {@code unsafe}, for tests that compare them.
     *
     * @throws IllegalStateException if there is no such engine, or this JDK has or allows no such access
     */
    public static Engine of(String name) {
        switch (name) {
            case "foreign":
                if (Runtime.version().feature() < FIRST_FOREIGN_RELEASE) {
                    throw new IllegalStateException("rsmapi.engine=foreign needs JDK " + FIRST_FOREIGN_RELEASE
                        + " or later, and this is " + Runtime.version());
                }
                return make(true, "start java with --enable-native-access=ALL-UNNAMED");
            case "unsafe":
                return make(false, "start java with --sun-misc-unsafe-memory-access=allow");
            default:
                throw new IllegalStateException("rsmapi.engine is \"" + name + "\"; it can be foreign, unsafe or unset");
        }
    }

    private static Engine make(boolean foreign, String hint) {
        try {
            return foreign ? new ForeignEngine() : new UnsafeEngine();
        } catch (RuntimeException | LinkageError e) {
            throw new IllegalStateException("the memory engine " + (foreign ? "foreign" : "unsafe") + " cannot be used on JDK "
                + Runtime.version() + "; " + hint, e);
        }
    }

    /** {@code foreign} or {@code unsafe}. */
    public abstract String name();

    /** Copies bytes; the ranges may overlap. */
    public final void copy(long source, long target, long bytes) {
        long left = bytes;
        if (target > source && target - source < bytes) {
            while (left > 0) { // from the end down, or a chunk would overwrite what a later one still has to read
                long now = Math.min(left, CHUNK);
                left -= now;
                copyChunk(source + left, target + left, now);
            }
        } else {
            long done = 0;
            while (left > 0) {
                long now = Math.min(left, CHUNK);
                copyChunk(source + done, target + done, now);
                done += now;
                left -= now;
            }
        }
    }

    /** Copies memory into a primitive array (of anything but boolean). */
    public final void copyToArray(long address, Object array, int index, int count) {
        int shift = shift(array);
        int chunk = (int) (CHUNK >> shift);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, chunk);
            chunkToArray(address + ((long) done << shift), array, index + done, now);
            done += now;
        }
    }

    /** Copies a primitive array (of anything but boolean) into memory. */
    public final void copyFromArray(Object array, int index, long address, int count) {
        int shift = shift(array);
        int chunk = (int) (CHUNK >> shift);
        int done = 0;
        while (done < count) {
            int now = Math.min(count - done, chunk);
            chunkFromArray(array, index + done, address + ((long) done << shift), now);
            done += now;
        }
    }

    /** Sets every byte of a range. */
    public final void fill(long address, long bytes, byte value) {
        long done = 0;
        while (done < bytes) {
            long now = Math.min(bytes - done, CHUNK);
            fillChunk(address + done, now, value);
            done += now;
        }
    }

    /**
     * Copies memory into a buffer of any kind from {@code index} on, leaving its position alone. The buffer's own checks
     * stay in force, so that one whose memory has been freed throws instead of being written to.
     */
    public abstract void copyToBuffer(long address, ByteBuffer buffer, int index, int count);

    /** Copies from a buffer of any kind, also a read-only one, into memory; see {@link #copyToBuffer}. */
    public abstract void copyFromBuffer(ByteBuffer buffer, int index, long address, int count);

    /** Where the memory of a direct buffer starts. Buffers that cannot be used any more have one too, or throw. */
    abstract long address(ByteBuffer buffer);

    /**
     * Makes the JVM throw a pending fault. If an access through a buffer has found no memory, because the mapped file was truncated,
     * compiled code may throw the InternalError only later and elsewhere. To be called at the end of every use of a direct buffer.
     */
    abstract void throwPendingFault(ByteBuffer buffer);

    abstract void copyChunk(long source, long target, long bytes);

    abstract void chunkToArray(long address, Object array, int index, int count);

    abstract void chunkFromArray(Object array, int index, long address, int count);

    abstract void fillChunk(long address, long bytes, byte value);

    /** The binary logarithm of the size of the array's elements. */
    static int shift(Object array) {
        if (array instanceof byte[]) {
            return 0;
        } else if (array instanceof long[] || array instanceof double[]) {
            return 3;
        } else if (array instanceof int[] || array instanceof float[]) {
            return 2;
        } else if (array instanceof short[] || array instanceof char[]) {
            return 1;
        }
        throw new IllegalArgumentException("not an array this engine copies");
    }

    /** What to throw when a method handle threw, which no correct call makes it do; errors such as stack overflow pass. */
    static IllegalStateException broken(Throwable cause) {
        if (cause instanceof Error) {
            throw (Error) cause;
        }
        if (cause instanceof InvocationTargetException && cause.getCause() instanceof VirtualMachineError) {
            throw (Error) cause.getCause(); // of the stack or the heap, and not of what was called
        }
        return new IllegalStateException("the JDK's memory access did not do what it should", cause);
    }

    // ---- the accesses, for each type and order ----

    public abstract byte getByte(long address);

    public abstract void putByte(long address, byte value);

    public abstract short getShort(long address);

    public abstract void putShort(long address, short value);

    public abstract int getInt(long address);

    public abstract void putInt(long address, int value);

    public abstract long getLong(long address);

    public abstract void putLong(long address, long value);

    public abstract byte getByteVolatile(long address);

    public abstract void putByteVolatile(long address, byte value);

    public abstract byte getByteAcquire(long address);

    public abstract void putByteRelease(long address, byte value);

    public abstract short getShortVolatile(long address);

    public abstract void putShortVolatile(long address, short value);

    public abstract short getShortAcquire(long address);

    public abstract void putShortRelease(long address, short value);

    public abstract int getIntVolatile(long address);

    public abstract void putIntVolatile(long address, int value);

    public abstract int getIntAcquire(long address);

    public abstract void putIntRelease(long address, int value);

    public abstract long getLongVolatile(long address);

    public abstract void putLongVolatile(long address, long value);

    public abstract long getLongAcquire(long address);

    public abstract void putLongRelease(long address, long value);
    /** Sets the int to {@code value} if it is {@code expected}; whether it did. */
    public abstract boolean compareAndSetInt(long address, int expected, int value);

    /** Sets the long to {@code value} if it is {@code expected}; whether it did. */
    public abstract boolean compareAndSetLong(long address, long expected, long value);

    /** Adds to the int, wrapping around; the value before. */
    public abstract int getAndAddInt(long address, int delta);

    /** Adds to the long, wrapping around; the value before. */
    public abstract long getAndAddLong(long address, long delta);

    /** As {@link #compareAndSetInt}, but only what follows is ordered; an engine that has no such thing orders more. */
    public boolean compareAndSetIntAcquire(long address, int expected, int value) {
        return compareAndSetInt(address, expected, value);
    }

    /** As {@link #compareAndSetInt}, but only what came before is ordered. */
    public boolean compareAndSetIntRelease(long address, int expected, int value) {
        return compareAndSetInt(address, expected, value);
    }

    /** As {@link #compareAndSetLong}, but only what follows is ordered. */
    public boolean compareAndSetLongAcquire(long address, long expected, long value) {
        return compareAndSetLong(address, expected, value);
    }

    /** As {@link #compareAndSetLong}, but only what came before is ordered. */
    public boolean compareAndSetLongRelease(long address, long expected, long value) {
        return compareAndSetLong(address, expected, value);
    }

    /** As {@link #getAndAddInt}, but only what follows is ordered. */
    public int getAndAddIntAcquire(long address, int delta) {
        return getAndAddInt(address, delta);
    }

    /** As {@link #getAndAddInt}, but only what came before is ordered. */
    public int getAndAddIntRelease(long address, int delta) {
        return getAndAddInt(address, delta);
    }

    /** As {@link #getAndAddLong}, but only what follows is ordered. */
    public long getAndAddLongAcquire(long address, long delta) {
        return getAndAddLong(address, delta);
    }

    /** As {@link #getAndAddLong}, but only what came before is ordered. */
    public long getAndAddLongRelease(long address, long delta) {
        return getAndAddLong(address, delta);
    }
}
