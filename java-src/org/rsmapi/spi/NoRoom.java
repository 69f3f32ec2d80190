package org.rsmapi.spi;

import org.rsmapi.RsmException;

/**
 * There was no room for a mapping: a wanted address is taken, or the process has no address space, mappings or lockable memory left.
 * Mappings that were closed, but whose addresses have not been returned yet, may be the cause. The model then returns those and
 * tries again.
 */
public final class NoRoom extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final transient RsmException failure;

    /** With the error that the caller gets if there is still no room afterwards. */
    public NoRoom(RsmException failure) {
        super(failure.getMessage(), failure, false, false);
        this.failure = failure;
    }

    /** The error for the caller. */
    public RsmException failure() {
        return failure;
    }
}
