package org.rsmapi;

import static org.rsmapi.mem.Engine.ENGINE;

import java.util.function.LongSupplier;
import org.rsmapi.mem.Stage;
import org.rsmapi.mirror.ConfirmedMemory;
import org.rsmapi.mirror.Mirror;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.RemoteMemory;
import org.rsmapi.sys.OsError;

/**
 * How an import segment reaches the exporter's memory where that is not shared: what its barriers, its mirror, put and get, and atomic
 * access ask of the interconnect, and what comes of it when the connection is aborted.
 */
final class RemoteAccess {
    private final ImportSegment segment;
    private final ConfirmedMemory memory;
    /** Why something that this process has written was not sent when its mapping ended. The next barrier that is closed reports it. */
    private volatile RsmException unsent;

    RemoteAccess(ImportSegment segment, RemoteMemory memory) {
        this.segment = segment;
        this.memory = new ConfirmedMemory(memory);
    }

    ConfirmedMemory memory() {
        return memory;
    }

    Stage stage(String op) {
        try {
            return Stage.take();
        } catch (OsError e) {
            throw Failures.resources(op, e);
        }
    }

    // ---- barriers ----

    /**
     * Finds out whether the exporter can be reached. An abort is not reported.
     *
     * @throws RsmException BARRIER_OPEN_FAILED
     */
    void open(String op) {
        try {
            if (!segment.isAborted()) {
                memory.open();
            }
        } catch (RsmException e) {
            reportOpening(op, e);
        }
    }

    private void reportOpening(String op, RsmException e) {
        if (e.error() == RsmError.BARRIER_FAILURE) {
            throw about(RsmException.of(RsmError.BARRIER_OPEN_FAILED, op)).causedBy(e).hint("the exporter has not answered");
        }
        report(op, e);
    }

    /**
     * Opens a barrier: brings the mirror up to date, if there is one. An abort is reported by the close.
     *
     * @throws RsmException BARRIER_OPEN_FAILED
     */
    void openBarrier(String op) {
        open(op);
        Mirror mirror = mirror();
        if (mirror != null && !segment.isAborted()) {
            try {
                mirror.pull(0, mirror.length());
            } catch (RsmException e) {
                reportOpening(op, e);
            }
        }
    }

    /**
     * Orders what was written before against what will be written. An abort is reported by the close.
     *
     * @throws RsmException BARRIER_FAILURE
     */
    void orderBarrier(String op) {
        Mirror mirror = mirror();
        try {
            if (!segment.isAborted()) {
                if (mirror != null) {
                    mirror.push(0, mirror.length());
                }
                memory.order();
            }
        } catch (RsmException e) {
            report(op, e);
        }
    }

    /**
     * Sends what the mirror has, and waits until all has arrived.
     *
     * @param missesBefore  {@link #misses()} when the barrier was opened
     * @throws RsmException BARRIER_FAILURE, CONN_ABORTED
     */
    void closeBarrier(String op, long missesBefore) {
        segment.checkAborted(op);
        RsmException before = unsent;
        unsent = null;
        Mirror mirror = mirror();
        ask(op, () -> {
            if (mirror != null) {
                mirror.pushAndConfirm(0, mirror.length());
                memory.check(missesBefore);
            } else {
                memory.confirmSince(missesBefore);
            }
        });
        segment.checkAborted(op);
        if (before != null) {
            throw about(RsmException.of(RsmError.BARRIER_FAILURE, op)).causedBy(before)
                .hint("what was written to a mapping could not be sent when it was unmapped");
        }
    }

    /** Sends what a mapping that ends has to send, as far as that is possible, and lets nothing more come in. */
    void finish(Mirror mirror, boolean flush) {
        try {
            mirror.finish(flush);
        } catch (RsmException e) {
            unsent = e;
        }
    }

    // ---- parts of a mirror ----

    void pull(String op, Mirror mirror, long at, long length) {
        ask(op, () -> mirror.pull(at, length));
        segment.checkAborted(op);
    }

    void push(String op, Mirror mirror, long at, long length) {
        ask(op, () -> mirror.pushAndConfirm(at, length));
        segment.checkAborted(op);
    }

    // ---- put and get ----

    /**
     * Writes. What is written to a segment that is aborted goes nowhere, as it would to a mapping.
     *
     * @param more  whether more is written at once, or {@link #confirm} follows
     */
    void put(String op, long offset, long address, long length, boolean more) {
        try {
            if (!segment.isAborted()) {
                memory.put(offset, address, length, more);
            }
        } catch (RsmException e) {
            report(op, e);
        }
    }

    /** Reads. Of a segment that is aborted it reads zeros, as it would from a mapping. */
    void get(String op, long offset, long address, long length) {
        try {
            if (!segment.isAborted()) {
                memory.get(offset, address, length);
                return;
            }
        } catch (RsmException e) {
            report(op, e);
        }
        ENGINE.fill(address, length, (byte) 0);
    }

    /**
     * Waits until all has arrived.
     *
     * @param missesBefore  {@link #misses()} before it was written
     * @throws RsmException BARRIER_FAILURE, CONN_ABORTED
     */
    void confirm(String op, long missesBefore) {
        ask(op, () -> memory.confirmSince(missesBefore));
    }

    /** How often it could not be found out whether all had arrived. */
    long misses() {
        return memory.misses();
    }

    // ---- atomic access ----

    long compareAndExchange(String op, long offset, int width, long expected, long value) {
        return answer(op, () -> memory.compareAndExchange(offset, width, expected, value));
    }

    long getAndAdd(String op, long offset, int width, long delta) {
        return answer(op, () -> memory.getAndAdd(offset, width, delta));
    }

    // ---- what went wrong ----

    private void ask(String op, Runnable question) {
        answer(op, () -> {
            question.run();
            return 0;
        });
    }

    private long answer(String op, LongSupplier question) {
        try {
            return question.getAsLong();
        } catch (RsmException e) {
            throw inOp(op, e);
        }
    }

    private Mirror mirror() {
        Mapping mapping = segment.mapping();
        return mapping == null ? null : mapping.mirror();
    }

    /** Throws what went wrong, unless the segment is aborted: who is to know that finds it out. */
    private void report(String op, RsmException e) {
        if (e.error() != RsmError.CONN_ABORTED) {
            throw inOp(op, e);
        }
    }

    private RsmException inOp(String op, RsmException e) {
        if (e.error() == RsmError.CONN_ABORTED || segment.isAborted()) {
            return segment.aborted(op).causedBy(e);
        }
        return about(e.inOp(op));
    }

    private RsmException about(RsmException failure) {
        return failure.with("segment-id", segment.segmentId()).with("node", segment.node());
    }
}
