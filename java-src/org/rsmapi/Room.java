package org.rsmapi;

import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.NoRoom;
import org.rsmapi.sys.Vm;

/**
 * Addresses for something that is being made. Mappings that were closed may still have some, because a thread may be using them:
 *
 * <pre>{@code
 * for (Room room = new Room(address, length); ; ) {
 *     try {
 *         return make();
 *     } catch (NoRoom e) {
 *         room.makeAfter(e);
 *     }
 * }
 * }</pre>
 *
 * <p>No lock may be held that an access or a clean-up needs.
 */
final class Room {
    /** Any address. */
    static final long ANYWHERE = 0;

    private final long address;
    private final long length;
    private boolean returned;
    private boolean collected;

    /** For a range at this address, or {@link #ANYWHERE}. */
    Room(long address, long length) {
        this.address = address;
        this.length = length;
        Reclaim.reap();
    }

    /**
     * Returns the addresses of closed mappings to the system, so that another attempt may succeed: first of those that no access is
     * using, then of those that a garbage collection finds.
     *
     * @throws RsmException the failure of the attempt, if all has been tried. Its hint names a closed mapping that still has the address
     */
    void makeAfter(NoRoom e) {
        if (collected) {
            String obstacle = address == ANYWHERE ? null : Reclaim.obstacle(address, Vm.wholePages(length));
            throw obstacle == null ? e.failure() : e.failure().hint(obstacle);
        }
        if (returned || !Reclaim.returnEnded()) {
            Reclaim.collect();
            collected = true;
        }
        returned = true;
    }
}
