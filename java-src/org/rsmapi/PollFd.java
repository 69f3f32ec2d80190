package org.rsmapi;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.rsmapi.spi.Entrance;
import org.rsmapi.spi.Failures;
import org.rsmapi.spi.Signals;
import org.rsmapi.sys.Errno;
import org.rsmapi.sys.OsError;
import org.rsmapi.sys.Poll;

/**
 * A descriptor to wait for: {@code struct pollfd} of rsm_memseg_get_pollfd(3RSM) and rsm_intr_signal_wait_pollfd(3RSM). It is either
 * a segment's, from {@link Segment#getPollfd()}, or any other of this process, from {@link #of}.
 */
public final class PollFd implements AutoCloseable {
    /** {@code POLLIN}: there is something to read. */
    public static final int IN = 0x01;
    /** {@code POLLPRI}: there is something urgent. */
    public static final int PRI = 0x02;
    /** {@code POLLOUT}: there is room to write. */
    public static final int OUT = 0x04;
    /** {@code POLLERR}: there is an error. Only in {@link #revents()}. */
    public static final int ERR = 0x08;
    /** {@code POLLHUP}: the other end is gone. Only in {@link #revents()}. */
    public static final int HUP = 0x10;
    /** {@code POLLNVAL}: the descriptor is not open. Only in {@link #revents()}. */
    public static final int NVAL = 0x20;
    /** {@code POLLRDNORM}: there is something to read; of a segment, an event. */
    public static final int RDNORM = 0x40;

    /** More than a process can have open with the kernel's default limit. The kernel reports fewer. */
    private static final int MOST = 1 << 20;

    private final Segment segment;
    /** Null if it is not a segment's, as {@link #references} is. */
    private final Signals signals;
    private final PollReferences references;
    private final int fd;
    private final int events;
    private volatile int revents;
    private final AtomicBoolean closed = new AtomicBoolean();

    PollFd(Segment segment, Signals signals, PollReferences references, int fd, int events) {
        this.segment = segment;
        this.signals = signals;
        this.references = references;
        this.fd = fd;
        this.events = events;
    }

    /**
     * A descriptor that is not a segment's.
     *
     * @param fd      its number; negative ones are ignored, as poll(2) does
     * @param events  what to wait for, such as {@link #IN}
     */
    public static PollFd of(int fd, int events) {
        return new PollFd(null, null, null, fd, events);
    }

    /** The segment, or null. */
    public Segment segment() {
        return segment;
    }

    /** The descriptor's number. */
    public int fd() {
        return fd;
    }

    /** What to wait for. */
    public int events() {
        return events;
    }

    /**
     * What the last wait has found, by whichever thread it was made: 0 if nothing. What a wait has found for its caller is what
     * {@link #await} returns.
     */
    public int revents() {
        return revents;
    }

    /**
     * A descriptor for which a wait has found something.
     *
     * @param fd       the descriptor
     * @param revents  what was found: the bits of poll(2), not 0
     */
    public record Ready(PollFd fd, int revents) {}

