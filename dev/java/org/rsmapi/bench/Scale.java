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

/** One process with many published segments of a page each: {@code Scale segments seconds revocations}. */
public final class Scale {
    private static final int IMPORTERS = 100;

    private Scale() {
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("importers")) {
            importers(Long.parseLong(args[1]));
            return;
        }
        try (Controller controller = Controller.get("loopback")) {
            one(controller); // what comes once has been there before the first figure
            int count = Integer.parseInt(args[0]);
            double memory = memory();
            long descriptors = descriptors();
            List<ExportSegment> exports = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                exports.add(controller.exportCreate(4096));
                exports.get(i).publish(0, null);
            }
            Samples.print("memory", (memory() - memory) / count);
            Samples.print("descriptors", (double) (descriptors() - descriptors) / count);
            connect(controller, exports, Double.parseDouble(args[1]));
            Samples.print("threads", status("Threads:"));
            for (int i = 0; i < Integer.parseInt(args[2]); i++) {
                revoke(controller);
            }
            exports.forEach(ExportSegment::close);
        }
    }

    private static void one(Controller controller) {
        try (ExportSegment export = controller.exportCreate(4096)) {
            export.publish(0, null);
            controller.importConnect(controller.nodeId(), export.segmentId(), Permission.RDWR).close();
        }
    }

    private static void connect(Controller controller, List<ExportSegment> exports, double seconds) throws Exception {
        Random random = new Random(42);
        Samples.measure("connect", seconds, count -> {
            for (long i = 0; i < count; i++) {
                ExportSegment export = exports.get(random.nextInt(exports.size()));
                controller.importConnect(controller.nodeId(), export.segmentId(), Permission.RDWR).close();
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
