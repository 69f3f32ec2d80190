package org.rsmapi.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A process that is the gateway of its host, and nothing else. It prints {@code ready}; for each line of its input what it holds: Java
 * threads, bytes of the heap, resident bytes and descriptors.
 */
public final class HostGateway {
    private HostGateway() {
    }

    public static void main(String[] args) throws Exception {
        try (var gateway = org.rsmapi.net.HostGateway.open(0)) {
            while (!gateway.isOpen()) {
                Thread.sleep(1);
            }
            System.out.println("ready");
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            while (input.readLine() != null) {
                report();
            }
        }
    }

    private static void report() throws Exception {
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(50);
        }
        Runtime runtime = Runtime.getRuntime();
        System.out.println(Thread.getAllStackTraces().size() + " " + (runtime.totalMemory() - runtime.freeMemory()) + " " + resident() + " "
            + descriptors());
    }

    private static long resident() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmRSS:")) {
                return 1024 * Long.parseLong(line.replaceAll("\\D", ""));
            }
        }
        throw new IOException("no VmRSS in /proc/self/status");
    }

    private static long descriptors() throws IOException {
        try (var files = Files.list(Path.of("/proc/self/fd"))) {
            return files.count();
        }
    }
}
