package org.rsmapi.sys;

import java.util.Arrays;

/** Who this process is, as the kernel sees it. */
public final class Credentials {
    private static final int STRICTEST = 077;

    private Credentials() {}

    /** The process id. */
    public static int pid() {
        return Libc.getpid();
    }

    /** The effective user id. */
    public static int uid() {
        return Libc.geteuid();
    }

    /** The effective group id. */
    public static int gid() {
        return Libc.getegid();
    }

    /** The supplementary group ids; none where /proc does not tell. */
    public static int[] groups() {
        for (String line : Proc.read("/proc/self/status")) {
            if (line.startsWith("Groups:")) {
                return Arrays.stream(line.substring("Groups:".length()).trim().split("\\s+")).filter(each -> !each.isEmpty())
                    .mapToInt(Integer::parseUnsignedInt).toArray();
            }
        }
        return new int[0];
    }

    /**
     * Makes the calling thread, and no other one, act for a user, by its effective, real and saved ids and its groups. It cannot go back: it
     * has to end soon.
     *
     * @throws OsError EPERM if this process may not; the thread may be half of each then
     */
    public static void become(int uid, int gid, int[] groups) {
        try (NativeBlock list = new NativeBlock(Math.max(1, groups.length) * Integer.BYTES)) {
            for (int i = 0; i < groups.length; i++) {
                list.putInt(i * Integer.BYTES, groups[i]);
            }
            // libc's functions of these names change all threads; the system calls change one
            set("setgroups", Libc.syscall(Libc.SYS_SETGROUPS, groups.length, list.address(), 0, 0, 0, 0));
            set("setresgid", Libc.syscall(Libc.SYS_SETRESGID, gid, gid, gid, 0, 0, 0));
            set("setresuid", Libc.syscall(Libc.SYS_SETRESUID, uid, uid, uid, 0, 0, 0));
        }
    }

    private static void set(String call, long result) {
        OsError.check((int) result, call);
    }

    /**
     * The file mode creation mask. Read from /proc, because umask(2) cannot be asked without changing it; that is done only where
     * /proc does not tell (kernels before 4.7), or no descriptor is left to read it with.
     */
    public static int umask() {
        for (String line : Proc.read("/proc/self/status")) {
            if (line.startsWith("Umask:")) {
                return Integer.parseInt(line.substring("Umask:".length()).trim(), 8);
            }
        }
        int mask = Libc.umask(STRICTEST);
        Libc.umask(mask);
        return mask;
    }
}
