package org.rsmapi.sys;

import java.util.concurrent.locks.ReentrantLock;

/** The stack of the calling thread. */
public final class Stack {
    /** Frames of about 20 bytes each in compiled code, a nanosecond each: more than what making a segment or a connection needs. */
    private static final int FRAMES = 600;

    private Stack() {}

    /**
     * Makes sure that there is room for calls: a StackOverflowError comes from here, where nothing has been begun, and not from the middle
     * of what follows, where it would leave something behind: a lock that was taken just before, or a result that has no owner yet.
     */
    public static void reserve() {
        reserve(FRAMES);
    }

    private static int reserve(int frames) {
        return frames == 0 ? 0 : reserve(frames - 1) + 1;
    }

    /**
     * Takes a lock, or fails with a StackOverflowError and has not taken it. The JDK's own lock() can throw that error when it has taken the
     * lock, because it may use more of the stack than its caller.
     */
    public static void lock(ReentrantLock lock) {
        int before = lock.getHoldCount();
        try {
            lock.lock();
        } catch (StackOverflowError e) {
            if (lock.getHoldCount() > before) {
                lock.unlock();
            }
            throw e;
        }
    }
}
