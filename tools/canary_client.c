/* cocoon-client's library with a loop of its own, turned while one exchange runs. */
#include "tools/canary_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "client/core/alone.h"
#include "client/core/exchange.h"

enum { PING_MS = 15000, ALLOWANCE = 1024, SECOND = 1000 };

struct canary_client {
    struct client_alone core;
    struct buf authorization;
    uint8_t key[CLIENT_KEY_LEN]; /* as it is in the file */
    int64_t max_coefficient;
};

/* ---- Its life ---- */

static int read_key(struct canary_client *c, const char *file, char why[static CANARY_WHY_LEN])
{
    AUTO(buf_wipe) struct buf key = {0};
    const int error = config_read_secret(file, &key);

    if (error < 0 || !span_visible(buf_span(&key), 1024)) {
        snprintf(why, CANARY_WHY_LEN, "%.200s: %s", file,
                 error == E_DENIED ? "others than its owner may read it (chmod 600)"
                                   : "no API key can be read there");
        return error < 0 ? error : E_INVALID;
    }
    buf_reserve(&c->authorization, key.len + sizeof("Bearer "));
    buf_append_str(&c->authorization, "Bearer ");
    buf_append(&c->authorization, buf_span(&key));
    return 0;
}

static int start(struct canary_client *c, const struct canaries_config *f,
                 char why[static CANARY_WHY_LEN])
{
    const struct client_options options = {
        .gateway = f->gateway,
        .ca_file = f->ca_file,
        .policy_file = f->policy,
        .release_keys = f->release_keys.items,
        .release_key_count = f->release_keys.count,
        .key_file = f->key_file,
        .insecure_dev = f->insecure_dev,
        .silence_ms = (uint64_t)f->timeout_s * SECOND,
        .total_ms = (uint64_t)f->timeout_s * SECOND,
        .ping_ms = PING_MS,
        .padding = "64",
        .default_output = 1,
        .template_allowance = ALLOWANCE,
        .collateral = {.url = f->collateral_url,
                       .root_crl_url = f->root_crl_url,
                       .cache = f->collateral_cache,
                       .bundle = f->collateral_bundle},
    };

    TRY(read_key(c, f->api_key_file, why));
    TRY(client_alone_open(&c->core, &options, why));
    memcpy(c->key, c->core.client->key, sizeof(c->key));
    return 0;
}

int canary_client_open(struct canary_client **out, const struct canaries_config *f,
                       char why[static CANARY_WHY_LEN])
{
    AUTO(canary_client_close) struct canary_client *c = mem_zero(sizeof(*c));

    c->max_coefficient = f->max_coefficient;
    TRY(start(c, f, why));
    *out = c;
    c = NULL;
    return 0;
}

void canary_client_close(struct canary_client *c)
{
    if (!c)
        return;
    client_alone_close(&c->core);
    buf_wipe(&c->authorization);
    crypto_wipe(c->key, sizeof(c->key));
    free(c);
}

struct span canary_client_key(const struct canary_client *c)
{
    return SPAN_OF(c->key);
}

void canary_reply_fini(struct canary_reply *r)
{
    buf_wipe(&r->text);
}

/* ---- One canary ---- */

struct asking {
    struct canary_reply *reply;
    struct buf body; /* of the answer */
    bool over;
};

static void on_content(void *arg, struct span bytes)
{
    buf_append(&((struct asking *)arg)->body, bytes);
}

static void on_end(void *arg)
{
    struct asking *a = arg;

    a->over = true;
    a->reply->answered = true;
}

static void on_failed(void *arg, const struct api_fault *fault, bool told)
{
    struct asking *a = arg;

    (void)told;
    a->over = true;
    a->reply->fault = *fault;
}

static void take_answer(struct canary_reply *out, const struct exchange *x, struct span body)
{
    const struct verified *v = exchange_worker(x);

    keyset_wid(&v->keyset, v->verdict.ppid, out->wid);
    keyset_machine(&v->keyset, v->verdict.ppid, out->machine);
    snprintf(out->digest, sizeof(out->digest), "%.*s", SPAN_FMT(v->keyset.model_digest));
    out->used = *exchange_used(x);
    if (canary_text(body, &out->text) < 0)
        buf_clear(&out->text); /* whatever it is, it is not the answer */
}

static void ask(struct canary_client *c, const struct request *rq,
                const uint8_t kfp[static KFP_LEN], struct canary_reply *out)
{
    static const struct exchange_events events = {on_content, on_end, on_failed};
    const struct exchange_ask ask = {
        .rq = rq, .authorization = buf_cstr(&c->authorization), .worker = kfp};
    struct asking a = {.reply = out};
    struct exchange *x;

    if (exchange_start(&x, c->core.client, &ask, &events, &a) < 0) {
        api_fault_set(&out->fault, &ERR_INTERNAL, NULL, NULL);
        return;
    }
    while (!a.over)
        loop_turn(c->core.loop, -1);
    out->sealed = exchange_status(x) == 200;
    if (out->answered)
        take_answer(out, x, buf_span(&a.body));
    exchange_free(x);
    loop_turn(c->core.loop, 0); /* it borrows the request */
    buf_wipe(&a.body);
}

void canary_client_ask(struct canary_client *c, const struct canary *canary,
                       const uint8_t kfp[static KFP_LEN], struct canary_reply *out)
{
    static const struct request_rules rules = {.max_n = 1};
    struct client *client = c->core.client;
    AUTO(buf_wipe) struct buf body = {0};
    AUTO(request_fini) struct request rq = {0};

    random_bytes(client->key, sizeof(client->key)); /* tags and salts are made with it */
    canary_body(canary, c->max_coefficient, &body);
    if (request_parse(&rq, EP_CHAT, buf_span(&body), &rules, &out->fault) == 0)
        ask(c, &rq, kfp, out);
}
