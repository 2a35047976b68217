/* Documents about the worker. */
#include "worker/describe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "attest/document.h"
#include "base/encode.h"
#include "base/version.h"

void describe_keyset(void *arg, struct keyset *k)
{
    struct worker *w = arg;
    const struct worker_config *c = worker_config(w);
    const struct worker_model *models = c->models.items;

    snprintf(k->worker_id, sizeof(k->worker_id), "%s", c->worker_id);
    snprintf(k->payout, sizeof(k->payout), "%s", c->payout);
    for (char *p = k->payout; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    for (size_t i = 0; i < c->models.count && i < KEYSET_MAX_MODELS; i++)
        k->models[k->model_count++] = span_str(models[i].name);
    k->model_digest = span_str(w->identity.model_digest);
    k->config_sha256 = span_str(w->identity.config_sha256);
    k->gpu_nvidia = w->identity.gpus != NULL;
    k->gpu_count = k->gpu_nvidia ? gpu_count(w->identity.gpus) : 0;
    k->engine = span_str(engine_kind_name(engine_kind(w->engine)));
}

void describe_keys(struct exchange *x)
{
    AUTO(buf_fini) struct buf body = {0};

    key_config_append(&body, SPAN_OF(keys_current(x->worker->keys)->config_bytes));
    exchange_reply(x, 200, "application/ohttp-keys", &body);
}

/* ---- GET /v1/attestation ---- */

static const char DOCUMENT_TYPE[] = "application/vnd.cgw.attestation+json";

/* An answer that waits for its quote; lives as long as its stream. */
struct waiting {
    struct exchange x;
    struct evidence_ask *ask; /* NULL: answered */
};

static void on_evidence(void *arg, int error, struct buf *document)
{
    struct waiting *at = arg;

    at->ask = NULL;
    if (document)
        exchange_reply(&at->x, 200, DOCUMENT_TYPE, document);
    else
        exchange_problem(&at->x, error == E_TIMEOUT ? &problem_quote_late : &problem_no_quote);
}

static void on_data(void *arg, struct tunnel_stream *s, struct span bytes)
{
    (void)arg;
    tunnel_stream_consume(s, bytes.len);
}

static void on_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct waiting *at = arg;

    (void)s;
    (void)error;
    if (at->ask)
        evidence_forget(at->ask);
    free(at);
}

static const struct tunnel_stream_events waiting_events = {.data = on_data, .closed = on_closed};

static void ask_evidence(struct exchange *x, const uint8_t nonce[static ATTEST_NONCE_LEN])
{
    struct waiting *at = mem_zero(sizeof(*at));

    at->x = *x;
    tunnel_stream_attach(x->stream, &waiting_events, at);
    if (evidence_ask(x->worker->evidence, nonce, keys_keyset(x->worker->keys), on_evidence, at,
                     &at->ask) < 0)
        exchange_problem(x, &problem_no_quote);
}

void describe_attestation(struct exchange *x)
{
    uint8_t nonce[ATTEST_NONCE_LEN];

    if (hex_decode(nonce, sizeof(nonce), exchange_query(x, "nonce")) < 0)
        exchange_problem(x, &problem_bad_request);
    else
        ask_evidence(x, nonce);
}

/* ---- GET /v1/worker ---- */

static void put_string(struct buf *out, const char *text)
{
    buf_byte(out, '"');
    buf_json_escape(out, span_str(text));
    buf_byte(out, '"');
}

static void put_model(struct buf *out, const struct worker_model *m)
{
    buf_append_str(out, "{\"name\":");
    put_string(out, m->name);
    buf_printf(out, ",\"context\":%lld,\"max_output\":%lld,\"endpoints\":[", (long long)m->context,
               (long long)m->max_output);
    if (m->endpoints.count == 0)
        buf_append_str(out, "\"chat\",\"completions\"");
    for (size_t i = 0; i < m->endpoints.count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_string(out, m->endpoints.items[i]);
    }
    buf_append_str(out, "]}");
}

static void put_worker(struct buf *out, const struct worker *w, bool draining)
{
    const struct worker_config *c = worker_config(w);
    const struct worker_model *models = c->models.items;
    const char *reason = draining ? "drain" : worker_reason(w);

    buf_append_str(out, "{\"format\":\"cgw/worker/v1\",\"worker_id\":");
    put_string(out, c->worker_id);
    buf_append_str(out, ",\"version\":");
    put_string(out, cocoon_version);
    buf_append_str(out, ",\"models\":[");
    for (size_t i = 0; i < c->models.count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_model(out, &models[i]);
    }
    buf_printf(out, "],\"max_requests\":%lld,\"ask\":%lld,\"accepting\":%s,\"reason\":",
               (long long)w->settings.max_requests, (long long)w->settings.ask,
               reason ? "false" : "true");
    if (reason)
        put_string(out, reason);
    else
        buf_append_str(out, "null");
    for (int day = 0; day < HOURS_DAYS; day++) {
        buf_printf(out, "%s\"%s\":", day ? "," : ",\"hours\":{", hours_days[day]);
        put_string(out, w->settings.hours.text[day]);
    }
    buf_append_str(out, "}}");
}

void describe_worker(struct exchange *x)
{
    AUTO(buf_fini) struct buf body = {0};
    struct exchange_fields f;
    uint8_t digest[SHA256_LEN];
    char etag[2 + 2 * SHA256_LEN + 1];

    put_worker(&body, x->worker, x->link->draining);
    sha256(digest, buf_span(&body));
    etag[0] = '"';
    hex_encode(etag + 1, span_of(digest, SHA256_LEN / 2));
    etag[SHA256_LEN + 1] = '"';
    etag[SHA256_LEN + 2] = '\0';
    exchange_fields_init(&f, x->worker);
    exchange_fields_add(&f, "etag", span_str(etag));
    if (span_is(tunnel_stream_field(x->stream, "if-none-match"), etag)) {
        tunnel_reply(x->stream, 304, f.list, f.count, NULL);
        return;
    }
    exchange_fields_add(&f, "content-type", SPAN("application/json"));
    tunnel_reply(x->stream, 200, f.list, f.count, &body);
}
