package org.rsmapi.net;

import java.nio.ByteBuffer;

/**
 * The body of {@link Frame#HELLO}.
 *
 * @param session  which links belong together
 * @param millis   the time limit
 * @param node     where what is asked for over the link is
 */
record Hello(byte[] session, int millis, int node) {
    static final int SESSION_BYTES = 16;
    static final int BYTES = SESSION_BYTES + 2 * Integer.BYTES;

    void write(ByteBuffer out) {
        out.put(session).putInt(millis).putInt(node);
    }

    /** Reads one; null if it is none. */
    static Hello read(Frame frame) {
        return frame.type() != Frame.HELLO || frame.length() != BYTES ? null
            : new Hello(frame.bytes(0, SESSION_BYTES), frame.u32(SESSION_BYTES), frame.u32(SESSION_BYTES + Integer.BYTES));
    }
}
