package org.rsmapi.sys;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.Set;

/** Direct buffers: where their memory is, and whether it stays there. */
public final class Buffers {
    private Buffers() {}

    /** The address of the buffer's position. The caller has checked that the memory {@link #isAlive}. */
    public static long address(ByteBuffer buffer) {
        return Pointer.nativeValue(Native.getDirectBufferPointer(buffer)) + buffer.position();
    }

    /** Whether this thread can access the memory: it has not been freed, and does not belong to another thread. */
    public static boolean isAlive(ByteBuffer buffer) {
        try {
            ByteBuffer whole = buffer.duplicate().clear();
            if (whole.hasRemaining()) {
                whole.get(0); // the buffer's own check
            }
            return true;
        } catch (RuntimeException | InternalError e) { // InternalError: a mapped file that has become shorter
            return false;
        }
    }

    /**
     * Whether the memory exists for as long as the buffer is reachable. That of an arena that can be closed does not: another thread can
     * free it at any time.
     */
    public static boolean isLasting(ByteBuffer buffer) {
        return Scopes.isLasting(buffer);
    }

    /**
     * The scopes of memory segments, by reflection: {@code java.lang.foreign} is final from JDK 22 on, and an incubator or a preview before.
     * No public method returns whether a scope can be closed, but scopes of one kind have one class. A class that is not one of those
     * of lasting memory counts as one that can be closed.
     */
    private static final class Scopes {
        private static final Method SEGMENT_OF = segmentOf();
        private static final Method SCOPE = scope();
        private static final Set<Class<?>> LASTING = lasting();

        static boolean isLasting(ByteBuffer buffer) {
            if (SEGMENT_OF == null) {
                return true; // no class of this JVM makes buffers of memory that can be freed
            }
            Object scope = scopeOf(buffer);
            return scope != null && (LASTING.contains(scope.getClass()) || isImplicit(scope));
        }

        private static Method segmentOf() {
            for (String[] name : new String[][] {{"java.lang.foreign.MemorySegment", "ofBuffer"},
                    {"java.lang.foreign.MemorySegment", "ofByteBuffer"}, {"jdk.incubator.foreign.MemorySegment", "ofByteBuffer"}}) {
                try {
                    Class<?> segment = Class.forName(name[0]);
                    for (Method method : segment.getMethods()) {
                        if (method.getName().equals(name[1])) {
                            return method;
                        }
                    }
                } catch (ClassNotFoundException e) {
                    continue;
                }
            }
            return null;
        }

        private static Method scope() {
            if (SEGMENT_OF != null) {
                for (String name : new String[] {"scope", "session"}) {
                    try {
                        return SEGMENT_OF.getReturnType().getMethod(name);
                    } catch (NoSuchMethodException e) {
                        continue;
                    }
                }
            }
            return null;
        }

        private static Object scopeOf(ByteBuffer buffer) {
            try {
                return SCOPE == null ? null : SCOPE.invoke(SEGMENT_OF.invoke(null, buffer));
            } catch (ReflectiveOperationException e) {
                return null;
            }
        }

        /** The classes of scopes that are known to last. */
        private static Set<Class<?>> lasting() {
            Set<Class<?>> found = new HashSet<>();
            if (SEGMENT_OF == null) {
                return found;
            }
            Object own = scopeOf(ByteBuffer.allocateDirect(1));
            if (own != null) {
                found.add(own.getClass());
            }
            for (String arena : new String[] {"ofAuto", "global"}) {
                try {
                    Class<?> type = Class.forName("java.lang.foreign.Arena");
                    Object made = type.getMethod(arena).invoke(null);
                    found.add(type.getMethod("scope").invoke(made).getClass());
                } catch (ReflectiveOperationException e) {
                    continue; // before JDK 22
                }
            }
            return found;
        }

        /** The incubator's scopes, of JDK 17 and 18, tell it. */
        private static boolean isImplicit(Object scope) {
            try {
                return (boolean) SCOPE.getReturnType().getMethod("isImplicit").invoke(scope);
            } catch (ReflectiveOperationException e) {
                return false;
            }
        }
    }
}
