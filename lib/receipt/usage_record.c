/* Usage records and content receipts: the same counts, once outside the ciphertext and once inside
 * it (wire.md §12). */
#include "receipt/usage_record.h"

#include <inttypes.h>

#include "base/json.h"
#include "crypto/jws.h"
#include "receipt/members.h"

enum { RID_MAX = 64, DIGEST_TEXT_MAX = 128 };

static const char *const OUTCOMES[] = {
    [USAGE_STOP] = "stop",
    [USAGE_LENGTH] = "length",
    [USAGE_ERROR] = "error",
    [USAGE_CLIENT_ABORT] = "client_abort",
    [USAGE_BINDING_MISMATCH] = "binding_mismatch",
    [USAGE_REJECTED] = "rejected",
};
static const char *const ENVS[] = {"production", "insecure-dev", "unattested"};

enum { OUTCOME_COUNT = sizeof(OUTCOMES) / sizeof(OUTCOMES[0]), ENV_COUNT = 3 };

const char *usage_outcome_name(enum usage_outcome o)
{
    return (unsigned)o < OUTCOME_COUNT ? OUTCOMES[o] : "unknown";
}

/* ---- What both sides hold a record to: nobody signs what the other would refuse ---- */

static bool env_good(struct span env)
{
    for (size_t i = 0; i < ENV_COUNT; i++)
        if (span_is(env, ENVS[i]))
            return true;
    return false;
}

static bool counts_good(const struct usage_record *u)
{
    return member_count_good(u->in, USAGE_TOKENS_MAX) &&
           member_count_good(u->out, USAGE_TOKENS_MAX) && member_count_good(u->cached, u->in) &&
           member_count_good(u->reasoning, u->out);
}

static bool record_good(const struct usage_record *u)
{
    struct span call = span_of(u->call, strnlen(u->call, sizeof(u->call)));
    struct span price = span_of(u->price, strnlen(u->price, sizeof(u->price)));
    struct span env = span_of(u->env, strnlen(u->env, sizeof(u->env)));

    return member_call_good(call) && member_model_good(u->model) && counts_good(u) &&
           span_visible(price, sizeof(u->price) - 1) && env_good(env) &&
           (unsigned)u->outcome < OUTCOME_COUNT && u->t0_ms <= INT64_MAX && u->t1_ms <= INT64_MAX;
}

static bool extra_good(const struct receipt_extra *extra)
{
    return span_visible(extra->rid, RID_MAX) &&
           span_visible(extra->model_digest, DIGEST_TEXT_MAX) &&
           span_visible(extra->config_sha256, DIGEST_TEXT_MAX);
}

/* ---- Writing ---- */

static void common_write(struct buf *out, const struct usage_record *u)
{
    buf_printf(out, "{\"v\":1,\"call\":\"%s\",\"attempt\":%" PRIu32, u->call, u->attempt);
    member_digest_write(out, "op", u->op);
    member_digest_write(out, "kfp", u->kfp);
    member_digest_write(out, "ks", u->keyset);
    member_text_write(out, "model", u->model);
    buf_printf(out,
               ",\"in\":%" PRId64 ",\"cached\":%" PRId64 ",\"out\":%" PRId64
               ",\"reasoning\":%" PRId64 ",\"total\":%" PRId64,
               u->in, u->cached, u->out, u->reasoning, u->in + u->out);
    member_text_write(out, "price", span_str(u->price));
    member_text_write(out, "outcome", span_str(usage_outcome_name(u->outcome)));
    member_digest_write(out, "req", u->req);
}

static void times_write(struct buf *out, const struct usage_record *u)
{
    buf_printf(out, ",\"t0\":%" PRIu64 ",\"t1\":%" PRIu64, u->t0_ms, u->t1_ms);
    member_text_write(out, "env", span_str(u->env));
    buf_byte(out, '}');
}

int usage_record_sign(const struct usage_record *u, const struct ed25519 *key, struct buf *jws)
{
    AUTO(buf_fini) struct buf json = {0};

    if (!record_good(u))
        return E_INVALID;
    common_write(&json, u);
    member_digest_write(&json, "resp", u->resp);
    buf_printf(&json, ",\"final\":%s", u->final ? "true" : "false");
    times_write(&json, u);
    return jws_sign(key, USAGE_TYP, buf_span(&json), jws);
}

int receipt_sign(const struct usage_record *u, const struct receipt_extra *extra,
                 const struct ed25519 *key, struct buf *jws)
{
    AUTO(buf_fini) struct buf json = {0};

    if (!record_good(u) || !extra_good(extra))
        return E_INVALID;
    common_write(&json, u);
    member_text_write(&json, "rid", extra->rid);
    member_digest_write(&json, "req_body", extra->req_body);
    member_digest_write(&json, "resp_body", extra->resp_body);
    member_text_write(&json, "model_digest", extra->model_digest);
    member_text_write(&json, "config_sha256", extra->config_sha256);
    times_write(&json, u);
    return jws_sign(key, RECEIPT_TYP, buf_span(&json), jws);
}

