/* Step send: one attempt on the chosen worker; its inner fields are the list of wire.md §5 and
 * nothing else. */
#include "gateway/charge.h"
#include "base/clock.h"
#include "base/encode.h"
#include "crypto/hash.h"

enum { SALT_BYTES = 16 };

/* The engine's cache salt (wire.md §10): the same in every turn of one account's conversation,
 * nobody else's. */
static const char *cache_salt(struct call *c)
{
    const struct span parts[] = {SPAN("salt"), span_str(c->key->account), SPAN("\0"),
                                 buf_span(&c->rq.conversation)};
    uint8_t mac[SHA256_LEN];
    struct buf text = {0};

    hmac_sha256_parts(mac, SPAN_OF(c->gateway->cluster_secret), parts,
                      sizeof(parts) / sizeof(*parts));
    base64url_encode(&text, span_of(mac, SALT_BYTES));
    const char *salt = arena_strdup(&c->arena, buf_span(&text));
    buf_fini(&text);
    return salt;
}

static struct span request_id(struct call *c)
{
    struct span own = http_header(c->ex, "x-client-request-id");

    return own.data && span_visible(own, 64) ? own : span_str(c->id);
}

static struct span number(struct call *c, int64_t n)
{
    return span_str(arena_printf(&c->arena, "%lld", (long long)n));
}

const char *call_price(struct call *c)
{
    return arena_printf(&c->arena, "%lld;%lld", (long long)c->price_version,
                        (long long)c->coefficient);
}

enum step_result call_send(struct call *c)
{
    const struct gateway_config *s = c->config->values;
    struct span model = buf_span(&c->rq.model), tokens = number(c, c->max_tokens),
                input = number(c, c->max_input);
    char date[CLOCK_HTTP_LEN];

    if (call_is_end_to_end(c))
        return pass_send(c);
    clock_http_format(date, (time_t)(clock_wall_ms() / 1000));
    const struct bhttp_field fields[] = {
        {SPAN("content-type"), SPAN("application/json")},
        {SPAN("date"), span_str(date)},
        {SPAN("cocoon-request-id"), request_id(c)},
        {SPAN("cocoon-model"), model},
        {SPAN("cocoon-max-tokens"), tokens},
        {SPAN("cocoon-max-input"), input},
        {SPAN("cocoon-public-model"), model},
        {SPAN("cocoon-include-usage"), c->rq.include_usage ? SPAN("?1") : SPAN("?0")},
        {SPAN("cocoon-padding"), c->rq.include_obfuscation ? SPAN("64") : SPAN("none")},
        {SPAN("cocoon-ping-ms"), number(c, s->ping_ms)},
        {SPAN("cocoon-cache-salt"), span_str(cache_salt(c))},
        {SPAN("cocoon-strict"), SPAN("?1")}, /* or none */
    };
    const size_t count = sizeof(fields) / sizeof(*fields) - (c->rq.strict ? 0 : 1);
    const struct dispatch_message m = {
        .call = span_str(c->id),
        .attempt = c->attempt,
        .model = model,
        .max_tokens = c->max_tokens,
        .max_input = c->max_input,
        .price = span_str(call_price(c)),
        .path = endpoint_path(c->rq.endpoint),
        .fields = fields,
        .field_count = count,
        .body = buf_span(&c->sealed_body),
        .input = c->query.input,
        .output = c->query.output,
        .class = c->query.class,
        .affinity = c->query.affinity,
        .traceparent = trace_attempt(c),
    };
    c->sent_us = clock_mono_us();
    c->gateway->metrics.attempts++;
    charge_attempt(c->charge, c->attempt);
    seen_begin(c->charge);
    int error = dispatch_start(&c->dispatch, c->worker, &m, &relay_events, c, settle_attempt,
                               charge_ref(c->charge));
    if (error == 0)
        return STEP_NEXT;
    charge_unref(c->charge);
    return relay_retry(c, error == E_BUSY ? &ERR_NO_CAPACITY : &ERR_WORKER_ERROR);
}
