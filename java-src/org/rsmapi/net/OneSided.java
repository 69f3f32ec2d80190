package org.rsmapi.net;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import org.rsmapi.sys.Threads;
import org.rsmapi.sys.Ucx;
import org.rsmapi.sys.UcxError;
import org.rsmapi.sys.UcxPeer;
import org.rsmapi.sys.UcxWorker;

/**
 * The RDMA device of a gateway. Through it gateways move data of each other's segments without the other side's doing; all else goes over
 * their links.
 *
 * <p>UCX does not survive everything that another gateway can do, so this is for a process that does nothing else, and for nodes that are
 * trusted that far.
 */
final class OneSided implements AutoCloseable {
    private static final long STOPPING_MILLIS = 2_000;
    private static final long LONGEST_WAIT = 1_000_000_000;

    private final String device;
    private final UcxWorker worker;
    private final byte[] address;
    private final Thread thread = Threads.daemon(this::run, "rsmapi-ucx-progress");
    /** One thread: what waits for the worker's lock keeps no thread from others. */
    private final ThreadPoolExecutor closer = Fabric.pool("rsmapi-ucx-close", 1, 1, true);
    /** What peers may access until the worker is closed: over tcp only, which nobody but tests uses. */
    private final List<Runnable> retired = new ArrayList<>();
    /** Whether the worker is closed; with the monitor of {@link #retired}. */
    private boolean closed;
    private volatile boolean stopping;
    private volatile String failure;

    private OneSided(String device, UcxWorker worker) {
        this.device = device;
        this.worker = worker;
        this.address = worker.address();
    }

    /**
     * Opens a device.
     *
     * @throws UcxError if there is no UCX, no such device, or it lacks something
     */
    static OneSided open(String device) {
        UcxWorker worker = UcxWorker.open(device);
        OneSided made = null;
        try {
            made = new OneSided(device, worker);
            Threads.start(made.thread);
            return made;
        } finally {
            if (made == null || !made.thread.isAlive()) {
                worker.close();
            }
        }
    }

    String device() {
        return device;
    }

    UcxWorker worker() {
        return worker;
    }

    byte[] address() {
        return address;
    }

    UcxPeer connect(byte[] other) {
        return worker.connect(other);
    }

    /** Has something closed that was registered. Whoever calls does not wait. */
    void later(Runnable closing) {
        try {
            closer.execute(closing);
        } catch (RejectedExecutionException | OutOfMemoryError e) { // the device is being closed, or there is no thread for it
            closing.run();
        }
    }

    /** Has memory unmapped that was registered, when no peer can access it any more. */
    void unmap(Runnable unmapping) {
        synchronized (retired) {
            if (Ucx.isOverTcp() && !closed) {
                retired.add(unmapping);
                return;
            }
        }
        unmapping.run();
    }

    private void run() {
        try {
            while (!stopping && failure == null) {
                if (!worker.progress()) {
                    worker.awaitEvent(System.nanoTime() + LONGEST_WAIT);
                }
            }
        } catch (UcxError e) {
            fail(e);
        }
    }

    /** It is not used any more. */
    void fail(UcxError e) {
        failure = e.getMessage();
    }

    /** Why it cannot be used any more; null if it can. */
    String failure() {
        return failure;
    }

    @Override
    public void close() {
        stopping = true;
        closer.shutdown(); // what it was given is still done
        try {
            worker.wake();
        } catch (UcxError e) {
            Thread.yield(); // it looks itself after a while
        }
        boolean interrupted = false;
        try {
            thread.join(STOPPING_MILLIS);
        } catch (InterruptedException e) {
            interrupted = true;
        }
        try {
            worker.close();
        } catch (UcxError e) {
            Thread.yield(); // nothing uses it any more
        } finally {
            List<Runnable> last;
            synchronized (retired) {
                closed = true;
                last = new ArrayList<>(retired);
                retired.clear();
            }
            last.forEach(Runnable::run);
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
