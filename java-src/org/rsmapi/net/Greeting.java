package org.rsmapi.net;

import java.nio.ByteBuffer;

/**
 * The first message on a connection between gateways, in both directions: which versions of the protocol a gateway speaks, and which node
 * it is.
 *
 * <pre>
 * 0   "RSMN"
 * 4   u16  the oldest version
 * 6   u16  the newest version
 * 8   u8   node
 * 9   7 bytes, 0
 * </pre>
 *
 * <p>Numbers are in network byte order.
 */
record Greeting(int oldest, int newest, int node) {
    static final int BYTES = 16;
    /** What this library speaks. */
    static final int OLDEST = 1;
    static final int NEWEST = 1;

    private static final int MAGIC = 0x52534D4E;
    private static final int BYTE = 0xFF;
    private static final int SHORT = 0xFFFF;

    ByteBuffer encode() {
        return ByteBuffer.allocate(BYTES).putInt(MAGIC).putShort((short) oldest).putShort((short) newest).put((byte) node)
            .clear();
    }

    /** Reads one from 16 bytes; null if it is none. */
    static Greeting decode(ByteBuffer fields) {
        boolean ours = fields.getInt() == MAGIC;
        Greeting greeting = new Greeting(fields.getShort() & SHORT, fields.getShort() & SHORT, fields.get() & BYTE);
        return ours && greeting.oldest <= greeting.newest ? greeting : null;
    }

    /** The newest version that both speak; 0 if there is none. */
    int common(Greeting other) {
        int common = Math.min(newest, other.newest);
        return common >= Math.max(oldest, other.oldest) ? common : 0;
    }
}
