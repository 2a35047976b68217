/* Preloaded into a program by a test: its wall clock is off by the milliseconds that the file
 * $WALL_CLOCK holds at the time, a 64-bit number. Libraries' looks at it too; Redis and the
 * monotonic clock are as they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *off_ms;

__attribute__((constructor)) static void open_offset(void)
{
    const int fd = open(getenv("WALL_CLOCK"), O_RDONLY | O_CLOEXEC);

    off_ms = mmap(NULL, sizeof(*off_ms), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    const int result = (int)syscall(SYS_clock_gettime, id, t);

    if (id == CLOCK_REALTIME && result == 0 && off_ms && off_ms != MAP_FAILED) {
        const int64_t ns = t->tv_nsec + *off_ms % 1000 * 1000000 + 1000000000;
        t->tv_sec += *off_ms / 1000 + ns / 1000000000 - 1;
        t->tv_nsec = ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    const int result = clock_gettime(CLOCK_REALTIME, &now);

    (void)zone;
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
