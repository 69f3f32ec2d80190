package org.rsmapi.loopback;

import java.security.SecureRandom;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.SystemMemory;
import org.rsmapi.sys.Vm;

/** A {@code loopback} or {@code shmN} controller: segments in memory files, found by name, passed over Unix sockets. */
final class LoopbackInterconnect implements Interconnect {
    private static final int LOOPBACK_PAGE_SIZE_MASK = 8;
    private static final int MAX_NODES = 64;
    private static final int MAX_ENTRIES = 64;
    private static final int ALL_WIDTHS = 1 | 2 | 4 | 8;
    private static final long USER_ADDRESSES = 1L << 47;
    private static final long SEGMENTS = 65_535;

    private static final SecureRandom MARKS = new SecureRandom();
    private static final Pattern PRESENCE = Pattern.compile("(shm(?:[12]?[0-9]|3[01]))/([0-9]{1,2})/[0-9a-f]{16}");
    private static final Set<LoopbackInterconnect> OPEN = ConcurrentHashMap.newKeySet();

    private final String name;
    private final int node;
    private final boolean localOnly;
    /** The sign that the node is there, for the topology; null on a controller that the topology does not list. */
    private final Fd presence;
    private final AtomicBoolean closed = new AtomicBoolean();

    LoopbackInterconnect(String name, int node, boolean localOnly) {
        Rehearsal.once();
        this.name = name;
        this.node = node;
        this.localOnly = localOnly;
        this.presence = localOnly ? null : present(name, node);
        Reactor.acquire();
        try {
            OPEN.add(this);
        } catch (Error e) {
            close();
            throw e;
        }
    }

    private static Fd present(String controller, int node) {
        try {
            return Sockets.bind(Wire.presence(controller, node, MARKS.nextLong()));
        } catch (OsError e) {
            throw Failures.resources("get-controller", e).with("controller", controller).with("node", node);
        }
    }

    /** The nodes that somebody on this machine (in this network namespace) plays, by controller. */
    static SortedMap<String, SortedSet<Integer>> presences() {
        SortedMap<String, SortedSet<Integer>> found = new TreeMap<>();
        for (String name : Sockets.names(Wire.PRESENCE)) {
            Matcher parts = PRESENCE.matcher(name.substring(Wire.PRESENCE.length()));
            if (parts.matches() && Integer.parseInt(parts.group(2)) < MAX_NODES) { // anybody may bind such a name
                found.computeIfAbsent(parts.group(1), key -> new TreeSet<>()).add(Integer.parseInt(parts.group(2)));
            }
        }
        return found;
    }

    /** The nodes that this process plays on a controller. */
    static SortedSet<Integer> nodesPlayed(String controller) {
        SortedSet<Integer> nodes = new TreeSet<>();
        for (LoopbackInterconnect each : OPEN) {
            if (each.name.equals(controller)) {
                nodes.add(each.node);
            }
        }
        return nodes;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public int localNode() {
        return node;
    }

    @Override
    public boolean localOnly() {
        return localOnly;
    }

    @Override
    public int maxAccessEntries() {
        return localOnly ? 1 : MAX_ENTRIES;
    }

    @Override
    public ControllerAttributes attributes() {
        if (localOnly) {
            return new ControllerAttributes(0, 0, LOOPBACK_PAGE_SIZE_MASK, 0, 0, 0, 0, 0, 0);
        }
        long memory = SystemMemory.total() & -Vm.pageSize();
        return new ControllerAttributes(ALL_WIDTHS, ALL_WIDTHS, Vm.pageSize() / 1024, memory, memory, SEGMENTS,
            USER_ADDRESSES, USER_ADDRESSES, SEGMENTS);
    }

    @Override
    public ExportedMemory allocate(long length, int flags) {
        return create(length, flags, () -> Backing.allocate(length, flags));
    }

    @Override
    public ExportedMemory adopt(long address, long length, Object owner, int flags) {
        return create(length, flags, () -> Backing.adopt("export-create", address, length, owner, flags));
    }

    private ExportedMemory create(long length, int flags, Supplier<Backing> making) {
        Backing backing = null;
        try {
            backing = making.get();
            return new LoopbackExport(this, backing, length, flags);
        } catch (RuntimeException | Error e) {
            if (backing != null) {
                backing.release();
                backing.giveBack();
            }
            if (e instanceof OsError) {
                throw Failures.resources("export-create", (OsError) e).with("length", length);
            }
            throw e;
        }
    }

    @Override
    public Connection connect(int target, int segmentId, Permission permission, long timeoutNanos, AbortListener listener) {
        if (target < 0 || target >= MAX_NODES) {
            throw RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect").with("node", target)
                .hint("nodes are 0 to 63");
        }
        return LoopbackConnection.open(this, target, segmentId, permission, timeoutNanos, listener);
    }

    @Override
    public void close() {
        if (closed.compareAndSet(false, true)) {
            OPEN.remove(this);
            if (presence != null) {
                presence.close();
            }
            Reactor.release(true);
        }
    }
}
