package org.rsmapi.sys;

/** Memory of this process that other hosts can access with its key, until it is closed. */
public final class UcxRegion implements AutoCloseable {
    private final UcxWorker worker;
    private final long memory;
    private final byte[] key;
    private boolean closed;

    UcxRegion(UcxWorker worker, long memory, byte[] key) {
        this.worker = worker;
        this.memory = memory;
        this.key = key;
    }

    /** Its key, for {@link UcxPeer#key} on another host. Who has it can access the memory. */
    public byte[] key() {
        return key.clone();
    }

    /**
     * Ends all access: an RDMA adapter rejects what arrives later, and the key is worthless from now on. Over tcp, where there is no adapter
     * to do so, this has no effect on peers: the memory must stay mapped until the worker is closed.
     */
    @Override
    public void close() {
        worker.enterToClose();
        try {
            if (!closed) {
                closed = true;
                worker.closed(this);
                worker.context().unmap(memory);
            }
        } finally {
            worker.leave();
        }
    }
}
