#!/usr/bin/env python3
"""A peer for rsmapi in Python: the protocol of doc/protocol.md, with nothing but the standard library (3.9 or later, Linux).

The classes Importer and Exporter are a small reference implementation. The rest is for the tests: a command line, and
importers and exporters that do not keep to the protocol.

Numbers: node, offsets, lengths and sizes in decimal (or 0x...); segment ids and data in hexadecimal; permissions and modes in
octal; seconds may have a fraction. Offsets are offsets in the segment, also after a map that starts elsewhere.

Commands come in on stdin, one per line. Each is answered by one line on stdout. What fails is answered by
    error <code> <name> <text>           with the number and name of the RSMAPI: error 7 SEG_NOT_PUBLISHED ...
A first line of that kind ends the program with status 1. End of input ends it too, like a death: nobody is told anything.

rsm_peer.py import <node> <segid> <perm> [<controller> [<my-node>]]
    first line: connected <size> <generation> <permission granted> <byte order> <page size> <pid of the exporter>
    size                            <size>
    map <perm> <offset> <length>    ok                  one window at a time; the offset is a multiple of the page size
    read <offset> <n>               <data>
    checked-read <offset> <n>       <data>, or error 40 CONN_ABORTED if the generation is another one afterwards
    write <offset> <data>           ok
    crc <offset> <n>                <crc32 as in zlib, 8 digits>
    state                           <generation> <state>, both from the state page
    wait <seconds>                  revoked <reason> <generation> | eof | timeout
    post                            ok, or error 31     one event for the exporter
    post-no-accumulate              the same, or nothing if there are events already
    poll <seconds>                  event | what wait says; an event that is there comes first, and is taken
    epoll <seconds>                 the same by epoll
    drain                           <count of events taken>
                                    Only wait, poll and epoll look at the connection. After revoked or eof the window is
                                    anonymous memory; the counters stay until disconnect.
    unmap                           ok
    disconnect                      ok
    quit                            ok
  attacks, answered by ok or refused <errno name>:
    spin-write <offset> <seconds>   spun <writes>       writes 8 bytes over and over, whatever notices arrive
    mmap-rw                         maps the data descriptor for writing
    mprotect-rw                     maps the data descriptor for reading, then asks for writing
    reopen-rw                       opens the data descriptor again, for writing, and maps that
    truncate                        smaller <ok | refused ...> larger <ok | refused ...>
    punch                           punches a hole through the whole file
    chmod                           makes the file's mode 0666
  attacks on the counters, on own or theirs:
    fill <which>                    ok                  makes it blocking, and counts up to the end
    watch <which> <count>           ok                  has so many epoll sets watch it, with each event
    steal <which> <seconds>         stealing, and in the end another line: stolen <count>
                                                        takes what it finds there, over and over

rsm_peer.py far-import <controller> <key file> <node> <segid> <perm>
    from another host, through the gateway of this one, which has the key (it need not be readable)
    first line: connected <size> <byte order> <uid of the exporter>
    read <offset> <n>               <data>
    crc <offset> <n>                <crc32 as in zlib, 8 digits>
    write <offset> <data>           ok                  when it has arrived
    fill <offset> <n> <byte>        ok                  the same with n bytes
    put <offset> <data>             ok                  when it is sent; barrier waits
    barrier                         ok
    add <offset> <n>                <value before>      of a long
    compare-and-set <offset> <old> <new>   <value before>
    post                            ok                  one event for the exporter
    poll <seconds>                  event | revoked <reason> | eof | timeout
    disconnect                      ok
    quit                            ok

rsm_peer.py export <node> <segid> <size> <acl> [<controller>] [--order little|big] [--evil <kind>] [--seed <n>] [--seconds <s>]
    acl: umask (no access list), or a mode for the own node (0640), or a list of entries <node>:<mode>,<node>:<mode>
    order: the byte order to announce, instead of this machine's
    first line: published
    write <offset> <data>           ok
    read <offset> <n>               <data>
    importers                       <count> and for each <node>/<uid>/<permission>/<controller>
    unpublish                       ok                  REVOKED with reason 1; the content stays
    publish                         published           the same content in new memory
    post                            ok                  one event for every importer
    post-no-accumulate              ok                  the same, for those that have none
    poll <seconds>                  event | timeout     takes an event that an importer has posted
    epoll <seconds>                 the same by epoll
    drain                           <count of events taken>
    fill <which>                    ok                  an attack on the counter of events (theirs: on every importer's) as above
    steal <which> <seconds>         stealing, stolen <count>                                    the same
    unpublish-and-steal <seconds>   the same, on the counters that the importers had, from the first moment on
    quit                            ok                  REVOKED with reason 2
  kinds of evil, in place of the answer with code 0:
    version       an answer of version 2 with code 101, to everybody
    short         the first 40 bytes                     oversized       64 KiB
    no-fds        no descriptors                         many-fds        20 further descriptors
    pipe dir      a pipe, a directory as data            hugetlb         data on huge pages (or: unsupported <errno name>)
    unsealed      data without seals                     state-unsealed  a state page without seals
    small         data one byte shorter than announced   huge            announces 2^63-1 bytes
    zero-size     announces 0 bytes                      rdonly          data open for reading only
    wrong-magic   RSM9                                   state-magic     a state page without RSMS
    counter-pipe counter-memfd counter-epoll    a pipe, a memory file, an epoll set as the exporter's counter
    own-pipe own-memfd own-epoll                the same as the importer's own counter
    one-too-few   no counter for the importer, and says so
    one-lost      no counter for the importer, but announces it
    garbage       random bytes, half of the time behind a good header (--seed)
    silent        none at all                            close           none, and closes
    drip          a good one after --seconds             notice          a good one, then a notice of type 99
    notice-fds    the same with descriptors              notices         a good one, then notices of type 99 without end
  with a descriptor whose last close takes a day, sent while the importer is stopped; line: sent, when it goes on:
    slow-refusal  with a refusal                         slow-extra      as a fifth descriptor of a good answer
    slow-notice   with a notice after a good answer      slow-unread     behind a refusal, where it is not read

rsm_peer.py present <name> ...
    binds rsmapi-node/<name> for each name, as an open controller does: shm0/5/0123456789abcdef
    first line: present

rsm_peer.py attack <node> <segid> <kind> [<n>] [--seed <n>] [--seconds <s>]
    first line: connected <connections>; then one line for each connection, in order; last line: done
        answer <code> <version> | closed | timeout (after --seconds, 5 by default) | garbled | refused <errno name>
    flood <n>     says nothing on n connections          garbage <n>     random bytes on n connections, 64 on every other
    short         1, 12 and 63 bytes                     oversized       65, 4096 and 65536 bytes
    with-fds      CONNECT with 10 descriptors            zero-length     an empty message
    wrong-version 2, 0, and 2 in a message of 80 bytes   wrong-id        another segment id
    wrong-magic   RSM9                                   bad-perm        0 (legal), 0100, 0700, 0601, 01000600
    talk-after    a good CONNECT, and when that is answered 16 bytes more; two lines
    slow <n>      n good CONNECTs, each with a descriptor whose last close takes a day
  The following keep their connections until the end of input. hold and unread take the permission from --perm (0400).
    hold <n>      n good CONNECTs, one after the other; one line for each, then: holding
    burst <n>     the same at once
    unread <n>    n good CONNECTs, whose answers are not read; holding. Each line of input is then answered by how many answers are
                  there: answers <count>
"""
import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import mmap
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
import zlib

PAGE = mmap.PAGESIZE
READ, WRITE = 0o400, 0o200
AS_OTHERS = 1 << 16  # of a CONNECT: judge me by the last digit, whoever I am

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
libc.mmap.restype = ctypes.c_void_p
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.eventfd.argtypes = [ctypes.c_uint, ctypes.c_int]

