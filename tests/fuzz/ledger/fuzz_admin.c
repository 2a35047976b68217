/* Any bytes as a request's line of the admin API, and as an entry of a gateway's stream. */
#include <stdlib.h>

#include "ledger/intake_entry.h"
#include "ledger/routes.h"
#include "net/redis_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_request(struct span in)
{
    struct span rest = in;
    const struct span method = span_split(&rest, ' '), path = span_split(&rest, '?');
    struct request r = {0};
    char word[REQUEST_WORD];

    if (route_find(method, path, &r) == 0)
        CHECK(r.route && span_is(method, r.route->method));
    for (size_t i = 0; i < REQUEST_PARAMS; i++)
        CHECK(memchr(r.params[i], '\0', REQUEST_WORD));
    if (r.route)
        CHECK(span_utf8(span_str(r.params[0])) && span_utf8(span_str(r.params[1])));
    if (query_word(rest, "account", word, sizeof(word)) == 0)
        CHECK(strlen(word) < sizeof(word) && span_utf8(span_str(word)));
}

static void try_entry(struct span in)
{
    AUTO(redis_reader_free) struct redis_reader *reader = redis_reader_new();
    AUTO(redis_reply_free) struct redisReply *reply = NULL;
    struct bill_entry e = {0};

    if (redis_reader_feed(reader, in) < 0 || redis_reader_next(reader, &reply) < 0)
        return;
    if (intake_entry_read(reply, &e) == 0)
        CHECK(e.n >= 0 && e.bill.data && e.usage.data && e.kind.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    try_request(span_of(data, len));
    try_entry(span_of(data, len));
    return 0;
}
