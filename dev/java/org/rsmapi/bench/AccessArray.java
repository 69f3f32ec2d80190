package org.rsmapi.bench;

/** A Java array of that type, on the heap. */
public class AccessArray extends AccessLoops {
    private final long[] longArray = new long[COUNT];
    private final int[] intArray = new int[COUNT];
    private final byte[] byteArray = new byte[COUNT];

    @Override
    void open(Shared shared) {
        // it does not use the shared memory
    }

    @Override
    long getLongAt(int at) {
        return longArray[at];
    }

    @Override
    void putLongAt(int at, long value) {
        longArray[at] = value;
    }

    @Override
    int getIntAt(int at) {
        return intArray[at];
    }

    @Override
    void putIntAt(int at, int value) {
        intArray[at] = value;
    }

    @Override
    byte getByteAt(int at) {
        return byteArray[at];
    }

    @Override
    void putByteAt(int at, byte value) {
        byteArray[at] = value;
    }

    @Override
    int[] places(int[] offsets) {
        return bytes;
    }
}
