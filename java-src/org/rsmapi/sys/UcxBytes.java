package org.rsmapi.sys;

import java.nio.ByteBuffer;
import java.util.zip.CRC32C;

/**
 * Addresses and keys of UCX as bytes for another host:
 *
 * <pre>
 *    0  magic number, 4 bytes      8  length of the content, 4 bytes
 *    4  version, major and minor  12  CRC-32C of all other bytes
 *    16 two numbers, 8 bytes each, and the content
 * </pre>
 *
 * <p>All numbers are big-endian. UCX itself reads addresses and keys without looking for their end, and different versions do not promise
 * to understand each other. So the content reaches UCX only if it is complete, unchanged and made by the same version. This is no protection
 * against a peer that makes up addresses and keys: they must come from a peer that is trusted not to make this process crash.
 */
final class UcxBytes {
    /** What the content is. */
    enum Kind {
        /** A worker's address. */
        ADDRESS(0x52554101),
        /** A region's key; the two numbers are the region's address and its length. */
        KEY(0x52554b01);

        private final int magic;

        Kind(int magic) {
            this.magic = magic;
        }
    }

    private static final int MAGIC = 0;
    private static final int RELEASE = 4;
    private static final int LENGTH = 8;
    private static final int SUM = 12;
    private static final int FIRST = 16;
    private static final int SECOND = 24;
    private static final int CONTENT = 32;

    /** More than UCX makes. */
    private static final int MOST = 64 << 10;
    /** Zeros after the content: where its end is not what the content says, UCX reads these. */
    private static final int PADDING = 4 << 10;

    private final ByteBuffer bytes;

    private UcxBytes(ByteBuffer bytes) {
        this.bytes = bytes;
    }

    static byte[] wrap(Kind kind, long first, long second, byte[] content) {
        ByteBuffer bytes = ByteBuffer.allocate(CONTENT + content.length);
        bytes.putInt(MAGIC, kind.magic).putInt(RELEASE, Ucx.release()).putInt(LENGTH, content.length)
            .putLong(FIRST, first).putLong(SECOND, second).put(CONTENT, content);
        bytes.putInt(SUM, sum(bytes));
        return bytes.array();
    }

    /**
     * Checks what {@link #wrap} has made, here or on another host.
     *
     * @throws UcxError INVALID_ADDR if it is something else, or was made by another version of UCX
     */
    static UcxBytes of(Kind kind, byte[] wrapped, String call) {
        ByteBuffer bytes = ByteBuffer.wrap(wrapped.clone());
        if (wrapped.length < CONTENT || wrapped.length > CONTENT + MOST || bytes.getInt(MAGIC) != kind.magic
                || bytes.getInt(LENGTH) != wrapped.length - CONTENT || bytes.getInt(SUM) != sum(bytes)) {
            throw new UcxError(call, UcxAbi.ERR_INVALID_ADDR, "these " + wrapped.length + " bytes are not a UCX " + kind);
        }
        int release = bytes.getInt(RELEASE);
        if (release != Ucx.release()) {
            throw new UcxError(call, UcxAbi.ERR_INVALID_ADDR, "the other side has UCX " + text(release) + ", and this one "
                + text(Ucx.release()));
        }
        return new UcxBytes(bytes);
    }

    long first() {
        return bytes.getLong(FIRST);
    }

    long second() {
        return bytes.getLong(SECOND);
    }

    /** The content for UCX. The caller closes it. */
    NativeBlock content() {
        byte[] all = bytes.array();
        NativeBlock block = new NativeBlock(all.length - CONTENT + PADDING);
        for (int i = CONTENT; i < all.length; i++) {
            block.putByte(i - CONTENT, all[i]);
        }
        return block;
    }

    private static int sum(ByteBuffer bytes) {
        CRC32C sum = new CRC32C();
        sum.update(bytes.array(), 0, SUM);
        sum.update(bytes.array(), FIRST, bytes.capacity() - FIRST);
        return (int) sum.getValue();
    }

    private static String text(int release) {
        return (release >>> 16) + "." + (release & 0xffff);
    }
}
