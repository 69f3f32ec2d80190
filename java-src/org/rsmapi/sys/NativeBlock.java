package org.rsmapi.sys;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A block of zeroed C memory for the structures of a system call; freed by {@link #close()}, no cleaner thread. */
final class NativeBlock implements AutoCloseable {
    private final long address;
    /** For access that the compiler turns into a move each: a call of JNA costs as much as a small system call. */
    private final ByteBuffer bytes;

    NativeBlock(int length) {
        address = Native.malloc(length);
        if (address == 0) {
            throw new OsError("malloc", Errno.ENOMEM);
        }
        try {
            Pointer pointer = new Pointer(address);
            pointer.setMemory(0, length, (byte) 0);
            bytes = pointer.getByteBuffer(0, length);
            bytes.order(ByteOrder.nativeOrder());
        } catch (RuntimeException | Error e) {
            Native.free(address);
            throw e;
        }
    }

    long address() {
        return address;
    }

    byte getByte(int offset) {
        return bytes.get(offset);
    }

    short getShort(int offset) {
        return bytes.getShort(offset);
    }

    int getInt(int offset) {
        return bytes.getInt(offset);
    }

    long getLong(int offset) {
        return bytes.getLong(offset);
    }

    void putByte(int offset, byte value) {
        bytes.put(offset, value);
    }

    void putShort(int offset, short value) {
        bytes.putShort(offset, value);
    }

    void putInt(int offset, int value) {
        bytes.putInt(offset, value);
    }

    void putLong(int offset, long value) {
        bytes.putLong(offset, value);
    }

    void putBytes(int offset, byte[] source, int length) {
        bytes.put(offset, source, 0, length);
    }

    void getBytes(int offset, byte[] target, int length) {
        bytes.get(offset, target, 0, length);
    }

    @Override
    public void close() {
        Native.free(address);
    }
}
