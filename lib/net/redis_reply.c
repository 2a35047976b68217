/* Accessors over hiredis' reply tree. */
#include "net/redis_reply.h"

#include <hiredis/hiredis.h>

enum redis_type redis_reply_type(const struct redisReply *reply)
{
    if (!reply)
        return REDIS_NIL;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        return REDIS_NUMBER;
    case REDIS_REPLY_ARRAY:
        return REDIS_ARRAY;
    case REDIS_REPLY_ERROR:
        return REDIS_ERROR;
    case REDIS_REPLY_NIL:
        return REDIS_NIL;
#ifdef REDIS_REPLY_MAP
    case REDIS_REPLY_MAP:
    case REDIS_REPLY_SET:
    case REDIS_REPLY_PUSH:
        return REDIS_ARRAY;
    case REDIS_REPLY_BOOL:
        return REDIS_NUMBER;
#endif
    default:
        return REDIS_TEXT;
    }
}

struct span redis_reply_text(const struct redisReply *reply)
{
    const enum redis_type type = redis_reply_type(reply);

    if (type != REDIS_TEXT && type != REDIS_ERROR)
        return (struct span){0};
    return span_of(reply->str ? reply->str : "", (size_t)reply->len);
}

bool redis_reply_is(const struct redisReply *reply, const char *text)
{
    return redis_reply_type(reply) == REDIS_TEXT && span_is(redis_reply_text(reply), text);
}

int redis_reply_number(const struct redisReply *reply, int64_t *out)
{
    struct span text = redis_reply_text(reply);
    uint64_t magnitude;

    if (redis_reply_type(reply) == REDIS_NUMBER) {
        *out = reply->integer;
        return 0;
    }
    if (redis_reply_type(reply) != REDIS_TEXT)
        return E_INVALID;
    const bool minus = span_starts(text, SPAN("-"));
    TRY(span_u64(span_from(text, minus), INT64_MAX, &magnitude));
    *out = minus ? -(int64_t)magnitude : (int64_t)magnitude;
    return 0;
}

size_t redis_reply_count(const struct redisReply *reply)
{
    return redis_reply_type(reply) == REDIS_ARRAY ? reply->elements : 0;
}

const struct redisReply *redis_reply_at(const struct redisReply *reply, size_t i)
{
    return i < redis_reply_count(reply) ? reply->element[i] : NULL;
}
