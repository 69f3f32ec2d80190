package org.rsmapi.loopback;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.OsError;

/** Turns a failed system call into the RSM error that says what it means to the caller; the errno stays in the data. */
final class Failures {
    private Failures() {}

    /** A failure while getting memory, descriptors or sockets. */
    static RsmException resources(String op, OsError e) {
        if (e.call().equals("mlock")) {
            return of(RsmError.INSUFFICIENT_MEM, op, e).hint("this process may not lock so much memory; see ulimit -l");
        }
        if (e.call().equals("madvise(MADV_HUGEPAGE)") || e.call().equals("madvise(MADV_COLLAPSE)")) {
            return of(RsmError.INSUFFICIENT_RESOURCES, op, e)
                .hint("the kernel has no huge pages for this segment now, or must not (kernels before 6.1 cannot)");
        }
        if (e.is(Errno.ENOMEM, Errno.ENOSPC, Errno.EFBIG)) {
            return of(RsmError.INSUFFICIENT_MEM, op, e).hint("use a smaller segment, or free memory");
        }
        if (e.call().equals("pthread_create")) {
            return of(RsmError.INSUFFICIENT_RESOURCES, op, e)
                .hint("no more threads can be made; see ulimit -u, and the limit on tasks of the process's group");
        }
        if (e.is(Errno.EMFILE)) {
            return of(RsmError.INSUFFICIENT_RESOURCES, op, e)
                .hint("this process has too many open descriptors; see ulimit -n");
        }
        if (e.is(Errno.ETOOMANYREFS)) {
            return of(RsmError.INSUFFICIENT_RESOURCES, op, e)
                .hint("this user has too many descriptors in messages that were not read yet; see ulimit -n");
        }
        if (e.is(Errno.ENFILE, Errno.ENOBUFS, Errno.EAGAIN)) {
            return of(RsmError.INSUFFICIENT_RESOURCES, op, e).hint("the whole system has run out of descriptors or buffers");
        }
        return of(RsmError.INTERNAL_ERROR, op, e);
    }

    /** A failure that has this meaning. */
    static RsmException of(RsmError error, String op, OsError e) {
        return RsmException.of(error, op)
            .with("errno", e.errno()).with("errno-name", e.errnoName()).with("system-call", e.call()).causedBy(e);
    }
}
