package org.rsmapi.net;

import java.io.IOException;

/** What one process has at this gateway: its links, one for what is urgent and perhaps one for much data, and its connections. */
abstract class Session implements Incoming.Taker {
    private final Gateway gateway;
    private final String id;
    /** Without a sign of life for so long, in ns, its process counts as gone: the longer one of both sides' limits. */
    private long limit;
    private Incoming control;
    private volatile Incoming bulk;
    private volatile boolean over;

    Session(Gateway gateway, String id) {
        this.gateway = gateway;
        this.id = id;
    }

    final Gateway gateway() {
        return gateway;
    }

    /** By which its process names it. */
    final String id() {
        return id;
    }

    /** How many connections it has. */
    abstract int importers();

    /** For people: who it is. */
    abstract String whose();

    /** To whom it belongs, of those who have a share of the gateway each: a node, or a user of this host. */
    abstract String party();

    /** Called often. */
    void tick(long now) {
    }

    /** Ends all connections; the links have ended. */
    abstract void endConnections();

    final Incoming control() {
        return control;
    }

    /** The link for what is urgent, and the limit; set before it begins. */
    final void setControl(Incoming link, long nanos) {
        control = link;
        limit = nanos;
    }

    final long limit() {
        return limit;
    }

    /** Takes the link for much data; false if there is one, or the session is over. */
    final synchronized boolean setBulk(Incoming link) {
        if (over || bulk != null) {
            return false;
        }
        bulk = link;
        return true;
    }

    /** When something was heard on one of the links: on a slow way one can keep the other waiting. */
    final long heardAt() {
        long first = control.heardAt();
        Incoming much = bulk;
        return much == null || much.heardAt() - first < 0 ? first : much.heardAt();
    }

    /** Tells the process that the gateway is there, where nothing is taken from it. */
    final void sayThatItWaits() {
        for (Incoming link : new Incoming[] {control, bulk}) {
            if (link != null && link.waits()) {
                link.sayThatItWaits();
            }
        }
    }

    final GatewayStatus.Caller status() {
        Incoming much = bulk;
        long bytes = control.taken() + (much == null ? 0 : much.taken());
        return new GatewayStatus.Caller(whose(), (System.nanoTime() - heardAt()) / 1_000_000, importers(), bytes);
    }

    final boolean isOver() {
        return over;
    }

    /** Ends it: the links, and all connections. */
    final void end(String reason) {
        synchronized (this) {
            if (over) {
                return;
            }
            over = true;
        }
        gateway.forget(this);
        control.close(reason);
        if (bulk != null) {
            bulk.close(reason);
        }
        endConnections();
    }

    static void require(boolean holds) throws IOException {
        if (!holds) {
            throw new IOException("a malformed frame");
        }
    }
}
