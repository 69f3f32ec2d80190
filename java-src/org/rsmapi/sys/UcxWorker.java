package org.rsmapi.sys;

import com.sun.jna.Pointer;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A worker of UCX on one device, with its context: {@link #register} lets other hosts access memory of this process, {@link #connect}
 * accesses that of others.
 *
 * <p>A worker belongs to one thread at a time: each call takes its lock. A call that waits makes the worker progress, and leaves the lock
 * to others between two rounds. A worker that nobody waits for has to be made to {@link #progress} by a thread of its owner: without
 * that, no peer can connect, and over tcp no access of a peer completes.
 *
 * <p>{@link #close} closes all regions, keys and peers too. All of them can be closed more than once. What is used after it was closed
 * throws a {@link UcxError} CANCELED.
 */
public final class UcxWorker implements AutoCloseable {
    /** How long an endpoint that is closed by force may take; it needs no answer of the peer. */
    private static final long CLOSING_NANOS = 2_000_000_000L;
    /** Rounds of progress with the lock held. */
    private static final int ROUNDS = 16;
    /** After so many rounds without progress a waiting thread sleeps between them. */
    private static final int IDLE_ROUNDS = 4000;
    private static final long SLEEP_NANOS = 20_000;

    private final ReentrantLock lock = new ReentrantLock();
    private final UcxContext context;
    private final long handle;
    /** Has input when there may be something to do; the library's own, which is closed with the worker. */
    private final Fd events;
    private final Set<AutoCloseable> open = new LinkedHashSet<>();
    /** The parameters of an operation, and of closing by force. */
    private final NativeBlock plain;
    private final NativeBlock force;
    private boolean closing;
    private boolean destroyed;

    private UcxWorker(UcxContext context, long handle, Fd events, NativeBlock plain, NativeBlock force) {
        this.context = context;
        this.handle = handle;
        this.events = events;
        this.plain = plain;
        this.force = force;
        force.putInt(UcxAbi.REQUEST_PARAM_MASK, UcxAbi.OP_ATTR_FIELD_FLAGS);
        force.putInt(UcxAbi.REQUEST_PARAM_FLAGS, UcxAbi.EP_CLOSE_FLAG_FORCE);
    }

    /**
     * Opens a worker.
     *
     * @param device  of RDMA, with its port, such as {@code mlx5_0:1}
     * @throws UcxError UNSUPPORTED if UCX is not there, see {@link Ucx#obstacle}; INVALID_PARAM if that is no name of a device;
     *     NO_DEVICE if there is no such device
     */
    public static UcxWorker open(String device) {
        if (!Ucx.isDevice(device)) {
            throw new UcxError("ucp_init", UcxAbi.ERR_INVALID_PARAM, "\"" + device + "\" is not the name of one device");
        }
        Ucx.require();
        try (Opening opening = new Opening(4)) {
            NativeBlock plain = opening.add(new NativeBlock(UcxAbi.REQUEST_PARAM_BYTES));
            NativeBlock force = opening.add(new NativeBlock(UcxAbi.REQUEST_PARAM_BYTES));
            UcxContext context = opening.add(UcxContext.open(device));
            long handle = context.createWorker();
            opening.add(() -> Ucp.ucp_worker_destroy(handle));
            UcxWorker worker = new UcxWorker(context, handle, events(handle), plain, force);
            opening.done();
            return worker;
        }
    }

    private static Fd events(long handle) {
        try (NativeBlock out = new NativeBlock(Long.BYTES)) {
            UcxError.check(Ucp.ucp_worker_get_efd(handle, out.address()), "ucp_worker_get_efd");
            return new Fd(out.getInt(0));
        }
    }

    /** Its address, for {@link #connect} on another host with the same version of UCX. */
    public byte[] address() {
        enter();
        try (NativeBlock out = new NativeBlock(2 * Long.BYTES)) {
            UcxError.check(Ucp.ucp_worker_get_address(handle, out.address(), out.address() + Long.BYTES), "ucp_worker_get_address");
            try {
                return UcxBytes.wrap(UcxBytes.Kind.ADDRESS, 0, 0, copy(out.getLong(0), out.getLong(Long.BYTES)));
            } finally {
                Ucp.ucp_worker_release_address(handle, out.getLong(0));
            }
        } finally {
            leave();
        }
    }

    /**
     * Registers memory of this process: who has the region's key can get it, and put to it if it is writable. The memory must stay mapped
     * until the region is closed.
     */
    public UcxRegion register(long address, long length, boolean writable) {
        if (address == 0 || length <= 0) {
            throw new UcxError("ucp_mem_map", UcxAbi.ERR_INVALID_PARAM, "there is no memory of " + length + " bytes at " + address);
        }
        enter();
        try (Opening opening = new Opening(2)) {
            long memory = context.map(address, length, writable);
            opening.add(() -> context.unmap(memory));
            byte[] key = UcxBytes.wrap(UcxBytes.Kind.KEY, address, length, context.pack(memory));
            UcxRegion region = new UcxRegion(this, memory, key);
            open.add(region);
            opening.done();
            return region;
        } finally {
            leave();
        }
    }

    /**
     * Makes an endpoint for another worker. Whether that can be reached turns out at the first access.
     *
     * @param address  what the other worker's {@link #address} has returned; see {@link UcxBytes} for who must be trusted
     * @throws UcxError INVALID_ADDR if it is no address, UNREACHABLE if no transport of both sides leads there
     */
    public UcxPeer connect(byte[] address) {
        UcxBytes checked = UcxBytes.of(UcxBytes.Kind.ADDRESS, address, "ucp_ep_create");
        enter();
        try (NativeBlock content = checked.content(); NativeBlock params = new NativeBlock(UcxAbi.EP_PARAMS_BYTES);
                NativeBlock out = new NativeBlock(Long.BYTES)) {
            params.putLong(UcxAbi.EP_PARAMS_MASK, UcxAbi.EP_PARAM_FIELD_REMOTE_ADDRESS | UcxAbi.EP_PARAM_FIELD_ERR_HANDLING_MODE);
            params.putLong(UcxAbi.EP_PARAMS_ADDRESS, content.address());
            params.putInt(UcxAbi.EP_PARAMS_ERR_MODE, UcxAbi.ERR_HANDLING_MODE_PEER);
            UcxError.check(Ucp.ucp_ep_create(handle, params.address(), out.address()), "ucp_ep_create");
            UcxPeer peer = new UcxPeer(this, out.getLong(0)); // without memory for it, the endpoint is closed with the worker
            open.add(peer);
            return peer;
        } finally {
            leave();
        }
    }

    /** Lets the worker do what is due, without waiting. Returns whether there was something. */
    public boolean progress() {
        enter();
        try {
            return Ucp.ucp_worker_progress(handle) != 0;
        } finally {
            leave();
        }
    }

    /**
     * Waits until there may be something to {@link #progress}, without keeping others from the worker. For one thread, when progress has
     * returned false.
     *
     * @param deadline  on the clock of {@link System#nanoTime()}
     */
    public void awaitEvent(long deadline) {
        enter();
        try {
            byte status = Ucp.ucp_worker_arm(handle);
            if (status == UcxAbi.ERR_BUSY) {
                return;
            }
            UcxError.check(status, "ucp_worker_arm");
        } finally {
            leave();
        }
        Poll.forInput(events, deadline);
    }

    /** Ends {@link #awaitEvent}, now or when it is called next. */
    public void wake() {
        enter();
        try {
            UcxError.check(Ucp.ucp_worker_signal(handle), "ucp_worker_signal");
        } finally {
            leave();
        }
    }

    @Override
    public void close() {
        lock.lock();
        try {
            if (closing) {
                return;
            }
            closing = true;
            try {
                closeAll();
            } finally {
                destroy();
                context.close();
                force.close();
                plain.close();
            }
        } finally {
            lock.unlock();
        }
    }

    /** The last one that was opened first. */
    private void closeAll() {
        AutoCloseable[] all = open.toArray(new AutoCloseable[0]);
        UcxError failure = null;
        for (int i = all.length - 1; i >= 0; i--) {
            try {
                all[i].close();
            } catch (UcxError e) {
                failure = e; // one is enough to report
            } catch (Exception e) {
                throw new IllegalStateException(e); // they throw nothing else
            }
        }
        if (failure != null) {
            throw failure;
        }
    }

    // ---------------------------------------------------------------- for regions, keys and peers

    /** Takes the lock. */
    void enter() {
        lock.lock();
        if (closing || destroyed) {
            lock.unlock();
            throw new UcxError("ucp_worker", UcxAbi.ERR_CANCELED, "the worker is closed");
        }
    }

    void leave() {
        lock.unlock();
    }

    /** Takes the lock, also of a worker that is closed. */
    void enterToClose() {
        lock.lock();
    }

    /** Whether all endpoints, keys and requests are gone. */
    boolean isDestroyed() {
        return destroyed;
    }

    UcxContext context() {
        return context;
    }

    void closed(AutoCloseable what) {
        if (!closing) { // or all of them are about to be closed
            open.remove(what);
        }
    }

    long plain() {
        return plain.address();
    }

    /**
     * Waits until an operation is done, without the lock being held by this thread.
     *
     * @param result  of the call that started it
     * @return its status; INPROGRESS if the deadline has passed. The request is freed unless it is in progress
     */
    int await(long result, long deadline) {
        int status = started(result);
        int idle = 0;
        while (status == UcxAbi.INPROGRESS) {
            lock.lock();
            try {
                if (destroyed) {
                    return UcxAbi.ERR_CANCELED; // the request does not exist any more
                }
                for (int i = 0; i < ROUNDS && status == UcxAbi.INPROGRESS; i++) {
                    idle = Ucp.ucp_worker_progress(handle) == 0 ? idle + 1 : 0;
                    status = Ucp.ucp_request_check_status(result);
                }
                if (status != UcxAbi.INPROGRESS) {
                    Ucp.ucp_request_free(result);
                    return status;
                }
            } finally {
                lock.unlock();
            }
            if (Deadline.hasPassed(deadline)) {
                return status;
            }
            idle = pause(idle);
        }
        return status;
    }

    private static int pause(int idle) {
        if (idle > IDLE_ROUNDS) {
            LockSupport.parkNanos(SLEEP_NANOS);
            return IDLE_ROUNDS;
        }
        if (idle > 0) {
            Thread.yield();
        }
        return idle;
    }

    /** Whether a call has failed at once, has succeeded at once, or goes on. */
    private static int started(long result) {
        if (result == 0) {
            return UcxAbi.OK;
        }
        return result < 0 && result >= UcxAbi.ERR_LAST ? (int) result : UcxAbi.INPROGRESS;
    }

    /**
     * Closes an endpoint by force, with the lock held. What is in progress on it ends. If UCX does not manage that in time, the worker is
     * destroyed, because an operation must not read or write memory of this process after the call that has started it.
     */
    void closeByForce(long endpoint, long request) {
        awaitEnd(Ucp.ucp_ep_close_nbx(endpoint, force.address()));
        awaitEnd(request);
    }

    /** Waits for the end of a request that was cancelled, with the lock held. */
    void awaitEnd(long request) {
        if (await(request, System.nanoTime() + CLOSING_NANOS) == UcxAbi.INPROGRESS) {
            destroy();
        }
    }

    private void destroy() {
        if (!destroyed) {
            destroyed = true;
            Ucp.ucp_worker_destroy(handle);
        }
    }

    static byte[] copy(long address, long length) {
        return new Pointer(address).getByteArray(0, Math.toIntExact(length));
    }
}
