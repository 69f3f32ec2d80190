package org.rsmapi.loopback;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.shared.Backing;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.Sockets;

/**
 * One publication of a segment: the name it listens under, the state page, and the importers that are connected.
 *
 * <p>The backing's lock guards everything here, because the memory must not move while its descriptors are being sent. The service
 * thread does not wait for it: see {@link ExporterHandshake}.
 */
final class Publication implements Backing.Importers {
    private static final int BACKLOG = 128;

    private final Backing backing;
    private final LoopbackSignals signals;
    private final int segmentId;
    private final long size;
    private final Fd stateForReading;
    private final StatePage state;
    /** Null for a publication without a layout. */
    private final Fd layoutText;
    private final int layoutBytes;
    private final ExporterHandshake handshake;
    private final Set<Importer> importers = ConcurrentHashMap.newKeySet();
    private AccessPolicy access;
    /** Whether an importer has been given the memory, or may have been. */
    private boolean handedOut;
    private long generation;
    private boolean over;
    /** Whether all that its end has to do is done. */
    private boolean ended;

    /**
     * Publishes under a name.
     *
     * @param layout  what importers are told of the content; null for nothing
     * @throws org.rsmapi.sys.OsError EADDRINUSE if the name is taken
     */
    Publication(Backing backing, LoopbackSignals signals, LocalNode here, int segmentId, long size, long generation,
            AccessPolicy access, byte[] layout) {
        this.backing = backing;
        this.signals = signals;
        this.segmentId = segmentId;
        this.size = size;
        this.generation = generation;
        this.access = access;
        try (Opening opening = new Opening(5)) {
            AutoCloseable releasing = () -> Reactor.release(false);
            Reactor.acquire();
            opening.add(releasing);
            Fd listener = opening.add(Sockets.listen(Wire.name(here.node(), segmentId), BACKLOG));
            try (Fd stateFile = StatePage.createFile()) {
                stateForReading = opening.add(MemFd.reopenReadOnly(stateFile));
                state = opening.add(StatePage.publish(stateFile, generation, size));
            }
            layoutBytes = layout == null ? 0 : layout.length;
            layoutText = layoutBytes == 0 ? null : opening.add(LayoutText.file(layout));
            handshake = new ExporterHandshake(this, backing, here, listener);
            opening.done();
        }
    }

    int segmentId() {
        return segmentId;
    }

    /** The segment's size in bytes. */
    long size() {
        return size;
    }

    /** The length of the layout's text; 0 if there is none. */
    int layoutBytes() {
        return layoutBytes;
    }

    LoopbackSignals signals() {
        return signals;
    }

    int importers() {
        return importers.size();
    }

    /** Posts one event for every importer; by any thread. */
    void post(boolean accumulate) {
        for (Importer importer : importers) {
            importer.post(accumulate);
            if (importer.isTooSlow()) {
                handshake.later(this::dropSlow);
            }
        }
    }

    /** Drops importers whose posts delay those for the others. */
    private void dropSlow() {
        for (Importer importer : new ArrayList<>(importers)) {
            if (importer.isTooSlow()) {
                importer.drop();
            }
        }
    }

    @Override
    public boolean handedOut() {
        return handedOut;
    }

    /** With the backing's lock held. */
    AccessPolicy access() {
        return access;
    }

    void setAccess(AccessPolicy next) {
        backing.lock();
        try {
            access = next;
        } finally {
            backing.unlock();
        }
    }

    /** The present generation; that of an ended publication is the one for the next to start with. */
    long generation() {
        backing.lock();
        try {
            return generation;
        } finally {
            backing.unlock();
        }
    }

    /** Whether it accepts no importers any more. With the backing's lock held. */
    boolean isOver() {
        return over;
    }

    /** From now on it is one of the importers. With the backing's lock held, as for the two that follow. */
    void add(Importer importer) {
        importers.add(importer);
    }

    /** The connection is being dropped. */
    void forget(Importer importer) {
        handshake.forget(importer);
        importers.remove(importer);
    }

    /** The descriptors for an answer: no more than the permission needs. */
    Fd[] descriptors(Wire.Connect request, Fd exporterEvents, Fd importerEvents) {
        List<Fd> descriptors = new ArrayList<>(5);
        if (request.wantsMemory()) {
            descriptors.add(request.wantsToWrite() ? backing.fileForWriting() : backing.fileForReading());
            handedOut = true;
        }
        descriptors.addAll(List.of(stateForReading, exporterEvents, importerEvents));
        if (layoutText != null) {
            descriptors.add(layoutText);
        }
        return descriptors.toArray(new Fd[0]);
    }

    /** Ends the publication: accepts no new importers, and notifies those that are connected. The memory is the backing's task. */
    void end(int reason) {
        backing.lock();
        try {
            if (ended) {
                return;
            }
            if (!over) {
                over = true;
                generation++;
            }
            // From here on each step can be repeated: after an error, such as OutOfMemoryError, the call is made once more.
            handshake.stopAccepting();
            state.revoke(generation);
            abortImporters(reason);
            handshake.dropAll();
            state.close();
            stateForReading.close();
            if (layoutText != null) {
                layoutText.close();
            }
            ended = true;
        } finally {
            backing.unlock();
        }
        Reactor.release(false);
    }

    @Override
    public void drop() {
        if (over) {
            return;
        }
        generation++;
        state.advance(generation);
        abortImporters(Wire.REASON_UNPUBLISHED);
    }

    private void abortImporters(int reason) {
        byte[] notice = new Wire.Revoked(reason, generation).encode();
        for (Importer importer : new ArrayList<>(importers)) {
            importer.send(notice);
            importer.drop();
            LoopbackConnection.abortLocal(importer.token(), reason == Wire.REASON_DESTROYED ? "destroyed" : "unpublished");
        }
    }
}
