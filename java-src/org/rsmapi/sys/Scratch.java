package org.rsmapi.sys;

import com.sun.jna.Native;
import com.sun.jna.Pointer;

/** A short-lived block of zeroed C memory for the structures of a system call; freed by {@link #close()}, no cleaner thread. */
final class Scratch implements AutoCloseable {
    private final long address;
    private final Pointer pointer;

    Scratch(int bytes) {
        address = Native.malloc(bytes);
        if (address == 0) {
            throw new OsError("malloc", Errno.ENOMEM);
        }
        pointer = new Pointer(address);
        pointer.setMemory(0, bytes, (byte) 0);
    }

    long address() {
        return address;
    }

    byte getByte(int offset) {
        return pointer.getByte(offset);
    }

    short getShort(int offset) {
        return pointer.getShort(offset);
    }

    int getInt(int offset) {
        return pointer.getInt(offset);
    }

    long getLong(int offset) {
        return pointer.getLong(offset);
    }

    void putByte(int offset, byte value) {
        pointer.setByte(offset, value);
    }

    void putShort(int offset, short value) {
        pointer.setShort(offset, value);
    }

    void putInt(int offset, int value) {
        pointer.setInt(offset, value);
    }

    void putLong(int offset, long value) {
        pointer.setLong(offset, value);
    }

    void putBytes(int offset, byte[] source, int length) {
        pointer.write(offset, source, 0, length);
    }

    void getBytes(int offset, byte[] target, int length) {
        pointer.read(offset, target, 0, length);
    }

    @Override
    public void close() {
        Native.free(address);
    }
}
