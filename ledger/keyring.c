/* Redis is asked again when a bill names a key that was never heard of: gateways name theirs before
 * they send. */
#include "ledger/keyring.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/log.h"
#include "billing/bill_claim.h"

enum { SOON_MS = 5, OPERATORS_MAX = 16, UNKNOWN_MAX = 64 };

struct keyring {
    struct ledger *ledger;
    struct bill_keys keys;
    uint8_t operators[OPERATORS_MAX][ED25519_KEY_LEN];
    size_t operator_count;
    char unknown[UNKNOWN_MAX][JWS_KID_LEN + 1]; /* in Redis, and not among those that count */
    size_t unknown_count;
    struct loop_timer timer;
    uint64_t asked_ms, read_ms; /* when the last reading began, and the last that ended well */
    bool asking, stopped;
};

static bool counts(const struct keyring *k, struct span kid)
{
    return bill_keys_have(&k->keys, kid);
}

// For ever: its bills are verified later, too.
static void add(struct keyring *k, struct span kid, struct span hex)
{
    struct books *b = k->ledger->books;
    bool added = false;

    if (counts(k, kid) || books_begin(b) < 0)
        return;
    const int error = books_end(b, bill_keys_add(b, &k->keys, kid, hex, &added));
    if (error < 0) {
        log_event(LOG_ERROR, "bill_key_refused", "kid=%.*s error=%s", SPAN_FMT(kid),
                  error_name(error));
        bill_keys_fini(&k->keys); /* none that the books have not */
        (void)!bill_keys_read(b, &k->keys);
    } else if (added)
        log_event(LOG_INFO, "bill_key", "kid=%.*s", SPAN_FMT(kid));
}

// ---- What the settings say ----------------------------------------------------------------------

static int read_settings(struct keyring *k)
{
    const struct ledger_config *s = ledger_settings(k->ledger);
    uint8_t key[ED25519_KEY_LEN];
    char kid[JWS_KID_LEN + 1];

    for (size_t i = 0; i < s->operators.count && i < OPERATORS_MAX; i++)
        TRY(hex_decode(k->operators[k->operator_count++], ED25519_KEY_LEN,
                       span_str(s->operators.items[i])));
    for (size_t i = 0; i < s->pinned.count; i++) {
        TRY(hex_decode(key, sizeof(key), span_str(s->pinned.items[i])));
        jws_kid(kid, key);
        add(k, span_str(kid), span_str(s->pinned.items[i]));
    }
    if (k->keys.count == 0 && k->operator_count == 0)
        log_event(LOG_WARN, "bill_keys", "count=0 operators=0");
    return 0;
}

// ---- What Redis says ----------------------------------------------------------------------------

static void on_vouched(void *arg, int error, const struct redisReply *reply)
{
    struct keyring *k = arg;
    struct span operators[OPERATORS_MAX];
    char hex[2 * ED25519_KEY_LEN + 1];
    struct bill_claim claim;

    for (size_t i = 0; i < k->operator_count; i++)
        operators[i] = SPAN_OF(k->operators[i]);
    for (size_t i = 0; error == 0 && i + 1 < redis_reply_count(reply); i += 2) {
        const struct span kid = redis_reply_text(redis_reply_at(reply, i));
        if (counts(k, kid) ||
            bill_claim_read(&claim, redis_reply_text(redis_reply_at(reply, i + 1)), operators,
                            k->operator_count) < 0)
            continue;
        hex_encode(hex, SPAN_OF(claim.key));
        add(k, kid, span_str(hex));
    }
}

/* When there are more than are kept, any may be one: a bill that is refused is so for good. */
static bool is_unknown(const struct keyring *k, struct span kid)
{
    for (size_t i = 0; i < k->unknown_count; i++)
        if (span_is(kid, k->unknown[i]))
            return true;
    return k->unknown_count == UNKNOWN_MAX;
}

static void on_keys(void *arg, int error, const struct redisReply *reply)
{
    struct keyring *k = arg;

    k->asking = false;
    if (error < 0 || redis_reply_type(reply) != REDIS_LIST)
        return;
    k->read_ms = k->asked_ms;
    k->unknown_count = 0;
    for (size_t i = 0; i + 1 < redis_reply_count(reply) && k->unknown_count < UNKNOWN_MAX; i += 2) {
        const struct span kid = redis_reply_text(redis_reply_at(reply, i));
        if (!counts(k, kid) && span_cstr(kid, k->unknown[k->unknown_count], JWS_KID_LEN + 1) == 0)
            k->unknown_count++;
    }
}

void keyring_look(struct keyring *k)
{
    static const struct span vouched[] = {SPAN("HGETALL"), SPAN(LAYOUT_VOUCHED)};
    static const struct span keys[] = {SPAN("HGETALL"), SPAN(LAYOUT_KEYS)};
    struct redis *r = k->ledger->redis;

    if (k->stopped || k->asking || !redis_up(r))
        return;
    k->asked_ms = loop_now(k->ledger->loop);
    k->asking = redis_command(r, vouched[1], vouched, 2, on_vouched, k) == 0 &&
                redis_command(r, keys[1], keys, 2, on_keys, k) == 0;
}

static void look_again(void *arg)
{
    keyring_look(arg);
}

// ---- What others ask ----------------------------------------------------------------------------

const struct bill_keys *keyring_keys(const struct keyring *k)
{
    return &k->keys;
}

static bool read_since(struct keyring *k, uint64_t *since_ms)
{
    if (*since_ms == 0)
        *since_ms = loop_now(k->ledger->loop);
    if (k->read_ms <= *since_ms && !k->stopped && !loop_timer_is_set(&k->timer))
        loop_timer_set(k->ledger->loop, &k->timer, SOON_MS, look_again, k);
    return k->read_ms > *since_ms;
}

static bool is_waiting(struct keyring *k, const char *kid, uint64_t *since_ms)
{
    return !counts(k, span_str(kid)) && (is_unknown(k, span_str(kid)) || !read_since(k, since_ms));
}

bool keyring_waits(struct keyring *k, struct span bill, uint64_t *since_ms,
                   char kid[static JWS_KID_LEN + 1])
{
    char named[JWS_KID_LEN + 1];
    const bool waits = jws_named_kid(named, bill) == 0 && is_waiting(k, named, since_ms);

    if (!waits)
        *since_ms = 0;
    if (waits && strcmp(kid, named) != 0 && is_unknown(k, span_str(named)))
        log_event(LOG_ERROR, "bill_key_unknown", "kid=%s", named);
    memcpy(kid, waits ? named : "", waits ? sizeof(named) : 1);
    return waits;
}

// ---- Its life -----------------------------------------------------------------------------------

int keyring_new(struct keyring **out, struct ledger *l)
{
    struct keyring *k = mem_zero(sizeof(*k));

    k->ledger = l;
    *out = k;
    TRY(bill_keys_read(l->books, &k->keys));
    return read_settings(k);
}

void keyring_stop(struct keyring *k)
{
    k->stopped = true;
    loop_timer_cancel(k->ledger->loop, &k->timer);
}

void keyring_free(struct keyring *k)
{
    if (!k)
        return;
    bill_keys_fini(&k->keys);
    free(k);
}
