package org.rsmapi.net;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.rsmapi.spi.MappedRange;
import org.rsmapi.spi.Standing;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.UcxError;
import org.rsmapi.sys.UcxRegion;

/** A segment of this host that another gateway reaches by itself, with keys of its own. */
final class Exposed {
    private final OneSided device;
    private final UcxRegion segment;
    private final UcxRegion standingRegion;
    private final Standing standing;
    private final RemoteKeys keys;

    private Exposed(OneSided device, UcxRegion segment, UcxRegion standingRegion, Standing standing) {
        this.device = device;
        this.segment = segment;
        this.standingRegion = standingRegion;
        this.standing = standing;
        byte[] stands = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.nativeOrder()).putLong(standing == null ? 0 : standing.expected())
            .array();
        this.keys = new RemoteKeys(device.address(), segment.key(), standingRegion == null ? new byte[0] : standingRegion.key(), stands);
    }

    /**
     * Exposes a window.
     *
     * @param standing  taken over; null if whoever uses the keys has to ask for it
     * @throws UcxError if it cannot be registered
     */
    static Exposed of(OneSided device, MappedRange window, long size, boolean writable, Standing standing) {
        UcxRegion segment = null;
        UcxRegion other = null;
        Exposed made = null;
        try {
            segment = device.worker().register(window.address(), size, writable);
            other = standing == null ? null : registered(device, standing);
            made = new Exposed(device, segment, other, standing);
            return made;
        } finally {
            if (made == null) {
                close(other);
                close(segment);
                if (standing != null) {
                    device.unmap(standing::close);
                }
            }
        }
    }

    /** Null if the device cannot register memory that can only be read: then it has to be asked for. */
    private static UcxRegion registered(OneSided device, Standing standing) {
        try {
            return device.worker().register(standing.address() + standing.offset(), Long.BYTES, false);
        } catch (UcxError e) {
            return null;
        }
    }

    RemoteKeys keys() {
        return keys;
    }

    /** Has something done that closes it, which waits for whoever uses the device. Whoever calls does not wait. */
    void later(Runnable closing) {
        device.later(closing);
    }

    /** Ends all access. */
    void close() {
        close(segment);
        close(standingRegion);
    }

    /** Has the window unmapped, which is closed, when no peer can access it any more. */
    void unmap(Runnable unmapping) {
        device.unmap(() -> {
            unmapping.run();
            if (standing != null) {
                standing.close();
            }
        });
    }

    private static void close(UcxRegion region) {
        if (region != null) {
            try {
                region.close();
            } catch (UcxError | OsError e) {
                return; // it is not registered any more
            }
        }
    }
}
