package org.rsmapi;

import java.nio.ByteBuffer;

/** One piece of what getv and putv move: {@code rsm_iovec_t} of rsm_memseg_import_putv(3RSM). Offsets and length are in bytes. */
public final class IoVec {
    private final Object local;
    private final long localOffset;
    private final long remoteOffset;
    private final long length;

    private IoVec(Object local, long localOffset, long remoteOffset, long length) {
        this.local = local;
        this.localOffset = localOffset;
        this.remoteOffset = remoteOffset;
        this.length = length;
    }

    /** A piece of a local memory handle's memory, {@code RSM_HANDLE_TYPE}. */
    public static IoVec of(LocalMemoryHandle local, long localOffset, long remoteOffset, long length) {
        return new IoVec(local, localOffset, remoteOffset, length);
    }

    /** A piece of local memory, an export segment or a mapping. */
    public static IoVec of(SegmentMemory local, long localOffset, long remoteOffset, long length) {
        return new IoVec(local, localOffset, remoteOffset, length);
    }

    /** A piece of an array. */
    public static IoVec of(byte[] local, long localOffset, long remoteOffset, long length) {
        return new IoVec(local, localOffset, remoteOffset, length);
    }

    /** A piece of a buffer, from its start and not from its position, which stays where it is. */
    public static IoVec of(ByteBuffer local, long localOffset, long remoteOffset, long length) {
        return new IoVec(local, localOffset, remoteOffset, length);
    }

    /** Memory from {@link LocalMemory#allocate} by its address, {@code RSM_VA_TYPE}. */
    public static IoVec ofAddress(long address, long localOffset, long remoteOffset, long length) {
        return new IoVec(address, localOffset, remoteOffset, length);
    }

    Object local() {
        return local;
    }

    /** Where the piece starts in the local memory. */
    public long localOffset() {
        return localOffset;
    }

    /** Where it starts in the segment. */
    public long remoteOffset() {
        return remoteOffset;
    }

    /** How long it is. */
    public long length() {
        return length;
    }
}
