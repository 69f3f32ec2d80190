package org.rsmapi.bench;

import org.agrona.concurrent.UnsafeBuffer;

/** Agrona's UnsafeBuffer, with its bounds checks. */
public class RecordsAgrona extends RecordLoops {
    private UnsafeBuffer memory;

    @Override
    void open(Shared shared) {
        memory = new UnsafeBuffer(shared.buffer(size));
    }

    @Override
    double getDoubleAt(int at) {
        return memory.getDouble(at);
    }
}
