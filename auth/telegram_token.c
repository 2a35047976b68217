/* The short token of a bot's user: numbers and a MAC by the operator's secret; kept nowhere. */
#include "auth/telegram.h"
#include "base/encode.h"

enum { BODY_LEN = 24, RAW_LEN = BODY_LEN + SHA256_LEN };

static void put_u64(uint8_t *at, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | at[i];
    return v;
}

static void mac_make(uint8_t out[static SHA256_LEN], struct span secret, struct span body)
{
    const struct span parts[] = {SPAN("cgw/telegram-token/v1\0"), body};

    hmac_sha256_parts(out, secret, parts, 2);
}

void telegram_token_make(struct buf *out, struct span secret, const struct telegram_user *u)
{
    uint8_t raw[RAW_LEN];

    put_u64(raw, u->bot);
    put_u64(raw + 8, u->user);
    put_u64(raw + 16, u->expires_s);
    mac_make(raw + BODY_LEN, secret, span_of(raw, BODY_LEN));
    buf_append_str(out, TELEGRAM_TOKEN_PREFIX);
    base64url_encode(out, SPAN_OF(raw));
    crypto_wipe(raw, sizeof(raw));
}

bool telegram_token_is(struct span text)
{
    return span_starts(text, SPAN(TELEGRAM_TOKEN_PREFIX));
}

int telegram_token_read(struct span text, struct span secret, uint64_t now_s,
                        struct telegram_user *out)
{
    AUTO(buf_wipe) struct buf raw = {0};
    uint8_t mac[SHA256_LEN];

    if (!telegram_token_is(text) || text.len > 2 * RAW_LEN + sizeof(TELEGRAM_TOKEN_PREFIX))
        return E_INVALID;
    TRY(base64url_decode(&raw, span_from(text, sizeof(TELEGRAM_TOKEN_PREFIX) - 1)));
    if (raw.len != RAW_LEN)
        return E_INVALID;
    mac_make(mac, secret, span_of(raw.data, BODY_LEN));
    const bool ours = crypto_equal(SPAN_OF(mac), span_of(raw.data + BODY_LEN, SHA256_LEN));
    crypto_wipe(mac, sizeof(mac));
    if (!ours)
        return E_INVALID;
    *out = (struct telegram_user){get_u64(raw.data), get_u64(raw.data + 8), get_u64(raw.data + 16)};
    return now_s < out->expires_s ? 0 : E_EXPIRED;
}
