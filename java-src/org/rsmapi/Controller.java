package org.rsmapi;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.Interconnects;
import org.rsmapi.spi.NoRoom;
import org.rsmapi.spi.Nodes;
import org.rsmapi.sys.Credentials;
import org.rsmapi.sys.Stack;
import org.rsmapi.sys.Vm;

/**
 * A controller gives access to an interconnect: segments are exported and imported on it (rsm_get_controller(3RSM)).
 *
 * <p>Controllers are counted: each {@link #get} of the same name returns the same object and adds a reference, and each
 * {@link #release} drops one. The last one ends the controller; its segments stay usable.
 *
 * <p>{@code loopback} reaches the local node. {@code shm0} to {@code shm31} are the same mechanism with 64 nodes on one machine:
 * each process, or each controller by {@link #get(String, int)}, has one of them. The nodes of {@code net0} to {@code net7} are hosts.
 */
public final class Controller implements AutoCloseable {
    private static final String LOOPBACK = "loopback";
    private static final int NAME_LIMIT = 256;
    private static final int CONFIGURED_NODE = -1;
    private static final List<Controller> OPEN = new ArrayList<>();

    private final Interconnect interconnect;
    /** Guarded by itself; weak. */
    private final Set<Segment> segments = Collections.synchronizedSet(Collections.newSetFromMap(new WeakHashMap<>()));
    private int references;

    private Controller(Interconnect interconnect) {
        this.interconnect = interconnect;
    }

    /**
     * Returns the controller of this name, with one more reference.
     *
     * @param name  {@code loopback}, {@code shm0}, {@code net0} and so on, upper or lower case; null means {@code loopback}. A name without
     *              a number means unit 0
     * @throws RsmException CTLR_NOT_PRESENT, BAD_CONF (the configured node is not one; the key or the nodes file of hosts),
     *     REMOTE_NODE_UNREACHABLE (the gateway of this host does not let this process in), INSUFFICIENT_RESOURCES (a class cannot be loaded, without free descriptors)
     */
    public static Controller get(String name) {
        return open(name, CONFIGURED_NODE);
    }

    /**
     * Returns the controller of this name on which the caller has a given node, with one more reference.
     *
     * @param node  0 to 63
     * @throws RsmException in this order: BAD_CONF (no such node), CTLR_NOT_PRESENT, INSUFFICIENT_RESOURCES
     */
    public static Controller get(String name, int node) {
        if (!Nodes.exists(node)) {
            throw RsmException.of(RsmError.BAD_CONF, "get-controller").with("node", node).hint(Nodes.RANGE);
        }
        return open(name, node);
    }

