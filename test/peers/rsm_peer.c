/*
 * A peer for rsmapi in C: the protocol of doc/protocol.md on Linux, with nothing but the C library.
 *
 *     gcc -std=gnu99 -O2 -Wall -Wextra -Werror -o rsm_peer rsm_peer.c
 *
 * The command line is that of rsm_peer.py, with one attack of its own; the top of that file has the details. One command per line on
 * stdin, one reply per line on stdout; what fails is "error <code> <name> <text>". End of input ends it like a death.
 *
 * rsm_peer import <node> <segid> <perm> [<controller> [<my-node>]]
 *     first line: connected <size> <generation> <permission> <byte order> <page size> <pid of the exporter>
 *     size | map <perm> <offset> <length> | read <offset> <n> | write <offset> <data> | crc <offset> <n> | state |
 *     wait <seconds> | post | post-no-accumulate | poll <seconds> | epoll <seconds> | drain | unmap | disconnect | quit
 *     jam: has its own counter block who posts, until that one stops posting. The reply is jamming, and then jammed
 *
 * rsm_peer export <node> <segid> <size> <umask or the mode for the own node> [<controller>]
 *     first line: published
 *     write <offset> <data> | read <offset> <n> | importers | post | post-no-accumulate | poll <seconds> | epoll <seconds> |
 *     drain | unpublish | quit
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || __SIZEOF_LONG__ != 8
#error "The structures below are the protocol's bytes only on a little-endian machine with 64 bits."
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { READ = 0400, WRITE = 0200, AS_OTHERS = 1 << 16 /* of a CONNECT: the last digit counts */, TMPFS = 0x01021994, MAX_FDS = 253, MAX_PEERS = 256, PATIENCE_MS = 2000 };

#define CODES(X) \
    X(7, SEG_NOT_PUBLISHED) X(8, SEG_NOT_PUBLISHED_TO_NODE) X(9, SEG_ALREADY_MAPPED) X(10, SEG_STILL_MAPPED) \
    X(11, SEG_NOT_MAPPED) X(17, BAD_MEM_ALIGNMENT) X(18, BAD_OFFSET) X(20, BAD_LENGTH) X(24, SEGID_IN_USE) X(26, BAD_PERMS) \
    X(27, PERM_DENIED) X(31, INSUFFICIENT_RESOURCES) X(32, INSUFFICIENT_MEM) X(33, MAP_FAILED) X(40, CONN_ABORTED) \
    X(42, TIMEOUT) X(45, SEG_NOT_CONNECTED) X(100, INTERNAL_ERROR) X(101, BAD_DRIVER_VERSION) X(117, BAD_ARGS_ERRORS)
#define AS_CONSTANT(code, name) RSM_##name = code,
#define AS_STRING(code, name) [code] = #name,
enum { CODES(AS_CONSTANT) REPLIED = -1 };
static const char *const names[128] = {CODES(AS_STRING)};

static const char *why = ""; /* What was the matter when a function returned a code other than 0. */

static int fail(int code, const char *text) { why = text; return code; }

static int reply(int code) {
    if (code == 0)
        puts("ok");
    else if (code != REPLIED)
        printf("error %u %s %s\n", code, code > 0 && code < 128 && names[code] ? names[code] : "UNKNOWN", why);
    fflush(stdout);
    why = "";
    return code > 0;
}

/* ------------------------------------------------------------------ messages */

struct header { char magic[4]; uint16_t version, type; uint32_t length; };
struct connect_msg { struct header h; uint32_t node, segid, perm; uint64_t token; char controller[32]; };
struct answer_msg {
    struct header h;
    uint32_t code;
    uint64_t size, generation;
    uint32_t perm, order, page_size, descriptors, pid;
    char reserved[12];
};
struct revoked_msg { struct header h; uint32_t reason; uint64_t generation; char reserved[8]; };
struct state_page { char magic[4]; uint32_t layout; uint64_t generation; uint32_t state, reserved; uint64_t size; };
typedef char sizes_are_right[sizeof(struct connect_msg) == 64 && sizeof(struct answer_msg) == 64
                             && sizeof(struct revoked_msg) == 32 && sizeof(struct state_page) == 32 ? 1 : -1];

enum { CONNECT = 1, ANSWER = 2, REVOKED = 3, VERSION = 1 };

static struct header header(uint16_t type, uint32_t length) {
    return (struct header){{'R', 'S', 'M', '1'}, VERSION, type, length};
}

static bool ours(const void *message, ssize_t n) {
    return n >= (ssize_t)sizeof(struct header) && memcmp(message, "RSM1", 4) == 0;
}

