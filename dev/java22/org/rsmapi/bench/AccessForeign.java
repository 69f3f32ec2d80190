package org.rsmapi.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import org.openjdk.jmh.annotations.TearDown;

/** A MemorySegment of a shared arena: like a mapping, it can be closed by any thread. */
public class AccessForeign extends AccessLoops {
    private final Arena arena = Arena.ofShared();
    private MemorySegment memory;

    @Override
    void open(Shared shared) throws IOException {
        memory = shared.channel().map(FileChannel.MapMode.READ_WRITE, 0, BYTES, arena).fill((byte) 0);
    }

    @TearDown
    public void closeArena() {
        arena.close();
    }

    @Override
    long getLongAt(int at) {
        return memory.get(ValueLayout.JAVA_LONG_UNALIGNED, at);
    }

    @Override
    void putLongAt(int at, long value) {
        memory.set(ValueLayout.JAVA_LONG_UNALIGNED, at, value);
    }

    @Override
    int getIntAt(int at) {
        return memory.get(ValueLayout.JAVA_INT_UNALIGNED, at);
    }

    @Override
    void putIntAt(int at, int value) {
        memory.set(ValueLayout.JAVA_INT_UNALIGNED, at, value);
    }

    @Override
    byte getByteAt(int at) {
        return memory.get(ValueLayout.JAVA_BYTE, at);
    }

    @Override
    void putByteAt(int at, byte value) {
        memory.set(ValueLayout.JAVA_BYTE, at, value);
    }
}
