package org.rsmapi.sim;

import java.util.Comparator;
import java.util.PriorityQueue;

/** What is to happen in a world, in order of time, and of what was planned first where the time is the same. */
final class Agenda {
    /** One thing that is to happen. */
    record Event(long at, long sequence, Runnable action) {}

    private final PriorityQueue<Event> events =
        new PriorityQueue<>(Comparator.comparingLong(Event::at).thenComparingLong(Event::sequence));
    private long planned;
    private long now;

    /** The time, in nanoseconds since the world began. */
    long now() {
        return now;
    }

    void at(long time, Runnable action) {
        events.add(new Event(Math.max(time, now), planned++, action));
    }

    /** When the next thing happens; {@link Long#MAX_VALUE} if nothing is planned. */
    long next() {
        return events.isEmpty() ? Long.MAX_VALUE : events.peek().at();
    }

    /** Has the next thing happen. */
    void step() {
        Event event = events.poll();
        now = event.at();
        event.action().run();
    }

    /** Moves the time to where nothing happens before. */
    void moveTo(long time) {
        now = Math.max(now, time);
    }

    void clear() {
        events.clear();
    }
}
