package org.rsmapi.bench;

import org.rsmapi.Mapping;

/** The library, from Java. */
public class AccessRsmapi extends AccessLoops {
    private Mapping memory;

    @Override
    void open(Shared shared) {
        memory = shared.mapped();
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
