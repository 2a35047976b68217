/* A worker for tests: dials the pool in the same loop and answers as its script says, well or
 * badly. It seals, signs and keeps records itself, so that what it gets wrong is only what a test
 * asked for. */
#ifndef TESTS_POOL_FAKE_WORKER_H
#define TESTS_POOL_FAKE_WORKER_H

#include "../../lib/net/operator.h"

#include "attest/document.h"
#include "base/encode.h"
#include "net/tunnel.h"
#include "ohttp/bhttp.h"
#include "ohttp/ohttp.h"
#include "receipt/usage_record.h"

#define FAKE_MODEL "test-model"
#define FAKE_EVENT "data: {\"n\":1}\n\n"

enum fake_answer {
    FAKE_GOOD,       /* head, events, end, record: in one flight */
    FAKE_PROBLEM,    /* `status` and a problem document with `code` */
    FAKE_WRONG_TYPE, /* 200 with a content type that is not an answer's */
    FAKE_FLIP,       /* one bit of the first chunk is another */
    FAKE_FLIP_END,   /* the same, of the final chunk */
    FAKE_NO_FINAL,   /* events, then the stream ends properly without its final chunk */
    FAKE_NO_HEAD,    /* the final chunk alone, and empty: no inner message in it */
    FAKE_BAD_INNER,  /* sealed well, but what is inside is no Binary HTTP */
    FAKE_STALL,      /* nothing at all, until cancelled */
    FAKE_STALL_MID,  /* head and one event, then nothing until cancelled */
    FAKE_HUGE_HEAD   /* outer headers above every limit */
};

enum fake_forgery {
    RECORD_TRUE,
    RECORD_NONE,
    RECORD_GARBAGE,
    RECORD_OTHER_CALL,
    RECORD_OTHER_ATTEMPT,
    RECORD_OTHER_REQUEST,
    RECORD_OTHER_ANSWER,
    RECORD_OTHER_KEY, /* signed by somebody else */
    RECORD_OTHER_KFP,
    RECORD_OTHER_KEYSET,
    RECORD_OTHER_OPERATOR,
    RECORD_OTHER_MODEL,
    RECORD_OTHER_PRICE,
    RECORD_NOT_FINAL
};

struct fake_script {
    enum fake_answer answer;
    enum fake_forgery record;
    unsigned status;
    const char *code;
    size_t events;      /* of an answer; default 2 */
    size_t event_bytes; /* of each event; default FAKE_EVENT */
    int64_t running;    /* for others; what it runs for us is added */
    int64_t max;        /* default 8; negative: no Cocoon-Load at all */
    int64_t clock_off_s;
    const char *date;            /* instead of a true one */
    bool keyset_stale;           /* Cocoon-Keyset names a keyset that does not exist */
    const char *description;     /* instead of a good one */
    bool not_modified;           /* GET /v1/worker answers 304 once it was read */
    unsigned attestation_status; /* default 200 */
    const char *tee;             /* default none: no evidence */
    bool wrong_nonce, wrong_tls_key, low_order_key;
    bool attestation_hangs, refused_hangs, usage_hangs;
    bool deaf;         /* DELETE is heard and ignored */
    bool cancel_late;  /* DELETE is answered 404 and the answer ends as a whole one */
    bool no_record;    /* a cancelled stream ends without its record, which is kept */
    unsigned streams;  /* the tunnel's limit of them; default a worker's */
    bool engine_fails; /* its record says so at the end of an answer */
    bool more;         /* GET /v1/usage gives one record at a time */
};

enum { FAKE_RECORDS = 1100, FAKE_STREAMS = 256 };

struct fake_record {
    uint64_t seq;
    char *jws;
    char call[33];
    uint32_t attempt;
};

struct fake_stream {
    struct fake_worker *worker;
    struct tunnel_stream *s;
    struct buf body;
    struct ohttp_server *server;
    struct sha256_ctx *hash;
    uint8_t req[SHA256_LEN];
    char method[8], path[160], call[33], price[40], model[129];
    uint32_t attempt;
    bool running, ended;
};

struct fake_worker {
    struct loop *loop;
    struct tls_ctx *tls;
    struct tunnel *tunnel;
    struct fake_script script;

