package org.rsmapi.trial;

import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.rsmapi.Capabilities;
import org.rsmapi.ControllerAttributes;
import org.rsmapi.Permission;
import org.rsmapi.PublishedSegment;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;
import org.rsmapi.mem.Engine;
import org.rsmapi.spi.AccessPolicy;
import org.rsmapi.spi.Allocated;
import org.rsmapi.spi.Connection;
import org.rsmapi.spi.ExportedMemory;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Interconnect;
import org.rsmapi.spi.InterconnectProvider;
import org.rsmapi.spi.MappedRange;
import org.rsmapi.spi.MemoryOption;
import org.rsmapi.spi.Nodes;
import org.rsmapi.spi.Preload;
import org.rsmapi.spi.RemoteMemory;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Vm;

/** Controllers {@code copy0} to {@code copy3}: segments within this process, whose data is copied and never mapped. */
public final class CopyProvider implements InterconnectProvider {
    private static final String TYPE = "copy";
    private static final int UNITS = 4;
    private static final int EVERY_WIDTH = 1 | 2 | 4 | 8;
    private static final int CHOSEN_IDS = 0x8000_0000;
    private static final Engine MEMORY = Engine.ENGINE;

    // Static, because the service loader may make any number of providers.
    private static final Map<Key, Publication> PUBLISHED = new ConcurrentHashMap<>();
    private static final Set<Controller> OPEN = ConcurrentHashMap.newKeySet();
    private static final AtomicInteger NEXT_ID = new AtomicInteger();

    /** One node of one unit. */
    private record Place(int unit, int node) {
        String name() {
            return TYPE + unit;
        }
    }

    private record Key(Place place, int segmentId) {
        RsmException failure(RsmError error, String op) {
            return RsmException.of(error, op).with("node", place.node).with("segment-id", Integer.toUnsignedLong(segmentId));
        }
    }

