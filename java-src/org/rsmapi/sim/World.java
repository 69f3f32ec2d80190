package org.rsmapi.sim;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import org.rsmapi.Capabilities;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.Nodes;
import org.rsmapi.spi.Signals.Outcome;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Stack;

/**
 * A simulated interconnect: nodes 0 to 63 within this process, and what goes wrong between them. An application opens its controllers by
 * the world's name, such as {@code sim0}, each as the node that it wants to be.
 *
 * <p>A world has its own time, in nanoseconds since it began. Messages take the time that {@link Options} say; nothing else takes any. A
 * call that waits, for an answer or for an event, moves the time to where it has what it waits for, or to its timeout. So a wait of
 * five seconds takes none. With {@link Options#manual()} it waits until somebody else moves the time.
 *
 * <p>One seed and one order of calls give one history. Threads that call at the same time bring their own order.
 */
@SuppressWarnings("try") // a turn is only to be held
public final class World implements AutoCloseable {
    /** How many worlds there can be. */
    public static final int COUNT = 32;

    /** Fifty years, in nanoseconds: the sum of a few such times fits a long. */
    private static final long LONGEST = TimeUnit.DAYS.toNanos(50 * 365);

    private static final Map<Integer, World> OPEN = new TreeMap<>();

    private final Options options;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final Agenda agenda = new Agenda();
    private final SplittableRandom random;
    private final History history = new History();
    private final Map<Fault.Message, Integer> counts = new HashMap<>();
    /** To be run without the lock. */
    private final Queue<Runnable> callbacks = new ArrayDeque<>();
    /** To be run in a turn. */
    private final Queue<Runnable> soon = new ConcurrentLinkedQueue<>();
    private final Node[] nodes = new Node[Nodes.COUNT];
    private final Map<Long, SimExport> published = new TreeMap<>();
    private final List<SimConnection> connections = new ArrayList<>();
    private int nextId = 0x8000_0000;
    private volatile boolean ended;

