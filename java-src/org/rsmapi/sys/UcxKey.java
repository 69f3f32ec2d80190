package org.rsmapi.sys;

/** The key to a region of a peer, made by {@link UcxPeer#key}. */
public final class UcxKey implements AutoCloseable {
    private final UcxPeer peer;
    private final long handle;
    private final long address;
    private final long length;

    UcxKey(UcxPeer peer, long handle, long address, long length) {
        this.peer = peer;
        this.handle = handle;
        this.address = address;
        this.length = length;
    }

    /** How long the region is. */
    public long length() {
        return length;
    }

    boolean isOf(UcxPeer other) {
        return peer == other;
    }

    long handle() {
        return handle;
    }

    /**
     * The peer's address of a range.
     *
     * @throws UcxError OUT_OF_RANGE if it is not within the region
     */
    long range(String call, long offset, long count) {
        if (offset < 0 || count < 0 || offset > length - count) {
            throw new UcxError(call, UcxAbi.ERR_OUT_OF_RANGE, count + " bytes at " + offset + " of " + length);
        }
        return address + offset;
    }

    /** Waits for no one: a call that uses the key goes on. */
    @Override
    public void close() {
        peer.close(this);
    }
}
