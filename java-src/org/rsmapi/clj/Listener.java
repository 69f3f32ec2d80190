package org.rsmapi.clj;

import java.util.function.Consumer;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Segment;
import org.rsmapi.spi.Failures;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Threads;

/** Calls a function for each event of a segment, on a thread of its own. */
public final class Listener implements AutoCloseable {
    private final Segment segment;
    private final Consumer<Segment> action;
    private final Consumer<Throwable> ending;
    private final Thread thread = new Thread(this::run, "rsmapi-listener");
    private volatile boolean closed;
    /** Whether the function is being called, which shall not be interrupted. */
    private boolean busy;

    private Listener(Segment segment, Consumer<Segment> action, Consumer<Throwable> ending) {
        this.segment = segment;
        this.action = action;
        this.ending = ending;
        thread.setDaemon(true);
    }

    /**
     * Starts listening.
     *
     * @param ending  is called last, on the same thread, with what ended it, null if it was {@link #close()}
     * @throws RsmException BAD_SEG_HNDL (the segment has been ended), INSUFFICIENT_RESOURCES (no thread can be made)
     */
    public static Listener start(Segment segment, Consumer<Segment> action, Consumer<Throwable> ending) {
        if (!segment.isOpen()) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, "on-signal").with("segment", segment)
                .hint("the segment has been destroyed or disconnected");
        }
        Stack.reserve();
        Listener listener = new Listener(segment, action, ending);
        try {
            Threads.start(listener.thread);
        } catch (OsError e) {
            throw Failures.resources("on-signal", e);
        }
        return listener;
    }

    private void run() {
        Throwable cause = null;
        try {
            while (!closed) {
                segment.signalWait(null);
                busy(true);
                action.accept(segment);
                busy(false);
            }
        } catch (RsmException e) {
            cause = closed && e.error() == RsmError.INTERRUPTED ? null : e;
        } catch (Throwable e) { // Clojure functions throw checked exceptions, too
            cause = e;
        }
        Thread.interrupted(); // that was for the wait
        ending.accept(cause);
    }

    private synchronized void busy(boolean now) {
        busy = now;
        if (now && closed) {
            Thread.interrupted(); // that was for the wait
        }
    }

    /** Whether it still listens. */
    public boolean isOpen() {
        return thread.isAlive() && !closed;
    }

    /**
     * Ends it, and returns when the thread has ended; from inside of its own function, or interrupted, at once. An event that the
     * function is working on is worked on to the end.
     */
    @Override
    public void close() {
        synchronized (this) {
            closed = true;
            if (Thread.currentThread() == thread) {
                return;
            }
            if (!busy) {
                thread.interrupt();
            }
        }
        try {
            thread.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public String toString() {
        return "#<Listener of " + segment + (isOpen() ? ">" : " closed>");
    }
}
