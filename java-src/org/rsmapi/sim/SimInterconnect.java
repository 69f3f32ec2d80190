package org.rsmapi.sim;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.rsmapi.Capabilities;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;
import org.rsmapi.shared.Backing;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.sys.Vm;

/** A controller of a world: one of its nodes. */
final class SimInterconnect implements Interconnect {
    private static final int ALL_WIDTHS = 1 | 2 | 4 | 8;
    private static final int REMOTE_WIDTHS = 4 | 8;

    static final Set<SimInterconnect> OPEN = ConcurrentHashMap.newKeySet();

    private final World world;
    private final int node;

    SimInterconnect(World world, int node) {
        this.world = world;
        this.node = node;
        OPEN.add(this);
    }

    World world() {
        return world;
    }

    static Capabilities capabilities(World world) {
        return new Capabilities(world.options().memory(), Set.of(4, 8), Capabilities.AccessControl.ENFORCED, false, SimProvider.TYPE);
    }

    @Override
    public String name() {
        return world.controller();
    }

    @Override
    public int localNode() {
        return node;
    }

    @Override
    public long nanoTime() {
        return world.now();
    }

    @Override
    public boolean ended() {
        return world.hasEnded() || !world.isUp(node);
    }

    @Override
    public ControllerAttributes attributes() {
        return new ControllerAttributes(ALL_WIDTHS, REMOTE_WIDTHS, Vm.pageSize() / 1024, 0, 0, 0, 0, 0, 0);
    }

    @Override
    public Capabilities capabilities() {
        return capabilities(world);
    }

    @Override
    public ExportedMemory allocate(long length, Set<MemoryOption> options) {
        return SimExport.of(world, node, length, options, () -> Backing.allocate(length, options));
    }

    @Override
    public ExportedMemory adopt(long address, long length, Object owner, Set<MemoryOption> options) {
        return SimExport.of(world, node, length, options, () -> Backing.adopt("export-create", address, length, owner, options));
    }

    @Override
    public Connection connect(int to, int segmentId, Permission permission, long deadline, AbortListener listener) {
        return SimConnection.open(world, node, to, segmentId, permission, deadline, listener);
    }

    @Override
    public void close() {
        OPEN.remove(this);
    }
}
