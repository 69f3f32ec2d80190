package org.rsmapi;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CharsetEncoder;
import java.nio.charset.CoderMalfunctionError;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.util.Locale;

/** Strings as bytes of a charset, and back. */
final class Text {
    private static final int PIECE = 8192;

    private Text() {}

    /**
     * The text of these bytes.
     *
     * @param offset  of the first byte, for the error
     * @param flags   {@link SegmentMemory#KEEP_NUL}, {@link SegmentMemory#REPLACE_MALFORMED}
     */
    static String decode(String op, byte[] bytes, long offset, Charset charset, int flags) {
        try {
            return decoded(op, ByteBuffer.wrap(bytes), offset, charset, flags);
        } catch (RsmException e) {
            throw e;
        } catch (RuntimeException | CoderMalfunctionError e) {
            throw unusable(op, charset, e);
        }
    }

    private static String decoded(String op, ByteBuffer in, long offset, Charset charset, int flags) {
        boolean toNul = (flags & SegmentMemory.KEEP_NUL) == 0;
        CodingErrorAction action =
            (flags & SegmentMemory.REPLACE_MALFORMED) != 0 ? CodingErrorAction.REPLACE : CodingErrorAction.REPORT;
        CharsetDecoder decoder = charset.newDecoder().onMalformedInput(action).onUnmappableCharacter(action);
        CharBuffer piece = CharBuffer.allocate(Math.min(PIECE, in.remaining() + 16));
        StringBuilder text = new StringBuilder();
        CoderResult result;
        do {
            result = decoder.decode(in, piece, true);
            if (result.isUnderflow()) {
                result = decoder.flush(piece);
            }
            piece.flip();
            int nul = toNul ? indexOfNul(piece) : -1;
            if (nul >= 0) { // what is behind it does not matter, also if it is no text
                return text.append(piece, 0, nul).toString();
            }
            text.append(piece);
            piece.clear();
        } while (result.isOverflow());
        if (result.isError() && !(toNul && onlyZeros(in))) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("offset", offset + in.position()).with("charset", charset.name())
                .hint("the bytes there are not text of this charset; Clojure's :malformed :replace reads U+FFFD instead");
        }
        return text.toString();
    }

    private static int indexOfNul(CharBuffer chars) {
        for (int i = 0; i < chars.length(); i++) {
            if (chars.charAt(i) == 0) {
                return i;
            }
        }
        return -1;
    }

    /** Whether only bytes of padding are left, too few of them for a character. */
    private static boolean onlyZeros(ByteBuffer in) {
        for (int i = in.position(); i < in.limit(); i++) {
            if (in.get(i) != 0) {
                return false;
            }
        }
        return true;
    }

    /** The bytes of a text. */
    static byte[] encode(String op, String text, Charset charset) {
        if (text == null || charset == null) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", text == null ? "text" : "charset")
                .hint(text == null ? "give a string" : "give a charset");
        }
        try {
            CharsetEncoder encoder = charset.newEncoder();
            try {
                ByteBuffer encoded = encoder.encode(CharBuffer.wrap(text));
                byte[] bytes = new byte[encoded.remaining()];
                encoded.get(bytes);
                return bytes;
            } catch (CharacterCodingException e) {
                int at = firstMisfit(encoder.reset(), text);
                throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "text").with("index", at)
                    .with("character", String.format(Locale.ROOT, "U+%04X", text.codePointAt(at))).with("charset", charset.name())
                    .hint("the charset does not have this character");
            }
        } catch (RsmException e) {
            throw e;
        } catch (RuntimeException | CoderMalfunctionError e) {
            throw unusable(op, charset, e);
        }
    }

    /** The index of the first character that cannot be encoded, in a text that has one. */
    private static int firstMisfit(CharsetEncoder encoder, String text) {
        CharBuffer in = CharBuffer.wrap(text);
        ByteBuffer out = ByteBuffer.allocate(PIECE);
        CoderResult result;
        do {
            out.clear();
            result = encoder.encode(in, out, true);
        } while (result.isOverflow());
        return in.position();
    }

    private static RsmException unusable(String op, Charset charset, Throwable cause) {
        return RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "charset").with("charset", charset.name())
            .with("reason", cause.toString()).causedBy(cause).hint("this charset cannot be used here");
    }
}
