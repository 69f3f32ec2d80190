package org.rsmapi;

import java.nio.ByteBuffer;
import org.rsmapi.sys.Buffers;

/** A direct buffer of the caller's whose memory is to be exported, from its position to its limit. */
final class CallerBuffer {
    /** A duplicate, so that another thread that moves position and limit does not change which memory is meant; null if unusable. */
    private final ByteBuffer own;
    private final String objection;

    private CallerBuffer(ByteBuffer own, String objection) {
        this.own = own;
        this.objection = objection;
    }

    static CallerBuffer of(ByteBuffer buffer) {
        if (buffer == null || !buffer.isDirect() || buffer.isReadOnly()) {
            return new CallerBuffer(null, "a writable direct ByteBuffer is needed");
        }
        ByteBuffer own;
        try {
            own = buffer.duplicate();
        } catch (IllegalArgumentException e) {
            return new CallerBuffer(null, "another thread is changing the buffer");
        }
        if (!Buffers.isAlive(own)) {
            return new CallerBuffer(null, "the buffer's memory has been freed, or belongs to another thread");
        }
        if (!Buffers.isLasting(own)) {
            return new CallerBuffer(null, "the buffer belongs to an arena that can be closed, and its memory could be freed while importers"
                + " use it: take it from ByteBuffer.allocateDirect, Arena.ofAuto, Arena.global or LocalMemory.allocate");
        }
        return new CallerBuffer(own, null);
    }

    /** Whether its memory can be exported, as far as the buffer tells. */
    boolean isUsable() {
        return own != null;
    }

    /** Why not. */
    String objection() {
        return objection;
    }

    /** The address of its first byte. */
    long address() {
        return Buffers.address(own);
    }

    /** How many bytes it has. */
    long length() {
        return own.remaining();
    }

    /** What keeps the memory from being freed while it is reachable. */
    Object owner() {
        return own;
    }
}