    struct hpke_private *key;
    uint8_t key_id, config[KEY_CONFIG_LEN], kfp[KFP_LEN];
    struct ed25519 *receipt, *stranger;
    struct buf keyset;
    uint8_t digest[SHA256_LEN];

    struct fake_stream *streams[FAKE_STREAMS];
    struct fake_record records[FAKE_RECORDS];
    size_t record_count;
    uint64_t seq;

    /* What it was told. */
    unsigned attestations, descriptions, posts, deletes, drains, refusals, usage_asked, acks;
    unsigned opened, closed;
    int closed_error;
    int64_t running;
    char refused[256], gateways[256], last_model[129];
    struct buf acked; /* bodies of POST /v1/usage/ack, one after the other */
    struct buf last_plain;
};

/* ---- Keys ---- */

static inline void fake_keyset(struct fake_worker *f)
{
    struct keyset k = {.hpke = {SPAN_OF(f->config)}, .hpke_count = 1};

    snprintf(k.worker_id, sizeof(k.worker_id), "w-test");
    snprintf(k.payout, sizeof(k.payout), "0:%064d", 7);
    tls_client_spki(f->tls, k.tls_spki);
    if (f->script.wrong_tls_key)
        k.tls_spki[0] ^= 1;
    ed25519_public(f->receipt, k.receipt_key);
    k.models[0] = SPAN(FAKE_MODEL);
    k.model_count = 1;
    k.model_digest =
        SPAN("sha256:0000000000000000000000000000000000000000000000000000000000000000");
    k.config_sha256 = SPAN("0000000000000000000000000000000000000000000000000000000000000000");
    k.engine = SPAN("fake 1");
    k.not_before = clock_wall_ms() / 1000 - 1;
    k.not_after = k.not_before + 3600 + f->seq++; /* never twice the same bytes */
    buf_clear(&f->keyset);
    keyset_write(&k, &f->keyset);
    sha256(f->digest, buf_span(&f->keyset));
}

/* A new HPKE key and the keyset that names it. */
static inline void fake_rotate(struct fake_worker *f)
{
    uint8_t public_key[HPKE_KEY_LEN] = {0};
    struct key_config parsed;

    hpke_private_free(f->key);
    assert_int_equal(hpke_private_generate(&f->key), 0);
    if (!f->script.low_order_key)
        hpke_private_public(f->key, public_key);
    key_config_make(f->config, ++f->key_id, public_key);
    assert_int_equal(key_config_parse(&parsed, SPAN_OF(f->config)), 0);
    memcpy(f->kfp, parsed.kfp, KFP_LEN);
    fake_keyset(f);
}

/* ---- Answers ---- */

struct fake_fields {
    struct tunnel_field list[8];
    size_t count;
    char date[CLOCK_HTTP_LEN], keyset[2 * SHA256_LEN + 1], load[64];
};

static inline void fake_field(struct fake_fields *x, struct span name, struct span value)
{
    x->list[x->count++] = (struct tunnel_field){name, value};
}

static inline void fake_fields(struct fake_worker *f, struct fake_fields *x)
{
    int64_t max = f->script.max ? f->script.max : 8;

    *x = (struct fake_fields){0};
    clock_http_format(x->date, (time_t)((int64_t)(clock_wall_ms() / 1000) + f->script.clock_off_s));
    hex_encode(x->keyset, SPAN_OF(f->digest));
    if (f->script.keyset_stale)
        memset(x->keyset, 'e', 2 * SHA256_LEN);
    snprintf(x->load, sizeof(x->load), "running=%lld,waiting=0,max=%lld,kv=0.25",
             (long long)(f->running + f->script.running), (long long)max);
    fake_field(x, SPAN("date"), span_str(f->script.date ? f->script.date : x->date));
    fake_field(x, SPAN("cocoon-keyset"), span_str(x->keyset));
    if (max > 0)
        fake_field(x, SPAN("cocoon-load"), span_str(x->load));
}

static inline void fake_reply(struct fake_stream *t, unsigned status, const char *type,
                              struct span body)
{
    struct fake_fields x;
    struct buf copy = {0};

