package org.rsmapi.sys;

import com.sun.jna.Native;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Unix sockets that keep message borders (SOCK_SEQPACKET), with names in the abstract namespace; none of the calls blocks. */
public final class Sockets {
    private static final int AF_UNIX = 1;
    private static final int SOCK_SEQPACKET = 5;
    private static final int SOCK_NONBLOCK = 04000;
    private static final int SOCK_CLOEXEC = 02000000;
    private static final int SOL_SOCKET = 1;
    private static final int SO_PEERCRED = 17;
    private static final int SO_PEERGROUPS = 59;
    private static final int SCM_RIGHTS = 1;
    private static final int MSG_DONTWAIT = 0x40;
    private static final int MSG_NOSIGNAL = 0x4000;
    private static final int MSG_CMSG_CLOEXEC = 0x40000000;
    private static final int MSG_TRUNC = 0x20;
    private static final int MSG_CTRUNC = 8;
    private static final int MAX_NAME = 107;
    private static final int UCRED_BYTES = 12;
    private static final int MAX_GROUPS = 65536;

    // struct msghdr, struct iovec and struct cmsghdr on LP64, laid out one behind the other in one block.
    private static final int MSG_IOV = 16;
    private static final int MSG_IOVLEN = 24;
    private static final int MSG_CONTROL = 32;
    private static final int MSG_CONTROLLEN = 40;
    private static final int MSG_FLAGS = 48;
    private static final int IOVEC = 56;
    private static final int CONTROL = 72;
    private static final int CMSG_LEVEL = 8;
    private static final int CMSG_TYPE = 12;
    private static final int CMSG_DATA = 16;

    private Sockets() {}

