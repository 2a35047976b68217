/* The settings of the process that keep its memory to itself. */
#include "worker/secrecy.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "crypto/secure_heap.h"

/* A helper that the kernel starts on a crash (core_pattern with a pipe) heeds no RLIMIT_CORE; it
 * gets no memory of ours either. */
static void empty_core(void)
{
    const struct rlimit none = {0, 0};
    const int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "0", 1);
        close(fd);
    }
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* All memory, if nothing need limit it: under a limit allocations would fail later. */
static bool lock_all(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    return setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0 &&
           mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
}

void secrecy_begin(void)
{
    empty_core();
    const bool keys = secure_heap_begin() == 0;
    const bool all = lock_all();
    log_event(keys ? LOG_INFO : LOG_WARN, "memory", "core=no keys_locked=%s all_locked=%s swap=%s",
              keys ? "yes" : "no", all ? "yes" : "no", secrecy_swap_on() ? "on" : "off");
}

bool secrecy_swap_on(void)
{
    char line[256];
    int lines = 0;
    FILE *swaps = fopen("/proc/swaps", "re");

    while (swaps && fgets(line, sizeof(line), swaps))
        lines++;
    if (swaps)
        fclose(swaps);
    return lines > 1; // the first is a heading
}
