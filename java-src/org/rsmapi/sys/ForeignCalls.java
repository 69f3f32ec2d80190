package org.rsmapi.sys;

import com.sun.jna.Native;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.util.Optional;

/**
 * The calls of {@link Calls} through {@code java.lang.foreign}, reached by reflection so that this class compiles on JDK 17.
 *
 * <p>The first parameter of each handle is where the call leaves errno, a block that every thread has for itself; it is an Object here,
 * and a memory segment there.
 */
final class ForeignCalls implements NotPreloaded {
    private static final Class<?> LINKER = type("Linker");
    private static final Class<?> OPTION = type("Linker$Option");
    private static final Class<?> DESCRIPTOR = type("FunctionDescriptor");
    private static final Class<?> MEMORY_LAYOUT = type("MemoryLayout");
    private static final Class<?> VALUE_LAYOUT = type("ValueLayout");
    private static final Class<?> SEGMENT = type("MemorySegment");
    private static final Class<?> ARENA = type("Arena");

    private static final MethodHandle MMAP =
        function("mmap", long.class, long.class, long.class, int.class, int.class, int.class, long.class);
    private static final MethodHandle MUNMAP = function("munmap", int.class, long.class, long.class);
    private static final MethodHandle POLL = function("poll", int.class, long.class, long.class, int.class);
    private static final MethodHandle WRITE = function("write", long.class, int.class, long.class, long.class);
    private static final MethodHandle SYSCALL =
        function("syscall", long.class, long.class, long.class, long.class, long.class, long.class, long.class, long.class);
    private static final MethodHandle ERRNO = errno();
    private static final ThreadLocal<Object> STATE = ThreadLocal.withInitial(ForeignCalls::newState);

    private ForeignCalls() {}

    /** Has everything ready, or throws an error. */
    static void link() {
        if (munmap(0, 0) != -1 || Native.getLastError() != Errno.EINVAL) { // a length of 0 is never right
            throw new LinkageError("errno is not where it should be");
        }
    }

    static long mmap(long address, long length, int prot, int flags, int fd, long offset) {
        Object state = STATE.get();
        try {
            return checked((long) MMAP.invokeExact(state, address, length, prot, flags, fd, offset), state);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    static int munmap(long address, long length) {
        Object state = STATE.get();
        try {
            return (int) checked((int) MUNMAP.invokeExact(state, address, length), state);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    static int poll(long fds, long count, int timeoutMillis) {
        Object state = STATE.get();
        try {
            return (int) checked((int) POLL.invokeExact(state, fds, count, timeoutMillis), state);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    static long write(int fd, long buffer, long length) {
        Object state = STATE.get();
        try {
            return checked((long) WRITE.invokeExact(state, fd, buffer, length), state);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    static long syscall(long number, long a, long b, long c, long d, long e, long f) {
        Object state = STATE.get();
        try {
            return checked((long) SYSCALL.invokeExact(state, number, a, b, c, d, e, f), state);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    /** Puts errno where callers of JNA look for it. */
    private static long checked(long result, Object state) throws Throwable {
        if (result == -1) {
            Native.setLastError((int) ERRNO.invokeExact(state));
        }
        return result;
    }

    private static Error broken(Throwable t) {
        if (t instanceof InvocationTargetException && t.getCause() instanceof VirtualMachineError) {
            return (Error) t.getCause(); // of the stack or the heap, and not of what was called
        }
        return t instanceof Error ? (Error) t : new LinkageError("java.lang.foreign", t);
    }

    private static Class<?> type(String name) {
        try {
            return Class.forName("java.lang.foreign." + name);
        } catch (ClassNotFoundException e) {
            throw broken(e);
        }
    }

    private static MethodHandle function(String name, Class<?> result, Class<?>... parameters) {
        try {
            Object linker = LINKER.getMethod("nativeLinker").invoke(null);
            Object lookup = LINKER.getMethod("defaultLookup").invoke(linker);
            Object address = ((Optional<?>) type("SymbolLookup").getMethod("find", String.class).invoke(lookup, name)).orElseThrow();
            Object layouts = Array.newInstance(MEMORY_LAYOUT, parameters.length);
            for (int i = 0; i < parameters.length; i++) {
                Array.set(layouts, i, layout(parameters[i]));
            }
            Object descriptor = DESCRIPTOR.getMethod("of", MEMORY_LAYOUT, layouts.getClass()).invoke(null, layout(result), layouts);
            Object options = Array.newInstance(OPTION, 1);
            Array.set(options, 0, OPTION.getMethod("captureCallState", String[].class).invoke(null, (Object) new String[] {"errno"}));
            MethodHandle handle = (MethodHandle) LINKER.getMethod("downcallHandle", SEGMENT, DESCRIPTOR, options.getClass())
                .invoke(linker, address, descriptor, options);
            return handle.asType(handle.type().changeParameterType(0, Object.class));
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    private static Object layout(Class<?> type) throws ReflectiveOperationException {
        return VALUE_LAYOUT.getField(type == int.class ? "JAVA_INT" : "JAVA_LONG").get(null);
    }

    private static MethodHandle errno() {
        try {
            MethodHandle get = MethodHandles.publicLookup()
                .findVirtual(SEGMENT, "get", MethodType.methodType(int.class, type("ValueLayout$OfInt"), long.class));
            MethodHandle first = MethodHandles.insertArguments(get, 1, layout(int.class), 0L);
            return first.asType(MethodType.methodType(int.class, Object.class));
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }

    /** Freed when the thread is gone. */
    private static Object newState() {
        try {
            Object arena = ARENA.getMethod("ofAuto").invoke(null);
            return ARENA.getMethod("allocate", MEMORY_LAYOUT).invoke(arena, OPTION.getMethod("captureStateLayout").invoke(null));
        } catch (ReflectiveOperationException e) {
            throw broken(e);
        }
    }
}