static socklen_t address(struct sockaddr_un *a, uint32_t node, uint32_t segid) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    return offsetof(struct sockaddr_un, sun_path) + 1 + sprintf(a->sun_path + 1, "rsmapi/%u/%08x", node, segid);
}

union control { struct cmsghdr align; char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))]; };

/* One message and its descriptors. Its whole length, also if that is more than the room; 0 at the end; -1 with errno. */
static ssize_t receive(int sock, void *message, size_t room, int *fds, int *count) {
    union control control;
    struct iovec part = {message, room};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_TRUNC);
    *count = 0;
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
        }
    return n;
}

static bool tell(int sock, void *message, size_t length, const int *fds, int count) {
    union control control = {.bytes = {0}};
    struct iovec part = {message, length};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(count * sizeof(int));
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, count * sizeof(int));
    }
    return sendmsg(sock, &m, MSG_NOSIGNAL) == (ssize_t)length;
}

static void close_all(const int *fds, int count) {
    while (count > 0)
        close(fds[--count]);
}

/* ------------------------------------------------------------------ commands */

struct arguments { uint64_t n[3]; unsigned char *data; };
/* form has a letter for each argument: n number, o octal, x data (its length becomes the number), s seconds (as ms) */
struct command { const char *name, *form; int (*run)(const struct arguments *); };

static bool number(const char *text, int base, uint64_t *value) {
    char *end;
    errno = 0;
    *value = strtoull(text, &end, base);
    return *text && !*end && !errno;
}

static bool number32(const char *text, int base, uint32_t *value) {
    uint64_t wide;
    bool good = number(text, base, &wide) && wide <= UINT32_MAX;
    *value = good ? wide : 0;
    return good;
}

/* Decodes hexadecimal digits in place. */
static bool unhex(char *text, uint64_t *n) {
    *n = strlen(text) / 2;
    bool good = strlen(text) % 2 == 0 && strspn(text, "0123456789abcdefABCDEF") == 2 * *n;
    for (size_t i = 0; good && i < *n; i++)
        text[i] = (char)strtoul((char[]){text[2 * i], text[2 * i + 1], 0}, NULL, 16);
    return good;
}

static bool parse(char form, char *word, uint64_t *value, unsigned char **data) {
    char *end = "";
    if (form == 's')
        *value = strtod(word, &end) * 1000;
    if (form == 'x')
        *data = (unsigned char *)word;
    return form == 's' ? !*end : form == 'x' ? unhex(word, value) : number(word, form == 'o' ? 8 : 0, value);
}

static int run(const struct command *c, char *line) {
    struct arguments a = {{0}, NULL};
    char *rest, *word = strtok_r(line, " \t\r", &rest);
    while (c->name && strcmp(c->name, word))
        c++;
    if (!c->name)
        return fail(RSM_BAD_ARGS_ERRORS, "no such command");
    for (int i = 0; (word = strtok_r(NULL, " \t\r", &rest)) || c->form[i]; i++)
        if (!word || !c->form[i] || !parse(c->form[i], word, &a.n[i], &a.data))
            return fail(RSM_BAD_ARGS_ERRORS, c->form[i] ? "an argument is missing or malformed" : "too many arguments");
    return c->run(&a);
}

/* Reads what there is on stdin and runs the lines that are complete; false at the end of input. */
static bool obey(const struct command *table) {
    static char *input;
    static size_t used, room;
    if (room - used < 4096)
        input = realloc(input, room = 2 * room + 65536);
    ssize_t n = read(0, input + used, room - used);
    if (n <= 0)
        return false;
    used += n;
    for (char *end; (end = memchr(input, '\n', used)); memmove(input, end + 1, used)) {
        *end = 0;
        if (input[strspn(input, " \t\r")])
            reply(run(table, input));
        used -= end + 1 - input;
    }
    return true;
}

static int reply_hex(const unsigned char *bytes, size_t n) {
    while (n--)
        printf("%02x", *bytes++);
    puts("");
    return REPLIED;
}

/* Whether n bytes at an offset are in memory that begins at base and has a length. */
static int check_range(uint64_t base, uint64_t length, uint64_t offset, uint64_t n) {
    if (offset < base || offset - base >= length)
        return RSM_BAD_OFFSET;
    return n == 0 || n > length - (offset - base) ? RSM_BAD_LENGTH : 0;
}

static size_t page(void) { return sysconf(_SC_PAGESIZE); }

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int quit(const struct arguments *a) { (void)a; reply(0); exit(0); }

/* ------------------------------------------------------------------ event counters */

