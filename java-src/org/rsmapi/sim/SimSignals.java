package org.rsmapi.sim;

import java.util.List;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Signals;

/** The events of one segment handle: a number. */
@SuppressWarnings("try") // a turn is only to be held
final class SimSignals implements Signals {
    private final World world;
    private long events;
    private boolean ended;
    private boolean aborted;

    SimSignals(World world) {
        this.world = world;
    }

    /** In a turn. */
    void post(boolean accumulate) {
        if (!ended && (accumulate || events == 0)) {
            events++;
        }
    }

    /** In a turn: whoever waits finds out. */
    void abort() {
        aborted = true;
    }

    /** In a turn. */
    void end() {
        ended = true;
    }

    boolean isReady() {
        return events > 0 || ended || aborted;
    }

    @Override
    public boolean take() {
        try (World.Turn turn = world.turn()) {
            if (events > 0) {
                events--;
                return true;
            }
            return false;
        }
    }

    @Override
    public Outcome await(long deadline) {
        try (World.Turn turn = world.turn()) {
            return world.await(this::isReady, deadline);
        }
    }

    @Override
    public long nanoTime() {
        return world.now();
    }

    @Override
    public Outcome awaitAny(List<Signals> all, long deadline) {
        for (Signals each : all) {
            if (((SimSignals) each).world != world) {
                throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "signal-wait-pollfd").with("controller", world.controller())
                    .hint("the segments are of two worlds, whose times are different");
            }
        }
        try (World.Turn turn = world.turn()) {
            return world.await(() -> {
                for (Signals each : all) {
                    if (((SimSignals) each).isReady()) {
                        return true;
                    }
                }
                return false;
            }, deadline);
        }
    }

    @Override
    public int pollDescriptor() {
        return -1;
    }

    @Override
    public boolean hold() {
        try (World.Turn turn = world.turn()) {
            return !ended;
        }
    }

    @Override
    public void release() {
    }
}
