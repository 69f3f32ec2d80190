package org.rsmapi.spi;

import org.rsmapi.sys.Waiting;

/**
 * The signals of one segment handle: a counter of events that the other side has posted for it, and the way to the other side's.
 *
 * <p>All methods may be called at any time and from any thread, also while the handle is being ended.
 */
public interface Signals {
    /**
     * Posts one event: from an import segment to the export segment, from an export segment to every import segment connected
     * to it (nobody, if it is not published).
     *
     * @param accumulate  if not, a handle that has events already gets none
     * @throws org.rsmapi.RsmException CONN_ABORTED (import segments only), INSUFFICIENT_RESOURCES (the counter is at its end)
     */
    void post(boolean accumulate);

    /** Takes one event if there is one. */
    boolean take();

    /**
     * Waits until there may be an event, or the handle has been ended or aborted. May return for no reason.
     *
     * @param deadlineNanos on the clock of {@link System#nanoTime()}
     */
    Waiting.Outcome await(long deadlineNanos);

    /** A descriptor that has input when {@link #await} would return READY. It stays the same until the handle is ended. */
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
