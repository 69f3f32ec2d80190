package org.rsmapi;

import java.lang.invoke.VarHandle;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Reports whether the accesses to an import segment between {@link #open()} and {@link #closeBarrier()} have reached the exporter's
 * memory (rsm_memseg_import_init_barrier(3RSM), rsm_memseg_import_open_barrier(3RSM)).
 *
 * <p>If the barrier closes without an error, every access by this thread since the open, by put and get or through a mapping, reached
 * the memory that was published when the segment was connected. If it fails with CONN_ABORTED, the exporter has revoked that memory or
 * is gone, and some of the accesses may be lost. Where memory is shared, closing takes no message to the exporter. A rebind is not an
 * abort.
 *
 * <p>Where memory is mirrored ({@link Capabilities.Memory#MIRRORED}), opening brings the exporter's content into the mapping, and ordering
 * and closing send what was changed there.
 *
 * <p>A barrier can be used from {@link ImportSegment#initBarrier()} to {@link #destroy()} or {@link #close()}, which end it. What is
 * tested is the block between open and close:
 *
 * <pre>{@code
 * try (Barrier.Scope scope = barrier.open()) {
 *     segment.put8(0, data, 0, data.length);
 * } // CONN_ABORTED if the data may be lost
 * }</pre>
 */
public final class Barrier implements AutoCloseable {
    private enum State { CLOSED, OPEN, DESTROYED }

    private final ImportSegment segment;
    private volatile State state = State.CLOSED;
    /** {@link RemoteAccess#misses()} when it was opened. */
    private volatile long missesBefore;

    Barrier(ImportSegment segment) {
        this.segment = segment;
    }

    /** The accesses from {@link #open()} to {@link #close()}, which tests them. */
    public final class Scope implements AutoCloseable {
        private final AtomicBoolean closed = new AtomicBoolean();

        private Scope() {}

        /**
         * Closes the barrier: {@link #closeBarrier()}. The second call and later ones do nothing.
         *
         * @throws RsmException as {@link #closeBarrier()}
         */
        @Override
        public void close() {
            if (closed.compareAndSet(false, true)) {
                closeBarrier();
            }
        }
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
     * Opens it (rsm_memseg_import_open_barrier(3RSM)); an open one starts anew. An abort of the segment is reported by the close.
     *
     * @return for a try-with-resources statement: its close is {@link #closeBarrier()}
     * @throws RsmException in this order: BARRIER_UNINITIALIZED (destroyed), BAD_SEG_HNDL (the segment is disconnected),
     *     BARRIER_OPEN_FAILED (where memory is mirrored: the exporter has not answered; the barrier is not open then)
     */
    public Scope open() {
        synchronized (this) {
            checkUsable("open-barrier");
            state = State.OPEN;
        }
        if (segment.remote() != null) {
            openRemotely(segment.remote());
        }
        VarHandle.fullFence();
        return new Scope();
    }

    private void openRemotely(RemoteAccess remote) {
        boolean opened = false;
        missesBefore = remote.misses();
        try {
            remote.openBarrier("open-barrier");
            opened = true;
        } finally {
            synchronized (this) {
                state = opened || state != State.OPEN ? state : State.CLOSED;
            }
        }
    }

    /**
     * A full fence: orders this thread's reads and writes before it before those after it, for all threads and processes
     * (rsm_memseg_import_order_barrier(3RSM)).
     *
     * @throws RsmException in this order: BARRIER_UNINITIALIZED (destroyed), BAD_SEG_HNDL (the segment is disconnected),
     *     BARRIER_NOT_OPENED, BARRIER_FAILURE (where memory is mirrored: what was written could not be sent)
     */
    public void order() {
        VarHandle.fullFence();
        synchronized (this) {
            checkUsable("order-barrier");
            checkOpen("order-barrier");
        }
        if (segment.remote() != null) {
            segment.remote().orderBarrier("order-barrier");
        }
    }

    /**
     * Closes it, and reports whether the accesses since the open have reached the exporter's memory
     * (rsm_memseg_import_close_barrier(3RSM)). It is closed also if it reports that they may not have.
     *
     * @throws RsmException in this order: BARRIER_UNINITIALIZED (destroyed), BAD_SEG_HNDL (the segment is disconnected),
     *     BARRIER_NOT_OPENED, CONN_ABORTED, BARRIER_FAILURE (where memory is mirrored: there was no answer, or since the open another
     *     call has got none)
     */
    public void closeBarrier() {
        VarHandle.fullFence(); // what was written is there before the generation is read
        synchronized (this) {
            checkUsable("close-barrier");
            checkOpen("close-barrier");
            state = State.CLOSED;
        }
        if (segment.remote() != null) {
            segment.remote().closeBarrier("close-barrier", missesBefore);
        } else {
            segment.checkAborted("close-barrier");
        }
    }

    /**
     * Ends it (rsm_memseg_import_destroy_barrier(3RSM)). If it is the one that put and get use, they have none then.
     *
     * @throws RsmException BARRIER_UNINITIALIZED (destroyed already)
     */
    public void destroy() {
        if (!end()) {
            throw uninitialized("destroy-barrier");
        }
    }

    /** Ends it, if that has not been done. An open barrier is not tested. */
    @Override
    public void close() {
        end();
    }

    private boolean end() {
        synchronized (this) {
            if (state == State.DESTROYED) {
                return false;
            }
            state = State.DESTROYED;
        }
        segment.detach(this);
        return true;
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
