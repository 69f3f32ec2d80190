package org.rsmapi.net;

import java.nio.ByteBuffer;

/**
 * What another gateway needs to reach a segment here by itself: a part of {@link Frame#ANSWER}.
 *
 * <pre>
 *   0  u16  length of the address, then of the key, then of the key of the memory that says whether the publication stands (0: none)
 *   6       8 bytes that are there for as long as it stands
 *  14       the address and the keys
 * </pre>
 *
 * @param worker    the address of this side's worker
 * @param segment   the key of the segment
 * @param standing  the key of the other memory; empty for none
 * @param stands    8 bytes
 */
record RemoteKeys(byte[] worker, byte[] segment, byte[] standing, byte[] stands) {
    private static final int FIELDS = 3 * Short.BYTES + Long.BYTES;
    private static final int SHORT = 0xFFFF;

    int bytes() {
        return FIELDS + worker.length + segment.length + standing.length;
    }

    void write(ByteBuffer out) {
        out.putShort((short) worker.length).putShort((short) segment.length).putShort((short) standing.length);
        out.put(stands).put(worker).put(segment).put(standing);
    }

    /** Reads them, and leaves what follows; null if there are none. */
    static RemoteKeys read(ByteBuffer in) {
        if (in.remaining() < FIELDS) {
            return null;
        }
        byte[][] parts = {new byte[in.getShort() & SHORT], new byte[in.getShort() & SHORT], new byte[in.getShort() & SHORT]};
        byte[] stands = new byte[Long.BYTES];
        in.get(stands);
        for (byte[] part : parts) {
            if (in.remaining() < part.length) {
                return null;
            }
            in.get(part);
        }
        return new RemoteKeys(parts[0], parts[1], parts[2], stands);
    }
}