/* The other process may make a counter blocking, and count up to its end: nothing here writes or reads without having looked. */
static int ready(int counter) {
    struct pollfd p = {counter, POLLIN | POLLOUT, 0};
    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

static bool post(int counter, bool accumulate) {
    int is = ready(counter);
    if (is & POLLOUT && (accumulate || !(is & POLLIN)))
        return write(counter, &(uint64_t){1}, 8) == 8;
    return is & POLLOUT;
}

static bool take(int counter) {
    uint64_t one;
    return ready(counter) & POLLIN && read(counter, &one, sizeof one) == sizeof one;
}

static int reply_drained(int counter) {
    int taken = 0;
    while (take(counter))
        taken++;
    printf("%d\n", taken);
    return REPLIED;
}

static int new_counter(uint64_t count) {
    int fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
    if (count && write(fd, &count, sizeof count) != sizeof count)
        return -1;
    return fd;
}

static uint64_t events_of(int counter) {
    char path[40], line[128];
    uint64_t count = 0;
    sprintf(path, "/proc/self/fdinfo/%d", counter);
    FILE *info = fopen(path, "re");
    while (info && fgets(line, sizeof line, info))
        sscanf(line, "eventfd-count: %lx", &count);
    if (info)
        fclose(info);
    return count;
}

static int check_counter(int fd) {
    char path[40], link[40];
    sprintf(path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, link, sizeof link);
    return n == 20 && !memcmp(link, "anon_inode:[eventfd]", 20) ? 0 : fail(RSM_CONN_ABORTED, "not an eventfd");
}

/* Waits for input on a counter and a few other descriptors. Says which have some in their revents, as poll does. */
static int wait_ready(struct pollfd *p, int count, int64_t ms, bool by_epoll) {
    struct epoll_event there[8];
    if (ms < 0)
        ms = 0;
    if (!by_epoll)
        return poll(p, count, ms);
    int set = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        p[i].revents = 0;
        if (p[i].fd >= 0)
            epoll_ctl(set, EPOLL_CTL_ADD, p[i].fd, &(struct epoll_event){EPOLLIN, {.u32 = i}});
    }
    int n = epoll_wait(set, there, 8, ms);
    for (int i = 0; i < n; i++)
        p[there[i].data.u32].revents = POLLIN;
    close(set);
    return n;
}

/* ------------------------------------------------------------------ the importer */

static struct {
    bool connected;
    int sock, data; /* data is -1 without any permission */
    int theirs, own; /* counters of events */
    uint32_t node, segid;
    struct answer_msg answer;
    struct state_page *state;
    unsigned char *window; /* NULL if there is none */
    uint64_t offset, length;
    uint32_t perm;
} im = {.sock = -1, .data = -1};

/* Refuses what could raise SIGBUS, or is not what was announced. */
static int check_memory(int fd, uint64_t length, bool writing) {
    struct statfs fs;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS), access = fcntl(fd, F_GETFL) & O_ACCMODE;
    if (seals < 0 || fstatfs(fd, &fs) || fs.f_type != TMPFS)
        return fail(RSM_CONN_ABORTED, "not a memory file of ordinary pages");
    if (!(seals & F_SEAL_SHRINK))
        return fail(RSM_CONN_ABORTED, "not sealed against shrinking");
    if (fstat(fd, &st) || length == 0 || length > (uint64_t)st.st_size)
        return fail(RSM_CONN_ABORTED, "shorter than announced, or empty");
    if (access != O_RDWR && (writing || access != O_RDONLY))
        return fail(RSM_CONN_ABORTED, "not open for what was granted");
    return 0;
}

static int accept_answer(const struct answer_msg *a, ssize_t n, uint32_t perm, const int *fds, int count) {
    int code;
    if (!ours(a, n) || a->h.type != ANSWER)
        return fail(RSM_CONN_ABORTED, n > 0 ? "not an answer" : "closed before an answer");
    if (a->h.version != VERSION)
        return fail(RSM_BAD_DRIVER_VERSION, "the exporter speaks another version");
    if (n != sizeof *a || a->h.length != sizeof *a)
        return fail(RSM_CONN_ABORTED, "an answer of the wrong length");
    if (a->code)
        return fail(a->code, "says the exporter");
    if (a->perm != perm)
        return fail(RSM_CONN_ABORTED, "granted something else than what was asked for");
    const int *state = fds + !!perm; /* behind the memory, which does not come without a permission */
    if ((unsigned)count != a->descriptors || fds + count < state + 3)
        return fail(RSM_CONN_ABORTED, "descriptors are missing");
    if ((perm && (code = check_memory(fds[0], a->size, perm & WRITE))) || (code = check_memory(state[0], page(), false))
        || (code = check_counter(state[1])) || (code = check_counter(state[2])))
        return code;
    im.state = mmap(NULL, page(), PROT_READ, MAP_SHARED, state[0], 0);
    if (im.state == MAP_FAILED)
        return fail(RSM_MAP_FAILED, strerror(errno));
    return memcmp(im.state, "RSMS\1\0\0\0", 8) ? fail(RSM_CONN_ABORTED, "not a state page") : 0;
}

