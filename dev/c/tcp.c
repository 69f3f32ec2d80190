/*
 * The moves between two hosts over a blocking TCP socket:
 *
 *   tcp serve                                       prints "ready"; ends with its input, or the caller
 *   tcp call <address> short|bulk <seconds> <pid>   the pid is that of the one that serves
 *
 * A put is its bytes and one byte back, a get one byte and its bytes back. For each of 20 batches it prints the median and the
 * 99th percentile, as Batches.java does, and for bulk the CPU seconds for a GiB.
 */
#include "bench.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#define PORT 7464
#define KIB 1024
#define MIB (1024 * KIB)
#define LARGEST (16 * MIB)
#define QUICK 0.1 /* with less time one only wants to see that it works */
#define MOST_TIMES 10000000

struct order {
    uint32_t put, size, count;
};

static int fd;
static char *bytes;
static double *times;
static const char *served_by;

static void send_all(const void *from, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, from, n, MSG_NOSIGNAL);

        if (sent <= 0)
            die("send");
        from = (const char *)from + sent;
        n -= (size_t)sent;
    }
}

static void receive_all(void *to, size_t n)
{
    while (n > 0) {
        ssize_t got = recv(fd, to, n, 0);

        if (got <= 0)
            exit(0); /* the other side has ended */
        to = (char *)to + got;
        n -= (size_t)got;
    }
}

static void no_delay(void)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("TCP_NODELAY");
}

static void serve(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = INADDR_ANY};
    int on = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
    struct pollfd either[2] = {{listening, POLLIN, 0}, {0, POLLIN, 0}};
    struct order order;

    if (setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0
        || bind(listening, (struct sockaddr *)&here, sizeof here) < 0 || listen(listening, 1) < 0)
        die("listen");
    puts("ready");
    fflush(stdout);
    if (poll(either, 2, -1) < 0)
        die("poll");
    if (either[1].revents)
        exit(0); /* who has started this one has ended */
    fd = accept(listening, NULL, NULL);
    no_delay();
    for (;;) {
        receive_all(&order, sizeof order);
        for (; order.count > 0; order.count--) {
            receive_all(bytes, order.put ? order.size : 1);
            send_all(bytes, order.put ? 1 : order.size);
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Does it so often, and returns the ns for all; the times of each are sorted. */
static double batch(int put, size_t size, long count)
{
    struct order order = {(uint32_t)put, (uint32_t)size, (uint32_t)count};
    double sum = 0;

    send_all(&order, sizeof order);
    for (long i = 0; i < count; i++) {
        double start = now();

        send_all(bytes, put ? size : 1);
        receive_all(bytes, put ? 1 : size);
        times[i] = now() - start;
        sum += times[i];
    }
    qsort(times, (size_t)count, sizeof *times, compare);
    return sum;
}

/* The CPU time of a process, in seconds. */
static double cpu_of(const char *pid)
{
    char path[64], text[1024], *p;
    unsigned long user, system;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    f = fopen(path, "r");
    if (!f)
        die(path);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    p = strrchr(text, ')');
    if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("stat");
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void moves(const char *name, int put, size_t size, double seconds)
{
    double goal = seconds * 1e9 / SAMPLES, end = now() + seconds * 1e9, cpu, took;
    long count = 1, batches = seconds < QUICK ? 2 : SAMPLES;

    for (;;) {
        took = batch(put, size, count);
        if (took >= goal && now() >= end)
            break;
        count = took < goal / 8 ? count * 4 : took < goal ? (long)(count * goal * 1.1 / took) + 1 : count;
        if (count > MOST_TIMES)
            count = MOST_TIMES;
    }
    cpu = cpu_of("self") + cpu_of(served_by);
    for (long i = 0; i < batches; i++) {
        batch(put, size, count);
        printf("%s%s %.0f\n", put ? "put" : "get", name, times[count / 2]);
        printf("%s%s-p99 %.0f\n", put ? "put" : "get", name, times[(long)(count * 0.99)]);
    }
    cpu = cpu_of("self") + cpu_of(served_by) - cpu;
    printf("%s%s-cpu %.4f\n", put ? "put" : "get", name, cpu / ((double)batches * count * size / (1 << 30)));
}

static void both_ways(const char *name, size_t size, double seconds)
{
    moves(name, 1, size, seconds);
    moves(name, 0, size, seconds);
}

static void call(const char *address, const char *what, double seconds)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(PORT)};

    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, address, &there.sin_addr) != 1 || connect(fd, (struct sockaddr *)&there, sizeof there) < 0)
        die("connect");
    no_delay();
    if (!strcmp(what, "short")) {
        both_ways("8", 8, seconds);
        both_ways("4k", 4 * KIB, seconds);
        both_ways("64k", 64 * KIB, seconds);
    } else {
        both_ways("1m", MIB, seconds);
        both_ways("16m", seconds < QUICK ? MIB : 16 * MIB, seconds);
    }
}

int main(int argc, char **argv)
{
    bytes = malloc(LARGEST);
    times = malloc(MOST_TIMES * sizeof *times);
    if (!bytes || !times)
        die("malloc");
    touch(bytes, LARGEST);
    if (argc == 2 && !strcmp(argv[1], "serve")) {
        serve();
    } else if (argc == 6 && !strcmp(argv[1], "call")) {
        served_by = argv[5];
        call(argv[2], argv[3], atof(argv[4]));
    } else {
        return 2;
    }
    return 0;
}
