package org.rsmapi.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Permission;

/**
 * Many published segments of a page each: {@code Scale segments seconds revocations}. As many as this process may have descriptors
 * for are its own, the others those of further processes.
 */
public final class Scale {
    private static final int IMPORTERS = 100;
    private static final int OTHER_DESCRIPTORS = 1000;
    private static final int DESCRIPTORS_FOR_ONE = 4;
    /** With fewer, what one of them takes cannot be told from what else happens in the process. */
    private static final int ENOUGH_TO_WEIGH = 1000;

    private Scale() {
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("importers")) {
            importers(Long.parseLong(args[1]));
        } else if (args[0].equals("exporter")) {
            exporter(Integer.parseInt(args[1]));
        } else {
            measure(Integer.parseInt(args[0]), Double.parseDouble(args[1]), Integer.parseInt(args[2]));
        }
    }

    private static void measure(int count, double seconds, int revocations) throws Exception {
        List<Peer> others = new ArrayList<>();
        try (Controller controller = Controller.get("loopback")) {
            one(controller); // what comes once has been there before the first figure
            double memory = memory();
            long descriptors = descriptors();
            List<ExportSegment> own = publish(controller, Math.min(count, most()));
            if (own.size() >= ENOUGH_TO_WEIGH) {
                Samples.print("memory", (memory() - memory) / own.size());
            }
            Samples.print("descriptors", (double) (descriptors() - descriptors) / own.size());
            List<Long> ids = new ArrayList<>();
            own.forEach(export -> ids.add(export.segmentId()));
            while (ids.size() < count) {
                others.add(elsewhere(Math.min(count - ids.size(), most()), ids));
            }
            Samples.print("processes", 1 + others.size());
            connect(controller, ids, seconds);
            Samples.print("threads", status("Threads:"));
            for (int i = 0; i < revocations; i++) {
                revoke(controller);
            }
            own.forEach(ExportSegment::close);
        } finally {
            for (Peer other : others) {
                other.close();
            }
        }
    }

    private static List<ExportSegment> publish(Controller controller, int count) {
        List<ExportSegment> exports = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            exports.add(controller.exportCreate(4096));
            exports.get(i).publish(0, null);
        }
        return exports;
    }

    /** How many segments this process may have descriptors for. */
    private static int most() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/limits"))) {
            if (line.startsWith("Max open files")) {
                long limit = Long.parseLong(line.substring("Max open files".length()).trim().split(" +")[0]);
                return (int) Math.max(1, (limit - OTHER_DESCRIPTORS) / DESCRIPTORS_FOR_ONE);
            }
        }
        throw new IOException("no limit of descriptors in /proc/self/limits");
    }

    /** Another process that publishes so many. */
    private static Peer elsewhere(int count, List<Long> ids) throws IOException {
        Peer peer = new Peer(Scale.class, "exporter", String.valueOf(count));
        for (int i = 0; i < count; i++) {
            ids.add(Long.parseLong(peer.hear()));
        }
        return peer;
    }

    private static void exporter(int count) throws InterruptedException {
        Peer.endWithInput();
        Controller controller = Controller.get("loopback");
        List<ExportSegment> exports = publish(controller, count);
        StringBuilder lines = new StringBuilder("ready\n");
        exports.forEach(export -> lines.append(export.segmentId()).append('\n'));
        System.out.print(lines);
        System.out.flush();
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void one(Controller controller) {
        try (ExportSegment export = controller.exportCreate(4096)) {
            export.publish(0, null);
            controller.importConnect(controller.nodeId(), export.segmentId(), Permission.RDWR).close();
        }
    }

    private static void connect(Controller controller, List<Long> ids, double seconds) throws Exception {
        Random random = new Random(42);
        Samples.measure("connect", seconds, count -> {
            for (long i = 0; i < count; i++) {
                long id = ids.get(random.nextInt(ids.size()));
                controller.importConnect(controller.nodeId(), id, Permission.RDWR).close();
            }
        });
    }

    /** How long unpublish takes, and when the last importer, in another process, knows. */
    private static void revoke(Controller controller) throws IOException {
        try (ExportSegment export = controller.exportCreate(4096)) {
            export.publish(0, null);
            try (Peer peer = new Peer(Scale.class, "importers", String.valueOf(export.segmentId()))) {
                long start = System.nanoTime();
                export.unpublish();
                long end = System.nanoTime();
                Samples.print("revoked", end - start);
                Samples.print("told", Long.parseLong(peer.hear()) - start); // one clock for all processes
            }
        }
    }

    private static void importers(long id) throws InterruptedException {
        Peer.endWithInput();
        try (Controller controller = Controller.get("loopback")) {
            List<ImportSegment> segments = new ArrayList<>();
            for (int i = 0; i < IMPORTERS; i++) {
                segments.add(controller.importConnect(controller.nodeId(), id, Permission.RDWR));
                segments.get(i).map();
            }
            System.out.println("ready");
            // the library tells each of them; looked for at the last moment that counts, when the mapping is replaced
            for (ImportSegment segment : segments) {
                while (segment.mapping().isMapped()) {
                    Thread.sleep(0, 1000);
                }
            }
            System.out.println(System.nanoTime());
            segments.forEach(ImportSegment::close);
        }
    }

    private static double memory() throws IOException {
        for (int i = 0; i < 3; i++) {
            System.gc();
        }
        return 1024 * status("VmRSS:");
    }

    private static double status(String name) throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith(name)) {
                return Double.parseDouble(line.substring(name.length()).replace("kB", "").trim());
            }
        }
        throw new IOException("no " + name + " in /proc/self/status");
    }

    private static long descriptors() throws IOException {
        try (var files = Files.list(Path.of("/proc/self/fd"))) {
            return files.count();
        }
    }
}
