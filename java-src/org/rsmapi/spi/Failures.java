package org.rsmapi.spi;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.OsError;

/** Turns a failed system call into the RSM error that says what it means to the caller; the errno stays in the data. */
public final class Failures {
    private Failures() {}

    /** A failure while getting memory, descriptors or sockets, or one of a call that should not fail. */
    public static RsmException resources(String op, OsError e) {
        RsmError error = !e.isShortage() ? RsmError.INTERNAL_ERROR
            : e.want().isMemory() ? RsmError.INSUFFICIENT_MEM : RsmError.INSUFFICIENT_RESOURCES;
        RsmException failure = of(error, op, e);
        return e.want().hint() == null ? failure : failure.hint(e.want().hint());
    }

    /** A failure that has this meaning. */
    public static RsmException of(RsmError error, String op, OsError e) {
        return RsmException.of(error, op)
            .with("errno", e.errno()).with("errno-name", e.errnoName()).with("system-call", e.call()).causedBy(e);
    }
}
