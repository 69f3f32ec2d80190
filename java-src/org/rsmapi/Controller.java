package org.rsmapi;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import org.rsmapi.loopback.LoopbackProvider;
import org.rsmapi.mem.Reclaim;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.InterconnectProvider;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * A controller: the way to an interconnect, from which segments are exported and to which they are imported
 * (rsm_get_controller(3RSM)).
 *
 * <p>Controllers are counted: each {@link #get} of the same name gives the same object and one more reference, each
 * {@link #release} drops one, and the last one ends it. Segments that are still there go on.
 *
 * <p>{@code loopback} reaches the local node. {@code shm0} to {@code shm31} are the same mechanism with 64 nodes on one machine:
 * each process, or each controller by {@link #get(String, int)}, plays one.
 */
public final class Controller implements AutoCloseable {
    private static final String LOOPBACK = "loopback";
    private static final int NAME_LIMIT = 256;
    private static final int MAX_NODE = 63;
    private static final int CONFIGURED_NODE = -1;
    private static final List<Controller> OPEN = new ArrayList<>();

    private final Interconnect interconnect;
    private int references;

    private Controller(Interconnect interconnect) {
        this.interconnect = interconnect;
    }

    /**
     * The controller of this name, one reference more.
     *
     * @param name  {@code loopback}, {@code shm0} and so on, upper or lower case; null means {@code loopback}. A name without a
     *              number means unit 0
     * @throws RsmException CTLR_NOT_PRESENT, BAD_CONF (the configured node is not one), INSUFFICIENT_RESOURCES (a class cannot be
     *     loaded, for want of descriptors)
     */
    public static Controller get(String name) {
        return open(name, CONFIGURED_NODE);
    }

    /**
     * The controller of this name on which this caller plays a given node, one reference more.
     *
     * @param node  0 to 63
     * @throws RsmException in this order: BAD_CONF (no such node), CTLR_NOT_PRESENT, INSUFFICIENT_RESOURCES
     */
    public static Controller get(String name, int node) {
        if (node < 0 || node > MAX_NODE) {
            throw RsmException.of(RsmError.BAD_CONF, "get-controller").with("node", node).hint("nodes are 0 to 63");
        }
        return open(name, node);
    }

    private static Controller open(String name, int node) {
        Stack.reserve();
        Interconnect interconnect = find(name == null ? LOOPBACK : name, node);
        synchronized (OPEN) {
            for (Controller open : OPEN) {
                if (open.interconnect.name().equals(interconnect.name())
                        && open.interconnect.localNode() == interconnect.localNode()) {
                    interconnect.close();
                    open.references++;
                    return open;
                }
            }
            try {
                Controller controller = new Controller(interconnect);
                controller.references = 1;
                OPEN.add(controller);
                return controller;
            } catch (Error e) {
                interconnect.close();
                throw e;
            }
        }
    }

    private static Interconnect find(String name, int node) {
        int digits = name.length();
        while (digits > 0 && name.charAt(digits - 1) >= '0' && name.charAt(digits - 1) <= '9') {
            digits--;
        }
        String type = name.substring(0, digits).toLowerCase(Locale.ROOT);
        int unit = unit(name.substring(digits));
        if (!type.isEmpty() && name.length() < NAME_LIMIT) {
            Interconnect found = new LoopbackProvider().open(type, unit, node);
            if (found != null) {
                return found;
            }
            found = findElsewhere(type, unit, node);
            if (found != null) {
                return found;
            }
        }
        throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller")
            .with("controller", name.length() < NAME_LIMIT ? name : name.substring(0, NAME_LIMIT) + "...")
            .hint("there are loopback and shm0 to shm31");
    }

    private static Interconnect findElsewhere(String type, int unit, int node) {
        try {
            for (InterconnectProvider provider : ServiceLoader.load(InterconnectProvider.class)) {
                Interconnect found = provider.open(type, unit, node);
                if (found != null) {
                    return found;
                }
            }
            return null;
        } catch (ServiceConfigurationError e) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller").with("controller", type).causedBy(e)
                .hint("it is not one of the library's own, and a provider of others on the class path cannot be loaded");
        }
    }

    /** The unit; a number too large for an int is one that no controller has, except where any number means the same. */
    private static int unit(String digits) {
        int zeros = 0;
        while (zeros < digits.length() && digits.charAt(zeros) == '0') {
            zeros++;
        }
        String number = digits.substring(zeros);
        return number.isEmpty() ? 0 : number.length() > 9 ? Integer.MAX_VALUE : Integer.parseInt(number);
    }

    /**
     * What can be reached from here (rsm_get_interconnect_topology(3RSM)).
     *
     * @throws RsmException BAD_CONF (the configured node is not one), CTLR_NOT_PRESENT (a provider of controllers on the class path
     *     cannot be loaded)
     */
    public static Topology topology() {
        List<Topology.LocalController> controllers = new ArrayList<>();
        try {
            for (InterconnectProvider provider : ServiceLoader.load(InterconnectProvider.class)) {
                controllers.addAll(provider.controllers());
            }
        } catch (ServiceConfigurationError e) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "topology").causedBy(e)
                .hint("a provider of other controllers on the class path cannot be loaded");
        }
        return new Topology(LoopbackProvider.configuredNode("topology"), List.copyOf(controllers));
    }

    /** The canonical name. */
    public String name() {
        return interconnect.name();
    }

    /** The node that is played here, 0 to 63. */
    public int nodeId() {
        return interconnect.localNode();
    }

    /** Whether there is a reference left. */
    public boolean isOpen() {
        synchronized (OPEN) {
            return references > 0;
        }
    }

    /**
     * What the controller can do (rsm_get_controller_attr(3RSM)).
     *
     * @throws RsmException CTLR_NOT_PRESENT if it has been released
     */
    public ControllerAttributes attributes() {
        return live("controller-attr").attributes();
    }

    /**
     * Drops one reference (rsm_release_controller(3RSM)).
     *
     * @throws RsmException BAD_CTLR_HNDL if there is none left
     */
    public void release() {
        if (!drop()) {
            throw RsmException.of(RsmError.BAD_CTLR_HNDL, "release-controller").with("controller", name())
                .hint("every reference has been released");
        }
    }

    /** Drops one reference if there is one left. */
    @Override
    public void close() {
        drop();
    }

    private boolean drop() {
        Stack.reserve();
        synchronized (OPEN) {
            if (references == 0) {
                return false;
            }
            references--;
            if (references > 0) {
                return true;
            }
            OPEN.remove(this);
        }
        interconnect.close();
        return true;
    }

    /**
     * Creates an export segment of new memory (rsm_memseg_export_create(3RSM), with memory that the library allocates).
     *
     * @param length  bytes, a multiple of the page size; the memory is zero and all of it is allocated now
     * @throws RsmException see {@link #exportCreate(long, long, int)}
     */
    public ExportSegment exportCreate(long length) {
        return exportCreate(length, 0);
    }

    /**
     * Creates an export segment of new memory.
     *
     * @param length  bytes, a multiple of the page size
     * @param flags   the constants of {@link ExportSegment}; other bits are ignored
     * @throws RsmException in this order: CTLR_NOT_PRESENT, BAD_LENGTH, BAD_MEM_ALIGNMENT, INSUFFICIENT_MEM (also: it cannot be
     *     locked), INSUFFICIENT_RESOURCES (also: there are no huge pages)
     */
    public ExportSegment exportCreate(long length, int flags) {
        Stack.reserve();
        Interconnect live = live("export-create");
        ExportSegment.checkLength(live, 0, length, flags);
        return ExportSegment.of(this, live.allocate(length, flags), length, flags, null);
    }

    /**
     * Creates an export segment of the caller's own memory (rsm_memseg_export_create(3RSM)), which stays where it is and keeps its
     * content, now and after {@link ExportSegment#destroy()}. While this call runs, nobody may write to it.
     *
     * <p>A wrong address here could take memory away from the JVM itself. So it has to be memory that the library knows to be
     * the caller's: memory from {@link LocalMemory#allocate}, or a direct buffer's
     * ({@link #exportCreate(ByteBuffer, int)}). Whoever gets memory from elsewhere starts the JVM with
     * {@code -Drsmapi.foreign-memory=allow} and answers for the addresses.
     *
     * @param address  a multiple of the page size
     * @param length   bytes, a multiple of the page size
     * @param flags    as in {@link #exportCreate(long, int)}
     * @throws RsmException in this order: CTLR_NOT_PRESENT, BAD_ADDR (0), BAD_LENGTH, BAD_MEM_ALIGNMENT, BAD_ADDR (not mapped, or
     *     a file mapped shared), PERM_DENIED (not writable), BAD_ADDR (not the caller's, or partly exported already),
     *     INSUFFICIENT_MEM, INSUFFICIENT_RESOURCES
     */
    public ExportSegment exportCreate(long address, long length, int flags) {
        Stack.reserve();
        Interconnect live = live("export-create");
        if (address == 0) {
            throw RsmException.of(RsmError.BAD_ADDR, "export-create").with("address", address);
        }
        ExportSegment.checkLength(live, address, length, flags);
        LocalMemory.Part part = occupied("export-create", address, length);
        try {
            return ExportSegment.of(this, live.adopt(address, length, part, flags), length, flags, part);
        } catch (RuntimeException | Error e) {
            if (part != null) {
                part.release();
            }
            throw e;
        }
    }

    /** Takes a range of local memory for a segment; null if it is not known to be of one. */
    static LocalMemory.Part occupied(String op, long address, long length) {
        LocalMemory memory = LocalMemory.containing(address, length);
        if (memory == null) {
            return null;
        }
        LocalMemory.Part part = memory.occupy(address, length, true);
        if (part == null && Reclaim.giveBackEnded()) { // a mapping that was closed keeps its place while a thread may be using it
            part = memory.occupy(address, length, true);
        }
        if (part == null) {
            Reclaim.collect();
            part = memory.occupy(address, length, true);
        }
        if (part == null) {
            String obstacle = Reclaim.obstacle(address, length);
            throw RsmException.of(RsmError.BAD_ADDR, op).with("address", address).with("length", length)
                .hint(obstacle != null ? obstacle : "another segment or mapping lies over a part of this memory");
        }
        return part;
    }

    /**
     * Creates an export segment of a direct buffer's memory, from its position to its limit.
     *
     * @throws RsmException as {@link #exportCreate(long, long, int)}; BAD_ADDR too if the buffer is null, on the heap or read-only, if
     *     its memory has been freed, or can be freed by closing an arena
     */
    public ExportSegment exportCreate(ByteBuffer buffer, int flags) {
        Stack.reserve();
        Interconnect live = live("export-create");
        CallerBuffer memory = CallerBuffer.of(buffer);
        if (!memory.isUsable()) {
            throw RsmException.of(RsmError.BAD_ADDR, "export-create").with("argument", "buffer").hint(memory.objection());
        }
        long address = memory.address();
        long length = memory.length();
        ExportSegment.checkLength(live, address, length, flags);
        return ExportSegment.of(this, live.adopt(address, length, memory.owner(), flags), length, flags, memory.owner());
    }

    /**
     * A handle for memory that getv and putv use often (rsm_create_localmemory_handle(3RSM)): a part of local memory, an export
     * segment or a mapping.
     *
     * @param offset  in bytes; a page has to start there
     * @param length  in bytes, at least 1
     * @throws RsmException in this order: BAD_ADDR (null, not at a page), CTLR_NOT_PRESENT (released), BAD_LENGTH
     */
    public LocalMemoryHandle createLocalMemoryHandle(SegmentMemory memory, long offset, long length) {
        return LocalMemoryHandle.of(this, memory, offset, length);
    }

    /** The same for memory from {@link LocalMemory#allocate}, by its address. */
    public LocalMemoryHandle createLocalMemoryHandle(long address, long length) {
        return LocalMemoryHandle.of(this, address, length);
    }

    /** The same for a direct buffer, from its position to its limit. */
    public LocalMemoryHandle createLocalMemoryHandle(ByteBuffer buffer) {
        return LocalMemoryHandle.of(this, buffer);
    }

    /**
     * Frees a local memory handle (rsm_free_localmemory_handle(3RSM)). The memory itself stays.
     *
     * @throws RsmException in this order: CTLR_NOT_PRESENT (released), BAD_LOCALMEM_HNDL (null, or freed already)
     */
    public void freeLocalMemoryHandle(LocalMemoryHandle handle) {
        String op = "free-localmemory-handle";
        live(op);
        if (handle == null) {
            throw RsmException.of(RsmError.BAD_LOCALMEM_HNDL, op).with("argument", "handle");
        }
        handle.memory(op);
        handle.close();
    }

    /**
     * Connects to a published segment (rsm_memseg_import_connect(3RSM)), waiting up to five seconds for the exporter's answer.
     *
     * @throws RsmException see {@link #importConnect(int, long, int, Duration)}
     */
    public ImportSegment importConnect(int node, long segmentId, Permission permission) {
        return importConnect(node, segmentId, permission == null ? -1 : permission.bits(), ImportSegment.CONNECT_TIMEOUT);
    }

    /**
     * Connects to a published segment (rsm_memseg_import_connect(3RSM)).
     *
     * @param node        the exporting node; the local one is {@link #nodeId()}
     * @param segmentId   any 32-bit id
     * @param permission  0400, 0200 or 0600; or 0, which is granted to those who could have one of the others, and with which
     *                    nothing can be mapped
     * @param timeout     how long to wait for the exporter's answer; an exporter answers in microseconds unless it is stopped
     * @throws RsmException in this order: CTLR_NOT_PRESENT (released), PERM_DENIED (a permission that is none), BAD_SEGID (not
     *     32 bits), CTLR_NOT_PRESENT (another node over loopback), REMOTE_NODE_UNREACHABLE, INSUFFICIENT_RESOURCES,
     *     SEG_NOT_PUBLISHED, BAD_DRIVER_VERSION, SEG_NOT_PUBLISHED_TO_NODE, PERM_DENIED (not granted), INSUFFICIENT_RESOURCES (the
     *     exporter's, or this user has its share of its importers), CONN_ABORTED (the exporter broke off or breaks the protocol),
     *     TIMEOUT, INTERRUPTED
     */
    public ImportSegment importConnect(int node, long segmentId, int permission, Duration timeout) {
        return ImportSegment.connect(this, live("import-connect"), node, segmentId, permission, timeout);
    }

    Interconnect live(String op) {
        if (!isOpen()) {
            throw RsmException.of(RsmError.CTLR_NOT_PRESENT, op).with("controller", name())
                .hint("the controller has been released");
        }
        return interconnect;
    }

    Interconnect interconnect() {
        return interconnect;
    }

    /**
     * The page size of this machine in bytes: offsets of mappings and lengths of segments are multiples of it.
     *
     * @throws RsmException CTLR_NOT_PRESENT (native functions cannot be called)
     */
    public static long pageSize() {
        Entrance.require("page-size");
        return Vm.pageSize();
    }

    @Override
    public String toString() {
        return "#<Controller " + name() + " node " + nodeId() + (isOpen() ? ">" : " released>");
    }
}
