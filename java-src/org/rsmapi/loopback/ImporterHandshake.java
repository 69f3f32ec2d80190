package org.rsmapi.loopback;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Interconnect.AbortListener;
import org.rsmapi.sys.Closer;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.Opening;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Vm;

/** The importer's half of the handshake in doc/protocol.md: sends a CONNECT, and makes a connection of the ANSWER. */
final class ImporterHandshake {
    private static final String OP = "import-connect";
    private static final int ATTEMPTS = 2;
    private static final int EVENT_COUNTERS = 2;
    /** The pause between attempts to connect while the exporter's backlog is full. The kernel has no wait for that. */
    private static final long BACKLOG_PAUSE_NANOS = 500_000;
    /** Descriptors of one exporter's user that may wait to be closed before no more are taken from that user. */
    private static final int MAX_CLOSING = 64;

    private final Wire.Connect request;
    private final int node;
    private final long deadline;
    private final AbortListener listener;

    /**
     * A handshake for one segment.
     *
     * @param node      the exporting node
     * @param deadline  on the clock of {@link System#nanoTime()}
     */
    ImporterHandshake(Wire.Connect request, int node, long deadline, AbortListener listener) {
        this.request = request;
        this.node = node;
        this.deadline = deadline;
        this.listener = listener;
    }

