/* Telegram's callers (auth.md): the init data of a Mini App, checked as Telegram documents it, and
 * the short token that it is exchanged for. Pure: times and keys are arguments. Sources:
 * core.telegram.org/bots/webapps, "Validating data received via the Mini App" and "Validating data
 * for Third-Party Use". */
#ifndef AUTH_TELEGRAM_H
#define AUTH_TELEGRAM_H

#include "base/buf.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"

#define TELEGRAM_TOKEN_PREFIX "tma-cocoon-"
enum {
    TELEGRAM_DATA_MAX = 8 * 1024, /* bytes of init data */
    TELEGRAM_DATA_AGE_S = 3600,   /* how old its auth_date may be */
    TELEGRAM_SKEW_S = 60,         /* how far ahead of our clock it may be */
    TELEGRAM_TOKEN_LIFE_S = 900
};

/* How init data of one bot is verified. */
struct telegram_bot {
    uint64_t id;
    bool has_token;
    uint8_t data_key[SHA256_LEN];   /* has_token: made by telegram_bot_key; wipe after use */
    const struct ed25519 *telegram; /* else: Telegram's own public key, borrowed */
};

/* Sets data_key and has_token from the bot's token, which itself need not be kept. E_INVALID when
 * it is none, or another bot's. */
MUST_CHECK int telegram_bot_key(struct telegram_bot *bot, struct span token);
/* Is it what Telegram made for this bot, within its time? Then *user is the user's id. E_INVALID:
 * not strict form encoding, a field twice or missing, no user. E_AUTH: not signed by the bot's
 * token or Telegram's key. E_EXPIRED. Verifying without the bot's token takes ~121 µs. */
MUST_CHECK int telegram_data_check(const struct telegram_bot *bot, struct span init_data,
                                   uint64_t now_s, uint64_t *user);

/* Whom a token is for. */
struct telegram_user {
    uint64_t bot, user, expires_s;
};

/* Appends the token's text; secret is the operator's. */
void telegram_token_make(struct buf *out, struct span secret, const struct telegram_user *u);
/* The text begins as a token's does. */
bool telegram_token_is(struct span text);
/* E_INVALID: mistyped or another operator's. E_EXPIRED. */
MUST_CHECK int telegram_token_read(struct span text, struct span secret, uint64_t now_s,
                                   struct telegram_user *out);

#endif
