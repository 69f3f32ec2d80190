package org.rsmapi.sys;

import com.sun.jna.Native;

/** Anonymous memory files (memfd_create(2)): making, sealing, opening them again read-only, checking one that a peer sent. */
public final class MemFd {
    private static final int MFD_CLOEXEC = 1;
    private static final int MFD_ALLOW_SEALING = 2;
    private static final int MFD_NOEXEC_SEAL = 8;
    private static final int F_GETFL = 3;
    private static final int F_ADD_SEALS = 1033;
    private static final int F_GET_SEALS = 1034;
    private static final int F_SEAL_SEAL = 1;
    private static final int F_SEAL_SHRINK = 2;
    private static final int F_SEAL_GROW = 4;
    private static final int O_ACCMODE = 3;
    private static final int O_RDONLY = 0;
    private static final int O_RDWR = 2;
    private static final int O_CLOEXEC = 02000000;
    private static final int SEEK_END = 2;
    private static final int FALLOC_FL_KEEP_SIZE = 1;
    private static final int FALLOC_FL_PUNCH_HOLE = 2;
    private static final int OWNER_READ = 0400;
    private static final long TMPFS_MAGIC = 0x01021994L;
    private static final int STATFS_BYTES = 256;
    private static final int ATTEMPTS = 100;
    private static final long WRITE_STEP = 1L << 30;
    /** From this size on it is worth asking whether the memory is there: below, asking costs more than getting it. */
    private static final long LARGE = 4L << 20;

    private static volatile boolean noexecSealKnown = true;

    private MemFd() {}

    /**
     * A new memory file of exactly {@code length} bytes, all of them allocated now, that can neither shrink nor grow nor be
     * unsealed. Its mode lets only the owner open it again, and only to read: a peer that was handed a read-only descriptor
     * cannot turn it into a writable one through /proc/self/fd.
     *
     * @throws OsError ENOMEM, ENOSPC or EFBIG when there is not enough memory, EMFILE or ENFILE when descriptors ran out
     */
    public static Fd create(String name, long length) {
        if (length >= LARGE && length > SystemMemory.available()) {
            // The kernel would hand out page after page and then end some process to get them back.
            throw new OsError("fallocate", Errno.ENOMEM);
        }
        Fd fd = open(name);
        try {
            Fd.check(Libc.fchmod(fd.number(), OWNER_READ), "fchmod");
            Fd.check(Libc.ftruncate(fd.number(), length), "ftruncate");
            allocate(fd, 0, 0, length, "fallocate");
            Fd.check(Libc.fcntl(fd.number(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), "fcntl(F_ADD_SEALS)");
            return fd;
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
    }

    private static Fd open(String name) {
        if (noexecSealKnown) {
            int n = Libc.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
            int errno = n == -1 ? Native.getLastError() : 0;
            if (errno != Errno.EINVAL) {
                return n == -1 ? fail("memfd_create", errno) : Fd.of(n, "memfd_create");
            }
            noexecSealKnown = false; // kernels before 6.3
        }
        return Fd.of(Libc.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create");
    }

    private static Fd fail(String call, int errno) {
        throw new OsError(call, errno);
    }

    private static void allocate(Fd fd, int mode, long offset, long length, String call) {
        // A signal (the JVM sends itself some) interrupts a large fallocate, which then undoes what it did: try again.
        for (int attempt = 0; Libc.fallocate(fd.number(), mode, offset, length) != 0; attempt++) {
            int errno = Native.getLastError();
            if (errno != Errno.EINTR || attempt == ATTEMPTS) {
                throw new OsError(call, errno);
            }
        }
    }

    /** Another descriptor of the same file that can only read. */
    public static Fd reopenReadOnly(Fd fd) {
        return Fd.of(Libc.open("/proc/self/fd/" + fd.number(), O_RDONLY | O_CLOEXEC, 0), "open(/proc/self/fd)");
    }

    /** Takes whole pages away: all mappings of them, in whatever process, read zeros from now on. */
    public static void punch(Fd fd, long offset, long length) {
        allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length, "fallocate(PUNCH_HOLE)");
    }

    /** Copies memory of this process to the start of the file. An address that cannot be read is EFAULT, not a crash. */
    public static void write(Fd fd, long address, long length) {
        long done = 0;
        while (done < length) {
            long n = Libc.pwrite(fd.number(), address + done, Math.min(length - done, WRITE_STEP), done);
            if (n == -1) {
                int errno = Native.getLastError();
                if (errno != Errno.EINTR) {
                    throw new OsError("pwrite", errno);
                }
            } else {
                done += n;
            }
        }
    }

    /**
     * What is wrong with a descriptor that a peer sent as memory of {@code length} bytes, or null if it can be mapped without
     * danger: it is a memory file of ordinary pages, at least that long, sealed against shrinking (so that no access ever
     * gets SIGBUS), and open for the access that is wanted.
     */
    public static String objection(Fd fd, long length, boolean forWriting) {
        int seals = Libc.fcntl(fd.number(), F_GET_SEALS, 0);
        if (seals == -1) {
            return "not a memory file";
        }
        if ((seals & F_SEAL_SHRINK) == 0) {
            return "not sealed against shrinking";
        }
        if (fileSystemType(fd) != TMPFS_MAGIC) {
            return "not made of ordinary pages";
        }
        if (size(fd) < length) {
            return "shorter than announced";
        }
        int mode = Libc.fcntl(fd.number(), F_GETFL, 0) & O_ACCMODE;
        if (mode != O_RDWR && (forWriting || mode != O_RDONLY)) {
            return forWriting ? "not open for writing" : "not open for reading";
        }
        return null;
    }

    /** The length of a memory file in bytes. */
    public static long size(Fd fd) {
        return Libc.lseek(fd.number(), 0, SEEK_END);
    }

    private static long fileSystemType(Fd fd) {
        try (Scratch buffer = new Scratch(STATFS_BYTES)) {
            Fd.check(Libc.fstatfs(fd.number(), buffer.address()), "fstatfs");
            return buffer.getLong(0);
        }
    }
}
