package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.util.concurrent.locks.LockSupport;

/** What comes back to a question: one frame, or one for each of its parts. */
final class Reply implements Lane.Expected {
    /** Codes that no frame has. */
    static final int LOST = -1;

    private final Thread asker = Thread.currentThread();
    private int missing;
    private int firstTag;
    private long to;
    private int code;
    private long number;
    private byte[] body;
    private boolean given;
    private volatile boolean here;

    /**
     * A reply of one frame.
     */
    Reply() {
        this(1, 0);
    }

    /**
     * The data that is asked for with several frames.
     *
     * @param to  where it goes; the asker does not free that before it is here, or {@link #giveUp} has returned
     */
    Reply(int parts, long to) {
        this.missing = parts;
        this.to = to;
    }

    @Override
    public void setFirstTag(int tag) {
        firstTag = tag;
    }

    boolean isHere() {
        return here;
    }

    /** 0, the number of an error, or {@link #LOST}. */
    int code() {
        return code;
    }

    long number() {
        return number;
    }

    byte[] body() {
        return body;
    }

    @Override
    public synchronized void take(Frame frame, byte[] received) {
        if (code == 0) {
            code = frame.code();
        }
        if (frame.type() == Frame.DATA && !given && code == 0) {
            ENGINE.copyFromArray(received, frame.body(), to + (long) (frame.tag() - firstTag) * Frame.MOST_DATA, frame.length());
        } else if (frame.type() == Frame.RESULT && frame.length() >= Long.BYTES) {
            number = frame.u64(0);
        } else if (frame.type() == Frame.ANSWER || frame.type() == Frame.WELCOME) {
            body = frame.bytes(0, frame.length());
        }
        missing--;
        if (missing == 0) {
            end();
        }
    }

    @Override
    public synchronized void lose() {
        code = LOST;
        end();
    }

    private void end() {
        here = true;
        if (asker != Thread.currentThread()) {
            LockSupport.unpark(asker);
        }
    }

    /** The asker does not wait any more: nothing more is written to its memory. */
    synchronized void giveUp() {
        given = true;
    }

    /** Has the asker look. */
    void wake() {
        LockSupport.unpark(asker);
    }
}
