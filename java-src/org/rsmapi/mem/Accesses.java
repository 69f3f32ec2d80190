package org.rsmapi.mem;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MutableCallSite;
import java.lang.invoke.VarHandle;
import java.lang.reflect.InvocationTargetException;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.sys.NotPreloaded;

/**
 * The accesses to memory that are under way. {@link #allOver()} waits for the end of those that began before it. Then memory whose limits
 * were taken away before can be used for something else, although its handle is still reachable.
 *
 * <p>A thread is in the middle of an access if a method that makes accesses ({@link #areMadeIn}) is on its stack. Taking the stacks stops
 * all threads at safepoints; between the check of an access and the access itself compiled code has none.
 *
 * <p>The exception is a compiled loop from which the check of its accesses has been taken out. Such a loop is stopped outside of the
 * methods above and goes on without a check. Every access therefore reads the target of a call site ({@link #mark()}). The compilers take
 * a call site's target for a constant: the read costs nothing in compiled code, but the JVM discards all compiled code that contains it
 * when the target changes, also where it is running. Threads then go on in the interpreter, with the next check.
 * Code is discarded only if a thread is running that may need it. A thread that waits or is in native code makes its next access
 * after a call has returned, and memory is read again after a call.
 *
 * <p>The stack of a virtual thread is not seen. It leaves its carrier only in calls, and so never in the middle of an access, except
 * while it waits for a segment's memory to be moved ({@link #WAITING}). A carrier that is seen without a virtual thread has none in
 * the middle of an access that began before.
 */
public final class Accesses {
    /** Threads that wait for a segment's memory to be moved, and may be in the middle of an access to other memory. */
    public static final AtomicInteger WAITING = new AtomicInteger();

    private static final MutableCallSite TARGET = new MutableCallSite(another());
    /** Names of methods by names of classes; no names for all methods. */
    private static final Map<String, Set<String>> MAKERS = new ConcurrentHashMap<>();
    private static final long TIMEOUT_NANOS = 500_000_000L;
    private static final long PAUSE_NANOS = 500_000L;

    private Accesses() {}

    /** Initialized only when it is needed: it makes a virtual thread, and for the first one the JDK starts threads of its own. */
    private static final class Jvm implements NotPreloaded {
        /** Whether this JVM is known to discard compiled code, and to show the carriers of all virtual threads. */
        private static final boolean KNOWN = isHotSpot() && virtualThreadsHaveCarriers();
    }

    private static MethodHandle another() {
        return MethodHandles.constant(Object.class, new Object());
    }

    /** To be called in every access, between its check and the use of the address. */
    public static void mark() {
        TARGET.getTarget();
    }

    /**
     * Names methods that make accesses, and that hold an address which has been checked only while they run.
     *
     * @param methods  none for all of the class
     */
    public static void areMadeIn(Class<?> type, String... methods) {
        MAKERS.put(type.getName(), Set.of(methods));
    }

    /** Discards the compiled code that contains accesses. */
    private static void discardCode() {
        TARGET.setTarget(another());
        MutableCallSite.syncAll(new MutableCallSite[] {TARGET});
    }

    /**
     * Waits, for a limited time, until the accesses have ended that other threads had begun when this was called.
     *
     * @return false if they have not, or this cannot be found out
     */
    static boolean allOver() {
        if (!Jvm.KNOWN) {
            return false;
        }
        VarHandle.fullFence();
        boolean interrupted = false;
        try {
            Look look = new Look();
            if (look.running) {
                discardCode();
                look = new Look();
            }
            Set<Thread> pending = new HashSet<>(look.inside);
            boolean waiting = look.waiting;
            long deadline = System.nanoTime() + TIMEOUT_NANOS;
            while (!pending.isEmpty() || waiting) {
                if (deadline - System.nanoTime() <= 0) {
                    return false;
                }
                interrupted |= Thread.interrupted(); // a pause would not be one
                LockSupport.parkNanos(PAUSE_NANOS);
                look = new Look();
                pending.retainAll(look.inside);
                waiting &= look.waiting;
            }
            return true;
        } catch (OutOfMemoryError | RuntimeException e) {
            return false; // no room for the stacks, or no permission to see them
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /**
     * Whether a thread, not a virtual one, is in a method of a class that makes accesses.
     *
     * @param waiting  a method: threads that wait in it do not count
     */
    public static boolean areSeenIn(Class<?> type, String waiting) {
        for (StackTraceElement[] stack : Thread.getAllStackTraces().values()) {
            boolean inside = false;
            boolean waits = false;
            for (StackTraceElement frame : stack) {
                inside |= frame.getClassName().equals(type.getName());
                waits |= frame.getMethodName().equals(waiting);
            }
            if (inside && !waits) {
                return true;
            }
        }
        return false;
    }

    private static boolean accesses(StackTraceElement[] stack) {
        for (StackTraceElement frame : stack) {
            Set<String> methods = MAKERS.get(frame.getClassName());
            if (methods != null && (methods.isEmpty() || methods.contains(frame.getMethodName()))) {
                return true;
            }
        }
        return false;
    }

    /** What other threads are doing. */
    private static final class Look {
        /** Those that may be in the middle of an access. */
        private final Set<Thread> inside = new HashSet<>();
        /** Whether a thread is running that may have left out the check of its next access. */
        private boolean running;
        private final boolean waiting;

        Look() {
            Thread self = Thread.currentThread();
            Set<Thread> carriers = new HashSet<>();
            boolean hidden = true;
            for (Map.Entry<Thread, StackTraceElement[]> entry : Thread.getAllStackTraces().entrySet()) {
                Thread thread = entry.getKey();
                StackTraceElement[] stack = entry.getValue();
                if (thread == self) {
                    hidden = false;
                } else if (carries(stack)) {
                    carriers.add(thread);
                } else if (accesses(stack)) {
                    inside.add(thread);
                } else if (stack.length > 0 && !stack[0].isNativeMethod() && thread.getState() == Thread.State.RUNNABLE) {
                    running = true;
                }
            }
            if (hidden && carriers.size() == 1) {
                carriers.clear(); // this thread is a virtual one, and that is its carrier
            }
            inside.addAll(carriers);
            waiting = WAITING.get() > 0;
        }

        private static boolean carries(StackTraceElement[] stack) {
            for (StackTraceElement frame : stack) {
                if (frame.getClassName().equals("jdk.internal.vm.Continuation")) {
                    return true;
                }
            }
            return false;
        }
    }

    /** The HotSpot JVM with its own compilers. */
    private static boolean isHotSpot() {
        String name = System.getProperty("java.vm.name", "");
        return (name.contains("HotSpot") || name.contains("OpenJDK")) && !System.getProperty("java.vm.version", "").contains("jvmci");
    }

    /** JVMs without support for them run each virtual thread on a hidden thread of its own. */
    private static boolean virtualThreadsHaveCarriers() {
        try {
            Object builder = Thread.class.getMethod("ofVirtual").invoke(null);
            Runnable nothing = () -> { };
            Object thread = Class.forName("java.lang.Thread$Builder").getMethod("unstarted", Runnable.class).invoke(builder, nothing);
            return thread.getClass().getName().equals("java.lang.VirtualThread");
        } catch (NoSuchMethodException | InvocationTargetException e) {
            return true; // there are none: before JDK 21, or as a preview that is not enabled
        } catch (ReflectiveOperationException e) {
            return false;
        }
    }
}
