package org.rsmapi;

import java.nio.ByteBuffer;

/** What putv and getv do. */
final class Vector {
    private Vector() {}

    static int move(String op, boolean write, ScatterGather request) {
        if (request == null) {
            throw RsmException.of(RsmError.BAD_SGIO, op).with("argument", "request");
        }
        ImportSegment segment = request.segment();
        if (segment == null) {
            throw RsmException.of(RsmError.BAD_SEG_HNDL, op).with("argument", "segment");
        }
        segment.checkConnected(op);
        int count = request.iovec().size();
        if (count == 0 || count > ScatterGather.MAX_REQUESTS) {
            throw RsmException.of(RsmError.BAD_SGIO, op).with("entries", count).with("max-entries", ScatterGather.MAX_REQUESTS)
                .with("residual", count).hint("give 1 to 16 pieces");
        }
        for (int i = 0; i < count; i++) {
            try {
                move(op, write, segment, request.iovec().get(i));
            } catch (RsmException e) {
                throw e.with("entry", i).with("residual", count - i);
            }
        }
        if ((request.flags() & ScatterGather.IMPLICIT_SIGPOST) != 0) {
            segment.signalPost(request.flags());
        }
        return 0;
    }

    private static void move(String op, boolean write, ImportSegment segment, IoVec piece) {
        if (piece == null) {
            throw RsmException.of(RsmError.BAD_SGIO, op).hint("a piece is null");
        }
        Object memory = piece.local();
        long at = piece.localOffset();
        if (memory instanceof LocalMemoryHandle) {
            ((LocalMemoryHandle) memory).memory(op); // whether it has been freed comes first
        } else if (memory instanceof Long) {
            long address = (Long) memory;
            memory = address <= 0 ? null : LocalMemory.containing(address, 0);
            at = memory == null ? at : address - ((LocalMemory) memory).address() + at;
        }
        boolean unusable = memory == null || !write && memory instanceof ByteBuffer && ((ByteBuffer) memory).isReadOnly();
        if (unusable) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "local")
                .hint("give a local memory handle, memory, a byte array, a buffer that can be written to, or an address of local memory");
        }
        segment.move(op, write, piece.remoteOffset(), memory, at, piece.length(), 0, SegmentTransfer.Guard.ABORT);
    }
}
