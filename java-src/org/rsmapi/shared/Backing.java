package org.rsmapi.shared;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.Supplier;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Engine;
import org.rsmapi.mem.Views;
import org.rsmapi.spi.CallerMemory;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * The memory behind export segments: an address range of this process, and the memory file that it shares with importers.
 *
 * <p>It is in one of two states. <i>Shared</i>: the range is a shared mapping of the file. <i>Private</i>, after a revocation:
 * the range is this process's own copy, and this process has closed the file.
 *
 * <p>Several segments may be exported over the same range; then they have one backing.
 */
public final class Backing {
    /** Pages are moved in steps, so that a move needs little more memory than there is. */
    private static final long STEP = 16L << 20;

    private static final Map<Long, Backing> ADOPTED = new HashMap<>();

    private static final long NOWHERE = -1;

    private static final AtomicIntegerFieldUpdater<Backing> UNMAPPED =
        AtomicIntegerFieldUpdater.newUpdater(Backing.class, "unmapped");

    /**
     * Guards all that changes, and the publications. It is held while the memory moves, which takes seconds for many gigabytes. The
     * service thread therefore never waits for it: see {@link #tryLock()}.
     */
    private final ReentrantLock lock = new ReentrantLock();
    /** What to do when the lock is free. */
    private final Queue<Runnable> postponed = new ConcurrentLinkedQueue<>();
    private final long length;
    /** The address range that was allocated here, whether or not the memory is still there. */
    private final long allocated;
    private final ArrayList<Importers> publications = new ArrayList<>();
    private volatile long address;
    private boolean adopted;
    /** Never read: it keeps the memory's owner reachable. */
    @SuppressWarnings("unused")
    private Object owner;
    private EnumSet<MemoryOption> wants = EnumSet.noneOf(MemoryOption.class);
    private int users = 1;
    private Fd file;
    private Fd readOnly;
    /** That of the file at the address; null while there is none. */
    private Views.View view;
    /** A move to private pages that is under way, or failed half-way, and how far it got. */
    private boolean moving;
    private long moved;
    private volatile int unmapped;

    /** A publication of the memory, with those who may have it. All is called with the backing's lock held. */
    public interface Importers {
        /** Whether anybody may have the memory, or have had it. */
        boolean handedOut();

        /** Ends all connections, because the memory is going to move; the publication stands. */
        void drop();
    }

    private Backing(long address, long length, boolean adopted, Object owner, Fd file, Set<MemoryOption> options) {
        this.address = address;
        this.length = length;
        this.allocated = adopted ? NOWHERE : address;
        this.adopted = adopted;
        this.owner = owner;
        this.file = file;
        wants.addAll(options);
    }

    /**
     * Makes memory and what owns it.
     *
     * @throws RsmException as for export-create, if it cannot be had
     */
    public static <T> T owned(long length, Supplier<Backing> making, Function<Backing, T> owner) {
        Backing backing = null;
        try {
            backing = making.get();
            return owner.apply(backing);
        } catch (RuntimeException | Error e) {
            if (backing != null) {
                backing.release();
                backing.unmap();
            }
            if (e instanceof OsError) {
                throw Failures.resources("export-create", (OsError) e).with("length", length);
            }
            throw e;
        }
    }

    /** New memory of zeros. */
    public static Backing allocate(long length, Set<MemoryOption> options) {
        Fd file = MemFd.create("rsmapi-segment", length);
        long address = 0;
        try {
            address = map(file, length, options);
            Backing backing = new Backing(address, length, false, null, file, options);
            backing.furnish();
            backing.view(); // last: nothing has to remove it
            return backing;
        } catch (RuntimeException | Error e) {
            if (address != 0) {
                Vm.unmap(address, length);
            }
            file.close();
            throw e;
        }
    }

    private static long map(Fd file, long length, Set<MemoryOption> options) {
        if (!options.contains(MemoryOption.HUGE_PAGES)) {
            return Vm.mapShared(file, length, Vm.PROT_READ | Vm.PROT_WRITE, 0, 0);
        }
        return Vm.mapSharedAligned(file, length, Vm.PROT_READ | Vm.PROT_WRITE, 0, Vm.hugePageSize());
    }

    /**
     * The caller's memory, which becomes shared where it is. Another segment over exactly the same range shares the backing.
     *
     * @throws RsmException BAD_ADDR (another segment lies over a part of the range) and what {@link CallerMemory} says
     */
    public static Backing adopt(String op, long address, long length, Object owner, Set<MemoryOption> options) {
        synchronized (ADOPTED) {
            Backing other = over(op, address, length);
            if (other != null) {
                other.join(options);
                return other;
            }
            CallerMemory.check(op, address, length, owner);
            Backing backing = new Backing(address, length, true, owner, null, options);
            backing.share();
            try {
                ADOPTED.put(address, backing);
            } catch (Error e) {
                backing.release();
                throw e;
            }
            return backing;
        }
    }

