package org.rsmapi;

import java.lang.invoke.VarHandle;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;

/**
 * Data of more than one value that is read as a whole while others write it: a lock that readers never take. Beyond the RSMAPI.
 *
 * <p>A version, a long at a multiple of 8, goes with the data:
 *
 * <pre>
 *   even   nobody writes; every write adds 2
 *   odd    somebody writes
 * </pre>
 *
 * A writer makes it odd in one atomic step, writes, and stores the next even number with release order. A reader takes the data for
 * good if the version was even before and is the same afterwards; else it tries again. Readers need the permission to read only, and
 * do not hold up writers. A writer that dies while it writes leaves the version odd: readers and writers are then told TIMEOUT.
 */
public final class Seqlock {
    private static final int SPINS = 200;
    private static final long PAUSE_NANOS = 50_000;

    private Seqlock() {}

    /**
     * Reads {@code length} bytes at {@code offset} as a whole.
     *
     * @param version  offset of the version
     * @param timeout  null or negative: for ever
     * @return the version that was read
     * @throws RsmException BAD_SEG_HNDL (no memory), BAD_LENGTH (not inside the array), BAD_ADDR (null), BAD_OFFSET (the data lies over
     *     the version), those of {@link SegmentMemory}, TIMEOUT, INTERRUPTED
     */
    public static long read(SegmentMemory memory, long version, long offset, byte[] target, int index, int length, Duration timeout) {
        checkMemory("read-snapshot", memory);
        checkApart("read-snapshot", version, offset, length);
        long[] read = new long[1];
        read(memory, version, from -> {
            from.getBytes(offset, target, index, length);
            return null;
        }, timeout, read);
        return read[0];
    }

    /**
     * Reads {@code length} bytes at {@code offset} as a whole into a new array.
     *
     * @throws RsmException as the other forms; BAD_LENGTH (negative)
     */
    public static byte[] read(SegmentMemory memory, long version, long offset, long length, Duration timeout) {
        checkMemory("read-snapshot", memory);
        checkApart("read-snapshot", version, offset, length);
        return read(memory, version, from -> from.getBytes(offset, length), timeout);
    }

    /**
     * Applies a function to the memory, again if somebody has written meanwhile, and returns its value. What it reads may be half
     * written; what it then throws, or returns, does not count.
     *
     * @param version  offset of the version
     * @param timeout  null or negative: for ever
     * @throws RsmException BAD_SEG_HNDL (no memory), BAD_ARGS_ERRORS (no reader), those of {@link SegmentMemory}, TIMEOUT, INTERRUPTED
     */
    public static <T> T read(SegmentMemory memory, long version, Function<? super SegmentMemory, T> reader, Duration timeout) {
        return read(memory, version, reader, timeout, new long[1]);
    }

    private static <T> T read(SegmentMemory memory, long version, Function<? super SegmentMemory, T> reader, Duration timeout,
            long[] versionRead) {
        String op = "read-snapshot";
        checkMemory(op, memory);
        if (reader == null) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "reader").hint("give a function");
        }
        Patience patience = new Patience(op, timeout);
        while (true) {
            long before = memory.getLongAcquire(version);
            if ((before & 1) == 0) {
                RuntimeException failure = null;
                T value = null;
                try {
                    value = reader.apply(memory);
                } catch (RuntimeException e) {
                    failure = e;
                }
                VarHandle.loadLoadFence(); // what was read comes before the version is read again
                if (memory.getLongVolatile(version) == before) {
                    if (failure != null) {
                        throw failure;
                    }
                    versionRead[0] = before;
                    return value;
                }
            }
            patience.use(before);
        }
    }

    /**
     * Writes {@code length} bytes at {@code offset} as a whole, after others who are writing.
     *
     * @param version  offset of the version
     * @param timeout  null or negative: for ever
     * @return the new version
     * @throws RsmException BAD_SEG_HNDL (no memory), BAD_ADDR (null), BAD_LENGTH (not inside the array), BAD_OFFSET (the data lies over
     *     the version), those of {@link SegmentMemory} (it takes the permission to read as well), TIMEOUT, INTERRUPTED
     */
    public static long write(SegmentMemory memory, long version, long offset, byte[] source, int index, int length, Duration timeout) {
        String op = "write-snapshot";
        checkMemory(op, memory);
        checkApart(op, version, offset, length);
        SegmentMemory.checkArray(op, source, index, length);
        memory.writable(op, offset, length); // nothing may go wrong between the two steps
        Patience patience = new Patience(op, timeout);
        while (true) {
            long before = memory.getLongAcquire(version);
            if ((before & 1) == 0 && memory.compareAndSetLong(version, before, before + 1)) {
                VarHandle.fullFence();
                memory.putBytes(offset, source, index, length);
                memory.putLongRelease(version, before + 2);
                return before + 2;
            }
            patience.use(before);
        }
    }

    private static void checkMemory(String op, SegmentMemory memory) {
        if (memory == null) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "memory");
        }
    }

    private static void checkApart(String op, long version, long offset, long length) {
        if (length > 0 && offset < version + 8 && version < offset + length) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("version", version).with("offset", offset).with("length", length)
                .hint("the data lies over its version");
        }
    }

    /** Waiting for another one: first without giving up the processor, then with. */
    private static final class Patience {
        private final String op;
        private final Duration timeout;
        private final long deadline;
        private int used;

        Patience(String op, Duration timeout) {
            this.op = op;
            this.timeout = timeout;
            this.deadline = Signaling.deadline(timeout);
        }

        void use(long version) {
            if (used++ < SPINS) {
                Thread.onSpinWait();
                return;
            }
            if (Thread.currentThread().isInterrupted()) {
                throw RsmException.of(RsmError.INTERRUPTED, op);
            }
            if (deadline - System.nanoTime() <= 0) {
                throw RsmException.of(RsmError.TIMEOUT, op).with("version", version)
                    .with("timeout-ms", timeout == null ? -1 : timeout.toMillis())
                    .hint("somebody is writing all the time, or has died while writing");
            }
            LockSupport.parkNanos(PAUSE_NANOS);
        }
    }
}
