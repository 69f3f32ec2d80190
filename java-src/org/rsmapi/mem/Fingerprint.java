package org.rsmapi.mem;

import static org.rsmapi.mem.Engine.ENGINE;

/**
 * 128 bits that tell whether two ranges of memory have the same content, without one having to be sent where the other one is. They
 * depend on a secret of 128 bits, without which nobody can make content with the same bits.
 *
 * @param first   half of it
 * @param second  the other half
 */
public record Fingerprint(long first, long second) {
    /** Any odd numbers without a pattern. */
    private static final long SALT = 0x6A09E667F3BCC909L;
    private static final long OTHER_SALT = 0xBB67AE8584CAA73BL;

    /**
     * The fingerprint of a range.
     *
     * @param length  a multiple of 8
     */
    public static Fingerprint of(long address, long length, long secret, long otherSecret) {
        long a = secret ^ length;
        long b = otherSecret ^ length;
        long i = 0;
        for (; i <= length - 2 * Long.BYTES; i += 2 * Long.BYTES) {
            long word = ENGINE.getLong(address + i);
            long next = ENGINE.getLong(address + i + Long.BYTES);
            a = folded(a ^ word, next ^ otherSecret);
            b = folded(b ^ next, word ^ secret ^ SALT);
            a += word;
            b += next;
        }
        if (i < length) {
            long word = ENGINE.getLong(address + i);
            a = folded(a ^ word, otherSecret) + word;
            b = folded(b ^ word, secret ^ SALT) + word;
        }
        return new Fingerprint(folded(a ^ OTHER_SALT, b ^ secret), folded(b ^ SALT, a ^ otherSecret ^ OTHER_SALT));
    }

    /** All bits of a product in half as many. */
    private static long folded(long a, long b) {
        return Math.multiplyHigh(a, b) ^ a * b;
    }
}
