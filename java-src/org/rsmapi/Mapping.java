package org.rsmapi;

import java.lang.invoke.VarHandle;
import java.util.Locale;
import org.rsmapi.mem.ForeignView;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.mirror.Mirror;
import org.rsmapi.spi.MappedRange;
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
    private final MappedRange range;
    private final MapRequest request;
    private final boolean implicit;
    /** The part of local memory over which it lies, or null. */
    private final LocalMemory.Part part;
    /** Releases the part if the mapping is lost; null if there is none. */
    private final Reclaim.Watch watch;
    private final Holds holds = new Holds();
    private volatile State state = State.MAPPED;
    /** Never read: keeps the address range from being returned while a thread may use this object. */
    @SuppressWarnings("unused")
    private Object keeper;

    Mapping(ImportSegment segment, MappedRange range, MapRequest request, LocalMemory.Part part, boolean implicit) {
        super(range.address(), request.wanted().reads() ? request.length() : -1, request.wanted().writes() ? request.length() : -1,
            false, range instanceof Mirror);
        this.segment = segment;
        this.range = range;
        this.request = request;
        this.implicit = implicit;
        this.part = part;
        this.watch = part == null ? null : Reclaim.whenUnreachable(this, () -> {
            if (!part.isVacated()) { // otherwise there may be something new, written to the local memory since
                range.replaceWithZeroPages();
            }
            part.release();
        });
        if (part != null) {
            part.placed(request.options());
        }
    }

    /** Unmaps it if that has not been done ({@link ImportSegment#unmap()}). */
    @Override
    public void close() {
        segment.unmap(this);
    }

    /**
     * Stops access; called with the segment's lock held, before the pages are taken away. Unmapping waits for accesses that have to be
     * finished here. When the exporter has taken the memory away there is nothing to finish.
     */
    void end(boolean unmapped) {
        if (unmapped && state == State.MAPPED) {
            holds.shut();
        }
        readLimit = -1;
        writeLimit = -1;
        state = unmapped ? State.UNMAPPED : State.ABORTED;
        endView();
    }

    /** The copy that it is; null where it is the exporter's memory. */
    Mirror mirror() {
        return range instanceof Mirror ? (Mirror) range : null;
    }

    /** Whether it is a copy of the exporter's memory ({@link Capabilities.Memory#MIRRORED}). */
    public boolean isMirror() {
        return range instanceof Mirror;
    }

    /**
     * Brings in what the exporter has, where the mapping is a copy of it ({@link #isMirror()}): when this returns, reading gives what was
     * there at the time of the call or later. What this process has written and not sent yet stays. Opening a barrier does this for
     * the whole mapping. Where the memory is shared, this is a full fence. Beyond the RSMAPI.
     *
     * @param offset  in the mapping, in bytes; whole words of 8 bytes are brought in
     * @param length  in bytes
     * @throws RsmException in this order: SEG_NOT_MAPPED, BAD_LENGTH (negative), BAD_OFFSET (not wholly inside), CONN_ABORTED,
     *     BARRIER_FAILURE (no answer: a part may have been brought in)
     */
    public void pull(long offset, long length) {
        String op = "pull";
        checkSync(op, offset, length);
        if (isMirror()) {
            segment.remote().pull(op, mirror(), offset, length);
        }
        VarHandle.fullFence();
    }

    /**
     * Sends what this process has changed, where the mapping is a copy of the exporter's memory ({@link #isMirror()}), and waits until it
     * has arrived. Closing a barrier does this for the whole mapping. Where the memory is shared, this is a full fence. Beyond the
     * RSMAPI.
     *
     * @param offset  in the mapping, in bytes; whole words of 8 bytes are sent, if one of their bytes has changed
     * @param length  in bytes
     * @throws RsmException in this order: SEG_NOT_MAPPED, PERM_DENIED (mapped for reading), BAD_LENGTH (negative), BAD_OFFSET (not
     *     wholly inside), CONN_ABORTED, BARRIER_FAILURE (nobody knows whether it has arrived; the next push sends it again)
     */
    public void push(long offset, long length) {
        String op = "push";
        VarHandle.fullFence();
        if (isCurrent() && !permission().writes()) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("offset", offset).with("perm", permission())
                .hint("the mapping is read-only");
        }
        checkSync(op, offset, length);
        if (isMirror()) {
            segment.remote().push(op, mirror(), offset, length);
        }
    }

    private void checkSync(String op, long offset, long length) {
        if (!isCurrent()) {
            throw RsmException.of(RsmError.SEG_NOT_MAPPED, op).with("offset", offset);
        }
        if (length < 0) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("length", length).hint("a length is 0 or more bytes");
        }
        if (offset < 0 || offset > size() - length) {
            throw RsmException.of(RsmError.BAD_OFFSET, op).with("offset", offset).with("length", length).with("size", size());
        }
        segment.checkAborted(op);
    }

    /** Takes the segment's pages away. */
    void replaceWithZeroPages() {
        range.replaceWithZeroPages();
    }

    /** Has the address range, from which the pages have been taken away, returned when no thread can be using it. */
    void release() {
        if (part != null) {
            part.vacate();
        }
        ForeignView.whenClosed(this, () -> {
            if (part != null) {
                watch.ended();
                watch.vacated(base, Vm.wholePages(size()));
            } else {
                keeper = range.retire(this);
            }
        });
    }

    @Override
    void empty(long offset, long bytes) {
        if (state != State.MAPPED) {
            range.empty();
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
        return request.wanted();
    }

    /** The attributes of the call that made it: {@link ImportSegment#MAP_NONE} or {@link ImportSegment#MAP_FIXED}. */
    public int attributes() {
        return request.attributes() & ImportSegment.MAP_FIXED;
    }

    /** Whether put or get have made it, instead of map. */
    public boolean isImplicit() {
        return implicit;
    }

    /** Where the window starts in the segment, in bytes. */
    public long offset() {
        return request.offset();
    }

    @Override
    boolean isWritable() {
        return permission().writes();
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
        if (write ? !permission().writes() : !permission().reads()) {
            throw RsmException.of(RsmError.PERM_DENIED, op).with("offset", at).with("perm", permission())
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
        return refused(op, permission().reads(), at, bytes);
    }

    @Override
    public String toString() {
        return "#<Mapping " + String.format(Locale.ROOT, "0x%08x", segment.segmentId()) + " [" + offset() + ", +" + size() + ") "
            + permission() + (state == State.MAPPED ? ">" : state == State.ABORTED ? " aborted>" : " unmapped>");
    }
}