    /**
     * Waits until there is something for at least one of the descriptors (rsm_intr_signal_wait_pollfd(3RSM)). Of each segment that
     * has events one is taken, and it is reported with {@link #RDNORM}. A segment that has ended, or whose exporter is gone, is reported
     * with {@link #HUP}. The other descriptors are reported as by poll(2).
     *
     * <p>Several threads may wait with the same descriptors at once: an event is reported to the thread that has taken it.
     *
     * @param timeout  null or negative: for ever; zero: not at all
     * @return those for which there is something, at least one, in the order of the list
     * @throws RsmException BAD_ADDR (no list), BAD_ARGS_ERRORS (null in the list, a list that cannot be read, more descriptors than a
     *     process can have), CTLR_NOT_PRESENT (native functions cannot be called), INSUFFICIENT_MEM, INTERRUPTED, TIMEOUT
     */
    public static List<Ready> await(List<PollFd> fds, Duration timeout) {
        String op = "signal-wait-pollfd";
        if (fds == null) {
            throw RsmException.of(RsmError.BAD_ADDR, op).with("argument", "fds").hint("give a list of poll descriptors");
        }
        List<PollFd> waited = new ArrayList<>();
        for (Object each : Lists.copy(fds, PollFd.class, MOST, RsmError.BAD_ARGS_ERRORS, op)) {
            if (each == null) {
                throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "fds").hint("a descriptor is null");
            }
            waited.add((PollFd) each);
        }
        Entrance.require(op);
        List<Signals> simulated = withoutDescriptor(op, waited);
        if (simulated != null) {
            return awaitWithoutDescriptors(op, waited, simulated, timeout);
        }
        SignalWait wait = new SignalWait(op, timeout, null);
        while (true) {
            List<Ready> found = new ArrayList<>(waited.size()); // so that adding does not fail when an event has been taken
            switch (poll(op, waited, wait.deadline(), found)) {
                case READY:
                    if (!found.isEmpty()) {
                        return found;
                    }
                    wait.missed(); // another thread has taken the event
                    break;
                case INTERRUPTED:
                    throw wait.interrupted();
                default:
                    throw wait.timedOut();
            }
        }
    }

    /** The signals of all, if they have no descriptors; null if there are descriptors. */
    private static List<Signals> withoutDescriptor(String op, List<PollFd> waited) {
        List<Signals> without = new ArrayList<>();
        for (PollFd each : waited) {
            if (each.signals != null && each.fd == -1) {
                without.add(each.signals);
            }
        }
        if (!without.isEmpty() && without.size() < waited.size()) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, op).with("argument", "fds")
                .hint("segments of an interconnect without descriptors cannot be waited for together with others");
        }
        return without.isEmpty() ? null : without;
    }

    private static List<Ready> awaitWithoutDescriptors(String op, List<PollFd> waited, List<Signals> signals, Duration timeout) {
        SignalWait wait = new SignalWait(op, timeout, signals.get(0));
        while (true) {
            List<Ready> found = new ArrayList<>(waited.size());
            for (PollFd each : waited) {
                int result = each.resultWithoutDescriptor();
                each.revents = result;
                if (result != 0) {
                    found.add(new Ready(each, result));
                }
            }
            if (!found.isEmpty()) {
                return found;
            }
            switch (signals.get(0).awaitAny(signals, wait.deadline())) {
                case READY:
                    wait.missed();
                    break;
                case INTERRUPTED:
                    throw wait.interrupted();
                default:
                    throw wait.timedOut();
            }
        }
    }

    /** Polls all once, and adds those to {@code ready} for which there is something. */
    private static Poll.Outcome poll(String op, List<PollFd> waited, long deadline, List<Ready> ready) {
        int[] fds = new int[waited.size()];
        short[] events = new short[fds.length];
        short[] revents = new short[fds.length];
        boolean[] held = new boolean[fds.length];
        boolean ended = false;
        try {
            for (int i = 0; i < fds.length; i++) {
                PollFd each = waited.get(i);
                held[i] = each.signals != null && each.signals.hold();
                boolean over = each.signals != null && !held[i];
                ended |= over;
                fds[i] = over ? -1 : each.fd;
                events[i] = (short) each.events;
            }
            // of a segment that has ended there is something to say at once
            Poll.Outcome outcome = Poll.forAny(fds, events, revents, ended ? System.nanoTime() : deadline);
            for (int i = 0; i < fds.length; i++) {
                PollFd each = waited.get(i);
                boolean found = outcome == Poll.Outcome.READY && revents[i] != 0;
                int result = each.signals == null ? found ? revents[i] : 0
                    : !held[i] ? HUP : found ? each.segmentResult() : 0;
                each.revents = result;
                if (result != 0) {
                    ready.add(new Ready(each, result));
                }
            }
            return ended ? Poll.Outcome.READY : outcome;
        } catch (OsError e) {
            RsmError error = e.is(Errno.EINVAL) ? RsmError.BAD_ARGS_ERRORS : null; // more descriptors than the process may have
            throw (error == null ? Failures.resources(op, e) : Failures.of(error, op, e)).with("descriptors", fds.length);
        } finally {
            for (int i = 0; i < held.length; i++) {
                if (held[i]) {
                    waited.get(i).signals.release();
                }
            }
        }
    }

    private int resultWithoutDescriptor() {
        if (!signals.hold()) {
            return HUP;
        }
        try {
            return segmentResult();
        } finally {
            signals.release();
        }
    }

    /** What a poll that has found something has found at a segment: an event, the end, or that another thread was faster. */
    private int segmentResult() {
        if (signals.take()) {
            return RDNORM;
        }
        return segment instanceof ImportSegment && ((ImportSegment) segment).isAborted() ? HUP : 0;
    }

    /**
     * Drops the reference to the segment's descriptor that {@link Segment#getPollfd()} counted, as {@link Segment#releasePollfd()} does.
     * Idempotent. A descriptor that is not a segment's stays open.
     */
    @Override
    public void close() {
        if (references != null && closed.compareAndSet(false, true)) {
            references.drop();
        }
    }

    @Override
    public String toString() {
        return "#<PollFd " + fd + (segment == null ? "" : " of " + segment) + ">";
    }
}
