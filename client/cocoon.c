/* The C API: a loop of its own, turned while a caller waits. */
#include "client/cocoon.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/log.h"
#include "client/core/alone.h"
#include "client/core/exchange.h"

_Static_assert((int)COCOON_WHY_LEN == 300, "client_alone_open writes so much");

enum { SILENCE_MS = 120000, TOTAL_MS = 2100000, PING_MS = 15000 };

struct cocoon {
    struct client_alone core;
    char *authorization; /* NULL: none */
};

struct cocoon_chat {
    struct cocoon *cocoon;
    struct buf body;
    struct request rq;
    bool parsed, ended, failed;
    struct exchange *exchange;
    struct buf come;  /* bytes to hand out */
    struct buf given; /* handed out by the last read */
    struct buf error;
};

/* ---- The whole ---- */

static enum cocoon_result result_of(int error)
{
    return error == E_IO ? COCOON_INTERNAL : COCOON_INVALID;
}

static int start(struct cocoon *c, const struct cocoon_options *o, char why[COCOON_WHY_LEN])
{
    const struct client_options options = {
        .gateway = o->gateway,
        .ca_file = o->ca_file,
        .collateral = {.url = o->collateral_url,
                       .root_crl_url = o->root_crl_url,
                       .cache = o->collateral_cache,
                       .bundle = o->collateral_bundle},
        .save_receipts = o->save_receipts,
        .policy_file = o->policy_file,
        .release_keys = o->release_keys,
        .release_key_count = o->release_key_count,
        .key_file = o->key_file,
        .insecure_dev = o->insecure_dev,
        .silence_ms = SILENCE_MS,
        .total_ms = TOTAL_MS,
        .ping_ms = PING_MS,
        .padding = "64",
        .default_output = 4096,
        .template_allowance = 1024,
    };

    return client_alone_open(&c->core, &options, why);
}

enum cocoon_result cocoon_open(struct cocoon **out, const struct cocoon_options *o,
                               char why[COCOON_WHY_LEN])
{
    AUTO(buf_wipe) struct buf line = {0};

    why[0] = '\0';
    if (!o->gateway || !o->policy_file || !o->key_file || !o->release_keys) {
        snprintf(why, COCOON_WHY_LEN,
                 "gateway, policy_file, release_keys and key_file must be given.");
        return COCOON_INVALID;
    }
    struct cocoon *c = mem_zero(sizeof(*c));
    if (o->api_key) {
        buf_printf(&line, "Bearer %s", o->api_key);
        c->authorization = mem_strdup(buf_cstr(&line));
    }
    log_init("cocoon", LOG_ERROR);
    const int error = start(c, o, why);
    if (error < 0) {
        cocoon_close(c);
        return result_of(error);
    }
    why[0] = '\0';
    *out = c;
    return COCOON_OK;
}

void cocoon_close(struct cocoon *c)
{
    if (!c)
        return;
    client_alone_close(&c->core);
    if (c->authorization)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c);
}

/* ---- Verdicts ---- */

static void verdict_write(const struct attest_verdict *v, struct cocoon_verdict *out)
{
    *out = (struct cocoon_verdict){.production = v->env == ATTEST_PRODUCTION,
                                   .gpus = v->gpu_count,
                                   .valid_until = v->valid_until};
    snprintf(out->environment, sizeof(out->environment), "%s", attest_env_name(v->env));
    snprintf(out->measurement, sizeof(out->measurement), "%s", v->measurement);
    snprintf(out->tcb_status, sizeof(out->tcb_status), "%s", tcb_status_name(v->status));
    hex_encode(out->mrtd, SPAN_OF(v->mrtd));
}

struct look {
    struct cocoon_verdict *out;
    char *why;
    bool over, found;
};

static void look_done(void *arg, struct verified *v, const char *served,
                      const struct api_fault *fault)
{
    struct look *l = arg;

    (void)served;
    l->over = true;
    l->found = v != NULL;
    if (!v) {
        snprintf(l->why, COCOON_WHY_LEN, "%.*s", COCOON_WHY_LEN - 1, fault->message);
        return;
    }
    verdict_write(&v->verdict, l->out);
    snprintf(l->out->model_digest, sizeof(l->out->model_digest), "%.*s",
             SPAN_FMT(v->keyset.model_digest));
}

