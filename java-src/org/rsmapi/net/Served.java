package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Stage;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.Interconnect.AbortListener;
import org.rsmapi.spi.MappedRange;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.OsError;

/**
 * A connection of another node's importer to a segment of this host. Towards the exporter the gateway is an importer like any other; what
 * the other node asks for is checked here, frame by frame.
 */
final class Served {
    private static final int NO_ID = -1;
    /** Size, uid, pid, flags. */
    static final int DESCRIPTION_BYTES = 2 * Long.BYTES + 2 * Integer.BYTES;
    static final int MOST_EVENTS_AT_ONCE = 1 << 12;

    private final Serving session;
    private final int number;
    private final int tag;
    private final Connect asked;
    /** Whether the other gateway would reach the segment by itself. */
    private final boolean oneSided;

    /** Keeps the window there while something is copied. */
    private final ReentrantLock copying = new ReentrantLock();
    private Connection connection;
    private MappedRange window;
    private Permission permission;
    /** Whether the importer's user is one of this host's. */
    private boolean trusted;
    private long size;
    private boolean watched;
    /** Whether the importer has no events. */
    private boolean mayTell;
    private volatile Exposed exposed;
    private volatile RemoteKeys keys;
    private volatile boolean over;

    Served(Serving session, int number, int tag, Connect asked, boolean oneSided) {
        this.session = session;
        this.number = number;
        this.tag = tag;
        this.asked = asked;
        this.oneSided = oneSided;
    }

    Serving session() {
        return session;
    }

    int number() {
        return number;
    }

    int tag() {
        return tag;
    }

    int segmentId() {
        return asked.segmentId();
    }

    /** Of its user, as the importer's node says. */
    int uid() {
        return asked.user().uid();
    }

    // ---- the beginning ----

    /**
     * Connects to the exporter, as whom the importer may be; it may wait.
     *
     * @param deadline  on the clock of {@link System#nanoTime()}
     * @throws RsmException what the exporter says; PERM_DENIED
     */
    void connect(long deadline) {
        permission = Permission.ofBits(asked.permission());
        if (permission == null) {
            throw RsmException.of(RsmError.PERM_DENIED, "import-connect").hint("there is no such permission");
        }
        // to the calls that change ids, this number means no change
        trusted = session.peer().sameUsers() && asked.user().uid() != NO_ID && asked.user().gid() != NO_ID;
        if (trusted && asked.user().uid() != Credentials.uid() && Credentials.uid() == 0) {
            asThatUser(() -> connect(false, deadline));
        } else {
            connect(!trusted || asked.user().uid() != Credentials.uid(), deadline);
        }
    }

    /** For the importer, why it cannot connect; null if there is nothing to say. */
    String hint(RsmException failure) {
        if (failure.error() == RsmError.SEG_NOT_PUBLISHED) {
            return "that id is not published on node " + session.gateway().fabric().node();
        }
        String hint = (String) failure.data().get("hint");
        return hint != null && failure.error() == RsmError.PERM_DENIED && !trusted
            ? hint + "; for the exporter's host, users of node " + session.peer().node() + " are others" : hint;
    }

    /** Does something in a thread that has the ids of the importer's user. */
    private void asThatUser(Runnable action) {
        Throwable[] failure = new Throwable[1];
        Thread thread = org.rsmapi.sys.Threads.daemon(() -> {
            try {
                Credentials.become(asked.user().uid(), asked.user().gid(), asked.user().groups());
                action.run();
            } catch (RuntimeException | Error e) {
                failure[0] = e;
            }
        }, "rsmapi-net-as-user");
        org.rsmapi.sys.Threads.start(thread);
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (failure[0] instanceof OsError) {
            throw org.rsmapi.spi.Failures.resources("import-connect", (OsError) failure[0]);
        } else if (failure[0] instanceof RuntimeException) {
            throw (RuntimeException) failure[0];
        } else if (failure[0] != null) {
            throw (Error) failure[0];
        }
    }

    private void connect(boolean asOthers, long deadline) {
        Fabric fabric = session.gateway().fabric();
        Interconnect local = session.gateway().local(session.peer().node(), asOthers);
        Connection made;
        try {
            made = local.connect(fabric.node(), asked.segmentId(), permission, deadline, new Listener());
        } finally {
            local.close(); // the connection goes on
        }
        boolean done = false;
        try {
            MappedRange range = permission == Permission.NONE ? null
                : made.map(Connection.Placement.ANYWHERE, 0, permission, 0, made.size(), Set.of());
            Exposed access = range == null ? null : expose(made, range);
            copying.lock();
            try {
                connection = made;
                window = range;
                size = made.size();
                exposed = access;
            } finally {
                copying.unlock();
            }
            done = true;
        } finally {
            if (!done) {
                made.close();
            }
        }
        if (over) {
            drop();
        }
    }

