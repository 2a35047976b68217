/* Reads the environment once; counts how often the chosen place was passed. */
#include "base/fail_point.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/span.h"

static struct {
    pthread_once_t once;
    struct span name; /* empty: none */
    uint64_t at;
    atomic_ullong passed;
} chosen = {.once = PTHREAD_ONCE_INIT};

static void choose(void)
{
    struct span rest = span_str(getenv("COCOON_FAIL_AT"));

    chosen.name = span_split(&rest, ':');
    if (span_u64(rest, UINT32_MAX, &chosen.at) < 0)
        chosen.at = 1;
}

void fail_point(const char *name)
{
    (void)pthread_once(&chosen.once, choose);
    if (chosen.name.len == 0 || !span_is(chosen.name, name))
        return;
    if (atomic_fetch_add(&chosen.passed, 1) + 1 == chosen.at)
        (void)raise(SIGKILL);
}