static int import_connect(uint32_t node, uint32_t segid, uint32_t perm, const char *controller, uint32_t my_node) {
    struct sockaddr_un to;
    struct timeval patience = {5, 0};
    struct connect_msg c = {header(CONNECT, sizeof c), my_node, segid, perm, 0, {0}};
    int fds[MAX_FDS], count;
    memcpy(c.controller, controller, strnlen(controller, sizeof c.controller));
    im.sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    setsockopt(im.sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(im.sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(im.sock, (struct sockaddr *)&to, address(&to, node, segid)))
        return errno == EAGAIN ? fail(RSM_TIMEOUT, "the backlog is full") : fail(RSM_SEG_NOT_PUBLISHED, "nobody is listening");
    if (!tell(im.sock, &c, sizeof c, NULL, 0) && errno != EPIPE) /* EPIPE: it may have answered already */
        return fail(RSM_CONN_ABORTED, "closed before CONNECT");
    ssize_t n = receive(im.sock, &im.answer, sizeof im.answer, fds, &count);
    if (n < 0 && errno == EAGAIN)
        return fail(RSM_TIMEOUT, "the exporter does not answer");
    int code = accept_answer(&im.answer, n, perm, fds, count);
    if (code) {
        close_all(fds, count);
        return code;
    }
    int state = perm != 0;
    im.connected = true;
    im.node = node, im.segid = segid;
    im.data = perm ? fds[0] : -1;
    im.theirs = fds[state + 1], im.own = fds[state + 2];
    close(fds[state]);                               /* it stays mapped */
    close_all(fds + state + 3, count - (state + 3)); /* of a later version */
    return 0;
}

static int import_size(const struct arguments *a) {
    (void)a;
    printf("%lu\n", im.answer.size);
    return REPLIED;
}

static int import_map(const struct arguments *a) {
    uint64_t perm = a->n[0], offset = a->n[1], length = a->n[2];
    if (!im.connected || im.window)
        return im.window ? RSM_SEG_ALREADY_MAPPED : RSM_SEG_NOT_CONNECTED;
    if (!perm || perm & ~(uint64_t)im.answer.perm)
        return fail(RSM_BAD_PERMS, "not what was granted");
    if (offset % page())
        return fail(RSM_BAD_MEM_ALIGNMENT, "the offset is not a multiple of the page size");
    int code = check_range(0, im.answer.size, offset, length);
    if (code)
        return code;
    int prot = (perm & READ ? PROT_READ : 0) | (perm & WRITE ? PROT_WRITE : 0);
    void *window = mmap(NULL, length, prot, MAP_SHARED, im.data, offset);
    if (window == MAP_FAILED)
        return fail(RSM_MAP_FAILED, strerror(errno));
    im.window = window, im.offset = offset, im.length = length, im.perm = perm;
    return 0;
}

static int import_check(const struct arguments *a, uint32_t perm) {
    if (!im.window)
        return im.connected ? RSM_SEG_NOT_MAPPED : RSM_SEG_NOT_CONNECTED;
    if (!(im.perm & perm))
        return fail(RSM_PERM_DENIED, "mapped without that permission");
    return check_range(im.offset, im.length, a->n[0], a->n[1]);
}

static int import_read(const struct arguments *a) {
    int code = import_check(a, READ);
    return code ? code : reply_hex(im.window + (a->n[0] - im.offset), a->n[1]);
}

static int import_write(const struct arguments *a) {
    int code = import_check(a, WRITE);
    if (!code)
        memcpy(im.window + (a->n[0] - im.offset), a->data, a->n[1]);
    return code;
}

static int import_crc(const struct arguments *a) {
    int code = import_check(a, READ);
    if (code)
        return code;
    uint32_t crc = ~0U;
    for (size_t i = 0; i < a->n[1]; i++) {
        crc ^= im.window[a->n[0] - im.offset + i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
    }
    printf("%08x\n", ~crc);
    return REPLIED;
}

static int import_state(const struct arguments *a) {
    (void)a;
    if (!im.connected)
        return RSM_SEG_NOT_CONNECTED;
    uint64_t generation = __atomic_load_n(&im.state->generation, __ATOMIC_ACQUIRE);
    printf("%lu %u\n", generation, __atomic_load_n(&im.state->state, __ATOMIC_ACQUIRE));
    return REPLIED;
}

/* The segment is gone: what is mapped becomes memory of our own. */
static int abandoned(void) {
    if (im.window)
        mmap(im.window, im.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return REPLIED;
}

/* Replies with what the exporter has to say; 0 if it does not concern us. */
static int notice(void) {
    struct revoked_msg m;
    int fds[MAX_FDS], count;
    ssize_t n = receive(im.sock, &m, sizeof m, fds, &count);
    close_all(fds, count);
    if (n < 0)
        return 0; /* reset: the exporter left something of ours unread; what it sent before is still there */
    if (!ours(&m, n))
        return puts("eof"), abandoned();
    if (m.h.type == REVOKED && n == sizeof m && m.h.length == sizeof m)
        return printf("revoked %u %lu\n", m.reason, m.generation), abandoned();
    return 0;
}

/* Waits for a notice and, unless own is -1, for an event, which comes first and is taken. */
static int import_await(int own, int64_t ms, bool by_epoll) {
    if (!im.connected)
        return RSM_SEG_NOT_CONNECTED;
    int64_t end = now_ms() + ms;
    struct pollfd p[] = {{own, POLLIN, 0}, {im.sock, POLLIN, 0}};
    while (wait_ready(p, 2, end - now_ms(), by_epoll) > 0) {
        if (p[0].revents && take(own))
            return puts("event"), REPLIED;
        if (p[1].revents && !p[0].revents && notice() == REPLIED)
            return REPLIED;
    }
    puts("timeout");
    return REPLIED;
}

static int import_wait(const struct arguments *a) { return import_await(-1, a->n[0], false); }
static int import_poll(const struct arguments *a) { return import_await(im.own, a->n[0], false); }
static int import_epoll(const struct arguments *a) { return import_await(im.own, a->n[0], true); }

static int import_posts(bool accumulate) {
    if (!im.connected)
        return RSM_SEG_NOT_CONNECTED;
    bool posted = post(im.theirs, accumulate);
    return posted ? 0 : fail(RSM_INSUFFICIENT_RESOURCES, "the exporter has as many events as can be counted");
}

static int import_post(const struct arguments *a) { (void)a; return import_posts(true); }
static int import_post_once(const struct arguments *a) { (void)a; return import_posts(false); }

static int import_drain(const struct arguments *a) {
    (void)a;
    return im.connected ? reply_drained(im.own) : RSM_SEG_NOT_CONNECTED;
}

static int import_unmap(const struct arguments *a) {
    (void)a;
    if (!im.window)
        return im.connected ? RSM_SEG_NOT_MAPPED : RSM_SEG_NOT_CONNECTED;
    munmap(im.window, im.length);
    im.window = NULL;
    return 0;
}

static int import_disconnect(const struct arguments *a) {
    (void)a;
    if (!im.connected || im.window)
        return im.window ? RSM_SEG_STILL_MAPPED : RSM_SEG_NOT_CONNECTED;
    close_all((int[]){im.sock, im.theirs, im.own, im.data}, im.data < 0 ? 3 : 4);
    munmap(im.state, page());
    im.connected = false;
    return 0;
}

/* Makes room for one event and has another process take it, again and again, so that whoever has seen the room may find none when he
   writes. A second connection tells when the exporter does not get on any more. Then nobody makes room. */
static int import_jam(const struct arguments *a) {
    int jammed = im.own;
    uint64_t one = 1, room = UINT64_MAX - 1 - events_of(jammed);
    pid_t self = getpid(), filler;
    (void)a;
    if (import_connect(im.node, im.segid, 0, "loopback", im.node))
        return fail(RSM_CONN_ABORTED, "the second connection was not made");
    if (room && write(jammed, &room, sizeof room) != sizeof room)
        return fail(RSM_INTERNAL_ERROR, strerror(errno));
    fcntl(jammed, F_SETFL, 0);
    puts("jamming");
    fflush(stdout);
    filler = fork();
    if (filler == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != self)) /* it is not to outlive this process */
        _exit(0);
    while (filler == 0)
        (void)!write(jammed, &one, sizeof one); /* waits for room */
    poll(&(struct pollfd){im.own, POLLIN, 0}, 1, 30000); /* the exporter has begun to post */
    do {
        (void)!read(jammed, &one, sizeof one);
        while (ready(jammed) & POLLOUT)
            ;
        while (take(im.own))
            ;
    } while (poll(&(struct pollfd){im.own, POLLIN, 0}, 1, 1000) > 0);
    puts("jammed");
    return REPLIED;
}

static int import_main(int argc, char **argv) {
    static const struct command table[] = {
        {"size", "", import_size}, {"map", "onn", import_map}, {"read", "nn", import_read}, {"write", "nx", import_write},
        {"crc", "nn", import_crc}, {"state", "", import_state}, {"wait", "s", import_wait}, {"post", "", import_post},
        {"post-no-accumulate", "", import_post_once}, {"poll", "s", import_poll}, {"epoll", "s", import_epoll},
        {"drain", "", import_drain}, {"unmap", "", import_unmap}, {"disconnect", "", import_disconnect},
        {"jam", "", import_jam}, {"quit", "", quit}, {NULL, NULL, NULL}};
    const struct answer_msg *m = &im.answer;
    uint32_t node, segid, perm, my_node;
    if (!number32(argv[0], 0, &node) || !number32(argv[1], 16, &segid) || !number32(argv[2], 8, &perm)
        || !number32(argc > 4 ? argv[4] : argv[0], 0, &my_node))
        return reply(fail(RSM_BAD_ARGS_ERRORS, "import <node> <segid> <perm> [<controller> [<my-node>]]"));
    int code = import_connect(node, segid, perm, argc > 3 ? argv[3] : "loopback", my_node);
    if (code == 0) {
        printf("connected %lu %lu %04o %u %u %u\n", m->size, m->generation, m->perm, m->order, m->page_size, m->pid);
        code = REPLIED;
    }
    reply(code);
    while (code == REPLIED && obey(table))
        ;
    return code != REPLIED;
}

/* ------------------------------------------------------------------ the exporter */

struct peer {
    int sock, events; /* events is its counter, -1 until it has been let in */
    int64_t since;
    bool heard;
    uint32_t node, perm;
    uid_t uid;
    char controller[33];
};

static struct {
    uint32_t node, segid, mode;
    bool list; /* whether there is an access list, with the own node as its only entry */
    uint64_t size, generation;
    const char *controller;
    unsigned char *memory;
    int listener, file, read_only, state_file, counter;
    struct state_page *state;
    struct peer peers[MAX_PEERS];
    int count;
} ex = {.listener = -1};

static size_t whole_pages(void) { return (ex.size + page() - 1) / page() * page(); }

/* Maps a new memory file, all pages allocated, that only its owner may open again, and only to read. */
static void *memory_file(const char *name, size_t length, int *fd, int *read_only) {
    char path[40];
    errno = ENOMEM;
    if (length == 0 || length / page() > (size_t)sysconf(_SC_AVPHYS_PAGES)) /* nobody refuses fallocate what there is not: */
        return MAP_FAILED;                                                  /* other processes are killed for it */
    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    sprintf(path, "/proc/self/fd/%d", *fd);
    if (fchmod(*fd, 0400) || fallocate(*fd, 0, 0, length)
        || fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
        || (*read_only = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return MAP_FAILED;
    return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
}

static int publish(void) {
    struct sockaddr_un name;
    int state;
    ex.memory = memory_file("segment", whole_pages(), &ex.file, &ex.read_only);
    ex.state = memory_file("state", page(), &state, &ex.state_file);
    if (ex.memory == MAP_FAILED || ex.state == MAP_FAILED)
        return fail(RSM_INSUFFICIENT_MEM, strerror(errno));
    if ((ex.counter = new_counter(0)) < 0)
        return fail(RSM_INSUFFICIENT_RESOURCES, strerror(errno));
    *ex.state = (struct state_page){{'R', 'S', 'M', 'S'}, 1, ex.generation = 1, 1, 0, ex.size};
    ex.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(ex.listener, (struct sockaddr *)&name, address(&name, ex.node, ex.segid)) || listen(ex.listener, 128))
        return errno == EADDRINUSE ? RSM_SEGID_IN_USE : fail(RSM_INTERNAL_ERROR, strerror(errno));
    puts("published");
    return REPLIED;
}

static void drop(int i) {
    close_all((int[]){ex.peers[i].sock, ex.peers[i].events}, ex.peers[i].events < 0 ? 1 : 2);
    ex.peers[i] = ex.peers[--ex.count];
}

/* The kernel copies a page at its first write after the range has become private: no write is lost. */
static void make_private(void) {
    size_t length = whole_pages();
    mmap(ex.memory, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, ex.file, 0);
    if (madvise(ex.memory, length, MADV_POPULATE_WRITE)) /* kernels before 5.14 */
        for (size_t at = 0; at < length; at += page())
            __atomic_fetch_add(ex.memory + at, 0, __ATOMIC_RELAXED);
    fallocate(ex.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, length);
}

static int unpublish(uint32_t reason) {
    if (ex.listener < 0)
        return RSM_SEG_NOT_PUBLISHED;
    close(ex.listener);
    ex.listener = -1;
    __atomic_store_n(&ex.state->generation, ++ex.generation, __ATOMIC_SEQ_CST);
    __atomic_store_n(&ex.state->state, 2, __ATOMIC_SEQ_CST);
    struct revoked_msg m = {header(REVOKED, sizeof m), reason, ex.generation, {0}};
    while (ex.count) {
        if (ex.peers[0].events >= 0)
            tell(ex.peers[0].sock, &m, sizeof m, NULL, 0);
        drop(0);
    }
    make_private();
    int old = ex.counter; /* the importers that there were have it, and could go on to post */
    ex.counter = new_counter(events_of(old));
    close(old);
    return 0;
}

/* The octal digit that counts for a peer, as bits of a permission. */
static uint32_t allowed(int sock, bool others, uid_t *uid) {
    static gid_t groups[65536]; /* as many as there can be */
    struct ucred who;
    socklen_t room = sizeof who, group_bytes = sizeof groups;
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &room)
        || getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &group_bytes))
        return 0;
    *uid = who.uid;
    bool member = who.gid == getegid();
    for (size_t i = 0; i < group_bytes / sizeof *groups; i++)
        member |= groups[i] == getegid();
    return others ? ex.mode << 6 : who.uid == 0 ? READ | WRITE : who.uid == geteuid() ? ex.mode : member ? ex.mode << 3 : ex.mode << 6;
}