    /**
     * A socket that listens under an abstract name.
     *
     * @throws OsError EADDRINUSE if the name is taken
     */
    public static Fd listen(String name, int backlog) {
        Fd fd = bind(name);
        try {
            Fd.check(Libc.listen(fd.number(), backlog), "listen");
            return fd;
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
    }

    /**
     * A socket connected to an abstract name.
     *
     * @throws OsError ECONNREFUSED if nobody listens there, EAGAIN if too many wait to be accepted
     */
    public static Fd connect(String name) {
        Fd fd = open();
        try (Scratch address = address(name)) {
            Fd.check(Libc.connect(fd.number(), address.address(), addressLength(name)), "connect");
            return fd;
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
    }

    /**
     * A socket that has an abstract name and listens to nobody: a sign that this process is there.
     *
     * @throws OsError EADDRINUSE if the name is taken
     */
    public static Fd bind(String name) {
        Fd fd = open();
        try (Scratch address = address(name)) {
            Fd.check(Libc.bind(fd.number(), address.address(), addressLength(name)), "bind");
            return fd;
        } catch (RuntimeException | Error e) {
            fd.close();
            throw e;
        }
    }

    /** The abstract names with this prefix that are bound in this network namespace; a name may come more than once. */
    public static List<String> names(String prefix) {
        List<String> found = new ArrayList<>();
        for (String line : Vm.procLines("/proc/net/unix")) {
            int at = line.indexOf(" @" + prefix);
            if (at >= 0) {
                found.add(line.substring(at + 2));
            }
        }
        return found;
    }

    private static Fd open() {
        return Fd.of(Libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    }

    private static Scratch address(String name) {
        byte[] bytes = name.getBytes(StandardCharsets.US_ASCII);
        if (bytes.length > MAX_NAME) {
            throw new OsError("bind", Errno.EINVAL);
        }
        Scratch address = new Scratch(2 + 1 + MAX_NAME);
        address.putShort(0, (short) AF_UNIX);
        address.putBytes(3, bytes, bytes.length); // the byte before is 0: the abstract namespace
        return address;
    }

    private static int addressLength(String name) {
        return 2 + 1 + name.length();
    }

    /** The next waiting connection, or null if none waits. */
    public static Fd accept(Fd listener) {
        while (true) {
            int n = Libc.accept4(listener.number(), 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (n != -1) {
                return new Fd(n);
            }
            int errno = Native.getLastError();
            if (errno == Errno.EAGAIN) {
                return null;
            }
            if (errno != Errno.EINTR && errno != Errno.ECONNABORTED) {
                throw new OsError("accept4", errno);
            }
        }
    }

    /** Who is at the other end, by the kernel's word: as it was when that end connected (or listened). */
    public static final class Peer {
        private final Fd fd;
        private final int pid;
        private final int uid;
        private final int gid;

        private Peer(Fd fd, int pid, int uid, int gid) {
            this.fd = fd;
            this.pid = pid;
            this.uid = uid;
            this.gid = gid;
        }

        /** Process id; 0 if it is in a pid namespace that we cannot see. */
        public int pid() {
            return pid;
        }

        /** Effective user id. */
        public int uid() {
            return uid;
        }

        /** Whether a group is its effective group or among its supplementary groups; asked while the connection is open. */
        public boolean inGroup(int group) {
            if (gid == group) {
                return true;
            }
            for (int g : groups(fd)) {
                if (g == group) {
                    return true;
                }
            }
            return false;
        }
    }

    /** The credentials of the other end. */
    public static Peer peer(Fd fd) {
        try (Scratch block = new Scratch(UCRED_BYTES + 4)) {
            block.putInt(UCRED_BYTES, UCRED_BYTES);
            Fd.check(Libc.getsockopt(fd.number(), SOL_SOCKET, SO_PEERCRED, block.address(), block.address() + UCRED_BYTES),
                "getsockopt(SO_PEERCRED)");
            return new Peer(fd, block.getInt(0), block.getInt(4), block.getInt(8));
        }
    }

    private static int[] groups(Fd fd) {
        int capacity = 64;
        while (true) {
            try (Scratch block = new Scratch(4 + 4 * capacity)) {
                block.putInt(0, 4 * capacity);
                if (Libc.getsockopt(fd.number(), SOL_SOCKET, SO_PEERGROUPS, block.address() + 4, block.address()) == 0) {
                    int[] groups = new int[block.getInt(0) / 4];
                    for (int i = 0; i < groups.length; i++) {
                        groups[i] = block.getInt(4 + 4 * i);
                    }
                    return groups;
                }
                // ERANGE: too small. Anything else: a kernel before 4.13, which cannot tell.
                if (block.getInt(0) / 4 <= capacity || capacity >= MAX_GROUPS) {
                    return new int[0];
                }
                capacity = Math.min(MAX_GROUPS, block.getInt(0) / 4);
            }
        }
    }

    /**
     * Sends one message with descriptors.
     *
     * @return false if there is no room for it now
     * @throws OsError EPIPE or ECONNRESET if the other end is gone
     */
    public static boolean send(Fd fd, byte[] message, Fd... descriptors) {
        int control = descriptors.length == 0 ? 0 : CMSG_DATA + align(4 * descriptors.length);
        try (Scratch block = new Scratch(CONTROL + control + message.length)) {
            int data = CONTROL + control;
            describe(block, data, message.length, control);
            block.putBytes(data, message, message.length);
            if (control > 0) {
                block.putLong(CONTROL, CMSG_DATA + 4 * descriptors.length);
                block.putInt(CONTROL + CMSG_LEVEL, SOL_SOCKET);
                block.putInt(CONTROL + CMSG_TYPE, SCM_RIGHTS);
                for (int i = 0; i < descriptors.length; i++) {
                    block.putInt(CONTROL + CMSG_DATA + 4 * i, descriptors[i].number());
                }
            }
            while (Libc.sendmsg(fd.number(), block.address(), MSG_DONTWAIT | MSG_NOSIGNAL) == -1) {
                int errno = Native.getLastError();
                if (errno == Errno.EAGAIN) {
                    return false;
                }
                if (errno != Errno.EINTR) {
                    throw new OsError("sendmsg", errno);
                }
            }
            return true;
        }
    }

    /** One received message. Whoever receives it owns the descriptors. */
    public static final class Message implements AutoCloseable {
        private final byte[] data;
        private final List<Fd> descriptors;
        private final boolean truncated;

        private Message(byte[] data, List<Fd> descriptors, boolean truncated) {
            this.data = data;
            this.descriptors = descriptors;
            this.truncated = truncated;
        }

        /** The bytes; none means that the other end is gone. */
        public byte[] data() {
            return data;
        }

        /** The descriptors that came along. */
        public List<Fd> descriptors() {
            return descriptors;
        }

        /** Whether bytes or descriptors did not fit and were lost. */
        public boolean truncated() {
            return truncated;
        }

        /** Closes the descriptors that nobody has taken out of {@link #descriptors()}. */
        @Override
        public void close() {
            for (int i = 0; i < descriptors.size(); i++) { // an iterator would need memory
                descriptors.get(i).close();
            }
        }
    }

    /**
     * The next message, or null if none is there yet. A connection that was reset counts as ended, once what was sent before has
     * been read: the kernel tells of the reset first.
     */
    public static Message receive(Fd fd, int maxBytes, int maxDescriptors) {
        int control = CMSG_DATA + align(4 * maxDescriptors);
        try (Scratch block = new Scratch(CONTROL + control + maxBytes)) {
            int data = CONTROL + control;
            describe(block, data, maxBytes, control);
            long received;
            boolean reset = false;
            while ((received = Libc.recvmsg(fd.number(), block.address(), MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) == -1) {
                int errno = Native.getLastError();
                if (errno == Errno.EAGAIN) {
                    return null;
                }
                if (errno == Errno.ECONNRESET && reset) {
                    return new Message(new byte[0], new ArrayList<>(), false);
                }
                reset |= errno == Errno.ECONNRESET;
                if (errno != Errno.EINTR && errno != Errno.ECONNRESET) {
                    throw new OsError("recvmsg", errno);
                }
            }
            byte[] bytes = new byte[(int) received];
            block.getBytes(data, bytes, bytes.length);
            boolean truncated = (block.getInt(MSG_FLAGS) & (MSG_TRUNC | MSG_CTRUNC)) != 0;
            return new Message(bytes, descriptors(block, (int) block.getLong(MSG_CONTROLLEN)), truncated);
        }
    }

    private static List<Fd> descriptors(Scratch block, int controlBytes) {
        List<Fd> found = new ArrayList<>();
        int at = 0;
        while (at + CMSG_DATA <= controlBytes) {
            int length = (int) block.getLong(CONTROL + at);
            if (length < CMSG_DATA) {
                break;
            }
            if (block.getInt(CONTROL + at + CMSG_LEVEL) == SOL_SOCKET && block.getInt(CONTROL + at + CMSG_TYPE) == SCM_RIGHTS) {
                for (int i = CMSG_DATA; i + 4 <= length; i += 4) {
                    found.add(new Fd(block.getInt(CONTROL + at + i)));
                }
            }
            at += align(length);
        }
        return found;
    }

    private static void describe(Scratch block, int data, int length, int control) {
        block.putLong(MSG_IOV, block.address() + IOVEC);
        block.putLong(MSG_IOVLEN, 1);
        block.putLong(IOVEC, block.address() + data);
        block.putLong(IOVEC + 8, length);
        block.putLong(MSG_CONTROL, control == 0 ? 0 : block.address() + CONTROL);
        block.putLong(MSG_CONTROLLEN, control);
    }

    private static int align(int length) {
        return (length + 7) & ~7;
    }
}
