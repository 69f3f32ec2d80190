package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * A message between gateways, after the greetings. Numbers are in network byte order.
 *
 * <pre>
 *  0  u32  bytes of the body
 *  4  u8   type
 *  5  u8   flags
 *  6  u16  code of an error, 0 for none; of REVOKED, the reason
 *  8  u32  connection, which the importer's side has numbered
 * 12  u32  tag, which a reply repeats
 * 16       body
 * </pre>
 *
 * <p>An object is for looking at one frame after the other.
 */
final class Frame {
    static final int HEADER = 16;
    /** The most bytes of data in a frame. */
    static final int MOST_DATA = 1 << 16;
    private static final int MOST_FIELDS = 256;
    /** The longest frame. */
    static final int LARGEST = HEADER + MOST_FIELDS + MOST_DATA;

    /** {@link Hello}, from the importer's side. Flag {@link #BULK}. */
    static final int HELLO = 1;
    /** The time limit of the exporter's side in ms, u32. */
    static final int WELCOME = 2;
    /** {@link Connect}. Flag {@link #ONE_SIDED}. */
    static final int CONNECT = 3;
    /** Size u64, exporter's uid i64, exporter's pid u32, flags u32, {@link RemoteKeys} if the flags say so, then the layout. */
    static final int ANSWER = 4;
    /** Offset u64, data. */
    static final int PUT = 5;
    /** Offset u64, length u32. With the flag {@link #IF_CHANGED} also a secret, u64 twice, and the {@link org.rsmapi.mem.Fingerprint} of what is known. */
    static final int GET = 6;
    /** The data; none with the flag {@link #UNCHANGED}. */
    static final int DATA = 7;
    /** Offset u64, operand u64, expected u64. Flags: the width; {@link #ADD}. */
    static final int ATOMIC = 8;
    /** What was there, u64. */
    static final int RESULT = 9;
    static final int BARRIER = 10;
    static final int DONE = 11;
    /** An event for the exporter. Flag {@link #ACCUMULATE}. The reply is DONE. */
    static final int POST = 12;
    /** Events for the importer: their number, u32. More come only after {@link #TAKEN}. */
    static final int EVENT = 13;
    static final int TAKEN = 14;
    static final int REVOKED = 15;
    static final int DISCONNECT = 16;
    static final int PING = 17;
    static final int PONG = 18;
    /** Bytes of data that have arrived since the last one, u32. */
    static final int CREDIT = 19;

    /** How the gateway is doing: {@link GatewayStatus}, asked by processes of its host. */
    static final int STATUS = 20;
    /** The last frame of a link, if there is time for it: why it is ended, text in UTF-8. */
    static final int BYE = 21;

    /** What is put from now on must not arrive earlier than what was put before. Sent only where {@link #BY_DEVICE} says so. */
    static final int ORDER = 22;

    /** The code in a reply that was lost between gateways. */
    static final int LOST = 0xFFFF;

    static final int BULK = 1;
    static final int IF_CHANGED = 1;
    static final int UNCHANGED = 1;
    static final int ACCUMULATE = 1;
    static final int ADD = 0x80;
    /** Of CONNECT: the gateway can reach the segment by itself. */
    static final int ONE_SIDED = 1;
    static final int BIG_ENDIAN = 1;
    /** The keys for that come along. */
    static final int WITH_KEYS = 2;
    /** To a process of the gateway's host: the gateway reaches the segment by itself, in clear text. */
    static final int BY_DEVICE = 4;

    /** How many bytes of data may be on their way on a link. */
    static final int WINDOW = 4 << 20;
    /** After how many of them their arrival is told. */
    static final int CREDIT_STEP = 1 << 18;

    private static final int BYTE = 0xFF;
    private static final int SHORT = 0xFFFF;

    private ByteBuffer bytes;
    private int start;
    private int length;

    /** A frame's header. */
    static void header(ByteBuffer out, int body, int type, int flags, int code, int connection, int tag) {
        out.putInt(body).put((byte) type).put((byte) flags).putShort((short) code).putInt(connection).putInt(tag);
    }

    /**
     * Looks at the frame that begins at a position.
     *
     * @param end  of what has been received
     * @return whether it is there to its end
     * @throws IOException if there cannot be such a frame
     */
    boolean look(ByteBuffer received, int from, int end) throws IOException {
        if (end - from < HEADER) {
            return false;
        }
        int body = received.getInt(from);
        if (body < 0 || body > LARGEST - HEADER) {
            throw new IOException("a frame of " + Integer.toUnsignedString(body) + " bytes");
        }
        bytes = received;
        start = from;
        length = body;
        return end - from - HEADER >= body;
    }

    /** Where the next one begins. */
    int end() {
        return start + HEADER + length;
    }

    int type() {
        return bytes.get(start + 4) & BYTE;
    }

    int flags() {
        return bytes.get(start + 5) & BYTE;
    }

    int code() {
        return bytes.getShort(start + 6) & SHORT;
    }

    int connection() {
        return bytes.getInt(start + 8);
    }

    int tag() {
        return bytes.getInt(start + 12);
    }

    /** Bytes of the body. */
    int length() {
        return length;
    }

    /** Where the body begins in the buffer. */
    int body() {
        return start + HEADER;
    }

    int u32(int at) {
        return bytes.getInt(start + HEADER + at);
    }

    long u64(int at) {
        return bytes.getLong(start + HEADER + at);
    }

    byte[] bytes(int at, int count) {
        byte[] copy = new byte[count];
        bytes.get(start + HEADER + at, copy);
        return copy;
    }
}
