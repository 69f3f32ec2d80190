package org.rsmapi.net;

import java.io.IOException;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.rsmapi.mem.Stage;
import org.rsmapi.sys.Threads;

/** A thread of a gateway that waits for many sockets, and does what others give it to do. */
final class Service {
    /** What a socket is for. */
    interface Handler {
        /** Something has arrived, or the socket takes something. It does not wait. */
        void ready(SelectionKey key);
    }

    private static final long IDLE_MILLIS = 1_000;

    private final Selector selector;
    private final Thread thread;
    private final ConcurrentLinkedQueue<Runnable> tasks = new ConcurrentLinkedQueue<>();
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

    /** Something has changed that is waited for. */
    void look() {
        if (Thread.currentThread() != thread) {
            selector.wakeup();
        }
    }

    private void run() {
        while (!stopping) {
            try {
                selector.select(tasks.isEmpty() ? IDLE_MILLIS : 1);
                List<SelectionKey> ready = new ArrayList<>(selector.selectedKeys());
                selector.selectedKeys().clear();
                for (SelectionKey key : ready) {
                    handle(key);
                }
                runTasks();
            } catch (IOException e) {
                stopping = stopping || !selector.isOpen();
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
    }
}