NAMES = {
    7: "SEG_NOT_PUBLISHED", 8: "SEG_NOT_PUBLISHED_TO_NODE", 9: "SEG_ALREADY_MAPPED", 10: "SEG_STILL_MAPPED",
    11: "SEG_NOT_MAPPED", 17: "BAD_MEM_ALIGNMENT", 18: "BAD_OFFSET", 20: "BAD_LENGTH", 6: "SEG_ALREADY_PUBLISHED",
    24: "SEGID_IN_USE", 26: "BAD_PERMS", 27: "PERM_DENIED", 31: "INSUFFICIENT_RESOURCES", 32: "INSUFFICIENT_MEM",
    33: "MAP_FAILED", 39: "REMOTE_NODE_UNREACHABLE", 40: "CONN_ABORTED", 42: "TIMEOUT", 45: "SEG_NOT_CONNECTED",
    100: "INTERNAL_ERROR", 101: "BAD_DRIVER_VERSION", 117: "BAD_ARGS_ERRORS"}


class RsmError(Exception):
    def __init__(self, code, text=""):
        super().__init__(f"{code} {NAMES.get(code, 'UNKNOWN')} {text}".strip())
        self.code = code


# ---------------------------------------------------------------- messages

MAGIC, VERSION = b"RSM1", 1
CONNECT, ANSWER, REVOKED = 1, 2, 3
HEADER = struct.Struct("<4sHHI")
CONNECT_BODY = struct.Struct("<IIIQ32s")      # node, segment id, permission, token, controller
ANSWER_BODY = struct.Struct("<IQQIIIII12x")   # code, size, generation, permission, byte order, page size, descriptors, pid
REVOKED_BODY = struct.Struct("<IQ8x")         # reason, generation
MAX_DESCRIPTORS = 253                         # what the kernel lets through in one message
LITTLE, BIG = 1, 2


def encode(kind, body, *fields, version=VERSION, magic=MAGIC):
    return HEADER.pack(magic, version, kind, HEADER.size + body.size) + body.pack(*fields)


def address(node, segid):
    return f"\0rsmapi/{node}/{segid:08x}".encode("ascii")


def receive(sock, limit=256):
    """One message and the descriptors that came with it; b"" is the end. A message longer than the limit comes back longer."""
    message, control, flags, _ = sock.recvmsg(limit, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC)
    fds = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(data) // 4}i", data[:len(data) // 4 * 4])
    return message + (b"\0" if flags & socket.MSG_TRUNC else b""), fds


def send(sock, message, fds=()):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    sock.sendmsg([message], control)


def close_all(fds):
    for fd in fds:
        os.close(fd)


def timeouts(sock, seconds):
    """For recv, and for connect: with a Python timeout, connect does not wait when the backlog is full."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


servers = []  # of slow_descriptor, for as long as this process lives


def slow_descriptor():
    """A TCP socket with much to send to one who does not read: who closes it last waits for that, as long as it says."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    client = socket.socket()
    client.connect(server.getsockname())
    servers.extend([server, server.accept()])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 100000))
    client.setblocking(False)
    try:
        while True:
            client.send(bytes(1 << 16))
    except BlockingIOError:
        return client.detach()


# ---------------------------------------------------------------- memory files

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
MFD_NOEXEC_SEAL = 8
TMPFS_MAGIC = 0x01021994
KEEP_SIZE, PUNCH_HOLE = 1, 2


def memory_file(name, length, seals=SEALS):
    """A memory file, all pages allocated, that only its owner may open again, and only to read."""
    if length > os.sysconf("SC_AVPHYS_PAGES") * PAGE:  # fallocate would not refuse: others would be killed for the memory
        raise RsmError(32, "not that much is free")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(name, flags | MFD_NOEXEC_SEAL)
    except OSError:  # kernels before 6.3
        fd = os.memfd_create(name, flags)
    os.fchmod(fd, 0o400)
    if length:
        os.posix_fallocate(fd, 0, length)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def reopen(fd, flags):
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def punch(fd, length):
    if libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, length) == -1:
        raise OSError(ctypes.get_errno(), "fallocate")