    fake_fields(t->worker, &x);
    if (type)
        fake_field(&x, SPAN("content-type"), span_str(type));
    if (status == 200 && t->worker->script.not_modified)
        fake_field(&x, SPAN("etag"), SPAN("\"v1\""));
    buf_append(&copy, body);
    tunnel_reply(t->s, status, x.list, x.count, &copy);
    buf_fini(&copy);
}

static inline void fake_problem(struct fake_stream *t, unsigned status, const char *code)
{
    char text[256];

    snprintf(text, sizeof(text),
             "{\"type\":\"about:blank\",\"title\":\"x\",\"status\":%u,\"code\":\"%s\"}", status,
             code);
    fake_reply(t, status, "application/problem+json", span_str(text));
}

/* ---- Records ---- */

static inline void fake_keep(struct fake_worker *f, const struct usage_record *u, struct span jws)
{
    struct fake_record *r = &f->records[f->record_count++];

    assert_true(f->record_count < FAKE_RECORDS);
    r->seq = ++f->seq;
    r->jws = mem_zero(jws.len + 1);
    memcpy(r->jws, jws.data, jws.len);
    memcpy(r->call, u->call, sizeof(r->call));
    r->attempt = u->attempt;
}

static inline void fake_forge(struct fake_worker *f, struct usage_record *u)
{
    switch (f->script.record) {
    case RECORD_OTHER_CALL:
        u->call[0] = u->call[0] == 'a' ? 'b' : 'a';
        break;
    case RECORD_OTHER_ATTEMPT:
        u->attempt++;
        break;
    case RECORD_OTHER_REQUEST:
        u->req[0] ^= 1;
        break;
    case RECORD_OTHER_ANSWER:
        u->resp[0] ^= 1;
        break;
    case RECORD_OTHER_KFP:
        u->kfp[0] ^= 1;
        break;
    case RECORD_OTHER_KEYSET:
        u->keyset[0] ^= 1;
        break;
    case RECORD_OTHER_OPERATOR:
        u->op[0] ^= 1;
        break;
    case RECORD_OTHER_MODEL:
        u->model = SPAN("another");
        break;
    case RECORD_OTHER_PRICE:
        u->price[0] = '9';
        break;
    case RECORD_NOT_FINAL:
        u->final = false;
        break;
    default:
        break;
    }
}

/* Signs, keeps, and leaves the JWS in *jws. */
static inline void fake_record(struct fake_stream *t, enum usage_outcome outcome, bool final,
                               const uint8_t resp[static SHA256_LEN], struct buf *jws)
{
    struct fake_worker *f = t->worker;
    struct usage_record u = {.attempt = t->attempt,
                             .model = span_str(t->model),
                             .in = 9,
                             .out = 3,
                             .outcome = outcome,
                             .final = final,
                             .t0_ms = clock_wall_ms(),
                             .t1_ms = clock_wall_ms()};

    memcpy(u.call, t->call, sizeof(u.call));
    memcpy(u.price, t->price, sizeof(u.price));
    tunnel_pin(f->tunnel, u.op);
    memcpy(u.kfp, f->kfp, KFP_LEN);
    memcpy(u.keyset, f->digest, SHA256_LEN);
    memcpy(u.req, t->req, SHA256_LEN);
    memcpy(u.resp, resp, SHA256_LEN);
    snprintf(u.env, sizeof(u.env), "insecure-dev");
    fake_forge(f, &u);
    bool strange = f->script.record == RECORD_OTHER_KEY;
    assert_int_equal(usage_record_sign(&u, strange ? f->stranger : f->receipt, jws), 0);
    if (!strange)
        fake_keep(f, &u, buf_span(jws));
    if (f->script.record == RECORD_GARBAGE) {
        buf_clear(jws);
        buf_append_str(jws, "bm90IGEgcmVjb3Jk.e30.AAAA");
    }
}

/* ---- POST /ohttp ---- */

static inline void fake_write(struct fake_stream *t, struct buf *bytes)
{
    sha256_update(t->hash, buf_span(bytes));
    tunnel_stream_write(t->s, bytes);
    buf_fini(bytes);
}

static inline void fake_seal(struct fake_stream *t, struct span plain, bool final, struct buf *out)
{
    assert_int_equal(ohttp_server_seal(t->server, plain, final, out), 0);
}

