/* Per-key usage counters and demand per model, gathered here and written to Redis in batches, off
 * the path of every request. */
#ifndef GATEWAY_COUNTERS_H
#define GATEWAY_COUNTERS_H

#include "net/redis.h"
#include "receipt/usage_record.h"

struct counters;

/* Writes every 250 ms while there is something: HINCRBY on `usage:{key}:{YYYYMMDD}` (requests,
 * prompt, cached, completion, reasoning; kept 400 days) and `demand:{model}:{YYYYMMDDHH}`
 * (requests, tokens, refused; kept 35 days). */
struct counters *counters_new(struct loop *l, struct redis *r);
/* Writes now what there is; Redis has it all once counters_flushed, or it is away. */
void counters_flush(struct counters *c);
bool counters_flushed(const struct counters *c);
/* After Redis was freed and has given its last answers: what it was told lives until then. */
void counters_free(struct counters *c);
void counters_usage(struct counters *c, const char *key, const char *model,
                    const struct usage_record *u);
/* A call that was admitted and is over. status 503: refused for want of capacity. */
void counters_request(struct counters *c, const char *key, const char *model, unsigned status);

#endif
