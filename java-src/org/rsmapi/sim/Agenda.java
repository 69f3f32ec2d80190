package org.rsmapi.sim;

import java.util.Comparator;
import java.util.PriorityQueue;

/**
 * What is to happen in a world, in order of time; at the same time messages come before faults, and what was planned first before the
 * rest.
 */
final class Agenda {
    /** One thing that is to happen. */
    record Event(long at, boolean fault, long sequence, Runnable action) {}

    private final PriorityQueue<Event> events =
        new PriorityQueue<>(Comparator.comparingLong(Event::at).thenComparing(Event::fault).thenComparingLong(Event::sequence));
    private long planned;
    private long now;

    /** The time, in nanoseconds since the world began. */
    long now() {
        return now;
    }

    void at(long time, Runnable action) {
        events.add(new Event(Math.max(time, now), false, planned++, action));
    }

    void faultAt(long time, Runnable action) {
        events.add(new Event(Math.max(time, now), true, planned++, action));
    }

    /** Has the faults happen that come now, if nothing else does. */
    void meetFaults() {
        while (!events.isEmpty() && events.peek().fault() && events.peek().at() <= now) {
            step();
        }
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