    /** The backing that lies over exactly this range, or null if none touches it. */
    private static Backing over(String op, long address, long length) {
        for (Backing other : ADOPTED.values()) {
            if (other.address == address && other.length == length) {
                return other;
            }
            if (address < other.address + other.length && other.address < address + length) {
                throw RsmException.of(RsmError.BAD_ADDR, op).with("address", address).with("length", length)
                    .hint("another segment lies over a part of this memory; only exactly the same range can be exported again");
            }
        }
        return null;
    }

    public void lock() {
        Stack.lock(lock);
    }

    /** For the service thread. What cannot be done because the lock is taken is given to {@link #whenFree}. */
    public boolean tryLock() {
        return lock.tryLock();
    }

    public void unlock() {
        lock.unlock();
        if (!lock.isHeldByCurrentThread()) {
            runPostponed();
        }
    }

    /**
     * Has something done, by any thread, when the lock may be free. It must be short, and not need the lock.
     */
    public void whenFree(Runnable action) {
        postponed.add(action);
        if (!lock.isLocked()) {
            runPostponed(); // the thread that had the lock may not have seen it
        }
    }

    private void runPostponed() {
        Runnable action;
        while ((action = postponed.poll()) != null) {
            try {
                action.run();
            } catch (OsError e) {
                continue; // what the thread that holds the lock does has not failed
            }
        }
    }

    private void join(Set<MemoryOption> options) {
        lock();
        try {
            EnumSet<MemoryOption> before = wants;
            EnumSet<MemoryOption> both = EnumSet.copyOf(wants);
            both.addAll(options);
            wants = both;
            try {
                if (!both.equals(before) && file != null) {
                    furnish();
                }
            } catch (RuntimeException | Error e) {
                wants = before;
                throw e;
            }
            users++;
        } finally {
            unlock();
        }
    }

    /** Has copies know which memory is at the address. */
    private void view() {
        view = Views.add(address, length, MemFd.identity(file), 0);
    }

    /** Makes the shared memory what the segments want it to be. */
    private void furnish() {
        if (wants.contains(MemoryOption.HUGE_PAGES)) {
            Vm.makeHuge(address, length);
        }
        if (wants.contains(MemoryOption.PREFAULT)) {
            ownPages(address, length);
        }
        if (wants.contains(MemoryOption.LOCK)) {
            Vm.lock(address, length);
        }
    }

    /** Where this process reaches it. */
    public long address() {
        return address;
    }

    /**
     * Whether the whole memory can be handed out: not while a move that failed half-way waits to be done again. With the lock held,
     * as for the two that follow.
     */
    public boolean isWhole() {
        return file != null && !moving;
    }

    /** The file, for an importer that may write. */
    public Fd fileForWriting() {
        return file;
    }

    /** The file, for an importer that may only read. */
    public Fd fileForReading() {
        if (readOnly == null) {
            readOnly = MemFd.reopenReadOnly(file);
        }
        return readOnly;
    }

    /** Publishes the memory, after a move back to a file if the last publication's end has made it private. */
    public <T extends Importers> T publish(ExportedMemory.Gate gate, Supplier<T> opening) {
        lock();
        try {
            if (moving) {
                moveToPrivatePages(); // the rest of what failed before
                closeFile();
            }
            if (file == null) {
                try {
                    gate.shut();
                    share();
                } finally {
                    gate.open();
                }
            }
            publications.ensureCapacity(publications.size() + 1); // so that adding does not fail
            T publication = opening.get();
            publications.add(publication);
            return publication;
        } finally {
            unlock();
        }
    }

    /**
     * Takes the memory away from the importers of a publication that has ended, if it had any. If there are publications by other
     * segments over the same memory, their importers' connections are aborted too then, and they have to connect again.
     *
     * @param livesOn  whether this process goes on using the memory
     * @throws OsError if there is not enough memory to move to; what was not moved is still seen by importers, and the call can
     *                 be made again
     */
    public void revoke(Importers publication, boolean livesOn) {
        lock();
        try {
            if (publication.handedOut() && file != null) {
                for (Importers other : publications) {
                    other.drop();
                }
                if (livesOn || adopted || users > 1) {
                    moveToPrivatePages();
                } else {
                    MemFd.punch(file, 0, length);
                }
                closeFile();
            }
            publications.remove(publication);
            if (file == null && !publications.isEmpty()) {
                share();
            }
        } finally {
            unlock();
        }
    }

    /** Copies the content to a new file and maps that in place. */
    private void share() {
        try (Opening opening = new Opening(1)) {
            Fd next = opening.add(MemFd.create("rsmapi-segment", length));
            MemFd.write(next, address, length);
            Vm.replaceShared(address, next, length, Vm.PROT_READ | Vm.PROT_WRITE, 0);
            opening.done();
            file = next;
        }
        try {
            view();
            furnish();
        } catch (RuntimeException | Error e) {
            moveToPrivatePages();
            closeFile();
            throw e;
        }
    }

