package org.rsmapi.sys;

/**
 * Something long that is done in steps. A signal can end a call of the kernel, which then undoes what it did: a step that was
 * interrupted is made smaller, until it is short enough to be done between two signals.
 */
final class Steps {
    /** How often in succession the smallest step may be interrupted: no signals come as fast as that. */
    private static final int INTERRUPTS = 1000;

    private final long length;
    private final long most;
    private final long least;
    private long done;
    private long step;
    private int interrupts;

    /**
     * @param most   the largest step, a multiple of {@code least}
     * @param least  the smallest, a power of two
     */
    Steps(long length, long most, long least) {
        this.length = length;
        this.most = most;
        this.least = least;
        this.step = most;
    }

    boolean more() {
        return done < length;
    }

    /** Where the next step starts. */
    long done() {
        return done;
    }

    /** How long the next step is. */
    long size() {
        return Math.min(step, length - done);
    }

    /** The step has been made. */
    void made() {
        made(size());
    }

    /** So much of the step has been made. */
    void made(long bytes) {
        done += bytes;
        step = Math.min(most, step * 2);
        interrupts = 0;
    }

    /** The step has been interrupted. False if it is no use to try again. */
    boolean interrupted() {
        step = Math.max(least, step / 2 & -least);
        return size() > least || ++interrupts < INTERRUPTS;
    }
}
