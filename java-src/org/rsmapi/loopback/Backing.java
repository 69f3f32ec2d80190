package org.rsmapi.loopback;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.rsmapi.mem.Engine;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * The memory behind export segments: an address range of this process, and the memory file that it shares with importers.
 *
 * <p>It is in one of two states. <i>Shared</i>: the range is a shared mapping of the file. <i>Private</i>, after a revocation:
 * the range is this process's own copy, and the file is gone from here, whoever else may still hold it.
 *
 * <p>Several segments may be exported over the same range; then they have one backing.
 */
final class Backing {
    /** Pages are moved in steps, so that a move needs little more memory than there is. */
    private static final long STEP = 16L << 20;

    private static final Map<Long, Backing> ADOPTED = new HashMap<>();

    private final long address;
    private final long length;
    private final boolean adopted;
    /** Never read: it keeps the memory's owner reachable. */
    @SuppressWarnings("unused")
    private final Object owner;
    private final List<Publication> publications = new ArrayList<>();
    private int users = 1;
    private Fd file;
    private Fd readOnly;
    private boolean handedOut;
    /** A move to private pages that is under way, or failed half-way, and how far it got. */
    private boolean moving;
    private long moved;

    private Backing(long address, long length, boolean adopted, Object owner, Fd file) {
        this.address = address;
        this.length = length;
        this.adopted = adopted;
        this.owner = owner;
        this.file = file;
    }

    /** New memory of zeros. */
    static Backing allocate(long length) {
        Fd file = MemFd.create("rsmapi-segment", length);
        try {
            return new Backing(Vm.mapShared(file, length, Vm.PROT_READ | Vm.PROT_WRITE, 0, 0), length, false, null, file);
        } catch (RuntimeException | Error e) {
            file.close();
            throw e;
        }
    }

    /**
     * The caller's memory, which becomes shared where it is. Another segment over exactly the same range shares the backing.
     *
     * @return null if another segment lies over a part of the range
     */
    static Backing adopt(long address, long length, Object owner) {
        synchronized (ADOPTED) {
            for (Backing other : ADOPTED.values()) {
                if (other.address == address && other.length == length) {
                    other.users++;
                    return other;
                }
                if (address < other.address + other.length && other.address < address + length) {
                    return null;
                }
            }
            CallerMemory.check(address, length, owner != null);
            Backing backing = new Backing(address, length, true, owner, null);
            backing.share();
            ADOPTED.put(address, backing);
            return backing;
        }
    }

    long address() {
        return address;
    }

    /** Whether the whole memory can be handed out: not while a move that failed half-way waits to be done again. */
    synchronized boolean isWhole() {
        return file != null && !moving;
    }

    /** The file, for an importer that may write. */
    synchronized Fd fileForWriting() {
        handedOut = true;
        return file;
    }

    /** The file, for an importer that may only read. */
    synchronized Fd fileForReading() {
        if (readOnly == null) {
            readOnly = MemFd.reopenReadOnly(file);
        }
        handedOut = true;
        return readOnly;
    }

    /** Publishes the memory, after a move back to a file if the last publication's end has made it private. */
    synchronized Publication publish(ExportedMemory.Gate gate, Supplier<Publication> opening) {
        if (moving) {
            moveToPrivatePages(); // the rest of what failed before
            closeFile();
        }
        if (file == null) {
            gate.shut();
            try {
                share();
            } finally {
                gate.open();
            }
        }
        Publication publication = opening.get();
        publications.add(publication);
        return publication;
    }

    /**
     * Takes the memory away from the importers of a publication that has ended. If there are publications by other segments
     * over the same memory, their importers' connections are aborted too, and they have to connect again.
     *
     * @param livesOn  whether this process goes on using the memory
     * @throws OsError if there is not enough memory to move to; what was not moved is still seen by importers, and the call can
     *                 be made again
     */
    synchronized void leave(Publication publication, boolean livesOn) {
        if (handedOut && file != null) {
            for (Publication other : publications) {
                other.dropImporters();
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
    }

    /** Copies the content to a new file and maps that in place. */
    private void share() {
        Fd next = MemFd.create("rsmapi-segment", length);
        try {
            MemFd.write(next, address, length);
            Vm.replaceShared(address, next, length, Vm.PROT_READ | Vm.PROT_WRITE, 0);
        } catch (RuntimeException | Error e) {
            next.close();
            throw e;
        }
        file = next;
    }

    /**
     * Gives this process a copy of every page and takes the file's pages away from everybody else. No write is lost: the kernel
     * copies a page at the moment of its first write after the range has become private, and what was written before is in it.
     */
    private void moveToPrivatePages() {
        if (!moving) {
            Vm.replacePrivate(address, file, length);
            moving = true;
            moved = 0;
        }
        while (moved < length) {
            long step = Math.min(STEP, length - moved);
            if (!Vm.populateForWriting(address + moved, step)) {
                touch(address + moved, step);
            }
            MemFd.punch(file, moved, step);
            moved += step;
        }
        moving = false;
    }

    private static void touch(long start, long bytes) {
        for (long at = start; at < start + bytes; at += Vm.pageSize()) {
            Engine.ENGINE.getAndAddInt(at, 0); // a write that changes nothing, whoever else is writing there
        }
    }

    private void closeFile() {
        file.close();
        file = null;
        if (readOnly != null) {
            readOnly.close();
            readOnly = null;
        }
        handedOut = false;
    }

    /** Ends one segment's use. Its publication has ended before. */
    void release() {
        synchronized (ADOPTED) {
            synchronized (this) {
                if (users == 1) {
                    end(); // may fail for want of memory, and is then done again
                    if (adopted) {
                        ADOPTED.remove(address);
                    }
                }
                users--;
            }
        }
    }

    private void end() {
        if (adopted && file != null) {
            moveToPrivatePages();
        }
        if (!adopted) {
            Vm.abandon(address, length);
        }
        if (file != null) {
            closeFile();
        }
    }

    /** Gives an allocated address range back, when nobody can reach it any more. */
    void giveBack() {
        if (!adopted) {
            Vm.unmap(address, length);
        }
    }
}
