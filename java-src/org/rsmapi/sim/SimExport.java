package org.rsmapi.sim;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Engine;
import org.rsmapi.shared.Backing;
import org.rsmapi.shared.SharedRange;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.Connection.Placement;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/**
 * The memory of an export segment: a {@link Backing}. In a world of shared memory importers map it; in the others the world's messages
 * write into it.
 */
@SuppressWarnings("try") // a turn is only to be held
final class SimExport implements ExportedMemory, Backing.Importers {
    private final World world;
    private final int node;
    private final long size;
    private final Set<MemoryOption> options;
    /** The one that was made for it; the present one is another after a rebind while it was not published. */
    private final Backing first;
    private final SimSignals signals;
    private final List<SimConnection> importers = new ArrayList<>();
    /** How often the memory was taken away from those who had it. */
    private final AtomicInteger generation = new AtomicInteger();
    private volatile Backing backing;
    private AccessPolicy access;
    private String layout;
    private long segmentId = -1;
    /** Whether the backing has it among its publications. */
    private boolean listed;
    /** Whether an importer may have the memory, or have had it, since it was published. */
    private volatile boolean handedOut;
    private boolean destroyed;

    private SimExport(World world, int node, Backing backing, long size, Set<MemoryOption> options) {
        this.world = world;
        this.node = node;
        this.first = backing;
        this.backing = backing;
        this.size = size;
        this.options = options;
        this.signals = new SimSignals(world);
    }

    static SimExport of(World world, int node, long size, Set<MemoryOption> options, Supplier<Backing> making) {
        return Backing.owned(size, making, backing -> new SimExport(world, node, backing, size, options));
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

    /** In a turn: an importer. */
    void add(SimConnection importer) {
        importers.add(importer);
        handedOut |= world.shares();
    }

    /** In a turn: maps a part of the memory. */
    SharedRange map(Placement placement, long at, boolean writable, long offset, long length, Set<MemoryOption> wanted) {
        Backing present = backing;
        present.lock();
        try {
            if (!present.isWhole()) {
                throw RsmException.of(RsmError.CONN_ABORTED, "import-map");
            }
            Fd file = writable ? present.fileForWriting() : present.fileForReading();
            long alignment = wanted.contains(MemoryOption.HUGE_PAGES) ? Vm.hugePageSize() : 0;
            return new SharedRange(file, MemFd.identity(file), placement, at, writable, offset, length, alignment);
        } finally {
            present.unlock();
        }
    }

    @Override
    public boolean handedOut() {
        return handedOut;
    }

    /** Another segment over the same memory ends: its thread has the backing's lock, and must not wait for a turn. */
    @Override
    public void drop() {
        generation.incrementAndGet();
        backing.whenFree(() -> world.soon(() -> disconnect("unpublished", false)));
    }

    /** How often the memory was taken away from those who had it. May be asked at any time. */
    int generation() {
        return generation.get();
    }

    // ---- what messages do, in a turn ----

    void write(long offset, byte[] data) {
        Engine.ENGINE.copyFromArray(data, 0, address() + offset, data.length);
    }

    byte[] read(long offset, int length) {
        byte[] data = new byte[length];
        Engine.ENGINE.copyToArray(address() + offset, data, 0, length);
        return data;
    }

    long compareAndExchange(long offset, int width, long expected, long value) {
        long at = address() + offset;
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
        return width == Long.BYTES ? Engine.ENGINE.getAndAddLong(address() + offset, delta)
            : Engine.ENGINE.getAndAddInt(address() + offset, (int) delta);
    }

    /**
     * Ends the publication: what arrives from now on finds nothing, and importers that have mapped the memory lose it.
     *
     * @throws OsError if there is not enough memory to move to; then it can be called again
     */
    void revoke(String reason, boolean livesOn) {
        if (segmentId >= 0) {
            world.published().remove(World.place(node, (int) segmentId), this);
            disconnect(reason, true);
            segmentId = -1;
        }
        if (listed) {
            generation.incrementAndGet();
            backing.revoke(this, livesOn);
            listed = false;
            handedOut = false;
        }
    }

    /** In a turn: ends the connections, or only those that had the memory when it was taken away. */
    private void disconnect(String reason, boolean all) {
        for (SimConnection importer : List.copyOf(importers)) {
            if (all || importer.generation() != generation()) {
                importer.revoke(reason);
                importers.remove(importer);
            }
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
        return backing.address();
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
            backing.publish(gate, () -> this);
            listed = true;
            segmentId = Integer.toUnsignedLong(wanted);
            access = policy;
            layout = text == null ? null : new String(text, StandardCharsets.UTF_8);
            world.published().put(World.place(node, wanted), this);
            world.note("publish", "node", node, "segment-id", segmentId);
            return wanted;
        } catch (OsError e) {
            throw Failures.resources("export-publish", e);
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
            revoke("unpublished", true);
        } catch (OsError e) {
            throw Failures.resources("export-unpublish", e).hint("importers may still see memory that could not be moved: call again");
        }
    }

    @Override
    public void rebind(long next, Object owner, Gate gate) {
        try {
            gate.shut();
            try (World.Turn turn = world.turn()) {
                if (listed) {
                    backing.rebind("export-rebind", next, owner);
                } else {
                    backing = backing.replacedBy(Backing.adopt("export-rebind", next, size, owner, options));
                }
                world.note("rebind", "node", node, "segment-id", segmentId);
            }
        } catch (OsError e) {
            throw Failures.resources("export-rebind", e).with("address", next).with("length", size);
        } finally {
            gate.open();
        }
    }

    @Override
    public void destroy() {
        try (World.Turn turn = world.turn()) {
            if (!destroyed) {
                world.note("destroy", "node", node, "segment-id", segmentId);
                revoke("destroyed", false);
                backing.release();
                destroyed = true;
                signals.end();
            }
        } catch (OsError e) {
            throw Failures.resources("export-destroy", e).hint("there is no memory to move the content to: call again");
        }
    }

    @Override
    public void unmap() {
        first.unmap();
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
