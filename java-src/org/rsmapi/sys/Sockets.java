package org.rsmapi.sys;

import com.sun.jna.Native;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Unix sockets that keep message borders (SOCK_SEQPACKET), with names in the abstract namespace; none of the calls blocks.
 *
 * <p>The other end may send descriptors with any message, and the last close(2) of what it sends can block (see {@link Closer}). The
 * kernel closes descriptors that a receiver has no room for in the receiver's thread, and those in unread messages in the thread
 * that closes the socket. Neither happens here:
 *
 * <ul>
 * <li>Where the kernel can (SO_PASSRIGHTS, Linux 6.16), sockets refuse descriptors: the sender gets EPERM.</li>
 * <li>A message is looked at before it is taken from the socket (MSG_PEEK), and stays there if its descriptors do not fit.</li>
 * <li>{@link #end} has a socket closed by {@link Closer} if messages with descriptors lie in it.</li>
 * </ul>
 */
public final class Sockets {
    private static final int AF_UNIX = 1;
    private static final int SOCK_SEQPACKET = 5;
    private static final int SOCK_NONBLOCK = 04000;
    private static final int SOCK_CLOEXEC = 02000000;
    private static final int SOL_SOCKET = 1;
    private static final int SO_PEERCRED = 17;
    private static final int SO_PEERGROUPS = 59;
    private static final int SO_PASSCRED = 16;
    private static final int SO_PASSRIGHTS = 83;
    private static final int SIOCOUTQ = 0x5411;
    private static final int SHUT_RDWR = 2;
    private static final int SCM_RIGHTS = 1;
    private static final int MSG_DONTWAIT = 0x40;
    private static final int MSG_NOSIGNAL = 0x4000;
    private static final int MSG_CMSG_CLOEXEC = 0x40000000;
    private static final int MSG_PEEK = 2;
    private static final int MSG_TRUNC = 0x20;
    private static final int MSG_CTRUNC = 8;
    private static final int MAX_NAME = 107;
    private static final int UCRED_BYTES = 12;
    private static final int MAX_GROUPS = 65536;
    /** SCM_MAX_FD of the kernel: the most descriptors that a message can have. */
    private static final int MAX_RIGHTS = 253;
    /** Unread messages that {@link #end} looks at; in a socket with more of them, descriptors are assumed. */
    private static final int MAX_UNREAD = 32;

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

    /**
     * For tests: what this process does without, as on older kernels. "passrights": sockets that refuse descriptors; "peek": that,
     * and looking at messages.
     */
    private static final String WITHOUT = System.getProperty("rsmapi.test.without", "");
    private static final Runnable NOTHING = () -> { };

    /** What was found out about the kernel; null before. */
    private static volatile Abilities abilities;

    private Sockets() {}

    /**
     * What the kernel does, not what it says that it does.
     *
     * @param peeks    MSG_PEEK shows whether a message has descriptors, and leaves them in the queue
     * @param refuses  SO_PASSRIGHTS makes a socket, and those accepted from it, reject descriptors
     */
    private record Abilities(boolean peeks, boolean refuses) {
        static final Abilities NONE = new Abilities(false, false);
    }

    /**
     * Finds out once what the kernel can do.
     *
     * @throws OsError EMFILE, ENFILE and the like; the next call tries again
     */
    public static synchronized void probe() {
        if (abilities == null) {
            boolean peeks = !WITHOUT.equals("peek") && probePeeking();
            abilities = new Abilities(peeks, peeks && WITHOUT.isEmpty() && probeRefusing());
        }
    }

    private static Abilities abilities() {
        if (abilities == null) {
            try {
                probe();
            } catch (OsError e) {
                return Abilities.NONE;
            }
        }
        return abilities;
    }

    private static boolean probePeeking() {
        try (Pair pair = Pair.open(); EventFd sent = new EventFd()) {
            boolean right = send(pair.one, new byte[] {1}, sent.fd());
            try (Message look = read(pair.other, 1, 0, MSG_PEEK)) {
                right &= look != null && look.data.length == 1 && look.lost && look.descriptors.isEmpty();
            }
            try (Message look = read(pair.other, 1, 1, MSG_PEEK)) {
                right &= look != null && look.data.length == 1 && !look.lost && look.descriptors.size() == 1;
                if (look != null) {
                    look.descriptors.forEach(Fd::close); // here: it is our own
                    look.descriptors.clear();
                }
            }
            try (Message taken = read(pair.other, 1, 0, 0)) {
                right &= taken != null && taken.data.length == 1;
            }
            return right && read(pair.other, 1, 0, MSG_PEEK) == null;
        }
    }

    private static boolean probeRefusing() {
        String name = "rsmapi-probe/" + Credentials.pid() + "/" + Long.toHexString(System.nanoTime());
        try (Fd listener = listen(name, 1, true); Fd socket = connect(name); EventFd sent = new EventFd()) {
            // before it is accepted, and with room to take it
            return refusesDescriptor(socket, sent.fd()) && send(socket, new byte[] {1}) && listener.isOpen();
        } catch (OsError e) {
            if (e.is(Errno.EMFILE, Errno.ENFILE, Errno.ENOMEM, Errno.ENOBUFS)) {
                throw e;
            }
            return false; // ENOPROTOOPT: a kernel before 6.16
        }
    }

    private static boolean refusesDescriptor(Fd socket, Fd descriptor) {
        try {
            send(socket, new byte[] {1}, descriptor);
            return false;
        } catch (OsError e) {
            return e.is(Errno.EPERM);
        }
    }

    /** Two sockets that are connected to each other. */
    private record Pair(Fd one, Fd other) implements AutoCloseable {
        static Pair open() {
            try (NativeBlock block = new NativeBlock(8)) {
                OsError.check(Libc.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, block.address()), "socketpair");
                return new Pair(new Fd(block.getInt(0)), new Fd(block.getInt(4)));
            }
        }

        @Override
        public void close() {
            one.close();
            other.close();
        }
    }

    /**
     * A socket that listens under an abstract name. It and what is accepted from it refuse descriptors, where the kernel can do that.
     *
     * @throws OsError EADDRINUSE if the name is taken
     */
    public static Fd listen(String name, int backlog) {
        return listen(name, backlog, abilities().refuses());
    }

    private static Fd listen(String name, int backlog, boolean refuse) {
        try (Opening opening = new Opening(1)) {
            Fd fd = opening.add(open());
            if (refuse) {
                setOption(fd, SO_PASSRIGHTS, 0);
            }
            bind(fd, name);
            OsError.check(Libc.listen(fd.number(), backlog), "listen");
            opening.done();
            return fd;
        }
    }

    /** From now on the other end's attempts to send descriptors fail, where the kernel can do that. */
    public static void refuseDescriptors(Fd fd) {
        if (abilities().refuses()) {
            try {
                setOption(fd, SO_PASSRIGHTS, 0);
            } catch (OsError e) {
                return; // it is the second of two nets
            }
        }
    }

    private static void setOption(Fd fd, int option, int value) {
        try (NativeBlock block = new NativeBlock(4)) {
            block.putInt(0, value);
            OsError.check(Libc.setsockopt(fd.number(), SOL_SOCKET, option, block.address(), 4), "setsockopt");
        }
    }

    /**
     * A socket connected to an abstract name.
     *
     * @throws OsError ECONNREFUSED if there is no listener, EAGAIN if its backlog is full
     */
    public static Fd connect(String name) {
        try (Opening opening = new Opening(1); NativeBlock address = address(name)) {
            Fd fd = opening.add(open());
            OsError.check(Libc.connect(fd.number(), address.address(), addressLength(name)), "connect");
            opening.done();
            return fd;
        }
    }

    /**
     * A socket that is bound to an abstract name and does not listen: it shows that this process is present.
     *
     * @throws OsError EADDRINUSE if the name is taken
     */
    public static Fd bind(String name) {
        try (Opening opening = new Opening(1)) {
            Fd fd = opening.add(open());
            bind(fd, name);
            opening.done();
            return fd;
        }
    }

    private static void bind(Fd fd, String name) {
        try (NativeBlock address = address(name)) {
            OsError.check(Libc.bind(fd.number(), address.address(), addressLength(name)), "bind");
        }
    }

    /** The abstract names with this prefix that are bound in this network namespace; a name may come more than once. */
    public static List<String> names(String prefix) {
        List<String> found = new ArrayList<>();
        for (String line : Proc.read("/proc/net/unix")) {
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

    private static NativeBlock address(String name) {
        byte[] bytes = name.getBytes(StandardCharsets.US_ASCII);
        if (bytes.length > MAX_NAME) {
            throw new OsError("bind", Errno.EINVAL);
        }
        NativeBlock address = new NativeBlock(2 + 1 + MAX_NAME);
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

        /** Effective group id. */
        public int gid() {
            return gid;
        }

        /** Supplementary group ids; asked while the connection is open. */
        public int[] groups() {
            return Sockets.groups(fd);
        }

        /** Whether a group is its effective group or among its supplementary groups; asked while the connection is open. */
        public boolean inGroup(int group) {
            if (gid == group) {
                return true;
            }
            for (int g : groups()) {
                if (g == group) {
                    return true;
                }
            }
            return false;
        }
    }

    /** The credentials of the other end. */
    public static Peer peer(Fd fd) {
        try (NativeBlock block = new NativeBlock(UCRED_BYTES + 4)) {
            block.putInt(UCRED_BYTES, UCRED_BYTES);
            OsError.check(Libc.getsockopt(fd.number(), SOL_SOCKET, SO_PEERCRED, block.address(), block.address() + UCRED_BYTES),
                "getsockopt(SO_PEERCRED)");
            return new Peer(fd, block.getInt(0), block.getInt(4), block.getInt(8));
        }
    }

    private static int[] groups(Fd fd) {
        int capacity = 64;
        while (true) {
            try (NativeBlock block = new NativeBlock(4 + 4 * capacity)) {
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
        try (NativeBlock block = new NativeBlock(CONTROL + control + message.length)) {
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

    /** Whether the other end has not read everything that was sent. */
    public static boolean unread(Fd fd) {
        try (NativeBlock block = new NativeBlock(4)) {
            return Libc.ioctl(fd.number(), SIOCOUTQ, block.address()) == 0 && block.getInt(0) > 0;
        }
    }

    /** Ends the connection for the other end, which can still read what was sent before, and can send nothing more. */
    public static void shutdown(Fd fd) {
        Libc.shutdown(fd.number(), SHUT_RDWR); // fails if the other end is gone already
    }

    /**
     * Ends a connection: the other end sees it at once, and the socket is closed, by {@link Closer} if there are, or may be,
     * messages with descriptors in it. Idempotent.
     *
     * @param uid  the user at the other end
     */
    public static void end(Fd fd, int uid) {
        end(fd, uid, NOTHING);
    }

    /** The same, and runs something as soon as the socket is closed. */
    public static void end(Fd fd, int uid, Runnable afterwards) {
        if (!fd.isOpen()) {
            return;
        }
        shutdown(fd);
        boolean here = false;
        try {
            here = bringsNothing(fd);
        } finally { // also if there is no memory
            if (here) {
                fd.close();
                afterwards.run();
            } else {
                Closer.close(uid, fd, afterwards);
            }
        }
    }

    /** The same for a socket that was accepted from one of {@link #listen}. */
    public static void endAccepted(Fd fd, int uid, Runnable afterwards) {
        if (abilities().refuses() && fd.isOpen()) {
            fd.close();
            afterwards.run();
        } else {
            end(fd, uid, afterwards);
        }
    }

    /** Stops listening, and ends the connections that wait to be accepted. */
    public static void endListener(Fd listener) {
        if (!abilities().refuses()) {
            shutdown(listener); // no connects from now on
            try {
                Fd waiting;
                while ((waiting = accept(listener)) != null) {
                    end(waiting, uidOrOwn(waiting));
                }
            } catch (OsError e) { // EMFILE, most likely
                Closer.close(Credentials.uid(), listener);
                return;
            }
        }
        listener.close();
    }

    private static int uidOrOwn(Fd fd) {
        try {
            return peer(fd).uid();
        } catch (OsError e) {
            return Credentials.uid();
        }
    }

    /** Whether nothing that lies unread in a socket, which was shut down, has descriptors. Takes it from there. */
    private static boolean bringsNothing(Fd fd) {
        if (!abilities().peeks()) {
            return false;
        }
        try (NativeBlock block = new NativeBlock(CONTROL + 1)) {
            for (int i = 0; i < MAX_UNREAD; i++) {
                long length = look(fd, block);
                if (length == -1) {
                    int errno = Native.getLastError();
                    if (errno == Errno.EAGAIN) {
                        return true;
                    }
                    if (errno != Errno.EINTR && errno != Errno.ECONNRESET) {
                        return false;
                    }
                } else if ((block.getInt(MSG_FLAGS) & MSG_CTRUNC) != 0) {
                    return false;
                } else if (length == 0) {
                    // The end, or an empty message, which would have credentials to give if it was asked for them.
                    setOption(fd, SO_PASSCRED, 1);
                    return look(fd, block) == 0 && (block.getInt(MSG_FLAGS) & MSG_CTRUNC) == 0;
                } else {
                    take(fd);
                }
            }
            return false;
        } catch (OsError e) {
            return false; // no memory
        }
    }

    private static long look(Fd fd, NativeBlock block) {
        describe(block, CONTROL, 1, 0);
        block.putInt(MSG_FLAGS, 0);
        return Libc.recvmsg(fd.number(), block.address(), MSG_DONTWAIT | MSG_PEEK);
    }

    /** One received message. It owns the descriptors. */
    public static final class Message implements AutoCloseable {
        private final byte[] data;
        private final List<Fd> descriptors;
        private final boolean truncated;
        private final boolean lost;
        private final int uid;

        private Message(byte[] data, List<Fd> descriptors, boolean truncated, boolean lost, int uid) {
            this.data = data;
            this.descriptors = descriptors;
            this.truncated = truncated;
            this.lost = lost;
            this.uid = uid;
        }

        /** The bytes; none means that the other end is gone. */
        public byte[] data() {
            return data;
        }

        /** The descriptors that came along. */
        public List<Fd> descriptors() {
            return descriptors;
        }

        /** Whether bytes or descriptors did not fit. */
        public boolean truncated() {
            return truncated || lost;
        }

        /** Whether descriptors did not fit. The connection then has to be ended: the message may still lie in the socket. */
        public boolean descriptorsLost() {
            return lost;
        }

        /** Closes the descriptors that were not removed from {@link #descriptors()}. */
        @Override
        public void close() {
            for (int i = 0; i < descriptors.size(); i++) { // an iterator would need memory
                Closer.close(uid, descriptors.get(i));
            }
            descriptors.clear();
        }
    }

    /**
     * The next message, or null if none is there yet. A connection that was reset counts as ended, once what was sent before has
     * been read: the kernel reports the reset first.
     */
    public static Message receive(Fd fd, int maxBytes, int maxDescriptors) {
        if (!abilities().peeks()) {
            Message message = read(fd, maxBytes, MAX_RIGHTS, 0);
            return message == null || message.descriptors.size() <= maxDescriptors ? message
                : new Message(message.data, message.descriptors, message.truncated, true, message.uid);
        }
        Message message = read(fd, maxBytes, maxDescriptors, MSG_PEEK);
        if (message != null && !message.lost && message.data.length + message.descriptors.size() > 0) {
            take(fd);
        }
        return message;
    }

    /** Takes a message that has no descriptor, or none that this process does not have already. */
    private static void take(Fd fd) {
        try (NativeBlock block = new NativeBlock(CONTROL + 1)) {
            describe(block, CONTROL, 1, 0);
            int errno = Errno.EINTR;
            while (errno == Errno.EINTR || errno == Errno.ECONNRESET) {
                errno = Libc.recvmsg(fd.number(), block.address(), MSG_DONTWAIT) == -1 ? Native.getLastError() : 0;
            }
        }
    }

    private static Message read(Fd fd, int maxBytes, int maxDescriptors, int flags) {
        int control = maxDescriptors == 0 ? 0 : CMSG_DATA + align(4 * maxDescriptors);
        try (NativeBlock block = new NativeBlock(CONTROL + control + maxBytes)) {
            int data = CONTROL + control;
            describe(block, data, maxBytes, control);
            long received;
            boolean reset = false;
            while ((received = Libc.recvmsg(fd.number(), block.address(), MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags)) == -1) {
                int errno = Native.getLastError();
                if (errno == Errno.EAGAIN) {
                    return null;
                }
                if (errno == Errno.ECONNRESET && reset) {
                    return new Message(new byte[0], new ArrayList<>(), false, false, 0);
                }
                reset |= errno == Errno.ECONNRESET;
                if (errno != Errno.EINTR && errno != Errno.ECONNRESET) {
                    throw new OsError("recvmsg", errno);
                }
            }
            byte[] bytes = new byte[(int) received];
            block.getBytes(data, bytes, bytes.length);
            int told = block.getInt(MSG_FLAGS);
            List<Fd> descriptors = descriptors(block, (int) block.getLong(MSG_CONTROLLEN));
            return new Message(bytes, descriptors, (told & MSG_TRUNC) != 0, (told & MSG_CTRUNC) != 0,
                descriptors.isEmpty() ? 0 : peer(fd).uid());
        }
    }

    private static List<Fd> descriptors(NativeBlock block, int controlBytes) {
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

    private static void describe(NativeBlock block, int data, int length, int control) {
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
