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
import org.rsmapi.Capabilities;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.shared.Backing;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Nodes;
import org.rsmapi.spi.Preload;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;
import org.rsmapi.sys.SystemMemory;
import org.rsmapi.sys.Vm;

/** A {@code loopback} or {@code shmN} controller: segments in memory files, found by name, passed over Unix sockets. */
final class LoopbackInterconnect implements Interconnect {
    private static final int LOOPBACK_PAGE_SIZE_MASK = 8;
    private static final int MAX_ENTRIES = 64;
    private static final int ALL_WIDTHS = 1 | 2 | 4 | 8;
    private static final long USER_ADDRESSES = 1L << 47;
    private static final long SEGMENTS = 65_535;

    static final Capabilities CAPABILITIES =
        new Capabilities(Capabilities.Memory.SHARED, Set.of(4, 8), Capabilities.AccessControl.ENFORCED, false, "loopback");

    private static final SecureRandom MARKS = new SecureRandom();
    private static final Pattern PRESENCE = Pattern.compile("(shm(?:[12]?[0-9]|3[01]))/([0-9]{1,2})/[0-9a-f]{16}");
    private static final Set<LoopbackInterconnect> OPEN = ConcurrentHashMap.newKeySet();

    private final LocalNode here;
    /** The sign that the node is there, for the topology; null on a controller that the topology does not list. */
    private final Fd presence;
    private final AtomicBoolean closed = new AtomicBoolean();

    LoopbackInterconnect(LocalNode here) {
        Preload.once();
        this.here = here;
        this.presence = !here.listed() ? null : present(here.controller(), here.node());
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

    /** The nodes of the open controllers on this machine (in this network namespace), by controller. */
    static SortedMap<String, SortedSet<Integer>> presences() {
        SortedMap<String, SortedSet<Integer>> found = new TreeMap<>();
        for (String name : Sockets.names(Wire.PRESENCE)) {
            Matcher parts = PRESENCE.matcher(name.substring(Wire.PRESENCE.length()));
            if (parts.matches() && Nodes.exists(Integer.parseInt(parts.group(2)))) { // anybody may bind such a name
                found.computeIfAbsent(parts.group(1), key -> new TreeSet<>()).add(Integer.parseInt(parts.group(2)));
            }
        }
        return found;
    }

    /** The nodes that this process plays on a controller. */
    static SortedSet<Integer> nodesPlayed(String controller) {
        SortedSet<Integer> nodes = new TreeSet<>();
        for (LoopbackInterconnect each : OPEN) {
            if (each.here.controller().equals(controller)) {
                nodes.add(each.here.node());
            }
        }
        return nodes;
    }

    @Override
    public String name() {
        return here.controller();
    }

    @Override
    public int localNode() {
        return here.node();
    }

    @Override
    public boolean localOnly() {
        return here.localOnly();
    }

    @Override
    public int maxAccessEntries() {
        return here.localOnly() ? 1 : MAX_ENTRIES;
    }

    @Override
    public ControllerAttributes attributes() {
        if (here.localOnly()) {
            return new ControllerAttributes(0, 0, LOOPBACK_PAGE_SIZE_MASK, 0, 0, 0, 0, 0, 0);
        }
        long memory = SystemMemory.total() & -Vm.pageSize();
        return new ControllerAttributes(ALL_WIDTHS, ALL_WIDTHS, Vm.pageSize() / 1024, memory, memory, SEGMENTS,
            USER_ADDRESSES, USER_ADDRESSES, SEGMENTS);
    }

    @Override
    public Capabilities capabilities() {
        return CAPABILITIES;
    }

    @Override
    public ExportedMemory allocate(long length, Set<MemoryOption> options) {
        return create(length, options, () -> Backing.allocate(length, options));
    }

    @Override
    public ExportedMemory adopt(long address, long length, Object owner, Set<MemoryOption> options) {
        return create(length, options, () -> Backing.adopt("export-create", address, length, owner, options));
    }

    private ExportedMemory create(long length, Set<MemoryOption> options, Supplier<Backing> making) {
        return Backing.owned(length, making, backing -> new LoopbackExport(here, backing, length, options));
    }

    @Override
    public Connection connect(int target, int segmentId, Permission permission, long deadline, AbortListener listener) {
        return LoopbackConnection.open(here, target, segmentId, permission, deadline, listener);
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
