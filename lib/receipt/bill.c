/* Bills made and read (wire.md §12). */
#include "receipt/bill.h"

#include <inttypes.h>

#include "crypto/jws.h"
#include "receipt/members.h"
#include "receipt/usage_record.h"

/* Money is a decimal string, so that no reader takes it for a double. */
#define AMOUNT_MAX INT64_C(9007199254740991)
enum { COEFFICIENT_MAX = 999999999 };

static bool worker_good(struct span worker)
{
    struct span hex = span_from(worker, span_starts(worker, SPAN("-1:")) ? 3 : 2);

    if (!span_starts(worker, SPAN("-1:")) && !span_starts(worker, SPAN("0:")))
        return false;
    for (size_t i = 0; i < hex.len; i++)
        if (!(hex.data[i] >= '0' && hex.data[i] <= '9') &&
            !(hex.data[i] >= 'a' && hex.data[i] <= 'f'))
            return false;
    return hex.len == 64;
}

static bool bill_good(const struct bill *b)
{
    struct span account = span_of(b->account, strnlen(b->account, sizeof(b->account)));

    return member_call_good(span_of(b->call, strnlen(b->call, sizeof(b->call)))) &&
           span_visible(account, BILL_ACCOUNT_MAX) &&
           worker_good(span_of(b->worker, strnlen(b->worker, sizeof(b->worker)))) &&
           member_model_good(b->model) && b->price >= 1 && b->price <= INT32_MAX &&
           member_count_good(b->coefficient, COEFFICIENT_MAX) &&
           member_count_good(b->in, USAGE_TOKENS_MAX) &&
           member_count_good(b->out, USAGE_TOKENS_MAX) && member_count_good(b->cached, b->in) &&
           member_count_good(b->reasoning, b->out) && member_count_good(b->amount, AMOUNT_MAX) &&
           member_count_good(b->fee, b->amount) && b->t_ms <= INT64_MAX;
}

int bill_sign(const struct bill *b, const struct ed25519 *key, struct buf *jws)
{
    AUTO(buf_fini) struct buf json = {0};

    if (!bill_good(b))
        return E_INVALID;
    buf_printf(&json, "{\"v\":1,\"call\":\"%s\",\"attempt\":%" PRIu32, b->call, b->attempt);
    member_text_write(&json, "account", span_str(b->account));
    member_text_write(&json, "worker", span_str(b->worker));
    member_text_write(&json, "model", b->model);
    buf_printf(&json, ",\"price\":%" PRId64, b->price);
    member_digest_write(&json, "price_sha256", b->price_sha256);
    buf_printf(&json, ",\"coefficient\":%" PRId64, b->coefficient);
    buf_printf(&json,
               ",\"in\":%" PRId64 ",\"cached\":%" PRId64 ",\"out\":%" PRId64
               ",\"reasoning\":%" PRId64 ",\"total\":%" PRId64,
               b->in, b->cached, b->out, b->reasoning, b->in + b->out);
    buf_printf(&json, ",\"amount\":\"%" PRId64 "\",\"fee\":\"%" PRId64 "\",\"t\":%" PRIu64,
               b->amount, b->fee, b->t_ms);
    member_digest_write(&json, "usage", b->usage);
    buf_byte(&json, '}');
    return jws_sign(key, BILL_TYP, buf_span(&json), jws);
}

static int money_read(const json_t *doc, const char *name, int64_t *out)
{
    struct span text;
    uint64_t n;

    TRY(member_text_read(doc, name, &text));
    TRY(span_u64(text, (uint64_t)AMOUNT_MAX, &n));
    *out = (int64_t)n;
    return 0;
}

static int counts_read(struct bill *b, const json_t *doc)
{
    int64_t total;

    TRY(member_integer_read(doc, "in", USAGE_TOKENS_MAX, &b->in));
    TRY(member_integer_read(doc, "out", USAGE_TOKENS_MAX, &b->out));
    TRY(member_integer_read(doc, "cached", b->in, &b->cached));
    TRY(member_integer_read(doc, "reasoning", b->out, &b->reasoning));
    TRY(member_integer_read(doc, "total", INT64_MAX, &total));
    return total == b->in + b->out ? 0 : E_INVALID;
}

static int identity_read(struct bill *b, const json_t *doc)
{
    int64_t attempt;

    TRY(member_version_check(doc));
    TRY(member_chars_read(doc, "call", b->call, sizeof(b->call)));
    TRY(member_integer_read(doc, "attempt", UINT32_MAX, &attempt));
    b->attempt = (uint32_t)attempt;
    TRY(member_chars_read(doc, "account", b->account, sizeof(b->account)));
    TRY(member_chars_read(doc, "worker", b->worker, sizeof(b->worker)));
    return member_text_read(doc, "model", &b->model);
}

static int sums_read(struct bill *b, const json_t *doc)
{
    int64_t t;

    TRY(member_integer_read(doc, "price", INT32_MAX, &b->price));
    TRY(member_digest_read(doc, "price_sha256", b->price_sha256));
    TRY(member_integer_read(doc, "coefficient", COEFFICIENT_MAX, &b->coefficient));
    TRY(counts_read(b, doc));
    TRY(money_read(doc, "amount", &b->amount));
    TRY(money_read(doc, "fee", &b->fee));
    TRY(member_integer_read(doc, "t", INT64_MAX, &t));
    b->t_ms = (uint64_t)t;
    TRY(member_digest_read(doc, "usage", b->usage));
    return bill_good(b) ? 0 : E_INVALID;
}

int bill_verify(struct bill *out, const struct ed25519 *key, struct span jws)
{
    json_t *doc = NULL;
    struct bill b = {0};

    TRY(member_payload_read(key, BILL_TYP, jws, &doc));
    int error = identity_read(&b, doc);
    if (error == 0)
        error = sums_read(&b, doc);
    if (error == 0)
        member_own(&b.storage, &b.model);
    json_decref(doc);
    if (error == 0)
        *out = b;
    return error;
}

void bill_fini(struct bill *b)
{
    buf_fini(&b->storage);
    *b = (struct bill){0};
}
