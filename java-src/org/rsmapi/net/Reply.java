package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.util.BitSet;
import java.util.concurrent.locks.LockSupport;
import org.rsmapi.spi.RemoteMemory;

/** What comes back to a question: one frame, or one for each of its parts. */
final class Reply implements Lane.Expected {
    /** Codes that no frame has. */
    static final int LOST = -1;

    private final Thread asker = Thread.currentThread();
    private final int type;
    /** Of data: where it goes, and how much of it there is. */
    private final long to;
    private final long length;
    /** Whether parts of data need not come that are as they are known. */
    private final boolean known;
    /** Those parts. */
    private final BitSet unchanged = new BitSet();
    private int missing;
    private int firstTag;
    private int code;
    private long number;
    private byte[] body;
    private boolean given;
    private volatile boolean here;

    /** A reply of one frame, of a type. */
    Reply(int type) {
        this(type, 1, 0, 0, false);
    }

    private Reply(int type, int parts, long to, long length, boolean known) {
        this.type = type;
        this.missing = parts;
        this.to = to;
        this.length = length;
        this.known = known;
    }

    /**
     * Data, which comes in as many frames as it has parts.
     *
     * @param to     where it goes; the asker does not free that before it is here, or {@link #giveUp} has returned
     * @param known  whether parts need not come that are as they are known
     */
    static Reply ofData(long to, long length, boolean known) {
        return new Reply(Frame.DATA, Lane.parts(length), to, length, known);
    }

    /** Tells of the parts that have come. For the asker, when the reply is here. */
    void tellChanged(RemoteMemory.Part changed) {
        int parts = Lane.parts(length);
        int part = unchanged.nextClearBit(0);
        while (part < parts) {
            int next = unchanged.nextSetBit(part);
            int end = next < 0 ? parts : next;
            long from = (long) part * Frame.MOST_DATA;
            changed.read(from, Math.min((long) end * Frame.MOST_DATA, length) - from);
            part = unchanged.nextClearBit(end);
        }
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
    public synchronized boolean take(Frame frame, byte[] received) {
        if (frame.type() != type || !fits(frame)) {
            return false;
        }
        if (code == 0) {
            code = frame.code();
        }
        if (type == Frame.DATA && isUnchanged(frame)) {
            unchanged.set(frame.tag() - firstTag);
        } else if (type == Frame.DATA && !given && code == 0) {
            ENGINE.copyFromArray(received, frame.body(), to + at(frame), frame.length());
        } else if (type == Frame.RESULT) {
            number = frame.u64(0);
        } else if (type == Frame.ANSWER || type == Frame.WELCOME) {
            body = frame.bytes(0, frame.length());
        }
        missing--;
        if (missing == 0) {
            end();
        }
        return true;
    }

    /** Whether a frame is as long as it has to be. */
    private boolean fits(Frame frame) {
        switch (type) {
            case Frame.DATA:
                return frame.code() != 0 || isUnchanged(frame) && frame.length() == 0 || frame.length() == Math.min(Frame.MOST_DATA, length - at(frame));
            case Frame.RESULT:
                return frame.length() == Long.BYTES;
            default:
                return true;
        }
    }

    private boolean isUnchanged(Frame frame) {
        return known && frame.code() == 0 && (frame.flags() & Frame.UNCHANGED) != 0;
    }

    private long at(Frame frame) {
        return (long) (frame.tag() - firstTag) * Frame.MOST_DATA;
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
