package org.rsmapi;

import java.nio.ByteBuffer;
import org.rsmapi.sys.Buffers;
import org.rsmapi.sys.Vm;

/**
 * Memory of this process that getv and putv may use, known once and used often: {@code rsm_localmemory_handle_t} of
 * rsm_create_localmemory_handle(3RSM). It starts at a page and need not be whole pages.
 */
public final class LocalMemoryHandle implements AutoCloseable {
    private final Object memory;
    private final long start;
    private final long length;
    private volatile boolean freed;

    private LocalMemoryHandle(Object memory, long start, long length) {
        this.memory = memory;
        this.start = start;
        this.length = length;
    }

    static LocalMemoryHandle of(Controller controller, SegmentMemory memory, long offset, long length) {
        String op = "create-localmemory-handle";
        if (memory == null || offset < 0 || offset > memory.size() || (memory.base + offset) % Vm.pageSize() != 0) {
            throw badAddress(op).with("offset", offset);
        }
        controller.live(op);
        return new LocalMemoryHandle(memory, offset, checked(op, length, memory.size() - offset));
    }

    static LocalMemoryHandle of(Controller controller, long address, long length) {
        String op = "create-localmemory-handle";
        LocalMemory memory = address <= 0 ? null : LocalMemory.containing(address, 0);
        if (memory == null || address % Vm.pageSize() != 0) {
            throw badAddress(op).with("address", address);
        }
        return of(controller, memory, address - memory.address(), length);
    }

    static LocalMemoryHandle of(Controller controller, ByteBuffer buffer) {
        String op = "create-localmemory-handle";
        if (buffer == null || !buffer.isDirect()) {
            throw badAddress(op).with("argument", "buffer");
        }
        ByteBuffer own;
        try {
            own = buffer.duplicate(); // another thread may change the position of the caller's
        } catch (IllegalArgumentException e) {
            throw SegmentMemory.unusable(op, e);
        }
        if (!Buffers.isAlive(own)) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "buffer")
                .hint("the buffer's memory has been freed, or belongs to another thread");
        }
        if (Buffers.address(own) % Vm.pageSize() != 0) {
            throw badAddress(op).with("argument", "buffer");
        }
        controller.live(op);
        return new LocalMemoryHandle(own, own.position(), checked(op, own.remaining(), own.remaining()));
    }

    private static RsmException badAddress(String op) {
        return RsmException.of(RsmError.BAD_ADDR, op).with("page-size", Vm.pageSize())
            .hint("it has to start at a page of memory from LocalMemory.allocate, of a segment, a mapping or a direct buffer");
    }

    private static long checked(String op, long length, long most) {
        if (length <= 0 || length > most) {
            throw RsmException.of(RsmError.BAD_LENGTH, op).with("length", length).with("size", most);
        }
        return length;
    }

    /** The memory: a {@link SegmentMemory} or a buffer. */
    Object memory(String op) {
        if (freed) {
            throw RsmException.of(RsmError.BAD_LOCALMEM_HNDL, op).hint("the local memory handle has been freed");
        }
        return memory;
    }

    /** Where it starts in that memory. */
    long start() {
        return start;
    }

    /** How many bytes it has. */
    public long length() {
        return length;
    }

    /** Whether it has not been freed. */
    public boolean isOpen() {
        return !freed;
    }

    /** Frees it, if that has not been done. The memory itself stays. */
    @Override
    public void close() {
        freed = true;
    }

    @Override
    public String toString() {
        return "#<LocalMemoryHandle " + length + " bytes" + (freed ? " freed>" : ">");
    }
}
