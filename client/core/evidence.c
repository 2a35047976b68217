/* Receipt and record, judged in the order in which they become meaningful: signatures first. */
#include "client/core/evidence.h"

enum {
    CLOCK_SLACK_MS = 330000
}; /* a worker's clock may be five minutes off, and travel takes time */

static bool digest_is(const uint8_t a[static SHA256_LEN], const uint8_t b[static SHA256_LEN])
{
    return memcmp(a, b, SHA256_LEN) == 0;
}

static bool times_sane(const struct evidence *e, const struct usage_record *u)
{
    return u->t0_ms <= u->t1_ms && u->t0_ms + CLOCK_SLACK_MS >= e->sent_ms &&
           u->t1_ms <= e->received_ms + CLOCK_SLACK_MS;
}

static const char *judge_common(const struct evidence *e, const struct usage_record *u)
{
    if (!span_is(e->call, u->call) || u->attempt != 0)
        return "The receipt is for another call.";
    if (!span_eq(e->kfp, SPAN_OF(u->kfp)) || !digest_is(u->req, e->request))
        return "The receipt is for another request.";
    if (!span_eq(u->model, e->model))
        return "The receipt names another model.";
    if (e->price.data && !span_is(e->price, u->price))
        return "The receipt names another price than the gateway.";
    if (strcmp(u->env, e->env) != 0)
        return "The receipt names another environment than the attestation.";
    if (!times_sane(e, u))
        return "The receipt's times are not those of this request.";
    return u->out <= e->max_tokens ? NULL : "The receipt claims more tokens than were asked for.";
}

static const char *judge_receipt(const struct evidence *e, const struct usage_record *u,
                                 const struct receipt_extra *x)
{
    if (!span_eq(x->rid, e->rid) || !digest_is(x->req_body, e->body))
        return "The receipt is for another request.";
    if (!digest_is(x->resp_body, e->content))
        return "The receipt is for another answer.";
    if (!span_eq(x->model_digest, e->keyset->model_digest) ||
        !span_eq(x->config_sha256, e->keyset->config_sha256))
        return "The receipt names another model or configuration than the attestation.";
    if (u->outcome != USAGE_STOP && u->outcome != USAGE_LENGTH)
        return "The receipt says that the answer is not complete.";
    return NULL;
}

static bool counts_same(const struct usage *shown, const struct usage_record *u)
{
    return shown->in == u->in && shown->out == u->out && shown->cached == u->cached &&
           shown->reasoning == u->reasoning;
}

static const char *judge_record(const struct evidence *e, const struct usage_record *u)
{
    if (!u->final || !digest_is(u->resp, e->response))
        return "The usage record is for another answer.";
    return NULL;
}

static bool records_agree(const struct usage_record *a, const struct usage_record *b)
{
    return a->in == b->in && a->out == b->out && a->cached == b->cached &&
           a->reasoning == b->reasoning && a->outcome == b->outcome && digest_is(a->op, b->op) &&
           digest_is(a->keyset, b->keyset) && strcmp(a->price, b->price) == 0;
}

const char *evidence_judge(const struct evidence *e, struct span receipt, struct span record)
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    AUTO(usage_record_fini) struct usage_record c = {0}, u = {0};
    struct receipt_extra extra;
    const char *finding;

    if (!receipt.data)
        return "The answer carries no receipt of the worker.";
    if (ed25519_from_public(&key, SPAN_OF(e->keyset->receipt_key)) < 0 ||
        receipt_verify(&c, &extra, key, receipt) < 0)
        return "The receipt is not signed by the attested worker.";
    if ((finding = judge_common(e, &c)) || (finding = judge_receipt(e, &c, &extra)))
        return finding;
    if (e->has_counts && !counts_same(&e->counts, &c))
        return "The receipt counts other tokens than the answer shows.";
    if (!record.data || record.len == 0)
        return "The gateway did not hand over the worker's usage record.";
    if (usage_record_verify(&u, key, record) < 0)
        return "The usage record is not signed by the attested worker.";
    if ((finding = judge_common(e, &u)) || (finding = judge_record(e, &u)))
        return finding;
    return records_agree(&c, &u) ? NULL : "Usage record and receipt count different tokens.";
}
