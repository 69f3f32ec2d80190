package org.rsmapi.net;

import java.io.IOException;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.rsmapi.mem.Stage;
import org.rsmapi.sys.Threads;

/**
 * A thread that waits for many sockets, does what others give it to do, and what is due at a time. While none of this is there, it sleeps.
 */
final class Service {
    /** What a socket is for. */
    interface Handler {
        /** Something has arrived, or the socket takes something. It does not wait. */
        void ready(SelectionKey key);
    }

    /** What has to be done at a time. */
    interface Chore {
        /** For a chore with nothing to do. */
        long NEVER = Long.MAX_VALUE;

        /**
         * Does what is due; it does not wait. Called each time the thread has done something else, and when the time is up.
         *
         * @param now  on the clock of {@link System#nanoTime()}
         * @return in how many ns the next thing is due; {@link #NEVER}
         */
        long run(long now);
    }

    private final Selector selector;
    private final Thread thread;
    private final ConcurrentLinkedQueue<Runnable> tasks = new ConcurrentLinkedQueue<>();
    private final List<Chore> chores = new CopyOnWriteArrayList<>();
    private Stage stage;
    private volatile boolean stopping;

    Service(String name) throws IOException {
        selector = Selector.open();
        thread = Threads.daemon(this::run, name);
    }

    void start() {
        Threads.start(thread);
    }

    Selector selector() {
        return selector;
    }

    /** Memory for data on its way; for the thread itself. */
    Stage stage() {
        if (stage == null) {
            stage = Stage.take();
        }
        return stage;
    }

    /** Has the thread do something; it does not wait in it. */
    void execute(Runnable task) {
        tasks.add(task);
        look();
    }

    /** Has the thread do something whenever it is due. */
    void add(Chore chore) {
        chores.add(chore);
        look();
    }

    /** Something has changed that is waited for. */
    void look() {
        if (Thread.currentThread() != thread) {
            selector.wakeup();
        }
    }

    private void run() {
        while (!stopping) {
            try {
                await();
                List<SelectionKey> ready = new ArrayList<>(selector.selectedKeys());
                selector.selectedKeys().clear();
                for (SelectionKey key : ready) {
                    handle(key);
                }
                runTasks();
            } catch (IOException e) {
                stopping = stopping || !selector.isOpen();
            } catch (OutOfMemoryError e) {
                continue; // the sockets are still ready
            }
        }
        runTasks();
        for (SelectionKey key : selector.keys()) {
            Link.close(key.channel());
        }
        runTasks();
        Link.close(selector);
        if (stage != null) {
            stage.close();
        }
    }

    private void await() throws IOException {
        long wait = Chore.NEVER;
        for (Chore chore : chores) {
            wait = Math.min(wait, run(chore));
        }
        if (!tasks.isEmpty() || stopping) {
            selector.selectNow();
        } else if (wait == Chore.NEVER) {
            selector.select();
        } else {
            selector.select(Math.max(1, TimeUnit.NANOSECONDS.toMillis(wait + TimeUnit.MILLISECONDS.toNanos(1) - 1)));
        }
    }

    private static long run(Chore chore) {
        try {
            return chore.run(System.nanoTime());
        } catch (RuntimeException | Error e) {
            return TimeUnit.SECONDS.toNanos(1); // memory, most likely: it is tried again
        }
    }

    private static void handle(SelectionKey key) {
        try {
            ((Handler) key.attachment()).ready(key);
        } catch (CancelledKeyException e) {
            return; // it has been closed meanwhile
        } catch (RuntimeException | Error e) {
            key.cancel();
            Link.close(key.channel()); // the others go on
        }
    }

    private void runTasks() {
        Runnable task;
        while ((task = tasks.poll()) != null) {
            try {
                task.run();
            } catch (RuntimeException | Error e) {
                continue; // whom it concerns finds out by the end of a link
            }
        }
    }

    /** Ends it, with all sockets it has. */
    void stop() {
        stopping = true;
        selector.wakeup();
        if (thread.getState() == Thread.State.NEW) {
            Link.close(selector);
        }
    }
}
