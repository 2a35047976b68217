/* What the metrics page says of Redis. */
#ifndef GATEWAY_REDIS_METRICS_H
#define GATEWAY_REDIS_METRICS_H

#include "net/redis.h"

void redis_metrics_write(const struct redis *r, struct buf *out);

#endif
