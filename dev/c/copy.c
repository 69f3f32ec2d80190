/*
 * memcpy between shared memory and memory of one's own, every page of both touched before.
 *
 *   copy out <bytes> <seconds>      from shared memory
 *   copy in <bytes> <seconds>       into shared memory
 *   copy within <bytes> <seconds>   from one half of the shared memory to the other
 */
#include "bench.h"

static char *from, *to;
static size_t bytes;

static void copy(long count)
{
    while (count-- > 0) {
        memcpy(to, from, bytes);
        __asm__ volatile("" : : "r"(to) : "memory");
    }
}

int main(int argc, char **argv)
{
    char *shared, *own;

    if (argc != 4)
        return 2;
    bytes = strtoull(argv[2], NULL, 10);
    shared = map_shared(memory_file((2 * bytes + PAGE - 1) / PAGE * PAGE), 2 * bytes);
    touch(shared, 2 * bytes);
    own = aligned_alloc(16, (bytes + 15) / 16 * 16);
    if (!own)
        die("aligned_alloc");
    memset(own, 1, bytes);
    from = !strcmp(argv[1], "in") ? own : shared;
    to = !strcmp(argv[1], "out") ? own : !strcmp(argv[1], "in") ? shared : shared + bytes;
    measure(argv[1], atof(argv[3]), copy);
    return 0;
}
