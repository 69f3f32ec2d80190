package org.rsmapi.sys;

import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Reads the files of /proc and /sys. Numbers of the kernel are unsigned. */
final class Proc {
    private static final int PIECE = 1 << 16;

    private Proc() {}

    /** The path by which this process finds one of its descriptors. */
    static String pathOf(Fd fd) {
        return "/proc/self/fd/" + fd.number();
    }

    /** The lines of a file; none if it cannot be read. */
    static List<String> read(String path) {
        try (InputStream in = new FileInputStream(path)) {
            // In large pieces: a file below /proc/sys gives everything with the first read and nothing after it, and others may
            // change between two reads.
            byte[] piece = new byte[PIECE];
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            int n;
            while ((n = in.read(piece)) > 0) {
                bytes.write(piece, 0, n);
            }
            String text = bytes.toString(StandardCharsets.ISO_8859_1);
            return text.isEmpty() ? List.of() : List.of(text.split("\n"));
        } catch (IOException e) {
            return List.of();
        }
    }

    /**
     * An unsigned decimal number at the start of a text.
     *
     * @return {@link Long#MAX_VALUE} for all that are larger than that, and {@code otherwise} if there is none
     */
    static long number(String text, long otherwise) {
        int start = 0;
        while (start < text.length() && Character.isWhitespace(text.charAt(start))) {
            start++;
        }
        int end = start;
        while (end < text.length() && text.charAt(end) >= '0' && text.charAt(end) <= '9') {
            end++;
        }
        try {
            long value = Long.parseUnsignedLong(text.substring(start, end));
            return value < 0 ? Long.MAX_VALUE : value;
        } catch (NumberFormatException e) { // none at all, or one of more than 64 bits
            return end > start ? Long.MAX_VALUE : otherwise;
        }
    }

    /** The number that a file starts with, or {@code otherwise} if there is none or the file cannot be read. */
    static long numberIn(String path, long otherwise) {
        for (String line : read(path)) {
            return number(line, otherwise);
        }
        return otherwise;
    }

    /** The number behind a key at the start of a line, or {@code otherwise}. */
    static long numberAfter(String key, Iterable<String> lines, long otherwise) {
        for (String line : lines) {
            if (line.startsWith(key)) {
                return number(line.substring(key.length()), otherwise);
            }
        }
        return otherwise;
    }

    /** The number of lines of a file, or -1 if it cannot be read. */
    static long countLines(String path) {
        try (InputStream in = new FileInputStream(path)) {
            byte[] piece = new byte[PIECE];
            long lines = 0;
            int n;
            while ((n = in.read(piece)) > 0) {
                for (int i = 0; i < n; i++) {
                    lines += piece[i] == '\n' ? 1 : 0;
                }
            }
            return lines;
        } catch (IOException e) {
            return -1;
        }
    }
}
