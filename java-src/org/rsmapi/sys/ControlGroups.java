package org.rsmapi.sys;

import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The limits of memory of the process's control group and those above it, of version 2 and of version 1.
 *
 * <p>The kernel counts the page cache of files as used. It gives that back before it ends a process, so here it counts as available.
 */
final class ControlGroups {
    private static final long UNKNOWN = Long.MAX_VALUE;
    /** No machine has as much; version 1 says it in this way that there is no limit. */
    private static final long NO_LIMIT = 1L << 62;

    /** Lines of /proc/self/mountinfo that are of control groups. They are read once: a system has them mounted before it runs others. */
    private static List<String> mounts;

    // /proc/self/mountinfo: 4 root, 5 mount point, then optional fields up to "-", then the type and, two further, the options
    private static final int ROOT = 3;
    private static final int MOUNT_POINT = 4;

    /** What the files of a version are called, and what of memory.stat the kernel can reclaim. */
    private enum Version {
        ONE("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ", "total_active_file "),
        TWO("memory.max", "memory.current", "inactive_file ", "active_file ", "slab_reclaimable ");

        private final String limit;
        private final String used;
        private final String[] reclaimable;

        Version(String limit, String used, String... reclaimable) {
            this.limit = limit;
            this.used = used;
            this.reclaimable = reclaimable;
        }
    }

    /** A folder of a control group. */
    private record Group(Version version, Path folder) {
        long limit() {
            return number(version.limit);
        }

        /** What it leaves of its limit. */
        long available(long limit) {
            long used = number(version.used);
            if (used == UNKNOWN || limit >= NO_LIMIT) {
                return UNKNOWN;
            }
            List<String> stat = Proc.read(folder.resolve("memory.stat").toString());
            long reclaimable = 0;
            for (String key : version.reclaimable) {
                reclaimable += Math.min(used, Proc.numberAfter(key, stat, 0));
            }
            return Math.max(0, limit - used + Math.min(used, reclaimable));
        }

        private long number(String file) {
            return Proc.numberIn(folder.resolve(file).toString(), UNKNOWN); // "max" is no number
        }
    }

    private ControlGroups() {}

    /**
     * What the groups leave.
     *
     * @param limit      the tightest limit, or {@link Long#MAX_VALUE}
     * @param available  what can be had before one of them is full, or {@link Long#MAX_VALUE}
     */
    record Memory(long limit, long available) {}

    /** What the groups leave at present. */
    static Memory memory() {
        long limit = UNKNOWN;
        long available = UNKNOWN;
        for (Group group : groups()) {
            long allowed = group.limit();
            if (allowed != UNKNOWN) {
                limit = Math.min(limit, allowed);
                available = Math.min(available, group.available(allowed));
            }
        }
        return new Memory(limit, available);
    }

    private static List<Group> groups() {
        List<Group> found = new ArrayList<>();
        List<String> mounts = mounts();
        for (String line : Proc.read("/proc/self/cgroup")) { // id:controllers:path
            String[] fields = line.split(":", 3);
            if (fields.length < 3) {
                continue;
            }
            Version version = fields[1].isEmpty() ? Version.TWO : List.of(fields[1].split(",")).contains("memory") ? Version.ONE : null;
            for (String mount : version == null ? List.<String>of() : mounts) {
                add(version, mount, fields[2], found);
            }
        }
        return found;
    }

    private static synchronized List<String> mounts() {
        if (mounts == null) {
            List<String> found = new ArrayList<>(Proc.read("/proc/self/mountinfo"));
            if (found.isEmpty()) {
                return found; // perhaps there are no descriptors
            }
            found.removeIf(line -> !line.contains(" - cgroup"));
            mounts = found;
        }
        return mounts;
    }

    /** Adds the group at a path, and those above it, if that is where they are mounted. */
    private static void add(Version version, String mount, String path, List<Group> found) {
        int separator = mount.indexOf(" - ");
        String[] fields = mount.split(" ");
        if (separator < 0 || fields.length <= MOUNT_POINT) {
            return;
        }
        String[] behind = mount.substring(separator + 3).split(" "); // type, source, options
        boolean right = version == Version.TWO ? behind[0].equals("cgroup2")
            : behind[0].equals("cgroup") && behind.length > 2 && List.of(behind[2].split(",")).contains("memory");
        if (!right) {
            return;
        }
        try {
            Path top = Path.of(unescaped(fields[MOUNT_POINT]));
            String root = unescaped(fields[ROOT]);
            String below = path.startsWith(root) ? path.substring(root.length()) : ""; // in a container the path may be the host's
            Path folder = top.resolve(below.replaceFirst("^/+", "")).normalize();
            if (!folder.startsWith(top) || !Files.isDirectory(folder)) {
                folder = top;
            }
            for (; folder != null && folder.startsWith(top); folder = folder.getParent()) {
                found.add(new Group(version, folder));
            }
        } catch (InvalidPathException e) {
            return; // not to be had under that name
        }
    }

    /** Blanks and the like are written as octal numbers. */
    private static String unescaped(String field) {
        return field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    }
}
