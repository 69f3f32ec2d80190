/*
 * mmap and munmap of shared memory that is allocated already.
 *
 *   map <bytes> <true|false> <seconds>   true: one byte of each page is written
 */
#include "bench.h"

static int fd, touching;
static size_t bytes;

static void map(long count)
{
    while (count-- > 0) {
        char *p = map_shared(fd, bytes);

        if (touching)
            touch(p, bytes);
        if (munmap(p, bytes) < 0)
            die("munmap");
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    bytes = strtoull(argv[1], NULL, 10);
    touching = !strcmp(argv[2], "true");
    fd = memory_file(bytes);
    measure("map", atof(argv[3]), map);
    return 0;
}