static int judge(struct peer *p, const struct connect_msg *c, ssize_t n, int descriptors) {
    if (c->h.version != VERSION)
        return RSM_BAD_DRIVER_VERSION;
    if (n != sizeof *c || c->h.length != sizeof *c || descriptors)
        return RSM_BAD_ARGS_ERRORS;
    if (c->segid != ex.segid)
        return RSM_SEG_NOT_PUBLISHED;
    memcpy(p->controller, c->controller, sizeof c->controller);
    if (c->node != ex.node && (ex.list || strcmp(p->controller, ex.controller)))
        return RSM_SEG_NOT_PUBLISHED_TO_NODE;
    uint32_t wanted = c->perm & ~AS_OTHERS;
    uint32_t granted = allowed(p->sock, c->perm & AS_OTHERS, &p->uid) & (READ | WRITE);
    if (wanted & ~granted || !granted) /* permission 0 is for those who could have more */
        return RSM_PERM_DENIED;
    p->node = c->node;
    p->perm = wanted;
    return 0;
}

static void hear(int i) {
    struct peer *p = &ex.peers[i];
    struct connect_msg c;
    int fds[MAX_FDS], count;
    ssize_t n = receive(p->sock, &c, sizeof c, fds, &count);
    close_all(fds, count);
    if (p->heard || !ours(&c, n) || c.h.type != CONNECT) {
        drop(i);
        return;
    }
    p->heard = true;
    struct answer_msg m = {header(ANSWER, sizeof m), judge(p, &c, n, count), 0, 0, 0, 1, page(), 0, getpid(), {0}};
    if (m.code == 0 && (p->events = new_counter(0)) < 0)
        m.code = RSM_INSUFFICIENT_RESOURCES;
    if (m.code == 0)
        m.size = ex.size, m.generation = ex.generation, m.perm = p->perm, m.descriptors = p->perm ? 4 : 3;
    int out[4] = {p->perm & WRITE ? ex.file : ex.read_only, ex.state_file, ex.counter, p->events};
    if (!tell(p->sock, &m, sizeof m, out + (p->perm == 0), m.descriptors) || m.code)
        drop(i);
}

