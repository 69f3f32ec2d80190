package org.rsmapi.sys;

import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;

/**
 * The C library's functions, bound directly (one native call each, no reflection at call time).
 *
 * <p>Pointers and sizes are {@code long}: every platform this runs on (Linux on x86-64 and aarch64) is LP64. The functions are
 * looked up in the process itself, which has a C library loaded already, glibc's or musl's.
 */
final class Libc {
    static {
        Native.register(Libc.class, NativeLibrary.getProcess());
    }

    /** Of poll(2): there is something to read, there is room to write. */
    static final int POLLIN = 1;
    static final int POLLOUT = 4;

    private Libc() {}

    static native int memfd_create(String name, int flags);

    static native int ftruncate(int fd, long length);

    static native int fallocate(int fd, int mode, long offset, long length);

    static native int fchmod(int fd, int mode);

    static native int fcntl(int fd, int cmd, long arg);

    static native long lseek(int fd, long offset, int whence);

    static native int fstatfs(int fd, long buffer);

    static native int open(String path, int flags, int mode);

    static native int close(int fd);

    static native long read(int fd, long buffer, long length);

    static native long write(int fd, long buffer, long length);

    static native long pwrite(int fd, long buffer, long length, long offset);

    static native long mmap(long address, long length, int prot, int flags, int fd, long offset);

    static native int munmap(long address, long length);

    static native long mremap(long address, long oldLength, long length, int flags);

    static native int mprotect(long address, long length, int prot);

    static native int madvise(long address, long length, int advice);

    static native int socket(int domain, int type, int protocol);

    static native int bind(int fd, long address, int length);

    static native int listen(int fd, int backlog);

    static native int connect(int fd, long address, int length);

    static native int accept4(int fd, long address, long length, int flags);

    static native long sendmsg(int fd, long message, int flags);

    static native long recvmsg(int fd, long message, int flags);

    static native int getsockopt(int fd, int level, int option, long value, long length);

    static native int setsockopt(int fd, int level, int option, long value, int length);

    static native int socketpair(int domain, int type, int protocol, long fds);

    static native int shutdown(int fd, int how);

    static native int ioctl(int fd, long request, long argument);

    static native int getrlimit(int resource, long limit);

    static native int eventfd(int initial, int flags);

    static native int poll(long fds, long count, int timeoutMillis);

    static native int epoll_create1(int flags);

    static native int epoll_ctl(int epoll, int op, int fd, long event);

    static native int epoll_wait(int epoll, long events, int capacity, int timeoutMillis);

    static native int isatty(int fd);

    static native int getpid();

    static native int geteuid();

    static native int getegid();

    static native int umask(int mask);

    static native long sysconf(int name);

    static native int mlock(long address, long length);

    static native int munlock(long address, long length);

    /** For calls that not every C library has a function for; the numbers depend on the processor. */
    static native long syscall(long number, long a, long b, long c, long d, long e, long f);

    static final long SYS_STATX = "aarch64".equals(System.getProperty("os.arch")) ? 291 : 332;

    static final long SYS_MLOCK2 = "aarch64".equals(System.getProperty("os.arch")) ? 284 : 325;

    static final long SYS_PREADV2 = "aarch64".equals(System.getProperty("os.arch")) ? 286 : 327;

    static final long SYS_SETGROUPS = "aarch64".equals(System.getProperty("os.arch")) ? 159 : 116;

    static final long SYS_SETRESGID = "aarch64".equals(System.getProperty("os.arch")) ? 149 : 119;

    static final long SYS_SETRESUID = "aarch64".equals(System.getProperty("os.arch")) ? 147 : 117;
}
