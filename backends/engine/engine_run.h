/* One call at the engine: asks, reads its events, turns them into client bytes with `answer`. A
 * call of several choices is asked once per choice where the engine counts only one (engine.md
 * §0.5). Loop's thread only. */
#ifndef BACKENDS_ENGINE_ENGINE_RUN_H
#define BACKENDS_ENGINE_ENGINE_RUN_H

#include "backends/engine/engine.h"
#include "openai/answer.h"

struct engine_run;

struct engine_run_events {
    /* Client bytes of what was read at one time, never empty; `bytes` is the callee's to take, and
     * is emptied afterwards. Not called for answers in one piece. */
    void (*output)(void *arg, struct buf *bytes);
    /* The run needs only `width` transfers at a time from now on. May be NULL. */
    void (*narrowed)(void *arg, unsigned width);
    /* The last call; every transfer has ended. error 0: the answer is complete and answer_finish
     * will say so; else *fault says what the client is told. `answer` lives until this returns. */
    void (*end)(void *arg, int error, const struct api_fault *fault, struct answer *answer);
};

struct engine_run_options {
    const struct request *request; /* outlives the run */
    struct answer
        *take_answer;        /* made for engine_kind(e); the run's from now on, also on failure */
    struct span model;       /* the engine's own name; borrowed while the run lives */
    int64_t cap;             /* completion tokens per choice */
    struct span cache_salt;  /* borrowed while the run lives */
    unsigned width;          /* transfers at a time, at least 1 */
    const char *traceparent; /* NULL, "": none; borrowed while the run lives */
};

/* Callbacks run from the loop, never inside this call. */
MUST_CHECK int engine_run_start(struct engine_run **out, struct engine *e,
                                const struct engine_run_options *o,
                                const struct engine_run_events *ev, void *arg);
/* How many transfers this call will need in all: 1, or one a choice. */
unsigned engine_run_parts(const struct engine *e, const struct request *rq);
/* Back-pressure. */
void engine_run_pause(struct engine_run *r, bool paused);
/* Closes the engine's connections before it returns, tells the counts so far, frees. `end` is not
 * called. Allowed in callbacks. */
void engine_run_cancel(struct engine_run *r, struct usage *so_far);

#endif
