package org.rsmapi.loopback;

import java.nio.ByteOrder;
import java.security.SecureRandom;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.Capabilities;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.shared.SharedRange;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect.AbortListener;
import org.rsmapi.spi.MappedRange;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Signals;
import org.rsmapi.spi.Standing;
import org.rsmapi.sys.Closer;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.Vm;

/**
 * An importer's connection, from the end of the handshake ({@link ImporterHandshake}). Its monitor guards the descriptors, the state
 * page and whether it has ended.
 */
final class LoopbackConnection implements Connection {
    /** Notices of unknown type that an exporter may send, and how long it takes until it may send one more. */
    private static final int NOTICES = 16;
    private static final long NOTICE_NANOS = 10_000_000_000L;

    /** Connections by token, for an exporter in this same process. */
    private static final Map<Long, LoopbackConnection> LOCAL = new ConcurrentHashMap<>();
    private static final SecureRandom TOKENS = new SecureRandom();

    private final Fd socket;
    /** Null for a connection without rights. */
    private final Fd memory;
    private final StatePage state;
    /** The exporter's counter of events. */
    private final EventFd exporterEvents;
    /** This connection's own; open until the connection is closed, because events outlive the publication. */
    private final LoopbackSignals signals;
    private final long size;
    private final ByteOrder byteOrder;
    private final long generation;
    private final String layout;
    private final int exporterPid;
    private final int exporterUid;
    private final long token;
    private final AbortListener listener;
    private Reactor.Registration registration;
    /** Notices of unknown type, less those that are forgotten by now, and when one was forgotten last. */
    private int notices;
    private long forgottenAt = System.nanoTime();
    private boolean over;
    private boolean closed;
    /** The memory file's, when it has been asked for; null if it is not known. */
    private MemFd.Identity identity;
    private boolean identified;

    LoopbackConnection(Fd socket, Fd memory, StatePage state, EventFd exporterEvents, EventFd events, Wire.Answer answer,
            String layout, int exporterUid, long token, AbortListener listener) {
        this.socket = socket;
        this.memory = memory;
        this.state = state;
        this.exporterEvents = exporterEvents;
        this.signals = new LoopbackSignals(events);
        this.size = answer.size();
        this.byteOrder = answer.order();
        this.generation = answer.generation();
        this.layout = layout;
        this.exporterPid = answer.pid();
        this.exporterUid = exporterUid;
        this.token = token;
        this.listener = listener;
    }

    /** Connects to a segment that is published on a node. */
    static Connection open(LocalNode from, int node, int segmentId, Permission permission, long deadline, AbortListener listener) {
        Wire.Connect request = new Wire.Connect(from.node(), segmentId, permission.bits(), from.asOthers(), TOKENS.nextLong(),
            from.controller());
        Reactor.acquire();
        LoopbackConnection connection = null;
        try {
            LoopbackConnection made = new ImporterHandshake(request, node, deadline, listener).connect();
            made.watch();
            connection = made;
            return made;
        } catch (OsError e) {
            throw Failures.resources("import-connect", e).with("node", node).with("segment-id", Integer.toUnsignedLong(segmentId));
        } finally {
            if (connection == null) {
                Reactor.release(false);
            }
        }
    }

    /** Has the service thread tell when the exporter sends something or is gone. */
    private synchronized void watch() {
        try {
            LOCAL.put(token, this);
            registration = Reactor.watch(socket, this::ready);
        } catch (RuntimeException | Error e) {
            end();
            closed = true;
            closeMemory();
            signals.close();
            LOCAL.remove(token);
            throw e;
        }
    }

    /** The exporter has sent something, or is gone. */
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

    /** Why a message ends the connection; null if it does not. */
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

    /** Aborts a connection of this process without waiting for the notice to arrive. */
    static void abortLocal(long token, String reason) {
        LoopbackConnection connection = LOCAL.get(token);
        if (connection != null) {
            connection.abort(reason);
        }
    }

    /**
     * Aborts the connection. When this returns the listener has been called, also if another thread was just calling it; it may be
     * called twice.
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
        signals.end();
        synchronized (this) {
            closeMemory(); // it is not mapped any more
        }
    }

    /** Closes everything but the memory and the events. Called once, with the monitor held. */
    private void end() {
        over = true;
        if (registration != null) {
            registration.remove();
        }
        Sockets.end(socket, exporterUid);
        state.close();
        exporterEvents.close();
    }

    /** With the monitor held. Idempotent. */
    private void closeMemory() {
        if (memory != null) {
            Closer.closeMemory(memory);
        }
    }

    @Override
    public Capabilities capabilities() {
        return LoopbackInterconnect.CAPABILITIES;
    }

    @Override
    public long size() {
        return size;
    }

    @Override
    public String layout() {
        return layout;
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
    public synchronized Standing standing() {
        return over ? null : state.standing(generation);
    }

    @Override
    public MappedRange map(Placement placement, long address, Permission permission, long offset, long length,
            Set<MemoryOption> options) {
        SharedRange mapping = place(placement, address, permission.writes(), offset, length, options);
        mapping.furnish(options, offset); // without the monitor, for which the service thread may wait
        return mapping;
    }

    private synchronized SharedRange place(Placement placement, long address, boolean writable, long offset, long length,
            Set<MemoryOption> options) {
        if (over) {
            throw RsmException.of(RsmError.CONN_ABORTED, "import-map");
        }
        if (!identified) {
            identity = MemFd.identity(memory);
            identified = true;
        }
        long alignment = options.contains(MemoryOption.HUGE_PAGES) ? Vm.hugePageSize() : 0;
        return new SharedRange(memory, identity, placement, address, writable, offset, length, alignment);
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
            signals.close();
        }
        LOCAL.remove(token);
        Reactor.release(false);
    }

    @Override
    public Signals signals() {
        return signals;
    }

    @Override
    public void post(boolean accumulate) {
        boolean posted;
        try {
            posted = exporterEvents.post(accumulate);
        } catch (OsError e) {
            throw Failures.resources("signal-post", e);
        }
        if (!posted) {
            throw RsmException.of(aborted() ? RsmError.CONN_ABORTED : RsmError.INSUFFICIENT_RESOURCES, "signal-post")
                .hint("the exporter is gone, or its counter of events is at its end");
        }
    }
}
