package org.rsmapi.loopback;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.rsmapi.RsmError;
import org.rsmapi.shared.Backing;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.sys.Closer;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;

/**
 * The exporter's half of the handshake in doc/protocol.md: accepts connections, reads each CONNECT, and answers it. The service thread
 * calls it; it needs the backing's lock, and does not wait for that.
 */
final class ExporterHandshake {
    private static final int ACCEPTS_AT_ONCE = 64;
    /** Connections whose request has not arrived. With more than that, the oldest of the user with most of them is dropped. */
    private static final int MAX_PENDING = 64;
    private static final long HANDSHAKE_TIMEOUT_MILLIS = 2_000;
    /** How long to stop accepting when descriptors have run out, instead of being woken for the same connection for ever. */
    private static final long PAUSE_MILLIS = 50;
    /** How often to try again to answer importers whose user has too many unread answers, and for how long. */
    private static final long RETRY_MILLIS = 2;
    private static final long ANSWER_TIMEOUT_NANOS = 3_000_000_000L;

    private final Publication publication;
    private final Backing backing;
    private final LocalNode here;
    private final Fd listener;
    /** Connections whose request has not arrived, in the order in which they came. */
    private final ArrayDeque<Importer> pending = new ArrayDeque<>();
    /** Connections whose request has arrived and has to wait for its answer. */
    private final ArrayDeque<Importer> delayed = new ArrayDeque<>();
    private final Reactor.Registration registration;
    /** Whether the timer for the pending, and that for the delayed, is running. */
    private boolean pendingTimed;
    private boolean delayedTimed;

    ExporterHandshake(Publication publication, Backing backing, LocalNode here, Fd listener) {
        this.publication = publication;
        this.backing = backing;
        this.here = here;
        this.listener = listener;
        this.registration = Reactor.watch(listener, this::accept);
    }

    /** Accepts no more connections. */
    void stopAccepting() {
        registration.remove();
        if (listener.isOpen()) {
            Sockets.endListener(listener);
        }
    }

    /** Drops the connections that have not been answered. */
    void dropAll() {
        while (!delayed.isEmpty()) {
            delayed.peek().drop();
        }
        while (!pending.isEmpty()) {
            pending.peek().drop();
        }
    }

    /** The connection is being dropped. */
    void forget(Importer importer) {
        pending.remove(importer);
        delayed.remove(importer);
    }

    /** Runs an action on the service thread as soon as that has the backing's lock. */
    void later(Runnable action) {
        later(0, action);
    }

    private void later(long millis, Runnable action) {
        registration.later(millis, () -> withLock(action));
    }

    private void withLock(Runnable action) {
        if (!backing.tryLock()) {
            backing.whenFree(() -> later(0, action));
            return;
        }
        try {
            action.run();
        } finally {
            backing.unlock();
        }
    }

    /** Takes the lock, or has the registration report once more when the lock is free. */
    private boolean enter(Reactor.Registration watched) {
        if (backing.tryLock()) {
            return true;
        }
        watched.pause();
        backing.whenFree(watched::resume);
        return false;
    }

    // ---- accepting ----

    private void accept(Reactor.Registration self) {
        if (!enter(self)) {
            return;
        }
        try {
            if (Closer.waiting() > Limits.connections().all()) {
                self.pause(PAUSE_MILLIS); // what else is accepted might only be more of that
                return;
            }
            for (int i = 0; i < ACCEPTS_AT_ONCE && !publication.isOver(); i++) {
                Fd socket = Sockets.accept(listener);
                if (socket == null) {
                    return;
                }
                admit(socket);
            }
        } catch (OsError e) {
            self.pause(PAUSE_MILLIS); // descriptors or memory, most likely
        } finally {
            backing.unlock();
        }
    }

    private void admit(Fd socket) {
        int uid;
        try {
            uid = Sockets.peer(socket).uid();
        } catch (RuntimeException | Error e) {
            socket.close();
            throw e;
        }
        Quota.Share share = Quota.CONNECTIONS.take(uid);
        if (share == null) {
            rejectUnheard(socket, uid);
            return;
        }
        Runnable whenClosed = share::give;
        Importer importer;
        try {
            importer = new Importer(publication, socket, whenClosed, this::ready);
        } catch (RuntimeException | Error e) {
            Sockets.endAccepted(socket, uid, whenClosed);
            throw e;
        }
        try {
            importer.setDeadline(System.nanoTime() + HANDSHAKE_TIMEOUT_MILLIS * 1_000_000);
            pending.add(importer);
        } catch (Error e) {
            importer.drop();
            throw e;
        }
        ready(importer); // mostly the request is there already
        if (pending.contains(importer)) {
            if (pending.size() > MAX_PENDING) {
                oldestOfMost().drop();
            }
            timePending();
        }
    }

    /** Rejects without waiting for the request. */
    private static void rejectUnheard(Fd socket, int uid) {
        try {
            Sockets.send(socket, Wire.Answer.rejection(RsmError.INSUFFICIENT_RESOURCES.code()).encode());
        } catch (OsError e) {
            return; // it is gone
        } finally {
            Sockets.end(socket, uid); // reads the request: unread, it would look like a reset
        }
    }

