package org.rsmapi.sys;

import com.sun.jna.Native;
import com.sun.jna.Pointer;

/**
 * Adds to an eventfd without ever waiting, whatever others do to it meanwhile.
 *
 * <p>A write to a full eventfd blocks if another process has made the eventfd blocking, which may happen between the check for room and
 * the write. The kernel's asynchronous I/O (io_submit(2)) reports a finished operation by adding one to an eventfd, and never blocks. So
 * an empty operation is submitted, with the eventfd to notify.
 */
final class Aio {
    private static final boolean AARCH64 = "aarch64".equals(System.getProperty("os.arch"));
    private static final long IO_SETUP = AARCH64 ? 0 : 206;
    private static final long IO_DESTROY = AARCH64 ? 1 : 207;
    private static final long IO_SUBMIT = AARCH64 ? 2 : 209;
    private static final int O_CLOEXEC = 02000000;
    private static final int CAPACITY = 16;

    // struct iocb, then a pointer to it
    private static final int OPCODE = 16;
    private static final int FD = 20;
    private static final int FLAGS = 56;
    private static final int EVENT_FD = 60;
    private static final int POINTER = 64;
    private static final int BYTES = 72;
    private static final int PREAD = 0;
    private static final int FLAG_RESFD = 1;

    // struct aio_ring, which is what a context is the address of: the reports of what is done, from head to tail
    private static final int HEAD = 8;
    private static final int TAIL = 12;
    private static final int MAGIC = 16;
    private static final int MAGIC_NUMBER = 0xa10a10a1;

    private static Aio present;
    /** Set where the system has no such thing, or does not let us have it. */
    private static boolean impossible;

    private final long context;
    private final Pointer ring;
    private final NativeBlock block;
    /** The context of the operations; null while it is not needed. */
    private Fd nothing;

    private Aio(long context, NativeBlock block) {
        this.context = context;
        this.ring = new Pointer(context);
        this.block = block;
    }

    /** Has what {@link #addOne} needs ready, while it may be had. */
    static synchronized void prepare() {
        Aio aio = present();
        if (aio != null) {
            aio.ready();
        }
    }

    /** Adds one. False if this way is not to be had, and then nothing has been added. */
    static synchronized boolean addOne(int eventFd) {
        Aio aio = present();
        return aio != null && aio.add(eventFd);
    }

    private static Aio present() {
        if (present == null && !impossible) {
            present = open();
        }
        return present;
    }

    /**
     * Destroys the context. The kernel takes some milliseconds to make sure that it is not in use. Without a post since the last time
     * there is none.
     */
    static void close() {
        Aio last;
        synchronized (Aio.class) {
            last = present;
            present = null;
        }
        if (last != null) {
            last.end();
        }
    }

    private void end() {
        Calls.syscall(IO_DESTROY, context, 0, 0, 0, 0, 0);
        block.close();
        if (nothing != null) {
            nothing.close();
        }
    }

    private static Aio open() {
        NativeBlock block = new NativeBlock(BYTES);
        if (Calls.syscall(IO_SETUP, CAPACITY, block.address() + POINTER, 0, 0, 0, 0) != 0) {
            impossible = OsError.isRefusal(Native.getLastError());
            block.close();
            return null;
        }
        long context = block.getLong(POINTER);
        block.putLong(POINTER, block.address());
        block.putShort(OPCODE, (short) PREAD);
        block.putInt(FLAGS, FLAG_RESFD);
        Aio made = new Aio(context, block);
        if (made.ring.getInt(MAGIC) != MAGIC_NUMBER) {
            impossible = true;
            made.end();
            return null;
        }
        return made;
    }

    private boolean ready() {
        if (nothing == null) {
            int fd = Libc.open("/dev/null", O_CLOEXEC, 0);
            if (fd == -1) {
                return false; // perhaps there are no descriptors: next time
            }
            nothing = new Fd(fd);
            block.putInt(FD, fd);
        }
        return true;
    }

    private boolean add(int eventFd) {
        if (!ready()) {
            return false;
        }
        block.putInt(EVENT_FD, eventFd);
        ring.setInt(HEAD, ring.getInt(TAIL)); // the reports of earlier ones have been read: they need no call of the kernel
        return Calls.syscall(IO_SUBMIT, context, 1, block.address() + POINTER, 0, 0, 0) == 1;
    }
}
