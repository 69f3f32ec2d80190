package org.rsmapi.mem;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * A {@code java.lang.foreign.MemorySegment} of an address range, for other libraries. JDK 22 and later; reached by reflection, so that
 * this class compiles on JDK 17.
 *
 * <p>Each view has a shared arena of its own. {@link #end} closes it: the JVM makes sure that no thread is in the middle of an access, and
 * every later one is an IllegalStateException. While a call of a native function, or an I/O operation, uses the segment, the arena cannot be
 * closed. The view then waits here: its owner stays reachable, what depends on its end ({@link #whenClosed}) is put off, and
 * {@link #retry()} tries again. The addresses of such a view must not be returned to the system.
 *
 * <p>The segment keeps the owner reachable, as an action of its arena that does nothing. So a mapping that the program has lost is not
 * unmapped while another library uses it.
 */
public final class ForeignView {
    private static final int FIRST_RELEASE = 22;

    /** By owner; guarded by itself. What is done when a view has been closed is done without the monitor. */
    private static final Map<Object, Waiting> WAITING = new IdentityHashMap<>();
    private static final Methods METHODS = Runtime.version().feature() >= FIRST_RELEASE ? new Methods() : null;

    /** Whether {@link #WAITING} has anything. */
    private static volatile boolean waits;

    private final Object owner;
    private final Range range;
    private final boolean readOnly;
    private final Object arena;
    private final Object segment;

    /** What waits for the views of one owner. */
    private static final class Waiting {
        private final List<ForeignView> views = new ArrayList<>(1);
        private final List<Runnable> actions = new ArrayList<>(1);
    }

    /** Keeps the owner reachable. */
    private static final class Keeper implements Consumer<Object> {
        /** Never read. */
        @SuppressWarnings("unused")
        private final Object owner;

        Keeper(Object owner) {
            this.owner = owner;
        }

        @Override
        public void accept(Object ended) {
            // the pages are the owner's
        }
    }

    private static final class Methods {
        private final Method ofShared;
        private final Method close;
        private final Method ofAddress;
        private final Method reinterpret;
        private final Method asReadOnly;

        Methods() {
            try {
                Class<?> arena = Class.forName("java.lang.foreign.Arena");
                Class<?> segment = Class.forName("java.lang.foreign.MemorySegment");
                ofShared = arena.getMethod("ofShared");
                close = arena.getMethod("close");
                ofAddress = segment.getMethod("ofAddress", long.class);
                reinterpret = segment.getMethod("reinterpret", long.class, arena, Consumer.class);
                asReadOnly = segment.getMethod("asReadOnly");
            } catch (ReflectiveOperationException e) {
                throw Engine.broken(e);
            }
        }
    }

    private ForeignView(Object owner, Range range, boolean readOnly) {
        this.owner = owner;
        this.range = range;
        this.readOnly = readOnly;
        try {
            arena = METHODS.ofShared.invoke(null);
            Object memory = METHODS.reinterpret.invoke(METHODS.ofAddress.invoke(null, range.address()), range.length(), arena,
                new Keeper(owner));
            segment = readOnly ? METHODS.asReadOnly.invoke(memory) : memory;
        } catch (ReflectiveOperationException e) {
            throw Engine.broken(e);
        }
    }

    /** Whether this JDK has memory segments. */
    public static boolean isSupported() {
        return METHODS != null;
    }

    /**
     * A new view.
     *
     * @param owner  what has to be reachable while the view is in use
     */
    public static ForeignView of(Object owner, long address, long length, boolean readOnly) {
        return new ForeignView(owner, new Range(address, length), readOnly);
    }

    /** The {@code java.lang.foreign.MemorySegment}. */
    public Object segment() {
        return segment;
    }

    /** Whether it shows this range, like that. */
    public boolean shows(long address, long length, boolean onlyToRead) {
        return range.address() == address && range.length() == length && readOnly == onlyToRead;
    }

    /** Ends it: later access throws. To be called once. Does not wait for native calls and I/O operations that use it. */
    public void end() {
        if (!close()) {
            synchronized (WAITING) {
                WAITING.computeIfAbsent(owner, o -> new Waiting()).views.add(this);
                waits = true;
            }
        }
    }

    /** False if something uses the segment, or the JVM lacks memory or stack for it now. */
    private boolean close() {
        try {
            METHODS.close.invoke(arena);
            return true;
        } catch (InvocationTargetException e) {
            return false; // IllegalStateException: in use
        } catch (IllegalAccessException e) {
            throw Engine.broken(e);
        } catch (VirtualMachineError e) {
            return false;
        }
    }

    /**
     * Does something when no view of an owner that has been ended is in use any more: now, or in {@link #retry()}. It must not need a lock
     * that is held while {@link Reclaim#reap()} is called.
     */
    public static void whenClosed(Object owner, Runnable action) {
        if (waits) {
            synchronized (WAITING) {
                Waiting waiting = WAITING.get(owner);
                if (waiting != null) {
                    waiting.actions.add(action);
                    return;
                }
            }
        }
        action.run();
    }

    /** Tries again to close what could not be closed. */
    static void retry() {
        if (!waits) {
            return;
        }
        List<Runnable> due = new ArrayList<>();
        synchronized (WAITING) {
            WAITING.values().removeIf(waiting -> {
                waiting.views.removeIf(ForeignView::close);
                if (waiting.views.isEmpty()) {
                    due.addAll(waiting.actions);
                }
                return waiting.views.isEmpty();
            });
            waits = !WAITING.isEmpty();
        }
        due.forEach(Runnable::run);
    }

    /** Whether a part of a range is in use by a view that has been ended. */
    static boolean keeps(Range wanted) {
        synchronized (WAITING) {
            return WAITING.values().stream().anyMatch(waiting -> waiting.views.stream().anyMatch(view -> wanted.overlaps(view.range)));
        }
    }

    /** How many views wait to be closed. For tests and diagnosis. */
    public static int waiting() {
        synchronized (WAITING) {
            return WAITING.values().stream().mapToInt(waiting -> waiting.views.size()).sum();
        }
    }
}
