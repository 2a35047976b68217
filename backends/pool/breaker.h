/* Whether a worker may be asked for a model (pool.md §5): closed; open for a while after a failure;
 * then half-open, and one probe decides. Pure: time and chance are arguments. */
#ifndef BACKENDS_POOL_BREAKER_H
#define BACKENDS_POOL_BREAKER_H

#include <stdbool.h>

#include "backends/pool/dice.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };
/* "closed", "open", "half_open" */
const char *breaker_state_name(enum breaker_state s);

enum { BREAKER_FIRST_MS = 1000, BREAKER_MOST_MS = 60000 };

/* {0} is closed. */
struct breaker {
    unsigned openings; /* in a row: no probe went well between them */
    uint64_t until_ms; /* open until then, half-open afterwards; 0: closed */
    bool probing;
};

enum breaker_state breaker_state(const struct breaker *b, uint64_t now_ms);
/* Closed, or half-open and nobody probes yet. */
bool breaker_allows(const struct breaker *b, uint64_t now_ms);
/* A request goes there: true when it is the probe, which breaker_served, breaker_failed or
 * breaker_dropped must be told of. */
bool breaker_start(struct breaker *b, uint64_t now_ms);
/* True when it has opened: for 1 s … 60 s, twice as long each time, with jitter. Once open, only
 * the probe counts: what was under way when a worker broke down says nothing new. */
bool breaker_failed(struct breaker *b, bool probe, uint64_t now_ms, const struct dice *dice);
void breaker_served(struct breaker *b, bool probe);
/* The request ended without saying anything of the worker: it was busy, the caller left. */
void breaker_dropped(struct breaker *b, bool probe);

#endif
