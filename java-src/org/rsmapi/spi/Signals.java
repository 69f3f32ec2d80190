package org.rsmapi.spi;

import java.util.List;

/**
 * The events that the other side has posted for one segment handle.
 *
 * <p>All methods may be called at any time and from any thread, also while the handle is being ended.
 */
public interface Signals {
    /** How a wait ended. */
    enum Outcome {
        /** There may be an event, or the handle has ended. */
        READY,
        /** The deadline has passed. */
        TIMEOUT,
        /** The thread was interrupted; its interrupt status is set. */
        INTERRUPTED
    }

    /** Takes one event if there is one. */
    boolean take();

    /**
     * Waits until there may be an event, or the handle has been ended or aborted. May return early with READY, and always does after the
     * end. Events that are left can still be taken then.
     *
     * @param deadlineNanos on the clock of {@link #nanoTime()}, at most decades ahead: compare by subtraction
     */
    Outcome await(long deadlineNanos);

    /** The time on the interconnect's clock ({@link Interconnect#nanoTime()}). */
    default long nanoTime() {
        return System.nanoTime();
    }

    /**
     * Waits as {@link #await} does, for any of several handles of this interconnect, of which this is one. Called only where there is no
     * descriptor.
     */
    default Outcome awaitAny(List<Signals> all, long deadlineNanos) {
        throw new UnsupportedOperationException();
    }

    /**
     * A descriptor that has input when {@link #await} would return READY. It stays the same until the handle is ended. Or -1: there is
     * none, and {@link #awaitAny} takes its place; such handles cannot be waited for together with those of other interconnects.
     */
    int pollDescriptor();

    /**
     * Keeps the descriptor open, also if the handle is ended meanwhile (which then gives it input), until {@link #release}.
     *
     * @return false if the handle has been ended
     */
    boolean hold();

    /** Ends one {@link #hold}. */
    void release();
}
