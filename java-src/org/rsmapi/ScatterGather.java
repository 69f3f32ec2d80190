package org.rsmapi;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * What {@link ImportSegment#putv} and {@link ImportSegment#getv} are to do: {@code rsm_scat_gath_t} of
 * rsm_memseg_import_putv(3RSM).
 *
 * @param segment  the import segment
 * @param flags    {@link #IMPLICIT_SIGPOST} and with it {@link Segment#SIGPOST_NO_ACCUMULATE}; other bits are ignored
 * @param iovec    1 to 16 pieces
 */
public record ScatterGather(ImportSegment segment, int flags, List<IoVec> iovec) {
    /** {@code RSM_IMPLICIT_SIGPOST}: post one event when everything has been moved. */
    public static final int IMPLICIT_SIGPOST = 1;
    /** {@code RSM_MAX_SGIOREQS}: as many pieces can be moved with one call. */
    public static final int MAX_REQUESTS = 16;

    /**
     * Keeps a copy of the list.
     *
     * @throws RsmException BAD_SGIO (the list cannot be read, or has an item that is no piece)
     */
    public ScatterGather {
        iovec = iovec == null ? List.of() : Collections.unmodifiableList(copy(iovec));
    }

    private static List<IoVec> copy(List<IoVec> iovec) {
        Object[] pieces = Lists.copy(iovec, IoVec.class, Lists.LONGEST, RsmError.BAD_SGIO, "scatter-gather");
        return Arrays.asList(Arrays.copyOf(pieces, pieces.length, IoVec[].class));
    }
}
