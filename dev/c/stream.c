/*
 * Passes over much shared memory, every page of it touched before.
 *
 *   stream sum <bytes> <seconds>      of all longs
 *   stream column <bytes> <seconds>   of one int in each record of 64 bytes
 *   stream fill <bytes> <seconds>     memset
 */
#include "bench.h"

static char *memory;
static size_t bytes;
static volatile uint64_t result;

static void sum(long count)
{
    while (count-- > 0) {
        const uint64_t *longs = (const uint64_t *)memory;
        uint64_t total = 0;

        for (size_t i = 0; i < bytes / 8; i++)
            total += longs[i];
        result = total;
    }
}

static void column(long count)
{
    while (count-- > 0) {
        uint64_t total = 0;

        for (size_t at = 16; at < bytes; at += 64)
            total += (uint64_t)(int64_t)*(const int32_t *)(memory + at);
        result = total;
    }
}

static void fill(long count)
{
    while (count-- > 0) {
        memset(memory, 1, bytes);
        __asm__ volatile("" : : "r"(memory) : "memory");
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    bytes = strtoull(argv[2], NULL, 10);
    memory = map_shared(memory_file(bytes), bytes);
    touch(memory, bytes);
    measure(argv[1], atof(argv[3]), !strcmp(argv[1], "sum") ? sum : !strcmp(argv[1], "column") ? column : fill);
    return 0;
}