    /**
     * What a world is like.
     *
     * @param unit     the number in its name, 0 to 31
     * @param seed     of its chance
     * @param memory   how memory relates
     * @param least    what a message takes at least, in nanoseconds
     * @param most     what a message takes at most, in nanoseconds
     * @param timeout  how long an answer is waited for, and after which time without a way a connection is aborted, in nanoseconds
     * @param overtake whether writes of one connection may overtake each other between two points of order
     * @param manual   whether only {@link World#step}, {@link World#run} and {@link World#advance} move the time
     * @param faults   what goes wrong
     */
    public record Options(int unit, long seed, Capabilities.Memory memory, long least, long most, long timeout, boolean overtake,
            boolean manual, List<Fault> faults) {
        /**
         * What a world is like unless something else is said: unit 0, mirrored memory, messages of 5 to 50 microseconds, a timeout of one
         * second, writes that overtake each other, no faults.
         */
        public static Options of(long seed) {
            return new Options(0, seed, Capabilities.Memory.MIRRORED, 5_000, 50_000, TimeUnit.SECONDS.toNanos(1), true, false, List.of());
        }

        /** The same with other faults. */
        public Options with(Fault... others) {
            return new Options(unit, seed, memory, least, most, timeout, overtake, manual, List.of(others));
        }

        /** The same with another kind of memory. */
        public Options with(Capabilities.Memory other) {
            return new Options(unit, seed, other, least, most, timeout, overtake, manual, faults);
        }

        /** The same with other times. */
        public Options with(long leastLatency, long mostLatency, long otherTimeout) {
            return new Options(unit, seed, memory, leastLatency, mostLatency, otherTimeout, overtake, manual, faults);
        }

        /** Checks them. */
        public Options {
            faults = List.copyOf(faults);
            if (unit < 0 || unit >= COUNT || least < 0 || most < least || most > LONGEST || timeout <= 0 || timeout > LONGEST
                    || memory == null) {
                throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "world").with("unit", unit).with("least", least).with("most", most)
                    .with("timeout", timeout).hint("units are 0 to 31, and times are not negative, and at most fifty years");
            }
            for (Fault fault : faults) {
                if (!Nodes.exists(fault.from()) || !Nodes.exists(fault.to()) || fault.at() > LONGEST || fault.nanos() > LONGEST || fault.nanos() < 0) {
                    throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "world").with("fault", fault.kind()).with("node", fault.from())
                        .with("to", fault.to()).hint(Nodes.RANGE + ", and times at most fifty years");
                }
                String nonsense = fault.objection();
                if (nonsense != null) {
                    throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "world").with("fault", fault.kind()).hint(nonsense);
                }
            }
        }
    }

    /** One node: whether it runs, and what it has not looked at yet. */
    private static final class Node {
        private boolean stopped;
        private volatile boolean killed;
        /** Since when it does not run; -1 if it does. */
        private long idleSince = -1;
        private final Queue<Runnable> inbox = new ArrayDeque<>();
        /** What it has sent since it was stopped. */
        private final Queue<Runnable> outbox = new ArrayDeque<>();
        private final Map<Integer, Link> links = new HashMap<>();

        Link to(int node) {
            return links.computeIfAbsent(node, key -> new Link());
        }
    }

    /** The way from one node to another one. */
    private static final class Link {
        /** Since when nothing passes; -1 if it does. */
        private long cutSince = -1;
        private final Queue<Runnable> held = new ArrayDeque<>();
    }

    private World(Options options) {
        this.options = options;
        this.random = new SplittableRandom(options.seed());
        for (int i = 0; i < nodes.length; i++) {
            nodes[i] = new Node();
        }
        for (Fault fault : options.faults()) {
            if (fault.at() >= 0) {
                agenda.faultAt(fault.at(), () -> happen(fault, null, true));
            }
        }
    }

    /**
     * Begins a world.
     *
     * @throws RsmException BAD_ARGS_ERRORS (there is one of this unit already)
     */
    public static World open(Options options) {
        synchronized (OPEN) {
            if (OPEN.containsKey(options.unit())) {
                throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "world").with("unit", options.unit())
                    .hint("a world of this unit is open: close it, or take another unit");
            }
            World world = new World(options);
            OPEN.put(options.unit(), world);
            return world;
        }
    }

    /** The open world of a unit, or null. */
    static World of(int unit) {
        synchronized (OPEN) {
            return OPEN.get(unit);
        }
    }

    static Collection<World> all() {
        synchronized (OPEN) {
            return List.copyOf(OPEN.values());
        }
    }

    /** The name by which its controllers are opened, such as {@code sim0}. */
    public String controller() {
        return SimProvider.TYPE + options.unit();
    }

    /** What it is like. */
    public Options options() {
        return options;
    }

    /** Whether importers map the exporter's memory. */
    boolean shares() {
        return options.memory() == Capabilities.Memory.SHARED;
    }

    // ---- turns: everything in a world is done by one thread at a time ----

    /** While it is open, the thread that has taken it is the only one in the world. */
    final class Turn implements AutoCloseable {
        private Turn() {}

        @Override
        public void close() {
            leave();
            runCallbacks();
            helpSoon();
        }
    }

    Turn turn() {
        Turn turn = new Turn();
        Stack.reserve();
        Stack.lock(lock);
        boolean entered = false;
        try {
            runSoon();
            if (lock.getHoldCount() == 1) {
                agenda.meetFaults();
            }
            entered = true;
        } finally {
            if (!entered) {
                lock.unlock();
            }
        }
        return turn;
    }

    private void leave() {
        try {
            runSoon();
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Has something done in a turn, of this thread or of the one that has it, without waiting for it. It takes no other locks. */
    void soon(Runnable action) {
        soon.add(action);
        helpSoon();
    }

    /** Also after each turn: what was added at its end has found the lock taken. */
    private void helpSoon() {
        while (!soon.isEmpty() && lock.tryLock()) {
            leave();
        }
    }

    private void runSoon() {
        for (Runnable next = soon.poll(); next != null; next = soon.poll()) {
            next.run();
        }
    }

    /** Has something run when the turn is over: what takes locks of the model. */
    void afterwards(Runnable callback) {
        callbacks.add(callback);
    }

    private void runCallbacks() {
        while (!lock.isHeldByCurrentThread()) {
            Runnable next;
            lock.lock();
            try {
                next = callbacks.poll();
            } finally {
                lock.unlock();
            }
            if (next == null) {
                return;
            }
            next.run();
        }
    }

    /**
     * In a turn: lets the world go on until something is so, or until a deadline in its time.
     *
     * @return READY if it is so; TIMEOUT also if it cannot become so, because the world has ended
     */
    Outcome await(BooleanSupplier condition, long deadline) {
        boolean news = true; // for those who wait
        while (!condition.getAsBoolean()) {
            if (ended || agenda.now() - deadline >= 0) {
                return Outcome.TIMEOUT;
            }
            boolean forever = deadline - agenda.now() > TimeUnit.DAYS.toNanos(10_000);
            if (Thread.currentThread().isInterrupted()) {
                return Outcome.INTERRUPTED;
            }
            if (!options.manual() && agenda.next() <= deadline) {
                agenda.step();
                news = true;
            } else if (!options.manual() && !forever) {
                agenda.moveTo(deadline);
                continue;
            } else {
                if (news) {
                    changed.signalAll();
                    news = false;
                }
                try {
                    changed.await();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    return Outcome.INTERRUPTED;
                }
            }
            letCallbacksRun();
        }
        return Outcome.READY;
    }

    private void letCallbacksRun() {
        if (!callbacks.isEmpty() && lock.getHoldCount() == 1) {
            lock.unlock();
            try {
                runCallbacks();
            } finally {
                lock.lock();
            }
            runSoon();
        }
    }

    // ---- time ----

    /** The time, in nanoseconds since the world began. */
    public long now() {
        try (Turn turn = turn()) {
            return agenda.now();
        }
    }

    /** Has the next thing happen, and moves the time there. Returns whether there was one. */
    public boolean step() {
        try (Turn turn = turn()) {
            if (ended || agenda.next() == Long.MAX_VALUE) {
                return false;
            }
            agenda.step();
            return true;
        }
    }

    /** Has everything happen that is under way, until nothing is. Returns how many things there were. */
    public int run() {
        int steps = 0;
        while (step()) {
            steps++;
        }
        return steps;
    }

    /** Moves the time, and has everything happen that does until then. */
    public void advance(Duration time) {
        boolean possible = time.compareTo(Duration.ofNanos(LONGEST)) <= 0;
        long until = possible ? now() + Math.max(time.toNanos(), 0) : 0;
        if (!possible || until > 4 * LONGEST) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "advance").with("time", time.toString())
                .hint("time moves fifty years at once at most, and a world lasts two hundred");
        }
        while (true) {
            try (Turn turn = turn()) {
                if (ended || agenda.next() > until) {
                    agenda.moveTo(until);
                    return;
                }
                agenda.step();
            }
        }
    }

    // ---- what goes wrong ----

    /** Lets nothing pass from a node to another one any more. What is sent waits. */
    public void cut(int from, int to) {
        happen(Fault.Kind.CUT, from, to);
    }

    /** Lets it pass again, with what has waited. */
    public void mend(int from, int to) {
        happen(Fault.Kind.MEND, from, to);
    }

    /** Ends a node at once: its segments, its connections, its controllers. */
    public void kill(int node) {
        happen(Fault.Kind.KILL, node, 0);
    }

    /** Lets nothing arrive at a node, and nothing that it sends leave it. */
    public void stop(int node) {
        happen(Fault.Kind.STOP, node, 0);
    }

    /** Lets it go on. */
    public void resume(int node) {
        happen(Fault.Kind.CONTINUE, node, 0);
    }

    private void happen(Fault.Kind kind, int from, int to) {
        if (!Nodes.exists(from) || !Nodes.exists(to)) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, "world").with("node", from).with("to", to).hint(Nodes.RANGE);
        }
        try (Turn turn = turn()) {
            happen(new Fault(kind, 0, null, 0, from, to, -1, 0), null, false);
        }
    }

    /** In a turn. {@code met} is the segment for which a message is, or null. */
    private void happen(Fault fault, SimExport met, boolean planned) {
        if (ended) {
            return;
        }
        Node node = nodes[fault.from()];
        switch (fault.kind()) {
            case CUT:
                note("cut", "from", fault.from(), "to", fault.to(), "planned", planned);
                node.to(fault.to()).cutSince = since(node.to(fault.to()).cutSince);
                break;
            case MEND:
                note("mend", "from", fault.from(), "to", fault.to(), "planned", planned);
                node.to(fault.to()).cutSince = -1;
                release(node.to(fault.to()).held);
                break;
            case STOP:
                note("stop", "node", fault.from(), "planned", planned);
                node.stopped = true;
                node.idleSince = since(node.idleSince);
                break;
            case CONTINUE:
                note("continue", "node", fault.from(), "planned", planned);
                node.stopped = false;
                node.idleSince = node.killed ? node.idleSince : -1;
                release(node.inbox);
                node.outbox.forEach(Runnable::run);
                node.outbox.clear();
                break;
            case KILL:
                note("kill", "node", fault.from(), "planned", planned);
                kill(node, fault.from());
                break;
            case REVOKE:
                SimExport revoked = fault.message() != null && fault.segment() < 0 ? met : published.get(place(fault.from(), (int) fault.segment()));
                if (revoked != null && revoked.segmentId() >= 0) {
                    note("revoke", "node", revoked.node(), "segment-id", revoked.segmentId(), "planned", planned);
                    try {
                        revoked.revoke("unpublished", true);
                    } catch (OsError e) {
                        note("not-moved", "node", revoked.node(), "reason", e.getMessage()); // unpublish tries again
                    }
                }
                break;
            default:
                break;
        }
        watchPaths();
    }

    private void release(Queue<Runnable> waiting) {
        while (!waiting.isEmpty()) {
            agenda.at(agenda.now(), waiting.poll());
        }
    }

    private long since(long before) {
        return before < 0 ? agenda.now() : before;
    }

    private void kill(Node node, int number) {
        node.killed = true;
        node.idleSince = since(node.idleSince);
        node.inbox.clear();
        node.outbox.clear();
        for (SimExport export : List.copyOf(published.values())) {
            if (export.node() == number) {
                published.remove(place(number, (int) export.segmentId()));
                export.die();
            }
        }
        for (SimConnection connection : List.copyOf(connections)) {
            if (connection.importer() == number) {
                connection.abort("exporter-gone");
                agenda.at(agenda.now() + options.timeout(), connection::leave); // its exporter finds out
            }
        }
    }

    boolean isUp(int node) {
        return !nodes[node].killed;
    }

    // ---- ways ----

    /** Since when there is no way between two nodes; -1 if there is one. */
    private long downSince(int a, int b) {
        long[] obstacles = {nodes[a].idleSince, nodes[b].idleSince, nodes[a].to(b).cutSince, nodes[b].to(a).cutSince};
        long since = -1;
        for (long each : obstacles) {
            since = each >= 0 && (since < 0 || each < since) ? each : since;
        }
        return since;
    }

    /** Whether it has been noticed that there is no way between two nodes. */
    boolean isKnownToBeDown(int a, int b) {
        long since = downSince(a, b);
        return since >= 0 && agenda.now() - since >= options.timeout();
    }

    boolean isDown(int a, int b) {
        return downSince(a, b) >= 0;
    }

    /** When something has changed: connections whose way is gone for too long will be aborted. */
    private void watchPaths() {
        for (SimConnection connection : connections) {
            watchPath(connection);
        }
    }

    void watchPath(SimConnection connection) {
        long since = downSince(connection.importer(), connection.exporter());
        if (since >= 0) {
            agenda.at(since + options.timeout(), () -> checkPath(connection));
        }
    }

    /** Aborts a connection if there is no way for too long. */
    void checkPath(SimConnection connection) {
        if (connections.contains(connection) && isKnownToBeDown(connection.importer(), connection.exporter())) {
            connection.lostWay(nodes[connection.exporter()].killed ? "exporter-gone" : "unreachable");
        }
    }

    // ---- messages ----

    /** What becomes of a message. */
    record Sent(long arrives, boolean fails, boolean lost) {}

    /**
     * Sends a message.
     *
     * @param notBefore  when it arrives at the earliest
     * @param segment    what it is for; may be null
     * @param action     done where it arrives
     */
    Sent send(Fault.Message kind, int from, int to, long notBefore, SimExport segment, Runnable action, Object... facts) {
        int nth = counts.merge(kind, 1, Integer::sum);
        long at = Math.max(agenda.now() + latency(), notBefore);
        boolean lost = nodes[from].killed;
        boolean fails = false;
        long delay = 0;
        List<Runnable> met = new ArrayList<>();
        for (Fault fault : options.faults()) {
            if (fault.message() == kind && fault.nth() == nth) {
                lost |= fault.kind() == Fault.Kind.LOSE;
                fails |= fault.kind() == Fault.Kind.FAIL;
                delay += fault.kind() == Fault.Kind.DELAY ? fault.nanos() : 0;
                if (fault.kind().isOfTheWorld()) {
                    met.add(() -> happen(fault, segment != null ? segment : published(from, to, facts), true));
                }
            }
        }
        long arrives = at + delay;
        history.add(agenda.now(), kind.text(), facts, "nth", nth, "from", from, "to", to, "arrives", lost ? null : arrives,
            "lost", lost ? true : null, "delayed", delay > 0 ? delay : null, "fails", fails ? true : null);
        Runnable arrival = () -> arrive(from, to, met, action);
        if (!lost && nodes[from].stopped) {
            nodes[from].outbox.add(() -> agenda.at(arrives, arrival));
        } else if (!lost) {
            agenda.at(arrives, arrival);
        }
        return new Sent(arrives, fails, lost);
    }

    /** The segment that a message between two nodes is about, by its facts; null if it is not published. */
    private SimExport published(int from, int to, Object[] facts) {
        int id = facts.length > 1 && facts[1] instanceof Long ? ((Long) facts[1]).intValue() : 0;
        SimExport found = published(to, id);
        return found != null ? found : published(from, id);
    }

    /** Arrives, unless it has to wait. What goes wrong with it goes wrong then, and may keep it from having an effect. */
    private void arrive(int from, int to, List<Runnable> met, Runnable action) {
        Link link = nodes[from].to(to);
        if (link.cutSince >= 0) {
            link.held.add(() -> arrive(from, to, met, action));
        } else if (nodes[to].stopped) {
            nodes[to].inbox.add(() -> arrive(from, to, met, action));
        } else if (!nodes[to].killed && !met.isEmpty()) {
            met.forEach(Runnable::run);
            arrive(from, to, List.of(), action);
        } else if (!nodes[to].killed) {
            action.run();
        }
    }

    /** In a turn: has something happen at a time. */
    void at(long time, Runnable action) {
        agenda.at(time, action);
    }

    private long latency() {
        return options.least() == options.most() ? options.least() : random.nextLong(options.least(), options.most() + 1);
    }

    // ---- segments and connections ----

    static long place(int node, int segmentId) {
        return (long) node << 32 | Integer.toUnsignedLong(segmentId);
    }

    SimExport published(int node, int segmentId) {
        return published.get(place(node, segmentId));
    }

    Map<Long, SimExport> published() {
        return published;
    }

    /** An id that is free on the node. */
    int freeId(int node) {
        while (published(node, nextId) != null) {
            nextId++;
        }
        return nextId++;
    }

    List<SimConnection> connections() {
        return connections;
    }

    // ---- history ----

    void note(String event, Object... facts) {
        history.add(agenda.now(), event, facts);
    }

    /**
     * What has happened, the newest 100,000 entries: maps of {@code time} (in nanoseconds), {@code event}, and what belongs to that.
     */
    public List<Map<String, Object>> history() {
        try (Turn turn = turn()) {
            return history.copy();
        }
    }

    /** How many older entries the history does not have any more. */
    public long forgotten() {
        try (Turn turn = turn()) {
            return history.forgotten();
        }
    }

    @Override
    public String toString() {
        return "#<World " + controller() + (ended ? " ended>" : " at " + now() + " ns>");
    }

    // ---- the end ----

    boolean hasEnded() {
        return ended;
    }

    /** Ends the world: its connections are aborted, its segments are not published any more, its controllers are not there. */
    @Override
    public void close() {
        synchronized (OPEN) {
            OPEN.remove(options.unit(), this);
        }
        try (Turn turn = turn()) {
            if (!ended) {
                for (SimConnection connection : List.copyOf(connections)) {
                    connection.abort("exporter-gone");
                }
                for (SimExport export : List.copyOf(published.values())) {
                    export.die();
                }
                published.clear();
                ended = true;
                agenda.clear();
            }
        }
    }
}
