package org.rsmapi;

import java.lang.invoke.VarHandle;

/** How compare-and-set and get-and-add reach a segment. The methods of {@link ImportSegment} describe them and their errors. */
final class Atomics {
    private Atomics() {}

    /** What is done, in one step. */
    private record Step(String op, long offset, int width, boolean isAdd, long expected, long operand) {
        long in(Mapping window) {
            long at = offset - window.offset();
            if (isAdd) {
                return width == Long.BYTES ? window.getAndAddLong(at, operand) : window.getAndAddInt(at, (int) operand);
            }
            boolean was = width == Long.BYTES ? window.compareAndSetLong(at, expected, operand)
                : window.compareAndSetInt(at, (int) expected, (int) operand);
            return was ? 1 : 0;
        }

        long over(RemoteAccess remote) {
            if (isAdd) {
                return remote.getAndAdd(op, offset, width, operand);
            }
            return remote.compareAndExchange(op, offset, width, expected, operand) == expected ? 1 : 0;
        }
    }

    static boolean compareAndSet(ImportSegment segment, String op, long offset, int width, long expected, long value) {
        return run(segment, new Step(op, offset, width, false, expected, value)) != 0;
    }

    static long getAndAdd(ImportSegment segment, String op, long offset, int width, long delta) {
        return run(segment, new Step(op, offset, width, true, 0, delta));
    }

    private static long run(ImportSegment segment, Step step) {
        segment.checkConnected(step.op);
        if (!segment.capabilities().atomicSizes().contains(step.width)) {
            throw RsmException.of(RsmError.LOCKS_NOT_SUPPORTED, step.op).with("offset", step.offset).with("length", step.width)
                .hint("the interconnect has no atomic access of this width");
        }
        if (step.offset % step.width != 0) {
            throw RsmException.of(RsmError.BAD_MEM_ALIGNMENT, step.op).with("offset", step.offset).with("alignment", step.width)
                .hint("atomic access needs an offset that is a multiple of " + step.width);
        }
        long result = segment.remote() == null ? inSharedMemory(segment, step) : remotely(segment, step);
        segment.checkAborted(step.op);
        return result;
    }

    private static long inSharedMemory(ImportSegment segment, Step step) {
        while (true) {
            Mapping window = segment.window(step.op);
            check(segment, step, window);
            Holds holds = window.holds();
            boolean held = false;
            try {
                synchronized (holds) {
                    if (!holds.shut) {
                        holds.inside++; // it is not unmapped meanwhile, so the result is that of the segment
                        held = true;
                    }
                }
                if (held) {
                    long result = step.in(window);
                    VarHandle.fullFence();
                    return result;
                }
            } catch (RsmException e) { // the exporter has just revoked it
                segment.checkAborted(step.op);
                throw e;
            } finally {
                if (held) {
                    synchronized (holds) {
                        holds.inside--;
                    }
                }
            }
            Thread.onSpinWait(); // it is being unmapped
        }
    }

    private static long remotely(ImportSegment segment, Step step) {
        Mapping window = segment.mapping();
        if (window == null) {
            segment.checkUnmapped(step.op);
        }
        check(segment, step, window);
        return step.over(segment.remote());
    }

    private static void check(ImportSegment segment, Step step, Mapping window) {
        Permission mapped = window == null ? segment.permission() : window.permission();
        Transfer.checkRight(step.op, segment.permission(), mapped, false, step.offset);
        Transfer.checkRight(step.op, segment.permission(), mapped, true, step.offset);
        Transfer.checkRange(step.op, window == null ? 0 : window.offset(), window == null ? segment.size() : window.size(), step.offset,
            step.width);
        segment.checkNotice(step.op);
    }
}
