package org.rsmapi.sys;

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
