package org.rsmapi;

import java.util.Collections;
import java.util.Set;
import java.util.TreeSet;

/**
 * What can be done over a controller, or with one import segment. Beyond the RSMAPI.
 *
 * @param memory         how the memory of a mapping relates to the exporter's
 * @param atomicSizes    the widths in bytes of {@link ImportSegment#compareAndSetInt} and its like, in ascending order; empty if there is
 *                       no such access
 * @param accessControl  whether the access lists are more than a convention
 * @param encrypted      whether what travels between machines is encrypted; false where nothing does
 * @param via            the name of the way on which data goes, such as {@code loopback}
 */
public record Capabilities(Memory memory, Set<Integer> atomicSizes, AccessControl accessControl, boolean encrypted, String via) {
    /** How the memory of a mapping relates to the exporter's. */
    public enum Memory {
        /** It is the exporter's memory. */
        SHARED,
        /**
         * It is a copy in this process: what the exporter has written arrives when a barrier is opened ({@link Mapping#pull}), and what
         * this process has written is sent when it is ordered or closed ({@link Mapping#push}). Volatile, ordered and atomic access
         * would promise more than a copy can keep, and is refused.
         */
        MIRRORED
    }

    /** Whether the access lists are more than a convention. */
    public enum AccessControl {
        /** An importer has what the access list grants, and nothing else, whatever it does. */
        ENFORCED,
        /** An importer that does not keep to the rules can have more. */
        ADVISORY
    }

    /** Copies the set, without what is no width; null is an empty one. */
    public Capabilities {
        Set<Integer> widths = new TreeSet<>();
        for (int width = 1; width <= Long.BYTES; width *= 2) {
            if (atomicSizes != null && atomicSizes.contains(width)) {
                widths.add(width);
            }
        }
        atomicSizes = Collections.unmodifiableSet(widths);
    }
}
