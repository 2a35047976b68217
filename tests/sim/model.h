/* How an inference engine spends its time: continuous batching with chunked prefill, a KV cache
 * with eviction, a prefix cache, a queue. Time is an argument, so that it runs as fast as it can be
 * computed, or beside a clock (engine.c). */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct model_spec {
    double prefill_per_s;         /* prompt tokens */
    double step_us, step_each_us; /* a decode step takes step_us + step_each_us · batch */
    double speed;                 /* divides all of the above; 1: as it says */
    int64_t chunk;                /* prompt tokens that one step may take in */
    int64_t kv_tokens;            /* of all that runs, and of the prefix cache */
    int64_t block_tokens;         /* of one block of the prefix cache */
    unsigned max_batch;
};
/* An 8 B model on one 24 GB card, in round numbers. */
extern const struct model_spec model_default;

enum model_state { MODEL_WAITING, MODEL_PREFILL, MODEL_DECODE, MODEL_OVER };

/* One request; the owner fills the first part and zeroes the rest. */
struct model_call {
    int64_t prompt, output; /* tokens, each ≥ 1 */
    const uint64_t *blocks; /* hashes of the prompt's whole blocks (prefix.h) */
    size_t block_count;

    struct list link;
    enum model_state state;
    int64_t cached;       /* prompt tokens that the prefix cache had at the first attempt */
    int64_t prefill_left; /* tokens */
    int64_t made;         /* see model_made */
    uint64_t from_step;   /* decoding: of the model's steps, the one that `made` counts to */
    unsigned evictions;
};

struct model_figures {
    int64_t prefilled, cached; /* tokens of prompts */
    int64_t made;              /* tokens of calls that are over */
    int64_t wasted; /* tokens worked for nothing: evicted, or of calls that were cancelled */
    uint64_t evictions, busy_ns;
};

struct model;

/* Tokens of a call were made at that time: `count` since fn was last told, where it is told of
 * each. The call is over with state MODEL_OVER, and may be freed; nothing of the model may be
 * called here. */
typedef void model_tokens_fn(void *arg, struct model_call *c, int64_t count, uint64_t at_ns);

/* each: fn is told of all tokens, else only of the first and the last. */
struct model *model_new(const struct model_spec *spec, bool each, model_tokens_fn *fn, void *arg);
/* Calls in it are the caller's. */
void model_free(struct model *m);

/* Takes c over until it is over or cancelled. Times never go back. */
void model_add(struct model *m, struct model_call *c, uint64_t now_ns);
/* Takes c out; its work so far was for nothing. */
void model_cancel(struct model *m, struct model_call *c, uint64_t now_ns);
/* Runs what happens until then. */
void model_advance(struct model *m, uint64_t now_ns);
/* When something next happens that fn is told of, at the latest; UINT64_MAX: never, as it is. */
uint64_t model_next(const struct model *m);

/* Faults: another speed from the next step on; nothing moves before that time. */
void model_set_speed(struct model *m, double speed);
void model_freeze(struct model *m, uint64_t until_ns);

int64_t model_made(const struct model *m, const struct model_call *c);
unsigned model_running(const struct model *m);
unsigned model_waiting(const struct model *m);
double model_kv(const struct model *m); /* share in use, 0 … 1 */
const struct model_spec *model_spec(const struct model *m);
const struct model_figures *model_figures(const struct model *m);
/* Leading blocks that its prefix cache has. */
size_t model_peek(const struct model *m, const uint64_t *blocks, size_t count);
/* All calls in it: those that run, then those that wait, each in the order of its turn. */
typedef void model_call_fn(void *arg, const struct model_call *c);
void model_calls(const struct model *m, model_call_fn *fn, void *arg);

#endif
