package org.rsmapi.net;

import static org.rsmapi.mem.Engine.ENGINE;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.IntConsumer;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.sys.Threads;
import org.rsmapi.sys.UcxError;
import org.rsmapi.sys.UcxKey;
import org.rsmapi.sys.UcxPeer;
import org.rsmapi.sys.Vm;

/**
 * How this gateway reaches the segments of another one by itself. A thread does what importers ask for, one thing after the other: it puts
 * and gets, and flushes where something must not overtake what was put before.
 *
 * <p>If anything fails, nobody knows what has arrived: then the link to the other gateway is ended, and all connections over it.
 */
final class OneSidedPath {
    /** Frames of data that may wait to be put. */
    private static final int SLOTS = 64;
    private static final int MOST_ACTIONS = 4_096;
    private static final int LONG_BITS = Long.BYTES - 1;
    /** The data of the longest frame, and what it takes to align it as it is in the segment. */
    private static final int SLOT_BYTES = Frame.LARGEST + 2 * Long.BYTES & ~LONG_BITS;

    private final OneSided device;
    private final Lane lane;
    private final byte[] worker;
    private final UcxPeer peer;
    private final Runnable onFailure;
    private final LinkedBlockingQueue<Action> queue = new LinkedBlockingQueue<>();

    // with the monitor held
    /** Slots, and behind them one more for what is got. */
    private final long memory;
    private final ArrayDeque<Long> free = new ArrayDeque<>(SLOTS);
    private final ArrayDeque<Runnable> waiting = new ArrayDeque<>();
    private boolean ended;

    // for the thread
    private final long into;
    /** Puts so far, and those of which it is known that they have arrived. */
    private long puts;
    private long flushed;
    /** Whether anything was known to succeed. */
    private boolean worked;

    /** Something to do, and what becomes of who has asked for it if that fails. */
    private record Action(Runnable work, Runnable lose) {}

    private OneSidedPath(OneSided device, Lane lane, byte[] worker, UcxPeer peer, Runnable onFailure) {
        this.device = device;
        this.lane = lane;
        this.worker = worker;
        this.peer = peer;
        this.onFailure = onFailure;
        this.memory = Vm.mapAnonymous((SLOTS + 1L) * SLOT_BYTES);
        this.into = memory + (long) SLOTS * SLOT_BYTES;
        for (int i = 0; i < SLOTS; i++) {
            free.add(memory + (long) i * SLOT_BYTES);
        }
    }

    /**
     * Opens a path.
     *
     * @param lane       the link for what is urgent: the path ends with it
     * @param worker     the address of the other side's worker
     * @param onFailure  run when the first access fails already
     * @throws UcxError if there is no way
     */
    static OneSidedPath open(OneSided device, Lane lane, byte[] worker, Runnable onFailure) {
        UcxPeer peer = device.connect(worker);
        OneSidedPath made = null;
        try {
            made = new OneSidedPath(device, lane, worker, peer, onFailure);
            Threads.start(Threads.daemon(made::run, "rsmapi-ucx-path"));
            return made;
        } finally {
            if (made == null) {
                peer.close();
            }
        }
    }

    /** Whether it leads to a worker, over a link. */
    boolean leads(Lane over, byte[] to) {
        return lane == over && Arrays.equals(worker, to) && !isEnded();
    }

    private synchronized boolean isEnded() {
        return ended;
    }

    /**
     * Takes the keys to a segment.
     *
     * @throws UcxError if they are none
     */
    Remote remote(RemoteKeys keys, int number, Permission permission) {
        UcxKey segment = peer.key(keys.segment());
        UcxKey standing = keys.standing().length == 0 ? null : peer.key(keys.standing());
        return new Remote(segment, standing, ByteBuffer.wrap(keys.stands()).order(ByteOrder.nativeOrder()).getLong(), number, permission);
    }

    // ---- the thread ----

    private void run() {
        Action next;
        while ((next = next()) != null) {
            try {
                next.work.run();
            } catch (Lane.Ended e) {
                next.lose.run();
            } catch (RuntimeException | Error e) {
                next.lose.run();
                fail(e);
            }
            goOn();
        }
        try {
            peer.close();
            synchronized (this) {
                Vm.unmap(memory, (SLOTS + 1L) * SLOT_BYTES);
            }
        } catch (UcxError e) {
            device.fail(e); // it may still be reading the memory, which stays
        } finally {
            Action left;
            while ((left = queue.poll()) != null) {
                left.lose.run();
            }
            goOn();
        }
    }

    /** Null at the end. */
    private Action next() {
        while (true) {
            try {
                Action next = queue.take();
                return isEnded() ? lost(next) : next;
            } catch (InterruptedException e) {
                continue; // nobody has a reason to
            }
        }
    }

    private static Action lost(Action last) {
        last.lose.run();
        return null;
    }

    private void goOn() {
        Runnable[] now;
        synchronized (this) {
            if (waiting.isEmpty() || !ended && (free.isEmpty() || queue.size() >= MOST_ACTIONS)) {
                return;
            }
            now = waiting.toArray(new Runnable[0]);
            waiting.clear();
        }
        for (Runnable each : now) {
            each.run();
        }
    }

    private void fail(Throwable e) {
        if (!worked && lane.ended() == null) { // else it is the other gateway that has ended, most likely
            onFailure.run();
        }
        lane.end("one-sided access has failed: " + e.getMessage());
    }

