/* Init data becomes a token, and a token the key of who pays for the bot. */
#include "gateway/bots.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/telegram.h"
#include "base/clock.h"
#include "base/encode.h"
#include "gateway/payer.h"
#include "gateway/reply.h"

struct bot {
    struct telegram_bot verifier;
    struct buf key;        /* of who pays */
    struct failures users; /* their calls of a minute */
};

struct bots {
    struct ed25519 *telegram;
    struct bot *all;
    size_t count;
};

// ---- Settings -----------------------------------------------------------------------------------

static struct bot *find(const struct bots *b, uint64_t id)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->all[i].verifier.id == id)
            return &b->all[i];
    }
    return NULL;
}

static int read_token(struct bot *bot, const char *file)
{
    AUTO(buf_wipe) struct buf token = {0};

    if (!*file)
        return 0;
    TRY(config_read_secret(file, &token));
    return telegram_bot_key(&bot->verifier, buf_span(&token));
}

/* What is wrong, or NULL. */
static const char *bot_read(struct bots *b, const struct gateway_bot *from)
{
    if (find(b, (uint64_t)from->id))
        return "is there twice";
    struct bot *bot = &b->all[b->count++];
    bot->verifier.id = (uint64_t)from->id;
    bot->verifier.telegram = b->telegram;
    failures_init(&bot->users, (unsigned)from->requests_per_minute);
    if (read_token(bot, from->token_file) < 0)
        return "token_file: not a secret file (0600) with this bot's token";
    if (payer_read(from->key_file, &bot->key) < 0)
        return "key_file: not a secret file (0600) with an API key";
    return NULL;
}

static int read_all(struct bots *b, const struct gateway_config *s, char why[BOTS_WHY_LEN])
{
    const struct gateway_bot *from = s->bots.items;
    uint8_t key[ED25519_KEY_LEN];

    if (hex_decode(key, sizeof(key), span_str(s->telegram_key)) < 0 ||
        ed25519_from_public(&b->telegram, SPAN_OF(key)) < 0) {
        (void)snprintf(why, BOTS_WHY_LEN, "telegram.public_key: not an Ed25519 key");
        return E_INVALID;
    }
    b->all = mem_zero((s->bots.count + 1) * sizeof(*b->all));
    for (size_t i = 0; i < s->bots.count; i++) {
        const char *problem = bot_read(b, &from[i]);
        if (problem) {
            (void)snprintf(why, BOTS_WHY_LEN, "telegram.bots: %lld: %s", (long long)from[i].id,
                           problem);
            return E_INVALID;
        }
    }
    return 0;
}

int bots_new(struct bots **out, const struct gateway_config *s, char why[BOTS_WHY_LEN])
{
    struct bots *b = mem_zero(sizeof(*b));
    const int error = read_all(b, s, why);

    *out = NULL;
    if (error < 0)
        bots_free(b);
    else
        *out = b;
    return error;
}

void bots_free(struct bots *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->count; i++) {
        crypto_wipe(b->all[i].verifier.data_key, SHA256_LEN);
        buf_wipe(&b->all[i].key);
        failures_fini(&b->all[i].users);
    }
    free(b->all);
    ed25519_free(b->telegram);
    free(b);
}

// ---- Calls with a token -------------------------------------------------------------------------

static bool refuse(struct call *c, const struct api_error *e, const char *param, const char *arg)
{
    api_fault_set(&c->fault, e, param, arg);
    return false;
}

bool bots_admit_user(struct call *c, struct span credential)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    struct gateway *g = c->gateway;
    struct telegram_user u;
    const int error = telegram_token_read(credential, SPAN_OF(g->cluster_secret), now_s, &u);

    if (error == E_INVALID)
        return true; /* refused as any credential that is none */
    struct bot *bot = error == 0 ? find(g->bots, u.bot) : NULL;
    if (!bot)
        return refuse(c, &ERR_TOKEN_EXPIRED, NULL, NULL);
    c->end_user = span_str(arena_printf(&c->arena, "%llu:%llu", (unsigned long long)u.bot,
                                        (unsigned long long)u.user));
    if (failures_add(&bot->users, c->end_user, loop_now(g->loop))) {
        refuse(c, &ERR_RATE_LIMIT, NULL, "a minute");
        c->fault.retry_after_ms = 60000;
        return false;
    }
    c->payer_key = arena_copy(&c->arena, buf_span(&bot->key));
    return true;
}

// ---- POST /v1/auth/telegram ---------------------------------------------------------------------

/* The bot that ?bot= names; the only one there is needs no name. NULL: refused. */
static struct bot *bot_asked(struct call *c)
{
    struct bots *b = c->gateway->bots;
    struct span query = http_query(c->ex);
    struct bot *bot = b->count == 1 ? &b->all[0] : NULL;
    bool named = false;

    while (query.len > 0) {
        struct span value = span_split(&query, '&');
        uint64_t id;
        if (!span_is(span_split(&value, '='), "bot"))
            continue;
        named = true;
        bot = span_u64(value, INT64_MAX, &id) == 0 ? find(b, id) : NULL;
    }
    if (b->count == 0)
        refuse(c, &ERR_UNSUPPORTED_ENDPOINT, NULL, NULL);
    else if (!bot && named)
        refuse(c, &ERR_NOT_FOUND, "bot", "bot");
    else if (!bot)
        refuse(c, &ERR_MISSING_PARAMETER, "bot", "bot");
    return bot;
}

static void answer(struct call *c, const struct telegram_user *u)
{
    AUTO(buf_wipe) struct buf token = {0};
    struct buf body = {0};

    telegram_token_make(&token, SPAN_OF(c->gateway->cluster_secret), u);
    buf_printf(&body, "{\"access_token\":\"%.*s\",\"token_type\":\"Bearer\",\"expires_in\":%d}",
               SPAN_FMT(buf_span(&token)), TELEGRAM_TOKEN_LIFE_S);
    reply_whole(c, 200, "application/json", &body);
}

static bool init_data_good(struct call *c, const struct bot *bot, struct span data, uint64_t now_s,
                           struct telegram_user *u)
{
    if (telegram_data_check(&bot->verifier, data, now_s, &u->user) < 0)
        return refuse(c, &ERR_INVALID_INIT_DATA, NULL, NULL);
    u->bot = bot->verifier.id;
    return true;
}

void telegram_exchange(struct call *c)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    const struct span data = credential_of(http_header(c->ex, "authorization"), SPAN("tma"));
    struct telegram_user u = {.expires_s = now_s + TELEGRAM_TOKEN_LIFE_S};
    const struct bot *bot;

    if (data.len == 0)
        refuse(c, &ERR_INVALID_INIT_DATA, NULL, NULL);
    else if ((bot = bot_asked(c)) && init_data_good(c, bot, data, now_s, &u))
        answer(c, &u);
    if (c->fault.error)
        reply_fault(c);
}