def rounded(length):
    return -(-length // PAGE) * PAGE


def check_memory(fd, length, writing):
    """Refuses what could raise SIGBUS, or is not what was announced."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise RsmError(40, "not a memory file")
    statfs = ctypes.create_string_buffer(256)  # begins with a long, the file system's type
    if libc.fstatfs(fd, statfs) or ctypes.c_long.from_buffer(statfs).value != TMPFS_MAGIC:
        raise RsmError(40, "not made of ordinary pages")
    if not seals & fcntl.F_SEAL_SHRINK:
        raise RsmError(40, "not sealed against shrinking")
    if not 0 < length <= os.fstat(fd).st_size:
        raise RsmError(40, "shorter than announced, or empty")
    access = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    if access != os.O_RDWR and (writing or access != os.O_RDONLY):
        raise RsmError(40, "not open for what was granted")


class StatePage:
    """The page that says whether the publication still stands. Its fields are read and written whole, not byte by byte."""
    PUBLISHED, REVOKED = 1, 2

    def __init__(self, fd, prot):
        self.page = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, prot)

    def publish(self, generation, size):
        self.page[:32] = struct.pack("<4sIQIIQ", b"RSMS", 1, generation, self.PUBLISHED, 0, size)

    def revoke(self, generation):
        self._put("Q", 8, generation)
        self._put("I", 16, self.REVOKED)

    def well_formed(self):
        return self.page[:8] == b"RSMS\1\0\0\0"

    generation = property(lambda self: self._get("Q", 8))
    state = property(lambda self: self._get("I", 16))

    def _get(self, kind, at):
        with memoryview(self.page) as view, view.cast(kind) as fields:
            value = fields[at // fields.itemsize]
            return int.from_bytes(value.to_bytes(fields.itemsize, sys.byteorder), "little")

    def _put(self, kind, at, value):
        with memoryview(self.page) as view, view.cast(kind) as fields:
            size = fields.itemsize
            fields[at // size] = int.from_bytes(value.to_bytes(size, "little"), sys.byteorder)

    def close(self):
        self.page.close()


# ---------------------------------------------------------------- event counters

EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC = 1, os.O_NONBLOCK, os.O_CLOEXEC
COUNTER_END = 2 ** 64 - 2  # an eventfd counts no further


class Counter:
    """Events, in an eventfd that two processes share. What the other one may do to it is to be reckoned with: so nothing here
    writes without having looked."""

    def __init__(self, fd=None):
        """A new counter, or one that has been received."""
        self.fd = libc.eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC) if fd is None else fd
        if self.fd == -1:
            raise OSError(ctypes.get_errno(), "eventfd")

    @staticmethod
    def check(fd):
        if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:[eventfd]":
            raise RsmError(40, "not an eventfd")

    def _ready(self):
        poll = select.poll()
        poll.register(self.fd, select.POLLIN | select.POLLOUT)
        return dict(poll.poll(0)).get(self.fd, 0)

    def post(self, accumulate=True):
        """One event more. False if the counter is at its end."""
        ready = self._ready()
        if not ready & select.POLLOUT:
            return False
        if accumulate or not ready & select.POLLIN:
            os.write(self.fd, (1).to_bytes(8, sys.byteorder))
        return True

    def take(self):
        """One event, if there is one."""
        if not self._ready() & select.POLLIN:
            return False
        try:
            return len(os.read(self.fd, 8)) == 8
        except BlockingIOError:  # somebody else was faster
            return False

    def drain(self):
        taken = 0
        while self.take():
            taken += 1
        return taken

    def count(self):
        with open(f"/proc/self/fdinfo/{self.fd}") as info:
            return next(int(line.split()[1], 16) for line in info if line.startswith("eventfd-count:"))

    def add(self, n):
        if n:
            os.write(self.fd, n.to_bytes(8, sys.byteorder))

    def close(self):
        os.close(self.fd)

    # Attacks

    def fill(self):
        self.add(COUNTER_END - self.count())
        os.set_blocking(self.fd, True)

    def watch(self, count):
        """An epoll set takes a file once for each of its descriptors."""
        copies = [os.dup(self.fd) for _ in range(500)]
        self.watching = [select.epoll() for _ in range(-(-count // len(copies)))]
        for poll in self.watching:
            for fd in copies:
                poll.register(fd, select.EPOLLIN | select.EPOLLOUT)

    def steal(self, seconds):
        """Takes all it can get. Goes by the clock only now and then, so as to miss little."""
        os.set_blocking(self.fd, False)
        say("stealing")
        end, stolen = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for _ in range(100):
                try:
                    os.read(self.fd, 8)
                    stolen += 1
                except BlockingIOError:
                    pass
        return stolen

def next_ready(fds, seconds, by_epoll=False):
    """Waits for input on any of the descriptors. Returns those that have some."""
    if not by_epoll:
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        return [fd for fd, _ in poll.poll(max(0, seconds) * 1000)]
    with select.epoll() as poll:
        for fd in fds:
            poll.register(fd, select.EPOLLIN)
        return [fd for fd, _ in poll.poll(max(0, seconds))]


# ---------------------------------------------------------------- the importer

class Importer:
    """A connection to a published segment and at most one window on its memory."""

    def __init__(self, node, segid, perm, controller="loopback", my_node=None, timeout=5.0):
        self.window = self.data = self.state = None
        self.connected = False
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = []
        try:
            timeouts(self.sock, timeout)
            try:
                self.sock.connect(address(node, segid))
                try:
                    send(self.sock, encode(CONNECT, CONNECT_BODY, node if my_node is None else my_node, segid, perm, 0,
                                           controller.encode("ascii")))
                except BrokenPipeError:
                    pass  # it has answered already
                message, fds = receive(self.sock)
            except BlockingIOError:
                raise RsmError(42, "the exporter does not answer")
            except ConnectionRefusedError:
                raise RsmError(7, "nobody is listening")
            except (ConnectionResetError, BrokenPipeError):
                raise RsmError(40, "closed before an answer")
            self._accept(message, fds, perm)
        except BaseException:
            close_all(fds)
            self.sock.close()
            if self.state:
                self.state.close()
            raise
        data, (state, theirs, own, *later) = self._split(fds, perm)
        close_all([state] + later)  # the state page stays mapped; the last are from a later version
        self.data = data
        self.theirs, self.own = Counter(theirs), Counter(own)
        self.connected = True

    @staticmethod
    def _split(fds, perm):
        """The memory's descriptor, if there is one, and the others."""
        return (fds[0], fds[1:]) if perm else (None, fds)

    def _accept(self, message, fds, perm):
        if not message:
            raise RsmError(40, "closed before an answer")
        if len(message) < HEADER.size:
            raise RsmError(40, "a short answer")
        magic, version, kind, length = HEADER.unpack_from(message)
        if magic != MAGIC or kind != ANSWER:
            raise RsmError(40, "not an answer")
        if version != VERSION:  # where another version has its code is not known
            raise RsmError(101, f"the exporter speaks version {version}")
        if len(message) != 64 or length != 64:
            raise RsmError(40, "an answer of the wrong length")
        (code, self.size, self.generation, self.granted, self.order, self.page_size, announced,
         self.exporter) = ANSWER_BODY.unpack_from(message, HEADER.size)
        if code:
            raise RsmError(code, "says the exporter")
        if self.granted != perm:
            raise RsmError(40, "granted something else than what was asked for")
        if len(fds) != announced or len(fds) < (4 if perm else 3):
            raise RsmError(40, "descriptors are missing")
        data, (state, theirs, own, *_) = self._split(fds, perm)
        if perm:
            check_memory(data, self.size, perm & WRITE)
        check_memory(state, PAGE, False)
        Counter.check(theirs)
        Counter.check(own)
        self.state = StatePage(state, mmap.PROT_READ)
        if not self.state.well_formed():
            raise RsmError(40, "not a state page")

    def map(self, perm, offset, length):
        self._connected()
        if self.window:
            raise RsmError(9)
        if not perm or perm & ~self.granted:
            raise RsmError(26, f"{self.granted:04o} was granted")
        if offset % PAGE:
            raise RsmError(17, f"not a multiple of {PAGE}")
        if not 0 <= offset < self.size:
            raise RsmError(18)
        if not 0 < length <= self.size - offset:
            raise RsmError(20)
        prot = (mmap.PROT_READ if perm & READ else 0) | (mmap.PROT_WRITE if perm & WRITE else 0)
        try:
            self.window = mmap.mmap(self.data, length, mmap.MAP_SHARED, prot, offset=offset)
        except OSError as e:
            raise RsmError(33, errno.errorcode[e.errno])
        self.perm, self.offset, self.length = perm, offset, length

    def unmap(self):
        self._mapped()
        self.window.close()
        self.window = None

    def read(self, offset, n):
        at = self._at(offset, n, READ)
        return self.window[at:at + n]

    def checked_read(self, offset, n):
        """What was read, if it was the segment's."""
        data = self.read(offset, n)
        if self.state.generation != self.generation:
            raise RsmError(40, "revoked")
        return data

    def write(self, offset, data):
        at = self._at(offset, len(data), WRITE)
        self.window[at:at + len(data)] = data

    def crc(self, offset, n):
        at = self._at(offset, n, READ)
        with memoryview(self.window) as view, view[at:at + n] as part:
            return zlib.crc32(part)

    def wait(self, seconds):
        """("revoked", reason, generation), ("eof",) or ("timeout",)."""
        self._connected()
        end = time.monotonic() + seconds
        while next_ready([self.sock.fileno()], end - time.monotonic()):
            notice = self._notice()
            if notice:
                return notice
        return ("timeout",)

    def _notice(self):
        """What the exporter has to say; None if it does not concern us."""
        try:
            message, fds = receive(self.sock)
        except ConnectionResetError:
            return None  # the exporter closed without reading something of ours; what it sent before is still there
        close_all(fds)
        if len(message) < HEADER.size or message[:4] != MAGIC:
            self._abandon()
            return ("eof",)
        _, _, kind, length = HEADER.unpack_from(message)
        if kind == REVOKED and length == len(message) == 32:
            self._abandon()
            return ("revoked", *REVOKED_BODY.unpack_from(message, HEADER.size))
        return None

    def post(self, accumulate=True):
        self._connected()
        if not self.theirs.post(accumulate):
            raise RsmError(31, "the exporter has as many events as can be counted")

    def wait_event(self, seconds, by_epoll=False):
        """("event",) or what wait says."""
        self._connected()
        end = time.monotonic() + seconds
        while True:
            ready = next_ready([self.own.fd, self.sock.fileno()], end - time.monotonic(), by_epoll)
            if self.own.fd in ready:
                if self.own.take():
                    return ("event",)
            elif ready:
                notice = self._notice()
                if notice:
                    return notice
            elif time.monotonic() >= end:
                return ("timeout",)

    def disconnect(self):
        self._connected()
        if self.window:
            raise RsmError(10)
        self.sock.close()
        if self.data is not None:
            os.close(self.data)
        self.state.close()
        self.theirs.close()
        self.own.close()
        self.data, self.connected = None, False

    def _abandon(self):
        """The segment is gone: what is mapped becomes memory of our own."""
        if self.window:
            self.window.close()
            prot = mmap.PROT_READ | mmap.PROT_WRITE
            self.window = mmap.mmap(-1, self.length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot)

    def _connected(self):
        if not self.connected:
            raise RsmError(45)

    def _mapped(self):
        self._connected()
        if not self.window:
            raise RsmError(11)

    def _at(self, offset, n, perm):
        self._mapped()
        if not self.perm & perm:
            raise RsmError(27, f"mapped with {self.perm:04o}")
        if not self.offset <= offset < self.offset + self.length:
            raise RsmError(18)
        if not 0 < n <= self.offset + self.length - offset:
            raise RsmError(20)
        return offset - self.offset


# ---------------------------------------------------------------- from another host

HELLO, WELCOME, FAR_CONNECT, FAR_ANSWER, PUT, GET, DATA, ATOMIC, RESULT, BARRIER, DONE, POST, EVENT, TAKEN, FAR_REVOKED, \
    DISCONNECT = range(1, 17)
CREDIT, BYE = 19, 21
FRAME = struct.Struct(">IBBHII")              # length, type, flags, code, connection, tag
TICKET = struct.Struct(">4sHBxH6x16s16s")     # magic, version, node, port, what is sent first, what is answered
FAR_ANSWER_BODY = struct.Struct(">QqII")      # size, uid, pid, flags
MOST_DATA, MOST_ON_THE_WAY = 65536, 4194304
ADD = 128


class FarImporter:
    """A connection to a segment of another host, through the gateway of this host."""

    def __init__(self, controller, key_file, node, segid, perm, timeout=20.0):
        self.tag, self.on_the_way, self.events, self.revoked = 1, 0, 0, None
        self.sock = self._enter(controller, os.path.abspath(key_file), timeout)
        # No PING is sent, so the gateway is told of a long time limit.
        self._ask(HELLO, WELCOME, os.urandom(16) + struct.pack(">II", 60000, node), connection=0)
        # Who this is the gateway knows from the kernel. It replaces the ids, which claim to be root.
        body = self._ask(FAR_CONNECT, FAR_ANSWER, struct.pack(">IIIIII", segid, perm, int(timeout * 1000), 0, 0, 0))
        self.size, self.exporter_uid, _, flags = FAR_ANSWER_BODY.unpack_from(body)
        self.order = "big" if flags & 1 else "little"

    @staticmethod
    def _enter(controller, key_file, timeout):
        name = hashlib.sha256(f"{controller} {key_file}".encode()).hexdigest()[:32]
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            timeouts(door, timeout)
            try:
                door.connect(f"\0rsmapi-gateway/{name}".encode("ascii"))
            except ConnectionRefusedError:
                raise RsmError(39, "no process plays the gateway")
            if credentials(door)[0] not in (0, os.getuid(), os.stat(key_file).st_uid):
                raise RsmError(39, "the gateway is somebody else's")
            message, _ = receive(door)
        if len(message) != TICKET.size:
            raise RsmError(39, "no ticket")
        magic, version, _, port, ours, theirs = TICKET.unpack(message)
        if magic != b"RSMG" or version != VERSION:
            raise RsmError(101)
        sock = socket.create_connection(("127.0.0.1", port), timeout)
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(ours)
        if FarImporter._exactly(sock, 16) != theirs:
            sock.close()
            raise RsmError(39, "it is not the gateway that has given the ticket")
        return sock

    @staticmethod
    def _exactly(sock, n):
        data = bytearray()
        while len(data) < n:
            try:
                part = sock.recv(n - len(data))
            except OSError:
                part = b""
            if not part:
                raise RsmError(40, "the link has ended")
            data += part
        return bytes(data)

    def _send(self, kind, body=b"", flags=0, tag=0, connection=1):
        try:
            self.sock.sendall(FRAME.pack(len(body), kind, flags, 0, connection, tag) + body)
        except OSError:
            raise RsmError(40, "the link has ended")

    def _next(self):
        """Reads a frame, and does what it is about if nobody has asked for it."""
        length, kind, flags, code, connection, tag = FRAME.unpack(self._exactly(self.sock, FRAME.size))
        body = self._exactly(self.sock, length)
        if kind == CREDIT:
            self.on_the_way -= struct.unpack(">I", body)[0]
        elif kind == EVENT:
            self.events += struct.unpack(">I", body)[0]
        elif kind == FAR_REVOKED:
            self.revoked = code
        elif kind == BYE:
            raise RsmError(40, body.decode())
        return kind, code, tag, body

    def _ask(self, kind, reply, body=b"", flags=0, connection=1):
        self.tag += 1
        mine = 1 if kind == HELLO else self.tag
        self._send(kind, body, flags, mine, connection)
        while True:
            kind, code, tag, body = self._next()
            if (kind, tag) == (reply, mine):
                if code:
                    raise RsmError(40 if code == 65535 else code)
                return body

    def read(self, offset, n):
        data = bytearray()
        while len(data) < n:
            data += self._ask(GET, DATA, struct.pack(">QI", offset + len(data), min(MOST_DATA, n - len(data))))
        return bytes(data)

    def put(self, offset, data):
        for at in range(0, len(data), MOST_DATA):
            part = data[at:at + MOST_DATA]
            while self.on_the_way + len(part) > MOST_ON_THE_WAY:
                self._next()
            self.on_the_way += len(part)
            self._send(PUT, struct.pack(">Q", offset + at) + part)

    def barrier(self):
        self._ask(BARRIER, DONE)

    def atomic(self, offset, flags, operand, expected):
        return struct.unpack(">q", self._ask(ATOMIC, RESULT, struct.pack(">Qqq", offset, operand, expected), flags))[0]

    def post(self):
        self._ask(POST, DONE, flags=1)

    def wait_event(self, seconds):
        end = time.monotonic() + seconds
        while True:
            if self.events:
                self.events -= 1
                if not self.events:
                    self._send(TAKEN)
                return "event"
            if self.revoked is not None:
                return f"revoked {self.revoked}"
            if not next_ready([self.sock.fileno()], end - time.monotonic()):
                return "timeout"
            try:
                self._next()
            except RsmError:
                return "eof"

    def disconnect(self):
        self._send(DISCONNECT)
        self.sock.close()


# ---------------------------------------------------------------- the exporter

SO_PEERGROUPS = 59
PATIENCE = 2.0


def credentials(sock):
    """The peer's uid and the set of its groups, from the kernel."""
    _, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    length = ctypes.c_uint(256)
    while True:
        groups = (ctypes.c_uint * (length.value // 4))()
        if libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, SO_PEERGROUPS, groups, ctypes.byref(length)) == 0:
            return uid, {gid, *groups[:length.value // 4]}
        if ctypes.get_errno() != errno.ERANGE:  # ERANGE: length is what is needed
            raise OSError(ctypes.get_errno(), "getsockopt(SO_PEERGROUPS)")


def all_stopped(pid):
    """Whether no thread of a process runs."""
    for stat in glob.glob(f"/proc/{pid}/task/*/stat"):
        with contextlib.suppress(OSError), open(stat, encoding="latin-1") as file:  # a thread may have ended
            if file.read().rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True


@contextlib.contextmanager
def stopped(sock):
    """The process at the other end, which must not be the last but one to close what it gets."""
    pid, = struct.unpack_from("i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    os.kill(pid, signal.SIGSTOP)  # returns before they all have stopped
    try:
        deadline = time.monotonic() + 5
        while not all_stopped(pid) and time.monotonic() < deadline:
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Peer:
    """A connection to an importer; perm and its counter of events are None until it has been let in."""

    def __init__(self, sock):
        self.sock, self.since, self.heard, self.perm, self.events = sock, time.monotonic(), False, None, None


class Exporter:
    """A segment, its publication and those who import it. Whoever uses it calls serve() when there is something to do."""

    def __init__(self, node, segid, size, acl, controller="loopback", order=sys.byteorder):
        """acl: a dict from node to mode, or None."""
        self.node, self.segid, self.size, self.acl, self.controller = node, segid, size, acl, controller
        self.order = {"little": LITTLE, "big": BIG}[order]
        self.umask = os.umask(0)
        os.umask(self.umask)
        self.listener, self.peers, self.generation = None, {}, 0
        try:
            self.memory = mmap.mmap(-1, rounded(size))  # shared with nobody until published
        except (OSError, OverflowError):
            raise RsmError(32)
        self.files = ()  # data to read and write, data to read, state page
        self.counter = Counter()

    def publish(self):
        if self.listener:
            raise RsmError(6)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._prepare()
        try:
            listener.bind(address(self.node, self.segid))
        except OSError as e:
            listener.close()
            self._make_private()
            raise RsmError(24) if e.errno == errno.EADDRINUSE else e
        listener.listen(128)
        listener.setblocking(False)
        self.listener = listener

    def unpublish(self, reason=1):
        if not self.listener:
            raise RsmError(7)
        self.listener.close()
        self.listener = None
        self.generation += 1
        self.state.revoke(self.generation)
        for peer in list(self.peers.values()):
            if peer.perm is not None:
                self._tell(peer, encode(REVOKED, REVOKED_BODY, reason, self.generation))
            self.drop(peer)
        self._make_private()
        self._renew_counter()

    def _renew_counter(self):
        """The importers that there were have the old one, and could go on to post. What they have posted stays."""
        old, self.counter = self.counter, Counter()
        self.counter.add(old.count())
        old.close()

    # Signals

    def post(self, accumulate=True):
        """One event for every importer; those that cannot count it do not get it."""
        for peer in list(self.peers.values()):
            if peer.events:
                peer.events.post(accumulate)

    def wait_event(self, seconds, by_epoll=False):
        """("event",) or ("timeout",). Serves meanwhile."""
        end = time.monotonic() + seconds
        while True:
            left = min([end] + [w for w in [self.next_deadline()] if w is not None]) - time.monotonic()
            ready = next_ready([self.counter.fd] + self.descriptors(), left, by_epoll)
            if self.counter.fd in ready and self.counter.take():
                return ("event",)
            for fd in ready:
                self.serve(fd)
            self.drop_silent()
            if not ready and time.monotonic() >= end:
                return ("timeout",)

    def _prepare(self):
        """Moves the content to a new memory file."""
        length = rounded(self.size)
        data, state = memory_file("segment", length), memory_file("state", PAGE)
        memory = mmap.mmap(data, length)
        memory[:] = self.memory[:]
        self.memory.close()
        self.memory = memory
        self.generation += 1
        self.state = StatePage(state, mmap.PROT_READ | mmap.PROT_WRITE)
        self.state.publish(self.generation, self.size)
        self.files = data, reopen(data, os.O_RDONLY), reopen(state, os.O_RDONLY)
        os.close(state)

    def _make_private(self):
        """Takes the memory away from everybody else. Nobody else writes for this exporter, so that a copy does."""
        memory = mmap.mmap(-1, rounded(self.size))
        memory[:] = self.memory[:]
        self.memory.close()
        self.memory = memory
        punch(self.files[0], len(memory))
        close_all(self.files)
        self.files = ()
        self.state.close()

    # Connections

    def descriptors(self):
        """What to poll for input."""
        return ([self.listener.fileno()] if self.listener else []) + list(self.peers)

    def next_deadline(self):
        return min((p.since + PATIENCE for p in self.peers.values() if not p.heard), default=None)

    def serve(self, fd):
        if self.listener and fd == self.listener.fileno():
            self._accept()
        elif fd in self.peers:
            self._hear(self.peers[fd])

    def drop_silent(self):
        for peer in list(self.peers.values()):
            if not peer.heard and time.monotonic() >= peer.since + PATIENCE:
                self.drop(peer)

    def drop(self, peer):
        if self.peers.pop(peer.sock.fileno(), None):
            peer.sock.close()
            if peer.events:
                peer.events.close()

    def _accept(self):
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            silent = [p for p in self.peers.values() if not p.heard]
            if silent:  # whoever says nothing makes room for those who may
                self.drop(min(silent, key=lambda p: p.since))
            else:
                time.sleep(0.01)
            return
        sock.setblocking(False)
        self.peers[sock.fileno()] = Peer(sock)

    def _hear(self, peer):
        try:
            message, fds = receive(peer.sock)
        except BlockingIOError:
            return
        except OSError:
            return self.drop(peer)
        close_all(fds)
        if peer.heard or len(message) < HEADER.size or message[:4] != MAGIC or HEADER.unpack_from(message)[2] != CONNECT:
            return self.drop(peer)
        peer.heard = True
        code = self._judge(peer, message, fds)
        if code:
            self._tell(peer, encode(ANSWER, ANSWER_BODY, code, 0, 0, 0, self.order, PAGE, 0, os.getpid()))
            self.drop(peer)
        else:
            peer.events = Counter()
            self.welcome(peer)

    def _judge(self, peer, message, fds):
        """The code to answer with; if it is 0, the peer knows what it was granted."""
        _, version, _, length = HEADER.unpack_from(message)
        if version != VERSION:
            return 101
        if not len(message) == length == 64 or fds:
            return 117
        peer.node, segid, perm, _, controller = CONNECT_BODY.unpack_from(message, HEADER.size)
        peer.controller = controller.split(b"\0")[0].decode("ascii", "replace")
        peer.uid, groups = credentials(peer.sock)
        if segid != self.segid:
            return 7
        if peer.node != self.node and peer.controller != self.controller:
            return 8
        if self.acl is None:
            mode = 0o777 & ~self.umask
        elif peer.node in self.acl:
            mode = self.acl[peer.node] & 0o666
        else:
            return 8
        others, perm = perm & AS_OTHERS, perm & ~AS_OTHERS
        if perm & ~(READ | WRITE):
            return 27
        shift = 6 if others else 0 if peer.uid == os.geteuid() else 3 if os.getegid() in groups else 6
        granted = mode << shift & (READ | WRITE)
        if (peer.uid != 0 or others) and (perm & ~granted or not granted):
            return 27
        peer.perm = perm
        return 0

    def answer(self, peer, size=None, count=None):
        return encode(ANSWER, ANSWER_BODY, 0, self.size if size is None else size, self.generation, peer.perm, self.order, PAGE,
                      len(self.grant(peer)) if count is None else count, os.getpid())

    def grant(self, peer):
        """The descriptors that an importer gets."""
        data = [self.files[0 if peer.perm & WRITE else 1]] if peer.perm else []
        return data + [self.files[2], self.counter.fd, peer.events.fd]

    def welcome(self, peer):
        self._tell(peer, self.answer(peer), self.grant(peer))

    def _tell(self, peer, message, fds=()):
        try:
            send(peer.sock, message, fds)
            return True
        except OSError:  # gone, does not read, or takes no descriptors
            self.drop(peer)
            return False


# ---------------------------------------------------------------- exporters that do not keep to the protocol

class EvilExporter(Exporter):
    def __init__(self, *args, kind, seed, seconds, **options):
        super().__init__(*args, **options)
        self.kind, self.seconds, self.random = kind, seconds, random.Random(seed)
        self.extra = []  # descriptors beyond those of an honest exporter
        self.due = []    # (when, peer), for drip
        if getattr(self, "do_" + kind.replace("-", "_"), None) is None:
            raise RsmError(117, f"no evil is called {kind}")

    def publish(self):
        self.extra += {
            "pipe": os.pipe, "counter-pipe": os.pipe, "own-pipe": os.pipe,
            "counter-memfd": lambda: [memory_file("counter", PAGE)], "own-memfd": lambda: [memory_file("counter", PAGE)],
            "counter-epoll": self._epoll, "own-epoll": self._epoll,
            "dir": lambda: [os.open("/", os.O_RDONLY | os.O_DIRECTORY)],
            "unsealed": lambda: [memory_file("unsealed", rounded(self.size), 0)],
            "small": lambda: [memory_file("small", self.size - 1)],
            "hugetlb": self._hugetlb,
            "state-unsealed": lambda: [self._state(0, b"RSMS")],
            "state-magic": lambda: [self._state(SEALS, b"RSM?")],
            "many-fds": lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(20)],
            "notice-fds": lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(3)],
        }.get(self.kind, list)()
        super().publish()

    def _epoll(self):
        self.epoll = select.epoll()  # closed with the exporter
        return [self.epoll.fileno()]

    def _hugetlb(self):
        huge = os.memfd_create("huge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        os.ftruncate(huge, -(-self.size // (2 << 20)) * (2 << 20))
        fcntl.fcntl(huge, fcntl.F_ADD_SEALS, SEALS)
        return [huge]

    def _state(self, seals, magic):
        fd = memory_file("state", PAGE, seals)
        os.pwrite(fd, struct.pack("<4sIQIIQ", magic, 1, self.generation + 1, 1, 0, self.size), 0)
        try:
            return reopen(fd, os.O_RDONLY)
        finally:
            os.close(fd)

    def welcome(self, peer):
        getattr(self, "do_" + self.kind.replace("-", "_"))(peer, self.answer(peer), self.grant(peer))

    def _judge(self, peer, message, fds):
        code = super()._judge(peer, message, fds)
        if self.kind == "version":
            peer.perm = peer.perm or READ
            return 0
        return code

    def next_deadline(self):
        return min([when for when, _ in self.due] + [w for w in [super().next_deadline()] if w is not None], default=None)

    def drop_silent(self):
        super().drop_silent()
        now = time.monotonic()
        for _, peer in [d for d in self.due if d[0] <= now]:
            if self.files:
                self._tell(peer, self.answer(peer), self.grant(peer))
        self.due = [d for d in self.due if d[0] > now]

    def do_version(self, peer, answer, fds):
        self._tell(peer, encode(ANSWER, ANSWER_BODY, 101, 0, 0, 0, LITTLE, PAGE, 0, 0, version=2))
        self.drop(peer)

    def do_short(self, peer, answer, fds):
        self._tell(peer, answer[:40], fds)

    def do_no_fds(self, peer, answer, fds):
        self._tell(peer, answer)

    def do_other_data(self, peer, answer, fds):
        self._tell(peer, answer, [self.extra[0]] + fds[1:])

    do_pipe = do_dir = do_unsealed = do_small = do_hugetlb = do_other_data

    def do_other_state(self, peer, answer, fds):
        self._tell(peer, answer, [fds[0], self.extra[0]] + fds[2:])

    do_state_unsealed = do_state_magic = do_other_state

    def do_other_counter(self, peer, answer, fds):
        self._tell(peer, answer, [fds[0], fds[1], self.extra[0], fds[3]])

    do_counter_pipe = do_counter_memfd = do_counter_epoll = do_other_counter

    def do_other_own(self, peer, answer, fds):
        self._tell(peer, answer, fds[:3] + [self.extra[0]])

    do_own_pipe = do_own_memfd = do_own_epoll = do_other_own

    def do_one_too_few(self, peer, answer, fds):
        self._tell(peer, self.answer(peer, count=3), fds[:3])

    def do_one_lost(self, peer, answer, fds):
        self._tell(peer, answer, fds[:3])

    def do_huge(self, peer, answer, fds):
        self._tell(peer, self.answer(peer, size=2 ** 63 - 1), fds)

    def do_zero_size(self, peer, answer, fds):
        self._tell(peer, self.answer(peer, size=0), fds)

    def do_many_fds(self, peer, answer, fds):
        self._tell(peer, self.answer(peer, count=len(fds + self.extra)), fds + self.extra)

    def do_rdonly(self, peer, answer, fds):
        self._tell(peer, answer, [self.files[1]] + fds[1:])

    def do_wrong_magic(self, peer, answer, fds):
        self._tell(peer, b"RSM9" + answer[4:], fds)

    def do_oversized(self, peer, answer, fds):
        self._tell(peer, answer.ljust(65536, b"\0"), fds)

    def do_garbage(self, peer, answer, fds):
        r = self.random
        start = answer[:12] if r.random() < 0.5 else b""
        length = 64 if r.random() < 0.7 else r.randrange(12, 256)
        noise = bytes(r.randrange(256) if r.random() < 0.5 else 0 for _ in range(length - len(start)))
        self._tell(peer, start + noise or b"?", fds if r.random() < 0.5 else [])

    def do_silent(self, peer, answer, fds):
        pass

    def do_close(self, peer, answer, fds):
        self.drop(peer)

    def do_drip(self, peer, answer, fds):
        self.due.append((time.monotonic() + self.seconds, peer))

    def do_notice(self, peer, answer, fds):
        self._tell(peer, answer, fds)
        self._tell(peer, HEADER.pack(MAGIC, VERSION, 99, 48) + bytes(36))

    def do_notice_fds(self, peer, answer, fds):
        self._tell(peer, answer, fds)
        self._tell(peer, HEADER.pack(MAGIC, VERSION, 99, 48) + bytes(36), self.extra)

    def do_notices(self, peer, answer, fds):
        peer.sock.setblocking(True)
        self._tell(peer, answer, fds)
        while self._tell(peer, HEADER.pack(MAGIC, VERSION, 99, 48) + bytes(36)):
            pass

    def _tell_slowly(self, peer, message, fds=()):
        slow = slow_descriptor()
        with stopped(peer.sock):
            if self._tell(peer, message, [*fds, slow]):
                os.close(slow)
        say("sent")

    def _refusal(self):
        return encode(ANSWER, ANSWER_BODY, 27, 0, 0, 0, LITTLE, PAGE, 0, 0)

    def do_slow_refusal(self, peer, answer, fds):
        self._tell_slowly(peer, self._refusal())

    def do_slow_extra(self, peer, answer, fds):
        self._tell_slowly(peer, self.answer(peer, count=len(fds) + 1), fds)

    def do_slow_notice(self, peer, answer, fds):
        self._tell(peer, answer, fds)
        self._tell_slowly(peer, HEADER.pack(MAGIC, VERSION, 99, 48) + bytes(36))

    def do_slow_unread(self, peer, answer, fds):
        with stopped(peer.sock):
            slow = slow_descriptor()
            self._tell(peer, self._refusal())
            if self._tell(peer, HEADER.pack(MAGIC, VERSION, 99, 48) + bytes(36), [slow]):
                os.close(slow)
        say("sent")


# ---------------------------------------------------------------- importers that do not keep to the protocol

class Attack:
    """Opens connections, says something wrong on each, and reports how the exporter takes it."""

    def __init__(self, node, segid, count, seed, seconds, perm):
        self.node, self.segid, self.count, self.seconds, self.perm = node, segid, count, seconds, perm
        self.random = random.Random(seed)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def connect_message(self, segid=None, perm=READ, **how):
        return encode(CONNECT, CONNECT_BODY, self.node, self.segid if segid is None else segid, perm, 0, b"loopback", **how)

    def messages(self, kind):
        """What to send, one for each connection; None is nothing."""
        good, r = self.connect_message(), self.random
        perms = (0, 0o100, 0o700, 0o601, 0o1000600)
        return {
            "flood": lambda: [None] * self.count,
            "garbage": lambda: [bytes(r.randrange(256) for _ in range(64 if i % 2 else r.randrange(1, 512)))
                                for i in range(self.count)],
            "short": lambda: [good[:n] for n in (1, 12, 63)],
            "oversized": lambda: [good.ljust(n, b"\0") for n in (65, 4096, 65536)],
            "with-fds": lambda: [good],
            "wrong-version": lambda: [self.connect_message(version=2), self.connect_message(version=0),
                                      HEADER.pack(MAGIC, 2, CONNECT, 80) + good[12:] + bytes(16)],
            "wrong-id": lambda: [self.connect_message(segid=self.segid ^ 1)],
            "wrong-magic": lambda: [self.connect_message(magic=b"RSM9")],
            "zero-length": lambda: [b""],
            "talk-after": lambda: [good],
            "bad-perm": lambda: [self.connect_message(perm=p) for p in perms],
            "slow": lambda: [good] * self.count,
            "hold": lambda: [self.connect_message(perm=self.perm)] * self.count,
            "burst": lambda: [self.connect_message(perm=self.perm)] * self.count,
            "unread": lambda: [self.connect_message(perm=self.perm)] * self.count,
        }[kind]()

    def run(self, kind):
        try:
            messages = self.messages(kind)
        except KeyError:
            raise RsmError(117, f"no attack is called {kind}")
        null = os.open("/dev/null", os.O_RDONLY)
        fds = [null] * 10 if kind == "with-fds" else []
        if kind == "hold":
            say("connected", self.count)
            socks = []
            for message in messages:
                socks.append(self.open(message, fds))
                say(self.outcome(socks[-1], time.monotonic() + self.seconds))
            say("holding")
            sys.stdin.read()
            return
        socks = [self.open(message, fds, slow=kind == "slow") for message in messages]
        say("connected", sum(isinstance(s, socket.socket) for s in socks))
        if kind == "unread":
            say("holding")
            for _ in sys.stdin:
                poll = select.poll()
                for s in socks:
                    poll.register(s, select.POLLIN)
                say("answers", len(poll.poll(0)))
            return
        end = time.monotonic() + self.seconds
        if kind == "burst":  # their answers need not come in their order
            waiting = {s.fileno(): s for s in socks if isinstance(s, socket.socket)}
            while waiting:
                poll = select.poll()
                for fd in waiting:
                    poll.register(fd, select.POLLIN)
                for fd, _ in poll.poll():
                    say(self.outcome(waiting.pop(fd), end))
            say("holding")
            sys.stdin.read()
            return
        for s in socks:
            say(self.outcome(s, end) if isinstance(s, socket.socket) else f"refused {s}")
        if kind == "talk-after":
            self.say_on(socks[0], bytes(16))
            say(self.outcome(socks[0], end))
        say("done")

    def open(self, message, fds, slow=False):
        """A connection on which the message has been sent, or the errno's name."""
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            timeouts(sock, self.seconds)
            sock.connect(address(self.node, self.segid))
        except OSError as e:
            return errno.errorcode[e.errno]
        fds = [slow_descriptor()] if slow else fds
        try:
            with stopped(sock) if slow else contextlib.nullcontext():
                if message is not None:
                    self.say_on(sock, message, fds)
                if slow:
                    os.close(*fds)
        except PermissionError as e:  # it takes no descriptors
            return errno.errorcode[e.errno]
        return sock

    @staticmethod
    def say_on(sock, message, fds=()):
        try:
            send(sock, message, fds)
        except PermissionError:
            raise
        except OSError:
            pass  # closed already: outcome tells

    @staticmethod
    def outcome(sock, end):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while poll.poll(max(0, end - time.monotonic()) * 1000):
            try:
                message, fds = receive(sock)
            except ConnectionResetError:
                continue  # an answer may still be there
            close_all(fds)
            if not message:
                return "closed"
            if len(message) < 16 or message[:4] != MAGIC or message[6] != ANSWER:
                return "garbled"
            return f"answer {struct.unpack_from('<I', message, 12)[0]} {struct.unpack_from('<H', message, 4)[0]}"
        return "timeout"


# ---------------------------------------------------------------- the command line

def say(*words):
    print(*words, flush=True)


def number(text):
    return int(text, 0)


def octal(text):
    return int(text, 8)


def attempt(attack):
    """ok, or refused with the errno's name."""
    try:
        attack()
        return "ok"
    except OSError as e:
        return f"refused {errno.errorcode.get(e.errno, e.errno)}"


def sentence(words):
    return " ".join(map(str, words))


class ImportCommands:
    def __init__(self, node, segid, perm, controller="loopback", my_node=None):
        self.im = Importer(number(node), int(segid, 16), octal(perm), controller, number(my_node) if my_node else None)
        im = self.im
        say("connected", im.size, im.generation, f"{im.granted:04o}", im.order, im.page_size, im.exporter)

    def size(self):
        return self.im.size

    def map(self, perm, offset, length):
        self.im.map(octal(perm), number(offset), number(length))

    def read(self, offset, n):
        return self.im.read(number(offset), number(n)).hex()

    def checked_read(self, offset, n):
        return self.im.checked_read(number(offset), number(n)).hex()

    def write(self, offset, data):
        self.im.write(number(offset), bytes.fromhex(data))

    def crc(self, offset, n):
        return f"{self.im.crc(number(offset), number(n)):08x}"

    def state(self):
        self.im._connected()
        return f"{self.im.state.generation} {self.im.state.state}"

    def wait(self, seconds):
        return sentence(self.im.wait(float(seconds)))

    def post(self):
        self.im.post()

    def post_no_accumulate(self):
        self.im.post(accumulate=False)

    def poll(self, seconds):
        return sentence(self.im.wait_event(float(seconds)))

    def epoll(self, seconds):
        return sentence(self.im.wait_event(float(seconds), by_epoll=True))

    def drain(self):
        self.im._connected()
        return self.im.own.drain()

    def unmap(self):
        self.im.unmap()

    def disconnect(self):
        self.im.disconnect()

    def quit(self):
        pass

    # Attacks

    def _counter(self, which):
        self.im._connected()
        return {"own": self.im.own, "theirs": self.im.theirs}[which]

    def watch(self, which, count):
        self._counter(which).watch(int(count))

    def fill(self, which):
        self._counter(which).fill()

    def steal(self, which, seconds):
        return f"stolen {self._counter(which).steal(float(seconds))}"

    def spin_write(self, offset, seconds):
        at, end, writes = self.im._at(number(offset), 8, WRITE), time.monotonic() + float(seconds), 0
        while time.monotonic() < end:
            for _ in range(100):
                writes += 1
                struct.pack_into("@Q", self.im.window, at, writes)
        return f"spun {writes}"

    def mmap_rw(self):
        self.im._connected()
        return attempt(lambda: mmap.mmap(self.im.data, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close())

    def mprotect_rw(self):
        self.im._connected()

        def attack():
            at = libc.mmap(None, PAGE, mmap.PROT_READ, mmap.MAP_SHARED, self.im.data, 0)
            if at == ctypes.c_void_p(-1).value:
                raise OSError(ctypes.get_errno(), "mmap")
            refusal = ctypes.get_errno() if libc.mprotect(at, PAGE, mmap.PROT_READ | mmap.PROT_WRITE) else 0
            libc.munmap(at, PAGE)
            if refusal:
                raise OSError(refusal, "mprotect")
        return attempt(attack)

    def reopen_rw(self):
        self.im._connected()

        def attack():
            fd = reopen(self.im.data, os.O_RDWR)
            try:
                mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()
            finally:
                os.close(fd)
        return attempt(attack)

    def truncate(self):
        self.im._connected()
        length = os.fstat(self.im.data).st_size
        smaller = attempt(lambda: os.ftruncate(self.im.data, 0))
        larger = attempt(lambda: os.ftruncate(self.im.data, length + PAGE))
        return f"smaller {smaller} larger {larger}"

    def punch(self):
        self.im._connected()
        return attempt(lambda: punch(self.im.data, os.fstat(self.im.data).st_size))

    def chmod(self):
        self.im._connected()
        return attempt(lambda: os.fchmod(self.im.data, 0o666))


class FarImportCommands:
    def __init__(self, controller, key_file, node, segid, perm):
        self.im = FarImporter(controller, key_file, number(node), int(segid, 16), octal(perm))
        say("connected", self.im.size, self.im.order, self.im.exporter_uid)

    def read(self, offset, n):
        return self.im.read(number(offset), number(n)).hex()

    def crc(self, offset, n):
        return f"{zlib.crc32(self.im.read(number(offset), number(n))):08x}"

    def put(self, offset, data):
        self.im.put(number(offset), bytes.fromhex(data))

    def write(self, offset, data):
        self.put(offset, data)
        self.im.barrier()

    def fill(self, offset, n, byte):
        self.im.put(number(offset), bytes([number(byte)]) * number(n))
        self.im.barrier()

    def barrier(self):
        self.im.barrier()

    def add(self, offset, n):
        return self.im.atomic(number(offset), 8 | ADD, number(n), 0)

    def compare_and_set(self, offset, old, new):
        return self.im.atomic(number(offset), 8, number(new), number(old))

    def post(self):
        self.im.post()

    def poll(self, seconds):
        return self.im.wait_event(float(seconds))

    def disconnect(self):
        self.im.disconnect()

    def quit(self):
        pass


class ExportCommands:
    def __init__(self, node, segid, size, acl, controller="loopback", order=sys.byteorder, evil=None, seed=0, seconds=3.0):
        size = number(size)
        if size <= 0:
            raise RsmError(20)
        args = number(node), int(segid, 16), size, self._acl(number(node), acl), controller
        if evil:
            self.ex = EvilExporter(*args, order=order, kind=evil, seed=seed, seconds=seconds)
        else:
            self.ex = Exporter(*args, order=order)
        try:
            say(self.publish())
        except OSError as e:
            if evil != "hugetlb":
                raise
            say("unsupported", errno.errorcode[e.errno])
            sys.exit(1)

    @staticmethod
    def _acl(node, text):
        if text == "umask":
            return None
        if ":" not in text:
            return {node: octal(text)}
        return {number(n): octal(mode) for n, mode in (entry.split(":") for entry in text.split(","))}

    def _at(self, offset, n):
        if not 0 <= offset < self.ex.size:
            raise RsmError(18)
        if not 0 < n <= self.ex.size - offset:
            raise RsmError(20)
        return slice(offset, offset + n)

    def write(self, offset, data):
        data = bytes.fromhex(data)
        self.ex.memory[self._at(number(offset), len(data))] = data

    def read(self, offset, n):
        return self.ex.memory[self._at(number(offset), number(n))].hex()

    def importers(self):
        inside = [p for p in self.ex.peers.values() if p.perm is not None]
        return " ".join([str(len(inside))] + [f"{p.node}/{p.uid}/{p.perm:04o}/{p.controller}" for p in inside])

    def post(self):
        self.ex.post()

    def post_no_accumulate(self):
        self.ex.post(accumulate=False)

    def poll(self, seconds):
        return sentence(self.ex.wait_event(float(seconds)))

    def epoll(self, seconds):
        return sentence(self.ex.wait_event(float(seconds), by_epoll=True))

    def drain(self):
        return self.ex.counter.drain()

    def _counters(self, which):
        theirs = [p.events for p in self.ex.peers.values() if p.events]
        return {"own": [self.ex.counter], "theirs": theirs}[which]

    def fill(self, which):
        for counter in self._counters(which):
            counter.fill()

    def steal(self, which, seconds):
        return f"stolen {sum(c.steal(float(seconds)) for c in self._counters(which))}"

    def unpublish_and_steal(self, seconds):
        kept = [Counter(os.dup(p.events.fd)) for p in self.ex.peers.values() if p.events]
        self.ex.unpublish()
        return f"stolen {sum(counter.steal(float(seconds)) for counter in kept)}"

    def unpublish(self):
        self.ex.unpublish()

    def publish(self):
        self.ex.publish()
        return "published"

    def quit(self):
        if self.ex.listener:
            self.ex.unpublish(reason=2)


class Lines:
    """The lines of stdin, without ever waiting for the rest of one."""

    def __init__(self):
        self.rest, self.ended = b"", False

    def read(self):
        chunk = os.read(0, 1 << 16)
        self.ended = not chunk
        *lines, self.rest = (self.rest + (chunk or b"\n")).split(b"\n")
        return [line.decode("utf-8", "replace").split() for line in lines if line.strip()]


def run(commands, words):
    """Answers one command. True if it was quit."""
    try:
        name = words[0].replace("-", "_")
        command = None if name.startswith("_") or name == "ex" or name == "im" else getattr(commands, name, None)
        if command is None:
            raise RsmError(117, f"no command is called {words[0]}")
        result = command(*words[1:])
        say("ok" if result is None else result)
    except RsmError as e:
        say("error", e)
    except (TypeError, ValueError, KeyError) as e:
        say("error", RsmError(117, str(e)))
    except OSError as e:
        say("error", RsmError(100, str(e)))
    return words[0] == "quit"


def import_main(*args, of=ImportCommands):
    commands, lines = of(*args), Lines()
    while not lines.ended:
        for words in lines.read():
            if run(commands, words):
                return


def far_import_main(*args):
    import_main(*args, of=FarImportCommands)


def export_main(*args, **options):
    commands, lines = ExportCommands(*args, **options), Lines()
    ex = commands.ex
    while not lines.ended:
        poll = select.poll()
        for fd in [0] + ex.descriptors():
            poll.register(fd, select.POLLIN)
        deadline = ex.next_deadline()
        ready = poll.poll(None if deadline is None else max(0, deadline - time.monotonic()) * 1000 + 1)
        for fd, _ in ready:
            if fd:
                ex.serve(fd)
        ex.drop_silent()
        if any(fd == 0 for fd, _ in ready):
            for words in lines.read():
                if run(commands, words):
                    return


def present_main(*names):
    socks = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in names]
    for sock, name in zip(socks, names):
        sock.bind(f"\0rsmapi-node/{name}".encode("ascii"))
    say("present")
    sys.stdin.read()


def attack_main(node, segid, kind, count="1", seed=0, seconds=5.0, perm=READ):
    Attack(number(node), int(segid, 16), number(count), seed, seconds, perm).run(kind)


def main(argv):
    options, args, kinds = {}, [], {"--evil": str, "--seed": int, "--seconds": float, "--order": str, "--perm": octal}
    words = iter(argv)
    try:
        for word in words:
            if word in kinds:
                options[word[2:]] = kinds[word](next(words))
            else:
                args.append(word)
        mode = {"import": import_main, "far-import": far_import_main, "export": export_main, "attack": attack_main,
                "present": present_main}[args[0]]
    except (ValueError, KeyError, IndexError, StopIteration):
        sys.exit(__doc__)
    try:
        mode(*args[1:], **options)
    except RsmError as e:
        say("error", e)
        sys.exit(1)
    except (TypeError, ValueError, KeyError) as e:
        say("error", RsmError(117, str(e)))
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
