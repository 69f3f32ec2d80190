package org.rsmapi.sys;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** How much memory the machine has, and how much of it this process could still get. */
public final class SystemMemory {
    private static final Path CGROUPS = Path.of("/sys/fs/cgroup");
    private static final long UNKNOWN = Long.MAX_VALUE;

    private SystemMemory() {}

    /** Physical memory in bytes. */
    public static long total() {
        return meminfo("MemTotal:");
    }

    /** What can be had without anybody being killed for it: the machine's available memory or what the control group leaves. */
    public static long available() {
        long swap = meminfo("SwapFree:");
        long free = meminfo("MemAvailable:");
        long machine = free == UNKNOWN ? UNKNOWN : free + (swap == UNKNOWN ? 0 : swap);
        return Math.min(machine, controlGroup());
    }

    private static long meminfo(String key) {
        for (String line : Vm.procLines("/proc/meminfo")) {
            if (line.startsWith(key)) {
                return Long.parseLong(line.substring(key.length()).replace("kB", "").trim()) * 1024;
            }
        }
        return UNKNOWN;
    }

    /** The tightest limit of the process's version 2 control group and those above it. */
    private static long controlGroup() {
        long least = UNKNOWN;
        for (String line : Vm.procLines("/proc/self/cgroup")) {
            if (line.startsWith("0::/")) {
                Path group = CGROUPS.resolve(line.substring("0::/".length()));
                while (group != null && group.startsWith(CGROUPS)) {
                    least = Math.min(least, left(group));
                    group = group.getParent();
                }
            }
        }
        return least;
    }

    private static long left(Path group) {
        Path limit = group.resolve("memory.max");
        if (!Files.exists(limit)) {
            return UNKNOWN;
        }
        long max = number(limit);
        long used = number(group.resolve("memory.current"));
        return max == UNKNOWN || used == UNKNOWN ? UNKNOWN : Math.max(0, max - used);
    }

    private static long number(Path file) {
        List<String> lines = Vm.procLines(file.toString());
        try {
            return lines.isEmpty() || lines.get(0).equals("max") ? UNKNOWN : Long.parseLong(lines.get(0).trim());
        } catch (NumberFormatException e) {
            return UNKNOWN;
        }
    }
}
