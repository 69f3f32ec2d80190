package org.rsmapi.spi;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.Credentials;

/**
 * A configuration file: where it is by default, and its text.
 *
 * @param what      what it contains, for hints, such as {@code segment ids}
 * @param property  the system property that names it
 * @param variable  the environment variable that does, if the property is not set
 * @param standard  where it is otherwise
 */
public record ConfFile(String what, String property, String variable, String standard) {
    private static final int LARGEST = 1 << 20;
    private static final int MODE = 07777;

    /** A file for one of several controllers of a kind: that for the first has the plain names. */
    public static ConfFile ofUnit(String what, String name, int unit) {
        String part = unit == 0 ? "" : "net" + unit + ".";
        String variable = "RSMAPI_" + (part + name).replace('.', '_').toUpperCase(java.util.Locale.ROOT);
        return new ConfFile(what, "rsmapi." + part + name, variable, "/etc/rsm/" + (unit == 0 ? "rsm." : part) + name);
    }

    /**
     * Where it is.
     *
     * @throws RsmException BAD_CONF if that cannot be the name of a file: it has a NUL, or a character that the JVM's encoding of file
     *     names ({@code sun.jnu.encoding}, from the locale) does not have
     */
    public Path path(String op) {
        String file = System.getProperty(property, System.getenv(variable));
        try {
            return Path.of(file == null || file.isBlank() ? standard : file);
        } catch (InvalidPathException e) {
            throw RsmException.of(RsmError.BAD_CONF, op).with("file", file).causedBy(e)
                .hint("the property " + property + ", or the variable " + variable + ", is not the name of a file in this locale");
        }
    }

    /**
     * Makes sure that only those can have written a file, or read it, who may: it belongs to this user or to root, and its mode has none
     * of some bits.
     *
     * @throws RsmException BAD_CONF
     */
    public void checkOwner(String op, Path file, int bits, String hint) {
        Map<String, Object> found;
        try {
            found = Files.readAttributes(given(op, file), "unix:uid,mode");
        } catch (RsmException e) {
            throw e;
        } catch (IOException | RuntimeException e) {
            throw unreadable(op, file, e);
        }
        int uid = (Integer) found.get("uid");
        int mode = (Integer) found.get("mode");
        if ((mode & bits) != 0) {
            throw failure(op, file).with("mode", "0" + Integer.toOctalString(mode & MODE)).hint(hint);
        }
        if (uid != 0 && uid != Credentials.uid()) {
            throw failure(op, file).with("uid", uid).hint("the file belongs to another user");
        }
    }

    private static Path given(String op, Path file) {
        if (file == null) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "file");
        }
        return file;
    }

    /** Why a file cannot be read or made, without the JVM's names. */
    public static String reason(Exception e) {
        return e instanceof NoSuchFileException ? "there is no such file or folder"
            : e instanceof AccessDeniedException ? "this process may not do so" : e.toString();
    }

    private RsmException unreadable(String op, Path file, Exception e) {
        return failure(op, file).with("reason", reason(e)).causedBy(e)
            .hint("the file cannot be read; the system property " + property + " or the variable " + variable + " names another one");
    }

    /**
     * The lines of a file, a character for each byte.
     *
     * @throws RsmException BAD_CONF: it cannot be read, is not a regular file, or is larger than a MiB
     */
    public List<String> lines(String op, Path file) {
        return new String(bytes(op, file), StandardCharsets.ISO_8859_1).lines().toList();
    }

    private byte[] bytes(String op, Path file) {
        try {
            if (Files.exists(given(op, file)) && !Files.isRegularFile(file)) { // opening a FIFO would wait for a writer
                throw failure(op, file).hint("it is not a regular file");
            }
            byte[] bytes;
            try (InputStream in = Files.newInputStream(file)) {
                bytes = in.readNBytes(LARGEST + 1);
            }
            if (bytes.length > LARGEST) {
                throw failure(op, file).with("largest-size", LARGEST).hint("the file is too large to be a list of " + what);
            }
            return bytes;
        } catch (RsmException e) {
            throw e;
        } catch (IOException | RuntimeException e) { // a path of a closed file system, or of one that fails in its own way
            throw unreadable(op, file, e);
        }
    }

    /** What is wrong with a file. */
    public static RsmException failure(String op, Path file) {
        return RsmException.of(RsmError.BAD_CONF, op).with("file", file.toString());
    }

    /** What is wrong with a line of a file, which are counted from 1 on. */
    public static RsmException malformed(String op, Path file, int line, String hint) {
        return failure(op, file).with("line", line).hint(hint);
    }
}
