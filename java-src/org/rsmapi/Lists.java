package org.rsmapi;

import java.util.ArrayList;
import java.util.List;

/** Copies of lists that callers give, which may change, hold other types, be endless, or fail when they are read. */
final class Lists {
    /** No list that a call takes is as long. */
    static final int LONGEST = 4096;

    private Lists() {}

    /**
     * The items of a list when it was read, once, as an array; null stays null. Of a list with more items, one more than {@code most}.
     *
     * @param failure  what to throw for an item of another type, or if the list cannot be read
     */
    static Object[] copy(Iterable<?> list, Class<?> type, int most, RsmError failure, String op) {
        ArrayList<Object> items = new ArrayList<>();
        try {
            for (Object item : list) {
                if (items.size() > most) {
                    break;
                }
                items.add(item);
            }
        } catch (Exception e) {
            throw RsmException.of(failure, op).with("reason", e.toString()).causedBy(e).hint("the list cannot be read");
        }
        for (Object item : items) {
            if (item != null && !type.isInstance(item)) {
                throw RsmException.of(failure, op).with("item", item).hint("the list has an item of another type");
            }
        }
        return items.toArray();
    }
}
