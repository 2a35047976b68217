/* Any bytes from Redis, split anywhere: replies are read or refused, and every reply can be walked.
 * The first byte seeds the splits. */
#include "net/redis_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct redisReply *reply)
{
    struct span text = redis_reply_text(reply);
    char run_id[REDIS_RUN_ID_LEN + 1];
    size_t sum = (size_t)redis_reply_number(reply) + redis_reply_type(reply);

    for (size_t i = 0; i < text.len; i++)
        sum += text.data[i];
    if (redis_info_run_id(text, run_id) == 0)
        sum += strlen(run_id);
    for (size_t i = 0; i < redis_reply_count(reply); i++)
        sum += walk(redis_reply_at(reply, i));
    return sum;
}

static int read_replies(struct redis_reader *rd, volatile size_t *sum)
{
    for (;;) {
        AUTO(redis_reply_free) struct redisReply *reply = NULL;
        int error = redis_reader_next(rd, &reply);
        if (error < 0)
            return error;
        *sum += walk(reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(redis_reader_free) struct redis_reader *rd = redis_reader_new();
    volatile size_t sum = 0;

    if (size == 0)
        return 0;
    struct span rest = span_of(data + 1, size - 1);
    for (uint32_t seed = data[0]; rest.len > 0;) {
        seed = seed * 1103515245 + 12345;
        size_t step = 1 + (seed >> 16) % 32;
        if (redis_reader_feed(rd, span_cut(rest, 0, step)) < 0 || read_replies(rd, &sum) != E_AGAIN)
            return 0;
        rest = span_from(rest, step);
    }
    return 0;
}