    /** The connection, which is not watched yet. */
    LoopbackConnection connect() {
        for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
            LoopbackConnection connection = attempt();
            if (connection != null) {
                return connection;
            }
        }
        throw failure(RsmError.CONN_ABORTED).hint("the exporter closed the connection without an answer");
    }

    /** One attempt; null if the exporter closed the connection before it answered. */
    private LoopbackConnection attempt() {
        Fd socket = openSocket();
        int exporter = Credentials.uid();
        boolean connected = false;
        try {
            exporter = Sockets.peer(socket).uid();
            if (Closer.waiting(exporter) > MAX_CLOSING) {
                throw failure(RsmError.INSUFFICIENT_RESOURCES).with("exporter-uid", exporter)
                    .hint("that user's exporters have sent descriptors that cannot be closed");
            }
            try (Sockets.Message answer = exchange(socket)) {
                if (answer == null || answer.data().length == 0) { // a message without bytes can bring descriptors too
                    return null;
                }
                Sockets.refuseDescriptors(socket); // from now on
                if (Quota.isOther(exporter)) {
                    Poll.prepareToPost();
                }
                LoopbackConnection connection = connection(socket, exporter, answer);
                connected = true;
                return connection;
            }
        } catch (OsError e) {
            if (e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                return null;
            }
            throw e;
        } finally {
            if (!connected) {
                Sockets.end(socket, exporter);
            }
        }
    }

    /** A socket that is connected to the exporter. */
    private Fd openSocket() {
        while (true) {
            try {
                return Sockets.connect(Wire.name(node, request.segmentId()));
            } catch (OsError e) {
                if (e.is(Errno.ECONNREFUSED)) {
                    throw failure(RsmError.SEG_NOT_PUBLISHED)
                        .hint("that id is not published on that node, on this machine and in this network namespace");
                }
                if (!e.is(Errno.EAGAIN)) {
                    throw e;
                }
            }
            if (Thread.currentThread().isInterrupted()) {
                throw failure(RsmError.INTERRUPTED);
            }
            if (deadline - System.nanoTime() <= 0) {
                throw failure(RsmError.TIMEOUT).hint("the exporter does not accept connections; is it stopped?");
            }
            LockSupport.parkNanos(BACKLOG_PAUSE_NANOS);
        }
    }

    /** Sends the request and receives the answer; null if the connection has ended. */
    private Sockets.Message exchange(Fd socket) {
        try {
            if (!Sockets.send(socket, request.encode())) {
                return null;
            }
        } catch (OsError e) {
            if (!e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                throw e;
            }
            // An exporter that has too many importers answers without a request, and ends the connection.
            return Sockets.receive(socket, Wire.MAX_BYTES, Wire.MAX_DESCRIPTORS);
        }
        switch (Poll.forInput(socket, deadline)) {
            case READY:
                return Sockets.receive(socket, Wire.MAX_BYTES, Wire.MAX_DESCRIPTORS);
            case INTERRUPTED:
                throw failure(RsmError.INTERRUPTED);
            default:
                throw failure(RsmError.TIMEOUT).hint("the exporter does not answer; is it stopped?");
        }
    }

    /** What the answer makes of the request: a connection, or the error that it reports. */
    private LoopbackConnection connection(Fd socket, int exporter, Sockets.Message message) {
        Wire.Header header = Wire.header(message.data());
        if (header == null || header.type() != Wire.ANSWER) {
            throw malformed("the answer is not one of this protocol");
        }
        if (header.version() != Wire.VERSION) {
            throw failure(RsmError.BAD_DRIVER_VERSION).with("version", Wire.VERSION).with("exporter-version", header.version());
        }
        if (message.truncated()) {
            new EventFd().close(); // fails if the kernel dropped descriptors because this process can have no more
        }
        if (!header.is(Wire.ANSWER, Wire.ANSWER_BYTES, message.data()) || message.truncated()) {
            throw malformed("the answer has the wrong length or lost a part");
        }
        Wire.Answer answer = Wire.Answer.decode(message.data());
        if (answer.code() != 0) {
            throw rejection(answer.code());
        }
        check(answer, message.descriptors());
        return open(socket, exporter, answer, message.descriptors());
    }

    private LoopbackConnection open(Fd socket, int exporter, Wire.Answer answer, List<Fd> descriptors) {
        int stateAt = stateIndex();
        try (Opening opening = new Opening(2 + EVENT_COUNTERS)) {
            StatePage state = opening.add(StatePage.view(descriptors.get(stateAt)));
            if (!state.wellFormed()) {
                throw malformed("the state page is malformed");
            }
            ArrayList<EventFd> counters = new ArrayList<>(EVENT_COUNTERS);
            for (int i = 0; i < EVENT_COUNTERS; i++) {
                counters.add(opening.add(EventFd.received(descriptors.remove(stateAt + 1))));
            }
            descriptors.remove(stateAt).close(); // at once: it is a small memory file, which was checked
            String layout = null;
            if (answer.layoutBytes() != 0) {
                try (Fd text = descriptors.remove(stateAt)) { // closed at once as well
                    layout = LayoutText.read(text, answer.layoutBytes());
                }
            }
            Fd memory = request.wantsMemory() ? opening.add(descriptors.remove(0)) : null;
            LoopbackConnection connection = new LoopbackConnection(socket, memory, state, counters.get(0), counters.get(1), answer,
                layout, exporter, request.token(), listener);
            opening.done();
            return connection;
        }
    }

    /** Where the state page's descriptor is: behind the memory's, if that comes along. */
    private int stateIndex() {
        return request.wantsMemory() ? 1 : 0;
    }

    private void check(Wire.Answer answer, List<Fd> descriptors) {
        long pages = answer.size() > 0 && answer.size() <= Long.MAX_VALUE - Vm.pageSize() ? Vm.wholePages(answer.size()) : 0;
        if (pages == 0 || answer.permission() != request.permission()) {
            throw malformed("the answer announces an impossible size or permission");
        }
        int state = stateIndex();
        if (descriptors.size() <= state + EVENT_COUNTERS || answer.descriptors() != descriptors.size()) {
            throw malformed("descriptors are missing");
        }
        String objection = request.wantsMemory() ? MemFd.objection(descriptors.get(0), pages, request.wantsToWrite()) : null;
        if (objection == null) {
            objection = StatePage.objection(descriptors.get(state));
        }
        for (int i = 1; objection == null && i <= EVENT_COUNTERS; i++) {
            objection = EventFd.objection(descriptors.get(state + i));
        }
        if (objection == null && answer.layoutBytes() != 0) {
            objection = layoutObjection(answer.layoutBytes(), descriptors, state + EVENT_COUNTERS + 1);
        }
        if (objection != null) {
            throw malformed("a descriptor is " + objection);
        }
    }

    private static String layoutObjection(int bytes, List<Fd> descriptors, int at) {
        if (bytes < 0 || bytes > ExportedMemory.MAX_LAYOUT_BYTES) {
            return "a layout of an impossible length";
        }
        return descriptors.size() <= at ? "missing" : LayoutText.objection(descriptors.get(at), bytes);
    }

    private RsmException rejection(int code) {
        RsmError error = RsmError.ofCode(code);
        if (error == null) {
            return malformed("the exporter rejected the request with the unknown code " + code);
        }
        RsmException rejection = failure(error);
        return error == RsmError.PERM_DENIED ? rejection.hint("the exporter's access list does not grant this permission") : rejection;
    }

    private RsmException malformed(String objection) {
        return failure(RsmError.CONN_ABORTED).with("objection", objection)
            .hint("the exporter breaks the protocol; the connection was not made");
    }

    private RsmException failure(RsmError error) {
        return RsmException.of(error, OP).with("node", node).with("segment-id", Integer.toUnsignedLong(request.segmentId()))
            .with("perm", Permission.ofBits(request.permission()));
    }
}
