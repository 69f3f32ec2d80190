package org.rsmapi.sys;

import com.sun.jna.Native;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

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
    private static final int F_SEAL_WRITE = 8;
    private static final int O_ACCMODE = 3;
    private static final int O_RDONLY = 0;
    private static final int O_RDWR = 2;
    private static final int O_CLOEXEC = 02000000;
    private static final int SEEK_END = 2;
    private static final int SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    private static final int AT_EMPTY_PATH = 0x1000;
    private static final int STATX_BLOCKS = 0x400;
    private static final int STATX_BLOCKS_AT = 48;
    private static final int STATX_BYTES = 256;
    private static final int STATX_INO = 0x100;
    private static final int STATX_INODE_AT = 32;
    private static final int STATX_DEVICE_AT = 136;
    private static final int BLOCK = 512;
    private static final int FALLOC_FL_KEEP_SIZE = 1;
    private static final int FALLOC_FL_PUNCH_HOLE = 2;
    static final int OWNER_READ = 0400;
    private static final long TMPFS_MAGIC = 0x01021994L;
    private static final int STATFS_BYTES = 256;
    private static final long STEP = 16L << 20;
    private static final int ZEROS = 1 << 16;

    private static final String ALLOCATE = "fallocate";

    private static volatile boolean noexecSealKnown = true;
    /** Whether fallocate(2) gives a file its memory. */
    static volatile boolean fallocates = true;

    private MemFd() {}

    /**
     * A new memory file of exactly {@code length} bytes, all of them allocated now, that can neither shrink nor grow nor be
     * unsealed. Its mode lets only the owner open it again, and only to read: a peer that was handed a read-only descriptor
     * cannot turn it into a writable one through /proc/self/fd.
     *
     * @throws OsError ENOMEM, ENOSPC or EFBIG when there is not enough memory, EMFILE or ENFILE when descriptors ran out
     */
    public static Fd create(String name, long length) {
        SystemMemory.take(length, ALLOCATE);
        try (Opening opening = new Opening(1)) {
            Fd fd = opening.add(open(name));
            OsError.check(Libc.fchmod(fd.number(), OWNER_READ), "fchmod");
            OsError.check(Libc.ftruncate(fd.number(), length), "ftruncate");
            allocate(fd, length);
            OsError.check(Libc.fcntl(fd.number(), F_ADD_SEALS, SEALS), "fcntl(F_ADD_SEALS)");
            opening.done();
            return fd;
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

    /** Gives a file of zeros its memory. */
    static void allocate(Fd fd, long length) {
        if (fallocates) {
            fallocate(fd, 0, 0, length, ALLOCATE);
            return;
        }
        try (NativeBlock zeros = new NativeBlock(ZEROS)) {
            Steps steps = new Steps(length, ZEROS, ZEROS);
            while (steps.more()) {
                write(fd, zeros.address(), steps.done(), steps.size());
                steps.made();
            }
        }
    }

    /** How many bytes of memory a file has; -1 if the kernel does not tell. */
    static long allocated(Fd fd) {
        try (NativeBlock block = new NativeBlock(STATX_BYTES + 1)) { // behind it a NUL: the empty path
            boolean told = Libc.syscall(Libc.SYS_STATX, fd.number(), block.address() + STATX_BYTES, AT_EMPTY_PATH, STATX_BLOCKS,
                block.address(), 0) == 0;
            return told && (block.getInt(0) & STATX_BLOCKS) != 0 ? block.getLong(STATX_BLOCKS_AT) * BLOCK : -1;
        }
    }

    /** Whether it has all the seals; the kernel adds one by itself. */
    static boolean isSealed(Fd fd) {
        return (Libc.fcntl(fd.number(), F_GET_SEALS, 0) & SEALS) == SEALS;
    }

    /** Adds a seal to a file that is sealed; false if the kernel refuses that. */
    static boolean addSeals(Fd fd) {
        return Libc.fcntl(fd.number(), F_ADD_SEALS, F_SEAL_WRITE) != -1;
    }

    private static void fallocate(Fd fd, int mode, long offset, long length, String call) {
        Steps steps = new Steps(length, STEP, Vm.pageSize());
        while (steps.more()) {
            if (Libc.fallocate(fd.number(), mode, offset + steps.done(), steps.size()) == 0) {
                steps.made();
                continue;
            }
            int errno = Native.getLastError();
            if (errno != Errno.EINTR || !steps.interrupted()) {
                throw new OsError(call, errno);
            }
        }
    }

    /** Another descriptor of the same file that can only read. */
    public static Fd reopenReadOnly(Fd fd) {
        return Fd.of(Libc.open(Proc.pathOf(fd), O_RDONLY | O_CLOEXEC, 0), "open(/proc/self/fd)");
    }

    /** Takes whole pages away: all mappings of them, in whatever process, read zeros from now on. */
    public static void punch(Fd fd, long offset, long length) {
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length, "fallocate(PUNCH_HOLE)");
    }

    /** Whether the kernel lets a descriptor be used for that. */
    static boolean punches(Fd fd, long length) {
        return Libc.fallocate(fd.number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, length) == 0;
    }

    /** Copies memory of this process to the start of the file. An address that cannot be read is EFAULT, not a crash. */
    public static void write(Fd fd, long address, long length) {
        write(fd, address, 0, length);
    }

    private static void write(Fd fd, long address, long offset, long length) {
        Steps steps = new Steps(length, STEP, Vm.pageSize());
        while (steps.more()) {
            long n = Libc.pwrite(fd.number(), address + steps.done(), steps.size(), offset + steps.done());
            if (n > 0) {
                steps.made(n);
                continue;
            }
            int errno = n == 0 ? Errno.EINTR : Native.getLastError(); // nothing written is no progress
            if (errno != Errno.EINTR || !steps.interrupted()) {
                throw new OsError("pwrite", errno);
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

    /** Identifies a file while it exists. */
    public record Identity(long device, long inode) {}

    /** The file's identity, or null if the kernel does not tell. */
    public static Identity identity(Fd fd) {
        try (NativeBlock buffer = new NativeBlock(STATX_BYTES + 1)) { // at its end an empty name
            long result = Calls.syscall(Libc.SYS_STATX, fd.number(), buffer.address() + STATX_BYTES, AT_EMPTY_PATH, STATX_INO,
                buffer.address(), 0);
            if (result == 0 && (buffer.getInt(0) & STATX_INO) != 0) {
                return new Identity(buffer.getLong(STATX_DEVICE_AT), buffer.getLong(STATX_INODE_AT));
            }
        }
        try {
            Map<String, Object> attributes = Files.readAttributes(Path.of(Proc.pathOf(fd)), "unix:dev,ino");
            long device = (long) attributes.get("dev"); // as in stat; statx has its parts
            return new Identity(device >>> 8 & 0xfff | (device & 0xff | device >>> 12 & 0xfff00) << 32, (long) attributes.get("ino"));
        } catch (IOException | RuntimeException e) {
            return null;
        }
    }

    private static long fileSystemType(Fd fd) {
        try (NativeBlock buffer = new NativeBlock(STATFS_BYTES)) {
            OsError.check(Libc.fstatfs(fd.number(), buffer.address()), "fstatfs");
            return buffer.getLong(0);
        }
    }
}
