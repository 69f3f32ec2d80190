package org.rsmapi.net;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Function;

/** Those who wait for something, of whom there may be only so many. Each belongs to a party, so that no party can take all places. */
final class Places<T> {
    private final int most;
    private final Function<T, Object> party;
    private final Set<T> taken = new LinkedHashSet<>();

    /**
     * Places.
     *
     * @param most   how many there are
     * @param party  to whom somebody belongs now, perhaps null
     */
    Places(int most, Function<T, Object> party) {
        this.most = most;
        this.party = party;
    }

    void add(T one) {
        taken.add(one);
    }

    boolean remove(T one) {
        return taken.remove(one);
    }

    /** All of them, in the order in which they came. */
    List<T> all() {
        return new ArrayList<>(taken);
    }

    /** Who came first; null if there is nobody. */
    T first() {
        return taken.isEmpty() ? null : taken.iterator().next();
    }

    /** How many belong to a party. */
    long of(Object party) {
        return taken.stream().filter(each -> Objects.equals(this.party.apply(each), party)).count();
    }

    /** Who has to go if there are more than places: the first of the party that has most of them. Null if there is room. */
    T surplus() {
        if (taken.size() <= most) {
            return null;
        }
        Map<Object, List<T>> byParty = new HashMap<>();
        List<T> largest = List.of();
        for (T each : taken) {
            List<T> same = byParty.computeIfAbsent(party.apply(each), key -> new ArrayList<>());
            same.add(each);
            largest = same.size() > largest.size() ? same : largest;
        }
        return largest.get(0);
    }
}
