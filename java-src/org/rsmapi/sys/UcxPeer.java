package org.rsmapi.sys;

import java.util.HashSet;
import java.util.Set;

/**
 * Another worker, seen from this one: puts to its regions and gets from them.
 *
 * <p>A put that has returned may still be on its way; its local memory is free. When a {@link #flush} has returned, all puts before it have
 * arrived. All of these calls end at a deadline of {@link System#nanoTime()}. A call that fails, or whose deadline passes, ends the peer:
 * all others throw the same, and what has arrived of earlier puts is not known. Then nothing of this process is read or written any more.
 */
public final class UcxPeer implements AutoCloseable {
    private final UcxWorker worker;
    private final Set<UcxKey> keys = new HashSet<>();
    private final Set<UcxKey> closedKeys = new HashSet<>();
    /** 0 after it was closed. */
    private long endpoint;
    /** Calls that are in progress. */
    private int calls;
    private UcxError failure;

    UcxPeer(UcxWorker worker, long endpoint) {
        this.worker = worker;
        this.endpoint = endpoint;
    }

    /**
     * Makes a region of the peer accessible.
     *
     * @param bytes  of {@link UcxRegion#key}
     * @throws UcxError INVALID_ADDR if it is no key; UNREACHABLE if no transport can use it
     */
    public UcxKey key(byte[] bytes) {
        UcxBytes checked = UcxBytes.of(UcxBytes.Kind.KEY, bytes, "ucp_ep_rkey_unpack");
        enter("ucp_ep_rkey_unpack");
        try (NativeBlock content = checked.content(); NativeBlock out = new NativeBlock(Long.BYTES)) {
            UcxError.check(Ucp.ucp_ep_rkey_unpack(endpoint, content.address(), out.address()), "ucp_ep_rkey_unpack");
            UcxKey key = new UcxKey(this, out.getLong(0), checked.first(), checked.second());
            keys.add(key);
            return key;
        } finally {
            worker.leave();
        }
    }

    /** Writes local memory to a region of the peer, from an offset on. */
    public void put(long local, UcxKey key, long offset, long length, long deadline) {
        access("ucp_put_nbx", true, local, key, offset, length, deadline);
    }

    /** Reads a region of the peer, from an offset on, into local memory. */
    public void get(long local, UcxKey key, long offset, long length, long deadline) {
        access("ucp_get_nbx", false, local, key, offset, length, deadline);
    }

    private void access(String call, boolean put, long local, UcxKey key, long offset, long length, long deadline) {
        long remote = key.range(call, offset, length);
        long result;
        enter(call);
        try {
            if (!keys.contains(key)) {
                throw new UcxError(call, UcxAbi.ERR_CANCELED, key.isOf(this) ? "the key is closed" : "the key is another peer's");
            }
            result = put ? Ucp.ucp_put_nbx(endpoint, local, length, remote, key.handle(), worker.plain())
                : Ucp.ucp_get_nbx(endpoint, local, length, remote, key.handle(), worker.plain());
            calls++;
        } finally {
            worker.leave();
        }
        finish(call, result, deadline);
    }

    /** Waits until all puts have arrived that returned before this was called. */
    public void flush(long deadline) {
        long result;
        enter("ucp_ep_flush_nbx");
        try {
            result = Ucp.ucp_ep_flush_nbx(endpoint, worker.plain());
            calls++;
        } finally {
            worker.leave();
        }
        finish("ucp_ep_flush_nbx", result, deadline);
    }

    private void finish(String call, long result, long deadline) {
        int status = worker.await(result, deadline);
        worker.enterToClose();
        try {
            if (status == UcxAbi.INPROGRESS) {
                status = UcxAbi.ERR_TIMED_OUT;
                failure = failure == null ? UcxError.of(call, status) : failure;
                end(result);
            }
            calls--;
            destroyClosedKeys();
            if (status != UcxAbi.OK) {
                failure = failure == null ? UcxError.of(call, status) : failure;
                throw UcxError.of(call, status);
            }
        } finally {
            worker.leave();
        }
    }

    private void enter(String call) {
        worker.enter();
        if (endpoint == 0 || failure != null) {
            int status = failure == null ? UcxAbi.ERR_CANCELED : failure.status();
            String reason = failure == null ? "the peer is closed" : "the peer has failed: " + failure.getMessage();
            worker.leave();
            throw new UcxError(call, status, reason);
        }
    }

    /** Closes the endpoint, with the lock held. A request that is in progress ends; 0 for none. */
    private void end(long request) {
        if (endpoint != 0) {
            long closing = endpoint;
            endpoint = 0;
            if (!worker.isDestroyed()) {
                worker.closeByForce(closing, request);
            }
            closedKeys.addAll(keys);
            keys.clear();
        } else if (request != 0) {
            worker.awaitEnd(request); // of a call of a thread that was waiting while another one closed the endpoint
        }
    }

    private void destroyClosedKeys() {
        if (calls == 0) {
            if (!worker.isDestroyed()) {
                closedKeys.forEach(key -> Ucp.ucp_rkey_destroy(key.handle()));
            }
            closedKeys.clear();
        }
    }

    void close(UcxKey key) {
        worker.enterToClose();
        try {
            if (keys.remove(key)) {
                closedKeys.add(key);
                destroyClosedKeys();
            }
        } finally {
            worker.leave();
        }
    }

    /** Ends the connection without waiting for the peer: what was put and not flushed may be lost. Closes the keys. */
    @Override
    public void close() {
        worker.enterToClose();
        try {
            end(0);
            destroyClosedKeys();
            worker.closed(this);
        } finally {
            worker.leave();
        }
    }
}
