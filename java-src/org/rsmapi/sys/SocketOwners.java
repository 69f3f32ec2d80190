package org.rsmapi.sys;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/**
 * The sockets that listen under abstract names, and whose they are. Nothing connects to them, so that no process notices or can
 * delay it.
 *
 * <p>The kernel lists sockets and the users that made them over a netlink socket (sock_diag(7)). Where it cannot, /proc/net/unix has the
 * names. That file writes the bytes of a name as they are, so a name with a line feed in it can look like several. Therefore nothing
 * but names is taken from there.
 *
 * <p>Which process has a socket is only in the links in {@code /proc/PID/fd} of the processes that this one may look into. The kernel
 * holds a descriptor for a moment when it reads such a link. If the owner closes it at the same moment, the last close is made by the
 * reader, and can block (see {@link Closer}). So a thread of its own reads the links, and nobody waits for it beyond a time.
 */
public final class SocketOwners {
    /** No number is known. */
    public static final long UNKNOWN = -1;

    private static final int AF_UNIX = 1;
    private static final int AF_NETLINK = 16;
    private static final int SOCK_RAW = 3;
    private static final int SOCK_SEQPACKET = 5;
    private static final int SOCK_NONBLOCK = 04000;
    private static final int SOCK_CLOEXEC = 02000000;
    private static final int NETLINK_SOCK_DIAG = 4;
    private static final short SOCK_DIAG_BY_FAMILY = 20;
    private static final short NLM_F_REQUEST_DUMP = 0x301;
    private static final int NLMSG_ERROR = 2;
    private static final int NLMSG_DONE = 3;
    private static final int LISTEN = 10;
    private static final int UDIAG_SHOW_NAME = 1;
    private static final int UDIAG_SHOW_UID = 0x40;
    private static final int UNIX_DIAG_NAME = 0;
    private static final int UNIX_DIAG_UID = 7;
    private static final int HEADER = 16;
    private static final int REQUEST = HEADER + 24;
    private static final int MESSAGE = HEADER + 16;
    private static final int ATTRIBUTE = 4;
    /** The kernel sends at most half as much at once. */
    private static final int BUFFER = 1 << 16;

    /** Of /proc/net/unix: a listening socket of the type that keeps message borders; and what is in front of the name. */
    private static final String LISTENING_LINE = "[0-9a-fA-F]+: [0-9A-F]{8} 00000000 00010000 0005 01 +[0-9]+ @.*";

    /** For tests: as where the kernel has no sock_diag, or a sandbox refuses it. */
    private static final boolean WITHOUT = System.getProperty("rsmapi.test.without", "").equals("sock-diag");

    private static final long LONGEST_DUMP = TimeUnit.SECONDS.toNanos(5);
    private static final long LONGEST_SEARCH = TimeUnit.SECONDS.toNanos(1);
    /** Links of one process, so that one with very many does not take the time for the others. */
    private static final int LINKS_OF_ONE = 1 << 14;
    /** Names of one user: the names of others are not lost because one has more than anybody can use. */
    private static final int NAMES_OF_ONE = 1 << 16;
    /** Threads that read links. One that is blocked keeps its place. */
    private static final Semaphore SEARCHES = new Semaphore(4);

    private SocketOwners() {}

    /**
     * A socket that listens under an abstract name.
     *
     * @param name  without the NUL in front; a char for each byte
     * @param uid   the user that made it, as this process's user namespace has it, or {@link #UNKNOWN}
     * @param pid   a process that has it, or {@link #UNKNOWN}
     */
    public record Listening(String name, long uid, long pid) {}

    /** A socket of which the process is not known yet. */
    private record Found(String name, long uid, long inode) {}