/* ---- Reading ---- */

static int counts_read(struct usage_record *u, const json_t *doc)
{
    int64_t total;

    TRY(member_integer_read(doc, "in", USAGE_TOKENS_MAX, &u->in));
    TRY(member_integer_read(doc, "out", USAGE_TOKENS_MAX, &u->out));
    TRY(member_integer_read(doc, "cached", u->in, &u->cached));
    TRY(member_integer_read(doc, "reasoning", u->out, &u->reasoning));
    TRY(member_integer_read(doc, "total", INT64_MAX, &total));
    return total == u->in + u->out ? 0 : E_INVALID;
}

static int outcome_read(struct usage_record *u, const json_t *doc)
{
    struct span text;

    TRY(member_text_read(doc, "outcome", &text));
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        if (span_is(text, OUTCOMES[i])) {
            u->outcome = (enum usage_outcome)i;
            return 0;
        }
    }
    return E_INVALID;
}

static int times_read(struct usage_record *u, const json_t *doc)
{
    int64_t t0, t1;

    TRY(member_integer_read(doc, "t0", INT64_MAX, &t0));
    TRY(member_integer_read(doc, "t1", INT64_MAX, &t1));
    u->t0_ms = (uint64_t)t0;
    u->t1_ms = (uint64_t)t1;
    return 0;
}

/* The members that (U) and (C) share. The model stays borrowed from doc. */
static int common_read(struct usage_record *u, const json_t *doc)
{
    int64_t attempt;

    TRY(member_version_check(doc));
    TRY(member_chars_read(doc, "call", u->call, sizeof(u->call)));
    TRY(member_integer_read(doc, "attempt", UINT32_MAX, &attempt));
    u->attempt = (uint32_t)attempt;
    TRY(member_digest_read(doc, "op", u->op));
    TRY(member_digest_read(doc, "kfp", u->kfp));
    TRY(member_digest_read(doc, "ks", u->keyset));
    TRY(member_text_read(doc, "model", &u->model));
    TRY(counts_read(u, doc));
    TRY(member_chars_read(doc, "price", u->price, sizeof(u->price)));
    TRY(outcome_read(u, doc));
    TRY(member_digest_read(doc, "req", u->req));
    TRY(times_read(u, doc));
    TRY(member_chars_read(doc, "env", u->env, sizeof(u->env)));
    return record_good(u) ? 0 : E_INVALID;
}

static int final_read(struct usage_record *u, const json_t *doc)
{
    const json_t *value = json_object_get(doc, "final");

    if (!json_is_boolean(value))
        return E_INVALID;
    u->final = json_is_true(value);
    return member_digest_read(doc, "resp", u->resp);
}

static int extra_read(struct receipt_extra *extra, const json_t *doc)
{
    TRY(member_text_read(doc, "rid", &extra->rid));
    TRY(member_digest_read(doc, "req_body", extra->req_body));
    TRY(member_digest_read(doc, "resp_body", extra->resp_body));
    TRY(member_text_read(doc, "model_digest", &extra->model_digest));
    TRY(member_text_read(doc, "config_sha256", &extra->config_sha256));
    return extra_good(extra) ? 0 : E_INVALID;
}

int usage_record_verify(struct usage_record *out, const struct ed25519 *key, struct span jws)
{
    AUTO_JSON json_t *doc = NULL;
    struct usage_record u = {0};

    TRY(member_payload_read(key, USAGE_TYP, jws, &doc));
    TRY(common_read(&u, doc));
    TRY(final_read(&u, doc));
    member_own(&u.storage, &u.model);
    *out = u;
    return 0;
}

int receipt_verify(struct usage_record *out, struct receipt_extra *extra, const struct ed25519 *key,
                   struct span jws)
{
    AUTO_JSON json_t *doc = NULL;
    struct usage_record u = {0};
    struct receipt_extra e = {0};

    TRY(member_payload_read(key, RECEIPT_TYP, jws, &doc));
    TRY(common_read(&u, doc));
    TRY(extra_read(&e, doc));
    buf_reserve(&u.storage, u.model.len + e.rid.len + e.model_digest.len + e.config_sha256.len);
    member_own(&u.storage, &u.model);
    member_own(&u.storage, &e.rid);
    member_own(&u.storage, &e.model_digest);
    member_own(&u.storage, &e.config_sha256);
    *out = u;
    *extra = e;
    return 0;
}

void usage_record_fini(struct usage_record *u)
{
    buf_fini(&u->storage);
    *u = (struct usage_record){0};
}
