package org.rsmapi.net;

import java.util.concurrent.atomic.AtomicLong;
import org.rsmapi.shared.Events;
import org.rsmapi.sys.EventFd;
import org.rsmapi.sys.Threads;

/** The events that an exporter on another host has posted for an importer. */
final class NetSignals extends Events {
    private final NetConnection connection;
    /** Events that have come and have not been taken. */
    private final AtomicLong left = new AtomicLong();

    NetSignals(NetConnection connection) {
        this.connection = connection;
        this.counter = EventFd.ofEvents(0);
    }

    /** Events have come. A gateway sends more only when there are none left. */
    synchronized void add(int count) {
        if (count > 0 && left.compareAndSet(0, Math.min(count, Served.MOST_EVENTS_AT_ONCE))) {
            counter.addOwn(Math.min(count, Served.MOST_EVENTS_AT_ONCE));
        }
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
        if (Threads.isVirtual()) { // it would keep its carrier
            lane.expectEvents();
            try {
                return super.await(deadlineNanos);
            } finally {
                lane.expectEventsNoMore();
            }
        }
        if (lane.await(() -> left.get() > 0 || hasEnded(), deadlineNanos) || lane.ended() != null) {
            return Outcome.READY;
        }
        return Thread.currentThread().isInterrupted() ? Outcome.INTERRUPTED : Outcome.TIMEOUT;
    }

    @Override
    protected void ended() {
        connection.control().look();
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
