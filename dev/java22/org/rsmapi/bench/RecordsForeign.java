package org.rsmapi.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;
import java.nio.channels.FileChannel;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.TearDown;

/** A MemorySegment of a shared arena: by offset, and by the VarHandle of a layout. */
public class RecordsForeign extends RecordLoops {
    private static final MemoryLayout QUOTE = MemoryLayout.structLayout(
        ValueLayout.JAVA_LONG.withName("seq"), ValueLayout.JAVA_DOUBLE.withName("price"), ValueLayout.JAVA_INT.withName("qty"),
        MemoryLayout.paddingLayout(12));
    private static final VarHandle PRICES = QUOTE.arrayElementVarHandle(MemoryLayout.PathElement.groupElement("price"));

    private final Arena arena = Arena.ofShared();
    private MemorySegment memory;

    @Override
    void open(Shared shared) throws IOException {
        memory = shared.channel().map(FileChannel.MapMode.READ_WRITE, 0, size, arena).fill((byte) 0);
    }

    @TearDown
    public void closeArena() {
        arena.close();
    }

    @Override
    double getDoubleAt(int at) {
        return memory.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, at);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public double fieldByHandle() {
        int[] from = indices;
        double sum = 0;
        for (int i = 0; i < COUNT; i++) {
            sum += (double) PRICES.get(memory, 0L, (long) from[i]);
        }
        return sum;
    }

    @Benchmark
    public double sumByHandle() {
        int count = size / RECORD;
        double sum = 0;
        for (int i = 0; i < count; i++) {
            sum += (double) PRICES.get(memory, 0L, (long) i);
        }
        return sum;
    }
}
