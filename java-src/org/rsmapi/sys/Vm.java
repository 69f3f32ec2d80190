package org.rsmapi.sys;

import com.sun.jna.Native;
import java.util.ArrayList;
import java.util.List;

/** The process's address space: maps, replaces, unmaps and lists ranges. */
public final class Vm {
    public static final int PROT_READ = 1;
    public static final int PROT_WRITE = 2;

    static final int MAP_SHARED = 1;
    private static final int MAP_PRIVATE = 2;
    private static final int MAP_FIXED = 0x10;
    private static final int MAP_ANONYMOUS = 0x20;
    private static final int MAP_NORESERVE = 0x4000;
    static final int MAP_FIXED_NOREPLACE = 0x100000;
    private static final int MREMAP_MAYMOVE = 1;
    private static final int MADV_DONTNEED = 4;
    private static final int MADV_HUGEPAGE = 14;
    private static final int MADV_POPULATE_READ = 22;
    private static final int MADV_POPULATE_WRITE = 23;
    private static final int MADV_DONTNEED_LOCKED = 24;
    private static final int MADV_COLLAPSE = 25;
    /** Of mlock2(2): pages are locked when they are used. mlock(2) would copy every page of a private mapping. */
    private static final int MLOCK_ONFAULT = 1;
    private static final int SC_PAGESIZE = 30;
    private static final int COLLAPSE_ATTEMPTS = 20;
    /** Ranges are populated, and made huge, in steps of so many bytes: an interrupt ends one of them, and not the whole. */
    private static final long STEP = 16L << 20;
    /** What a call may add to the mappings: one if it maps where nothing is, and another one where it divides what is there. */
    private static final int ONE_MORE = 1;
    private static final int DIVIDED = 2;
    private static final String HUGE_PAGE_SIZE = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

    /** Whether mmap(2) knows MAP_FIXED_NOREPLACE, or at least does no harm with it. */
    static volatile boolean knowsNoReplace = true;
    /** Whether madvise(2) does what it reports to have done. */
    static volatile boolean advises = true;
    /** Whether a private mapping of a file shows what is written to the file, until it is written to itself. */
    static volatile boolean showsPrivately = true;

    private static final long PAGE = Libc.sysconf(SC_PAGESIZE);

    private Vm() {}

    /** The page size in bytes. */
    public static long pageSize() {
        return PAGE;
    }

    /** {@code length} rounded up to whole pages; the caller has made sure that it does not overflow. */
    public static long wholePages(long length) {
        return (length + PAGE - 1) & -PAGE;
    }

    /** Maps a file shared, wherever the kernel likes ({@code hint} 0) or near a hint. */
    public static long mapShared(Fd fd, long length, int prot, long offset, long hint) {
        return map(hint, length, prot, MAP_SHARED, fd.number(), offset);
    }

    /**
     * Maps a file shared at exactly this address.
     *
     * @throws OsError EEXIST if anything is mapped there already
     */
    public static void mapSharedAt(long address, Fd fd, long length, int prot, long offset) {
        mapAt(address, length, prot, MAP_SHARED, fd.number(), offset);
    }

    private static void mapAt(long address, long length, int prot, int flags, int fd, long offset) {
        long got = map(address, length, prot, flags | (knowsNoReplace ? MAP_FIXED_NOREPLACE : 0), fd, offset);
        if (got != address) {
            // Kernels before 4.17 do not know NOREPLACE and take the address as a hint.
            unmap(got, length);
            throw new OsError("mmap(MAP_FIXED_NOREPLACE)", Errno.EEXIST);
        }
    }

    /** Puts a shared file mapping in the place of whatever is at the address, in one step. */
    public static void replaceShared(long address, Fd fd, long length, int prot, long offset) {
        Space.take(DIVIDED, 0, "mmap");
        restoreShared(address, fd, length, prot, offset);
    }

    /** The same for a range that was such a mapping before: that is no reason to need more, so it is not refused for the reserve. */
    public static void restoreShared(long address, Fd fd, long length, int prot, long offset) {
        replace(address, length, prot, MAP_SHARED | MAP_FIXED, fd.number(), offset);
    }

