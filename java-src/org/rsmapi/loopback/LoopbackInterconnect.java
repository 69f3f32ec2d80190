package org.rsmapi.loopback;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.sys.OsError;
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

    private final String name;
    private final int node;
    private final boolean localOnly;
    private final AtomicBoolean closed = new AtomicBoolean();

    LoopbackInterconnect(String name, int node, boolean localOnly) {
        Rehearsal.once();
        this.name = name;
        this.node = node;
        this.localOnly = localOnly;
        Reactor.acquire();
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
    public ExportedMemory allocate(long length) {
        return new LoopbackExport(this, creating(length, () -> Backing.allocate(length)), length);
    }

    @Override
    public ExportedMemory adopt(long address, long length, Object owner) {
        Backing backing = creating(length, () -> Backing.adopt(address, length, owner));
        if (backing == null) {
            throw RsmException.of(RsmError.BAD_ADDR, "export-create").with("address", address).with("length", length)
                .hint("another segment lies over a part of this memory; only exactly the same range can be exported again");
        }
        return new LoopbackExport(this, backing, length);
    }

    private static Backing creating(long length, Supplier<Backing> making) {
        try {
            return making.get();
        } catch (OsError e) {
            throw Failures.resources("export-create", e).with("length", length);
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
            Reactor.release(true);
        }
    }
}
