/* The public endpoints of wire.md §2: whom to encrypt to, the evidence for it, and what is offered.
 * They need no key and tell nothing of anybody's requests. */
#include "gateway/call.h"
#include "base/encode.h"
#include "gateway/reply.h"
#include "gateway/trust.h"

enum { LIST_MAX = 16, TTL_S = 30 };

static void refuse(struct call *c, const struct api_error *e, const char *arg)
{
    api_fault_set(&c->fault, e, NULL, arg);
    reply_fault(c);
}

/* ---- Workers ---- */

static void hex_member(struct buf *out, const char *name, struct span bytes)
{
    char hex[2 * KEYSET_HPKE_LEN + 1];

    hex_encode(hex, bytes);
    buf_printf(out, "\"%s\":\"%s\",", name, hex);
}

static void worker_write(struct buf *out, const struct pool_worker *w)
{
    struct pool_key k;

    pool_worker_key(w, &k);
    buf_append_str(out, "{\"worker_id\":\"");
    buf_json_escape(out, span_str(k.worker_id));
    buf_append_str(out, "\",");
    hex_member(out, "kfp", span_of(k.kfp, KFP_LEN));
    hex_member(out, "key_config", k.config);
    hex_member(out, "keyset_sha256", span_of(k.keyset, SHA256_LEN));
    hex_member(out, "attestation_sha256", span_of(k.document, SHA256_LEN));
    buf_printf(out, "\"not_after\":%llu,\"load\":%.2f}", (unsigned long long)k.not_after_s, k.load);
}

void confidential_workers(struct call *c)
{
    struct pool_worker *list[LIST_MAX];
    struct span model = route_query(http_query(c->ex), "model", &c->arena);
    struct buf body = {0};

    if (model.len == 0) {
        refuse(c, &ERR_MISSING_PARAMETER, "model");
        return;
    }
    if (!span_visible(model, POOL_NAME_LEN) ||
        (pool_any_ready(c->gateway->pool) && !pool_model_known(c->gateway->pool, model))) {
        refuse(c, &ERR_MODEL_NOT_FOUND, NULL);
        return;
    }
    const struct pool_query q = {
        .model = model, .end_to_end = true, .class = CLASS_INTERACTIVE, .coefficient = INT64_MAX};
    size_t count = pool_rank(c->gateway->pool, &q, true, list, LIST_MAX);
    buf_append_str(&body, "{\"model\":\"");
    buf_json_escape(&body, model);
    buf_printf(&body, "\",\"ttl\":%d,\"workers\":[", TTL_S);
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&body, i ? "," : "");
        worker_write(&body, list[i]);
    }
    buf_append_str(&body, "]}");
    reply_whole(c, 200, "application/json", &body);
}

/* ---- Evidence ---- */

void confidential_attestation(struct call *c)
{
    uint8_t kfp[KFP_LEN];
    struct span document;
    struct buf body = {0};

    if (hex_decode(kfp, sizeof(kfp), c->tail) < 0 ||
        pool_document(c->gateway->pool, kfp, &document) < 0) {
        refuse(c, &ERR_NOT_FOUND, "key");
        return;
    }
    buf_append(&body, document);
    reply_whole(c, 200, "application/vnd.cgw.attestation+json", &body);
}

/* ---- Status ---- */

static void model_write(void *arg, const struct pool_model_view *v)
{
    struct buf *out = arg;

    buf_append_str(out, out->data[out->len - 1] == '[' ? "{\"model\":\"" : ",{\"model\":\"");
    buf_json_escape(out, span_str(v->model.name));
    buf_printf(out, "\",\"workers\":%zu,\"attested\":%zu,\"gpu\":%zu}", v->workers, v->attested,
               v->gpu);
}

void confidential_status(struct call *c)
{
    const struct attest_policy *p = trust_policy(c->gateway->trust);
    struct buf body = {0};

    buf_printf(&body,
               "{\"modes\":[\"sealed\",\"end-to-end\"],\"environment\":\"%s\","
               "\"policy_sequence\":%llu,\"models\":[",
               trust_is_dev(c->gateway) ? "dev" : "production",
               (unsigned long long)(p ? attest_policy_sequence(p) : 0));
    pool_models_each(c->gateway->pool, model_write, &body);
    buf_append_str(&body, "]}");
    reply_whole(c, 200, "application/json", &body);
}