    /**
     * Lets the other gateway reach the segment by itself, if both can, and the device grants no more than the access list: a key that
     * allows to write only is not known to devices. It may wait for whoever uses the device; null if the other gateway has to use the link.
     */
    private Exposed expose(Connection made, MappedRange range) {
        OneSided device = session.gateway().fabric().oneSided();
        if (!oneSided || device == null || session.peer().device() == null || !permission.reads()) {
            return null;
        }
        try {
            int most = Frame.LARGEST - Frame.HEADER - DESCRIPTION_BYTES - layout(made).length;
            Exposed access = Exposed.of(device, range, made.size(), permission.writes(), made.standing());
            keys = access.keys().bytes() <= most ? access.keys() : null;
            return access;
        } catch (RuntimeException | Error e) {
            session.gateway().fabric().noteOneSided("a segment cannot be registered: " + e.getMessage());
            return null;
        }
    }

    /** The exporter has ended the connection. */
    private final class Listener implements AbortListener {
        @Override
        public void aborted(String reason) {
            session.control().execute(() -> {
                if (!over) {
                    session.control().tell(Frame.REVOKED, Peer.reasonNumber(reason), number);
                    if (exposed == null) {
                        end();
                    } else { // if access ended now, the device would end all that the other gateway has on its way to here
                        over = true;
                        session.linger(Served.this);
                    }
                }
            });
        }
    }

    boolean isOver() {
        return over;
    }

    byte[] layout() {
        return layout(connection);
    }

    private static byte[] layout(Connection of) {
        String layout = of.layout();
        return layout == null ? new byte[0] : layout.getBytes(StandardCharsets.UTF_8);
    }

    int descriptionBytes() {
        return DESCRIPTION_BYTES + (keys == null ? 0 : keys.bytes());
    }

    void describe(ByteBuffer out) {
        out.putLong(size).putLong(connection.exporterUid()).putInt(connection.exporterPid())
            .putInt((connection.byteOrder() == ByteOrder.BIG_ENDIAN ? Frame.BIG_ENDIAN : 0) | (keys == null ? 0 : Frame.WITH_KEYS));
        if (keys != null) {
            keys.write(out);
        }
    }

    /** It is one of the session's connections now. */
    void begin() {
        mayHaveEvents();
    }

    // ---- data ----

    /** Whether a range can be moved; if not, the connection is ended: the other node does not keep to the rules. */
    private boolean mayMove(boolean write, long offset, long length) {
        boolean may = fits(write, offset, length);
        if (!may) {
            breach();
        }
        return may;
    }

    private void breach() {
        session.gateway().breach(session.peer().node());
        session.control().execute(() -> {
            session.control().tell(Frame.REVOKED, Peer.reasonNumber("protocol-error"), number);
            end();
        });
    }

    private boolean fits(boolean write, long offset, long length) {
        return window != null && (write ? permission.writes() : permission.reads()) && offset >= 0 && length <= size && offset <= size - length;
    }

    void put(long offset, byte[] data, int from, int length, Stage stage) {
        copying.lock();
        try {
            if (!over && connection != null && mayMove(true, offset, length)) {
                long at = stage.address() + (offset & Long.BYTES - 1); // aligned alike on both sides, so no word is divided
                ENGINE.copyFromArray(data, from, at, length);
                ENGINE.copy(at, window.address() + offset, length);
            }
        } finally {
            copying.unlock();
        }
    }

    /** Whether there is in the segment what the other side has already. */
    boolean isKnown(Get wanted) {
        copying.lock();
        try {
            return wanted.known() != null && !over && connection != null && fits(false, wanted.offset(), wanted.length())
                && wanted.isKnown(window.address() + wanted.offset()) && !connection.aborted();
        } finally {
            copying.unlock();
        }
    }

    /** Copies from the segment; false if it has been revoked before. */
    boolean get(long offset, long to, int length) {
        copying.lock();
        try {
            if (over || connection == null || !mayMove(false, offset, length)) {
                return false;
            }
            ENGINE.copy(window.address() + offset, to, length);
            return !connection.aborted();
        } finally {
            copying.unlock();
        }
    }

