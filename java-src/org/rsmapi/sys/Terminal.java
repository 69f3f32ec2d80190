package org.rsmapi.sys;

/** Terminals. */
public final class Terminal {
    /** The descriptor of standard output. */
    public static final int STDOUT = 1;

    private Terminal() {}

    /** Whether a descriptor is a terminal. Native functions have to be available. */
    public static boolean isTerminal(int fd) {
        return Libc.isatty(fd) == 1;
    }
}
