package org.rsmapi;

import java.util.Locale;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Connection;
import org.rsmapi.sys.Vm;

/**
 * A part of an imported segment, mapped into this process (rsm_memseg_import_map(3RSM)).
 *
 * <p>Read and written through the methods of {@link SegmentMemory}, with offsets that count from the start of the window, not
 * of the segment. After {@link #close()} every access is {@code RSMERR_SEG_NOT_MAPPED}; after the exporter has revoked the segment
 * or is gone, {@code RSMERR_CONN_ABORTED}.
 */
public final class Mapping extends SegmentMemory implements AutoCloseable {
    private enum State { MAPPED, ABORTED, UNMAPPED }

    final ImportSegment segment;
    private final Permission permission;
    private final int attributes;
    private final long offset;
    private final boolean implicit;
    /** The part of local memory over which it lies, or null. */
    private final LocalMemory.Part part;
    /** Gives the part back; null if there is none. */
    private final Reclaim.Watch watch;
    private final Holds holds = new Holds();
    private volatile State state = State.MAPPED;
    /** Never read: it is reachable, and with it the address range is there, for as long as a thread may use this object. */
    @SuppressWarnings("unused")
    private Object keeper;

    Mapping(ImportSegment segment, Connection connection, long address, int attributes, Permission permission, long offset,
            long length, LocalMemory.Part part, boolean implicit) {
        super(address, permission.reads() ? length : -1, permission.writes() ? length : -1);
        this.segment = segment;
        this.permission = permission;
        this.attributes = attributes;
        this.offset = offset;
        this.implicit = implicit;
        this.part = part;
        this.watch = part == null ? null : Reclaim.whenUnreachable(this, () -> {
            if (!part.isVacated()) { // otherwise there may be something new, written to the local memory since
                connection.detach(address, length);
            }
            part.release();
        });
    }

    /** Unmaps it if that has not been done ({@link ImportSegment#unmap()}). */
    @Override
    public void close() {
        segment.unmap(this);
    }

    /**
     * Stops access; called with the segment's lock held, before the pages are taken away. Unmapping waits for those who have to finish
     * something here; when the exporter has taken the memory away there is nothing to finish.
     */
    void end(boolean unmapped) {
        if (unmapped && state == State.MAPPED) {
            holds.shut();
        }
        readLimit = -1;
        writeLimit = -1;
        state = unmapped ? State.UNMAPPED : State.ABORTED;
    }

    /** Leaves the address range, from which the pages have been taken away, to be given back when no thread can be using it. */
    void leave() {
        if (part != null) {
            part.vacate();
            watch.ended();
            watch.vacated(base, Vm.wholePages(size()));
        } else if ((attributes & ImportSegment.MAP_FIXED) != 0) {
            Reclaim.ended(this, base, Vm.wholePages(size())); // the same address may be wanted again
        } else {
            keeper = Reclaim.ended(base, Vm.wholePages(size()));
        }
    }

    /** Of a mapping over local memory the pages belong to that, and are its size. */
    @Override
    void empty() {
        if (part == null && state != State.MAPPED) {
            Vm.drop(base, Vm.wholePages(size()));
        }
    }

    boolean isAborted() {
        return state == State.ABORTED;
    }

    /** Whether it is mapped and the exporter has not revoked the segment, as far as is known. */
    public boolean isMapped() {
        return state == State.MAPPED;
    }

    /** Whether it has not been unmapped; it may be aborted. */
    public boolean isCurrent() {
        return state != State.UNMAPPED;
    }

    /** The import segment. */
    public ImportSegment segment() {
        return segment;
    }

    /** The address of its first byte in this process. */
    public long address() {
        return base;
    }

    /** What it was mapped for. */
    public Permission permission() {
        return permission;
    }

    /** The attributes of the call that made it: {@link ImportSegment#MAP_NONE} or {@link ImportSegment#MAP_FIXED}. */
    public int attributes() {
        return attributes;
    }

    /** Whether put or get have made it, and not a call of map. */
    public boolean isImplicit() {
        return implicit;
    }

    /** Where the window starts in the segment, in bytes. */
    public long offset() {
        return offset;
    }

    @Override
    Holds holds() {
        return holds;
    }

    @Override
    long refused(String op, boolean write, long at, long bytes) {
        State now = state;
        if (now == State.UNMAPPED) {
            throw RsmException.of(RsmError.SEG_NOT_MAPPED, op).with("offset", at);
        }
        if (write ? !permission.writes() : !permission.reads()) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("offset", at).with("perm", permission)
                .hint(write ? "the mapping is read-only" : "the mapping is write-only");
        }
        if (at < 0 || at > size() - bytes) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", at).with("length", bytes).with("size", size());
        }
        if (now == State.ABORTED) {
            throw segment.aborted(op).with("offset", at);
        }
        return base + at;
    }

    @Override
    long refusedUpdate(String op, long at, long bytes) {
        // the right that is missing comes before everything but the end
        return refused(op, permission.reads(), at, bytes);
    }

    @Override
    public String toString() {
        return "#<Mapping " + String.format(Locale.ROOT, "0x%08x", segment.segmentId()) + " [" + offset + ", +" + size() + ") " + permission
            + (state == State.MAPPED ? ">" : state == State.ABORTED ? " aborted>" : " unmapped>");
    }
}
