package org.rsmapi.loopback;

import java.nio.ByteOrder;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Views;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect.AbortListener;
import org.rsmapi.spi.Signals;
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

/** An importer's end of a connection. Its own monitor guards the descriptors, the state page and whether it is over. */
final class LoopbackConnection implements Connection {
    private static final String OP = "import-connect";
    private static final int ATTEMPTS = 2;
    private static final int EVENT_COUNTERS = 2;
    private static final long BUSY_NANOS = 500_000;
    /** Descriptors of one exporter's user that may wait to be closed before no more are taken from that user. */
    private static final int MAX_CLOSING = 64;
    /** Notices of unknown type that an exporter may send, and how long it takes until it may send one more. */
    private static final int NOTICES = 16;
    private static final long NOTICE_NANOS = 10_000_000_000L;
    /** Below this address nothing is mapped: the JVM relies on faults there to find null references. */
    private static final long LOWEST = 1L << 20;

    /** Connections by token, for an exporter in this same process. */
    private static final Map<Long, LoopbackConnection> LOCAL = new ConcurrentHashMap<>();
    private static final SecureRandom TOKENS = new SecureRandom();

    private final Fd socket;
    /** Null for a connection without rights. */
    private final Fd memory;
    private final StatePage state;
    /** The exporter's counter of events. */
    private final EventFd theirs;
    /** This connection's own; it lives until the connection is closed, because events outlive the publication. */
    private final Events events;
    private final long size;
    private final ByteOrder byteOrder;
    private final long generation;
    private final int exporterPid;
    private final int exporterUid;
    private final long token;
    private final AbortListener listener;
    private Reactor.Registration registration;
    /** Notices that were of no use, less those that are forgotten by now, and when one was forgotten last. */
    private int notices;
    private long forgottenAt = System.nanoTime();
    private boolean over;
    private boolean closed;
    /** The memory file's, when it has been asked for; null if it is not known. */
    private MemFd.Identity identity;
    private boolean identified;

    private LoopbackConnection(Fd socket, Fd memory, StatePage state, EventFd theirs, EventFd events, Wire.Answer answer,
            int exporterUid, long token, AbortListener listener) {
        this.socket = socket;
        this.memory = memory;
        this.state = state;
        this.theirs = theirs;
        this.events = new Events(events, this::post);
        this.size = answer.size();
        this.byteOrder = answer.order();
        this.generation = answer.generation();
        this.exporterPid = answer.pid();
        this.exporterUid = exporterUid;
        this.token = token;
        this.listener = listener;
    }

    /** Asks the exporter. */
    static Connection open(LoopbackInterconnect from, int node, int segmentId, Permission permission, long timeoutNanos,
            AbortListener listener) {
        long deadline = System.nanoTime() + timeoutNanos;
        Wire.Connect wish = new Wire.Connect(from.localNode(), segmentId, permission.bits(), TOKENS.nextLong(), from.name());
        Reactor.acquire();
        try {
            for (int attempt = 1; ; attempt++) {
                LoopbackConnection connection = attempt(wish, node, deadline, listener);
                if (connection != null) {
                    connection.watch();
                    return connection;
                }
                if (attempt == ATTEMPTS) {
                    throw failure(RsmError.CONN_ABORTED, wish, node).hint("the exporter closed the connection without an answer");
                }
            }
        } catch (RuntimeException | Error e) {
            Reactor.release(false);
            if (e instanceof OsError) {
                throw Failures.resources(OP, (OsError) e).with("node", node).with("segment-id", unsigned(segmentId));
            }
            throw e;
        }
    }

    /** One attempt; null if the exporter went away before it answered. */
    private static LoopbackConnection attempt(Wire.Connect wish, int node, long deadline, AbortListener listener) {
        Fd socket = reach(wish, node, deadline);
        int exporter = Identity.uid();
        try {
            exporter = Sockets.peer(socket).uid();
            if (Closer.waiting(exporter) > MAX_CLOSING) {
                throw failure(RsmError.INSUFFICIENT_RESOURCES, wish, node).with("exporter-uid", exporter)
                    .hint("that user's exporters have sent descriptors that cannot be closed");
            }
            try (Sockets.Message message = ask(socket, wish, node, deadline)) {
                if (message == null || message.data().length == 0) { // also one without bytes can bring descriptors
                    Sockets.end(socket, exporter);
                    return null;
                }
                LoopbackConnection connection = accept(socket, exporter, message, wish, node, listener);
                Sockets.refuseDescriptors(socket);
                if (Quota.isOther(exporter)) {
                    Waiting.prepareToPost();
                }
                return connection;
            }
        } catch (OsError e) {
            Sockets.end(socket, exporter);
            if (e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                return null;
            }
            throw e;
        } catch (RuntimeException | Error e) {
            Sockets.end(socket, exporter);
            throw e;
        }
    }

