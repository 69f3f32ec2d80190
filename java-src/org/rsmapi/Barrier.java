package org.rsmapi;

import java.lang.invoke.VarHandle;

/**
 * Tells whether what was done with an import segment between {@link #open()} and {@link #close()} has happened there
 * (rsm_memseg_import_init_barrier(3RSM), rsm_memseg_import_open_barrier(3RSM)).
 *
 * <p>A close that succeeds says: every access by this thread since the open, by put and get or through a mapping, reached the memory
 * that was published when the segment was connected. A close that fails with CONN_ABORTED says that the exporter has revoked it, or is
 * gone, and that some of it may be lost. It is found out without asking anybody. A rebind is no abort.
 *
 * <p>The barrier is ready after {@link ImportSegment#initBarrier()} and until {@link #destroy()}. In a try-with-resources
 * statement, {@code try (Barrier b = barrier.open())}, the close at its end is the test.
 */
public final class Barrier implements AutoCloseable {
    private enum State { CLOSED, OPEN, DESTROYED }

    private final ImportSegment segment;
    private volatile State state = State.CLOSED;

    Barrier(ImportSegment segment) {
        this.segment = segment;
    }

    /** The segment it was initialised for. */
    public ImportSegment segment() {
        return segment;
    }

    /** Whether it is open. */
    public boolean isOpen() {
        return state == State.OPEN;
    }

    /** Whether it has not been destroyed. */
    public boolean isInitialized() {
        return state != State.DESTROYED;
    }

    /**
     * Opens it (rsm_memseg_import_open_barrier(3RSM)); an open one starts anew. That the segment is aborted is told by the close.
     *
     * @return this
     * @throws RsmException in this order: BARRIER_UNINITIALIZED (destroyed), BAD_SEG_HNDL (the segment is disconnected)
     */
    public Barrier open() {
        synchronized (this) {
            checkUsable("open-barrier");
            state = State.OPEN;
        }
        VarHandle.fullFence();
        return this;
    }

    /**
     * What this thread has read and written before comes before what it reads and writes afterwards, for everybody
     * (rsm_memseg_import_order_barrier(3RSM)).
     *
     * @throws RsmException in this order: BARRIER_UNINITIALIZED (destroyed), BAD_SEG_HNDL (the segment is disconnected),
     *     BARRIER_NOT_OPENED
     */
    public void order() {
        VarHandle.fullFence();
        synchronized (this) {
            checkUsable("order-barrier");
            checkOpen("order-barrier");
        }
    }

    /**
     * Closes it and tells the truth (rsm_memseg_import_close_barrier(3RSM)). It is closed whatever the answer is.
     *
     * @throws RsmException in this order: BARRIER_UNINITIALIZED (destroyed), BAD_SEG_HNDL (the segment is disconnected),
     *     BARRIER_NOT_OPENED, CONN_ABORTED
     */
    @Override
    public void close() {
        VarHandle.fullFence(); // what was written is there before the generation is read
        synchronized (this) {
            checkUsable("close-barrier");
            checkOpen("close-barrier");
            state = State.CLOSED;
        }
        if (segment.isAborted()) {
            throw segment.aborted("close-barrier");
        }
    }

    /**
     * Ends it (rsm_memseg_import_destroy_barrier(3RSM)). If it is the one that put and get use, they have none then.
     *
     * @throws RsmException BARRIER_UNINITIALIZED (destroyed already)
     */
    public void destroy() {
        synchronized (this) {
            if (state == State.DESTROYED) {
                throw uninitialized("destroy-barrier");
            }
            state = State.DESTROYED;
        }
        segment.detach(this);
    }

    private void checkUsable(String op) {
        if (state == State.DESTROYED) {
            throw uninitialized(op);
        }
        segment.checkConnected(op);
    }

    private static RsmException uninitialized(String op) {
        return RsmException.of(RsmError.BARRIER_UNINITIALIZED, op).hint("the barrier has been destroyed");
    }

    private void checkOpen(String op) {
        if (state != State.OPEN) {
            throw RsmException.of(RsmError.BARRIER_NOT_OPENED, op).with("segment-id", segment.segmentId());
        }
    }

    @Override
    public String toString() {
        return "#<Barrier " + state.name().toLowerCase(java.util.Locale.ROOT) + " on " + segment + ">";
    }
}
