package org.rsmapi;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Locale;

/**
 * The segment ids that are reserved for an application, from the file of rsm_get_segmentid_range(3RSM).
 *
 * <p>The file has one line for each application, {@code reserved <application id> <base> <length>}: the application id is a word,
 * the base hexadecimal, with {@code 0x} or without, the length decimal; what follows is not looked at. A line that starts with
 * {@code #} is a comment. Blank lines are errors. Letters count the same in upper and lower case. The first line of an application
 * is the one that counts, and what comes behind that is not looked at.
 *
 * @param base    the first id
 * @param length  how many ids; 0 if the file says so
 */
public record SegmentIdRange(long base, long length) {
    private static final String OP = "segment-id-range";
    private static final String DEFAULT_FILE = "/etc/rsm/rsm.segmentid";
    /** The largest segment id: they have 32 bits. */
    static final long MAX_ID = 0xFFFF_FFFFL;
    private static final int FIELDS = 4;
    private static final int LARGEST_FILE = 1 << 20;

    /**
     * The file that {@link #of(String)} reads: what the system property {@code rsmapi.segmentid} or the environment variable
     * {@code RSMAPI_SEGMENTID} says, or {@code /etc/rsm/rsm.segmentid}.
     *
     * @throws RsmException BAD_CONF if that cannot be the name of a file: it has a NUL, or a character that the JVM's encoding of file
     *     names ({@code sun.jnu.encoding}, from the locale) does not have
     */
    public static Path defaultFile() {
        String file = System.getProperty("rsmapi.segmentid", System.getenv("RSMAPI_SEGMENTID"));
        try {
            return Path.of(file == null || file.isBlank() ? DEFAULT_FILE : file);
        } catch (InvalidPathException e) {
            throw RsmException.of(RsmError.BAD_CONF, OP).with("file", file).causedBy(e)
                .hint("the property rsmapi.segmentid, or the variable RSMAPI_SEGMENTID, is not the name of a file in this locale");
        }
    }

    /**
     * The range of an application, from the default file.
     *
     * @throws RsmException see {@link #of(String, Path)}
     */
    public static SegmentIdRange of(String applicationId) {
        return of(applicationId, defaultFile());
    }

    /**
     * The range of an application.
     *
     * @throws RsmException in this order: BAD_ADDR (a null), BAD_CONF (the file cannot be read, is not a regular file, or is larger than
     *     a MiB; a line before the application's is malformed; the application's is), BAD_APPID (no line for it)
     */
    public static SegmentIdRange of(String applicationId, Path file) {
        if (applicationId == null || file == null) {
            throw RsmException.of(RsmError.BAD_ADDR, OP).with("argument", applicationId == null ? "application id" : "file");
        }
        int number = 0;
        for (String line : lines(file)) {
            number++;
            String text = line.strip();
            if (text.startsWith("#")) {
                continue;
            }
            String[] fields = text.split("\\s+");
            if (fields.length < FIELDS) {
                throw malformed(file, number, "a line has four fields, as in: reserved myapp 600000 100");
            }
            if (fields[1].equalsIgnoreCase(applicationId)) {
                return parse(fields, file, number);
            }
        }
        throw RsmException.of(RsmError.BAD_APPID, OP).with("application-id", applicationId).with("file", file.toString());
    }

    private static Iterable<String> lines(Path file) {
        try {
            if (Files.exists(file) && !Files.isRegularFile(file)) { // opening a FIFO would wait for a writer
                throw RsmException.of(RsmError.BAD_CONF, OP).with("file", file.toString()).hint("it is not a regular file");
            }
            byte[] bytes;
            try (InputStream in = Files.newInputStream(file)) {
                bytes = in.readNBytes(LARGEST_FILE + 1);
            }
            if (bytes.length > LARGEST_FILE) {
                throw RsmException.of(RsmError.BAD_CONF, OP).with("file", file.toString()).with("largest-size", LARGEST_FILE)
                    .hint("the file is too large to be a list of segment ids");
            }
            return new String(bytes, StandardCharsets.ISO_8859_1).lines()::iterator;
        } catch (RsmException e) {
            throw e;
        } catch (IOException | RuntimeException e) { // a path of a closed file system, or of one that fails in its own way
            throw RsmException.of(RsmError.BAD_CONF, OP).with("file", file.toString()).with("reason", e.toString())
                .hint("the file cannot be read; the system property rsmapi.segmentid names another one").causedBy(e);
        }
    }

    private static SegmentIdRange parse(String[] fields, Path file, int number) {
        if (!fields[0].equalsIgnoreCase("reserved")) {
            throw malformed(file, number, "the line has to start with: reserved");
        }
        String base = fields[2].toLowerCase(Locale.ROOT);
        SegmentIdRange range;
        try {
            range = new SegmentIdRange(Long.parseLong(base.startsWith("0x") ? base.substring(2) : base, 16),
                Long.parseLong(fields[3]));
        } catch (NumberFormatException e) {
            throw malformed(file, number, "base has to be a hexadecimal number, length a decimal one").causedBy(e);
        }
        if (range.base < 0 || range.base > MAX_ID || range.length < 0 || range.length > MAX_ID + 1 - range.base) {
            throw malformed(file, number, "segment ids have 32 bits, and a length is not negative");
        }
        return range;
    }

    private static RsmException malformed(Path file, int line, String hint) {
        return RsmException.of(RsmError.BAD_CONF, OP).with("file", file.toString()).with("line", line).hint(hint);
    }
}