    private static Sockets.Message ask(Fd socket, Wire.Connect wish, int node, long deadline) {
        try {
            if (!Sockets.send(socket, wish.encode())) {
                return null;
            }
        } catch (OsError e) {
            if (!e.is(Errno.EPIPE, Errno.ECONNRESET)) {
                throw e;
            }
            // An exporter that has too many importers answers before it is asked, and ends the connection.
            return Sockets.receive(socket, Wire.MAX_BYTES, Wire.MAX_DESCRIPTORS);
        }
        return answer(socket, wish, node, deadline);
    }

    private static Fd reach(Wire.Connect wish, int node, long deadline) {
        while (true) {
            try {
                return Sockets.connect(Wire.name(node, wish.segmentId()));
            } catch (OsError e) {
                if (e.is(Errno.ECONNREFUSED)) {
                    throw failure(RsmError.SEG_NOT_PUBLISHED, wish, node)
                        .hint("nobody on this machine (and in this network namespace) has published that id on that node");
                }
                if (!e.is(Errno.EAGAIN)) {
                    throw e;
                }
            }
            if (Thread.currentThread().isInterrupted()) {
                throw failure(RsmError.INTERRUPTED, wish, node);
            }
            if (deadline - System.nanoTime() <= 0) {
                throw failure(RsmError.TIMEOUT, wish, node).hint("the exporter does not accept connections; is it stopped?");
            }
            LockSupport.parkNanos(BUSY_NANOS); // too many others wait to be accepted, and the kernel has no wait for that
        }
    }

    private static Sockets.Message answer(Fd socket, Wire.Connect wish, int node, long deadline) {
        switch (Waiting.forInput(socket, deadline)) {
            case READY:
                return Sockets.receive(socket, Wire.MAX_BYTES, Wire.MAX_DESCRIPTORS);
            case INTERRUPTED:
                throw failure(RsmError.INTERRUPTED, wish, node);
            default:
                throw failure(RsmError.TIMEOUT, wish, node).hint("the exporter does not answer; is it stopped?");
        }
    }

    private static LoopbackConnection accept(Fd socket, int exporter, Sockets.Message message, Wire.Connect wish, int node,
            AbortListener listener) {
        Wire.Header header = Wire.header(message.data());
        if (header == null || header.type() != Wire.ANSWER) {
            throw malformed(wish, node, "the answer is not one of this protocol");
        }
        if (header.version() != Wire.VERSION) {
            throw failure(RsmError.BAD_DRIVER_VERSION, wish, node).with("version", Wire.VERSION)
                .with("exporter-version", header.version());
        }
        if (message.truncated()) {
            new EventFd().close(); // fails if it was our own want of descriptors that made the kernel drop some
        }
        if (!header.is(Wire.ANSWER, Wire.ANSWER_BYTES, message.data()) || message.truncated()) {
            throw malformed(wish, node, "the answer has the wrong length or lost a part");
        }
        Wire.Answer answer = Wire.Answer.decode(message.data());
        if (answer.code() != 0) {
            throw refused(answer, wish, node);
        }
        List<Fd> descriptors = message.descriptors();
        check(answer, descriptors, wish, node);
        int stateAt = stateIndex(wish);
        StatePage state = StatePage.view(descriptors.get(stateAt));
        ArrayList<EventFd> counters = new ArrayList<>(EVENT_COUNTERS); // so that adding does not fail
        Fd memory = null;
        try {
            if (!state.wellFormed()) {
                throw malformed(wish, node, "the state page is not one");
            }
            for (int i = 0; i < EVENT_COUNTERS; i++) {
                counters.add(EventFd.received(descriptors.remove(stateAt + 1)));
            }
            descriptors.remove(stateAt).close(); // at once: it is a small memory file, which was checked
            memory = wish.wantsMemory() ? descriptors.remove(0) : null;
            LoopbackConnection connection = new LoopbackConnection(socket, memory, state, counters.get(0), counters.get(1), answer,
                exporter, wish.token(), listener);
            LOCAL.put(wish.token(), connection);
            return connection;
        } catch (RuntimeException | Error e) {
            state.close();
            for (int i = 0; i < counters.size(); i++) { // an iterator would need memory
                counters.get(i).close();
            }
            if (memory != null) {
                memory.close();
            }
            LOCAL.remove(wish.token());
            throw e;
        }
    }

