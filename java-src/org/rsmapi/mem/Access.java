package org.rsmapi.mem;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import org.rsmapi.sys.Jna;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Threads;
import org.rsmapi.sys.Vm;

/**
 * The entrance to native functions and raw memory. Whatever can be called before there is a controller goes through here first.
 *
 * <p>The classes behind it are initialised here, once. A class whose initialisation has failed fails again at every use, with an Error
 * that does not say why; this class keeps the first reason and reports it each time. Initialisation runs in a thread of its own, because
 * a StackOverflowError there would make a class unusable for good.
 */
public final class Access {
    private static final long STACK_BYTES = 1L << 21;
    private static final int FIRST_FOREIGN_RELEASE = 22;

    private static volatile boolean open;
    private static Refusal refusal;

    private Access() {}

    /** Why native functions, or raw memory, cannot be used in this process. */
    public static final class Refusal extends RuntimeException {
        private static final long serialVersionUID = 1L;

        private final boolean configured;
        private final String hint;

        private Refusal(String reason, String hint, boolean configured, Throwable cause) {
            super(reason, cause);
            this.hint = hint;
            this.configured = configured;
        }

        /** Whether the reason is the system property {@code rsmapi.engine}. */
        public boolean isConfigured() {
            return configured;
        }

        /** What to do. */
        public String hint() {
            return hint;
        }

        private Refusal again() {
            return new Refusal(getMessage(), hint, configured, getCause());
        }
    }

    /**
     * Makes sure that native functions can be called and memory can be accessed.
     *
     * @throws Refusal if not, with the reason of the first call
     */
    public static void require() {
        if (!open) {
            initialise();
        }
    }

    private static synchronized void initialise() {
        if (open) {
            return;
        }
        if (refusal != null) {
            throw refusal.again();
        }
        try {
            onFreshStack(Access::load);
            open = true;
        } catch (Refusal e) {
            refusal = e;
            throw e.again();
        }
    }

    /**
     * Runs something in a thread of its own and waits for it, if there can be a thread.
     *
     * @throws RuntimeException or Error what the action throws
     */
    public static void onFreshStack(Runnable action) {
        FutureTask<Void> task = new FutureTask<>(action, null);
        try {
            Threads.start(new Thread(null, task, "rsmapi-start", STACK_BYTES));
        } catch (OsError e) {
            task.run();
        }
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    task.get();
                    return;
                } catch (InterruptedException e) {
                    interrupted = true; // it takes milliseconds
                }
            }
        } catch (ExecutionException e) {
            if (e.getCause() instanceof Error) {
                throw (Error) e.getCause();
            }
            RuntimeException failure = (RuntimeException) e.getCause();
            failure.fillInStackTrace(); // the caller is in this thread
            throw failure;
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private static void load() {
        if (Boolean.getBoolean("jna.protected")) { // its handler of SIGSEGV takes the place of the JVM's
            throw new Refusal("the system property jna.protected is set", "start the JVM without -Djna.protected=true: JNA's protected mode"
                + " replaces a signal handler that the JVM needs, and the JVM would crash", false, null);
        }
        // First of all: an engine that is initialised by another way than by its base class can wait for it forever.
        try {
            Engine.ENGINE.name();
        } catch (LinkageError e) {
            throw engineRefusal(e);
        }
        try {
            Vm.pageSize();
        } catch (LinkageError e) {
            throw libraryRefusal(e);
        }
    }

    private static Refusal engineRefusal(LinkageError failure) {
        Throwable reason = first(failure);
        if (System.getProperty("rsmapi.engine") != null) {
            return new Refusal(reason.toString(), "the property rsmapi.engine can be foreign (JDK 22 and later), unsafe (where the JDK"
                + " allows it) or not set", true, failure);
        }
        String hint = Runtime.version().feature() >= FIRST_FOREIGN_RELEASE
            ? "start the JVM with --enable-native-access=ALL-UNNAMED"
            : "the Java runtime needs the module jdk.unsupported, which has sun.misc.Unsafe: add it to those of jlink";
        return new Refusal(reason.toString(), hint, false, failure);
    }

    private static Refusal libraryRefusal(LinkageError failure) {
        Throwable reason = first(failure);
        String hint;
        if (Jna.isRelocated()) {
            hint = "JNA's classes have another package here, and its native library knows only the original one: when you relocate packages,"
                + " leave those of JNA out";
        } else if (reason.getClass().getSimpleName().equals("IllegalCallerException")) {
            hint = "start the JVM with --enable-native-access=ALL-UNNAMED, or without --illegal-native-access=deny";
        } else if (reason instanceof ClassNotFoundException || reason instanceof NoClassDefFoundError) {
            hint = "JNA (net.java.dev.jna:jna) has to be on the class path, and the Java runtime needs the module java.logging";
        } else if (String.valueOf(reason.getMessage()).contains("incompatible")) {
            hint = "JNA has found a native library of another version: the properties jna.boot.library.path and java.library.path, or the"
                + " system's libjnidispatch, lead to one; -Djna.nosys=true has JNA use its own";
        } else {
            hint = "JNA cannot load its native library; the folder that it goes to, jna.tmpdir or java.io.tmpdir, has to be writable and"
                + " allow execution";
        }
        return new Refusal(reason.toString(), hint, false, failure);
    }

    /** What a failed initialisation began with. */
    private static Throwable first(Throwable failure) {
        Throwable first = failure;
        while (first.getCause() != null && first.getCause() != first) {
            first = first.getCause();
        }
        return first;
    }
}
