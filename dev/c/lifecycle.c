/*
 * The system calls of a segment's life, in the order and from the threads that the library makes them, each step timed by itself.
 *
 *   lifecycle <seconds>
 */
#include "bench.h"
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/un.h>

#define DESCRIPTORS 4 /* memory, state page, two event counters */
#define STEPS 5

struct segment {
    int memory, events, listener, state;
    char *mapped, *page;
};

struct connection {
    int socket, received[DESCRIPTORS];
    char *page;
};

static int epoll_fd;
static struct segment current; /* the one that is published, for the thread that answers */

static void check(long result, const char *what)
{
    if (result < 0)
        die(what);
}

/* ---- messages ---- */

static int say(int fd, const int *descriptors)
{
    char bytes[64] = "floor", control[CMSG_SPACE(DESCRIPTORS * sizeof(int))] = {0};
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (descriptors) {
        struct cmsghdr *header;

        message.msg_control = control;
        message.msg_controllen = sizeof control;
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(DESCRIPTORS * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, DESCRIPTORS * sizeof(int));
    }
    return (int)sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int hear(int fd, int *descriptors)
{
    char bytes[256], control[CMSG_SPACE(16 * sizeof(int))];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int n = (int)recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n > 0 && descriptors)
        memcpy(descriptors, CMSG_DATA(CMSG_FIRSTHDR(&message)), DESCRIPTORS * sizeof(int));
    return n;
}

static void credentials(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;

    check(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length), "getsockopt");
}

static void watch(int fd, uint64_t token)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = token};

    check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void unwatch(int fd)
{
    struct epoll_event event;

    check(epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &event), "epoll_ctl");
}

/* ---- the exporter's thread ---- */

#define LISTENER (UINT64_C(1) << 32)

static void welcome(int fd, int *counter)
{
    int descriptors[DESCRIPTORS];

    if (hear(fd, NULL) <= 0)
        die("recvmsg");
    *counter = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
    descriptors[0] = current.memory;
    descriptors[1] = current.state;
    descriptors[2] = current.events;
    descriptors[3] = *counter;
    check(say(fd, descriptors), "sendmsg");
}

static void *serve(void *unused)
{
    int counter = -1;

    (void)unused;
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll_fd, events, 64, 2000);

        for (int i = 0; i < n; i++) {
            int fd = (int)(events[i].data.u64 & 0x7fffffff);

            if (events[i].data.u64 & LISTENER) {
                int accepted;

                while ((accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    credentials(accepted);
                    watch(accepted, (uint64_t)accepted);
                    while (1) { /* mostly it has spoken already */
                        struct pollfd spoken = {accepted, POLLIN, 0};

                        if (poll(&spoken, 1, -1) == 1)
                            break;
                    }
                    welcome(accepted, &counter);
                }
            } else if (!(events[i].events & EPOLLHUP)) {
                continue;
            } else {
                hear(fd, NULL);
                unwatch(fd);
                close(fd);
                close(counter);
            }
        }
    }
    return NULL;
}

/* ---- the steps ---- */

static void read_file(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY);

    check(fd, path);
    while (read(fd, text, sizeof text) > 0)
        continue;
    close(fd);
}

static void create(struct segment *s)
{
    s->memory = memory_file(PAGE);
    s->mapped = map_shared(s->memory, PAGE);
    s->events = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
    read_file("/proc/self/status"); /* the umask */
}

static void name(struct sockaddr_un *address, socklen_t *length)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1
        + (size_t)snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "rsmapi-floor-%d", getpid()));
}

static int new_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    check(fd, "socket");
    return fd;
}

static void publish(struct segment *s)
{
    struct sockaddr_un address;
    socklen_t length;
    char path[64];
    int file;

    s->listener = new_socket();
    name(&address, &length);
    check(bind(s->listener, (struct sockaddr *)&address, length), "bind");
    check(listen(s->listener, 128), "listen");
    file = memory_file(PAGE);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    s->state = open(path, O_RDONLY | O_CLOEXEC);
    check(s->state, path);
    s->page = map_shared(file, PAGE);
    s->page[0] = 1;
    close(file);
    current = *s;
    watch(s->listener, LISTENER | (uint64_t)s->listener);
}

static void examine(int fd)
{
    struct statfs about;

    check(fcntl(fd, F_GET_SEALS), "F_GET_SEALS");
    check(fstatfs(fd, &about), "fstatfs");
    check(lseek(fd, 0, SEEK_END), "lseek");
    check(fcntl(fd, F_GETFL), "F_GETFL");
}

static void identify(int fd)
{
    char path[64], link[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check(readlink(path, link, sizeof link), path);
}

static void connect_to(struct connection *c)
{
    struct sockaddr_un address;
    socklen_t length;
    struct pollfd answer;

    c->socket = new_socket();
    name(&address, &length);
    check(connect(c->socket, (struct sockaddr *)&address, length), "connect");
    check(say(c->socket, NULL), "sendmsg");
    answer = (struct pollfd){c->socket, POLLIN, 0};
    if (poll(&answer, 1, 0) == 0)
        check(poll(&answer, 1, 5000), "poll");
    check(hear(c->socket, c->received), "recvmsg");
    examine(c->received[0]);
    examine(c->received[1]);
    identify(c->received[2]);
    identify(c->received[3]);
    c->page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, c->received[1], 0);
    if (c->page == MAP_FAILED)
        die("mmap");
    credentials(c->socket);
    close(c->received[1]);
    watch(c->socket, 0);
}

static void disconnect(struct connection *c)
{
    unwatch(c->socket);
    close(c->socket);
    close(c->received[0]);
    munmap(c->page, PAGE);
    close(c->received[2]);
    close(c->received[3]);
}

static void destroy(struct segment *s)
{
    unwatch(s->listener);
    close(s->listener);
    munmap(s->page, PAGE);
    close(s->state);
    check(fallocate(s->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), "fallocate");
    close(s->memory);
    close(s->events);
    munmap(s->mapped, PAGE);
}

static long lives(double seconds, double *sums)
{
    double end = now() + seconds * 1e9;
    long count = 0;

    do {
        struct segment s;
        struct connection c;
        double t[STEPS + 1];

        t[0] = now();
        create(&s);
        t[1] = now();
        publish(&s);
        t[2] = now();
        connect_to(&c);
        t[3] = now();
        disconnect(&c);
        t[4] = now();
        destroy(&s);
        t[5] = now();
        for (int i = 0; i < STEPS; i++)
            sums[i] += t[i + 1] - t[i];
        count++;
    } while (now() < end);
    return count;
}

int main(int argc, char **argv)
{
    static const char *steps[STEPS] = {"create", "publish", "connect", "disconnect", "destroy"};
    pthread_t server;
    double seconds, unused[STEPS] = {0};

    if (argc != 2)
        return 2;
    seconds = atof(argv[1]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check(epoll_fd, "epoll_create1");
    if (pthread_create(&server, NULL, serve, NULL))
        die("pthread_create");
    lives(seconds, unused);
    for (int i = 0; i < SAMPLES; i++) {
        double sums[STEPS] = {0};
        long count = lives(seconds / SAMPLES, sums);

        for (int step = 0; step < STEPS; step++)
            printf("%s %.1f\n", steps[step], sums[step] / count);
    }
    return 0;
}
