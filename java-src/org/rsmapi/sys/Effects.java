package org.rsmapi.sys;

import com.sun.jna.Pointer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Makes sure that system calls have the effects that the library's promises rest on, by trying each of them on two pages of its own.
 *
 * <p>An emulator or a sandbox that imitates a kernel can report success for a call that did nothing. QEMU's user-mode emulation, for
 * example, returns 0 for every madvise(2) that it does not know, and a segment would lose its content with the end of a publication.
 * Where there is another way to the same effect it is taken from then on; where there is none, the process cannot share memory safely.
 */
public final class Effects {
    private static final int PAGES = 2;
    private static final int NO_ADVICE = 9999;
    private static final byte WRITTEN = 7;
    private static final byte OTHER = 9;

    private static boolean probed;

    private Effects() {}

    /** An effect that is missing, or that could not be tried. */
    public static final class Missing extends RuntimeException {
        private static final long serialVersionUID = 1L;

        private final String effect;

        Missing(String effect, OsError cause) {
            super(effect, cause);
            this.effect = effect;
        }

        /** What should be, as a sentence without its full stop. */
        public String effect() {
            return effect;
        }

        /** The call that failed; null if all reported success. */
        public OsError failure() {
            return (OsError) getCause();
        }
    }

    /** One effect. A check that throws an OsError says that the system refuses a call. */
    private record Effect(String sentence, Check check) {}

    @FunctionalInterface
    private interface Check {
        boolean holds(Stage stage) throws OsError;
    }

    /** In this order: a check may rely on what those before it have found. */
    private static final List<Effect> EFFECTS = List.of(
        new Effect("a memory file has the length and the mode that it is given", Effects::lengthAndMode),
        new Effect("memory that is allocated to a file is there", Effects::allocated),
        new Effect("/proc/self/maps lists a new mapping", Effects::listed),
        new Effect("all mappings of a memory file show the same memory", Effects::shared),
        new Effect("a sealed memory file can neither shrink nor grow nor lose its seals", Effects::sealed),
        new Effect("a mapping at a fixed address does not replace another one", Effects::doesNotReplace),
        new Effect("a punched hole takes the pages from all mappings of the file", Effects::punched),
        new Effect("a descriptor that is open to read cannot be used to write, to map for writing or to punch holes", Effects::readOnly),
        new Effect("a private mapping keeps its pages when a hole is punched into the file", Effects::keepsPrivatePages),
        new Effect("memory that is mapped in the place of a file separates it from the file", Effects::separated),
        new Effect("an eventfd counts events, and poll and epoll tell of them", Effects::counted),
        new Effect("a name of a socket is bound only once", Effects::boundOnce),
        new Effect("the other end of a socket is identified", Effects::identified));

    /**
     * Tries all effects, unless that has been done.
     *
     * @throws Missing if one is not there; the next call tries again
     * @throws OsError if there is not enough of something to try
     */
    public static synchronized void probe() {
        if (probed) {
            return;
        }
        try (Stage stage = new Stage()) {
            for (Effect effect : EFFECTS) {
                boolean holds;
                try {
                    holds = effect.check.holds(stage);
                } catch (OsError e) {
                    throw judged(effect.sentence, e);
                }
                if (!holds) {
                    throw new Missing(effect.sentence, null);
                }
            }
            probed = true;
        } catch (OsError e) {
            throw judged("memory files can be made and mapped", e);
        } finally {
            if (!probed) {
                Aio.close(); // there will be no controller whose end would do it
            }
        }
    }

    private static RuntimeException judged(String effect, OsError e) {
        return e.isShortage() ? e : new Missing(effect, e);
    }

    /** The pages: a file as segments have one, mapped for writing, and mapped to read through another descriptor. */
    private static final class Stage implements AutoCloseable {
        private final long bytes = PAGES * Vm.pageSize();
        private final Fd file;
        private Fd reader;
        private long own;
        private long theirs;