enum cocoon_result cocoon_verify(struct cocoon *c, const char *model, struct cocoon_verdict *out,
                                 char why[COCOON_WHY_LEN])
{
    const struct directory_ask ask = {.model = span_str(model)};
    struct look l = {.out = out, .why = why};

    why[0] = '\0';
    if (!span_visible(ask.model, MODEL_LEN)) {
        snprintf(why, COCOON_WHY_LEN, "The name of the model is empty, too long or not printable.");
        return COCOON_INVALID;
    }
    (void)directory_find(c->core.client->directory, &ask, look_done, &l);
    while (!l.over)
        loop_turn(c->core.loop, -1);
    return l.found ? COCOON_OK : COCOON_REFUSED;
}

enum cocoon_result cocoon_chat_verdict(const struct cocoon_chat *chat, struct cocoon_verdict *out)
{
    const struct attest_verdict *v = exchange_verdict(chat->exchange);

    if (!v)
        return COCOON_INVALID;
    verdict_write(v, out);
    return COCOON_OK;
}

/* ---- Chats ---- */

static void on_content(void *arg, struct span bytes)
{
    struct cocoon_chat *chat = arg;

    buf_append(&chat->come, bytes);
}

static void on_end(void *arg)
{
    struct cocoon_chat *chat = arg;

    chat->ended = true;
}

static void on_failed(void *arg, const struct api_fault *fault, bool told)
{
    struct cocoon_chat *chat = arg;

    (void)told;
    chat->failed = true;
    api_fault_body(fault, &chat->error);
}

static const struct exchange_events events = {on_content, on_end, on_failed};

static int begin(struct cocoon_chat *chat, char why[COCOON_WHY_LEN])
{
    const struct request_rules rules = {.max_n = 128};
    const struct exchange_ask ask = {.rq = &chat->rq, .authorization = chat->cocoon->authorization};
    struct api_fault fault = {0};

    if (request_parse(&chat->rq, EP_CHAT, buf_span(&chat->body), &rules, &fault) < 0) {
        snprintf(why, COCOON_WHY_LEN, "%.*s", COCOON_WHY_LEN - 1, fault.message);
        return E_INVALID;
    }
    chat->parsed = true;
    const int error =
        exchange_start(&chat->exchange, chat->cocoon->core.client, &ask, &events, chat);
    if (error < 0)
        snprintf(why, COCOON_WHY_LEN, "The name of the model or the API key is not printable.");
    return error;
}

enum cocoon_result cocoon_chat(struct cocoon *c, const char *json, size_t len,
                               struct cocoon_chat **out, char why[COCOON_WHY_LEN])
{
    struct cocoon_chat *chat = mem_zero(sizeof(*chat));

    why[0] = '\0';
    chat->cocoon = c;
    buf_append(&chat->body, span_of(json, len));
    if (begin(chat, why) < 0) {
        cocoon_chat_close(chat);
        return COCOON_INVALID;
    }
    *out = chat;
    return COCOON_OK;
}

enum cocoon_result cocoon_read(struct cocoon_chat *chat, const char **bytes, size_t *len)
{
    while (chat->come.len == 0 && !chat->ended && !chat->failed)
        loop_turn(chat->cocoon->core.loop, -1);
    *bytes = NULL;
    *len = 0;
    if (chat->come.len == 0)
        return chat->ended ? COCOON_OK : COCOON_REFUSED;
    buf_wipe(&chat->given);
    buf_take(&chat->given, &chat->come);
    *len = chat->given.len;
    *bytes = buf_cstr(&chat->given);
    return COCOON_EVENT;
}

const char *cocoon_error(struct cocoon_chat *chat)
{
    return chat->failed ? buf_cstr(&chat->error) : NULL;
}

void cocoon_chat_close(struct cocoon_chat *chat)
{
    if (!chat)
        return;
    exchange_free(chat->exchange);
    loop_turn(chat->cocoon->core.loop, 0); /* it borrows the request */
    if (chat->parsed)
        request_fini(&chat->rq);
    buf_wipe(&chat->body);
    buf_wipe(&chat->come);
    buf_wipe(&chat->given);
    buf_fini(&chat->error);
    free(chat);
}
