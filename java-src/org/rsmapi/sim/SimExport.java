package org.rsmapi.sim;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Engine;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.CallerMemory;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/** The memory of an export segment, where it is moved: private memory, into which the world's messages write. */
@SuppressWarnings("try") // a turn is only to be held
final class SimExport implements ExportedMemory {
    private final World world;
    private final int node;
    private final long size;
    /** Of memory that was allocated for it; 0 of the caller's own. */
    private final long allocated;
    private final SimSignals signals;
    private final List<SimConnection> importers = new ArrayList<>();
    private volatile long address;
    /** Keeps the caller's memory reachable; never read. */
    @SuppressWarnings("unused")
    private Object owner;
    private AccessPolicy access;
    private String layout;
    private long segmentId = -1;

    private SimExport(World world, int node, long address, long size, long allocated, Object owner) {
        this.world = world;
        this.node = node;
        this.address = address;
        this.size = size;
        this.allocated = allocated;
        this.owner = owner;
        this.signals = new SimSignals(world);
    }

    static SimExport allocate(World world, int node, long size, Set<MemoryOption> options) {
        try {
            long address = Vm.mapAnonymous(size);
            try {
                furnish(address, size, options);
                return new SimExport(world, node, address, size, address, null);
            } catch (RuntimeException | Error e) {
                Vm.unmap(address, size);
                throw e;
            }
        } catch (OsError e) {
            throw Failures.resources("export-create", e).with("length", size);
        }
    }

    static SimExport adopt(World world, int node, long address, long size, Object owner, Set<MemoryOption> options) {
        CallerMemory.check("export-create", address, size, owner);
        try {
            furnish(address, size, options);
        } catch (OsError e) {
            throw Failures.resources("export-create", e).with("address", address).with("length", size);
        }
        return new SimExport(world, node, address, size, 0, owner);
    }

    private static void furnish(long address, long size, Set<MemoryOption> options) {
        if (options.contains(MemoryOption.HUGE_PAGES)) {
            throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "export-create").with("length", size)
                .hint("a simulated segment is not in huge pages");
        }
        if (options.contains(MemoryOption.PREFAULT)) {
            Vm.populateForWriting(address, size);
        }
        if (options.contains(MemoryOption.LOCK)) {
            Vm.lock(address, size);
        }
    }

    int node() {
        return node;
    }

    long segmentId() {
        return segmentId;
    }

    long size() {
        return size;
    }

    AccessPolicy access() {
        return access;
    }

    String layout() {
        return layout;
    }

    List<SimConnection> connected() {
        return importers;
    }

    SimSignals events() {
        return signals;
    }

    // ---- what messages do, in a turn ----

    void write(long offset, byte[] data) {
        Engine.ENGINE.copyFromArray(data, 0, address + offset, data.length);
    }

    byte[] read(long offset, int length) {
        byte[] data = new byte[length];
        Engine.ENGINE.copyToArray(address + offset, data, 0, length);
        return data;
    }

    long compareAndExchange(long offset, int width, long expected, long value) {
        long at = address + offset;
        while (true) {
            long before = width == Long.BYTES ? Engine.ENGINE.getLongVolatile(at) : Engine.ENGINE.getIntVolatile(at);
            if (before != expected) {
                return before;
            }
            boolean done = width == Long.BYTES ? Engine.ENGINE.compareAndSetLong(at, expected, value)
                : Engine.ENGINE.compareAndSetInt(at, (int) expected, (int) value);
            if (done) {
                return before;
            }
        }
    }

    long getAndAdd(long offset, int width, long delta) {
        return width == Long.BYTES ? Engine.ENGINE.getAndAddLong(address + offset, delta)
            : Engine.ENGINE.getAndAddInt(address + offset, (int) delta);
    }

    /** Ends the publication: what arrives from now on finds nothing. */
    void revoke(String reason) {
        if (segmentId >= 0) {
            world.published().remove(World.place(node, (int) segmentId), this);
            for (SimConnection importer : List.copyOf(importers)) {
                importer.revoke(reason);
            }
            importers.clear();
            segmentId = -1;
        }
    }

    /** The node has ended: nobody is told. */
    void die() {
        for (SimConnection importer : importers) {
            importer.isGone();
        }
        importers.clear();
        segmentId = -1;
    }

    // ---- the SPI ----

    @Override
    public long address() {
        return address;
    }

    @Override
    public int publish(int id, AccessPolicy policy, byte[] text, Gate gate) {
        try (World.Turn turn = world.turn()) {
            if (world.hasEnded() || !world.isUp(node)) {
                throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "export-publish").with("node", node).hint("the node has ended");
            }
            int wanted = id == 0 ? world.freeId(node) : id;
            if (world.published(node, wanted) != null) {
                throw RsmException.of(RsmError.SEGID_IN_USE, "export-publish").with("segment-id", Integer.toUnsignedLong(wanted))
                    .with("node", node);
            }
            segmentId = Integer.toUnsignedLong(wanted);
            access = policy;
            layout = text == null ? null : new String(text, StandardCharsets.UTF_8);
            world.published().put(World.place(node, wanted), this);
            world.note("publish", "node", node, "segment-id", segmentId);
            return wanted;
        }
    }

    @Override
    public void republish(AccessPolicy policy) {
        try (World.Turn turn = world.turn()) {
            access = policy;
        }
    }

    @Override
    public void unpublish() {
        try (World.Turn turn = world.turn()) {
            world.note("unpublish", "node", node, "segment-id", segmentId);
            revoke("unpublished");
        }
    }

    @Override
    public void rebind(long next, Object nextOwner, Gate gate) {
        CallerMemory.check("export-rebind", next, size, nextOwner);
        gate.shut();
        try (World.Turn turn = world.turn()) {
            world.note("rebind", "node", node, "segment-id", segmentId);
            address = next;
            owner = nextOwner;
        } finally {
            gate.open();
        }
    }

    @Override
    public void destroy() {
        try (World.Turn turn = world.turn()) {
            world.note("destroy", "node", node, "segment-id", segmentId);
            revoke("destroyed");
            signals.end();
        }
        if (allocated != 0) {
            Vm.replaceWithZeroPages(allocated, size);
        }
    }

    @Override
    public void unmap() {
        if (allocated != 0) {
            Vm.unmap(allocated, size);
        }
    }

    @Override
    public Signals signals() {
        return signals;
    }

    @Override
    public void post(boolean accumulate) {
        try (World.Turn turn = world.turn()) {
            for (SimConnection importer : importers) {
                importer.postHere(accumulate);
            }
        }
    }

    @Override
    public int importers() {
        try (World.Turn turn = world.turn()) {
            return importers.size();
        }
    }
}
