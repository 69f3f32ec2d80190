package org.rsmapi;

import java.time.Duration;

/**
 * An export or import segment: its signals.
 *
 * <p>Every segment handle counts the events that were posted for it. A post adds one and a wait takes one, so as many waits succeed as
 * events were posted; an event carries no data and no sender. Events stay when the segment is unpublished,
 * revoked or published again, and go with the handle.
 */
public interface Segment extends AutoCloseable {
    /** {@code RSM_SIGPOST_NO_ACCUMULATE}: a handle that has events already gets none. */
    int SIGPOST_NO_ACCUMULATE = 2;

    /**
     * Posts one event (rsm_intr_signal_post(3RSM)): from an import segment to the export segment, whatever the permission; from an
     * export segment to every import segment that is connected to it, which may be none.
     *
     * @param flags  {@link #SIGPOST_NO_ACCUMULATE} or 0; other bits are ignored. Where several processes post at the same moment with
     *               that flag, each of them may find that there are no events. To an importer, the events that other users' importers
     *               have posted to the exporter do not count
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed or disconnected), CONN_ABORTED (an import segment whose exporter
     *     has revoked it or is gone), INSUFFICIENT_RESOURCES (the counter of the export segment is at its end)
     */
    void signalPost(int flags);

    /**
     * Waits for an event and takes it (rsm_intr_signal_wait(3RSM)).
     *
     * @param timeout  null or negative: for ever; zero: not at all
     * @throws RsmException in this order: BAD_SEG_HNDL (destroyed or disconnected, also meanwhile), CONN_ABORTED (an import segment
     *     without events whose exporter has revoked it or is gone, also meanwhile), TIMEOUT, INTERRUPTED (the thread was; its
     *     interrupt status stays set)
     */
    void signalWait(Duration timeout);

    /**
     * A descriptor to wait with, for this segment and other things at once (rsm_memseg_get_pollfd(3RSM)), one reference more. It is
     * for poll(2), epoll(7) and {@link PollFd#await}: it has input while there are events (and, for an import segment, for ever once
     * the exporter has revoked it or is gone). Do not read from it; {@link #signalWait} and {@link PollFd#await} take the event.
     *
     * <p>While there are references, the segment cannot be destroyed or disconnected; {@link #close()} does it nevertheless.
     *
     * @throws RsmException BAD_SEG_HNDL, INSUFFICIENT_RESOURCES
     */
    PollFd getPollfd();

    /**
     * Drops one reference to the descriptor (rsm_memseg_release_pollfd(3RSM)); does nothing if there is none.
     *
     * @throws RsmException BAD_SEG_HNDL
     */
    void releasePollfd();

    /** Whether it has not been destroyed or disconnected. */
    boolean isOpen();

    @Override
    void close();
}
