/*
 * There and back between two processes.
 *
 *   trip eventfd <seconds>   an eventfd each way, reads that block
 *   trip polled <seconds>    an eventfd each way, and the calls of the library: poll before the write, poll before the read
 *   trip pipe <seconds>      a pipe each way, one byte
 *   trip value <seconds>     a number in shared memory each way, both sides spinning
 */
#include "bench.h"
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/uio.h>

static int out, in; /* descriptors of this side */
static size_t width = 8;
static int64_t *there, *back;

static void post(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, width) != (ssize_t)width)
        die("write");
}

static void take(int fd)
{
    uint64_t got;

    if (read(fd, &got, width) != (ssize_t)width)
        exit(0); /* the other process has ended */
}

static void blocking(long count)
{
    while (count-- > 0) {
        post(out);
        take(in);
    }
}

static void post_polled(int fd)
{
    struct pollfd room = {fd, POLLIN | POLLOUT, 0};

    if (poll(&room, 1, 0) != 1)
        die("poll");
    post(fd);
}

static int take_now(int fd)
{
    uint64_t got;
    struct iovec part = {&got, 8};

    return preadv2(fd, &part, 1, -1, RWF_NOWAIT) == 8;
}

static void take_polled(int fd)
{
    while (!take_now(fd)) {
        struct pollfd event[2] = {{fd, POLLIN, 0}, {-1, POLLIN, 0}};

        if (poll(event, 2, 0) == 0 && poll(event, 2, 10000) < 0)
            die("poll");
    }
}

static void polled(long count)
{
    while (count-- > 0) {
        post_polled(out);
        take_polled(in);
    }
}

static void value(long count)
{
    static int64_t n;

    while (count-- > 0) {
        __atomic_store_n(there, ++n, __ATOMIC_RELEASE);
        while (__atomic_load_n(back, __ATOMIC_ACQUIRE) != n)
            spin_hint();
    }
}

static void echo_value(void)
{
    int64_t seen = 0;

    for (;;) {
        int64_t now = __atomic_load_n(there, __ATOMIC_ACQUIRE);

        if (now != seen) {
            seen = now;
            __atomic_store_n(back, now, __ATOMIC_RELEASE);
        } else {
            spin_hint();
        }
    }
}

static void echo(const char *kind)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!strcmp(kind, "value"))
        echo_value();
    for (;;) {
        if (!strcmp(kind, "polled")) {
            take_polled(in);
            post_polled(out);
        } else {
            take(in);
            post(out);
        }
    }
}

int main(int argc, char **argv)
{
    int request[2], reply[2];
    pid_t child;

    if (argc != 3)
        return 2;
    if (!strcmp(argv[1], "pipe")) {
        width = 1;
        if (pipe(request) < 0 || pipe(reply) < 0)
            die("pipe");
    } else {
        int flags = EFD_SEMAPHORE | (!strcmp(argv[1], "polled") ? EFD_NONBLOCK : 0);

        request[0] = request[1] = eventfd(0, flags);
        reply[0] = reply[1] = eventfd(0, flags);
    }
    there = (int64_t *)map_shared(memory_file(PAGE), PAGE);
    back = there + 32; /* a cache line of its own, and not the next one */
    child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        in = request[0];
        out = reply[1];
        echo(argv[1]);
    }
    in = reply[0];
    out = request[1];
    measure("trip", atof(argv[2]), !strcmp(argv[1], "value") ? value : !strcmp(argv[1], "polled") ? polled : blocking);
    kill(child, SIGKILL);
    return 0;
}
