package org.rsmapi;

/** Who sees to it that put and get tell of lost data: {@code rsm_barrier_mode_t} of rsm_memseg_import_set_mode(3RSM). */
public enum BarrierMode {
    /** {@code RSM_BARRIER_MODE_EXPLICIT}, 0: the caller, with {@link Barrier#open()} and {@link Barrier#close()}. */
    EXPLICIT(0),
    /** {@code RSM_BARRIER_MODE_IMPLICIT}, 1: each put and get by itself. */
    IMPLICIT(1);

    private final int number;

    BarrierMode(int number) {
        this.number = number;
    }

    /** The RSMAPI's number. */
    public int number() {
        return number;
    }
}
