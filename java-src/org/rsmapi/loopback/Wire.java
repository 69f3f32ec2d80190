package org.rsmapi.loopback;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rsmapi.spi.Nodes;

/**
 * The messages of doc/protocol.md as bytes and back.
 *
 * <pre>
 *   0  magic "RSM1"      CONNECT (64)            ANSWER (64)                 REVOKED (32)
 *   4  u16 version
 *   6  u16 type
 *   8  u32 length
 *  12  u32               node                    code                        reason
 *  16                    u32 segment id          u64 size                    u64 generation
 *  20                    u32 permission
 *  24                    u64 token               u64 generation
 *  32                    32 bytes controller     u32 permission, u32 order
 *  40                                            u32 page, u32 descriptors
 *  48                                            u32 pid
 * </pre>
 */
final class Wire {
    static final int VERSION = 1;
    static final int CONNECT_BYTES = 64;
    static final int ANSWER_BYTES = 64;
    static final int REVOKED_BYTES = 32;
    static final int MAX_BYTES = 256;
    static final int MAX_DESCRIPTORS = 16;

    static final int CONNECT = 1;
    static final int ANSWER = 2;
    static final int REVOKED = 3;

    static final int REASON_UNPUBLISHED = 1;
    static final int REASON_DESTROYED = 2;

    /** Of a CONNECT's permission: the importer wants to be judged as a user that is not the exporter, nor in its group. */
    private static final int AS_OTHERS = 1 << 16;

    private static final int MAGIC = 'R' | 'S' << 8 | 'M' << 16 | '1' << 24;
    private static final int CONTROLLER_BYTES = 32;
    private static final int LITTLE = 1;
    private static final int BIG = 2;

    private static final Pattern SEGMENT = Pattern.compile("rsmapi/([0-9]{1,2})/([0-9a-f]{8})");

    private Wire() {}

    /** What the names start with that tell which nodes are there. */
    static final String PRESENCE = "rsmapi-node/";

    /** The name, without the NUL in front, that a process binds for as long as it plays a node; {@code mark} makes it unique. */
    static String presence(String controller, int node, long mark) {
        return PRESENCE + controller + "/" + node + "/" + String.format(Locale.ROOT, "%016x", mark);
    }

    /** The name, without the NUL in front, under which a segment is published. */
    static String name(int node, int segmentId) {
        return "rsmapi/" + node + "/" + String.format(Locale.ROOT, "%08x", segmentId);
    }

    /** A segment's name, taken apart. */
    record Name(int node, int segmentId) {
        /** The parts of a name; null if it is not a segment's: anybody may bind such a name. */
        static Name parse(String name) {
            Matcher parts = SEGMENT.matcher(name);
            if (!parts.matches()) {
                return null;
            }
            Name found = new Name(Integer.parseInt(parts.group(1)), Integer.parseUnsignedInt(parts.group(2), 16));
            return Nodes.exists(found.node) && found.segmentId != 0 && name.equals(Wire.name(found.node, found.segmentId)) ? found : null;
        }
    }

    /** What every message starts with. */
    record Header(int version, int type, int length) {
        /** Whether the message is complete and of this version. */
        boolean is(int wantedType, int wantedLength, byte[] message) {
            return version == VERSION && type == wantedType && length == wantedLength && message.length == wantedLength;
        }
    }

    /** The header, or null if it is not a message of ours at all. */
    static Header header(byte[] message) {
        if (message.length < 12) {
            return null;
        }
        ByteBuffer b = wrap(message);
        return b.getInt(0) == MAGIC ? new Header(b.getShort(4) & 0xffff, b.getShort(6) & 0xffff, b.getInt(8)) : null;
    }

    /** The permission is without {@link #AS_OTHERS}. */
    record Connect(int node, int segmentId, int permission, boolean asOthers, long token, String controller) {
        byte[] encode() {
            ByteBuffer b = start(CONNECT, CONNECT_BYTES);
            b.putInt(12, node).putInt(16, segmentId).putInt(20, asOthers ? permission | AS_OTHERS : permission).putLong(24, token);
            byte[] name = controller.getBytes(StandardCharsets.US_ASCII);
            b.put(32, name, 0, Math.min(name.length, CONTROLLER_BYTES));
            return b.array();
        }

        /** Whether the memory is wanted, and so comes with the answer: not by a connection without any permission. */
        boolean wantsMemory() {
            return permission != 0;
        }

        /** Whether the memory is wanted for writing. */
        boolean wantsToWrite() {
            return (permission & 0200) != 0;
        }

        static Connect decode(byte[] message) {
            ByteBuffer b = wrap(message);
            int end = 32;
            while (end < CONNECT_BYTES && message[end] != 0) {
                end++;
            }
            int permission = b.getInt(20);
            return new Connect(b.getInt(12), b.getInt(16), permission & ~AS_OTHERS, (permission & AS_OTHERS) != 0, b.getLong(24),
                new String(message, 32, end - 32, StandardCharsets.US_ASCII));
        }
    }

    record Answer(int code, long size, long generation, int permission, ByteOrder order, int page, int descriptors, int pid,
            int layoutBytes) {
        static Answer rejection(int code) {
            return new Answer(code, 0, 0, 0, ByteOrder.nativeOrder(), 0, 0, 0, 0);
        }

        byte[] encode() {
            ByteBuffer b = start(ANSWER, ANSWER_BYTES);
            b.putInt(12, code).putLong(16, size).putLong(24, generation).putInt(32, permission);
            b.putInt(36, order == ByteOrder.LITTLE_ENDIAN ? LITTLE : BIG).putInt(40, page).putInt(44, descriptors).putInt(48, pid)
                .putInt(52, layoutBytes);
            return b.array();
        }

        static Answer decode(byte[] message) {
            ByteBuffer b = wrap(message);
            return new Answer(b.getInt(12), b.getLong(16), b.getLong(24), b.getInt(32),
                b.getInt(36) == BIG ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN, b.getInt(40), b.getInt(44), b.getInt(48), b.getInt(52));
        }
    }

    record Revoked(int reason, long generation) {
        byte[] encode() {
            ByteBuffer b = start(REVOKED, REVOKED_BYTES);
            b.putInt(12, reason).putLong(16, generation);
            return b.array();
        }

        static Revoked decode(byte[] message) {
            ByteBuffer b = wrap(message);
            return new Revoked(b.getInt(12), b.getLong(16));
        }
    }

    private static ByteBuffer start(int type, int length) {
        ByteBuffer b = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        return b.putInt(0, MAGIC).putShort(4, (short) VERSION).putShort(6, (short) type).putInt(8, length);
    }

    private static ByteBuffer wrap(byte[] message) {
        return ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    }
}
