/* Any bytes from Redis, split anywhere: replies are read or refused, every reply can be walked, and
 * what servers say of each other (INFO, redirects, slots, Sentinel) is read from any of them. The
 * first byte seeds the splits. */
#include "net/redis_parse.h"
#include "net/redis_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t understand(const struct redisReply *reply)
{
    struct redis_info info;
    struct redis_range range;
    char place[REDIS_PLACE_LEN] = "";
    uint16_t slot = 0;
    size_t sum = 0;

    if (redis_info_read(&info, redis_reply_text(reply)) == 0)
        sum += strlen(info.run_id);
    if (redis_redirect_read(redis_reply_text(reply), "[::1]:1", &slot, place) != REDIS_NO_REDIRECT)
        sum += slot + strlen(place);
    if (redis_master_read(place, reply) == 0)
        sum += strlen(place);
    if (redis_replica_read(place, reply) == 0)
        sum += strlen(place);
    for (size_t i = 0; i < redis_reply_count(reply); i++)
        if (redis_range_read(&range, reply, i, "unix:/s") == 0)
            sum += range.last - range.first + strlen(range.place);
    return sum + redis_slot(redis_reply_text(reply));
}

static size_t walk(const struct redisReply *reply)
{
    struct span text = redis_reply_text(reply);
    size_t sum = (size_t)redis_reply_number(reply) + redis_reply_type(reply) + understand(reply);

    for (size_t i = 0; i < text.len; i++)
        sum += text.data[i];
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
