package org.rsmapi.spi;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.URL;
import java.net.URLConnection;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Collectors;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Access;
import org.rsmapi.mem.Engine;
import org.rsmapi.sys.Effects;
import org.rsmapi.sys.NotPreloaded;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Sockets;

/**
 * Has everything of the library loaded and initialised before the first controller opens.
 *
 * <p>To load a class from a folder, the JVM opens its file. In a process without free descriptors that fails, and the JVM remembers the
 * failure: each later use of the class is a {@link NoClassDefFoundError}, also when there are descriptors again. A shortage of
 * descriptors has to stay an RSM error from which a process can recover.
 *
 * <p>The build writes the list of classes from the compiler's output, so it is complete. They depend on the JDK, Clojure and JNA only;
 * an interconnect with other dependencies loads its own classes. Classes of the JDK, and of a jar on the class path, need no
 * descriptors: the JVM keeps those files open.
 */
public final class Preload {
    private static final String OP = "get-controller";
    private static final String LIST = "META-INF/rsmapi/classes";
    /** The package to which the names in the list are relative, under whatever name it is used. */
    private static final String ROOT = RsmException.class.getPackageName() + ".";

    private static final String PLATFORM = System.getProperty("os.name") + " " + System.getProperty("os.version") + " "
        + System.getProperty("os.arch");

    private static boolean over;

    private Preload() {}

    /**
     * Loads all classes, unless that has been done.
     *
     * @throws RsmException BAD_CONF (the memory engine that is asked for cannot be had), CTLR_NOT_PRESENT (no native function can
     *     be called, or system calls do not have their effects), INSUFFICIENT_MEM, INSUFFICIENT_RESOURCES (a class cannot be
     *     loaded), INTERNAL_ERROR (there is no list of classes). The next call tries again
     */
    public static synchronized void once() {
        if (!over) {
            Entrance.require(OP);
            Access.onFreshStack(Preload::load);
            over = true;
        }
    }

    private static void load() {
        load(names());
        probeSockets();
        probeEffects();
        Failures.resources(OP, OsError.example()).getData();
    }

    private static void probeSockets() {
        try {
            Sockets.probe();
        } catch (OsError e) {
            throw Failures.resources(OP, e);
        }
    }

    /** After the classes, which the probes and their errors need. */
    private static void probeEffects() {
        try {
            Effects.probe();
        } catch (OsError e) {
            throw Failures.resources(OP, e);
        } catch (Effects.Missing e) {
            RsmException absent = e.failure() == null ? RsmException.of(RsmError.CTLR_NOT_PRESENT, OP).causedBy(e)
                : Failures.of(RsmError.CTLR_NOT_PRESENT, OP, e.failure());
            throw absent.with("effect", e.effect()).with("platform", PLATFORM)
                .hint("the library needs a system on which this holds; an emulator or a sandbox may be in the way");
        }
    }

    private static List<String> names() {
        URL list = loader().getResource(LIST);
        if (list == null) {
            throw RsmException.of(RsmError.INTERNAL_ERROR, OP).with("resource", LIST)
                .hint("it belongs to the library's classes; the project's build, or its jar, has it");
        }
        try {
            URLConnection connection = list.openConnection();
            connection.setUseCaches(false); // the cache would keep the jar open
            try (BufferedReader lines = new BufferedReader(
                    new InputStreamReader(connection.getInputStream(), StandardCharsets.UTF_8))) {
                return lines.lines().collect(Collectors.toList());
            }
        } catch (IOException | UncheckedIOException e) {
            throw cannotLoad(LIST, e);
        }
    }

    private static void load(List<String> names) {
        for (String relative : names) {
            String name = ROOT + relative;
            try {
                Class<?> loaded = Class.forName(name, false, loader());
                // The engine that was not chosen may not work here, and is not needed.
                if (!Engine.class.isAssignableFrom(loaded) && !NotPreloaded.class.isAssignableFrom(loaded)) {
                    Class.forName(name, true, loader());
                }
            } catch (ClassNotFoundException | LinkageError e) {
                throw cannotLoad(name, e);
            }
        }
    }

    private static RsmException cannotLoad(String what, Throwable cause) {
        return RsmException.of(RsmError.INSUFFICIENT_RESOURCES, OP).with("resource", what).with("reason", cause.toString())
            .causedBy(cause)
            .hint("it cannot be loaded; does the process have free descriptors (ulimit -n), and is the class path complete?");
    }

    private static ClassLoader loader() {
        return Preload.class.getClassLoader();
    }
}