    /** Ends it, by any thread, and without waiting. */
    void end() {
        synchronized (this) {
            if (ended) {
                return;
            }
            ended = true;
        }
        queue.add(new Action(() -> { }, () -> { }));
        Threads.start(Threads.daemon(this::closePeer, "rsmapi-ucx-close")); // the path's thread may be waiting for the other side
    }

    private void closePeer() {
        try {
            peer.close();
        } catch (UcxError e) {
            device.fail(e);
        }
    }

    private void flush(long upTo) {
        if (upTo > flushed) {
            long all = puts;
            peer.flush(lane.giveUpAt());
            worked = true;
            flushed = all;
        }
    }

    // ---- what others have it do ----

    /** Has something done. False if there is no room: then {@code later} is run when there may be some. */
    private synchronized boolean add(Runnable work, Runnable lose, Runnable later) {
        if (ended) {
            lose.run();
            return true;
        }
        if (queue.size() >= MOST_ACTIONS) {
            waiting.add(later);
            return false;
        }
        queue.add(new Action(work, lose));
        return true;
    }

    /** A segment at the other side, for one connection. All but {@link #mayMove} is done by the path's thread, in the order of the calls. */
    final class Remote {
        private final UcxKey segment;
        private final UcxKey standing;
        private final long stands;
        private final int number;
        private final Permission permission;
        private long lastPut;
        private long orderedPut;

        Remote(UcxKey segment, UcxKey standing, long stands, int number, Permission permission) {
            this.segment = segment;
            this.standing = standing;
            this.stands = stands;
            this.number = number;
            this.permission = permission;
        }

        /** Whether the connection may write or read there. */
        boolean mayMove(boolean write, long offset, long length) {
            return (write ? permission.writes() : permission.reads()) && offset >= 0 && offset <= segment.length() - length;
        }

        /** Puts data of an array. False if there is no room: then {@code later} is run when there may be some. */
        boolean put(long offset, byte[] data, int from, int length, Runnable later) {
            synchronized (OneSidedPath.this) {
                if (ended) {
                    return true; // the connection is being aborted
                }
                if (free.isEmpty() || queue.size() >= MOST_ACTIONS) {
                    waiting.add(later);
                    return false;
                }
                long slot = free.poll();
                long at = slot + (offset & LONG_BITS);
                ENGINE.copyFromArray(data, from, at, length);
                queue.add(new Action(() -> put(offset, slot, at, length), () -> { }));
                return true;
            }
        }

        private void put(long offset, long slot, long at, int length) {
            flush(orderedPut);
            peer.put(at, segment, offset, length, lane.giveUpAt());
            lastPut = ++puts;
            synchronized (OneSidedPath.this) {
                free.add(slot);
            }
        }

        /** Has all that is put from now on arrive later than what was put before. */
        boolean order(Runnable later) {
            return add(() -> orderedPut = lastPut, () -> { }, later);
        }

        /**
         * Gets data.
         *
         * @param then  is given the number of an error, or 0, and the data, or none if it is known; {@link Frame#LOST} if the way is lost
         */
        boolean get(Get wanted, Got then, Runnable later) {
            return add(() -> {
                flush(lastPut);
                long at = into + (wanted.offset() & LONG_BITS);
                peer.get(at, segment, wanted.offset(), wanted.length(), lane.giveUpAt());
                worked = true;
                byte[] data = new byte[wanted.isKnown(at) ? 0 : wanted.length()];
                ENGINE.copyToArray(at, data, 0, data.length);
                verify(code -> then.got(code, code == 0 ? data : new byte[0]));
            }, () -> then.got(Frame.LOST, new byte[0]), later);
        }

        /** Waits until what was put has arrived. {@code then} is given the number of an error, or 0, or {@link Frame#LOST}. */
        boolean confirm(IntConsumer then, Runnable later) {
            return add(() -> {
                flush(lastPut);
                verify(then);
            }, () -> then.accept(Frame.LOST), later);
        }

        /** Does something when what was put has arrived. */
        boolean after(Runnable then, Runnable lose, Runnable later) {
            return add(() -> {
                flush(lastPut);
                then.run();
            }, lose, later);
        }

        /** The connection is over: nothing is asked for any more. The other side is told when nothing is on its way. */
        void close() {
            synchronized (OneSidedPath.this) {
                if (!ended) {
                    queue.add(new Action(() -> {
                        flush(lastPut);
                        segment.close();
                        if (standing != null) {
                            standing.close();
                        }
                        lane.send(Frame.DISCONNECT, 0, number, 0, null, false);
                    }, () -> { }));
                }
            }
        }

        /** Whether what was moved was moved in the exporter's memory. */
        private void verify(IntConsumer then) {
            if (standing == null) {
                lane.ask(new Verdict(then), Frame.BARRIER, 0, number, 0, null);
                return;
            }
            peer.get(into, standing, 0, Long.BYTES, lane.giveUpAt());
            then.accept(ENGINE.getLong(into) == stands ? 0 : RsmError.CONN_ABORTED.code());
        }
    }

    /** What becomes of data that was asked for. */
    @FunctionalInterface
    interface Got {
        void got(int code, byte[] data);
    }

    /** The answer to a BARRIER. */
    private record Verdict(IntConsumer then) implements Lane.Expected {
        @Override
        public void setFirstTag(int first) {
        }

        @Override
        public boolean take(Frame frame, byte[] received) {
            if (frame.type() != Frame.DONE) {
                return false;
            }
            then.accept(frame.code());
            return true;
        }

        @Override
        public void lose() {
            then.accept(Frame.LOST);
        }
    }
}