static inline void fake_seal_head(struct fake_stream *t, struct buf *out)
{
    const struct bhttp_field fields[] = {{SPAN("content-type"), SPAN("text/event-stream")},
                                         {SPAN("cocoon-ignored"), SPAN("own_a,b")}};
    struct buf plain = {0};

    bhttp_response_head(&plain, 200, fields, 2);
    fake_seal(t, buf_span(&plain), false, out);
    buf_fini(&plain);
}

static inline void fake_seal_event(struct fake_stream *t, struct buf *out)
{
    size_t want = t->worker->script.event_bytes;
    struct buf event = {0}, plain = {0};

    buf_append_str(&event, FAKE_EVENT);
    while (event.len < want)
        buf_byte(&event, 'x');
    bhttp_content(&plain, buf_span(&event));
    fake_seal(t, buf_span(&plain), false, out);
    buf_fini(&plain);
    buf_fini(&event);
}

static inline void fake_seal_end(struct fake_stream *t, struct buf *out)
{
    struct buf plain = {0};

    bhttp_content_end(&plain);
    bhttp_trailers(&plain, NULL, 0);
    fake_seal(t, buf_span(&plain), true, out);
    buf_fini(&plain);
}

static inline void fake_end(struct fake_stream *t, enum usage_outcome outcome, bool final)
{
    struct fake_script *s = &t->worker->script;
    uint8_t resp[SHA256_LEN];
    struct buf jws = {0};

    sha256_final(t->hash, resp);
    t->running = false;
    t->ended = true;
    t->worker->running--;
    if (s->record != RECORD_NONE)
        fake_record(t, outcome, final, resp, &jws);
    const struct tunnel_field trailer = {SPAN("cocoon-usage"), buf_span(&jws)};
    bool with = jws.len > 0 && !(s->no_record && outcome == USAGE_CLIENT_ABORT);
    tunnel_stream_end(t->s, &trailer, with ? 1 : 0);
    buf_fini(&jws);
}

static inline void fake_head(struct fake_stream *t, const char *type)
{
    struct fake_fields x;

    fake_fields(t->worker, &x);
    fake_field(&x, SPAN("content-type"), span_str(type));
    tunnel_respond(t->s, 200, x.list, x.count, false);
}

static inline void fake_whole(struct fake_stream *t, enum fake_answer how)
{
    size_t events = t->worker->script.events ? t->worker->script.events : 2;
    struct buf out = {0};

    if (how != FAKE_NO_HEAD) {
        fake_seal_head(t, &out);
        for (size_t i = 0; i < events; i++)
            fake_seal_event(t, &out);
    }
    if (how == FAKE_FLIP)
        out.data[OHTTP_RESPONSE_NONCE_LEN + 6] ^= 1;
    if (how == FAKE_NO_HEAD)
        fake_seal(t, SPAN(""), true, &out);
    else if (how != FAKE_NO_FINAL)
        fake_seal_end(t, &out);
    if (how == FAKE_FLIP_END)
        out.data[out.len - 1] ^= 1;
    fake_write(t, &out);
    fake_end(t, t->worker->script.engine_fails ? USAGE_ERROR : USAGE_STOP, how != FAKE_NO_FINAL);
}

static inline void fake_bad_inner(struct fake_stream *t)
{
    struct buf out = {0};

    fake_seal(t, SPAN("\x03\x40\xc8\x09 this is no header block"), true, &out);
    fake_write(t, &out);
    fake_end(t, USAGE_STOP, true);
}

static inline void fake_begin(struct fake_stream *t)
{
    struct buf out = {0};

    fake_seal_head(t, &out);
    fake_seal_event(t, &out);
    fake_write(t, &out);
}

static inline void fake_huge_head(struct fake_stream *t)
{
    static char huge[60 << 10];
    struct fake_fields x;

    memset(huge, 'h', sizeof(huge));
    fake_fields(t->worker, &x);
    fake_field(&x, SPAN("x-huge"), span_of(huge, sizeof(huge)));
    tunnel_respond(t->s, 200, x.list, x.count, false);
}