    /**
     * Goes to other memory of the caller's. The file stays and gets what that memory contains, so that importers have nothing to do.
     *
     * @throws RsmException BAD_ADDR, PERM_DENIED, REBIND_NOT_ALLOWED
     */
    public void rebind(String op, long next, Object nextOwner) {
        synchronized (ADOPTED) {
            lock();
            try {
                if (over(op, next, length) != null) {
                    throw RsmException.of(RsmError.BAD_ADDR, op).with("address", next).with("length", length)
                        .hint("another segment is exported over this memory: a published segment cannot go there");
                }
                CallerMemory.check(op, next, length, nextOwner);
                if (users > 1) {
                    throw RsmException.of(RsmError.REBIND_NOT_ALLOWED, op).with("address", address).with("length", length)
                        .hint("another segment is exported over the present memory: unpublish this one first");
                }
                long before = address;
                exchange(next);
                if (adopted) {
                    ADOPTED.remove(before);
                } else {
                    Vm.replaceWithZeroPages(before, length);
                }
                ADOPTED.put(next, this);
                address = next;
                adopted = true;
                owner = nextOwner;
            } finally {
                unlock();
            }
        }
    }

    /** The old range gets pages of its own, the file the other range's content, and the other range the file. */
    private void exchange(long next) {
        if (moving) {
            moveToPrivatePages(); // the rest of what failed before
            closeFile();
        }
        long before = address;
        if (file == null) {
            address = next;
            try {
                share();
            } finally {
                address = before;
            }
            return;
        }
        Views.View former = view;
        Vm.copyOnWrite(before, file, length);
        try {
            ownPages(before, length);
            MemFd.write(file, next, length);
            Vm.replaceShared(next, file, length, Vm.PROT_READ | Vm.PROT_WRITE, 0);
            address = next;
            view();
            furnish();
            former.remove();
        } catch (RuntimeException | Error e) {
            if (address == next) {
                Vm.copyOnWrite(next, file, length);
                ownPages(next, length);
                if (view != former) {
                    view.remove();
                    view = former;
                }
                address = before;
            }
            MemFd.write(file, before, length);
            Vm.restoreShared(before, file, length, Vm.PROT_READ | Vm.PROT_WRITE, 0);
            throw e;
        }
    }

    /**
     * Gives this process a copy of every page and takes the file's pages away from all others. No write is lost: the kernel
     * copies a page at the moment of its first write after the range has become private, and what was written before is in it.
     */
    private void moveToPrivatePages() {
        if (!moving) {
            Vm.copyOnWrite(address, file, length);
            moving = true;
            moved = 0;
        }
        while (moved < length) {
            long step = Math.min(STEP, length - moved);
            ownPages(address + moved, step);
            MemFd.punch(file, moved, step);
            moved += step;
        }
        moving = false;
    }

    /** Gives every page of a writable range to this process, as if it had been written to. */
    private static void ownPages(long start, long bytes) {
        if (!Vm.populateForWriting(start, bytes)) {
            touch(start, bytes);
        }
    }

    private static void touch(long start, long bytes) {
        for (long at = start; at < start + bytes; at += Vm.pageSize()) {
            Engine.ENGINE.getAndAddInt(at, 0); // a write that changes nothing, also if another thread is writing there
        }
    }

    private void closeFile() {
        if (view != null) {
            view.remove();
            view = null;
        }
        file.close();
        file = null;
        if (readOnly != null) {
            readOnly.close();
            readOnly = null;
        }
    }

    /** Ends one segment's use, which goes on with another memory. Returns that. */
    public Backing replacedBy(Backing next) {
        try {
            release();
        } catch (RuntimeException | Error e) {
            next.release();
            throw e;
        }
        return next;
    }

    /** Ends one segment's use. Its publication has ended before. */
    public void release() {
        synchronized (ADOPTED) {
            lock();
            try {
                if (users == 1) {
                    end(); // may fail without memory, and is then repeated
                    if (adopted) {
                        ADOPTED.remove(address);
                    }
                }
                users--;
            } finally {
                unlock();
            }
        }
    }

    private void end() {
        if (adopted && file != null) {
            moveToPrivatePages();
        }
        if (!adopted) {
            Vm.replaceWithZeroPages(address, length);
        }
        if (file != null) {
            closeFile();
        }
    }

    /** Returns the addresses that were allocated to the system; nothing may be using them. Idempotent. */
    public void unmap() {
        if (allocated != NOWHERE && UNMAPPED.compareAndSet(this, 0, 1)) {
            Vm.unmap(allocated, length);
        }
    }
}
