package org.rsmapi.loopback;

import java.security.SecureRandom;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.shared.Backing;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.OsError;

/** The memory of one export segment: a {@link Backing}, published by a {@link Publication} while it is published. */
final class LoopbackExport implements ExportedMemory {
    private static final int AUTOMATIC = 0x80000000;
    /**
     * The next automatic id. No process counts for the whole machine. A random start among 2^31 makes it unlikely that two processes
     * try the same id, and binding the name makes sure that no id is in use twice.
     */
    private static final AtomicInteger NEXT_ID = new AtomicInteger(new SecureRandom().nextInt());

    private final LocalNode here;
    private final long size;
    private final Set<MemoryOption> options;
    /** The one that was made for it; the present one is another after a rebind while it was not published. */
    private final Backing first;
    private final LoopbackSignals signals = new LoopbackSignals();
    private volatile Backing backing;
    private volatile Publication publication;
    private long generation = 1;
    private boolean destroyed;

    LoopbackExport(LocalNode here, Backing backing, long size, Set<MemoryOption> options) {
        this.here = here;
        this.first = backing;
        this.backing = backing;
        this.size = size;
        this.options = options;
    }

    @Override
    public long address() {
        return backing.address();
    }

    @Override
    public int publish(int segmentId, AccessPolicy access, byte[] layout, Gate gate) {
        try {
            publication = backing.publish(gate,
                () -> segmentId == 0 ? openAnywhere(access, layout) : open(segmentId, access, layout));
            return publication.segmentId();
        } catch (OsError e) {
            if (e.is(Errno.EADDRINUSE)) {
                throw Failures.of(RsmError.SEGID_IN_USE, "export-publish", e)
                    .with("segment-id", Integer.toUnsignedLong(segmentId)).with("node", here.node())
                    .hint("grep rsmapi /proc/net/unix lists what is published here; id 0 has one chosen");
            }
            throw Failures.resources("export-publish", e).with("segment-id", Integer.toUnsignedLong(segmentId));
        }
    }

    private Publication open(int segmentId, AccessPolicy access, byte[] layout) {
        return new Publication(backing, signals, here, segmentId, size, generation, access, layout);
    }

    private Publication openAnywhere(AccessPolicy access, byte[] layout) {
        for (int attempt = 0; attempt < 1_000; attempt++) {
            try {
                return open(AUTOMATIC | NEXT_ID.getAndIncrement(), access, layout);
            } catch (OsError e) {
                if (!e.is(Errno.EADDRINUSE)) {
                    throw e;
                }
            }
        }
        throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "export-publish").hint("no automatic segment id is free");
    }

    @Override
    public void republish(AccessPolicy access) {
        publication.setAccess(access);
    }

    @Override
    public void rebind(long address, Object owner, Gate gate) {
        try {
            gate.shut();
            if (publication == null) {
                backing = backing.replacedBy(Backing.adopt("export-rebind", address, size, owner, options));
            } else {
                backing.rebind("export-rebind", address, owner);
            }
        } catch (OsError e) {
            throw Failures.resources("export-rebind", e).with("address", address).with("length", size);
        } finally {
            gate.open();
        }
    }

    @Override
    public void unpublish() {
        end(Wire.REASON_UNPUBLISHED, true);
    }

    @Override
    public void destroy() {
        if (!destroyed) {
            if (publication != null) {
                end(Wire.REASON_DESTROYED, false);
            }
            try {
                backing.release();
            } catch (OsError e) {
                throw Failures.resources("export-destroy", e).hint("there is no memory to move the content to: call again");
            }
            destroyed = true;
            signals.close();
        }
    }

    private void end(int reason, boolean livesOn) {
        String op = livesOn ? "export-unpublish" : "export-destroy";
        publication.end(reason);
        generation = publication.generation();
        try {
            backing.revoke(publication, livesOn);
        } catch (OsError e) {
            throw Failures.resources(op, e)
                .hint("importers are disconnected, but may still see memory that could not be moved: free memory and call again");
        }
        publication = null;
        if (livesOn) {
            signals.renew();
        }
    }

    @Override
    public void unmap() {
        first.unmap();
    }

    @Override
    public int importers() {
        Publication current = publication;
        return current == null ? 0 : current.importers();
    }

    @Override
    public Signals signals() {
        return signals;
    }

    @Override
    public void post(boolean accumulate) {
        Publication current = publication;
        if (current != null) {
            try {
                current.post(accumulate);
            } catch (OsError e) {
                throw Failures.resources("signal-post", e);
            }
        }
    }
}