/* If there is no room, whoever has said nothing for longest makes some. */
static void admit(void) {
    int sock = accept4(ex.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), oldest = -1;
    for (int i = 0; i < ex.count; i++)
        if (!ex.peers[i].heard && (oldest < 0 || ex.peers[i].since < ex.peers[oldest].since))
            oldest = i;
    if ((sock < 0 || ex.count == MAX_PEERS) && oldest >= 0)
        drop(oldest);
    if (sock >= 0 && ex.count < MAX_PEERS)
        ex.peers[ex.count++] = (struct peer){.sock = sock, .events = -1, .since = now_ms()};
    else if (sock >= 0)
        close(sock);
}

/* What is to be waited for on behalf of importers, from ready[2] on; the time until something else is to be done, or -1. */
static int watch(struct pollfd *ready) {
    int timeout = -1;
    ready[1] = (struct pollfd){ex.listener, POLLIN, 0};
    for (int i = 0; i < ex.count; i++) {
        int64_t left = ex.peers[i].since + PATIENCE_MS - now_ms();
        ready[i + 2] = (struct pollfd){ex.peers[i].sock, POLLIN, 0};
        if (!ex.peers[i].heard && (timeout < 0 || left < timeout))
            timeout = left < 0 ? 0 : left;
    }
    return timeout;
}

