package org.rsmapi.bench;

import org.rsmapi.Mapping;
import org.rsmapi.mem.Engine;

/** The library's memory engine alone, at absolute addresses, without any check. */
public class AccessEngine extends AccessLoops {
    private Mapping mapping;
    private long base;

    @Override
    void open(Shared shared) {
        mapping = shared.mapped();
        base = mapping.address();
    }

    @Override
    long getLongAt(int at) {
        return Engine.ENGINE.getLong(base + at);
    }

    @Override
    void putLongAt(int at, long value) {
        Engine.ENGINE.putLong(base + at, value);
    }

    @Override
    int getIntAt(int at) {
        return Engine.ENGINE.getInt(base + at);
    }

    @Override
    void putIntAt(int at, int value) {
        Engine.ENGINE.putInt(base + at, value);
    }

    @Override
    byte getByteAt(int at) {
        return Engine.ENGINE.getByte(base + at);
    }

    @Override
    void putByteAt(int at, byte value) {
        Engine.ENGINE.putByte(base + at, value);
    }
}
