package org.rsmapi;

import static org.rsmapi.mem.Engine.ENGINE;

import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;
import org.rsmapi.sys.Deadline;
import org.rsmapi.sys.Vm;

/**
 * Data of more than one value that is read as a whole while others write it: a lock that readers never take. Beyond the RSMAPI.
 *
 * <p>A version, a long at a multiple of 8, goes with the data:
 *
 * <pre>
 *   even   no write; every write adds 2
 *   odd    a write is under way
 * </pre>
 *
 * A writer makes it odd in one atomic step, writes, and stores the next even number with release order. A reader takes the data for
 * good if the version was even before and is the same afterwards; else it tries again. Readers need the permission to read only, and
 * do not hold up writers.
 *
 * <p>A writer that has made the version odd cannot fail: everything that can fail comes before, an interrupt ends only the wait before,
 * and the memory is not moved or unmapped by this process meanwhile. If an error of the JVM comes all the same, such as
 * StackOverflowError, the data is written to its end before the error is passed on. A writer whose process dies while it writes, or
 * whose access the exporter revokes, leaves the version odd, and maybe data that is half written: readers and writers are then told
 * TIMEOUT, until a new even number is stored there.
 */
public final class Seqlock {
    private static final int SPINS = 200;
    private static final long PAUSE_NANOS = 50_000;
    private static final long LONGEST_PAUSE_NANOS = 5_000_000;
    /** A wait ends later than it could by at most this part of it. */
    private static final int PAUSE_SHARE = 8;
    /** The name of the method that holds addresses. */
    static final String ATTEMPT = "attempt";
    /** Calls deeper than all others is where the version is taken: see {@link #take}. */
    private static final int DEEPER = 16;

    private static final String WRITE = "write-snapshot";

