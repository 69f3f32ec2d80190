package org.rsmapi.spi;

import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.mem.Access;

/** What calls that need native functions ask first; a controller that is open has asked already. */
public final class Entrance {
    private Entrance() {}

    /**
     * Makes sure that native functions can be called and memory can be accessed.
     *
     * @throws RsmException CTLR_NOT_PRESENT with the reason, the same one at each call; BAD_CONF if the reason is the property
     *     {@code rsmapi.engine}
     */
    public static void require(String op) {
        try {
            Access.require();
        } catch (Access.Refusal e) {
            if (e.isConfigured()) {
                throw RsmException.of(RsmError.BAD_CONF, op).with("engine", System.getProperty("rsmapi.engine")).causedBy(e)
                    .hint(e.hint());
            }
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, op).with("reason", e.getMessage()).causedBy(e).hint(e.hint());
        }
    }
}
