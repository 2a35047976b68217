/* The settings of the process that keep its memory to itself. */
#include "worker/secrecy.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/process.h"
#include "base/wiped.h"
#include "crypto/secure_heap.h"

/* All memory, if nothing need limit it: under a limit allocations would fail later. */
static bool lock_all(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    return setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0 &&
           mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
}

void secrecy_begin(void)
{
    const bool guarded = process_guard();
    const bool keys = secure_heap_begin() == 0;
    const bool all = lock_all();

    wiped_json();
    log_event(guarded && keys ? LOG_INFO : LOG_WARN, "memory",
              "core=%s keys_locked=%s all_locked=%s swap=%s", guarded ? "no" : "yes",
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