        Stage() {
            file = MemFd.create("rsmapi-probe", bytes);
            try {
                reader = MemFd.reopenReadOnly(file);
                own = Vm.mapShared(file, bytes, Vm.PROT_READ | Vm.PROT_WRITE, 0, 0);
                theirs = Vm.mapShared(reader, bytes, Vm.PROT_READ, 0, 0);
            } catch (RuntimeException | Error e) {
                close();
                throw e;
            }
        }

        /** The start of a page as the exporter has it. */
        byte get(int page) {
            return new Pointer(own).getByte(page * Vm.pageSize());
        }

        /** The same as an importer has it. */
        byte seen(int page) {
            return new Pointer(theirs).getByte(page * Vm.pageSize());
        }

        void put(int page, byte value) {
            new Pointer(own).setByte(page * Vm.pageSize(), value);
        }

        @Override
        public void close() {
            for (long address : new long[] {own, theirs}) {
                if (address != 0) {
                    Libc.munmap(address, bytes);
                }
            }
            if (reader != null) {
                reader.close();
            }
            file.close();
        }
    }

    private static boolean lengthAndMode(Stage stage) {
        if (MemFd.size(stage.file) != stage.bytes) {
            return false;
        }
        try {
            Object mode = Files.getAttribute(Path.of(Proc.pathOf(stage.file)), "unix:mode");
            return ((int) mode & 0777) == MemFd.OWNER_READ;
        } catch (IOException | UnsupportedOperationException | IllegalArgumentException e) {
            return false;
        }
    }

    private static boolean allocated(Stage stage) {
        long pages = MemFd.allocated(stage.file);
        if (pages >= 0 && pages < stage.bytes) {
            MemFd.fallocates = false;
            MemFd.allocate(stage.file, stage.bytes);
        }
        return true;
    }

    private static boolean listed(Stage stage) {
        return isListed(stage.own, stage.bytes, true) && isListed(stage.theirs, stage.bytes, false);
    }

    private static boolean isListed(long address, long bytes, boolean writable) {
        List<Vm.Region> regions = Vm.regions(address, address + bytes);
        if (regions.size() != 1) {
            return false;
        }
        Vm.Region region = regions.get(0);
        return region.sharedFile() && region.writable() == writable && region.start() <= address && region.end() >= address + bytes;
    }

    private static boolean shared(Stage stage) {
        stage.put(0, WRITTEN);
        write(stage, OTHER);
        return stage.seen(0) == WRITTEN && stage.seen(1) == OTHER && stage.get(1) == OTHER;
    }

    /** Writes to the second page, by a call. */
    private static boolean write(Stage stage, byte value) {
        try (NativeBlock other = new NativeBlock(1)) {
            other.putByte(0, value);
            OsError.check(Libc.pwrite(stage.file.number(), other.address(), 1, Vm.pageSize()), "pwrite");
        }
        return true;
    }

    private static boolean sealed(Stage stage) {
        return MemFd.isSealed(stage.file)
            && Libc.ftruncate(stage.file.number(), 0) == -1
            && Libc.ftruncate(stage.file.number(), 2 * stage.bytes) == -1
            && MemFd.size(stage.file) == stage.bytes
            && !MemFd.addSeals(stage.file);
    }

    private static boolean readOnly(Stage stage) {
        long mapped = Libc.mmap(0, stage.bytes, Vm.PROT_READ | Vm.PROT_WRITE, Vm.MAP_SHARED, stage.reader.number(), 0);
        if (mapped != -1) {
            Libc.munmap(mapped, stage.bytes);
            return false;
        }
        return Libc.mprotect(stage.theirs, stage.bytes, Vm.PROT_READ | Vm.PROT_WRITE) == -1
            && Libc.pwrite(stage.reader.number(), stage.own, 1, 0) == -1
            && !MemFd.punches(stage.reader, Vm.pageSize());
    }

