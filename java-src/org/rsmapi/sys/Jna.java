package org.rsmapi.sys;

import com.sun.jna.Native;

/** JNA itself. */
public final class Jna {
    private Jna() {}

    /** Whether its classes have another package than they were made with. */
    public static boolean isRelocated() {
        // Not as one constant: a tool that relocates JNA would change that, too.
        return !Native.class.getName().equals(String.join(".", "com", "sun", "jna", "Native"));
    }
}