    /**
     * The sockets that keep message borders and listen under abstract names of this network namespace.
     *
     * @param wanted     which names
     * @param processes  whether to look for the processes, which takes up to a second
     * @throws OsError EMFILE and the like
     */
    public static List<Listening> listening(Predicate<String> wanted, boolean processes) {
        List<Found> found = dump(wanted);
        if (found == null) {
            found = names(wanted);
        }
        Map<Long, Long> pids = processes ? search(found) : Map.of();
        List<Listening> result = new ArrayList<>(found.size());
        for (Found each : found) {
            result.add(new Listening(each.name, each.uid, pids.getOrDefault(each.inode, UNKNOWN)));
        }
        return result;
    }

    // ---- sock_diag ----

    /** What the kernel lists; null if it cannot. */
    private static List<Found> dump(Predicate<String> wanted) {
        if (WITHOUT) {
            return null;
        }
        try (Fd socket = Fd.of(Libc.socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), "socket");
                NativeBlock block = new NativeBlock(BUFFER)) {
            return request(socket, block) ? replies(socket, block, wanted) : null;
        } catch (OsError e) {
            if (e.isShortage()) {
                throw e;
            }
            return null; // a sandbox, or a kernel without it
        }
    }

    private static boolean request(Fd socket, NativeBlock block) {
        block.putInt(0, REQUEST);
        block.putShort(4, SOCK_DIAG_BY_FAMILY);
        block.putShort(6, NLM_F_REQUEST_DUMP);
        block.putInt(8, 1);
        block.putByte(HEADER, (byte) AF_UNIX);
        block.putInt(HEADER + 4, 1 << LISTEN);
        block.putInt(HEADER + 12, UDIAG_SHOW_NAME | UDIAG_SHOW_UID);
        block.putInt(HEADER + 16, -1);
        block.putInt(HEADER + 20, -1);
        return Libc.write(socket.number(), block.address(), REQUEST) == REQUEST;
    }

    private static List<Found> replies(Fd socket, NativeBlock block, Predicate<String> wanted) {
        List<Found> found = new ArrayList<>();
        Map<Long, Integer> counts = new HashMap<>();
        long deadline = System.nanoTime() + LONGEST_DUMP;
        while (!Deadline.hasPassed(deadline)) {
            int received = (int) Libc.read(socket.number(), block.address(), BUFFER);
            if (received < HEADER) {
                return null; // the kernel answers at once, or not at all
            }
            int at = 0;
            while (at + HEADER <= received) {
                int length = block.getInt(at);
                int type = block.getShort(at + 4);
                if (type == NLMSG_DONE) {
                    return found;
                }
                if (type == NLMSG_ERROR || length < MESSAGE || length > received - at) {
                    return null;
                }
                Found socketThere = parse(block, at, length);
                if (socketThere != null && wanted.test(socketThere.name)
                        && counts.merge(socketThere.uid, 1, Integer::sum) <= NAMES_OF_ONE) {
                    found.add(socketThere);
                }
                at += aligned(length);
            }
        }
        return found;
    }

    /** The socket of one message; null if it has no abstract name, or is of another type. */
    private static Found parse(NativeBlock block, int start, int length) {
        if (block.getByte(start + HEADER + 1) != SOCK_SEQPACKET || block.getByte(start + HEADER + 2) != LISTEN) {
            return null;
        }
        String name = null;
        long uid = UNKNOWN;
        int at = start + MESSAGE;
        while (at + ATTRIBUTE <= start + length) {
            int size = block.getShort(at) & 0xffff;
            int type = block.getShort(at + 2);
            if (size < ATTRIBUTE || at + size > start + length) {
                return null;
            }
            if (type == UNIX_DIAG_NAME && size > ATTRIBUTE && block.getByte(at + ATTRIBUTE) == 0) {
                byte[] bytes = new byte[size - ATTRIBUTE - 1];
                for (int i = 0; i < bytes.length; i++) {
                    bytes[i] = block.getByte(at + ATTRIBUTE + 1 + i);
                }
                name = new String(bytes, StandardCharsets.ISO_8859_1);
            } else if (type == UNIX_DIAG_UID && size >= ATTRIBUTE + 4) {
                uid = Integer.toUnsignedLong(block.getInt(at + ATTRIBUTE));
            }
            at += aligned(size);
        }
        return name == null ? null : new Found(name, uid, Integer.toUnsignedLong(block.getInt(start + HEADER + 4)));
    }

    private static int aligned(int length) {
        return length + 3 & -4;
    }

    // ---- /proc/net/unix ----

    private static List<Found> names(Predicate<String> wanted) {
        List<Found> found = new ArrayList<>();
        for (String line : Proc.read("/proc/net/unix")) {
            if (line.matches(LISTENING_LINE)) {
                String name = line.substring(line.indexOf('@') + 1);
                if (wanted.test(name) && found.size() < NAMES_OF_ONE) {
                    found.add(new Found(name, UNKNOWN, UNKNOWN));
                }
            }
        }
        return found;
    }

    // ---- processes ----

    /** Processes by the sockets' inodes, as far as they are found in time. */
    private static Map<Long, Long> search(List<Found> found) {
        Set<Long> inodes = ConcurrentHashMap.newKeySet();
        for (Found each : found) {
            if (each.inode != UNKNOWN) {
                inodes.add(each.inode);
            }
        }
        Map<Long, Long> pids = new ConcurrentHashMap<>();
        if (inodes.isEmpty()) {
            return pids;
        }
        long deadline = System.nanoTime() + LONGEST_SEARCH;
        try {
            if (SEARCHES.tryAcquire(LONGEST_SEARCH, TimeUnit.NANOSECONDS)) {
                join(started(inodes, pids, deadline), deadline);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // what has been found will do
        }
        return pids;
    }

    private static Thread started(Set<Long> inodes, Map<Long, Long> pids, long deadline) {
        boolean started = false;
        try {
            Thread thread = Threads.daemon(() -> {
                try {
                    searchAll(inodes, pids, deadline);
                } catch (OutOfMemoryError e) {
                    return; // what has been found will do
                } finally {
                    SEARCHES.release();
                }
            }, "rsmapi-owners");
            Threads.start(thread);
            started = true;
            return thread;
        } catch (OsError e) {
            return null; // no more threads
        } finally {
            if (!started) {
                SEARCHES.release();
            }
        }
    }

    private static void join(Thread thread, long deadline) throws InterruptedException {
        if (thread != null) {
            long nanos = deadline - System.nanoTime();
            thread.join(Math.max(1, TimeUnit.NANOSECONDS.toMillis(nanos)));
        }
    }

    private static void searchAll(Set<Long> inodes, Map<Long, Long> pids, long deadline) {
        String[] processes = new File("/proc").list((dir, name) -> !name.isEmpty() && name.chars().allMatch(Character::isDigit));
        if (processes == null) {
            return;
        }
        searchOne("self", Credentials.pid(), inodes, pids, deadline);
        for (String process : processes) {
            if (inodes.isEmpty() || Deadline.hasPassed(deadline)) {
                return;
            }
            searchOne(process, Proc.number(process, UNKNOWN), inodes, pids, deadline);
        }
    }

    private static void searchOne(String process, long pid, Set<Long> inodes, Map<Long, Long> pids, long deadline) {
        int links = 0;
        try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(Path.of("/proc", process, "fd"))) {
            for (Path descriptor : descriptors) {
                if (inodes.isEmpty() || ++links > LINKS_OF_ONE || Deadline.hasPassed(deadline)) {
                    return;
                }
                long inode = inodeOf(descriptor);
                if (inode != UNKNOWN && inodes.remove(inode)) {
                    pids.put(inode, pid);
                }
            }
        } catch (IOException | DirectoryIteratorException | SecurityException e) {
            return; // it has ended, or is not ours to look into
        }
    }

    private static long inodeOf(Path descriptor) {
        try {
            String target = Files.readSymbolicLink(descriptor).toString();
            return target.startsWith("socket:[") ? Proc.number(target.substring("socket:[".length()), UNKNOWN) : UNKNOWN;
        } catch (IOException | InvalidPathException e) {
            return UNKNOWN; // closed meanwhile
        }
    }
}
