package org.rsmapi;

import java.util.Set;
import org.rsmapi.spi.Connection.Placement;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.sys.Vm;

/**
 * The arguments of {@link ImportSegment#map(long, int, int, long, long)}, and what is wrong with them.
 *
 * @param over     local memory over which to map, or null
 * @param address  for the attribute FIXED, and for {@code over}; otherwise a hint
 * @param perm     the RSMAPI's number
 * @param wanted   the permission of that number; null if it is not one
 * @param options  how the memory is to be
 */
record MapRequest(LocalMemory over, long address, int attributes, int perm, Permission wanted, long offset, long length,
        Set<MemoryOption> options) {
    static final String OP = "import-map";

    /** With the flags of {@link ImportSegment#map(long, int, int, long, long, int)}. */
    MapRequest(LocalMemory over, long address, int attributes, int perm, long offset, long length, int flags) {
        this(over, address, attributes, perm, Permission.ofBits(perm), offset, length, ExportSegment.memoryOptions(flags));
    }

    /** The whole segment, as put and get map it. */
    static MapRequest whole(Permission permission, long size) {
        return new MapRequest(null, 0, ImportSegment.MAP_NONE, permission.bits(), permission, 0, size, Set.of());
    }

    boolean isFixed() {
        return (attributes & ImportSegment.MAP_FIXED) != 0;
    }

    Placement placement() {
        return over != null ? Placement.FIXED_OVER_OWN : isFixed() ? Placement.FIXED : Placement.ANYWHERE;
    }

    /** The address that is needed; {@link Room#ANYWHERE} if any will do. */
    long neededAddress() {
        return isFixed() ? address : Room.ANYWHERE;
    }

    /** The error of these arguments for a segment in its present state, in the documented order of checks; null if there is none. */
    RsmError error(ImportSegment segment) {
        if (!segment.isConnected()) {
            return RsmError.BAD_SEG_HNDL;
        }
        if (segment.mapping() != null) {
            return RsmError.SEG_ALREADY_MAPPED;
        }
        if (!isPermission()) {
            return RsmError.BAD_PERMS;
        }
        if (length == 0) {
            return RsmError.BAD_LENGTH;
        }
        if (offset < 0) {
            return RsmError.BAD_OFFSET;
        }
        if (length < 0 || length > segment.size() - offset) {
            return RsmError.BAD_LENGTH;
        }
        if (offset % Vm.pageSize() != 0 || isFixed() && address % Vm.pageSize() != 0 || !fitsHugePages()) {
            return RsmError.BAD_MEM_ALIGNMENT;
        }
        if (segment.isAborted()) {
            return RsmError.CONN_ABORTED;
        }
        return segment.permission().includes(wanted) && !isBlindMirror(segment) ? null : RsmError.BAD_PERMS;
    }

    /** A mirror sends what differs from what was brought in, so it has to bring it in. */
    private static boolean isBlindMirror(ImportSegment segment) {
        return segment.remote() != null && !segment.permission().reads();
    }

    /** For hints: the multiples of the page size between which the offset is; empty if it is one. */
    private String nearest() {
        long below = offset / Vm.pageSize() * Vm.pageSize();
        return below == offset ? "" : "; the offset can be " + below + " or " + (below + Vm.pageSize());
    }

    private boolean fitsHugePages() {
        long huge = options.contains(MemoryOption.HUGE_PAGES) ? Vm.hugePageSize() : 0; // without any, the mapping is refused
        return huge == 0 || offset % huge == 0 && length % huge == 0 && (!isFixed() || address % huge == 0);
    }

    private boolean isPermission() {
        return wanted != null && wanted != Permission.NONE;
    }

    /** The error as an exception with data; null if there is none. */
    RsmException objection(ImportSegment segment) {
        RsmError error = error(segment);
        if (error == null) {
            return null;
        }
        RsmException objection = error == RsmError.CONN_ABORTED ? segment.aborted(OP) : RsmException.of(error, OP);
        objection.with("offset", offset).with("length", length).with("size", segment.size())
            .with("perm", wanted == null ? (Object) perm : wanted);
        switch (error) {
            case SEG_ALREADY_MAPPED:
                return objection.hint("a handle has one mapping, which put and get make too: unmap it, or connect again");
            case BAD_PERMS:
                return !isPermission() ? objection.hint("map takes 0400 (read), 0200 (write) or 0600 (both)")
                    : objection.with("granted", segment.permission()).hint(isBlindMirror(segment)
                        ? "a mapping would be a copy here, and a copy has to be read from the exporter: connect with 0600, or use put"
                        : "connect with the permission that the mapping needs");
            case BAD_MEM_ALIGNMENT:
                if (isFixed()) {
                    objection.with("address", address);
                }
                objection.with("page-size", Vm.pageSize());
                if (!fitsHugePages()) {
                    return objection.with("huge-page-size", Vm.hugePageSize()).hint("with huge pages, offset and length, and the address"
                        + " where it is given, have to be multiples of their size");
                }
                return objection
                    .hint("offset, and address with RSM_MAP_FIXED, have to be multiples of the page size" + nearest());
            case BAD_SEG_HNDL:
                return objection.hint("the segment has been disconnected");
            default:
                return objection;
        }
    }
}
