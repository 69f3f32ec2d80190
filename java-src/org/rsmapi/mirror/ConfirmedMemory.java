package org.rsmapi.mirror;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.RemoteMemory;
import org.rsmapi.sys.Stack;

/**
 * A {@link RemoteMemory} of which several threads may ask at once whether what they have written has arrived. One of them asks for all who
 * have come until then; who comes meanwhile waits for the next time.
 *
 * <p>An interconnect tells only once that something has not arrived, and may tell it to a thread that has not written it. So failures are
 * counted ({@link #misses()}), and who has written remembers the count from before.
 */
public final class ConfirmedMemory implements RemoteMemory {
    private final RemoteMemory memory;
    private Round asking;
    private Round next;
    private long misses;
    private Throwable lastMiss;

    /** One question, for all who wait for its answer. */
    private static final class Round {
        private boolean done;
        private Throwable failure;
    }

    /** The memory of an interconnect. */
    public ConfirmedMemory(RemoteMemory memory) {
        this.memory = memory;
    }

    @Override
    public void put(long offset, long address, long length) {
        memory.put(offset, address, length);
    }

    @Override
    public void put(long offset, long address, long length, boolean more) {
        memory.put(offset, address, length, more);
    }

    @Override
    public void get(long offset, long address, long length) {
        memory.get(offset, address, length);
    }

    @Override
    public void getChanged(long offset, long address, long length, long known, Part changed) {
        memory.getChanged(offset, address, length, known, changed);
    }

    @Override
    public void open() {
        memory.open();
    }

    @Override
    public void order() {
        memory.order();
    }

    @Override
    public long compareAndExchange(long offset, int width, long expected, long value) {
        return memory.compareAndExchange(offset, width, expected, value);
    }

    @Override
    public long getAndAdd(long offset, int width, long delta) {
        return memory.getAndAdd(offset, width, delta);
    }

    /** How often it could not be found out whether all had arrived. */
    public synchronized long misses() {
        return misses;
    }

    /**
     * Waits until all has arrived that was written since {@link #misses()} was a number.
     *
     * @throws RsmException as {@link #confirm()}, and as {@link #check}
     */
    public void confirmSince(long missesBefore) {
        confirm();
        check(missesBefore);
    }

    /**
     * Finds out whether any thread has been told that something had not arrived.
     *
     * @throws RsmException BARRIER_FAILURE
     */
    public synchronized void check(long missesBefore) {
        if (misses != missesBefore) {
            throw RsmException.of(RsmError.BARRIER_FAILURE, "confirm").causedBy(lastMiss)
                .hint("another call could not find out whether all that had been written has arrived");
        }
    }

    @Override
    public void confirm() {
        Stack.reserve();
        Round round;
        boolean asks;
        synchronized (this) {
            round = next != null ? next : new Round();
            next = round;
            boolean interrupted = false;
            while (asking != null && !round.done) {
                try {
                    wait(); // whoever asks waits no longer than the interconnect does
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt(); // who asks finds out
            }
            asks = !round.done;
            if (asks) {
                asking = round;
                next = null;
            }
        }
        if (asks) {
            ask(round);
        } else if (round.failure != null) {
            boolean aborted = round.failure instanceof RsmException && ((RsmException) round.failure).error() == RsmError.CONN_ABORTED;
            throw RsmException.of(aborted ? RsmError.CONN_ABORTED : RsmError.BARRIER_FAILURE, "confirm").causedBy(round.failure);
        }
    }

    private void ask(Round round) {
        try {
            memory.confirm();
        } catch (RuntimeException | Error e) {
            round.failure = e;
            throw e;
        } finally {
            synchronized (this) {
                if (round.failure != null) {
                    misses++;
                    lastMiss = round.failure;
                }
                round.done = true;
                asking = null;
                notifyAll();
            }
        }
    }
}
