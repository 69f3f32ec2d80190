package org.rsmapi.loopback;

import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.RsmError;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.Identity;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Vm;

/**
 * One publication of a segment: the name it listens under, the state page, and the importers that are connected.
 *
 * <p>The backing's monitor guards everything here, because the memory must not move while it is being handed out.
 */
final class Publication {
    private static final int BACKLOG = 128;
    private static final int ACCEPTS_AT_ONCE = 64;
    /** Connections that have not said yet what they want. More than that, and the oldest goes. */
    private static final int MAX_SILENT = 64;
    private static final long SILENCE_MILLIS = 2_000;
    /** How long to stop accepting when descriptors have run out, instead of being woken for the same connection for ever. */
    private static final long PAUSE_MILLIS = 50;

    private final Backing backing;
    private final Events events;
    private final String controller;
    private final boolean localOnly;
    private final int node;
    private final int segmentId;
    private final long size;
    private final Fd listener;
    private final Fd stateForReading;
    private final StatePage state;
    private final Reactor.Registration registration;
    private final ArrayDeque<Importer> silent = new ArrayDeque<>();
    private final Set<Importer> importers = ConcurrentHashMap.newKeySet();
    private AccessPolicy access;
    private long generation;
    private boolean over;

    /**
     * Publishes under a name.
     *
     * @throws OsError EADDRINUSE if the name is taken
     */
    Publication(Backing backing, Events events, LoopbackInterconnect interconnect, int segmentId, long size,
            long generation, AccessPolicy access) {
        this.backing = backing;
        this.events = events;
        this.controller = interconnect.name();
        this.localOnly = interconnect.localOnly();
        this.node = interconnect.localNode();
        this.segmentId = segmentId;
        this.size = size;
        this.generation = generation;
        this.access = access;
        ArrayList<AutoCloseable> opened = new ArrayList<>(4); // so that adding does not fail
        Reactor.acquire();
        try {
            listener = Sockets.listen(Wire.name(node, segmentId), BACKLOG);
            opened.add(listener);
            try (Fd stateFile = StatePage.createFile()) {
                stateForReading = MemFd.reopenReadOnly(stateFile);
                opened.add(stateForReading);
                state = StatePage.publish(stateFile, generation, size);
                opened.add(state);
            }
            registration = Reactor.watch(listener, this::accept);
        } catch (RuntimeException | Error e) {
            for (int i = opened.size() - 1; i >= 0; i--) {
                closeQuietly(opened.get(i), e);
            }
            Reactor.release(false);
            throw e;
        }
    }

    private static void closeQuietly(AutoCloseable resource, Throwable because) {
        try {
            resource.close();
        } catch (Exception e) {
            because.addSuppressed(e);
        }
    }

    int segmentId() {
        return segmentId;
    }

    int importers() {
        return importers.size();
    }

    /** Posts one event for every importer. */
    void post(boolean accumulate) {
        for (Importer importer : importers) {
            importer.events.post(accumulate);
        }
    }

    void setAccess(AccessPolicy next) {
        synchronized (backing) {
            access = next;
        }
    }

    /** The present generation; that of an ended publication is the one for the next to start with. */
    long generation() {
        synchronized (backing) {
            return generation;
        }
    }

    /** Ends the publication: no new importers, and those there are have been told. The memory is the backing's business. */
    void end(int reason) {
        synchronized (backing) {
            if (over) {
                return;
            }
            over = true;
            registration.remove();
            listener.close();
            generation++;
            state.revoke(generation);
            abortImporters(reason);
            while (!silent.isEmpty()) {
                silent.peek().drop();
            }
            state.close();
            stateForReading.close();
        }
        Reactor.release(false);
    }