static inline void fake_answer_ohttp(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;

    if (f->script.answer == FAKE_STALL)
        return;
    if (f->script.answer == FAKE_HUGE_HEAD) {
        fake_huge_head(t);
        return;
    }
    fake_head(t, f->script.answer == FAKE_WRONG_TYPE ? "text/plain" : "message/ohttp-chunked-res");
    switch (f->script.answer) {
    case FAKE_STALL_MID:
        fake_begin(t);
        break;
    case FAKE_BAD_INNER:
        fake_bad_inner(t);
        break;
    default:
        fake_whole(t, f->script.answer);
        break;
    }
}

/* Opens the request as a worker does; false after a refusal. */
static inline bool fake_open(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;
    struct ohttp_hdr hdr;

    sha256(t->req, buf_span(&t->body));
    assert_int_equal(ohttp_hdr_parse(&hdr, buf_span(&t->body)), 0);
    if (hdr.key_id != f->key_id || ohttp_server_new(&t->server, &hdr, f->key) < 0) {
        fake_problem(t, 400, "ohttp_key");
        return false;
    }
    buf_clear(&f->last_plain);
    assert_int_equal(ohttp_server_open(t->server, buf_span(&t->body), &f->last_plain), 0);
    return true;
}

static inline void fake_ohttp(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;

    f->posts++;
    if (f->script.answer == FAKE_PROBLEM) {
        fake_problem(t, f->script.status, f->script.code);
        return;
    }
    if (!fake_open(t))
        return;
    t->running = true;
    f->running++;
    t->hash = sha256_new();
    fake_answer_ohttp(t);
}

/* The next event of a stalled answer, and its end: a test's own pace. */
static inline void fake_more(struct fake_stream *t, bool end)
{
    struct buf out = {0};

    fake_seal_event(t, &out);
    if (end)
        fake_seal_end(t, &out);
    fake_write(t, &out);
    if (end)
        fake_end(t, USAGE_STOP, true);
}

static inline struct fake_stream *fake_running(struct fake_worker *f)
{
    for (size_t i = 0; i < FAKE_STREAMS; i++)
        if (f->streams[i] && f->streams[i]->running)
            return f->streams[i];
    return NULL;
}

/* DELETE: ends the stream as wire.md §11 says, unless the script wants something else. */
static inline void fake_cancelled(struct fake_stream *t)
{
    struct fake_script *s = &t->worker->script;

    if (s->cancel_late) {
        fake_more(t, true);
        return;
    }
    tunnel_stream_drop_queued(t->s);
    if (s->answer == FAKE_STALL)
        fake_head(t, "message/ohttp-chunked-res");
    fake_end(t, USAGE_CLIENT_ABORT, false);
}

static inline void fake_delete(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;
    char path[96];

    f->deletes++;
    for (size_t i = 0; i < FAKE_STREAMS; i++) {
        struct fake_stream *other = f->streams[i];
        if (!other || !other->running)
            continue;
        snprintf(path, sizeof(path), "/ohttp/%s/%u", other->call, other->attempt);
        if (strcmp(path, t->path) != 0)
            continue;
        if (!f->script.deaf)
            fake_cancelled(other);
        fake_reply(t, f->script.cancel_late ? 404 : 204, NULL, SPAN(""));
        return;
    }
    fake_reply(t, 404, NULL, SPAN(""));
}

/* ---- The other endpoints ---- */

static inline void fake_attestation(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;
    const char *hex = strstr(t->path, "nonce=");
    uint8_t nonce[ATTEST_NONCE_LEN];
    struct buf doc = {0};

    f->attestations++;
    if (f->script.attestation_hangs)
        return;
    assert_non_null(hex);
    assert_int_equal(hex_decode(nonce, sizeof(nonce), span_str(hex + 6)), 0);
    if (f->script.wrong_nonce)
        nonce[0] ^= 1;
    attest_document_write(&doc, f->script.tee ? f->script.tee : "none", nonce, buf_span(&f->keyset),
                          SPAN(""), SPAN(""));
    fake_reply(t, f->script.attestation_status ? f->script.attestation_status : 200,
               "application/vnd.cgw.attestation+json", buf_span(&doc));
    buf_fini(&doc);
}

