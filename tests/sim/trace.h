/* Who asks for what, and when: a trace of somebody's service, or one that stands in for it. */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct arrival {
    uint64_t at_ns;         /* from the trace's begin */
    int64_t prompt, output; /* tokens, each ≥ 1 */
    uint32_t account;       /* 0 … accounts - 1 */
    uint64_t conversation;  /* equal: turns of one conversation */
    const uint64_t *blocks; /* hashes of the prompt's whole blocks, its account among them */
    size_t block_count;
};

struct trace {
    char name[64];
    bool generated; /* not of a real service */
    struct arrival *arrivals;
    size_t count;
    int64_t block_tokens; /* 0: nothing is known of prefixes */
    uint64_t *blocks;     /* all arrivals' */
    size_t block_count;
};

struct trace_options {
    uint32_t accounts; /* ≥ 1; one is drawn for each conversation */
    double skew;       /* 1: each as often; 2: the first ones more often, as a square is small */
    double hog;        /* the first one asks for so many times as much as another would; 0: 1 */
    uint64_t seed;     /* the same gives the same trace */
};

/* azure_*.csv or mooncake_*.jsonl by its name's end; "conv", "code" or "chat": made up with that
 * shape (chat: conversations with their prefixes). E_NOT_FOUND, E_INVALID. */
MUST_CHECK int trace_read(struct trace *t, const char *name, const struct trace_options *o);
void trace_fini(struct trace *t);
AUTO_FINI(struct trace, trace_fini)
/* Cuts it off, or plays it again with other accounts and conversations until there are so many. */
void trace_resize(struct trace *t, size_t count);
/* Arrivals come `factor` times as fast. */
void trace_hurry(struct trace *t, double factor);
/* Seconds from the first arrival to the last. */
double trace_s(const struct trace *t);

#endif
