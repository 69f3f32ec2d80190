package org.rsmapi.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.LinkedBlockingQueue;
import org.rsmapi.Barrier;
import org.rsmapi.Controller;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;

/**
 * Imports what {@link HostExporter} exports on node 1: {@code HostImporter what [id [seconds pids...]]}.
 *
 * <ul>
 * <li>{@code short}: what takes a round trip or a few
 * <li>{@code bulk}: put and get of 1 MiB and more, with the CPU time of this process and those with the pids
 * <li>{@code mirror}: barriers of a mapping; {@code bytes}: put of what they have to move
 * <li>{@code many}: for each line of its input, a number, connects so often and prints {@code connected}
 * <li>{@code notice}: for each line of its input, an id, connects and prints {@code connected}, waits for the end of the connection and
 *     prints {@code aborted}, when, and why
 * </ul>
 */
public final class HostImporter {
    private static final int KIB = 1024;
    private static final int MIB = 1024 * KIB;
    private static final int PAGE = 4 * KIB;
    private static final Duration LONG = Duration.ofSeconds(20);
    private static final long PATIENCE = 60_000_000_000L;

    private HostImporter() {
    }

    public static void main(String[] args) throws Exception {
        try (Controller controller = Controller.get("net0")) {
            if (args[0].equals("notice")) {
                notice(controller);
                return;
            }
            long id = Long.parseLong(args[1]);
            if (args[0].equals("many")) {
                many(controller, id);
                return;
            }
            List<String> processes = new ArrayList<>(List.of(args).subList(3, args.length));
            processes.add("self");
            Batches batches = new Batches(Double.parseDouble(args[2]), processes);
            try (ImportSegment segment = connect(controller, id)) {
                segment.initBarrier();
                switch (args[0]) {
                    case "short" -> {
                        moves(segment, batches, 8, "8");
                        moves(segment, batches, 4 * KIB, "4k");
                        moves(segment, batches, 64 * KIB, "64k");
                        signals(segment, batches);
                        connects(controller, id, batches);
                    }
                    case "bulk" -> {
                        moves(segment, batches, MIB, "1m");
                        moves(segment, batches, batches.isQuick() ? MIB : 16 * MIB, "16m");
                    }
                    case "mirror" -> mirror(segment, batches);
                    case "bytes" -> bytes(segment, batches);
                    default -> throw new IllegalArgumentException(args[0]);
                }
            }
        }
    }

    /** Connects as soon as the other host's gateway is there. */
    private static ImportSegment connect(Controller controller, long id) throws InterruptedException {
        long end = System.nanoTime() + PATIENCE;
        while (true) {
            try {
                return controller.importConnect(1, id, Permission.RDWR.bits(), LONG);
            } catch (RsmException e) {
                if (System.nanoTime() - end > 0 || e.error() != RsmError.REMOTE_NODE_UNREACHABLE && e.error() != RsmError.TIMEOUT) {
                    throw e;
                }
                Thread.sleep(10);
            }
        }
    }

    private static void moves(ImportSegment segment, Batches batches, int size, String name) throws Exception {
        byte[] bytes = new byte[size];
        batches.measure("put" + name, size, (Batches.Timed) () -> segment.put(0, bytes, 0, size));
        batches.measure("get" + name, size, (Batches.Timed) () -> segment.get(0, bytes, 0, size));
    }

    private static void signals(ImportSegment segment, Batches batches) throws Exception {
        batches.measure("signal", (Batches.Timed) () -> {
            segment.signalPost(0);
            segment.signalWait(LONG);
        });
    }

    private static void connects(Controller controller, long id, Batches batches) throws Exception {
        batches.measure("connect", (Batches.Timed) () -> controller.importConnect(1, id, Permission.RDWR).close());
    }

    // ---- mirrors ----

    private static int changedPages(ImportSegment segment, int percent) {
        return (int) (segment.size() / PAGE * percent / 100);
    }

    private static void mirror(ImportSegment segment, Batches batches) throws Exception {
        Mapping mapping = segment.map();
        Barrier barrier = segment.initBarrier();
        for (int percent : new int[] {0, 1, 100}) {
            Changes changes = new Changes(mapping, barrier, changedPages(segment, percent));
            batches.measure("changed" + percent, changes);
            Samples.print("moved" + percent, changes.moved());
        }
    }

    /** Opens and closes a barrier, and changes all words of some pages in between, which is not timed. The pages are spread evenly. */
    private static final class Changes implements Batches.Operation {
        private final Mapping mapping;
        private final Barrier barrier;
        private final int pages;
        private final Random random = new Random(42);
        private long traffic;
        private long times;

        Changes(Mapping mapping, Barrier barrier, int pages) throws IOException {
            this.mapping = mapping;
            this.barrier = barrier;
            this.pages = pages;
            traffic = -traffic();
        }

        @Override
        public long once() throws IOException {
            long start = System.nanoTime();
            Barrier.Scope scope = barrier.open();
            long opened = System.nanoTime();
            change();
            long changed = System.nanoTime();
            scope.close();
            times++;
            return System.nanoTime() - changed + (opened - start);
        }

        private void change() {
            byte[] content = new byte[PAGE];
            long stride = pages == 0 ? 0 : mapping.size() / PAGE / pages * PAGE;
            for (int i = 0; i < pages; i++) {
                random.nextBytes(content);
                mapping.putBytes(i * stride, content, 0, PAGE);
            }
        }

        /** The MiB on the network for each time. */
        double moved() throws IOException {
            return (double) (traffic + traffic()) / times / MIB;
        }

        private static long traffic() throws IOException {
            for (String line : Files.readAllLines(Path.of("/proc/self/net/dev"))) {
                if (line.strip().startsWith("eth0:")) {
                    String[] fields = line.substring(line.indexOf(':') + 1).strip().split(" +");
                    return Long.parseLong(fields[0]) + Long.parseLong(fields[8]);
                }
            }
            throw new IOException("no eth0 in /proc/self/net/dev");
        }
    }

    private static void bytes(ImportSegment segment, Batches batches) throws Exception {
        for (int percent : new int[] {1, 100}) {
            int size = changedPages(segment, percent) * PAGE;
            byte[] bytes = new byte[size];
            batches.measure("changed" + percent, (Batches.Timed) () -> segment.put(0, bytes, 0, size));
        }
    }

    // ---- many of them, and their end ----

    private static void many(Controller controller, long id) throws Exception {
        List<ImportSegment> segments = new ArrayList<>();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            for (int n = Integer.parseInt(line); n > 0; n--) {
                segments.add(connect(controller, id));
            }
            System.out.println("connected");
        }
    }

    private static void notice(Controller controller) throws Exception {
        LinkedBlockingQueue<String> ids = new LinkedBlockingQueue<>();
        Thread reader = new Thread(() -> {
            try {
                BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
                for (String line = input.readLine(); line != null; line = input.readLine()) {
                    ids.add(line);
                }
            } catch (IOException e) {
                // as good as the end
            }
            Runtime.getRuntime().halt(0);
        });
        reader.setDaemon(true);
        reader.start();
        while (true) {
            try (ImportSegment segment = connect(controller, Long.parseLong(ids.take()))) {
                System.out.println("connected");
                segment.signalWait(null);
            } catch (RsmException e) {
                System.out.println("aborted " + System.nanoTime() + " " + e.error() + " " + e.data().get("reason"));
            }
        }
    }
}
