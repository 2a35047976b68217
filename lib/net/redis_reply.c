/* Redis' replies: hiredis' reader with bounds, and the accessors that spare others its header. */
#include "net/redis_reply.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

enum {
    REPLY_MAX = 64 * 1024 * 1024,
    LIST_MAX = 1024 * 1024 /* hiredis reserves a list's memory when it has read its length only */
};

struct redis_reader {
    redisReader *hi;
    redisReplyObjectFunctions functions; /* hiredis' own, with the bound on lists */
};

static void *create_list(const redisReadTask *task, int elements)
{
    const redisReplyObjectFunctions *plain = task->privdata;

    return elements > LIST_MAX ? NULL : plain->createArray(task, elements);
}

struct redis_reader *redis_reader_new(void)
{
    struct redis_reader *rd = mem_zero(sizeof(*rd));

    rd->hi = redisReaderCreate();
    CHECK(rd->hi);
    rd->hi->privdata = rd->hi->fn;
    rd->functions = *rd->hi->fn;
    rd->functions.createArray = create_list;
    rd->hi->fn = &rd->functions;
    return rd;
}

void redis_reader_free(struct redis_reader *rd)
{
    if (!rd)
        return;
    redisReaderFree(rd->hi);
    free(rd);
}

int redis_reader_feed(struct redis_reader *rd, struct span bytes)
{
    if (rd->hi->len - rd->hi->pos + bytes.len > REPLY_MAX)
        return E_TOO_LARGE;
    return redisReaderFeed(rd->hi, (const char *)bytes.data, bytes.len) == REDIS_OK ? 0
                                                                                    : E_PROTOCOL;
}

int redis_reader_next(struct redis_reader *rd, struct redisReply **out)
{
    void *reply = NULL;

    if (redisReaderGetReply(rd->hi, &reply) != REDIS_OK)
        return E_PROTOCOL;
    *out = reply;
    return reply ? 0 : E_AGAIN;
}

void redis_reply_free(struct redisReply *reply)
{
    if (reply)
        freeReplyObject(reply);
}

enum redis_type redis_reply_type(const struct redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_STRING:
        return REDIS_BULK;
    case REDIS_REPLY_STATUS:
        return REDIS_STATUS;
    case REDIS_REPLY_ERROR:
        return REDIS_FAILURE;
    case REDIS_REPLY_INTEGER:
        return REDIS_NUMBER;
    case REDIS_REPLY_ARRAY:
        return REDIS_LIST;
    default:
        return REDIS_NULL;
    }
}

struct span redis_reply_text(const struct redisReply *reply)
{
    enum redis_type type = redis_reply_type(reply);

    if (type != REDIS_BULK && type != REDIS_STATUS && type != REDIS_FAILURE)
        return (struct span){0};
    return span_of(reply->str, reply->len);
}

int64_t redis_reply_number(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
}

size_t redis_reply_count(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
}

const struct redisReply *redis_reply_at(const struct redisReply *reply, size_t i)
{
    CHECK(i < redis_reply_count(reply));
    return reply->element[i];
}

struct span redis_entry_id(const struct redisReply *entry)
{
    return redis_reply_count(entry) == 2 ? redis_reply_text(redis_reply_at(entry, 0))
                                         : (struct span){0};
}
