/* Replies as hiredis reads them, bounded. Only for lib/net; others have net/redis.h's accessors. */
#ifndef NET_REDIS_REPLY_H
#define NET_REDIS_REPLY_H

#include "net/redis.h"

struct redis_reader;

struct redis_reader *redis_reader_new(void);
void redis_reader_free(struct redis_reader *rd);
AUTO_FREE(struct redis_reader, redis_reader_free)
/* Adds bytes from the server. E_TOO_LARGE when one reply grows beyond 64 MiB. */
MUST_CHECK int redis_reader_feed(struct redis_reader *rd, struct span bytes);
/* The next whole reply, to be released with redis_reply_free. E_AGAIN: more bytes are needed;
 * E_PROTOCOL: what came is no reply. */
MUST_CHECK int redis_reader_next(struct redis_reader *rd, struct redisReply **out);
void redis_reply_free(struct redisReply *reply);
AUTO_FREE(struct redisReply, redis_reply_free)

#endif