    /** The oldest pending connection of the user who has most of them. */
    private Importer oldestOfMost() {
        Map<Integer, Integer> counts = new HashMap<>();
        int most = 0;
        for (Importer importer : pending) {
            most = Math.max(most, counts.merge(importer.uid(), 1, Integer::sum));
        }
        for (Importer importer : pending) {
            if (counts.get(importer.uid()) == most) {
                return importer;
            }
        }
        throw new IllegalStateException("none is pending");
    }

    private void timePending() {
        if (!pendingTimed && !pending.isEmpty()) {
            pendingTimed = true;
            later(Math.max(1, pending.peek().nanosLeft() / 1_000_000 + 1), this::dropExpired);
        }
    }

    private void dropExpired() {
        pendingTimed = false;
        try {
            while (!pending.isEmpty() && pending.peek().nanosLeft() <= 0) {
                pending.peek().drop();
            }
        } finally {
            timePending();
        }
    }

    // ---- the request ----

    private void ready(Importer importer) {
        if (!enter(importer.registration())) {
            return;
        }
        try {
            if (importer.isDropped()) {
                return;
            }
            try (Sockets.Message message = importer.receive()) {
                if (message != null) {
                    read(importer, message);
                }
            } catch (RuntimeException | Error e) {
                importer.drop();
                throw e;
            }
        } finally {
            backing.unlock();
        }
    }

    private void read(Importer importer, Sockets.Message message) {
        Wire.Header header = Wire.header(message.data());
        if (!pending.remove(importer) || header == null || header.type() != Wire.CONNECT) {
            importer.drop(); // the connection's end, or a message out of turn
            return;
        }
        RsmError error = error(header, message);
        if (error == null) {
            answerOrDelay(importer, Wire.Connect.decode(message.data()));
        } else {
            reject(importer, error);
        }
    }

    private static RsmError error(Wire.Header header, Sockets.Message message) {
        if (header.version() != Wire.VERSION) {
            return RsmError.BAD_DRIVER_VERSION;
        }
        if (!header.is(Wire.CONNECT, Wire.CONNECT_BYTES, message.data()) || message.truncated()) {
            return RsmError.BAD_ARGS_ERRORS;
        }
        return null;
    }

    private RsmError error(Importer importer, Wire.Connect request) {
        if (publication.isOver() || request.segmentId() != publication.segmentId()) {
            return RsmError.SEG_NOT_PUBLISHED;
        }
        boolean remote = request.node() != here.node();
        int digits = publication.access().digits(request.node());
        if (digits == AccessPolicy.NOT_LISTED
                || remote && (here.localOnly() || !request.controller().equals(here.controller()))) {
            return RsmError.SEG_NOT_PUBLISHED_TO_NODE;
        }
        if ((request.permission() & ~0600) != 0 || !allows(importer.peer(), digits, request)) {
            return RsmError.PERM_DENIED;
        }
        return backing.isWhole() ? null : RsmError.INSUFFICIENT_MEM;
    }

    /**
     * Whether the access list allows a permission. One digit counts, as for files: the owner's, else the group's, else the others'. No
     * permission is allowed to a peer that may have another one. The superuser may have all.
     */
    private static boolean allows(Sockets.Peer peer, int digits, Wire.Connect request) {
        int wanted = request.permission();
        if (peer.uid() == 0 && !request.asOthers()) {
            return true;
        }
        int digit = request.asOthers() ? digits : peer.uid() == Credentials.uid() ? digits >> 6 : peer.inGroup(Credentials.gid()) ? digits >> 3 : digits;
        return wanted == 0 ? (digit & 6) != 0 : (wanted >> 6 & ~digit) == 0;
    }

    // ---- the answer ----

    private void answerOrDelay(Importer importer, Wire.Connect request) {
        boolean othersWait = delayed.stream().anyMatch(other -> other.uid() == importer.uid());
        if (othersWait || !answer(importer, request)) {
            importer.keep(request);
            importer.setDeadline(System.nanoTime() + ANSWER_TIMEOUT_NANOS);
            delayed.add(importer);
            timeDelayed();
        }
    }

    private void timeDelayed() {
        if (!delayedTimed && !delayed.isEmpty()) {
            delayedTimed = true;
            later(RETRY_MILLIS, this::answerDelayed);
        }
    }

    private void answerDelayed() {
        delayedTimed = false;
        try {
            Set<Integer> full = new HashSet<>();
            for (Importer importer : new ArrayList<>(delayed)) {
                if (!full.contains(importer.uid()) && !answerAgain(importer)) {
                    full.add(importer.uid()); // later ones of that user wait for this one
                }
            }
        } finally {
            timeDelayed();
        }
    }

    /** Answers a delayed request; false if it has to wait on. */
    private boolean answerAgain(Importer importer) {
        if (answer(importer, importer.request())) {
            delayed.remove(importer);
            return true;
        }
        if (importer.nanosLeft() <= 0) {
            reject(importer, RsmError.INSUFFICIENT_RESOURCES);
            return true;
        }
        return false;
    }

    /** Accepts or rejects; false if the answer has to wait. */
    private boolean answer(Importer importer, Wire.Connect request) {
        RsmError error = error(importer, request);
        try {
            if (error == null) {
                return importer.accept(request);
            }
        } catch (OsError e) {
            error = RsmError.INSUFFICIENT_RESOURCES; // descriptors, most likely
        }
        reject(importer, error);
        return true;
    }

    private static void reject(Importer importer, RsmError error) {
        importer.send(Wire.Answer.rejection(error.code()).encode());
        importer.drop();
    }
}