static inline void fake_describe(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;
    char text[512];

    f->descriptions++;
    if (f->script.not_modified && tunnel_stream_field(t->s, "if-none-match").data) {
        fake_reply(t, 304, NULL, SPAN(""));
        return;
    }
    snprintf(
        text, sizeof(text),
        "{\"format\":\"cgw/worker/v1\",\"worker_id\":\"w-test\",\"version\":\"1\",\"models\":[{"
        "\"name\":\"" FAKE_MODEL "\",\"context\":4096,\"max_output\":1024}],\"max_requests\":8,"
        "\"ask\":1000,\"accepting\":true,\"reason\":null}");
    fake_reply(t, 200, "application/json",
               span_str(f->script.description ? f->script.description : text));
}

static inline void fake_usage(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;
    uint64_t after = strtoull(strstr(t->path, "after=") + 6, NULL, 10);
    size_t max = f->script.more ? 1 : 1000, given = 0;
    struct buf body = {0};

    f->usage_asked++;
    if (f->script.usage_hangs)
        return;
    buf_append_str(&body, "{\"records\":[");
    bool more = false;
    for (size_t i = 0; i < f->record_count && !more; i++) {
        if (f->records[i].seq <= after)
            continue;
        more = given == max;
        if (!more)
            buf_printf(&body, "%s{\"seq\":%llu,\"jws\":\"%s\"}", given++ ? "," : "",
                       (unsigned long long)f->records[i].seq, f->records[i].jws);
    }
    buf_printf(&body, "],\"more\":%s}", more ? "true" : "false");
    fake_reply(t, 200, "application/json", buf_span(&body));
    buf_fini(&body);
}

/* Forgets what was acknowledged. */
static inline void fake_acked(struct fake_worker *f, const char *acks)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->record_count; i++) {
        char needle[96];
        snprintf(needle, sizeof(needle), "\"call\":\"%s\",\"attempt\":%u,", f->records[i].call,
                 f->records[i].attempt);
        if (strstr(acks, needle))
            free(f->records[i].jws);
        else
            f->records[kept++] = f->records[i];
    }
    f->record_count = kept;
}

static inline void fake_tell(struct fake_stream *t, char *out, size_t len)
{
    snprintf(out, len, "%.*s", SPAN_FMT(buf_span(&t->body)));
    fake_reply(t, 204, NULL, SPAN(""));
}

static inline void fake_serve(struct fake_stream *t)
{
    struct fake_worker *f = t->worker;

    if (strcmp(t->path, "/ohttp") == 0) {
        fake_ohttp(t);
    } else if (strcmp(t->method, "DELETE") == 0) {
        fake_delete(t);
    } else if (strncmp(t->path, "/v1/attestation?", 16) == 0) {
        fake_attestation(t);
    } else if (strcmp(t->path, "/v1/worker") == 0) {
        fake_describe(t);
    } else if (strcmp(t->path, "/v1/gateways") == 0) {
        fake_tell(t, f->gateways, sizeof(f->gateways));
    } else if (strcmp(t->path, "/v1/refused") == 0) {
        f->refusals++;
        if (f->script.refused_hangs)
            return;
        fake_tell(t, f->refused, sizeof(f->refused));
    } else if (strcmp(t->path, "/v1/drain") == 0) {
        f->drains++;
        fake_reply(t, 204, NULL, SPAN(""));
    } else if (strncmp(t->path, "/v1/usage?", 10) == 0) {
        fake_usage(t);
    } else if (strcmp(t->path, "/v1/usage/ack") == 0) {
        f->acks++;
        fake_acked(f, buf_cstr(&t->body));
        buf_append(&f->acked, buf_span(&t->body));
        fake_reply(t, 204, NULL, SPAN(""));
    } else {
        fake_problem(t, 404, "not_found");
    }
}

/* ---- The tunnel ---- */

static inline void fake_on_data(void *arg, struct tunnel_stream *s, struct span b)
{
    struct fake_stream *t = arg;

    buf_append(&t->body, b);
    tunnel_stream_consume(s, b.len);
}

static inline void fake_on_end(void *arg, struct tunnel_stream *s)
{
    (void)s;
    fake_serve(arg);
}