    /**
     * Puts a mapping in the place of writable memory, in one step, that is only to be read. It is a private one: a thread that writes
     * nevertheless, because it does not know yet, does not fault and does not reach the file. Its page is then a copy, until
     * {@link #dropCopies}.
     *
     * @throws OsError ENOSYS if such mappings do not show what is written to the file, on this platform
     */
    public static void replaceReadOnly(long address, Fd fd, long length, long offset) {
        if (!showsPrivately) {
            throw new OsError("mmap(MAP_PRIVATE)", Errno.ENOSYS);
        }
        Space.take(DIVIDED, 0, "mmap");
        replace(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd.number(), offset);
        dropCopies(address, length); // where all new memory is locked, the kernel has copied every page
    }

    /** Has a mapping of {@link #replaceReadOnly} show the file again where it has been written to. */
    public static void dropCopies(long address, long length) {
        if (Libc.madvise(address, length, MADV_DONTNEED_LOCKED) == -1 && Libc.madvise(address, length, MADV_DONTNEED) == -1) {
            Libc.munlock(address, length); // before Linux 5.18
            Libc.madvise(address, length, MADV_DONTNEED);
            Libc.syscall(Libc.SYS_MLOCK2, address, length, MLOCK_ONFAULT, 0, 0, 0);
        }
    }

    /** Puts a private (copy on write) file mapping in the place of whatever is at the address, in one step. */
    public static void copyOnWrite(long address, Fd fd, long length) {
        replace(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd.number(), 0);
    }

    /**
     * Where all new memory is locked (mlockall(2) with MCL_FUTURE), the kernel counts the range twice while it exchanges it. What goes
     * need not be locked any more.
     */
    private static void replace(long address, long length, int prot, int flags, int fd, long offset) {
        Space.mayAdd(DIVIDED);
        if (Calls.mmap(address, length, prot, flags, fd, offset) == -1) {
            int errno = Native.getLastError();
            if (errno != Errno.EAGAIN || Libc.munlock(address, length) != 0
                    || Calls.mmap(address, length, prot, flags, fd, offset) == -1) {
                throw failure(errno, length);
            }
        }
    }

    /** New anonymous zero pages, readable and writable. */
    public static long mapAnonymous(long length) {
        return mapAnonymous(length, 0);
    }

