package org.rsmapi.net;

import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import org.rsmapi.Capabilities;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Vm;

/**
 * A controller whose nodes are hosts. What this host exports and imports from itself is shared memory, as on any other controller; other
 * hosts are reached over their gateways.
 */
final class NetInterconnect implements Interconnect {
    private static final int ALL_WIDTHS = 1 | 2 | 4 | 8;
    private static final int REMOTE_WIDTHS = 4 | 8;

    static final Capabilities CAPABILITIES =
        new Capabilities(Capabilities.Memory.MIRRORED, Set.of(4, 8), Capabilities.AccessControl.ENFORCED, true, "tls");

    static final Capabilities BY_DEVICE =
        new Capabilities(Capabilities.Memory.MIRRORED, Set.of(4, 8), Capabilities.AccessControl.ENFORCED, false, "ucx");

    private final Fabric fabric;
    private final Interconnect local;
    private final AtomicBoolean closed = new AtomicBoolean();

    /** Takes over one use of the fabric. */
    NetInterconnect(Fabric fabric, Interconnect local) {
        this.fabric = fabric;
        this.local = local;
    }

    @Override
    public String name() {
        return fabric.name();
    }

    @Override
    public int localNode() {
        return fabric.node();
    }

    @Override
    public ControllerAttributes attributes() {
        return new ControllerAttributes(ALL_WIDTHS, REMOTE_WIDTHS, Vm.pageSize() / 1024, 0, 0, 0, 0, 0, 0);
    }

    @Override
    public Capabilities capabilities() {
        return CAPABILITIES;
    }

    @Override
    public ExportedMemory allocate(long length, Set<MemoryOption> options) {
        return export(() -> local.allocate(length, options));
    }

    @Override
    public ExportedMemory adopt(long address, long length, Object owner, Set<MemoryOption> options) {
        return export(() -> local.adopt(address, length, owner, options));
    }

    /** The gateway is there for as long as the segment is. */
    private ExportedMemory export(Supplier<ExportedMemory> making) {
        Export export = new Export(fabric);
        fabric.acquire();
        boolean done = false;
        try {
            export.memory = making.get();
            done = true;
            return export;
        } finally {
            if (!done) {
                fabric.release();
            }
        }
    }

    @Override
    public Connection connect(int node, int segmentId, Permission permission, long deadline, AbortListener listener) {
        if (node == fabric.node()) {
            return local.connect(node, segmentId, permission, deadline, listener);
        }
        Peer peer = fabric.peer(node);
        if (peer == null) {
            throw RsmException.of(RsmError.REMOTE_NODE_UNREACHABLE, "import-connect").with("node", node)
                .with("segment-id", Integer.toUnsignedLong(segmentId)).hint("the nodes file has no such node");
        }
        return NetConnection.open(peer, segmentId, permission, deadline, listener);
    }

    @Override
    public void close() {
        if (closed.compareAndSet(false, true)) {
            local.close();
            fabric.release();
        }
    }

    /** A segment of this host, which keeps the gateway there. */
    private static final class Export implements ExportedMemory {
        private final Fabric fabric;
        private ExportedMemory memory;
        private boolean destroyed;

        Export(Fabric fabric) {
            this.fabric = fabric;
        }

        @Override
        public long address() {
            return memory.address();
        }

        @Override
        public int publish(int segmentId, AccessPolicy access, byte[] layout, Gate gate) {
            return memory.publish(segmentId, access, layout, gate);
        }

        @Override
        public void republish(AccessPolicy access) {
            memory.republish(access);
        }

        @Override
        public void unpublish() {
            memory.unpublish();
        }

        @Override
        public void rebind(long address, Object owner, Gate gate) {
            memory.rebind(address, owner, gate);
        }

        @Override
        public void destroy() {
            memory.destroy();
            if (!destroyed) {
                destroyed = true;
                fabric.release();
            }
        }

        @Override
        public void unmap() {
            memory.unmap();
        }

        @Override
        public Signals signals() {
            return memory.signals();
        }

        @Override
        public void post(boolean accumulate) {
            memory.post(accumulate);
        }

        @Override
        public int importers() {
            return memory.importers();
        }
    }
}
