/* Times and their percentiles. */
#include "tests/bench/samples.h"

#include <stdlib.h>

void samples_add(struct samples *s, uint64_t ns)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 1024;
        s->ns = mem_grow(s->ns, s->cap * sizeof(*s->ns));
    }
    s->ns[s->count++] = ns;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Nearest rank. */
static double percentile_us(const struct samples *s, unsigned percent)
{
    if (s->count == 0)
        return 0;
    return (double)s->ns[(s->count - 1) * percent / 100] / 1000.0;
}

void samples_json(struct samples *s, struct buf *out)
{
    if (s->count > 0)
        qsort(s->ns, s->count, sizeof(*s->ns), compare);
    buf_printf(out, "{\"count\":%zu,\"p50\":%.1f,\"p95\":%.1f,\"p99\":%.1f,\"max\":%.1f}", s->count,
               percentile_us(s, 50), percentile_us(s, 95), percentile_us(s, 99),
               percentile_us(s, 100));
}

void samples_fini(struct samples *s)
{
    free(s->ns);
    *s = (struct samples){0};
}