    /** Atomic access; null if the segment has been revoked before. */
    Long atomic(int flags, long offset, long operand, long expected) {
        copying.lock();
        try {
            int width = flags & ~Frame.ADD;
            if (over || connection == null || !mayMove(true, offset, width) || !mayMove(false, offset, width)) {
                return null;
            }
            if (width != Integer.BYTES && width != Long.BYTES || offset % width != 0) {
                breach();
                return null;
            }
            long result = atomic(window.address() + offset, width, (flags & Frame.ADD) != 0, operand, expected);
            return connection.aborted() ? null : result;
        } finally {
            copying.unlock();
        }
    }

    private static long atomic(long at, int width, boolean adds, long operand, long expected) {
        if (adds) {
            return width == Long.BYTES ? ENGINE.getAndAddLong(at, operand) : ENGINE.getAndAddInt(at, (int) operand);
        }
        while (true) {
            long found = width == Long.BYTES ? ENGINE.getLongVolatile(at) : ENGINE.getIntVolatile(at);
            boolean equal = width == Long.BYTES ? found == expected : found == (int) expected;
            if (!equal || (width == Long.BYTES ? ENGINE.compareAndSetLong(at, expected, operand)
                    : ENGINE.compareAndSetInt(at, (int) expected, (int) operand))) {
                return found;
            }
        }
    }

    /** Whether what was moved before was moved in the exporter's memory. */
    boolean stands() {
        copying.lock();
        try {
            java.lang.invoke.VarHandle.fullFence();
            return !over && connection != null && !connection.aborted();
        } finally {
            copying.unlock();
        }
    }

    // ---- events ----

    /** Posts an event for the exporter; the error if that is not possible, or null. */
    RsmError post(boolean accumulate) {
        copying.lock();
        try {
            if (over || connection == null) {
                return RsmError.CONN_ABORTED;
            }
            connection.post(accumulate);
            return connection.aborted() ? RsmError.CONN_ABORTED : null;
        } catch (RsmException e) {
            return e.error();
        } finally {
            copying.unlock();
        }
    }

    /** The importer has no events: those that are there, or come, are told. */
    void mayHaveEvents() {
        copying.lock();
        try {
            Relay relay = session.gateway().relay();
            if (!over && connection != null && relay != null) {
                watched = true;
                mayTell = true;
                relay.watch(this, connection.signals().pollDescriptor());
            }
        } finally {
            copying.unlock();
        }
    }

    /** There may be events. By the relay's thread. */
    void relay() {
        int count = 0;
        copying.lock();
        try {
            if (over || connection == null || connection.aborted()) {
                return;
            }
            while (count < MOST_EVENTS_AT_ONCE && connection.signals().take()) {
                count++;
            }
            if (count == 0) {
                mayHaveEvents();
                return;
            }
            mayTell = false;
        } finally {
            copying.unlock();
        }
        int told = count;
        session.control().executeSoon(() -> session.control().tellEvents(number, told));
    }

    /** Whether no event waits to be told that may be told now. */
    boolean isQuiet() {
        copying.lock();
        try {
            return over || connection == null || connection.aborted() || !mayTell
                || connection.signals().await(System.nanoTime()) != Signals.Outcome.READY;
        } finally {
            copying.unlock();
        }
    }

    // ---- the end ----

    /** Ends the connection. */
    void end() {
        over = true;
        session.forget(this);
        drop();
    }

    private void drop() {
        Connection ending;
        MappedRange range;
        copying.lock();
        try {
            if (connection == null) {
                return; // it is being made, and ends then
            }
            Relay relay = session.gateway().relay();
            if (watched && relay != null) {
                relay.forget(this, connection.signals().pollDescriptor());
            }
            watched = false;
            ending = connection;
            connection = null;
            range = window;
            window = null;
        } finally {
            copying.unlock();
        }
        if (exposed == null) {
            close(ending, range);
            return;
        }
        exposed.later(() -> close(ending, range));
    }

    private void close(Connection ending, MappedRange range) {
        if (exposed != null) {
            exposed.close();
            range.replaceWithZeroPages();
            exposed.unmap(range::unmap);
        } else if (range != null) {
            range.replaceWithZeroPages();
            range.unmap();
        }
        ending.close();
        session.gateway().ended(this);
    }
}
