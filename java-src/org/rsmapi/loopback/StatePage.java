package org.rsmapi.loopback;

import java.lang.invoke.VarHandle;
import org.rsmapi.mem.Engine;
import org.rsmapi.spi.Standing;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.Vm;

/**
 * The page from which importers read whether the publication still exists.
 *
 * <pre>
 *   0  magic "RSMS"
 *   4  u32 layout version, 1
 *   8  u64 generation
 *  16  u32 1 published, 2 revoked
 *  24  u64 size of the segment
 * </pre>
 *
 * The exporter's side maps it for writing, the importer's side to read; each unmaps it when the publication or connection ends,
 * under the lock that guards every use of it.
 */
final class StatePage implements AutoCloseable {
    private static final int MAGIC = 'R' | 'S' << 8 | 'M' << 16 | 'S' << 24;
    private static final int LAYOUT = 1;
    private static final int VERSION_AT = 4;
    private static final int GENERATION_AT = 8;
    private static final int STATE_AT = 16;
    private static final int SIZE_AT = 24;
    private static final int PUBLISHED = 1;
    private static final int REVOKED = 2;
    private static final long MAX_BYTES = 1L << 20;

    private long address;
    private boolean mapped;

    private StatePage() {}

    private void map(Fd file, int prot) {
        address = Vm.mapShared(file, Vm.pageSize(), prot, 0, 0);
        mapped = true;
    }

    /** A new memory file for a state page. */
    static Fd createFile() {
        return MemFd.create("rsmapi-state", Vm.pageSize());
    }

    /** The exporter's view, filled in. */
    static StatePage publish(Fd file, long generation, long size) {
        StatePage page = new StatePage();
        page.map(file, Vm.PROT_READ | Vm.PROT_WRITE);
        Engine.ENGINE.putInt(page.address, MAGIC);
        Engine.ENGINE.putInt(page.address + VERSION_AT, LAYOUT);
        Engine.ENGINE.putLong(page.address + SIZE_AT, size);
        Engine.ENGINE.putInt(page.address + STATE_AT, PUBLISHED);
        Engine.ENGINE.putLongVolatile(page.address + GENERATION_AT, generation);
        return page;
    }

    /**
     * What is wrong with a descriptor that a peer sent as a state page, or null if nothing is. A large file is none: to give its memory
     * back may take long, and that would be at the end of the last mapping, with a lock held.
     */
    static String objection(Fd file) {
        String objection = MemFd.objection(file, Vm.pageSize(), false);
        return objection == null && MemFd.size(file) > MAX_BYTES ? "longer than a state page is" : objection;
    }

    /** The importer's view of a file that has been checked. */
    static StatePage view(Fd file) {
        StatePage page = new StatePage();
        page.map(file, Vm.PROT_READ);
        return page;
    }

    /** Whether the magic and layout are ours. */
    boolean wellFormed() {
        return mapped && Engine.ENGINE.getInt(address) == MAGIC && Engine.ENGINE.getInt(address + VERSION_AT) == LAYOUT;
    }

    /** Aborts all connections of an earlier generation. */
    void advance(long generation) {
        if (!mapped) {
            throw new IllegalStateException("the state page is closed");
        }
        Engine.ENGINE.putLongVolatile(address + GENERATION_AT, generation);
    }

    /** Marks the publication as ended. */
    void revoke(long generation) {
        advance(generation);
        Engine.ENGINE.putIntVolatile(address + STATE_AT, REVOKED);
    }

    /** Whether the publication of this generation still stands, after everything that was read from the segment before. */
    boolean stands(long generation) {
        VarHandle.loadLoadFence();
        return mapped && Engine.ENGINE.getLongVolatile(address + GENERATION_AT) == generation;
    }

    /** A second view of what {@link #stands} looks at; null if this one is closed. */
    Standing standing(long generation) {
        return !mapped ? null
            : new Standing(Vm.mapAgain(address, Vm.pageSize()), Vm.pageSize(), GENERATION_AT, generation);
    }

    @Override
    public void close() {
        if (mapped) {
            mapped = false;
            Vm.unmap(address, Vm.pageSize());
        }
    }
}