static void serve(const struct pollfd *ready, int watched) {
    for (int i = watched - 1; i >= 0; i--) { /* from the end, because drop moves the last one */
        if (ready[i + 2].revents)
            hear(i);
        else if (!ex.peers[i].heard && now_ms() - ex.peers[i].since >= PATIENCE_MS)
            drop(i);
    }
    if (ready[1].revents)
        admit();
}

static int export_read(const struct arguments *a) {
    int code = check_range(0, ex.size, a->n[0], a->n[1]);
    return code ? code : reply_hex(ex.memory + a->n[0], a->n[1]);
}

static int export_write(const struct arguments *a) {
    int code = check_range(0, ex.size, a->n[0], a->n[1]);
    if (!code)
        memcpy(ex.memory + a->n[0], a->data, a->n[1]);
    return code;
}

static int export_importers(const struct arguments *a) {
    int inside = 0;
    (void)a;
    for (int i = 0; i < ex.count; i++)
        inside += ex.peers[i].events >= 0;
    printf("%d", inside);
    for (struct peer *p = ex.peers; p < ex.peers + ex.count; p++)
        if (p->events >= 0)
            printf(" %u/%u/%04o/%s", p->node, p->uid, p->perm, p->controller);
    puts("");
    return REPLIED;
}

static void export_posts(bool accumulate) {
    for (int i = 0; i < ex.count; i++)
        if (ex.peers[i].events >= 0)
            post(ex.peers[i].events, accumulate);
}