    /** The same, near a hint if that is not 0. */
    public static long mapAnonymous(long length, long hint) {
        return map(hint, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }

    /**
     * The same at exactly this address.
     *
     * @throws OsError EEXIST if anything is mapped there already
     */
    public static void mapAnonymousAt(long address, long length) {
        mapAt(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }

    /**
     * Puts new zero pages in the place of whatever is at the address, in one step.
     *
     * @throws OsError if there is no memory for them; then what is there stays
     */
    public static void replaceAnonymous(long address, long length) {
        Space.take(DIVIDED, 0, "mmap");
        replace(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
    }

    /**
     * Replaces what is at the address by anonymous zero pages, in one step: a thread that still uses the range reads
     * zeros and changes no other memory, and no access to it can fault. The range stays taken until {@link #unmap}.
     *
     * <p>In a process that has as many mappings as the kernel allows this may fail; then the pages stay until unmap as well.
     * That is no reason for the caller, who is ending something, not to end it.
     */
    public static void replaceWithZeroPages(long address, long length) {
        try {
            replace(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        } catch (OsError e) {
            return;
        }
    }

    /**
     * Frees pages of {@link #replaceWithZeroPages} that were written to since. They are zeros again. Shared pages keep
     * their content. A failure does no harm.
     */
    public static void drop(long address, long length) {
        Libc.madvise(address, length, MADV_DONTNEED);
    }

    /** Maps what a shared mapping shows once more, wherever the kernel likes. */
    public static long mapAgain(long address, long length) {
        Space.take(ONE_MORE, length, "mremap");
        long got = Libc.mremap(address, 0, length, MREMAP_MAYMOVE); // of a shared mapping, an old length of 0 means a second one
        if (got == -1) {
            throw failure(Native.getLastError(), length);
        }
        OwnRanges.add(got, length);
        return got;
    }

    /** Unmaps an address range, which nothing may be using. */
    public static void unmap(long address, long length) {
        Space.mayAdd(ONE_MORE); // where the kernel has merged it with its neighbours
        OwnRanges.remove(address, length); // before another thread can get the addresses
        OsError.check(Calls.munmap(address, length), "munmap");
    }

    /**
     * Whether a part of a range is memory that the library has mapped: of a segment, a mapping, or freed and about to be unmapped. Known
     * only where the system property {@code rsmapi.foreign-memory} allows to export memory by any address.
     */
    public static boolean isOwn(long address, long length) {
        return OwnRanges.touch(address, length);
    }

    /**
     * Makes every page of a private writable range the process's own copy.
     *
     * @return false if the system does not know how (before Linux 5.14), refuses it, or only says that it did; the caller then touches each
     *     page itself
     */
    public static boolean populateForWriting(long address, long length) {
        return populate(address, length, MADV_POPULATE_WRITE, "madvise(MADV_POPULATE_WRITE)");
    }

    /**
     * Enters every page of a range into the page table.
     *
     * @return false if the system does not know how, as {@link #populateForWriting}; the caller then reads each page itself
     */
    public static boolean populateForReading(long address, long length) {
        return populate(address, length, MADV_POPULATE_READ, "madvise(MADV_POPULATE_READ)");
    }

    private static boolean populate(long address, long length, int advice, String call) {
        if (!advises) {
            return false;
        }
        Steps steps = new Steps(length, STEP, PAGE);
        while (steps.more()) {
            if (Libc.madvise(address + steps.done(), steps.size(), advice) == 0) {
                steps.made();
                continue;
            }
            int errno = Native.getLastError();
            if (errno == Errno.EINVAL || OsError.isRefusal(errno)) {
                return false;
            }
            if (errno != Errno.EINTR && errno != Errno.EAGAIN || !steps.interrupted()) {
                throw new OsError(call, errno);
            }
        }
        return true;
    }

    /**
     * Keeps a range in memory, for as long as it is mapped as it is now.
     *
     * @throws OsError ENOMEM or EPERM if the process may not lock as much
     */
    public static void lock(long address, long length) {
        Space.mayAdd(DIVIDED);
        if (Libc.mlock(address, length) == -1) {
            throw new OsError("mlock", Native.getLastError(), OsError.Want.LOCKED_MEMORY);
        }
        checkLocked("mlock", length);
    }

    /** The same for a mapping of {@link #replaceReadOnly}, whose pages have been entered into the page table. */
    public static void lockReadOnly(long address, long length) {
        Space.mayAdd(DIVIDED);
        if (Libc.syscall(Libc.SYS_MLOCK2, address, length, MLOCK_ONFAULT, 0, 0, 0) == -1) {
            throw new OsError("mlock2", Native.getLastError(), OsError.Want.LOCKED_MEMORY);
        }
        checkLocked("mlock2", length);
    }

    private static void checkLocked(String call, long length) {
        long kilobytes = Proc.numberAfter("VmLck:", Proc.read("/proc/self/status"), 0);
        if (kilobytes < length / 1024) { // an emulator can report success and lock nothing
            throw new OsError(call, Errno.ENOSYS, OsError.Want.LOCKED_MEMORY);
        }
    }

    /** The size of a huge page in bytes, or 0 if this kernel has none that it makes by itself. */
    public static long hugePageSize() {
        List<String> lines = Proc.read(HUGE_PAGE_SIZE);
        return lines.isEmpty() ? 0 : Proc.number(lines.get(0), 0);
    }

    /**
     * Puts huge pages in the place of the small ones of a shared mapping. Both its ends are multiples of the size of a huge page.
     *
     * @throws OsError EINVAL if the kernel cannot (before 6.1) or must not, ENOMEM, EBUSY or EAGAIN if it has none now
     */
    public static void makeHuge(long address, long length) {
        if (!advises) {
            throw new OsError("madvise(MADV_HUGEPAGE)", Errno.EINVAL, OsError.Want.HUGE_PAGES);
        }
        Space.mayAdd(DIVIDED);
        if (Libc.madvise(address, length, MADV_HUGEPAGE) == -1) {
            throw new OsError("madvise(MADV_HUGEPAGE)", Native.getLastError(), OsError.Want.HUGE_PAGES);
        }
        long huge = hugePageSize();
        Steps steps = new Steps(length, Math.max(STEP, huge), Math.max(PAGE, huge));
        int attempts = 0;
        while (steps.more()) {
            if (Libc.madvise(address + steps.done(), steps.size(), MADV_COLLAPSE) == 0) {
                steps.made();
                attempts = 0;
                continue;
            }
            int errno = Native.getLastError();
            boolean again = errno == Errno.EINTR ? steps.interrupted()
                : (errno == Errno.EAGAIN || errno == Errno.EBUSY) && ++attempts < COLLAPSE_ATTEMPTS;
            if (!again) {
                throw new OsError("madvise(MADV_COLLAPSE)", errno, OsError.Want.HUGE_PAGES);
            }
        }
    }

    /** Whether a file's pages in a range, which have been entered into the page table, are huge ones there. */
    public static boolean isHuge(long address, long length) {
        long kilobytes = 0;
        boolean inside = false;
        for (String line : Proc.read("/proc/self/smaps")) {
            if (line.indexOf('-') > 0 && line.indexOf('-') < line.indexOf(' ')) {
                Region region = new Region(line);
                inside = region.start() < address + length && address < region.end();
            } else if (inside && line.startsWith("ShmemPmdMapped:")) {
                kilobytes += Proc.number(line.replaceAll("\\D", ""), 0);
            }
        }
        return kilobytes >= length / 1024;
    }

    /** Maps a file shared, at an address that is a multiple of {@code alignment}, a power of two. */
    public static long mapSharedAligned(Fd fd, long length, int prot, long offset, long alignment) {
        long address = reserve(length, alignment);
        try {
            replaceShared(address, fd, length, prot, offset);
            return address;
        } catch (RuntimeException | Error e) {
            unmap(address, length);
            throw e;
        }
    }

    /** An address range of zero pages that starts at a multiple of {@code alignment}, a power of two. It takes no memory yet. */
    public static long reserve(long length, long alignment) {
        long whole = length + alignment;
        long start = map(0, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        long aligned = start + alignment - 1 & -alignment;
        if (aligned > start) {
            unmap(start, aligned - start);
        }
        long end = aligned + length;
        if (end < start + whole) {
            unmap(end, start + whole - end);
        }
        return aligned;
    }

    private static long map(long address, long length, int prot, int flags, int fd, long offset) {
        Space.take(ONE_MORE, length, "mmap");
        long got = Calls.mmap(address, length, prot, flags, fd, offset);
        if (got == -1) {
            throw failure(Native.getLastError(), length);
        }
        OwnRanges.add(got, length);
        return got;
    }

    /** EAGAIN of mmap(2): the memory would be locked (mlockall(2) with MCL_FUTURE), and the process may not lock as much. */
    private static OsError failure(int errno, long length) {
        return errno == Errno.EAGAIN ? new OsError("mmap", errno, OsError.Want.LOCKED_MEMORY)
            : errno == Errno.ENOMEM ? new OsError("mmap", errno, Space.lacking(length)) : new OsError("mmap", errno);
    }

    /** One line of /proc/self/maps. */
    public static final class Region {
        private final long start;
        private final long end;
        private final String permissions;
        private final boolean file;
        private final String line;

        private Region(String line) {
            this.line = line;
            String[] fields = line.split("\\s+", 6);
            this.start = start(line);
            this.end = end(line);
            this.permissions = fields[1];
            this.file = Proc.number(fields[4], 0) != 0;
        }

        private static long start(String line) {
            return Long.parseUnsignedLong(line, 0, line.indexOf('-'), 16);
        }

        private static long end(String line) {
            return Long.parseUnsignedLong(line, line.indexOf('-') + 1, line.indexOf(' '), 16);
        }

        /** First address. */
        public long start() {
            return start;
        }

        /** First address behind it. */
        public long end() {
            return end;
        }

        /** Whether it can be read and written. */
        public boolean writable() {
            return permissions.startsWith("rw");
        }

        /** Whether it is a shared mapping of a file. */
        public boolean sharedFile() {
            return permissions.charAt(3) == 's' && file;
        }

        @Override
        public String toString() {
            return line;
        }
    }

    /** What is mapped between two addresses, in order; compared as unsigned numbers. */
    public static List<Region> regions(long start, long end) {
        List<Region> found = new ArrayList<>();
        for (String line : Proc.read("/proc/self/maps")) {
            if (Long.compareUnsigned(Region.start(line), end) < 0 && Long.compareUnsigned(Region.end(line), start) > 0) {
                found.add(new Region(line));
            }
        }
        return found;
    }

    /** Whether the process has more than half of the mappings that the kernel allows it. */
    public static boolean mappingsScarce() {
        return Space.count() > Space.allowed() / 2;
    }
}
