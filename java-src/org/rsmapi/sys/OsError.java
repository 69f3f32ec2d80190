package org.rsmapi.sys;

/** A system call that failed: which one, and the errno read right after it. The model turns it into an RSM error. */
public final class OsError extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final String call;
    private final int errno;

    OsError(String call, int errno) {
        super(call + ": " + Errno.describe(errno));
        this.call = call;
        this.errno = errno;
    }

    /** A failure that did not happen, for those who want to try out early how they tell of one. */
    public static OsError rehearsal() {
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
