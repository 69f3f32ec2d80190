package org.rsmapi.loopback;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.OsError;

/** Turns a failed system call into the RSM error that says what it means to the caller; the errno stays in the data. */
final class Failures {
    private Failures() {}

    /** A failure while getting memory, descriptors or sockets. */
    static RsmException resources(String op, OsError e) {
        if (e.want() == OsError.Want.NOTHING) {
            return of(RsmError.INTERNAL_ERROR, op, e);
        }
        return of(e.want().isMemory() ? RsmError.INSUFFICIENT_MEM : RsmError.INSUFFICIENT_RESOURCES, op, e).hint(e.want().hint());
    }

    /** A failure that has this meaning. */
    static RsmException of(RsmError error, String op, OsError e) {
        return RsmException.of(error, op)
            .with("errno", e.errno()).with("errno-name", e.errnoName()).with("system-call", e.call()).causedBy(e);
    }
}
