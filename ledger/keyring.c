/* Redis is asked at once when a bill names a key that does not count: gateways bring the word for
 * theirs before they send. */
#include "ledger/keyring.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/log.h"
#include "billing/bill_claim.h"

enum { OPERATORS_MAX = 16 };

struct keyring {
    struct ledger *ledger;
    struct bill_keys keys;
    uint8_t operators[OPERATORS_MAX][ED25519_KEY_LEN];
    size_t operator_count;
    bool asking, stopped;
    bool unread; /* the books may say something else */
};

static bool known(const struct keyring *k, struct span kid)
{
    return bill_keys_state(&k->keys, kid) != BILL_KEY_UNKNOWN;
}

static int read_anew(struct keyring *k)
{
    AUTO(bill_keys_fini) struct bill_keys anew = {0};
    struct books *b = k->ledger->books;

    TRY(books_begin(b));
    TRY(books_end(b, bill_keys_read(b, false, &anew)));
    bill_keys_fini(&k->keys);
    k->keys = anew;
    anew = (struct bill_keys){0};
    return 0;
}

void keyring_changed(struct keyring *k)
{
    k->unread = true;
}

int keyring_ready(struct keyring *k)
{
    if (!k->unread)
        return 0;
    const int error = read_anew(k);
    k->unread = error < 0;
    if (error < 0)
        log_event(LOG_ERROR, "bill_keys", "read=no error=%s", error_name(error));
    return error;
}

// For ever: its bills are verified later, too.
static int add_to_books(struct keyring *k, struct span kid, struct span hex)
{
    struct books *b = k->ledger->books;
    bool added = false;

    TRY(books_begin(b));
    TRY(books_end(b, bill_keys_add(b, &k->keys, kid, hex, &added)));
    if (added)
        log_event(LOG_INFO, "bill_key", "kid=%.*s", SPAN_FMT(kid));
    return 0;
}

static int add(struct keyring *k, const uint8_t key[static ED25519_KEY_LEN])
{
    char kid[JWS_KID_LEN + 1], hex[2 * ED25519_KEY_LEN + 1];

    jws_kid(kid, key);
    hex_encode(hex, span_of(key, ED25519_KEY_LEN));
    const int error = known(k, span_str(kid)) ? 0 : add_to_books(k, span_str(kid), span_str(hex));
    if (error < 0) {
        log_event(LOG_ERROR, "bill_key_refused", "kid=%s error=%s", kid, error_name(error));
        keyring_changed(k); /* none that the books have not */
    }
    return error;
}

// ---- What the settings say ----------------------------------------------------------------------

static int read_settings(struct keyring *k)
{
    const struct ledger_config *s = ledger_settings(k->ledger);
    uint8_t key[ED25519_KEY_LEN];

    for (size_t i = 0; i < s->operators.count && i < OPERATORS_MAX; i++)
        TRY(hex_decode(k->operators[k->operator_count++], ED25519_KEY_LEN,
                       span_str(s->operators.items[i])));
    for (size_t i = 0; i < s->pinned.count; i++) {
        TRY(hex_decode(key, sizeof(key), span_str(s->pinned.items[i])));
        TRY(add(k, key));
    }
    if (k->keys.count == 0 && k->operator_count == 0)
        log_event(LOG_WARN, "bill_keys", "count=0 operators=0");
    return 0;
}

// ---- What Redis says ----------------------------------------------------------------------------

// The kid beside a claim is Redis' word: it spares verifying what is known already, and no more.
// Where the books fail nothing is added: they are asked again with the next look.
static void on_vouched(void *arg, int error, const struct redisReply *reply)
{
    struct keyring *k = arg;
    struct span operators[OPERATORS_MAX];
    struct bill_claim claim;

    k->asking = false;
    if (error == 0)
        error = keyring_ready(k);
    for (size_t i = 0; i < k->operator_count; i++)
        operators[i] = SPAN_OF(k->operators[i]);
    for (size_t i = 0; error == 0 && i + 1 < redis_reply_count(reply); i += 2) {
        if (!known(k, redis_reply_text(redis_reply_at(reply, i))) &&
            bill_claim_read(&claim, redis_reply_text(redis_reply_at(reply, i + 1)), operators,
                            k->operator_count) == 0)
            error = add(k, claim.key);
    }
}

void keyring_look(struct keyring *k)
{
    static const struct span vouched[] = {SPAN("HGETALL"), SPAN(LAYOUT_VOUCHED)};
    struct redis *r = k->ledger->redis;

    if (!k->stopped && !k->asking && redis_up(r))
        k->asking = redis_command(r, vouched[1], vouched, 2, on_vouched, k) == 0;
}

// ---- What others ask ----------------------------------------------------------------------------

const struct bill_keys *keyring_keys(const struct keyring *k)
{
    return &k->keys;
}

enum bill_key_state keyring_state(struct keyring *k, struct span bill, struct key_wait *w)
{
    struct key_wait now = {.looked = false};
    enum bill_key_state state = BILL_KEY_COUNTS;

    if (jws_named_kid(now.kid, bill) == 0)
        state = bill_keys_state(&k->keys, span_str(now.kid));
    if (state == BILL_KEY_COUNTS) {
        *w = (struct key_wait){.looked = false};
        return state;
    }
    now.looked = state == BILL_KEY_REVOKED || strcmp(w->kid, now.kid) == 0;
    if (!now.looked)
        keyring_look(k); /* it may have come since the last look */
    else if (!w->looked || strcmp(w->kid, now.kid) != 0)
        log_event(LOG_ERROR, state == BILL_KEY_REVOKED ? "bill_key_revoked" : "bill_key_unknown",
                  "kid=%s", now.kid);
    *w = now;
    return state;
}

// ---- Its life -----------------------------------------------------------------------------------

int keyring_new(struct keyring **out, struct ledger *l)
{
    struct keyring *k = mem_zero(sizeof(*k));

    k->ledger = l;
    *out = k;
    k->unread = true;
    TRY(keyring_ready(k));
    return read_settings(k);
}

void keyring_stop(struct keyring *k)
{
    k->stopped = true;
}

void keyring_free(struct keyring *k)
{
    if (!k)
        return;
    bill_keys_fini(&k->keys);
    free(k);
}
