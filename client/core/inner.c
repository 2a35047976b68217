/* The inner message: every field is written here from what was checked; nothing of the caller's
 * headers passes. */
#include "client/core/inner.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/encode.h"
#include "ohttp/bhttp.h"

enum { TAG_BYTES = 16, NUMBER_LEN = 24 };
#define TOKENS_MAX INT64_C(1073741824) /* what a worker reads */

static int64_t at_most(int64_t n, int64_t max)
{
    return n < max ? n : max;
}

struct inner_bounds inner_bounds_of(const struct request *rq, size_t body_len,
                                    int64_t default_output, int64_t allowance)
{
    struct inner_bounds b = {.max_input = at_most((int64_t)body_len + allowance, TOKENS_MAX)};
    const int64_t cap = at_most(rq->cap >= 0 ? rq->cap : default_output, TOKENS_MAX);

    if (rq->endpoint != EP_EMBEDDINGS)
        b.max_tokens = at_most(cap * at_most(rq->sequences, TOKENS_MAX), TOKENS_MAX);
    return b;
}

void inner_tag(char out[static TAG_LEN + 1], struct span client_key, const char *label,
               struct span conversation)
{
    const struct span parts[] = {span_str(label), conversation};
    AUTO(buf_fini) struct buf text = {0};
    uint8_t mac[SHA256_LEN];

    hmac_sha256_parts(mac, client_key, parts, sizeof(parts) / sizeof(parts[0]));
    base64url_encode(&text, span_of(mac, TAG_BYTES));
    CHECK(span_cstr(buf_span(&text), out, TAG_LEN + 1) == 0);
}

static struct span number(char out[static NUMBER_LEN], int64_t n)
{
    snprintf(out, NUMBER_LEN, "%" PRId64, n);
    return span_str(out);
}

static void pad(struct buf *out, size_t from)
{
    const size_t over = (out->len - from) % INNER_PADDED_TO;
    const size_t more = over ? INNER_PADDED_TO - over : 0;

    memset(buf_reserve(out, more), 0, more);
    out->len += more;
}

void inner_write(const struct inner_ask *ask, struct buf *out)
{
    char date[CLOCK_HTTP_LEN], salt[TAG_LEN + 1], tokens[NUMBER_LEN], input[NUMBER_LEN],
        ping[NUMBER_LEN];
    const size_t from = out->len;

    clock_http_format(date, ask->date);
    inner_tag(salt, ask->client_key, "salt", buf_span(&ask->rq->conversation));
    const struct bhttp_field fields[] = {
        {SPAN("content-type"), SPAN("application/json")},
        {SPAN("date"), span_str(date)},
        {SPAN("cocoon-request-id"), ask->rid},
        {SPAN("cocoon-model"), ask->served_model},
        {SPAN("cocoon-max-tokens"), number(tokens, ask->bounds.max_tokens)},
        {SPAN("cocoon-max-input"), number(input, ask->bounds.max_input)},
        {SPAN("cocoon-public-model"), buf_span(&ask->rq->model)},
        {SPAN("cocoon-include-usage"), ask->rq->include_usage ? SPAN("?1") : SPAN("?0")},
        {SPAN("cocoon-padding"), span_str(ask->padding)},
        {SPAN("cocoon-ping-ms"), number(ping, (int64_t)ask->ping_ms)},
        {SPAN("cocoon-cache-salt"), span_str(salt)},
        {SPAN("cocoon-strict"), SPAN("?1")}, /* or none */
    };
    const size_t count = sizeof(fields) / sizeof(fields[0]) - (ask->rq->strict ? 0 : 1);
    bhttp_request(out, SPAN("POST"), SPAN("https"), SPAN("worker"),
                  span_str(endpoint_path(ask->rq->endpoint)), fields, count, ask->body);
    pad(out, from);
}
