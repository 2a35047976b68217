/* Any bytes as init data of a Mini App, a bot's token, or a token of ours. */
#include <stdlib.h>

#include "auth/telegram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Nobody signed these: never good, by either way. */
static void try_data(struct span in)
{
    static struct ed25519 *key;
    struct telegram_bot bot = {.id = 1};
    uint64_t user = 0;

    if (!key)
        CHECK(ed25519_generate(&key) == 0);
    bot.telegram = key;
    CHECK(telegram_data_check(&bot, in, 1662771648, &user) < 0);
    CHECK(telegram_bot_key(&bot, SPAN("1:fuzz")) == 0);
    CHECK(telegram_data_check(&bot, in, 1662771648, &user) < 0 && user == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct span in = span_of(data, len);
    struct telegram_bot bot = {.id = 1};
    struct telegram_user u;

    try_data(in);
    CHECK(telegram_token_read(in, SPAN("secret"), 0, &u) < 0);
    if (telegram_bot_key(&bot, in) == 0)
        CHECK(bot.has_token && span_starts(in, SPAN("1:")));
    return 0;
}
