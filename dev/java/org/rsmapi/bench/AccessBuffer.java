package org.rsmapi.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A direct ByteBuffer. */
public class AccessBuffer extends AccessLoops {
    private ByteBuffer memory;

    @Override
    void open(Shared shared) {
        memory = shared.buffer(BYTES).order(ByteOrder.nativeOrder());
    }

    @Override
    long getLongAt(int at) {
        return memory.getLong(at);
    }

    @Override
    void putLongAt(int at, long value) {
        memory.putLong(at, value);
    }

    @Override
    int getIntAt(int at) {
        return memory.getInt(at);
    }

    @Override
    void putIntAt(int at, int value) {
        memory.putInt(at, value);
    }

    @Override
    byte getByteAt(int at) {
        return memory.get(at);
    }

    @Override
    void putByteAt(int at, byte value) {
        memory.put(at, value);
    }
}