    /** Where the state page's descriptor is: behind the memory's, if that comes along. */
    private static int stateIndex(Wire.Connect wish) {
        return wish.wantsMemory() ? 1 : 0;
    }

    private static void check(Wire.Answer answer, List<Fd> descriptors, Wire.Connect wish, int node) {
        long pages = answer.size() > 0 && answer.size() <= Long.MAX_VALUE - Vm.pageSize() ? Vm.wholePages(answer.size()) : 0;
        if (pages == 0 || answer.permission() != wish.permission()) {
            throw malformed(wish, node, "the answer announces an impossible size or permission");
        }
        int state = stateIndex(wish);
        if (descriptors.size() <= state + EVENT_COUNTERS || answer.descriptors() != descriptors.size()) {
            throw malformed(wish, node, "descriptors are missing");
        }
        String objection = wish.wantsMemory() ? MemFd.objection(descriptors.get(0), pages, wish.wantsToWrite()) : null;
        if (objection == null) {
            objection = StatePage.objection(descriptors.get(state));
        }
        for (int i = 1; objection == null && i <= EVENT_COUNTERS; i++) {
            objection = EventFd.objection(descriptors.get(state + i));
        }
        if (objection != null) {
            throw malformed(wish, node, "a descriptor is " + objection);
        }
    }

    private static RsmException refused(Wire.Answer answer, Wire.Connect wish, int node) {
        RsmError error = RsmError.ofCode(answer.code());
        if (error == null) {
            return malformed(wish, node, "the exporter refused with the unknown code " + answer.code());
        }
        RsmException refusal = failure(error, wish, node);
        return error == RsmError.PERM_DENIED ? refusal.hint("the exporter's access list does not grant this to us") : refusal;
    }

    private static RsmException malformed(Wire.Connect wish, int node, String what) {
        return failure(RsmError.CONN_ABORTED, wish, node).with("objection", what)
            .hint("the exporter breaks the protocol; the connection was not made");
    }

    private static RsmException failure(RsmError error, Wire.Connect wish, int node) {
        return RsmException.of(error, OP).with("node", node).with("segment-id", unsigned(wish.segmentId()))
            .with("perm", Permission.ofBits(wish.permission()));
    }

    private static long unsigned(int id) {
        return Integer.toUnsignedLong(id);
    }

    private void watch() {
        synchronized (this) {
            if (!over) {
                try {
                    registration = Reactor.watch(socket, this::ready);
                    return;
                } catch (RuntimeException | Error e) {
                    end();
                    closed = true;
                    closeMemory();
                    events.close();
                    LOCAL.remove(token);
                    throw e;
                }
            }
        }
    }

    /** The exporter has something to say, or is gone. */
    private void ready(Reactor.Registration self) {
        String reason = null;
        synchronized (this) {
            if (over) {
                return;
            }
            try (Sockets.Message message = Sockets.receive(socket, Wire.MAX_BYTES, 0)) {
                if (message != null) {
                    reason = reason(message);
                }
            } catch (OsError e) {
                reason = "exporter-gone";
            }
        }
        if (reason != null) {
            abort(reason);
        }
    }

    private String reason(Sockets.Message message) {
        if (message.descriptorsLost()) {
            return "protocol-error";
        }
        if (message.data().length == 0) {
            return "exporter-gone";
        }
        Wire.Header header = Wire.header(message.data());
        if (header == null || header.version() != Wire.VERSION) {
            return "protocol-error";
        }
        if (header.type() != Wire.REVOKED) {
            return mayNotify() ? null : "protocol-error"; // a notice of a later version
        }
        if (!header.is(Wire.REVOKED, Wire.REVOKED_BYTES, message.data())) {
            return "protocol-error";
        }
        return Wire.Revoked.decode(message.data()).reason() == Wire.REASON_DESTROYED ? "destroyed" : "unpublished";
    }

    /** Whether the exporter may send one more notice that this version does not know. Each costs time of the service thread. */
    private boolean mayNotify() {
        long now = System.nanoTime();
        long forgotten = Math.min(notices, (now - forgottenAt) / NOTICE_NANOS);
        notices -= (int) forgotten;
        forgottenAt = notices == 0 ? now : forgottenAt + forgotten * NOTICE_NANOS;
        return ++notices <= NOTICES;
    }

    /** Tells a connection of this process that it is aborted, without waiting for the notice to arrive. */
    static void abortLocal(long token, String reason) {
        LoopbackConnection connection = LOCAL.get(token);
        if (connection != null) {
            connection.abort(reason);
        }
    }