/* A reset means the same as a cancel: the record is made and kept. */
static inline void fake_on_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct fake_stream *t = arg;
    struct fake_worker *f = t->worker;
    uint8_t resp[SHA256_LEN] = {0};
    struct buf jws = {0};

    (void)s;
    (void)error;
    if (t->running) {
        f->running--;
        fake_record(t, USAGE_CLIENT_ABORT, false, resp, &jws);
    }
    buf_fini(&jws);
    for (size_t i = 0; i < FAKE_STREAMS; i++)
        if (f->streams[i] == t)
            f->streams[i] = NULL;
    buf_fini(&t->body);
    ohttp_server_free(t->server);
    sha256_free(t->hash);
    free(t);
}

static const struct tunnel_stream_events fake_stream_events = {
    .data = fake_on_data, .end = fake_on_end, .closed = fake_on_closed};

static inline void fake_copy(struct tunnel_stream *s, const char *name, char *out, size_t len)
{
    snprintf(out, len, "%.*s", SPAN_FMT(tunnel_stream_field(s, name)));
}

static inline void fake_on_request(void *arg, struct tunnel *tunnel, struct tunnel_stream *s)
{
    struct fake_worker *f = arg;
    struct fake_stream *t = mem_zero(sizeof(*t));
    char attempt[16];
    size_t i = 0;

    (void)tunnel;
    while (i < FAKE_STREAMS && f->streams[i])
        i++;
    assert_true(i < FAKE_STREAMS);
    f->streams[i] = t;
    t->worker = f;
    t->s = s;
    snprintf(t->method, sizeof(t->method), "%.*s", SPAN_FMT(tunnel_stream_method(s)));
    snprintf(t->path, sizeof(t->path), "%.*s", SPAN_FMT(tunnel_stream_path(s)));
    fake_copy(s, "cocoon-call", t->call, sizeof(t->call));
    fake_copy(s, "cocoon-price", t->price, sizeof(t->price));
    fake_copy(s, "cocoon-model", t->model, sizeof(t->model));
    fake_copy(s, "cocoon-attempt", attempt, sizeof(attempt));
    t->attempt = (uint32_t)strtoul(attempt, NULL, 10);
    tunnel_stream_attach(s, &fake_stream_events, t);
}

static inline void fake_on_open(void *arg, struct tunnel *t)
{
    struct fake_worker *f = arg;

    (void)t;
    f->opened++;
}

static inline void fake_on_tunnel_closed(void *arg, struct tunnel *t, int error)
{
    struct fake_worker *f = arg;

    (void)t;
    f->tunnel = NULL;
    f->closed++;
    f->closed_error = error;
}

static const struct tunnel_events fake_tunnel_events = {
    .open = fake_on_open, .request = fake_on_request, .closed = fake_on_tunnel_closed};

static inline void fake_dial(struct fake_worker *f, const struct net_addr *to,
                             const uint8_t op[static TLS_SPKI_LEN])
{
    uint8_t pins[1][TLS_SPKI_LEN];
    struct tunnel_limits limits = tunnel_worker_limits;

    if (f->script.streams)
        limits.streams = f->script.streams;
    memcpy(pins[0], op, TLS_SPKI_LEN);
    assert_int_equal(tunnel_dial(&f->tunnel, f->loop, f->tls, to,
                                 (const uint8_t(*)[TLS_SPKI_LEN])pins, 1, &limits,
                                 &fake_tunnel_events, f),
                     0);
}

/* The script may be set before: keys are made by it. */
static inline void fake_init(struct fake_worker *f, struct loop *l)
{
    f->loop = l;
    assert_int_equal(tls_client_new(&f->tls), 0);
    assert_int_equal(ed25519_generate(&f->receipt), 0);
    assert_int_equal(ed25519_generate(&f->stranger), 0);
    fake_rotate(f);
}

/* The tunnel is closed already. */
static inline void fake_fini(struct fake_worker *f)
{
    assert_null(f->tunnel);
    for (size_t i = 0; i < f->record_count; i++)
        free(f->records[i].jws);
    hpke_private_free(f->key);
    ed25519_free(f->receipt);
    ed25519_free(f->stranger);
    buf_fini(&f->keyset);
    buf_fini(&f->acked);
    buf_fini(&f->last_plain);
    tls_ctx_free(f->tls);
}

#endif
