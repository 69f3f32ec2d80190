package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.rsmapi.mem.Fingerprint;

/**
 * The body of {@link Frame#GET}.
 *
 * @param offset       in the segment
 * @param length       1 to {@link Frame#MOST_DATA}
 * @param secret       for the fingerprint, as is the other one
 * @param known        of what the asker has already; null if it has nothing
 */
record Get(long offset, int length, long secret, long otherSecret, Fingerprint known) {
    private static final int FIELDS = Long.BYTES + Integer.BYTES;
    private static final int KNOWING_FIELDS = FIELDS + 4 * Long.BYTES;

    int flags() {
        return known == null ? 0 : Frame.IF_CHANGED;
    }

    /** The length of the body. */
    int bytes() {
        return known == null ? FIELDS : KNOWING_FIELDS;
    }

    void write(ByteBuffer out) {
        out.putLong(offset).putInt(length);
        if (known != null) {
            out.putLong(secret).putLong(otherSecret).putLong(known.first()).putLong(known.second());
        }
    }

    static Get read(Frame frame) throws IOException {
        Session.require(frame.length() >= FIELDS);
        long offset = frame.u64(0);
        int length = frame.u32(Long.BYTES);
        boolean knows = (frame.flags() & Frame.IF_CHANGED) != 0;
        Session.require(length > 0 && length <= Frame.MOST_DATA && frame.length() == (knows ? KNOWING_FIELDS : FIELDS)
            && (!knows || length % Long.BYTES == 0));
        return !knows ? new Get(offset, length, 0, 0, null)
            : new Get(offset, length, frame.u64(FIELDS), frame.u64(FIELDS + Long.BYTES),
                new Fingerprint(frame.u64(FIELDS + 2 * Long.BYTES), frame.u64(FIELDS + 3 * Long.BYTES)));
    }

    /** Whether what is at an address need not be sent. */
    boolean isKnown(long address) {
        return known != null && Fingerprint.of(address, length, secret, otherSecret).equals(known);
    }
}