    /**
     * Aborts the connection, and returns when the listener has been told, also if another thread is just telling it. Telling it
     * twice does no harm.
     */
    private void abort(String reason) {
        synchronized (this) {
            if (closed) {
                return;
            }
            if (!over) {
                end();
            }
        }
        listener.aborted(reason);
        LOCAL.remove(token);
        events.end();
        synchronized (this) {
            closeMemory(); // now that it is not mapped any more
        }
    }

    /** Lets go of everything but the memory and the events. Called once, with the monitor held. */
    private void end() {
        over = true;
        if (registration != null) {
            registration.remove();
        }
        Sockets.end(socket, exporterUid);
        state.close();
        theirs.close();
    }

    /** With the monitor held. Idempotent. */
    private void closeMemory() {
        if (memory != null) {
            Closer.closeMemory(memory);
        }
    }

    @Override
    public long size() {
        return size;
    }

    @Override
    public ByteOrder byteOrder() {
        return byteOrder;
    }

    @Override
    public int exporterPid() {
        return exporterPid;
    }

    @Override
    public long exporterUid() {
        return Integer.toUnsignedLong(exporterUid);
    }

    @Override
    public synchronized boolean aborted() {
        return over || !state.stands(generation);
    }

    @Override
    public synchronized long map(Placement placement, long address, Permission permission, long offset, long length) {
        if (over) {
            throw RsmException.of(RsmError.CONN_ABORTED, "import-map");
        }
        long pages = Vm.wholePages(length);
        int prot = permission.writes() ? Vm.PROT_READ | Vm.PROT_WRITE : Vm.PROT_READ;
        if (placement != Placement.ANYWHERE && !possible(address, pages)) {
            throw cannotMap(placement, address, offset, length, null);
        }
        long where;
        try {
            where = place(placement, address, pages, prot, offset);
        } catch (OsError e) {
            throw cannotMap(placement, address, offset, length, e);
        }
        try {
            if (!identified) {
                identity = MemFd.identity(memory);
                identified = true;
            }
            Views.add(where, pages, identity, offset);
        } catch (RuntimeException | Error e) {
            detach(where, length);
            if (placement != Placement.FIXED_OVER_OWN) {
                Vm.unmap(where, pages);
            }
            throw e;
        }
        return where;
    }

    private static boolean possible(long address, long pages) {
        return address >= LOWEST && address <= Long.MAX_VALUE - pages;
    }

    private long place(Placement placement, long address, long pages, int prot, long offset) {
        switch (placement) {
            case FIXED:
                Vm.mapSharedAt(address, memory, pages, prot, offset);
                return address;
            case FIXED_OVER_OWN:
                Vm.replaceShared(address, memory, pages, prot, offset);
                return address;
            default:
                return Vm.mapShared(memory, pages, prot, offset, possible(address, pages) ? address : 0);
        }
    }

    private static RsmException cannotMap(Placement placement, long address, long offset, long length, OsError e) {
        RsmException failure = cannotMap(e).with("offset", offset).with("length", length);
        if (placement == Placement.ANYWHERE) {
            return failure;
        }
        failure.with("address", address);
        if (e != null && e.is(Errno.EEXIST)) {
            List<Object> there = new ArrayList<>();
            for (Vm.Region region : Vm.regions(address, address + Vm.wholePages(length))) {
                there.add(region.toString());
            }
            return failure.with("occupied-by", there)
                .hint("something is mapped there; choose another address, or map over memory from LocalMemory.allocate");
        }
        return failure.data().containsKey("hint") ? failure : failure.hint("nothing can be mapped at that address");
    }

    private static RsmException cannotMap(OsError e) {
        if (e == null) {
            return RsmException.of(RsmError.BAD_LENGTH, "import-map");
        }
        if (e.isShortage() && e.want() != OsError.Want.MEMORY) {
            return Failures.resources("import-map", e);
        }
        boolean badRange = e.is(Errno.ENOMEM, Errno.EEXIST, Errno.EINVAL, Errno.EPERM);
        return Failures.of(badRange ? RsmError.BAD_LENGTH : RsmError.MAP_FAILED, "import-map", e);
    }

    @Override
    public void detach(long address, long length) {
        Vm.abandon(address, Vm.wholePages(length));
        Views.remove(address);
    }

    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
            if (!over) {
                end();
            }
            closeMemory();
            events.close();
        }
        LOCAL.remove(token);
        Reactor.release(false);
    }

    @Override
    public Signals signals() {
        return events;
    }

    private void post(boolean accumulate) {
        if (!theirs.post(accumulate)) {
            throw RsmException.of(aborted() ? RsmError.CONN_ABORTED : RsmError.INSUFFICIENT_RESOURCES, "signal-post")
                .hint("the exporter is gone, or has had as many events as it can count");
        }
    }
}
