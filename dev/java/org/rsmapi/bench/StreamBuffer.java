package org.rsmapi.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A direct ByteBuffer, which has no method to fill it. */
public class StreamBuffer extends StreamLoops {
    private ByteBuffer memory;

    @Override
    void open(Shared shared) {
        memory = shared.buffer(size).order(ByteOrder.nativeOrder());
    }

    @Override
    long getLongAt(int at) {
        return memory.getLong(at);
    }

    @Override
    int getIntAt(int at) {
        return memory.getInt(at);
    }
}
