package org.rsmapi.bench;

import org.agrona.concurrent.UnsafeBuffer;

/** Agrona's UnsafeBuffer, with its bounds checks. */
public class AccessAgrona extends AccessLoops {
    private UnsafeBuffer memory;

    @Override
    void open(Shared shared) {
        memory = new UnsafeBuffer(shared.buffer(BYTES));
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
        return memory.getByte(at);
    }

    @Override
    void putByteAt(int at, byte value) {
        memory.putByte(at, value);
    }
}
