package org.rsmapi;

import java.nio.file.Path;
import java.util.Locale;
import org.rsmapi.spi.ConfFile;

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
    private static final ConfFile FILE =
        new ConfFile("segment ids", "rsmapi.segmentid", "RSMAPI_SEGMENTID", "/etc/rsm/rsm.segmentid");
    /** The largest segment id: they have 32 bits. */
    static final long MAX_ID = 0xFFFF_FFFFL;
    private static final int FIELDS = 4;

    /**
     * The file that {@link #of(String)} reads: what the system property {@code rsmapi.segmentid} or the environment variable
     * {@code RSMAPI_SEGMENTID} says, or {@code /etc/rsm/rsm.segmentid}.
     *
     * @throws RsmException BAD_CONF if that cannot be the name of a file: it has a NUL, or a character that the JVM's encoding of file
     *     names ({@code sun.jnu.encoding}, from the locale) does not have
     */
    public static Path defaultFile() {
        return FILE.path(OP);
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
        for (String line : FILE.lines(OP, file)) {
            number++;
            String text = line.strip();
            if (text.startsWith("#")) {
                continue;
            }
            String[] fields = text.split("\\s+");
            if (fields.length < FIELDS) {
                throw ConfFile.malformed(OP, file, number, "a line has four fields, as in: reserved myapp 600000 100");
            }
            if (fields[1].equalsIgnoreCase(applicationId)) {
                return parse(fields, file, number);
            }
        }
        throw RsmException.of(RsmError.BAD_APPID, OP).with("application-id", applicationId).with("file", file.toString());
    }

    private static SegmentIdRange parse(String[] fields, Path file, int number) {
        if (!fields[0].equalsIgnoreCase("reserved")) {
            throw ConfFile.malformed(OP, file, number, "the line has to start with: reserved");
        }
        String base = fields[2].toLowerCase(Locale.ROOT);
        SegmentIdRange range;
        try {
            range = new SegmentIdRange(Long.parseLong(base.startsWith("0x") ? base.substring(2) : base, 16),
                Long.parseLong(fields[3]));
        } catch (NumberFormatException e) {
            throw ConfFile.malformed(OP, file, number, "base has to be a hexadecimal number, length a decimal one").causedBy(e);
        }
        if (range.base < 0 || range.base > MAX_ID || range.length < 0 || range.length > MAX_ID + 1 - range.base) {
            throw ConfFile.malformed(OP, file, number, "segment ids have 32 bits, and a length is not negative");
        }
        return range;
    }
}
