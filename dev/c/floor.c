/*
 * What the kernel calls cost without a JVM: the floor under rsmapi's figures.
 *
 *   floor map <bytes> <count>      ns per mmap + munmap of a shared memory file, untouched
 *   floor connect <count>          ns per socket + connect + close to an abstract Unix socket in
 *                                  this process, with accept, one message each way with two
 *                                  descriptors, as a thread answers them
 *
 * Prints one number.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double map_unmap(size_t bytes, long count)
{
    int fd = memfd_create("floor", MFD_CLOEXEC);
    double start;

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        die("memfd");
    start = now();
    for (long i = 0; i < count; i++) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED || munmap(p, bytes) < 0)
            die("mmap");
    }
    return (now() - start) / count;
}

static struct sockaddr_un address;
static socklen_t address_length;
static int shared[2];

static void send_message(int fd, int with_descriptors)
{
    char bytes[64] = "floor", control[CMSG_SPACE(sizeof shared)] = {0};
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (with_descriptors) {
        struct cmsghdr *header;

        message.msg_control = control;
        message.msg_controllen = sizeof control;
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof shared);
        memcpy(CMSG_DATA(header), shared, sizeof shared);
    }
    if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        die("sendmsg");
}

static void receive_message(int fd, int *descriptors)
{
    char bytes[64], control[CMSG_SPACE(sizeof shared)];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};

    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) <= 0)
        die("recvmsg");
    if (descriptors)
        memcpy(descriptors, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof shared);
}

static void *serve(void *listener)
{
    for (;;) {
        int fd = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            die("accept4");
        receive_message(fd, NULL);
        send_message(fd, 1);
        close(fd);
    }
    return NULL;
}

static double connect_disconnect(long count)
{
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    pthread_t server;
    double start;

    address.sun_family = AF_UNIX;
    address_length = offsetof(struct sockaddr_un, sun_path) + 1
        + snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "rsmapi-floor-%d", getpid());
    if (bind(listener, (struct sockaddr *)&address, address_length) < 0 || listen(listener, 128) < 0)
        die("listen");
    shared[0] = memfd_create("floor", MFD_CLOEXEC);
    shared[1] = memfd_create("floor", MFD_CLOEXEC);
    if (pthread_create(&server, NULL, serve, &listener))
        die("pthread_create");
    start = now();
    for (long i = 0; i < count; i++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), received[2];

        if (connect(fd, (struct sockaddr *)&address, address_length) < 0)
            die("connect");
        send_message(fd, 0);
        receive_message(fd, received);
        close(received[0]);
        close(received[1]);
        close(fd);
    }
    return (now() - start) / count;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "map"))
        printf("%.1f\n", map_unmap(strtoull(argv[2], NULL, 10), atol(argv[3])));
    else if (argc == 3 && !strcmp(argv[1], "connect"))
        printf("%.1f\n", connect_disconnect(atol(argv[2])));
    else
        return 2;
    return 0;
}
