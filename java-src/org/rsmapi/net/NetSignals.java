package org.rsmapi.net;

import java.util.concurrent.atomic.AtomicLong;
import org.rsmapi.shared.Events;
import org.rsmapi.sys.EventFd;

/** The events that an exporter on another host has posted for an importer. */
final class NetSignals extends Events {
    private final NetConnection connection;
    /** Events that have come and have not been taken. */
    private final AtomicLong left = new AtomicLong();

    NetSignals(NetConnection connection) {
        this.connection = connection;
        this.counter = EventFd.ofEvents(0);
    }

    synchronized void add(long count) {
        left.addAndGet(count);
        counter.addOwn(count);
    }

    @Override
    public boolean take() {
        boolean taken = super.take();
        if (taken && left.decrementAndGet() == 0) {
            connection.taken();
        }
        return taken;
    }

    @Override
    public Outcome await(long deadlineNanos) {
        Lane lane = connection.control();
        lane.expectEvents();
        try {
            return super.await(deadlineNanos);
        } finally {
            lane.expectEventsNoMore();
        }
    }

    @Override
    public boolean hold() {
        boolean held = super.hold();
        if (held) {
            connection.control().expectEvents();
        }
        return held;
    }

    @Override
    public void release() {
        connection.control().expectEventsNoMore();
        super.release();
    }
}
