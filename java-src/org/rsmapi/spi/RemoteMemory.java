package org.rsmapi.spi;

import org.rsmapi.mem.Stage;

/**
 * Moves data between this process and the memory of an exporter that cannot be mapped here. {@link Connection#remote()} returns one
 * where that is so.
 *
 * <p>The model has checked ranges, permission and alignment, moves at most {@link #MOST_AT_ONCE} bytes with one call, and begins no call when
 * the connection is closed. All methods may be called from any thread, and by several at once; {@link #confirm} by one at a time.
 *
 * <p><b>Order.</b> What one thread asks for arrives as if in that order, with one exception: writes of {@link #put} may overtake each
 * other, but not {@link #order}, {@link #confirm}, {@link #get} or an atomic operation that lies between them. An event that is posted
 * with {@link Connection#post} may overtake writes, but not what was ordered or confirmed.
 *
 * <p><b>Elements.</b> 2, 4 or 8 bytes that lie wholly in a range, at a multiple of their size in the segment, are moved as a whole:
 * nobody ever sees one half of them from before a write and the other from after it. Local addresses are aligned as the offset is,
 * modulo 8.
 *
 * <p><b>Failures.</b> No call waits for the other side longer than a time that the interconnect sets. A call to which there is no answer in that time
 * throws BARRIER_FAILURE: what was asked for may have been done or not, and the connection can be used further. A connection that cannot
 * be used any more is aborted ({@link Connection#aborted()}); all calls throw CONN_ABORTED then, and what is on its way may arrive or not.
 */
public interface RemoteMemory {
    /** The most bytes that {@link #getChanged} is asked for. */
    long MOST_CHANGED = 4 << 20;
    /** The most bytes that the other methods are asked for. */
    long MOST_AT_ONCE = Stage.BYTES;

    /**
     * Writes to the segment. When it returns, the local memory can be used for something else. Whether the data has arrived,
     * {@link #confirm} says.
     *
     * @param offset   in the segment, in bytes
     * @param address  of the data in this process
     * @param length   in bytes, at least 1
     */
    void put(long offset, long address, long length);

    /**
     * Writes to the segment, as {@link #put(long, long, long)} does.
     *
     * @param more  whether this thread calls {@code put}, {@code order} or {@code confirm} next, and at once: so the data may be kept
     *              back for a moment, to be sent with what comes then
     */
    default void put(long offset, long address, long length, boolean more) {
        put(offset, address, length);
    }

    /**
     * Reads from the segment.
     *
     * @param offset   in the segment, in bytes
     * @param address  where to put the data in this process
     * @param length   in bytes, at least 1
     */
    void get(long offset, long address, long length);

    /**
     * Reads from the segment, as {@link #get} does, what is not as the caller knows it.
     *
     * @param address  where to put the data in this process; of what need not be read, nothing is put there
     * @param length   in bytes, a multiple of 8, and {@link #MOST_CHANGED} at most
     * @param known    where in this process that is, in as many bytes; nobody else changes it meanwhile
     * @param changed  told by this thread of all that may have changed. An interconnect that cannot tell reads everything
     */
    default void getChanged(long offset, long address, long length, long known, Part changed) {
        for (long from = 0; from < length; from += MOST_AT_ONCE) {
            long bytes = Math.min(length - from, MOST_AT_ONCE);
            get(offset + from, address + from, bytes);
            changed.read(from, bytes);
        }
    }

    /** Takes a part of a range that has been read. */
    @FunctionalInterface
    interface Part {
        /**
         * A part is here.
         *
         * @param from    where it begins in the range, in bytes
         * @param length  in bytes
         */
        void read(long from, long length);
    }

    /**
     * Finds out whether the exporter can be reached, before data is sent.
     *
     * @throws org.rsmapi.RsmException BARRIER_OPEN_FAILED (not at the moment), CONN_ABORTED
     */
    void open();

    /** Has all that this connection writes from now on arrive later than what it has written before. Need not wait for that. */
    void order();

    /**
     * Waits until all that this connection has written before has arrived. What a call that has failed was about, later ones need not
     * tell again.
     *
     * @throws org.rsmapi.RsmException BARRIER_FAILURE (nobody knows whether all has arrived), CONN_ABORTED (the memory that was published
     *     at the time of the connect was revoked before all had arrived)
     */
    void confirm();

    /**
     * Writes {@code value} if {@code expected} is there, in one step, also towards the exporter's own atomic access to its memory. The
     * numbers are in the exporter's byte order there.
     *
     * @param offset  in the segment, a multiple of the width
     * @param width   in bytes, one of {@link org.rsmapi.Capabilities#atomicSizes()}; of the values, so many low bytes count
     * @return what was there before; 4 bytes are sign-extended
     * @throws org.rsmapi.RsmException BARRIER_FAILURE, CONN_ABORTED
     */
    long compareAndExchange(long offset, int width, long expected, long value);

    /**
     * Adds {@code delta}, wrapping around, as {@link #compareAndExchange} writes.
     *
     * @return what was there before
     */
    long getAndAdd(long offset, int width, long delta);
}
