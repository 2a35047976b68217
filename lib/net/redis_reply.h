/* Reads a reply of Redis without hiredis' headers: type, bytes, number, elements. */
#ifndef NET_REDIS_REPLY_H
#define NET_REDIS_REPLY_H

#include "base/error.h"
#include "base/span.h"

struct redisReply;

enum redis_type { REDIS_NIL, REDIS_TEXT, REDIS_NUMBER, REDIS_ARRAY, REDIS_ERROR };

/* Texts are bulk strings, status lines ("OK") and doubles alike. NULL is nil. */
enum redis_type redis_reply_type(const struct redisReply *reply);
/* The bytes of a text or error, borrowed; data NULL for anything else. An empty text has data. */
struct span redis_reply_text(const struct redisReply *reply);
/* True for the text given: redis_reply_is(reply, "OK"). */
bool redis_reply_is(const struct redisReply *reply, const char *text);
/* A number, or a text of digits as HGET returns it. E_INVALID for anything else. */
MUST_CHECK int redis_reply_number(const struct redisReply *reply, int64_t *out);
/* Elements of an array (maps of RESP3: name, value, name, …); 0 for anything else. */
size_t redis_reply_count(const struct redisReply *reply);
/* The i-th element, i < count; NULL beyond. */
const struct redisReply *redis_reply_at(const struct redisReply *reply, size_t i);

#endif
