package org.rsmapi.loopback;

import java.nio.ByteOrder;
import java.util.function.Consumer;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Vm;

/**
 * The exporter's side of one connection, from accept to its end. It becomes an importer of the publication with {@link #accept}. All
 * calls but {@link #post} need the backing's lock.
 */
final class Importer {
    private final Publication publication;
    private final Fd socket;
    private final Sockets.Peer peer;
    private final Reactor.Registration registration;
    /** What to do as soon as the socket is closed. */
    private final Runnable whenClosed;
    /** The request, while its answer has to wait. */
    private Wire.Connect request;
    /** When the connection is dropped if its request has not arrived, or rejected if it could not be answered. */
    private long deadline;
    /** The answer, while it may not have been read. */
    private Unread answer;
    /** Counts what is posted for it; null before it is accepted. */
    private EventFd events;
    private final Pace pace = new Pace();
    private long token;
    /** Whether it has a counter to post to. */
    private boolean joined;
    private boolean dropped;

    Importer(Publication publication, Fd socket, Runnable whenClosed, Consumer<Importer> whenReady) {
        this.publication = publication;
        this.socket = socket;
        this.whenClosed = whenClosed;
        this.peer = Sockets.peer(socket);
        this.registration = Reactor.watch(socket, self -> whenReady.accept(this));
    }

    int uid() {
        return peer.uid();
    }

    Sockets.Peer peer() {
        return peer;
    }

    Reactor.Registration registration() {
        return registration;
    }

    /** By which it is known in its own process. */
    long token() {
        return token;
    }

    boolean isDropped() {
        return dropped;
    }

    boolean isTooSlow() {
        return pace.isTooSlow();
    }

    Wire.Connect request() {
        return request;
    }

    /** Keeps the request, which is answered later. */
    void keep(Wire.Connect later) {
        request = later;
    }

    void setDeadline(long nanoTime) {
        deadline = nanoTime;
    }

    long nanosLeft() {
        return deadline - System.nanoTime();
    }

    /** The next message; null if there is none. */
    Sockets.Message receive() {
        return Sockets.receive(socket, Wire.MAX_BYTES, 0);
    }

    /** Posts one event for it; by any thread. */
    void post(boolean accumulate) {
        boolean suspect = pace.isSuspected();
        long begun = pace.begin(suspect);
        events.post(accumulate);
        pace.end(suspect, begun);
    }

    /**
     * Makes it an importer, and answers with descriptors.
     *
     * @return false if its user has too many answers that are not read
     * @throws OsError if there are no descriptors; nothing was sent then
     */
    boolean accept(Wire.Connect accepted) {
        answer = Unread.add(socket, peer.uid());
        if (answer == null) {
            return false;
        }
        try {
            if (Quota.isOther(peer.uid())) {
                Poll.prepareToPost();
            }
            events = EventFd.ofEvents(0);
            EventFd exporterEvents = publication.signals().addImporter(peer.uid());
            joined = true;
            Fd[] descriptors = publication.descriptors(accepted, exporterEvents.fd(), events.fd());
            Wire.Answer message = new Wire.Answer(0, publication.size(), publication.generation(), accepted.permission(),
                ByteOrder.nativeOrder(), (int) Vm.pageSize(), descriptors.length, Credentials.pid(), publication.layoutBytes());
            token = accepted.token();
            publication.add(this); // before the importer can know
            if (!Sockets.send(socket, message.encode(), descriptors)) {
                drop();
            }
            return true;
        } catch (OsError e) {
            if (answer != null) {
                answer.cancel();
                answer = null;
            }
            throw e;
        }
    }

    /** Sends a message if there is room. A peer that does not read misses it, and sees the end of the connection. */
    void send(byte[] message) {
        try {
            if (answer != null && answer.isRead()) {
                answer = null;
            }
            Sockets.send(socket, message);
        } catch (OsError e) {
            if (!e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                throw e;
            }
        }
    }

    /** Ends the connection. */
    void drop() {
        publication.forget(this);
        if (!dropped) {
            dropped = true;
            registration.remove();
            if (answer != null && !answer.isRead()) {
                answer.end(whenClosed);
            } else {
                Sockets.endAccepted(socket, peer.uid(), whenClosed);
            }
        }
        if (events != null) {
            events.close();
        }
        if (joined) {
            joined = false;
            publication.signals().removeImporter(peer.uid());
        }
    }
}