static int export_post(const struct arguments *a) { (void)a; export_posts(true); return 0; }
static int export_post_once(const struct arguments *a) { (void)a; export_posts(false); return 0; }

/* Waits for an event and takes it, and goes on serving meanwhile. */
static int export_await(int64_t ms, bool by_epoll) {
    int64_t end = now_ms() + ms;
    do {
        struct pollfd ready[MAX_PEERS + 2] = {{ex.counter, POLLIN, 0}};
        int watched = ex.count, timeout = watch(ready);
        int64_t left = end - now_ms();
        wait_ready(ready, watched + 2, timeout >= 0 && timeout < left ? timeout : left, by_epoll);
        if (ready[0].revents && take(ex.counter))
            return puts("event"), REPLIED;
        serve(ready, watched);
    } while (now_ms() < end);
    puts("timeout");
    return REPLIED;
}

static int export_poll(const struct arguments *a) { return export_await(a->n[0], false); }
static int export_epoll(const struct arguments *a) { return export_await(a->n[0], true); }
static int export_drain(const struct arguments *a) { (void)a; return reply_drained(ex.counter); }

static int export_unpublish(const struct arguments *a) { (void)a; return unpublish(1); }

static int export_quit(const struct arguments *a) { unpublish(2); return quit(a); }

/* Waits for something to do, and does it; false at the end of input. */
static bool work(const struct command *table) {
    struct pollfd ready[MAX_PEERS + 2] = {{0, POLLIN, 0}};
    int watched = ex.count, timeout = watch(ready);
    if (poll(ready, watched + 2, timeout) < 0)
        return errno == EINTR;
    serve(ready, watched);
    return !ready[0].revents || obey(table);
}

static int export_main(int argc, char **argv) {
    static const struct command table[] = {
        {"read", "nn", export_read}, {"write", "nx", export_write}, {"importers", "", export_importers},
        {"post", "", export_post}, {"post-no-accumulate", "", export_post_once}, {"poll", "s", export_poll},
        {"epoll", "s", export_epoll}, {"drain", "", export_drain}, {"unpublish", "", export_unpublish},
        {"quit", "", export_quit}, {NULL, NULL, NULL}};
    mode_t mask = umask(0);
    umask(mask);
    ex.mode = 0777 & ~mask;
    ex.list = argc > 3 && strcmp(argv[3], "umask");
    ex.controller = argc > 4 ? argv[4] : "loopback";
    if (argc < 4 || !number32(argv[0], 0, &ex.node) || !number32(argv[1], 16, &ex.segid) || !number(argv[2], 0, &ex.size)
        || ex.size == 0 || (ex.list && !number32(argv[3], 8, &ex.mode)))
        return reply(fail(RSM_BAD_ARGS_ERRORS, "export <node> <segid> <size> <umask or mode> [<controller>]"));
    ex.mode &= ex.list ? 0666 : 0777;
    int code = publish();
    reply(code);
    while (code == REPLIED && work(table))
        ;
    return code != REPLIED;
}

int main(int argc, char **argv) {
    if (argc >= 5 && strcmp(argv[1], "import") == 0)
        return import_main(argc - 2, argv + 2);
    if (argc >= 5 && strcmp(argv[1], "export") == 0)
        return export_main(argc - 2, argv + 2);
    fputs("the top of rsm_peer.c says how it is used\n", stderr);
    return 2;
}
