/* Per-key usage counters and demand per model, gathered here and written to Redis in batches, off
 * the path of every request. */
#ifndef GATEWAY_COUNTERS_H
#define GATEWAY_COUNTERS_H

#include "net/redis.h"
#include "receipt/usage_record.h"

struct counters;

/* Writes every 250 ms while there is something: HINCRBY on `usage:{key}:{YYYYMMDD}` (requests,
 * prompt, cached, completion, reasoning; kept 400 days) and `demand:{model}:{YYYYMMDDHH}`
 * (requests, tokens, refused,
 * refused_capacity, refused_bid; kept 35 days), SADD on `demand:models`. */
struct counters *counters_new(struct loop *l, struct redis *r);
/* Writes now what there is; Redis has it all once counters_flushed, or it is away. */
void counters_flush(struct counters *c);
bool counters_flushed(const struct counters *c);
/* After Redis was freed and has given its last answers: what it was told lives until then. */
void counters_free(struct counters *c);
void counters_usage(struct counters *c, const char *key, const char *model,
                    const struct usage_record *u);
enum refused_for { REFUSED_NOT, REFUSED_FOR_CAPACITY, REFUSED_FOR_BID };
/* A call that was admitted and is over. */
void counters_request(struct counters *c, const char *key, const char *model,
                      enum refused_for refused);
/* Redis may have lost which models there were. */
void counters_redis_back(struct counters *c);

#endif