    private static Controller open(String name, int node) {
        Stack.reserve();
        Interconnect interconnect = find(name == null ? LOOPBACK : name, node);
        synchronized (OPEN) {
            OPEN.removeIf(open -> open.interconnect.ended());
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
            Interconnect found = Interconnects.open(type, unit, node);
            if (found != null) {
                return found;
            }
        }
        throw RsmException.of(RsmError.CTLR_NOT_PRESENT, "get-controller")
            .with("controller", name.length() < NAME_LIMIT ? name : name.substring(0, NAME_LIMIT) + "...")
            .hint("there are loopback, shm0 to shm31, net0 to net7, and sim0 to sim31 while a simulated world is open");
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
     * Returns the controllers and nodes that can be reached (rsm_get_interconnect_topology(3RSM)).
     *
     * @throws RsmException BAD_CONF (the configured node is not one), CTLR_NOT_PRESENT (a provider of controllers on the class path
     *     cannot be loaded)
     */
    public static Topology topology() {
        int node = Nodes.configured("topology");
        return new Topology(node, Interconnects.controllers());
    }

    /**
     * Returns the segments that are published on this machine (in this network namespace), by node and id. The kernel lists them: no
     * exporter is asked, so none can delay this or hide from it. A segment that is published or unpublished meanwhile may be in the
     * list or not.
     *
     * @param processes  whether to look for the exporters' process ids, which takes up to a second on a machine with many
     *                   processes; otherwise only those of this process's segments are known
     * @throws RsmException CTLR_NOT_PRESENT (native functions cannot be called, or a provider of controllers on the class path cannot
     *     be loaded), INSUFFICIENT_RESOURCES, INSUFFICIENT_MEM
     */
    public static List<PublishedSegment> published(boolean processes) {
        Stack.reserve();
        Map<Long, ExportSegment> own = ExportSegment.published();
        List<PublishedSegment> found = new ArrayList<>();
        for (PublishedSegment each : Interconnects.published(processes)) {
            ExportSegment mine = own.get(ExportSegment.place(each.node(), each.segmentId()));
            found.add(mine == null ? each : new PublishedSegment(mine.controller().name(), each.node(), each.segmentId(), each.uid(),
                Credentials.pid(), true));
        }
        found.sort(Comparator.comparingInt(PublishedSegment::node).thenComparingLong(PublishedSegment::segmentId));
        return List.copyOf(found);
    }

    /**
     * Returns this process's segments on the controller: export segments that have not been destroyed, and import segments that are
     * connected, in no particular order. Segments that nobody references any more may be missing.
     */
    public List<Segment> segments() {
        List<Segment> open = new ArrayList<>();
        synchronized (segments) {
            for (Segment segment : segments) {
                if (segment.isOpen()) {
                    open.add(segment);
                }
            }
        }
        return List.copyOf(open);
    }

    /** Lists a segment in {@link #segments}, without keeping it reachable. If that fails, the segment is closed. */
    <S extends Segment> S listed(S segment) {
        try {
            segments.add(segment);
            return segment;
        } catch (Error e) {
            segment.close();
            throw e;
        }
    }

    /** The segment has ended. */
    void ended(Segment segment) {
        segments.remove(segment);
    }

    /** The canonical name. */
    public String name() {
        return interconnect.name();
    }

    /** The node of this process on it, 0 to 63. */
    public int nodeId() {
        return interconnect.localNode();
    }

    /** Whether there is a reference left. */
    public boolean isOpen() {
        synchronized (OPEN) {
            return references > 0 && !interconnect.ended();
        }
    }

    /**
     * Returns the attributes of the controller (rsm_get_controller_attr(3RSM)).
     *
     * @throws RsmException CTLR_NOT_PRESENT if it has been released
     */
    public ControllerAttributes attributes() {
        return live("controller-attr").attributes();
    }

    /**
     * Returns what can be done with segments that are imported over it. Beyond the RSMAPI.
     *
     * @throws RsmException CTLR_NOT_PRESENT if it has been released
     */
    public Capabilities capabilities() {
        return live("capabilities").capabilities();
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
        return ExportSegment.of(this, live.allocate(length, ExportSegment.memoryOptions(flags)), length, flags, null);
    }

    /**
     * Creates an export segment of the caller's own memory (rsm_memseg_export_create(3RSM)), which stays where it is and keeps its
     * content, now and after {@link ExportSegment#destroy()}. Do not write to it during this call.
     *
     * <p>A wrong address could take memory away from the JVM itself. So it has to be memory that the library knows to be
     * the caller's: memory from {@link LocalMemory#allocate}, or a direct buffer's
     * ({@link #exportCreate(ByteBuffer, int)}). For memory from elsewhere, start the JVM with
     * {@code -Drsmapi.foreign-memory=allow}; the caller is then responsible for the addresses.
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
            return ExportSegment.of(this, live.adopt(address, length, part, ExportSegment.memoryOptions(flags)), length, flags, part);
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
        for (Room room = new Room(address, length); ; ) {
            LocalMemory.Part part = memory.occupy(address, length, true);
            if (part != null) {
                return part;
            }
            room.makeAfter(new NoRoom(RsmException.of(RsmError.BAD_ADDR, op).with("address", address).with("length", length)
                .hint("another segment or mapping lies over a part of this memory")));
        }
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
        return ExportSegment.of(this, live.adopt(address, length, memory.owner(), ExportSegment.memoryOptions(flags)), length, flags,
            memory.owner());
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
     * @param permission  0400, 0200 or 0600; or 0, which is granted to importers that could have one of the others, and with
     *                    which nothing can be mapped
     * @param timeout     how long to wait for the exporter's answer; an exporter answers in microseconds unless it is stopped
     * @throws RsmException in this order: CTLR_NOT_PRESENT (released), PERM_DENIED (not a permission), BAD_SEGID (not
     *     32 bits), CTLR_NOT_PRESENT (another node over loopback), REMOTE_NODE_UNREACHABLE, INSUFFICIENT_RESOURCES,
     *     SEG_NOT_PUBLISHED, BAD_DRIVER_VERSION, SEG_NOT_PUBLISHED_TO_NODE, PERM_DENIED (not granted), INSUFFICIENT_RESOURCES (the
     *     exporter's, or its limit of importers is reached), CONN_ABORTED (the exporter closed the connection or broke the protocol),
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
