package org.rsmapi.sys;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;

/**
 * Closes descriptors that another process has made, in threads of its own.
 *
 * <p>The close(2) of an open file's last descriptor can block for as long as the file's maker wants, and cannot be interrupted: a TCP
 * socket with {@code SO_LINGER} and unsent data, a file of a FUSE or NFS file system. Such a descriptor is therefore not closed by
 * the service thread, by a thread of a caller, or with a lock held, but here. A thread that blocks in close(2) is lost until the
 * call returns. The number of threads is limited, for each user id and for all; what is beyond that waits. A thread is started
 * when there is something to close and ends when there is nothing left.
 */
public final class Closer {
    /** Threads for the descriptors of one user, and of all users. */
    private static final int THREADS_PER_USER = 2;
    private static final int THREADS = 16;
    /** From this size on, the kernel needs some time to free the memory of a file. */
    private static final long LARGE = 64L << 20;
    private static final long STACK = 256L << 10;

    /** No user id: (uid_t) -1 is not a valid one. Memory files have threads of their own, because none of them blocks. */
    private static final int MEMORY = -1;
    private static final Runnable NOTHING = () -> { };

    private static final Map<Integer, Queue> QUEUES = new HashMap<>();
    private static int threads;
    private static int waiting;
    /** Whether something waits only because no thread could be started. */
    private static volatile boolean stalled;

    private Closer() {}

    private record Item(Fd fd, Runnable afterwards) {}

    /** What a new thread starts with. */
    private record Work(Queue queue, Item item) {}

    /** What is to be closed for one user. */
    private static final class Queue {
        private final int uid;
        private final ArrayDeque<Item> items = new ArrayDeque<>();
        private int threads;
        private int waiting;

        Queue(int uid) {
            this.uid = uid;
        }

        boolean needsThread() {
            return !items.isEmpty() && threads < THREADS_PER_USER && (uid == MEMORY || Closer.threads < THREADS);
        }

        void count(int change) {
            threads += change;
            Closer.threads += uid == MEMORY ? 0 : change;
        }
    }

    /**
     * Closes a descriptor some time.
     *
     * @param uid  the user whose process has created the open file
     */
    public static void close(int uid, Fd fd) {
        close(uid, fd, NOTHING);
    }

    /** The same, and runs something as soon as it is closed. */
    public static void close(int uid, Fd fd, Runnable afterwards) {
        try {
            synchronized (QUEUES) {
                Queue queue = QUEUES.computeIfAbsent(uid, Queue::new);
                queue.items.add(new Item(fd, afterwards));
                queue.waiting++;
                waiting++;
            }
        } catch (OutOfMemoryError e) { // not to leave it open is all that can be done without memory
            fd.close();
            afterwards.run();
            return;
        }
        startThreads();
    }

    /**
     * Closes a memory file that was checked (see {@link MemFd#objection}): at once, if that is quickly done. Every mapping of it has to
     * be gone before: it is the last one who frees the memory.
     */
    public static void closeMemory(Fd file) {
        if (!file.isOpen()) {
            return;
        }
        if (MemFd.size(file) < LARGE) {
            file.close();
        } else {
            close(MEMORY, file);
        }
    }

    /** How many descriptors of a user wait to be closed, or are being closed. */
    public static int waiting(int uid) {
        synchronized (QUEUES) {
            Queue queue = QUEUES.get(uid);
            return queue == null ? 0 : queue.waiting;
        }
    }

    /** How many of all users. */
    public static int waiting() {
        synchronized (QUEUES) {
            return waiting;
        }
    }

    /** Tries again to start threads, if there was none to be had. */
    public static void retry() {
        if (stalled) {
            startThreads();
        }
    }

    private static void startThreads() {
        stalled = false;
        Work work;
        while ((work = next()) != null) {
            Work first = work;
            try {
                Threads.start(Threads.daemon(() -> run(first), "rsmapi-close", STACK));
            } catch (OsError | OutOfMemoryError e) { // no more threads, or no memory: retry() will try again
                synchronized (QUEUES) {
                    first.queue.items.addFirst(first.item);
                    first.queue.count(-1);
                    stalled = true;
                }
                return;
            }
        }
    }

    /** The first descriptor of a queue that gets one more thread, which counts from now on; null if none does. */
    private static Work next() {
        synchronized (QUEUES) {
            for (Queue queue : QUEUES.values()) {
                if (queue.needsThread()) {
                    queue.count(1);
                    return new Work(queue, queue.items.poll());
                }
            }
            return null;
        }
    }

    private static void run(Work first) {
        Work work = first;
        while (work != null) {
            try {
                work.item.fd.close();
            } finally {
                closed(work.queue);
                work.item.afterwards.run();
            }
            work = after(work.queue);
        }
    }

    /** The next item for a thread: of the same user, or of another user whose items had to wait for a thread. */
    private static Work after(Queue queue) {
        synchronized (QUEUES) {
            Item item = queue.items.poll();
            if (item != null) {
                return new Work(queue, item);
            }
            queue.count(-1);
            return next();
        }
    }

    private static void closed(Queue queue) {
        synchronized (QUEUES) {
            waiting--;
            if (--queue.waiting == 0) {
                QUEUES.remove(queue.uid);
            }
        }
    }
}
