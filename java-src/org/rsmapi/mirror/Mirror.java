package org.rsmapi.mirror;

import static org.rsmapi.mem.Engine.ENGINE;

import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Differences;
import org.rsmapi.mem.Stage;
import org.rsmapi.spi.Connection.Placement;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.NoRoom;
import org.rsmapi.spi.PlacedRange;
import org.rsmapi.spi.RemoteMemory;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * A copy of a part of a segment, in memory of this process.
 *
 * <p>What is sent and brought in are words of 8 bytes, at multiples of 8. Where it can be written to, the mirror has a twin: of each word
 * what the exporter has, as far as is known here. A word that differs from its twin is this process's change: {@link #push} sends it,
 * and {@link #pull} lets it be. So importers who change different words do not undo each other's changes, and no change is lost because
 * something is brought in. Other threads may be writing meanwhile: a word is exchanged in one step, if nobody has changed it.
 *
 * <p>Words that were sent and could not be confirmed are sent again with the next push, whether they differ or not.
 */
public final class Mirror extends PlacedRange {
    private static final int WORD = Long.BYTES;

    private final ConfirmedMemory remote;
    /** Where it begins in the segment. */
    private final long start;
    /** Null where it cannot be written to, as the two others are. */
    private final Twin twin;
    /** Held by the one who pulls or pushes. */
    private final ReentrantLock turn = new ReentrantLock();
    /** Whether the pages may be gone: nothing is to be brought in or sent any more. */
    private volatile boolean gone;
    /** Whether words were sent since all was confirmed, and the misses from before. Read and changed by the one whose turn it is. */
    private boolean unconfirmed;
    private long missesBefore;
    /** Whether the memory may be in use for something else. Changed by the one whose turn it is. */
    private boolean finished;
    /** Whether the twin is unmapped. Read and changed by the one whose turn it is. */
    private boolean released;

    /** What the exporter has, as far as is known, and which words were sent. Offsets are those of the mirror. */
    private static final class Twin {
        private final long address;
        private final long mapped;
        /** Words that were sent since all was confirmed. */
        private final Marks sent;
        /** Words that were sent, but may not have arrived. */
        private final Marks unsure;

        Twin(long length) {
            long marks = Vm.wholePages(Marks.bytes(length / WORD));
            mapped = length + 2 * marks;
            address = Vm.mapAnonymous(mapped);
            sent = new Marks(address + length, length / WORD);
            unsure = new Marks(address + length + marks, length / WORD);
        }

        void unmap() {
            Vm.unmap(address, mapped);
        }
    }

    /**
     * A mirror of zeros, which {@link #pull} fills.
     *
     * @param start     in the segment, a multiple of the page size
     * @param length    in bytes; whole pages are mirrored
     * @param writable  whether changes are sent
     * @throws NoRoom if there are no addresses or no memory for it
     * @throws RsmException if it cannot be there, or cannot be what the options say
     */
    public Mirror(ConfirmedMemory remote, Placement placement, long address, boolean writable, long start, long length,
            Set<MemoryOption> options) {
        super(placement, address, writable, start, length, (at, pages) -> place(placement, at, pages));
        this.remote = remote;
        this.start = start;
        Twin made = null;
        try {
            made = writable ? new Twin(length()) : null;
        } catch (OsError e) {
            throw new NoRoom(Failures.resources("import-map", e).with("offset", start).with("length", length));
        } finally {
            if (made == null && writable) {
                drop();
            }
        }
        this.twin = made;
        furnish(options, start);
    }

    private static long place(Placement placement, long address, long pages) {
        switch (placement) {
            case FIXED:
                Vm.mapAnonymousAt(address, pages);
                return address;
            case FIXED_OVER_OWN:
                Vm.replaceAnonymous(address, pages);
                return address;
            default:
                return Vm.mapAnonymous(pages, address);
        }
    }

    @Override
    protected String lackOfHugePages() {
        return "a mirror of a segment is not in huge pages";
    }

    /**
     * Brings in what the exporter has, except for words that this process has changed since they were brought in or sent.
     *
     * @param at      in the mirror, in bytes
     * @param length  in bytes; whole words are brought in
     * @throws RsmException what {@link RemoteMemory#get} throws; then a part may have been brought in
     */
    public void pull(long at, long length) {
        Stack.lock(turn);
        long first = at & -WORD;
        long end = end(at, length);
        long step = Math.min(end - first, RemoteMemory.MOST_CHANGED);
        try (Stage stage = stage("pull", step)) {
            for (long from = first; from < end && !gone; from += step) {
                long here = from;
                long known = (twin == null ? address() : twin.address) + from;
                remote.getChanged(start + from, stage.address(), Math.min(end - from, step), known, (part, bytes) -> {
                    if (twin == null) {
                        takeIn(stage.address() + part, here + part, bytes);
                    } else {
                        merge(stage.address() + part, here + part, bytes);
                    }
                });
            }
        } finally {
            settle();
        }
    }

    /** Nobody writes here: what differs is old. */
    private void takeIn(long news, long from, long bytes) {
        long here = address() + from;
        for (long i = Differences.next(news, here, 0, bytes); i < bytes; i = Differences.next(news, here, i + WORD, bytes)) {
            ENGINE.putLongVolatile(here + i, ENGINE.getLong(news + i));
        }
    }

    private void merge(long news, long from, long bytes) {
        long here = address() + from;
        long known = twin.address + from;
        for (long i = Differences.next(news, known, 0, bytes); i < bytes; i = Differences.next(news, known, i + WORD, bytes)) {
            long next = ENGINE.getLong(news + i);
            if (!twin.unsure.has((from + i) / WORD)) {
                ENGINE.compareAndSetLong(here + i, ENGINE.getLong(known + i), next); // unless it was changed here
            }
            ENGINE.putLong(known + i, next);
        }
    }

    /**
     * Sends what this process has changed.
     *
     * @param at      in the mirror, in bytes
     * @param length  in bytes; whole words are sent
     * @throws RsmException what {@link RemoteMemory#put} throws
     */
    public void push(long at, long length) {
        Stack.lock(turn);
        try {
            send(at, length);
        } finally {
            settle();
        }
    }

    /**
     * Sends what this process has changed, and waits until it has arrived, with all that was sent before.
     *
     * @param at      in the mirror, in bytes
     * @param length  in bytes; whole words are sent
     * @throws RsmException what {@link RemoteMemory#put} and {@link RemoteMemory#confirm} throw
     */
    public void pushAndConfirm(long at, long length) {
        Stack.lock(turn);
        boolean counts = twin != null && !gone;
        boolean arrived = false;
        try {
            if (!unconfirmed) {
                missesBefore = remote.misses();
            }
            send(at, length);
            remote.confirmSince(missesBefore);
            arrived = true;
        } finally {
            if (counts) {
                if (!arrived) {
                    twin.unsure.addAll(twin.sent);
                }
                twin.sent.clear();
                unconfirmed = false;
            }
            settle();
        }
    }

    /** With the turn. */
    private void send(long at, long length) {
        if (twin == null || gone) {
            return;
        }
        try (Stage stage = stage("push", Stage.BYTES)) {
            long end = end(at, length);
            long from = nextChange(at & -WORD, end);
            while (from < end && !gone) {
                long most = Math.min(end - from, Stage.BYTES);
                long bytes = 0;
                do {
                    long word = ENGINE.getLongVolatile(address() + from + bytes);
                    ENGINE.putLong(stage.address() + bytes, word);
                    bytes += WORD;
                } while (bytes < most && isChanged(from + bytes));
                if (gone) { // some of it may be zeros that nobody has written
                    return;
                }
                send(stage.address(), from, bytes);
                from = nextChange(from + bytes, end);
            }
        }
    }

    private void send(long data, long from, long bytes) {
        ENGINE.copy(data, twin.address + from, bytes);
        twin.unsure.remove(from / WORD, (from + bytes) / WORD);
        missesBefore = unconfirmed ? missesBefore : remote.misses();
        unconfirmed = true;
        boolean sent = false;
        try {
            remote.put(start + from, data, bytes, true); // whoever sends confirms, orders, or ends
            sent = true;
        } finally {
            (sent ? twin.sent : twin.unsure).add(from / WORD, (from + bytes) / WORD);
        }
    }

    private boolean isChanged(long at) {
        return ENGINE.getLong(address() + at) != ENGINE.getLong(twin.address + at) || twin.unsure.has(at / WORD);
    }

    private long nextChange(long from, long end) {
        long different = from + Differences.next(address() + from, twin.address + from, 0, end - from);
        return Math.min(different, twin.unsure.next(from / WORD, end / WORD) * WORD);
    }

    private static Stage stage(String op, long bytes) {
        try {
            return Stage.take(bytes);
        } catch (OsError e) {
            throw Failures.resources(op, e);
        }
    }

    private long end(long at, long length) {
        return Math.min(at + length + WORD - 1 & -WORD, length());
    }

    /** In bytes, whole pages. */
    @Override
    public long length() {
        return super.length();
    }

    /** Ends a turn: what was brought in after the pages had gone is not to stay. */
    private void settle() {
        try {
            if (gone && !finished) {
                super.replaceWithZeroPages();
            }
        } finally {
            turn.unlock();
        }
        releaseIfGone();
    }

    /** If it is somebody's turn, that one does it; also if that is this thread, to which an abort has come in the middle of a call. */
    private void releaseIfGone() {
        if (gone && !turn.isHeldByCurrentThread() && turn.tryLock()) {
            try {
                if (!released && twin != null) {
                    twin.unmap();
                }
                released = true;
            } finally {
                turn.unlock();
            }
        }
    }

    /**
     * Waits for what is under way, and lets nothing more be brought in or sent.
     *
     * @param flush  whether to send what this process has changed before
     * @throws RsmException what {@link RemoteMemory#put} throws; it is over nevertheless
     */
    public void finish(boolean flush) {
        Stack.lock(turn);
        try {
            if (flush) {
                send(0, length());
            }
        } finally {
            gone = true;
            finished = true;
            turn.unlock();
        }
    }

    @Override
    public void replaceWithZeroPages() {
        gone = true;
        super.replaceWithZeroPages();
        releaseIfGone();
    }
}
