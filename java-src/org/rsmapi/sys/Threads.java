package org.rsmapi.sys;

/** Starting threads where the process, its user or its group may have as many as it is allowed. */
public final class Threads {
    private Threads() {}

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
