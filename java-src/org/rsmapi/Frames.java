package org.rsmapi;

import java.util.List;

/** Distinguishes the library's frames in a stack trace from those of its callers. */
final class Frames {
    private static final String FACTORY = RsmException.class.getName();
    private static final String ROOT = Frames.class.getPackageName();
    private static final List<String> PACKAGES = List.of(ROOT, ROOT + ".clj", ROOT + ".loopback", ROOT + ".mem", ROOT + ".mirror",
        ROOT + ".net", ROOT + ".shared", ROOT + ".sim", ROOT + ".spi", ROOT + ".sys");
    private static final List<String> NAMESPACES =
        List.of("rsmapi.core", "rsmapi.error", "rsmapi.inspect", "rsmapi.layout", "rsmapi.sim");
    private static final String INTERNAL_NAMESPACES = "rsmapi.impl.";
    /** Between two frames of the library there may be such ones: of a sequence, a collection, a lock. */
    private static final List<String> RUNTIME = List.of("clojure.", "java.", "javax.", "jdk.", "sun.");

    private Frames() {}

    /**
     * The index of the first frame of the caller. In a thread of the library's own there is none; then it is the first frame that is
     * not of the exception's class.
     *
     * @param full  whether the library's frames are to be kept, but for those of the exception's class
     */
    static int outside(StackTraceElement[] trace, boolean full) {
        int made = 0;
        while (made < trace.length && trace[made].getClassName().equals(FACTORY)) {
            made++;
        }
        int first = made;
        for (int i = made; !full && i < trace.length; i++) {
            String frame = trace[i].getClassName();
            if (isLibrary(frame)) {
                first = i + 1;
            } else if (!startsWithOne(RUNTIME, frame)) {
                return pastInvocation(trace, first);
            }
        }
        return made;
    }

    /** How Clojure calls a function of the library is not a caller. */
    private static int pastInvocation(StackTraceElement[] trace, int from) {
        int first = from;
        while (first > 0 && trace[first].getClassName().startsWith("clojure.lang.")) {
            first++;
        }
        return first;
    }

    private static boolean isLibrary(String className) {
        int packageEnd = Math.max(className.lastIndexOf('.'), 0);
        int namespaceEnd = className.indexOf('$') < 0 ? className.length() : className.indexOf('$');
        return PACKAGES.contains(className.substring(0, packageEnd)) || NAMESPACES.contains(className.substring(0, namespaceEnd))
            || className.startsWith(INTERNAL_NAMESPACES);
    }

    private static boolean startsWithOne(List<String> prefixes, String name) {
        for (String prefix : prefixes) {
            if (name.startsWith(prefix)) {
                return true;
            }
        }
        return false;
    }
}