    /** Ends all connections, because the memory is going to move; the publication stands. With the backing's monitor held. */
    void dropImporters() {
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
            importer.tell(notice);
            importer.drop();
            LoopbackConnection.abortLocal(importer.token, reason == Wire.REASON_DESTROYED ? "destroyed" : "unpublished");
        }
    }

    private void accept() {
        synchronized (backing) {
            try {
                for (int i = 0; i < ACCEPTS_AT_ONCE && !over; i++) {
                    Fd fd = Sockets.accept(listener);
                    if (fd == null) {
                        return;
                    }
                    admit(fd);
                }
            } catch (OsError e) {
                if (e.is(Errno.EMFILE, Errno.ENFILE, Errno.ENOMEM, Errno.ENOBUFS)) {
                    registration.pause(PAUSE_MILLIS);
                } else {
                    throw e;
                }
            }
        }
    }

    private void admit(Fd fd) {
        Importer importer;
        try {
            importer = new Importer(fd);
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
        importer.ready(); // mostly it has spoken already
        if (importer.fd.isOpen() && silent.contains(importer)) {
            if (silent.size() > MAX_SILENT) {
                silent.peek().drop();
            }
            Reactor.later(SILENCE_MILLIS, importer::dropIfSilent);
        }
    }

    /** One connection, from accept to its end. */
    private final class Importer {
        private final Fd fd;
        private final Sockets.Peer peer;
        private final Reactor.Registration watched;
        private long token;
        /** What is posted for it. Before it is one of the importers there is none. */
        private EventFd events;

        Importer(Fd fd) {
            this.fd = fd;
            this.peer = Sockets.peer(fd);
            silent.add(this);
            try {
                this.watched = Reactor.watch(fd, this::ready);
            } catch (RuntimeException | Error e) {
                silent.remove(this);
                throw e;
            }
        }

        void ready() {
            synchronized (backing) {
                if (!fd.isOpen()) {
                    return;
                }
                try (Sockets.Message message = Sockets.receive(fd, Wire.MAX_BYTES, Wire.MAX_DESCRIPTORS)) {
                    if (message != null) {
                        hear(message);
                    }
                } catch (RuntimeException | Error e) {
                    drop();
                    throw e;
                }
            }
        }

        private void hear(Sockets.Message message) {
            Wire.Header header = Wire.header(message.data());
            if (!silent.contains(this) || header == null || header.type() != Wire.CONNECT) {
                drop(); // its end, or words out of turn
                return;
            }
            RsmError refusal = over ? RsmError.SEG_NOT_PUBLISHED : refusal(header, message);
            try {
                if (refusal == null) {
                    welcome(Wire.Connect.decode(message.data()));
                    return;
                }
            } catch (OsError e) {
                refusal = RsmError.INSUFFICIENT_RESOURCES; // descriptors, most likely
            }
            tell(Wire.Answer.refusal(refusal.code()).encode());
            drop();
        }

        private RsmError refusal(Wire.Header header, Sockets.Message message) {
            if (header.version() != Wire.VERSION) {
                return RsmError.BAD_DRIVER_VERSION;
            }
            if (!header.is(Wire.CONNECT, Wire.CONNECT_BYTES, message.data()) || message.truncated()
                    || !message.descriptors().isEmpty()) {
                return RsmError.BAD_ARGS_ERRORS;
            }
            return refusal(Wire.Connect.decode(message.data()));
        }

        private RsmError refusal(Wire.Connect wish) {
            if (wish.segmentId() != segmentId) {
                return RsmError.SEG_NOT_PUBLISHED;
            }
            boolean remote = wish.node() != node;
            int digits = access.digits(wish.node());
            if (digits == AccessPolicy.NOT_LISTED || remote && (localOnly || !wish.controller().equals(controller))) {
                return RsmError.SEG_NOT_PUBLISHED_TO_NODE;
            }
            if ((wish.permission() & ~0600) != 0) {
                return RsmError.PERM_DENIED;
            }
            if (!allows(digits, wish.permission())) {
                return RsmError.PERM_DENIED;
            }
            return backing.isWhole() ? null : RsmError.INSUFFICIENT_MEM;
        }

        /** One digit counts, as for files: the owner's, else the group's, else the others'. The superuser may do everything. */
        private boolean allows(int digits, int wanted) {
            if (peer.uid() == 0) {
                return true;
            }
            int digit = peer.uid() == Identity.uid() ? digits >> 6 : peer.inGroup(Identity.gid()) ? digits >> 3 : digits;
            return (wanted >> 6 & ~digit) == 0;
        }

        private void welcome(Wire.Connect wish) {
            events = EventFd.ofEvents(0);
            Fd[] descriptors = descriptors(wish);
            Wire.Answer answer = new Wire.Answer(0, size, generation, wish.permission(), ByteOrder.nativeOrder(),
                (int) Vm.pageSize(), descriptors.length, Identity.pid());
            silent.remove(this);
            token = wish.token();
            importers.add(this); // before the importer can know
            if (!Sockets.send(fd, answer.encode(), descriptors)) {
                drop();
            }
        }

        /** No more than the permission needs: what was not handed out cannot be misused. */
        private Fd[] descriptors(Wire.Connect wish) {
            Fd theirs = Publication.this.events.handOut().fd();
            if (!wish.wantsMemory()) {
                return new Fd[] {stateForReading, theirs, events.fd()};
            }
            Fd memory = wish.wantsToWrite() ? backing.fileForWriting() : backing.fileForReading();
            return new Fd[] {memory, stateForReading, theirs, events.fd()};
        }

        /** Sends a message if there is room; a peer that does not read misses it, and sees the end of the connection. */
        void tell(byte[] message) {
            try {
                Sockets.send(fd, message);
            } catch (OsError e) {
                if (!e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                    throw e;
                }
            }
        }

        void dropIfSilent() {
            synchronized (backing) {
                if (silent.contains(this)) {
                    drop();
                }
            }
        }

        void drop() {
            silent.remove(this);
            importers.remove(this);
            if (fd.isOpen()) {
                watched.remove();
                fd.close();
            }
            if (events != null) {
                events.close();
            }
        }
    }
}
