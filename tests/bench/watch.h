/* What processes cost while something is measured: CPU time, memory, and how busy the machine
 * was. */
#ifndef TESTS_BENCH_WATCH_H
#define TESTS_BENCH_WATCH_H

#include "base/buf.h"

enum { WATCH_MAX = 8 };

struct watch_process {
    char name[32];
    int pid;
    uint64_t cpu_ns, cpu_begin_ns; /* user + system of all its threads */
    uint64_t rss_kb, rss_begin_kb;
};

/* Embedded; {0} watches nobody. */
struct watch {
    struct watch_process process[WATCH_MAX];
    size_t count;
    uint64_t idle_ticks, all_ticks; /* of the machine: at the begin, then of the window */
};

/* "name=pid". E_INVALID, E_TOO_LARGE. */
MUST_CHECK int watch_add(struct watch *w, const char *text);
/* Begin and end of the window. E_IO when a process is gone. */
MUST_CHECK int watch_begin(struct watch *w);
MUST_CHECK int watch_end(struct watch *w);
/* Appends {"idle":…,"processes":{"name":{"cpu_us":…,"rss_kb":…,"rss_begin_kb":…}}}. */
void watch_json(const struct watch *w, struct buf *out);

#endif