    private static volatile boolean warm;

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
     * Applies a function to the memory, again if a write happened meanwhile, and returns its value. What it reads may be half
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
        Backoff backoff = new Backoff(op, timeout);
        while (true) {
            long before = memory.getLongAcquire(version);
            if ((before & 1) == 0) {
                Throwable failure = null;
                T value = null;
                try {
                    value = reader.apply(memory);
                } catch (Throwable e) { // of what kind whatsoever: what is half written can lead to anything
                    failure = e;
                }
                VarHandle.loadLoadFence(); // what was read comes before the version is read again
                if (memory.getLongVolatile(version) == before) {
                    if (failure != null) {
                        throw Seqlock.<RuntimeException>unchecked(failure);
                    }
                    versionRead[0] = before;
                    return value;
                }
            }
            backoff.use(before);
        }
    }

    /** The failure as it is: the reader may be written in a language without checked exceptions. */
    @SuppressWarnings("unchecked")
    private static <E extends Throwable> E unchecked(Throwable failure) throws E {
        throw (E) failure;
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
        checkMemory(WRITE, memory);
        checkApart(WRITE, version, offset, length);
        SegmentMemory.checkArray(WRITE, source, index, length);
        return write(memory, version, new Piece[] {new Piece(offset, source, index, length)}, timeout);
    }

    /**
     * Writes several arrays, each at an offset of its own, as a whole. What lies between them is not written.
     *
     * @param offsets  one for each array
     * @throws RsmException as the other form; BAD_LENGTH (not as many offsets as arrays)
     */
    public static long write(SegmentMemory memory, long version, long[] offsets, byte[][] sources, Duration timeout) {
        checkMemory(WRITE, memory);
        if (offsets == null || sources == null) {
            throw RsmException.of(RsmError.BAD_ADDR, WRITE).with("argument", offsets == null ? "offsets" : "sources");
        }
        if (offsets.length != sources.length) {
            throw RsmException.of(RsmError.BAD_LENGTH, WRITE).with("argument", "offsets").with("count", offsets.length)
                .with("array-length", sources.length);
        }
        Piece[] pieces = new Piece[sources.length];
        for (int i = 0; i < pieces.length; i++) {
            byte[] source = sources[i];
            int length = source == null ? 0 : source.length;
            SegmentMemory.checkArray(WRITE, source, 0, length);
            checkApart(WRITE, version, offsets[i], length);
            pieces[i] = new Piece(offsets[i], source, 0, length);
        }
        return write(memory, version, pieces, timeout);
    }

    private static long write(SegmentMemory memory, long version, Piece[] pieces, Duration timeout) {
        for (Piece piece : pieces) {
            memory.writable(WRITE, piece.offset, piece.length);
        }
        if (!warm) {
            warmUp();
        }
        Backoff backoff = new Backoff(WRITE, timeout);
        while (true) {
            long before = memory.getLongAcquire(version);
            if ((before & 1) == 0 && attempt(memory, version, before, pieces)) {
                return before + 2;
            }
            backoff.use(before);
        }
    }

    /** A part of an array, and where it goes. */
    private static final class Piece {
        private final long offset;
        private final byte[] source;
        private final int index;
        private final int length;
        private long address;

        Piece(long offset, byte[] source, int index, int length) {
            this.offset = offset;
            this.source = source;
            this.index = index;
            this.length = length;
        }
    }

    /**
     * One attempt to write; false if the version is not {@code before} any more, or the memory is being moved or taken away.
     *
     * <p>This method itself, and none that it calls, says when it has entered and left the memory; and after it has taken the version
     * nothing that it calls needs more of the stack than taking the version did, but for the copy.
     */
    private static boolean attempt(SegmentMemory memory, long version, long before, Piece[] pieces) {
        Holds holds = memory.holds();
        boolean held = false;
        boolean taken = false;
        boolean released = false;
        int written = 0;
        long at = 0;
        try {
            if (holds != null) {
                synchronized (holds) {
                    if (!holds.shut) {
                        holds.inside++;
                        held = true;
                    }
                }
            }
            for (int i = 0; i < pieces.length; i++) { // waits, or throws, if it could not be held
                pieces[i].address = memory.writable(WRITE, pieces[i].offset, pieces[i].length);
            }
            if (holds != null && !held) {
                return false;
            }
            at = memory.updatable("compare-and-set-long", version, Long.BYTES);
            taken = take(at, before, DEEPER);
            if (taken) {
                VarHandle.fullFence();
                while (written < pieces.length) {
                    ENGINE.copyFromArray(pieces[written].source, pieces[written].index, pieces[written].address, pieces[written].length);
                    written++;
                }
                ENGINE.putLongRelease(at, before + 2);
                released = true;
            }
            return taken;
        } finally {
            try {
                while (taken && written < pieces.length) {
                    Piece piece = pieces[written];
                    for (int i = 0; i < piece.length; i++) {
                        ENGINE.putByte(piece.address + i, piece.source[piece.index + i]);
                    }
                    written++;
                }
            } finally {
                if (taken && !released) {
                    ENGINE.putLongRelease(at, before + 2);
                }
                if (held) {
                    synchronized (holds) {
                        holds.inside--;
                    }
                }
                if (taken) {
                    memory.emptyIfEnded(version, Long.BYTES);
                    for (int i = 0; i < pieces.length; i++) {
                        memory.emptyIfEnded(pieces[i].offset, pieces[i].length);
                    }
                }
                Reference.reachabilityFence(memory);
            }
        }
    }

    /** Makes the version odd, some calls deeper than the caller is: where there is stack for this, there is for what follows. */
    private static boolean take(long at, long before, int deeper) {
        return deeper == 0 ? ENGINE.compareAndSetLong(at, before, before + 1) : take(at, before, deeper - 1);
    }

    /** Makes each access once that a write consists of: the JVM prepares some of them at their first use, which can fail. */
    private static void warmUp() {
        long page = Vm.mapAnonymous(Vm.pageSize());
        try {
            take(page, 0, DEEPER);
            ENGINE.putLongRelease(page, 0);
            ENGINE.copyFromArray(new byte[Long.BYTES], 0, page, Long.BYTES);
            ENGINE.putByte(page, (byte) 0);
        } finally {
            Vm.unmap(page, Vm.pageSize());
        }
        warm = true;
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

    /**
     * Waiting for another one: first without giving up the processor, then with, the longer the less often. While versions come and go
     * the writers are alive, and the wait begins anew with each.
     */
    private static final class Backoff {
        private final String op;
        private final Duration timeout;
        private final long deadline;
        private int used;
        private long last = -1;
        private long since;

        Backoff(String op, Duration timeout) {
            this.op = op;
            this.timeout = timeout;
            this.deadline = Deadline.after(timeout);
        }

        void use(long version) {
            if (used++ < SPINS) {
                Thread.onSpinWait();
                return;
            }
            if (Thread.currentThread().isInterrupted()) {
                throw RsmException.of(RsmError.INTERRUPTED, op);
            }
            long now = System.nanoTime();
            if (deadline - now <= 0) {
                throw RsmException.of(RsmError.TIMEOUT, op).with("version", version)
                    .with("timeout-ms", timeout == null ? -1 : timeout.toMillis())
                    .hint("other writers do not stop, or one has died during a write");
            }
            if (version != last) {
                last = version;
                since = now;
            }
            long pause = Math.min(Math.max((now - since) / PAUSE_SHARE, PAUSE_NANOS), LONGEST_PAUSE_NANOS);
            LockSupport.parkNanos(Math.min(pause, deadline - now));
        }
    }
}
