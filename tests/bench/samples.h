/* Times measured, all kept, so that percentiles are exact. */
#ifndef TESTS_BENCH_SAMPLES_H
#define TESTS_BENCH_SAMPLES_H

#include "base/buf.h"

/* Embedded; {0} is empty. */
struct samples {
    uint64_t *ns;
    size_t count, cap;
};

void samples_add(struct samples *s, uint64_t ns);
/* Appends {"count":…,"p50":…,"p95":…,"p99":…,"max":…} with times in microseconds; sorts. */
void samples_json(struct samples *s, struct buf *out);
void samples_fini(struct samples *s);
AUTO_FINI(struct samples, samples_fini)

#endif
