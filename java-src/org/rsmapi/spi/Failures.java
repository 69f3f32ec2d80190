package org.rsmapi.spi;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.OsError;

/** Turns a failed system call into the RSM error that says what it means to the caller; the errno stays in the data. */
public final class Failures {
    private Failures() {}

    /** A failure while getting memory, descriptors or sockets, or one of a call that should not fail. */
    public static RsmException resources(String op, OsError e) {
        OsError.Want want = e.want();
        RsmException failure = of(errorOf(want), op, e);
        return want.hint() == null ? failure : failure.hint(want.hint());
    }

    private static RsmError errorOf(OsError.Want want) {
        return want == OsError.Want.NOTHING || want == OsError.Want.PERMISSION ? RsmError.INTERNAL_ERROR
            : want.isMemory() ? RsmError.INSUFFICIENT_MEM : RsmError.INSUFFICIENT_RESOURCES;
    }

    /** A failure that has this meaning. */
    public static RsmException of(RsmError error, String op, OsError e) {
        return RsmException.of(error, op)
            .with("errno", e.errno()).with("errno-name", e.errnoName()).with("system-call", e.call()).causedBy(e);
    }
}
