package org.rsmapi.loopback;

import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.RsmError;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.sys.Closer;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.Identity;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Vm;
import org.rsmapi.sys.Waiting;

/**
 * One publication of a segment: the name it listens under, the state page, and the importers that are connected.
 *
 * <p>The backing's lock guards everything here, because the memory must not move while it is being handed out. The service thread
 * does not wait for it: what it cannot do now is done when the lock is free.
 */
final class Publication {
    private static final int BACKLOG = 128;
    private static final int ACCEPTS_AT_ONCE = 64;
    /** Connections that have not said yet what they want. More than that, and the oldest goes. */
    private static final int MAX_SILENT = 64;
    private static final long SILENCE_MILLIS = 2_000;
    /** How long to stop accepting when descriptors have run out, instead of being woken for the same connection for ever. */
    private static final long PAUSE_MILLIS = 50;
    /** How often to try again to answer importers whose user has too many unread answers, and for how long. */
    private static final long RETRY_MILLIS = 2;
    private static final long PATIENCE_NANOS = 3_000_000_000L;

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
    /** Those that have not said yet what they want, in the order in which they came. */
    private final ArrayDeque<Importer> silent = new ArrayDeque<>();
    /** Those that have, and have to wait for their answer. */
    private final ArrayDeque<Importer> patient = new ArrayDeque<>();
    private final Set<Importer> importers = ConcurrentHashMap.newKeySet();
    /** Whether the timer for the silent, and that for the patient, is running. */
    private boolean silenceTimed;
    private boolean patienceTimed;
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
            boolean suspect = importer.pace.isSuspected();
            long begun = importer.pace.begin(suspect);
            importer.events.post(accumulate);
            importer.pace.end(suspect, begun);
            if (importer.pace.isTooSlow()) {
                registration.later(0, this::dropSlow);
            }
        }
    }

    /** By the reactor. Their posts delay those for the others. */
    private void dropSlow() {
        if (!enter(this::dropSlow)) {
            return;
        }
        try {
            for (Importer importer : new ArrayList<>(importers)) {
                if (importer.pace.isTooSlow()) {
                    importer.drop();
                }
            }
        } finally {
            backing.unlock();
        }
    }

    /** Whether an importer may have the memory, or have had it. With the backing's lock held. */
    boolean handedOut() {
        return handedOut;
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

    /** Ends the publication: no new importers, and those there are have been told. The memory is the backing's business. */
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
            // from here on each step can be made again: after an error, such as OutOfMemoryError, the call is made once more
            registration.remove();
            if (listener.isOpen()) {
                Sockets.endListener(listener);
            }
            state.revoke(generation);
            abortImporters(reason);
            silent.addAll(patient);
            while (!silent.isEmpty()) {
                silent.peek().drop();
            }
            state.close();
            stateForReading.close();
            ended = true;
        } finally {
            backing.unlock();
        }
        Reactor.release(false);
    }

    /** Ends all connections, because the memory is going to move; the publication stands. With the backing's lock held. */
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

    /**
     * Takes the lock for the service thread, or has it try again when the lock is free.
     *
     * @return whether it has the lock
     */
    private boolean enter(Reactor.Registration watched) {
        if (backing.tryLock()) {
            return true;
        }
        watched.pause();
        backing.whenFree(watched::resume);
        return false;
    }

    private boolean enter(Runnable timer) {
        if (backing.tryLock()) {
            return true;
        }
        backing.whenFree(() -> registration.later(0, timer));
        return false;
    }

    private void accept(Reactor.Registration self) {
        if (!enter(self)) {
            return;
        }
        try {
            if (Closer.waiting() > Limits.connections().all()) {
                self.pause(PAUSE_MILLIS); // what else is accepted might only be more of that
                return;
            }
            for (int i = 0; i < ACCEPTS_AT_ONCE && !over; i++) {
                Fd fd = Sockets.accept(listener);
                if (fd == null) {
                    return;
                }
                admit(fd);
            }
        } catch (OsError e) {
            self.pause(PAUSE_MILLIS); // descriptors or memory, most likely
        } finally {
            backing.unlock();
        }
    }

    private void admit(Fd fd) {
        int uid;
        try {
            uid = Sockets.peer(fd).uid();
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
        Quota.Share share = Quota.CONNECTIONS.take(uid);
        if (share == null) {
            refuse(fd, uid);
            return;
        }
        Runnable closed = share::give;
        Importer importer;
        try {
            importer = new Importer(fd, closed);
        } catch (RuntimeException | Error e) {
            Sockets.endAccepted(fd, uid, closed);
            throw e;
        }
        importer.ready(importer.watched); // mostly it has spoken already
        if (silent.contains(importer)) {
            if (silent.size() > MAX_SILENT) {
                oldestOfMost().drop();
            }
            watchSilence();
        }
    }

    /** Answers without waiting for the question. */
    private static void refuse(Fd fd, int uid) {
        try {
            Sockets.send(fd, Wire.Answer.refusal(RsmError.INSUFFICIENT_RESOURCES.code()).encode());
        } catch (OsError e) {
            return; // it is gone
        } finally {
            Sockets.end(fd, uid); // which reads the question: unread, it would look like a reset
        }
    }

    /** The one that has been silent longest of those of the user who has most silent ones. */
    private Importer oldestOfMost() {
        Map<Integer, Integer> counts = new HashMap<>();
        int most = 0;
        for (Importer importer : silent) {
            most = Math.max(most, counts.merge(importer.peer.uid(), 1, Integer::sum));
        }
        for (Importer importer : silent) {
            if (counts.get(importer.peer.uid()) == most) {
                return importer;
            }
        }
        throw new IllegalStateException("none is silent");
    }

    private void watchSilence() {
        if (!silenceTimed && !silent.isEmpty()) {
            silenceTimed = true;
            long left = silent.peek().silentUntil - System.nanoTime();
            registration.later(Math.max(1, left / 1_000_000 + 1), this::dropSilent);
        }
    }

    private void dropSilent() {
        if (!enter(this::dropSilent)) {
            return;
        }
        try {
            silenceTimed = false;
            while (!silent.isEmpty() && silent.peek().silentUntil - System.nanoTime() <= 0) {
                silent.peek().drop();
            }
            watchSilence();
        } finally {
            backing.unlock();
        }
    }

    private void watchPatience() {
        if (!patienceTimed && !patient.isEmpty()) {
            patienceTimed = true;
            registration.later(RETRY_MILLIS, this::answerPatient);
        }
    }

    private void answerPatient() {
        if (!enter(this::answerPatient)) {
            return;
        }
        try {
            patienceTimed = false;
            Set<Integer> full = new HashSet<>();
            for (Importer importer : new ArrayList<>(patient)) {
                if (!full.contains(importer.peer.uid()) && !importer.answerAgain()) {
                    full.add(importer.peer.uid()); // those who came later wait for this one
                }
            }
            watchPatience();
        } finally {
            backing.unlock();
        }
    }

    /** One connection, from accept to its end. */
    private final class Importer {
        private final Fd fd;
        private final Sockets.Peer peer;
        private final Reactor.Registration watched;
        /** What to do as soon as its socket is closed. */
        private final Runnable closed;
        private final long silentUntil = System.nanoTime() + SILENCE_MILLIS * 1_000_000;
        /** What it wants, if it has to wait for the answer, and for how long. */
        private Wire.Connect wish;
        private long patientUntil;
        /** The answer, while it may not have been read. */
        private Unread answer;
        private boolean dropped;
        private long token;
        /** What is posted for it. Before it is one of the importers there is none. */
        private EventFd events;
        private final Pace pace = new Pace();
        /** Whether it may post to the segment. */
        private boolean joined;

        Importer(Fd fd, Runnable closed) {
            this.fd = fd;
            this.closed = closed;
            this.peer = Sockets.peer(fd);
            silent.add(this);
            try {
                this.watched = Reactor.watch(fd, this::ready);
            } catch (RuntimeException | Error e) {
                silent.remove(this);
                throw e;
            }
        }

        void ready(Reactor.Registration self) {
            if (!enter(self)) {
                return;
            }
            try {
                if (dropped) {
                    return;
                }
                try (Sockets.Message message = Sockets.receive(fd, Wire.MAX_BYTES, 0)) {
                    if (message != null) {
                        hear(message);
                    }
                } catch (RuntimeException | Error e) {
                    drop();
                    throw e;
                }
            } finally {
                backing.unlock();
            }
        }

        private void hear(Sockets.Message message) {
            Wire.Header header = Wire.header(message.data());
            if (!silent.remove(this) || header == null || header.type() != Wire.CONNECT) {
                drop(); // its end, or words out of turn
                return;
            }
            RsmError refusal = refusal(header, message);
            if (refusal == null) {
                answer(Wire.Connect.decode(message.data()));
            } else {
                refuse(refusal);
            }
        }

        /** Lets it in, or not, or has it wait for that. */
        private void answer(Wire.Connect question) {
            if (isUserWaiting() || !answered(question)) {
                wish = question;
                patientUntil = System.nanoTime() + PATIENCE_NANOS;
                patient.add(this);
                watchPatience();
            }
        }

        private boolean isUserWaiting() {
            for (Importer other : patient) {
                if (other.peer.uid() == peer.uid()) {
                    return true;
                }
            }
            return false;
        }

        /** Tries to answer one that waits; false if it has to wait on. */
        boolean answerAgain() {
            if (answered(wish)) {
                patient.remove(this);
                return true;
            }
            if (patientUntil - System.nanoTime() <= 0) {
                refuse(RsmError.INSUFFICIENT_RESOURCES);
                return true;
            }
            return false;
        }

        private boolean answered(Wire.Connect question) {
            RsmError refusal = refusal(question);
            try {
                if (refusal == null) {
                    return welcome(question);
                }
            } catch (OsError e) {
                if (answer != null) {
                    answer.cancel(); // it was not sent
                    answer = null;
                }
                refusal = RsmError.INSUFFICIENT_RESOURCES; // descriptors, most likely
            }
            refuse(refusal);
            return true;
        }

        private void refuse(RsmError refusal) {
            tell(Wire.Answer.refusal(refusal.code()).encode());
            drop();
        }

        private RsmError refusal(Wire.Header header, Sockets.Message message) {
            if (header.version() != Wire.VERSION) {
                return RsmError.BAD_DRIVER_VERSION;
            }
            if (!header.is(Wire.CONNECT, Wire.CONNECT_BYTES, message.data()) || message.truncated()) {
                return RsmError.BAD_ARGS_ERRORS;
            }
            return null;
        }

        private RsmError refusal(Wire.Connect wish) {
            if (over || wish.segmentId() != segmentId) {
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

        /**
         * One digit counts, as for files: the owner's, else the group's, else the others'. Who wants no permission has to have some
         * nevertheless. The superuser may do everything.
         */
        private boolean allows(int digits, int wanted) {
            if (peer.uid() == 0) {
                return true;
            }
            int digit = peer.uid() == Identity.uid() ? digits >> 6 : peer.inGroup(Identity.gid()) ? digits >> 3 : digits;
            return wanted == 0 ? (digit & 6) != 0 : (wanted >> 6 & ~digit) == 0;
        }

        /** Lets it in; false if its user has too many answers that are not read. */
        private boolean welcome(Wire.Connect wish) {
            answer = Unread.add(fd, peer.uid());
            if (answer == null) {
                return false;
            }
            if (Quota.isOther(peer.uid())) {
                Waiting.prepareToPost();
            }
            events = EventFd.ofEvents(0);
            Fd[] descriptors = descriptors(wish);
            Wire.Answer answer = new Wire.Answer(0, size, generation, wish.permission(), ByteOrder.nativeOrder(),
                (int) Vm.pageSize(), descriptors.length, Identity.pid());
            token = wish.token();
            importers.add(this); // before the importer can know
            if (!Sockets.send(fd, answer.encode(), descriptors)) {
                drop();
            }
            return true;
        }

        /** No more than the permission needs: what was not handed out cannot be misused. */
        private Fd[] descriptors(Wire.Connect wish) {
            Fd theirs = Publication.this.events.join(peer.uid()).fd();
            joined = true;
            if (!wish.wantsMemory()) {
                return new Fd[] {stateForReading, theirs, events.fd()};
            }
            Fd memory = wish.wantsToWrite() ? backing.fileForWriting() : backing.fileForReading();
            handedOut = true;
            return new Fd[] {memory, stateForReading, theirs, events.fd()};
        }

        /** Sends a message if there is room; a peer that does not read misses it, and sees the end of the connection. */
        void tell(byte[] message) {
            try {
                if (answer != null && answer.isRead()) {
                    answer = null;
                }
                Sockets.send(fd, message);
            } catch (OsError e) {
                if (!e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                    throw e;
                }
            }
        }

        void drop() {
            silent.remove(this);
            patient.remove(this);
            importers.remove(this);
            if (!dropped) {
                dropped = true;
                watched.remove();
                if (answer != null && !answer.isRead()) {
                    answer.end(closed);
                } else {
                    Sockets.endAccepted(fd, peer.uid(), closed);
                }
            }
            if (events != null) {
                events.close();
            }
            if (joined) {
                joined = false;
                Publication.this.events.leave(peer.uid());
            }
        }
    }
}
