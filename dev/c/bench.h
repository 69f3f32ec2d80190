/*
 * What the C programs of the benchmark have in common: the clock, shared memory like that of a
 * segment, and the samples, each printed as a name and a number in one line.
 */
#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 20
#define PAGE 4096

#if defined(__x86_64__) || defined(__i386__)
#define spin_hint() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define spin_hint() __asm__ volatile("isb")
#else
#define spin_hint() ((void)0)
#endif

static inline double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

/* A memory file as segments have it: allocated in full and sealed. */
static inline int memory_file(size_t bytes)
{
    int fd = memfd_create("floor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)bytes) < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0
        || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        die("memory file");
    return fd;
}

static inline char *map_shared(int fd, size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

static inline void touch(char *p, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += PAGE)
        *(volatile char *)(p + at) = 1;
}

/* Warms up, finds out how often is long enough, and prints the ns for one of the things that `work` does `count` of. */
static inline void measure(const char *name, double seconds, void (*work)(long count))
{
    double goal = seconds * 1e9 / SAMPLES, end = now() + seconds * 1e9, start, took;
    long count = 1;

    for (;;) {
        start = now();
        work(count);
        took = now() - start;
        if (took >= goal && now() >= end)
            break;
        count = took >= goal ? count : took < goal / 8 ? count * 4 : (long)(count * goal * 1.1 / took) + 1;
    }
    for (int i = 0; i < (took / count > 5e7 ? SAMPLES / 4 : SAMPLES); i++) {
        start = now();
        work(count);
        printf("%s %.3f\n", name, (now() - start) / count);
    }
    fflush(stdout);
}

#endif
