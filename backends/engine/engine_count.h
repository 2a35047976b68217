/* How many tokens a request's prompt is, by the engine's own tokenizer, before the run. Loop's
 * thread only. */
#ifndef BACKENDS_ENGINE_ENGINE_COUNT_H
#define BACKENDS_ENGINE_ENGINE_COUNT_H

#include "backends/engine/engine.h"

struct engine_count;

/* tokens -1: the engine cannot tell. */
typedef void engine_count_fn(void *arg, int64_t tokens);

/* Whether this engine may be able to count this request: llama.cpp all of them, vLLM chats and
 * single texts. */
bool engine_counts(const struct engine *e, const struct request *rq);
/* model: the engine's own name for it. rq outlives the count. fn is called once, from the loop;
 * after that the count is gone. */
MUST_CHECK int engine_count_start(struct engine_count **out, struct engine *e,
                                  const struct request *rq, struct span model, engine_count_fn *fn,
                                  void *arg);
/* fn is not called. */
void engine_count_cancel(struct engine_count *c);

#endif
