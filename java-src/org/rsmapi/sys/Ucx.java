package org.rsmapi.sys;

import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * UCX, the communication library of RDMA fabrics: whether this process can use it. It is loaded when it is first asked for, and stays
 * loaded.
 *
 * <p>The library would by default replace the process's handlers of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGHUP, which the JVM needs, patch
 * the C library's mmap and munmap, and write to stdout. It reads what it is to do from the environment when it is loaded. So the process
 * has another environment for that time.
 */
public final class Ucx {
    /** The switch of the tests, see {@link #transports}. */
    static final String TCP_PROPERTY = "rsmapi.ucx.tcp-for-tests-without-protection";

    private static final String LIBRARY = "libucp.so.0";
    /** RTLD_NOW and RTLD_NODELETE; without RTLD_GLOBAL, the library's symbols stay its own. */
    private static final int OPEN_FLAGS = 0x2 | 0x1000;

    /** What the library is told, whatever the environment says. */
    private static final String[][] ORDERS = {
        {"UCX_HANDLE_ERRORS", "none"}, {"UCX_DEBUG_SIGNO", "0"}, {"UCX_MEM_EVENTS", "n"}, {"UCX_MEM_MMAP_HOOK_MODE", "none"},
        {"UCX_MEM_MALLOC_HOOKS", "n"}, {"UCX_MEM_MALLOC_RELOC", "n"}, {"UCX_MEM_CUDA_HOOK_MODE", "none"}, {"UCX_MEMTYPE_CACHE", "n"},
        {"UCX_VFS_ENABLE", "n"}, {"UCX_WARN_UNUSED_ENV_VARS", "n"}};
    /** What it is told unless the environment says otherwise. */
    private static final String[][] PROPOSALS = {{"UCX_LOG_LEVEL", "fatal"}};

    /** A device and its port, such as mlx5_0:1. No list, no negation and no name for all devices has this form. */
    private static final Pattern DEVICE = Pattern.compile("(?!all$)[A-Za-z0-9][A-Za-z0-9_.-]{0,62}(?::[0-9]{1,3})?");

    private static boolean asked;
    private static String obstacle;
    private static int major;
    private static int minor;
    private static String version;

    private Ucx() {}

    /** Why UCX cannot be used in this process; null if it can. Loads it at the first call. */
    public static synchronized String obstacle() {
        if (!asked) {
            obstacle = load();
            asked = true;
        }
        return obstacle;
    }

    /** The library's version, such as 1.13.1; null if there is an {@link #obstacle}. */
    public static synchronized String version() {
        return obstacle() == null ? version : null;
    }

    /** The first two numbers of the version, in the two halves of an int. */
    static synchronized int release() {
        return major << 16 | minor;
    }

    /**
     * Loads UCX.
     *
     * @throws UcxError UNSUPPORTED of dlopen if there is an {@link #obstacle}
     */
    static void require() {
        String reason = obstacle();
        if (reason != null) {
            throw new UcxError("dlopen", UcxAbi.ERR_UNSUPPORTED, reason);
        }
    }

    /** Whether a text can be the name of one device. */
    public static boolean isDevice(String name) {
        return DEVICE.matcher(name).matches();
    }

    /** Whether the property of the tests is set: then peers can access a region after it was closed, see {@link #transports}. */
    public static boolean isOverTcp() {
        return Boolean.getBoolean(TCP_PROPERTY);
    }

    /**
     * The transports that may be used: those of RDMA, where the network adapter checks each access. Over tcp, which a property of the tests
     * switches on, everybody who reaches the port can read and write all memory of this process.
     */
    static String transports() {
        return isOverTcp() ? "tcp" : "rc,dc,ud";
    }

    private static String load() {
        if (!"64".equals(System.getProperty("sun.arch.data.model", "64"))) {
            return LIBRARY + " is used by processes with 64 bits only";
        }
        try {
            bind();
            readVersion();
        } catch (UnsatisfiedLinkError | OsError e) {
            String reason = String.valueOf(e.getMessage());
            return LIBRARY + " cannot be loaded: " + reason.lines().skip(reason.lines().count() > 1 ? 1 : 0).findFirst().orElse("");
        }
        return major == UcxAbi.API_MAJOR && minor >= UcxAbi.API_MINOR ? null
            : LIBRARY + " has version " + version + ", and " + UcxAbi.API_MAJOR + "." + UcxAbi.API_MINOR + " or a later 1.x is needed";
    }

    private static void bind() {
        Environment environment = new Environment(ORDERS, PROPOSALS);
        try {
            Native.register(Ucp.class, NativeLibrary.getInstance(LIBRARY, Map.of(Library.OPTION_OPEN_FLAGS, OPEN_FLAGS)));
        } finally {
            environment.restore();
        }
    }

    private static void readVersion() {
        try (NativeBlock numbers = new NativeBlock(12)) {
            Ucp.ucp_get_version(numbers.address(), numbers.address() + 4, numbers.address() + 8);
            major = numbers.getInt(0);
            minor = numbers.getInt(4);
            version = major + "." + minor + "." + numbers.getInt(8);
        }
    }

    /**
     * Another environment of the process until it is restored. The C library's setenv moves the array of variables while other threads
     * may be reading it, so this sets the pointer to another array. The array is never freed, because a thread may still be reading it.
     */
    private static final class Environment {
        private final Pointer variable = NativeLibrary.getProcess().getGlobalVariableAddress("environ");
        private final long before = variable.getLong(0);
        private final long during;

        Environment(String[][] orders, String[][] proposals) {
            List<Long> entries = new ArrayList<>();
            List<String> names = new ArrayList<>();
            for (long at = before; before != 0 && new Pointer(at).getLong(0) != 0; at += Long.BYTES) {
                long entry = new Pointer(at).getLong(0);
                String name = new Pointer(entry).getString(0, "ISO-8859-1").split("=", 2)[0];
                if (!isAmong(name, orders)) {
                    entries.add(entry);
                    names.add(name);
                }
            }
            for (String[] order : orders) {
                entries.add(text(order));
            }
            for (String[] proposal : proposals) {
                if (!names.contains(proposal[0])) {
                    entries.add(text(proposal));
                }
            }
            entries.add(0L);
            Pointer array = allocate(entries.size() * (long) Long.BYTES);
            for (int i = 0; i < entries.size(); i++) {
                array.setLong(i * (long) Long.BYTES, entries.get(i));
            }
            during = Pointer.nativeValue(array);
            variable.setLong(0, during);
        }

        private static boolean isAmong(String name, String[][] pairs) {
            for (String[] pair : pairs) {
                if (pair[0].equals(name)) {
                    return true;
                }
            }
            return false;
        }

        private static long text(String[] pair) {
            String entry = pair[0] + "=" + pair[1];
            Pointer bytes = allocate(entry.length() + 1L);
            bytes.setString(0, entry, "ISO-8859-1");
            return Pointer.nativeValue(bytes);
        }

        private static Pointer allocate(long length) {
            long address = Native.malloc(length);
            if (address == 0) {
                throw new OsError("malloc", Errno.ENOMEM);
            }
            return new Pointer(address);
        }

        void restore() {
            if (variable.getLong(0) == during) { // or another thread has made it a third one
                variable.setLong(0, before);
            }
        }
    }
}
