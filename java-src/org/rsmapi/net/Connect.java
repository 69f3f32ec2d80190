package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * The body of {@link Frame#CONNECT}.
 *
 * @param segmentId   any, unsigned
 * @param permission  the bits that are wanted
 * @param millis      how long to wait for the exporter
 * @param user        as whom; a gateway that sends this on has it from the kernel
 */
record Connect(int segmentId, int permission, int millis, User user) {
    private static final int FIELDS = 6 * Integer.BYTES;
    private static final int MOST_GROUPS = (Frame.MOST_DATA - FIELDS) / Integer.BYTES;

    /** A user of an importer's host. */
    record User(int uid, int gid, int[] groups) {}

    /** The length of the body. */
    int bytes() {
        return FIELDS + groups() * Integer.BYTES;
    }

    private int groups() {
        return Math.min(user.groups().length, MOST_GROUPS);
    }

    void write(ByteBuffer out) {
        out.putInt(segmentId).putInt(permission).putInt(millis).putInt(user.uid()).putInt(user.gid()).putInt(groups());
        for (int i = 0; i < groups(); i++) {
            out.putInt(user.groups()[i]);
        }
    }

    static Connect read(Frame frame) throws IOException {
        Session.require(frame.length() >= FIELDS);
        int count = frame.u32(FIELDS - Integer.BYTES);
        Session.require(count >= 0 && count <= MOST_GROUPS && frame.length() == FIELDS + count * Integer.BYTES);
        int[] groups = new int[count];
        for (int i = 0; i < count; i++) {
            groups[i] = frame.u32(FIELDS + i * Integer.BYTES);
        }
        return new Connect(frame.u32(0), frame.u32(4), frame.u32(8), new User(frame.u32(12), frame.u32(16), groups));
    }
}
