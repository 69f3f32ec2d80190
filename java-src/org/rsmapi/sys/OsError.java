package org.rsmapi.sys;

import com.sun.jna.Native;

/** A system call that failed: which one, and the errno read right after it. The model turns it into an RSM error. */
public final class OsError extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** What there was not enough of, and what can be done about it. */
    public enum Want {
        /** It failed for another reason. */
        NOTHING(null),
        /** The system's leave to make the call. */
        PERMISSION("the system does not let this process make the call: a sandbox (seccomp), a security module or an emulator may be in "
            + "the way"),
        /** Memory, of the machine, the control group or the process. */
        MEMORY("use less memory at once, or free some"),
        /** Memory that the process may lock. */
        LOCKED_MEMORY("this process may not lock so much memory; see ulimit -l"),
        /** Huge pages. */
        HUGE_PAGES("the kernel has no huge pages for this segment now, or must not (kernels before 6.1 cannot)"),
        /** Mappings that the kernel allows one process, less those that are left to the JVM. */
        MAPPINGS("this process has almost as many mappings as it may have, and the last ones are left to the JVM; close mappings and "
            + "segments and free local memory, or see sysctl vm.max_map_count"),
        /** Addresses of the process, less those that are left to the JVM. */
        ADDRESSES("this process has almost no free addresses, and the last ones are left to the JVM; see ulimit -v"),
        /** Descriptors that this process may have, less those that are left to the JVM. */
        DESCRIPTORS("this process has too many open descriptors, and the last ones are left to the JVM; see ulimit -n"),
        /** Descriptors of this user that are in messages. */
        MESSAGES("this user has too many descriptors in messages that were not read yet; see ulimit -n"),
        /** Threads. */
        THREADS("no more threads can be made; see ulimit -u, and the limit on tasks of the process's group"),
        /** Descriptors or buffers of the whole system. */
        SYSTEM("the whole system has run out of descriptors or buffers");

        private final String hint;

        Want(String hint) {
            this.hint = hint;
        }

        /** Whether it is memory of whatever kind. */
        public boolean isMemory() {
            return this == MEMORY || this == LOCKED_MEMORY;
        }

        /** What can be done about it; null for {@link #NOTHING}. */
        public String hint() {
            return hint;
        }
    }

    private final String call;
    private final int errno;
    private final Want want;

    OsError(String call, int errno) {
        this(call, errno, wantOf(errno));
    }

    OsError(String call, int errno, Want want) {
        super(call + ": " + Errno.describe(errno));
        this.call = call;
        this.errno = errno;
        this.want = want;
    }

    /** Whether a number is what a system answers that does not let a process make a call, such as a sandbox. */
    static boolean isRefusal(int errno) {
        return errno == Errno.EPERM || errno == Errno.EACCES || errno == Errno.ENOSYS;
    }

    /** What the number says where the call does not give it a meaning of its own. */
    private static Want wantOf(int errno) {
        switch (errno) {
            case Errno.ENOMEM: case Errno.ENOSPC: case Errno.EFBIG: return Want.MEMORY;
            case Errno.EMFILE: return Want.DESCRIPTORS;
            case Errno.ETOOMANYREFS: return Want.MESSAGES;
            case Errno.ENFILE: case Errno.ENOBUFS: case Errno.EAGAIN: return Want.SYSTEM;
            default: return isRefusal(errno) ? Want.PERMISSION : Want.NOTHING;
        }
    }

    /**
     * The result of a call.
     *
     * @throws OsError if it is -1; errno is read before anything else can change it
     */
    static int check(int result, String call) {
        if (result == -1) {
            throw new OsError(call, Native.getLastError());
        }
        return result;
    }

    static long check(long result, String call) {
        if (result == -1L) {
            throw new OsError(call, Native.getLastError());
        }
        return result;
    }

    /** An example, to load what the report of a failure needs. */
    public static OsError example() {
        return new OsError("none", Errno.EMFILE);
    }

    /** The system call's name. */
    public String call() {
        return call;
    }

    /** The number of the error. */
    public int errno() {
        return errno;
    }

    /** What there was not enough of. */
    public Want want() {
        return want;
    }

    /** Whether there was not enough of something: the call may succeed later. */
    public boolean isShortage() {
        return want != Want.NOTHING && want != Want.PERMISSION;
    }

    /** The error's symbolic name, such as {@code ENOMEM}. */
    public String errnoName() {
        return Errno.name(errno);
    }

    /** Whether the errno is one of these. */
    public boolean is(int... errnos) {
        for (int e : errnos) {
            if (e == errno) {
                return true;
            }
        }
        return false;
    }
}