    /** Tried over a mapping that is not needed, which is replaced if the kernel does not know better. */
    private static boolean doesNotReplace(Stage stage) {
        long length = Vm.pageSize();
        long taken = Vm.mapAnonymous(length);
        try {
            long got = Libc.mmap(taken, length, Vm.PROT_READ, Vm.MAP_SHARED | Vm.MAP_FIXED_NOREPLACE, stage.file.number(), 0);
            if (got == taken) {
                Vm.knowsNoReplace = false; // without any flag an address is a hint, and never replaces a mapping
            } else if (got != -1) {
                Libc.munmap(got, length);
            }
            try {
                Vm.mapSharedAt(taken, stage.file, length, Vm.PROT_READ, 0);
                return false;
            } catch (OsError e) {
                return e.is(Errno.EEXIST);
            }
        } finally {
            Libc.munmap(taken, length);
        }
    }

    private static boolean punched(Stage stage) {
        stage.put(0, WRITTEN);
        MemFd.punch(stage.file, 0, Vm.pageSize());
        return stage.get(0) == 0 && stage.seen(0) == 0 && stage.seen(1) == OTHER;
    }

    /** One page by madvise(2); where that does not help, the other one by a write. */
    private static boolean keepsPrivatePages(Stage stage) {
        long page = Vm.pageSize();
        stage.put(0, WRITTEN);
        Vm.copyOnWrite(stage.own, stage.file, stage.bytes);
        if (Libc.madvise(stage.own, page, NO_ADVICE) == 0) {
            Vm.advises = false;
        }
        if (Vm.populateForWriting(stage.own, page)) {
            MemFd.punch(stage.file, 0, page);
            Vm.advises = stage.get(0) == WRITTEN;
        }
        Vm.showsPrivately = stage.get(1) == OTHER && write(stage, WRITTEN) && stage.get(1) == WRITTEN;
        stage.put(1, OTHER);
        MemFd.punch(stage.file, page, page);
        boolean kept = stage.get(1) == OTHER && stage.seen(1) == 0;
        Vm.replaceShared(stage.own, stage.file, stage.bytes, Vm.PROT_READ | Vm.PROT_WRITE, 0);
        return kept;
    }

    private static boolean separated(Stage stage) {
        stage.put(0, WRITTEN);
        Vm.replaceWithZeroPages(stage.own, stage.bytes);
        if (stage.get(0) != 0) {
            return false;
        }
        stage.put(0, OTHER);
        return stage.get(0) == OTHER && stage.seen(0) == WRITTEN;
    }

    private static boolean counted(Stage stage) {
        try (EventFd waker = new EventFd()) {
            waker.signal();
            if (!waker.take()) {
                return false;
            }
        }
        try (EventFd events = EventFd.ofEvents(0); Epoll set = new Epoll()) {
            set.add(events.fd(), OTHER);
            boolean before = events.take() || set.await(0).length > 0;
            return !before && events.post(true) && isReady(set) && events.take() && !events.take() && !isReady(set);
        }
    }

    private static boolean isReady(Epoll set) {
        boolean polled = Poll.forInput(set.fd(), System.nanoTime()) == Poll.Outcome.READY;
        long[] tokens = set.await(0);
        return polled && tokens.length == 1 && tokens[0] == OTHER;
    }

    private static String name() {
        return "rsmapi-probe/" + Credentials.pid() + "/" + Long.toHexString(System.nanoTime());
    }

    private static boolean boundOnce(Stage stage) {
        String name = name();
        try (Fd first = Sockets.bind(name)) {
            return first.isOpen() && isTaken(name);
        }
    }

    private static boolean isTaken(String name) {
        try {
            Sockets.bind(name).close();
            return false;
        } catch (OsError e) {
            if (e.is(Errno.EADDRINUSE)) {
                return true;
            }
            throw e;
        }
    }

    /** Who the other end is decides what it may do. */
    private static boolean identified(Stage stage) {
        String name = name();
        try (Fd listener = Sockets.listen(name, 1); Fd importer = Sockets.connect(name); Fd exporter = Sockets.accept(listener)) {
            return exporter != null && isSelf(Sockets.peer(exporter)) && isSelf(Sockets.peer(importer));
        }
    }

    private static boolean isSelf(Sockets.Peer peer) {
        return peer.pid() == Credentials.pid() && peer.uid() == Credentials.uid() && peer.inGroup(Credentials.gid());
    }
}
