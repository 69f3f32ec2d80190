package org.rsmapi.sys;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;

/** What there is to know of threads, and starting them where the process, its user or its group may have as many as it is allowed. */
public final class Threads {
    /** {@code Thread.isVirtual()}; null before JDK 21. */
    private static final MethodHandle IS_VIRTUAL = isVirtualMethod();

    private Threads() {}

    private static MethodHandle isVirtualMethod() {
        try {
            return MethodHandles.publicLookup().findVirtual(Thread.class, "isVirtual", MethodType.methodType(boolean.class));
        } catch (ReflectiveOperationException e) {
            return null;
        }
    }

    /** Whether the calling thread is a virtual one: if it waits in native code, its carrier waits too. */
    public static boolean isVirtual() {
        try {
            return IS_VIRTUAL != null && (boolean) IS_VIRTUAL.invokeExact(Thread.currentThread());
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw new IllegalStateException(e); // it throws nothing
        }
    }

    /** The processor time that the calling thread has used, in ns; always the same where the kernel does not tell. Slow. */
    public static long processorNanos() {
        return Proc.numberIn("/proc/thread-self/schedstat", 0);
    }

    /** A thread of the library's own, not started: it keeps neither the JVM alive nor an application's classes. */
    public static Thread daemon(Runnable action, String name, long stackBytes) {
        Thread thread = new Thread(null, action, name, stackBytes);
        thread.setDaemon(true);
        thread.setContextClassLoader(null);
        return thread;
    }

    /** The same with a stack of the usual size. */
    public static Thread daemon(Runnable action, String name) {
        return daemon(action, name, 0);
    }

    /**
     * Starts a thread.
     *
     * @throws OsError EAGAIN of pthread_create if there cannot be one more; the JVM says that by an OutOfMemoryError
     */
    public static void start(Thread thread) {
        try {
            thread.start();
        } catch (OutOfMemoryError e) {
            throw new OsError("pthread_create", Errno.EAGAIN, OsError.Want.THREADS);
        }
    }
}