    @Override
    public Interconnect open(String type, int unit, int node) {
        if (!type.equals(TYPE) || unit < 0 || unit >= UNITS) {
            return null;
        }
        Preload.once();
        int here = node == -1 ? Nodes.configured("get-controller") : node;
        if (!Nodes.exists(here)) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "get-controller").with("node", node).hint(Nodes.RANGE);
        }
        Controller controller = new Controller(new Place(unit, here));
        OPEN.add(controller);
        return controller;
    }

    @Override
    public List<Topology.LocalController> controllers() {
        List<Place> places = OPEN.stream().map(controller -> controller.place).distinct().toList();
        return places.stream()
            .map(here -> new Topology.LocalController(here.name(), here.node, places.stream()
                .filter(there -> there.unit == here.unit)
                .map(there -> new Topology.RemoteController(there.node, there.name(), there.node, Topology.ConnectionState.ACTIVE))
                .toList()))
            .toList();
    }

    @Override
    public List<PublishedSegment> published(boolean processes) {
        long pid = ProcessHandle.current().pid();
        return PUBLISHED.keySet().stream()
            .map(key -> new PublishedSegment(key.place.name(), key.place.node, Integer.toUnsignedLong(key.segmentId), -1, pid, false))
            .toList();
    }

    private static final class Controller implements Interconnect {
        private final Place place;

        Controller(Place place) {
            this.place = place;
        }

        @Override
        public String name() {
            return place.name();
        }

        @Override
        public int localNode() {
            return place.node;
        }

        @Override
        public boolean localOnly() {
            return false;
        }

        @Override
        public int maxAccessEntries() {
            return Nodes.COUNT;
        }

        @Override
        public ControllerAttributes attributes() {
            return new ControllerAttributes(EVERY_WIDTH, EVERY_WIDTH, Vm.pageSize() / 1024, 0, 0, 0, 0, 0, 0);
        }

        /** The access lists are advisory: whoever has this process's memory has all of it. */
        @Override
        public Capabilities capabilities() {
            return new Capabilities(Capabilities.Memory.MIRRORED, Set.of(4, 8), Capabilities.AccessControl.ADVISORY, false, place.name());
        }

        @Override
        public ExportedMemory allocate(long length, Set<MemoryOption> options) {
            String op = "export-create";
            long address;
            try {
                address = Vm.mapAnonymous(length);
            } catch (OsError e) {
                throw Failures.resources(op, e);
            }
            try {
                furnish(op, address, length, options);
            } catch (RuntimeException | Error e) {
                Vm.unmap(address, length);
                throw e;
            }
            return new Segment(place, address, address, length, null, options);
        }

        @Override
        public ExportedMemory adopt(long address, long length, Object owner, Set<MemoryOption> options) {
            String op = "export-create";
            requireWritable(op, address, length, owner);
            furnish(op, address, length, options);
            return new Segment(place, 0, address, length, owner, options);
        }

        @Override
        public Connection connect(int node, int segmentId, Permission permission, long deadline, AbortListener listener) {
            Key key = new Key(new Place(place.unit, node), segmentId);
            Publication publication = PUBLISHED.get(key);
            if (publication == null) {
                throw key.failure(RsmError.SEG_NOT_PUBLISHED, "import-connect");
            }
            return publication.connect(place.node, permission, capabilities(), listener);
        }

        @Override
        public void close() {
            OPEN.remove(this);
        }
    }

    /** Importers change this memory, and a fault would end the JVM. */
    private static void requireWritable(String op, long address, long length, Object owner) {
        if (owner instanceof Allocated) {
            return;
        }
        long reached = address;
        for (Vm.Region region : Vm.regions(address, address + length)) {
            if (!region.writable() || region.start() > reached) {
                break;
            }
            reached = region.end();
        }
        if (reached < address + length) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("address", address).with("length", length)
                .hint("the whole range has to be mapped and writable");
        }
    }

    private static void furnish(String op, long address, long length, Set<MemoryOption> options) {
        if (options.contains(MemoryOption.HUGE_PAGES)) {
            throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, op).hint("this interconnect has no huge pages");
        }
        try {
            if (options.contains(MemoryOption.PREFAULT) && !Vm.populateForWriting(address, length)) {
                for (long at = address; at < address + length; at += Vm.pageSize()) {
                    MEMORY.getAndAddInt(at, 0);
                }
            }
            if (options.contains(MemoryOption.LOCK)) {
                Vm.lock(address, length);
            }
        } catch (OsError e) {
            throw Failures.resources(op, e);
        }
    }

    /** An exporter's memory. Importers use it with the read lock; who takes it away from them, or exchanges it, has the write lock. */
    private static final class Segment implements ExportedMemory {
        private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
        private final Events events = new Events();
        private final Place place;
        private final long length;
        private final Set<MemoryOption> options;
        /** What {@link #unmap} returns, or 0. */
        private long allocated;
        private volatile long address;
        /** Only kept reachable. */
        private Object owner;
        private volatile Publication publication;

        Segment(Place place, long allocated, long address, long length, Object owner, Set<MemoryOption> options) {
            this.place = place;
            this.allocated = allocated;
            this.address = address;
            this.length = length;
            this.owner = owner;
            this.options = Set.copyOf(options);
        }

        @Override
        public long address() {
            return address;
        }

        @Override
        public int publish(int segmentId, AccessPolicy access, byte[] layout, Gate gate) {
            String content = layout == null ? null : new String(layout, StandardCharsets.UTF_8);
            Key key;
            do {
                key = new Key(place, segmentId != 0 ? segmentId : NEXT_ID.getAndIncrement() | CHOSEN_IDS);
                Publication made = new Publication(this, key, access, content);
                if (PUBLISHED.putIfAbsent(key, made) == null) {
                    publication = made;
                    return key.segmentId;
                }
            } while (segmentId == 0);
            throw key.failure(RsmError.SEGID_IN_USE, "export-publish");
        }

        @Override
        public void republish(AccessPolicy access) {
            publication.access = access;
        }

        @Override
        public void unpublish() {
            revoke("unpublished");
        }

        private void revoke(String reason) {
            Publication ended = publication;
            if (ended == null) {
                return;
            }
            PUBLISHED.remove(ended.key, ended);
            publication = null;
            List<Link> links;
            lock.writeLock().lock();
            try {
                ended.revoked = true;
                links = List.copyOf(ended.importers);
                ended.importers.clear();
            } finally {
                lock.writeLock().unlock();
            }
            for (Link link : links) { // without the lock: a listener may do anything
                link.abort(reason);
            }
        }

        @Override
        public void rebind(long to, Object keeper, Gate gate) {
            String op = "export-rebind";
            requireWritable(op, to, length, keeper);
            furnish(op, to, length, options);
            gate.shut(); // before the lock, for which an access of the exporter's may be waiting
            try {
                long before = address;
                lock.writeLock().lock();
                try {
                    address = to;
                    owner = keeper;
                } finally {
                    lock.writeLock().unlock();
                }
                if (before == allocated) {
                    Vm.replaceWithZeroPages(allocated, length);
                }
            } finally {
                gate.open();
            }
        }

        @Override
        public void destroy() {
            revoke("destroyed");
            if (allocated != 0) {
                Vm.replaceWithZeroPages(allocated, length);
            }
            owner = null;
            events.end();
        }

        @Override
        public void unmap() {
            if (allocated != 0) {
                try {
                    Vm.unmap(allocated, length);
                } catch (OsError e) {
                    throw Failures.resources("export-destroy", e);
                }
                allocated = 0;
            }
        }

        @Override
        public Signals signals() {
            return events;
        }

        @Override
        public void post(boolean accumulate) {
            Publication now = publication;
            boolean posted = true;
            if (now != null) {
                for (Link link : now.importers) {
                    posted &= link.events.post(accumulate);
                }
            }
            if (!posted) { // but the other importers have theirs
                throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, "post").hint("an importer has not taken its events");
            }
        }

        @Override
        public int importers() {
            Publication now = publication;
            return now == null ? 0 : now.importers.size();
        }
    }

    /** A segment while it is published, from publish to unpublish. */
    private static final class Publication {
        private final Segment segment;
        private final Key key;
        private final String layout;
        private final Set<Link> importers = ConcurrentHashMap.newKeySet();
        private volatile AccessPolicy access;
        /** Set with the write lock. */
        private volatile boolean revoked;

        Publication(Segment segment, Key key, AccessPolicy access, String layout) {
            this.segment = segment;
            this.key = key;
            this.access = access;
            this.layout = layout;
        }

        /** Every importer counts as the owner here: there is one process only. */
        Link connect(int node, Permission permission, Capabilities capabilities, Interconnect.AbortListener listener) {
            String op = "import-connect";
            int digits = access.digits(node);
            if (digits == AccessPolicy.NOT_LISTED) {
                throw key.failure(RsmError.SEG_NOT_PUBLISHED_TO_NODE, op).with("importing-node", node);
            }
            if (!Permission.ofBits(digits & Permission.RDWR.bits()).includes(permission)) {
                throw key.failure(RsmError.PERM_DENIED, op).with("perm", permission);
            }
            Link link = new Link(this, capabilities, listener);
            segment.lock.writeLock().lock();
            try {
                if (revoked) {
                    throw key.failure(RsmError.SEG_NOT_PUBLISHED, op);
                }
                importers.add(link);
            } finally {
                segment.lock.writeLock().unlock();
            }
            return link;
        }
    }

    /** One importer's connection. */
    private static final class Link implements Connection, RemoteMemory {
        private final Events events = new Events();
        private final Publication publication;
        private final Segment segment;
        private final Capabilities capabilities;
        private final Interconnect.AbortListener listener;
        /** Set with the write lock. */
        private volatile boolean closed;

        Link(Publication publication, Capabilities capabilities, Interconnect.AbortListener listener) {
            this.publication = publication;
            this.segment = publication.segment;
            this.capabilities = capabilities;
            this.listener = listener;
        }

        @Override
        public Capabilities capabilities() {
            return capabilities;
        }

        @Override
        public long size() {
            return segment.length;
        }

        @Override
        public ByteOrder byteOrder() {
            return ByteOrder.nativeOrder();
        }

        @Override
        public String layout() {
            return publication.layout;
        }

        @Override
        public Signals signals() {
            return events;
        }

        @Override
        public void post(boolean accumulate) {
            requireUsable("post");
            if (!segment.events.post(accumulate)) {
                throw publication.key.failure(RsmError.INSUFFICIENT_RESOURCES, "post").hint("the exporter has not taken its events");
            }
        }

        @Override
        public int exporterPid() {
            return (int) ProcessHandle.current().pid();
        }

        @Override
        public long exporterUid() {
            return -1; // plain Java does not know it
        }

        @Override
        public boolean aborted() {
            return publication.revoked;
        }

        @Override
        public RemoteMemory remote() {
            return this;
        }

        @Override
        public MappedRange map(Placement placement, long address, Permission permission, long offset, long length,
                Set<MemoryOption> options) {
            throw new UnsupportedOperationException("there is a remote memory");
        }

        /** Waits for what is under way, so that the local memory is not used any more afterwards. */
        @Override
        public void close() {
            segment.lock.writeLock().lock();
            try {
                closed = true;
                publication.importers.remove(this);
            } finally {
                segment.lock.writeLock().unlock();
            }
            events.end();
        }

        void abort(String reason) {
            events.end();
            listener.aborted(reason);
        }

        private void requireUsable(String op) {
            if (publication.revoked || closed) {
                throw publication.key.failure(RsmError.CONN_ABORTED, op);
            }
        }

        /** The segment's address, which holds until {@link #leave}. */
        private long enter(String op) {
            segment.lock.readLock().lock();
            try {
                requireUsable(op);
            } catch (RuntimeException | Error e) {
                leave();
                throw e;
            }
            return segment.address;
        }

        private void leave() {
            segment.lock.readLock().unlock();
        }

        @Override
        public void put(long offset, long address, long length) {
            long base = enter("import-put");
            try {
                toSegment(address, base + offset, length);
                VarHandle.fullFence(); // a get must not overtake it
            } finally {
                leave();
            }
        }

        @Override
        public void get(long offset, long address, long length) {
            long base = enter("import-get");
            try {
                fromSegment(base + offset, address, length);
            } finally {
                leave();
            }
        }

        @Override
        public void open() {
            requireUsable("barrier-open");
        }

        /** What was put before has arrived already. */
        @Override
        public void order() {
            requireUsable("barrier-order");
        }

        /** What was put before has arrived already. */
        @Override
        public void confirm() {
            requireUsable("barrier-close");
        }

        @Override
        public long compareAndExchange(long offset, int width, long expected, long value) {
            long at = enter("compare-and-exchange") + offset;
            try {
                long wanted = width == 4 ? (int) expected : expected;
                while (true) {
                    long there = width == 4 ? MEMORY.getIntVolatile(at) : MEMORY.getLongVolatile(at);
                    if (there != wanted || (width == 4 ? MEMORY.compareAndSetInt(at, (int) wanted, (int) value)
                            : MEMORY.compareAndSetLong(at, wanted, value))) {
                        return there;
                    }
                }
            } finally {
                leave();
            }
        }

        @Override
        public long getAndAdd(long offset, int width, long delta) {
            long at = enter("get-and-add") + offset;
            try {
                return width == 4 ? MEMORY.getAndAddInt(at, (int) delta) : MEMORY.getAndAddLong(at, delta);
            } finally {
                leave();
            }
        }
    }

    /** Copies with whole elements, as large as their alignment in the segment allows; the local ones may lie anywhere. */
    private static void toSegment(long local, long segment, long length) {
        long from = local;
        long to = segment;
        long end = segment + length;
        while (to < end) {
            int width = width(to, end - to);
            switch (width) {
                case 8 -> MEMORY.putLongRelease(to, MEMORY.getLong(from));
                case 4 -> MEMORY.putIntRelease(to, MEMORY.getInt(from));
                case 2 -> MEMORY.putShortRelease(to, MEMORY.getShort(from));
                default -> MEMORY.putByteRelease(to, MEMORY.getByte(from));
            }
            from += width;
            to += width;
        }
    }

    /** The other way. */
    private static void fromSegment(long segment, long local, long length) {
        long from = segment;
        long to = local;
        long end = segment + length;
        while (from < end) {
            int width = width(from, end - from);
            switch (width) {
                case 8 -> MEMORY.putLong(to, MEMORY.getLongAcquire(from));
                case 4 -> MEMORY.putInt(to, MEMORY.getIntAcquire(from));
                case 2 -> MEMORY.putShort(to, MEMORY.getShortAcquire(from));
                default -> MEMORY.putByte(to, MEMORY.getByteAcquire(from));
            }
            from += width;
            to += width;
        }
    }

    private static int width(long address, long left) {
        int width = 8;
        while ((address & width - 1) != 0 || width > left) {
            width /= 2;
        }
        return width;
    }

    /** The events of one handle. */
    private static final class Events implements Signals {
        private int count;
        private boolean ended;

        /** False if there is no room for one more. */
        synchronized boolean post(boolean accumulate) {
            if (ended || count > 0 && !accumulate) {
                return true;
            }
            if (count == Integer.MAX_VALUE) {
                return false;
            }
            count++;
            notifyAll();
            return true;
        }

        synchronized void end() {
            ended = true;
            notifyAll();
        }

        @Override
        public synchronized boolean take() {
            if (count == 0) {
                return false;
            }
            count--;
            return true;
        }

        @Override
        public synchronized Outcome await(long deadlineNanos) {
            while (count == 0 && !ended) {
                long left = deadlineNanos - System.nanoTime();
                if (left <= 0) {
                    return Outcome.TIMEOUT;
                }
                try {
                    TimeUnit.NANOSECONDS.timedWait(this, left);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    return Outcome.INTERRUPTED;
                }
            }
            return Outcome.READY;
        }

        /** A monitor has no descriptor, and the interface no answer that says so. */
        @Override
        public int pollDescriptor() {
            throw RsmException.of(RsmError.INTERNAL_ERROR, "poll-descriptor").hint("this interconnect has no poll descriptors; wait instead");
        }

        @Override
        public synchronized boolean hold() {
            return !ended;
        }

        @Override
        public void release() {
            // there is nothing to keep open
        }
    }
}
